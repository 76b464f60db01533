"""Figure 2's lower row from end to end, on a toy film: what is written, what goes on, and what is never looked at."""

import json
from dataclasses import replace

import pytest
import torch

from vae_utils import training
from vae_utils.evaluation import evaluate, kl_per_dimension
from vae_utils.models import load_vae
from vae_utils.paper.frey_face import FreyFace
from vae_utils.paper.ppca import pixel_gaussians, ppca
from vae_utils.reproduce import fig2_frey, resuming
from vae_utils.reproduce.__main__ import main

CALL = ("fig2-frey", "--samples", "12000", "--latents", "2")


@pytest.fixture(autouse=True)
def small(small_frey, film, states, monkeypatch):
    small_frey(monkeypatch, film)


@pytest.fixture(scope="module")
def made(small_frey, film, tmp_path_factory):
    """The folder that one run of the command has written, for all tests that only read it."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        small_frey(patch, film)
        patch.setattr(resuming, "DATA", folder / "data")
        main([*CALL, "--out", str(folder / "out")])
    return folder / "out"


@pytest.fixture
def results(made):
    return json.loads((made / "fig2-frey.json").read_text("utf-8"))["results"]


@pytest.mark.slow
def test_the_command_leaves_curves_picture_weights_and_record(made, results, rows_of):
    files = {"fig2-frey.csv", "fig2-frey.json", "fig2-frey.png", "frey-2.safetensors"}
    assert {path.name for path in made.iterdir()} == files
    assert list(results["runs"]) == ["AEVB 2", "WS 2", "AEVB 2 seed 1", "WS 2 seed 1"]  # each first seed first
    rows = rows_of(made / "fig2-frey.csv")
    assert {(row["figure"], row["panel"]) for row in rows} == {("Fig2", "Frey Nz=2")}
    assert {row["seed"] for row in rows} == {"0", "1"}
    assert {row["curve"] for row in rows} == {"AEVB train", "AEVB test", "WS train", "WS test"}
    assert list((made.parent / "data" / "reproduce").iterdir()) == []  # states are gone


@pytest.mark.slow
def test_the_record_says_what_the_stored_weights_are(made, results, film, rows_of):
    run = results["runs"]["AEVB 2"]
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
    rows = [row for row in rows_of(made / "fig2-frey.csv") if (row["curve"], row["seed"]) == ("AEVB test", "0")]
    last = [float(row["nats"]) for row in rows]
    assert run["best_test"]["elbo"] == pytest.approx(max(last), abs=0.01)


@pytest.mark.slow
def test_exact_evidence_is_that_of_models_of_the_training_frames(results, film):
    found = results["exact"]
    sizes = (2, 5, 10, 20)
    assert set(found) == {"pixel_gaussians"} | {
        f"{kind} {size}" for kind in ("ppca", "factor analysis") for size in sizes
    }
    # A noise level for each pixel is a larger family, and its directions come on top of one Gaussian for each pixel.
    for size in sizes:
        least = max(found[f"ppca {size}"]["train"], found["pixel_gaussians"]["train"])
        assert found[f"factor analysis {size}"]["train"] > least
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
def test_the_test_frames_choose_nothing(film, monkeypatch, results, run):
    """With other test frames the choice and the weights are the same."""
    monkeypatch.setattr(fig2_frey, "load_frey_faces", lambda: replace(film, test=1 - film.test))
    other = run(*CALL)["results"]["runs"]
    for name, ours in results["runs"].items():
        theirs = other[name]
        assert ours["learning_rates"] == theirs["learning_rates"] and ours["train"] == theirs["train"]
        assert ours["elbo"] != theirs["elbo"]


@pytest.mark.slow
def test_another_seed_takes_the_rate_of_the_first_and_wake_sleep_its_second_layer(results):
    for method, layers in (("AEVB", 1), ("WS", 2)):
        first, other = results["runs"][f"{method} 2"], results["runs"][f"{method} 2 seed 1"]
        assert (first["seed"], other["seed"]) == (0, 1) and other["learning_rate"] == first["learning_rate"]
        assert first["decoder_layers"] == other["decoder_layers"] == layers
        assert list(first["trials"]) == ["0.01", "0.02", "0.1"] and other["trials"] == first["trials"]


def test_rates_that_a_trial_cannot_tell_apart_are_rivals():
    tried = [{"learning_rate": rate, "train": nats} for rate, nats in ((0.01, 818.0), (0.02, 817.0), (0.1, None))]
    assert fig2_frey.rivals(tried, 0.01) == [0.02] and fig2_frey.rivals(tried[:1], 0.01) == []
    assert fig2_frey.rivals([*tried[:1], tried[1] | {"train": 790.0}], 0.01) == []


def test_splits_scatter_as_their_test_frames_do(results, monkeypatch):
    """Of frames of pure noise, log p(x) of one frame has a variance of half a pixel number, and 40 are averaged."""
    assert set(results["splits"]) == {"pixel_gaussians", *(f"ppca {size}" for size in fig2_frey.LATENTS)}
    shown = {point["split"] for points in results["bands"].values() for point in points}
    assert shown <= set(results["splits"].values()) and 0 not in shown
    noise = torch.randn(1640, 1, 28, 20, generator=torch.Generator().manual_seed(0)) / 10 + 0.5
    monkeypatch.setattr(fig2_frey, "SPLITS", 40)
    monkeypatch.setattr(fig2_frey, "LATENTS", ())
    found = fig2_frey.scatter_of_splits(FreyFace(noise[:1600], noise[1600:], "VAE_DATA", True))
    assert found == {"pixel_gaussians": pytest.approx((560 / 2 / 40) ** 0.5, rel=0.35)}  # 40 splits: 11% of scatter


def test_bands_take_the_seeds_of_one_rate_together():
    lines = [
        ("Fig2", panel, "AEVB test", 1_000_000, nats, seed)
        for panel, nats in (("Frey Nz=10", 780.0), ("Frey Nz=10 rate 0.02", 760.0), ("Frey Nz=2", 670.0))
        for seed in range(3)
    ]
    found = fig2_frey.bands("Fig2", lines, fig2_frey.COMPARED_AT)
    assert list(found) == ["AEVB 2", "AEVB 10", "AEVB 10 rate 0.02"]
    assert [points[0]["ours"] for points in found.values()] == [670, 780, 760]
    assert found["AEVB 10"][0]["paper"] == found["AEVB 10 rate 0.02"][0]["paper"]


def trial(monkeypatch, bounds):
    """What a trial says of a training whose reports have those bounds, and how many reports it took."""
    monkeypatch.setattr(fig2_frey, "TRIAL", 800_000)
    seen = []

    def train(label, rate, on_report):
        for samples, nats in bounds.items():
            report = training.Report(samples, 1.0, 1.0, nats, 0.0, 0.0)
            seen.append(report)
            on_report(None, report)

    trials = {}
    reached = fig2_frey.trial_bound(train, "a curve", 0, trials, 0.01)
    assert list(trials["0.01"].values()) == [report.train_elbo for report in seen]
    return reached, len(seen)


def test_a_trial_ends_at_its_length_or_once_it_is_useless(monkeypatch):
    assert trial(monkeypatch, {400_000: 600.0, 800_000: 700.0, 900_000: 800.0}) == (700.0, 2)
    assert trial(monkeypatch, {100_000: -500.0, 400_000: 400.0, 800_000: 700.0}) == (400.0, 2)
    assert trial(monkeypatch, {100_000: -500.0, 200_000: 300.0}) == (300.0, 2)  # shorter than a trial


def test_a_stand_in_makes_no_numbers(run, out, film, monkeypatch):
    monkeypatch.setattr(fig2_frey, "load_frey_faces", lambda: replace(film, is_frey=False))
    with pytest.raises(SystemExit, match="needs Frey Face, and only a stand-in was found: connect .*, or let VAE_DATA"):
        run(*CALL)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("method", ["AEVB", "WS"])
def test_the_model_is_the_papers(film, method):
    vae, history = fig2_frey.train_frey_curve("a curve", method, 5, 0.01, 300, 0, film)
    assert vae.latent_size == 5 and vae.settings["hidden"] == [20] and vae.settings["activation"] == "tanh"
    assert history[-1].samples == 300
    # the first 100 steps only gather squares: the rate does not matter yet
    start, _ = fig2_frey.train_frey_curve("another", method, 5, 0.02, 300, 0, film)
    for name, value in start.state_dict().items():
        torch.testing.assert_close(vae.state_dict()[name], value, rtol=0, atol=0)
    assert 0.008 < vae.decoder.output.weight.std() < 0.012
