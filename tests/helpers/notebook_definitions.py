"""The functions and classes that a notebook writes out, for tests that hold them against the library's."""

import ast
from pathlib import Path
from types import SimpleNamespace

import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def sources(path, cell_type, without_tag=None):
    """The texts of a notebook's cells of one type ("code" or "markdown"), in order."""
    cells = nbformat.read(path, as_version=4).cells
    return [
        cell.source
        for cell in cells
        if cell.cell_type == cell_type and without_tag not in cell.metadata.get("tags", [])
    ]


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
    code = sources(path, "code", without_tag="solution")
    statements = [statement for source in code for statement in ast.parse(source).body]
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
