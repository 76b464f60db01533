"""The search for Figure 2's reading: what is tried, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from vae_utils.reproduce import curves, fig2_search
from vae_utils.reproduce.fig2_mnist import BEST


@pytest.mark.slow
def test_the_search_reports_failures_and_distances(run, small_fig2, states, monkeypatch):
    near = BEST["AEVB", 20]
    wide, wider = replace(near, std=0.1), replace(near, std=2.0)
    tried = [("AEVB", 20, near, 0), ("AEVB", 20, wider, 0), ("WS", 20, wide, 0), ("AEVB", 20, near, 1)]
    monkeypatch.setattr(fig2_search, "search_readings", lambda: tried)
    monkeypatch.setattr(fig2_search, "USELESS", -700)
    monkeypatch.setattr(fig2_search, "COMPARED_AT", (1000, 2000))
    paper = (np.array([1000.0, 2000.0]), np.array([-500.0, -400.0]))
    monkeypatch.setattr(curves, "paper_curves", lambda *_: {"AEVB test": paper, "WS test": paper})
    runs = list(run("fig2-search", "--samples", 2000)["results"]["runs"].values())
    assert [run["std"] for run in runs] == [0.01, 2.0, 0.1, 0.01] and [run["seed"] for run in runs] == [0, 0, 0, 1]
    assert runs[0]["distance"] != runs[3]["distance"]
    assert runs[0]["outcome"] == "trained" and runs[1]["outcome"].startswith(("given up", "diverged"))
    expected = [abs(point["ours"] - value) for point, value in zip(runs[0]["against_paper"], paper[1])]
    assert runs[0]["distance"] == pytest.approx(np.mean(expected), abs=0.02) and len(expected) == 2
    assert not list(states.iterdir())
    monkeypatch.setattr(fig2_search, "_try_reading", lambda *args: pytest.fail("nothing was left to try"))
    run("fig2-search", "--samples", 2000)


def test_the_readings_differ_in_what_the_paper_leaves_unsaid():
    readings = fig2_search.search_readings()
    assert len(set(readings)) == len(readings) == 3 * 2 * 2 * 2 + 3 + 6 + 2
    assert {reading.pixels for _, _, reading, _ in readings} == {"GreyCrossEntropy", "Bernoulli"}
    assert {(method, latents) for method, latents, *_ in readings} == {("AEVB", 20), ("WS", 20), ("WS", 200)}
    assert {(*curve, BEST[curve], 0) for curve in (("AEVB", 20), ("WS", 20), ("WS", 200))} <= set(readings)
