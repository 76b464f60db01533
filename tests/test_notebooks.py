"""What every notebook must be, beside running without an error (which nbval sees to, cell by cell).

Conventions that the tests below hold the lessons to:

- Tags. A code cell whose output depends on training, timing or the machine, or that shows a progress bar, is
  tagged `nbval-ignore-output`: it runs, but its output is not compared. No comment in the code does this.
- Exercises. Each has a heading `### Exercise N` (N = 1, 2, ...), a hint in
  `<details><summary>Hint...</summary>`, and a solution. A solution that runs is a code cell tagged
  `solution`, folded (metadata `"jupyter": {"source_hidden": true}`), whose first line is
  `# Solution` and whose last statement asserts something; nbval runs it like any other cell. A solution
  in words is in `<details><summary>Solution...</summary>`. A lesson has at least one that runs.
- Outputs are stored by `python tests/execute_notebooks.py`.
"""

import ast
import re
from pathlib import Path

import nbformat
import pytest

PATHS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
TAGS = {"nbval-ignore-output", "solution"}
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|home|tmp|root|Users)\b|[A-Za-z]:\\+Users|site-packages")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MOST_LINES = 25  # of code in a cell, blank lines apart
MOST_BYTES = 1_000_000
LESSON_PARTS = {  # and how to find them; upper and lower case are the same
    "what you will be able to do": r"you will be able to",
    "how long reading and running take": r"^(?=.*\bread)(?=.*\brun)(?=.*\d+ (min|sec)).*$",
    "what to remember": r"^(#+ |\*\*).*what to remember",
    "where it stands in the paper": r"^(#+ |\*\*).*in the paper",
}


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


@pytest.fixture(scope="module")
def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def output_texts(notebook):
    """All that outputs say in words: streams and every representation that is no picture."""
    for output in outputs(notebook):
        yield output.get("text", "")
        data = output.get("data", {})
        yield from (str(data[mime]) for mime in data if not mime.startswith("image/"))


# --- outputs

def test_the_course_is_numbered_without_gaps():
    assert [int(path.stem[:2]) for path in PATHS] == list(range(1, len(PATHS) + 1))
    assert len(PATHS) >= 4


def test_format_is_valid(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)  # cells have ids: diffs stay small


def test_cells_were_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_errors_and_nothing_on_stderr(notebook):
    assert [output for output in outputs(notebook)
            if output.output_type == "error" or output.get("name") == "stderr"] == []


def test_no_warnings_in_outputs(notebook):
    assert [text for text in output_texts(notebook) if re.search(r"\w*Warning\b", text)] == []


def test_no_widget_state_is_stored(notebook):
    assert "widgets" not in notebook.metadata
    assert [output for output in outputs(notebook) if WIDGET_VIEW in output.get("data", {})] == []


def test_no_paths_of_a_machine(notebook):
    texts = [*(cell.source for cell in notebook.cells), *output_texts(notebook), str(notebook.metadata)]
    assert [text for text in texts if MACHINE_PATH.search(text)] == []


def test_representations_are_the_same_in_every_run(notebook):
    """No addresses of objects and no bytes of pictures in the text that stands for an output."""
    plain = [output.data.get("text/plain", "") for output in outputs(notebook) if "data" in output]
    assert [text for text in plain if re.search(r"\b0x[0-9a-f]{6,}|b'\\x", text)] == []


def test_pictures_have_a_short_text_beside_them(notebook):
    pictures = [output.data for output in outputs(notebook) if "image/png" in output.get("data", {})]
    texts = [data.get("text/plain", "") for data in pictures]
    assert [text for text in texts if not 0 < len(text) < 200] == []
    assert [data.keys() for data in pictures if "image/jpeg" in data] == []  # a second copy


def test_size(path):
    assert path.stat().st_size < MOST_BYTES


# --- code

def test_code_is_plain_python(notebook):
    for cell in code_cells(notebook):
        ast.parse(cell.source)  # no magics: tests read the cells, and learners take them elsewhere


def test_compared_cells_do_not_end_in_a_semicolon(notebook):
    """nbval runs cells outside IPython's history, where the semicolon is looked up: use plt.show()."""
    compared = [cell.source for cell in code_cells(notebook)
                if "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    assert [source for source in compared if source.rstrip().endswith(";")] == []


def test_cells_are_short(notebook):
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code_cells(notebook)]
    assert [n for n in lengths if not 0 < n <= MOST_LINES] == []


def test_no_leftovers_in_sources(notebook):
    leftovers = re.compile(r"sys\.path|NBVAL_|PYTEST_VALIDATE|\b(TODO|FIXME|XXX)\b")
    assert [cell.source for cell in notebook.cells if leftovers.search(cell.source)] == []


def test_tags_are_known(notebook):
    assert {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])} <= TAGS


# --- the grammar of a lesson

def test_title_is_a_question(notebook):
    title = notebook.cells[0].source.splitlines()[0]
    assert re.fullmatch(r"# .+\?", title)


@pytest.mark.parametrize("part", LESSON_PARTS)
def test_parts_of_a_lesson(prose, part):
    found = re.search(LESSON_PARTS[part], prose, re.IGNORECASE | re.MULTILINE)
    assert found, f"the lesson does not say {part}"


def exercises(notebook):
    """For each exercise, its number and its cells, up to the next heading of its level or above."""
    found = []
    inside = False
    for cell in notebook.cells:
        text = cell.source if cell.cell_type == "markdown" else ""
        unfenced = re.sub(r"```.*?```", "", text, flags=re.DOTALL)  # between fences, # begins a comment
        for heading in re.findall(r"^#{1,3} .*", unfenced, re.MULTILINE):
            number = re.match(r"### Exercise (\d+)\b", heading)
            inside = bool(number)
            if inside:
                found.append((int(number[1]), []))
        if inside:
            found[-1][1].append(cell)
    return found


def folded(cells, summary):
    """Whether one of `cells` has Markdown folded under a summary that begins with `summary`."""
    # Without the blank line after the summary, Markdown and formulas inside would not be rendered.
    pattern = rf"<details>\s*<summary>(<\w+>)*{summary}\b.*</summary>[^\S\n]*\n[^\S\n]*\n(?s:.+?)</details>"
    return any(cell.cell_type == "markdown" and re.search(pattern, cell.source) for cell in cells)


def is_solution(cell):
    return "solution" in cell.metadata.get("tags", [])


def test_exercises_have_hints_and_solutions(notebook):
    found = exercises(notebook)
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert 2 <= len(found) <= 4
    assert any(map(is_solution, notebook.cells))  # a lesson without any code to write has missed its chance
    for number, cells in found:
        assert folded(cells, "Hint"), f"exercise {number} has no folded hint"
        assert folded(cells, "Solution") or any(map(is_solution, cells)), f"exercise {number} has no solution"


def test_solutions_are_folded_and_check_themselves(notebook):
    in_exercises = [cell for _, cells in exercises(notebook) for cell in cells]
    for cell in filter(is_solution, notebook.cells):
        assert cell in in_exercises
        assert cell.metadata.get("jupyter", {}).get("source_hidden") is True
        assert cell.source.splitlines()[0] == "# Solution"
        last = ast.parse(cell.source).body[-1]
        assert any(isinstance(node, ast.Assert) for node in ast.walk(last)), cell.source
