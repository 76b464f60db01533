"""Models with an exact evidence, against a full covariance matrix, the closed form, and lesson 01."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal

from vae_utils.paper.ppca import pixel_gaussians, ppca

from notebook_definitions import definitions


def pictures(count=200, seed=0):
    """Correlated pictures with pixels of different spread."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(12, 12, generator=generator, dtype=torch.float64) / 12**0.5
    noise = torch.randn(count, 12, generator=generator, dtype=torch.float64)
    images = 0.5 + 0.1 * noise @ mixing + 0.01 * torch.randn(count, 12, generator=generator)
    return images.view(count, 1, 4, 3)


def test_pixel_gaussians_are_the_densities_of_the_pixels():
    images = pictures()
    model = pixel_gaussians(images[:150])
    seen, new = images.flatten(1).split([150, 50])
    by_hand = sum(Normal(a.mean(), a.var(correction=0).sqrt()).log_prob(b) for a, b in zip(seen.T, new.T, strict=True))
    torch.testing.assert_close(model.log_prob(images[150:]), by_hand)
    assert model.event_shape == (1, 4, 3)


def test_no_other_gaussians_of_the_pixels_are_more_likely():
    images = pictures()
    model = pixel_gaussians(images)
    best = model.log_prob(images).mean()
    for factor in (0.97, 1.03):
        assert Normal(model.mean, model.stddev * factor).log_prob(images).sum((1, 2, 3)).mean() < best


@settings(max_examples=15)
@given(st.integers(1, 10), st.integers(0, 1000))
def test_ppca_is_a_gaussian_with_its_covariance_matrix(latent_size, seed):
    images = pictures(seed=seed)
    model = ppca(images[:150], latent_size)
    x = images.flatten(1)
    covariance = torch.cov(x[:150].T, correction=0)
    eigenvalues, directions = torch.linalg.eigh(covariance)  # smallest first
    noise = eigenvalues[: 12 - latent_size].mean()
    eigenvalues[: 12 - latent_size] = noise  # pPCA flattens the rest of the spectrum
    full = MultivariateNormal(x[:150].mean(0), directions @ torch.diag(eigenvalues) @ directions.T)
    torch.testing.assert_close(model.log_prob(images), full.log_prob(x))  # on images that it has not seen, too
    assert model.log_prob(images).shape == (200,) and model.event_shape == (1, 4, 3)


def test_ppca_has_the_evidence_of_the_closed_form_and_of_lesson_01():
    images = pictures()
    lesson = definitions("01_elbo", "ppca")
    for latent_size in (1, 2, 5):
        evidence = ppca(images, latent_size).log_prob(images).mean()
        expected, *_ = lesson.ppca(images.flatten(1), latent_size)
        assert evidence.item() == pytest.approx(expected.item(), abs=1e-9)


def test_ppca_finds_the_model_that_made_the_images():
    """With many images its evidence is that of the truth, and no other W is more likely."""
    generator = torch.Generator().manual_seed(3)
    truth = MultivariateNormal(torch.zeros(12, dtype=torch.float64), torch.eye(12) * 0.04 + torch.ones(12, 12) * 0.5)
    z = torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    x = math.sqrt(0.5) * z + 0.2 * torch.randn(20_000, 12, generator=generator, dtype=torch.float64)
    images = x.view(-1, 1, 4, 3)
    difference = (ppca(images, 1).log_prob(images) - truth.log_prob(x)).mean()
    # 2 log-likelihood ratios are about chi-squared with 25 degrees of freedom: the difference is 25/2 / N
    assert 0 < difference < 60 / 2 / 20_000
    assert ppca(images, 2).log_prob(images).mean() > ppca(images, 1).log_prob(images).mean()


def test_units_move_a_density_and_no_comparison():
    """Brightness divided by 255 in place of 256: each pixel's density has other units, all models by the same."""
    images = pictures()
    for fit in (pixel_gaussians, lambda x: ppca(x, 3)):
        shift = fit(images * 256 / 255).log_prob(images * 256 / 255) - fit(images).log_prob(images)
        torch.testing.assert_close(shift, torch.full_like(shift, -12 * math.log(256 / 255)))


@pytest.mark.parametrize(
    "images, words",
    [
        (pictures(1), "images were expected .* 2 or more, got"),
        (pictures()[:, 0], "images were expected to have shape"),
        (torch.cat([pictures(), torch.zeros(200, 1, 4, 1)], dim=3), "got 4 that are the same in all of them"),
    ],
)
def test_pixel_gaussians_refuse(images, words):
    with pytest.raises(ValueError, match=words):
        pixel_gaussians(images)


@pytest.mark.parametrize(
    "images, latent_size, words",
    [
        (pictures(), 0, "from 1 to 11, got 0"),
        (pictures(), 12, "from 1 to 11"),
        (pictures(6), 5, "from 1 to 4"),
        (pictures(2), 1, "3 or more, got"),
        (pictures()[:, :, :1, :1] * torch.ones(1, 1, 4, 3, dtype=torch.float64), 2, "choose a smaller latent size"),
    ],
)
def test_ppca_refuses(images, latent_size, words):
    with pytest.raises(ValueError, match=words):
        ppca(images, latent_size)
