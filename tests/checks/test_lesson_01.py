"""Lesson 01's checks: each known mistake is named by its own words, no right answer in other words refused.

The mistakes are written here as a learner would, without the formulas that the checks hold.
"""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vae_utils import checks
from vae_utils.checks import lesson_01

from listed_mistakes import check_tests
from notebook_definitions import NOTEBOOKS, definitions, sources


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"], autouse=True)
def default_dtype(request):
    """The lesson runs in float64, the others in float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(before)


# --- kl


def terms(m, v, n, w, variance=torch.exp):
    return 0.5 * (w - v + ((m - n) ** 2 + variance(v)) / variance(w) - 1)


def kl(m, v, n, w, variance=torch.exp):
    return terms(m, v, n, w, variance).sum(-1)


def kl_of_independent(m, v, n, w):
    return kl_divergence(Independent(Normal(m, v.exp().sqrt()), 1), Independent(Normal(n, w.exp() ** 0.5), 1))


def kl_of_multivariate(m, v, n, w):
    q, p = MultivariateNormal(m, torch.diag_embed(v.exp())), MultivariateNormal(n, torch.diag_embed(w.exp()))
    return kl_divergence(q, p)


RIGHT_KLS = [
    kl,
    kl_of_independent,
    kl_of_multivariate,
    lambda m, v, n, w: kl_divergence(Normal(m, (v / 2).exp()), Normal(n, (w / 2).exp())).sum(1),
    lambda m, v, n, w: kl(*(t.double() for t in (m, v, n, w))),
    lambda m, v, n, w: terms(m.T, v.T, n.T, w.T).sum(0),  # strides of another order
    lambda m, v, n, w: torch.stack([terms(*row).sum() for row in zip(m, v, n, w)]),
    lambda m, v, n, w: torch.einsum("bd->b", (w - v + (v - w).exp() + (m - n).square() * (-w).exp() - 1) / 2),
    lambda m, v, n, w: torch.nansum(terms(m, v, n, w), 1),
]
WRONG_KLS = {
    "mean over the latents": lambda m, v, n, w: terms(m, v, n, w).mean(-1),
    "sum over the whole batch": lambda m, v, n, w: terms(m, v, n, w).sum(),
    "mean over images and latents at once": lambda m, v, n, w: terms(m, v, n, w).mean(),
    "average over the images": lambda m, v, n, w: terms(m, v, n, w).sum(-1).mean(),
    "wrong axis": lambda m, v, n, w: terms(m, v, n, w).sum(0),
    "sign is turned": lambda m, v, n, w: -kl(m, v, n, w),
    "minus the KL": lambda m, v, n, w: 0.5 * (1 + v - w - (v - w).exp() - (m - n) ** 2 * (-w).exp()).sum(-1),
    "factor ½ is missing": lambda m, v, n, w: 2 * kl(m, v, n, w),
    "exp(log_var) is used as σ": lambda m, v, n, w: kl_divergence(Normal(m, v.exp()), Normal(n, w.exp())).sum(-1),
    "exp(log_var / 2) is σ, but": lambda m, v, n, w: kl(m, v, n, w, lambda t: (t / 2).exp()),
    "square it once more": lambda m, v, n, w: kl(m, v, n, w, lambda t: t.exp() ** 2),
    "as if it were the variance": lambda m, v, n, w: kl(m, v, n, w, lambda t: t),
    "as if it were σ, and squared": lambda m, v, n, w: kl(m, v, n, w, torch.square),
    "changed places": lambda m, v, n, w: kl(n, w, m, v),
    "whatever the prior is": lambda m, v, n, w: kl(m, v, 0 * n, 0 * w),
    "not divided by the prior's variance": lambda m, v, n, w: 0.5 * (w - v + (m - n) ** 2 + (v - w).exp() - 1).sum(-1),
    "The bracket is divided by the prior's σ": lambda m, v, n, w: (
        0.5 * (w - v + (v.exp() + (m - n) ** 2) / (w / 2).exp() - 1).sum(-1)
    ),
    "Both logarithms are subtracted": lambda m, v, n, w: kl(m, v, n, w) - w.sum(-1),
    "-1 for each dimension is missing": lambda m, v, n, w: (terms(m, v, n, w) + 0.5).sum(-1),
    "factor ½ is missing, and the sign is turned": lambda m, v, n, w: -2 * kl(m, v, n, w),
    # no known mistake
    "no gradient reaches `mean`": lambda m, v, n, w: kl(m.detach(), v, n, w),
    "carry no gradient": lambda m, v, n, w: kl(m, v, n, w).detach(),
    "expected 1 value, got 3 values": lambda m, v, n, w: kl(m, v, n, w).tolist(),
    "one dimension too many": lambda m, v, n, w: kl(m, v, n, w)[:, None],
    "in bits": lambda m, v, n, w: kl(m, v, n, w) / math.log(2),
    "ValueError": lambda m, v, n, w: kl_divergence(Normal(m, v), Normal(n, w)),
    "NotImplementedError": lambda m, v, n, w: kl_divergence(Normal(m, v.exp()), 3),
    "stops with an OverflowError": lambda m, v, n, w: math.exp(1e4),
    "stops with a ValueError": lambda m, v, n, w: math.log(-1),
    "stops with a UnicodeEncodeError": lambda m, v, n, w: "σ".encode("ascii"),
    "expected shape [3], got [3, 5]": terms,
    "got [3, 5]": lambda m, v, n, w: torch.log(m),
    "got nan": lambda m, v, n, w: torch.log(-m.abs()).sum(-1),
    "not what was asked for": lambda *a: kl,
}
UNLISTED_KLS = [
    lambda m, v, n, w: kl(m, v, n, w) + kl(n, w, m, v),  # both directions
    lambda m, v, n, w: terms(m, v, n, w).clamp(min=1).sum(-1),  # free bits
    lambda m, v, n, w: kl(m, v, n, w).cumsum(0),
]
test_kls, test_mistakes_of_kls = check_tests(checks.kl, RIGHT_KLS, WRONG_KLS, UNLISTED_KLS)


# --- width_gradients


def estimates(path=lambda slope, e, s: slope * e, score=lambda value, e, s: value * (e**2 - 1) / s):
    """The two estimates, of which either may be spoilt."""

    def width_gradients(f, slope, m, s, e):
        z = m + s * e
        return path(slope(z), e, s), score(f(z), e, s)

    return width_gradients


both = estimates()


def by_autograd(f, slope, mean, width, noise):
    widths = torch.full_like(noise, width, requires_grad=True)
    z = mean + widths * noise
    (path,) = torch.autograd.grad(f(z).sum(), widths)
    log_q = Normal(mean, widths).log_prob(z.detach())
    (score,) = torch.autograd.grad((f(z.detach()) * log_q).sum(), widths)
    return path, score


RIGHT_WIDTHS = [
    both,
    by_autograd,
    lambda f, slope, m, s, e: (e * slope(m + s * e), f(m + s * e) * (((m + s * e) - m) ** 2 / s**3 - 1 / s)),
    lambda f, slope, m, s, e: [slope(Normal(m, s).icdf(Normal(0, 1).cdf(e))) * e, -f(m + e * s) * (1 - e * e) / s],
    lambda *a: torch.stack(both(*a)).unbind(),
    lambda *a: torch.stack(both(*a)),
    lambda *a: tuple(estimate.double() for estimate in both(*a)),
]
WRONG_WIDTHS = {
    "gradient for the mean": estimates(path=lambda slope, e, s: slope),
    "multiplied by σ, but": estimates(path=lambda slope, e, s: slope * s),
    "factor σ too many": estimates(path=lambda slope, e, s: slope * e * s),
    "division by σ too many; that belongs": estimates(path=lambda slope, e, s: slope * e / s),
    "score for the mean": estimates(score=lambda value, e, s: value * e / s),
    "the -1 is missing": estimates(score=lambda value, e, s: value * e**2 / s),
    "this is the gradient for log σ": estimates(score=lambda value, e, s: value * (e**2 - 1)),
    "this is the gradient for σ²": estimates(score=lambda value, e, s: value * (e**2 - 1) / (2 * s**2)),
    "f is taken at the noise": lambda f, slope, m, s, e: (slope(m + s * e) * e, f(e) * (e**2 - 1) / s),
    "one division by σ too many": estimates(score=lambda value, e, s: value * (e**2 - 1) / s**2),
    "sign is turned": estimates(score=lambda value, e, s: value * (1 - e**2) / s),
    "Two things at once … gradient for the mean … score for the mean": estimates(
        path=lambda slope, e, s: slope, score=lambda value, e, s: value * e / s
    ),
    "average over the draws": lambda *a: tuple(estimate.mean() for estimate in both(*a)),
    "sum over the draws": lambda *a: tuple(estimate.sum() for estimate in both(*a)),
    "wrong order": lambda *a: both(*a)[::-1],
    "used as a variance": lambda f, slope, m, s, e: (slope(m + s**0.5 * e) * e, f(m + s**0.5 * e) * (e**2 - 1) / s),
    "expected 2 values, got 1 value": lambda *a: both(*a)[0],
    "a tuple": lambda *a: (None, None),
    "TypeError": lambda f, slope, m, s, e: (slope * e, f),
}
UNLISTED_WIDTHS = [
    estimates(score=lambda value, e, s: value * (e.abs() - 1) / s),
    estimates(path=lambda slope, e, s: (slope * e).mean().expand_as(e)),
    lambda f, slope, m, s, e: (both(f, slope, m, s, e)[0], f(m + s * e) * (e**2 - 1) / s + e),
]
test_widths, test_mistakes_of_widths = check_tests(checks.width_gradients, RIGHT_WIDTHS, WRONG_WIDTHS, UNLISTED_WIDTHS)


# --- landing_bound

PRIOR = Normal(0.0, 1.0)


def joint(z, s=math.sqrt(0.1)):
    return Normal(z, s).log_prob(torch.ones_like(z)) + PRIOR.log_prob(z)


def eq6(z, q, **model):
    return joint(z, **model) - q.log_prob(z)


def frozen(m, s):
    return Normal(m.detach(), s.detach())


def by_two_passes(m, s, e):
    """The same gradient in another way: the value of Eq. 6, minus its own score."""
    z = m + s * e
    score = Normal(m, s).log_prob(z.detach())
    return eq6(z, Normal(m, s)) + score - score.detach()


def by_hand(m, s, e, in_square=None, in_log=None):
    """Both parts of log q written out; what each takes for its parameters may be spoilt."""
    z = m + s * e
    mean, width = in_square or (m.detach(), s.detach())
    log_p = -5 * (1 - z) ** 2 - 0.5 * math.log(0.1 * 2 * math.pi) - z**2 / 2
    return log_p + ((z - mean) / width) ** 2 / 2 + (s.detach() if in_log is None else in_log).log()


RIGHT_LANDINGS = [
    by_two_passes,
    by_hand,
    lambda m, s, e: eq6(m + s * e, frozen(m, s)),
    lambda m, s, e: eq6(torch.addcmul(m.expand_as(e), s.expand_as(e), e), frozen(m, s)),
    lambda m, s, e: eq6((m + s * e).double(), frozen(m.double(), s.double())),
]
WRONG_LANDINGS = {
    "nothing is cut off yet": lambda m, s, e: eq6(m + s * e, Normal(m, s)),
    "the width is not": lambda m, s, e: eq6(m + s * e, Normal(m.detach(), s)),
    "the mean is not": lambda m, s, e: eq6(m + s * e, Normal(m, s.detach())),
    "z itself is detached": lambda m, s, e: eq6((m + s * e).detach(), Normal(m, s)),
    "nothing is left of the path": lambda m, s, e: eq6((m + s * e).detach(), frozen(m, s)),
    "wrong route": lambda m, s, e: joint(m + s * e) - Normal(m, s).log_prob((m + s * e).detach()),
    "All of log q(z) is held fixed": lambda m, s, e: joint(m + s * e) - frozen(m, s).log_prob(m + s * e).detach(),
    "This is Eq. 7": lambda m, s, e: eq6(m + s * e, PRIOR) - kl_divergence(Normal(m, s), PRIOR),
    "log p(z) is missing": lambda m, s, e: eq6(m + s * e, frozen(m, s)) - PRIOR.log_prob(m + s * e),
    "wrong sign": lambda m, s, e: joint(m + s * e) + frozen(m, s).log_prob(m + s * e),
    "2π is missing": lambda m, s, e: eq6(m + s * e, frozen(m, s)) + 0.5 * math.log(2 * math.pi),
    "s2 is used as the standard deviation": lambda m, s, e: eq6(m + s * e, frozen(m, s), s=0.1),
    "average over the draws": lambda m, s, e: eq6(m + s * e, frozen(m, s)).mean(),
    "the rest is not a gradient of the bound": lambda m, s, e: eq6(m + s * e, frozen(m, s)).detach(),
    "stops with an AttributeError": lambda m, s, e: eq6(m, s),
    "term -log σ still learns. Hold σ fixed there too": lambda m, s, e: by_hand(m, s, e, in_log=s),
    "-log σ is held fixed, and so is the mean, but": lambda m, s, e: by_hand(m, s, e, in_square=(m.detach(), s)),
    "The score counts twice": lambda m, s, e: 2 * eq6(m + s * e, Normal(m, s)) - by_two_passes(m, s, e),
    # no known mistake: a part of a route
    "Either a route is still open": lambda m, s, e: by_hand(m, s, e, in_log=(s + s.detach()) / 2),
}
UNLISTED_LANDINGS = [
    lambda m, s, e: eq6(m + s * e, frozen(m, s), s=10**0.5),  # s2 as a precision
    lambda m, s, e: eq6(m + s * e[0] + 0 * e, frozen(m, s)),  # one draw for all
]
test_landings, test_mistakes_of_landings = check_tests(
    checks.landing_bound, RIGHT_LANDINGS, WRONG_LANDINGS, UNLISTED_LANDINGS
)


def test_the_check_has_the_lessons_model():
    s2, observed = lesson_01.NOISE_VARIANCE, lesson_01.OBSERVED
    code = sources(NOTEBOOKS / "01_elbo.ipynb", "code")
    assert any(f"s2, observed = {s2}, torch.tensor({observed})" in cell for cell in code)
    lesson = definitions("01_elbo", "sgvb", s2=s2, observed=torch.tensor(observed), prior=PRIOR)
    verdict = checks.landing_bound(lambda m, s, e: lesson.sgvb(m, s, e)[0])
    assert "nothing is cut off yet" in verdict.text
