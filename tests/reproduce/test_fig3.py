"""Figure 3 from end to end at toy size: what is written, what an interruption costs, which rate is chosen."""

import shutil

import pytest

from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.paper.marginal import quadrature_log_likelihood
from vae_utils.reproduce import curves, fig3, resuming

METHODS = ("AEVB", "WS", "MCEM")
REPORT_POINTS = fig3.report_points


@pytest.fixture(autouse=True)
def small(full_toy_mnist, monkeypatch):
    shrunk = {"RUNS": {(method, 1000): 2000 for method in METHODS}, "SCORED": 20, "full_mnist": full_toy_mnist}
    shrunk |= {"PROBE_SAMPLES": 800, "PROBE_ITERATIONS": 2, "report_points": lambda samples: [samples / 2]}
    shrunk["paper_vae"] = lambda size, hidden, std, likelihood: paper_vae(2, 8, 0.1, likelihood)
    for name, value in shrunk.items():
        monkeypatch.setattr(fig3, name, value)
    monkeypatch.setattr(curves, "WAITING", 2)


@pytest.mark.slow
def test_figure_3_leaves_curves_a_picture_and_a_record(run, out, rows_of, capsys):
    runs = run("fig3", "--samples", 4000, "--seed", 2)["results"]["runs"]
    assert {path.name for path in out.iterdir()} == {"fig3.csv", "fig3.json", "fig3.png"}
    rows = rows_of(out / "fig3.csv")
    assert {(row["figure"], row["panel"], row["curve"]) for row in rows} == {
        ("Fig3", "MNIST Nz=3 H=100 Ntrain=1000", f"{method} {part}") for method in METHODS for part in ("train", "test")
    }
    assert {row["seed"] for row in rows} == {"2"}
    assert set(runs) == {f"{method} 1000" for method in METHODS}
    for method in METHODS:
        run = runs[f"{method} 1000"]
        points = [row for row in rows if row["curve"] == f"{method} test"]
        assert len(points) == 2 and int(points[-1]["samples"]) == run["samples"]
        exact = run["estimates"]["test"]["quadrature"]["mean"]
        assert float(points[-1]["nats"]) == pytest.approx(exact, abs=0.02)  # of the end; measured with fast_products
        assert [row["learning_rate"] for row in run["probes"]] == list(curves.LEARNING_RATES)
        best = max((row for row in run["probes"] if row["train"] is not None), key=lambda row: row["train"])
        assert run["learning_rate"] == best["learning_rate"]
        estimators = set(run["estimates"]["train"])
        assert ("ELBO" in estimators) == (method != "MCEM")  # which has no encoder
    seen = runs["MCEM 1000"]["samples"]  # 10 leapfrog steps and 5 updates of all 226 an iteration
    assert seen % (226 * 15) == 0 and abs(seen / 3 - 4000) <= 226 * 5 / 2
    assert "min left" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["AEVB", "MCEM"])
def test_an_interrupted_figure_goes_on_where_it_was(method, run, out, rows_of, states, tmp_path, monkeypatch):
    """Interrupted at the measurement in the middle: the same curve as in one go."""
    monkeypatch.setattr(fig3, "RUNS", {(method, 1000): 4000})
    run("fig3", to=tmp_path / "whole")
    shutil.rmtree(states)  # or nothing would be left to do
    measured, measure = [], quadrature_log_likelihood

    def interrupted(vae, images):
        measured.append(len(images))
        if len(measured) == 3:  # the training set at the second report
            raise KeyboardInterrupt
        return measure(vae, images)

    monkeypatch.setattr(resuming, "SECONDS", 0.0)
    monkeypatch.setattr(fig3, "quadrature_log_likelihood", interrupted)
    with pytest.raises(SystemExit, match=f"fig3 {method} 1000: interrupted from the keyboard.* goes on from there"):
        run("fig3")
    monkeypatch.setattr(fig3, "quadrature_log_likelihood", measure)
    run("fig3")
    assert rows_of(out / "fig3.csv") == rows_of(tmp_path / "whole" / "fig3.csv")


def test_points_of_the_paper_are_among_the_measured_ones():
    points = [round(point) for point in REPORT_POINTS(10**7)]
    assert points[::4] == [316228, 3162278] and points[-1] == 10**7


def test_the_model_is_the_papers():
    vae = paper_vae(fig3.LATENT_SIZE, fig3.HIDDEN, fig3.STD, GreyCrossEntropy())
    assert vae.latent_size == 3 and vae.decoder.trunk[0].weight.shape == (100, 3)
    assert (fig3.NUM_LEAPFROG, fig3.NUM_UPDATES) == (10, 5)  # Appendix E
    assert (fig3.POSTERIOR_SAMPLES, fig3.POSTERIOR_LEAPFROG) == (50, 4)  # Appendix D, section 5
