"""The small decoder of the first page draws what the stored one draws."""

import pytest
import torch

from vae_utils.authoring.site.front import small_model
from vae_utils.files import ASSETS
from vae_utils.models import load_vae
from vae_utils.reproduce import front
from vae_utils.reproduce.provenance import read_record


@torch.no_grad()
def off(decoder, seed=1):
    """Grey levels between it and the stored model, a mean over draws from the prior and pixels."""
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(seed))
    return 255 * (decoder(z).sigmoid() - load_vae("manifold").decode(z).mean).abs().mean().item()


def test_the_stored_copy_is_as_close_as_its_record_says():
    recorded = read_record(ASSETS / "front.json")["results"]
    decoder = small_model().decoder
    assert recorded["weights"] == sum(weight.numel() for weight in decoder.parameters()) < recorded["of"] / 10
    assert 0.5 * recorded["grey_levels_off"] < off(decoder) < 3  # on the prior's own draws, which lie closer together


@pytest.mark.slow
def test_it_learns_from_the_means(monkeypatch, run, out):
    monkeypatch.setattr(front, "SIDE", 40)
    results = run("front", "--epochs", 0.02)["results"]
    assert results["grey_levels_off"] < 30
    assert (out / "front.safetensors").stat().st_size < 120_000
