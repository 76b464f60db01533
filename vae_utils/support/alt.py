"""What a figure shows, in words, for readers who do not see it.

A notebook stores a text beside each picture. JupyterLab 4 shows the picture and does not use the text,
but our web pages and slides make it the picture's alternative text (`authoring.exporter.picture`), which screen
readers read out. matplotlib offers the size of the figure as that text; after `describe_figures` it is a sentence
made from titles, labels and legends, or one of the author's own:

    figure = set_alt_text(show_images(rows), "Five samples; the third is a 7 that turns into a 1.")
"""

import re

from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from vae_utils.support.arguments import refusal
from vae_utils.support.kinds import checked

ALT_LETTERS = 190  # a longer text is tiring to listen to
SYMBOLS = {
    "mu": "μ",
    "sigma": "σ",
    "lambda": "λ",
    "epsilon": "ε",
    "beta": "β",
    "theta": "θ",
    "phi": "φ",
    "mid": "|",
    "Vert": "‖",
    "pi": "π",
    "nabla": "∇",
    "cdot": "·",
    "times": "×",
    "infty": "∞",
    "sqrt": "√",
}


def describe_figures() -> None:
    """From now on, let IPython store `alt_text` beside each figure.

    This gives matplotlib's Figure the method by which IPython asks objects for their text. A function registered
    with IPython for that class would not be enough, because IPython forgets it after the first cell, when it sets up
    matplotlib.
    """
    Figure._repr_pretty_ = lambda figure, printer, cycle: printer.text(alt_text(figure))


@checked
def set_alt_text(figure: Figure, text: str) -> Figure:
    """Say what a figure shows, for readers who do not see it.

    Args:
        figure: matplotlib figure.
        text: one or two sentences, less than 200 letters: what one would see, not how it is drawn.

    Returns:
        The figure.

    Raises:
        ValueError: if the text is empty or too long to listen to.
    """
    text = " ".join(text.split())
    if not 0 < len(text) <= ALT_LETTERS:
        expected = f"to have 1 to {ALT_LETTERS} letters"
        raise ValueError(refusal("the text", expected, len(text), "say what one sees"))
    figure.set_label(text)
    return figure


@checked
def alt_text(figure: Figure) -> str:
    """What a figure shows: the words of `set_alt_text`, or a sentence made from titles, labels and legends.

    Args:
        figure: matplotlib figure.

    Returns:
        At most `ALT_LETTERS` letters, without formulas' marks.
    """
    if figure.get_label():
        return figure.get_label()
    parts = [_spoken(figure.get_suptitle())]
    panels = [ax for ax in figure.axes if ax.has_data() and not hasattr(ax, "_colorbar")]
    unlabelled = [ax for ax in panels if ax.images and not _axis_words(ax)]
    if len(unlabelled) > 1:
        parts.append(f"{len(unlabelled)} pictures")
        panels = [ax for ax in panels if ax not in unlabelled]
    rows = [_spoken(ax.get_ylabel()) for ax in panels if _is_row(ax)]
    if rows:
        parts.append((f"Images in {len(rows)} rows: " if len(rows) > 1 else "Images: ") + "; ".join(rows))
    parts += [_panel_words(ax) for ax in panels if not _is_row(ax)]
    # What every panel has is said once.
    text = ". ".join(dict.fromkeys(part for part in parts if part)) or "Figure"
    if len(text) > ALT_LETTERS:
        text = text[: ALT_LETTERS - 1].rpartition(" ")[0].rstrip(",;:. ") + "…"
    return text if text.endswith("…") else text + "."


def _is_row(ax):
    """Whether this is a labelled row of images, as `show_images` draws it."""
    return bool(ax.images) and bool(ax.get_ylabel()) and not len(ax.get_xticks())


def _panel_words(ax):
    if ax.images:
        kind = "image"
    elif any(isinstance(drawn, PathCollection) for drawn in ax.collections) and not ax.lines:
        kind = "points"
    elif ax.lines or ax.collections:
        kind = "curves"
    else:
        kind = "bars" if ax.patches else "drawing"
    title = _spoken(ax.get_title())
    legend = ax.get_legend()
    names = [_spoken(entry.get_text()) for entry in legend.get_texts()] if legend else []
    what = f"{title}: {kind}" if title else kind.capitalize()
    axes = _axis_words(ax)
    return what + (f" ({', '.join(names)})" if names else "") + (f"; {axes}" if axes else "")


def _axis_words(ax):
    named = (("across", ax.get_xlabel()), ("up", ax.get_ylabel()))
    return ", ".join(f"{direction}: {_spoken(label)}" for direction, label in named if label)


def _spoken(text):
    """A label without the marks of its formulas, on one line."""
    text = re.sub(r"\\(?:mathrm|mathbf|mathcal|text|tfrac|left|right|big|Big)\b", "", text)
    text = re.sub(r"\\([a-zA-Z]+)", lambda match: SYMBOLS.get(match[1], match[1]), text)
    text = re.sub(r"\\.", " ", text)  # spaces
    return " ".join(re.sub(r"[${}]|_(?=\w)", "", text).split())
