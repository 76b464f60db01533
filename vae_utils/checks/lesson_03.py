"""Checks of lesson 03: the Gaussian density of an image, the sigma of a loss, the winner at a price."""

import math

import torch

from vae_utils.checks.core import Case, Mistake, Slip, combinations, verdict_on

LOG_2PI = math.log(2 * math.pi)


# --- log p(x|z) of an image with Gaussian pixels


def image_log_likelihood(answer):
    """Check `image_log_likelihood(x, mean, log_variance)`: log N(x; mean, sigma^2 I) of each image.

    Args:
        answer: the learner's function. It gets grey images x and their means, shape [B, C, H, W] each, and
            log sigma^2, one number for all pixels, shape []; it returns nats, shape [B], with a gradient to
            the means and to log sigma^2.

    Returns:
        Verdict.
    """
    return verdict_on(
        answer,
        _image_log_likelihood,
        _image_cases(),
        _image_mistakes(),
        right="With the 2π and log σ² in place these are nats, and σ can be learned like any weight: too "
        "small a σ pays in the squares, too large a σ in the logarithm, and the root of the mean "
        "squared error lies between the two.",
    )


def _pixels(x):
    return x[0].numel()


def _exp_of_half(log_variance):
    return (0.5 * log_variance).exp()


def _image_log_likelihood(
    x,
    mean,
    log_variance,
    *,
    squares=0.5,
    logs=0.5,
    constant=LOG_2PI,
    count=_pixels,
    sigma=_exp_of_half,
    power=2,
    mean_of_squares=False,
    scale=1.0,
):
    """-[ SSE / (2 sigma^2) + P/2 log(2 pi sigma^2) ], the formula of section 4, P pixels: [B].

    What stands after the * are choices that a learner may get wrong.
    """
    width = sigma(log_variance)
    sum_of_squares = (x - mean).square().flatten(1).sum(1)
    if mean_of_squares:
        sum_of_squares = sum_of_squares / _pixels(x)
    return -scale * (squares * sum_of_squares / width**power + logs * count(x) * (2 * width.log() + constant))


_MISREAD_SIGMA = (
    "log_variance itself is used as σ. It is the logarithm of σ², and may be negative: σ = exp(½ log_variance)."
)
_MISREAD_VARIANCE = (
    "log_variance itself is used as the variance σ². It is its logarithm, and may be negative: σ² = exp(log_variance)."
)

_IMAGE_SLIPS = [
    Slip(
        "constant",
        0.0,
        "The 2π is missing: every image is off by ½ log 2π ≈ 0.92 nats a pixel, 720 nats for MNIST. Training does "
        "not notice, since a constant has no gradient; but the numbers are no log-likelihood, and comparing them "
        "with anybody else's is wrong.",
    ),
    Slip(
        "count",
        lambda x: 0,
        "Only the squares are there; (P/2) log(2πσ²) is missing. With a fixed σ training does not notice. A learned "
        "σ would grow without end, for nothing makes it pay.",
    ),
    Slip(
        "count",
        lambda x: 1,
        "(1/2) log(2πσ²) is counted once for each image, but every pixel has its own: it takes the factor P. A "
        "learned σ would come out far too large, and the pictures blurred.",
    ),
    Slip(
        "count",
        lambda x: _pixels(x) ** 2,
        "(1/2) log(2πσ²) is counted P times too often: it was added for the whole image at each pixel, and then "
        "summed over pixels. A learned σ would shrink to almost nothing.",
    ),
    Slip(
        "count",
        lambda x: 784,
        "The number of pixels is fixed to 784, and some images of this test have another size. x[0].numel() counts "
        "them, whatever the data set.",
    ),
    Slip(
        "count",
        lambda x: -_pixels(x),
        "The logarithm has the wrong sign. Then a larger σ is better in both terms, and a learned σ would grow "
        "without end.",
    ),
    Slip(
        "scale",
        -1.0,
        "The sign is turned: this is −log p(x|z), a loss. The task asks for log p(x|z), which the ELBO adds; with "
        "this sign in an ELBO, training would make images as improbable as it can.",
    ),
    Slip(
        "scale",
        2.0,
        "The factor ½ is missing: every result is twice what it should be. In an ELBO the KL then has half its "
        "weight, as with β = ½.",
    ),
    Slip(
        "squares",
        1.0,
        "The ½ before the squares is missing. It is the likelihood of another σ, smaller by √2, under the normaliser "
        "of this one: a learned σ would come out √2 times too large.",
    ),
    Slip(
        "logs",
        1.0,
        "The ½ before log(2πσ²) is missing, or stands for σ² where σ was meant. A learned σ would come out √2 times "
        "too small.",
    ),
    Slip(
        "mean_of_squares",
        True,
        "The squares are averaged over pixels, the logarithms are summed. The error then weighs P times too little: "
        "with σ fixed, the decoder has hardly a reason to look at the image, and the code collapses.",
    ),
    Slip(
        "power",
        1,
        "The squares are divided by σ, not by σ². A learned σ would come out at half the mean squared error, instead "
        "of its root.",
    ),
    Slip(
        "sigma",
        torch.exp,
        "exp(log_variance) is used as σ, but it is σ². Take σ = exp(½ log_variance). The model still trains, with a "
        "σ that is the square of what it reports.",
    ),
]


def _image_mistakes():
    """Slips and their pairs, wrong reductions, a misread log-variance, and a gradient that is cut off."""
    right = _image_log_likelihood

    def at_each_pixel(x, mean, log_variance):
        return torch.distributions.Normal(mean, _exp_of_half(log_variance)).log_prob(x)

    def misread_as_variance(x, mean, log_variance):
        return right(x, mean, log_variance, sigma=torch.sqrt)

    def misread_as_sigma(x, mean, log_variance):
        return right(x, mean, log_variance, sigma=lambda v: v)

    def misread_as_sigma_and_squared(x, mean, log_variance):
        return right(x, mean, log_variance, sigma=torch.abs)  # log(sigma^2) knows no sign

    batch = "All images are summed into one number; the task asks for one number for each image, shape [B]. "
    return [
        Mistake(
            lambda *a: right(*a) / _pixels(a[0]),
            "This is the mean over pixels, and an image's log-density is their sum. Beside a KL that is summed over "
            "latents, the mean makes the KL P times dearer (β = 784 for MNIST): the posterior collapses.",
        ),
        *combinations(right, _IMAGE_SLIPS),
        Mistake(
            lambda *a: right(*a).sum(), batch + "A sum over the batch also makes the gradient grow with the batch size."
        ),
        Mistake(
            lambda *a: right(*a).mean(),
            "The mean over the batch is taken too early; the task asks for one number for each image, shape [B]. "
            "Whoever compares two models image by image needs them all.",
        ),
        Mistake(
            lambda *a: right(*a).mean() / _pixels(a[0]),
            "The mean is taken over everything, images and pixels. Pixels are summed, and images stay apart: shape "
            "[B]. Beside a summed KL, a mean over pixels is β = 784, and the posterior collapses.",
        ),
        Mistake(
            at_each_pixel,
            "These are the log-densities of single pixels. The pixels of one image are independent given z, so sum "
            "over channels, rows and columns; only the batch remains: shape [B].",
        ),
        Mistake(misread_as_variance, _MISREAD_VARIANCE),
        Mistake(_refusing_nan(misread_as_variance), _MISREAD_VARIANCE),
        Mistake(misread_as_sigma, _MISREAD_SIGMA),
        Mistake(_refusing_nan(misread_as_sigma), _MISREAD_SIGMA),
        Mistake(misread_as_sigma_and_squared, _MISREAD_SIGMA),
        Mistake(
            lambda x, mean, log_variance: right(x, mean, log_variance.detach()),
            "The values are right, but log_variance gets no gradient: item(), float(), math.exp() or a new tensor "
            "cuts it off. A learned σ would stay where it began, whatever the error.",
        ),
        Mistake(
            lambda x, mean, log_variance: right(x, mean.detach(), log_variance),
            "The values are right, but the mean gets no gradient: a detach(), a no_grad() or a new tensor cuts it "
            "off. The decoder would never learn.",
        ),
    ]


def _refusing_nan(function):
    """As `function`, but an error where it would return NaN: torch.distributions validates its parameters."""

    def refusing(*arguments):
        result = function(*arguments)
        if result.isnan().any():
            raise ValueError("a parameter is not what it should be")
        return result

    return refusing


def _image_cases():
    generator = torch.Generator().manual_seed(3)

    def case(name, shape, log_variance, error, dtype=torch.float32):
        x = torch.rand(shape, generator=generator, dtype=dtype)
        mean = x + error * torch.randn(shape, generator=generator, dtype=dtype)
        learned = torch.tensor(log_variance, dtype=dtype, requires_grad=True)
        return Case(name, (x, mean.requires_grad_(), learned))

    return [
        case("one small image", (1, 1, 3, 2), 0.7, 1.5),
        case("3 images of MNIST's size", (3, 1, 28, 28), -2.6, 0.2),
        case("5 colour images of 4 by 6 pixels", (5, 3, 4, 6), -0.9, 0.6),
        case("a small sigma", (2, 1, 4, 4), -7.0, 0.05),
        case("2 images in float64", (2, 1, 5, 7), 1.3, 1.0, torch.float64),
    ]


# --- which sigma is this loss?


def implied_sigma(answer):
    """Check `implied_sigma(a, b)`: the pixel's standard deviation behind the loss a * SSE + b * KL.

    Args:
        answer: the learner's function. It gets two positive numbers, the weight of the squared error, summed
            over pixels, and that of the KL; it returns a positive number, in units of the grey scale.

    Returns:
        Verdict.
    """
    weights = ((0.5, 1.0), (1.0, 1.0), (1 / 784, 1.0), (1 / 12288, 0.00025), (3.0, 0.2), (0.02, 5.0))
    cases = [Case(f"a = {a:.4g}, b = {b:.4g}", (a, b)) for a, b in weights]
    mistakes = [
        Mistake(
            lambda a, b: b / (2 * a),
            "This is σ², the variance; the task asks for σ. For a loss near b = 2a the two hardly differ, which is "
            "why the slip lives long.",
        ),
        Mistake(
            lambda a, b: (b / a) ** 0.5,
            "The ½ of 1/(2σ²) is missing, so every σ is √2 too large. By this formula SSE + KL would be σ = 1, but "
            "it is σ = 0.71.",
        ),
        Mistake(lambda a, b: b / a, "This is b / a: the ½ of 1/(2σ²) is missing, and so is the square root."),
        Mistake(
            lambda a, b: (2 * a / b) ** 0.5,
            "This is 1/σ: the fraction is upside down. A heavy weight on the squares means a model that expects "
            "little noise, so a larger `a` makes σ smaller.",
        ),
        Mistake(
            lambda a, b: (a / (2 * b)) ** 0.5,
            "The two weights have changed places. A heavy weight on the squares means a model that expects little "
            "noise, so a larger `a` makes σ smaller.",
        ),
        Mistake(
            lambda a, b: (1 / (2 * a)) ** 0.5,
            "The KL's weight b is left out. Only the ratio of the two weights counts: divide the loss by b, and then "
            "compare.",
        ),
        Mistake(
            lambda a, b: (1 / (2 * a * b)) ** 0.5,
            "The loss was multiplied by b, but the KL stands alone only after dividing by b. A cheaper KL means a "
            "smaller σ.",
        ),
        Mistake(
            lambda a, b: (b / 2) ** 0.5,
            "The weight a of the squares is left out. Only the ratio of the two weights counts.",
        ),
    ]
    return verdict_on(
        answer,
        lambda a, b: (b / (2 * a)) ** 0.5,
        cases,
        mistakes,
        right="A weight on the KL is never only a weight: it says how much noise the model expects "
        "in a pixel, and with it how sharp its pictures will be.",
    )


# --- which model is best at a price?


def winner_at(answer):
    """Check `winner_at(beta, rate, distortion)`: the index of the lowest distortion + beta * rate.

    Args:
        answer: the learner's function. It gets a positive number and two tensors of nats, one number a model,
            shape [M] each; it returns an integer.

    Returns:
        Verdict.
    """
    mistakes = [
        Mistake(
            lambda beta, rate, distortion: int((rate + distortion).argmin()),
            "β is left out: this finds the model with the best ELBO, the winner at a price of 1, for every price.",
        ),
        Mistake(
            lambda beta, rate, distortion: int((rate + beta * distortion).argmin()),
            "β stands before the distortion. It is the price of rate: at a large β the winner has a small rate. The "
            "curve comes out the wrong way round.",
        ),
        Mistake(
            lambda beta, rate, distortion: int((distortion + beta * rate).argmax()),
            "This finds the highest D + βR, the worst model. D + βR is a loss: lower is better. (The ELBO has a "
            "minus before both terms, so there higher is better.)",
        ),
        Mistake(
            lambda beta, rate, distortion: int((distortion - beta * rate).argmin()),
            "Rate is subtracted. Both terms are costs, and a model may not be paid for its rate: this always prefers "
            "much rate.",
        ),
        Mistake(
            lambda beta, rate, distortion: int(distortion.argmin()),
            "Rate is left out: at a price of 0 the model with the most rate wins.",
        ),
        Mistake(
            lambda beta, rate, distortion: int(rate.argmin()),
            "Distortion is left out: then the model that says nothing about its image wins.",
        ),
        Mistake(
            lambda beta, rate, distortion: (distortion + beta * rate).min(),
            "This is the lowest D + βR itself; the task asks which model has it, its index.",
        ),
        Mistake(
            lambda beta, rate, distortion: distortion + beta * rate,
            "These are the values of D + βR, of all models; the task asks for the index of the lowest.",
        ),
    ]
    return verdict_on(
        answer,
        lambda beta, rate, distortion: int((distortion + beta * rate).argmin()),
        _price_cases(),
        mistakes,
        right="Now ask it about the nine models of section 6. If each price is won by the model that was "
        "trained for it, or by a neighbour, then training did minimise D + βR, and the slope of the "
        "curve may be read as −β.",
    )


def _price_cases():
    """A convex curve at several prices, and models that lie beside any curve."""
    rate = torch.tensor([60.0, 48.0, 39.0, 31.0, 24.0, 17.0, 11.0, 6.0, 2.0])
    distortion = 60 + 140 * (-rate / 18).exp()  # slopes from -0.3 to -7
    generator = torch.Generator().manual_seed(0)
    scattered = 20 + 100 * torch.rand(2, 7, generator=generator)
    scattered64 = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    return [
        *(Case(f"nine models at a price of {beta:g}", (beta, rate, distortion)) for beta in (0.2, 0.6, 1.0, 2.0, 5.0)),
        *(Case(f"seven models on no curve at a price of {beta:g}", (beta, *scattered)) for beta in (0.3, 1.5, 4.0)),
        Case("five models in float64", (2.5, *scattered64)),
        Case("a single model", (2.0, torch.tensor([3.0]), torch.tensor([70.0]))),
    ]
