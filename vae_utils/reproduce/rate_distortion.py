"""What a VAE trades: rate against distortion as beta changes; the lesson on convolutions reads the numbers."""

from dataclasses import replace
from functools import partial

import torch

from vae_utils.evaluation import Estimate, evaluate
from vae_utils.objectives import elbo
from vae_utils.reproduce.common import full_mnist, record, summary
from vae_utils.reproduce.small_net import RECIPE, _look, _pictures, _save_frames

BETAS = (0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.2, 5.6, 10.0)  # four steps to a factor of ten
NUM_SEEDS = 2


def rate_distortion(options):
    """Train the small net for each beta and seed; store the terms of the test bound, and pictures.

    Writes `rate-distortion.json` (one row for each beta and seed) and `rate-distortion.safetensors`: `betas`
    [9], the test digits `originals` [8, 1, 28, 28], and of the first seed's models `reconstructions` and
    `samples`, the means of p(x|z) at the same digits and the same draws of z for each beta, bytes:
    [9, 8, 1, 28, 28].
    """
    mnist = full_mnist()
    rows, frames = [], []
    for seed in range(options.seed, options.seed + NUM_SEEDS):
        results = []
        for beta in BETAS:
            recipe = replace(
                RECIPE.scaled(options.epochs),
                seed=seed,
                training=RECIPE.training | {"objective": partial(elbo, beta=beta)},
            )
            vae, _ = recipe.train(mnist)
            results.append(evaluate(vae, mnist.test))
            rows.append({"beta": beta, "seed": seed, **summary(results[-1]), **_look(vae, mnist.test)})
            print(f"beta {beta:g}, seed {seed}: {results[-1]}", flush=True)
            if seed == options.seed:
                frames.append(_pictures(vae, mnist))
        bound_of_one = results[BETAS.index(1.0)].elbo
        for row, result in zip(rows[-len(BETAS) :], results, strict=True):
            row |= _difference(result.elbo - bound_of_one)
    _save_frames("rate-distortion", options, mnist, frames, betas=torch.tensor(BETAS))
    record("rate-distortion", options, {"settings": replace(RECIPE, epochs=recipe.epochs).settings, "rows": rows})


def _difference(elbo_difference):
    """Against beta = 1 on the same images with the same draws of pixels: most of their spread cancels."""
    estimate = Estimate.of(elbo_difference)
    return {
        "elbo_minus_beta_1": round(estimate.mean, 3),
        "standard_error_of_difference": round(estimate.standard_error, 3),
    }
