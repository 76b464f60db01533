"""Lesson 02's checks: each known mistake is named by its own words, no right answer in other words refused.

Mistakes are written as a learner would, on the networks' outputs or with distributions, without the checks' formulas.
"""

import functools
import math

import torch
from torch.distributions import Bernoulli, Independent, Laplace, kl_divergence
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
    mean, log_variance = vae.encoder(x).chunk(2, -1)
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
        mean, v = vae.encoder(x).chunk(2, dim=1)
        z = cut(mean + std(v) * noise((num_samples, *mean.shape)))
        logits = squash(vae.decoder(z))
        per_pixel = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        return end(draws(pixels(per_pixel)) - kl(mean, v))  # [L, B, 1, 28, 28] to [B]

    return by_hand


def image_by_image(vae, x, num_samples):
    return torch.cat([with_distributions(vae, image, num_samples) for image in x.split(1)])


def weights(vae, x, num_samples):
    """log p(x, z) - log q(z|x) of draws: [L, B]."""
    z = vae.encode(x).rsample((num_samples,))
    return fit(vae, x, z) + vae.prior.log_prob(z) - vae.encode(x).log_prob(z)


def joint(vae, x, z):
    return fit(vae, x, z) + vae.prior.log_prob(z)


def running(total):
    def by_running(vae, x, num_samples):
        value = total
        for _ in range(num_samples):
            value = (value + fit(vae, x, vae.encode(x).rsample())) / 2
        return value - rate(vae, x)

    return by_running


def exchanged(vae, x, num_samples):
    v, mean = vae.encoder(x).chunk(2, -1)
    z = mean + torch.exp(v / 2) * torch.randn(num_samples, *mean.shape)
    return fit(vae, x, z).mean(0) - terms(mean, v).sum(1)


RIGHT_BOUNDS = [
    with_distributions,
    hand_written(),
    in_a_loop,
    with_probabilities,
    in_float64,
    other_memory,
    repeated,
    image_by_image,
]
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
    "factor ½ of the KL is missing": dict(kl=lambda m, v: 2 * terms(m, v).sum(1)),
    "KL is missing": dict(kl=lambda m, v: 0.0),
    "sigmoid is applied twice": dict(squash=torch.sigmoid),
    "exp(log-variance) is used as σ.": dict(kl=lambda m, v: terms(m, 2 * v).sum(1), std=torch.exp),
    "σ stands where σ² belongs": dict(kl=lambda m, v: 0.5 * (m**2 + torch.exp(v / 2) - 1 - v).sum(1)),
    "is squared, but it is σ² already": dict(kl=lambda m, v: 0.5 * (m**2 + v.exp() ** 2 - 1 - v).sum(1)),
    "log σ stands where log σ² belongs": dict(kl=lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v / 2).sum(1)),
    "log σ² has the wrong sign": dict(kl=lambda m, v: 0.5 * (m**2 + v.exp() - 1 + v).sum(1)),
    "log σ² is missing": dict(kl=lambda m, v: 0.5 * (m**2 + v.exp() - 1).sum(1)),
    "The KL is the other way round": dict(kl=lambda m, v: 0.5 * ((1 + m**2) / v.exp() - 1 + v).sum(1)),
    "an exp() is missing": dict(kl=lambda m, v: 0.5 * (m**2 + v - 1 - v).sum(1)),
}
WRONG_BOUNDS = {phrase: hand_written(**slip) for phrase, slip in SLIPS.items()} | {
    "sum over the draws": hand_written(draws=lambda t: t.sum(0)),
    "log of a sum over the draws": hand_written(draws=lambda t: t.logsumexp(0)),
    "average over the wrong axis": hand_written(draws=lambda t: t.mean(1)),
    "The draw is detached": hand_written(cut=torch.Tensor.detach),
    "Use rsample()": lambda vae, x, n: fit(vae, x, vae.encode(x).sample((n,))).mean(0) - rate(vae, x),
    # what only the draws show
    "No noise is drawn": hand_written(noise=torch.zeros),
    "the mean of q stands for z": lambda vae, x, n: at_mean(vae, x),
    "All images of a batch get the same noise": hand_written(noise=lambda shape: torch.randn(shape[0], 1, shape[2])),
    "Shared noise leaves the average right": hand_written(noise=lambda shape: torch.randn(shape[2]).expand(shape)),
    "All latents of an image get the same noise": hand_written(noise=lambda shape: torch.randn(*shape[:2], 1)),
    "All draws of an image get the same noise": hand_written(noise=lambda shape: torch.randn(shape[1:]).expand(shape)),
    "a seed is set": hand_written(noise=lambda shape: torch.randn(shape, generator=torch.Generator().manual_seed(0))),
    "noise is uniform": hand_written(noise=torch.rand),
    "In the draw, exp(log-variance) is used as σ": hand_written(std=torch.exp),
    "In the draw, the log-variance is used as σ": hand_written(std=lambda v: v),
    "σ is detached in the draw": hand_written(std=lambda v: torch.exp(v / 2).detach()),
    "log of a mean": hand_written(draws=lambda t: t.logsumexp(0) - math.log(len(t))),
    "The codes are averaged": lambda vae, x, n: fit(vae, x, vae.encode(x).rsample((n,)).mean(0)) - rate(vae, x),
    "The logits are averaged": lambda vae, x, n: (
        Independent(Bernoulli(logits=vae.decoder(vae.encode(x).rsample((n,))).mean(0)), 3).log_prob(x) - rate(vae, x)
    ),
    "The probabilities of the pixels are averaged": lambda vae, x, n: (
        Independent(Bernoulli(vae.decode(vae.encode(x).rsample((n,))).mean.mean(0)), 3).log_prob(x) - rate(vae, x)
    ),
    "divided by √L": hand_written(noise=lambda shape: torch.randn(shape) / shape[0] ** 0.5),
    "z is drawn from the prior": lambda vae, x, n: fit(vae, x, vae.prior.sample((n, len(x)))).mean(0) - rate(vae, x),
    "You divide the KL by L too": lambda vae, x, n: (
        (fit(vae, x, vae.encode(x).rsample((n,))).sum(0) - rate(vae, x)) / n
    ),
    "importance-weighted bound": lambda vae, x, n: weights(vae, x, n).logsumexp(0) - math.log(n),
    "This is Eq. 6": lambda vae, x, n: weights(vae, x, n).mean(0),
    "whatever num_samples is": lambda vae, x, n: fit(vae, x, vae.encode(x).rsample()) - rate(vae, x),
    "Only the last draw counts": hand_written(draws=lambda t: t[-1]),
    "running average that starts at 0": running(0.0),
    "Each new draw is averaged": hand_written(draws=lambda t: functools.reduce(lambda a, b: (a + b) / 2, t)),
    "Only pixels with ink count": lambda vae, x, n: (
        (x * F.logsigmoid(vae.decoder(vae.encode(x).rsample((n,))))).sum((2, 3, 4)).mean(0) - rate(vae, x)
    ),
    "halves of the encoder's output are exchanged": lambda vae, x, n: exchanged(vae, x, n),
    # no known mistake
    "not what was asked for": lambda vae, x, n: vae.encode(x),
    "expected shape [3], got [4, 3]": hand_written(draws=lambda t: t),
    "got nan": hand_written(end=lambda bound: bound * math.nan),
    "carry no gradient": hand_written(end=torch.Tensor.detach),
    "Every result is off by the same +7": hand_written(end=lambda bound: bound + 7),
    "For 1 image, 1 latent, 1 draw at [0]: expected -763.6, got -756.6": hand_written(end=lambda bound: bound + 7),
    "stops with a ValueError": lambda vae, x, n: with_distributions(vae, x.flatten(1), n),
    "too many values to unpack": lambda vae, x, n: len([None for mean, v in [vae.encoder(x)]]),
    "no gradient reaches `vae": lambda vae, x, n: (
        fit(vae, x, vae.encode(x).sample((n,))).mean(0).detach() - rate(vae, x)
    ),
    "expected (z - μ) / σ to be noise": hand_written(noise=lambda shape: Laplace(0.0, 1.0).sample(shape)),
    "got 1 × fit - 0.1 × KL": hand_written(kl=lambda m, v: 0.1 * terms(m, v).sum(1)),
    "log q(z|x) is missing": lambda vae, x, n: joint(vae, x, vae.encode(x).rsample((n,))).mean(0),
    "expected 1000 codes to be decoded, got 1040": lambda vae, x, n: with_distributions(vae, x, n + (n > 1)),
}
# The check's own formulas take their draws from an answer, and are none.
test_bounds, test_mistakes_of_bounds = check_tests(checks.elbo, RIGHT_BOUNDS, WRONG_BOUNDS, formulas=False)


# --- elbo_at_mean


def at_mean(vae, x):
    return fit(vae, x, vae.encode(x).mean) - rate(vae, x)


def hand_written_at_mean(**slip):
    return lambda vae, x: hand_written(noise=torch.zeros, **slip)(vae, x, 1)


def log_q_at_mean(vae, x):
    return vae.encode(x).log_prob(vae.encode(x).mean)


RIGHT_AT_MEAN = [
    at_mean,
    torch.no_grad()(at_mean),
    hand_written_at_mean(),
    lambda vae, x: at_mean(vae, x).double(),
    lambda vae, x: torch.cat([at_mean(vae, image) for image in x.split(1)]),
]
WRONG_AT_MEAN = {phrase: hand_written_at_mean(**slip) for phrase, slip in SLIPS.items()} | {
    "still a draw in it": lambda vae, x: fit(vae, x, vae.encode(x).sample()) - rate(vae, x),
    "You decode μ + σ": lambda vae, x: fit(vae, x, vae.encode(x).mean + vae.encode(x).stddev) - rate(vae, x),
    "You decode σ, not μ": lambda vae, x: fit(vae, x, vae.encode(x).stddev) - rate(vae, x),
    "the mean of all codes": lambda vae, x: fit(vae, x, vae.encode(x).mean.mean(0).expand(len(x), -1)) - rate(vae, x),
    "Only ½ μ² is left of the KL": hand_written_at_mean(kl=lambda m, v: 0.5 * (m**2).sum(1)),
    "only log p(x, z) is left": lambda vae, x: joint(vae, x, vae.encode(x).mean),
    "You draw z from the prior": lambda vae, x: fit(vae, x, vae.prior.sample((len(x),))) - rate(vae, x),
    "at z = μ": lambda vae, x: (
        at_mean(vae, x) + rate(vae, x) + vae.prior.log_prob(vae.encode(x).mean) - log_q_at_mean(vae, x)
    ),
    "too many values to unpack": lambda vae, x: len([None for mean, v in [vae.encoder(x)]]),
    "the prior's mean": lambda vae, x: fit(vae, x, vae.prior.mean.expand(len(x), -1)) - rate(vae, x),
}
test_at_mean, test_mistakes_of_at_mean = check_tests(checks.elbo_at_mean, RIGHT_AT_MEAN, WRONG_AT_MEAN, formulas=False)


# --- the checks' own models


def test_the_check_gives_the_lessons_kind_of_model():
    """What the learner's function is tried on has the parts of the lesson's VAE, in the same shapes."""
    lesson = definitions("02_mlp_vae", "Encoder", "Decoder", "VAE", "elbo").VAE(5)
    ours, x = lesson_02._model(3, 5)
    for vae in (lesson, ours):
        assert vae.encoder(x).shape == (3, 10)
        assert vae.decoder(torch.zeros(2, 3, 5)).shape == (2, 3, 1, 28, 28)
        q = vae.encode(x)
        assert (q.batch_shape, q.event_shape, vae.prior.event_shape) == ((3,), (5,), (5,))
        assert vae.decode(torch.zeros(2, 3, 5)).log_prob(x).shape == (2, 3)


def test_the_decoder_is_curved():
    """Where it is not, averages of codes, of logits and of log-likelihoods are the same."""
    vae, x = lesson_02._model(40, 3)
    z = vae.encode(x).sample((25,))
    values = fit(vae, x, z).mean(0)
    assert (fit(vae, x, z.mean(0)) - values).mean() > 5
    averaged_logits = Independent(Bernoulli(logits=vae.decoder(z).mean(0)), 3).log_prob(x)
    assert (averaged_logits - values).mean() > 5 and (averaged_logits - fit(vae, x, z.mean(0))).abs().mean() > 1
