"""What every notebook must be, beside running without an error (which nbval sees to, cell by cell).

Conventions that the tests below hold the lessons to:

- Tags. A code cell whose output depends on training, timing or the machine, or that shows a progress bar, is
  tagged `nbval-ignore-output`: it runs, but its output is not compared. No comment in the code does this.
- Exercises. A lesson has three to five, each under a heading `### Exercise N · Kind · Title`, N = 1, 2,
  ..., and at least one of each kind. *Predict*: a question, and `<details><summary>Answer</summary>`.
  *Explore*: what to change and what to look for, perhaps with a small code cell to change, and
  `<details><summary>What you may find</summary>`. *Code*: the task; one code cell with the stub, a function
  that raises NotImplementedError, and `checks.NAME(function)`; one to three `<details><summary>Hint
  1</summary>`; a code cell tagged `solution`, folded (metadata `"jupyter": {"source_hidden": true}`), whose
  first line is `# Solution`, which defines the function again and ends by asserting that the check finds it
  right; what is said after it is folded as `Answer` too, so that no learner copy holds it. No cell outside the
  exercise uses the learner's function.
- Outputs are stored by `python tests/execute_notebooks.py`.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from vae_utils import checks

PATHS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
TAGS = {"nbval-ignore-output", "solution", "slide", "fragment", "notes", "skip"}  # the last four: handouts.slides
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
    assert [
        output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"
    ] == []


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
    compared = [
        cell.source for cell in code_cells(notebook) if "nbval-ignore-output" not in cell.metadata.get("tags", [])
    ]
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


class Exercise(NamedTuple):
    """One exercise and its cells, up to the next heading of its level or above."""

    heading: str
    cells: list

    @property
    def kind(self):
        return self.heading.partition(" · ")[2].partition(" · ")[0]

    @property
    def code(self):
        return [cell for cell in self.cells if cell.cell_type == "code"]


def exercises(notebook, kind=None):
    """The exercises of a lesson in order, all or those of one kind."""
    found = []
    inside = False
    for cell in notebook.cells:
        text = cell.source if cell.cell_type == "markdown" else ""
        unfenced = re.sub(r"```.*?```", "", text, flags=re.DOTALL)  # between fences, # begins a comment
        for heading in re.findall(r"^#{1,3} .*", unfenced, re.MULTILINE):
            inside = heading.startswith("### Exercise")
            if inside:
                found.append(Exercise(heading, []))
        if inside:
            found[-1].cells.append(cell)
    return [exercise for exercise in found if kind in (None, exercise.kind)]


def folded(cells, summary):
    """Whether one of `cells` has Markdown folded under a summary that begins with `summary`."""
    # Without the blank line after the summary, Markdown and formulas inside would not be rendered.
    pattern = rf"<details>\s*<summary>(<\w+>)*{summary}\b.*</summary>[^\S\n]*\n[^\S\n]*\n(?s:.+?)</details>"
    return any(cell.cell_type == "markdown" and re.search(pattern, cell.source) for cell in cells)


def is_solution(cell):
    return "solution" in cell.metadata.get("tags", [])


def function_in(cell):
    """The one function that a cell defines at its top level."""
    functions = [node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)]
    assert len(functions) == 1, cell.source
    return functions[0]


def checks_called(tree):
    """Names of the checks that a piece of code calls, with the arguments written out."""
    return [
        (node.func.attr, [ast.unparse(argument) for argument in node.args])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("checks.")
    ]


def test_exercises_are_three_to_five_of_every_kind(notebook):
    found = exercises(notebook)
    form = re.compile(r"### Exercise (\d) · (Predict|Code|Explore) · \S.*")
    headings = [form.fullmatch(exercise.heading) for exercise in found]
    assert None not in headings, [exercise.heading for exercise in found]
    assert [int(heading[1]) for heading in headings] == list(range(1, len(found) + 1))
    assert 3 <= len(found) <= 5
    assert {heading[2] for heading in headings} == {"Predict", "Code", "Explore"}


@pytest.mark.parametrize(("kind", "summary"), [("Predict", "Answer"), ("Explore", "What you may find")])
def test_questions_have_their_answers_folded_away(notebook, kind, summary):
    for exercise in exercises(notebook, kind):
        assert folded(exercise.cells, summary), exercise.heading
        assert not any(map(is_solution, exercise.cells)), exercise.heading


def test_code_exercises_are_task_stub_hints_and_solution(notebook):
    for exercise in exercises(notebook, "Code"):
        kinds = [cell.cell_type for cell in exercise.cells]
        assert kinds[:4] == ["markdown", "code", "markdown", "code"], exercise.heading
        stub, solution = exercise.code
        assert not is_solution(stub) and is_solution(solution), exercise.heading
        hints = re.findall(r"<summary>(.*?)</summary>", exercise.cells[2].source)
        assert 1 <= len(hints) <= 3 and hints == [f"Hint {number + 1}" for number in range(len(hints))]
        assert all(folded(exercise.cells, hint) for hint in hints), exercise.heading


def test_what_is_said_after_a_solution_is_folded_with_it(notebook):
    for exercise in exercises(notebook, "Code"):
        for cell in exercise.cells[4:]:
            assert cell.source.startswith("<details><summary>Answer") and cell.source.endswith("</details>"), cell.id


def test_stubs_raise_inside_and_are_checked(notebook):
    for exercise in exercises(notebook, "Code"):
        cell = ast.parse(exercise.code[0].source)
        stub = function_in(exercise.code[0])
        assert ast.unparse(stub.body[-1]) == "raise NotImplementedError('your turn')", exercise.heading
        assert isinstance(cell.body[-1], ast.Expr), "the last line shows what the check says"
        ((name, arguments),) = checks_called(cell.body[-1])
        assert stub.name in arguments and name in checks.__all__, exercise.heading


def test_solutions_have_the_stubs_name_signature_and_docstring(notebook):
    for exercise in exercises(notebook, "Code"):
        stub, solution = map(function_in, exercise.code)
        assert stub.name == solution.name
        assert ast.unparse(stub.args) == ast.unparse(solution.args), exercise.heading
        assert ast.get_docstring(stub) == ast.get_docstring(solution) is not None, exercise.heading


def test_solutions_are_folded_and_check_themselves(notebook):
    in_exercises = [cell for exercise in exercises(notebook, "Code") for cell in exercise.cells]
    for cell in filter(is_solution, notebook.cells):
        assert cell in in_exercises
        assert cell.metadata.get("jupyter", {}).get("source_hidden") is True
        assert cell.source.splitlines()[0] == "# Solution"
    for exercise in exercises(notebook, "Code"):
        stub, solution = exercise.code
        last = ast.parse(solution.source).body[-1]
        assert isinstance(last, ast.Assert) and ast.unparse(last.test).endswith(".right"), exercise.heading
        assert checks_called(last) == checks_called(ast.parse(stub.source).body[-1]), exercise.heading


def test_no_other_cell_needs_what_the_learner_writes(notebook):
    """So that a copy without solutions runs to its end: of a stub only its own exercise knows."""
    for exercise in exercises(notebook, "Code"):
        name = function_in(exercise.code[0]).name
        others = [cell for cell in code_cells(notebook) if cell not in exercise.cells]
        users = [
            cell.source
            for cell in others
            for node in ast.walk(ast.parse(cell.source))
            if getattr(node, "id", getattr(node, "name", None)) == name
        ]
        assert users == [], exercise.heading
    stubs = [exercise.code[0] for exercise in exercises(notebook, "Code")]
    assert [
        cell.source for cell in code_cells(notebook) if "NotImplementedError" in cell.source and cell not in stubs
    ] == []


def test_checks_are_imported_with_the_first_imports(notebook):
    assert re.search(r"^from vae_utils import (\w+, )*checks\b", code_cells(notebook)[0].source, re.MULTILINE)


def test_stored_verdicts(notebook):
    """A stub is not attempted, a solution is right: the lesson was executed with its checks."""
    for exercise in exercises(notebook, "Code"):
        texts = [
            "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
            for cell in exercise.code
        ]
        assert texts[0].startswith("Not attempted yet"), exercise.heading
        assert "Right. " in texts[1], exercise.heading


def test_every_check_belongs_to_one_exercise():
    used = [
        name
        for path in PATHS
        for exercise in exercises(nbformat.read(path, as_version=4), "Code")
        for name, _ in checks_called(ast.parse(exercise.code[0].source))
    ]
    assert sorted(used) == sorted(checks.__all__)
