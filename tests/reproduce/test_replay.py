"""The film of a training shows the training that goes without it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vae_utils import models
from vae_utils.classifier import load_classifier
from vae_utils.evaluation import elbo_of_set
from vae_utils.evaluation import manifold as manifold_of
from vae_utils.figures import image_wall
from vae_utils.models import mlp_vae
from vae_utils.reproduce import common, replay
from vae_utils.runtime import fixed_seed


@pytest.fixture
def filmed(monkeypatch, full_toy_mnist):
    """A small model in the place of the one that is filmed: batches of 64, so 4 steps an epoch."""
    recipe = common.Recipe(lambda: mlp_vae(2, (8,)), epochs=4, learning_rate=1e-2, batch_size=64)
    monkeypatch.setattr(replay, "full_mnist", full_toy_mnist)
    monkeypatch.setitem(replay.RECIPES, "manifold", recipe)
    return recipe


@pytest.mark.slow
def test_replay_shows_the_training_that_goes_without_it(run, out, toy_mnist, filmed, monkeypatch):
    monkeypatch.setattr(replay, "SURE", 0.2)  # of squares the classifier is hardly surer
    results = run("replay", "--epochs", 2, "--seed", 3)["results"]
    rows = results["frames"]
    assert [row["samples"] for row in rows] == [0, 64, 128, 256, 512]  # the end once, and nothing beyond
    assert [row["epochs"] for row in rows] == [0, 0.25, 0.5, 1, 2]
    with Image.open(out / "replay.png") as picture:
        film = np.asarray(picture).reshape(len(rows), results["height"], results["width"])
    recipe = replace(filmed, epochs=2, seed=3)
    torch.manual_seed(3)
    before = recipe.build()
    models.start_at_mean(before, toy_mnist.train)
    with fixed_seed(3):
        z = before.prior.sample((1000,))
    read = []
    for frame, row, vae in ((film[0], rows[0], before), (film[-1], rows[-1], recipe.train(toy_mnist)[0])):
        with torch.no_grad():
            pictures = vae.decode(z).mean
        parts = image_wall(manifold_of(vae, 10), gap=0), image_wall(pictures[:30], columns=3, gap=0)
        assert abs(frame - np.concatenate(parts, axis=1).astype(int)).max() <= 8  # of 16 grey levels
        assert row["test_elbo"] == pytest.approx(elbo_of_set(vae, toy_mnist.test).elbo.mean().item(), abs=1e-3)
        said = load_classifier().probabilities(pictures)
        read.append(torch.where(said.amax(1) >= 0.2, said.argmax(1), -1))
        assert row["read"] == [(read[-1] == digit).sum() for digit in range(10)]
    assert rows[0]["as_at_end"] == ((read[0] == read[1]) & (read[0] >= 0)).sum()
    assert 0 < rows[0]["as_at_end"] < rows[-1]["as_at_end"] == sum(rows[-1]["read"]) < 1000
    assert rows[0]["train_elbo"] is None and math.isfinite(rows[-1]["train_elbo"])
    assert not np.array_equal(film[0], film[-1])


def test_an_interrupted_replay_writes_nothing(run, out, filmed, monkeypatch):
    frames = []

    def interrupted(*args):
        frames.append(replay_look(*args))
        if len(frames) == 3:
            raise KeyboardInterrupt
        return frames[-1]

    replay_look = replay.look
    monkeypatch.setattr(replay, "look", interrupted)
    with pytest.raises(SystemExit, match="after 128 images .* is as it was"):
        run("replay")
    assert list(out.iterdir()) == []
