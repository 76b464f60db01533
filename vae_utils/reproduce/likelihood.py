"""log p(x) of stored models by importance sampling, image by image."""

import sys

from tqdm import tqdm

from vae_utils.evaluation import Estimate
from vae_utils.files import save_tensors
from vae_utils.models import load_vae
from vae_utils.paper.importance import log_likelihood
from vae_utils.reproduce.common import full_mnist, record

IMPORTANCE_SAMPLES = 5000
# One test image in so many: a convolutional decoder takes about thirteen times as long, and half an hour is the limit.
EVERY = {"mlp": 1, "conv": 20, "conv-iw": 5}


def likelihood(name, options):
    """log p(x) of one stored model by importance sampling, image by image."""
    result = log_likelihood(
        load_vae(name),
        full_mnist().test,
        IMPORTANCE_SAMPLES,
        every=EVERY[name],
        progress=lambda batches: tqdm(batches, desc=name, ncols=80, file=sys.stdout),
    )
    effective = result.effective_samples.median().item()
    print(f"{name}: {result}; effective samples: median {effective:.0f}")
    estimate = Estimate.of(result.per_image)
    save_tensors(
        options.out / f"likelihood-{name}.safetensors",
        {"log_likelihood": result.per_image},
        {"every": EVERY[name]},
        half=False,
    )
    record(
        f"likelihood-{name}",
        options,
        {
            "log_likelihood": round(estimate.mean, 3),
            "standard_error": round(estimate.standard_error, 3),
            "protocol": result.protocol,
            "every": EVERY[name],
            "median_effective_samples": round(effective, 1),
        },
    )
