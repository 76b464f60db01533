"""Lesson 02's checks: each known mistake is named by its own words, no right answer in other words refused.

Mistakes are written as a learner would, on the networks' outputs or with distributions, without the checks' formulas.
"""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, kl_divergence
from torch.nn import functional as F

from vae_utils import checks
from vae_utils.checks import lesson_02

from listed_mistakes import check_tests
from notebook_definitions import definitions


def fit(vae, x, z):
    return vae.decode(z).log_prob(x)


def rate(vae, x):
    return kl_divergence(vae.encode(x), vae.prior)


def with_distributions(vae, x, num_samples):
    return fit(vae, x, vae.encode(x).rsample((num_samples,))).mean(0) - rate(vae, x)


# --- elbo


def in_a_loop(vae, x, num_samples):
    total = 0
    for _ in range(num_samples):
        total = total + fit(vae, x, vae.encode(x).rsample())
    return total / num_samples - rate(vae, x)


def with_probabilities(vae, x, num_samples):
    q = vae.encode(x)
    y = torch.sigmoid(vae.decoder(q.rsample((num_samples,))))
    return Independent(Bernoulli(probs=y), 3).log_prob(x).mean(0) - rate(vae, x)


def in_float64(vae, x, num_samples):
    q = vae.encode(x)
    logits = vae.decoder(q.rsample((num_samples,))).double()
    per_pixel = x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)
    return per_pixel.flatten(2).sum(-1).mean(0) - rate(vae, x)


def other_memory(vae, x, num_samples):
    mean, log_variance = vae.encoder(x)
    noise = torch.randn(mean.shape[1], len(x), num_samples).permute(2, 1, 0)  # [L, B, D]
    return fit(vae, x, mean + (0.5 * log_variance).exp() * noise).T.mean(1) - rate(vae, x)


def repeated(vae, x, num_samples):
    """L copies of each image as one batch."""
    many = x.repeat_interleave(num_samples, 0)
    return fit(vae, many, vae.encode(many).rsample()).view(len(x), num_samples).mean(1) - rate(vae, x)


def terms(mean, v):
    return 0.5 * (mean**2 + v.exp() - 1 - v)


def hand_written(
    noise=torch.randn,
    std=lambda v: torch.exp(v / 2),
    squash=lambda a: a,
    pixels=lambda t: t.sum((2, 3, 4)),
    draws=lambda t: t.mean(0),
    kl=lambda mean, v: terms(mean, v).sum(1),
    cut=lambda z: z,
    end=lambda bound: bound,
):
    """The bound line by line, each of which may be spoilt."""

    def by_hand(vae, x, num_samples):
        mean, v = vae.encoder(x)
        z = cut(mean + std(v) * noise((num_samples, *mean.shape)))
        logits = squash(vae.decoder(z))
        per_pixel = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return end(draws(pixels(per_pixel)) - kl(mean, v))  # [L, B, 1, 28, 28] to [B]

    return by_hand


RIGHT_BOUNDS = [with_distributions, hand_written(), in_a_loop, with_probabilities, in_float64, other_memory, repeated]
SLIPS = {  # of both bounds
    "mean over the pixels": dict(pixels=lambda t: t.mean((2, 3, 4))),
    "mean over the latents": dict(kl=lambda m, v: terms(m, v).mean(1)),
    "KL over the wrong axis": dict(kl=lambda m, v: terms(m, v).sum(0)),
    "broadcast to [B, B]": dict(pixels=lambda t: t.sum((-2, -1))),
    "sum over the batch": dict(end=torch.sum),
    "average over the batch": dict(end=torch.mean),
    "KL has the wrong sign": dict(kl=lambda m, v: -terms(m, v).sum(1)),
    "the bound is the fit minus the KL": dict(kl=lambda m, v: 0.5 * (1 + v - m**2 - v.exp()).sum(1)),
    "sign of the whole is turned": dict(end=torch.neg),
    "factor ½ of the KL is lost": dict(kl=lambda m, v: 2 * terms(m, v).sum(1)),
    "KL is missing": dict(kl=lambda m, v: 0.0),
    "sigmoid is applied twice": dict(squash=torch.sigmoid),
    "exp(log-variance) is used as σ.": dict(kl=lambda m, v: terms(m, 2 * v).sum(1), std=torch.exp),
    "σ stands where σ² belongs": dict(kl=lambda m, v: 0.5 * (m**2 + torch.exp(v / 2) - 1 - v).sum(1)),
    "is squared, but it is σ² already": dict(kl=lambda m, v: 0.5 * (m**2 + v.exp() ** 2 - 1 - v).sum(1)),
    "an exp() is missing": dict(kl=lambda m, v: 0.5 * (m**2 + v - 1 - v).sum(1)),
}
WRONG_BOUNDS = {phrase: hand_written(**slip) for phrase, slip in SLIPS.items()} | {
    "sum over the draws": hand_written(draws=lambda t: t.sum(0)),
    "log of a sum over the draws": hand_written(draws=lambda t: t.logsumexp(0)),
    "average over the wrong axis": hand_written(draws=lambda t: t.mean(1)),
    "The draw is detached": hand_written(cut=torch.Tensor.detach),
    "Use rsample()": lambda vae, x, n: fit(vae, x, vae.encode(x).sample((n,))).mean(0) - rate(vae, x),
    # what only the draws show
    "no noise is drawn": hand_written(noise=torch.zeros),
    "the mean of q stands for z": lambda vae, x, n: at_mean(vae, x),
    "All images of a batch get the same noise": hand_written(noise=lambda shape: torch.randn(shape[0], 1, shape[2])),
    "Shared noise leaves the average right": hand_written(noise=lambda shape: torch.randn(shape[2]).expand(shape)),
    "All latents of an image get the same noise": hand_written(noise=lambda shape: torch.randn(*shape[:2], 1)),
    "all draws of an image get the same noise": hand_written(noise=lambda shape: torch.randn(shape[1:]).expand(shape)),
    "a seed is set": hand_written(noise=lambda shape: torch.randn(shape, generator=torch.Generator().manual_seed(0))),
    "noise is uniform": hand_written(noise=torch.rand),
    "exp(log-variance) is used as σ in the draw": hand_written(std=torch.exp),
    "The log-variance is used as σ in the draw": hand_written(std=lambda v: v),
    "σ is detached in the draw": hand_written(std=lambda v: torch.exp(v / 2).detach()),
    "log of a mean": hand_written(draws=lambda t: t.logsumexp(0) - math.log(len(t))),
    # no known mistake
    "not what was asked for": lambda vae, x, n: vae.encode(x),
    "shape [4, 3], but the task asks for [3]": hand_written(draws=lambda t: t),
    "not finite": hand_written(end=lambda bound: bound * math.nan),
    "carry no gradient": hand_written(end=torch.Tensor.detach),
    "Not right yet": hand_written(end=lambda bound: bound + 7),
    "stops with a ValueError": lambda vae, x, n: with_distributions(vae, x.flatten(1), n),
    "gradient": lambda vae, x, n: fit(vae, x, vae.encode(x).sample((n,))).mean(0).detach() - rate(vae, x),
}
test_bounds, test_mistakes_of_bounds = check_tests(checks.elbo, RIGHT_BOUNDS, WRONG_BOUNDS)
test_mistakes_of_bounds = pytest.mark.slow(test_mistakes_of_bounds)


# --- elbo_at_mean


def at_mean(vae, x):
    return fit(vae, x, vae.encode(x).mean) - rate(vae, x)


def hand_written_at_mean(**slip):
    return lambda vae, x: hand_written(noise=torch.zeros, **slip)(vae, x, 1)


RIGHT_AT_MEAN = [
    at_mean,
    torch.no_grad()(at_mean),
    hand_written_at_mean(),
    lambda vae, x: at_mean(vae, x).double(),
    lambda vae, x: torch.cat([at_mean(vae, image) for image in x.split(1)]),
]
WRONG_AT_MEAN = {phrase: hand_written_at_mean(**slip) for phrase, slip in SLIPS.items()} | {
    "still a draw in it": lambda vae, x: fit(vae, x, vae.encode(x).sample()) - rate(vae, x),
    "the prior's mean": lambda vae, x: fit(vae, x, vae.prior.mean.expand(len(x), -1)) - rate(vae, x),
}
test_at_mean, test_mistakes_of_at_mean = check_tests(checks.elbo_at_mean, RIGHT_AT_MEAN, WRONG_AT_MEAN)


# --- the checks' own models


def test_the_check_gives_the_lessons_kind_of_model():
    """What the learner's function is tried on has the parts of the lesson's VAE, in the same shapes."""
    lesson = definitions("02_mlp_vae", "Encoder", "Decoder", "VAE", "elbo").VAE(5)
    ours, x = lesson_02._arguments(3, 5, log_variance=-0.6, listens=True)
    for vae in (lesson, ours):
        assert [tuple(part.shape) for part in vae.encoder(x)] == [(3, 5), (3, 5)]
        assert vae.decoder(torch.zeros(2, 3, 5)).shape == (2, 3, 1, 28, 28)
        q = vae.encode(x)
        assert (q.batch_shape, q.event_shape, vae.prior.event_shape) == ((3,), (5,), (5,))
        assert vae.decode(torch.zeros(2, 3, 5)).log_prob(x).shape == (2, 3)


def test_the_probes_model_is_linear_in_z():
    vae, x = lesson_02._linear(1)
    noise = torch.randn(1000, 1, 3, generator=torch.Generator().manual_seed(0))
    z = torch.tensor(lesson_02.STD) * noise + vae.encoder.mean
    values = fit(vae, x, z).squeeze(1)
    line = z.squeeze(1) @ torch.tensor(lesson_02.SLOPES)
    assert ((values - line) - (values - line).mean()).abs().max() < 0.1 * line.std()
