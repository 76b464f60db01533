"""Feedback on the exercises of lesson 07: what a distribution over weights costs, and its noise."""

import math
from operator import truediv

import torch

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

# --- the price of a weight


def _price(
    m, sigma, alpha, *, sign=1, factor=0.5, with_mean=1, spread=torch.square, unit=torch.square, one=1, log_ratio=True
):
    variance, prior = spread(sigma), unit(alpha)
    logarithm = (prior.log() if log_ratio else 0.0) - variance.log()
    return sign * factor * (logarithm + (variance + with_mean * m**2) / prior - one)


def _reverse_price(m, sigma, alpha):
    return (sigma / alpha).log() + (alpha**2 + m**2) / (2 * sigma**2) - 0.5


_PRICE_MISTAKES = mistakes_in(
    _price,
    {
        "This is the KL the other way round, of the prior from q. The bound has KL(q || p): the mean of log q - log p "
        "over draws of q. The other one explodes where σ is small, "
        "and would forbid any weight to be known.": _reverse_price,
        "The weights are summed into one number; the task asks for the price of each, "
        "of the shape of m and sigma.": lambda m, sigma, alpha: _price(m, sigma, alpha).sum(),
        "The weights are averaged into one number; the task asks for the price of each. "
        "(In the bound they are *summed*: "
        "a mean would make 80,284 weights as cheap as one.)": lambda m, sigma, alpha: _price(m, sigma, alpha).mean(),
    },
    sign={
        "The sign is turned: a KL divergence is never negative. In the bound a negative price would *pay* for every "
        "weight that is known exactly.": -1
    },
    factor={"The factor ½ is missing: every term has it, log σ² is 2 log σ. The weights then cost double.": 1.0},
    with_mean={
        "The mean m is missing: m² / α² / 2 is what a weight pays for being far from 0. It is the weight decay of MAP; "
        "without it, weights may grow for nothing.": 0
    },
    spread={
        "σ is used as a variance: the formula wants σ². A weight known to ±0.05 is charged as if it were known to "
        "±0.22, less than half the price.": lambda sigma: sigma,
        "σ is used as a log-variance: there is no exponential to take, it is the standard deviation itself.": torch.exp,
        "σ is used as a log standard deviation: there is no exponential to take.": lambda sigma: (2 * sigma).exp(),
    },
    unit={
        "α is used as a variance: it is the prior's standard deviation, and m and σ are divided by α, their squares by "
        "α².": lambda alpha: alpha,
        "α is ignored: this is the price under N(0, 1). m and σ count in units of the prior's width.": torch.ones_like,
    },
    one={
        "The -1 is missing: at m = 0 and σ = α, where q is the prior, the price has to be 0, and yours is ½ for each "
        "weight. Training does not notice, but the bound on log p(X) is 40,000 nats too low for 80,284 weights.": 0
    },
    log_ratio={
        "log α is missing: the logarithm is that of σ / α, a ratio of widths. With α = 1 nobody notices; with other "
        "priors the bound cannot be compared between them, and section 6 chooses the prior by it.": False
    },
)


@undisturbed
def weight_price(answer):
    """Exercise 1: KL(N(m, sigma²) || N(0, alpha²)) of each weight.

    The function gets m and sigma, tensors of one shape, and alpha, a tensor with one number. It returns the KL of each
    weight in nats, of the shape of m and sigma, with gradients in both.
    """

    def weights(shape, alpha, mean, log_sigma, seed, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        m, z = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
        m, sigma = mean * m, (log_sigma + 0.4 * z).exp()
        return m.requires_grad_(), sigma.requires_grad_(), torch.tensor(alpha, dtype=dtype)

    cases = [
        Case("one weight and a prior of width 0.7", weights((), 0.7, 0.5, -1.5, 0)),
        Case("4 weights and a prior of width 2.5", weights((4,), 2.5, 1.0, 0.0, 1)),
        Case("2 × 3 weights, a prior of width 0.3", weights((2, 3), 0.3, 0.4, -4.0, 2, torch.float64)),
        Case("3 weights and a prior of width 1", weights((3,), 1.0, 1.0, -2.0, 3)),
    ]
    right = (
        "A weight pays the logarithm of how much better it is known than before, plus its distance from 0 in units of "
        "the prior; 80,284 of them make the debt of section 5."
    )
    return verdict_on(answer, _price, cases, _PRICE_MISTAKES, right=right)


# --- the forgotten N/M


def _slipped_sigma(inputs, batch_size, noise, *, share=truediv, prior=1.0, noise_power=2, power=-0.5, axis=0):
    precision = prior + share(batch_size, len(inputs)) * (inputs**2).sum(axis) / noise**noise_power
    return precision**power


def _marginal_widths(inputs, batch_size, noise):
    identity = torch.eye(inputs.shape[1], dtype=inputs.dtype)
    precision = identity + batch_size / len(inputs) * inputs.T @ inputs / noise**2
    return precision.inverse().diagonal().sqrt()


def _scaled_prior(inputs, batch_size, noise):
    return (batch_size / len(inputs)) ** -0.5 * _slipped_sigma(inputs, len(inputs), noise)


_WIDTH_MISTAKES = mistakes_in(
    _slipped_sigma,
    {
        "These are the standard deviations of the full, correlated posterior. The best *diagonal* Gaussian is "
        "narrower: its variances are 1 over the diagonal of the precision (`best_diagonal`, section 2). The two agree "
        "when the inputs are orthogonal.": _marginal_widths,
        "The prior was scaled together with the data. The slipped bound keeps the whole KL of the weights, so the "
        "prior counts once and only the data count M/N.": _scaled_prior,
    },
    share={
        "These are the widths of the *right* bound. With the factor N/M forgotten, a minibatch of M points stands for "
        "itself alone: each point counts M/N times.": lambda batch_size, number: 1.0,
        "The share is upside down: N/M is the factor that was forgotten. Without it the data count M/N of what they "
        "should, and the widths come out larger, not smaller.": lambda batch_size, number: number / batch_size,
        "Each point counts M times here. On average over minibatches a point is in one of N/M of them, so it counts "
        "M/N times.": lambda batch_size, number: batch_size,
        "Each point counts 1/N times here, as if the minibatch had been averaged. The slip is that it is summed and "
        "not scaled: M/N times.": lambda batch_size, number: 1 / number,
    },
    prior={
        "The prior is missing: its precision, 1 for each weight, is added to that of the data. It matters most where "
        "data count least, which is the point of the slip.": 0.0
    },
    noise_power={
        "`noise` is a standard deviation; the precision of a point is 1 / noise². Used as a variance it makes each "
        "point count less.": 1
    },
    power={
        "This is the variance, 1 / precision. The width σ is its square root.": -1.0,
        "This is the precision. The width σ is 1 / √precision.": 1.0,
        "This is the square root of the precision, upside down: the width σ is 1 / √precision. More data must make it "
        "smaller.": 0.5,
    },
    axis={
        "The sum of squares runs over the weights, dimension 1, instead of over the points, dimension 0. With as many "
        "points as weights even the shape is right.": 1
    },
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
        Case("6 points, 2 weights, minibatches of 2", (inputs(6, 2, 0), 2, 0.3)),
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


def _slope_variance(own_draws, num_images, s, sigma, *, own=bool, spread=1, s_power=4, root=1.0, mean=False, data=0):
    terms = num_images if own(own_draws) else num_images**2
    variance = spread * sigma**2 * terms / s**s_power + data * num_images / s**2
    return torch.tensor(variance / (num_images**2 if mean else 1)) ** root


def _unscaled(own_draws, num_images, s, sigma):
    return _slope_variance(own_draws, num_images, s, 1.0)


_VARIANCE_MISTAKES = mistakes_in(
    _slope_variance,
    {
        "ζ is not multiplied by σ: θ = μ + σ ζ. The weights are then drawn from a Gaussian of width 1.": _unscaled,
        "σ is used as a variance: θ = μ + σ ζ, not μ + √σ ζ.": lambda own, num_images, s, sigma: _slope_variance(
            own, num_images, s, math.sqrt(sigma)
        ),
    },
    own={
        "One ζ serves all images in both cases. With `own_draws` every image needs a ζ of its own, [repeats, "
        "num_images] of them: noise that is shared across a batch does not average out.": lambda own_draws: False,
        "Every image has a ζ of its own in both cases. Without `own_draws` one ζ serves all of them: [repeats, "
        "1].": lambda own_draws: True,
        "The two cases are exchanged: with `own_draws` each image has its own ζ, "
        "without it one serves all.": lambda own_draws: not own_draws,
    },
    mean={
        "The slopes are averaged over the images; the task asks for the derivative of the *sum* of log p(x_n|θ_n). "
        "Then the variance is num_images² times as large. The ratio of the two cases is the same.": True
    },
    root={"This is the standard deviation; the task asks for the variance, its square.": 0.5},
    s_power={"The slope is divided by s instead of s²: the derivative of -(x - θ)² / (2 s²) in μ is (x - θ) / s².": 2},
    data={
        "The data are drawn anew with each ζ, and their own scatter is counted as noise of the gradient. They are "
        "fixed: draw them once, and only ζ for each repeat.": 1
    },
    spread={
        "Nothing varies: θ is set to its mean μ, and sampling has been replaced by the mean. That gradient is exact "
        "for the mean weights and knows nothing of what σ costs.": 0
    },
)


def _logarithm(variance):
    variance = torch.as_tensor(variance)
    return torch.where(variance.abs() < 1e-9, 1e-9, variance).log()  # rounding makes no zero


@undisturbed
def slope_variance(answer):
    """Exercise 3: the variance of the gradient in the mean of q(theta), with one draw of theta or with many.

    The function gets own_draws, bool; num_images N; s, the standard deviation of the data; sigma, that of q(theta). It
    returns the variance over draws of d/dmu sum_n log N(x_n; theta_n, s²), one number. 4,000 repeats are enough:
    results may differ from the exact ones by an eighth.
    """
    # 4,000 draws estimate a variance to 2.2%, one standard error; 0.12 in the logarithm is five of them.
    cases = [
        Case(
            f"the logarithm of the variance, {who}, {n} images, s = {s}, σ = {sigma}",
            (own, n, s, sigma),
            view=_logarithm,
            atol=0.12,
        )
        for n, s, sigma in ((100, 0.5, 0.1), (10, 0.8, 0.3))
        for own, who in ((False, "one draw for all"), (True, "own draws"))
    ]
    right = (
        "A sum of N independent terms has N times the variance of one, N times one term has N²: one draw for the "
        "minibatch makes the gradient N times as noisy."
    )
    return verdict_on(answer, _slope_variance, cases, _VARIANCE_MISTAKES, right=right)
