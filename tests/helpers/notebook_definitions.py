"""What tests of lessons share: the definitions that a notebook writes out, and the rules that a lesson keeps."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

from vae_utils.authoring.lesson import LESSONS as NOTEBOOKS
from vae_utils.authoring.lesson import code_cells, is_solution, read

# One rule a bullet: its name in bold, then what it asks and why.
RULES = {
    name: " ".join(text.split())
    for name, text in re.findall(
        r"^- \*\*(.+?)\.\*\*((?:.+\n)+?)(?=- |\n)", (NOTEBOOKS / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE
    )
}


def keeps(name, broken):
    """Assert that nothing breaks the rule of this name; if something does, the failure says the rule and what it is."""
    rule = f"notebooks/CONTRIBUTING.md: {name}. {RULES[name]}"
    assert not broken, f"{rule}\nBroken by: {broken}"


def sources(path, cell_type):
    """The texts of a notebook's cells of one type ("code" or "markdown"), in order."""
    return [cell.source for cell in read(path).cells if cell.cell_type == cell_type]


def definitions(notebook, *names, **given):
    """Execute a notebook's import lines and the named definitions, and nothing else of it.

        lesson = definitions("01_elbo", "kl_to_prior", "bound", num_samples=3)
        torch.testing.assert_close(lesson.kl_to_prior(mean, std), kl_divergence(q, prior))

    Args:
        notebook: name of a lesson, such as "01_elbo", or the path of a notebook.
        names: functions and classes, at the top level of code cells; name also those that they call. Cells
            tagged `solution` are left out.
        given: values for the other global names that the definitions use.

    Returns:
        A namespace with the definitions, the imports and what was given.

    Raises:
        ValueError: if one of `names` is not defined exactly once: the test could hold the wrong one.
    """
    path = Path(notebook) if str(notebook).endswith(".ipynb") else NOTEBOOKS / f"{notebook}.ipynb"
    cells = [cell for cell in code_cells(read(path).cells) if not is_solution(cell)]
    statements = [statement for cell in cells for statement in ast.parse(cell.source).body]
    found = [s for s in statements if isinstance(s, (ast.FunctionDef, ast.ClassDef)) and s.name in names]
    for name in names:
        count = sum(statement.name == name for statement in found)
        if count != 1:
            raise ValueError(
                f"{path.name} should define {name!r} once at the top level of its cells, but "
                f"does so {count} times; correct the name, or rename one of the definitions."
            )
    chosen = [s for s in statements if isinstance(s, (ast.Import, ast.ImportFrom)) or s in found]
    namespace = {"__name__": __name__, **given}
    exec(compile(ast.Module(chosen, type_ignores=[]), str(path), "exec"), namespace)
    return SimpleNamespace(**namespace)
