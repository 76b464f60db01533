"""What README shows of one's own images does run."""

import re
from pathlib import Path

import pytest

from vae_utils import load_vae
from vae_utils.own.example import make_example_folder

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.slow
def test_the_lines_of_the_readme_run(tmp_path, monkeypatch, toy_mnist):
    (code,) = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert code.count("epochs=20") == 1
    make_example_folder(tmp_path / "pictures", toy_mnist, count=200)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.replace("epochs=20", "epochs=1"), names)
    assert load_vae("pictures.safetensors").image_shape == names["pictures"].train.shape[1:] == (3, 32, 32)
