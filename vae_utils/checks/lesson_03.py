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
    constant=math.log(2 * math.pi),
    count=lambda P: P,
    sigma=_sigma,
    power=2,
    over_pixels=lambda squares: squares.sum(1),
    scale=1.0,
):
    """-[ SSE / (2 sigma^2) + P/2 log(2 pi sigma^2) ], the formula of section 4, P pixels: [B]."""
    width = sigma(log_variance)
    error = over_pixels((x - mean).square().flatten(1))
    return -scale * (squares * error / width**power + logs * count(x[0].numel()) * (2 * width.log() + constant))


def _misread(sigma, refuses=False):
    """A version that takes log_variance itself for a width; `refuses` a negative one, as torch.distributions does."""

    def misread(x, mean, log_variance):
        if refuses and log_variance < 0:
            raise ValueError("a parameter is not what it should be")
        return _image_log_likelihood(x, mean, log_variance, sigma=sigma)

    return misread


_MISREAD_SIGMA = (
    "log_variance itself is used as σ. It is the logarithm of σ², and may be negative: σ = exp(½ log_variance)."
)
_MISREAD_VARIANCE = (
    "log_variance itself is used as the variance σ². It is its logarithm, and may be negative: σ² = exp(log_variance)."
)
_IMAGE_MISTAKES = mistakes_in(
    _image_log_likelihood,
    {
        "This is the mean over pixels, and an image's log-density is their sum. Beside a KL that is summed over "
        "latents, the mean makes the KL P times dearer (β = 784 for MNIST): "
        "the posterior collapses.": lambda x, *rest: _image_log_likelihood(x, *rest) / x[0].numel(),
        "All images are summed into one number; "
        "the task asks for one number for each image, shape [B]. A sum over the batch also makes the gradient grow "
        "with the batch size.": lambda *arguments: _image_log_likelihood(*arguments).sum(),
        "The mean over the batch is taken too early; "
        "the task asks for one number for each image, shape [B]. Whoever compares two models image by image needs them "
        "all.": lambda *arguments: _image_log_likelihood(*arguments).mean(),
        "The mean is taken over everything, images and pixels. "
        "Pixels are summed, and images stay apart: shape [B]. Beside a summed KL, a mean over pixels is β = 784, and "
        "the posterior collapses.": lambda x, *rest: _image_log_likelihood(x, *rest).mean() / x[0].numel(),
        "These are the log-densities of single pixels. "
        "The pixels of one image are independent given z, so sum over channels, rows and columns; only the batch "
        "remains: shape [B].": lambda x, mean, log_variance: Normal(mean, _sigma(log_variance)).log_prob(x),
        "The values are right, but log_variance gets no gradient: item(), float(), math.exp() or a new tensor cuts it "
        "off. A learned σ would stay where it began, "
        "whatever the error.": lambda x, mean, log_variance: _image_log_likelihood(x, mean, log_variance.detach()),
        "The values are right, "
        "but the mean gets no gradient: a detach(), a no_grad() or a new tensor cuts it off. The decoder would never "
        "learn.": lambda x, mean, log_variance: _image_log_likelihood(x, mean.detach(), log_variance),
    },
    constant={
        "The 2π is missing: every image is off by ½ log 2π ≈ 0.92 nats a pixel, 720 nats for MNIST. Training does not "
        "notice, since a constant has no gradient; but the numbers are no log-likelihood, and comparing them with "
        "anybody else's is wrong.": 0.0
    },
    count={
        "Only the squares are there; (P/2) log(2πσ²) is missing. With a fixed σ training does not notice. A learned σ "
        "would grow without end, for nothing makes it pay.": lambda P: 0,
        "(1/2) log(2πσ²) is counted once for each image, but every pixel has its own: it takes the factor P. A learned "
        "σ would come out far too large, and the pictures blurred.": lambda P: 1,
        "(1/2) log(2πσ²) is counted P times too often: it was added for the whole image at each pixel, and then summed "
        "over pixels. A learned σ would shrink to almost nothing.": lambda P: P**2,
        "The number of pixels is fixed to 784, and some images of this test have another size. x[0].numel() counts "
        "them, whatever the data set.": lambda P: 784,
        "The logarithm has the wrong sign. "
        "Then a larger σ is better in both terms, and a learned σ would grow without end.": lambda P: -P,
    },
    scale={
        "The sign is turned: this is −log p(x|z), a loss. The task asks for log p(x|z), which the ELBO adds; with this "
        "sign in an ELBO, training would make images as improbable as it can.": -1.0,
        "The factor ½ is missing: every result is twice what it should be. In an ELBO the KL then has half its weight, "
        "as with β = ½.": 2.0,
    },
    squares={
        "The ½ before the squares is missing. It is the likelihood of another σ, smaller by √2, under the normaliser "
        "of this one: a learned σ would come out √2 times too large.": 1.0
    },
    logs={
        "The ½ before log(2πσ²) is missing, or stands for σ² where σ was meant. "
        "A learned σ would come out √2 times too small.": 1.0
    },
    over_pixels={
        "The squares are averaged over pixels, the logarithms are summed. "
        "The error then weighs P times too little: with σ fixed, the decoder has hardly a reason to look at the image, "
        "and the code collapses.": lambda squares: squares.mean(1)
    },
    power={
        "The squares are divided by σ, not by σ². A learned σ would come out at half the mean squared error, instead "
        "of its root.": 1
    },
    sigma={
        "exp(log_variance) is used as σ, but it is σ². Take σ = exp(½ log_variance). The model still trains, with a σ "
        "that is the square of what it reports.": torch.exp
    },
) + [
    Mistake(_misread(torch.sqrt), _MISREAD_VARIANCE),
    Mistake(_misread(torch.sqrt, refuses=True), _MISREAD_VARIANCE),
    Mistake(_misread(lambda log_variance: log_variance), _MISREAD_SIGMA),
    Mistake(_misread(lambda log_variance: log_variance, refuses=True), _MISREAD_SIGMA),
    Mistake(_misread(torch.abs), _MISREAD_SIGMA),  # log(sigma^2) knows no sign
]


@undisturbed
def image_log_likelihood(answer):
    """Exercise `image_log_likelihood`: log N(x; mean, sigma^2 I) of each image.

    The function gets grey images x and their means, [B, C, H, W] each, and log_variance, log sigma^2, one number for
    all pixels, []. It returns nats, [B], with gradients in the means and in log sigma^2.
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
        "With the 2π and log σ² in place these are nats, and σ can be learned like any weight: too small a σ pays in "
        "the squares, too large a σ in the logarithm, and the root of the mean squared error lies between the two."
    )
    return verdict_on(answer, _image_log_likelihood, cases, _IMAGE_MISTAKES, right=right)


# --- which sigma is this loss?


def _implied_sigma(a, b):
    return (b / (2 * a)) ** 0.5


_SIGMA_MISTAKES = mistakes_in(
    _implied_sigma,
    {
        "This is σ², the variance; the task asks for σ. For a loss near b = 2a the two hardly differ, which is why the "
        "slip lives long.": lambda a, b: b / (2 * a),
        "The ½ of 1/(2σ²) is missing, so every σ is √2 too large. "
        "By this formula SSE + KL would be σ = 1, but it is σ = 0.71.": lambda a, b: (b / a) ** 0.5,
        "This is b / a: the ½ of 1/(2σ²) is missing, and so is the square root.": lambda a, b: b / a,
        "This is 1/σ: the fraction is upside down. A heavy weight on the squares means a model that expects little "
        "noise, so a larger `a` makes σ smaller.": lambda a, b: (2 * a / b) ** 0.5,
        "The two weights have changed places. A heavy weight on the squares means a model that expects little noise, "
        "so a larger `a` makes σ smaller.": lambda a, b: (a / (2 * b)) ** 0.5,
        "The KL's weight b is left out. Only the ratio of the two weights counts: "
        "divide the loss by b, and then compare.": lambda a, b: (1 / (2 * a)) ** 0.5,
        "The loss was multiplied by b, but the KL stands alone only after dividing by b. "
        "A cheaper KL means a smaller σ.": lambda a, b: (1 / (2 * a * b)) ** 0.5,
        "The weight a of the squares is left out. Only the ratio of the two weights counts.": lambda a, b: (
            (b / 2) ** 0.5
        ),
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


_WINNER_MISTAKES = mistakes_in(
    _winner_at,
    {
        "β is left out: this finds the model with the best ELBO, the winner at a price of 1, "
        "for every price.": lambda beta, R, D: int((D + R).argmin()),
        "β stands before the distortion. It is the price of rate: at a large β the winner has a small rate. The curve "
        "comes out the wrong way round.": lambda beta, R, D: int((beta * D + R).argmin()),
        "This finds the highest D + βR, the worst model. D + βR is a loss: lower is better. (The ELBO has a minus "
        "before both terms, so there higher is better.)": lambda beta, R, D: int((D + beta * R).argmax()),
        "Rate is subtracted. Both terms are costs, and a model may not be paid for its rate: "
        "this always prefers much rate.": lambda beta, R, D: int((D - beta * R).argmin()),
        "Rate is left out: at a price of 0 the model with the most rate wins.": lambda beta, R, D: int(D.argmin()),
        "Distortion is left out: then the model that says nothing about its image wins.": lambda beta, R, D: int(
            R.argmin()
        ),
        "This is the lowest D + βR itself; the task asks which model has it, its index.": lambda beta, R, D: (
            D + beta * R
        ).min(),
        "These are the values of D + βR, of all models; "
        "the task asks for the index of the lowest.": lambda beta, R, D: D + beta * R,
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
    scattered = 20 + 100 * torch.rand(2, 7, generator=generator)
    scattered64 = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    cases = [
        *(Case(f"nine models at a price of {beta:g}", (beta, rate, distortion)) for beta in (0.2, 0.6, 1.0, 2.0, 5.0)),
        *(Case(f"seven models on no curve at a price of {beta:g}", (beta, *scattered)) for beta in (0.3, 1.5, 4.0)),
        Case("five models in float64", (2.5, *scattered64)),
        Case("a single model", (2.0, torch.tensor([3.0]), torch.tensor([70.0]))),
    ]
    right = (
        "Now ask it about the nine models of section 6. If each price is won by the model that was trained for it, or "
        "by a neighbour, then training did minimise D + βR, and the slope of the curve may be read as −β."
    )
    return verdict_on(answer, _winner_at, cases, _WINNER_MISTAKES, right=right)
