"""What a VAE trades: rate against distortion as beta changes; the lesson on convolutions reads the numbers."""

from dataclasses import replace
from functools import partial

import torch

from vae_utils.evaluation import evaluate
from vae_utils.objectives import elbo
from vae_utils.reproduce.common import Command, full_mnist, record, summary, with_error
from vae_utils.reproduce.small_net import RECIPE, frames_of, likelihood_free_measures, save_frames

BETAS = (0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.2, 5.6, 10.0)  # four steps to a factor of ten
NUM_SEEDS = 2


def rate_distortion(options):
    """Train the small net for each beta and seed; store the terms of the test bound, and pictures.

    Writes `rate-distortion.json` (one row for each beta and seed) and `rate-distortion.safetensors`: `betas` [9], the
    test digits `originals` [8, 1, 28, 28], and of the first seed's models `reconstructions` and `samples`, the means of
    p(x|z) at the same digits and the same draws of z for each beta, bytes: [9, 8, 1, 28, 28].
    """
    mnist = full_mnist()
    rows, frames = [], []
    for seed in range(options.seed, options.seed + NUM_SEEDS):
        results = []
        for beta in BETAS:
            recipe = replace(RECIPE.scaled(options.epochs), seed=seed)
            vae, _ = recipe.train(mnist, objective=partial(elbo, beta=beta))
            results.append(evaluate(vae, mnist.test))
            measured = summary(results[-1]) | likelihood_free_measures(vae, mnist.test)
            rows.append({"beta": beta, "seed": seed, **measured})
            print(f"beta {beta:g}, seed {seed}: {results[-1]}", flush=True)
            if seed == options.seed:
                frames.append(frames_of(vae, mnist))
        bound_of_one = results[BETAS.index(1.0)].elbo
        for row, result in zip(rows[-len(BETAS) :], results, strict=True):
            # The same images with the same draws of pixels: most of their spread cancels.
            row |= with_error("elbo_minus_beta_1", result.elbo - bound_of_one, "standard_error_of_difference")
    save_frames(options, mnist, frames, betas=torch.tensor(BETAS))
    results = {"settings": replace(RECIPE, epochs=recipe.epochs).settings, "rows": rows}
    record(options, results, f"{options.name}.safetensors")


COMMAND = Command(rate_distortion, stage=1, options=("epochs", "seed"))
