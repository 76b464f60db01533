"""Numbers in prose that nothing stands behind are found, and no others."""

import json

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vae_utils.authoring.claims import is_said, unfounded
from vae_utils.files import ASSETS


@pytest.mark.parametrize(
    "number, unit, value, said",
    [
        ("2.35", "", 2.3456, True),
        ("2.34", "", 2.3456, False),
        ("107.3", "", -107.28, True),
        ("2,396,160", "", 2396160, True),
        ("2,400,000", "", 2396160, True),
        ("2,300,000", "", 2396160, False),
        ("1,000", "", 1040, True),  # two digits are meant
        ("1,000", "", 1400, False),
        ("12.5", "%", 0.1249, True),
        ("12.5", "", 0.1249, False),
        ("2.4", " million", 2396160, True),
    ],
)
def test_a_number_is_said_by_a_value_that_rounds_to_it(number, unit, value, said):
    assert is_said(number, unit, np.array([7, value])) is said


def found_in(prose, code="x = 0.25", output="bound -1.234, 10_000 images"):
    """The numbers found in a lesson with this prose beside a cell of code."""
    cell = new_code_cell(code, outputs=[new_output("stream", text=output)])
    nb = new_notebook(cells=[new_markdown_cell("## 1 · One"), new_markdown_cell(prose), cell])
    return [number for _, number, _ in unfounded(nb)]


@pytest.mark.parametrize(
    "prose, found",
    [
        ("The bound is −1.23 nats, the width 0.25, of 10,000 images.", []),
        ("It is 7.77 nats of 12,345 images, 3 in all.", ["7.77", "12,345"]),
        ("- one 7.77\n- two 8.88%", ["7.77", "8.88%"]),
        ("| a | b |\n|---|---|\n| 1.23 | 7.77 |", ["7.77"]),
        ("<details><summary>Answer</summary>\n\nBy 7.77.\n\n</details>", ["7.77"]),
        ("$7.77$, `7.77`\n\n$$\n7.77\n$$\n\n### 7.77\n\n```\n7.77\n```", []),
        ("> **Predict.** 1.5, 7.77 or 75?", []),
        ("The paper reports 7.77 nats. We have 8.88.", ["8.88"]),
        ("They report 7.77 (Burda et al. 2016).", []),
        ("They report 7.77, see [here](https://example.org/9.99).", []),
        ("See sections 2.7, 2.8 and 3.7.", []),
        ("| here | *Auto-Encoding Variational Bayes* |\n|---|---|\n| 1 | 2.7 |", []),
        ("On Python 3.11.7", []),
    ],
)
def test_what_is_unfounded(prose, found):
    assert found_in(prose) == found


@pytest.mark.parametrize("named", ["`mlp`", "`assets/mlp.json`", "[record](../assets/mlp.json)"])
def test_a_record_stands_behind_a_number_where_it_is_named(named):
    elbo = json.loads((ASSETS / "mlp.json").read_text("utf-8"))["results"]["elbo"]
    sentence = f"The bound is {elbo:.2f} nats"
    assert found_in(sentence) != []
    assert found_in(f"{sentence}, says {named}.") == []
    assert found_in(sentence, 'load_vae("mlp")') == []


def test_another_lessons_number_stands_there():
    sentence = "The bound was 7.77 there."
    assert found_in(sentence) == found_in(f"Lesson 01: {sentence}") == ["7.77"]
