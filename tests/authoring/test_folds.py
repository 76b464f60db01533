"""What waits until the reader asks: answers to predictions, and parts for a second course."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vae_utils.authoring.browser import evaluate, open_notebook, run_cell
from vae_utils.authoring.execution import KERNEL
from vae_utils.authoring.folds import HEADING_FOLDED, SOLUTION_VEIL, VEIL, fold, is_hidden, is_veil
from vae_utils.authoring.lesson import DEEPER, PREDICTION, answers, deeper, exercises, minutes, stated_minutes

from browser import chromium, jupyter_lab, page  # noqa: F401  (fixtures)


def printed(text):
    """A cell of code that has printed this."""
    return new_code_cell(f"print({text!r})", outputs=[new_output("stream", name="stdout", text=f"{text}\n")])


def lesson(*cells):
    """A notebook in which strings are Markdown."""
    cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


ASKED = f"## 1 · Why?\n\n{PREDICTION} How many?"


# --- predictions


def test_the_first_cell_of_code_below_a_prediction_answers_it():
    nb = lesson(printed("head"), ASKED, printed("answer"), printed("more"), "Read.", printed("rest"))
    assert [cell.source for cell in answers(nb)] == ["print('answer')"]


def test_answers_and_what_solutions_show_are_folded_and_nothing_else():
    nb = lesson(printed("head"), ASKED, printed("answer"), printed("more"))
    solution, silent = printed("42"), new_code_cell("1")
    for cell in (solution, silent):
        cell.metadata = {"tags": ["solution"], "jupyter": {"source_hidden": True}}
    silent.metadata |= {"collapsed": True}
    nb.cells += [solution, silent]
    fold(nb)
    nbformat.validate(nb)
    assert [is_hidden(cell) for cell in nb.cells if cell.cell_type == "code"] == [False, True, False, True, False]
    assert nb.cells[2].metadata == {"collapsed": True, "jupyter": {"outputs_hidden": True}}
    assert silent.metadata == {"tags": ["solution"], "jupyter": {"source_hidden": True}}
    for cell, veil in ((nb.cells[2], VEIL), (solution, SOLUTION_VEIL)):
        assert [is_veil(output) for output in cell.outputs] == [True, False]
        assert cell.outputs[0].data["text/plain"] == veil


def test_folding_again_changes_nothing():
    nb = lesson(ASKED, printed("answer"), f"## {DEEPER} · Why?", printed("deep"))
    fold(nb)
    once = nbformat.writes(nb)
    fold(nb)
    assert nbformat.writes(nb) == once


def test_a_cell_that_shows_nothing_is_not_folded():
    nb = lesson(ASKED, new_code_cell("x = 1"))
    fold(nb)
    assert nb.cells[1].metadata == {}


# --- what is for a second course


def test_what_goes_deeper_ends_at_a_heading_of_its_level_or_above():
    parts = [f"### {DEEPER} · One", "#### Inside", printed("a"), "### Exercise 1 · Code · x", f"## {DEEPER} · Two"]
    nb = lesson("## 1 · x", *parts, "### Inside", printed("b"), "## What to remember")
    assert [[cell.source for cell in part] for part in deeper(nb)] == [
        [parts[0], "#### Inside", "print('a')"],
        [parts[4], "### Inside", "print('b')"],
    ]
    fold(nb)
    assert [cell.source for cell in nb.cells if HEADING_FOLDED in cell.metadata] == [parts[0], parts[4]]


# --- pace

HEAD = "# 01 · Why?\n\n**Time:** about 15 minutes to read, one to run."
TASK = "### Exercise 1 · Predict · Why?\n\n*About 4 minutes.*\n\n"


def words(number):
    return " ".join(["word"] * number)


@pytest.mark.parametrize(
    "cells, measured",
    [
        ([words(200)], 1),
        ([f"{words(199)} · $a$ = |"], 1),  # a sign alone is no word
        ([printed("a"), printed("b")], 2),
        ([f"<details><summary>Hint</summary>\n\n{words(200)}\n\n</details>"], 0),
        ([f"## {DEEPER} · Two", words(200), printed("a")], 0),
        ([TASK + words(200), printed("a")], 4),
        ([TASK.replace("*About 4 minutes.*", "") + words(200)], 0),
        ([f"## {DEEPER} · Two", TASK + words(200), printed("a")], 0),
    ],
)
def test_minutes(cells, measured):
    assert minutes(lesson(*cells)) == pytest.approx(measured)


def test_what_a_lesson_and_an_exercise_state():
    nb = lesson(HEAD, "## 1 · One\n\nThis takes 3 minutes to read.", TASK)
    assert (stated_minutes(nb), exercises(nb)[0].minutes) == (15, 4)
    assert stated_minutes(lesson("# Why?", "## 1 · One\n\n3 minutes to read.")) is None


# --- in JupyterLab


@pytest.mark.slow
def test_jupyterlab_folds_both_and_shows_an_answer_when_its_cell_runs(jupyter_lab, page):
    nb = lesson(ASKED, printed("answer"), f"### {DEEPER} · Two", printed("deep"), "## 2 · Then", printed("rest"))
    fold(nb)
    nbformat.write(nb, jupyter_lab.folder / "folds.ipynb")
    open_notebook(page, jupyter_lab, "folds.ipynb")
    cells = page.locator(".jp-Notebook .jp-Cell")
    assert cells.nth(1).locator(".jp-OutputPlaceholder").inner_text().strip() == VEIL
    assert cells.nth(1).locator(".jp-OutputArea-output").count() == 0
    assert not cells.nth(3).is_visible() and cells.nth(5).is_visible()
    run_cell(page, 1)
    shown = cells.nth(1).locator(".jp-OutputArea-output")
    assert shown.all_text_contents() == ["answer\n"]
    evaluate(page, "async () => { await jupyterapp.commands.execute('notebook:run-all-cells'); }")
    assert cells.nth(3).locator(".jp-OutputArea-output").all_text_contents() == ["deep\n"]
    jupyter_lab.shut_down()
