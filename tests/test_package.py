"""The package, its requirements, README and the CI script: they agree, and importing costs little."""

import ast
import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import vae_utils
from vae_utils.authoring.lesson import read

from notebook_definitions import keeps, sources

PROJECT = Path(__file__).resolve().parents[1]
LIBRARY = PROJECT / "vae_utils"
MODULES = sorted(set(LIBRARY.rglob("*.py")) - {LIBRARY / "__init__.py"})
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
DOCUMENTS = [PROJECT / "README.md", *(PROJECT / "notebooks").glob("*.md"), *NOTEBOOKS]
SET_UP = "python3 -m venv .venv && .venv/bin/python -m pip install -r requirements.txt"
COMMANDS = {
    "learn": f"{SET_UP} && .venv/bin/jupyter lab --allow-root notebooks/01_elbo.ipynb",
    "test": f"{SET_UP} && .venv/bin/python -m pytest -n 2 --dist loadfile",
}
# Arrows run one way: a file of the core imports only from those on lines above its own, ...
CORE = (
    {"files", "runtime", "data"},
    {"likelihoods", "objectives"},
    {"models"},
    {"evaluation", "classifier"},
    {"training"},
    {"figures"},
    {"diagrams"},
)
# ... and from `support`; a package from these beside itself.
ALLOWED = {"support": set(), "paper": {"core", "support"}, "own": {"core", "support"}}
ALLOWED |= {"explore": ALLOWED["paper"], "checks": ALLOWED["paper"]}
ALLOWED["reproduce"] = {"core", *ALLOWED}
ALLOWED["authoring"] = {"core", *ALLOWED}
REFUSALS = ("ValueError", "TypeError", "FileNotFoundError", "OSError", "ArgumentTypeError")
# name to import: name to install
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "math_core": "math-core",
    "axe_playwright_python": "axe-playwright-python",
    "websocket": "websocket-client",
}
# What the listed requirements bring along, and of which we use only what they hand to their own users.
BROUGHT_ALONG = {"IPython": "ipywidgets", "traitlets": "ipywidgets"}
BROUGHT_ALONG |= {"jupyter_client": "nbclient", "jinja2": "nbconvert", "bs4": "nbconvert"}


# --- names and imports


def loaded_by(statement):
    """Top-level modules in memory after `statement` has run in a fresh Python."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import vae_utils") & {"torch", "numpy", "torchvision", "sklearn", "matplotlib"}


@pytest.mark.slow
def test_importing_names_loads_only_what_they_need():
    loaded = loaded_by("from vae_utils import load_mnist, elbo, fit")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "sklearn", "mlxtend", "pandas", "ipywidgets", "matplotlib"}


@pytest.mark.parametrize("name", vae_utils.__all__)
def test_every_public_name_is_the_one_of_its_module(name):
    module = importlib.import_module(f"vae_utils.{vae_utils._HOME_OF[name]}")
    assert getattr(vae_utils, name) is (module if name == "checks" else getattr(module, name))
    value = getattr(vae_utils, name)
    if isinstance(value, type) or callable(value):
        assert value.__module__ == module.__name__  # defined there, not passed on
    assert name in dir(vae_utils)


def test_unknown_names_are_refused():
    assert not hasattr(vae_utils, "no_such_name")
    with pytest.raises(ImportError, match="no_such_name"):
        exec("from vae_utils import no_such_name")


def imports_of(source):
    """Dotted names of the modules that `source` imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_arrows_run_one_way(path):
    own = path.relative_to(LIBRARY).with_suffix("").parts[0]
    imported = {name for name in imports_of(path.read_text("utf-8")) if name.startswith("vae_utils")}
    # an error for `vae_utils` itself, the face: the rooms do not look out of the window
    homes = {name.split(".")[1] for name in imported} - {own}
    assert {name for name in homes if name not in allowed(own)} == set()


def allowed(own):
    """The files of the core and the packages that a file of the core, or of a package, may import from."""
    core = set().union(*CORE)
    if own in ALLOWED:
        return {name for name in (*core, *ALLOWED) if ("core" if name in core else name) in ALLOWED[own]}
    level = next(i for i, names in enumerate(CORE) if own in names)
    return {"support"}.union(*CORE[:level])


# --- error sentences


def refusals():
    """(place, text) of each error that the library raises for what it was given; "{}" stands for values.

    Readers of files (`_read...`) say what they found; their caller makes a sentence of it. What `checks` says to
    learners has tests of its own.
    """
    for path in sorted(set(LIBRARY.rglob("*.py")) - set(LIBRARY.glob("checks/*"))):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_read"):
                continue
            for node in ast.walk(function):
                exception = getattr(node, "exc", None)
                if isinstance(exception, ast.Call) and getattr(exception.func, "id", "") in REFUSALS and exception.args:
                    yield f"{path.relative_to(LIBRARY)}:{node.lineno}", text_of(exception.args[0])


def text_of(node):
    """The text of an expression, with {} in the place of values; a call of `refusal` has the form by itself."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return "{}"


def test_refusals_have_one_form():
    """ "X was expected ..., got Y; what to do": written out, or made by `arguments.refusal`."""
    form = re.compile(r"(\{\}: )?\{\}|.*\b(was|were) expected\b.*, got .*[^.]", re.DOTALL)
    assert [(place, text) for place, text in refusals() if not form.fullmatch(text)] == []


# --- requirements


def test_all_that_is_imported_is_required():
    files = [*PROJECT.glob("*.py"), LIBRARY / "__init__.py", *MODULES, *PROJECT.glob("tests/**/*.py")]
    code = [path.read_text("utf-8") for path in files]
    for path in NOTEBOOKS:
        code += sources(path, "code")
    imported = {name.partition(".")[0] for source in code for name in imports_of(source)}
    others = imported - {path.stem for path in files} - set(sys.stdlib_module_names) - {"vae_utils"}
    needed = {DISTRIBUTIONS.get(name, name) for name in others}
    assert {BROUGHT_ALONG.get(name, name) for name in needed} - required() == set()


def required():
    """Names of the distributions in requirements.txt."""
    return set(re.findall(r"^([\w-]+)>=", (PROJECT / "requirements.txt").read_text("utf-8"), re.MULTILINE))


def test_each_requirement_says_what_needs_it():
    lines = (PROJECT / "requirements.txt").read_text("utf-8").splitlines()
    assert lines[0].startswith("-e .")  # the project itself, so that notebooks can import it
    form = r"(-e \.|[\w-]+>=[\d.]+|[\w-]+<[\d.]+; python_full_version < \"[\d.]+\") +# \S.*"
    assert [line for line in lines if not re.fullmatch(form, line)] == []


# --- README, links, CI


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_readme_has_the_command_as_one_line(command):
    assert (PROJECT / "README.md").read_text("utf-8").splitlines().count(command) == 1


def test_ci_runs_the_readmes_test_command():
    script = (PROJECT / ".ci" / "run").read_text("utf-8")
    pattern = re.search(r"grep -E '(.+)' README.md", script)[1]
    assert re.findall(pattern, (PROJECT / "README.md").read_text("utf-8"), re.MULTILINE) == [COMMANDS["test"]]
    assert os.access(PROJECT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    assert [target for target in links(markdown(path)) if not leads_somewhere(target, path)] == []


def test_readme_links_to_every_lesson():
    targets = set(links(markdown(PROJECT / "README.md")))
    keeps("Number and name", sorted({f"notebooks/{path.name}" for path in NOTEBOOKS} - targets))


def markdown(path):
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    return "\n\n".join(sources(path, "markdown"))


def links(text):
    """Targets of links and pictures inside the project, in Markdown and in HTML."""
    text = re.sub(r"```.*?```|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$", "", text, flags=re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"", text)
    return [target for pair in targets for target in pair if target and not re.match(r"\w+:", target)]


def leads_somewhere(target, document):
    name, _, anchor = target.partition("#")
    path = document.parent / name if name else document
    return path.exists() and (not anchor or anchor in anchors(path))


@functools.cache
def anchors(path):
    """The targets that headings are for links, GitHub's in a page, JupyterLab's in a notebook; there cells are too."""
    unfenced = re.sub(r"```.*?```", "", markdown(path), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", unfenced, re.MULTILINE)
    if path.suffix == ".ipynb":
        cells = {f"cell-id={cell.id}" for cell in read(path).cells}
        return cells | {heading.replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.slow
def test_without_the_checkout_data_lie_where_one_works_and_weights_are_told_of(tmp_path):
    """As `pip install .` leaves it: the package alone, among others."""
    packages, work = tmp_path / "site-packages", tmp_path / "work"
    shutil.copytree(LIBRARY, packages / "vae_utils", ignore=shutil.ignore_patterns("__pycache__"))
    work.mkdir()
    code = """
        from vae_utils.data import DATA
        from vae_utils.models import load_vae
        print(DATA)
        try:
            load_vae("mlp")
        except FileNotFoundError as error:
            print(error)
    """
    environment = os.environ | {"PYTHONPATH": str(packages)}
    run = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    said = subprocess.run(run, cwd=work, env=environment, check=True, capture_output=True, text=True).stdout
    folder, sentence = said.splitlines()
    assert Path(folder) == work / "data" and "clone the whole repository" in sentence
