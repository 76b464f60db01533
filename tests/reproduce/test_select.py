"""Settings are compared on held-out training images."""

from dataclasses import replace

import torch

from vae_utils.evaluation import evaluate
from vae_utils.models import mlp_vae
from vae_utils.reproduce import common, select


def test_selection_never_sees_the_test_set(run, full_toy_mnist, toy_mnist, monkeypatch):
    recipe = common.Recipe(lambda: mlp_vae(2, (8,)), epochs=1, learning_rate=1e-3, batch_size=64)
    monkeypatch.setattr(select, "full_mnist", full_toy_mnist)
    monkeypatch.setitem(select.CANDIDATES, "select-mlp", [recipe, replace(recipe, learning_rate=2e-3)])
    seen = []

    def watched(vae, images, *args):
        seen.append(images)
        return evaluate(vae, images, *args)

    monkeypatch.setattr(select, "evaluate", watched)
    rows = run("select-mlp")["results"]
    assert [row["learning_rate"] for row in rows] == [1e-3, 2e-3]
    assert all(row["protocol"].startswith("30 images") for row in rows)
    assert all(torch.equal(images, toy_mnist.train[:30]) for images in seen) and len(seen) == 2
