"""log p(x) by importance sampling: against the bound it estimates, and against posteriors that are known."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vae_utils.evaluation import evaluate
from vae_utils.likelihoods import Gaussian, GreyCrossEntropy
from vae_utils.models import mlp_vae
from vae_utils.paper.importance import importance_log_weights, importance_weighted, log_likelihood
from vae_utils.runtime import fixed_seed

from chosen_models import chosen_vae, prior_vae


@pytest.mark.parametrize("num_samples", [1, 40])
def test_log_likelihood_is_the_importance_weighted_bound(num_samples, images):
    vae = mlp_vae(2, (4,), likelihood=GreyCrossEntropy())
    with fixed_seed(4), torch.no_grad():
        expected = importance_weighted(vae, images, num_samples).objective
    assert torch.allclose(log_likelihood(vae, images, num_samples, seed=4).per_image, expected, atol=1e-3)


def test_log_likelihood_in_pieces_is_one_average_over_all_samples(images):
    vae = chosen_vae([1.0, 0.0], [0.5, -1.0], [0.7, 1.5], decoder_scale=0.3)
    with fixed_seed(0), torch.no_grad():
        sizes = (64, 64, 64, 64, 44)
        log_weights = torch.cat([importance_log_weights(vae, images[:2], size) for size in sizes])
    result = log_likelihood(vae, images[:2], 300)
    assert torch.allclose(result.per_image, log_weights.logsumexp(0) - math.log(300), atol=1e-3)
    shares = log_weights.softmax(0)
    assert torch.allclose(result.effective_samples, 1 / (shares**2).sum(0), rtol=1e-2)


def test_log_likelihood_of_many_images_is_that_of_each(images):
    vae = prior_vae()  # every weight is p(x|z), and z does not matter
    many = images.repeat(3, 1, 1, 1)  # more than one batch
    expected = vae.decode(torch.zeros(2)).log_prob(many)
    assert torch.allclose(log_likelihood(vae, many, 3).per_image, expected, atol=1e-3)


def test_pixels_are_the_same_draw_as_in_evaluate(images):
    vae = mlp_vae(2, (4,))  # binarises
    nn.init.zeros_(vae.decoder.output.weight)  # so that z does not matter
    constant = chosen_vae([0.0] * 2, [0.0] * 2, [1.0] * 2)
    vae.encoder = constant.encoder  # q = p: all bounds are log p(x)
    likelihoods, bound = log_likelihood(vae, images, 1, seed=6), evaluate(vae, images, seed=6)
    assert torch.allclose(likelihoods.per_image, bound.elbo, atol=1e-3)


def test_effective_samples_are_all_when_q_is_the_posterior(images):
    assert torch.allclose(log_likelihood(prior_vae(), images, 50).effective_samples, torch.tensor(50.0), rtol=1e-3)


def test_effective_samples_are_one_when_one_weight_has_everything(images):
    vae = chosen_vae([0.0], [6.0], [0.01], decoder_scale=3000.0, likelihood=Gaussian(0.05))
    assert torch.allclose(log_likelihood(vae, images, 50).effective_samples, torch.tensor(1.0), atol=0.01)


@settings(max_examples=15)
@given(st.integers(1, 40), st.floats(-2, 2), st.floats(0.1, 3))
def test_effective_samples_lie_between_one_and_all(num_samples, mean, scale):
    vae = chosen_vae([0.5], [mean], [scale], decoder_scale=0.5)
    effective = log_likelihood(vae, torch.rand(2, 1, 28, 28), num_samples).effective_samples
    assert ((effective > 0.999) & (effective < 1.001 * num_samples)).all()


def test_log_likelihood_shows_its_progress_and_refuses_zero_samples(images):
    wrapped = []
    log_likelihood(prior_vae(), images, 1, progress=lambda batches: wrapped.extend(batches) or batches)
    assert sum(len(batch) for batch in wrapped) == 12
    with pytest.raises(ValueError, match="1 or more"):
        log_likelihood(prior_vae(), images, 0)


def test_a_model_of_another_kind_is_told_how_to_go_on(images):
    with pytest.raises(ValueError, match=r"vae was expected to be a VAE, got .*; put your networks into one: VAE\("):
        log_likelihood(SimpleNamespace(encode=None, decode=None), images)


def test_a_share_of_the_images_has_the_pixels_of_the_whole(toy_mnist):
    """A model whose z does not matter: what is left of log p(x) is the draw of its pixels."""
    vae, images = mlp_vae(2, (8,)), toy_mnist.test
    with torch.no_grad():
        vae.decoder.output.weight.zero_()
        vae.decoder.output.bias.normal_(0, 2)
        vae.encoder.output.weight.zero_()
        vae.encoder.output.bias.zero_()  # q(z|x) = p(z): every weight is p(x|z)
    whole = log_likelihood(vae, images, 3, seed=5).per_image
    for every in (1, 7):
        share = log_likelihood(vae, images, 3, every=every, seed=5)
        assert torch.allclose(share.per_image, whole[::every], atol=1e-3)
    assert not torch.allclose(log_likelihood(vae, images[::7], 3, seed=5).per_image, whole[::7], atol=1e-3)
    with pytest.raises(ValueError, match="every was expected to be a whole number of 1 or more, got 0"):
        log_likelihood(vae, images, 3, every=0)
