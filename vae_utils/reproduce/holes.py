"""Autoencoder against VAE at equal network: what codes that nobody encoded decode to."""

import math
from dataclasses import replace
from functools import partial
from itertools import product
from statistics import mean, stdev

import torch
from sklearn.mixture import GaussianMixture
from torch.distributions import MultivariateNormal

from vae_utils.classifier import load_classifier
from vae_utils.data import binarise
from vae_utils.evaluation import aggregate_kl, hole_mass, posterior_parameters
from vae_utils.models import mlp_vae
from vae_utils.objectives import elbo, reconstruction
from vae_utils.reproduce.classifier import UNSURE, share
from vae_utils.reproduce.common import Command, Recipe, full_mnist, record
from vae_utils.runtime import fixed_seed

OBJECTIVES = {"autoencoder": reconstruction, "VAE": elbo}
HIDDEN = (256, 256)
LATENT_SIZES = (2, 20)
NUM_SEEDS = 3
RECIPE = Recipe(None, epochs=5, learning_rate=2e-3, batch_size=256)
NUM_DRAWS = 1000  # codes from each distribution, and images of each kind, that are judged
NUM_CODES = 20_000  # training images whose codes the Gaussian and the mixture are fitted to
NUM_AGGREGATE = 500  # draws at which the exact density of q(z) is compared with p(z)
COMPONENTS = 30  # of the mixture, full covariances
PROTOCOL = {
    "unsure": f"share of {NUM_DRAWS} pictures (means of p(x|z)) to which the classifier gives no digit {UNSURE} or "
    "more",
    "far": "share of them further from the nearest of 60,000 training images (Euclidean, pixels) than 95% of the same "
    "model's reconstructions of test images: as blurred as they are, so that blur cannot decide",
    "both": "share of them unsure and far",
    "prior_, gaussian_, mixture_": "z ~ N(0, I); ~ a Gaussian, ~ a mixture of Gaussians, both fitted to training codes",
    "reconstruction_": "z = the mean code of a binarised test image",
    "distortion": "-log p(x|z) at the mean code, nats per test image, pixels binarised by one fixed draw",
    "kl_to_gaussian_at_least": "nats; mean over the codes of the test images of log mixture - log fitted "
    "Gaussian, a lower bound on KL(codes || Gaussian) up to the noise of sampling",
    "hole_mass_of_gaussian": "share of the fitted Gaussian's draws where mixture / Gaussian < 0.1",
    "kl_to_prior, hole_mass_of_prior": f"q(z) = average of q(z|x) over {NUM_CODES:,} training images, "
    "against p(z); no autoencoder has one",
    "path_length": "along straight lines between the codes of two test images of different digits, in 31 "
    "steps: the way that the picture goes / the distance of its ends (Euclidean, pixels)",
    "label_flips": "changes of the classifier's first choice along such a line; 1 is the least if both ends "
    "are read rightly",
    "path_unsure": "share of the pictures on the lines of which the classifier is unsure",
    "round_trip": "root mean square over dimensions of (encoder(decoder(z)) - z) / standard deviation of the "
    "codes, z ~ Gaussian",
}


def holes(options):
    """Train both objectives on the same small networks with several seeds; measure their latent spaces."""
    mnist, judge = full_mnist(), load_classifier()
    recipe, seeds = RECIPE.scaled(options.epochs), [options.seed + i for i in range(NUM_SEEDS)]
    real = share(judge.probabilities(mnist.test).amax(1) < UNSURE)
    print(f"real test images of which the classifier is unsure: {real:.4f}", flush=True)
    known = {name: getattr(recipe, name) for name in ("epochs", "learning_rate", "batch_size")}
    results = {"protocol": PROTOCOL, "real_test_images_unsure": round(real, 4)}
    results["recipe"] = {"hidden": list(HIDDEN), **known, "seeds": seeds}
    for latent_size, (name, objective) in product(LATENT_SIZES, OBJECTIVES.items()):
        rows = []
        for seed in seeds:
            build = partial(mlp_vae, latent_size, HIDDEN, layer_norm=False)
            vae, _ = replace(recipe, build=build, seed=seed).train(mnist, objective=objective, progress=False)
            rows.append(measure(vae, objective is elbo, mnist, judge, seed))
            print(f"{name}, {latent_size} latents, seed {seed}: {rows[-1]}", flush=True)
        results[f"{name}, {latent_size} latents"] = spread(rows)
    record(options, results)


def measure(vae, is_vae, mnist, judge, seed):
    """All measures of one trained model, as a flat dict of numbers; `PROTOCOL` says what each is."""
    train_codes = codes(vae, mnist.train[:NUM_CODES], is_vae, seed)
    test_codes = codes(vae, mnist.test, is_vae, seed)
    gaussian = MultivariateNormal(train_codes.mean(0), train_codes.T.cov())
    mixture = GaussianMixture(COMPONENTS, reg_covar=1e-4, random_state=seed).fit(train_codes.double().numpy())
    torch.manual_seed(seed)
    draws = {
        "prior": vae.prior.sample((NUM_DRAWS,)),
        "gaussian": gaussian.sample((NUM_DRAWS,)),
        "mixture": torch.tensor(mixture.sample(NUM_DRAWS)[0], dtype=torch.float32),
    }
    row = {}
    with torch.no_grad():
        row["distortion"] = -vae.decode(vae.encode(x := binarised(mnist.test)).mean).log_prob(x).mean().item()
        pictures = {name: vae.decode(z).mean for name, z in draws.items()}
        pictures["reconstruction"] = vae.decode(vae.encode(x[:NUM_DRAWS]).mean).mean
        distances = {name: nearest_distance(images, mnist.train) for name, images in pictures.items()}
        limit = distances["reconstruction"].quantile(0.95)
        for name, images in pictures.items():
            unsure = judge.probabilities(images).amax(1) < UNSURE
            far = distances[name] > limit
            row |= {f"{name}_unsure": share(unsure), f"{name}_far": share(far), f"{name}_both": share(unsure & far)}
        row |= gaps(mixture, gaussian, test_codes, draws["gaussian"])
        if is_vae:
            encoded = mnist.train[:NUM_CODES]
            row["kl_to_prior"] = aggregate_kl(vae, encoded, num_samples=NUM_AGGREGATE, seed=seed).mean
            row["hole_mass_of_prior"] = hole_mass(vae, encoded, num_samples=NUM_AGGREGATE, seed=seed).mean
        row |= smoothness(vae, judge, mnist)
        moved = (vae.encode(pictures["gaussian"]).mean - draws["gaussian"]) / train_codes.std(0)
        row["round_trip"] = moved.square().mean(1).sqrt().mean().item()
    return row


def binarised(images):
    """The evaluation protocol's one fixed draw of the pixels."""
    return binarise(images, torch.Generator().manual_seed(0))


@torch.no_grad()
def codes(vae, images, is_vae, seed):
    """z ~ q(z|x) of a VAE; of an autoencoder, whose code is no distribution, the code: shape [N, D]."""
    loc, scale = posterior_parameters(vae, images)
    with fixed_seed(seed):
        return loc + scale * torch.randn_like(scale) if is_vae else loc


def gaps(mixture, gaussian, test_codes, draws):
    """How far the codes are from one Gaussian, by the density of a mixture fitted to them."""

    def log_ratio(z):
        return torch.tensor(mixture.score_samples(z.double().numpy())) - gaussian.log_prob(z)

    return {
        "kl_to_gaussian_at_least": log_ratio(test_codes).mean().item(),
        "hole_mass_of_gaussian": share(log_ratio(draws) < math.log(0.1)),
    }


@torch.no_grad()
def smoothness(vae, judge, mnist, num_paths=500, steps=32):
    """Straight lines between the codes of pairs of test images of different digits, decoded."""
    ends, _ = posterior_parameters(vae, mnist.test[: 2 * num_paths])
    start, end = ends.chunk(2)
    digit_at_start, digit_at_end = mnist.test_labels[: 2 * num_paths].chunk(2)
    different = digit_at_start != digit_at_end
    t = torch.linspace(0, 1, steps)[:, None, None]
    frames = vae.decode(start[different] + t * (end - start)[different]).mean  # [T, N, 1, 28, 28]
    said = judge.probabilities(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # [T, N, 10]
    digits = said.argmax(2)
    return {
        "path_length": relative_path_length(frames).mean().item(),
        "label_flips": (digits[1:] != digits[:-1]).sum(0).float().mean().item(),
        "path_unsure": share(said.amax(2) < UNSURE),
    }


def spread(rows):
    """Mean and standard deviation over seeds of each number."""
    return {
        key: {"mean": round(mean(row[key] for row in rows), 4), "sd": round(stdev(row[key] for row in rows), 4)}
        for key in rows[0]
    }


@torch.no_grad()
def nearest_distance(images, reference, chunk=100):
    """Euclidean distance, in pixel values, from each image to the nearest of `reference`: shape [N].

    Args:
        images, reference: shapes [N, 1, 28, 28] and [M, 1, 28, 28].
        chunk: images at a time: bounds the memory to about `chunk` * M numbers.
    """
    reference = reference.flatten(1)
    return torch.cat([torch.cdist(part, reference).amin(1) for part in images.flatten(1).split(chunk)])


def relative_path_length(frames):
    """How much longer a film is than the jump from its first picture to its last: a cross-fade has 1.

    sum_t |frame_{t+1} - frame_t| / |frame_T - frame_1|, Euclidean in pixel values.

    Args:
        frames: pictures along each path, shape [T, N, 1, 28, 28].

    Returns:
        Shape [N].
    """
    frames = frames.flatten(2)
    return (frames[1:] - frames[:-1]).norm(dim=2).sum(0) / (frames[-1] - frames[0]).norm(dim=1)


COMMAND = Command(holes, stage=2, options=("epochs", "seed"))
