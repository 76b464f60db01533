"""Lesson 01: the KL of two Gaussians, gradients for a width, and a bound without the score."""

import math
from functools import partial

import torch

from vae_utils.checks.core import Case, Mistake, Slip, combinations, verdict_on

# --- the KL of two diagonal Gaussians (Appendix B has the one to N(0, I))


def kl(answer):
    """Exercise `kl`: the KL divergence between two diagonal Gaussians.

    Args:
        answer: function of `mean`, `log_var`, `prior_mean`, `prior_log_var`, each [B, D], that returns
            KL(N(mean, exp(log_var)) || N(prior_mean, exp(prior_log_var))), [B], nats, with its gradient.

    Returns:
        Verdict.
    """
    cases = [
        Case("3 images of 5 latents", _gaussians(3, 5)),
        Case("4 images of 4 latents", _gaussians(4, 4)),
        Case("2 images of 1 latent", _gaussians(2, 1)),
        Case("a prior N(0, I), as in Appendix B", (*_gaussians(6, 2)[:2], torch.zeros(6, 2), torch.zeros(6, 2))),
        Case("a q that equals its prior", _gaussians(2, 3)[2:] * 2),
        Case(
            "means and log-variances far from 0",
            (
                torch.tensor([[30.0, -8.0], [0.0, 0.1]]),
                torch.tensor([[-12.0, 5.0], [8.0, -9.0]]),
                torch.tensor([[1.0, 0.0], [0.0, -2.0]]),
                torch.tensor([[2.0, 0.0], [-1.0, 3.0]]),
            ),
        ),
    ]
    return verdict_on(
        answer,
        _kl,
        cases,
        KL_MISTAKES,
        right=(
            "One number for each image, summed over its latents, and zero only where q equals its prior: this is the "
            "rate that the bound charges for a code, and with a prior N(0, I) it is Appendix B's formula."
        ),
    )


def _gaussians(rows, columns):
    """Mean and log-variance of q, which want gradients, and of the prior."""
    generator = torch.Generator().manual_seed(10 * rows + columns)
    numbers = torch.randn(4, rows, columns, generator=generator, dtype=torch.get_default_dtype())
    mean, log_var = numbers[0], 0.5 * numbers[1] - 0.5
    return mean.requires_grad_(), log_var.requires_grad_(), numbers[2], 0.5 * numbers[3] + 0.3


def _kl(
    mean,
    log_var,
    prior_mean,
    prior_log_var,
    factor=0.5,
    sign=1,
    reduce=lambda terms: terms.sum(-1),
    read=None,
    variance=torch.exp,
    scale=True,
    prior=True,
    one=1.0,
    turned=False,
):
    if not prior:
        prior_mean, prior_log_var = torch.zeros_like(prior_mean), torch.zeros_like(prior_log_var)
    if read is not None:
        log_var, prior_log_var = read(log_var), read(prior_log_var)
    if turned:
        mean, log_var, prior_mean, prior_log_var = prior_mean, prior_log_var, mean, log_var
    prior_variance = variance(prior_log_var)
    distance = (mean - prior_mean) ** 2 / (prior_variance if scale else 1)
    terms = prior_log_var - log_var + variance(log_var) / prior_variance + distance - one
    return sign * factor * reduce(terms)


KL_MISTAKES = combinations(
    _kl,
    [
        Slip(
            "sign",
            -1,
            "The sign is turned: this is minus the KL, as the paper prints it for the bound. A KL is never negative; "
            "subtracted from the fit, yours would reward q for leaving the prior, and the bound would grow without "
            "end.",
        ),
        Slip(
            "factor",
            1.0,
            "The factor ½ is lost: every KL is twice what it should be. Training would weigh it with β = 2, and the "
            "codes would say less than the bound allows.",
        ),
        Slip(
            "reduce",
            lambda terms: terms.mean(-1),
            "You take the mean over the latents where the KL is their sum: D independent dimensions cost D times "
            "one. Training would weigh the KL with β = 1/D: codes move far from the prior, and samples from the "
            "prior suffer.",
        ),
        Slip(
            "reduce",
            lambda terms: terms.sum(),
            "You sum over the whole batch: one number for all images instead of one for each. The KL would grow with "
            "the size of the batch; added to a fit that is averaged over images, it would smother it.",
        ),
        Slip(
            "reduce",
            lambda terms: terms.mean(),
            "You take the mean over images and latents at once: one number for the whole batch, and divided by D, "
            "which makes the KL D times too cheap (β = 1/D). Sum over the latents, and keep one number for each "
            "image.",
        ),
        Slip(
            "reduce",
            lambda terms: terms.sum(-1).mean(),
            "You average over the images. The sum over the latents is right, but the task asks for one number for "
            "each image: the average over the batch belongs to the training loop, once, at the end.",
        ),
        Slip(
            "reduce",
            lambda terms: terms.sum(0),
            "You sum over the wrong axis: over the images, not over their latents. It goes unnoticed when the batch "
            "is as large as the latent space; each image is then charged for other images' codes.",
        ),
        Slip(
            "turned",
            True,
            "The two distributions have changed places: this is KL(prior || q). It would make q cover the whole "
            "prior instead of staying where the image allows; the bound needs KL(q || prior).",
        ),
        Slip(
            "prior",
            False,
            "You compare with N(0, I) whatever the prior is: prior_mean and prior_log_var are not used. Appendix B's "
            "formula is the special case; here the prior may lie elsewhere.",
        ),
        Slip(
            "read",
            lambda log_var: 2 * log_var,
            "exp(log_var) is used as σ. It is σ²: the standard deviation is exp(log_var / 2). With the ½ lost there, "
            "each q is taken for narrower (or wider) than it is, and training settles at a wrong width, without any "
            "error.",
        ),
        Slip(
            "variance",
            lambda log_var: torch.exp(log_var / 2),
            "exp(log_var / 2) is σ, but the formula has σ² there, which is exp(log_var). Training would find widths "
            "that no longer belong to the bound.",
        ),
        Slip(
            "variance",
            lambda log_var: torch.exp(2 * log_var),
            "exp(log_var) is already σ², and you square it once more in the variance terms. Training would find "
            "widths that no longer belong to the bound.",
        ),
        Slip(
            "variance",
            lambda log_var: log_var,
            "log_var is used as if it were the variance. It is a logarithm, and often negative: the variance is "
            "exp(log_var). With a negative variance the cost rewards what it should charge for.",
        ),
        Slip(
            "variance",
            torch.square,
            "log_var is used as if it were σ, and squared. It is the logarithm of σ²: the variance is exp(log_var). "
            "Training would drive log_var to 1 or -1, not σ to where the bound is best.",
        ),
        Slip(
            "scale",
            False,
            "The squared distance of the means is not divided by the prior's variance. A narrow prior would then "
            "tolerate codes far outside it.",
        ),
        Slip(
            "one",
            0.0,
            "The -1 for each latent is lost, so a q that equals its prior would cost ½ nat for each latent. The "
            "gradient is the same and training would not notice, but the number is no KL, and no bound made with it "
            "is right.",
        ),
    ],
)


# --- gradients for the width of q


def width_gradients(answer):
    """Exercise `width_gradients`: two estimates of d/d(width) E[f(mean + width * noise)] for each draw.

    Args:
        answer: function of `f`, its `slope`, `mean` and `width` (numbers) and `noise` [N], draws of N(0, 1),
            that returns the path estimates f'(z) noise and the score estimates f(z) (noise^2 - 1) / width,
            [N] each.

    Returns:
        Verdict.
    """
    noise = torch.linspace(-2.1, 2.4, 7, dtype=torch.get_default_dtype())
    cases = [
        Case("f(z) = z², 7 draws", (torch.square, lambda z: 2 * z, 0.5, 0.8, noise)),
        Case("f(z) = z², a width of 0.05", (torch.square, lambda z: 2 * z, -1.2, 0.05, noise[:4])),
        Case("f(z) = cos z, a width of 3", (torch.cos, lambda z: -torch.sin(z), 0.3, 3.0, noise)),
        Case("f(z) = exp z, 3 draws", (torch.exp, torch.exp, 2.0, 0.4, noise[2:5])),
    ]
    return verdict_on(
        answer,
        _width_gradients,
        cases,
        WIDTH_MISTAKES,
        right=(
            "Both have the true gradient as their average. The encoder learns its σ by the first one, so a draw far "
            "from the mean says more about the width than one close to it; the second multiplies f by noise² - 1 "
            "instead, and is the noisier of the two for any smooth f."
        ),
    )


def _width_gradients(
    f,
    slope,
    mean,
    width,
    noise,
    path=lambda slope, noise, width: slope * noise,
    score=lambda value, noise, width: value * (noise**2 - 1) / width,
    reduce=lambda estimates: estimates,
    swapped=False,
    read=lambda width: width,
):
    z = mean + read(width) * noise
    estimates = path(slope(z), noise, width), score(f(z), noise, width)
    return tuple(reduce(estimate) for estimate in (estimates[::-1] if swapped else estimates))


WIDTH_MISTAKES = combinations(
    _width_gradients,
    [
        Slip(
            "path",
            lambda slope, noise, width: slope,
            "Path: this is the gradient for the mean. By the chain rule z = μ + σε has the derivative ε for σ, so "
            "f'(z) has to be multiplied by the noise; without it σ would be pushed the way the mean is.",
        ),
        Slip(
            "path",
            lambda slope, noise, width: slope * width,
            "Path: f'(z) is multiplied by σ, but the derivative of z = μ + σε with respect to σ is ε, the noise.",
        ),
        Slip(
            "path",
            lambda slope, noise, width: slope * noise * width,
            "Path: there is a factor σ too many. It belongs to the gradient for log σ; with it a narrow q would "
            "hardly be moved at all.",
        ),
        Slip(
            "path",
            lambda slope, noise, width: slope * noise / width,
            "Path: there is a division by σ too many; that belongs to the score function. The derivative of z = μ + "
            "σε with respect to σ is ε alone.",
        ),
        Slip(
            "score",
            lambda value, noise, width: value * noise / width,
            "Score: this is the score for the mean, ε / σ. Differentiate log q with respect to σ instead: -1/σ from "
            "-log σ, and ε²/σ from the square.",
        ),
        Slip(
            "score",
            lambda value, noise, width: value * noise**2 / width,
            "Score: the -1 is lost, which comes from -log σ in log q(z). Without it the score does not average to "
            "zero, and σ would shrink or grow whenever f has a constant in it.",
        ),
        Slip(
            "score",
            lambda value, noise, width: value * (noise**2 - 1),
            "Score: the division by σ is lost; this is the gradient for log σ. A narrow q would learn far too slowly.",
        ),
        Slip(
            "score",
            lambda value, noise, width: value * (noise**2 - 1) / width**2,
            "Score: one division by σ too many. (z - μ)² / σ³ is ε² / σ, since z - μ = σε.",
        ),
        Slip(
            "score",
            lambda value, noise, width: value * (1 - noise**2) / width,
            "Score: the sign is turned. A draw that scored well is made less likely, and σ moves the wrong way.",
        ),
        Slip(
            "reduce",
            lambda estimates: estimates.mean(),
            "You average over the draws; the task asks for one estimate for each entry of `noise`, so that their "
            "spread can be measured. A mean alone does not say how noisy one draw is.",
        ),
        Slip(
            "reduce",
            lambda estimates: estimates.sum(),
            "You sum over the draws; the task asks for one estimate for each entry of `noise`. A sum grows with the "
            "number of draws, and so would the step that is made with it.",
        ),
        Slip(
            "swapped",
            True,
            "The two are in the wrong order: the path estimates come first, then those of the score function.",
        ),
        Slip("read", math.sqrt, "The width is used as a variance: z should be μ + σε with σ the width itself."),
    ],
)


# --- Eq. 6 with the score cut off (Roeder, Wu & Duvenaud 2017)

NOISE_VARIANCE, OBSERVED = 0.1, 1.0  # of the lesson's model: z ~ N(0, 1), x|z ~ N(z, 0.1), x = 1


def landing_bound(answer):
    """Exercise `landing_bound`: Eq. 6 whose gradient at the posterior is zero for every draw.

    Args:
        answer: function of `mean` and `width` (numbers, or one for each draw) and `noise` [N] that returns
            log p(x, z) - log q(z) at z = mean + width * noise, [N], for the lesson's model (x = 1, s2 = 0.1);
            its gradient leaves out the route through the parameters of q.

    Returns:
        Verdict.
    """
    noise = torch.linspace(-2.1, 2.4, 7, dtype=torch.get_default_dtype())
    at_posterior = 1 / (1 + NOISE_VARIANCE), math.sqrt(NOISE_VARIANCE / (1 + NOISE_VARIANCE))
    cases = [
        Case(name, (_one_for_each(noise, mean), _one_for_each(noise, width), noise))
        for name, mean, width in (
            ("q at the posterior", *at_posterior),
            ("q off centre", 0.5, at_posterior[1]),
            ("q wide and far away", -2.0, 3.0),
        )
    ]
    single = torch.tensor(0.3, dtype=noise.dtype, requires_grad=True)
    cases.append(
        Case("one mean and one width for all draws", (single, single.detach().clone().requires_grad_(), noise))
    )
    return verdict_on(
        answer,
        _landing,
        cases,
        LANDING_MISTAKES,
        right=(
            "The value is that of Eq. 6, and at the posterior no draw pushes q away: the closer q comes, the quieter "
            "the gradient. What you cut off was the score, which averages to zero and was only noise."
        ),
    )


def _one_for_each(noise, value):
    return torch.full_like(noise, value).requires_grad_()


def _landing(
    mean,
    width,
    noise,
    hold=("mean", "width"),
    path=True,
    prior=True,
    sign=1,
    constant=True,
    scale=math.sqrt(NOISE_VARIANCE),
    entropy="drawn",
    reduce=lambda values: values,
):
    z = mean + width * noise
    z = z if path else z.detach()
    place = mean.detach() if "mean" in hold else mean
    spread = width.detach() if "width" in hold else width
    log_q = _log_density((z.detach() if "z" in hold else z), place, spread)
    log_px = _log_density(torch.as_tensor(OBSERVED, dtype=z.dtype), z, scale)
    if not constant:
        log_px = log_px + 0.5 * math.log(2 * math.pi)
    if entropy == "exact":
        return reduce(log_px - 0.5 * (mean**2 + width**2 - 1) + width.log())
    return reduce(log_px + (_log_density(z, 0.0, 1.0) if prior else 0) - sign * log_q)


def _log_density(z, mean, width):
    return -0.5 * ((z - mean) / width) ** 2 - torch.as_tensor(width).log() - 0.5 * math.log(2 * math.pi)


SAMPLED = (
    "z itself is detached, as if drawn by sample(): nothing is left of the path, and the rest is no gradient of the "
    "bound. Hold the parameters inside log q fixed, and let z move."
)
LANDING_MISTAKES = [Mistake(partial(_landing, path=False, hold=()), SAMPLED)] + combinations(
    _landing,
    [
        Slip(
            "hold",
            (),
            "The value is Eq. 6, and nothing is cut off yet: μ and σ still reach log q(z) as its parameters. That "
            "route is the score, which averages to zero and keeps shaking q even at the posterior.",
        ),
        Slip(
            "hold",
            ("mean",),
            "Half done: the mean is held fixed as a parameter of q, the width is not. Its score is noise just as "
            "well, and keeps shaking σ at the posterior.",
        ),
        Slip(
            "hold",
            ("width",),
            "Half done: the width is held fixed as a parameter of q, the mean is not. Its score is noise just as "
            "well, and keeps shaking μ at the posterior.",
        ),
        Slip(
            "hold",
            ("z",),
            "You cut the wrong route: log q(z) no longer sees z move, and the parameters of q, which should be held "
            "fixed, still learn. The path through z is the one to keep.",
        ),
        Slip(
            "hold",
            ("mean", "width", "z"),
            "All of log q(z) is held fixed, so both routes are cut. The term that keeps q from collapsing to a point "
            "is gone from the gradient: σ would shrink towards zero. Keep z moving, and hold only the parameters of "
            "q.",
        ),
        Slip("path", False, SAMPLED),
        Slip(
            "entropy",
            "exact",
            "This is Eq. 7, with the KL in closed form. The task asks for Eq. 6, whose three terms are all taken at "
            "the draw: only there can the noise cancel at the posterior.",
        ),
        Slip(
            "prior",
            False,
            "log p(z) is missing: the weight is p(x, z) / q(z), and p(x, z) = p(x|z) p(z). Without the prior this is "
            "no bound on log p(x), and q would settle elsewhere.",
        ),
        Slip(
            "sign",
            -1,
            "log q(z) has the wrong sign: Eq. 6 subtracts it. As it stands q would gain by being narrow, and "
            "collapse to a point.",
        ),
        Slip(
            "constant",
            False,
            "A 2π is missing in log p(x|z): every value is 0.919 nats too high. Training does not notice a constant, "
            "but the number is no longer a bound on log p(x).",
        ),
        Slip(
            "scale",
            NOISE_VARIANCE,
            "s² is used as the standard deviation of p(x|z). Its square root belongs there; as it stands the model "
            "claims far less noise than it has, and q becomes too narrow.",
        ),
        Slip(
            "reduce",
            lambda values: values.mean(),
            "You average over the draws; the task asks for one value for each entry of `noise`, so that the gradient "
            "of every draw can be seen.",
        ),
    ],
)
