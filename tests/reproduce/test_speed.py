"""Both ways are timed in turn, on the images asked for, and the example is what it says it is."""

import math
from dataclasses import replace

import pytest
import torch
import torchvision

from vae_utils.evaluation import evaluate
from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.reproduce import speed


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [False, True])
def test_speed_times_both_ways_and_takes_the_median(held_out, run, toy_mnist, full_toy_mnist, monkeypatch, capsys):
    pictures, measured = [(image, 0) for image in toy_mnist.train] * 6, []  # enough for the warming up

    def full_mnist(hold_out):
        mnist = full_toy_mnist(hold_out)
        return replace(mnist, train=mnist.train.repeat(6, 1, 1, 1))

    def watched(vae, images, seed):
        measured.append(images)
        return evaluate(vae, images, seed=seed)

    monkeypatch.setattr(speed, "full_mnist", full_mnist)
    monkeypatch.setattr(speed, "evaluate", watched)
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda root, train, transform: pictures if train else [])
    monkeypatch.setenv("VAE_DATA", "~/somewhere")
    record = run("speed", "--epochs", 1, *["--held-out"] * held_out)
    rows = record["results"]["rounds"]
    assert [row["seed"] for row in rows] == [0, 1, 2] and record["results"]["example_epochs"] == 1
    for row in rows:
        assert math.isfinite(row["our_elbo"]) and row["our_seconds"] >= 0 and row["example_seconds"] > 0
    assert record["results"]["median_ratio"] == sorted(row["ratio"] for row in rows)[1]
    assert record["results"]["reached"] == all(row["our_elbo"] >= row["example_elbo"] for row in rows)
    expected = toy_mnist.train[:30] if held_out else toy_mnist.test
    assert all(torch.equal(images, expected) for images in measured) and len(measured) == 3
    kind = "30 held-out training images" if held_out else "40 test images"
    assert f"[cross-entropy of grey pixels, {kind}, 1 draw of z]" in capsys.readouterr().out
    assert ("--held-out" in record["command"]) == held_out


def test_the_examples_bound_is_the_elbo_of_its_networks(toy_mnist):
    """The example's loss by hand against this library's, at the same draws of z."""
    torch.manual_seed(0)
    example = speed.Example()
    bound = speed.example_elbo(example, toy_mnist.test, seed=1)
    with torch.no_grad():
        h = example.hidden(toy_mnist.test.flatten(1)).relu()
        q = torch.distributions.Normal(example.mean(h), (0.5 * example.log_variance(h)).exp())
        torch.manual_seed(1)
        z = q.mean + torch.randn_like(q.mean) * q.stddev
        p = GreyCrossEntropy()(example.pixels(example.back(z).relu()).view(-1, 1, 28, 28))
        rate = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
        assert bound == pytest.approx((p.log_prob(toy_mnist.test) - rate).mean().item(), rel=1e-5)
