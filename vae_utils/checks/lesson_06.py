"""Feedback on the exercises of lesson 06: log-densities of continuous pixels."""

import math
from functools import partial

import torch

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

# --- another unit


def _in_another_unit(
    nats,
    num_pixels,
    factor,
    *,
    sign=-1,
    count=lambda num_pixels: num_pixels,
    power=1,
    log=math.log,
    first=lambda nats, n: nats,
):
    return first(nats, num_pixels) + sign * count(num_pixels) * power * log(factor)


_UNIT_MISTAKES = mistakes_in(
    _in_another_unit,
    {
        "The log-density is multiplied by the factor, but it is the *density* that changes. In the logarithm that is a "
        "difference.": lambda x, n, f: x * f,
        "The log-density is divided by the factor, but it is the *density* that is divided, once for each pixel. In "
        "the logarithm that is a difference.": lambda x, n, f: x / f,
        "Nothing changes here. A density does change with the unit of brightness.": lambda x, n, f: x + 0 * n,
        "The log-density is divided by the logarithm of the factor. It is a difference.": lambda x, n, f: (
            x / (n * math.log(f) + 1e-300)
        ),
        "The result is divided by the number of pixels. `nats` is for whole images, and so is the result.": (
            lambda x, n, f: (x - n * math.log(f)) / n
        ),
        "Only the change is returned, without `nats` before it.": lambda x, n, f: 0 * x - n * math.log(f),
        "Only the change is returned, with the wrong sign and without `nats` before it.": lambda x, n, f: (
            0 * x + n * math.log(f)
        ),
        "The logarithm is that of num_pixels * factor. It is num_pixels times the logarithm.": lambda x, n, f: (
            x - math.log(n * f)
        ),
        "This is the log-density in bits for each pixel. The task asks for nats per image.": lambda x, n, f: (
            (x - n * math.log(f)) / (n * math.log(2))
        ),
    },
    sign={"The sign is turned: stretch the scale (a factor above 1), and the probability per unit gets smaller.": 1},
    count={
        "The change is charged once for the image, but each pixel has its own scale to stretch: it counts `num_pixels` "
        "times.": lambda n: 1,
        "The number of pixels is fixed to 560.": lambda n: 560,
        "The number of pixels is fixed to 784.": lambda n: 784,
        "The change is divided by the number of pixels, where it should be multiplied.": lambda n: 1 / n,
        "The number of pixels is squared.": lambda n: n**2,
        "The square root of the number of pixels is taken.": lambda n: n**0.5,
    },
    power={
        "There is a factor ½ too many. It belongs to variances.": 0.5,
        "There is a factor 2 too many. The square of the factor belongs to variances.": 2,
    },
    log={
        "The logarithm has base 2: that counts bits, while `nats` are counted with the natural logarithm.": math.log2,
        "The logarithm has base 10, while `nats` are counted with the natural logarithm.": math.log10,
        "This is log(1 + factor). The task needs log(factor).": math.log1p,
        "The logarithm of the factor is missing: the density is divided by the factor, the log-density loses its "
        "logarithm.": lambda f: f,
        "The factor is fixed to 1/256.": lambda f: math.log(1 / 256),
        "The factor is fixed to 256.": lambda f: math.log(256),
        "The factor is fixed to 255.": lambda f: math.log(255),
    },
    first={
        "`nats` is divided by the number of pixels. It is for whole images, and so is the result.": lambda x, n: x / n,
        "`nats` is multiplied by the number of pixels. It is for whole images already.": lambda x, n: x * n,
        "The sign of `nats` is turned.": lambda x, n: -x,
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
        Case("-40 nats of 9 pixels, factor 7", (-40.0, 9, 7.0)),
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
    log=torch.log,
    log_weight=0.5,
    square_weight=0.5,
    squares=lambda error, v: error**2 / v,
    reduce=_over_pixels,
    sign=-1,
):
    v = with_floor(variance(log_sigma), floor)
    return sign * reduce(log_weight * (log(v) + math.log(constant)) + square_weight * squares(x - mean, v))


_DENSITY_MISTAKES = mistakes_in(
    _floored_log_density,
    {
        "The variance is used as σ, as in Normal(mean, variance). Normal takes the standard deviation.": lambda *args: (
            _floored_log_density(*args, log=lambda v: 2 * v.log(), squares=lambda e, v: e**2 / v**2)
        ),
        "The floor is added under the squared error only. The logarithm has the same variance, floor² + σ².": (
            lambda x, mean, log_sigma, floor: _floored_log_density(
                x, mean, log_sigma, floor, log=lambda v: 2 * log_sigma
            )
        ),
        "The floor is added inside the logarithm only. The squared error is divided by floor² + σ² too.": (
            lambda x, mean, log_sigma, floor: _floored_log_density(
                x, mean, log_sigma, floor, squares=lambda e, v: e**2 / (2 * log_sigma).exp()
            )
        ),
        "The ½ is missing in front of both terms: this is twice the log-density.": partial(
            _floored_log_density, log_weight=1.0, square_weight=1.0
        ),
        "log(2πσ²) is counted once for each image, but every pixel has its own.": lambda x, mean, log_sigma, floor: (
            _floored_log_density(x, mean, log_sigma, floor, reduce=lambda t: t.sum((1, 2, 3)), log_weight=0.0)
            - 0.5 * (2 * math.pi * (floor**2 + (2 * log_sigma).exp())).log().mean((1, 2, 3))
        ),
    },
    variance={
        "exp(log_sigma) is σ, and you use it as the variance σ².": torch.exp,
        "exp(log_sigma / 2) would be the standard deviation if the network gave the log-*variance*; here it gives log "
        "σ.": lambda v: torch.exp(0.5 * v),
        "The variance is squared once too often: exp(2 log σ) is σ² already.": lambda v: torch.exp(4 * v),
        "log_sigma is used as σ itself: the exponential is missing.": lambda v: v**2,
        "log_sigma is used as the variance: the variance is exp(2 log σ).": lambda v: v,
        "2 log σ is used as the variance: its exponential is missing.": lambda v: 2 * v,
        "exp(-2 log σ) is the precision. The variance is exp(2 log σ).": lambda v: torch.exp(-2 * v),
        "σ is not used, only the floor.": torch.zeros_like,
    },
    with_floor={
        "The floor is "
        "missing. Without it the density of a pixel that never changes has no upper bound (section 3).": lambda v, f: v,
        "The floor is added to the variance unsquared. It is a standard deviation, one grey level.": lambda v, f: f + v,
        "The floor is added to σ; the task adds its square to the variance, as independent noises add.": lambda v, f: (
            (f + v.sqrt()) ** 2
        ),
        "The variance is cut off at the floor; the task adds the two. Below a cut the gradient is zero.": lambda v, f: (
            v.clamp(min=f**2)
        ),
        "The variance is cut off at the floor, which is not squared; the task adds floor².": lambda v, f: v.clamp(
            min=f
        ),
        "The floor is fixed to 1/256: `floor` is not used.": lambda v, f: v + (1 / 256) ** 2,
        "The floor is subtracted from the variance. It is added.": lambda v, f: v - f**2,
        "The floor is squared twice.": lambda v, f: v + f**4,
        "The floor is halved before it is squared, or its square has a ¼.": lambda v, f: v + f**2 / 4,
        "The square root of the floor is added: it is a standard deviation, so its square is.": lambda v, f: v + f**0.5,
        "The variance is multiplied by 1 + floor². The square of the floor is added.": lambda v, f: v * (1 + f**2),
    },
    constant={
        "The 2π is missing. Each pixel then looks 0.92 nats better, 515 nats for a face.": 1.0,
        "The 2 of 2π is missing: 0.35 nats for each pixel.": math.pi,
        "2π is squared: its logarithm has the factor ½ as the variance has.": (2 * math.pi) ** 2,
        "2π is added without its logarithm.": math.exp(2 * math.pi),
    },
    log={
        "log σ stands where log σ² is needed: log σ² is 2 log σ.": lambda v: v.log() / 2,
        "The logarithm of the variance is missing: the variance itself stands in its place.": lambda v: v,
        "Only 2π is left of log(2πσ²). A learned σ would grow without end.": torch.zeros_like,
        "The logarithm of the variance has the wrong sign.": lambda v: -v.log(),
    },
    log_weight={
        "The ½ in front of log(2πσ²) is missing: log σ² is 2 log σ.": 1.0,
        "log(2πσ²) is missing: what is left is a squared error, weighted by 1/σ². Its best σ is infinite.": 0.0,
        "The ½ in front of log(2πσ²) is there twice.": 0.25,
        "log(2πσ²) has the wrong sign.": -0.5,
    },
    square_weight={
        "The "
        "½ in front of the squared error is missing. Training settles at twice the variance that the errors have.": 1.0,
        "The squared error is missing: the mean is not compared with the pixels.": 0.0,
        "The squared error has the wrong sign.": -0.5,
        "The ½ in front of the squared error is there twice.": 0.25,
    },
    squares={
        "The squared error is divided by σ, not by σ².": lambda e, v: e**2 / v.sqrt(),
        "The squared error is divided by σ⁴, not by σ².": lambda e, v: e**2 / v**2,
        "The squared error "
        "is multiplied by σ², where it should be divided. (In Python a / 2 * b is a * b / 2.)": lambda e, v: e**2 * v,
        "The squared error is not divided by σ².": lambda e, v: e**2,
        "The error is not squared: its absolute value over σ is that of a Laplace density.": lambda e, v: (
            e.abs() / v.sqrt()
        ),
        "The error is not squared: its absolute value is divided by σ².": lambda e, v: e.abs() / v,
    },
    sign={"The sign is turned: this is the negative log-density, a loss.": 1},
    reduce={
        "The mean over the pixels is taken instead of the sum. The KL of the codes keeps its full weight, and the "
        "codes collapse.": lambda t: t.mean((1, 2, 3)),
        "All images are summed into one number. Sum over the last three dimensions, so that [B] is left.": lambda t: (
            t.sum()
        ),
        "The images are averaged into one number. Sum over the last three dimensions and leave [B].": lambda t: t.sum(
            (1, 2, 3)
        ).mean(),
        "The mean over everything is taken. Sum over the last three dimensions and leave [B].": torch.mean,
        "The sum runs over the images and leaves out the last dimension of the picture.": lambda t: t.sum((0, 1, 2)),
        "The sum runs over "
        "the last dimension only, as it would for pixels in one row. Sum over the last three.": lambda t: t.sum(-1),
        "The sum runs over rows and columns only, and leaves the channel: [B, 1].": lambda t: t.sum((2, 3)),
        "These are the log-densities of single pixels. Sum over the last three dimensions.": lambda t: t,
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
        Case("1 image of 1 pixel, floor 0.3", (*_pixels(1, 1, 1, -1.0, 0.3, 4), 0.3)),
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
    eigenvalues,
    latent_size,
    *,
    largest_first=True,
    shift=0,
    pool=lambda rest, size: rest.mean(),
    count=lambda size, J: size - J,
    log=torch.log,
    over_kept=torch.sum,
    constant=lambda size, J: size * math.log(2 * math.pi),
    quadratic=lambda size, J: size,
    scale=-0.5,
):
    size, cut = len(eigenvalues), latent_size + shift
    ordered = eigenvalues.flip(0) if largest_first else eigenvalues
    kept, rest = ordered[:cut], ordered[cut:]
    log_determinant = over_kept(log(kept)) + count(size, latent_size) * pool(rest, size).log()
    return scale * (constant(size, latent_size) + log_determinant + quadratic(size, latent_size))


_PPCA_MISTAKES = mistakes_in(
    _ppca_evidence,
    {
        "Each eigenvalue counts with its own logarithm, the left-over ones too. They "
        "count with their mean, as noise.": lambda v, J: -0.5 * (len(v) * (math.log(2 * math.pi) + 1) + v.log().sum()),
        "The noise s² is the mean of all eigenvalues here. It is that of the D - J that are left over.": lambda v, J: (
            _ppca_evidence(v, J, pool=lambda rest, size: v.mean())
        ),
        "s² is subtracted from the kept eigenvalues, as for pPCA's matrix W. They count as they are.": lambda v, J: (
            _ppca_evidence(v, J, log=lambda kept: (kept - v[:-J].mean()).log())
        ),
        "The formula is right, but (s²) ** (D - J), or a product of eigenvalues, underflows to 0 before its logarithm "
        "is taken. Multiply, or add, logarithms.": lambda v, J: _ppca_evidence(
            v, J, pool=lambda rest, size: rest.mean() ** len(rest), count=lambda size, J: 1
        ),
        "Only the directions that are kept count. Those of noise have a density too.": lambda v, J: (
            -0.5 * (J * (math.log(2 * math.pi) + 1) + v[-J:].log().sum())
        ),
        "No eigenvalue is kept: all directions have the mean variance.": lambda v, J: (
            -0.5 * len(v) * (math.log(2 * math.pi) + 1 + v.mean().log())
        ),
        "The result is divided by D: it is per pixel. The task asks for nats per image.": lambda v, J: (
            _ppca_evidence(v, J) / len(v)
        ),
    },
    largest_first={
        "The *smallest* eigenvalues are kept, and the largest are called noise: `eigvalsh` gives the smallest "
        "first.": False
    },
    shift={"One eigenvalue too few is kept: J of them.": -1},
    pool={
        "The noise s² is the *mean* of the eigenvalues that are left over, not their sum.": lambda rest, D: rest.sum(),
        "The left-over eigenvalues are divided by D; there are D - J of them.": lambda rest, D: rest.sum() / D,
        "You take the logarithm of s instead of s²: the eigenvalues are variances.": lambda rest, D: rest.mean().sqrt(),
        "The noise s² is squared: the mean of the eigenvalues is a variance already.": lambda rest, D: rest.mean() ** 2,
        "The noise "
        "s² is the mean of *all* the eigenvalues that are left over, not the first of them.": lambda rest, D: rest[0],
        "The noise s² is the mean of all the eigenvalues that are left over, not the smallest.": lambda rest, D: rest[
            -1
        ],
        "The noise s² is the mean of the eigenvalues that are left over, not their median.": lambda rest, D: (
            rest.median()
        ),
        "s is the mean of the roots here. s² is the mean of the eigenvalues.": lambda rest, D: rest.sqrt().mean() ** 2,
    },
    count={
        "log s² counts once, but there are D - J directions of noise.": lambda D, J: 1,
        "The D - J directions of noise are missing from the determinant.": lambda D, J: 0,
        "log s² counts J times: there are D - J directions of noise.": lambda D, J: J,
        "log s² counts D times: there are D - J directions of noise.": lambda D, J: D,
        "log s² counts D - J - 1 times: there are D - J directions of noise.": lambda D, J: D - J - 1,
        "log s² has the wrong sign.": lambda D, J: J - D,
    },
    log={
        "The kept eigenvalues are added without their logarithms.": lambda kept: kept,
        "The kept eigenvalues are variances: their logarithm is needed, not that of their roots.": lambda kept: (
            kept.log() / 2
        ),
        "The logarithms of the kept eigenvalues have the wrong sign.": lambda kept: -kept.log(),
        "The logarithms of the kept eigenvalues are missing.": torch.zeros_like,
    },
    over_kept={
        "The logarithms of the kept eigenvalues are averaged. They are summed.": torch.mean,
        "The logarithm is that of the sum of the kept eigenvalues. It is the sum of the logarithms.": lambda logs: (
            logs.logsumexp(0)
        ),
    },
    constant={
        "The 2π is missing: D/2 log 2π, 515 nats for the 560 pixels of a face.": lambda D, J: 0,
        "log 2π counts once. It counts D times.": lambda D, J: math.log(2 * math.pi),
        "log 2π counts J times. It counts D times.": lambda D, J: J * math.log(2 * math.pi),
        "log 2π counts D - J times. It counts D times.": lambda D, J: (D - J) * math.log(2 * math.pi),
        "The logarithm of 2π is missing: D · 2π stands in its place.": lambda D, J: D * 2 * math.pi,
    },
    quadratic={
        "The last "
        "D is missing: the squared distances, averaged over the images, are one for each direction.": lambda D, J: 0,
        "The last term is D, not J: the squared distances are one for each direction, kept or not.": lambda D, J: J,
        "The last term is D, not D - J: the squared distances are one for each direction, kept or not.": lambda D, J: (
            D - J
        ),
        "The last term is D, not 1: the squared distances are one for each direction.": lambda D, J: 1,
        "The last D has the wrong sign.": lambda D, J: -D,
    },
    scale={
        "The sign is turned: this is the negative log-density.": 0.5,
        "The ½ in front is missing: every term of a Gaussian's log-density has it.": -1.0,
    },
)
# One kept too many leaves nothing of the last case.
_PPCA_MISTAKES += mistakes_in(_ppca_evidence, shift={"One eigenvalue too many is kept: J of them.": 1})


@undisturbed
def ppca_evidence(answer):
    """Exercise 5: the mean log p(x) of probabilistic PCA over the images it was fitted to.

    The function gets the eigenvalues [D] of the images' covariance matrix, smallest first, as
    `torch.linalg.eigvalsh` gives them, and latent_size J, from 1 to D - 1. It returns
    -(D log 2π + sum of the J largest log λ + (D - J) log s² + D) / 2, where s² is the mean of the others.
    """

    def spectrum(size, low, high, seed, dtype=torch.float64):
        draws = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        return torch.exp(low + (high - low) * draws).sort().values

    cases = [
        Case("5 eigenvalues, 2 latents", (spectrum(5, -2.0, 2.0, 0), 2)),
        Case("12 eigenvalues, 3 latents", (spectrum(12, -4.0, 1.0, 1, torch.float32), 3)),
        Case("6 eigenvalues, 5 latents", (spectrum(6, -1.0, 4.0, 2), 5)),
        Case("2 eigenvalues, 1 latent", (spectrum(2, -1.0, 2.0, 4), 1)),
        Case("560 eigenvalues from 1e-4 to 5, 10 latents", (spectrum(560, -9.2, 1.6, 3), 10)),
        Case("400 eigenvalues below 0.001, 20 latents", (spectrum(400, -12.0, -7.0, 5), 20)),
    ]
    right = "Exact and without a bound: a model of five lines whose evidence every VAE on these images has to beat."
    return verdict_on(answer, _ppca_evidence, cases, _PPCA_MISTAKES, right=right)
