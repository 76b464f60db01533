"""Figure 3 from end to end at toy size: what is written, what an interruption costs, which rate is chosen."""

import shutil
from itertools import product

import numpy as np
import pytest

from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.paper.kept_chains import KeptChains
from vae_utils.reproduce import curves, fig3, resuming

METHODS, PARTS = ("AEVB", "WS", "MCEM"), ("train", "test")
REPORT_POINTS, NEAR = fig3.report_points, fig3.near


@pytest.fixture(autouse=True)
def small(full_toy_mnist, monkeypatch):
    shrunk = {"RUNS": {(method, 1000): 2000 for method in METHODS}, "SCORED": 20, "full_mnist": full_toy_mnist}
    shrunk |= {"PROBE_SAMPLES": 800, "PROBE_ITERATIONS": 2, "OTHER_RATES": {("WS", 1000): 0.02}, "OTHER_SEEDS": 1}
    shrunk["report_points"] = lambda method, num_images, samples: np.array([100, samples / 2])
    shrunk["near"] = lambda points, wanted: points[-1:]
    shrunk["paper_vae"] = lambda size, hidden, std, likelihood: paper_vae(2, 8, 0.1, likelihood)
    for name, value in shrunk.items():
        monkeypatch.setattr(fig3, name, value)
    monkeypatch.setattr(curves, "WAITING", 2)


@pytest.mark.slow
def test_figure_3_leaves_curves_a_picture_and_a_record(run, out, rows_of, capsys):
    runs = run("fig3", "--samples", 4000, "--seed", 2)["results"]["runs"]
    assert {path.name for path in out.iterdir()} == {"fig3.csv", "fig3.json", "fig3.png"}
    rows, panel = rows_of(out / "fig3.csv"), "MNIST Nz=3 H=100 Ntrain=1000"
    drawn = {(panel + how, f"{method} {part}") for how in ("", fig3.EXACT) for method in METHODS for part in PARTS}
    drawn |= {(f"{panel} rate 0.02{how}", f"WS {part}") for how in ("", fig3.EXACT) for part in PARTS}
    assert {(row["panel"], row["curve"]) for row in rows} == drawn
    assert {row["seed"] for row in rows} == {"2", "3"}
    firsts = [f"{method} 1000" for method in METHODS]
    assert list(runs) == [*firsts, "WS 1000 rate 0.02", *(f"{name} seed 3" for name in firsts)]
    for method in METHODS:
        run_of = runs[f"{method} 1000"]
        points = [row for row in rows if (row["panel"], row["curve"], row["seed"]) == (panel, f"{method} test", "2")]
        assert len(points) == 3 and int(points[-1]["samples"]) == run_of["samples"]  # the end is measured too
        exact = [row for row in rows if (row["panel"], row["curve"]) == (panel + fig3.EXACT, f"{method} test")]
        assert len(exact) == 2 * 2  # seeds, points
        final = run_of["estimates"]["test"]
        assert float(exact[1]["nats"]) == pytest.approx(final["quadrature"]["mean"], abs=0.02)  # with fast_products
        kept = final["the same, chains kept from report to report"]["mean"]
        assert float(points[-1]["nats"]) == pytest.approx(kept, abs=2e-3)
        assert [row["learning_rate"] for row in run_of["probes"]] == list(curves.LEARNING_RATES)
        best = max((row for row in run_of["probes"] if row["train"] is not None), key=lambda row: row["train"])
        assert run_of["learning_rate"] == best["learning_rate"] == runs[f"{method} 1000 seed 3"]["learning_rate"]
        assert ("ELBO" in final) == (method != "MCEM")  # which has no encoder
    seen = runs["MCEM 1000"]["samples"]  # 10 leapfrog steps and 5 updates of all 226 an iteration
    assert seen % (226 * 15) == 0 and abs(seen / 3 - 4000) <= 226 * 5 / 2
    words = capsys.readouterr().out
    assert "min left" in words
    run("fig3", "--samples", 4000, "--seed", 2)
    assert capsys.readouterr().out.count("fig3.csv has it already") == len(runs)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["AEVB", "MCEM"])
def test_an_interrupted_figure_goes_on_where_it_was(method, run, out, rows_of, states, tmp_path, monkeypatch):
    """Interrupted at the measurement in the middle: the same curve as in one go."""
    for name, value in {"RUNS": {(method, 1000): 4000}, "OTHER_RATES": {}, "OTHER_SEEDS": 0}.items():
        monkeypatch.setattr(fig3, name, value)
    run("fig3", to=tmp_path / "whole")
    shutil.rmtree(states)  # or nothing would be left to do
    estimated, estimate = [], KeptChains.log_likelihood

    def interrupted(chains, vae):
        estimated.append(len(chains.x))
        if len(estimated) == 4:  # the test set at the second report
            raise KeyboardInterrupt
        return estimate(chains, vae)

    monkeypatch.setattr(resuming, "SECONDS", 0.0)
    monkeypatch.setattr(KeptChains, "log_likelihood", interrupted)
    with pytest.raises(SystemExit, match=f"fig3 {method} 1000: interrupted from the keyboard.* goes on from there"):
        run("fig3")
    monkeypatch.setattr(KeptChains, "log_likelihood", estimate)
    run("fig3")
    assert rows_of(out / "fig3.csv") == rows_of(tmp_path / "whole" / "fig3.csv")


@pytest.mark.parametrize("method, num_images", [*product(METHODS, (1000, 50_000))])
def test_reports_are_where_the_paper_has_them(method, num_images):
    samples = 10**7.5 if method == "MCEM" else 10**7
    points, papers = REPORT_POINTS(method, num_images, samples), fig3.paper_points(method, num_images)
    assert points[0] == curves.BATCH_SIZE and (np.diff(points) > 0).all() and points[-1] <= 1.001 * samples
    reached = papers[papers <= 1.001 * samples * fig3.COUNTS[method]]
    assert np.allclose(points[-len(reached) :] * fig3.COUNTS[method], reached)
    assert np.diff(points)[: len(points) - len(reached)].max() <= 1.001 * (
        points[-len(reached) + 1] - points[-len(reached)]
    )


def test_the_nearest_points_are_found_if_they_are_near():
    assert NEAR([90.0, 110.0, 1000.0, 5000.0], [100.0, 1000.0, 2500.0]) == [110.0, 1000.0]


def test_the_model_is_the_papers():
    vae = paper_vae(fig3.LATENT_SIZE, fig3.HIDDEN, fig3.STD, GreyCrossEntropy())
    assert vae.latent_size == 3 and vae.decoder.trunk[0].weight.shape == (100, 3)
    assert (fig3.NUM_LEAPFROG, fig3.NUM_UPDATES) == (10, 5)  # Appendix E
    assert (fig3.POSTERIOR_SAMPLES, fig3.POSTERIOR_LEAPFROG) == (50, 4)  # Appendix D, section 5


def test_spikes_are_left_out_and_steep_curves_are_not():
    rising = [-540.0, -230.0, -170.0, -150.0, -141.0, -139.0, -138.0, -137.5]
    assert not any(fig3.spikes(rising)) and not any(fig3.spikes(rising[:2]))
    broken = [*rising[:4], 7517.0, *rising[5:6], -130.0, rising[7]]
    assert fig3.spikes(broken) == [False] * 4 + [True, False, True, False]
