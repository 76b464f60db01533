"""How the paper's curves are trained and kept: what an interruption costs, and what is not made twice."""

import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vae_utils import objectives
from vae_utils.models import mlp_vae
from vae_utils.paper import wake_sleep
from vae_utils.paper.curves import read_curves
from vae_utils.reproduce import curves, resuming
from vae_utils.training import Report

# --- training


def train(images, samples=2000, **others):
    torch.manual_seed(0)
    vae = mlp_vae(2, (8,), layer_norm=False)
    settings = {"report_at": [samples / 2], "waiting": 2, "test": images[:20], "progress": False} | others
    return curves.train_as_paper("a curve", vae, images, samples, 0.02, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("method, objective", [("AEVB", (objectives, "elbo")), ("WS", (wake_sleep, "wake_sleep"))])
def test_an_interrupted_training_goes_on_where_it_was(method, objective, toy_mnist, states, monkeypatch, capsys):
    whole = train(toy_mnist.train, method=method)
    curves.forget("a curve", 0)  # or nothing would be left to do
    assert "a curve: 1,000 images, train" in capsys.readouterr().out
    steps, original = [], getattr(*objective)

    def interrupted(vae, x):
        steps.append(len(x))
        if len(steps) == 13:  # of 20
            raise KeyboardInterrupt
        return original(vae, x)

    interrupted.__qualname__ = objective[1]  # by which the state knows it
    monkeypatch.setitem(curves.METHODS, method, interrupted)
    sentence = "a curve: interrupted from the keyboard after 1,200 images .*; the same command goes on from there"
    with pytest.raises(SystemExit, match=sentence):
        train(toy_mnist.train, method=method)
    resumed = train(toy_mnist.train, method=method)
    assert "goes on from data/reproduce/a-curve-seed-0.safetensors; delete it" in capsys.readouterr().out
    assert len(steps) == 13 + 20 - 10  # since the report after 1,000 images
    assert resumed.column("train_elbo") == whole.column("train_elbo")
    assert train(toy_mnist.train, method=method) == resumed and len(steps) == 23  # it is there: not one step more


def test_the_protocol_is_the_papers(toy_mnist, monkeypatch):
    """The arguments that reach `fit`: M = 100, Adagrad with the prior at weight 1/N, a constant step that waits."""
    seen = {}

    def fit(vae, images, **kwargs):
        seen.update(kwargs)
        raise InterruptedError

    monkeypatch.setattr(resuming, "fit", fit)
    with pytest.raises(InterruptedError):
        train(toy_mnist.train[:200], method="WS", waiting=curves.WAITING, samples=20_000)
    assert seen["batch_size"] == 100 and seen["objective"] is wake_sleep.wake_sleep
    optimiser = seen["optimiser"]([torch.zeros(2, 2, requires_grad=True), torch.zeros(2, requires_grad=True)])
    assert isinstance(optimiser, torch.optim.Adagrad)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [1 / 200, 0]
    assert [seen["learning_rate"](step / 200) for step in (1, 100, 101, 200)] == [0, 0, 0.02, 0.02]


def test_reports_come_at_even_steps_of_the_logarithm():
    at = curves.report_points(1e7)
    assert at[0] == pytest.approx(10**4.5) and at[-1] == pytest.approx(1e7)
    assert np.allclose(np.diff(np.log10(at)), 1 / 8)
    assert np.isclose(at, 10**5.5).any() and np.isclose(at, 1e6).any() and len(curves.report_points(1000)) == 0


def test_a_learning_rate_that_diverges_is_passed_over():
    def performance(rate, limit):
        if rate >= limit:
            raise FloatingPointError("the loss stopped being a finite number")
        return 100 * rate

    rate, tried = curves.choose_rate(partial(performance, limit=0.1))
    assert rate == 0.02
    assert [(row["learning_rate"], row["train"]) for row in tried] == [(0.01, 1.0), (0.02, 2.0), (0.1, None)]
    with pytest.raises(FloatingPointError, match=r"each of the learning rates \(0.01, 0.02, 0.1\)"):
        curves.choose_rate(partial(performance, limit=0.0))


# --- keeping


def options(out, **others):
    start = time.perf_counter()
    known = {"seed": 0, "epochs": None, "samples": 1000, "latents": None, "held_out": False, "start": start}
    return SimpleNamespace(name="fig2-mnist", out=out, **(known | others))


def add(stored, size, nats=-100.0):
    lines = [("Fig2", f"MNIST Nz={size}", "AEVB test", 1000, nats, stored.options.seed)]
    stored.add(f"AEVB {size}", {"asked": 1000}, lines)


def test_runs_join_those_that_are_there(out, rows_of, capsys):
    stored = curves.StoredRuns(options(out, latents=[3]), lambda runs, rows: {"count": (len(runs), len(rows))})
    assert stored.read() == ({}, []) and not stored.has("AEVB 3", 1000)
    add(stored, 3)
    other = curves.StoredRuns(options(out, latents=[5]))
    add(other, 5)
    assert not other.has("AEVB 3", 1000, batch_size=500)
    assert other.known("AEVB 3")["asked"] == 1000 and other.known("AEVB 4") is None
    assert other.has("AEVB 3", 1000) and stored.has("AEVB 5", 1000) and not stored.has("AEVB 3", 2000)
    assert "AEVB 3: fig2-mnist.csv has it already; to train it again, let --out" in capsys.readouterr().out
    add(stored, 3, nats=-90.0)  # replaces the one of the same panel and curve
    rows = rows_of(out / "fig2-mnist.csv")
    assert [(row["panel"], row["nats"]) for row in rows] == [("MNIST Nz=5", "-100.0"), ("MNIST Nz=3", "-90.0")]
    runs, _ = stored.read()
    words = "python -m vae_utils.reproduce fig2-mnist --samples 1000"
    for size in (3, 5):
        assert runs[f"AEVB {size}"]["made_by"]["command"] == f"{words} --latents {size}"
    assert set(runs["AEVB 3"]["made_by"]) == {"command", "date", "processor", "threads", "versions"}
    record = (out / "fig2-mnist.json").read_text()
    assert f'"command": "{words}",' in record and '"count"' in record  # of all runs: without --latents


def test_runs_of_another_seed_count_as_none(out, rows_of):
    add(curves.StoredRuns(options(out)), 3)
    other = curves.StoredRuns(options(out, seed=1))
    assert not other.has("AEVB 3", 1000)
    add(other, 5)
    assert [(row["panel"], row["seed"]) for row in rows_of(out / "fig2-mnist.csv")] == [("MNIST Nz=5", "1")]


def test_runs_of_a_changed_record_are_not_carried_on(out):
    stored = curves.StoredRuns(options(out))
    add(stored, 3)
    path = out / "fig2-mnist.json"
    path.write_text(path.read_text("utf-8").replace('"asked": 1000', '"asked": 2000'), "utf-8")
    with pytest.raises(ValueError, match="fig2-mnist.json: the record was expected to be as its command wrote it"):
        stored.has("AEVB 3", 1000)


def test_a_history_has_a_line_for_each_report_and_part():
    reports = [Report(samples, 1.0, 1.0, -5.0, 0.0, 0.0, -6.0, 0.0, 0.0) for samples in (10, 20)]
    expected = [("WS train", 10, -5.0), ("WS train", 20, -5.0), ("WS test", 10, -6.0), ("WS test", 20, -6.0)]
    rows = curves.curve_rows("Fig2", "a panel", "WS", reports, 7)
    assert rows == [("Fig2", "a panel", *values, 7) for values in expected]


def test_curves_are_read_as_they_were_written(tmp_path):
    rows = [("Fig2", "MNIST Nz=3", "AEVB test", 10, -1.5, seed) for seed in (0, 1)]
    curves.write_curves(tmp_path / "curves.csv", rows)
    pairs = read_curves(tmp_path / "curves.csv")["Fig2", "MNIST Nz=3"]["AEVB test"]
    assert [(x.tolist(), y.tolist()) for x, y in pairs] == [([10.0], [-1.5])] * 2
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other.csv: the columns were expected to be figure, panel"):
        read_curves(tmp_path / "other.csv")


# --- comparing


def test_differences_are_ours_minus_the_papers():
    ours = [-123.88 + 1.5, -104.76 + 1.5]
    rows = curves.compare("Fig2", "MNIST Nz=20", "AEVB test", [1e6, 1e7], ours, at=(1e6, 1e7, 1e12))
    assert [row["samples"] for row in rows] == [10**6, 10**7]
    assert all(row["difference"] == pytest.approx(1.5, abs=0.5) for row in rows)
    assert curves.mean_distance([{"difference": -1.0}, {"difference": 2.0}]) == 1.5
    assert curves.mean_distance([]) is None
    assert curves.paper_value("Fig2", "MNIST Nz=20", "AEVB test", 1e7) == pytest.approx(-104.8, abs=0.3)
    assert curves.paper_value("Fig2", "MNIST Nz=20", "AEVB test", 1e3) is None


def test_between_two_reports_the_papers_curve_is_straight_on_its_own_axis(monkeypatch):
    line = {"AEVB test": (np.array([1e5, 1e7]), np.array([-140.0, -100.0]))}
    monkeypatch.setattr(curves, "paper_curves", lambda figure, panel: line)
    assert curves.paper_value("Fig2", "a panel", "AEVB test", 1e6) == pytest.approx(-120)  # logarithmic
    assert curves.paper_value("Fig3", "a panel", "AEVB test", 5.05e6) == pytest.approx(-120)  # linear
