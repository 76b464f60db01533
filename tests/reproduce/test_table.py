"""The results table pairs what `likelihood` wrote image by image."""

import pytest

from vae_utils.evaluation import evaluate
from vae_utils.models import load_vae
from vae_utils.paper.importance import log_likelihood
from vae_utils.reproduce import likelihood, table


def test_likelihoods_are_paired_image_by_image(run, toy_mnist, full_toy_mnist, assets, monkeypatch):
    for module in (likelihood, table):
        monkeypatch.setattr(module, "full_mnist", full_toy_mnist)
    monkeypatch.setattr(likelihood, "EVERY", {"mlp": 2, "conv": 8})
    monkeypatch.setattr(likelihood, "IMPORTANCE_SAMPLES", 20)
    run("likelihood-mlp")
    written = run("likelihood-conv")["results"]
    assert written["protocol"] == ("5 images (1 in 8 of 40), pixels binarised by one fixed draw, 20 importance samples")
    monkeypatch.setattr(table, "EVERY", {"mlp": 1, "conv": 1})  # what is stored says how it was measured
    rows = run("table")["results"]
    mlp, conv = (
        log_likelihood(load_vae(name), toy_mnist.test, 20, every=every).per_image
        for name, every in (("mlp", 2), ("conv", 8))
    )
    pair = rows["conv against mlp, log p(x)"]
    assert pair["difference"] == pytest.approx((conv - mlp[[0, 4, 8, 12, 16]]).mean().item(), abs=6e-4)
    assert pair["images"] == "5 test images"
    elbos = [evaluate(load_vae(name), toy_mnist.test).elbo for name in ("mlp", "conv")]
    assert rows["conv against mlp, ELBO"]["difference"] == pytest.approx((elbos[1] - elbos[0]).mean().item(), abs=6e-4)
    assert rows["mlp"]["latent_size"] == 3 and 0 <= rows["mlp"]["active_units"] <= 3
