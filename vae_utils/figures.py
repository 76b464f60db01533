"""Pictures in one style: images in rows and walls, the latent plane, learning curves beside the paper's.

Two decisions hold everywhere. Grey images are shown as ink on paper: 0 is white and 1 is black, which a projector
carries better than the reverse; colours are shown as they are. Training curves are solid and test curves dashed, as in
the paper's Figures 2 and 3.

Colours are those of Okabe and Ito (2008), which most colour-blind readers can tell apart; line styles, markers or
written names say the same again, so one can read a grey print too. For readers who hear a page instead of seeing
it, each figure of a notebook is stored with a sentence on what it shows. No function calls `plt.show()`.
"""

import io
import math
import os
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython import get_ipython
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from torch import Tensor
from torch.distributions import Normal

from vae_utils.data import require_floating
from vae_utils.evaluation import manifold
from vae_utils.models import VAE
from vae_utils.runtime import fixed_seed
from vae_utils.support.alt import describe_figures, set_alt_text
from vae_utils.support.arguments import refusal, require_one_of, require_whole
from vae_utils.support.kinds import checked
from vae_utils.training import History

COLOURS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "yellow": "#F0E442",
}
CURVE_COLOURS = tuple(COLOURS[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky", "black"))
GREY = "#767676"
# Ten hues that everybody can tell apart do not exist. Neighbours in latent space (4, 7 and 9; 3, 5 and 8) differ in
# brightness as well as in hue, each digit has its own marker, and `scatter_codes` writes the digit on its class.
_NAMES = ("black", "purple", "orange", "green", "vermilion", "yellow", "#999999", "blue", "sky", "#882255")
DIGIT_COLOURS = tuple(COLOURS.get(name, name) for name in _NAMES)
DIGIT_MARKERS = ("o", "v", "s", "^", "D", "p", "h", "<", "X", "P")
LINE_STYLES = ("-", "--", "-.", ":")
PAPER_WHITE, GAP_GREY = 255, 222
CENTRED = {"ha": "center", "va": "center"}
SOLID_TRAIN_DASHED_TEST = {"train": "-", "test": "--"}
Y_LABELS = {
    "elbo": "ELBO (nats per image)",
    "rate": "rate KL(q(z|x) ‖ p(z)) (nats per image)",
    "distortion": "distortion −E log p(x|z)\n(nats per image)",
}
X_LABELS = {
    "samples": "training images evaluated",
    "epochs": "epochs (passes over the training images)",
    "seconds": "training time (seconds)",
}


def use_style() -> None:
    """Set the course's style in matplotlib's rcParams; called once, at the top of a notebook.

    In a notebook it also stores each figure with a sentence on what it shows (`support.alt`), and shows figures below
    their cells where the environment variable MPLBACKEND names another backend.
    """
    shell = get_ipython()
    if hasattr(shell, "kernel") and not os.environ.get("MPLBACKEND", "module://").startswith("module://"):
        shell.run_line_magic("matplotlib", "inline")
    styles = [LINE_STYLES[i % len(LINE_STYLES)] for i in range(len(CURVE_COLOURS))]
    plt.rc("figure", figsize=(8, 4.5), dpi=100, titlesize=14)
    plt.rc("figure.constrained_layout", use=True)
    plt.rc("savefig", dpi="figure")
    plt.rc("font", size=13)
    plt.rc("axes", titlesize=14, labelsize=13, grid=True, axisbelow=True)
    plt.rc("axes", prop_cycle=plt.cycler(color=CURVE_COLOURS, linestyle=styles))
    plt.rc("axes.spines", top=False, right=False)
    plt.rc(("xtick", "ytick"), labelsize=12)
    plt.rc("legend", fontsize=12, frameon=False)
    plt.rc("lines", linewidth=2, markersize=7)
    plt.rc("grid", color="#E4E4E4", linewidth=0.8)
    plt.rc("image", cmap="gray_r", interpolation="nearest")
    describe_figures()


# Images


@checked
def image_wall(images: Tensor, columns: int | None = None, gap: int = 1, scale: int = 1) -> np.ndarray:
    """Put images side by side into one picture, grey ones as ink on paper.

    Args:
        images: tensor of images in [0, 1], grey or of three channels, shape [N, 1 or 3, H, W], filled in row by row,
            or [rows, columns, 1 or 3, H, W], placed as given. What lies a little outside [0, 1], such as a draw of a
            Gaussian, is shown as plain white or black.
        columns: images in a row, for the first shape; by default as many as make the wall about square.
        gap: grey pixels between neighbours.
        scale: pixels of the picture along each pixel of an image; the gap stays as it is.

    Returns:
        uint8 array: of grey images [height, width], 255 (white) where one is 0 and 0 (black) where it is 1; of others
        [height, width, 3], red, green and blue. Places left over are white.

    Raises:
        ValueError: if there are no images, or their shape or range is wrong.
    """
    ink = _ink(images)
    if ink.ndim == 4:
        columns = math.ceil(math.sqrt(len(ink))) if columns is None else columns
        require_whole("columns", columns)
        rows = math.ceil(len(ink) / columns)
        blank = np.full((rows * columns - len(ink), *ink.shape[1:]), PAPER_WHITE, np.uint8)
        ink = np.concatenate([ink, blank]).reshape(rows, columns, *ink.shape[1:])
    elif columns is not None:
        why = f"None for images that are placed in {ink.shape[1]} columns already"
        raise ValueError(refusal("columns", f"to be {why}", columns, "leave it out"))
    require_whole("gap", gap, 0)
    ink = np.moveaxis(_enlarge(ink, scale), 2, -1)
    rows, columns, height, width, channels = ink.shape
    wall = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), GAP_GREY, np.uint8)
    for r in range(rows):
        for c in range(columns):
            top, left = r * (height + gap), c * (width + gap)
            wall[top : top + height, left : left + width] = ink[r, c]
    return wall[..., 0] if channels == 1 else wall


@checked
def show_wall(ax: Axes, wall: np.ndarray, **kwargs: object) -> None:
    """Draw what `image_wall` has put together.

    Args:
        ax: Axes to draw on.
        wall: uint8 array [H, W] or [H, W, 3].
        kwargs: of `Axes.imshow`.
    """
    # not gray_r: the wall holds the ink already
    ax.imshow(wall, cmap="gray", vmin=0, vmax=PAPER_WHITE, interpolation="nearest", **kwargs)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color="#BBBBBB")


@checked
def figure_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file, e.g. a frame of `explore.FramePlayer`.

    pyplot forgets the figure, so that the cell which made it does not show it again; it can still be drawn on.
    """
    plt.close(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@checked
def show_images(rows: dict[str, Tensor], title: str | None = None) -> Figure:
    """Labelled rows of images, one above the other.

    Args:
        rows: dict from a row's label to its images, shape [N, 1 or 3, H, W] in [0, 1], the same N in each.
        title: above the figure, or None.

    Returns:
        Figure.

    Raises:
        ValueError: if there is no row, or the rows differ in length.
    """
    if not rows:
        raise ValueError(refusal("rows", "to hold one row of images or more", "none", 'pass {"image": images}'))
    walls = {label: image_wall(images, columns=len(images)) for label, images in rows.items()}
    counts = {label: len(images) for label, images in rows.items()}
    if len(set(counts.values())) > 1:
        given = ", ".join(f"{count} in {label!r}" for label, count in counts.items())
        raise ValueError(refusal("rows", "to hold the same number of images each", given))
    label_width = 0.6 + 0.12 * max(len(line) for label in rows for line in label.split("\n"))
    cell = min(0.9, (8.6 - label_width) / max(counts.values()))
    width = label_width + cell * max(counts.values())
    size = width, (cell + 0.06) * len(rows) + (0.4 if title else 0.1)
    figure, axes = plt.subplots(len(rows), squeeze=False, layout="constrained", figsize=size)
    # The layout reserves a little less than a horizontal label takes: leave it a fifth of an inch on the left.
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0.02, rect=(0.2 / width, 0, 1 - 0.2 / width, 1))
    for ax, (label, wall) in zip(axes[:, 0], walls.items()):
        show_wall(ax, wall)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(label, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title)
    return figure


# What a model imagines


@checked
def show_manifold(vae: VAE, n: int = 20) -> Figure:
    """The picture of `manifold`, with axes that say which code each image comes from.

    Returns:
        Figure.

    Raises:
        ValueError: as `manifold`.
    """
    images = manifold(vae, n)
    wall = image_wall(images, gap=0, scale=max(1, round(560 / (n * images.shape[-1]))))
    # For the size of the file: 52 grey levels look like 256 and take half the bytes, and one screen pixel for
    # each pixel of the wall takes fewer than resampling would.
    wall = np.rint(wall / 5).astype(np.uint8) * np.uint8(5)
    dpi, left, bottom = plt.rcParams["figure.dpi"], 110, 80
    width, height = wall.shape[1] + left + 30, wall.shape[0] + bottom + 10
    figure = plt.figure(figsize=(width / dpi, height / dpi), layout="none")
    ax = figure.add_axes((left / width, bottom / height, wall.shape[1] / width, wall.shape[0] / height))
    show_wall(ax, wall, extent=(0, 1, 0, 1))
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    values = Normal(0.0, 1.0).icdf(torch.tensor(quantiles)).tolist()
    names = [f"{quantile:g}\n({value:.2f})".replace("-", "−") for quantile, value in zip(quantiles, values)]
    ax.set_xticks(quantiles, names)
    ax.set_yticks(quantiles, names)
    ax.set(xlabel="$z_1$: quantile of the prior (value)", ylabel="$z_2$: quantile of the prior (value)")
    return set_alt_text(
        figure,
        f"{n * n} images, decoded at equal steps of the prior's probability: z1 rises from left to right, z2 from "
        "bottom to top.",
    )


@checked
@torch.no_grad()
def show_samples(vae: VAE, n: int = 10, seed: int = 0) -> Figure:
    """Codes drawn from the prior: the mean of p(x|z) above an actual draw of it, for the same z.

    Args:
        vae: the model.
        n: how many codes.
        seed: of all draws.

    Returns:
        Figure.

    Raises:
        ValueError: if n < 1.
    """
    require_whole("n", n)
    with fixed_seed(seed):
        p = vae.decode(vae.prior.sample((n,)))
        return show_images({"mean of p(x|z)": p.mean, "a draw of p(x|z)": p.sample()})


@checked
def scatter_codes(codes: Tensor, labels: Tensor, ax: Axes | None = None, sigmas: Sequence[float] = (1, 2, 3)) -> Axes:
    """Two-dimensional codes, coloured by digit, with each digit written at the median of its class.

    Where medians lie too close together to be read, their digits are moved apart a little.

    Args:
        codes: tensor [N, 2].
        labels: tensor [N] of digits 0 to 9.
        ax: Axes to draw on; a new figure's if None.
        sigmas: radii of the prior's contours to draw, in standard deviations; () for a space without a prior.

    Returns:
        Axes.

    Raises:
        ValueError: if the shapes are wrong or a label is not a digit.
    """
    if codes.ndim != 2 or codes.shape[1] != 2 or len(codes) == 0 or labels.shape != codes.shape[:1]:
        given = f"{list(codes.shape)} and {list(labels.shape)}"
        raise ValueError(refusal("codes and labels", "to have shapes [N, 2] and [N]", given, "pick two dimensions"))
    codes, labels = codes.detach().cpu().numpy(), labels.cpu().numpy()
    if not np.isin(labels, range(10)).all():
        given = f"values from {labels.min()} to {labels.max()}"
        raise ValueError(refusal("labels", "to be digits from 0 to 9", given, "pass the data set's labels"))
    digits = np.unique(labels)
    if ax is None:
        figure, ax = plt.subplots(figsize=(7.4, 7), layout="constrained")
        contours = ", with contours of the prior" if len(sigmas) else ""
        set_alt_text(figure, f"Codes of images on a plane, with the colour, marker and name of their digit{contours}.")
    for part in range(8):  # in turns, because otherwise the last class would hide what lies under it
        for digit in digits:
            some = codes[part::8][labels[part::8] == digit]
            ax.scatter(*some.T, s=14, color=DIGIT_COLOURS[digit], marker=DIGIT_MARKERS[digit], alpha=0.7, linewidths=0)
    for sigma in sigmas:
        ax.add_patch(plt.Circle((0, 0), sigma, fill=False, color="black", linestyle="--", zorder=3))
        halo = [patheffects.withStroke(linewidth=4, foreground="white")]
        ax.text(0, -sigma, f"{sigma}σ", fontsize=12, path_effects=halo, zorder=3, **CENTRED)
    centres = np.array([np.median(codes[labels == digit], axis=0) for digit in digits])
    for digit, (x, y) in zip(digits, _apart(centres, 0.06 * np.ptp(ax.get_ylim()))):
        circle = dict(boxstyle="circle,pad=0.2", facecolor="white", linewidth=3, edgecolor=DIGIT_COLOURS[digit])
        ax.text(x, y, str(digit), fontsize=14, fontweight="bold", bbox=circle, zorder=4, **CENTRED)
    ax.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    return ax


# Curves


@checked
def plot_history(
    histories: History | dict[str, History],
    y: str = "elbo",
    x: str = "samples",
    log_x: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Learning curves: train solid, test dashed.

    Args:
        histories: a `training.History`, or a dict from a name to one.
        y: "elbo", "rate" or "distortion", in nats per image.
        x: "samples" (the paper's axis), "epochs" or "seconds".
        log_x: whether the horizontal axis is logarithmic, as in the paper.
        ax: Axes to draw on; a new figure's if None.

    Returns:
        Axes, with a legend.

    Raises:
        ValueError: if there is nothing to draw, or `x` or `y` is not a column.
    """
    require_one_of("y", y, Y_LABELS)
    require_one_of("x", x, X_LABELS)
    histories = histories if isinstance(histories, dict) else {"": histories}
    if not any(len(history) for history in histories.values()):
        raise ValueError(refusal("histories", "to hold one report or more", "none", "train first"))
    ax = ax or plt.subplots(layout="constrained")[1]
    for i, (name, history) in enumerate(histories.items()):
        colour, marker = CURVE_COLOURS[i % len(CURVE_COLOURS)], "osD^vP"[i % 6]
        for part, style in SOLID_TRAIN_DASHED_TEST.items():
            values = np.asarray(history.column(f"{part}_{y}"), dtype=float)
            if np.isfinite(values).any():  # a history without test images has NaN in its test columns
                (line,) = ax.plot(history.column(x), values, linestyle=style, color=colour, marker=marker)
                line.set(markevery=max(1, len(values) // 8), label=f"{name}, {part}" if name else part)
                line.set_markerfacecolor(colour if part == "train" else "white")
    if log_x:
        ax.set_xscale("log")
    elif x == "samples":
        ax.xaxis.set_major_formatter(EngFormatter())
    ax.set(xlabel=X_LABELS[x], ylabel=Y_LABELS[y])
    ax.legend()
    return ax


@checked
def rate_distortion(points: dict[str, tuple], ax: Axes | None = None) -> Axes:
    """Models in the plane of the ELBO's two terms, joined from low rate to high.

    A dashed line holds all models whose ELBO, -(rate + distortion), equals the best one's.

    Args:
        points: dict from a model's label to its (rate, distortion), nats per image.
        ax: Axes to draw on; a new figure's if None.

    Returns:
        Axes.

    Raises:
        ValueError: if there are no points.
    """
    if not points:
        raise ValueError(refusal("points", 'to hold one or more, such as {"β = 1": (25.1, 70.3)}', "none"))
    ax = ax or plt.subplots(layout="constrained")[1]
    labels = sorted(points, key=lambda label: points[label][0])
    rates, distortions = np.array([[float(value) for value in points[label]] for label in labels]).T
    ax.plot(rates, distortions, "o-", color=COLOURS["blue"])
    for label, rate, distortion in zip(labels, rates, distortions):
        ax.annotate(label, (rate, distortion), xytext=(8, 5), textcoords="offset points", fontsize=12)
    best = (rates + distortions).min()
    ax.margins(0.12)
    ax.autoscale_view()
    ax.autoscale(False)  # the line below runs through the plane, it does not widen it
    label = f"rate + distortion = {best:.1f}, the best −ELBO here"
    ax.axline((best, 0), slope=-1, color=GREY, linestyle="--", linewidth=1.3, zorder=1.5, label=label)
    ax.set(xlabel=Y_LABELS["rate"], ylabel=Y_LABELS["distortion"])
    ax.legend()
    return ax


# Inside


def _ink(images):
    """Images in [0, 1] to uint8 arrays of the same shape, grey ones as ink on paper: the one place that decides it."""
    require_floating(images)
    if images.ndim not in (4, 5) or images.shape[-3] not in (1, 3) or images.numel() == 0:
        shapes = "[N, C, H, W] or [rows, columns, C, H, W], one or more, C = 1 for grey or 3 for colours"
        raise ValueError(refusal("images", f"to have shape {shapes}", list(images.shape), "add what is missing"))
    images = images.detach().float().cpu()
    # Draws of a Gaussian leave [0, 1] by a few standard deviations; bytes leave it by far.
    if not images.abs().max() < 20:  # written so that NaN is refused too
        given = f"values from {images.min():g} to {images.max():g}"
        raise ValueError(refusal("images", "to be in [0, 1]", given, "divide 8-bit images by 255"))
    light = (PAPER_WHITE * images.clamp(0, 1)).round()
    return (PAPER_WHITE - light if images.shape[-3] == 1 else light).to(torch.uint8).numpy()


def _enlarge(array, scale):
    require_whole("scale", scale)
    return array.repeat(scale, axis=-2).repeat(scale, axis=-1)


def _apart(points, distance):
    """Push points [N, 2] apart until (nearly) all lie at least `distance` from each other."""
    points = points.copy()
    for _ in range(200):
        offsets = points[:, None] - points  # [N, N, 2]
        lengths = np.linalg.norm(offsets, axis=-1, keepdims=True)
        overlaps = np.where(lengths > 0, np.maximum(0, distance - lengths), 0)
        points += (overlaps * offsets / np.where(lengths > 0, lengths, 1)).mean(1)
    return points
