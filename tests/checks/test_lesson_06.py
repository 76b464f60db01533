"""The checks of lesson 06: each mistake that people make is named, nothing that is right is refused."""

import math
from functools import partial

import numpy as np
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from vae_utils import checks
from vae_utils.checks import lesson_06
from vae_utils.paper.ppca import ppca

from listed_mistakes import check_tests

# --- another unit

WRONG_UNITS = {
    "The sign is turned: stretch": lambda nats, n, factor: nats + n * math.log(factor),
    "charged once for the image": lambda nats, n, factor: nats - math.log(factor),
    "a factor ½ too many": lambda nats, n, factor: nats - n / 2 * math.log(factor),
    "a factor 2 too many": lambda nats, n, factor: nats - n * math.log(factor**2),
    "base 2": lambda nats, n, factor: nats - n * math.log2(factor),
    "base 10": lambda nats, n, factor: nats - n * np.log10(factor),
    "multiplied by the factor": lambda nats, n, factor: nats * factor,
    "divided by the factor, but": lambda nats, n, factor: nats / factor,
    "The factor is fixed to 1/256": lambda nats, n, factor: nats + n * math.log(256),
    "The result is divided by the number of pixels": lambda nats, n, factor: nats / n - math.log(factor),
    "Two things at once": lambda nats, n, factor: nats + math.log(factor),
}
RIGHT_UNITS = [
    lambda nats, n, factor: nats + n * math.log(1 / factor),
    lambda nats, n, factor: nats - n * np.log(factor),
    lambda nats, n, factor: torch.as_tensor(nats).double() - n * torch.tensor(factor).log(),
    lambda nats, n, factor: nats - sum(math.log(factor) for _ in range(n)),
]
UNLISTED_UNITS = [lambda nats, n, factor: nats - n * (factor - 1), lambda nats, n, factor: nats - n / factor]
test_unit_change, test_mistakes_of_unit_change = check_tests(
    checks.unit_change, RIGHT_UNITS, WRONG_UNITS, UNLISTED_UNITS
)


# --- a Gaussian with a floor

TWO_PI = 2 * math.pi


def density(variance, log_weight=0.5, square_weight=0.5, constant=TWO_PI, sign=-1, reduce=lambda t: t.sum((1, 2, 3))):
    """A density with its parts to be spoilt: variance is a function of log_sigma and floor."""

    def log_density(x, mean, log_sigma, floor):
        v = variance(log_sigma, floor)
        return sign * reduce(log_weight * torch.log(constant * v) + square_weight * (x - mean) ** 2 / v)

    return log_density


def right_variance(log_sigma, floor):
    return floor**2 + log_sigma.exp() ** 2


right_density = density(right_variance)


WRONG_DENSITIES = {
    "you use it as the variance": density(lambda log_sigma, floor: floor**2 + log_sigma.exp()),
    "gave the log-*variance*": density(lambda log_sigma, floor: floor**2 + (log_sigma / 2).exp()),
    "squared once too often": density(lambda log_sigma, floor: floor**2 + (2 * log_sigma).exp() ** 2),
    "used as σ itself": density(lambda log_sigma, floor: floor**2 + log_sigma**2),
    "The floor is missing": density(lambda log_sigma, floor: log_sigma.exp() ** 2),
    "variance unsquared": density(lambda log_sigma, floor: floor + log_sigma.exp() ** 2),
    "The floor is added to σ": density(lambda log_sigma, floor: (floor + log_sigma.exp()) ** 2),
    "cut off at the floor": density(lambda log_sigma, floor: log_sigma.exp().clamp(min=floor) ** 2),
    "The floor is fixed to 1/256": density(lambda log_sigma, floor: (1 / 256) ** 2 + log_sigma.exp() ** 2),
    "The variance is used as σ": lambda x, mean, log_sigma, floor: (
        Normal(mean, right_variance(log_sigma, floor)).log_prob(x).sum((1, 2, 3))
    ),
    "under the squared error only": lambda x, mean, log_sigma, floor: (
        -0.5 * (math.log(TWO_PI) + 2 * log_sigma + (x - mean) ** 2 / right_variance(log_sigma, floor)).sum((1, 2, 3))
    ),
    "inside the logarithm only": lambda x, mean, log_sigma, floor: (
        -0.5 * ((TWO_PI * right_variance(log_sigma, floor)).log() + ((x - mean) / log_sigma.exp()) ** 2).sum((1, 2, 3))
    ),
    "The 2π is missing": density(right_variance, constant=1),
    "The 2 of 2π": density(right_variance, constant=math.pi),
    "in front of log(2πσ²)": density(right_variance, log_weight=1),
    "log(2πσ²) is missing": density(right_variance, log_weight=0),
    "in front of the squared error": density(right_variance, square_weight=1),
    "in front of both terms": density(right_variance, 1, 1),
    "a loss": density(right_variance, sign=1),
    "mean over the pixels": density(right_variance, reduce=lambda t: t.flatten(1).mean(1)),
    "summed into one number": density(right_variance, reduce=torch.sum),
    "averaged into one number": density(right_variance, reduce=lambda t: t.sum((1, 2, 3)).mean()),
    "leaves out the last dimension": density(right_variance, reduce=lambda t: t.sum((0, 1, 2))),
    "last dimension only": density(right_variance, reduce=lambda t: t.sum(-1)),
    "Two things at once": density(lambda log_sigma, floor: log_sigma.exp() ** 2, constant=1),
    # a network would stand still: its mean, its width, both
    "no gradient reaches `mean`": lambda x, mean, *width: right_density(x, mean.detach(), *width),
    "no gradient reaches `log_sigma`": lambda x, mean, log_sigma, floor: right_density(
        x, mean, log_sigma.detach(), floor
    ),
    "carry no gradient": torch.no_grad()(right_density),
}


def by_torch_distributions(x, mean, log_sigma, floor, dtype=torch.float32):
    sigma = torch.sqrt(torch.exp(2 * log_sigma) + floor * floor)
    return Independent(Normal(mean.to(dtype), sigma.to(dtype)), 3).log_prob(x.to(dtype))


def with_a_matrix(x, mean, log_sigma, floor):
    variance = (floor**2 + (2 * log_sigma).exp()).flatten(1)
    return MultivariateNormal(mean.flatten(1), torch.diag_embed(variance)).log_prob(x.flatten(1))


def in_three_terms(x, mean, log_sigma, floor):
    variance = (floor**2 + torch.exp(log_sigma * 2)).flatten(1)
    squares = ((x - mean).transpose(2, 3).transpose(2, 3).flatten(1) / variance.sqrt()).square().sum(1)
    return -0.5 * squares - variance.sqrt().log().sum(1) - variance.shape[1] * 0.918939


RIGHT_DENSITIES = [
    by_torch_distributions,
    partial(by_torch_distributions, dtype=torch.float64),
    with_a_matrix,
    in_three_terms,
    right_density,
]
UNLISTED_DENSITIES = [
    density(lambda log_sigma, floor: floor**2 + torch.nn.functional.softplus(log_sigma) ** 2),
    density(lambda log_sigma, floor: right_variance(log_sigma, floor).mean((1, 2, 3), keepdim=True)),
]
test_densities, test_mistakes_of_densities = check_tests(
    checks.floored_density, RIGHT_DENSITIES, WRONG_DENSITIES, UNLISTED_DENSITIES
)


# --- probabilistic PCA


def evidence(kept, noise, latents_of_noise, size, constant=TWO_PI, trace=1.0, scale=-0.5):
    log_determinant = kept.log().sum() + latents_of_noise * noise.log()
    return scale * (size * math.log(constant) + log_determinant + trace * size)


def spoilt(change):
    """The evidence, with the parts that `change` gives in the place of the right ones."""

    def ppca_evidence(eigenvalues, latent_size):
        size = len(eigenvalues)
        kept, rest = eigenvalues[-latent_size:], eigenvalues[:-latent_size]
        parts = {"kept": kept, "noise": rest.mean(), "latents_of_noise": size - latent_size, "size": size}
        return evidence(**parts | change(eigenvalues, rest, latent_size))

    return ppca_evidence


WRONG_EVIDENCES = {
    "The *smallest* eigenvalues": spoilt(lambda values, rest, k: {"kept": values[:k], "noise": values[k:].mean()}),
    "not their sum": spoilt(lambda values, rest, k: {"noise": rest.sum()}),
    "divided by D": spoilt(lambda values, rest, k: {"noise": rest.sum() / len(values)}),
    "logarithm of s instead of s²": spoilt(lambda values, rest, k: {"noise": rest.mean().sqrt()}),
    "not the first of them": spoilt(lambda values, rest, k: {"noise": rest.max()}),
    "the mean of all eigenvalues here": spoilt(lambda values, rest, k: {"noise": values.mean()}),
    "s² is subtracted": spoilt(lambda values, rest, k: {"kept": values[-k:] - rest.mean()}),
    "underflows to 0 before": lambda values, k: (
        -0.5 * len(values) * (1 + math.log(TWO_PI))
        - 0.5 * torch.log(values[-k:].prod() * values[:-k].mean() ** (len(values) - k))
    ),
    "Only the directions that are kept count": spoilt(lambda values, rest, k: {"latents_of_noise": 0, "size": k}),
    "log s² counts once": spoilt(lambda values, rest, k: {"latents_of_noise": 1}),
    "missing from the determinant": spoilt(lambda values, rest, k: {"latents_of_noise": 0}),
    "The 2π is missing": spoilt(lambda values, rest, k: {"constant": 1}),
    "The last D is missing": spoilt(lambda values, rest, k: {"trace": 0}),
    "negative log-density": spoilt(lambda values, rest, k: {"scale": 0.5}),
    "every term of a Gaussian's": spoilt(lambda values, rest, k: {"scale": -1}),
}


def by_the_density_itself(eigenvalues, latent_size):
    """log N of data whose covariance has these eigenvalues, at the points that have exactly it."""
    eigenvalues = eigenvalues.double()
    variance = eigenvalues.clone()
    variance[:-latent_size] = eigenvalues[:-latent_size].mean()
    return Normal(0.0, variance.sqrt()).log_prob(eigenvalues.sqrt()).sum()


RIGHT_EVIDENCES = [
    spoilt(lambda *_: {}),
    by_the_density_itself,
    lambda values, k: spoilt(lambda *_: {})(values.flip(0).double().flip(0), k).item(),
]
UNLISTED_EVIDENCES = [
    spoilt(lambda values, rest, k: {"noise": rest.log().mean().exp() + rest.mean()}),
    spoilt(lambda values, rest, k: {"kept": values[-k:] + rest.mean()}),
]
test_ppca_evidence, test_mistakes_of_ppca_evidence = check_tests(
    checks.ppca_evidence, RIGHT_EVIDENCES, WRONG_EVIDENCES, UNLISTED_EVIDENCES
)


def test_the_evidence_is_that_of_the_library():
    images = torch.rand(40, 1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(images.flatten(1).T, correction=0))
    ours = lesson_06._ppca_evidence(eigenvalues, 3)
    torch.testing.assert_close(ours, ppca(images, 3).log_prob(images).mean())
