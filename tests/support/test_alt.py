"""What figures say to readers who do not see them, from the figure to the page."""

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from nbformat.v4 import new_code_cell, new_notebook, new_output

from vae_utils.authoring.exporter import LessonExporter
from vae_utils.explore.widgets import FramePlayer, GapExplorer, LatentExplorer
from vae_utils.figures import figure_png, show_images, use_style
from vae_utils.models import mlp_vae
from vae_utils.support.alt import ALT_LETTERS, alt_text, set_alt_text

pytestmark = pytest.mark.usefixtures("no_figure_stays_open")


@pytest.fixture
def shell():
    """An IPython in this process, and none afterwards."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_curves_are_told_by_their_legend_and_axes():
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], label="prior $p(z)$")
    ax.plot([0, 1], [1, 0], label="fit  $E_q[\\log p(x \\mid z)]$")
    ax.set(xlabel="noise $\\sigma^2$", ylabel="nats\nper image")
    ax.legend()
    assert alt_text(figure) == ("Curves (prior p(z), fit Eq[log p(x | z)]); across: noise σ^2, up: nats per image.")


def test_panels_are_told_one_by_one():
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([0, 1], [0, 1])
    left.set(title="computed", ylabel="KL")
    right.bar([0, 1], [0, 1])
    right.set(title="trained")
    assert alt_text(figure) == "computed: curves; up: KL. trained: bars."


def test_rows_of_images_are_told_by_their_labels():
    images = torch.rand(3, 1, 28, 28)
    assert alt_text(show_images({"grey": images, "mean of\n300": images}, "what they see")) == (
        "what they see. Images in 2 rows: grey; mean of 300."
    )


def test_a_wall_of_bare_pictures_and_an_empty_figure_have_a_text_too():
    figure, axes = plt.subplots(2, 2)
    for ax in axes.flat:
        ax.imshow([[0, 1]])
    assert alt_text(figure) == "4 pictures."
    assert alt_text(plt.figure()) == "Figure."


def test_a_long_text_is_cut_between_words():
    figure, axes = plt.subplots(1, 9)
    for i, ax in enumerate(axes):
        ax.plot([0, 1], [0, 1])
        ax.set(title=f"a rather long title {i}")
    text = alt_text(figure)
    assert 150 < len(text) <= ALT_LETTERS and text.endswith("…")


def test_the_authors_words_win():
    figure = show_images({"grey": torch.rand(3, 1, 28, 28)})
    assert set_alt_text(figure, "Three digits;\n the last is a 7.") is figure
    assert alt_text(figure) == "Three digits; the last is a 7."
    for text in ("", "x" * (ALT_LETTERS + 1)):
        with pytest.raises(ValueError, match=f"1 to {ALT_LETTERS} letters, got {len(text)}"):
            set_alt_text(figure, text)


def test_the_words_travel_from_a_cell_to_the_page(shell):
    """IPython stores them beside the picture, and the page makes them the picture's alternative text."""
    use_style()
    select_figure_formats(shell, {"png"})  # as it does after the first cell that has loaded matplotlib
    figure = set_alt_text(show_images({"grey": torch.rand(3, 1, 28, 28)}), 'Three "digits" < 4.')
    stored, _ = shell.display_formatter.format(figure, include=["text/plain"])
    assert stored == {"text/plain": 'Three "digits" < 4.'}
    cell = new_code_cell("import vae_utils", outputs=[new_output("display_data", {**stored, "image/png": "AAAA"})])
    page = LessonExporter().from_notebook_node(new_notebook(cells=[nbformat.from_dict(cell)]))[0]
    images = BeautifulSoup(page, "html.parser").select("img")
    assert [image["alt"] for image in images] == ['Three "digits" < 4.']


def test_explorers_tell_what_their_stills_show():
    frame = figure_png(plt.figure())
    grid = torch.linspace(-5, 5, 101)
    for widget, words in (
        (LatentExplorer(mlp_vae(2, (8,))), "decoded by the model on a 9 by 9 grid"),
        (LatentExplorer(mlp_vae(3, (8,))), "one latent moved at a time"),
        (GapExplorer(grid, -(grid**2)), "q over the posterior at three positions"),
        (FramePlayer([frame, frame], ["1", "2"], "epoch"), "2 frames, from epoch 1 to"),
        (FramePlayer([frame, frame], ["1", "2"], "epoch", stills=[1]), "1 of 2 frames, at epoch 2."),
    ):
        assert words in repr(widget) and len(repr(widget)) < 200
