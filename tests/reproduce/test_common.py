"""Recipes, records and full data, which all commands share."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from vae_utils.models import mlp_vae
from vae_utils.reproduce import common


def recipe(**others):
    return common.Recipe(lambda: mlp_vae(2, (8,)), **{"epochs": 2, "learning_rate": 1e-3, "batch_size": 64} | others)


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, ""),
        ({"seed": 2, "epochs": 0.5}, " --seed 2 --epochs 0.5"),
        ({"samples": 2000, "latents": [3, 5]}, " --samples 2000 --latents 3 5"),
        ({"held_out": True}, " --held-out"),
    ],
)
def test_a_command_is_recorded_as_it_is_typed(given, words):
    options = SimpleNamespace(name="table", **{"seed": 0, "epochs": None, "samples": None, "held_out": False} | given)
    assert common.command(options, given.get("latents")) == f"python -m vae_utils.reproduce table{words}"


def test_an_ending_goes_on_from_the_first_training_with_its_own_objective(toy_mnist, tmp_path, monkeypatch):
    """Its reports follow the others, and an interruption in it costs nothing."""
    ended = recipe(bfloat16=True, ending=common.Ending(num_samples=3, epochs=2, learning_rate=1e-3))
    told, objective = [], common.importance_weighted
    first, _ = replace(ended, ending=None).train(toy_mnist, progress=False)
    vae, history = ended.train(toy_mnist, progress=False, on_report=lambda vae, report: told.append(report))
    assert history.column("epochs") == [1, 2, 3, 4]
    assert list(map(repr, told)) == list(map(repr, history))  # in words: no NaN equals another
    assert history.column("seconds") == sorted(history.column("seconds"))
    assert not torch.equal(first.decoder.output_bias, vae.decoder.output_bias)
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(kwargs)
        if len(calls) == 6:  # of 4 steps an epoch: the ending's second
            raise KeyboardInterrupt
        return objective(*args, **kwargs)

    monkeypatch.setattr(common, "importance_weighted", interrupted)
    state = tmp_path / "state.safetensors"
    _, history = ended.train(toy_mnist, progress=False, checkpoint=state)
    assert "interrupted" in history.stopped and calls[0] == {"num_samples": 3} and len(calls) == 6
    again, history = ended.train(toy_mnist, progress=False, checkpoint=state)
    assert history.column("epochs") == [1, 2, 3, 4] and len(calls) == 6 + 4  # the ending's second epoch
    assert all(map(torch.equal, vae.parameters(), again.parameters()))


def test_a_shorter_recipe_keeps_the_share_of_its_ending():
    long = recipe(epochs=100, ending=common.Ending(5, 20, 1e-3))
    assert long.scaled(None) is long
    assert (long.scaled(10).epochs, long.scaled(10).ending.epochs) == (10, 2)


def test_numbers_are_made_from_the_full_set_only(toy_mnist, monkeypatch):
    asked = []
    monkeypatch.setattr(common, "load_mnist", lambda *how: (asked.append(how), toy_mnist)[1])
    assert len(common.full_mnist(7, shuffle=False).train) == 256 and asked == [(7, False)]
    monkeypatch.setattr(common, "load_mnist", lambda *how: replace(toy_mnist, is_full=False))
    with pytest.raises(SystemExit, match="needs the full MNIST, .*: connect .*, or let VAE_DATA name"):
        common.full_mnist()


def test_a_picture_is_written_pixel_by_pixel_and_nothing_else_is(tmp_path):
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
    common.save_image(picture, tmp_path / "picture.png", scale=2)
    with Image.open(tmp_path / "picture.png") as written:
        assert np.array_equal(np.asarray(written), picture.repeat(2, 0).repeat(2, 1))
    with pytest.raises(ValueError, match=r"uint8 array \[height, width\], got float64 of shape \[2, 3\]; make it"):
        common.save_image(picture / 2, tmp_path / "other.png")
