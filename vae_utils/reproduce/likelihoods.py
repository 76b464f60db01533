"""What another noise model of the pixel does; the lesson on convolutions reads the numbers and pictures."""

from dataclasses import replace
from functools import partial

import torch

from vae_utils.evaluation import evaluate
from vae_utils.likelihoods import Bernoulli, ContinuousBernoulli, Gaussian, GreyCrossEntropy
from vae_utils.reproduce.common import Command, full_mnist, record, summary
from vae_utils.reproduce.small_net import RECIPE, frames_of, likelihood_free_measures, save_frames, small_net

LIKELIHOODS = {
    "Bernoulli": Bernoulli,
    "grey cross-entropy": GreyCrossEntropy,
    "continuous Bernoulli": ContinuousBernoulli,
    "Gaussian, sigma = 1": partial(Gaussian, 1.0),  # half the sum of squares
    "Gaussian, sigma = 0.71": partial(Gaussian, 0.5**0.5),  # the sum of squares
    "Gaussian, sigma learned": Gaussian,
}


def likelihoods(options):
    """Train the small net under each noise model of the pixel; store what can be compared, and pictures.

    Writes `likelihoods.json` (one row for each likelihood) and `likelihoods.safetensors`: the test digits
    `originals` [8, 1, 28, 28]; `reconstructions`, `samples` (means of p(x|z)) and `draws` (of p(x|z), at the
    z of `samples`), in the order of the rows: [6, 8, 1, 28, 28], bytes.
    """
    mnist = full_mnist()
    rows, frames = [], []
    for name, build in LIKELIHOODS.items():
        recipe = replace(RECIPE.scaled(options.epochs), seed=options.seed)
        recipe = replace(recipe, build=lambda build=build: small_net(likelihood=build()))
        vae, _ = recipe.train(mnist)
        result = evaluate(vae, mnist.test)
        sigma = getattr(vae.likelihood, "sigma", None)
        rows.append({"likelihood": name, **summary(result), **likelihood_free_measures(vae, mnist.test)})
        if sigma is not None:
            rows[-1]["sigma"] = round(torch.as_tensor(sigma).item(), 4)
        print(f"{name}: {result}\n   {rows[-1]}", flush=True)
        frames.append(frames_of(vae, mnist))
    save_frames(options, mnist, frames)
    results = {"settings": replace(RECIPE, epochs=recipe.epochs).settings, "rows": rows}
    record(options, results, f"{options.name}.safetensors")


COMMAND = Command(likelihoods, stage=1, options=("epochs", "seed"))
