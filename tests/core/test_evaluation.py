"""Evaluations against encoders whose q(z|x) was chosen by hand, so that every number is known."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from vae_utils.evaluation import (
    Estimate,
    active_units,
    aggregate_kl,
    aggregate_log_density,
    elbo_of_set,
    evaluate,
    hole_mass,
    kl_per_dimension,
    posterior_parameters,
)
from vae_utils.likelihoods import ContinuousBernoulli, Gaussian, GreyCrossEntropy
from vae_utils.models import mlp_vae, start_at_mean
from vae_utils.paper.importance import log_likelihood

from chosen_models import chosen_vae, prior_vae

# Estimates and evaluations


def test_estimate_is_mean_and_standard_error():
    estimate = Estimate.of(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert estimate.mean == 3.0
    assert estimate.standard_error == pytest.approx(math.sqrt(14 / 3) / 2)
    assert str(estimate) == "3.00 ± 1.08"


def test_one_image_has_no_standard_error():
    assert math.isnan(Estimate.of(torch.tensor([1.0])).standard_error)


def test_evaluate_is_the_elbo_of_the_set(images):
    vae = mlp_vae(2, (4,))
    evaluation, terms = (measure(vae, images, num_samples=3, seed=2) for measure in (evaluate, elbo_of_set))
    for name in ("elbo", "rate", "distortion"):
        assert torch.equal(getattr(evaluation, name), getattr(terms, name))


@pytest.mark.parametrize(
    "likelihood, pixels",
    [
        (None, "pixels binarised by one fixed draw"),
        (GreyCrossEntropy(), "cross-entropy of grey pixels"),
        (Gaussian(0.1), "Gaussian density of grey pixels"),
        (ContinuousBernoulli(), "continuous-Bernoulli density of grey pixels"),
    ],
)
def test_every_number_prints_with_its_protocol(likelihood, pixels, images):
    vae = mlp_vae(2, (4,), likelihood=likelihood)
    result = evaluate(vae, images)
    assert result.protocol == f"12 images, {pixels}, 1 draw of z"
    assert str(result) == (
        f"ELBO {result.elbo.mean():.2f} ± {Estimate.of(result.elbo).standard_error:.2f} nats per image = "
        f"-(distortion {result.distortion.mean():.2f} + rate {result.rate.mean():.2f})   [{result.protocol}]"
    )
    assert evaluate(vae, images, num_samples=2).protocol.endswith("2 draws of z")
    likelihoods = log_likelihood(vae, images, num_samples=2)
    assert likelihoods.protocol == f"12 images, {pixels}, 2 importance samples"
    assert str(likelihoods).startswith(f"log p(x) at least {likelihoods.per_image.mean():.2f} ± ")


@pytest.mark.parametrize(
    "measure",
    [
        lambda vae, x: evaluate(vae, x),
        lambda vae, x: log_likelihood(vae, x, 2),
        lambda vae, x: aggregate_kl(vae, x, 5),
        lambda vae, x: hole_mass(vae, x, num_samples=5),
        active_units,
    ],
)
def test_measures_leave_the_random_stream_and_refuse_labels(measure, images):
    vae = mlp_vae(2, (4,))
    before = torch.get_rng_state()
    measure(vae, images)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="labels"):
        measure(vae, torch.arange(5))


# The use of the code


def test_rates_of_the_dimensions_add_up_to_the_rate(images):
    vae = mlp_vae(5, (4,))
    per_dimension = kl_per_dimension(vae, images)
    assert per_dimension.shape == (5,) and (per_dimension >= 0).all()
    assert per_dimension.sum().item() == pytest.approx(evaluate(vae, images).rate.mean().item(), rel=1e-5)


def test_each_dimension_has_its_own_rate(images):
    vae = chosen_vae([0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 0.5])
    q = Normal(torch.tensor([0.0, 2.0, 0.0]), torch.tensor([1.0, 1.0, 0.5]))
    assert torch.allclose(kl_per_dimension(vae, images), kl_divergence(q, Normal(0.0, 1.0)), atol=1e-6)


def test_active_units_are_those_whose_mean_follows_the_image(images):
    variance = images[:, 0, 0, 0].var().item()
    just_below, just_above = (math.sqrt(share * 0.01 / variance) for share in (0.95, 1.05))
    vae = chosen_vae([0.0, just_below, just_above, -3.0], [5.0, 0.0, 0.0, 0.0], [0.1, 0.1, 1.0, 1.0])
    assert active_units(vae, images).tolist() == [False, False, True, True]
    assert active_units(vae, images, threshold=1e9).sum() == 0


def test_posterior_parameters_do_not_depend_on_the_batch(images):
    vae = mlp_vae(3, (4,))
    whole, parts = posterior_parameters(vae, images), posterior_parameters(vae, images, batch_size=5)
    for a, b in zip(whole, parts, strict=True):
        assert a.shape == (12, 3) and torch.allclose(a, b, atol=1e-6) and not a.requires_grad


# q(z) against p(z)


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 7), st.integers(0, 2**31))
def test_aggregate_density_is_a_mixture(num_images, latent_size, num_codes, seed):
    generator = torch.Generator().manual_seed(seed)
    mean, scale = torch.randn(2, num_images, latent_size, generator=generator, dtype=torch.float64)
    z, scale = (torch.randn(num_codes, latent_size, generator=generator, dtype=torch.float64), 0.1 + scale.abs())
    mixture = MixtureSameFamily(Categorical(torch.ones(num_images).double()), Independent(Normal(mean, scale), 1))
    assert torch.allclose(aggregate_log_density(mean, scale, z), mixture.log_prob(z))


def test_aggregate_kl_is_zero_where_q_is_the_prior(images):
    estimate = aggregate_kl(prior_vae(), images)
    assert abs(estimate.mean) < 1e-5 and estimate.standard_error < 1e-6


def test_aggregate_kl_of_one_gaussian_is_its_closed_form(images):
    estimate = aggregate_kl(chosen_vae([0.0, 0.0], [1.0, -0.5], [0.5, 1.5]), images)
    exact = kl_divergence(Normal(torch.tensor([1.0, -0.5]), torch.tensor([0.5, 1.5])), Normal(0.0, 1.0)).sum().item()
    assert abs(estimate.mean - exact) < 4 * estimate.standard_error < 0.3


def test_aggregate_kl_is_the_rate_less_log_n_where_codes_do_not_overlap():
    pictures = torch.linspace(0, 1, 8).view(8, 1, 1, 1).repeat(1, 1, 28, 28)
    vae = chosen_vae([10.0], [-5.0], [0.05])  # eight narrow codes, so I(x; z) = log 8
    estimate, rate = aggregate_kl(vae, pictures, 4000), kl_per_dimension(vae, pictures).sum().item()
    assert abs(estimate.mean - (rate - math.log(8))) < 4 * estimate.standard_error


@pytest.mark.parametrize("mean, scale, expected", [([0.0, 0.0], [1.0, 1.0], 0.0), ([50.0, 0.0], [0.1, 1.0], 1.0)])
def test_hole_mass_of_no_holes_and_of_nothing_else(mean, scale, expected, images):
    assert hole_mass(chosen_vae([0.0, 0.0], mean, scale), images) == Estimate(expected, 0.0)


def test_hole_mass_of_a_narrow_q_is_the_priors_tails(images):
    estimate = hole_mass(chosen_vae([0.0], [0.0], [0.5]), images, num_samples=4000)
    edge = math.sqrt(2 * math.log(2 / 0.1) / (1 / 0.5**2 - 1))  # q(z) = p(z) / 10
    tails = 2 * (1 - Normal(0.0, 1.0).cdf(torch.tensor(edge))).item()
    assert abs(estimate.mean - tails) < 4 * estimate.standard_error < 0.05


# Pictures


def test_ink_on_white_paper_gets_a_hint(images):
    vae = mlp_vae(2, (8,))
    start_at_mean(vae, images * 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(vae, images * 0.2)
    words = "mean brightness of 0.90, .* own of 0.1.; if they show ink .* pass 1 - images"
    with pytest.warns(UserWarning, match=words):
        evaluate(vae, 1 - images * 0.2)
