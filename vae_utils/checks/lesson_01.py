"""Feedback on the exercises of lesson 01: a KL of two Gaussians, gradients for a width, a bound without the score."""

import math
from functools import partial

import torch
from torch.distributions import Normal

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

# --- the KL of two diagonal Gaussians (Appendix B has the one to N(0, I))


def kl_of_gaussians(
    mean,
    log_var,
    prior_mean,
    prior_log_var,
    *,
    factor=0.5,
    logs=lambda log_q, log_p: log_p - log_q,
    spread=lambda q, p: q / p,
    distance=lambda mean, prior_mean: (mean - prior_mean) ** 2,
    scaled=lambda square, q, p: square / p,
    one=1.0,
    read=lambda log_var: log_var,
    variance=torch.exp,
    reduce=lambda terms: terms.sum(-1),
    prior=True,
    turned=False,
):
    q, p = (mean, read(log_var)), (prior * prior_mean, read(prior * prior_log_var))
    (mean, log_var), (prior_mean, prior_log_var) = (p, q) if turned else (q, p)
    widths = variance(log_var), variance(prior_log_var)
    square = scaled(distance(mean, prior_mean), *widths)
    return factor * reduce(logs(log_var, prior_log_var) + spread(*widths) + square - one)


# Of the KL of any two Gaussians, in lesson 07 too: functions of the arguments of `kl_of_gaussians`.
KL_VERSIONS = {
    "This is log q - log p at the mean of q. The KL is its average over q.": lambda *args, **kwargs: kl_of_gaussians(
        *args, spread=lambda q, p: 0, one=0.0, **kwargs
    ),
    "The bracket is multiplied by the prior's variance, where it should be divided. (In Python a / 2 * b is a * b / "
    "2.)": lambda *args, **kwargs: kl_of_gaussians(
        *args, spread=lambda q, p: q * p, scaled=lambda d, q, p: d * p, **kwargs
    ),
    "The bracket is divided by the prior's σ. It is divided by σ².": lambda *args, **kwargs: kl_of_gaussians(
        *args, spread=lambda q, p: q / p**0.5, scaled=lambda d, q, p: d / p**0.5, **kwargs
    ),
    "The bracket is not divided by the prior's variance.": lambda *args, **kwargs: kl_of_gaussians(
        *args, spread=lambda q, p: q, scaled=lambda d, q, p: d, **kwargs
    ),
    "The bracket is divided by q's variance. It is the prior's.": lambda *args, **kwargs: kl_of_gaussians(
        *args, spread=lambda q, p: 1, scaled=lambda d, q, p: d / q, **kwargs
    ),
}
KL_SLIPS = dict(
    factor={
        "The sign is turned: this is minus the KL, as the paper prints it for the bound. A KL is never negative; "
        "subtracted from the fit, yours would reward q for leaving the prior.": -0.5,
        "The factor ½ is missing: every KL is twice what it should be. Training would weigh it with β = 2.": 1.0,
        "The factor ½ is missing, and the sign is turned.": -1.0,
        "The factor ½ is there twice.": 0.25,
    },
    logs={
        "The logarithms have the wrong sign: the prior's is added, that of q is subtracted.": lambda q, p: q - p,
        "The logarithms are added. That of q is subtracted.": lambda q, p: q + p,
        "Both logarithms are subtracted. The prior's is added.": lambda q, p: -q - p,
        "The logarithms are missing: without -log σ² nothing keeps q from becoming a needle.": lambda q, p: 0,
        "The prior's logarithm is missing: the formula has the log of a ratio of variances.": lambda q, p: -q,
        "The logarithm of q's variance is missing: nothing keeps q from becoming a needle.": lambda q, p: p,
        "The logarithms are of σ, not of σ²: log σ² = 2 log σ.": lambda q, p: (p - q) / 2,
        "The logarithms are doubled: the formula has ½ times the log of a ratio of variances.": lambda q, p: (
            2 * (p - q)
        ),
    },
    spread={
        "σ² of q is not divided by the prior's variance.": lambda q, p: q,
        "The ratio of the variances is upside down: q's stands above the line, the prior's below.": lambda q, p: p / q,
        "The ratio of the variances is missing.": lambda q, p: 0,
        "σ² of q is multiplied by the prior's variance, where it should be divided. (In Python a / 2 * b is a * b / "
        "2.)": lambda q, p: q * p,
        "The ratio is that of the standard deviations. The formula has that of the variances.": lambda q, p: (
            (q / p) ** 0.5
        ),
    },
    distance={
        "The distance of the means is not squared.": lambda m, n: m - n,
        "The absolute distance of the means stands where its square is needed.": lambda m, n: (m - n).abs(),
        "The squares of the means are subtracted. The formula has the square of the difference.": lambda m, n: (
            m**2 - n**2
        ),
        "The means are squared and added. The formula has the square of their difference.": lambda m, n: m**2 + n**2,
        "The means are added, then squared. The formula has the square of their difference.": lambda m, n: (m + n) ** 2,
        "prior_mean is not used: this is the distance from 0.": lambda m, n: m**2,
        "The distance of the means is missing: codes could move anywhere at no cost.": lambda m, n: 0,
    },
    scaled={
        "The squared distance of the means is not divided by the prior's variance. A narrow prior would then tolerate "
        "means far outside it.": lambda d, q, p: d,
        "The squared distance of the means is multiplied by the prior's variance, where it should be divided. (In "
        "Python a / 2 * b is a * b / 2.)": lambda d, q, p: d * p,
        "The squared distance of the means is divided by q's variance. It is the prior's.": lambda d, q, p: d / q,
        "The squared distance of the means is divided by the prior's σ. It is σ².": lambda d, q, p: d / p**0.5,
        "The squared distance of the means is divided by the prior's variance twice.": lambda d, q, p: d / p**2,
    },
    one={
        "The -1 for each dimension is missing, so a q that equals its prior would cost ½ nat for each of them. The "
        "gradient is the same, and training would not notice.": 0.0,
        "The 1 has the wrong sign: it is subtracted.": -1.0,
    },
    read={
        "exp(log_var) is used as σ. It is σ²: the standard deviation is exp(log_var / 2).": lambda v: 2 * v,
        "log_var is halved: its exponential is then σ, where σ² is needed.": lambda v: v / 2,
    },
    variance={
        "exp(log_var / 2) is σ, but the formula has σ² there, which is exp(log_var).": lambda v: torch.exp(v / 2),
        "exp(log_var) is already σ², and you square it once more in the variance terms.": lambda v: torch.exp(2 * v),
        "log_var is used as if it were the variance. It is a logarithm, and often negative: the variance is "
        "exp(log_var).": lambda v: v,
        "log_var "
        "is used as if it were σ, and squared. It is the logarithm of σ²: the variance is exp(log_var).": torch.square,
    },
    reduce={
        "You take the mean over the latents where the KL is their sum: J independent dimensions cost J times one. "
        "Training would weigh the KL with β = 1/J.": lambda t: t.mean(-1),
        "You sum over the whole batch: one number for all images instead of one for each.": lambda t: t.sum(),
        "You take the mean over images and latents at once: one number for the whole batch, and divided by J. Sum over "
        "the latents, and keep one number for each image.": lambda t: t.mean(),
        "You average over the images. The sum over the latents is right, but the task asks for one number for each "
        "image.": lambda t: t.sum(-1).mean(),
        "You sum over the wrong axis: over the images, not over their latents. It goes unnoticed when the batch is as "
        "large as the latent space.": lambda t: t.sum(0),
        "You average over the images, axis 0. Sum over the latents, the last axis.": lambda t: t.mean(0),
        "You multiply the terms of the latents. A KL of independent dimensions is a sum.": lambda t: t.prod(-1),
        "Only the largest term of all latents is kept. A KL of independent dimensions is a sum.": lambda t: t.amax(-1),
        "Only the first latent counts. Sum over all of them.": lambda t: t[..., 0],
    },
    turned={"The two distributions have changed places: this is KL(prior || q). The bound needs KL(q || prior).": True},
    prior={
        "You compare with N(0, I) whatever the prior is: prior_mean and prior_log_var are not used. Appendix B's "
        "formula is the special case.": False
    },
)
_KL_MISTAKES = mistakes_in(
    kl_of_gaussians,
    KL_VERSIONS
    | {
        "prior_log_var is not used: this is the KL from N(prior_mean, I).": lambda m, v, n, w: kl_of_gaussians(
            m, v, n, 0 * w
        ),
        "For q, exp(log_var) is used as σ. It is σ²; for the prior it is right.": lambda m, v, n, w: kl_of_gaussians(
            m, 2 * v, n, w
        ),
        "For the prior, exp(prior_log_var) is used as its σ. It is σ²; for q it is right.": lambda m, v, n, w: (
            kl_of_gaussians(m, v, n, 2 * w)
        ),
        "The -1 is subtracted once for each image. Each latent has its own: J of them.": lambda *args: (
            kl_of_gaussians(*args, one=0.0) - 0.5
        ),
        "Only the logarithms are divided by 2. The ½ belongs to all terms.": lambda *args: (
            2 * kl_of_gaussians(*args, logs=lambda log_q, log_p: (log_p - log_q) / 2)
        ),
        "The -1 is outside of the bracket, so its ½ is missing.": lambda *args: kl_of_gaussians(*args, one=2.0),
    },
    **KL_SLIPS,
)


def _gaussians(rows, columns):
    """Mean and log-variance of q, which want gradients, and of the prior."""
    generator = torch.Generator().manual_seed(10 * rows + columns)
    numbers = torch.randn(4, rows, columns, generator=generator, dtype=torch.get_default_dtype())
    mean, log_var = numbers[0], 0.5 * numbers[1] - 0.5
    return mean.requires_grad_(), log_var.requires_grad_(), numbers[2], 0.5 * numbers[3] + 0.3


@undisturbed
def kl(answer):
    """Exercise `kl`: the KL divergence between two diagonal Gaussians.

    The function gets mean, log_var, prior_mean and prior_log_var, [B, J] each. It returns
    KL(N(mean, exp(log_var)) || N(prior_mean, exp(prior_log_var))) in nats, [B], with its gradient.
    """
    far = torch.tensor([[30.0, -8.0, 0.0, 0.1], [-12.0, 5.0, 8.0, -9.0], [1.0, 0.0, 0.0, -2.0], [2.0, 0.0, -1.0, 3.0]])
    cases = [
        Case("3 images of 5 latents", _gaussians(3, 5)),
        Case("4 images of 4 latents", _gaussians(4, 4)),
        Case("1 image of 1 latent", _gaussians(1, 1)),
        Case("a prior N(0, I), as in Appendix B", (*_gaussians(6, 2)[:2], torch.zeros(6, 2), torch.zeros(6, 2))),
        Case("a q that equals its prior", _gaussians(2, 3)[2:] * 2),
        Case("means and log-variances far from 0", tuple(far.view(4, 2, 2))),
    ]
    right = (
        "One number for each image, summed over its latents, and zero only where q equals its prior: this is the rate "
        "that the bound charges for a code, and with a prior N(0, I) it is Appendix B's formula."
    )
    return verdict_on(answer, kl_of_gaussians, cases, _KL_MISTAKES, right=right)


# --- gradients for the width of q


def _width_gradients(
    f,
    slope,
    mean,
    width,
    noise,
    *,
    draw=lambda mean, width, noise: mean + width * noise,
    path=lambda slope, f, z, noise, width: slope(z) * noise,
    factor=lambda slope, f, z: f(z),
    score=lambda z, noise, width: (noise**2 - 1) / width,
    reduce=lambda estimates: estimates,
    swapped=False,
):
    z = draw(mean, width, noise)
    estimates = reduce(path(slope, f, z, noise, width)), reduce(factor(slope, f, z) * score(z, noise, width))
    return estimates[::-1] if swapped else estimates


_WIDTH_MISTAKES = mistakes_in(
    _width_gradients,
    {
        "Path: the slope is taken at the mean. Take it at the draw, z = μ + σε.": lambda f, d, m, *rest: (
            d(m + 0 * rest[-1]) * rest[-1],
            _width_gradients(f, d, m, *rest)[1],
        ),
        "Score: f is taken at the mean. Take it at the draw, z = μ + σε.": lambda f, slope, mean, *rest: (
            _width_gradients(f, slope, mean, *rest)[0],
            _width_gradients(lambda z: f(mean + 0 * z), slope, mean, *rest)[1],
        ),
        "Score: f is taken at the noise ε. Take it at z = μ + σε.": lambda f, slope, mean, width, noise: (
            _width_gradients(f, slope, mean, width, noise)[0],
            f(noise) * (noise**2 - 1) / width,
        ),
    },
    path={
        "Path: this is the gradient for the mean. By the chain rule z = μ + σε has the derivative ε for σ, so f'(z) "
        "has to be multiplied by the noise.": lambda d, f, z, e, s: d(z),
        "Path: f stands where its slope f' is needed.": lambda d, f, z, e, s: f(z) * e,
        "Path: f stands where its slope f' is needed, and the noise is missing.": lambda d, f, z, e, s: f(z),
        "Path: f'(z) is multiplied "
        "by σ, but the derivative of z = μ + σε with respect to σ is ε, the noise.": lambda d, f, z, e, s: d(z) * s,
        "Path: there is a factor σ too many. It belongs to the gradient for log σ.": lambda d, f, z, e, s: d(z) * e * s,
        "Path: there is a division by σ too many; that belongs to the score function.": lambda d, f, z, e, s: (
            d(z) * e / s
        ),
        "Path: the sign is turned. The derivative of z = μ + σε in σ is +ε.": lambda d, f, z, e, s: -d(z) * e,
        "Path: f'(z) is multiplied by z. The derivative of z = μ + σε in σ is ε, the noise.": lambda d, f, z, e, s: (
            d(z) * z
        ),
        "Path: this is the gradient for log σ².": lambda d, f, z, e, s: d(z) * e * s / 2,
        "Path: there is a factor 2 too many.": lambda d, f, z, e, s: 2 * d(z) * e,
        "Path: the noise is squared. The derivative of z = μ + σε in σ is ε itself.": lambda d, f, z, e, s: d(z) * e**2,
        "Path: f'(z) is multiplied by ε² - 1, which belongs to the score function.": lambda d, f, z, e, s: (
            d(z) * (e**2 - 1) / s
        ),
        "Path: the slope is taken at the noise ε. Take it at z = μ + σε.": lambda d, f, z, e, s: d(e) * e,
    },
    factor={
        "Score: f' stands where f itself is needed: the score function does not use the slope.": lambda d, f, z: d(z),
        "Score: f is missing. The score is multiplied by f(z).": lambda d, f, z: 1.0,
        "Score: the mean of f "
        "is subtracted as a baseline. The task asks for the estimates without one.": lambda d, f, z: f(z) - f(z).mean(),
        "Score: the sign is turned. A draw that scored well is made less likely.": lambda d, f, z: -f(z),
        "Score: log f stands where f itself is needed.": lambda d, f, z: f(z).log(),
    },
    score={
        "Score: this is the score for the mean, ε / σ. Differentiate log q with respect to σ instead: -1/σ from -log "
        "σ, and ε²/σ from the square.": lambda z, e, s: e / s,
        "Score: the -1 is missing, which "
        "comes from -log σ in log q(z). Without it the score does not average to zero.": lambda z, e, s: e**2 / s,
        "Score: the 1 has the wrong sign: -log σ has the derivative -1/σ.": lambda z, e, s: (e**2 + 1) / s,
        "Score: the division by σ is missing; this is the gradient for log σ.": lambda z, e, s: e**2 - 1,
        "Score: one division by σ too many. (z - μ)² / σ³ is ε² / σ, because z - μ = σε.": lambda z, e, s: (
            (e**2 - 1) / s**2
        ),
        "Score: this is the gradient for σ². By the chain rule that for σ is 2σ times as large.": lambda z, e, s: (
            (e**2 - 1) / (2 * s**2)
        ),
        "Score: it is multiplied by σ, where it should be divided.": lambda z, e, s: (e**2 - 1) * s,
        "Score: z - μ is not divided by σ before it is squared.": lambda z, e, s: ((s * e) ** 2 - 1) / s,
        "Score: the noise is not squared.": lambda z, e, s: (e - 1) / s,
        "Score: z stands where the noise ε is needed.": lambda z, e, s: (z**2 - 1) / s,
        "Score: a factor ½ too many. (The derivative of (z - μ)² / 2σ² in σ is -(z - μ)² / σ³.)": lambda z, e, s: (
            (e**2 - 1) / s / 2
        ),
        "Score: the square has "
        "kept its ½. (The derivative of (z - μ)² / 2σ² in σ is -(z - μ)² / σ³.)": lambda z, e, s: (e**2 / 2 - 1) / s,
        "Score: this is log q(z) itself, not its derivative in σ.": lambda z, e, s: (
            Normal(0.0, 1.0).log_prob(e) - math.log(s)
        ),
        "Score: (z - μ)² is divided by σ², not by σ³. The derivative of 1/σ² is -2/σ³.": lambda z, e, s: e**2 - 1 / s,
        "Score: ε² is divided by σ³. (z - μ)² / σ³ is ε² / σ, because z - μ = σε.": lambda z, e, s: e**2 / s**3 - 1 / s,
        "Score: only the part of -log σ is left. The square has a derivative too.": lambda z, e, s: -1 / s + 0 * z,
    },
    draw={
        "The width is used as a variance: z should be μ + σε with σ the width itself.": lambda m, s, e: (
            m + math.sqrt(s) * e
        ),
        "The width is squared: z should be μ + σε with σ the width itself.": lambda m, s, e: m + s**2 * e,
        "The width is used as a logarithm: z should be μ + σε with σ the width itself.": lambda m, s, e: (
            m + math.exp(s) * e
        ),
        "The noise is not multiplied by σ: z should be μ + σε.": lambda m, s, e: m + e,
        "The mean is missing: z should be μ + σε.": lambda m, s, e: s * e,
        "The noise is subtracted: z should be μ + σε.": lambda m, s, e: m - s * e,
        "The noise is used as z: z should be μ + σε.": lambda m, s, e: e,
    },
    reduce={
        "You average over the draws; the task asks for one estimate for each entry of `noise`, so that their spread "
        "can be measured.": lambda g: g.mean(),
        "You sum over the draws; the task asks for one estimate for each entry of `noise`.": lambda g: g.sum(),
    },
    swapped={"The two are in the wrong order: the path estimates come first, then those of the score function.": True},
)


@undisturbed
def width_gradients(answer):
    """Exercise `width_gradients`: two estimates of d/d(width) E[f(mean + width * noise)] for each draw.

    The function gets f, its slope, mean and width (numbers) and noise [N], draws of N(0, 1). It returns the path
    estimates f'(z) noise and the score estimates f(z) (noise^2 - 1) / width, [N] each.
    """
    noise = torch.linspace(-2.1, 2.4, 7, dtype=torch.get_default_dtype())
    cases = [
        Case("f(z) = exp z, 1 draw", (torch.exp, torch.exp, 0.4, 0.7, noise[1:2])),
        Case("f(z) = z², 7 draws", (torch.square, lambda z: 2 * z, 0.5, 0.8, noise)),
        Case("f(z) = z², a width of 0.05", (torch.square, lambda z: 2 * z, -1.2, 0.05, noise[:4])),
        Case("f(z) = cos z, a width of 3", (torch.cos, lambda z: -torch.sin(z), 0.3, 3.0, noise)),
        Case("f(z) = exp z, 3 draws", (torch.exp, torch.exp, 2.0, 0.4, noise[2:5])),
    ]
    right = (
        "Both have the true gradient as their average. The encoder learns its σ by the first one, so a draw far from "
        "the mean says more about the width than one close to it; the second multiplies f by noise² - 1 instead, and "
        "is the noisier of the two for an f that is smooth on the scale of q."
    )
    return verdict_on(answer, _width_gradients, cases, _WIDTH_MISTAKES, right=right)


# --- Eq. 6 with the score cut off (Roeder, Wu & Duvenaud 2017)

NOISE_VARIANCE, OBSERVED = 0.1, 1.0  # of the lesson's model: z ~ N(0, 1), x|z ~ N(z, 0.1), x = 1


def _landing(
    mean,
    width,
    noise,
    *,
    hold=("mean", "width"),
    cut=(),
    draw=lambda mean, width, noise: mean + width * noise,
    likelihood=lambda z: Normal(z, math.sqrt(NOISE_VARIANCE)).log_prob(torch.tensor(OBSERVED)),
    prior=lambda z: Normal(0.0, 1.0).log_prob(z),
    sign=1,
    q_width=lambda width: width,
    q_place=lambda z, noise: z,
    also=None,
    constant=0.0,
    closed_form=False,
    reduce=lambda values: values,
):
    z = draw(mean, width, noise)
    z = z.detach() if "z" in cut else z
    log_px = likelihood(z.detach() if "log p(x|z)" in cut else z) + constant
    if closed_form:
        return reduce(log_px - 0.5 * (mean**2 + width**2 - 1) + width.log())
    q = Normal(mean.detach() if "mean" in hold else mean, q_width(width.detach() if "width" in hold else width))
    log_q = q.log_prob(q_place(z.detach() if "z" in hold else z, noise))
    if also:  # a term of log q whose value is there already, and whose gradient comes on top
        term = also(mean, width, z.detach())
        log_q = log_q + term - term.detach()
    return reduce(log_px + prior(z.detach() if "log p(z)" in cut else z) - sign * log_q)


_SAMPLED = (
    "z itself is detached, as if drawn by sample(): nothing is left of the path, and the rest is not a gradient of the "
    "bound. Hold the parameters inside log q fixed, and let z move."
)
_LANDING_MISTAKES = mistakes_in(
    _landing,
    {_SAMPLED: partial(_landing, cut=("z",), hold=())},
    hold={
        "The value is Eq. 6, and nothing is cut off yet: μ and σ still reach log q(z) as its parameters. That route is "
        "the score, which averages to zero and is noise even at the posterior.": (),
        "Half done: the mean is held fixed as a parameter of q, the width is not. Its score is noise too.": ("mean",),
        "Half done: the width is held fixed as a parameter of q, the mean is not. Its score is noise too.": ("width",),
        "You cut the wrong route: log q(z) no longer sees z move, and the parameters of q, which should be held fixed, "
        "still learn. The path through z is the one to keep.": ("z",),
        "All of log q(z) is held fixed, so both routes are cut. Nothing keeps q from collapsing to a point. Keep z "
        "moving, and hold only the parameters of q.": ("mean", "width", "z"),
    },
    cut={
        _SAMPLED: ("z",),
        "z is detached inside log p(x|z). Only the parameters of q are held fixed.": ("log p(x|z)",),
        "z is detached inside log p(z). Only the parameters of q are held fixed.": ("log p(z)",),
        "z is detached inside log p(x|z) and log p(z). Only the parameters of q are held fixed.": (
            "log p(x|z)",
            "log p(z)",
        ),
    },
    draw={
        "The width is used as a variance in the draw: z is mean + width * noise.": lambda m, s, e: m + s.sqrt() * e,
        "The width is squared in the draw: z is mean + width * noise.": lambda m, s, e: m + s**2 * e,
        "The noise is not multiplied by the width: z is mean + width * noise.": lambda m, s, e: m + e,
        "The mean is missing in the draw: z is mean + width * noise.": lambda m, s, e: s * e,
        "The mean stands for the draw: z is mean + width * noise.": lambda m, s, e: m + 0 * s * e,
    },
    closed_form={
        "This is Eq. 7, with the KL in closed form. The task asks for Eq. 6, whose three terms are all taken at the "
        "draw: only there can the noise cancel at the posterior.": True
    },
    likelihood={
        "s2 is used as the standard deviation of p(x|z). Its square root belongs there.": lambda z: Normal(
            z, NOISE_VARIANCE
        ).log_prob(torch.tensor(OBSERVED)),
        "p(x|z) has the standard deviation 1. It should be the root of s2.": lambda z: Normal(z, 1.0).log_prob(
            torch.tensor(OBSERVED)
        ),
        "log p(x|z) is missing: the weight is p(x|z) p(z) / q(z).": lambda z: 0 * z,
        "log p(x|z) has lost its ½: a Gaussian has (x - z)² / (2 s2).": lambda z: (
            -((OBSERVED - z) ** 2) / NOISE_VARIANCE - 0.5 * math.log(2 * math.pi * NOISE_VARIANCE)
        ),
        "log s2 is missing in log p(x|z), or the 2π with it: its constant is -½ log(2π s2).": lambda z: (
            -((OBSERVED - z) ** 2) / (2 * NOISE_VARIANCE)
        ),
        "log p(x|z) is a density: you have taken exp of it.": lambda z: (
            Normal(z, math.sqrt(NOISE_VARIANCE)).log_prob(torch.tensor(OBSERVED)).exp()
        ),
        "p(x|z) is centred at 0. Its mean is z.": lambda z: Normal(0 * z, math.sqrt(NOISE_VARIANCE)).log_prob(
            torch.tensor(OBSERVED)
        ),
    },
    prior={
        "log p(z) is missing: the weight is p(x, z) / q(z), and p(x, z) = p(x|z) p(z). Without the prior this is not a "
        "bound on log p(x).": lambda z: 0 * z,
        "log p(z) has the wrong sign: it is added.": lambda z: -Normal(0.0, 1.0).log_prob(z),
        "log p(z) counts twice.": lambda z: 2 * Normal(0.0, 1.0).log_prob(z),
        "The prior has the width of p(x|z). It is N(0, 1).": lambda z: Normal(0.0, math.sqrt(NOISE_VARIANCE)).log_prob(
            z
        ),
    },
    sign={
        "log q(z) has the wrong sign: Eq. 6 subtracts it. As it stands q would gain by being narrow.": -1,
        "log q(z) is missing: nothing keeps q from collapsing to a point.": 0,
    },
    q_width={
        "In log q, the width is squared. `Normal` takes the standard deviation itself.": torch.square,
        "In log q, the square root of the width is taken. It is the standard deviation already.": torch.sqrt,
    },
    q_place={"log q is taken at the noise, not at z.": lambda z, noise: noise},
    also={
        "Half done: in log q the mean and the width of the square are held fixed, but its term -log σ still learns. "
        "Hold σ fixed there too.": lambda m, s, z: -s.log(),
        "Half done: in log q the term -log σ is held fixed, and so is the mean, but the σ of the square still learns. "
        "Hold it fixed there too.": lambda m, s, z: -(((z - m.detach()) / s) ** 2) / 2,
        "The score counts twice, where it should be gone. If you take it away by hand, mind the sign: log q has a "
        "minus in Eq. 6, so its score is added.": lambda m, s, z: 2 * Normal(m, s).log_prob(z),
    },
    constant={
        "A 2π is missing in log p(x|z): every value is 0.919 nats too high.": 0.5 * math.log(2 * math.pi),
        "A 2π is missing in log q(z): every value is 0.919 nats too low.": -0.5 * math.log(2 * math.pi),
        "The 2π is missing in log p(x|z) and in log p(z): every value is 1.838 nats too high.": math.log(2 * math.pi),
    },
    reduce={
        "You average over the draws; the task asks for one value for each entry of `noise`.": lambda v: v.mean(),
        "You sum over the draws; the task asks for one value for each entry of `noise`.": lambda v: v.sum(),
    },
)


@undisturbed
def landing_bound(answer):
    """Exercise `landing_bound`: Eq. 6 whose gradient at the posterior is zero for every draw.

    The function gets mean and width (numbers, or one for each draw) and noise [N]. It returns log p(x, z) - log q(z) at
    z = mean + width * noise, [N], in nats, for the lesson's model (x = 1, s2 = 0.1); its gradient leaves out the route
    through the parameters of q.
    """
    noise = torch.linspace(-2.1, 2.4, 7, dtype=torch.get_default_dtype())
    posterior_width = math.sqrt(NOISE_VARIANCE / (1 + NOISE_VARIANCE))

    def arguments(mean, width, like=noise):
        return *(torch.full_like(like, value, requires_grad=True) for value in (mean, width)), noise

    cases = [
        Case("q at the posterior", arguments(1 / (1 + NOISE_VARIANCE), posterior_width)),
        Case("q off centre", arguments(0.5, posterior_width)),
        Case("q wide and far away", arguments(-2.0, 3.0)),
        Case("one mean and one width for all draws", arguments(0.3, 0.3, like=noise[0])),
    ]
    right = (
        "The value is that of Eq. 6, and at the posterior no draw pushes q away: the closer q comes, the quieter the "
        "gradient. What you cut off was the score, which averages to zero and was all the noise there."
    )
    return verdict_on(answer, _landing, cases, _LANDING_MISTAKES, right=right)
