"""A stack of networks has the bounds and gradients of its networks one by one, and all ways are timed."""

import torch

from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.objectives import elbo
from vae_utils.reproduce import stacked


def test_a_stack_has_the_numbers_of_its_models_one_by_one(images):
    torch.manual_seed(0)
    models = [paper_vae(3, 9, std=0.3, likelihood=GreyCrossEntropy()) for _ in range(2)]
    x = images.unflatten(0, (2, 6))
    stack = stacked.Stack(models)
    torch.manual_seed(1)
    alone = torch.stack([elbo(vae, each).elbo.mean() for vae, each in zip(models, x, strict=True)])
    alone.sum().backward()
    torch.manual_seed(1)
    noise = torch.stack([torch.randn(1, 6, 3)[0] for _ in models])  # as `rsample` draws it
    for bound in (stack.batched, stack.mapped):
        together = bound(x.flatten(2), noise)
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)
        gradients = torch.autograd.grad(together.sum(), stack.weights.values())
        for name, found in zip(stack.weights, gradients, strict=True):
            expected = torch.stack([vae.get_parameter(name).grad for vae in models])
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_all_ways_are_timed(run, toy_mnist, monkeypatch, capsys):
    monkeypatch.setattr(stacked, "load_mnist", lambda: toy_mnist)
    for name, value in {"COUNTS": (2,), "BATCH_SIZE": 10, "STEPS": 1, "ROUNDS": 2}.items():
        monkeypatch.setattr(stacked, name, value)
    monkeypatch.setattr(stacked, "NETWORKS", {"toy": (2, 8)})
    times = run("stacked")["results"]["milliseconds"]["toy"]["2"]
    assert set(times) == {"one by one", "batched", "mapped"} and min(times.values()) >= 0
    assert "2 models" in capsys.readouterr().out
