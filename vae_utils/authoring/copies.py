"""Notebooks made from a notebook: what a learner gets, the solutions, the beginning of a new lesson."""

import copy
import re

from nbformat.v4 import new_markdown_cell

from vae_utils.authoring import lesson
from vae_utils.authoring.folds import show_output
from vae_utils.authoring.lesson import MARK, exercises, is_answer, is_solution, unfold


def learner_copy(nb):
    """The lesson as a learner gets it: no outputs, no answers; hints, stubs and checks stay.

    Args:
        nb: a lesson, which stays as it is.

    Returns:
        Notebook that runs to its end.
    """
    nb = copy.deepcopy(nb)
    kept = []
    for cell in nb.cells:
        if is_solution(cell):
            continue
        if cell.cell_type == "code":
            show_output(cell)
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = lesson.without_answers(cell.source)
            if not cell.source.strip():
                continue
        kept.append(cell)
    nb.cells = kept
    return nb


def solutions_copy(nb):
    """The exercises of a lesson and nothing else, with what is folded away laid open.

    Args:
        nb: a lesson, which stays as it is.

    Returns:
        Notebook to be read, not to be run.
    """
    nb = copy.deepcopy(nb)
    _, title = lesson.headings(lesson.prose(nb.cells))[0]
    cells = [new_markdown_cell(f"# Exercises and solutions\n\nLesson {title}", id="solutions-title")]
    for number, exercise in enumerate(exercises(nb), start=1):
        for part, cell in enumerate(exercise.cells):
            if cell.cell_type == "markdown":
                cell.source = _opened(cell.source)
            else:
                show_output(cell)
            cell.id = f"solutions-{number}-{part}"
            cell.metadata.pop("jupyter", None)
            cell.metadata["tags"] = []
            cells.append(cell)
    nb.cells = cells
    nb.metadata[MARK] = {"handout": "solutions"}
    return nb


def new_lesson(number, question):
    """The template, as a lesson of this number under this title."""
    nb = lesson.read(lesson.TEMPLATE)
    _, _, rest = nb.cells[0].source.partition("\n")
    nb.cells[0].source = f"# {number:02d} · {question}\n{rest}"
    return nb


def _opened(source):
    """Markdown with its answers laid open; hints are left out, since the answer follows."""
    parts = []
    for summary, text in unfold(source):
        if summary is None:
            parts.append(re.sub(r"^#{3} ", "## ", text.strip("\n"), flags=re.MULTILINE))
        elif is_answer(summary):
            parts.append(f"**{summary}**\n\n{text}")
    return "\n\n".join(parts)
