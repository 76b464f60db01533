"""The results table: the stored models under one evaluation on the test set."""

import sys

from tqdm import tqdm

from vae_utils.evaluation import Estimate, active_units, evaluate, log_likelihood
from vae_utils.models import load_vae
from vae_utils.reproduce.common import full_mnist, record, summary

IMPORTANCE_SAMPLES = 5000
MODELS = ("mlp-2-minutes", "manifold", "mlp", "conv")
PAIRED = 10                 # the convolutional model and its MLP twin meet on every tenth test image


def table(options):
    """ELBO of each stored model; -log p(x) of the MLP on all test images; of MLP and conv, paired, on every tenth."""
    mnist = full_mnist()
    rows = {}
    for name in MODELS:
        vae = load_vae(name)
        result = evaluate(vae, mnist.test)
        rows[name] = summary(result) | {"active_units": int(active_units(vae, mnist.test).sum()),
                                        "latent_size": vae.latent_size}
        print(f"{name}: {result}, {rows[name]['active_units']} of {vae.latent_size} units active", flush=True)
    conv, mlp = (evaluate(load_vae(name), mnist.test).elbo for name in ("conv", "mlp"))
    rows["conv against mlp, ELBO"] = _difference("conv - mlp, ELBO", conv - mlp, "10,000 test images")

    likelihood = {}
    for name, images in (("mlp", mnist.test), ("conv", mnist.test[::PAIRED])):
        likelihood[name] = log_likelihood(load_vae(name), images, IMPORTANCE_SAMPLES, progress=lambda batches: tqdm(
            batches, desc=name, ncols=80, file=sys.stderr))
        rows[name] |= _nll(name, likelihood[name])
    print("The same draw of pixels serves both models, so their difference is paired.")
    # The pixels of every tenth image are binarised anew when they are given alone: score the MLP on exactly those.
    paired = log_likelihood(load_vae("mlp"), mnist.test[::PAIRED], IMPORTANCE_SAMPLES)
    rows["conv against mlp, log p(x)"] = _difference("conv - mlp, log p(x)", likelihood["conv"].per_image - paired.per_image,
                                                     likelihood["conv"].protocol)
    record("table", options, rows)


def _nll(name, result):
    print(f"{name}: {result}; effective samples: median {result.effective_samples.median():.0f}", flush=True)
    estimate = Estimate.of(result.per_image)
    return {"log_likelihood": round(estimate.mean, 3), "log_likelihood_standard_error": round(estimate.standard_error, 3),
            "log_likelihood_protocol": result.protocol,
            "median_effective_samples": round(result.effective_samples.median().item(), 1)}


def _difference(name, per_image, protocol):
    estimate = Estimate.of(per_image)
    print(f"{name}: {estimate} nats per image   [paired, {protocol}]", flush=True)
    return {"difference": round(estimate.mean, 3), "standard_error": round(estimate.standard_error, 3), "protocol": protocol}
