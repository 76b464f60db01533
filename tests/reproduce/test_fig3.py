"""Figure 3 from end to end at toy size: what is written, what an interruption costs, which rate is chosen."""

import csv
import json
import shutil

import pytest

from vae_utils import files
from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.paper.marginal import quadrature_log_likelihood
from vae_utils.reproduce import common, curves, fig3
from vae_utils.reproduce.__main__ import main

METHODS = ("AEVB", "WS", "MCEM")
REPORT_POINTS = fig3.report_points


@pytest.fixture(autouse=True)
def small(full_toy_mnist, monkeypatch, tmp_path):
    monkeypatch.setattr(fig3, "full_mnist", full_toy_mnist)
    monkeypatch.setattr(fig3, "paper_vae", lambda size, hidden, std, likelihood: paper_vae(2, 8, 0.1, likelihood))
    monkeypatch.setattr(common, "DATA", tmp_path / "data")
    monkeypatch.setattr(fig3, "RUNS", {(method, 1000): 2000 for method in METHODS})
    monkeypatch.setattr(fig3, "SCORED", 20)
    monkeypatch.setattr(fig3, "report_points", lambda samples: [samples / 2])
    monkeypatch.setattr(fig3, "PROBE_SAMPLES", 800)
    monkeypatch.setattr(fig3, "PROBE_ITERATIONS", 2)
    monkeypatch.setattr(fig3, "WAITING", 2)
    monkeypatch.setattr(curves, "WAITING", 2)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def lines(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_figure_3_leaves_curves_a_picture_and_a_record(out, capsys):
    main(["fig3", "--samples", "4000", "--seed", "2", "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {"fig3.csv", "fig3.json", "fig3.png"}
    header, *rows = lines(out / "fig3.csv")
    assert header == ["figure", "panel", "curve", "samples", "nats", "seed"]
    assert {tuple(row[:3]) for row in rows} == {
        ("Fig3", "MNIST Nz=3 H=100 Ntrain=1000", f"{method} {part}") for method in METHODS for part in ("train", "test")
    }
    assert {row[5] for row in rows} == {"2"}
    runs = json.loads((out / "fig3.json").read_text("utf-8"))["results"]["runs"]
    assert set(runs) == {f"{method} 1000" for method in METHODS}
    for method in METHODS:
        run = runs[f"{method} 1000"]
        points = [row for row in rows if row[2] == f"{method} test"]
        assert len(points) == 2 and int(points[-1][3]) == run["samples"]
        exact = run["estimates"]["test"]["quadrature"]["mean"]
        assert float(points[-1][4]) == pytest.approx(exact, abs=1e-3)  # the last point is of the end
        assert [row["learning_rate"] for row in run["probes"]] == list(curves.LEARNING_RATES)
        best = max((row for row in run["probes"] if row["train"] is not None), key=lambda row: row["train"])
        assert run["learning_rate"] == best["learning_rate"]
        estimators = set(run["estimates"]["train"])
        assert ("ELBO" in estimators) == (method != "MCEM")  # which has no encoder
    seen = runs["MCEM 1000"]["samples"]  # 5 updates of all 226 an iteration
    assert seen % (226 * fig3.NUM_UPDATES) == 0 and abs(seen - 4000) <= 226 * 5 / 2
    assert "min left" in capsys.readouterr().out


def test_what_is_written_is_not_trained_again(out, capsys, monkeypatch):
    call = ["fig3", "--samples", "1000", "--out", str(out)]
    main(call)
    before = (out / "fig3.csv").read_text()
    monkeypatch.setattr(fig3, "train", None)
    main(call)
    assert (out / "fig3.csv").read_text() == before
    assert "MCEM 1000: fig3.csv has it already" in capsys.readouterr().out


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_figure_goes_on_where_it_was(method, out, tmp_path, monkeypatch):
    """Interrupted at the measurement in the middle: the same curve as in one go."""
    monkeypatch.setattr(fig3, "RUNS", {(method, 1000): 4000})
    main(["fig3", "--out", str(tmp_path / "whole")])
    shutil.rmtree(tmp_path / "data")
    measured, measure = [], quadrature_log_likelihood

    def interrupted(vae, images):
        measured.append(len(images))
        if len(measured) == 3:  # the training set at the second report
            raise KeyboardInterrupt
        return measure(vae, images)

    monkeypatch.setattr(files.TrainingState, "SECONDS", 0.0)
    monkeypatch.setattr(fig3, "quadrature_log_likelihood", interrupted)
    with pytest.raises(SystemExit, match=f"fig3 {method} 1000: interrupted from the keyboard.* goes on from there"):
        main(["fig3", "--out", str(out)])
    monkeypatch.setattr(fig3, "quadrature_log_likelihood", measure)
    main(["fig3", "--out", str(out)])
    assert lines(out / "fig3.csv") == lines(tmp_path / "whole" / "fig3.csv")


def test_points_of_the_paper_are_among_the_measured_ones():
    points = [round(point) for point in REPORT_POINTS(10**7)]
    assert points[::4] == [316228, 3162278] and points[-1] == 10**7


def test_the_model_is_the_papers():
    vae = paper_vae(fig3.LATENT_SIZE, fig3.HIDDEN, fig3.STD, GreyCrossEntropy())
    assert vae.latent_size == 3 and vae.decoder.trunk[0].weight.shape == (100, 3)
    assert (fig3.NUM_LEAPFROG, fig3.NUM_UPDATES) == (10, 5)  # Appendix E
    assert (fig3.POSTERIOR_SAMPLES, fig3.POSTERIOR_LEAPFROG) == (50, 4)  # Appendix D, section 5


def test_a_learning_rate_that_diverges_is_passed_over():
    def diverges_from(limit):
        def performance(rate):
            if rate >= limit:
                raise FloatingPointError("the loss stopped being a finite number")
            return 100 * rate

        return performance

    assert curves.choose_rate(diverges_from(0.1)) == (
        0.02,
        [
            {"learning_rate": 0.01, "train": 1.0},
            {"learning_rate": 0.02, "train": 2.0},
            {"learning_rate": 0.1, "train": None},
        ],
    )
    with pytest.raises(FloatingPointError, match=r"each of the learning rates \(0.01, 0.02, 0.1\)"):
        curves.choose_rate(diverges_from(0.0))
