"""A lesson as a deck of slides: reveal.js by nbconvert, from the same cells.

What stands on a slide is chosen by kind: headings, displayed formulas, predictions, tasks, short code, printed results
and pictures. Prose becomes the speaker's notes (key S), apart from the sentence that leads to a formula or to a cell.
What answers a prediction comes at a click. What goes deeper is left out.
A tag on a cell overrides this: `slide` puts the whole cell on a slide of its own, `fragment` shows the whole cell at
the next click on the slide before, `notes` makes it notes, `skip` leaves it out.

A slide holds so many rows, and each kind of block counts for some. The browser lays the slide out, and makes its
letters smaller where it overflows (slides.js).
"""

import ast
import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path

from nbconvert import SlidesExporter
from nbconvert.preprocessors import Preprocessor
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vae_utils.authoring.exporter import (
    HOME,
    describe_pictures,
    drop_progress_bars,
    drop_what_jupyter_needs,
    markdown_with_mathml,
)
from vae_utils.authoring.folds import is_hidden
from vae_utils.authoring.lesson import blocks, is_marked, is_solution, tags, without_deeper
from vae_utils.authoring.needs import AFTER_RESTART
from vae_utils.authoring.parts import Inline

ROWS = 22  # on a slide; of code and of what it prints, each line counts for one
ROWS_OF = {"lead": 2, "item": 2, "task": 4, "formula": 12, "fence": 12, "picture": 17, "quote": ROWS}
WITH_PICTURE = ROWS - ROWS_OF["picture"] - ROWS_OF["lead"]  # lines of code that may stand above its picture
MOST_LINES = 16  # of code on a slide: cut at blank lines, and what is longer still becomes notes
MOST_ITEMS = 7  # of a list or a table on a slide
SHORT = 170  # letters of a sentence that may lead to something
SHORT_LIST = 520  # letters of a list or a table that is for the eye; ...
ALWAYS_LISTED = ("What to remember", "Where it stands")  # ... under these titles, and the lesson's, longer ones too
ONLY_SAID = ("**Time",)  # beginnings of paragraphs of no use to who looks at a screen


@dataclass
class Slide:
    """One slide: cells under a title, and what the speaker says to them.

    Attributes:
        title: Markdown of the heading; on the following slides of a section it is repeated, small.
        level: 1 the lesson's title, 2 the first slide of a section, 3 any other.
        cells: shown one above the other.
        notes: Markdown blocks.
        rows: how many the cells count for.
    """

    title: str
    level: int = 3
    cells: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    rows: int = 0

    @property
    def has_code(self):
        return any(cell.cell_type == "code" for cell in self.cells)


class Deck(list):
    """The slides of a lesson, in the making."""

    def go_on(self):
        """Begin another slide under the same title, unless the current one is empty still."""
        if self[-1].cells:
            self.append(Slide(self[-1].title))

    def show(self, cell, rows, at_click=False):
        """Put a cell that counts for so many rows on the current slide, or on the next if it has no room.

        With `at_click` it comes at a click, if it stands below code: a new slide comes at a click anyway.
        """
        if self[-1].rows + rows > ROWS:
            self.go_on()
        if at_click and any(above.cell_type == "code" and above.source for above in self[-1].cells):
            cell.metadata["slideshow"] = {"slide_type": "fragment"}
        self[-1].cells.append(cell)
        self[-1].rows += rows


def shown(nb):
    """The cells that slides are made of: those of the main path, and the others where they are tagged `slide`."""
    main = {id(cell) for cell in without_deeper(nb).cells}
    return [cell for cell in nb.cells if id(cell) in main or "slide" in tags(cell)]


def make_deck(nb):
    """Lay a lesson out; it stays as it is.

    Returns:
        List of Slide. Of those that are not titles none is empty: their notes go to the slide before.
    """
    deck = Deck()
    cells = shown(nb)
    for cell, following in zip(cells, [*cells[1:], new_markdown_cell()]):
        markdown = cell.cell_type == "markdown"
        if "skip" in tags(cell) or cell.get("id") == AFTER_RESTART:
            continue
        if "notes" in tags(cell):
            deck[-1].notes.append(cell.source if markdown else _fenced(cell.source))
        elif tags(cell) & {"slide", "fragment"}:
            whole = _text(cell.source) if markdown else new_code_cell(cell.source, outputs=cell.outputs)
            if "slide" in tags(cell):
                deck.go_on()
            else:
                whole.metadata["slideshow"] = {"slide_type": "fragment"}
            deck.show(whole, ROWS if "slide" in tags(cell) else 0)
        elif markdown:
            before_code = following.cell_type == "code" and not is_solution(following)
            _lay_prose(deck, cell.source, "code" if before_code else "")
        elif cell.cell_type == "code":
            _lay_code(deck, cell)
    kept = []
    for slide in deck:
        if slide.cells or slide.level < 3:
            kept.append(slide)
        else:
            kept[-1].notes += [f"**{slide.title}**", *slide.notes]
    return kept


def _lay_prose(deck, source, below):
    """A cell of Markdown: what is for the eye onto slides, the rest into the notes; `below` is as in `lead`."""
    parts = blocks(source)
    for i, (kind, text) in enumerate(parts):
        in_exercise = deck and deck[-1].title.startswith("Exercise")
        following, content = next((part for part in parts[i + 1 :] if part[0] != "folded"), (below, ""))
        if kind == "heading":
            deck.append(Slide(text.lstrip("# "), min(3, len(text) - len(text.lstrip("#")))))
        elif kind in ROWS_OF:
            deck.show(_text(text, "vae-quote" if kind == "quote" else "vae-text"), ROWS_OF[kind])
        elif kind in ("list", "table") and _is_for_the_eye(deck, text):
            rows = re.split(r"\n(?=\S)", text)
            head, rows = (rows[:2], rows[2:]) if kind == "table" else ([], rows)
            for piece in _even_pieces(rows, MOST_ITEMS):
                deck.show(_text("\n".join(head + piece)), ROWS_OF["item"] * len(piece))
        elif kind != "paragraph" or text.startswith(ONLY_SAID):
            deck[-1].notes.append(text)
        elif in_exercise and not deck[-1].has_code:
            deck.show(_text(text), ROWS_OF["task"])
        else:
            noted = following in ("list", "table") and not _is_for_the_eye(deck, content)
            sentence = "" if in_exercise or noted else lead(text, following)
            if sentence:
                deck.go_on()
                deck.show(_text(sentence), ROWS_OF["lead"])
            if sentence != text:
                deck[-1].notes.append(text)


def _is_for_the_eye(deck, text):
    return len(text) <= SHORT_LIST or deck[-1].title.startswith((deck[0].title, *ALWAYS_LISTED))


def _even_pieces(items, most):
    """Items in as few lists as need be, of about the same length."""
    num_pieces = -(-len(items) // most) or 1
    size = -(-len(items) // num_pieces) or 1
    return [items[i : i + size] for i in range(0, len(items), size)]


def lead(text, below):
    """The part of a paragraph that leads to what is `below`: kind of the next block, "code" a cell of code, or "".

    Returns:
        All of a short paragraph; of a long one its last sentence, if that is short and leads on, or the bold
        sentence that it begins with; "" if there is none of these, or nothing below to lead to.
    """
    if below not in ("formula", "fence", "list", "table", "code"):
        return ""
    if len(text) <= SHORT:
        return text
    last = re.split(r"(?<=[.?!)])\s(?=[A-Z$*])", text)[-1]
    leads_on = last.endswith(":") or (below == "formula" and not last.endswith("."))
    if leads_on and len(last) <= SHORT and last.count("**") % 2 == 0:
        return last
    bold = re.match(r"\*\*[^*]{3,80}[.?]\*\*", text)
    return bold[0] if bold else ""


def _lay_code(deck, cell):
    """A cell of code and what it has put out."""
    if is_solution(cell):
        deck[-1].notes.append("**Solution**\n\n" + _fenced(cell.source))
        return
    source = without_results(cell.source) if cell.outputs else cell.source
    source = re.sub(r"(?<=\S) {2,}(?=# )", "  ", source)  # comments stand close: the lines are narrower
    pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    live = any(is_marked(output, "live") for output in pictures)
    begins = next(iter(ast.parse(source).body), None)  # None: comments only
    imports = isinstance(begins, (ast.Import, ast.ImportFrom))
    if not pictures and (imports or deck[-1].title == deck[0].title):
        deck[-1].notes.append(_fenced(source))
        return
    if deck[-1].has_code:
        deck.go_on()
    all_noted = live or imports or (pictures and len(source.splitlines()) > WITH_PICTURE)
    for part in [source] if all_noted else cut_code(source):
        if all_noted or len(part.splitlines()) > MOST_LINES:
            deck[-1].notes.append(_fenced(part))
        else:
            deck.show(new_code_cell(part), ROWS if deck[-1].has_code else len(part.splitlines()))
    for output in sorted(cell.outputs, key=lambda output: output in pictures):  # a picture takes the room that is left
        if output.output_type == "stream":
            for lines in _even_pieces(output.text.rstrip("\n").splitlines(keepends=True), ROWS - ROWS_OF["lead"]):
                piece = new_output("stream", name=output.name, text="".join(lines))
                deck.show(new_code_cell(outputs=[piece]), len(lines), is_hidden(cell))
        else:
            rows = ROWS_OF["picture" if output in pictures else "lead"]
            deck.show(new_code_cell(outputs=[output]), rows, is_hidden(cell))
    if live:
        deck.show(_text("*A still picture: in the lesson it answers your hand.*", "vae-small"), 0)


def without_results(source):
    """Code without what only prints, shows or checks a result, which stands below; all of it if all does."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if ast.unparse(node).startswith(("assert ", "print(", "plt.show(")):
            lines[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    return "\n".join(line for line in lines if line is not None).strip("\n") or source


def cut_code(source):
    """Code cut at blank lines into a list of parts of at most `MOST_LINES` lines, as far as there are blank lines."""
    parts = []
    for piece in re.split(r"\n[^\S\n]*\n+", source.strip("\n")):
        joined = f"{parts[-1]}\n\n{piece}" if parts else piece
        if parts and len(joined.splitlines()) > MOST_LINES:
            parts.append(piece)
        else:
            parts[-1:] = [joined]
    return parts


def _text(source, role="vae-text", slide_type="-"):
    return new_markdown_cell(source, metadata={"role": role, "slideshow": {"slide_type": slide_type}})


def _fenced(source):
    return f"```python\n{source}\n```"


class LayOut(Preprocessor):
    """nbconvert's half-way house: lay the lesson out, with `slide_type`s, before its exporter numbers the slides."""

    def preprocess(self, nb, resources):
        drop_what_jupyter_needs(nb)
        drop_progress_bars(nb, resources)
        cells = []
        for slide in make_deck(nb):
            slide_type = "slide" if slide.level < 3 else "subslide"
            cells += [_text(f"{'#' * slide.level} {slide.title}", "vae-title", slide_type), *slide.cells]
            cells += [_text("\n\n".join(slide.notes), slide_type="notes")] if slide.notes else []
        nb = new_notebook(cells=cells)
        describe_pictures(nb, Inline())
        return nb, resources


class SlideDeck(SlidesExporter):
    """A deck as one HTML file, with reveal.js and all formulas inside."""

    def __init__(self):
        folders = [str(HOME), str(reveal_js())]
        super().__init__(preprocessors=[LayOut], template_file="slides.html.j2", extra_template_paths=folders)
        self.register_filter("markdown2html", markdown_with_mathml)


def reveal_js():
    """The folder of reveal.js that the package sphinx-revealjs carries, without loading that package."""
    spec = importlib.util.find_spec("sphinx_revealjs")
    if spec is None:
        where = "in the package sphinx-revealjs, which is not installed"
        raise ModuleNotFoundError(f"reveal.js was expected {where}; install requirements.txt")
    return Path(spec.submodule_search_locations[0], "_static", "revealjs")
