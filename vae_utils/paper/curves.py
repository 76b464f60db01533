"""The paper's own learning curves, Figures 2 and 3, as numbers, and ours drawn over them."""

import csv
import functools
import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vae_utils.figures import COLOURS, GREY, SOLID_TRAIN_DASHED_TEST, Y_LABELS
from vae_utils.files import ASSETS
from vae_utils.support.alt import set_alt_text
from vae_utils.support.arguments import refusal, require_one_of

METHOD_COLOURS = {"AEVB": COLOURS["blue"], "WS": COLOURS["vermilion"], "MCEM": COLOURS["green"]}
METHOD_MARKERS = {"AEVB": "o", "WS": "s", "MCEM": "^"}
BAND = dict(color="black", alpha=0.3, linewidth=0)  # for all methods: it has to differ from the paper's coloured lines
THIN = {part: dict(linestyle=dashes, linewidth=1.8) for part, dashes in SOLID_TRAIN_DASHED_TEST.items()}  # ours
BROAD = {  # the paper's; where train and test lie on each other, the gaps of the test curve stay visible
    part: dict(linestyle=dashes, linewidth=6, alpha=alpha, solid_capstyle="butt", dash_capstyle="butt", zorder=1.5)
    for part, dashes, alpha in (("train", "-", 0.25), ("test", (0, (1.6, 0.8)), 0.45))
}
PAPER_NUMBERS = ("train_samples_evaluated", "value_nats")  # columns of the paper's curves, after their names
METHOD_NAMES = {"AEVB": "AEVB", "WS": "wake-sleep", "MCEM": "Monte Carlo EM"}


def paper_curves(figure, panel):
    """Curves of the paper's Figures 2 and 3 as numbers.

    They are the vertices of the vector graphics in the paper's own PDF (arXiv 1312.6114), so they are as exact as the
    plot itself, not read by eye; `reproduce unsaid` makes `assets/paper_figures.csv` from them (`paper.vertices`).
    Where vertices are far apart, the reports between them lay on the straight line.

    Args:
        figure: "Fig2" (the ELBO) or "Fig3" (the estimated marginal log-likelihood).
        panel: such as "MNIST Nz=20", "Frey Nz=2" or, in Fig3, "MNIST Nz=3 H=100 Ntrain=1000".

    Returns:
        Dict from a curve's name ("AEVB train", "AEVB test", "WS train", ...; WS is wake-sleep, MCEM Monte
        Carlo EM) to a pair of arrays: training images evaluated, and nats per image.

    Raises:
        ValueError: if there is no such panel.
    """
    panels = _digitised()
    if (figure, panel) not in panels:
        known = ", ".join(repr(pair) for pair in panels)
        raise ValueError(refusal("the panel", f"to be one of the paper's, {known}", repr((figure, panel))))
    return {curve: (np.array(samples), np.array(nats)) for curve, (samples, nats) in panels[figure, panel].items()}


def paper_panel(panel):
    """The paper's panel over which curves of ours are drawn: "MNIST Nz=20" for "MNIST Nz=20 rate 0.02"."""
    return panel.partition(" rate ")[0].partition(" by ")[0]


def rows_of(path, numbers, remedy=""):
    """Lines of a CSV file of curves, as dicts.

    Args:
        path: of the file.
        numbers: names of its columns after figure, panel and curve.
        remedy: what to do if it has others.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has other columns.
    """
    expected = ["figure", "panel", "curve", *numbers]
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != expected:
            raise ValueError(
                f"{path}: {refusal('the columns', 'to be ' + ', '.join(expected), reader.fieldnames, remedy)}"
            )
        yield from reader


def read_curves(path):
    """Curves that a command has written as CSV: figure, panel, curve, samples, nats, seed.

    Args:
        path: of the file, e.g. `ASSETS / "fig2-mnist.csv"`.

    Returns:
        Dict from (figure, panel) to a dict from a curve's name to a list of pairs of arrays, one pair a seed:
        training images evaluated, and nats per image.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has other columns.
    """
    panels = {}
    for row in rows_of(path, ("samples", "nats", "seed"), "make it again with python -m vae_utils.reproduce"):
        seeds = panels.setdefault((row["figure"], row["panel"]), {}).setdefault(row["curve"], {})
        samples, nats = seeds.setdefault(row["seed"], ([], []))
        samples.append(float(row["samples"]))
        nats.append(float(row["nats"]))
    return {
        panel: {
            curve: [(np.array(samples), np.array(nats)) for samples, nats in seeds.values()]
            for curve, seeds in curves.items()
        }
        for panel, curves in panels.items()
    }


def plot_over_paper(ax, figure, panel, curves):
    """Our curves, thin and dark, over the paper's, broad and pale; train solid, test dashed.

    Of the paper's points, at most forty of a decade are drawn. Of several seeds of ours the first is a line, and all
    of them are a band from the lowest to the highest.

    Args:
        ax: Axes to draw on.
        figure, panel: as in `paper_curves`, or of a curve of ours (`paper_panel`).
        curves: one panel of `read_curves`.

    Returns:
        Axes, without a legend.

    Raises:
        ValueError: if there is no such panel.
    """
    paper = paper_curves(figure, paper_panel(panel))
    for curve in sorted({*paper, *curves}):
        method, part = curve.split()
        style = {"color": METHOD_COLOURS[method], "marker": METHOD_MARKERS[method]}
        if curve in paper:
            samples, nats = _spread_out(*paper[curve])
            # One mark, because more of them would close the gaps of a dashed line; none would not do, because without
            # colour all broad lines have the same grey.
            one = dict(markevery=[int(0.85 * len(samples))], markersize=12, markeredgewidth=0)
            ax.plot(samples, nats, **one, **BROAD[part], **style)
        seeds = curves.get(curve, ())
        for samples, nats in seeds[:1]:
            every = max(2, len(samples) // 12)
            ax.plot(samples, nats, markersize=5, markevery=every, **THIN[part], **style)
        if len(seeds) > 1:  # as far as all of them go
            common = functools.reduce(np.intersect1d, [samples for samples, _ in seeds])
            nats = np.stack([np.interp(common, *seed) for seed in seeds])
            ax.fill_between(common, nats.min(0), nats.max(0), **BAND)
    ax.set(xscale="log", title=panel.replace(" by ", "\nby "), xlabel="training images evaluated")
    return ax


def plot_figure(figure, panels, curves, y_limits=(-150, -95), x_limits=(1e5, 3e8), y_label=Y_LABELS["elbo"]):
    """A figure of the paper with ours over it: panels on the paper's axes, at most three side by side.

    Args:
        figure: "Fig2" or "Fig3".
        panels: names of its panels, as in `plot_over_paper`; a panel that `curves` lacks shows only the paper's.
        curves: as `read_curves` returns them.
        y_limits, x_limits: of the axes.
        y_label: what is drawn.

    Returns:
        matplotlib figure.
    """
    columns = 2 if len(panels) == 4 else min(len(panels), 3)  # more would be too small on a projector
    rows = math.ceil(len(panels) / columns)
    drawn, axes = plt.subplots(
        rows, columns, figsize=(3.6 * columns + 1, 3.6 * rows + 1.2), sharey=True, squeeze=False, layout="constrained"
    )
    methods = {}
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, panel in zip(axes.flat, panels):
        ours = curves.get((figure, panel), {})
        plot_over_paper(ax, figure, panel, {curve: _from(x_limits[0], seeds) for curve, seeds in ours.items()})
        methods |= dict.fromkeys(curve.split()[0] for curve in paper_curves(figure, paper_panel(panel)))
        ax.set(xlim=x_limits, ylim=y_limits)
    for ax in axes[:, 0]:
        ax.set_ylabel(y_label)
    handle, grey = functools.partial(Line2D, [], []), functools.partial(Line2D, [], [], color=GREY)
    looks = [(METHOD_COLOURS[method], METHOD_MARKERS[method], METHOD_NAMES[method]) for method in sorted(methods)]
    handles = [
        *(handle(color=colour, marker=mark, markersize=6, linewidth=1.8, label=name) for colour, mark, name in looks),
        *(grey(**THIN[part], label=f"ours, {part}") for part in THIN),
        *(grey(**BROAD[part], label=f"the paper's, {part}") for part in BROAD),
    ]
    if any(len(seeds) > 1 for panel in panels for seeds in curves.get((figure, panel), {}).values()):
        handles.append(Patch(label="ours, all seeds", **BAND))
    in_a_row = math.ceil(len(handles) / len(methods)) if columns > 1 else 2  # the methods are a column of their own
    drawn.legend(handles=handles, loc="outside lower center", ncols=in_a_row)
    which = panels[0] if len(panels) == 1 else f"{len(panels)} panels from {panels[0]} to {panels[-1]}"
    name = figure.replace("Fig", "Figure ")
    return set_alt_text(drawn, f"{name} of the paper, {which}: our learning curves over the paper's, train and test.")


def plot_paper_curves(ax, panel, curves=("AEVB train", "AEVB test"), figure="Fig2"):
    """Draw curves of the paper, thin and grey, under one's own.

    Args:
        ax: Axes to draw on.
        panel, figure: as in `paper_curves`.
        curves: names of the curves to draw.

    Returns:
        Axes, with a legend.

    Raises:
        ValueError: if there is no such panel or curve.
    """
    known = paper_curves(figure, panel)
    for curve in curves:
        require_one_of("the curve", curve, known)
        method, part = curve.split()
        line = dict(linestyle=SOLID_TRAIN_DASHED_TEST[part], color=GREY, linewidth=1.3, zorder=1.5)
        marks = dict(marker={"AEVB": "", "WS": "x", "MCEM": "+"}[method], markersize=6, markevery=3)
        ax.plot(*known[curve], **line, **marks, label=f"paper, {curve}")
    ax.legend()
    return ax


def _from(left, seeds):
    """The seeds' points from `left` on: over a long way, the line from a report outside would look like a curve."""
    inside = [(samples[samples >= left], nats[samples >= left]) for samples, nats in seeds]
    return [(samples, nats) for samples, nats in inside if len(samples)]


def _spread_out(samples, nats):
    """The last point, and at most forty of a decade: where reports lie close, dashes would follow each wiggle."""
    steps = np.round(40 * np.log10(samples))
    kept = np.append(np.diff(steps) > 0, True)
    return samples[kept], nats[kept]


@functools.cache
def _digitised():
    panels = {}
    for row in rows_of(ASSETS / "paper_figures.csv", PAPER_NUMBERS):
        curves = panels.setdefault((row["figure"], row["panel"]), {})
        samples, nats = curves.setdefault(row["curve"], ([], []))
        samples.append(float(row["train_samples_evaluated"]))
        nats.append(float(row["value_nats"]))
    return panels
