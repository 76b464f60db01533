"""The exported page: alive without a kernel and a network, formulas included; `--to html` as ever."""

import base64
import functools
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert.utils.exceptions import ConversionException
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import vae_utils.explore
from vae_utils.authoring.browser import assert_healthy, new_page
from vae_utils.authoring.exporter import WIDGET_STATE, WIDGET_VIEW, LessonExporter
from vae_utils.authoring.folds import SOLUTION_VEIL, VEIL, fold
from vae_utils.authoring.lesson import read

from browser import chromium, fetched  # noqa: F401  (a fixture)

EXPLORE_STYLE = Path(vae_utils.explore.__file__).with_name("explore.css").read_text("utf-8")
MARK = {"vae_utils": {"live": True}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="
# Counts the clicks on its button, shows a byte that Python sent, and hears of its own changes.
COUNTER = """
function render({ model, el }) {
  const button = document.createElement("button");
  const byte = model.get("deep").bytes[1].getUint8(2);
  const show = () => { button.textContent = `${model.get("count")} of ${byte}`; };
  button.onclick = () => { model.set("count", model.get("count") + 1); model.save_changes(); };
  model.on("change:count", show);
  model.send({ hello: "</script>" });
  show();
  el.append(button);
}
export default { initialize({ model }) { model.set("count", 10); }, render };
"""
LOOK = ".vae-page button { color: rgb(1, 2, 3); }"
LIVE_CELL = f"""
import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = {COUNTER!r}
    _css = {LOOK!r}
    count = traitlets.Int(0).tag(sync=True)
    deep = traitlets.Dict().tag(sync=True)
    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return data | {{"image/png": {PIXEL!r}}}, metadata | {MARK!r}
Counter(deep={{"bytes": ["text", bytes([1, 2, 3])]}})
"""


def model(source=COUNTER):
    """A widget's entry in a notebook's metadata, as JupyterLab and nbclient store it."""
    data = base64.b64encode(bytes([1, 2, 3])).decode()
    return {
        "model_module": "anywidget",
        "model_name": "AnyModel",
        "model_module_version": "~0.11.0",
        "state": {"_esm": source, "_css": LOOK, "count": 0, "deep": {"bytes": ["text", None]}},
        "buffers": [{"encoding": "base64", "path": ["deep", "bytes", 1], "data": data}],
    }


def widget(name=None):
    """The output that shows the model `name`; only its still picture if None."""
    data = {"text/plain": 'a "still"', "image/png": PIXEL}
    if name is not None:
        data[WIDGET_VIEW] = {"model_id": name, "version_major": 2}
    return new_output("display_data", data, metadata=MARK)


def notebook(*cells, **models):
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    if models:
        metadata["widgets"] = {WIDGET_STATE: {"version_major": 2, "version_minor": 0, "state": models}}
    return new_notebook(cells=list(cells), metadata=metadata)


def export(*cells, **models):
    return LessonExporter().from_notebook_node(notebook(*cells, **models))[0]


soup = functools.partial(BeautifulSoup, features="html.parser")


# --- formulas


def markdown(source):
    """How a lesson's page shows this Markdown."""
    page = export(new_markdown_cell(source), new_code_cell("1", outputs=[widget("a")]), a=model())
    return soup(page).select_one(".jp-RenderedMarkdown")


@pytest.mark.slow
def test_formulas_are_mathml_and_code_is_not():
    cell = markdown("""## With $\\log x$ & more

<details><summary>Hint</summary>

`$a$` costs \\$5: $\\tfrac12 < f'(x)$

</details>

| $z$ | 2 |
|---|---|
| 1 | $z^2$ |

$$
\\begin{aligned}
a &= b \\\\
c &= d
\\end{aligned}
$$
""")
    assert len(cell.select("h2 math, details math, th math, td math")) == 4
    assert cell.select_one("code").text == "$a$"
    assert cell.select_one("details math").text == "12<f′(x)"
    assert cell.select("msup mo") == []  # the prime, which would be a speck
    assert "costs $5:" in cell.text
    assert len(cell.select('math[display="block"] mtr')) == 2
    assert cell.select_one("h2")["id"]  # headings remain targets of links


def test_what_is_no_formula_stays_as_it_was_written():
    assert "$\\nosuchcommand{x}$" in markdown("A $\\nosuchcommand{x}$ <b>bold</b>").text


def test_every_formula_of_the_lessons_becomes_mathml(path):
    cells = [cell for cell in read(path).cells if cell.cell_type == "markdown"]
    page = soup(export(*cells, new_code_cell("1", outputs=[widget("a")]), a=model()))
    assert page.select("math")
    for code in page.select("code, pre, script, style"):
        code.extract()
    assert [line for line in page.get_text().splitlines() if "$" in line or "\\" in line] == []


# --- the page


def test_the_page_asks_for_nothing_and_holds_each_part_once():
    outputs = [widget("a"), widget("b"), widget("a")]
    link = new_markdown_cell("[a link](https://example.org)")
    page = export(link, new_code_cell("1", outputs=outputs), a=model(), b=model())
    assert fetched(page) == []
    assert page.count("function render(") == page.count(LOOK) == 1
    assert page.count("</script>") == len(soup(page).select("script"))
    stills = soup(page).select(".vae-page img")
    assert [still["alt"] for still in stills] == ['a "still"'] * 3
    assert "widget-view" not in page


def test_progress_bars_that_cleared_themselves_are_gone():
    def printing(*texts):
        return new_code_cell("", outputs=[new_output("stream", name="stdout", text=text) for text in texts])

    bar = ("\r 10%", "\r 90%", "\r    \r")
    live = new_code_cell("", outputs=[widget("a")])
    page = export(printing(*bar, "done\n"), printing(*bar), live, a=model())
    assert [text.text.strip() for text in soup(page).select(".jp-RenderedText")] == ["done"]


def test_a_notebook_that_is_no_lesson_is_exported_too():
    """With a picture in the place of a widget that is not ours: it may want more than such a page has."""
    foreign = widget("a")
    foreign.metadata = {}
    page = export(new_markdown_cell("$x$"), new_code_cell("1", outputs=[foreign]), a=model())
    assert fetched(page) == []
    assert len(soup(page).select("math")) == 1
    assert [image["alt"] for image in soup(page).select("img")] == ['a "still"']


def test_solutions_are_folded_away_with_what_they_show():
    outputs = [new_output("stream", text="the solution's output")]
    nb = notebook(new_code_cell("42", metadata={"tags": ["solution"]}, outputs=outputs), new_code_cell("6"))
    fold(nb)
    page = soup(LessonExporter().from_notebook_node(nb)[0])
    (folded,) = page.select("details")
    assert folded.select_one(".highlight").text.strip() == "42" and "the solution's output" in folded.text
    assert SOLUTION_VEIL not in page.text


# --- what waits until the reader asks


def folded_lesson():
    """A page with an answer to a prediction, a live widget of its own among it, and a part for a second course."""
    nb = notebook(
        new_markdown_cell("> **Predict.** What?"),
        new_code_cell("1", outputs=[new_output("stream", text="the answer"), widget("a")]),
        new_markdown_cell("### Going deeper · Why $x$?\n\nFirst.\n\n#### A heading inside"),
        new_code_cell("2", outputs=[widget("a")]),
        new_markdown_cell("## 2 · Then"),
        a=model(),
    )
    fold(nb)
    return LessonExporter().from_notebook_node(nb)[0]


def test_answers_and_what_goes_deeper_are_folded_away():
    page = soup(folded_lesson())
    answer, deeper = page.select("details")
    assert answer.summary.text == "Show what happens" and "the answer" in answer.text
    assert answer.find_previous(class_="jp-InputArea").text.split() == ["In", "[", "]:", "1"]  # the code is in sight
    assert deeper.select_one("summary h3 math") and "First." in deeper.text
    assert len(deeper.select(".vae-page")) == 1
    assert [heading.get_text().rstrip("¶") for heading in page.select("h2")] == ["2 · Then"]
    assert not page.select("details h2, details[open]") and VEIL not in page.text


@pytest.mark.slow
def test_folds_open_by_a_click_and_by_a_link_without_scripts_and_are_printed(tmp_path, chromium, offline):
    path = tmp_path / "page.html"
    path.write_text(folded_lesson(), "utf-8")
    plain = new_page(chromium, java_script_enabled=False)
    plain.goto(f"{path.as_uri()}#A-heading-inside")
    assert plain.locator("details[open] h4").is_visible() and plain.locator("details[open]").count() == 1
    plain.locator("summary", has_text="Show").click()
    assert plain.get_by_text("the answer").is_visible()
    plain.context.close()
    offline.goto(path.as_uri())
    buttons = offline.locator(".vae-page button")
    assert not buttons.first.is_visible() and not buttons.last.is_visible()
    offline.emulate_media(media="print")
    assert buttons.first.is_visible() and offline.locator("h4").is_visible()
    offline.emulate_media(media="screen")
    for summary in offline.locator("summary").all():
        summary.click()
    buttons.last.click()
    assert buttons.all_text_contents() == ["11 of 3", "11 of 3"]
    assert_healthy(offline)


def test_the_style_of_widgets_does_not_reach_the_pictures_of_the_page():
    picture = new_output("display_data", {"image/png": PIXEL, "text/plain": "one"})
    page = soup(export(new_code_cell("1", outputs=[picture, widget("a")]), a=model()))
    classes = {name for image in page.select("img") for name in image.get("class", [])}
    assert not [name for name in classes if f".{name}" in EXPLORE_STYLE]


def test_widgets_are_stills_where_that_is_wanted():
    live = notebook(new_code_cell("1", outputs=[widget("a")]), a=model())
    page = soup(LessonExporter(live=False).from_notebook_node(live)[0])
    assert page.select("script") == []
    assert [image["alt"] for image in page.select("img")] == ['a "still"']


# --- a notebook that holds only stills


@pytest.mark.slow
def test_a_failing_cell_is_an_exception_outside_the_command():
    sentence = "^Notebook was expected to run to its end, but cell 1 .* failed: ZeroDivision"
    with pytest.raises(ConversionException, match=sentence):
        export(new_markdown_cell("text"), new_code_cell("1 / 0", outputs=[widget()]))


@pytest.mark.slow
def test_a_dead_kernel_is_named():
    with pytest.raises(ConversionException, match="cell 0 .* failed: Kernel died"):
        export(new_code_cell("import os; os._exit(1)", outputs=[widget()]))


def test_a_widget_without_state_is_named():
    with pytest.raises(ConversionException, match="leave each widget's state, but one left none"):
        export(new_code_cell(f"display({{'text/plain': ''}}, metadata={MARK}, raw=True)", outputs=[widget()]))


def convert(path, to="lesson", *options):
    """What the command does: its result."""
    command = [sys.executable, "-m", "nbconvert", "--to", to, *options, str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=path.parent)


@pytest.mark.slow
def test_nbconverts_own_page_stays_as_it_was(stills):
    path, _ = stills
    result = convert(path, "html", "--output", "own.html")
    assert result.returncode == 0, result.stderr
    page = path.with_name("own.html").read_text("utf-8")
    assert fetched(page) and 'class="vae-' not in page and "<math" not in page


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """A notebook as it is committed, with a still in the widget's place, and what the command said of it."""
    path = tmp_path_factory.mktemp("page") / "lesson.ipynb"
    formula = new_markdown_cell("$$\\int_0^1 x\\,dx$$")
    nbformat.write(notebook(formula, new_code_cell(LIVE_CELL, outputs=[widget()])), path)
    return path, convert(path)


def test_the_command_runs_a_notebook_of_stills(stills):
    path, result = stills
    assert result.returncode == 0, result.stderr
    assert "lesson holds only still pictures of its widgets" in result.stderr
    page = path.with_suffix(".html").read_text("utf-8")
    assert fetched(page) == []
    assert page.count('class="vae-page"') == 1


@pytest.mark.slow
def test_a_failing_cell_ends_the_command_in_one_sentence_and_leaves_the_old_page(tmp_path):
    path = tmp_path / "broken.ipynb"
    nbformat.write(notebook(new_code_cell("raise ValueError('first\\nsecond')", outputs=[widget()])), path)
    path.with_suffix(".html").write_text("old", "utf-8")
    result = convert(path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "broken was expected to run to its end, but cell 0 (counting all, from 0) failed: ValueError: first; "
        "no page was written"
    )
    assert "Traceback" not in result.stderr
    assert path.with_suffix(".html").read_text("utf-8") == "old"


# --- in a browser, from a file, without a network


def test_the_page_lives_without_kernel_and_network(stills, offline):
    offline.goto(stills[0].with_suffix(".html").as_uri())
    button = offline.locator(".vae-page button")
    button.click()
    assert button.text_content() == "11 of 3"
    assert button.evaluate("button => getComputedStyle(button).color") == "rgb(1, 2, 3)"
    assert offline.locator(".vae-page img:visible").count() == 0  # the still has made room
    integral, limit = offline.locator("math mo", has_text="∫"), offline.locator("math mn").first
    assert integral.bounding_box()["height"] > limit.bounding_box()["height"] > 0  # drawn, not spelled
    assert_healthy(offline)


@pytest.mark.slow
def test_two_views_share_a_model_and_a_broken_one_keeps_its_still(tmp_path, offline):
    outputs = [widget("a"), widget("broken"), widget("b"), widget("a")]
    path = tmp_path / "page.html"
    broken = model("export default { render() { throw new Error('no luck'); } }")
    path.write_text(export(new_code_cell("1", outputs=outputs), a=model(), b=model(), broken=broken), "utf-8")
    offline.goto(path.as_uri())
    buttons = offline.locator(".vae-page button")
    buttons.nth(2).click()
    assert buttons.all_text_contents() == ["11 of 3", "10 of 3", "11 of 3"]
    assert offline.locator(".vae-page [role=alert]").text_content().endswith("Error: no luck")
    assert offline.locator(".vae-page img:visible").count() == 1
    assert offline.strangers == []
