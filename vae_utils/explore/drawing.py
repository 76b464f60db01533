"""A digit of one's own on its way through a model: a sheet to draw on, and what the two networks make of it.

    pad = DrawingPad(vae, data=mnist)    draw, and watch q(z|x), the reconstruction and the bound
    pad.image                            the drawing as a tensor, in a later cell

`page/drawing.js` and the modules that it imports are the page's half.
"""

import copy
import math
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
import traitlets
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Ellipse
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vae_utils.data import MNIST, require_images
from vae_utils.evaluation import active_units, elbo_of_set, posterior_parameters
from vae_utils.explore.program import NotPortable, decoder_program, encoder_program
from vae_utils.explore.widgets import LEAST_EXTENT, NUM_SHOWN, LiveWidget, as_bytes, extent_of
from vae_utils.figures import COLOURS, DIGIT_COLOURS, GREY, figure_png, scatter_codes
from vae_utils.models import IMAGE_SHAPE, VAE
from vae_utils.runtime import fixed_seed
from vae_utils.support.arguments import refusal
from vae_utils.support.kinds import checked

NUM_STARTS = 100  # test images that a drawing can start from
LIKELIHOODS = ("Bernoulli", "GreyCrossEntropy")  # those that page/bound.js knows
HEAT, DEAREST = ("#ffffff", "#f0e442", "#e69f00", "#d55e00", "#641e00"), 4  # of a pixel, evenly from 0 to 4 nats


class Passage(NamedTuple):
    """What a model makes of one image, with one draw of z.

    Attributes:
        x: the outcome that the grey image stands for, shape [28, 28].
        mean, sigma: of q(z|x), shape [D].
        z: the draw, mean + sigma * noise, shape [D].
        decoded: the mean of p(x|z), shape [28, 28].
        costs: -log p(x|z) of each pixel, nats, shape [28, 28]; their sum is the distortion.
        kl: KL(q(z_j|x) || p(z_j)) of each latent, nats, shape [D]; their sum is the rate.
    """

    x: Tensor
    mean: Tensor
    sigma: Tensor
    z: Tensor
    decoded: Tensor
    costs: Tensor
    kl: Tensor


class DrawingPad(LiveWidget):
    """Draw a digit and see what the model makes of it while the pen moves; both networks run in the page.

    Beside the sheet stand the image that goes in, q(z|x) over the prior, the mean of p(x|z) at a draw of z, and the
    bound on the drawing's log p(x) in nats: the distortion pixel by pixel, the KL latent by latent, their sum, each
    beside the same number of test images. The draw of grey pixels and, at the start, that of z are those of
    `evaluate(vae, pad.image)`, so that the numbers are too.

    A drawing is centred and scaled as MNIST's images were, unless the reader switches that off. Weights are rounded
    to half precision, which changes nothing for models from `load_vae`.

    Args:
        vae: a model of 28 x 28 pixels that are black or white (`Bernoulli`) or have a grey cross-entropy.
        data: test images to compare with and to start from, as `load_mnist()` returns them; None for none.
        image: grey image to start from, shape [1, 28, 28] or [1, 1, 28, 28]; if None the first of the test images, or
            an empty sheet.

    Raises:
        ValueError: if the model is of another kind or cannot be computed in a page, or `image` is no such image.
    """

    weights = traitlets.List().tag(sync=True)  # of the encoder and the decoder, float16
    thresholds = traitlets.Bytes().tag(sync=True)  # of the draw of pixels, float32 [784]
    noise = traitlets.List(traitlets.Float()).tag(sync=True)  # of the draw of z, [D]
    codes = traitlets.Bytes().tag(sync=True)  # means of q(z|x) of test images, float32 [N, 2], if D = 2
    costs = traitlets.Bytes().tag(sync=True)  # their distortion and rate, float32 [N, 2]
    digits = traitlets.Bytes().tag(sync=True)  # pixels of the first of them, uint8 [NUM_STARTS, 784]
    pixels = traitlets.List(traitlets.Int()).tag(sync=True)  # of the image that goes in, from 0 to 255, [784]

    @checked
    def __init__(self, vae: VAE, data: MNIST | None = None, image: Tensor | None = None):
        family = type(vae.likelihood).__name__
        if vae.image_shape != IMAGE_SHAPE or family not in LIKELIHOODS or vae.classes:
            channels, *sides = vae.image_shape
            given = f"{family} of {' x '.join(map(str, sides))} pixels" + f" in {channels} channels" * (channels > 1)
            given += f" and {vae.classes} classes" * (vae.classes > 0)
            raise ValueError(refusal("a model", f"of 28 x 28 pixels with {' or '.join(LIKELIHOODS)}", given))
        self._vae = vae = copy.deepcopy(vae).to("cpu", torch.float32).eval()  # to look at
        try:
            programs = encoder_program(vae), decoder_program(vae, features=True)
        except NotPortable as reason:
            remedy = "take a smaller model of linear and convolutional layers"
            sentence = refusal("a model", "that a page can compute", f"one that it cannot: {reason}", remedy)
            raise ValueError(sentence) from None
        weights = [program.weights.tobytes() for program in programs]
        self._noise = _first_noise(vae)
        spec, sent = _compared(vae, data)
        spec |= {"steps": [program.steps for program in programs], "likelihood": family}
        spec |= {"latent_size": vae.latent_size, "colours": list(DIGIT_COLOURS), "ramp": HEAT, "dearest": DEAREST}
        spec |= _words(family, sum(map(len, weights)) / 1e6)
        if image is None:
            image = torch.zeros(IMAGE_SHAPE) if data is None else data.test[0]
        image = image if image.ndim == 4 else image[None]
        require_images(image, IMAGE_SHAPE)
        if len(image) > 1:
            raise ValueError(refusal("one image", "to start from", len(image), "take one by an index"))
        sent |= {"pixels": as_bytes(image).flatten().tolist(), "noise": self._noise.tolist(), "weights": weights}
        super().__init__(kind="draw", spec=spec, thresholds=_thresholds().numpy().tobytes(), **sent)

    @property
    def image(self) -> Tensor:
        """The drawing as it goes into the encoder, centred and scaled if that is on: grey, [1, 1, 28, 28].

        Raises:
            ValueError: if nothing is drawn.
        """
        if not any(self.pixels):
            raise ValueError(refusal("a drawing", "on the sheet", "none", "draw a digit and run this cell again"))
        return self._grey()

    @torch.no_grad()
    def passage(self, image: Tensor) -> Passage:
        """What the page shows of an image at the start, computed here.

        Args:
            image: grey, in [0, 1], shape [1, 1, 28, 28].

        Raises:
            ValueError: if it is no such image.
        """
        require_images(image, IMAGE_SHAPE)
        vae = self._vae
        x = vae.observe(image, torch.Generator().manual_seed(0))
        q = vae.encode(x).base_dist
        z = q.loc + q.scale * self._noise
        p = vae.decode(z).base_dist
        costs, kl = -p.log_prob(x)[0, 0], kl_divergence(q, vae.prior.base_dist)[0]
        return Passage(x[0, 0], q.loc[0], q.scale[0], z[0], p.mean[0, 0], costs, kl)

    def alt_text(self):
        passage = self.passage(self._grey())
        distortion, rate = passage.costs.sum(), passage.kl.sum()
        return (
            "a digit, what the model makes of it, its cost by pixel and its code: "
            f"−ELBO {distortion + rate:.1f} nats, distortion {distortion:.1f} and KL {rate:.1f}."
        )

    def _grey(self):
        return (torch.tensor(self.pixels) / 255).reshape(1, *IMAGE_SHAPE)

    def still(self):
        """The way of the image at the start; q(z|x); and its bound beside those of test images."""
        passage = self.passage(self._grey())
        figure, axes = plt.subplot_mosaic("abcd;eeff", figsize=(10, 5.6), layout="constrained", height_ratios=[1, 1.25])
        shown = {"the image": self._grey()[0, 0], "x": passage.x, "decoded at z": passage.decoded}
        for ax, (title, image) in zip("abc", shown.items()):
            axes[ax].imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
            axes[ax].set_title(title)
        heat = axes["d"].imshow(
            passage.costs.numpy(), cmap=LinearSegmentedColormap.from_list("cost", HEAT), vmin=0, vmax=DEAREST
        )
        axes["d"].set_title("−log p(x|z) by pixel")
        figure.colorbar(heat, ax=axes["d"], label="nats", extend="max", shrink=0.8)
        for ax in "abcd":
            axes[ax].set(xticks=[], yticks=[])
            axes[ax].grid(False)
        (self._draw_plane if self._vae.latent_size == 2 else self._draw_bars)(axes["e"], passage)
        self._draw_costs(axes["f"], passage)
        return figure_png(figure)

    def _draw_plane(self, ax, passage):
        codes = torch.frombuffer(bytearray(self.codes), dtype=torch.float32).reshape(-1, 2) if self.codes else None
        if codes is not None:
            scatter_codes(codes, torch.tensor(self.spec["labels"]), ax)
        extent = self.spec["extent"]
        place, size = passage.mean.tolist(), (2 * 2 * passage.sigma).tolist()
        ax.add_patch(Ellipse(place, *size, facecolor=COLOURS["blue"], edgecolor="black", zorder=5))
        where = dict(xytext=(25, 25), textcoords="offset points", arrowprops={"arrowstyle": "->"}, zorder=6)
        ax.annotate("q(z|x), 2σ", place, **where, backgroundcolor="white")
        ax.set(title="q(z|x) on the plane", xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")

    def _draw_bars(self, ax, passage):
        used = [j for j in self.spec["order"] if j not in self.spec["collapsed"]]
        ax.bar([str(j + 1) for j in used], passage.kl[used].numpy(), color=COLOURS["blue"])
        ax.set(title="KL of each latent that the model uses", xlabel="latent", ylabel="nats")
        ax.tick_params(axis="x", labelsize=10, rotation=90)

    def _draw_costs(self, ax, passage):
        bound = (passage.costs.sum() + passage.kl.sum()).item()
        if self.costs:
            costs = torch.frombuffer(bytearray(self.costs), dtype=torch.float32).reshape(-1, 2).sum(1)
            ax.hist(costs.numpy(), bins=40, color=GREY, label=f"{len(costs):,} test images")
        ax.axvline(bound, color=COLOURS["vermilion"], linewidth=3, label=f"this image: {bound:.1f}")
        ax.set_ylim(0, 1.4 * ax.get_ylim()[1])  # with room for the legend above the bars
        ax.set(title="−ELBO = distortion + KL", xlabel="nats", ylabel="test images" if self.costs else "")
        ax.legend()


def _thresholds():
    """Of the fixed draw by which `vae_utils.data.binarise` makes one image black and white: float32 [1, 28, 28]."""
    return torch.rand(1, *IMAGE_SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float32)[0]


def _first_noise(vae):
    """That of the first draw of z in `evaluate(vae, image)`: [D]."""
    with fixed_seed(0):
        return vae.prior.expand([1]).rsample((1,))[0, 0]


def _compared(vae, data):
    """What the page needs to know of test images: a dict for JSON, and a dict of bytes."""
    about = {"labels": [], "extent": LEAST_EXTENT, "order": list(range(vae.latent_size)), "collapsed": []}
    about |= {"kl": None, "most_kl": 5.0}
    if data is None:
        return about, {"codes": b"", "costs": b"", "digits": b""}
    images = data.test[:NUM_SHOWN].to("cpu", torch.float32)
    mean, scale = posterior_parameters(vae, images)
    terms = elbo_of_set(vae, images)
    prior = vae.prior.base_dist
    kl = kl_divergence(Normal(mean, scale), prior)  # [N, D]
    about |= {"labels": data.test_labels[: len(images)].tolist(), "kl": kl.mean(0).tolist()}
    about["most_kl"] = max(1.0, math.ceil(1.2 * kl.max().item()))
    codes = b""
    if vae.latent_size == 2:
        about["extent"] = extent_of(mean)
        codes = mean.numpy().tobytes()
    else:
        about["order"] = kl.mean(0).argsort(descending=True).tolist()
        about["collapsed"] = (~active_units(vae, images)).nonzero()[:, 0].tolist() if len(images) > 1 else []
    costs = torch.stack([terms.distortion, terms.rate], 1).numpy().tobytes()
    return about, {"codes": codes, "costs": costs, "digits": as_bytes(images[:NUM_STARTS]).numpy().tobytes()}


def _words(family, megabytes):
    """How grey pixels enter, for the caption of x, and for the line below all."""
    where = f"Encoded and decoded in this page: {megabytes:.1f} MB of weights, sent once. "
    if family == "Bernoulli":
        observed = "x: each grey pixel black or white, by one fixed draw"
        where += "The model is one of black and white pixels: a grey of 0.3 is black with probability 0.3. "
    else:
        observed = "x: the grey pixels as they are"
        where += "Grey pixels enter as they are: the bound is a cross-entropy, not a log-likelihood. "
    same = "All draws are those of evaluate(vae, image), and so are the numbers, in nats, until you draw z again."
    return {"observed_words": observed, "where": where + same}
