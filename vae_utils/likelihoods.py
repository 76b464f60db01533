"""p(x|z): five families of distributions over the pixels of an image.

A decoder network ends in *features*, one unconstrained number per pixel and channel (or two). A likelihood turns them
into a distribution over whole images, and turns images in [0, 1] into outcomes of this distribution:

    p = likelihood(features)                  # features [..., F C, H, W]; batch shape [...], event shape [C, H, W]
    p.log_prob(likelihood.observe(images))    # nats per image, shape [...]

Argument validation stays on. A grey pixel is not an outcome of a coin flip, so `Bernoulli` refuses it. The
cross-entropy of grey pixels, which the paper's authors and most tutorials report, has its own name here,
`GreyCrossEntropy`.
"""

import math
from collections.abc import Sequence

import torch
from torch import distributions, nn
from torch.distributions import constraints

from vae_utils.data import binarise
from vae_utils.support.arguments import refusal, require_number
from vae_utils.support.kinds import checked


class _CoinLogProb(torch.autograd.Function):
    """x * logit - log(1 + exp(logit)), elementwise: torch's formula in a tenth of its time on a CPU.

    torch takes log1p, which is not vectorised; log(1 + exp(-|logit|)) is within 1e-7 of it in float32. The
    gradient is x - sigmoid(logit).
    """

    @staticmethod
    def forward(ctx, logits, x):
        ctx.save_for_backward(logits, x)
        softplus = logits.abs().neg_().exp_().add_(1).log_().add_(logits.clamp(min=0))
        return softplus.neg_().addcmul_(x, logits)

    @staticmethod
    def backward(ctx, gradient):
        logits, x = ctx.saved_tensors
        return (
            gradient * (x - logits.sigmoid()) if ctx.needs_input_grad[0] else None,
            gradient * logits if ctx.needs_input_grad[1] else None,
        )


class _FastBernoulli(distributions.Bernoulli):
    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return _CoinLogProb.apply(*torch.broadcast_tensors(self.logits, value))


class _Coins(_FastBernoulli):
    """torch's Bernoulli over pixels, with an error message that says what to do."""

    def _validate_sample(self, value):
        if not ((value == 0) | (value == 1)).all():
            given = f"values from {value.min():.3g} to {value.max():.3g}"
            remedy = "draw outcomes with binarise(images), or build the model with likelihood=GreyCrossEntropy()"
            raise ValueError(refusal("pixels", "to be 0 or 1, a Bernoulli's outcomes", given, remedy))
        super()._validate_sample(value)


class _GreyCoins(_FastBernoulli):
    """The cross-entropy of grey pixels: the Bernoulli formula, read at values between 0 and 1."""

    support = constraints.unit_interval

    def _validate_sample(self, value):
        _require_unit_interval(value)


class _ContinuousCoins(distributions.ContinuousBernoulli):
    def _validate_sample(self, value):
        _require_unit_interval(value)
        super()._validate_sample(value)


def _require_unit_interval(value):
    low, high = value.aminmax()  # one pass: half the time of comparing each pixel twice
    if not (low >= 0 and high <= 1):  # written so that NaN is refused too
        given = f"values from {low:.3g} to {high:.3g}"
        raise ValueError(refusal("pixels", "to be in [0, 1]", given, "divide 8-bit images by 255"))


# Links from features to pixel means, by their inverse; means are kept away from the ends, where it is infinite.
INVERSE_LINKS = {"sigmoid": lambda mean: torch.logit(mean.clamp(0.01, 0.99)), "identity": lambda mean: mean}


class Likelihood(nn.Module):
    """A family p(x|z): how features become a distribution, and how images in [0, 1] become its outcomes.

    Of an image with C channels, features are F C planes, F = `features_per_pixel`: first one for each channel, and if F
    is 2 then the second for each channel.

    A family defines `forward` and `protocol`, the words for its outcomes that stand beside every number. It defines
    `unconstrained` too if it has two features per pixel or no `link`, and `settings` if its constructor takes
    arguments. With an entry in `FAMILIES`, models of this family can be saved, and the tests try it.

    Raises:
        TypeError: if a class does not define these.
    """

    protocol: str
    features_per_pixel = 1
    link: str | None = None  # a key of INVERSE_LINKS, if pixel means are an elementary function of features

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        has_inverse = cls.features_per_pixel == 1 and cls.link in INVERSE_LINKS
        defined = {
            "forward": cls.forward is not nn.Module.forward,
            "protocol": hasattr(cls, "protocol"),
            "unconstrained": has_inverse or cls.unconstrained is not Likelihood.unconstrained,
        }
        missing = " and ".join(f"no {name}" for name in defined if not defined[name])
        if missing:
            raise TypeError(refusal(cls.__name__, f"to define {', '.join(defined)}", missing, "Likelihood says how"))

    @property
    def settings(self) -> dict:
        """What `models.load_vae` needs to build this likelihood again: its family, and its constructor's arguments."""
        return {"family": type(self).__name__}

    @checked
    def feature_shape(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the features of one image: [F C, H, W] for [C, H, W]."""
        channels, *sides = image_shape
        return self.features_per_pixel * channels, *sides

    @checked
    def observe(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Outcomes of p(x|z) made from `images` in [0, 1]: here the images themselves."""
        return images

    @checked
    def unconstrained(self, mean: torch.Tensor) -> torch.Tensor:
        """The features that give each pixel this mean, kept away from infinity: a possible start for a decoder.

        Args:
            mean: shape [C, H, W], values in [0, 1].

        Returns:
            Shape [F C, H, W].
        """
        return INVERSE_LINKS[self.link](mean)

    def pairwise_log_prob(self, features: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """log p(x_b|z_k) of every image under every code, e.g. on a grid of codes that all images share.

        Args:
            features: of K codes, shape [K, F C, H, W], as a decoder network gives them.
            x: outcomes of p(x|z), shape [B, C, H, W].

        Returns:
            Nats, shape [K, B].
        """
        return torch.cat([self(part[:, None]).log_prob(x) for part in features.split(max(1, 4_000_000 // x.numel()))])


class _LinearInPixels:
    link = "sigmoid"

    def pairwise_log_prob(self, features: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """As `Likelihood.pairwise_log_prob`: the formula is linear in x, so all pairs are one matrix product."""
        self(features[:1]).base_dist._validate_sample(x)
        logits, x = features.flatten(1), x.flatten(1)
        # of a black image, whose formula has no more than the constant
        return logits @ x.T + self(features).log_prob(torch.zeros_like(features))[:, None]


class Bernoulli(_LinearInPixels, Likelihood):
    """p(x|z) = prod_i Bernoulli(x_i; y_i), y = sigmoid(features): the paper's Eq. 11. Outcomes are 0 or 1."""

    protocol = "pixels binarised by one fixed draw"

    def forward(self, features: torch.Tensor) -> distributions.Distribution:
        return distributions.Independent(_Coins(logits=features), 3)

    @checked
    def observe(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """One draw of each pixel from Bernoulli(grey value): dynamic binarisation."""
        return binarise(images, generator)


class GreyCrossEntropy(_LinearInPixels, Likelihood):
    """sum_i x_i log y_i + (1 - x_i) log(1 - y_i) for grey x_i in [0, 1]: not a log-likelihood of x.

    It is the average log-likelihood of binary images drawn from x, because the formula is linear in x; no
    model can bring it above minus the entropy of those draws (on average 45.5 nats per MNIST test image).
    """

    protocol = "cross-entropy of grey pixels"

    def forward(self, features: torch.Tensor) -> distributions.Distribution:
        return distributions.Independent(_GreyCoins(logits=features), 3)


class ContinuousBernoulli(Likelihood):
    """The Bernoulli formula with the constant that makes it a density on [0, 1].

    Loaiza-Ganem & Cunningham 2019.
    """

    protocol = "continuous-Bernoulli density of grey pixels"

    def forward(self, features: torch.Tensor) -> distributions.Distribution:
        return distributions.Independent(_ContinuousCoins(logits=features), 3)

    @checked
    def unconstrained(self, mean: torch.Tensor) -> torch.Tensor:
        """By bisection: the mean, 1 / (1 - exp(-features)) - 1 / features, has no inverse in closed form."""
        low, high = torch.full_like(mean, -10.0), torch.full_like(mean, 10.0)  # means 0.1 and 0.9
        for _ in range(30):
            middle = (low + high) / 2
            too_dark = _ContinuousCoins(logits=middle).mean < mean
            low, high = torch.where(too_dark, middle, low), torch.where(too_dark, high, middle)
        return middle


class Gaussian(Likelihood):
    """p(x|z) = N(features, sigma^2 I): squared error with its constant and its scale.

    Args:
        sigma: standard deviation of a pixel in units of the grey scale [0, 1]; `None` learns one value for
            all pixels (its best value is the root of the mean squared error, Rybkin et al. 2021).

    Raises:
        ValueError: if `sigma` is neither None nor a number above 0.
    """

    protocol = "Gaussian density of grey pixels"
    link = "identity"
    FLOOR = 1 / 256  # a density on grid-valued pixels has no upper bound: sigma stays above one grey level

    @checked
    def __init__(self, sigma: float | None = None):
        super().__init__()
        if sigma is not None:
            require_number("sigma", sigma, above=0, remedy="it is a standard deviation, and None learns it")
        self.fixed_sigma = sigma
        if sigma is None:
            self.log_sigma = nn.Parameter(torch.tensor(math.log(0.2)))

    @property
    def settings(self) -> dict:
        return {"family": "Gaussian", "sigma": self.fixed_sigma}

    @property
    def sigma(self) -> torch.Tensor | float:
        """The standard deviation in use: a tensor where it is learned, a number where it is fixed."""
        return self.fixed_sigma if self.fixed_sigma is not None else self.log_sigma.exp() + self.FLOOR

    def forward(self, features: torch.Tensor) -> distributions.Distribution:
        scale = torch.as_tensor(self.sigma, dtype=features.dtype, device=features.device)
        return distributions.Independent(distributions.Normal(features, scale.expand(features.shape)), 3)


class PixelGaussian(Likelihood):
    """p(x|z) = N(mean, diag sigma^2), both from the network: Eq. 12, the decoder of the paper's Frey Faces.

    The mean goes through a sigmoid; the second feature is a log-variance. A density has no upper bound: as
    sigma goes to 0 at a pixel that is predicted well, the bound goes to infinity. So sigma^2 = floor^2 +
    exp(log-variance).

    Args:
        floor: the least standard deviation, in units of the grey scale [0, 1]; 0 for the paper's model, whose
            log-variance is free.

    Raises:
        ValueError: if `floor` is not a number of 0 or more.
    """

    protocol = "Gaussian density of grey pixels"
    features_per_pixel = 2
    link = "sigmoid"  # of the first feature

    @checked
    def __init__(self, floor: float = 1 / 256):
        super().__init__()
        require_number("floor", floor, least=0, remedy="it is a standard deviation, and 1/256 is one grey level")
        self.floor = floor

    @property
    def settings(self) -> dict:
        return {"family": "PixelGaussian", "floor": self.floor}

    def forward(self, features: torch.Tensor) -> distributions.Distribution:
        mean, log_variance = features.chunk(2, dim=-3)  # [..., C, H, W] each
        scale = (log_variance.exp() + self.floor**2).sqrt()
        return distributions.Independent(distributions.Normal(torch.sigmoid(mean), scale), 3)

    @checked
    def unconstrained(self, mean: torch.Tensor) -> torch.Tensor:
        """The features for this mean and a standard deviation of 0.2 everywhere."""
        return torch.cat([INVERSE_LINKS["sigmoid"](mean), torch.full_like(mean, 2 * math.log(0.2))], dim=-3)


FAMILIES = {
    family.__name__: family for family in (Bernoulli, GreyCrossEntropy, ContinuousBernoulli, Gaussian, PixelGaussian)
}
