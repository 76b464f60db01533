"""What `equal-time` stores of each run, and that it goes on where an earlier call ended."""

from functools import partial

import pytest

from vae_utils.models import conv_vae, mlp_vae
from vae_utils.reproduce import equal_time


@pytest.fixture
def small(full_toy_mnist, monkeypatch):
    monkeypatch.setattr(equal_time, "full_mnist", full_toy_mnist)
    monkeypatch.setattr(
        equal_time,
        "NETWORKS",
        {"conv": partial(conv_vae, 2, (2, 3), 8), "mlp": partial(mlp_vae, 2, (8,), layer_norm=False)},
    )
    for name, value in {"BUDGETS": (1, 2), "CHOSEN_AT": 1, "NUM_SAMPLES": 3, "EVERY": 2}.items():
        monkeypatch.setattr(equal_time, name, value)


@pytest.mark.slow
def test_equal_time_stores_runs_and_paired_differences(run, small, monkeypatch):
    monkeypatch.setattr(equal_time, "BUDGETS", (1,))
    first = run("equal-time", "--seed", 5)["results"]
    monkeypatch.setattr(equal_time, "BUDGETS", (1, 2))
    found = run("equal-time", "--seed", 5)["results"]
    assert first["runs"].items() <= found["runs"].items()  # the seconds too: they were not made again
    assert found["learning_rates"] == first["learning_rates"]
    runs = found["runs"].values()
    assert {(r["network"], r["budget"], r["seed"]) for r in runs} == {
        (name, budget, seed) for name in ("conv", "mlp") for budget in (1, 2) for seed in (5, 6)
    }
    for r in runs:
        best = max(found["learning_rates"][r["network"]], key=lambda tried: tried["elbo"])
        assert r["learning_rate"] == best["learning_rate"]
        assert r["passes"] == r["budget"] * equal_time.PASSES_FOR_ONE[r["network"]]
        assert r["elbo"] == pytest.approx(-(r["rate"] + r["distortion"]), abs=0.002) and r["cpu_seconds"] >= 0
    scores = {(r["network"], r["budget"], r["seed"]): r["log_likelihood"] for r in runs}
    assert [(d["budget"], d["seed"]) for d in found["differences"]] == [(1, 5), (1, 6), (2, 5), (2, 6)]
    for d in found["differences"]:
        conv, mlp = (scores[name, d["budget"], d["seed"]] for name in ("conv", "mlp"))
        assert d["difference"] == pytest.approx(conv - mlp, abs=0.002)


def test_both_networks_have_nearly_the_same_number_of_weights():
    counts = [sum(p.numel() for p in build().parameters()) for build in equal_time.NETWORKS.values()]
    assert max(counts) < 1.01 * min(counts)
