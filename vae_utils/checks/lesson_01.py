"""Feedback on the exercises of lesson 01: a KL of two Gaussians, gradients for a width, a bound without the score."""

import math
from functools import partial

import torch
from torch.distributions import Normal

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

# --- the KL of two diagonal Gaussians (Appendix B has the one to N(0, I))


def _kl(
    mean,
    log_var,
    prior_mean,
    prior_log_var,
    *,
    factor=0.5,
    sign=1,
    reduce=lambda terms: terms.sum(-1),
    read=lambda log_var: log_var,
    variance=torch.exp,
    scale=True,
    prior=True,
    one=1.0,
    turned=False,
):
    q, p = (mean, read(log_var)), (prior * prior_mean, read(prior * prior_log_var))
    (mean, log_var), (prior_mean, prior_log_var) = (p, q) if turned else (q, p)
    prior_variance = variance(prior_log_var)
    distance = (mean - prior_mean) ** 2 / (prior_variance if scale else 1)
    terms = prior_log_var - log_var + variance(log_var) / prior_variance + distance - one
    return sign * factor * reduce(terms)


_KL_MISTAKES = mistakes_in(
    _kl,
    sign={
        "The sign is turned: this is minus the KL, as the paper prints it for the bound. "
        "A KL is never negative; subtracted from the fit, yours would reward q for leaving the prior, and the bound "
        "would grow without end.": -1
    },
    factor={
        "The factor ½ is lost: every KL is twice what it should be. Training would weigh it with β = 2, and the codes "
        "would say less than the bound allows.": 1.0
    },
    reduce={
        "You take the mean over the latents where the KL is their sum: D independent dimensions cost D times one. "
        "Training would weigh the KL with β = 1/D: "
        "codes move far from the prior, and samples from the prior suffer.": lambda terms: terms.mean(-1),
        "You sum over the whole batch: one number for all images instead of one for each. The KL would grow with the "
        "size of the batch; "
        "added to a fit that is averaged over images, it would smother it.": lambda terms: terms.sum(),
        "You take the mean over images and latents at once: one number for the whole batch, and divided by D, which "
        "makes the KL D times too cheap (β = 1/D). "
        "Sum over the latents, and keep one number for each image.": lambda terms: terms.mean(),
        "You average over the images. "
        "The sum over the latents is right, but the task asks for one number for each image: the average over the "
        "batch belongs to the training loop, once, at the end.": lambda terms: terms.sum(-1).mean(),
        "You sum over the wrong axis: over the images, not over their latents. It goes unnoticed when the batch is as "
        "large as the latent space; each image is then charged for other images' codes.": lambda terms: terms.sum(0),
    },
    turned={
        "The two distributions have changed places: this is KL(prior || q). It would make q cover the whole prior "
        "instead of staying where the image allows; the bound needs KL(q || prior).": True
    },
    prior={
        "You compare with N(0, I) whatever the prior is: prior_mean and prior_log_var are not used. Appendix B's "
        "formula is the special case; here the prior may lie elsewhere.": False
    },
    read={
        "exp(log_var) is used as σ. It is σ²: the standard deviation is exp(log_var / 2). "
        "With the ½ lost there, each q is taken for narrower (or wider) than it is, and training settles at a wrong "
        "width, without any error.": lambda log_var: 2 * log_var
    },
    variance={
        "exp(log_var / 2) is σ, but the formula has σ² there, which is exp(log_var). Training would find widths that "
        "no longer belong to the bound.": lambda log_var: torch.exp(log_var / 2),
        "exp(log_var) is already σ², and you square it once more in the variance terms. Training would find widths "
        "that no longer belong to the bound.": lambda log_var: torch.exp(2 * log_var),
        "log_var is used as if it were the variance. It is a logarithm, and often negative: the variance is "
        "exp(log_var). With a negative variance the cost rewards what it should charge for.": lambda log_var: log_var,
        "log_var is used as if it were σ, and squared. It is the logarithm of σ²: the variance is exp(log_var). "
        "Training would drive log_var to 1 or -1, not σ to where the bound is best.": torch.square,
    },
    scale={
        "The squared distance of the means is not divided by the prior's variance. A narrow prior would then tolerate "
        "codes far outside it.": False
    },
    one={
        "The -1 for each latent is lost, so a q that equals its prior would cost ½ nat for each latent. The gradient "
        "is the same and training would not notice, but the number is no KL, and no bound made with it is right.": 0.0
    },
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

    The function gets mean, log_var, prior_mean and prior_log_var, [B, D] each. It returns
    KL(N(mean, exp(log_var)) || N(prior_mean, exp(prior_log_var))) in nats, [B], with its gradient.
    """
    far = torch.tensor([[30.0, -8.0, 0.0, 0.1], [-12.0, 5.0, 8.0, -9.0], [1.0, 0.0, 0.0, -2.0], [2.0, 0.0, -1.0, 3.0]])
    cases = [
        Case("3 images of 5 latents", _gaussians(3, 5)),
        Case("4 images of 4 latents", _gaussians(4, 4)),
        Case("2 images of 1 latent", _gaussians(2, 1)),
        Case("a prior N(0, I), as in Appendix B", (*_gaussians(6, 2)[:2], torch.zeros(6, 2), torch.zeros(6, 2))),
        Case("a q that equals its prior", _gaussians(2, 3)[2:] * 2),
        Case("means and log-variances far from 0", tuple(far.view(4, 2, 2))),
    ]
    right = (
        "One number for each image, summed over its latents, and zero only where q equals its prior: this is the rate "
        "that the bound charges for a code, and with a prior N(0, I) it is Appendix B's formula."
    )
    return verdict_on(answer, _kl, cases, _KL_MISTAKES, right=right)


# --- gradients for the width of q


def _width_gradients(
    f,
    slope,
    mean,
    width,
    noise,
    *,
    path=lambda slope, noise, width: slope * noise,
    score=lambda value, noise, width: value * (noise**2 - 1) / width,
    reduce=lambda estimates: estimates,
    swapped=False,
    read=lambda width: width,
):
    z = mean + read(width) * noise
    estimates = reduce(path(slope(z), noise, width)), reduce(score(f(z), noise, width))
    return estimates[::-1] if swapped else estimates


_WIDTH_MISTAKES = mistakes_in(
    _width_gradients,
    path={
        "Path: this is the gradient for the mean. By the chain rule z = μ + σε has the derivative ε for σ, so f'(z) "
        "has to be multiplied by the noise; "
        "without it σ would be pushed the way the mean is.": lambda slope, noise, width: slope,
        "Path: f'(z) is multiplied by σ, but the derivative of z = μ + σε with respect to σ is ε, "
        "the noise.": lambda slope, noise, width: slope * width,
        "Path: there is a factor σ too many. It belongs to the gradient for log σ; with it a narrow q would hardly be "
        "moved at all.": lambda slope, noise, width: slope * noise * width,
        "Path: there is a division by σ too many; that belongs to the score function. The derivative of z = μ + σε "
        "with respect to σ is ε alone.": lambda slope, noise, width: slope * noise / width,
    },
    score={
        "Score: this is the score for the mean, ε / σ. Differentiate log q with respect to σ instead: -1/σ from -log "
        "σ, and ε²/σ from the square.": lambda value, noise, width: value * noise / width,
        "Score: the -1 is lost, "
        "which comes from -log σ in log q(z). Without it the score does not average to zero, and σ would shrink or "
        "grow whenever f has a constant in it.": lambda value, noise, width: value * noise**2 / width,
        "Score: the division by σ is lost; this is the gradient for log σ. "
        "A narrow q would learn far too slowly.": lambda value, noise, width: value * (noise**2 - 1),
        "Score: one division by σ too many. (z - μ)² / σ³ is ε² / σ, since z - μ = σε.": lambda value, noise, width: (
            value * (noise**2 - 1) / width**2
        ),
        "Score: the sign is turned. A draw that scored well is made less likely, "
        "and σ moves the wrong way.": lambda value, noise, width: value * (1 - noise**2) / width,
    },
    reduce={
        "You average over the draws; the task asks for one estimate for each entry of `noise`, so that their spread "
        "can be measured. A mean alone does not say how noisy one draw is.": lambda estimates: estimates.mean(),
        "You sum over the draws; the task asks for one estimate for each entry of `noise`. A sum grows with the number "
        "of draws, and so would the step that is made with it.": lambda estimates: estimates.sum(),
    },
    swapped={"The two are in the wrong order: the path estimates come first, then those of the score function.": True},
    read={"The width is used as a variance: z should be μ + σε with σ the width itself.": math.sqrt},
)


@undisturbed
def width_gradients(answer):
    """Exercise `width_gradients`: two estimates of d/d(width) E[f(mean + width * noise)] for each draw.

    The function gets f, its slope, mean and width (numbers) and noise [N], draws of N(0, 1). It returns the path
    estimates f'(z) noise and the score estimates f(z) (noise^2 - 1) / width, [N] each.
    """
    noise = torch.linspace(-2.1, 2.4, 7, dtype=torch.get_default_dtype())
    cases = [
        Case("f(z) = z², 7 draws", (torch.square, lambda z: 2 * z, 0.5, 0.8, noise)),
        Case("f(z) = z², a width of 0.05", (torch.square, lambda z: 2 * z, -1.2, 0.05, noise[:4])),
        Case("f(z) = cos z, a width of 3", (torch.cos, lambda z: -torch.sin(z), 0.3, 3.0, noise)),
        Case("f(z) = exp z, 3 draws", (torch.exp, torch.exp, 2.0, 0.4, noise[2:5])),
    ]
    right = (
        "Both have the true gradient as their average. The encoder learns its σ by the first one, so a draw far from "
        "the mean says more about the width than one close to it; the second multiplies f by noise² - 1 instead, and "
        "is the noisier of the two for any smooth f."
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
    path=True,
    prior=True,
    sign=1,
    constant=0.0,
    scale=math.sqrt(NOISE_VARIANCE),
    closed_form=False,
    reduce=lambda values: values,
):
    z = mean + width * noise
    z = z if path else z.detach()
    log_px = Normal(z, scale).log_prob(torch.tensor(OBSERVED)) + constant
    if closed_form:
        return reduce(log_px - 0.5 * (mean**2 + width**2 - 1) + width.log())
    q = Normal(mean.detach() if "mean" in hold else mean, width.detach() if "width" in hold else width)
    log_q = q.log_prob(z.detach() if "z" in hold else z)
    return reduce(log_px + prior * Normal(0.0, 1.0).log_prob(z) - sign * log_q)


_SAMPLED = (
    "z itself is detached, as if drawn by sample(): nothing is left of the path, and the rest is no gradient of the "
    "bound. Hold the parameters inside log q fixed, and let z move."
)
_LANDING_MISTAKES = mistakes_in(
    _landing,
    {_SAMPLED: partial(_landing, path=False, hold=())},
    hold={
        "The value is Eq. 6, and nothing is cut off yet: μ and σ still reach log q(z) as its parameters. That route is "
        "the score, which averages to zero and keeps shaking q even at the posterior.": (),
        "Half done: the mean is held fixed as a parameter of q, the width is not. Its score is noise just as well, and "
        "keeps shaking σ at the posterior.": ("mean",),
        "Half done: the width is held fixed as a parameter of q, the mean is not. Its score is noise just as well, and "
        "keeps shaking μ at the posterior.": ("width",),
        "You cut the wrong route: log q(z) no longer sees z move, and the parameters of q, which should be held fixed, "
        "still learn. The path through z is the one to keep.": ("z",),
        "All of log q(z) is held fixed, so both routes are cut. The term that keeps q from collapsing to a point is "
        "gone from the gradient: σ would shrink towards zero. "
        "Keep z moving, and hold only the parameters of q.": ("mean", "width", "z"),
    },
    path={_SAMPLED: False},
    closed_form={
        "This is Eq. 7, with the KL in closed form. The task asks for Eq. 6, whose three terms are all taken at the "
        "draw: only there can the noise cancel at the posterior.": True
    },
    prior={
        "log p(z) is missing: the weight is p(x, z) / q(z), and p(x, z) = p(x|z) p(z). Without the prior this is no "
        "bound on log p(x), and q would settle elsewhere.": False
    },
    sign={
        "log q(z) has the wrong sign: Eq. 6 subtracts it. "
        "As it stands q would gain by being narrow, and collapse to a point.": -1
    },
    constant={
        "A 2π is missing in log p(x|z): every value is 0.919 nats too high. Training does not notice a constant, but "
        "the number is no longer a bound on log p(x).": 0.5 * math.log(2 * math.pi)
    },
    scale={
        "s² is used as the standard deviation of p(x|z). Its square root belongs there; as it stands the model claims "
        "far less noise than it has, and q becomes too narrow.": NOISE_VARIANCE
    },
    reduce={
        "You average over the draws; the task asks for one value for each entry of `noise`, so that the gradient of "
        "every draw can be seen.": lambda values: values.mean()
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
        "gradient. What you cut off was the score, which averages to zero and was only noise."
    )
    return verdict_on(answer, _landing, cases, _LANDING_MISTAKES, right=right)
