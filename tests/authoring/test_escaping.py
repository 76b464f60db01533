"""Words stay text in whatever is exported: alternative texts, labels, titles, names and what cells have printed."""

import base64
import io

import matplotlib.pyplot as plt
import pytest
import torch
from bs4 import BeautifulSoup
from ipywidgets.embed import embed_data
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from vae_utils.authoring.__main__ import KINDS
from vae_utils.authoring.exporter import WIDGET_STATE, WIDGET_VIEW
from vae_utils.explore.widgets import FramePlayer, LatentExplorer
from vae_utils.figures import figure_png
from vae_utils.models import mlp_vae
from vae_utils.support.alt import alt_text, set_alt_text

HARMFUL = '<img src=x onerror="window.harmed=1">'
SPOKEN = HARMFUL.replace('"', "'")  # the same with other quotes: neither ends an attribute
PAGES = {name: maker for name, (maker, ending) in KINDS.items() if ending == ".html"}


def figures():
    """Outputs of figures whose titles, labels and legends mean harm, and of one that says so in its author's words."""
    drawn, ax = plt.subplots()
    ax.plot([0, 1], label=HARMFUL)
    ax.set(title=SPOKEN, xlabel="epochs", ylabel="nats")
    ax.legend()
    worded = set_alt_text(plt.figure(), f"A curve {HARMFUL}")
    plt.close("all")
    return [
        new_output(
            "display_data", {"image/png": base64.b64encode(figure_png(figure)).decode(), "text/plain": alt_text(figure)}
        )
        for figure in (drawn, worded)
    ]


def frame(grey):
    file = io.BytesIO()
    Image.new("L", (4, 4), grey).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def hostile():
    """A lesson in which every word that is not prose comes from someone who means harm."""
    torch.manual_seed(0)
    widgets = [
        LatentExplorer({HARMFUL: mlp_vae(2, (4,)), SPOKEN: mlp_vae(2, (4,))}),
        LatentExplorer({HARMFUL: mlp_vae(3, (4,))}),
        FramePlayer([frame(0), frame(255)], [HARMFUL, SPOKEN], f"epoch {HARMFUL}"),
    ]
    shown = []
    for widget in widgets:
        data, metadata = widget._repr_mimebundle_()
        shown.append(new_output("display_data", data, metadata=metadata))
    state = embed_data(views=widgets, drop_defaults=False)["manager_state"]
    view = shown[-1].data[WIDGET_VIEW]
    state["state"][HARMFUL] = state["state"].pop(view["model_id"])
    view["model_id"] = HARMFUL
    broken = new_output("display_data", {"image/png": 'AAAA" onerror="window.harmed=1', "text/plain": "A picture"})
    printed = [
        new_output("stream", name="stdout", text=HARMFUL),
        new_output("stream", name="stderr", text=HARMFUL),
        new_output("execute_result", {"text/plain": repr(HARMFUL)}),
        new_output("error", ename=HARMFUL, evalue=HARMFUL, traceback=[HARMFUL]),
    ]
    cells = [
        new_markdown_cell("# 09 · Why?"),
        new_markdown_cell(f"## 1 · One\n\n### Exercise 1 · Draw\n\n`{HARMFUL}`, $\\text{{{HARMFUL}}}$"),
        *(new_code_cell("draw()", outputs=[output]) for output in [*figures(), broken]),
        *(new_code_cell("show()", outputs=[output]) for output in shown),
        *(new_code_cell(f"print({HARMFUL!r})", outputs=[output]) for output in printed),
        new_code_cell(f"answer = {HARMFUL!r}", metadata={"tags": ["solution", HARMFUL]}),
    ]
    return new_notebook(cells=cells, metadata={"title": HARMFUL, "widgets": {WIDGET_STATE: state}})


def made(nb, kind, live):
    return PAGES[kind](nb.copy(), f"lesson {HARMFUL}", live)


@pytest.mark.parametrize(
    "kind, live", [("solutions", False), ("slides", False), ("pages", False), ("pages", True)], ids=str
)
def test_no_word_becomes_an_element(hostile, kind, live):
    page = BeautifulSoup(made(hostile, kind, live), "html.parser")
    elements = page.find_all(True)
    assert [element for element in elements if any(name.startswith("on") for name in element.attrs)] == []
    assert page.select('img[src="x"]') == [] and HARMFUL in page.title.text
    if kind != "solutions":
        words = {image["alt"] for image in page.select("img")}
        assert sum(HARMFUL in text or SPOKEN in text for text in words) >= 5, words
        assert f"A curve {HARMFUL}" in words
        assert HARMFUL in page.get_text()


@pytest.mark.parametrize("kind", ["slides", "pages"])
def test_a_browser_does_no_harm(hostile, kind, tmp_path, offline):
    """The widgets of the page are alive: what they write by themselves is text too."""
    path = tmp_path / "page.html"
    path.write_text(made(hostile, kind, live=True), "utf-8")
    offline.goto(path.as_uri())
    if kind == "pages":
        alive = offline.locator(".vae-live")
        alive.nth(2).wait_for()
        assert [HARMFUL in text for text in alive.all_text_contents()] == [True, False, True]  # one model, no name
    else:
        offline.wait_for_function("window.Reveal && Reveal.isReady()")
    assert offline.evaluate("window.harmed === undefined && !document.querySelector('img[src=x]')")
    assert offline.strangers == []
