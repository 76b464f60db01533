"""`full-vb` from end to end at toy size: what it writes, how it goes on when interrupted, what chooses."""

import contextlib
import io
import json
from dataclasses import replace
from itertools import product

import pytest
import torch
from PIL import Image

from vae_utils.files import load_tensors
from vae_utils.models import load_weights, mlp_vae
from vae_utils.paper.bayes import BayesianVAE, weight_prior
from vae_utils.reproduce import full_vb
from vae_utils.reproduce.__main__ import main

SIZES, SEEDS = (20, 40), 2
CALL = ["full-vb", "--samples", "100", "--seed", "3"]


def held_out_from(toy):
    """Stands for `full_mnist`: the first 30 training images are the held-out ones."""
    return lambda hold_out=0: replace(toy, train=toy.train[30:], test=toy.train[:30]) if hold_out else toy


def shrink(patch, toy, folder):
    small = {"SIZES": SIZES, "BATCH_SIZE": 20, "NUM_REPORTS": 2, "NUM_SEEDS": SEEDS, "STORED_SIZES": (40,)}
    small |= {"LATENT_SIZE": 2, "HIDDEN": 4, "EVERY_ELBO": 8, "EVERY_TIGHT": 20}
    small |= {"NUM_WEIGHTS": 2, "NUM_DRAWS": 2, "NUM_WEIGHTS_ELBO": 2}
    small |= {"full_mnist": held_out_from(toy), "DATA": folder / "data"}
    small["METHODS"] = {
        name: replace(method, candidates=method.candidates[: 2 if name == "ML" else 1])
        for name, method in full_vb.METHODS.items()
    }
    for name, value in small.items():
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
        main([*CALL, "--out", str(folder / "out")])
    return folder / "out", said.getvalue()


@pytest.fixture
def results(once):
    return json.loads((once[0] / "full-vb.json").read_text("utf-8"))["results"]


@pytest.mark.slow
def test_what_it_writes(once, results, rows_of):
    out, said = once
    files = {"full-vb.csv", "full-vb.json", "full-vb.png", "full-vb-40.safetensors"}
    assert {path.name for path in out.iterdir()} == files
    assert [(row["images"], row["method"]) for row in results["chosen"]] == list(product(SIZES, full_vb.METHODS))
    for row in results["chosen"]:
        for moment in ("final", "best"):
            values = row[f"{moment} predictive_elbo"]["values"]
            assert len(values) == SEEDS and len(set(values)) == SEEDS  # each seed is another run
            assert row[f"{moment} predictive_elbo"]["mean"] == pytest.approx(sum(values) / SEEDS, abs=1e-3)
    rows, parts = rows_of(out / "full-vb.csv"), ("train", "held_out")
    assert {row["curve"] for row in rows} == {f"{name} {part}" for name, part in product(full_vb.METHODS, parts)}
    assert {row["samples"] for row in rows} == {"40", "100"} and results["samples"] == 100
    assert {row["seed"] for row in results["runs"].values()} == {3, 4}
    assert Image.open(out / "full-vb.png").width > 800
    assert f"of about {len(results['runs'])} runs" in said
    assert not list((out.parent / "data" / "reproduce").iterdir())  # nothing is left behind


@pytest.mark.slow
def test_differences_are_seed_by_seed(results):
    chosen = {(row["images"], row["method"]): row for row in results["chosen"]}
    for row in results["differences"]:
        both = (chosen[row["images"], name] for name in ("VB", row["rival"]))
        ours, theirs = (found[f"{row['moment']} {row['measure']}"]["values"] for found in both)
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
    fit, calls = full_vb.fit, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(full_vb, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(*CALL)
    again = run(*CALL)["results"]
    assert len(calls) == len(results["runs"]) + 1  # the first three were kept
    for found in (again, results):
        del found["cpu_seconds_of_all_runs"]
        for row in found["runs"].values():
            del row["seconds"]
    assert again == results


@pytest.mark.slow
def test_test_images_choose_nothing(results, run, monkeypatch, toy_mnist):
    other_mnist = replace(toy_mnist, test=torch.rand_like(toy_mnist.test))
    monkeypatch.setattr(full_vb, "full_mnist", held_out_from(other_mnist))
    other_results = run(*CALL)["results"]
    for one, other in zip(results["chosen"], other_results["chosen"], strict=True):
        assert all(one[key] == other[key] for key in ("rate", "prior_std", "initial_std", "best_at", "bound"))
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
