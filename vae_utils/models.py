"""A VAE is three distributions: p(z), q(z|x), p(x|z). Networks of two kinds feed them.

    vae.prior          p(z) = N(0, I), event shape [J]
    vae.encode(x)      q(z|x), diagonal Gaussian, batch shape [B], event shape [J]
    vae.decode(z)      p(x|z) over whole images, batch shape [B] or [K, B], event shape [C, H, W]

J is the number of latent dimensions, C the number of channels: 1 if images are grey, 3 if they are red, green and blue.
An encoder is any module from images [B, C, H, W] to [B, 2J] (means, then log-variances). A decoder is any module from
codes [B, J] to features [B, F C, H, W], F the likelihood's features per pixel. No code outside this file needs to know
which kind it has. Images are MNIST's, grey and 28 x 28, unless the model says otherwise.

A conditional model knows the class c of an image, one of K. `vae.given(c)` is the model of these classes, three
distributions again: p(z), q(z|x, c) and p(x|z, c). Its networks read the class beside what they read anyway: the
encoder as K more planes of the image, the decoder as K more numbers of the code, 1 for the class and 0 for the others.
"""

import copy
import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from vae_utils.data import require_images
from vae_utils.files import ASSETS, load_tensors, save_tensors
from vae_utils.likelihoods import FAMILIES, Bernoulli, Likelihood
from vae_utils.support.arguments import refusal, require_one_of, require_whole
from vae_utils.support.kinds import checked, described

IMAGE_SHAPE = (1, 28, 28)
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


class VAE(nn.Module):
    """Prior, approximate posterior and likelihood of one model.

    Args:
        encoder: module from images [B, *image_shape] to [B, 2 * latent_size]: means, then log-variances.
        decoder: module from codes [B, latent_size] to features [B, *likelihood.feature_shape(image_shape)].
        likelihood: what the features mean; `Bernoulli()` if None.
        latent_size: J, the number of latent dimensions.
        settings: builder and arguments that make the networks again, for `save_vae`; None if built by hand.
        image_shape: [C, H, W].
        classes: K, if the model is conditional: its encoder reads images [B, C + K, H, W] and its decoder codes
            [B, latent_size + K]. 0 if it is not.

    Raises:
        ValueError: if `latent_size` < 1, `classes` < 0, or `image_shape` is not three numbers of 1 or more, channels
            first.
    """

    _given = None  # by `given`: one-hot classes, shape [K] or [B, K]

    @checked
    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood | None,
        latent_size: int,
        settings: dict | None = None,
        image_shape: Sequence[int] = IMAGE_SHAPE,
        classes: int = 0,
    ):
        super().__init__()
        require_whole("latent_size", latent_size)
        require_whole("classes", classes, least=0)
        self.encoder, self.decoder = encoder, decoder
        self.likelihood = Bernoulli() if likelihood is None else likelihood
        self.latent_size, self.settings, self.classes = latent_size, settings, classes
        self.image_shape = _require_image_shape(image_shape)
        self.metadata = {}  # what a file said about this model, for the reader
        device = next(self.parameters(), torch.empty(0)).device  # the networks may be on another one already
        self.register_buffer("_origin", torch.zeros(latent_size, device=device), persistent=False)

    @checked
    def given(self, c: Tensor | int) -> "VAE":
        """The model of these classes: p(z), q(z|x, c) and p(x|z, c), with the same weights.

        It is a VAE as any other: `elbo(vae.given(c), x)`, `show_samples(vae.given(3))`, `evaluate(vae.given(labels),
        images)`. Decoding one code for several classes keeps z and changes c: `vae.given(torch.arange(10)).decode(z)`.

        Args:
            c: one class for all images, or the class of each, int64 [B]: whole numbers from 0 to K - 1.

        Raises:
            ValueError: if `c` is something else, or the model is not conditional.
        """
        if not self.classes:
            remedy = "build it with classes=10, or the number that you have"
            raise ValueError(refusal("the model", "to be conditional", "one without classes", remedy))
        c = torch.as_tensor(c)
        if c.is_floating_point() or c.is_complex() or c.dtype == torch.bool or c.dim() > 1:
            raise ValueError(refusal("classes", "to be one whole number, or int64 of shape [B]", described(c)))
        if c.numel() and not (c.min() >= 0 and c.max() < self.classes):
            expected, values = f"to be from 0 to {self.classes - 1}", f"values from {c.min()} to {c.max()}"
            raise ValueError(refusal("classes", expected, values, f"the model was built with classes={self.classes}"))
        model = copy.copy(self)  # it shares all weights
        model._given = nn.functional.one_hot(c.long(), self.classes)
        return model

    @checked
    def split(self, sizes: Sequence[int]) -> list["VAE"]:
        """The model for consecutive parts of its images: each with the classes of its part, if each image has its own.

        Args:
            sizes: number of images in each part; their sum is the number of classes given.
        """
        if self._given is None or self._given.dim() == 1:
            return [self] * len(sizes)
        self._require_one_each("images", sum(sizes))
        parts = [copy.copy(self) for _ in sizes]
        for part, given in zip(parts, self._given.split(list(sizes)), strict=True):
            part._given = given
        return parts

    def _require_class(self):
        if self.classes and self._given is None:
            remedy = "vae.given(c) has the class of each image, or one for all; fit takes labels=..."
            raise ValueError(refusal("the model", f"to be given one of its {self.classes} classes", "none", remedy))

    def _require_one_each(self, what, count):
        if self._given.dim() == 2 and len(self._given) != count:
            given = f"{count} {what} and {len(self._given)} classes"
            raise ValueError(refusal(what, "to be as many as the classes given", given, "take their own labels"))

    @property
    def prior(self) -> Distribution:
        """p(z) = N(0, I): no parameters (section 3 of the paper)."""
        return Independent(Normal(self._origin, torch.ones_like(self._origin)), 1)

    @checked
    def encode(self, x: Tensor) -> Distribution:
        """q(z|x) = N(mean(x), diag sigma(x)^2): Eq. 9 and Appendix C.

        Args:
            x: images, shape [B, *image_shape].

        Returns:
            Distribution over codes: batch shape [B], event shape [J].

        Raises:
            ValueError: if `x` has another shape or is not floating-point, or a conditional model is not given the class
                of each.
        """
        self._require_class()
        if x.shape[1:] != self.image_shape or not x.is_floating_point():
            expected = f"to be floating-point numbers of shape [B, {', '.join(map(str, self.image_shape))}]"
            remedy = "check that these are not labels, and that no dimension is missing"
            raise ValueError(refusal("images", expected, described(x), remedy))
        if self.classes:
            self._require_one_each("images", len(x))
            c = self._given.to(x).expand(len(x), -1)
            x = torch.cat([x, c[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        return Independent(Normal(mean, torch.exp(0.5 * log_variance)), 1)

    @checked
    def decode(self, z: Tensor) -> Distribution:
        """p(x|z).

        Args:
            z: codes, shape [..., J] with any number of leading dimensions.

        Returns:
            Distribution over images: batch shape [...], event shape `image_shape`.

        Raises:
            ValueError: if the last dimension of `z` is not J, a decoder built by hand gives other features, or a
                conditional model is not given a class, or as many as there are codes.
        """
        self._require_class()
        if z.shape[-1:] != (self.latent_size,):
            expected = f"to have {self.latent_size} numbers in the last dimension"
            raise ValueError(refusal("codes", expected, f"shape {list(z.shape)}"))
        if self.classes:
            if z.dim() > 1 and z.shape[-2] != 1:  # one code may go with several classes
                self._require_one_each("codes", z.shape[-2])
            batch = torch.broadcast_shapes(z.shape[:-1], self._given.shape[:-1])
            z = torch.cat([part.expand(*batch, -1) for part in (z, self._given.to(z))], -1)
        features = self.decoder(z.reshape(-1, z.shape[-1]))
        feature_shape = self.likelihood.feature_shape(self.image_shape)
        if features.shape[1:].numel() != math.prod(feature_shape):
            expected = f"to have shape [B, {', '.join(map(str, feature_shape))}]"
            raise ValueError(refusal("the decoder's features", expected, list(features.shape), "change its last layer"))
        return self.likelihood(features.reshape(*z.shape[:-1], *feature_shape))

    @checked
    def observe(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Outcomes of p(x|z) made from `images` in [0, 1]: drawn anew at each call if binary."""
        return self.likelihood.observe(images, generator)


def _require_image_shape(shape):
    shape = tuple(shape)
    remedy = "grey images have one channel, as in (1, 28, 28)"
    if len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] > 4:
        remedy = f"channels come first: {(shape[2], *shape[:2])}"
    elif len(shape) == 3 and min(shape) >= 1:
        return shape
    raise ValueError(refusal("image_shape", "to be (channels, height, width), each 1 or more", shape, remedy))


class MLPEncoder(nn.Module):
    """Images to means and log-variances through fully connected layers."""

    def __init__(self, latent_size, hidden, activation, layer_norm, image_shape=IMAGE_SHAPE, classes=0):
        super().__init__()
        self.classes = classes
        self.trunk = _layers(math.prod(image_shape) + classes, hidden, activation, layer_norm)
        self.output = nn.Linear(hidden[-1], 2 * latent_size)

    def forward(self, x):
        if self.classes:  # of each of their planes, one pixel says all
            x = torch.cat([x[:, : -self.classes].flatten(1), x[:, -self.classes :, 0, 0]], 1)
        return self.output(self.trunk(x.flatten(1)))


class MLPDecoder(nn.Module):
    """Codes to features [B, *feature_shape] through fully connected layers: the encoder's widths in reverse."""

    def __init__(self, latent_size, hidden, activation, layer_norm, feature_shape=IMAGE_SHAPE):
        super().__init__()
        self.feature_shape = tuple(feature_shape)
        self.trunk = _layers(latent_size, hidden[::-1], activation, layer_norm)
        self.output = nn.Linear(hidden[0], math.prod(feature_shape))

    @property
    def output_bias(self):
        return self.output.bias

    def forward(self, z):
        return self.output(self.trunk(z)).unflatten(1, self.feature_shape)


def _layers(size, hidden, activation, layer_norm):
    layers = []
    for width in hidden:
        layers += [nn.Linear(size, width)] + [nn.LayerNorm(width)] * layer_norm + [ACTIVATIONS[activation]()]
        size = width
    return nn.Sequential(*layers)


class ConvEncoder(nn.Module):
    """4x4 convolutions of stride 2 (28 -> 14 -> 7), residual blocks on the smallest maps if any, one dense layer."""

    def __init__(self, latent_size, channels, hidden, blocks, image_shape=IMAGE_SHAPE):
        super().__init__()
        widths, smallest = _maps(channels, image_shape)
        layers = []
        for before, after in pairwise((image_shape[0], *widths)):
            layers += [nn.SiLU()] * bool(layers) + [nn.Conv2d(before, after, 4, stride=2, padding=1)]
        self.trunk = nn.Sequential(
            *layers,
            *(ResidualBlock(widths[-1]) for _ in range(blocks)),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(math.prod(smallest), hidden),
            nn.SiLU(),
        )
        self.output = nn.Linear(hidden, 2 * latent_size)

    def forward(self, x):
        return self.output(self.trunk(x))


class ConvDecoder(nn.Module):
    """The way back, 7 -> 14 -> 28, by convolutions whose channels become pixels (sub-pixel, Shi et al. 2016)."""

    def __init__(self, latent_size, channels, hidden, blocks, feature_shape=IMAGE_SHAPE):
        super().__init__()
        widths, smallest = _maps(channels, feature_shape)
        layers = [
            nn.Linear(latent_size, hidden),
            nn.SiLU(),
            nn.Linear(hidden, math.prod(smallest)),
            nn.Unflatten(1, smallest),
            *(ResidualBlock(widths[-1]) for _ in range(blocks)),
            nn.SiLU(),
        ]
        for before, after in pairwise(reversed(widths)):
            layers += [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2), nn.SiLU()]
        self.trunk = nn.Sequential(
            *layers, nn.Conv2d(widths[0], 4 * feature_shape[0], 5, padding=2, bias=False), nn.PixelShuffle(2)
        )
        self.output_bias = nn.Parameter(torch.zeros(feature_shape))  # the mean image is free

    def forward(self, z):
        return self.trunk(z) + self.output_bias


def _maps(channels, image_shape):
    """Channels of the maps after each halving of the sides, and the shape [channels, height, width] of the smallest.

    Sides are halved twice, and again while both are even and one is above 8. Where `channels` ends, its last repeats.
    """
    _, height, width = image_shape
    depth = 0
    while depth < 2 or (height % 2 == width % 2 == 0 and max(height, width) > 8):
        height, width, depth = height // 2, width // 2, depth + 1
    if not 1 <= len(channels) <= depth:
        sides = f"{image_shape[1]} x {image_shape[2]}"
        expected = f"to have 1 to {depth} numbers, one for each halving of {sides} pixels"
        raise ValueError(refusal("channels", expected, len(channels), "leave some out, or put in one"))
    widths = [*channels, *[channels[-1]] * (depth - len(channels))]
    return widths, (widths[-1], height, width)


class ResidualBlock(nn.Module):
    """h + conv(silu(conv(silu(h)))): the last convolution starts at zero, and a stack as the identity."""

    def __init__(self, channels):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        nn.init.zeros_(self.convolutions[-1].weight)
        nn.init.zeros_(self.convolutions[-1].bias)

    def forward(self, h):
        return h + self.convolutions(h)


# Whole models


@checked
def mlp_vae(
    latent_size: int = 20,
    hidden: Sequence[int] = (512, 512),
    activation: str = "silu",
    layer_norm: bool = True,
    likelihood: Likelihood | None = None,
    image_shape: Sequence[int] = IMAGE_SHAPE,
    classes: int = 0,
) -> VAE:
    """A VAE of fully connected networks.

    Args:
        latent_size: J.
        hidden: widths of the encoder's hidden layers, at least one; the decoder has them in reverse.
        activation: "tanh", "relu" or "silu".
        layer_norm: whether a LayerNorm stands before each activation.
        likelihood: a `likelihoods.Likelihood`; `Bernoulli()` if None.
        image_shape: [C, H, W].
        classes: K, the number of classes of a conditional model; 0 for a model without.

    Returns:
        VAE with torch's default initial weights.

    Raises:
        ValueError: if a size is below 1 or the activation is unknown.
    """
    _require_image_shape(image_shape)
    require_one_of("activation", activation, ACTIVATIONS)
    require_whole("latent_size", latent_size)
    require_whole("classes", classes, least=0)
    require_whole("the number of hidden layers", len(hidden))
    require_whole("the width of a hidden layer", min(hidden))
    network = dict(latent_size=latent_size, hidden=list(hidden), activation=activation, layer_norm=layer_norm)
    likelihood = Bernoulli() if likelihood is None else likelihood
    settings = {"builder": "mlp_vae", **network, "image_shape": list(image_shape), "classes": classes}
    encoder = MLPEncoder(**network, image_shape=image_shape, classes=classes)
    network["latent_size"] += classes  # what the decoder reads
    decoder = MLPDecoder(**network, feature_shape=likelihood.feature_shape(image_shape))
    return VAE(encoder, decoder, likelihood, latent_size, settings, image_shape, classes)


@checked
def paper_vae(
    latent_size: int = 20,
    hidden: int = 500,
    std: float = 0.01,
    likelihood: Likelihood | None = None,
    image_shape: Sequence[int] = IMAGE_SHAPE,
) -> VAE:
    """The paper's network (Appendix C): one tanh layer each way, every parameter drawn from N(0, std^2).

    "N(0, 0.01)" in section 5 leaves open whether 0.01 is a variance (std = 0.1) or a standard deviation.

    Args:
        latent_size: J.
        hidden: width of the one hidden layer of the encoder, and of the decoder.
        std: standard deviation of the initial weights and biases.
        likelihood: a `likelihoods.Likelihood`; `Bernoulli()` if None.
        image_shape: [C, H, W].

    Raises:
        ValueError: if a size is below 1.
    """
    vae = mlp_vae(latent_size, (hidden,), "tanh", layer_norm=False, likelihood=likelihood, image_shape=image_shape)
    for parameter in (*vae.encoder.parameters(), *vae.decoder.parameters()):
        nn.init.normal_(parameter, 0, std)
    return vae


@checked
def conv_vae(
    latent_size: int = 20,
    channels: Sequence[int] = (32, 64),
    hidden: int = 256,
    blocks: Sequence[int] = (0, 0),
    likelihood: Likelihood | None = None,
    image_shape: Sequence[int] = IMAGE_SHAPE,
    classes: int = 0,
) -> VAE:
    """A VAE of strided convolutions, with residual blocks on the smallest maps where asked for.

    Each convolution halves height and width: 28 -> 14 -> 7, 64 -> 32 -> 16 -> 8. There are two, and more while both
    sides are even and one is above 8.

    Args:
        latent_size: J.
        channels: of the maps after each halving; the last one stands for all further maps.
        hidden: width of the fully connected layer beside the code.
        blocks: number of residual blocks in the encoder and in the decoder.
        likelihood: a `likelihoods.Likelihood`; `Bernoulli()` if None.
        image_shape: [C, H, W], H and W multiples of 4.
        classes: K, the number of classes of a conditional model; 0 for a model without.

    Returns:
        VAE with torch's default initial weights; the last convolution of each block starts at zero.

    Raises:
        ValueError: if a size is below 1, a number of blocks below 0, a side not a multiple of 4, or there are more
            `channels` than halvings.
    """
    sides = _require_image_shape(image_shape)[1:]
    if any(side % 4 for side in sides):
        nearest = (image_shape[0], *(max(4, 4 * round(side / 4)) for side in sides))
        remedy = f"the nearest is image_shape={nearest}, for images of that size; mlp_vae takes any"
        expected = "to be multiples of 4 for convolutions"
        raise ValueError(refusal("height and width of images", expected, " x ".join(map(str, sides)), remedy))
    require_whole("latent_size", latent_size)
    require_whole("the width of a layer", min([*channels, hidden]))
    require_whole("the number of blocks", min(blocks), least=0)
    require_whole("classes", classes, least=0)
    network = dict(latent_size=latent_size, channels=list(channels), hidden=hidden)
    likelihood = likelihood or Bernoulli()
    settings = {"builder": "conv_vae", **network, "blocks": list(blocks)}
    settings |= {"image_shape": list(image_shape), "classes": classes}
    encoder = ConvEncoder(**network, blocks=blocks[0], image_shape=(image_shape[0] + classes, *sides))
    network["latent_size"] += classes  # what the decoder reads
    decoder = ConvDecoder(**network, blocks=blocks[1], feature_shape=likelihood.feature_shape(image_shape))
    return VAE(encoder, decoder, likelihood, latent_size, settings, image_shape, classes)


BUILDERS = {"mlp_vae": mlp_vae, "conv_vae": conv_vae}


@checked
@torch.no_grad()
def start_at_mean(vae: VAE, images: Tensor) -> None:
    """Set the decoder's output bias so that decoding starts from the mean of `images`: saves the first epoch.

    Args:
        vae: a model whose decoder has an `output_bias`.
        images: in [0, 1], shape [N, *image_shape].

    Raises:
        ValueError: if `images` are not images of this shape in [0, 1].
    """
    require_images(images, vae.image_shape)
    bias = vae.decoder.output_bias
    bias.copy_(vae.likelihood.unconstrained(images.mean(0)).reshape(bias.shape))


# On disk


@checked
def save_vae(vae: VAE, path: str | Path, **metadata: object) -> None:
    """Write weights (half precision) and settings to `path`, and `metadata` (protocol, bound, ...) with them.

    Raises:
        ValueError: if the model was built by hand, so that no function can build its networks again.
        OSError: if the folder cannot be written.
    """
    if vae.settings is None:
        expected, remedy = "to come from mlp_vae, paper_vae or conv_vae", "save its state_dict with files.save_tensors"
        raise ValueError(refusal("the model", expected, "one built by hand", remedy))
    settings = {**vae.settings, "likelihood": vae.likelihood.settings}
    save_tensors(path, vae.state_dict(), {**metadata, "settings": settings})


@checked
def load_vae(path: str | Path) -> VAE:
    """The model that `save_vae` wrote, ready to use.

    Args:
        path: a file, or the bare name of one in `assets/` ("mlp", "conv", "manifold", ...).

    Returns:
        VAE in float32 on the CPU; what the file says beside the weights is in its `metadata`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or has weights of another architecture than its settings say.
    """
    stored = {file.stem: file for file in ASSETS.glob("*.safetensors")}
    if str(path) not in stored and not Path(path).is_file():
        names = ", ".join(sorted(stored)) or "none here: clone the whole repository"
        remedy = "check the name, or make it with python -m vae_utils.reproduce"
        raise FileNotFoundError(refusal("the path", f"to be a file, or a name in assets/ ({names})", path, remedy))
    tensors, metadata = load_tensors(stored.get(str(path), path))
    try:
        network = dict(metadata["settings"])
        likelihood = dict(network.pop("likelihood"))
        likelihood = FAMILIES[likelihood.pop("family")](**likelihood)
        build = partial(BUILDERS[network.pop("builder")], **network, likelihood=likelihood)
        with torch.device("meta"):  # this takes no memory, and a damaged setting may ask for gigabytes
            outline = build()
    except (KeyError, TypeError, ValueError) as error:
        sentence = refusal("settings", "to be as save_vae writes them", f"others ({error})", "make the file again")
        raise ValueError(f"{path}: {sentence}") from error
    _require_same_shapes(outline, tensors, path)
    vae = build()
    load_weights(vae, tensors, path)
    vae.metadata = metadata
    return vae.eval()


@checked
def load_weights(module: nn.Module, tensors: dict[str, Tensor], name: str | Path = "the checkpoint") -> None:
    """Copy `tensors` into the weights of `module`, or say in one sentence where they differ.

    Args:
        module: a VAE or any other network.
        tensors: dict of name to tensor, as `module.state_dict()` has them.
        name: of the file, for the sentence.

    Raises:
        ValueError: if a tensor is missing, left over, or of another shape.
    """
    _require_same_shapes(module, tensors, name)
    module.load_state_dict(tensors)


def _require_same_shapes(module, tensors, name):
    states = module.state_dict(), tensors
    expected, given = ({key: list(value.shape) for key, value in state.items()} for state in states)
    if expected != given:
        key = next(key for key in (*expected, *given) if expected.get(key) != given.get(key))
        wish, shape = f"to have shape {expected.get(key, 'none')}", given.get(key, "none")
        remedy = "build the model with the settings it was saved with, or use load_vae"
        raise ValueError(refusal(f"{name} holds weights of another architecture: {key}", wish, shape, remedy))
