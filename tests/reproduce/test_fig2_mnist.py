"""Figure 2 from end to end at toy size: what is written, what an interruption costs, what is not made twice."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vae_utils import objectives
from vae_utils.likelihoods import PixelGaussian
from vae_utils.paper import wake_sleep as baselines
from vae_utils.paper.curves import paper_curves, read_curves
from vae_utils.reproduce import common, curves, fig2, pictures
from vae_utils.reproduce.__main__ import main

REPORT_POINTS = curves.report_points


@pytest.fixture(autouse=True)
def small(full_toy_mnist, monkeypatch, tmp_path):
    paper_vae = fig2.paper_vae
    monkeypatch.setattr(fig2, "full_mnist", full_toy_mnist)
    monkeypatch.setattr(fig2, "paper_vae", lambda size, **others: paper_vae(size, hidden=8, **others))
    monkeypatch.setattr(common, "DATA", tmp_path / "data")
    monkeypatch.setattr(curves, "WAITING", 2)
    monkeypatch.setattr(curves, "report_points", lambda samples: [samples / 10, samples / 2])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def record_of(name, out):
    return json.loads((out / f"{name}.json").read_text("utf-8"))


def lines(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_figure_2_leaves_curves_a_picture_and_a_record(out, capsys):
    main(["fig2-mnist", "--samples", "2e3", "--latents", "3", "5", "--seed", "2", "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {"fig2-mnist.csv", "fig2-mnist.json", "fig2-mnist.png"}
    header, *rows = lines(out / "fig2-mnist.csv")
    assert header == ["figure", "panel", "curve", "samples", "nats", "seed"]
    assert {tuple(row[:3]) for row in rows} == {
        ("Fig2", f"MNIST Nz={size}", f"{method} {part}")
        for size in (3, 5)
        for method in ("AEVB", "WS")
        for part in ("train", "test")
    }
    assert [row[3] for row in rows[:3]] == ["200", "1000", "2000"] and {row[5] for row in rows} == {"2"}
    record = record_of("fig2-mnist", out)
    runs = record["results"]["runs"]
    assert record["command"] == "python -m vae_utils.reproduce fig2-mnist --seed 2 --samples 2000"
    assert {run["made_by"]["command"] for run in runs.values()} == {f"{record['command']} --latents 3 5"}
    assert set(runs) == {"AEVB 3", "WS 3", "AEVB 5", "WS 5"}
    last = float(next(row[4] for row in rows if row[1:4] == ["MNIST Nz=5", "WS test", "2000"]))
    assert runs["WS 5"]["elbo"] == pytest.approx(last, abs=0.01)
    assert "min left" in capsys.readouterr().out


def test_a_model_that_is_there_is_not_trained_twice(out, tmp_path, monkeypatch, capsys):
    call = ["fig2-mnist", "--samples", "1000", "--latents", "3", "--out"]
    main([*call, str(out)])
    monkeypatch.setitem(curves.METHODS, "AEVB", objectives.reconstruction)
    objectives.reconstruction.__qualname__ = "elbo"  # it would be noticed
    try:
        main([*call, str(tmp_path / "again")])
    finally:
        objectives.reconstruction.__qualname__ = "reconstruction"
    assert lines(out / "fig2-mnist.csv") == lines(tmp_path / "again" / "fig2-mnist.csv")
    assert (
        "fig2-mnist AEVB 3: goes on from data/reproduce/fig2-mnist-AEVB-3-seed-0.safetensors; delete it"
        in capsys.readouterr().out
    )


def test_what_is_written_is_not_trained_again(out, monkeypatch, capsys):
    call = ["fig2-mnist", "--samples", "1000", "--out", str(out)]
    main([*call, "--latents", "3"])
    before = (out / "fig2-mnist.csv").read_text()
    trained, train = [], fig2.train
    monkeypatch.setattr(fig2, "train", lambda label, *args: (trained.append(label), train(label, *args))[1])
    main([*call, "--latents", "3", "5"])
    assert trained == ["fig2-mnist AEVB 5", "fig2-mnist WS 5"]
    assert "AEVB 3: fig2-mnist.csv has it already" in capsys.readouterr().out
    assert (out / "fig2-mnist.csv").read_text().startswith(before)
    main([*call, "--latents", "3", "--seed", "1"])  # other numbers, other file
    assert trained[2:] == ["fig2-mnist AEVB 3", "fig2-mnist WS 3"]
    assert {row[5] for row in lines(out / "fig2-mnist.csv")[1:]} == {"1"}


@pytest.mark.parametrize("method, objective", [("AEVB", (objectives, "elbo")), ("WS", (baselines, "wake_sleep"))])
def test_an_interrupted_figure_goes_on_where_it_was(method, objective, out, tmp_path, monkeypatch):
    call = ["fig2-mnist", "--samples", "2e3", "--latents", "3", "--out"]
    main([*call, str(tmp_path / "whole")])
    shutil.rmtree(tmp_path / "data")  # or nothing would be left to do
    module, name = objective
    steps, original = [], getattr(module, name)

    def interrupted(vae, x):
        steps.append(len(x))
        if len(steps) == 13:  # of 20
            raise KeyboardInterrupt
        return original(vae, x)

    interrupted.__qualname__ = name
    monkeypatch.setitem(curves.METHODS, method, interrupted)
    with pytest.raises(
        SystemExit,
        match=f"fig2-mnist {method} 3: interrupted from the keyboard after 1,200 "
        "images .*; the same command goes on from there",
    ):
        main([*call, str(out)])
    main([*call, str(out)])
    assert len(steps) == 13 + 20 - 10  # since the report after 1,000 images
    assert lines(out / "fig2-mnist.csv") == lines(tmp_path / "whole" / "fig2-mnist.csv")


def test_the_search_reports_failures_and_distances(out, monkeypatch):
    best = fig2.best("AEVB", 20)
    tried = [
        ("AEVB", 20, best, 0),
        ("AEVB", 20, replace(best, std=2.0), 0),
        ("WS", 20, replace(best, std=0.1), 0),
        ("AEVB", 20, best, 1),
    ]
    monkeypatch.setattr(fig2, "search_readings", lambda: tried)
    monkeypatch.setattr(fig2, "USELESS", -700)
    monkeypatch.setattr(fig2, "COMPARED_AT", (1000, 2000))
    paper = (np.array([1000.0, 2000.0]), np.array([-500.0, -400.0]))
    monkeypatch.setattr(curves, "paper_curves", lambda *_: {"AEVB test": paper, "WS test": paper})
    main(["fig2-search", "--samples", "2000", "--out", str(out)])
    runs = list(record_of("fig2-search", out)["results"]["runs"].values())
    assert [run["std"] for run in runs] == [0.01, 2.0, 0.1, 0.01] and [run["seed"] for run in runs] == [0, 0, 0, 1]
    assert runs[0]["distance"] != runs[3]["distance"]
    assert runs[0]["outcome"] == "trained" and runs[1]["outcome"].startswith(("given up", "diverged"))
    expected = [abs(point["ours"] - value) for point, value in zip(runs[0]["against_paper"], paper[1])]
    assert runs[0]["distance"] == pytest.approx(np.mean(expected), abs=0.02) and len(expected) == 2
    trained = []
    monkeypatch.setattr(fig2, "_try", lambda *args: trained.append(args))
    main(["fig2-search", "--samples", "2000", "--out", str(out)])  # nothing left to try
    assert trained == []


def test_the_readings_differ_in_what_the_paper_leaves_unsaid():
    readings = fig2.search_readings()
    assert len(set(readings)) == len(readings) == 3 * 2 * 2 * 2 + 3 + 6 + 2
    assert {reading.pixels for _, _, reading, _ in readings} == {"GreyCrossEntropy", "Bernoulli"}
    assert {(method, latents) for method, latents, *_ in readings} == {("AEVB", 20), ("WS", 20), ("WS", 200)}
    assert {(*curve, fig2.BEST[curve], 0) for curve in (("AEVB", 20), ("WS", 20), ("WS", 200))} <= set(readings)


def test_a_size_that_the_paper_does_not_have_is_read_as_its_neighbour():
    assert fig2.best("AEVB", 2) == fig2.best("AEVB", 3) == fig2.BEST["AEVB", 3]
    assert fig2.best("WS", 150).rate == 0.02 != fig2.best("WS", 20).rate


def test_reports_come_at_even_steps_of_the_logarithm():
    at = REPORT_POINTS(1e7)  # before `small` took its place
    assert at[0] == pytest.approx(10**4.5) and at[-1] == pytest.approx(1e7)
    assert np.allclose(np.diff(np.log10(at)), 1 / 8)
    assert np.isclose(at, 10**5.5).any() and np.isclose(at, 1e6).any() and len(REPORT_POINTS(1000)) == 0


def test_differences_are_ours_minus_the_papers():
    x, nats = paper_curves("Fig2", "MNIST Nz=20")["AEVB test"]
    rows = curves.compare("Fig2", "MNIST Nz=20", "AEVB test", x, nats + 1.5, at=(1e6, 1e7, 1e12))
    assert [row["samples"] for row in rows] == [10**6, 10**7]
    assert all(row["difference"] == pytest.approx(1.5, abs=0.6) for row in rows)
    assert curves.paper_value("Fig2", "MNIST Nz=20", "AEVB test", 1e7) == pytest.approx(-104.8, abs=0.3)
    assert curves.paper_value("Fig2", "MNIST Nz=20", "AEVB test", 1e3) is None


def test_speed_is_a_ratio_of_samples_at_one_bound():
    """A curve and the same curve four times as slow."""
    samples = np.logspace(4, 7, 25)
    aevb = np.stack([samples, -200 + 15 * np.log10(samples)], 1)
    slow = np.stack([samples, -200 + 15 * np.log10(samples / 4)], 1)
    ratios = fig2.speed_ratios(aevb, slow)
    assert len(ratios) == 3 and all(ratio == pytest.approx(4, rel=0.01) for ratio in ratios.values())


def test_curves_are_read_as_they_were_written(tmp_path):
    rows = [("Fig2", "MNIST Nz=3", "AEVB test", 10, -1.5, seed) for seed in (0, 1)]
    curves.write_curves(tmp_path / "curves.csv", rows)
    pairs = read_curves(tmp_path / "curves.csv")["Fig2", "MNIST Nz=3"]["AEVB test"]
    assert [(x.tolist(), y.tolist()) for x, y in pairs] == [([10.0], [-1.5])] * 2
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other.csv was expected to have the columns figure, panel"):
        read_curves(tmp_path / "other.csv")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--samples", "none"], "a number of training images of 100 or more was expected, got none"),
        (["--latents", "0"], "a number of latent dimensions of 1 or more was expected, got 0"),
    ],
)
def test_a_wrong_size_is_refused(arguments, sentence, capsys):
    with pytest.raises(SystemExit):
        main(["fig2-mnist", *arguments])
    assert sentence in capsys.readouterr().err


def test_other_commands_refuse_the_options_of_figures(capsys):
    with pytest.raises(SystemExit):
        main(["mlp", "--samples", "1000"])
    assert "--samples was expected with fig2-search or fig2-mnist" in capsys.readouterr().err


def test_the_protocol_is_the_papers(toy_mnist, monkeypatch):
    """The arguments that reach `fit`: M = 100, Adagrad with the prior at weight 1/N, a constant step that waits."""
    seen = {}

    def fit(vae, images, **kwargs):
        seen.update(kwargs)
        raise InterruptedError

    monkeypatch.setattr(curves, "fit", fit)
    with pytest.raises(InterruptedError):
        fig2.train("x", "WS", 3, replace(fig2.BEST["WS", 3], images=200), 2000, 0, toy_mnist, None)
    assert seen["batch_size"] == 100 and seen["max_norm"] is None and seen["learning_rate"] == 0.01
    assert seen["objective"] is baselines.wake_sleep
    optimiser = seen["optimiser"]([torch.zeros(2, 2, requires_grad=True), torch.zeros(2, requires_grad=True)], 1)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [1 / 200, 0]
    assert isinstance(optimiser, torch.optim.Adagrad)
    assert [seen["schedule"](step / 20) for step in (1, 2, 3)] == [0, 0, 0]  # 100 of 20 steps


# --- Figures 4 and 5


def test_figure_5_draws_from_the_models_of_figure_2(out, monkeypatch):
    monkeypatch.setattr(pictures, "full_mnist", fig2.full_mnist)
    monkeypatch.setattr(pictures, "FIGURE_5_SIDE", 3)
    main(["fig2-mnist", "--samples", "1000", "--latents", "3", "--out", str(out)])
    trained, train = [], fig2.train
    monkeypatch.setattr(fig2, "train", lambda *args: (trained.append(args[0]), train(*args))[1])
    monkeypatch.setitem(curves.METHODS, "AEVB", lambda vae, x: pytest.fail("trained again"))
    curves.METHODS["AEVB"].__qualname__ = "elbo"
    main(["fig5", "--samples", "1000", "--latents", "3", "--out", str(out)])
    assert trained == ["fig2-mnist AEVB 3"] and (out / "fig5.png").is_file()
    found = record_of("fig5", out)["results"]["3 latents"]
    assert found["elbo"] == pytest.approx(record_of("fig2-mnist", out)["results"]["runs"]["AEVB 3"]["elbo"])


def test_figure_4_is_the_plane_of_two_latents(out, monkeypatch):
    monkeypatch.setattr(pictures, "full_mnist", fig2.full_mnist)
    torch.manual_seed(0)
    faces = fig2.paper_vae(2, likelihood=PixelGaussian(), image_shape=(1, 28, 20))
    monkeypatch.setattr(pictures, "load_vae", lambda name: faces)
    main(["fig4", "--samples", "1000", "--out", str(out)])
    sizes = {name: Image.open(out / f"fig4-{name}.png").size for name in ("mnist", "frey")}
    assert sizes == {"mnist": (20 * 28, 20 * 28), "frey": (10 * 20 * 2, 10 * 28 * 2)}
    assert record_of("fig4", out)["results"]["fig4-mnist.png"]["samples"] == 1000
