"""Lessons keep the rules of notebooks/CONTRIBUTING.md, and so does the template that a new one begins as.

That all cells run without an error is nbval's to see, cell by cell.
"""

import ast
import re

import nbformat
import pytest

from vae_utils import checks
from vae_utils.authoring import lesson
from vae_utils.authoring.claims import unfounded
from vae_utils.authoring.folds import HEADING_FOLDED, is_hidden
from vae_utils.authoring.lesson import code_cells, exercises, headings, is_solution, read, tags

from notebook_definitions import keeps

TAGS = {"nbval-ignore-output", "solution", "slide", "fragment", "notes", "skip"}  # the last four: authoring.slides
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|home|tmp|root|Users)\b|[A-Za-z]:\\+Users|site-packages")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MOST_LINES = 25  # of code in a cell, blank lines apart
MOST_BYTES = 1_000_000
MOST_MINUTES = 60  # to read a lesson
README = lesson.LESSONS.parent / "README.md"
PROMISES = {  # and how to find them; upper and lower case are the same
    "what the reader will be able to do": r"you will be able to",
    "how long reading and running take": r"^(?=.*\bread)(?=.*\brun)(?=.*\d+ (min|sec)).*$",
    "what to remember": r"^(#+ |\*\*).*what to remember",
    "where it stands in the paper": r"^(#+ |\*\*).*in the paper",
}


@pytest.fixture(scope="module", params=[*lesson.paths(), lesson.TEMPLATE], ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    return read(path)


@pytest.fixture(scope="module")
def prose(notebook):
    return lesson.prose(notebook.cells)


@pytest.fixture(scope="module")
def outputs(notebook):
    return [output for cell in code_cells(notebook.cells) for output in cell.outputs]


@pytest.fixture(scope="module")
def output_texts(outputs):
    """All that outputs say in words: streams and every representation that is no picture."""
    return [output.get("text", "") for output in outputs] + [
        str(data) for output in outputs for mime, data in output.get("data", {}).items() if "image/" not in mime
    ]


# --- outputs


def test_the_course_is_numbered_without_gaps():
    numbers = [int(path.stem[:2]) for path in lesson.paths()]
    keeps("Number and name", numbers if numbers != list(range(1, len(numbers) + 1)) else [])
    keeps("Number and name", sorted(set(lesson.LESSONS.glob("*.ipynb")) - set(lesson.paths())))
    assert len(numbers) >= 4


def test_cells_have_ids_and_were_executed_in_order(notebook):
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook.cells)]
    keeps("Stored by the command", counts if counts != list(range(1, len(counts) + 1)) else [])
    keeps("Stored by the command", [notebook.nbformat_minor] if notebook.nbformat_minor < 5 else [])


def test_no_errors_no_warnings_and_nothing_on_stderr(outputs, output_texts):
    keeps("Clean outputs", [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"])
    keeps("Clean outputs", [text for text in output_texts if re.search(r"\w*Warning\b", text)])


def test_no_widget_state_is_stored(notebook, outputs):
    keeps("Clean outputs", ["metadata.widgets"] if "widgets" in notebook.metadata else [])
    keeps("Clean outputs", [output for output in outputs if WIDGET_VIEW in output.get("data", {})])


def test_no_paths_of_a_machine(notebook, output_texts):
    keeps("Clean outputs", [text for text in [*output_texts, str(notebook.metadata)] if MACHINE_PATH.search(text)])
    keeps("No leftovers", [cell.source for cell in notebook.cells if MACHINE_PATH.search(cell.source)])


def test_representations_are_the_same_in_every_run(outputs):
    """No addresses of objects and no bytes of pictures in the text that stands for an output."""
    plain = [output.data.get("text/plain", "") for output in outputs if "data" in output]
    keeps("Clean outputs", [text for text in plain if re.search(r"\b0x[0-9a-f]{6,}|b'\\x", text)])


def test_pictures_have_a_short_text_beside_them(outputs):
    pictures = [output.data for output in outputs if "image/png" in output.get("data", {})]
    texts = [data.get("text/plain", "") for data in pictures]
    keeps("Pictures have words", [text for text in texts if not 0 < len(text) < 200])
    keeps("Pictures have words", [data.keys() for data in pictures if "image/jpeg" in data])  # a second copy


def test_size(path):
    keeps("Small files", [path.stat().st_size] if path.stat().st_size >= MOST_BYTES else [])


# --- code


def test_code_is_plain_python(notebook):
    keeps("Plain Python", [cell.source for cell in code_cells(notebook.cells) if not is_python(cell.source)])


def is_python(source):
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def test_compared_cells_do_not_end_in_a_semicolon(notebook):
    compared = [cell.source for cell in code_cells(notebook.cells) if "nbval-ignore-output" not in tags(cell)]
    keeps("No semicolon at the end", [source for source in compared if source.rstrip().endswith(";")])


def test_cells_are_short(notebook):
    lengths = {cell.id: sum(map(bool, map(str.strip, cell.source.split("\n")))) for cell in code_cells(notebook.cells)}
    keeps("Short cells", [f"{name}: {length}" for name, length in lengths.items() if not 0 < length <= MOST_LINES])


def test_no_leftovers_in_sources(notebook):
    leftovers = re.compile(r"sys\.path|NBVAL_|PYTEST_VALIDATE|\b(TODO|FIXME|XXX)\b")
    keeps("No leftovers", [cell.source for cell in notebook.cells if leftovers.search(cell.source)])


def test_tags_are_known(notebook):
    keeps("Known tags", set().union(*map(tags, notebook.cells)) - TAGS)


# --- the grammar of a lesson


def test_title_is_a_question(path, notebook):
    title = notebook.cells[0].source.partition("\n")[0]
    number = "00" if path == lesson.TEMPLATE else path.stem[:2]
    keeps("The title is a question", [title] if not re.fullmatch(rf"# {number} · .+\?", title) else [])


@pytest.mark.parametrize("promise", PROMISES)
def test_promises_of_a_lesson(prose, promise):
    found = re.search(PROMISES[promise], prose, re.IGNORECASE | re.MULTILINE)
    keeps("Four promises", [] if found else [f"the lesson does not say {promise}"])


def rounded_up(minutes):
    return -(-minutes // 5) * 5


def test_the_head_says_how_long_reading_takes(notebook):
    measured, stated = rounded_up(lesson.minutes(notebook)), lesson.stated_minutes(notebook)
    said = f"the head says {stated} minutes to read, measured are {measured:.0f}"
    keeps("Pace", [] if stated == measured else [said])
    keeps("Pace", [f"{measured:.0f} minutes"] if measured > MOST_MINUTES else [])


def test_the_readme_says_how_long_reading_takes():
    text = README.read_text("utf-8")
    rows = [f"(notebooks/{path.name}) ... | {lesson.stated_minutes(read(path))} min |" for path in lesson.paths()]
    patterns = [re.escape(row).replace(re.escape(" ... "), ".*") for row in rows]
    keeps("Pace", [row for row, pattern in zip(rows, patterns) if not re.search(pattern, text)])


# --- predictions, and what is for a second course


def test_the_answer_to_a_prediction_comes_next_and_is_folded(notebook):
    rule = "A prediction is kept"
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], nbformat.v4.new_markdown_cell()]):
        if cell.cell_type == "markdown" and lesson.PREDICTION in cell.source:
            answered = following.cell_type == "code" and following.outputs
            keeps(rule, [] if answered else [f"{cell.id}: the cell that comes next has no output"])
    answers = {cell.id for cell in lesson.answers(notebook)}
    solutions = {cell.id for cell in notebook.cells if lesson.is_solution(cell) and cell.outputs}
    keeps(rule, sorted({cell.id for cell in code_cells(notebook.cells) if is_hidden(cell)} ^ (answers | solutions)))


def test_what_goes_deeper_is_folded_in_whole_cells(notebook):
    rule = "Going deeper"
    for part in lesson.deeper(notebook):
        (level, title), *others = headings(lesson.prose(part))
        keeps(rule, [title] if not re.fullmatch(rf"{lesson.DEEPER} · \S.*", title) or level > 3 else [])
        keeps(rule, [inner for depth, inner in others if depth <= level])
        after = notebook.cells[notebook.cells.index(part[-1]) + 1 :]
        keeps(rule, [cell.id for cell in after[:1] if not cell.source.startswith("#")])
    begin = [part[0].id for part in lesson.deeper(notebook)]
    keeps(rule, sorted({cell.id for cell in notebook.cells if HEADING_FOLDED in cell.metadata} ^ set(begin)))
    inside = [cell.id for cell in notebook.cells if re.search(rf"(?m)^#+ {lesson.DEEPER}", cell.source)]
    keeps(rule, sorted(set(inside) - set(begin)))


def test_numbers_in_prose_stand_in_an_output_or_a_record_or_have_a_source(notebook):
    keeps(
        "Numbers stand somewhere", [f"{cell}: {number}: {sentence}" for cell, number, sentence in unfounded(notebook)]
    )


def test_folded_text_begins_after_a_blank_line(prose):
    keeps("A blank line after a summary", re.findall(r"<summary>.*</summary>(?!\s*?\n\s*?\n).*", prose))


# --- exercises


def function_in(cell):
    """The one function that a cell defines at its top level."""
    functions = [node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)]
    keeps("The stub", [cell.source] if len(functions) != 1 else [])
    return functions[0]


def last_statement(cell):
    return ast.parse(cell.source).body[-1]


def checks_called(tree):
    """Names of the checks that a piece of code calls, with the arguments written out."""
    return [
        (node.func.attr, [ast.unparse(argument) for argument in node.args])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("checks.")
    ]


def test_exercises_are_three_to_five_of_every_kind(notebook):
    found = exercises(notebook)
    titles = [exercise.title for exercise in found]
    forms = [rf"Exercise {number} · (Predict|Code|Explore) · \S.*" for number in range(1, len(found) + 1)]
    keeps("Three to five exercises", [title for form, title in zip(forms, titles) if not re.fullmatch(form, title)])
    kinds = {exercise.kind for exercise in found}
    keeps("Three to five exercises", titles if not 3 <= len(found) <= 5 or len(kinds) < 3 else [])


def test_exercises_say_how_long_they_take(notebook):
    keeps("Minutes of an exercise", [exercise.title for exercise in exercises(notebook) if not exercise.minutes])


@pytest.mark.parametrize(("kind", "summary"), [("Predict", "Answer"), ("Explore", "What you may find")])
def test_questions_have_their_answers_folded_away(notebook, kind, summary):
    for exercise in exercises(notebook, kind):
        answered = any(folded.startswith(summary) for folded in exercise.folded)
        keeps("Answers are folded", [exercise.title] if not answered or any(map(is_solution, exercise.cells)) else [])


def test_code_exercises_are_task_stub_hints_and_solution(notebook):
    rule = "Parts of a Code exercise"
    for exercise in exercises(notebook, "Code"):
        kinds = [(cell.cell_type, is_solution(cell)) for cell in exercise.cells]
        order = [("markdown", False), ("code", False), ("markdown", False), ("code", True)]
        keeps(rule, [exercise.title] if kinds[:4] != order else [])
        hints = [summary for summary in exercise.folded if summary.startswith("Hint")]
        numbered = hints in ([f"Hint {number}" for number in range(1, most + 1)] for most in (1, 2, 3))
        hidden = len(lesson.unfold(exercise.cells[2].source)) == len(hints)
        keeps(rule, [exercise.title, *hints] if not (numbered and hidden) else [])
        rest = [part for cell in exercise.cells[4:] for part in lesson.unfold(cell.source)]
        keeps(rule, [text for summary, text in rest if not (summary or "").startswith("Answer")])


def test_stubs_raise_inside_and_are_checked(notebook):
    for exercise in exercises(notebook, "Code"):
        stub, last = function_in(exercise.code[0]), last_statement(exercise.code[0])
        raises = ast.unparse(stub.body[-1]) == "raise NotImplementedError('your turn')" and ast.get_docstring(stub)
        called = [name for name, arguments in checks_called(last) if stub.name in arguments]
        shown = isinstance(last, ast.Expr) and len(called) == 1 and called[0] in checks.__all__
        keeps("The stub", [exercise.title] if not (raises and shown) else [])


def test_solutions_are_the_stubs_folded_and_check_themselves(notebook):
    in_exercises = [cell for exercise in exercises(notebook, "Code") for cell in exercise.cells]
    keeps("The solution", [cell.id for cell in filter(is_solution, notebook.cells) if cell not in in_exercises])
    for exercise in exercises(notebook, "Code"):
        (stub, solution), last = map(function_in, exercise.code), last_statement(exercise.code[1])
        kept = [
            (stub.name, ast.unparse(stub.args), ast.get_docstring(stub))
            == (solution.name, ast.unparse(solution.args), ast.get_docstring(solution)),
            exercise.code[1].metadata.get("jupyter", {}).get("source_hidden") is True,
            exercise.code[1].source.startswith("# Solution\n"),
            isinstance(last, ast.Assert) and ast.unparse(last.test).endswith(".right"),
            checks_called(last) == checks_called(last_statement(exercise.code[0])),
        ]
        keeps("The solution", [exercise.title] if not all(kept) else [])


def test_no_other_cell_needs_what_the_learner_writes(notebook):
    found = exercises(notebook, "Code")
    for exercise in found:
        name = function_in(exercise.code[0]).name
        users = [
            cell.source
            for cell in code_cells(notebook.cells)
            for node in ast.walk(ast.parse(cell.source))
            if cell not in exercise.cells and getattr(node, "id", getattr(node, "name", None)) == name
        ]
        keeps("Stubs stay alone", users)
    stubs = [exercise.code[0] for exercise in found]
    raising = [cell for cell in code_cells(notebook.cells) if "NotImplementedError" in cell.source]
    keeps("Stubs stay alone", [cell.source for cell in raising if cell not in stubs])


def test_stored_verdicts(notebook):
    """A stub is not attempted, a solution is right: the lesson was executed with its checks."""
    for exercise in exercises(notebook, "Code"):
        texts = [
            "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
            for cell in exercise.code
        ]
        fits = texts[0].startswith("Not attempted yet") and "Right. " in texts[1]
        keeps("Stored by the command", [exercise.title] if not fits else [])


def test_every_check_belongs_to_one_exercise():
    used = [
        name
        for path in lesson.paths()
        for exercise in exercises(read(path), "Code")
        for name, _ in checks_called(last_statement(exercise.code[0]))
    ]
    known = sorted({*checks.__all__, *used})
    counts = [f"checks.{name}: {used.count(name)} exercises" for name in known if used.count(name) != 1]
    keeps("One check an exercise", counts)
