"""The measures behind the comparison of autoencoder and VAE, against cases with known answers; what is stored."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from vae_utils import evaluation
from vae_utils.files import ASSETS
from vae_utils.models import mlp_vae
from vae_utils.reproduce import holes


def plane():
    torch.manual_seed(0)
    return mlp_vae(2, (16,)).eval()


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_nearest_distance_is_the_smallest_of_all(chunk, images):
    by_hand = [min((image - other).norm().item() for other in images[7:]) for image in images[:7]]
    assert holes.nearest_distance(images[:7], images[7:], chunk).tolist() == pytest.approx(by_hand, rel=1e-4)
    assert holes.nearest_distance(images[:1], images[:3]).item() == pytest.approx(0, abs=0.02)  # cdist rounds near zero


def test_a_cross_fade_has_relative_length_one_and_a_detour_more(images):
    first, last, aside = images[:3]
    fade = torch.stack([first + share * (last - first) for share in (0, 0.2, 0.7, 1)])
    detour = torch.stack([first, aside, aside, last])
    expected = ((aside - first).norm() + (last - aside).norm()) / (last - first).norm()
    lengths = holes.relative_path_length(torch.stack([fade, detour], 1))
    assert lengths.tolist() == pytest.approx([1, expected.item()], rel=1e-5)


def test_gaps_of_codes_that_are_gaussian_and_that_are_not():
    torch.manual_seed(0)
    ring = torch.nn.functional.normalize(torch.randn(4000, 2), dim=1) * 5 + 0.2 * torch.randn(4000, 2)
    found = {}
    for name, codes in {"gaussian": 3 * torch.randn(4000, 2) + 1, "ring": ring}.items():
        gaussian = MultivariateNormal(codes.mean(0), codes.T.cov())
        mixture = holes.GaussianMixture(10, random_state=0).fit(codes.double().numpy())
        found[name] = holes.gaps(mixture, gaussian, codes, gaussian.sample((1000,)))
    assert abs(found["gaussian"]["kl_to_gaussian_at_least"]) < 0.05
    assert found["gaussian"]["hole_mass_of_gaussian"] < 0.02
    # A ring: uniform along 2 pi 5 and Gaussian across it, against a Gaussian of variance 12.5 each way.
    exact = -np.log(2 * np.pi * 5) - 0.5 * np.log(2 * np.pi * np.e * 0.2**2) + np.log(2 * np.pi * 12.52) + 1
    assert found["ring"]["kl_to_gaussian_at_least"] == pytest.approx(exact, abs=0.15)
    assert found["ring"]["hole_mass_of_gaussian"] > 0.4


def test_codes_are_draws_for_a_vae_and_means_for_an_autoencoder(digits):
    mean, scale = evaluation.posterior_parameters(plane(), digits.test)
    torch.testing.assert_close(holes.codes(plane(), digits.test, False, 0), mean)
    standardised = (holes.codes(plane(), digits.test, True, 0) - mean) / scale
    assert abs(standardised.std() - 1) < 0.05 and abs(standardised.mean()) < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*converge")
def test_holes_writes_every_measure_for_every_model(digits, run, monkeypatch):
    few = {"train": digits.train[:512], "test": digits.test[:200], "test_labels": digits.test_labels[:200]}
    small = {"NUM_SEEDS": 2, "NUM_DRAWS": 40, "NUM_CODES": 400, "COMPONENTS": 3, "LATENT_SIZES": (2,), "HIDDEN": (16,)}
    for name, value in (small | {"full_mnist": lambda: replace(digits, **few)}).items():
        monkeypatch.setattr(holes, name, value)
    results = run("holes", "--epochs", 1)["results"]
    plain, vae = results["autoencoder, 2 latents"], results["VAE, 2 latents"]
    assert set(vae) - set(plain) == {"kl_to_prior", "hole_mass_of_prior"}
    assert all(np.isfinite([number["mean"], number["sd"]]).all() for row in (plain, vae) for number in row.values())
    assert plain["reconstruction_far"]["mean"] == pytest.approx(0.05, abs=0.01)  # by the definition of far


def test_the_stored_comparison_has_the_measures_of_this_code():
    stored = json.loads((ASSETS / "holes.json").read_text())
    assert stored["results"]["protocol"] == holes.PROTOCOL
    pairs = product(("prior", "gaussian", "mixture", "reconstruction"), ("unsure", "far", "both"))
    measures = {f"{source}_{kind}" for source, kind in pairs}
    for size, name in product(holes.LATENT_SIZES, holes.OBJECTIVES):
        assert measures <= set(stored["results"][f"{name}, {size} latents"])
