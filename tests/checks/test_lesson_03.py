"""The checks of lesson 03: each mistake that people make is named, nothing that is right is refused."""

import math

import numpy as np
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from vae_utils import checks
from vae_utils.checks import lesson_03
from vae_utils.likelihoods import Gaussian

from listed_mistakes import check_tests

# --- log p(x|z) of an image


def written_out(
    x,
    y,
    v,
    squares=0.5,
    logs=0.5,
    two_pi=2 * math.pi,
    count=None,
    variance=torch.exp,
    divisor=None,
    reduce=lambda terms: terms.sum((1, 2, 3)),
):
    """The density of section 4 with its parts to be spoilt: [B]."""
    count = x[0].numel() if count is None else count
    error = reduce((x - y) ** 2) / (variance(v) if divisor is None else divisor(v))
    return -squares * error - logs * count * (variance(v).log() + (math.log(two_pi) if two_pi else 0.0))


def normal(y, sigma):
    return Independent(Normal(y, sigma), 3)


WRONG_IMAGES = {
    "The 2π is missing": lambda x, y, v: written_out(x, y, v, two_pi=None),
    "Only the squares are there": lambda x, y, v: -((x - y) ** 2).flatten(1).sum(1) / (2 * v.exp()),
    "once for each image": lambda x, y, v: written_out(x, y, v, count=1),
    "D times too often": lambda x, y, v: written_out(x, y, v, count=x[0].numel() ** 2),
    "fixed to 784": lambda x, y, v: written_out(x, y, v, count=784),
    "logarithm has the wrong sign": lambda x, y, v: written_out(x, y, v, logs=-0.5),
    "minus the right result": lambda x, y, v: -normal(y, (v / 2).exp()).log_prob(x),
    "twice the right result": lambda x, y, v: written_out(x, y, v, squares=1.0, logs=1.0),
    "The ½ before the squares": lambda x, y, v: written_out(x, y, v, squares=1.0),
    "The ½ before log(2πs²)": lambda x, y, v: written_out(x, y, v, logs=1.0),
    "The squares are averaged": lambda x, y, v: written_out(x, y, v, reduce=lambda t: t.mean((1, 2, 3))),
    "divided by s, not by s²": lambda x, y, v: written_out(x, y, v, divisor=lambda v: (0.5 * v).exp()),
    "exp(log_variance) is used as s": lambda x, y, v: normal(y, v.exp()).log_prob(x),
    "mean over pixels": lambda x, y, v: Normal(y, (v / 2).exp()).log_prob(x).mean((1, 2, 3)),
    "All images are summed": lambda x, y, v: Normal(y, (v / 2).exp()).log_prob(x).sum(),
    "mean over the batch is taken too early": lambda x, y, v: normal(y, (v / 2).exp()).log_prob(x).mean(),
    "mean is taken over everything": lambda x, y, v: Normal(y, (v / 2).exp()).log_prob(x).mean(),
    "divided by log_variance itself": lambda x, y, v: written_out(x, y, v, divisor=lambda v: v),
    "the errors of the whole batch": lambda x, y, v: written_out(x, y, v, reduce=lambda t: t.sum().expand(len(x))),
    "The channels are counted": lambda x, y, v: written_out(x, y, v, count=x.shape[1]),
    "log-densities of single pixels": lambda x, y, v: Normal(y, (v / 2).exp()).log_prob(x),
    "log_variance itself is used as the variance": lambda x, y, v: written_out(x, y, v, variance=lambda v: v),
    "log_variance itself is used as s": lambda x, y, v: normal(y, v).log_prob(x),
    "no gradient reaches `log_variance`": lambda x, y, v: normal(y, math.exp(v.item() / 2)).log_prob(x),
    "no gradient reaches `mean`": lambda x, y, v: normal(torch.tensor(y.tolist()).to(y), (v / 2).exp()).log_prob(x),
    # the same mistakes as they look in other hands
    "It is its logarithm, and may be negative": lambda x, y, v: normal(y, v.sqrt()).log_prob(x),
    "It is the logarithm of s², and may be negative": lambda x, y, v: written_out(x, y, v, variance=torch.square),
    "The sign is turned": lambda x, y, v: -written_out(x, y, v),
    "an image's log-density is their sum": lambda x, y, v: written_out(x, y, v) / x[0].numel(),
    # two at once, and one that nobody foresaw
    "Two things at once … The 2π is missing … The ½ before the squares": lambda x, y, v: written_out(
        x, y, v, two_pi=None, squares=1.0
    ),
    "Not right yet. … expected … got": lambda x, y, v: written_out(x, y, v) - v.exp(),
}


def by_rows(x, y, v):
    return torch.stack(
        [Normal(b.flatten(), (0.5 * v).exp()).log_prob(a.flatten()).sum() for a, b in zip(x, y, strict=True)]
    )


def multivariate(x, y, v):
    covariance = v.exp() * torch.eye(x[0].numel(), dtype=x.dtype)
    return MultivariateNormal(y.flatten(1), covariance).log_prob(x.flatten(1))


def non_contiguous(x, y, v):
    return written_out(x.mT.contiguous().mT, y.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0), v)


RIGHT_IMAGES = [
    written_out,
    by_rows,
    multivariate,
    non_contiguous,
    lambda x, y, v: normal(y, (0.5 * v).exp()).log_prob(x),
    lambda x, y, v: Normal(y, v.exp().sqrt()).log_prob(x).flatten(1).sum(dim=1),
    lambda x, y, v: written_out(x.double(), y.double(), v.double()),
    lambda x, y, v: -0.5 * ((x - y) ** 2 / torch.exp(v) + v + 1.8378771).sum(dim=(1, 2, 3)),
]
UNLISTED_IMAGES = [
    lambda x, y, v: written_out(x, y, v, two_pi=None) - 0.5 * x[0].numel() * v * math.log(2 * math.pi),
    lambda x, y, v: written_out(x, y, v, count=0) - 0.5 * x[0].numel() * torch.log(2 * math.pi + v.exp()),
]
test_image_log_likelihood, test_mistakes_of_image_log_likelihood = check_tests(
    checks.image_log_likelihood, RIGHT_IMAGES, WRONG_IMAGES, UNLISTED_IMAGES
)


def test_the_image_is_the_librarys():
    x, y = torch.rand(2, 3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    ours = lesson_03._image_log_likelihood(x, y, torch.tensor(0.3).square().log())
    torch.testing.assert_close(ours, Gaussian(0.3)(y).log_prob(x))


# --- which sigma?

WRONG_SIGMAS = {
    "This is s², the variance": lambda a, b: b / (2 * a),
    "so every s is √2 too large": lambda a, b: math.sqrt(b / a),
    "so is the square root": lambda a, b: b / a,
    "Only b / 2 is under the root": lambda a, b: math.sqrt(b / 2) / a,
    "** comes before /": lambda a, b: (b / (2 * a)) ** 1 / 2,
    "the fraction is upside down": lambda a, b: math.sqrt(2 * a / b),
    "changed places": lambda a, b: (0.5 * a / b) ** 0.5,
    "KL's weight b is left out": lambda a, b: math.sqrt(0.5 / a),
    "multiplied by b": lambda a, b: 1 / math.sqrt(2 * a * b),
    "weight a of the squares is left out": lambda a, b: math.sqrt(0.5 * b),
}
RIGHT_SIGMAS = [
    lambda a, b: math.sqrt(b / a / 2),
    lambda a, b: (2 * a / b) ** -0.5,
    lambda a, b: torch.tensor(b / (2 * a)).sqrt(),
    lambda a, b: np.sqrt(b / (2 * a)),
    lambda a, b: torch.tensor(0.5 * b / a, dtype=torch.float64).sqrt().item(),
]
UNLISTED_SIGMAS = [lambda a, b: math.exp(-a / b), lambda a, b: round(math.sqrt(b / (2 * a)), 1)]
test_implied_sigma, test_mistakes_of_implied_sigma = check_tests(
    checks.implied_sigma, RIGHT_SIGMAS, WRONG_SIGMAS, UNLISTED_SIGMAS
)


def test_a_larger_weight_on_the_squares_is_the_density_of_that_sigma():
    """The reference itself: a * SSE + b * KL differs from b times the honest loss by a constant only."""
    sigmas = []
    checks.implied_sigma(lambda a, b: sigmas.append((a, b, (b / (2 * a)) ** 0.5)))
    x, y = torch.rand(2, 4, 1, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    for a, b, sigma in sigmas:
        difference = a * (x - y).square().sum((1, 2, 3)) + b * Gaussian(sigma)(y).log_prob(x)
        torch.testing.assert_close(difference, difference[:1].expand(4))
    assert len(sigmas) >= 5


# --- which model at which price?

WRONG_WINNERS = {
    "β has no effect": lambda beta, r, d: (r + d).argmin(),
    "β stands before the distortion": lambda beta, r, d: torch.argmin(beta * d + r),
    "the worst model": lambda beta, r, d: int(torch.argmax(d + beta * r)),
    "Rate is subtracted": lambda beta, r, d: int((d - beta * r).argmin()),
    "The last model is left out": lambda beta, r, d: (d + beta * r)[:-1].argmin() if len(r) > 1 else 0,
    "Rate is left out": lambda beta, r, d: d.argmin(),
    "Distortion is left out": lambda beta, r, d: r.argmin(),
    "distortion + β · rate itself": lambda beta, r, d: torch.min(d + beta * r),
    "values of distortion + β · rate, of all models": lambda beta, r, d: d + beta * r,
}


def one_by_one(beta, rate, distortion):
    costs = [d + beta * r for r, d in zip(rate.tolist(), distortion.tolist(), strict=True)]
    return costs.index(min(costs))


RIGHT_WINNERS = [
    one_by_one,
    lambda beta, r, d: (d + beta * r).argmin(),
    lambda beta, r, d: int(torch.argsort(beta * r + d)[0]),
    lambda beta, r, d: (-(d / beta) - r).argmax().item(),
    lambda beta, r, d: (d + beta * r).min(0).indices,
    lambda beta, r, d: np.argmin(d.numpy() + beta * r.numpy()),
]
UNLISTED_WINNERS = [
    lambda beta, r, d: (d + beta * r.log()).argmin(),
    lambda beta, r, d: (d / r).argmin(),
    lambda beta, r, d: (d + int(beta) * r).argmin(),
]
test_winner_at, test_mistakes_of_winner_at = check_tests(
    checks.winner_at, RIGHT_WINNERS, WRONG_WINNERS, UNLISTED_WINNERS
)
