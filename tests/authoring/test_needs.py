"""A table says what each section of a lesson needs after a restart of the kernel, and the section needs no more.

Going back is no harm: no cell takes from an earlier one the name that it reads. Nor is leaving out what goes deeper.
"""

from itertools import chain

import nbformat
import pytest

from vae_utils.authoring import lesson
from vae_utils.authoring.needs import AFTER_RESTART, borrowed, fill_table, needs, overwritten, table

from notebook_definitions import keeps


@pytest.fixture(scope="module", params=[*lesson.paths(), lesson.TEMPLATE], ids=lambda path: path.stem)
def notebook(request):
    return lesson.read(request.param)


def test_the_head_says_what_each_section_needs(notebook):
    head = [cell for section in lesson.sections(notebook) if section.level < 2 for cell in section.cells]
    last = head[-1]
    missing = f"a Markdown cell {AFTER_RESTART!r} should end the head, where {last.id!r} does"
    keeps("After a restart", [] if (last.id, last.cell_type) == (AFTER_RESTART, "markdown") else [missing])
    outdated = f"run `execute`: the table is not {last.source!r}"
    keeps("After a restart", [] if last.source == table(notebook) else [outdated])
    others = [cell.id for cell in notebook.cells if "fter a restart" in cell.source and cell.id != AFTER_RESTART]
    keeps("After a restart", others)


def test_the_main_path_needs_nothing_from_what_goes_deeper(notebook):
    keeps("Going deeper", borrowed(notebook))


def test_a_cell_can_run_again_after_later_ones(notebook):
    keeps("Going back is safe", overwritten(notebook))


@pytest.mark.parametrize(
    "later, harm",
    [
        ("x = 2", True),
        ("x = 1", False),
        ("y = [x for x in range(3)]", False),
        ("def f(x):\n    x = 2", False),
        ("for x in range(3):\n    pass", True),
        ("x = x[1:]", True),
        ("# Solution\nx = 2", False),
        ("print(x)", False),
    ],
)
def test_a_name_that_a_later_cell_takes_is_found(later, harm):
    assert bool(overwritten(write("x = 1", "print(x)", later))) is harm


@pytest.mark.parametrize(
    "cell, harm",
    [
        ("x = x + [1]", True),
        ("x += [1]", True),
        ("x |= {1}", False),
        ("x = 3\nx = x + 1", False),
        ("x = sorted(y)", False),
    ],
)
def test_a_cell_that_cannot_run_twice_is_found(cell, harm):
    assert bool(overwritten(write("x, y = [], []", cell))) is harm


def write(*cells, **sections):
    """A notebook of cells of code, a solution where one begins with `# Solution`; then sections of one cell each."""
    headings = [f"## {number} · {title}" for number, title in enumerate(sections, start=1)]
    nb = nbformat.v4.new_notebook()
    for source in [*cells, *chain(*zip(headings, sections.values()))]:
        make = nbformat.v4.new_markdown_cell if source.startswith("## ") else nbformat.v4.new_code_cell
        tags = {"tags": ["solution"]} if source.startswith("# Solution") else {}
        nb.cells.append(make(source, metadata=tags))
    return nb


def test_needs_are_names_of_earlier_sections_and_theirs():
    nb = write("import math\nx = 1", A="a = x", B="b = a + x", C="c = x", D="d = b")
    nb.cells.append(nbformat.v4.new_markdown_cell("## What to remember"))
    assert needs(nb) == {"1 · A": [], "2 · B": ["1 · A"], "3 · C": [], "4 · D": ["1 · A", "2 · B"]}
    assert [section.title for section in lesson.sections(nb)][-1] == "What to remember"


@pytest.mark.parametrize(
    "code, needed",
    [
        ("fit(vae, images)", True),
        ("print(vae)", True),
        ("def f(vae):\n    return vae", False),
        ("for vae in range(3):\n    print(vae)", False),
        ("[vae for vae in range(3)]", False),
        ("with open('x') as vae:\n    print(vae)", False),
        ("vae = 1\nprint(vae)", False),
        ("vae = vae + 1", True),
        ("def f(images):\n    vae = images\n    return vae", False),
        ("def f(images):\n    return vae(images)", True),
        ("vae.weight = 3", True),
        ("vae += 1", True),
    ],
)
def test_a_name_that_is_bound_before_it_is_read_is_no_need(code, needed):
    nb = write("images = 1", A="vae = 2", B=code)
    assert needs(nb)["2 · B"] == (["1 · A"] if needed else [])


def test_who_uses_a_trained_model_needs_the_section_that_trained_it():
    nb = write(A="vae = 1", B="fit(vae, 3)", C="print(vae)")
    assert needs(nb)["3 · C"] == ["1 · A", "2 · B"]


def test_what_a_solution_defines_is_nothing_that_others_need():
    nb = write(A="def f():\n    raise NotImplementedError", B="# Solution\ndef f():\n    return 1\nf()", C="f()")
    assert (needs(nb)["2 · B"], needs(nb)["3 · C"]) == ([], ["1 · A"])


def test_sections_with_equal_needs_share_a_line():
    nb = write("x = 1", A="a = x", B="b = a", C="c = x", D="a + b", E="b")
    nb.cells += [nbformat.v4.new_markdown_cell("## Exercises"), nbformat.v4.new_code_cell("c")]
    rows = ["| 1, 3 | none |", "| 2 | 1 |", "| 4, 5 | 1, 2 |", "| “Exercises” | 3 |"]
    assert table(nb).splitlines()[-6:-2] == rows


def test_the_table_is_written_into_its_cell_and_nowhere_else():
    nb = write("x = 1", A="a = x")
    before = [cell.source for cell in nb.cells]
    fill_table(nb)
    assert [cell.source for cell in nb.cells] == before
    nb.cells.insert(1, nbformat.v4.new_markdown_cell("old", id=AFTER_RESTART))
    fill_table(nb)
    assert [cell.source for cell in nb.cells] == [before[0], table(nb), *before[1:]]


@pytest.mark.parametrize(
    "deep, main, found",
    [
        ("x = 2", "print(x)", ["x"]),
        ("fit(vae, 3)", "print(vae)", ["vae"]),
        ("y = x", "print(x)", []),
        ("x = 2", "x = 3\nprint(x)", []),
        ("x = 2", "# Solution\nx = 3\nprint(x)", []),
    ],
)
def test_what_the_main_path_takes_from_what_goes_deeper_is_found(deep, main, found):
    nb = write("x, vae = 1, 2", A="x")
    heading = nbformat.v4.new_markdown_cell("### Going deeper · Why?")
    nb.cells += [heading, *write(deep).cells, *write(B=main, C="x = 3").cells]
    assert [name for name, _ in borrowed(nb)] == found
