"""Figure 2 from end to end at toy size, and what is said of its curves."""

from itertools import product

import numpy as np
import pytest

from vae_utils.reproduce import fig2_mnist


@pytest.mark.slow
def test_figure_2_leaves_curves_a_picture_and_a_record(run, out, rows_of, small_fig2, states, capsys):
    record = run("fig2-mnist", "--samples", "2e3", "--latents", 3, 5, "--seed", 2)
    assert {path.name for path in out.iterdir()} == {"fig2-mnist.csv", "fig2-mnist.json", "fig2-mnist.png"}
    rows, runs = rows_of(out / "fig2-mnist.csv"), record["results"]["runs"]
    names = product(("Fig2",), ("MNIST Nz=3", "MNIST Nz=5"), ("AEVB train", "AEVB test", "WS train", "WS test"))
    assert {(row["figure"], row["panel"], row["curve"]) for row in rows} == set(names)
    assert [row["samples"] for row in rows[:3]] == ["200", "1000", "2000"] and {row["seed"] for row in rows} == {
        "2",
        "3",
    }
    assert record["command"] == "python -m vae_utils.reproduce fig2-mnist --seed 2 --samples 2000"
    first = {"AEVB 3", "WS 3", "AEVB 5", "WS 5"}
    assert set(record["results"]["train_minus_test"]) == first
    assert set(runs) == first | {f"{name} seed 3" for name in first} and runs["WS 5 seed 3"]["seed"] == 3
    for seed, name in (("2", "WS 5"), ("3", "WS 5 seed 3")):
        ours = [row["nats"] for row in rows if (row["panel"][-1], row["curve"], row["seed"]) == ("5", "WS test", seed)]
        assert runs[name]["elbo"] == pytest.approx(float(ours[-1]), abs=0.01)
    assert "min left" in capsys.readouterr().out
    assert len(list(states.iterdir())) == 4  # they stay: fig4 and fig5 want the models


def test_a_size_that_the_paper_does_not_have_is_read_as_its_neighbour():
    best = fig2_mnist.best
    assert best("AEVB", 2) == best("AEVB", 3) == fig2_mnist.BEST["AEVB", 3]
    assert best("WS", 150).rate == 0.02 != best("WS", 20).rate


def test_speed_is_a_ratio_of_samples_at_one_bound():
    """A curve and the same curve four times as slow."""
    samples = np.logspace(4, 7, 25)
    aevb = np.stack([samples, -200 + 15 * np.log10(samples)], 1)
    slow = np.stack([samples, -200 + 15 * np.log10(samples / 4)], 1)
    ratios = fig2_mnist.speed_ratios(aevb, slow)
    assert len(ratios) == 3 and all(ratio == pytest.approx(4, rel=0.01) for ratio in ratios.values())
