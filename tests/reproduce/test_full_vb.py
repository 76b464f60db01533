"""`full-vb` from end to end at toy size: what it writes, how it goes on when interrupted, what chooses."""

import csv
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from vae_utils.files import load_tensors
from vae_utils.models import load_weights, mlp_vae
from vae_utils.paper.bayes import BayesianVAE, weight_prior
from vae_utils.reproduce import full_vb

SIZES, SEEDS = (20, 40), 2


@pytest.fixture(autouse=True)
def small(full_toy_mnist, monkeypatch, tmp_path):
    toy = dict(
        full_mnist=full_toy_mnist,
        DATA=tmp_path / "data",
        SIZES=SIZES,
        SAMPLES=80,
        BATCH_SIZE=20,
        NUM_REPORTS=2,
        NUM_SEEDS=SEEDS,
        LATENT_SIZE=2,
        HIDDEN=4,
        EVERY_ELBO=8,
        EVERY_TIGHT=20,
        NUM_WEIGHTS=2,
        NUM_DRAWS=2,
        NUM_WEIGHTS_ELBO=2,
        STORED_SIZES=(40,),
    )
    toy["METHODS"] = {
        name: replace(method, candidates=method.candidates[: 2 if name == "ML" else 1])
        for name, method in full_vb.METHODS.items()
    }
    for name, value in toy.items():
        monkeypatch.setattr(full_vb, name, value)


def run(folder, seed=0, samples=None):
    folder.mkdir(exist_ok=True)
    full_vb.full_vb(
        SimpleNamespace(
            out=folder, seed=seed, samples=samples, latents=None, epochs=None, held_out=False, start=time.perf_counter()
        )
    )
    return json.loads((folder / "full-vb.json").read_text("utf-8"))["results"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_what_it_writes(out, capsys, tmp_path):
    results = run(out)
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
    with open(out / "full-vb.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["figure", "panel", "curve", "samples", "nats", "seed"]
    assert {row["curve"] for row in rows} == {
        f"{name} {part}" for name in full_vb.METHODS for part in ("train", "held_out")
    }
    assert {row["samples"] for row in rows} == {"40", "80"}
    assert Image.open(out / "full-vb.png").width > 800
    assert f"of about {len(results['runs'])} runs" in capsys.readouterr().out
    assert not list((tmp_path / "data" / "reproduce").iterdir())  # nothing is left behind


def test_differences_are_seed_by_seed(out):
    results = run(out)
    chosen = {(row["images"], row["method"]): row for row in results["chosen"]}
    for row in results["differences"]:
        ours, theirs = (
            chosen[row["images"], name][f"{row['moment']} {row['measure']}"]["values"] for name in ("VB", row["rival"])
        )
        assert row["values"] == pytest.approx([a - b for a, b in zip(ours, theirs, strict=True)], abs=2e-3)


def test_stored_weights_are_the_model(out):
    run(out)
    tensors, made = load_tensors(out / "full-vb-40.safetensors")
    network = mlp_vae(**made["network"])
    vae = BayesianVAE(network, weight_prior(network.decoder, **made["prior"]))
    load_weights(vae, tensors)
    assert made["num_images"] == 40 and made["setting"]["method"] == "VB, evidence"
    # half precision: three digits of each of the weights
    assert vae.weights_kl().item() == pytest.approx(made["results"]["weights_kl"], rel=0.01)


def test_an_interruption_costs_one_run(out, tmp_path, monkeypatch, capsys):
    whole = run(out)
    capsys.readouterr()
    fit, calls = full_vb.fit, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    again = tmp_path / "again"
    monkeypatch.setattr(full_vb, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(again)
    results = run(again)
    assert len(calls) == len(whole["runs"]) + 1  # the first three were kept
    for found in (results, whole):
        del found["cpu_seconds_of_all_runs"]
    assert without_seconds(results) == without_seconds(whole)


def without_seconds(results):
    runs = {
        name: {key: value for key, value in row.items() if key != "seconds"} for name, row in results["runs"].items()
    }
    return results | {"runs": runs}


def test_test_images_choose_nothing(out, tmp_path, monkeypatch, full_toy_mnist):
    def other_test(hold_out=0):
        mnist = full_toy_mnist(hold_out)
        return mnist if hold_out else replace(mnist, test=torch.rand_like(mnist.test))

    first = run(out)
    monkeypatch.setattr(full_vb, "full_mnist", other_test)
    second = run(tmp_path / "other")
    for one, other in zip(first["chosen"], second["chosen"], strict=True):
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


def test_samples_and_seed_are_taken(out):
    results = run(out, seed=3, samples=40)
    assert results["samples"] == 40
    assert {row["seed"] for row in results["runs"].values()} == {3, 4}
    assert {samples for row in results["chosen"] for samples in row["best_at"]} <= {20, 40}
