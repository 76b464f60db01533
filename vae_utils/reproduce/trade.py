"""What a VAE trades: rate against distortion as beta changes, and what another noise model of the pixel does.

Both commands train one small network many times; the lesson on convolutions reads their numbers and pictures.
"""

from dataclasses import replace
from functools import partial

import torch

from vae_utils.evaluation import Estimate, active_units, evaluate
from vae_utils.files import save_tensors
from vae_utils.likelihoods import Bernoulli, ContinuousBernoulli, Gaussian, GreyCrossEntropy
from vae_utils.models import mlp_vae
from vae_utils.objectives import elbo
from vae_utils.reproduce.common import Recipe, command, full_mnist, record, summary
from vae_utils.runtime import fixed_seed

small_net = partial(mlp_vae, 20, (400,), layer_norm=False)
RECIPE = Recipe(small_net, epochs=4, learning_rate=5e-3, batch_size=256, training={"progress": False})

BETAS = (0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.2, 5.6, 10.0)  # four steps to a factor of ten
NUM_SEEDS = 2

LIKELIHOODS = {
    "Bernoulli": Bernoulli,
    "grey cross-entropy": GreyCrossEntropy,
    "continuous Bernoulli": ContinuousBernoulli,
    "Gaussian, sigma = 1": partial(Gaussian, 1.0),  # half the sum of squares
    "Gaussian, sigma = 0.71": partial(Gaussian, 0.5**0.5),  # the sum of squares
    "Gaussian, sigma learned": Gaussian,
}

NUM_FRAMES = 8
DARKEST, BRIGHTEST = 0.1, 0.9  # grey is what lies between


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


def likelihoods(options):
    """Train the small net under each noise model of the pixel; store what can be compared, and pictures.

    Writes `likelihoods.json` (one row for each likelihood) and `likelihoods.safetensors`: the test digits
    `originals` [8, 1, 28, 28]; `reconstructions`, `samples` (means of p(x|z)) and `draws` (of p(x|z), at the
    z of `samples`), in the order of the rows: [6, 8, 1, 28, 28], bytes.
    """
    mnist = full_mnist()
    rows, frames = [], []
    for name, build in LIKELIHOODS.items():
        recipe = replace(
            RECIPE.scaled(options.epochs), seed=options.seed, build=lambda build=build: small_net(likelihood=build())
        )
        vae, _ = recipe.train(mnist)
        result = evaluate(vae, mnist.test)
        sigma = getattr(vae.likelihood, "sigma", None)
        rows.append(
            {
                "likelihood": name,
                **summary(result),
                **_look(vae, mnist.test),
                **({} if sigma is None else {"sigma": round(torch.as_tensor(sigma).item(), 4)}),
            }
        )
        print(f"{name}: {result}\n   {rows[-1]}", flush=True)
        frames.append(_pictures(vae, mnist))
    _save_frames("likelihoods", options, mnist, frames)
    record("likelihoods", options, {"settings": replace(RECIPE, epochs=recipe.epochs).settings, "rows": rows})


@torch.no_grad()
def _look(vae, images):
    """What needs no likelihood: error against the grey images, share of grey pixels, dimensions in use."""
    with fixed_seed(0):
        x = vae.observe(images, torch.Generator().manual_seed(0))
        reconstructions = vae.decode(vae.encode(x).sample()).mean
        samples = vae.decode(vae.prior.sample((len(images),))).mean
    return {
        "squared_error": round((reconstructions - images).square().sum((1, 2, 3)).mean().item(), 3),
        "grey_reconstructions": round(_grey(reconstructions), 4),
        "grey_samples": round(_grey(samples), 4),
        "grey_images": round(_grey(images), 4),
        "active_units": int(active_units(vae, images).sum()),
    }


def _grey(images):
    return ((images > DARKEST) & (images < BRIGHTEST)).float().mean().item()


def _difference(elbo_difference):
    """Against beta = 1 on the same images with the same draws of pixels: most of their spread cancels."""
    estimate = Estimate.of(elbo_difference)
    return {
        "elbo_minus_beta_1": round(estimate.mean, 3),
        "standard_error_of_difference": round(estimate.standard_error, 3),
    }


def _shown(mnist):
    """Places in the test set of the first image of each of eight digits."""
    return [(mnist.test_labels == digit).nonzero()[0].item() for digit in range(NUM_FRAMES)]


@torch.no_grad()
def _pictures(vae, mnist):
    images = mnist.test[_shown(mnist)]
    with fixed_seed(0):
        p = vae.decode(vae.encode(vae.observe(images)).mean)
        drawn = vae.decode(vae.prior.sample((NUM_FRAMES,)))
        return {"reconstructions": p.mean, "samples": drawn.mean, "draws": drawn.sample()}


def _save_frames(name, options, mnist, frames, **others):
    parts = {part: torch.stack([frame[part] for frame in frames]) for part in frames[0]}
    if "betas" in others:
        del parts["draws"]  # beta does not change what noise looks like
    parts["originals"] = mnist.test[_shown(mnist)]
    tensors = {part: _bytes(images) for part, images in parts.items()}
    save_tensors(
        options.out / f"{name}.safetensors",
        tensors | others,
        {"command": command(name, options), "seed": options.seed},
        half=False,
    )


def _bytes(images):
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
