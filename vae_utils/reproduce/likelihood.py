"""log p(x) of stored models by importance sampling, image by image."""

import sys
from functools import partial

from tqdm import tqdm

from vae_utils.files import load_tensors, save_tensors
from vae_utils.models import load_vae
from vae_utils.paper.importance import log_likelihood
from vae_utils.reproduce.common import Command, full_mnist, record, with_error

IMPORTANCE_SAMPLES = 5000
# One test image in so many: a convolutional decoder takes about thirteen times as long, and half an hour is the limit.
EVERY = {"mlp": 1, "conv": 20, "conv-iw": 5}


def likelihood(options):
    """log p(x) of one stored model by importance sampling, image by image."""
    name = options.name.removeprefix("likelihood-")
    every, progress = EVERY[name], partial(tqdm, desc=name, ncols=80, file=sys.stdout)
    result = log_likelihood(load_vae(name), full_mnist().test, IMPORTANCE_SAMPLES, every=every, progress=progress)
    effective = result.effective_samples.median().item()
    print(f"{name}: {result}; effective samples: median {effective:.0f}")
    tensors, file = {"log_likelihood": result.per_image}, f"{options.name}.safetensors"
    save_tensors(options.out / file, tensors, {"every": every}, half=False)
    known = {"protocol": result.protocol, "every": every, "median_effective_samples": round(effective, 1)}
    record(options, with_error("log_likelihood", result.per_image) | known, file)


def stored_likelihood(name, options):
    """What `likelihood` wrote: log p(x) of one test image in so many, nats, and that number."""
    tensors, metadata = load_tensors(options.out / f"likelihood-{name}.safetensors")
    return tensors["log_likelihood"], metadata["every"]


COMMAND = Command(likelihood, stage=2, names=tuple(f"likelihood-{name}" for name in EVERY))
