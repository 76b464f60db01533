"""What a lesson is made of: sections, exercises, what is folded away, the blocks of its prose.

All that reads lessons, the tests as well, reads them with these functions. The rules are in notebooks/CONTRIBUTING.md.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from vae_utils.support.arguments import refusal

LESSONS = Path(__file__).resolve().parents[2] / "notebooks"
TEMPLATE = Path(__file__).with_name("template.ipynb")  # what a new lesson begins as
MARK = "vae_utils"  # in the metadata of what is ours
PREDICTION = "> **Predict.**"  # begins the quote that asks for a guess
DEEPER = "Going deeper"  # begins the heading of a part for a second course
WORDS_A_MINUTE = 200
# What a learner copy must not show, as the summaries of folded Markdown begin.
ANSWERS = ("Answer", "Solution", "What you may find")

_FOLDED = re.compile(
    r"<details>\s*<summary>(?P<summary>.*?)</summary>\s*\n(?P<text>.*?)</details>[^\S\n]*\n?", re.DOTALL | re.IGNORECASE
)
_FENCED = re.compile(r"```.*?```", re.DOTALL)
# How blocks of Markdown begin.
_KINDS = {
    "#": "heading",
    "$$": "formula",
    ">": "quote",
    "```": "fence",
    "|": "table",
    "![": "picture",
    "<img": "picture",
}


def paths():
    """The lessons' files, in the order of the course."""
    return sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))


def lessons(names):
    """Paths of the lessons that these names mean, such as 4, 04 or 04_latent_manifold; all of them if none.

    Raises:
        ValueError: if there is no such lesson.
    """
    known = {path.stem: path for path in paths()} | {path.stem[:2]: path for path in paths()}
    for name in names:
        if Path(name).stem.zfill(2) not in known:
            stems = ", ".join(path.stem for path in paths())
            raise ValueError(refusal("a lesson", f"that is one of {stems}, or its number", repr(name)))
    return [known[Path(name).stem.zfill(2)] for name in names] or paths()


def read(path):
    """A notebook's content."""
    return nbformat.read(path, as_version=4)


# --- cells


def tags(cell):
    """The tags of a cell, a set."""
    return set(cell.metadata.get("tags", []))


def is_solution(cell):
    """Whether this is a solution that runs."""
    return cell.cell_type == "code" and "solution" in tags(cell)


def is_marked(output, word):
    """Whether an output carries a mark of ours: "live" (a widget), "reopened" (its stored still), "veil" (`folds`)."""
    return output.get("metadata", {}).get(MARK, {}).get(word, False)


def code_cells(cells):
    """Those of the cells that hold code."""
    return [cell for cell in cells if cell.cell_type == "code"]


def prose(cells):
    """The Markdown of the cells, as one text."""
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def headings(source):
    """The headings of Markdown as pairs of level and text; between fences, # begins a comment."""
    found = re.findall(r"^(#{1,6}) +(.+)$", _FENCED.sub("", source), re.MULTILINE)
    return [(len(marks), text.strip()) for marks, text in found]


# --- parts


@dataclass
class Part:
    """A heading and what stands below it.

    Attributes:
        level: of the heading; 0 for what stands before the first one.
        title: its text.
        cells: copies of the notebook's, the heading's first.
    """

    level: int
    title: str
    cells: list

    @property
    def code(self):
        """Its code cells: of an exercise that asks for code, the stub and the solution."""
        return code_cells(self.cells)

    @property
    def kind(self):
        """Of an exercise, from its title `Exercise N · Kind · Title`: Predict, Code or Explore."""
        return self.title.partition(" · ")[2].partition(" · ")[0]

    @property
    def minutes(self):
        """Of an exercise, what the first line of its task states, `*About N minutes.*`; None if it does not."""
        _, _, task = self.cells[0].source.partition("\n")
        stated = re.match(r"\s*\*About (\d+) minutes?\.\*", task)
        return int(stated[1]) if stated else None

    @property
    def folded(self):
        """The summaries of what is folded away in it."""
        return [summary for summary, _ in unfold(prose(self.cells)) if summary is not None]


def sections(nb):
    """The sections of a lesson: `Part`s from a heading of level 1 or 2 to the next."""
    return _parts(nb, 2)


def exercises(nb, kind=None):
    """The exercises of a lesson, all or those of one kind: `Part`s from `### Exercise N` to the next heading."""
    found = [part for part in _parts(nb, 3) if part.level == 3 and re.match(r"Exercise \d", part.title)]
    return [part for part in found if kind in (None, part.kind)]


def _parts(nb, deepest):
    """A notebook cut before each heading of level `deepest` or above, inside cells too."""
    found = [Part(0, "", [])]
    for cell in nb.cells:
        if cell.cell_type != "markdown":
            found[-1].cells.append(cell.copy())
            continue
        for source in _cut(cell.source, deepest):
            level, title = next(iter(headings(source)), (deepest + 1, ""))
            if level <= deepest:
                found.append(Part(level, title, []))
            piece = cell.copy()
            piece.source = source
            found[-1].cells.append(piece)
    return [part for part in found if part.cells]


def _cut(source, deepest):
    """Markdown cut before each of its headings of level `deepest` or above; no piece is empty."""
    pieces, fenced = [""], False
    for line in source.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        if re.match(rf"#{{1,{deepest}}} ", line) and not fenced:
            pieces.append("")
        pieces[-1] += line
    return [piece.strip("\n") for piece in pieces if piece.strip()]


# --- predictions, what is for a second course, and pace


def answers(nb):
    """The cells of code that answer a prediction: of each, the first one below it."""
    found, asked = [], False
    for cell in nb.cells:
        if cell.cell_type == "code":
            found += [cell] * asked
            asked = False
        else:
            asked = asked or PREDICTION in cell.source
    return found


def is_deeper(cell):
    """Whether a part for a second course begins with this cell: its heading begins with `DEEPER`."""
    return cell.cell_type == "markdown" and re.match(rf"##+ {DEEPER}", cell.source) is not None


def deeper(nb):
    """The parts for a second course: lists of cells.

    Each reaches to the next cell with a heading of its own level or above, which is what JupyterLab folds away.
    """
    found, level = [], 0  # of the part that is open; 0: none is
    for cell in nb.cells:
        levels = [level for level, _ in headings(cell.source)] if cell.cell_type == "markdown" else []
        if level and levels and min(levels) <= level:
            level = 0
        if not level and is_deeper(cell):
            level = levels[0]
            found.append([])
        if level:
            found[-1].append(cell)
    return found


def without_deeper(nb):
    """A notebook with the cells of the main path only; they are `nb`'s own."""
    away = {id(cell) for part in deeper(nb) for cell in part}
    main = nb.copy()
    main.cells = [cell for cell in nb.cells if id(cell) not in away]
    return main


def minutes(nb):
    """How long the main path takes a reader, in minutes.

    `WORDS_A_MINUTE`, a minute for each cell of code, and for each exercise what it states, which stands for its words
    and its code. A word is what stands between blanks and holds a letter or a digit, so pieces of formulas and of
    tables count as well. What is folded away, in `<details>` or under `DEEPER`, does not count.
    """
    main = without_deeper(nb)
    tasks = exercises(main)
    cells = [cell for part in _parts(main, 3) if part not in tasks for cell in part.cells]
    shown = " ".join(text for summary, text in unfold(prose(cells)) if summary is None)
    words = sum(any(map(str.isalnum, word)) for word in shown.split())
    return words / WORDS_A_MINUTE + len(code_cells(cells)) + sum(task.minutes or 0 for task in tasks)


def stated_minutes(nb):
    """How long reading takes by the lesson's head, which says `N minutes to read`; None if it does not."""
    head = prose([cell for part in sections(nb) if part.level < 2 for cell in part.cells])
    stated = re.search(r"\b(\d+) minutes to read\b", head)
    return int(stated[1]) if stated else None


# --- what is folded away


def is_answer(summary):
    """Whether text folded under this summary gives the answer away, as a hint does not."""
    plain = re.sub(r"<[^>]*>|[*_]", "", summary).strip().lower()
    return plain.startswith(tuple(map(str.lower, ANSWERS)))


def unfold(source):
    """Markdown with what it folds away taken apart.

    Returns:
        List of pairs of summary and text, in the order of the source; the summary is None where text is not folded.
    """
    parts, end = [], 0
    for match in _FOLDED.finditer(source):
        parts.append((None, source[end : match.start()]))
        parts.append((re.sub(r"<[^>]*>", "", match["summary"]).strip(), match["text"].strip("\n")))
        end = match.end()
    parts.append((None, source[end:]))
    return [(summary, text) for summary, text in parts if text.strip()]


def without_answers(source):
    """Markdown without the folded parts that give an answer away."""
    return _FOLDED.sub(lambda match: "" if is_answer(match["summary"]) else match[0], source).strip("\n")


# --- blocks


def blocks(source):
    """Markdown as its blocks: what blank lines divide, where they do so.

    Returns:
        List of pairs of kind and source; kinds are "heading", "formula", "quote", "list", "table", "fence",
        "folded", "picture" and "paragraph".
    """
    found = []
    for summary, text in unfold(source):
        if summary is None:
            found += [(_kind(block), block) for block in _divided(text)]
        else:
            found.append(("folded", f"**{summary}**\n\n{text}"))
    return found


def _divided(text):
    """Text cut at blank lines, but not inside a fence or a displayed formula; a list stays in one piece."""
    pieces, closing = [[]], ""
    for line in text.splitlines():
        stripped = line.strip()
        if closing:
            pieces[-1].append(line)
        elif stripped.startswith(("```", "$$")):
            pieces.append([line])
            closing = "```" if stripped.startswith("```") else "$$"
            stripped = stripped.removeprefix(closing)  # which does not close what it opens
        if closing:
            if stripped.endswith(closing):
                closing = ""
                pieces.append([])
        elif re.match(r"#{1,6} ", line):
            pieces += [[line], []]
        elif not stripped:
            pieces.append([])
        elif _is_item(line) and pieces[-1] and not _is_item(pieces[-1][0]):
            pieces.append([line])
        else:
            pieces[-1].append(line)
    joined = []
    for block in ("\n".join(piece) for piece in pieces if piece):
        if joined and _is_item(joined[-1]) and (_is_item(block) or block.startswith("  ")):
            joined[-1] += "\n" + block
        else:
            joined.append(block)
    return joined


def _is_item(line):
    return bool(re.match(r"([-*+]|\d+[.)]) ", line))


def _kind(block):
    kinds = [kind for start, kind in _KINDS.items() if block.startswith(start)]
    return kinds[0] if kinds else "list" if _is_item(block) else "paragraph"
