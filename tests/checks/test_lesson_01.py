"""Lesson 01's checks: each known mistake is named by its own words, no right answer in other words refused.

The mistakes are written here as a learner would, without the formulas that the checks hold.
"""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vae_utils import checks
from vae_utils.checks import lesson_01

from notebook_definitions import NOTEBOOKS, definitions, sources


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"], autouse=True)
def default_dtype(request):
    """The lesson runs in float64, the others in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def assert_named(verdict, phrase):
    assert (verdict.right, verdict.attempted) == (False, True)
    assert phrase in verdict.text and "Two things" not in verdict.text


# --- kl


def terms(m, v, n, w):
    return 0.5 * (w - v + ((m - n) ** 2 + v.exp()) / w.exp() - 1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda m, v, n, w: terms(m, v, n, w).sum(-1),
        lambda m, v, n, w: kl_divergence(Normal(m, (v / 2).exp()), Normal(n, (w / 2).exp())).sum(1),
        lambda m, v, n, w: kl_divergence(
            Independent(Normal(m, v.exp().sqrt()), 1), Independent(Normal(n, w.exp() ** 0.5), 1)
        ),
        lambda m, v, n, w: kl_divergence(
            MultivariateNormal(m, torch.diag_embed(v.exp())), MultivariateNormal(n, torch.diag_embed(w.exp()))
        ),
        lambda m, v, n, w: terms(*(t.double() for t in (m, v, n, w))).sum(-1),
        lambda m, v, n, w: terms(m.T, v.T, n.T, w.T).sum(0),  # strides of another order
        lambda m, v, n, w: torch.stack([terms(*row).sum() for row in zip(m, v, n, w)]),
        lambda m, v, n, w: torch.einsum("bd->b", (w - v + (v - w).exp() + (m - n).square() * (-w).exp() - 1) / 2),
        lambda m, v, n, w: torch.nansum(terms(m, v, n, w), 1),
    ],
    ids=["formula", "Normal", "Independent", "MultivariateNormal", "double", "transposed", "loop", "einsum", "nansum"],
)
def test_right_kls(answer):
    verdict = checks.kl(answer)
    assert verdict.right and verdict.text.startswith("Right."), verdict.text


def gaussian_kl(m, v, n, w):
    return terms(m, v, n, w).sum(-1)


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda m, v, n, w: terms(m, v, n, w).mean(-1), "mean over the latents"),
        (lambda m, v, n, w: terms(m, v, n, w).sum(), "sum over the whole batch"),
        (lambda m, v, n, w: terms(m, v, n, w).mean(), "mean over images and latents at once"),
        (lambda m, v, n, w: terms(m, v, n, w).sum(-1).mean(), "average over the images"),
        (lambda m, v, n, w: terms(m, v, n, w).sum(0), "wrong axis"),
        (lambda m, v, n, w: -gaussian_kl(m, v, n, w), "sign is turned"),
        (lambda m, v, n, w: 0.5 * (1 + v - w - (v - w).exp() - (m - n) ** 2 * (-w).exp()).sum(-1), "sign is turned"),
        (lambda m, v, n, w: 2 * gaussian_kl(m, v, n, w), "factor ½ is lost"),
        (lambda m, v, n, w: kl_divergence(Normal(m, v.exp()), Normal(n, w.exp())).sum(-1), "exp(log_var) is used as σ"),
        (
            lambda m, v, n, w: 0.5 * (w - v + ((m - n) ** 2 + (v / 2).exp()) / (w / 2).exp() - 1).sum(-1),
            "exp(log_var / 2) is σ, but",
        ),
        (
            lambda m, v, n, w: 0.5 * (w - v + ((m - n) ** 2 + v.exp() ** 2) / w.exp() ** 2 - 1).sum(-1),
            "square it once more",
        ),
        (lambda m, v, n, w: 0.5 * (w - v + ((m - n) ** 2 + v) / w - 1).sum(-1), "as if it were the variance"),
        (lambda m, v, n, w: 0.5 * (w - v + ((m - n) ** 2 + v**2) / w**2 - 1).sum(-1), "as if it were σ, and squared"),
        (lambda m, v, n, w: gaussian_kl(n, w, m, v), "changed places"),
        (lambda m, v, n, w: gaussian_kl(m, v, 0 * n, 0 * w), "whatever the prior is"),
        (
            lambda m, v, n, w: 0.5 * (w - v + (m - n) ** 2 + (v - w).exp() - 1).sum(-1),
            "not divided by the prior's variance",
        ),
        (lambda m, v, n, w: (terms(m, v, n, w) + 0.5).sum(-1), "-1 for each latent is lost"),
    ],
)
def test_wrong_kls_are_named(answer, phrase):
    assert_named(checks.kl(answer), phrase)


def test_two_slips_in_one_kl():
    text = checks.kl(lambda m, v, n, w: -2 * gaussian_kl(m, v, n, w)).text
    assert text.startswith("Two things at once") and "sign is turned" in text and "factor ½ is lost" in text


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda m, v, n, w: gaussian_kl(m.detach(), v, n, w), "gradient is not"),
        (lambda m, v, n, w: gaussian_kl(m, v, n, w).detach(), "no gradient"),
        (lambda m, v, n, w: gaussian_kl(m, v, n, w).tolist(), "3 values where"),
        (lambda m, v, n, w: gaussian_kl(m, v, n, w)[:, None], "shape [3, 1]"),
        (lambda m, v, n, w: kl_divergence(Normal(m, v), Normal(n, w)), "ValueError"),
        (lambda m, v, n, w: kl_divergence(Normal(m, v.exp()), 3), "NotImplementedError"),
        (lambda m, v, n, w: terms(m, v, n, w), "shape [3, 5], but the task asks for [3]"),
        (lambda m, v: 0, "positional argument"),
        (lambda m, v, n, w: torch.log(m), "shape [3, 5]"),
        (lambda m, v, n, w: torch.log(-m.abs()).sum(-1), "not finite"),
        (lambda *a: None, "return` missing"),
        (lambda *a: "right", "a str"),
        (lambda *a: gaussian_kl, "not what was asked for"),
    ],
)
def test_garbage_in_kl_gets_a_sentence(answer, phrase):
    assert_named(checks.kl(answer), phrase)


# --- width_gradients


@pytest.mark.parametrize(
    "answer",
    [
        lambda f, slope, m, s, e: (slope(m + s * e) * e, f(m + s * e) * (e**2 - 1) / s),
        lambda f, slope, m, s, e: (e * slope(m + s * e), f(m + s * e) * (((m + s * e) - m) ** 2 / s**3 - 1 / s)),
        lambda f, slope, m, s, e: [slope(Normal(m, s).icdf(Normal(0, 1).cdf(e))) * e, -f(m + e * s) * (1 - e * e) / s],
        lambda f, slope, m, s, e: torch.stack([slope(m + s * e) * e, f(m + s * e) * (e**2 - 1) / s]).unbind(),
        lambda f, slope, m, s, e: ((slope(m + s * e) * e).double(), (f(m + s * e) * (e**2 - 1) / s).double()),
    ],
)
def test_right_width_gradients(answer):
    verdict = checks.width_gradients(answer)
    assert verdict.right, verdict.text


def test_autograd_finds_the_same_width_gradients():
    def by_autograd(f, slope, mean, width, noise):
        widths = torch.full_like(noise, width, requires_grad=True)
        z = mean + widths * noise
        (path,) = torch.autograd.grad(f(z).sum(), widths)
        log_q = Normal(mean, widths).log_prob(z.detach())
        (score,) = torch.autograd.grad((f(z.detach()) * log_q).sum(), widths)
        return path, score

    assert checks.width_gradients(by_autograd).right


@pytest.mark.parametrize(
    ("path", "score", "phrase"),
    [
        (lambda d, e, s: d, None, "gradient for the mean"),
        (lambda d, e, s: d * s, None, "multiplied by σ, but"),
        (lambda d, e, s: d * e * s, None, "factor σ too many"),
        (lambda d, e, s: d * e / s, None, "division by σ too many; that belongs"),
        (None, lambda v, e, s: v * e / s, "score for the mean"),
        (None, lambda v, e, s: v * e**2 / s, "the -1 is lost"),
        (None, lambda v, e, s: v * (e**2 - 1), "gradient for log σ. A narrow"),
        (None, lambda v, e, s: v * (e**2 - 1) / s**2, "one division by σ too many"),
        (None, lambda v, e, s: v * (1 - e**2) / s, "sign is turned"),
    ],
)
def test_wrong_width_gradients_are_named(path, score, phrase):
    path = path or (lambda d, e, s: d * e)
    score = score or (lambda v, e, s: v * (e**2 - 1) / s)

    def answer(f, slope, mean, width, noise):
        z = mean + width * noise
        return path(slope(z), noise, width), score(f(z), noise, width)

    assert_named(checks.width_gradients(answer), phrase)


def both(f, slope, m, s, e):
    return slope(m + s * e) * e, f(m + s * e) * (e**2 - 1) / s


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda *a: tuple(t.mean() for t in both(*a)), "average over the draws"),
        (lambda *a: tuple(t.sum() for t in both(*a)), "sum over the draws"),
        (lambda *a: both(*a)[::-1], "wrong order"),
        (
            lambda f, slope, m, s, e: (slope(m + s**0.5 * e) * e, f(m + s**0.5 * e) * (e**2 - 1) / s),
            "used as a variance",
        ),
        (lambda *a: both(*a)[0], "1 value where the task asks for 2 values"),
        (lambda *a: (None, None), "a tuple"),
        (lambda f, slope, m, s, e: (slope * e, f), "TypeError"),
    ],
)
def test_other_wrong_width_gradients_are_named(answer, phrase):
    assert_named(checks.width_gradients(answer), phrase)


def test_one_slip_in_each_estimator():
    text = checks.width_gradients(lambda f, slope, m, s, e: (slope(m + s * e), f(m + s * e) * e / s)).text
    assert "gradient for the mean" in text and "score for the mean" in text


# --- landing_bound


def eq6(z, q, s=math.sqrt(0.1), x=1.0):
    return Normal(z, s).log_prob(torch.tensor(x)) + Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)


def frozen(m, s):
    return Normal(m.detach(), s.detach())


def by_two_passes(m, s, e):
    """The same gradient in another way: the value of Eq. 6, minus its own score."""
    z = m + s * e
    values = eq6(z, Normal(m, s))
    score = Normal(m, s).log_prob(z.detach())
    return values + score - score.detach()


@pytest.mark.parametrize(
    "answer",
    [
        lambda m, s, e: eq6(m + s * e, frozen(m, s)),
        lambda m, s, e: eq6(torch.addcmul(m.expand_as(e), s.expand_as(e), e), frozen(m, s)),
        lambda m, s, e: eq6((m + s * e).double(), frozen(m.double(), s.double())),
        by_two_passes,
        lambda m, s, e: (
            -5 * (1 - m - s * e) ** 2
            - 0.5 * math.log(0.1 * 2 * math.pi)
            - (m + s * e) ** 2 / 2
            + ((m + s * e - m.detach()) / s.detach()) ** 2 / 2
            + s.detach().log()
        ),
    ],
    ids=["distributions", "addcmul", "double", "two passes", "by hand"],
)
def test_right_landings(answer):
    verdict = checks.landing_bound(answer)
    assert verdict.right, verdict.text


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda m, s, e: eq6(m + s * e, Normal(m, s)), "nothing is cut off yet"),
        (lambda m, s, e: eq6(m + s * e, Normal(m.detach(), s)), "the width is not"),
        (lambda m, s, e: eq6(m + s * e, Normal(m, s.detach())), "the mean is not"),
        (lambda m, s, e: eq6((m + s * e).detach(), Normal(m, s)), "z itself is detached"),
        (lambda m, s, e: eq6((m + s * e).detach(), frozen(m, s)), "no gradient"),
        (
            lambda m, s, e: (
                eq6(m + s * e, frozen(m, s))
                + Normal(m.detach(), s.detach()).log_prob(m + s * e)
                - Normal(m, s).log_prob((m + s * e).detach())
            ),
            "wrong route",
        ),
        (
            lambda m, s, e: (
                eq6(m + s * e, frozen(m, s))
                + frozen(m, s).log_prob(m + s * e)
                - frozen(m, s).log_prob(m + s * e).detach()
            ),
            "All of log q(z) is held fixed",
        ),
        (
            lambda m, s, e: (
                Normal(m + s * e, 0.1**0.5).log_prob(torch.tensor(1.0)) - kl_divergence(Normal(m, s), Normal(0.0, 1.0))
            ),
            "This is Eq. 7",
        ),
        (lambda m, s, e: eq6(m + s * e, frozen(m, s)) - Normal(0.0, 1.0).log_prob(m + s * e), "log p(z) is missing"),
        (lambda m, s, e: eq6(m + s * e, frozen(m, s)) + 2 * frozen(m, s).log_prob(m + s * e), "wrong sign"),
        (lambda m, s, e: eq6(m + s * e, frozen(m, s)) + 0.5 * math.log(2 * math.pi), "2π is missing"),
        (lambda m, s, e: eq6(m + s * e, frozen(m, s), s=0.1), "s² is used as the standard deviation"),
        (lambda m, s, e: eq6(m + s * e, frozen(m, s)).mean(), "average over the draws"),
        (lambda m, s, e: eq6(m + s * e, frozen(m, s)).detach(), "no gradient"),
        (lambda m, s, e: eq6(m, s), "AttributeError"),
    ],
)
def test_wrong_landings_are_named(answer, phrase):
    assert_named(checks.landing_bound(answer), phrase)


def test_the_check_has_the_lessons_model():
    prior = Normal(0.0, 1.0)
    lesson = definitions(
        "01_elbo", "sgvb", s2=lesson_01.NOISE_VARIANCE, observed=torch.tensor(lesson_01.OBSERVED), prior=prior
    )
    written = f"s2, observed = {lesson_01.NOISE_VARIANCE}, torch.tensor({lesson_01.OBSERVED})"
    assert any(written in cell for cell in sources(NOTEBOOKS / "01_elbo.ipynb", "code"))
    verdict = checks.landing_bound(lambda m, s, e: lesson.sgvb(m, s, e)[0])
    assert_named(verdict, "nothing is cut off yet")


def test_lists_of_mistakes_do_not_hide_each_other(default_dtype):
    """Each single slip is named by its own words: no other gives the same numbers on the cases."""
    for check, mistakes in (
        (checks.kl, lesson_01.KL_MISTAKES),
        (checks.width_gradients, lesson_01.WIDTH_MISTAKES),
        (checks.landing_bound, lesson_01.LANDING_MISTAKES),
    ):
        for mistake in mistakes:
            if "Two things" not in mistake.text:
                assert check(mistake.function).text == mistake.text
