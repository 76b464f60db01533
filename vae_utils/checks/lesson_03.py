"""Feedback on the exercises of lesson 03: the density of an image, the sigma of a loss, the winner at a price."""

import math

import torch
from torch.distributions import Normal

from vae_utils.checks.core import Case, Mistake, mistakes_in, undisturbed, verdict_on

# --- log p(x|z) of an image with Gaussian pixels


def _sigma(log_variance):
    return (0.5 * log_variance).exp()


def _image_log_likelihood(
    x,
    mean,
    log_variance,
    *,
    squares=0.5,
    logs=0.5,
    log=lambda width: 2 * width.log(),
    constant=math.log(2 * math.pi),
    count=lambda x: x[0].numel(),
    sigma=_sigma,
    power=2,
    error=torch.square,
    over_pixels=lambda squares: squares.sum(1),
):
    """-[ SSE / (2 s^2) + D/2 log(2 pi s^2) ], the formula of section 4, D pixels: [B]."""
    width = sigma(log_variance)
    misfit = over_pixels(error(x - mean).flatten(1))
    return -(squares * misfit / width**power + logs * count(x) * (log(width) + constant))


def _misread(sigma, refuses=False):
    """A version that takes log_variance itself for a width; `refuses` a negative one, as torch.distributions does."""

    def misread(x, mean, log_variance):
        if refuses and log_variance < 0:
            raise ValueError("a parameter is not what it should be")
        return _image_log_likelihood(x, mean, log_variance, sigma=sigma)

    return misread


_MISREAD_SIGMA = (
    "log_variance itself is used as s. It is the logarithm of s², and may be negative: s = exp(½ log_variance)."
)
_MISREAD_VARIANCE = (
    "log_variance itself is used as the variance s². It is its logarithm, and may be negative: s² = exp(log_variance)."
)
_IMAGE_MISTAKES = mistakes_in(
    _image_log_likelihood,
    {
        "This is the mean over pixels, and an image's log-density is their sum. Beside a KL that is summed over "
        "latents, the mean is β = 784 for MNIST.": lambda x, *rest: _image_log_likelihood(x, *rest) / x[0].numel(),
        "All images are summed into one number; the task "
        "asks for one number for each image, shape [B].": lambda *arguments: _image_log_likelihood(*arguments).sum(),
        "The mean over the batch is taken too early; the task "
        "asks for one number for each image, shape [B].": lambda *arguments: _image_log_likelihood(*arguments).mean(),
        "The mean is taken over everything, images and pixels. Pixels are summed, "
        "and images stay apart: shape [B].": lambda x, *rest: _image_log_likelihood(x, *rest).mean() / x[0].numel(),
        "These are the log-densities of single pixels. Sum over channels, rows and columns; only the batch remains: "
        "shape [B].": lambda x, m, v: Normal(m, _sigma(v)).log_prob(x),
        "The squares are divided by log_variance itself: s² is exp(log_variance).": lambda x, m, v: (
            _image_log_likelihood(x, m, v, squares=0.0) - (x - m).square().flatten(1).sum(1) / (2 * v)
        ),
        "The sum runs over rows and columns only. Sum over the channels too: shape [B].": lambda x, m, v: (
            Normal(m, _sigma(v)).log_prob(x).sum((-2, -1))
        ),
    },
    constant={
        "The 2π is missing: every image is off by ½ log 2π ≈ 0.92 nats a pixel, 720 nats for MNIST. Training does not "
        "notice, because a constant has no gradient.": 0.0,
        "2π is added without its logarithm: the constant is log 2π.": 2 * math.pi,
        "The 2 of 2π is missing.": math.log(math.pi),
        "The 2π has a ½ too many: ½ log(2πs²) has one ½ for both.": math.log(2 * math.pi) / 2,
        "The log 2π counts twice: ½ log(2πs²) has one ½ for both.": 2 * math.log(2 * math.pi),
    },
    count={
        "Only the squares are there; (D/2) log(2πs²) is missing. A learned s would grow without end.": lambda x: 0,
        "(1/2) "
        "log(2πs²) is counted once for each image, but every pixel has its own: it takes the factor D.": lambda x: 1,
        "(1/2) log(2πs²) is counted D times too often: it was added for the whole image at each pixel, and then summed "
        "over pixels.": lambda x: x[0].numel() ** 2,
        "The number of pixels is fixed to 784, and some images of this test have another size. x[0].numel() counts "
        "them.": lambda x: 784,
        "The logarithm has the wrong sign: a larger s would be better in both terms.": lambda x: -x[0].numel(),
        "The pixels of one channel are counted, H · W. An image has C · H · W of them.": lambda x: x[0, 0].numel(),
        "The pixels of all images are counted, x.numel(). D is that of one image, x[0].numel().": lambda x: x.numel(),
        "The images are counted, not the pixels of one: D is x[0].numel().": len,
        "The channels are counted, not the pixels of an image: D is x[0].numel().": lambda x: x.shape[1],
        "The rows of an image are counted, not its pixels: D is x[0].numel().": lambda x: x.shape[-2],
        "The columns of an image are counted, not its pixels: D is x[0].numel().": lambda x: x.shape[-1],
    },
    squares={
        "The ½ before the squares is missing. A learned s would come out √2 times too large.": 1.0,
        "The squares count twice what they should, and have lost their ½: a factor 4.": 2.0,
        "The squares have the wrong sign: a larger error would make the image more probable.": -0.5,
        "The squares are missing: the image is not compared with the mean at all.": 0.0,
        "The ½ before the squares is there twice.": 0.25,
    },
    logs={
        "The ½ before log(2πs²) is missing. A learned s would come out √2 times too small.": 1.0,
        "The ½ before log(2πs²) is there twice.": 0.25,
    },
    log={
        "log s stands where log s² is needed: log s² is log_variance as it is.": lambda s: s.log(),
        "log s² has a factor 2 too many: it is log_variance as it is.": lambda s: 4 * s.log(),
        "s² stands where log s² is needed.": lambda s: s**2,
        "s stands where log s² is needed.": lambda s: s,
        "log s² is missing, only log 2π is left. A learned s would grow without end.": lambda s: 0 * s,
        "log s² has the wrong sign.": lambda s: -2 * s.log(),
    },
    power={
        "The squares are divided by s, not by s².": 1,
        "The squares are divided by s⁴, not by s².": 4,
        "The squares are not divided by s².": 0,
        "The squares are multiplied by s², where they should be divided. (In Python a / 2 * b is a * b / 2.)": -2,
    },
    error={
        "The errors are not squared: their absolute values belong to a Laplace density.": torch.abs,
        "The errors are not squared, and those of opposite sign cancel.": lambda e: e,
    },
    over_pixels={
        "The squares are averaged over pixels, the logarithms are summed. The error then weighs D times too little, "
        "and the code collapses.": lambda t: t.mean(1),
        "The root of the summed squares is taken: the formula has the sum itself.": lambda t: t.sum(1).sqrt(),
        "Only the largest error of an image counts.": lambda t: t.amax(1),
        "The squares of all images are summed, so each image pays for the errors of the whole batch.": lambda t: (
            t.sum().expand(len(t))
        ),
    },
    sigma={
        "exp(log_variance) is used as s, but it is s². Take s = exp(½ log_variance).": torch.exp,
        "The sign of log_variance is turned: the squares are multiplied by s².": lambda v: (-0.5 * v).exp(),
        "A quarter of log_variance "
        "is left in the exponent: s = exp(½ log_variance), and s² = exp(log_variance).": lambda v: (0.25 * v).exp(),
    },
) + [
    Mistake(_misread(torch.sqrt), _MISREAD_VARIANCE),
    Mistake(_misread(torch.sqrt, refuses=True), _MISREAD_VARIANCE),
    Mistake(_misread(lambda log_variance: log_variance), _MISREAD_SIGMA),
    Mistake(_misread(lambda log_variance: log_variance, refuses=True), _MISREAD_SIGMA),
    Mistake(_misread(torch.abs), _MISREAD_SIGMA),  # log(sigma^2) does not depend on the sign
]


@undisturbed
def image_log_likelihood(answer):
    """Exercise `image_log_likelihood`: log N(x; mean, s^2 I) of each image.

    The function gets grey images x and their means, [B, C, H, W] each, and log_variance, log s^2, one number for
    all pixels, []. It returns nats, [B], with gradients in the means and in log s^2.
    """
    generator = torch.Generator().manual_seed(3)

    def case(name, shape, log_variance, error, dtype=torch.float32):
        x = torch.rand(shape, generator=generator, dtype=dtype)
        mean = x + error * torch.randn(shape, generator=generator, dtype=dtype)
        return Case(name, (x, mean.requires_grad_(), torch.tensor(log_variance, dtype=dtype, requires_grad=True)))

    cases = [
        case("one small image", (1, 1, 3, 2), 0.7, 1.5),
        case("3 images of MNIST's size", (3, 1, 28, 28), -2.6, 0.2),
        case("5 colour images of 4 by 6 pixels", (5, 3, 4, 6), -0.9, 0.6),
        case("a small sigma", (2, 1, 4, 4), -7.0, 0.05),
        case("2 images in float64", (2, 1, 5, 7), 1.3, 1.0, torch.float64),
    ]
    right = (
        "With the 2π and log s² in place these are nats, and s can be learned like any weight: too small a s pays in "
        "the squares, too large a s in the logarithm, and the root of the mean squared error lies between the two."
    )
    return verdict_on(answer, _image_log_likelihood, cases, _IMAGE_MISTAKES, right=right)


# --- which sigma is this loss?


def _implied_sigma(a, b):
    return (b / (2 * a)) ** 0.5


_RATIO = "Only the ratio of the two weights counts: divide the loss by b, and then compare."
_SIGMA_MISTAKES = mistakes_in(
    _implied_sigma,
    {
        "This is s², the variance; the task asks for s.": lambda a, b: b / (2 * a),
        "This is the precision, 1 / s²; the task asks for s.": lambda a, b: 2 * a / b,
        "The ½ of 1/(2s²) is missing, so every s is √2 too large. SSE + KL has s = 0.71.": lambda a, b: (b / a) ** 0.5,
        "This is b / a: the ½ of 1/(2s²) is missing, and so is the square root.": lambda a, b: b / a,
        "The ½ of 1/(2s²) is on the wrong side: s² = b / (2a).": lambda a, b: (2 * b / a) ** 0.5,
        "The ½ of 1/(2s²) is on the wrong side, and the square root is missing.": lambda a, b: 2 * b / a,
        "** comes before / in Python: x ** 1 / 2 is half of x, here s² / 2. Write x ** 0.5.": lambda a, b: b / (4 * a),
        "There is a ½ too many, or the square root leaves out the 2: s = √(b / (2a)).": lambda a, b: (
            (b / (4 * a)) ** 0.5
        ),
        "The square root leaves out the 2, which is on the wrong side too: s = √(b / (2a)).": lambda a, b: (
            2 * (b / a) ** 0.5
        ),
        "The square root is taken of b alone: s = √(b / (2a)).": lambda a, b: b**0.5 / (2 * a),
        "The square root is taken of 2a alone: s = √(b / (2a)).": lambda a, b: b / (2 * a) ** 0.5,
        "b / 2 * a is b · a / 2 in Python. Divide by (2 * a).": lambda a, b: (b / 2 * a) ** 0.5,
        "b / 2 * a is b · a / 2 in Python, and the square root is missing.": lambda a, b: b / 2 * a,
        "This is 1/s: the fraction is upside down. A larger `a` makes s smaller.": lambda a, b: (2 * a / b) ** 0.5,
        "The two weights have changed places. A larger `a` makes s smaller.": lambda a, b: (a / (2 * b)) ** 0.5,
        "The two weights have changed places, and the square root is missing.": lambda a, b: a / (2 * b),
        "The fraction is upside down, and the ½ of 1/(2s²) is missing.": lambda a, b: (a / b) ** 0.5,
        "The fraction is upside down; the ½ of 1/(2s²) and the square root are missing.": lambda a, b: a / b,
        f"The KL's weight b is left out. {_RATIO}": lambda a, b: (1 / (2 * a)) ** 0.5,
        f"The KL's weight b is left out, and the square root is missing. {_RATIO}": lambda a, b: 1 / (2 * a),
        f"The KL's weight b is left out, and so is the ½ of 1/(2s²). {_RATIO}": lambda a, b: (1 / a) ** 0.5,
        "The loss was multiplied by b, but the KL stands alone only after dividing by b.": lambda a, b: (
            (1 / (2 * a * b)) ** 0.5
        ),
        f"The weight a of the squares is left out. {_RATIO}": lambda a, b: (b / 2) ** 0.5,
        "Only b / 2 is under the root: s = √(b / (2a)).": lambda a, b: (b / 2) ** 0.5 / a,
        "The square root leaves out the fraction: s = √(b / (2a)).": lambda a, b: 2**0.5 * b / a,
        "The weights are multiplied. s² is their quotient, b / (2a).": lambda a, b: (a * b) ** 0.5,
        "The weights are multiplied, and the ½ is on the wrong side. s² is b / (2a).": lambda a, b: (2 * a * b) ** 0.5,
        "This is s⁴: the square of b / (2a). The task asks for its root.": lambda a, b: (b / (2 * a)) ** 2,
        "The square root is taken twice.": lambda a, b: (b / (2 * a)) ** 0.25,
        "The weights are subtracted. s² is their quotient, b / (2a).": lambda a, b: b - 2 * a,
        "The fraction is upside down, and there is a ½ too many, or the square root leaves out the 2.": lambda a, b: (
            (a / b / 4) ** 0.5
        ),
        "This is log s; the task asks for s.": lambda a, b: math.log(b / (2 * a)) / 2,
        "This is log s²; the task asks for s.": lambda a, b: math.log(b / (2 * a)),
        f"The two weights are added. {_RATIO}": lambda a, b: (b / (2 * (a + b))) ** 0.5,
        f"The two weights are subtracted. {_RATIO}": lambda a, b: abs(b - 2 * a) ** 0.5,
    },
)


@undisturbed
def implied_sigma(answer):
    """Exercise `implied_sigma`: the pixel's standard deviation behind the loss a * SSE + b * KL.

    The function gets two positive numbers: a, the weight of the squared error, summed over pixels, and b, that of the
    KL. It returns a positive number, in units of the grey scale.
    """
    weights = ((0.5, 1.0), (1.0, 1.0), (1 / 784, 1.0), (1 / 12288, 0.00025), (3.0, 0.2), (0.02, 5.0))
    cases = [Case(f"a = {a:.4g}, b = {b:.4g}", (a, b)) for a, b in weights]
    right = (
        "A weight on the KL is never only a weight: it says how much noise the model expects in a pixel, and with it "
        "how sharp its pictures will be."
    )
    return verdict_on(answer, _implied_sigma, cases, _SIGMA_MISTAKES, right=right)


# --- which model is best at a price?


def _winner_at(beta, rate, distortion):
    return int((distortion + beta * rate).argmin())


_SINGLE = "the task asks which model has the lowest distortion + β · rate, its index."
_WINNER_MISTAKES = mistakes_in(
    _winner_at,
    {
        "β has no effect: it is left out, or it stands before both terms. This finds the best ELBO.": lambda b, R, D: (
            int((D + R).argmin())
        ),
        "β stands before the distortion, or divides the rate. It is the price of rate.": lambda b, R, D: int(
            (b * D + R).argmin()
        ),
        "β is squared.": lambda beta, R, D: int((D + beta**2 * R).argmin()),
        "This is the root of β as a price.": lambda b, R, D: int((D + b**0.5 * R).argmin()),
        "Rate is raised to the power of β. It is multiplied by β.": lambda b, R, D: int((D + R**b).argmin()),
        "Rate and distortion are multiplied. They are added.": lambda b, R, D: int((D * b * R).argmin()),
        "The weights are 1 - β and β. Distortion has the weight 1.": lambda b, R, D: int(
            ((1 - b) * D + b * R).argmin()
        ),
        "This finds the highest distortion + β · rate, the worst model. Lower is better.": lambda b, R, D: int(
            (D + b * R).argmax()
        ),
        "Rate is subtracted. Both terms are costs.": lambda b, R, D: int((D - b * R).argmin()),
        "Distortion counts with a minus. Both terms are costs: a low distortion is good.": lambda b, R, D: int(
            (b * R - D).argmin()
        ),
        "The smallest difference of D and βR is looked for. They are added.": lambda b, R, D: int(
            (D - b * R).abs().argmin()
        ),
        "Rate is left out: at a price of 0 the model with the most rate wins.": lambda b, R, D: int(D.argmin()),
        "Distortion is left out: then the model that says nothing about its image wins.": lambda b, R, D: int(
            R.argmin()
        ),
        "This is the model with the largest distortion, whatever the price.": lambda b, R, D: int(D.argmax()),
        "This is the model with the largest rate, whatever the price.": lambda b, R, D: int(R.argmax()),
        "The last model is left out of the comparison.": lambda b, R, D: int(
            (D + b * R)[: max(1, len(R) - 1)].argmin()
        ),
        "The first model is left out of the comparison.": lambda b, R, D: (
            1 + int((D + b * R)[1:].argmin()) if len(R) > 1 else 0
        ),
        "This is the first model, whatever the price.": lambda b, R, D: 0,
        "This is the last model, whatever the price.": lambda b, R, D: len(R) - 1,
        f"This is the lowest distortion + β · rate itself; {_SINGLE}": lambda beta, R, D: (D + beta * R).min(),
        f"This is the rate of the best model; {_SINGLE}": lambda beta, R, D: R[(D + beta * R).argmin()],
        f"This is the distortion of the best model; {_SINGLE}": lambda beta, R, D: D[(D + beta * R).argmin()],
        f"These are the values of distortion + β · rate, of all models; {_SINGLE}": lambda beta, R, D: D + beta * R,
        f"This is the order of all models; {_SINGLE}": lambda beta, R, D: (D + beta * R).argsort(),
        f"This is True or False for each model; {_SINGLE}": lambda beta, R, D: (D + beta * R) == (D + beta * R).min(),
        f"This is the lowest distortion + β · rate and its index; {_SINGLE}": lambda beta, R, D: tuple(
            (D + beta * R).min(0)
        ),
        "This counts from 1. An index counts from 0.": lambda b, R, D: int((D + b * R).argmin()) + 1,
        "This counts from the end: the index is 0 for the first model.": lambda b, R, D: (
            int((D + b * R).argmin()) - len(R)
        ),
        "The second best model is returned.": lambda b, R, D: int((D + b * R).argsort()[min(1, len(R) - 1)]),
    },
)


@undisturbed
def winner_at(answer):
    """Exercise `winner_at`: the index of the lowest distortion + beta * rate.

    The function gets beta, a positive number, and rate and distortion, nats, one number a model, [M] each. It returns
    an integer.
    """
    rate = torch.tensor([60.0, 48.0, 39.0, 31.0, 24.0, 17.0, 11.0, 6.0, 2.0])
    distortion = 60 + 140 * (-rate / 18).exp()  # a convex curve, with slopes from -0.3 to -7
    generator = torch.Generator().manual_seed(0)
    scattered64 = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    cases = [
        *(Case(f"nine models at a price of {beta:g}", (beta, rate, distortion)) for beta in (0.2, 0.6, 1.0, 2.0, 5.0)),
        *(
            Case(f"60 models at a price of {beta:g}", (beta, *(20 + 100 * torch.rand(2, 60, generator=generator))))
            for beta in (0.1, 0.3, 0.7, 1.5, 2.5, 4.0, 8.0)
        ),
        Case("five models in float64", (2.5, *scattered64)),
        Case("a single model", (2.0, torch.tensor([3.0]), torch.tensor([70.0]))),
        *(
            Case(
                f"three models at a price of {b:g}",
                (b, torch.tensor([10.0, 4.0, 0.0]), torch.tensor([70.0, 80.0, 99.0])),
            )
            for b in (3.0, 20.0)
        ),
    ]
    right = (
        "Now ask it about the ten candidates of the lesson. If each price is won by the model that was trained for it, "
        "or by a neighbour, then training did minimise distortion + β · rate, and the slope of the curve is near -β."
    )
    return verdict_on(answer, _winner_at, cases, _WINNER_MISTAKES, right=right)
