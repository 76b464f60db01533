"""Figure 2's lower row from end to end, on a toy film: what is written, what goes on, and what is never looked at."""

import json
import shutil

import pytest
import torch

from vae_utils import training
from vae_utils.evaluation import evaluate, kl_per_dimension
from vae_utils.models import load_vae
from vae_utils.paper.frey_face import FreyFace
from vae_utils.paper.ppca import pixel_gaussians, ppca
from vae_utils.reproduce import curves, fig2_frey, resuming
from vae_utils.reproduce.__main__ import main

CALL = ("fig2-frey", "--samples", "12000", "--latents", "2")


@pytest.fixture(autouse=True)
def small(small_frey, film, states, monkeypatch):
    small_frey(monkeypatch, film)


@pytest.fixture(scope="module")
def once(small_frey, film, tmp_path_factory):
    """One run of the command, for all tests that only read what it has written."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        small_frey(patch, film)
        patch.setattr(resuming, "DATA", folder / "data")
        main([*CALL, "--out", str(folder / "out")])
    return folder


@pytest.fixture
def made(once, out):
    shutil.copytree(once / "out", out)
    return out


def record_of(out):
    return json.loads((out / "fig2-frey.json").read_text("utf-8"))


@pytest.mark.slow
def test_the_command_leaves_curves_picture_weights_and_record(made, once, rows_of):
    assert {path.name for path in made.iterdir()} == {
        "fig2-frey.csv",
        "fig2-frey.json",
        "fig2-frey.png",
        "frey-2.safetensors",
    }
    rows = rows_of(made / "fig2-frey.csv")
    assert list(rows[0]) == ["figure", "panel", "curve", "samples", "nats", "seed"]
    assert {(row["figure"], row["panel"], row["seed"]) for row in rows} == {("Fig2", "Frey Nz=2", "0")}
    assert {row["curve"] for row in rows} == {
        f"{method} {part}" for method in ("AEVB", "WS") for part in ("train", "test")
    }
    record = record_of(made)
    assert record["command"] == "python -m vae_utils.reproduce fig2-frey --samples 12000"
    assert set(record["results"]["runs"]) == {"AEVB 2", "WS 2"}
    assert list((once / "data" / "reproduce").iterdir()) == []  # states are gone


@pytest.mark.slow
def test_the_record_says_what_the_stored_weights_are(made, film, rows_of):
    run = record_of(made)["results"]["runs"]["AEVB 2"]
    vae = load_vae(made / "frey-2.safetensors")
    assert vae.image_shape == (1, 28, 20) and vae.likelihood.floor == 1 / 256
    # half precision moves the bound a little, and so does another number of draws of z
    bound = evaluate(vae, film.test, num_samples=10).elbo.mean().item()
    assert bound == pytest.approx(run["elbo"], abs=3)
    assert vae.metadata["results"]["elbo"] == pytest.approx(bound, abs=3)
    assert run["train_minus_test"] == pytest.approx(run["train"]["elbo"] - run["elbo"], abs=0.02)
    assert sum(run["kl_per_dimension"]) == pytest.approx(run["rate"], abs=0.01)
    assert kl_per_dimension(vae, film.test).tolist() == pytest.approx(run["kl_per_dimension"], abs=0.1)
    assert run["smallest_sigma"] >= 1 / 256 - 1e-5
    last = [float(row["nats"]) for row in rows_of(made / "fig2-frey.csv") if row["curve"] == "AEVB test"]
    assert run["best_test"]["elbo"] == pytest.approx(max(last), abs=0.01)


@pytest.mark.slow
def test_exact_evidence_is_that_of_models_of_the_training_frames(made, film):
    found = record_of(made)["results"]["exact"]
    assert set(found) == {"pixel_gaussians", "ppca 2", "ppca 5", "ppca 10", "ppca 20"}
    for name, model in (("pixel_gaussians", pixel_gaussians(film.train)), ("ppca 5", ppca(film.train, 5))):
        for part, images in (("train", film.train), ("test", film.test)):
            assert found[name][part] == pytest.approx(model.log_prob(images.double()).mean().item(), abs=0.01)


def test_a_plateau_is_where_the_bound_is_that_of_a_model_without_a_code(film):
    level = pixel_gaussians(film.train).log_prob(film.test.double()).mean().item()

    def report(samples, nats, rate):
        return training.Report(samples, 1.0, 1.0, 0.0, 0.0, 0.0, level + nats, rate, 0.0)

    history = [report(100, -50, 9), report(200, -8, 0.3), report(300, 2, 0.01), report(400, 9, 0.2), report(500, 30, 5)]
    assert fig2_frey.plateau(history, film) == {"from": 200, "to": 400, "largest_rate": 0.3}
    assert fig2_frey.plateau(history[-1:], film) is None


@pytest.mark.slow
def test_the_learning_rate_is_the_best_of_the_first_training_bounds(made):
    for run in record_of(made)["results"]["runs"].values():
        tried = {row["learning_rate"]: row["train"] for row in run["learning_rates"]}
        assert list(tried) == list(curves.LEARNING_RATES)
        known = {rate: bound for rate, bound in tried.items() if bound is not None}
        assert known[run["learning_rate"]] == max(known.values())


@pytest.mark.slow
def test_the_test_frames_choose_nothing(film, monkeypatch, made, run, tmp_path):
    """With other test frames the choice and the weights are the same."""
    monkeypatch.setattr(fig2_frey, "load_frey_faces", lambda: FreyFace(film.train, 1 - film.test, "VAE_DATA", True))
    other = tmp_path / "other"
    run(*CALL, to=other)
    for name in ("AEVB 2", "WS 2"):
        ours, theirs = (record_of(folder)["results"]["runs"][name] for folder in (made, other))
        assert ours["learning_rates"] == theirs["learning_rates"] and ours["train"] == theirs["train"]
        assert ours["elbo"] != theirs["elbo"]


@pytest.mark.slow
def test_an_interrupted_command_goes_on_to_the_same_numbers(made, run, rows_of, tmp_path, monkeypatch):
    ascend, calls = training._ascend, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3 * 105 + 110:  # after the three probes, in the middle of the first curve
            raise KeyboardInterrupt
        return ascend(*arguments)

    monkeypatch.setattr(training, "_ascend", interrupted)
    again = tmp_path / "again"
    with pytest.raises(SystemExit, match="fig2-frey AEVB 2: interrupted .*the same command goes on"):
        run(*CALL, to=again)
    assert list(again.iterdir()) == []
    run(*CALL, to=again)
    assert rows_of(again / "fig2-frey.csv") == rows_of(made / "fig2-frey.csv")


def test_a_stand_in_makes_no_numbers(run, out, film, monkeypatch):
    monkeypatch.setattr(fig2_frey, "load_frey_faces", lambda: FreyFace(film.train, film.test, "stand-in", False))
    with pytest.raises(SystemExit, match="needs Frey Face, and only a stand-in was found: connect .*, or let VAE_DATA"):
        run(*CALL)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("method", ["AEVB", "WS"])
def test_the_model_is_the_papers(film, method):
    vae, history = fig2_frey.train_frey_curve("a curve", method, 5, 0.01, 300, 0, film)
    assert vae.latent_size == 5 and vae.settings["hidden"] == [20] and vae.settings["activation"] == "tanh"
    assert history[-1].samples == 300
    start, _ = fig2_frey.train_frey_curve(
        "another", method, 5, 0.02, 300, 0, film
    )  # the first 100 steps only gather squares
    for name, value in start.state_dict().items():
        torch.testing.assert_close(vae.state_dict()[name], value, rtol=0, atol=0)
    assert 0.008 < vae.decoder.output.weight.std() < 0.012
