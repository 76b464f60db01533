"""A lesson as a deck of slides: reveal.js by nbconvert, from the same cells.

What stands on a slide is chosen by kind: headings, displayed formulas, predictions, tasks, short code,
printed results and pictures. Prose becomes the speaker's notes (key S), apart from the sentence that leads to
a formula or to a cell. A tag on a cell overrides this: `slide` puts the whole cell on a slide of its own,
`fragment` shows the whole cell at the next click on the slide before, `notes` makes it notes, `skip` leaves it
out.

Here only lines and rows are counted. The browser lays a slide out, and makes its letters smaller where it
overflows (slides.js).
"""

import ast
import importlib.util
import io
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

from nbconvert import SlidesExporter
from nbconvert.preprocessors import Preprocessor
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vae_utils.authoring.exporter import STYLE, describe_pictures, drop_progress_bars, markdown_with_mathml
from vae_utils.authoring.lesson import blocks, is_solution, tags

WIDE = 86  # letters of a line of code beyond which its comment moves above it
MOST_LINES = 16  # of code on a slide: cut at blank lines, and what is longer still becomes notes
WITH_PICTURE = 3  # lines of code that may stand above its picture
TOGETHER = 22  # lines of code and of what it prints that may share a slide
MOST_ROWS = 7  # of a list or a table
LEAD = 170  # letters of a sentence that may lead to a formula or a cell
TASK = 560  # letters of the task of an exercise
LIST = 520  # letters of a list or a table
ALWAYS_LISTED = ("What to remember", "Where it stands")
OVERRIDES = ("slide", "fragment", "notes", "skip")


@dataclass
class Slide:
    """One slide: cells under a title, and what the speaker says to them.

    Attributes:
        title: Markdown of the heading; on the following slides of a section it is repeated, small.
        level: 1 the lesson's title, 2 the first slide of a section, 3 any other.
        cells: shown one above the other.
        notes: Markdown blocks.
        full: whether what comes next begins another slide.
    """

    title: str
    level: int = 3
    cells: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    full: bool = False


class Deck:
    """The slides of a lesson, in the making."""

    def __init__(self):
        self.slides = []

    @property
    def current(self):
        return self.slides[-1]

    def begin(self, title, level):
        self.slides.append(Slide(title, level))

    def go_on(self):
        """Begin another slide under the same title, unless the current one is empty still."""
        if self.current.cells:
            self.begin(self.current.title, 3)

    def show(self, cell, last=False):
        """Put a cell on the current slide, or on the next if that is full; `last`: nothing comes below it."""
        if self.current.full:
            self.go_on()
        self.current.cells.append(cell)
        self.current.full = last

    def note(self, text):
        """Add Markdown to the notes of the current slide."""
        if text.strip():
            self.current.notes.append(text)


def make_deck(nb):
    """Lay a lesson out.

    Args:
        nb: a lesson, which stays as it is.

    Returns:
        List of Slide.
    """
    deck = Deck()
    for cell, following in zip(nb.cells, [*nb.cells[1:], None]):
        override = next((tag for tag in OVERRIDES if tag in tags(cell)), None)
        if override == "notes":
            deck.note(cell.source if cell.cell_type == "markdown" else _fenced(cell.source))
        elif override in ("slide", "fragment"):
            _lay_whole(deck, cell, override)
        elif override is None and cell.cell_type == "markdown":
            before_code = following is not None and following.cell_type == "code" and not is_solution(following)
            _lay_prose(deck, cell.source, before_code)
        elif override is None and cell.cell_type == "code":
            _lay_code(deck, cell)
    return [slide for slide in deck.slides if slide.cells or slide.level < 3]


def _lay_whole(deck, cell, override):
    """A cell whose tag says that all of it is shown."""
    markdown = cell.cell_type == "markdown"
    shown = _text(cell.source) if markdown else _code(align_comments(cell.source), cell.outputs)
    if override == "slide":
        deck.go_on()
        deck.show(shown, last=True)
    else:
        shown.metadata["slideshow"] = {"slide_type": "fragment"}
        deck.current.cells.append(shown)


def _lay_prose(deck, source, before_code):
    """A cell of Markdown: what is for the eye onto slides, the rest into the notes.

    Args:
        deck: Deck to go on with.
        source: of the cell.
        before_code: whether a cell of code follows.
    """
    parts = blocks(source)
    below = ("code" if before_code else "", "")
    task = 0  # letters of it that stand on the slide
    for i, (kind, text) in enumerate(parts):
        following = next((part for part in parts[i + 1 :] if part[0] != "folded"), below)
        if kind == "heading":
            deck.begin(text.lstrip("# "), min(3, len(text) - len(text.lstrip("#"))))
            task = 0
        elif kind in ("quote", "picture"):
            deck.go_on()
            deck.show(_text(text, "vae-quote" if kind == "quote" else None), last=True)
        elif kind in ("formula", "fence"):
            deck.show(_text(text), last=True)
        elif kind in ("list", "table") and _is_shown(deck, text):
            _lay_list(deck, kind, text)
        elif text.startswith("*After a restart:"):  # of no use to who looks at a screen
            deck.note(text)
        elif kind == "paragraph" and _in_exercise(deck) and task + len(text) <= TASK:
            task += len(text)
            deck.show(_text(text))
        elif kind == "paragraph" and not _in_exercise(deck) and (sentence := _shown_lead(deck, text, *following)):
            deck.go_on()
            deck.show(_text(sentence))
            if sentence != text:
                deck.note(text)
        else:
            deck.note(text)


def _shown_lead(deck, text, following, content):
    """The `lead` of a paragraph, if what it leads to will be shown; "" otherwise."""
    noted = following in ("list", "table") and not _is_shown(deck, content)
    return "" if noted or text.startswith("**Time") else lead(text, following)


def _in_exercise(deck):
    return deck.current.title.startswith("Exercise")


def _is_shown(deck, text):
    """Whether a list or a table is for the eye: a lesson's promises, what to keep of it, a task, a short one."""
    return (
        len(text) <= LIST
        or _before_sections(deck)
        or _in_exercise(deck)
        or deck.current.title.startswith(ALWAYS_LISTED)
    )


def _before_sections(deck):
    """Whether the lesson has not gone beyond its title yet."""
    return all(slide.title == deck.slides[0].title for slide in deck.slides)


def lead(text, following):
    """The part of a paragraph that leads to what comes below it.

    Args:
        text: the paragraph.
        following: kind of the next block, "code" for a cell of code, "" for another cell.

    Returns:
        All of a short paragraph; of a long one its last sentence, if that is short and leads on, or the bold
        sentence that it begins with; "" if there is none of these, or nothing below to lead to.
    """
    if following not in ("formula", "fence", "list", "table", "code"):
        return ""
    text = " ".join(text.split())
    if len(text) <= LEAD:
        return text
    last = re.split(r"(?<=[.?!)]) (?=[A-Z$*])", text)[-1]
    leads_on = last.endswith(":") or (following == "formula" and not last.endswith("."))
    if leads_on and len(last) <= LEAD and last.count("**") % 2 == 0:
        return last
    bold = re.match(r"\*\*[^*]{3,80}[.?]\*\*", text)
    return bold[0] if bold else ""


def _lay_list(deck, kind, text):
    """A list or a table, over as many slides as it needs."""
    rows = re.split(r"\n(?=\S)", text)
    head, rows = (rows[:2], rows[2:]) if kind == "table" else ([], rows)
    for start in range(0, len(rows), MOST_ROWS):
        if start:
            deck.go_on()
        deck.show(_text("\n".join([*head, *rows[start : start + MOST_ROWS]])))


def _lay_code(deck, cell):
    """A cell of code and what it has put out."""
    if is_solution(cell):
        deck.note("**Solution**\n\n" + _fenced(cell.source))
        return
    source = align_comments(without_results(cell.source) if cell.outputs else cell.source)
    pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    printed = [piece for output in cell.outputs if output not in pictures for piece in _cut_output(output)]
    live = any(output.metadata.get("vae_utils", {}).get("live") for output in pictures)
    if _is_set_up(source) or (_before_sections(deck) and not pictures):
        deck.note(_fenced(source))
        return
    if any(shown.cell_type == "code" for shown in deck.current.cells):
        deck.go_on()
    lines = 0  # of code, on the current slide
    if live or (pictures and _num_lines(source) > WITH_PICTURE):
        deck.note(_fenced(source))
    else:
        for i, part in enumerate(cut_code(source)):
            if _num_lines(part) > MOST_LINES:
                deck.note(_fenced(part))
                continue
            if i > 0:
                deck.go_on()
            deck.show(_code(part))
            lines = _num_lines(part)
    for piece in printed:
        if lines and lines + _num_lines(piece.get("text", "")) > TOGETHER:
            deck.go_on()
        deck.show(_code("", [piece]), last=not pictures)
        lines = 0
    for output in pictures:
        deck.show(_code("", [output]), last=not live)
        if live:
            deck.show(_text("*A still picture: in the lesson it answers your hand.*", "vae-small"), last=True)


def _is_set_up(source):
    """Whether a cell only imports and sets up."""
    return isinstance(ast.parse(source).body[0], (ast.Import, ast.ImportFrom))


def without_results(source):
    """Code without what only prints, shows or checks a result, which stands below; all of it if all does."""
    lines = source.splitlines()
    kept = [True] * len(lines)
    for node in ast.parse(source).body:
        is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        called = ast.unparse(node.value.func) if is_call else ""
        if isinstance(node, ast.Assert) or called in ("print", "plt.show"):
            kept[node.lineno - 1 : node.end_lineno] = [False] * (node.end_lineno - node.lineno + 1)
    rest = "\n".join(line for line, keep in zip(lines, kept) if keep).strip("\n")
    return rest if rest.strip() else source


def align_comments(source):
    """Code whose comments at the ends of lines stand close behind the longest of these, in each paragraph.

    Where such a line would still be too wide for a slide, the comment moves above it.
    """
    columns = {}  # of the comment, by line, counted from 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            columns[token.start[0] - 1] = token.start[1]
    found = []
    lines = source.splitlines()
    start = 0
    for end in [*(i for i, line in enumerate(lines) if not line.strip()), len(lines)]:
        codes = {i: lines[i][: columns[i]].rstrip() for i in range(start, end) if i in columns}
        fitting = [code for i, code in codes.items() if len(code) + 2 + len(lines[i]) - columns[i] <= WIDE]
        column = max(map(len, fitting), default=0) + 2
        for i in range(start, end):
            if i not in codes:
                found.append(lines[i])
                continue
            code, comment = codes[i], lines[i][columns[i] :]
            if len(code) + 2 + len(comment) > WIDE:
                found += [" " * (len(code) - len(code.lstrip())) + comment, code]
            else:
                found.append(f"{code:{min(column, WIDE - len(comment)) - 1}} {comment}")
        found += lines[end : end + 1]
        start = end + 1
    return "\n".join(found)


def cut_code(source):
    """Code cut at blank lines into parts of at most `MOST_LINES` lines, as far as there are blank lines.

    Returns:
        List of sources.
    """
    pieces = re.split(r"\n[^\S\n]*\n+", source.strip("\n"))
    parts = [pieces[0]]
    for piece in pieces[1:]:
        joined = f"{parts[-1]}\n\n{piece}"
        if _num_lines(joined) <= MOST_LINES:
            parts[-1] = joined
        else:
            parts.append(piece)
    return parts


def _cut_output(output):
    """A printed output in pieces of about the same length, none too long for a slide."""
    lines = output.text.rstrip("\n").splitlines() if output.output_type == "stream" else []
    pieces = -(-len(lines) // TOGETHER)
    if pieces < 2:
        return [output]
    most = -(-len(lines) // pieces)
    texts = ["\n".join(lines[i : i + most]) + "\n" for i in range(0, len(lines), most)]
    return [new_output("stream", name=output.name, text=text) for text in texts]


def _num_lines(text):
    return len(text.strip("\n").splitlines())


# --- cells of the deck


def _text(source, role=None):
    cell = new_markdown_cell(source)
    cell.metadata["role"] = role or "vae-text"
    return cell


def _code(source, outputs=()):
    return new_code_cell(source, outputs=list(outputs))


def _fenced(source):
    return f"```python\n{source}\n```"


def deck_notebook(nb):
    """The lesson as nbconvert's SlidesExporter wants it: cells with a `slide_type`.

    Args:
        nb: a lesson, which stays as it is.

    Returns:
        Notebook.
    """
    cells = []
    for slide in make_deck(nb):
        title = _text(f"{'#' * slide.level} {slide.title}", "vae-title")
        title.metadata["slideshow"] = {"slide_type": "slide" if slide.level < 3 else "subslide"}
        title.metadata["level"] = slide.level
        cells += [title, *slide.cells]
        if slide.notes:
            notes = _text("\n\n".join(slide.notes))
            notes.metadata["slideshow"] = {"slide_type": "notes"}
            cells.append(notes)
    metadata = {name: value for name, value in nb.metadata.items() if name != "widgets"}
    return new_notebook(cells=cells, metadata=metadata)


class LayOut(Preprocessor):
    """nbconvert's half-way house: lay the lesson out before its exporter numbers the slides."""

    def preprocess(self, nb, resources):
        drop_progress_bars(nb, resources)
        nb = deck_notebook(nb)
        describe_pictures(nb)
        return nb, resources


class SlideDeck(SlidesExporter):
    """A deck as one HTML file, with reveal.js and all formulas inside."""

    def __init__(self, **kwargs):
        folder = Path(__file__).parent
        super().__init__(
            preprocessors=[LayOut],
            template_file=str(folder / "slides.html.j2"),
            exclude_input_prompt=True,
            exclude_output_prompt=True,
            **kwargs,
        )
        self.register_filter("markdown2html", markdown_with_mathml)

    def _init_resources(self, resources):
        resources = super()._init_resources(resources)
        reveal = reveal_js()
        resources["vae"] = {
            "styles": [
                (reveal / "dist" / "reveal.css").read_text("utf-8"),
                STYLE,
                Path(__file__).with_name("slides.css").read_text("utf-8"),
            ],
            "scripts": [
                (reveal / "dist" / "reveal.js").read_text("utf-8"),
                (reveal / "plugin" / "notes" / "notes.js").read_text("utf-8"),
                Path(__file__).with_name("slides.js").read_text("utf-8"),
            ],
        }
        return resources


def reveal_js():
    """The folder of reveal.js that the package sphinx-revealjs carries, without loading that package.

    Raises:
        ModuleNotFoundError: in one sentence, if it is not installed.
    """
    spec = importlib.util.find_spec("sphinx_revealjs")
    if spec is None:
        raise ModuleNotFoundError(
            "reveal.js was expected in the package sphinx-revealjs, which is not installed; install requirements.txt"
        )
    return Path(spec.submodule_search_locations[0], "_static", "revealjs")
