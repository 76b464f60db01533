"""Lessons as pages that live without a kernel and without a network.

    jupyter nbconvert --to lesson notebooks/04_latent_manifold.ipynb

With this package installed, nbconvert knows `LessonExporter` by the name "lesson" (an entry point in
pyproject.toml). It makes one file that asks for nothing else: the widgets' code and numbers are inside, formulas
are MathML, which browsers draw by themselves, pictures say in words what they show. Solutions, answers to predictions
and parts for a second course are folded away until the reader opens them, or follows a link into them.
"""

import base64
import html
import json
import re
import struct
from pathlib import Path

import jinja2
from math_core import LatexError, LatexToMathML
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, ExecutePreprocessor
from nbconvert.utils.exceptions import ConversionException
from traitlets import Any, Bool, default
from traitlets.config import Application

from vae_utils.authoring.folds import is_veil
from vae_utils.authoring.lesson import MARK, code_cells, deeper, is_marked
from vae_utils.authoring.parts import Inline

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"

HOME = Path(__file__).parent
SCRIPT = (HOME / "page.js").read_text("utf-8")


class LessonExporter(HTMLExporter):
    """A notebook as a page that needs neither kernel nor network.

    Our widgets mark their outputs with the metadata `{"vae_utils": {"live": true}}`. If one of them is stored
    as a picture only, the notebook is run first, unless `live` is off.

    Raises:
        ConversionException, or SystemExit under the command `jupyter nbconvert`: if a cell fails in that run.
    """

    export_from_notebook = "Lesson"  # its name in JupyterLab's menus
    live = Bool(True, help="Whether widgets work in the page; if not, it shows their stills.").tag(config=True)
    parts = Any(Inline(), help="Where the large parts of the page lie: see vae_utils.authoring.parts.")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.register_preprocessor(self.prepare)  # after nbconvert's own, of which --execute turns one on

    @default("template_file")
    def _template_file_default(self):
        return "page.html.j2"

    @default("extra_template_paths")
    def _extra_template_paths_default(self):
        return [str(HOME)]

    def default_filters(self):
        yield from super().default_filters()
        yield "markdown2html", markdown_with_mathml

    def prepare(self, nb, resources):
        """Make the notebook ready for the template, in place."""
        drop_what_jupyter_needs(nb)
        if self.live and marked_outputs(nb):
            if not all_alive(nb):
                self.run(nb, resources)
            embed_widgets(nb, self.parts)
        describe_pictures(nb, self.parts)
        nb.metadata.pop("widgets", None)
        drop_progress_bars(nb, resources)
        mark_deeper(nb)
        return nb, resources

    def run(self, nb, resources):
        """Run all cells, in place."""
        name, reached = resources["metadata"]["name"], []
        self.log.info(f"{name} holds only still pictures of its widgets: running it, a minute or two")
        runner = ExecutePreprocessor(parent=self, store_widget_state=True)
        runner.on_cell_execute = lambda cell, cell_index: reached.append(cell_index)
        try:
            runner.preprocess(nb, resources)
        except (CellExecutionError, TimeoutError, RuntimeError) as error:  # of the cell, or of the kernel
            where = f"cell {reached[-1]} (counting all, from 0)" if reached else "the kernel"
            text = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
            first_line = text.partition("\n")[0]
            self.stop(f"{name} was expected to run to its end, but {where} failed: {first_line}; no page was written")
        if not all_alive(nb):
            self.stop(f"{name} was expected to leave each widget's state, but one left none; no page was written")

    def stop(self, sentence):
        from nbconvert.nbconvertapp import NbConvertApp  # not above: it loads all exporters, this one among them

        # The command would print a ConversionException with its traceback; a server must not be made to exit.
        in_command = Application.initialized() and isinstance(Application.instance(), NbConvertApp)
        raise (SystemExit if in_command else ConversionException)(sentence) from None


def outputs(nb):
    return [output for cell in nb.cells for output in cell.get("outputs", [])]


def drop_what_jupyter_needs(nb):
    """Drop, in place, pictures that a widget leaves for a reopened lesson, and lines in front of folded answers."""
    for cell in code_cells(nb.cells):
        cell.outputs = [output for output in cell.outputs if not is_marked(output, "reopened") and not is_veil(output)]


def marked_outputs(nb):
    return [output for output in outputs(nb) if is_marked(output, "live")]


def widget_models(nb):
    """The anywidgets whose state the notebook holds: a dict of id to model."""
    models = nb.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    ours = [name for name, model in models.items() if model["model_module"] == "anywidget" and "_esm" in model["state"]]
    return {name: models[name] for name in ours}


def all_alive(nb):
    models = widget_models(nb)
    return all(output.data.get(WIDGET_VIEW, {}).get("model_id") in models for output in marked_outputs(nb))


def embed_widgets(nb, parts):
    """Put HTML in the place of each widget, in place, and what they need after the last of them."""
    models = widget_models(nb)
    shown = {}  # from a widget's id to its part of the page's data
    sources, styles = {}, {}  # from a widget's code, or style, to its number: most share them
    for output in outputs(nb):
        name = output.get("data", {}).pop(WIDGET_VIEW, {}).get("model_id")
        if name not in models:
            continue  # another widget: its text or picture stays
        state = dict(models[name]["state"])
        if style := state.pop("_css", ""):
            styles.setdefault(style, len(styles))
        # Ours is a loader of `script`, for JupyterLab; a page imports the script itself, once.
        esm = state.pop("_esm")
        number = sources.setdefault(state.pop("script", esm), len(sources))
        buffers = [
            {"path": buffer["path"], "data": parts.text(buffer["data"])} for buffer in models[name].get("buffers", [])
        ]
        shown[name] = {"source": number, "state": parts.text(json.dumps(state)), "buffers": buffers}
        still = picture(output.data, parts) if "image/png" in output.data else ""
        output.data = {"text/html": f'<div class="vae-page" data-model="{html.escape(name)}">{still}</div>'}
        last = output
    # no "</script>" or "<!--" inside
    texts = {"sources": list(map(parts.text, sources)), "styles": list(map(parts.text, styles))}
    data = json.dumps(texts | {"widgets": shown}).replace("<", "\\u003c")
    last.data["text/html"] += (
        f'<script type="application/json" id="vae-page-data">{data}</script>{parts.script(SCRIPT)}'
    )


def picture(data, parts):
    """HTML of the picture among an output's representations, with its text beside it as alternative text."""
    text, png = html.escape(" ".join(data.get("text/plain", "").split())), data["image/png"].strip()
    return f'<img alt="{text}" src="{html.escape(parts.picture(png))}"{size_of(png)}>'


def size_of(png):
    """Attributes with a picture's size (base64 of a PNG), so that nothing moves when it arrives; "" if it has none."""
    try:
        size = struct.unpack(">II", base64.b64decode(png[:32], validate=True)[16:24])
    except (ValueError, struct.error):
        return ""
    return ' width="{}" height="{}"'.format(*size)


def describe_pictures(nb, parts):
    """Give each PNG among the outputs its text beside it as alternative text, in place: nbconvert has none."""
    for output in outputs(nb):
        if "image/png" in output.get("data", {}):
            output.data = {"text/html": picture(output.data, parts)}


def drop_progress_bars(nb, resources):
    """Keep of what was printed over itself the last state, and nothing where that is blank, in place."""
    CoalesceStreamsPreprocessor().preprocess(nb, resources)
    for cell in nb.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream" or output.text.strip()]


def mark_deeper(nb):
    """Say in metadata which heading opens a part for a second course, and which cell closes it, in place."""
    for part in deeper(nb):
        heading, _, part[0].source = part[0].source.partition("\n")
        part[0].metadata[MARK] = {"opens": heading}
        part[-1].metadata.setdefault(MARK, {})["closes"] = True


# --- formulas


class MathMLRenderer(IPythonRenderer):
    """Markdown as nbconvert renders it, with formulas as MathML."""

    to_mathml = LatexToMathML(fancy_error=False).convert_with_local_state

    def inline_math(self, body):
        return self.formula(body, displaystyle=False) or super().inline_math(body)

    def block_math(self, body):
        formula = self.formula(body, displaystyle=True) or super().block_math(body)
        return f'<span class="vae-formula">{formula}</span>'

    def latex_environment(self, name, body):
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def formula(self, latex, displaystyle):
        """`latex` as MathML, or "" where it is no formula: then its source is what the reader sees."""
        try:
            mathml = type(self).to_mathml(latex, displaystyle=displaystyle)
        except LatexError:
            return ""
        # XML, which nbconvert reads headings as, does not know the name of this character.
        mathml = mathml.replace("&ApplyFunction;", "\u2061")
        # The character is raised and small already; as a superscript it would be a speck.
        return re.sub("<msup>(<mi>.</mi>)<mo>′</mo></msup>", r'<mrow>\1<mo lspace="0" rspace="0">′</mo></mrow>', mathml)


@jinja2.pass_context
def markdown_with_mathml(context, source):
    """The filter `markdown2html` of nbconvert's templates, with formulas as MathML."""
    renderer = MathMLRenderer(escape=False, attachments=context["cell"].get("attachments", {}))
    return MarkdownWithMath(renderer=renderer).render(source)
