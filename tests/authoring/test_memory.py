"""The benchmark of the kernel's memory, on a lesson whose peak is known."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vae_utils.authoring import memory

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")


def test_the_peak_is_of_the_cell_that_takes_it(tmp_path, monkeypatch, capsys):
    path = tmp_path / "01_large.ipynb"
    sources = ["small = 1", "large = bytearray(300_000_000)", "del large", "small = 2"]
    cells = [new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# How large?"), *cells]), path)
    monkeypatch.setattr(memory, "lessons", lambda names: [path])
    memory.main(["--out", str(tmp_path), "--cells", "2"])
    assert "highest cells: cell-1" in capsys.readouterr().out
    row = json.loads((tmp_path / "memory.json").read_text())["results"]["lessons"]["01_large"]
    found = memory.peaks(path)
    assert row["cell"] == "cell-1" and (row["gib"], row["own_gib"]) == pytest.approx(found["cell-1"], abs=0.02)
    for before, largest, after in zip(found["cell-0"], found["cell-1"], found["cell-3"]):  # all pages, its own
        assert largest - before == pytest.approx(300_000_000 / 2**30, abs=0.02)
        assert after < before + 0.02
    assert row["own_gib"] < row["gib"] - 0.01  # Python's own libraries are files


def test_some_lessons_leave_the_record_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "lessons", lambda names: [])
    memory.main(["07", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_a_lesson_that_is_not_there_is_named():
    with pytest.raises(SystemExit, match="a lesson was expected .*, got '70'"):
        memory.main(["70"])
