"""Hand-outs: learner copies that run, solutions, slides that fit, pages; none asks for anything."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vae_utils.authoring.__main__ import KINDS, lessons, main, make
from vae_utils.authoring.copies import learner_copy, solutions_copy
from vae_utils.authoring.execution import execute
from vae_utils.authoring.folds import is_hidden
from vae_utils.authoring.lesson import (
    TEMPLATE,
    blocks,
    code_cells,
    deeper,
    exercises,
    is_answer,
    is_solution,
    prose,
    read,
    unfold,
)
from vae_utils.authoring.needs import names

from browser import fetched

PATHS = lessons([])
NEXT = f"{len(PATHS) + 1:02d}"


@pytest.fixture
def lesson(path):
    return read(path)


def soup(made, kind, path):
    return BeautifulSoup((made / kind / f"{path.stem}.html").read_text("utf-8"), "html.parser")


@pytest.mark.slow
def test_all_kinds_are_made_of_all_lessons(made):
    expected = {made / kind / f"{path.stem}{ending}" for kind, (_, ending) in KINDS.items() for path in PATHS}
    assert set(made.rglob("*.*")) == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["solutions", "slides", "pages"])
def test_a_page_asks_for_nothing(made, kind):
    assert fetched((made / kind / f"{PATHS[-1].stem}.html").read_text("utf-8")) == []


def test_hand_outs_are_not_committed():
    project = Path(__file__).resolve().parents[2]
    assert "/handouts/" in (project / ".gitignore").read_text("utf-8").splitlines()


# --- the parts of a lesson

SOURCE = """Text.

### Exercise 1 · Predict · Why?

Why?

<details><summary>Hint 1</summary>

Think $x$.

</details>

<details><summary><b>Answer</b></summary>

Because.

</details>

## Next

```python
# not a heading
```
"""


def test_answers_are_told_from_hints():
    assert [summary for summary, _ in unfold(SOURCE)] == [None, "Hint 1", "Answer", None]
    assert not is_answer("Hint 2")
    assert all(map(is_answer, ("Answer", "<b>Solution</b> in words", "What you may find")))


def test_an_exercise_ends_at_the_next_heading_inside_a_cell_too():
    nb = new_notebook(cells=[new_markdown_cell(SOURCE), new_code_cell("1")])
    (only,) = [exercise.cells for exercise in exercises(nb)]
    assert [cell.source.splitlines()[0] for cell in only] == ["### Exercise 1 · Predict · Why?"]
    assert "Because." in only[0].source and "Next" not in only[0].source


def test_blocks_keep_formulas_fences_and_lists_whole():
    source = "# A\nText\nmore:\n\n$$\na\n\nb\n$$\n\n- one\n\n  still one\n- two\n\n> **Predict.** x\n\n"
    source += "| a |\n|---|\n\n```\n\nx\n```"
    kinds = [kind for kind, _ in blocks(source)]
    assert kinds == ["heading", "paragraph", "formula", "list", "quote", "table", "fence"]
    folded = "x:\n\n<details><summary>Hint</summary>\n\nA $$ b.\n\n</details>"
    assert blocks(folded)[1] == ("folded", "**Hint**\n\nA $$ b.")


# --- learner copies


@pytest.mark.slow
def test_a_learner_copy_has_no_answers_and_keeps_all_else(made, path, lesson):
    copy = read(made / "learner" / path.name)
    nbformat.validate(copy)
    code = code_cells(copy.cells)
    assert [cell for cell in code if cell.outputs or cell.execution_count or is_solution(cell)] == []
    assert [cell for cell in code if is_hidden(cell) or "collapsed" in cell.metadata] == []
    assert [cell.source for cell in code] == [cell.source for cell in code_cells(lesson.cells) if not is_solution(cell)]
    folded, everything = (
        [(summary, text) for summary, text in unfold(prose(nb.cells)) if summary is not None] for nb in (copy, lesson)
    )
    assert folded == [(summary, text) for summary, text in everything if not is_answer(summary)]
    assert len(folded) < len(everything) or any(map(is_solution, lesson.cells))
    assert not re.search(r"<summary>(<\w+>)*(Answer|Solution|What you may find)", prose(copy.cells))


def test_no_cell_of_a_learner_copy_needs_a_name_from_a_solution(lesson):
    """The copy that is run below stands for all only if this holds."""

    def used_and_made(cells):
        found = [names(statement) for cell in cells for statement in ast.parse(cell.source).body]
        return [set().union(*sets) for sets in list(zip(*found))[:2]]

    _, solved = used_and_made(filter(is_solution, lesson.cells))
    used, made = used_and_made(code_cells(learner_copy(lesson).cells))
    assert (solved - made) & used == set()


@pytest.mark.slow
def test_a_learner_copy_runs_to_its_end(tmp_path):
    """The template's: of the lessons it is enough that no cell needs a solution (above, and "Stubs stay alone").

    Fresh pictures come with a sentence of their own, not with the size of a figure.
    """
    copy = learner_copy(read(TEMPLATE))
    path = tmp_path / "copy.ipynb"
    nbformat.write(copy, path)
    execute(path)
    ran = read(path)
    assert [cell.execution_count for cell in code_cells(ran.cells)] == list(range(1, len(code_cells(copy.cells)) + 1))
    data = [output.get("data", {}) for cell in code_cells(ran.cells) for output in cell.outputs]
    texts = [shown["text/plain"] for shown in data if "image/png" in shown]
    assert texts and [text for text in texts if text.startswith("<") or not 5 < len(text) < 200] == []


# --- solutions


@pytest.mark.slow
def test_solutions_hold_each_exercise_with_its_answer_laid_open(made, path, lesson):
    page = soup(made, "solutions", path)
    assert page.select("details") == []
    text = " ".join(page.get_text().split())
    titles = [exercise.title.replace("$", "") for exercise in exercises(lesson)]
    headings = [heading.get_text().rstrip("¶") for heading in page.select("h2")]
    assert [heading for heading in headings if heading.startswith("Exercise")] == titles and len(titles) >= 2
    for cell in filter(is_solution, lesson.cells):
        assert " ".join(cell.source.split()) in text
    assert "Hint" not in "".join(cell.source for cell in solutions_copy(lesson).cells)


# --- pages


@pytest.mark.slow
def test_pages_are_complete(made, path, lesson):
    page = soup(made, "pages", path)
    assert page.select("math") and page.select("script[src], link[href]") == []
    answered = [cell for cell in code_cells(lesson.cells) if is_hidden(cell) and not is_solution(cell)]
    assert len(page.select("details.vae-answer")) == len(answered) >= 3
    assert len(page.select("details.vae-deeper")) == len(deeper(lesson))
    solutions = page.select("details.vae-solution")
    folded = [found.select_one(".highlight").get_text().split() for found in solutions]
    assert folded == [cell.source.split() for cell in filter(is_solution, lesson.cells)]
    assert all("open" not in found.attrs for found in solutions)
    outputs = [output for cell in code_cells(lesson.cells) for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    shown = [image for image in page.select("img") if image["src"].startswith("data:image/png")]
    assert [image["alt"] for image in shown] == [" ".join(output.data["text/plain"].split()) for output in pictures]
    assert [link["href"] for link in page.select("a[href]") if link["href"].endswith(".ipynb")] == []


# --- the command


def test_lessons_are_found_by_number_or_name():
    assert lessons(["2", "01_elbo"]) == [PATHS[1], PATHS[0]]
    assert lessons(["04"]) == [PATHS[3]]


@pytest.mark.parametrize("wrong", ["99", "elbow"])
def test_an_unknown_lesson_ends_the_command_in_one_sentence(tmp_path, wrong):
    with pytest.raises(SystemExit, match=f"^a lesson was expected that is one of 01_elbo, .*got '{wrong}'$"):
        main(["slides", "1", wrong, "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_a_new_lesson_is_the_template_under_its_title(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("vae_utils.authoring.__main__.LESSONS", tmp_path)
    main(["new", f"{NEXT}_your_images", "What now?"])
    begun, template = read(tmp_path / f"{NEXT}_your_images.ipynb"), read(TEMPLATE)
    assert begun.cells[0].source.splitlines()[0] == f"# {NEXT} · What now?"
    assert begun.cells[1:] == template.cells[1:]
    assert "CONTRIBUTING.md" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, question, sentence",
    [
        ("01_elbo", "What now?", "a name was expected that is the next number .*, got '01_elbo'"),
        (f"{NEXT}_Your images", "What now?", "a name was expected"),
        (f"{NEXT}_your_images", "Now.", "a title was expected that is a question, got 'Now.'; end it"),
    ],
)
def test_a_new_lesson_is_refused_where_no_lesson_could_stand(tmp_path, monkeypatch, name, question, sentence):
    monkeypatch.setattr("vae_utils.authoring.__main__.LESSONS", tmp_path)
    with pytest.raises(SystemExit, match=sentence):
        main(["new", name, question])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_ends_the_command_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("no folder")
    sentence = r"01_elbo.ipynb: the folder was expected to be writable, got .*; choose another folder$"
    with pytest.raises(SystemExit, match=sentence):
        main(["learner", "1", "--out", str(tmp_path / "file")])


def test_making_again_replaces_the_file(tmp_path):
    first = make("learner", PATHS[0], tmp_path)
    first.write_text("old", "utf-8")
    assert make("learner", PATHS[0], tmp_path) == first
    assert nbformat.read(first, as_version=4).cells
