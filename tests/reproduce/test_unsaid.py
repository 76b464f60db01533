"""What the command says of the paper's pictures, and that the stored curves are what it makes."""

import numpy as np
import pytest

from vae_utils.files import ASSETS
from vae_utils.paper import vertices
from vae_utils.reproduce import unsaid


@pytest.fixture
def film_for_frey(small_frey, film, monkeypatch):
    small_frey(monkeypatch, film)  # its untrained bound is within 2% of Frey Face's


@pytest.fixture
def results(run, film_for_frey):
    return run("unsaid")["results"]


def test_minibatches_are_read_and_the_stored_curves_are_made(run, film_for_frey, out, capsys):
    results = run("unsaid")["results"]
    assert {name: found["M"] for name, found in results["minibatch"].items()} == {"MNIST": 100, "Frey": 500}
    assert {name: found["curves"] for name, found in results["minibatch"].items()} == {"MNIST": 20, "Frey": 16}
    low, high = results["minibatch"]["MNIST"]["readings"]
    assert 100 <= low <= high < 101
    assert (out / "paper_figures.csv").read_bytes() == (ASSETS / "paper_figures.csv").read_bytes()
    said = capsys.readouterr().out
    assert "MNIST: 20 curves begin at 100 to 101 images, so M = 100" in said
    assert "MNIST Nz=3, WS test: a first run of 957,600 images, then a new one from 100" in said


def test_monte_carlo_em_reports_after_whole_iterations(results):
    assert len(results["monte_carlo_em"]) == 4
    for found in results["monte_carlo_em"].values():
        assert found["largest_unit"] == 15 and found["furthest"] < 0.03 and found["points"] > 10
        assert found["chance"] < 1e-9 and found["chance"] <= found["chance_at_even_distances"] < 1e-2


def test_trials_stand_before_four_curves_of_wake_sleep_on_mnist(results):
    trials = {name: found["trials"] for name, found in results["begins"].items() if found["trials"]}
    assert set(trials) == {f"MNIST Nz={size}, WS {part}" for size in (3, 5, 10, 20) for part in ("train", "test")}
    assert [len(trials[f"MNIST Nz={size}, WS test"][0]["seen"]) for size in (3, 5, 10, 20)] == [4, 3, 2, 1]
    assert all(99 < trial["next"] < 102 for (trial,) in trials.values())


def test_readings_that_disagree_give_no_minibatch():
    begins = {"Frey Nz=2, a": {"first_report": 101.0}, "Frey Nz=2, b": {"first_report": 498.0}}
    assert unsaid.minibatch(begins, "Frey") == {"M": None, "curves": 2, "readings": [101.0, 498.0]}


def test_reports_beside_the_grid_are_likely_by_luck():
    images = np.random.default_rng(0).uniform(1e5, 4e6, 12)
    points = np.column_stack([np.sort(images), np.linspace(-140, -120, 12)])
    line = vertices.take_apart(np.vstack([[1e5, -150], points]))
    found = unsaid.on_a_grid(line, "MNIST Nz=3 H=100 Ntrain=1000")
    assert found["largest_unit"] is None and found["chance"] > 1e-3
