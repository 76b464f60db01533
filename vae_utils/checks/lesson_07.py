"""Feedback on the exercises of lesson 07: what a distribution over weights costs, and its noise."""

import math
from functools import partial

import torch

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on
from vae_utils.checks.lesson_01 import KL_SLIPS, KL_VERSIONS, kl_of_gaussians


def _itself(value):
    return value


# --- the price of a weight


def _price(m, sigma, sigma_0, *, width=_itself, unit=_itself, reduce=_itself, formula=kl_of_gaussians, **slips):
    """The KL of lesson 01, of one weight, from standard deviations."""
    log_var, prior_log_var = (2 * w.log() for w in (width(sigma), unit(sigma_0)))
    return formula(m, log_var, torch.zeros_like(m), prior_log_var, reduce=reduce, **slips)


def _by_log_ratio(weigh):
    """Rules of thumb: functions of log(sigma_0 / sigma), m / sigma_0 and sigma / sigma_0."""
    return lambda m, sigma, sigma_0: weigh((sigma_0 / sigma).log(), m / sigma_0, sigma / sigma_0)


_PRICE_SLIPS = {name: wrong for name, wrong in KL_SLIPS.items() if name not in ("read", "variance", "reduce", "prior")}
_PRICE_SLIPS["distance"] = {
    "The mean m is missing: m² / σ₀² / 2 is what a weight pays for being far from 0.": lambda m, n: 0 * m,
    "m is not squared.": lambda m, n: m,
    "The absolute value of m stands where its square is needed.": lambda m, n: m.abs(),
}
_PRICE_MISTAKES = mistakes_in(
    _price,
    {text: partial(_price, formula=version) for text, version in KL_VERSIONS.items()}
    | {
        "This is the rule of thumb log(σ₀/σ) - ½, for a weight with a small m and a small σ. The task asks for the "
        "exact price: σ² and m² are missing.": _by_log_ratio(lambda log, m, s: log - 0.5),
        "This is log(σ₀/σ) alone: σ², m² and the -1 are missing.": _by_log_ratio(lambda log, m, s: log),
        "This is only the weight decay, m² / (2 σ₀²): the other terms of the KL are missing.": _by_log_ratio(
            lambda log, m, s: m**2 / 2 + 0 * log
        ),
        "m and σ are multiplied by σ₀, where they should be divided.": lambda m, sigma, sigma_0: _price(
            m, sigma, 1 / sigma_0
        ),
        "m + σ is squared together. The formula has m² + σ².": _by_log_ratio(
            lambda log, m, s: log + (m + s) ** 2 / 2 - 0.5
        ),
        "log σ₀² stands beside log σ, or log σ₀ beside log σ²: take both of the same.": lambda m, sigma, sigma_0: (
            _price(m, sigma, sigma_0) + sigma_0.log()
        ),
        "log σ₀ stands beside log σ²: take both of the same.": lambda m, sigma, sigma_0: (
            _price(m, sigma, sigma_0) - sigma_0.log() / 2
        ),
    },
    width={
        "σ is used as a variance: the formula has σ².": torch.sqrt,
        "σ is squared once too often: it is a standard deviation.": torch.square,
        "σ is used as a "
        "log-variance: there is no exponential to take, it is the standard deviation itself.": lambda s: (s / 2).exp(),
        "σ is used as a log standard deviation: there is no exponential to take.": torch.exp,
    },
    unit={
        "σ₀ is used as a variance: it is the prior's standard deviation, and m and σ are divided by σ₀.": torch.sqrt,
        "σ₀ is squared once too often: it is a standard deviation.": torch.square,
        "σ₀ is ignored: this is the price under N(0, 1). m and σ count in units of the prior's width.": torch.ones_like,
        "σ₀ is used as a log standard deviation: there is no exponential to take.": torch.exp,
    },
    reduce={
        "The weights "
        "are summed into one number; the task asks for the price of each, of the shape of m and sigma.": torch.sum,
        "The weights are averaged into one number; the task asks for the price of each.": torch.mean,
    },
    **_PRICE_SLIPS,
)


@undisturbed
def weight_price(answer):
    """Exercise 1: KL(N(m, sigma²) || N(0, sigma_0²)) of each weight.

    The function gets m and sigma, tensors of one shape, and sigma_0, a tensor with one number. It returns the KL of
    each weight in nats, of the shape of m and sigma, with gradients in both.
    """

    def weights(shape, sigma_0, mean, log_sigma, seed, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        m, z = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
        m, sigma = mean * m, (log_sigma + 0.4 * z).exp()
        return m.requires_grad_(), sigma.requires_grad_(), torch.tensor(sigma_0, dtype=dtype)

    cases = [
        Case("one weight and a prior of width 0.7", weights((), 0.7, 0.5, -1.5, 0)),
        Case("4 weights and a prior of width 2.5", weights((4,), 2.5, 1.0, 0.0, 1)),
        Case("2 × 3 weights, a prior of width 0.3", weights((2, 3), 0.3, 0.4, -4.0, 2, torch.float64)),
        Case("3 weights and a prior of width 1", weights((3,), 1.0, 1.0, -2.0, 3)),
    ]
    right = (
        "A weight pays the logarithm of how much better it is known than before, plus its distance from 0 in units of "
        "the prior; 80,284 such prices make hundreds of nats an image, as in section 5."
    )
    return verdict_on(answer, _price, cases, _PRICE_MISTAKES, right=right)


# --- the forgotten N/M


def _slipped_sigma(
    inputs,
    batch_size,
    noise,
    *,
    share=lambda M, N: M / N,
    prior=1.0,
    squares=lambda inputs: (inputs**2).sum(0),
    of_noise=lambda noise: noise**2,
    width=lambda precision: precision**-0.5,
):
    return width(prior + share(batch_size, len(inputs)) * squares(inputs) / of_noise(noise))


def _marginal_widths(inputs, batch_size, noise, share=lambda M, N: M / N):
    identity = torch.eye(inputs.shape[1], dtype=inputs.dtype)
    precision = identity + share(batch_size, len(inputs)) * inputs.T @ inputs / noise**2
    return precision.inverse().diagonal().sqrt()


def _scaled_prior(inputs, batch_size, noise):
    return (batch_size / len(inputs)) ** -0.5 * _slipped_sigma(inputs, len(inputs), noise)


_FULL = (
    "These are the standard deviations of the full, correlated posterior. The best *diagonal* Gaussian is narrower: "
    "its variances are 1 over the diagonal of the precision (`best_diagonal`, section 2)."
)
_WIDTH_MISTAKES = mistakes_in(
    _slipped_sigma,
    {
        _FULL: _marginal_widths,
        f"{_FULL} And the factor M/N is missing.": lambda *args: _marginal_widths(*args, share=lambda M, N: 1.0),
        "The prior is scaled together with the data, as if σ only grew by √(N/M). The slipped bound keeps the whole KL "
        "of the weights, so the prior counts once and only the data count M/N.": _scaled_prior,
        "M/N stands before the prior instead of the data. The prior counts once.": lambda x, M, e: _slipped_sigma(
            x, len(x), e, prior=M / len(x)
        ),
        "The right widths are multiplied by N/M. Precisions are scaled, and only those of the data.": lambda x, M, e: (
            _slipped_sigma(x, len(x), e) * len(x) / M
        ),
        "The first M points are used, where all N count M/N times each.": lambda x, M, e: _slipped_sigma(x[:M], M, e),
    },
    share={
        "These are "
        "the widths of the *right* bound. With the factor N/M forgotten each point counts M/N times.": lambda M, N: 1.0,
        "The share is upside down: N/M is the factor that was forgotten.": lambda M, N: N / M,
        "Each point counts M times here. On average over minibatches it counts M/N times.": lambda M, N: M,
        "Each point "
        "counts 1/N times here, as if the minibatch had been averaged. It is summed: M/N times.": lambda M, N: 1 / N,
        "Each point counts 1/M times here. On average over minibatches it counts M/N times.": lambda M, N: 1 / M,
        "Each point counts N times here. On average over minibatches it counts M/N times.": lambda M, N: N,
        "M // N is rounded down to a whole number, 0 for M < N. Use M / N.": lambda M, N: M // N,
        "N // M is rounded, and the share is upside down: it is M / N.": lambda M, N: N // M,
        "The share is squared: a point counts M/N times.": lambda M, N: (M / N) ** 2,
        "The square root of the share is taken: a point counts M/N times.": lambda M, N: (M / N) ** 0.5,
        "The share is that of the points outside of the minibatch, 1 - M/N.": lambda M, N: 1 - M / N,
    },
    prior={
        "The prior is missing: its precision, 1 for each weight, is added to that of the data.": 0.0,
        "The prior counts twice.": 2.0,
        "The prior is subtracted. Precisions are added.": -1.0,
        "The prior counts ½: its precision is 1.": 0.5,
    },
    squares={
        "The sum of squares runs over the weights, dimension 1, instead of over the points, dimension 0. With as many "
        "points as weights even the shape is right.": lambda x: (x**2).sum(1),
        "The squares are averaged over the points. They are summed.": lambda x: (x**2).mean(0),
        "The inputs are not squared.": lambda x: x.sum(0),
        "The absolute values of the inputs are summed, not their squares.": lambda x: x.abs().sum(0),
        "The inputs are summed before they are squared.": lambda x: x.sum(0) ** 2,
        "This is the variance of the inputs: no mean is subtracted, and the squares are summed.": lambda x: x.var(0),
        "The mean of the inputs is subtracted. A line's inputs count as they are.": lambda x: (
            (x - x.mean(0)) ** 2
        ).sum(0),
        "The squares of all inputs are summed into one number. Each weight has its own.": lambda x: (
            (x**2).sum() * torch.ones_like(x[0])
        ),
        "The root of the summed squares is taken.": lambda x: x.norm(dim=0),
    },
    of_noise={
        "`noise` "
        "is a standard deviation; the precision of a point is 1 / noise². Here it is used as a variance.": lambda e: e,
        "The noise is squared twice: the precision of a point is 1 / noise².": lambda e: e**4,
        "The noise is not used: the precision of a point is 1 / noise².": lambda e: 1.0,
        "The squares are multiplied by noise², where they should be divided.": lambda e: e ** (-2),
        "The precision of a point has a ½ too many: it is 1 / noise².": lambda e: 2 * e**2,
        "The precision of a point has a factor 2 too many: it is 1 / noise².": lambda e: e**2 / 2,
    },
    width={
        "This is the variance, 1 / precision. The width σ is its square root.": lambda v: 1 / v,
        "This is the precision. The width σ is 1 / √precision.": _itself,
        "This is the square root of the precision, upside down: the width σ is 1 / √precision.": torch.sqrt,
        "** comes before / in Python: x ** -1 / 2 is 1 / (2 x). Write x ** -0.5.": lambda v: 1 / v / 2,
        "This is log σ.": lambda precision: -precision.log() / 2,
        "This is log σ².": lambda precision: -precision.log(),
        "This is the variance squared, 1 / precision². The width σ is 1 / √precision.": lambda v: v ** (-2),
    },
    pairs=("share", "prior", "of_noise", "width"),
)


@undisturbed
def slipped_width(answer):
    """Exercise 2: the widths that the bound without its factor N/M learns.

    The function gets inputs [N, P] of N points, batch_size M, and noise, the standard deviation of the points. It
    returns sigma [P] of the diagonal Gaussian that maximises, on average, the sum over a minibatch of
    E_q[log p(y|theta)] minus KL(q || N(0, I)).
    """

    def inputs(points, weights, seed, dtype=torch.float64):
        return torch.randn(points, weights, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.5

    cases = [
        Case("7 points, 2 weights, minibatches of 3", (inputs(7, 2, 0), 3, 0.3)),
        Case("3 points, 3 weights, minibatches of 1", (inputs(3, 3, 1), 1, 0.8)),
        Case("50 points, 4 weights, minibatches of 10", (inputs(50, 4, 2, torch.float32), 10, 2.0)),
        Case("5 points, 2 weights, all in one batch", (inputs(5, 2, 3), 5, 0.5)),
    ]
    right = (
        "The model believes that it has seen M points instead of N, and its weights stay too uncertain: the price of "
        "the weights has to be set against all the data."
    )
    return verdict_on(answer, _slipped_sigma, cases, _WIDTH_MISTAKES, right=right)


# --- one draw of the weights, or one an image


def _slope_variance(
    own_draws,
    num_images,
    s,
    sigma,
    *,
    own=bool,
    terms=lambda own, n: n if own else n**2,
    of_sigma=lambda sigma: sigma**2,
    of_s=lambda s: s**4,
    data=0.0,
    root=_itself,
):
    variance = of_sigma(sigma) * terms(own(own_draws), num_images) / of_s(s) + data * num_images / s**2
    return root(torch.tensor(float(variance)))


_VARIANCE_MISTAKES = mistakes_in(
    _slope_variance,
    own={
        "One ζ serves all images in both cases. With `own_draws` every image needs a ζ of its own, [repeats, "
        "num_images] of them.": lambda own_draws: False,
        "Both cases give M times the variance of one image. Either every image has a ζ of its own in both cases, or "
        "the variances of single images are added: take the variance of the sum.": lambda own_draws: True,
        "The two cases are exchanged: "
        "with `own_draws` each image has its own ζ, without it one serves all.": lambda own_draws: not own_draws,
    },
    terms={
        "The slopes are averaged over the images; the "
        "task asks for the derivative of the *sum* of log p(x_n|θ_n).": lambda own, n: (n if own else n**2) / n**2,
        "The variance is divided by the number of images.": lambda own, n: (n if own else n**2) / n,
        "This is the variance of the slope of one image. The task asks for that of the sum over all.": lambda own, n: 1,
        "With one ζ for all images there is only one term. Each image has a slope of its own, M in all, even if they "
        "share ζ.": lambda own, n: n if own else 1,
        "The cases differ by a factor M² here. M independent terms have M times the variance of one.": lambda own, n: (
            1 if own else n**2
        ),
        "The cases differ by a factor M, but both are too large by M: look at what is summed twice.": lambda own, n: (
            n**2 if own else n**3
        ),
    },
    of_sigma={
        "Nothing varies: θ is set to its mean μ, and sampling has been replaced by the mean.": lambda sigma: 0.0,
        "ζ is not multiplied by σ: θ = μ + σ ζ. The weights are then drawn from a Gaussian of width 1.": lambda sigma: (
            1.0
        ),
        "σ is used as a variance: θ = μ + σ ζ, not μ + √σ ζ.": lambda sigma: sigma,
        "σ is squared in the draw: θ = μ + σ ζ.": lambda sigma: sigma**4,
        "ζ is uniform between 0 and 1. It should be Gaussian, from torch.randn.": lambda sigma: sigma**2 / 12,
        "ζ is uniform between -1 and 1. It should be Gaussian, from torch.randn.": lambda sigma: sigma**2 / 3,
        "exp(σ) is used as the width: θ = μ + σ ζ.": lambda sigma: math.exp(2 * sigma),
    },
    of_s={
        "The slope "
        "is divided by s instead of s²: the derivative of -(x - θ)² / (2 s²) in μ is (x - θ) / s².": lambda s: s**2,
        "The slope is not divided by s²: the derivative of -(x - θ)² / (2 s²) in μ is (x - θ) / s².": lambda s: 1.0,
        "The slope is divided by s⁴ instead of s².": lambda s: s**8,
        "The slope is divided by s³ instead of s².": lambda s: s**6,
        "The ½ of the square is still there: the derivative of -(x - θ)² / (2 s²) in μ is (x - θ) / s².": lambda s: (
            4 * s**4
        ),
        "Each slope is twice what it should be. That of -(x - θ)² / (2 s²) is (x - θ) / s², θ = μ + σ ζ.": lambda s: (
            s**4 / 4
        ),
        "The slope is multiplied by s², where it should be divided.": lambda s: s ** (-4),
    },
    data={
        "The data are drawn anew with each ζ, and their own scatter is counted as noise of the gradient. Draw them once"
        ".": 1.0
    },
    root={
        "This is the standard deviation; the task asks for the variance, its square.": torch.sqrt,
        "This is the square of the variance: `var` is squared already.": torch.square,
        "This is the logarithm of the variance.": torch.log,
        "This is 1 over the variance.": torch.reciprocal,
    },
    pairs=("own", "terms", "of_sigma", "of_s", "root"),
)


def _few_draws(answer):
    """Four calls must scatter no more than 1,000 draws would (4.5%) and a bit; by chance 4,000 never do."""
    arguments = True, 3, 0.5, 0.1
    exact = _slope_variance(*arguments)
    errors = torch.stack([torch.as_tensor(answer(*arguments)).double() / exact - 1 for _ in range(4)])
    scatter = errors.square().mean().sqrt().item()
    if scatter > 0.06:
        return f"Called four times, the result is off by {scatter:.0%}; with 4,000 draws of ζ, expected about 2%."
    return None


@undisturbed
def slope_variance(answer):
    """Exercise 3: the variance of the gradient in the mean of q(theta), with one draw of theta or with many.

    The function gets own_draws, bool; num_images M; s, the standard deviation of the data; sigma, that of q(theta). It
    returns the variance over draws of d/dmu sum_n log N(x_n; theta_n, s²), one number. 4,000 repeats are enough:
    results may differ from the exact ones by an eighth.
    """
    # 4,000 draws estimate a variance to 2.2%, one standard error; 12% are five of them. See `_few_draws` too.
    cases = [
        Case(
            f"{who}, {n} images, s = {s}, σ = {sigma}",
            (own, n, s, sigma),
            view=torch.as_tensor,
            of=("the variance",),
            atol=1e-6,
            rtol=0.12,
        )
        for n, s, sigma in ((10, 0.8, 0.3), (100, 0.5, 0.1), (3, 1.7, 0.4))
        for own, who in ((False, "one draw for all"), (True, "own draws"))
    ]
    right = (
        "A sum of M independent terms has M times the variance of one, M times one term has M²: one draw for the "
        "minibatch makes the gradient M times as noisy."
    )
    return verdict_on(answer, _slope_variance, cases, _VARIANCE_MISTAKES, right=right, probes=[_few_draws])
