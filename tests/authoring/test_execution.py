"""The command that stores notebooks' outputs, on throw-away notebooks and on the template, which nbval does not see."""

import itertools
import shutil
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vae_utils.authoring.__main__ import main
from vae_utils.authoring.execution import execute, fold_carriage_returns, fold_streams
from vae_utils.authoring.lesson import TEMPLATE, code_cells, read


def write(path, *cells):
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain\n", "plain\n"),
        ("a\n\nb", "a\n\nb"),
        ("\r 10%\r 20%\r100%\ndone\n", "100%\ndone\n"),
        ("\r 10%|#   |\r 90%|### |\r          \rdone\n", "done\n"),  # a bar that cleared itself, then a print
        ("before\n\r 10%\r    \r", "before\n"),
        ("\r 10%\r    \r", ""),
        ("long line\rshort\n", "shortline\n"),  # as in a terminal: what is not written over stays
    ],
)
def test_carriage_returns_are_folded(text, shown):
    assert fold_carriage_returns(text) == shown


def test_a_bar_in_pieces_between_prints_leaves_only_the_prints():
    texts = ["\r 10%", "one\n", "\r 90%", "two\n", "\r    \r"]
    names = itertools.cycle(["stderr", "stdout"])
    outputs = [new_output("stream", name=name, text=text) for name, text in zip(names, texts)]
    assert [(o.name, o.text) for o in fold_streams(outputs)] == [("stdout", "one\ntwo\n")]


def test_prints_stay_on_their_side_of_a_picture():
    printed = new_output("stream", name="stdout", text="x")
    picture = new_output("display_data", {"image/png": ""})
    assert len(fold_streams([printed, picture, printed.copy()])) == 3


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook with all that makes noise, run twice: [its bytes, its content] of each run."""
    path = write(
        tmp_path_factory.mktemp("notebooks") / "noisy.ipynb",
        new_markdown_cell("# Noise?"),
        new_code_cell(
            "import sys, time, ipywidgets\nfrom tqdm import tqdm\n"
            "for _ in tqdm(range(3), leave=False):\n    time.sleep(0.01)\nprint(sys.executable)",
            metadata={"execution": {"iopub.execute_input": "2020-01-01"}},
        ),
        new_code_cell("ipywidgets.FloatSlider(description='z1')"),
        new_code_cell("from PIL import Image\nImage.new('L', (2, 2))"),
    )
    runs = []
    for _ in range(2):
        main(["execute", str(path)])
        runs.append((path.read_bytes(), nbformat.read(path, as_version=4)))
    return runs


@pytest.mark.slow
def test_a_second_run_changes_no_byte(executed):
    assert executed[0][0] == executed[1][0]


def test_only_the_cells_own_doing_is_stored(executed):
    notebook = executed[0][1]
    _, printing, slider, picture = notebook.cells
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3]
    assert [(o.name, o.text) for o in printing.outputs] == [("stdout", f"{sys.executable}\n")]  # this Python
    assert "execution" not in printing.metadata
    assert slider.outputs[0].data.keys() == {"text/plain"}
    assert picture.outputs[0].data.keys() == {"text/plain", "image/png"}
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info


@pytest.mark.slow
def test_a_failing_cell_is_named_and_the_file_stays(tmp_path):
    path = write(
        tmp_path / "broken.ipynb",
        new_markdown_cell("# Text"),
        new_code_cell("1 + 1"),
        new_code_cell("assert 1 == 2, 'one is not two'"),
    )
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="(?s)one is not two.*broken.ipynb was expected to run .* in cell 2 "):
        main(["execute", str(path)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [RuntimeError("Kernel died"), OSError("No space left")])
def test_a_kernel_that_does_not_start_is_one_sentence(fault, tmp_path, monkeypatch):
    def execute(*args, **kwargs):
        try:
            raise fault
        finally:
            if isinstance(fault, OSError):
                raise AssertionError  # nbclient's, on its way out

    path = write(tmp_path / "sound.ipynb", new_code_cell("1 + 1"))
    monkeypatch.setattr(NotebookClient, "execute", execute)
    with pytest.raises(
        SystemExit, match=f"sound.ipynb: a kernel was expected to start, got {fault}; see that your home"
    ):
        main(["execute", str(path)])


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(SystemExit, match="a notebook was expected to run, got .*none.ipynb, which is no file"):
        main(["execute", str(tmp_path / "none.ipynb")])


@pytest.mark.slow
def test_the_template_runs_and_holds_what_its_cells_show(tmp_path):
    def words(path):
        outputs = [output for cell in code_cells(read(path).cells) for output in cell.outputs]
        return [output.get("text") or output.data["text/plain"] for output in outputs]

    copy = shutil.copy(TEMPLATE, tmp_path / "template.ipynb")
    execute(copy)
    assert words(copy) == words(TEMPLATE)
