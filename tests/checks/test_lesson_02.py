"""Lesson 02's checks: each known mistake is named by its own words, no right answer in other words refused.

The mistakes are written as a learner would, on the networks' outputs or with distributions, without the
checks' formulas.
"""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.nn import functional as F

from vae_utils import checks
from vae_utils.checks import lesson_02

from notebook_definitions import definitions


def assert_named(verdict, phrase):
    assert (verdict.right, verdict.attempted) == (False, True)
    assert phrase in verdict.text and "Two things" not in verdict.text, verdict.text


def fit(vae, x, z):
    return vae.decode(z).log_prob(x)


def rate(vae, x):
    return kl_divergence(vae.encode(x), vae.prior)


def with_distributions(vae, x, num_samples):
    q = vae.encode(x)
    z = q.rsample((num_samples,))
    return vae.decode(z).log_prob(x).mean(0) - kl_divergence(q, vae.prior)


# --- elbo


def by_hand(vae, x, num_samples):
    mean, log_variance = vae.encoder(x)
    noise = torch.randn(num_samples, *mean.shape)
    logits = vae.decoder(mean + torch.exp(log_variance / 2) * noise)
    bce = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")  # [L, B, 1, 28, 28]
    return -bce.sum((2, 3, 4)).mean(0) - 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


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


@pytest.mark.parametrize(
    "answer", [with_distributions, by_hand, in_a_loop, with_probabilities, in_float64, other_memory, repeated]
)
def test_right_bounds(answer):
    verdict = checks.elbo(answer)
    assert verdict.right and verdict.text.startswith("Right."), verdict.text


def hand_written(
    noise=lambda shape: torch.randn(shape),
    std=lambda v: torch.exp(v / 2),
    squash=lambda a: a,
    pixels=lambda t: t.sum((2, 3, 4)),
    draws=lambda t: t.mean(0),
    kl=None,
    cut=lambda z: z,
    end=lambda bound: bound,
):
    """by_hand, with one of its lines replaced."""

    def answer(vae, x, num_samples):
        mean, v = vae.encoder(x)
        z = cut(mean + std(v) * noise((num_samples, *mean.shape)))
        logits = squash(vae.decoder(z))
        per_pixel = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        cost = 0.5 * (mean**2 + v.exp() - 1 - v).sum(1) if kl is None else kl(mean, v)
        return end(draws(pixels(per_pixel)) - cost)

    return answer


def terms(mean, v):
    return 0.5 * (mean**2 + v.exp() - 1 - v)


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (hand_written(pixels=lambda t: t.mean((2, 3, 4))), "mean over the pixels"),
        (hand_written(kl=lambda m, v: terms(m, v).mean(1)), "mean over the latents"),
        (hand_written(kl=lambda m, v: terms(m, v).sum(0)), "KL over the wrong axis"),
        (hand_written(pixels=lambda t: t.sum((-2, -1))), "broadcast to [B, B]"),
        (hand_written(end=lambda bound: bound.sum()), "sum over the batch"),
        (hand_written(end=lambda bound: bound.mean()), "average over the batch"),
        (hand_written(kl=lambda m, v: -terms(m, v).sum(1)), "KL has the wrong sign"),
        (hand_written(kl=lambda m, v: 0.5 * (1 + v - m**2 - v.exp()).sum(1)), "KL has the wrong sign"),
        (hand_written(end=lambda bound: -bound), "sign of the whole is turned"),
        (hand_written(kl=lambda m, v: 2 * terms(m, v).sum(1)), "factor ½ of the KL is lost"),
        (hand_written(kl=lambda m, v: 0.0), "KL is missing"),
        (hand_written(squash=torch.sigmoid), "sigmoid is applied twice"),
        (
            hand_written(kl=lambda m, v: kl_divergence(Normal(m, v.exp()), Normal(0.0, 1.0)).sum(1), std=torch.exp),
            "exp(log-variance) is used as σ.",
        ),
        (hand_written(kl=lambda m, v: 0.5 * (m**2 + torch.exp(v / 2) - 1 - v).sum(1)), "σ stands where σ² belongs"),
        (hand_written(kl=lambda m, v: 0.5 * (m**2 + v.exp() ** 2 - 1 - v).sum(1)), "is squared, but it is σ² already"),
        (hand_written(kl=lambda m, v: 0.5 * (m**2 + v - 1 - v).sum(1)), "an exp() is missing"),
        (hand_written(draws=lambda t: t.sum(0)), "sum over the draws"),
        (hand_written(draws=lambda t: t.logsumexp(0)), "log of a sum over the draws"),
        (hand_written(draws=lambda t: t.mean(1)), "average over the wrong axis"),
        (hand_written(cut=torch.Tensor.detach), "The draw is detached"),
        (lambda vae, x, n: fit(vae, x, vae.encode(x).sample((n,))).mean(0) - rate(vae, x), "The draw is detached"),
        # what only the draws show
        (hand_written(noise=torch.zeros), "no noise is drawn"),
        (lambda vae, x, n: fit(vae, x, vae.encode(x).mean) - rate(vae, x), "no noise is drawn"),
        (
            hand_written(noise=lambda shape: torch.randn(shape[0], 1, shape[2])),
            "All images of a batch get the same noise",
        ),
        (
            hand_written(noise=lambda shape: torch.randn(shape[2]).expand(shape)),
            "All images of a batch get the same noise",
        ),
        (
            hand_written(noise=lambda shape: torch.randn(shape[0], shape[1], 1)),
            "All latents of an image get the same noise",
        ),
        (
            hand_written(noise=lambda shape: torch.randn(shape[1:]).expand(shape)),
            "all draws of an image get the same noise",
        ),
        (
            hand_written(noise=lambda shape: torch.randn(shape, generator=torch.Generator().manual_seed(0))),
            "a seed is set",
        ),
        (hand_written(noise=lambda shape: torch.rand(shape)), "noise is uniform"),
        (hand_written(std=torch.exp), "exp(log-variance) is used as σ in the draw"),
        (hand_written(std=lambda v: v), "log-variance is used as σ in the draw"),
        (hand_written(std=lambda v: torch.exp(v / 2).detach()), "σ is detached in the draw"),
        (hand_written(draws=lambda t: t.logsumexp(0) - math.log(len(t))), "log of a mean"),
    ],
)
def test_wrong_bounds_are_named(answer, phrase):
    assert_named(checks.elbo(answer), phrase)


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda vae, x, n: None, "return` missing"),
        (lambda vae, x, n: "bound", "a str"),
        (lambda vae, x: 0, "positional argument"),
        (lambda vae, x, n: vae.encode(x), "not what was asked for"),
        (
            lambda vae, x, n: fit(vae, x, vae.encode(x).rsample((n,))) - rate(vae, x),
            "shape [4, 3], but the task asks for [3]",
        ),
        (lambda vae, x, n: with_distributions(vae, x, n) * math.nan, "not finite"),
        (lambda vae, x, n: with_distributions(vae, x, n).detach(), "no gradient"),
        (lambda vae, x, n: with_distributions(vae, x, n) + 7, "Not right yet"),
        (lambda vae, x, n: with_distributions(vae, x.flatten(1), n), "Error"),
        (
            lambda vae, x, n: fit(vae, x, vae.encode(x).rsample((n,)).detach()).mean(0).detach() - rate(vae, x),
            "gradient",
        ),
    ],
)
def test_garbage_bounds_get_a_sentence(answer, phrase):
    assert_named(checks.elbo(answer), phrase)


# --- elbo_at_mean


def at_mean(vae, x):
    return fit(vae, x, vae.encode(x).mean) - rate(vae, x)


@pytest.mark.parametrize(
    "answer",
    [
        at_mean,
        torch.no_grad()(at_mean),
        lambda vae, x: hand_written(noise=torch.zeros)(vae, x, 1),
        lambda vae, x: at_mean(vae, x).double(),
        lambda vae, x: torch.cat([at_mean(vae, image) for image in x.split(1)]),
    ],
    ids=["itself", "no_grad", "by hand", "float64", "one by one"],
)
def test_right_bounds_at_the_mean(answer):
    verdict = checks.elbo_at_mean(answer)
    assert verdict.right, verdict.text


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda vae, x: fit(vae, x, vae.encode(x).sample()) - rate(vae, x), "still a draw in it"),
        (lambda vae, x: fit(vae, x, vae.prior.mean.expand(len(x), -1)) - rate(vae, x), "the prior's mean"),
        (lambda vae, x: fit(vae, x, vae.encode(x).mean), "KL is missing"),
        (lambda vae, x: fit(vae, x, vae.encode(x).mean) + rate(vae, x), "KL has the wrong sign"),
        (lambda vae, x: -at_mean(vae, x), "sign of the whole is turned"),
        (lambda vae, x: at_mean(vae, x).mean(), "average over the batch"),
        (lambda vae, x: at_mean(vae, x).sum(), "sum over the batch"),
        (lambda vae, x: None, "return` missing"),
    ],
)
def test_wrong_bounds_at_the_mean_are_named(answer, phrase):
    assert_named(checks.elbo_at_mean(answer), phrase)


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


@pytest.mark.slow
def test_lists_of_mistakes_do_not_hide_each_other():
    for check, mistakes in ((checks.elbo, lesson_02.BOUND_MISTAKES), (checks.elbo_at_mean, lesson_02.MEAN_MISTAKES)):
        for mistake in mistakes:
            if "Two things" not in mistake.text:
                assert check(mistake.function).text == mistake.text
