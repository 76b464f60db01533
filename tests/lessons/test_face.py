"""The names that `vae_utils` shows are those that two lessons or more import, and lessons import them from there."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import vae_utils
from vae_utils.authoring.lesson import TEMPLATE, code_cells, paths, read

from notebook_definitions import keeps

FACE = set(vae_utils.__all__)
ABOVE = Path(vae_utils.__file__).parents[1]


def imports(path):
    """What a lesson imports from the library: for each statement its code cell's number, the module, the names.

    `from vae_utils import objectives` gives a module, not a name that the library defines; it is left out.
    """
    return [
        (number, node.module, [alias.name for alias in node.names if not is_module(node.module, alias.name)])
        for number, cell in enumerate(code_cells(read(path).cells))
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "vae_utils"
    ]


def is_module(module, name):
    return ABOVE.joinpath(*module.split("."), f"{name}.py").exists()


def test_the_face_is_what_two_lessons_or_more_import():
    lessons = Counter(name for path in paths() for name in {name for *_, names in imports(path) for name in names})
    shared = {name for name, count in lessons.items() if count > 1}
    keeps("The face", [f"{name} is not in it" for name in sorted(shared - FACE)])
    keeps("The face", [f"{name} is imported by {lessons[name]} lesson(s)" for name in sorted(FACE - shared)])


@pytest.mark.parametrize("path", [*paths(), TEMPLATE], ids=lambda path: path.stem)
def test_lessons_import_the_face_in_one_statement_and_other_names_from_their_modules(path):
    found = imports(path)
    apart = [f"{name} from {module}" for _, module, names in found for name in names if module != "vae_utils"]
    keeps("One import of the face", [text for text in apart if text.split()[0] in FACE])
    cells = [number for number, module, _ in found if module == "vae_utils"]
    keeps("One import of the face", [] if cells == [0] else [f"code cells {cells}, counted from 0"])
    keeps("One import of the face", [] if any("checks" in names for *_, names in found) else ["checks is missing"])
