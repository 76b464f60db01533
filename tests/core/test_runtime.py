"""Devices are found and given back; seeds reach what is inside their block and nothing else."""

import pytest
import torch
from torch import nn

from vae_utils import runtime
from vae_utils.models import mlp_vae
from vae_utils.objectives import elbo
from vae_utils.reproduce.precision import in_bfloat16
from vae_utils.runtime import best_device, fixed_seed, on_device


@pytest.mark.parametrize(
    "cuda, mps, best", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_best_device(cuda, mps, best, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(best)


@pytest.fixture
def traveller(monkeypatch):
    """A module on the CPU that keeps a list of the devices it is sent to, and does not go there."""
    module = nn.Linear(1, 1)
    module.journey = []
    monkeypatch.setattr(module, "to", lambda device: module.journey.append(str(device)))
    return module


def test_a_module_is_lent_to_a_device_and_comes_home(traveller):
    with on_device(traveller, "meta") as device:
        assert device == torch.device("meta") and traveller.journey == ["meta"]
    assert traveller.journey == ["meta", "cpu"]


def test_without_a_name_the_best_device_is_taken(traveller, monkeypatch):
    monkeypatch.setattr(runtime, "best_device", lambda: torch.device("mps"))
    with on_device(traveller):
        assert traveller.journey == ["mps"]


def test_a_module_comes_home_from_a_failure(traveller):
    with pytest.raises(ZeroDivisionError), on_device(traveller, "meta"):
        raise ZeroDivisionError
    assert traveller.journey == ["meta", "cpu"]


def test_draws_inside_depend_on_the_seed_alone():
    draws = []
    for before in (1, 2):
        torch.manual_seed(before)
        with fixed_seed(7):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)


@pytest.mark.parametrize("failure", [None, ZeroDivisionError, KeyboardInterrupt])
def test_draws_outside_go_on_as_if_nothing_had_happened(failure):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    try:
        with fixed_seed(7):
            torch.rand(3)
            if failure:
                raise failure
    except (ZeroDivisionError, KeyboardInterrupt):
        pass
    assert torch.equal(torch.rand(3), expected)


def test_networks_are_lent_to_bfloat16_and_distributions_are_not():
    torch.manual_seed(0)
    vae, x = mlp_vae(4, (64,)), torch.randint(2, (5, 1, 28, 28)).float()
    seen = []
    vae.encoder.output.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    def bound():
        with fixed_seed(0):
            return elbo(vae, x).objective

    exact = bound()
    with in_bfloat16(vae.encoder, vae.decoder):
        rounded = bound()
        rounded.mean().backward()
        assert vae.encode(x).mean.dtype == vae.decode(torch.zeros(1, 4)).mean.dtype == torch.float32
    assert seen[:2] == [torch.float32, torch.bfloat16]
    assert all(parameter.grad.dtype == torch.float32 for parameter in vae.parameters())
    # 8 bits of mantissa in the networks; rounding the sum as well would move it by nats
    assert 0 < (rounded - exact).abs().max() < 0.5 and exact.mean() < -500
    assert torch.equal(bound(), exact)  # and afterwards all is as before


def test_networks_come_back_from_bfloat16_after_an_error():
    vae = mlp_vae(2, (4,))
    with pytest.raises(KeyboardInterrupt), in_bfloat16(vae.encoder, vae.decoder):
        raise KeyboardInterrupt
    assert "forward" not in vars(vae.encoder) and "forward" not in vars(vae.decoder)
