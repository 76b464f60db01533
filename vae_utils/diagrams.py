"""Formulas as drawings: the graphical model, networks and their shapes, the way of a gradient, the bound over θ.

    graphical_model       what depends on what (the paper's Figure 1)
    network               a model's own shapes, from the image to μ and log σ², z, and back
    computation_graphs    where a draw of z stops the gradient, and where z = μ + σ ⊙ ε lets it pass
    bound_over_theta      what a step in φ and a step in θ do to the bound and to the evidence
    digit_through         one image on its way through a model, with all numbers of its ELBO

All are made of matplotlib's patches, in the style of `figures`. A program that lays out graphs, such as Graphviz,
would have to be installed beside Python, and here the best place of each box is known.

Random quantities are in circles, computed or given ones in boxes, and observed ones are shaded. θ, the weights of the
model, are green, and φ, the weights of q, are blue. A gradient is vermilion and dashed. On a drawing without axes, all
lengths are inches.
"""

import math
from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn.modules.conv import _ConvNd

from vae_utils.data import require_images
from vae_utils.figures import CENTRED, COLOURS
from vae_utils.models import VAE
from vae_utils.runtime import fixed_seed
from vae_utils.support.alt import ALT_LETTERS, set_alt_text
from vae_utils.support.arguments import refusal
from vae_utils.support.kinds import checked

BLUE, GREEN, VERMILION, ORANGE, PURPLE = (COLOURS[name] for name in ("blue", "green", "vermilion", "orange", "purple"))
SHADE = "#D0D0D0"
LARGE, MIDDLE, SMALL = 18, 14, 12  # points
MU, SIGMA, EPSILON, Z, THETA, PHI = "$\\mu$", "$\\sigma$", "$\\epsilon$", "$z$", "$\\theta$", "$\\phi$"
REPARAMETERISED = "$z = \\mu + \\sigma \\odot \\epsilon$"
DASHES = (0, (3.2, 2))
GREYS = dict(cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")  # colours are shown as they are
PIXEL, SHEET, BAR = 0.039, 0.05, 0.048  # inches for a pixel, between feature maps, and for the root of a length
WORDS = {"Linear": "linear", "Tanh": "tanh", "LayerNorm": "norm", "PixelShuffle": "shuffle", "Unflatten": "reshape"}


@checked
def graphical_model(theta_is_random: bool = False) -> Figure:
    """The paper's Figure 1: N images x, each with its code z; θ and φ stand outside of the frame (the plate).

    Args:
        theta_is_random: draw Appendix F, where θ has a prior, and q is over θ too.

    Returns:
        Figure.
    """
    figure, ax = _canvas(9, 3.9)
    left, middle = (0.6, 1.6) if theta_is_random else (1.55, 2.55)
    _box(ax, left, 0.25, 2.0, 3.4, rounding=0.2, fill=False, lw=1.6)
    _say(ax, left + 1.85, 0.35, "$N$", LARGE, ha="right", va="bottom")
    z, x = _node(ax, middle, 3.05, Z), _node(ax, middle, 1.0, "$x$", fill=SHADE)
    phi_at, theta_at = ((4.0, 3.05), (4.0, 1.35)) if theta_is_random else ((0.65, 3.05), (4.5, 2.02))
    phi = _node(ax, *phi_at, PHI, box=True, colour=BLUE)
    theta = _node(ax, *theta_at, THETA, box=not theta_is_random, colour=GREEN)
    for start, end in ((theta, z), (theta, x), (z, x)):
        _arrow(ax, start, end, GREEN)
    _arrow(ax, x, z, BLUE, dashed=True, bend=-0.5)
    for hidden in (z, theta) if theta_is_random else (z,):
        _arrow(ax, phi, hidden, BLUE, dashed=True)

    more = ("$p(\\theta)\\,$", "$q_\\phi(\\theta)\\,$", f" and {THETA}") if theta_is_random else ("", "", "")
    entries = [
        f"the model {more[0]}$p_\\theta(z)\\,p_\\theta(x|z)$",
        f"{more[1]}$q_\\phi(z|x)$ in place of\nthe true posterior",
        "observed: an image",
        f"hidden: the code{more[2]}" if theta_is_random else "hidden: the image's code",
        f"weights {PHI} of $q$" if theta_is_random else f"weights: {PHI} of the encoder,\n{THETA} of the decoder",
        "what stands in the frame is\nthere once for each image",
    ]
    heights = [3.5 - 0.62 * row for row in range(len(entries))]
    for y, entry in zip(heights, entries):
        _say(ax, 6.3, y, entry, MIDDLE, ha="left")
    _arrow(ax, (5.4, heights[0]), (6.25, heights[0]), GREEN)
    _arrow(ax, (5.4, heights[1]), (6.25, heights[1]), BLUE, dashed=True)
    for y, label, fill in zip(heights[2:], ("", "", "", "$N$"), (SHADE, "white", "white", "white")):
        _node(ax, 5.85, y, label, box=y in heights[4:], fill=fill, size=0.18)
    names = "φ stands outside, θ is random" if theta_is_random else "θ and φ stand outside"
    return set_alt_text(
        figure,
        f"A frame marked N holds z, with a solid arrow to the shaded x, and a dashed one back; {names}, with solid "
        "arrows from θ and dashed arrows from φ.",
    )


@checked
@torch.no_grad()
def network(vae: VAE, image: Tensor | None = None) -> Figure:
    """Encoder and decoder as rows of shapes, read off a forward pass: x, μ and log σ², z = μ + σ ⊙ ε, p(x|z).

    The way in runs above from left to right, the way out below from right to left, so that an image stands above
    what is made of it. A vector is a bar, its height in proportion to the root of its length; feature maps are a stack
    of squares. The words at an arrow name its layers, if they are modules.

    Args:
        vae: a model of images of about 28 x 28, with any networks.
        image: one image in [0, 1], shape [1, *image_shape], to be shown above the mean of p(x|z) for one draw
            of z; None for a drawing without pixels.

    Returns:
        Figure.

    Raises:
        ValueError: if `image` is not one image of the model's shape.
    """
    x = vae.prior.mean.new_zeros(1, *vae.image_shape) if image is None else _one_image(vae, image, seed=0)
    layers = {vae.encoder: [], vae.decoder: []}  # [(layer, shape of what comes out)]
    hooks = [
        layer.register_forward_hook(lambda layer, _, h, found=found: found.append((layer, list(h.shape[1:]))))
        for half, found in layers.items()
        for layer in half.modules()
        if not list(layer.children())
    ]
    try:
        with fixed_seed(0):
            p = vae.decode(vae.encode(x).rsample())
    finally:
        for hook in hooks:
            hook.remove()
    features = list(vae.likelihood.feature_shape(vae.image_shape))
    inward = _stages(list(vae.image_shape), layers[vae.encoder], [2 * vae.latent_size])
    outward = _stages([vae.latent_size], layers[vae.decoder], features)
    inward[-1:] = ([vae.latent_size], inward[-1][1]), ([vae.latent_size], [])  # the two halves of one output

    figure, ax = _canvas(9, 5.6)
    rows = (3.15, 3.32, BLUE, f"encoder $q_\\phi(z|x)$: {{:,}} weights {PHI}", [vae.encoder])
    rows = rows, (0.05, 2.23, GREEN, f"decoder $p_\\theta(x|z)$: {{:,}} weights {THETA}", [vae.decoder, vae.likelihood])
    for bottom, y, colour, words, halves in rows:
        _box(ax, 1.5, bottom, 6.3, 2.35, rounding=0.15, facecolor=colour, alpha=0.12, lw=0)
        count = sum(parameter.numel() for half in halves for parameter in half.parameters())
        _say(ax, 1.65, y, words.format(count), MIDDLE, ha="left", color=colour)
    names = {0: "image $x$", len(inward) - 2: MU, len(inward) - 1: "$\\log\\,\\sigma^2$"}
    *_, mu, log_variance = _row(ax, inward, 4.25, 1, names, None if image is None else x)
    names = {0: Z, len(outward) - 1: f"{'mean of ' * (features == list(vae.image_shape))}$p_\\theta(x|z)$"}
    z, *_ = _row(ax, outward, 1.25, -1, names, None if image is None else p.mean)
    _box(ax, 6.2, 2.46, 1.7, 0.58, facecolor="white", lw=2)
    _say(ax, 7.05, 2.75, REPARAMETERISED, LARGE - 2)
    _say(ax, 8.5, 3.2, "$\\epsilon \\sim \\mathcal{N}(0, I)$", MIDDLE)
    _arrow(ax, _node(ax, 8.68, 2.75, EPSILON, size=0.28), (7.9, 2.75))
    for start, end in ((mu, (mu[0], 3.04)), (log_variance, (log_variance[0], 3.04)), ((z[0], 2.46), z)):
        _arrow(ax, start, end)
    way = [" × ".join(map(str, shape)) for shape, _ in (*inward[1:-2], *outward[1:-1])]
    text = f"Network: an image, then {', '.join(way[: len(inward) - 3])}; μ and log σ² of {vae.latent_size}; z; "
    text += f"{', '.join(way[len(inward) - 3 :])}; p(x|z)."
    return set_alt_text(figure, shorten(text, ALT_LETTERS, placeholder=" …"))


@checked
def computation_graphs() -> Figure:
    """Where the gradient of the bound reaches φ: not through a draw of z, but through z = μ + σ ⊙ ε.

    After figure 2.3 of Kingma & Welling 2019. f is the fit, which the bound averages over z; an arrow from x straight
    to f is left out.

    Returns:
        Figure.
    """
    figure, ax = _canvas(9, 6.2)
    titles = "$z$ is drawn from $q_\\phi(z|x)$", f"{EPSILON} is drawn, {Z} is computed"
    for left, title, passes in zip((0.25, 4.6), titles, (False, True)):
        _say(ax, left + 2.2, 5.95, title, MIDDLE + 1, fontweight="bold")
        f, theta = _node(ax, left + 2.2, 5.15, "$f$", box=True), _node(ax, left + 3.7, 5.15, THETA, True, colour=GREEN)
        _say(ax, left + 1.77, 5.15, "$\\log\\,p_\\theta(x|z)$", ha="right")
        z = _node(ax, left + 2.2, 3.75, Z, box=passes)
        q = _node(ax, left + 2.2, 2.35, "$\\mu,\\,\\sigma$", box=True, size=0.42)
        phi = _node(ax, left + 1.3, 1.05, PHI, box=True, colour=BLUE)
        x = _node(ax, left + 3.1, 1.05, "$x$", box=True, fill=SHADE)
        for start, end in ((theta, f), (z, f), (q, z), (phi, q), (x, q)):
            _arrow(ax, start, end)
        for start, end in ((f, theta), (f, z), (z, q), (q, phi))[: 4 if passes else 2]:
            _arrow(ax, start, end, VERMILION, dashed=True, shift=-0.2)
        if passes:
            _arrow(ax, _node(ax, left + 3.7, 3.75, EPSILON), z)
            _say(ax, left + 2.6, 3.05, REPARAMETERISED, MIDDLE + 1, ha="left")
            _say(ax, left + 1.7, 3.05, "the gradient\npasses", color=VERMILION, ha="right")
        else:
            ax.plot([left + 2.0] * 2, [3.38, 3.08], color=VERMILION, lw=2, linestyle=DASHES)
            ax.plot([left + 1.82, left + 2.13], [3.05] * 2, "-", color=VERMILION, lw=6, solid_capstyle="butt")
            _say(ax, left + 2.4, 3.05, "a draw: the\ngradient stops", color=VERMILION, ha="left")
            _arrow(ax, f, q, PURPLE, dashed=True, bend=0.55)
            _arrow(ax, q, phi, PURPLE, dashed=True, shift=-0.2)
            _say(ax, left + 1.32, 3.75, "score function:\n$f\\,\\nabla_\\phi\\,\\log\\,q_\\phi(z|x)$", ha="right")
    for at, entry in ((0.65, "random"), (2.1, "computed or given"), (4.85, "forward"), (6.6, "gradient of $f$")):
        _say(ax, at, 0.22, entry, ha="left")
    _node(ax, 0.45, 0.22, "", size=0.14)
    _node(ax, 1.9, 0.22, "", box=True, size=0.14)
    _arrow(ax, (4.1, 0.22), (4.8, 0.22))
    _arrow(ax, (5.85, 0.22), (6.55, 0.22), VERMILION, dashed=True)
    return set_alt_text(
        figure,
        "Left: z is drawn, the gradient stops at the draw, and the score function goes round it. Right: ε comes from "
        "outside, and the gradient passes through z to φ.",
    )


@checked
def bound_over_theta() -> Figure:
    """log p_θ(x) over a weight θ, and bounds below it: what a step in φ does, and what a step in θ may do.

    The curves are those of a model whose evidence has a formula: z ~ N(0, 1), x ~ N(θ z, 1), and x = 3 was seen, so
    that p_θ(x) = N(0, θ² + 1) and p_θ(z|x) = N(θ x / (θ² + 1), 1 / (θ² + 1)). Each step in θ goes to where its bound
    is highest.

    Returns:
        Figure of two panels. The lines labelled "evidence" and "bound of q = N(mean, sigma²)" are the curves.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.9), sharey=True, layout="constrained")
    thetas = np.linspace(0.55, 3.4, 286)
    first, exact, poor = (0.6, 0.8), (1.5, 0.5**0.5), (1.8, 0.45)  # mean and σ of q; the exact posterior at θ = 1

    def draw_bound(ax, q, style, colour):
        label = "bound of q = N({:.2g}, {:.2g}²)".format(*q)
        ax.plot(thetas, _toy_bound(thetas, *q), style, color=colour, lw=2.5, label=label)

    for ax, q, start in zip(axes, (exact, poor), (1.0, 2.4)):
        ax.plot(thetas, _toy_evidence(thetas), "-", color="black", lw=2.5, label="evidence")
        draw_bound(ax, q, "-", ORANGE)
        path = np.linspace(start, 3 * q[0] / (q[0] ** 2 + q[1] ** 2), 60)
        evidence, bound = _toy_evidence(path), _toy_bound(path, *q)
        ax.plot(path[:-8], bound[:-8], "-", color=GREEN, lw=5, solid_capstyle="butt", zorder=4)
        _arrow(ax, *((path[i], bound[i]) for i in (-12, -1)), GREEN)
        for i in (0, -1):
            ax.plot([path[i]] * 2, [evidence[i], bound[i]], ":", color="black")
            ax.plot(path[i], evidence[i], "o", color="black")
            if evidence[i] - bound[i] > 0.005:
                gap = f"gap {evidence[i] - bound[i]:.2f}"
                _say(ax, path[i] + 0.05, (evidence[i] + bound[i]) / 2, gap, ha="left")
        rises = [f"{line[-1] - line[0]:+.2f}".replace("-", "−") for line in (bound, evidence)]
        words = "step in {}:\nbound {}\nevidence {}".format(THETA, *rises)
        _say(ax, 0.6, -2.33, words, ha="left", va="top", color=GREEN, fontweight="bold")
        _say(ax, 3.35, -2.33, "evidence $\\log\\,p_\\theta(x)$", ha="right", va="top")
        ax.set(xlim=(0.55, 3.4), ylim=(-4.75, -2.25))
        ax.set_xlabel(THETA, fontsize=MIDDLE)
        ax.tick_params(labelsize=SMALL)
    left, right = axes
    draw_bound(left, first, "--", PURPLE)
    low, high = (_toy_bound(1.0, *q) for q in (first, exact))
    _arrow(left, (1, low), (1, high), BLUE)
    words = f"step in {PHI}:\nbound +{high - low:.2f}\nevidence the same"
    _say(left, 1.1, -3.8, words, ha="left", color=BLUE, fontweight="bold")
    _say(left, 1.3, -4.32, "bound of the first $q$", ha="left")
    _say(left, 2.25, -3.15, f"bound of the exact\nposterior at {THETA} = 1", ha="left")
    _say(right, 0.95, -4.25, "bound of\nthe poor $q$", ha="left")
    _say(right, 2.6, -4.4, "$z \\sim \\mathcal{N}(0, 1)$\n$x \\sim \\mathcal{N}(\\theta z, 1)$\n$x = 3$", ha="left")
    left.set_ylabel("nats", fontsize=SMALL)
    left.set_title(f"A step in {PHI}, then a step in {THETA}", fontsize=MIDDLE)
    right.set_title(f"A step in {THETA} under a poor $q$", fontsize=MIDDLE)
    return set_alt_text(
        figure,
        "Evidence over θ, with bounds below it. Left: a step in φ lifts the bound to the evidence, a step in θ raises "
        "both. Right: under a poor q, a step in θ lowers the evidence.",
    )


@checked
@torch.no_grad()
def digit_through(vae: VAE, image: Tensor, seed: int = 0) -> Figure:
    """One image on its way through a model, with the numbers of its bound for one draw of z.

    Pixels; q(z|x) and the draw; the mean of p(x|z); nats per pixel; KL per latent; and distortion + rate = -ELBO. Of
    the latents, the first eight have their numbers printed. The draws, of pixels that are grey and of ε, are those of
    `evaluate(vae, image, seed=seed)`.

    Args:
        vae: the model.
        image: one image in [0, 1], shape [1, *image_shape], grey or of three channels.
        seed: of both draws.

    Returns:
        Figure.

    Raises:
        ValueError: if `image` is not one image of the model's shape.
    """
    x = _one_image(vae, image, seed)
    with fixed_seed(seed):
        q = vae.encode(x).base_dist
        z = q.rsample((1,))[0]
    p = vae.decode(z).base_dist
    kl, mu, sigma, z = (t[0].cpu().numpy() for t in (kl_divergence(q, vae.prior.base_dist), q.loc, q.scale, z))
    pixels, mean, nats = _pixels(x), _pixels(p.mean), -p.log_prob(x)[0].sum(0).cpu().numpy()

    figure, ax = _canvas(9, 7.7)
    for title, left, bottom, values in (
        ("1 · pixels $x$", 0.2, 5.15, pixels),
        ("3 · mean of $p(x|z)$", 0.2, 0.95, mean),
    ):
        panel = _panel(figure, title, left, bottom, 2.1, 2.1, xticks=[], yticks=[])
        panel.imshow(values, **GREYS)
    panel = _panel(figure, "4 · nats per pixel", 2.95, 0.95, 2.1, 2.1, xticks=[], yticks=[])
    heat = panel.imshow(nats, cmap="OrRd", vmin=min(0, nats.min()), interpolation="nearest")
    figure.colorbar(heat, cax=_panel(figure, "", 5.13, 0.95, 0.13, 2.1))

    shown = range(1, min(8, len(z)) + 1)
    title = f"2 · $\\mu\\pm\\sigma$ (bar), draw {Z} (diamond), prior ±1 (grey)"
    limit = 1.15 * max(1.5, np.abs(z).max(), (np.abs(mu) + sigma).max())
    panel = _panel(figure, title, 3.5, 5.45, 5.4, 1.8, xlim=(0.5, len(shown) + 0.5), xticks=[], ylim=(-limit, limit))
    panel.axhspan(-1, 1, color=SHADE, alpha=0.5, lw=0)
    panel.bar(shown, 2 * sigma[: len(shown)], 0.5, (mu - sigma)[: len(shown)], color=BLUE)
    panel.plot(shown, z[: len(shown)], "D", color="black", markeredgecolor="white", ms=9)
    rows = {"latent": shown, MU: mu, SIGMA: sigma, EPSILON: (z - mu) / sigma, REPARAMETERISED: z, "KL (nats)": kl}
    for row, (name, values) in enumerate(rows.items()):
        _say(ax, 3.35, 5.25 - 0.29 * row, name, MIDDLE - 1, ha="right")
        for i, value in zip(shown, values):
            number = f"{round(float(value), 2) + 0:.2f}".replace("-", "−") if row else f"{value}"
            _say(ax, 3.5 + 5.4 * (i - 0.5) / len(shown), 5.25 - 0.29 * row, number)
    panel = _panel(figure, "5 · KL per latent (nats)", 6.55, 1.4, 2.35, 1.65)
    panel.bar(range(1, len(kl) + 1), kl, color=[BLUE if i + 1 in shown else COLOURS["sky"] for i in range(len(kl))])
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.set_xlabel("latent", fontsize=SMALL)

    ax.plot([2.2, 1.25, 1.25], [4.09, 4.09, 4.0], "-", color="black", lw=2)
    for start, end in (((2.35, 6.3), (3.1, 6.3)), ((1.25, 4.05), (1.25, 3.38)), ((2.35, 2.0), (2.92, 2.0))):
        _arrow(ax, start, end)
    _say(ax, 2.7, 6.5, "encoder")
    _say(ax, 1.4, 3.75, "decoder", ha="left")
    sums = [nats.sum(dtype=float), kl.sum(dtype=float)]
    d = _decimals(*sums)
    distortion, rate, total = (f"{value:.{d}f}".replace("-", "−") for value in (*sums, sum(sums)))
    _say(ax, 4.0, 0.7, f"sum: distortion {distortion}", MIDDLE)
    _say(ax, 7.7, 0.7, f"sum: rate {rate}", MIDDLE)
    words = f"−ELBO of this draw = distortion {distortion} + rate {rate} = {total} nats"
    _say(ax, 4.5, 0.25, words, MIDDLE + 2, fontweight="bold")
    return set_alt_text(
        figure,
        f"An image, its q(z|x) with one draw of z, the decoder's mean, nats per pixel, KL per latent: distortion "
        f"{distortion} and rate {rate} make {total} nats.",
    )


# Inside


def _toy_evidence(theta):
    """log N(3; 0, θ² + 1)."""
    return -0.5 * (np.log(2 * np.pi * (theta**2 + 1)) + 9 / (theta**2 + 1))


def _toy_bound(theta, mean, sigma):
    """E_q log N(3; θ z, 1) - KL(q || N(0, 1)) for q = N(mean, sigma²), in closed form."""
    log_likelihood = -0.5 * (math.log(2 * math.pi) + (3 - theta * mean) ** 2 + (theta * sigma) ** 2)
    return log_likelihood - 0.5 * (mean**2 + sigma**2 - 1) + math.log(sigma)


def _decimals(a, b):
    """The number of decimals with which two numbers and their sum, each rounded by itself, add up."""
    return next((d for d in (2, 1, 3, 4, 0) if f"{round(a, d) + round(b, d):.{d}f}" == f"{a + b:.{d}f}"), 2)


def _pixels(image):
    """One image [1, C, H, W] as matplotlib has it: [H, W] if it is grey, else [H, W, C], within [0, 1]."""
    pixels = image[0].movedim(0, -1).cpu().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels.clip(0, 1)


def _one_image(vae, image, seed):
    """What the model sees of one image, drawn as `evaluate` draws it."""
    require_images(image, vae.image_shape)
    if len(image) != 1:
        raise ValueError(refusal("image", "to be a batch of one", len(image), "images[:1] keeps the first"))
    return vae.observe(image.cpu(), torch.Generator().manual_seed(seed)).to(vae.prior.mean)


def _stages(shape, layers, last):
    """[(shape, words at the arrow to it)]: one for each linear layer, and each other that changes the shape."""
    stages = [(shape, [])]
    for layer, new in layers:
        if isinstance(layer, nn.Flatten):
            continue
        if isinstance(layer, nn.Linear) and len(stages) == 1 and len(shape) > 1:
            stages.append(([math.prod(shape)], ["flatten"]))
        makes = len(stages) == 1 or any(True for _ in layer.parameters())  # not a mere change of places
        if isinstance(layer, nn.Linear) or (makes and new != stages[-1][0]):
            stages.append((new, []))
        stages[-1] = new, stages[-1][1] + [_words(layer)]
    if stages[-1][0] != last:
        stages.append((last, ["reshape" if math.prod(last) == math.prod(stages[-1][0]) else "…"]))
    return stages


def _words(layer):
    if not isinstance(layer, _ConvNd):
        return WORDS.get(type(layer).__name__, type(layer).__name__)
    stride = f"\nstride {layer.stride[0]}" if layer.stride[0] > 1 else ""
    return "transposed\n" * layer.transposed + f"conv {layer.kernel_size[0]}×{layer.kernel_size[1]}{stride}"


def _row(ax, stages, y, direction, names, image):
    """Draw stages and the arrows between them; for each, where an arrow to the other row leaves or arrives."""
    ends, sizes = [], [_size(shape) for shape, _ in stages]
    arrows = [bool(words) for _, words in stages]
    from_left, to_right = 0.2, 6.9  # of the image; of μ and z
    width = sum(size[0] for size, _ in zip(sizes, range(1 + sum(arrows))))
    gap = (to_right - from_left - width) / sum(arrows)
    x = from_left if direction > 0 else to_right
    for i, ((shape, words), (width, height)) in enumerate(zip(stages, sizes)):
        if words:
            _arrow(ax, (x, y), (x + direction * gap, y))
            first, *rest = words
            rest = [f"+ {rest.count(w)} conv" if w.startswith("conv") else w for w in dict.fromkeys(rest)]
            _say(ax, x + direction * gap / 2, y + 0.09, first, va="bottom")
            _say(ax, x + direction * gap / 2, y - 0.11, "\n".join(rest), va="top")
        x += direction * (gap if words else 0.5 * (i > 0))
        middle = x + direction * width / 2
        _draw_shape(ax, shape, middle, y, image, SHADE if names.get(i, "").endswith("$x$") else "white")
        numbers = " × ".join(map(str, shape if shape[0] > 1 else shape[-2:]))
        away = max(height / 2, 0 if i in names else 0.68) + 0.08
        label = f"{names[i]}\n{numbers}" if i in names else numbers
        _say(ax, middle, y + direction * away, label, va="bottom" if direction > 0 else "top")
        ends.append((middle, y - direction * height / 2))
        x += direction * width
    return ends


def _size(shape):
    """Width and height, of a bar or of a stack of feature maps."""
    if len(shape) == 1:
        return 0.2, max(0.1, BAR * math.sqrt(shape[0]))
    more = SHEET * round(math.log2(shape[0]))
    return PIXEL * shape[2] + more, PIXEL * shape[1] + more


def _draw_shape(ax, shape, x, y, image, fill):
    width, height = _size(shape)
    left, bottom = x - width / 2, y - height / 2
    more = SHEET * round(math.log2(shape[0])) if len(shape) > 1 else 0
    for sheet in reversed(range(1 + round(more / SHEET))):
        corner = left + sheet * SHEET, bottom + sheet * SHEET
        ax.add_patch(Rectangle(corner, width - more, height - more, fc=fill, ec="black", lw=1.2, zorder=3))
    if image is not None and list(image.shape[2:]) == shape[1:]:
        extent = left, left + width - more, bottom, bottom + height - more
        limits = ax.axis()
        ax.imshow(_pixels(image), extent=extent, aspect="auto", zorder=4, **GREYS)
        ax.axis(limits)


def _canvas(width, height):
    figure = plt.figure(figsize=(width, height), layout="none")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return figure, ax


def _panel(figure, title, left, bottom, width, height, **settings):
    """Axes at a place of a canvas."""
    across, up = figure.get_size_inches()
    ax = figure.add_axes((left / across, bottom / up, width / across, height / up), **settings)
    ax.set_title(title, fontsize=MIDDLE)
    ax.tick_params(labelsize=SMALL)
    ax.grid(False)
    ax.spines[:].set_visible(True)
    return ax


def _say(ax, x, y, text, size=SMALL, **style):
    ax.text(x, y, text, fontsize=size, **CENTRED | style)


def _box(ax, left, bottom, width, height, rounding=0.06, **style):
    shape = f"round,pad=0,rounding_size={rounding}"
    return ax.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=shape, **style))


def _node(ax, x, y, text, box=False, fill="white", colour="black", size=0.36):
    style, side = dict(facecolor=fill, edgecolor=colour, lw=2, zorder=3), 0.88 * size
    node = (
        _box(ax, x - side, y - side, 2 * side, 2 * side, **style)
        if box
        else ax.add_patch(Circle((x, y), size, **style))
    )
    _say(ax, x, y, text, LARGE, color=colour, zorder=4)
    node.middle = x, y
    return node


def _arrow(ax, start, end, colour="black", dashed=False, bend=0.0, shift=0.0):
    """From one node or point to another, `shift` to the left. The head is a patch apart, so that no dash cuts it."""
    (x, y), (to_x, to_y) = (getattr(place, "middle", place) for place in (start, end))
    aside = shift / math.hypot(to_x - x, to_y - y)
    dx, dy = aside * (y - to_y), aside * (to_x - x)
    points = (x + dx, y + dy), (to_x + dx, to_y + dy)
    patches = [place if isinstance(place, Patch) else None for place in (start, end)]
    style = dict(connectionstyle=f"arc3,rad={bend}", patchA=patches[0], patchB=patches[1], shrinkA=3, color=colour)
    shaft = dict(arrowstyle="-", shrinkB=12, lw=2, linestyle=DASHES if dashed else "-", capstyle="butt")
    head = dict(arrowstyle="-|>,head_length=0.7,head_width=0.32", shrinkB=3, lw=0, mutation_scale=20)
    for part in shaft, head:
        ax.add_patch(FancyArrowPatch(*points, **style, **part, zorder=2))
