"""The checks of lesson 07: each mistake that people make is named, nothing that is right is refused."""

import math

import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vae_utils import checks
from vae_utils.checks import lesson_07

from listed_mistakes import check_tests

# --- the price of a weight


def log(value):
    return torch.as_tensor(value).log()


WRONG_PRICES = {
    "The sign is turned": lambda m, s, a: -kl_divergence(Normal(m, s), Normal(0.0, a)),
    "The factor ½ is missing": lambda m, s, a: 2 * log(a / s) + (s**2 + m**2) / a**2 - 1,
    "The mean m is missing": lambda m, s, a: log(a / s) + s**2 / a**2 / 2 - 0.5,
    "σ is used as a variance": lambda m, s, a: kl_divergence(Normal(m, s.sqrt()), Normal(0.0, a)),
    "used as a log-variance": lambda m, s, a: kl_divergence(Normal(m, (s / 2).exp()), Normal(0.0, a)),
    "used as a log standard deviation": lambda m, s, a: kl_divergence(Normal(m, s.exp()), Normal(0.0, a)),
    "σ₀ is used as a variance": lambda m, s, a: kl_divergence(Normal(m, s), Normal(0.0, a.sqrt())),
    "σ₀ is ignored": lambda m, s, a: -0.5 * (1 + log(s**2) - m**2 - s**2),
    "The -1 for each dimension is missing": lambda m, s, a: log(a / s) + (s**2 + m**2) / (2 * a**2),
    "multiplied by σ₀": lambda m, s, a: kl_divergence(Normal(m * a, s * a), Normal(0.0, 1.0)),
    "The bracket is divided by the prior's σ": lambda m, s, a: log(a / s) + (s**2 + m**2) / (2 * a) - 0.5,
    "Both logarithms are subtracted": lambda m, s, a: -log(a * s) + (s**2 + m**2) / (2 * a**2) - 0.5,
    "prior's logarithm is missing": lambda m, s, a: -log(s) + (s**2 + m**2) / (2 * a**2) - 0.5,
    "changed places": lambda m, s, a: kl_divergence(Normal(0.0, a), Normal(m, s)),
    "summed into one number": lambda m, s, a: kl_divergence(Normal(m, s), Normal(0.0, a)).sum(),
    "averaged into one number": lambda m, s, a: kl_divergence(Normal(m, s), Normal(0.0, a)).mean(),
    "no gradient reaches `m`": lambda m, s, a: kl_divergence(Normal(m.detach(), s), Normal(0.0, a)),
    "factor ½ is missing, and the sign": lambda m, s, a: -(2 * log(a / s) + (s**2 + m**2) / a**2 - 1),
}


def by_the_lesson(m, sigma, sigma_0):
    m, sigma = m / sigma_0, sigma / sigma_0
    return 0.5 * (m**2 + sigma**2 - 1) - sigma.log()


RIGHT_PRICES = [
    by_the_lesson,
    lambda m, sigma, sigma_0: kl_divergence(Normal(m, sigma), Normal(torch.zeros_like(m), sigma_0)),
    lambda m, sigma, sigma_0: by_the_lesson(m.double(), sigma.double(), sigma_0.double()),
    lambda m, sigma, sigma_0: (
        by_the_lesson(m.T, sigma.T, float(sigma_0)).T if m.dim() == 2 else by_the_lesson(m, sigma, float(sigma_0))
    ),
    lambda m, sigma, sigma_0: math.log(sigma_0) - sigma.log() + (sigma**2 + m**2) / (2 * sigma_0**2) - 0.5,
]
UNLISTED_PRICES = [
    lambda m, s, a: -Normal(0.0, a).log_prob(m) + 0 * s,
    lambda m, s, a: -log(s) - 0.5 * math.log(2 * math.pi * math.e) + 0 * m,
]
test_weight_price, test_mistakes_of_weight_price = check_tests(
    checks.weight_price, RIGHT_PRICES, WRONG_PRICES, UNLISTED_PRICES
)


# --- the forgotten N/M


def widths(inputs, share, noise, prior=1.0, axis=0):
    return (prior + share * (inputs**2).sum(axis) / noise**2) ** -0.5


def full_posterior(inputs, batch_size, noise):
    precision = torch.eye(inputs.shape[1]).to(inputs) + batch_size / len(inputs) * inputs.T @ inputs / noise**2
    return precision.inverse().diagonal().sqrt()


WRONG_WIDTHS = {
    "widths of the *right* bound": lambda inputs, m, noise: widths(inputs, 1, noise),
    "The share is upside down": lambda inputs, m, noise: widths(inputs, len(inputs) / m, noise),
    "counts M times": lambda inputs, m, noise: widths(inputs, m, noise),
    "counts 1/N times": lambda inputs, m, noise: widths(inputs, 1 / len(inputs), noise),
    "The prior is missing": lambda inputs, m, noise: widths(inputs, m / len(inputs), noise, prior=0),
    "`noise` is a standard deviation": lambda inputs, m, noise: widths(inputs, m / len(inputs), noise**0.5),
    "This is the variance": lambda inputs, m, noise: widths(inputs, m / len(inputs), noise) ** 2,
    "This is the precision": lambda inputs, m, noise: widths(inputs, m / len(inputs), noise) ** -2,
    "** comes before /": lambda inputs, m, noise: widths(inputs, m / len(inputs), noise) ** 2 / 2,
    "stands before the prior": lambda inputs, m, noise: widths(inputs, 1, noise, prior=m / len(inputs)),
    "square root of the precision": lambda inputs, m, noise: 1 / widths(inputs, m / len(inputs), noise),
    "over the weights, dimension 1": lambda inputs, m, noise: widths(inputs, m / len(inputs), noise, axis=1),
    "full, correlated posterior": full_posterior,
    "The prior is scaled": lambda inputs, m, noise: (m / len(inputs) * widths(inputs, 1, noise) ** -2) ** -0.5,
    "Two things at once": lambda inputs, m, noise: widths(inputs, 1, noise) ** 2,
}


def by_the_precision_matrix(inputs, batch_size, noise):
    inputs = inputs.double()
    precision = torch.eye(inputs.shape[1]).double() + batch_size / len(inputs) / noise**2 * inputs.T @ inputs
    q = MultivariateNormal(torch.zeros(len(precision)).double(), precision_matrix=precision)
    return q.precision_matrix.diagonal() ** -0.5


RIGHT_WIDTHS = [
    by_the_precision_matrix,
    lambda inputs, m, noise: widths(inputs, m / len(inputs), noise),
    lambda inputs, m, noise: (1 + m * inputs.T.contiguous().T.square().mean(0) / noise**2).rsqrt(),
]
UNLISTED_WIDTHS = [
    lambda inputs, m, noise: widths(inputs, m / len(inputs), noise, prior=1 / noise**2),
    lambda inputs, m, noise: (1 + m * inputs.var(0) / noise**2) ** -0.5,
]
test_slipped_width, test_mistakes_of_slipped_width = check_tests(
    checks.slipped_width, RIGHT_WIDTHS, WRONG_WIDTHS, UNLISTED_WIDTHS
)


def test_the_reference_maximises_the_slipped_bound():
    """By gradient ascent in double precision on the expected minibatch bound."""
    inputs = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_sigma = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_sigma], max_iter=100, tolerance_grad=1e-10)

    def loss():
        optimiser.zero_grad()
        squares = 2 / 6 * (inputs**2 @ log_sigma.exp() ** 2).sum()  # M = 2 of N = 6; the mean aside
        zeros = torch.zeros(2, dtype=torch.float64)
        value = squares / (2 * 0.3**2) + kl_divergence(Normal(zeros, log_sigma.exp()), Normal(zeros, 1.0)).sum()
        value.backward()
        return value

    optimiser.step(loss)
    torch.testing.assert_close(lesson_07._slipped_sigma(inputs, 2, 0.3), log_sigma.exp().detach(), rtol=1e-4, atol=0)


# --- one draw of the weights, or one an image


def slopes(own_draws, num_images, s, sigma, repeats=4000, redraw=False, power=2):
    data = s * torch.randn(repeats if redraw else 1, num_images)
    zeta = torch.randn(repeats, num_images if own_draws else 1)
    return (data - sigma * zeta) / s**power  # [repeats, N]


def few_draws(own, n, s, sigma, calls=iter(range(10**6))):
    """Right on the check's cases by chance, as a run with few draws may be, and then 20% off."""
    return (1.0 if next(calls) < 6 else 1.2) * (n if own else n**2) * sigma**2 / s**4


WRONG_VARIANCES = {
    "One ζ serves all images in both cases": lambda own, n, s, sigma: slopes(False, n, s, sigma).sum(1).var(),
    "Both cases give M times the variance of one image": lambda own, n, s, sigma: (
        slopes(True, n, s, sigma).sum(1).var()
    ),
    "The two cases are exchanged": lambda own, n, s, sigma: slopes(not own, n, s, sigma).sum(1).var(),
    "there is only one term": lambda own, n, s, sigma: slopes(own, n if own else 1, s, sigma).sum(1).var(),
    "Each slope is twice": lambda own, n, s, sigma: (2 * slopes(own, n, s, sigma)).sum(1).var(),
    "with 4,000 draws of ζ, expected about 2%": few_draws,
    "The slopes are averaged": lambda own, n, s, sigma: slopes(own, n, s, sigma).mean(1).var(),
    "the standard deviation; the task": lambda own, n, s, sigma: slopes(own, n, s, sigma).sum(1).std(),
    "divided by s instead of s²": lambda own, n, s, sigma: slopes(own, n, s, sigma, power=1).sum(1).var(),
    "The data are drawn anew": lambda own, n, s, sigma: slopes(own, n, s, sigma, redraw=True).sum(1).var(),
    "Nothing varies": lambda own, n, s, sigma: slopes(own, n, s, 0.0).sum(1).var(),
    "ζ is not multiplied by σ": lambda own, n, s, sigma: slopes(own, n, s, 1.0).sum(1).var(),
    "not μ + √σ ζ": lambda own, n, s, sigma: slopes(own, n, s, sigma**0.5).sum(1).var(),
}


def by_autograd(own_draws, num_images, s, sigma):
    """Twenty thousand draws at once, through the log-density itself."""
    mu = torch.full((20_000, 1), 1.0, dtype=torch.float64, requires_grad=True)
    data = 1 + s * torch.randn(num_images)
    theta = mu + sigma * torch.randn(20_000, num_images if own_draws else 1)
    Normal(theta, s).log_prob(data).sum().backward()
    return mu.grad.var(correction=0)


RIGHT_VARIANCES = [
    by_autograd,
    lambda own, n, s, sigma: slopes(own, n, s, sigma).sum(1).var(),
    lambda own, n, s, sigma: slopes(own, n, s, sigma).double().sum(1).std().item() ** 2,
    lambda own, n, s, sigma: (n if own else n**2) * sigma**2 / s**4,
]
UNLISTED_VARIANCES = [
    lambda own, n, s, sigma: slopes(own, n, s, sigma).expand(4000, n).var(),
    lambda own, n, s, sigma: n,
    lambda own, n, s, sigma: slopes(own, n, s, sigma).sum(0).var(),
]
test_variances, test_mistakes_of_variances = check_tests(
    checks.slope_variance, RIGHT_VARIANCES, WRONG_VARIANCES, UNLISTED_VARIANCES
)
