"""`full-vb` from end to end at toy size: what it writes, how it goes on when interrupted, what chooses."""

import contextlib
import io
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from vae_utils.files import load_tensors
from vae_utils.models import load_weights, mlp_vae
from vae_utils.paper.bayes import BayesianVAE, weight_prior
from vae_utils.reproduce import full_vb
from vae_utils.reproduce.__main__ import main

SIZES, SEEDS = (20, 40), 2


def held_out_from(toy, test=None):
    """Stands for `full_mnist`: the first 30 training images are the held-out ones."""

    def full_mnist(hold_out=0):
        if hold_out:
            return replace(toy, train=toy.train[30:], test=toy.train[:30])
        return toy if test is None else replace(toy, test=test)

    return full_mnist


def shrink(patch, toy, folder):
    sizes = {"SIZES": SIZES, "SAMPLES": 80, "BATCH_SIZE": 20, "NUM_REPORTS": 2, "NUM_SEEDS": SEEDS}
    sizes |= {"LATENT_SIZE": 2, "HIDDEN": 4, "EVERY_ELBO": 8, "EVERY_TIGHT": 20, "STORED_SIZES": (40,)}
    sizes |= {"NUM_WEIGHTS": 2, "NUM_DRAWS": 2, "NUM_WEIGHTS_ELBO": 2}
    methods = {
        name: replace(method, candidates=method.candidates[: 2 if name == "ML" else 1])
        for name, method in full_vb.METHODS.items()
    }
    others = {"full_mnist": held_out_from(toy), "DATA": folder / "data", "METHODS": methods}
    for name, value in (sizes | others).items():
        patch.setattr(full_vb, name, value)


@pytest.fixture(autouse=True)
def small(toy_mnist, monkeypatch, tmp_path):
    shrink(monkeypatch, toy_mnist, tmp_path)


@pytest.fixture(scope="module")
def once(toy_mnist, tmp_path_factory):
    """One run of the command, for all tests that only read what it has written: its folder, and what it said."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        shrink(patch, toy_mnist, folder)
        main(["full-vb", "--out", str(folder / "out")])
    return folder / "out", said.getvalue()


@pytest.fixture
def results(once):
    return json.loads((once[0] / "full-vb.json").read_text("utf-8"))["results"]


@pytest.mark.slow
def test_what_it_writes(once, results, rows_of):
    out, said = once
    assert {path.name for path in out.iterdir()} == {
        "full-vb.csv",
        "full-vb.json",
        "full-vb.png",
        "full-vb-40.safetensors",
    }
    assert [(row["images"], row["method"]) for row in results["chosen"]] == [
        (size, method) for size in SIZES for method in full_vb.METHODS
    ]
    for row in results["chosen"]:
        for moment in ("final", "best"):
            values = row[f"{moment} predictive_elbo"]["values"]
            assert len(values) == SEEDS and len(set(values)) == SEEDS  # each seed is another run
            assert row[f"{moment} predictive_elbo"]["mean"] == pytest.approx(sum(values) / SEEDS, abs=1e-3)
    rows = rows_of(out / "full-vb.csv")
    assert list(rows[0]) == ["figure", "panel", "curve", "samples", "nats", "seed"]
    assert {row["curve"] for row in rows} == {
        f"{name} {part}" for name in full_vb.METHODS for part in ("train", "held_out")
    }
    assert {row["samples"] for row in rows} == {"40", "80"}
    assert Image.open(out / "full-vb.png").width > 800
    assert f"of about {len(results['runs'])} runs" in said
    assert not list((out.parent / "data" / "reproduce").iterdir())  # nothing is left behind


@pytest.mark.slow
def test_differences_are_seed_by_seed(results):
    chosen = {(row["images"], row["method"]): row for row in results["chosen"]}
    for row in results["differences"]:
        ours, theirs = (
            chosen[row["images"], name][f"{row['moment']} {row['measure']}"]["values"] for name in ("VB", row["rival"])
        )
        assert row["values"] == pytest.approx([a - b for a, b in zip(ours, theirs, strict=True)], abs=2e-3)


@pytest.mark.slow
def test_stored_weights_are_the_model(once):
    tensors, made = load_tensors(once[0] / "full-vb-40.safetensors")
    network = mlp_vae(**made["network"])
    vae = BayesianVAE(network, weight_prior(network.decoder, **made["prior"]))
    load_weights(vae, tensors)
    assert made["num_images"] == 40 and made["setting"]["method"] == "VB, evidence"
    # half precision: three digits of each of the weights
    assert vae.weights_kl().item() == pytest.approx(made["results"]["weights_kl"], rel=0.01)


@pytest.mark.slow
def test_an_interruption_costs_one_run(results, run, monkeypatch):
    whole = results
    fit, calls = full_vb.fit, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(full_vb, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("full-vb")
    again = run("full-vb")["results"]
    assert len(calls) == len(whole["runs"]) + 1  # the first three were kept
    for found in (again, whole):
        del found["cpu_seconds_of_all_runs"]
    assert without_seconds(again) == without_seconds(whole)


def without_seconds(results):
    runs = {
        name: {key: value for key, value in row.items() if key != "seconds"} for name, row in results["runs"].items()
    }
    return results | {"runs": runs}


@pytest.mark.slow
def test_test_images_choose_nothing(results, run, monkeypatch, toy_mnist):
    monkeypatch.setattr(full_vb, "full_mnist", held_out_from(toy_mnist, test=torch.rand_like(toy_mnist.test)))
    other_results = run("full-vb")["results"]
    for one, other in zip(results["chosen"], other_results["chosen"], strict=True):
        assert [one[key] for key in ("rate", "prior_std", "initial_std", "best_at", "bound")] == [
            other[key] for key in ("rate", "prior_std", "initial_std", "best_at", "bound")
        ]
        assert one["final predictive_elbo"] != other["final predictive_elbo"]


class Seen(Exception):
    """Thrown in the place of a training, with the images that it was given."""


def test_smaller_training_sets_lie_in_larger_ones(monkeypatch):
    def fit(vae, images, **kwargs):
        raise Seen(images)

    monkeypatch.setattr(full_vb, "fit", fit)
    mnist, seen = full_vb.full_mnist(hold_out=1), []
    for size in SIZES:
        with pytest.raises(Seen) as caught:
            full_vb._run(mnist, mnist.test, size, full_vb.Setting("ML", rate=1e-3), 80, 0)
        seen += caught.value.args
    assert [len(images) for images in seen] == list(SIZES)
    assert torch.equal(seen[0], seen[1][:20])


@pytest.mark.slow
def test_samples_and_seed_are_taken(run):
    results = run("full-vb", "--seed", 3, "--samples", 100)["results"]
    assert results["samples"] == 100
    assert {row["seed"] for row in results["runs"].values()} == {3, 4}
    assert {samples for row in results["chosen"] for samples in row["best_at"]} <= {50, 100}
