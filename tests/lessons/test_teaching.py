"""The teacher's page, notebooks/TEACHING.md: its minutes add up, and all that it names exists."""

import ast
import inspect
import math
import re

import pytest
import torch
from torch import distributions

from vae_utils import evaluation, figures, objectives, training
from vae_utils.authoring.lesson import LESSONS as NOTEBOOKS
from vae_utils.authoring.lesson import code_cells, exercises, headings, is_solution, paths, read
from vae_utils.authoring.needs import globals_of, table_of
from vae_utils.data import MNIST
from vae_utils.likelihoods import PixelGaussian
from vae_utils.models import mlp_vae
from vae_utils.paper import bayes, importance, marginal

from notebook_definitions import keeps

PAGE = (NOTEBOOKS / "TEACHING.md").read_text("utf-8")
LESSONS = {path.name: read(path) for path in paths()}
CELLS = {name: {cell.id: cell for cell in lesson.cells} for name, lesson in LESSONS.items()}
PLANS = (50, 90, 180)
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
KINDS = {"a number": int, "a network": torch.nn.Module}
NOTATION = bayes, evaluation, figures, importance, marginal, objectives  # modules that the table names
SIZES = {"B": 4, "J": 2, "L": 3, "K": 5, "N": 7, "n": 6}  # no two alike, so that no axis stands for another


def part(title):
    """The text below the heading that begins with `title`, up to the next of its level or above."""
    heading = re.search(rf"^(#+) {re.escape(title)}\b.*$", PAGE, re.MULTILINE)
    assert heading, title
    rest = PAGE[heading.end() :]
    following = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def table(text):
    """The rows of the first table in `text`: lists of cells, without the head."""
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(row) for row in rows} == {len(rows[0])}  # a stray | in a cell
    return rows[2:]


def cell_of(target):
    """The lesson's file name and the cell that a link such as 01_elbo.ipynb#cell-id=cell-007 leads to."""
    name, _, fragment = target.partition("#cell-id=")
    return name, CELLS[name][fragment]


def lesson_links(text):
    """Pairs of text and target of the links into lessons."""
    return [(label, target) for label, target in LINK.findall(text) if ".ipynb#" in target]


# --- links and names


def test_sections_and_exercises_have_these_names_in_the_lessons():
    named = 0
    for label, target in lesson_links(PAGE):
        if not re.match(r"\d\d( §|, exercise )", label):
            unchecked = re.search(r"§|xercise \d", label)
            assert not unchecked, f"[{label}] should be as [04 § 2 · Title] or [04, exercise 2 · Kind · Title]"
            continue
        name, cell = cell_of(target)
        lesson, wanted = re.fullmatch(r"(\d\d)(?: §|, )(.*)", label).groups()
        found = [heading.lower() for _, heading in headings(cell.source)]
        assert name.startswith(lesson) and wanted.lower() in found, f"[{label}]({target})"
        named += 1
    assert named > 50


def test_links_that_name_a_cell_lead_to_code_or_to_a_heading():
    for label, target in lesson_links(PAGE):
        cell = cell_of(target)[1]
        assert cell.cell_type == "code" or headings(cell.source), f"[{label}]({target})"
        assert not is_solution(cell), f"[{label}]({target}): not in a learner copy"


def test_numbers_with_a_decimal_point_stand_in_a_lesson_or_in_the_readme():
    cells = [cell for lesson in LESSONS.values() for cell in lesson.cells]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    stored = [(NOTEBOOKS.parent / "README.md").read_text("utf-8"), *(cell.source for cell in cells)]
    stored += [str(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in outputs]
    stored = "\n".join(stored)
    prose = LINK.sub(r"\1", PAGE)
    numbers = set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", prose))
    assert len(numbers) > 10
    assert [number for number in numbers if number not in stored] == []


def test_lines_are_short_enough_to_read_in_an_editor():
    assert [line for line in PAGE.splitlines() if len(line) > 170 and not line.startswith("|")] == []


# --- plans


@pytest.mark.parametrize("minutes", PLANS)
def test_minutes_add_up(minutes):
    clock = 0
    for at, spent, *_ in table(part(f"{minutes} minutes")):
        assert int(at) == clock
        clock += int(spent)
    assert clock == minutes


@pytest.mark.parametrize("minutes", PLANS)
def test_every_step_says_where_what_and_what_to_ask(minutes):
    for row in table(part(f"{minutes} minutes")):
        _at, _spent, where, say, ask, wrong, late = row
        assert say and late, row
        if where == "Break":
            continue
        assert LINK.search(where), row
        assert "?" in ask or where.startswith("Exam"), row
        assert bool(ask) == bool(wrong), row


def ways(minutes):
    """For each lesson of a plan, the cells to run: {file name: [cell, ...]}."""
    found = {}
    for plan, lesson, cells in table(part("Which cells to run")):
        if plan != str(minutes):
            continue
        name = next(name for name in LESSONS if name.startswith(lesson))
        order = list(CELLS[name])
        for stretch in cells.split(";"):
            ends = [cell_of(target) for _, target in lesson_links(stretch)]
            assert {end[0] for end in ends} == {name}, stretch
            first, last = (order.index(end[1].id) for end in (ends[0], ends[-1]))
            assert len(ends) == 1 or (len(ends) == 2 and first < last), stretch
            found.setdefault(name, []).extend(CELLS[name][i] for i in order[first : last + 1])
    return found


@pytest.mark.parametrize("minutes", PLANS)
def test_cells_that_a_plan_shows_are_among_those_to_run(minutes):
    run = {name: {cell.id for cell in cells} for name, cells in ways(minutes).items()}
    shown = 0
    for row in table(part(f"{minutes} minutes")):
        for label, target in lesson_links(row[4]):  # "Before the cell that ...: ...?"
            name, cell = cell_of(target)
            assert cell.id in run[name], f"[{label}]({target})"
            shown += 1
    assert shown >= 6


@pytest.mark.parametrize("minutes", PLANS)
def test_cells_to_run_need_no_others(minutes):
    """By names alone: nothing is run, but a cell is found whose input no earlier cell of the list makes."""
    assert ways(minutes)
    for name, cells in ways(minutes).items():
        have, later = set(), set()  # later: what functions and classes read
        for cell in code_cells(cells):
            for statement in [] if is_solution(cell) else ast.parse(cell.source).body:
                made, used = globals_of(table_of(statement, cell.id))
                if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                    later |= used
                else:
                    assert used - made <= have, f"{name}, {cell.id} lacks {used - made - have}"
                have |= made
        assert later <= have, f"{name} lacks {later - have}"


# --- notation


def shape_of(thing):
    """As the table writes it: "[4, 2]", "batch [4], event [2]"."""
    if isinstance(thing, distributions.Distribution):
        batch = f"batch {list(thing.batch_shape)}, " if thing.batch_shape else ""
        return f"{batch}event {list(thing.event_shape)}"
    return str(list(thing.shape))


def test_every_code_name_of_the_notation_exists_and_has_that_shape(images):
    torch.manual_seed(0)
    vae = mlp_vae(SIZES["J"], (8,))
    sizes = SIZES | {"P": sum(weight.numel() for weight in vae.decoder.parameters())}
    modules = {module.__name__.split(".")[-1]: module for module in NOTATION}
    given = sizes | modules | {"vae": vae, "grey_vae": mlp_vae(SIZES["J"], (8,), likelihood=PixelGaussian())}
    rows = table(part("Notation"))
    assert len(rows) > 25
    for _, _, code, shape in rows:
        parameter = re.fullmatch(r"`(\w+)` in `training\.(\w+)`", code)
        if parameter:
            assert parameter[1] in inspect.signature(getattr(training, parameter[2])).parameters, code
            continue
        grey = images[: sizes["N" if "[N" in shape else "B"]]
        labels = torch.zeros(len(grey), dtype=torch.int64)
        here = {"images": grey, "x": vae.observe(grey)}
        here["mnist"] = MNIST(grey, labels, grey, labels, "data/", True)
        here["z"] = vae.encode(here["x"]).sample()
        found = eval(code.strip("`"), given | here)
        if shape in KINDS:
            assert isinstance(found, KINDS[shape]), code
        else:
            expected = re.sub(r"\b(2?)([A-Zn])\b", lambda m: str(int(m[1] or 1) * sizes[m[2]]), shape)
            assert shape_of(found) == expected, code


# --- outcomes and the exam


def test_every_outcome_is_shown_by_an_exercise_and_every_exercise_shows_one():
    rows = table(part("Learning outcomes"))
    assert all(lesson_links(row[-1]) for row in rows)
    shown = {target for row in rows for _, target in lesson_links(row[-1])}
    links = {
        f"{name}#cell-id={exercise.cells[0].id}": f"[{name[:2]}, e{exercise.title[1:]}]"
        for name, lesson in LESSONS.items()
        for exercise in exercises(lesson)
    }
    keeps("Outcomes for the teacher", [f"{links[at]}({at}) is missing" for at in links if at not in shown])


def test_exam_has_ten_questions_with_folded_answers():
    exam = PAGE[PAGE.index("## Ten questions") : PAGE.index("## Notation")]
    numbers = [int(number) for number in re.findall(r"^### Question (\d+)$", exam, re.MULTILINE)]
    assert numbers == list(range(1, 11))
    for number in numbers:
        summary = f"<summary>Answer to question {number}</summary>\n\n"
        question, found, answer = part(f"Question {number}").partition(summary)
        assert lesson_links(question) and "?" in question
        assert found and answer.rstrip().endswith("\n\n</details>")  # formulas need the blank lines


def test_numbers_of_the_exam_follow_from_its_formulas():
    sigma = 0.5
    right, charged = (0.5 * (sigma**power - 1 - power * math.log(sigma)) for power in (2, 1))
    assert f"right {right:.4f} nats, charged {charged:.4f}" in PAGE
    path, score = (lambda s: 4 * s**2), (lambda s: 1 / s**2 + 14 + 15 * s**2)
    assert f"they are {path(1):.0f} and {score(1):.0f} at $\\sigma = 1$" in PAGE
    assert f"{path(0.1):.2f} and {score(0.1):.2f} at $\\sigma = 0.1$" in PAGE
    assert f"$560 \\log (256/255) = {560 * math.log(256 / 255):.2f}$" in PAGE
    assert f"{560 * (math.log(256) - 0.5 * math.log(2 * math.pi)):.0f} nats" in PAGE
