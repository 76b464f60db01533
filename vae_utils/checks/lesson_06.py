"""Feedback on the exercises of lesson 06: log-densities of continuous pixels."""

import math
from functools import partial

import torch

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

# --- another unit


def _in_another_unit(nats, num_pixels, factor, *, sign=-1, once=False, power=1, log=math.log):
    return nats + sign * (1 if once else num_pixels) * power * log(factor)


_UNIT_MISTAKES = mistakes_in(
    _in_another_unit,
    {
        "The log-density is multiplied by the factor, but it is the *density* that changes, by a power of the factor. "
        "In the logarithm that is a difference.": lambda nats, num_pixels, factor: nats * factor,
        "The log-density is divided by the factor, but it is the *density* that is divided, once for each pixel. In "
        "the logarithm that is a difference.": lambda nats, num_pixels, factor: nats / factor,
    },
    sign={
        "The sign is turned: stretch the scale (a factor above 1), and probability per unit thins out, so the "
        "log-density falls. The result is now further from the truth than if you had done nothing.": 1
    },
    once={
        "The change is charged once for the image, but each pixel has its own scale to stretch: it counts `num_pixels` "
        "times. For a frame of 560 pixels, dividing by 255 instead of 256 is worth 2.19 nats, not 0.004.": True
    },
    power={
        "There is a factor ½ too many. It belongs to variances: the scale of brightness itself is multiplied by "
        "`factor`, and one logarithm of it goes off for each pixel.": 0.5,
        "There is a factor 2 too many. The square of the factor belongs to variances; a density changes by one "
        "logarithm of the factor for each pixel.": 2,
    },
    log={
        "The logarithm has base 2: that counts bits, while `nats` are counted with the natural logarithm. Numbers in "
        "the two units must not be added.": math.log2,
        "The logarithm has base 10, while `nats` are counted with the natural logarithm.": math.log10,
    },
)


@undisturbed
def unit_change(answer):
    """Exercise 1: a log-density after all brightness was multiplied by a factor.

    The function gets nats, numbers of any shape; num_pixels; factor, a float above 0. It returns the log-density of the
    same model for the same images in the new unit, of the shape of nats.
    """
    cases = [
        Case("1,300 nats of 560 pixels in bytes / 256, in bytes", (1300.0, 560, 256.0)),
        Case("three bounds, 784 pixels, factor 1/255", (torch.tensor([-90.0, 10.0, 2e3]), 784, 1 / 255)),
        Case("one pixel, factor 3", (torch.tensor(0.5), 1, 3.0)),
        Case("5 pixels, factor 1", (torch.tensor([-1.0, 2.0]), 5, 1.0)),
    ]
    right = (
        "One logarithm of the factor for each pixel, whatever the model: that part of a bound is a choice of unit, and "
        "only differences in one unit compare models."
    )
    return verdict_on(answer, _in_another_unit, cases, _UNIT_MISTAKES, right=right)


# --- a Gaussian with a floor


def _square_of_sigma(log_sigma):
    return torch.exp(2 * log_sigma)


def _add_floor(variance, floor):
    return floor**2 + variance


def _over_pixels(terms):
    return terms.sum((1, 2, 3))


def _floored_log_density(
    x,
    mean,
    log_sigma,
    floor,
    *,
    variance=_square_of_sigma,
    with_floor=_add_floor,
    constant=2 * math.pi,
    log_weight=0.5,
    square_weight=0.5,
    reduce=_over_pixels,
    sign=-1,
):
    v = with_floor(variance(log_sigma), floor)
    return sign * reduce(log_weight * torch.log(constant * v) + square_weight * (x - mean) ** 2 / v)


_DENSITY_MISTAKES = mistakes_in(
    _floored_log_density,
    {
        "The ½ is missing in front of both terms: this is twice the log-density. "
        "Against the KL of the codes the pixels then count double, "
        "which is a β of ½.": partial(_floored_log_density, log_weight=1.0, square_weight=1.0)
    },
    variance={
        "exp(log_sigma) is σ, and you use it as the variance σ². Wherever a pixel is known to better than the whole "
        "scale, σ is far larger than σ²: the model believes in more noise than the network has asked for.": torch.exp,
        "exp(log_sigma / 2) would be the standard deviation if the network gave the log-*variance*; here it gives log "
        "σ, and the variance is exp(2 log σ). "
        "A quarter of the exponent is left.": lambda log_sigma: torch.exp(0.5 * log_sigma),
        "The variance is squared once too often: exp(2 log σ) is σ² already. The network then learns half the log σ, "
        "and every width that you print is wrong.": lambda log_sigma: torch.exp(4 * log_sigma),
        "log_sigma is used as σ itself: the exponential is missing. A width of log σ = 0, where σ is 1, would be a "
        "division by zero.": lambda log_sigma: log_sigma**2,
    },
    with_floor={
        "The floor is missing. Without it the density of a pixel that never changes has no upper bound, and training "
        "goes for it (section 3).": lambda variance, floor: variance,
        "The floor is added to the variance unsquared. It is a standard deviation, one grey level: 1/256 as a variance "
        "would be a σ of 1/16, sixteen grey levels.": lambda variance, floor: floor + variance,
        "The floor is added to σ; the task adds its square to the variance, as independent noises add. Yours is a "
        "wider Gaussian, by a factor of up to √2 in σ.": lambda variance, floor: (floor + variance.sqrt()) ** 2,
        "The variance is cut off at the floor; the task adds the two. Below a cut the gradient is zero, and a σ that "
        "has once fallen below it never comes back.": lambda variance, floor: variance.clamp(min=floor**2),
    },
    constant={
        "The 2π is missing. Each pixel then looks 0.92 nats better, 515 nats for a face, and your bound cannot be "
        "compared with anybody else's. Training does not notice: that is why this slip lives long.": 1.0,
        "The 2 of 2π is missing: 0.35 nats for each pixel.": math.pi,
    },
    log_weight={
        "The ½ in front of log(2πσ²) is missing: log σ² is 2 log σ. The price of a wide σ is doubled, and training "
        "settles at half the variance that the errors have.": 1.0,
        "The logarithm of the variance is missing: what is left is a squared error, weighted by 1/σ². Its best σ is "
        "infinite, since nothing is charged for doubt.": 0.0,
    },
    square_weight={
        "The ½ in front of the squared error is missing. Errors count double, and training settles at twice the "
        "variance that the errors have.": 1.0
    },
    sign={
        "The sign is turned: this is the negative log-density, a loss. As a bound to be raised it would drive the "
        "means away from the pixels.": 1
    },
    reduce={
        "The mean over the pixels is taken instead of the sum. The likelihood of an image is then worth that of one "
        "pixel, the KL of the codes keeps its full weight, and the codes collapse: "
        "it is a β of the number of pixels.": lambda terms: terms.mean((1, 2, 3)),
        "All images are summed into one number. Each image has a density of its own: sum over the last three "
        "dimensions, so that [B] is left.": lambda terms: terms.sum(),
        "The images are averaged into one number. Each image has a density of its own: sum over the last three "
        "dimensions and leave [B].": lambda terms: terms.sum((1, 2, 3)).mean(),
        "The sum runs over the images and leaves out the last dimension of the picture. With as many images as columns "
        "even the shape is right: it has to run over the dimensions 1, 2 and 3.": lambda terms: terms.sum((0, 1, 2)),
        "The sum runs over the last dimension only, as it would for pixels in one row. An image here is [1, H, W]: sum "
        "over the last three dimensions.": lambda terms: terms.sum(-1),
    },
)


def _pixels(num_images, height, width, log_sigma, spread, seed, dtype=torch.float32):
    """x, mean and log_sigma [B, 1, H, W]; errors are of the size that exp(log_sigma) and `spread` give."""
    generator = torch.Generator().manual_seed(seed)

    def randn():
        return torch.randn(num_images, 1, height, width, generator=generator, dtype=dtype)

    mean, log_sigma = torch.sigmoid(randn()), log_sigma + 0.3 * randn()
    x = mean + (log_sigma.exp() ** 2 + spread**2).sqrt() * randn()
    return x, mean.requires_grad_(), log_sigma.requires_grad_()


@undisturbed
def floored_density(answer):
    """Exercise 4: log N(x; mean, floor² + σ²) of whole images, from log σ.

    The function gets x, mean and log_sigma [B, 1, H, W] and floor, a number that is 0 or larger. It returns the
    log-density of each image, summed over its pixels: [B], with gradients in mean and log_sigma.
    """
    sharp = _pixels(1, 2, 2, -9.0, 1 / 256, 2, torch.float64)
    cases = [
        Case("4 images of 3 × 5 pixels, floor 0", (*_pixels(4, 3, 5, -1.0, 0.0, 0), 0.0)),
        Case("5 images of 2 × 5 pixels, floor 0.2", (*_pixels(5, 2, 5, -1.5, 0.2, 1), 0.2)),
        Case("1 image of 2 × 2 pixels, σ much below a floor of 1/256", (*sharp, 1 / 256)),
        Case("3 images of 1 × 1 pixel, σ above 1", (*_pixels(3, 1, 1, 1.0, 0.0, 3), 0.1)),
    ]
    right = (
        "Summed over pixels, with its 2π and its floor: this number can be compared with anybody's who states unit and "
        "floor."
    )
    return verdict_on(answer, _floored_log_density, cases, _DENSITY_MISTAKES, right=right)


# --- the evidence of probabilistic PCA


def _ppca_evidence(
    eigenvalues, latent_size, *, largest_first=True, pool=None, count=None, constant=1, quadratic=1, scale=-0.5
):
    size = len(eigenvalues)
    ordered = eigenvalues.flip(0) if largest_first else eigenvalues
    kept, rest = ordered[:latent_size], ordered[latent_size:]
    noise = rest.mean() if pool is None else pool(rest, size)
    log_determinant = kept.log().sum() + (len(rest) if count is None else count) * noise.log()
    return scale * (constant * size * math.log(2 * math.pi) + log_determinant + quadratic * size)


_PPCA_MISTAKES = mistakes_in(
    _ppca_evidence,
    largest_first={
        "The *smallest* eigenvalues are kept, and the largest are called noise: the order is that of `eigvalsh`, "
        "smallest first. The codes would then describe what hardly varies.": False
    },
    pool={
        "The noise s² is the *mean* of the eigenvalues that are left over, not their sum: it is the noise of one "
        "pixel.": lambda rest, size: rest.sum(),
        "The left-over eigenvalues are divided by D; there are D - K of them. The noise comes out too small, as if the "
        "kept directions had none.": lambda rest, size: rest.sum() / size,
        "You take the logarithm of s instead of s²: the eigenvalues are variances, and the formula has log s². The "
        "noise directions then count half.": lambda rest, size: rest.mean().sqrt(),
        "The noise s² is the mean of *all* the eigenvalues that are left over, "
        "not the first of them.": lambda rest, size: rest[0],
    },
    count={
        "log s² counts once, but there are D - K directions of noise, "
        "and each has its own factor in the determinant.": 1,
        "The D - K directions of noise are missing from the determinant. They are most of the image: on the face, 540 "
        "of 560 directions with 20 latents.": 0,
    },
    constant={
        "The 2π is missing: D/2 log 2π, 515 nats for the 560 pixels of a face, and the comparison with the VAE's bound "
        "is off by as much.": 0
    },
    quadratic={
        "The last D is missing: the squared distances, averaged over the images the model was fitted to, are one for "
        "each direction. Without it every evidence is D/2 nats too high, 280 for a face.": 0
    },
    scale={
        "The sign is turned: this is the negative log-density. The evidence falls as the eigenvalues grow.": 0.5,
        "The ½ in front is missing: every term of a Gaussian's log-density has it.": -1.0,
    },
)


@undisturbed
def ppca_evidence(answer):
    """Exercise 5: the mean log p(x) of probabilistic PCA over the images it was fitted to.

    The function gets the eigenvalues [D] of the images' covariance matrix, smallest first, as
    `torch.linalg.eigvalsh` gives them, and latent_size K, from 1 to D - 1. It returns
    -(D log 2π + sum of the K largest log λ + (D - K) log s² + D) / 2, where s² is the mean of the others.
    """

    def spectrum(size, low, high, seed, dtype=torch.float64):
        draws = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        return torch.exp(low + (high - low) * draws).sort().values

    cases = [
        Case("5 eigenvalues, 2 latents", (spectrum(5, -2.0, 2.0, 0), 2)),
        Case("12 eigenvalues, 3 latents", (spectrum(12, -4.0, 1.0, 1, torch.float32), 3)),
        Case("6 eigenvalues, 5 latents", (spectrum(6, -1.0, 4.0, 2), 5)),
        Case("560 eigenvalues from 1e-4 to 5, 10 latents", (spectrum(560, -9.2, 1.6, 3), 10)),
    ]
    right = "Exact and without a bound: a model of five lines whose evidence every VAE on these images has to beat."
    return verdict_on(answer, _ppca_evidence, cases, _PPCA_MISTAKES, right=right)
