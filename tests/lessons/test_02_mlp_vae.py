"""What lesson 02 writes out is what the library does: value and gradient, on the same weights and noise."""

import functools
import itertools

import pytest
import torch
from torch.distributions import kl_divergence

from vae_utils import objectives
from vae_utils.data import binarise
from vae_utils.likelihoods import Bernoulli, Gaussian
from vae_utils.models import paper_vae
from vae_utils.paper import wake_sleep

from notebook_definitions import definitions

MODEL = ("bernoulli_log_likelihood", "Encoder", "Decoder", "VAE", "draw_parameters")
OBJECTIVES = ("elbo", "train", "slipped", "effective_beta", "wake_sleep")
LATENT_SIZE = 4


@pytest.fixture(scope="module")
def lesson():
    return definitions("02_mlp_vae", *MODEL, *OBJECTIVES)


@pytest.fixture
def pair(lesson):
    """The lesson's model and the library's `paper_vae` with the same weights."""
    torch.manual_seed(0)
    ours, theirs = lesson.VAE(LATENT_SIZE), paper_vae(LATENT_SIZE)
    lesson.draw_parameters(ours, std=0.1)
    with torch.no_grad():
        for theirs_parameter, ours_parameter in zip(theirs.parameters(), as_library(ours), strict=True):
            theirs_parameter.copy_(ours_parameter)
    return ours, theirs


def as_library(vae, value=lambda parameter: parameter):
    """Parameters (or their gradients) of the lesson's model as the library has them: one layer for both heads."""
    encoder, decoder = vae.encoder, vae.decoder
    layers = (encoder.hidden, encoder.mean, encoder.log_variance, decoder.hidden, decoder.logits)
    hidden, mean, log_variance, *decoding = [(value(layer.weight), value(layer.bias)) for layer in layers]
    heads = [torch.cat(both) for both in zip(mean, log_variance)]
    return [*hidden, *heads, *itertools.chain(*decoding)]


def test_log_likelihood(lesson, images):
    x = binarise(images)
    values, gradients = [], []
    for log_likelihood in (lesson.bernoulli_log_likelihood, lambda x, logits: Bernoulli()(logits).log_prob(x)):
        # far beyond where sigmoid rounds to 0 or 1
        logits = torch.linspace(-30, 30, x.numel()).view_as(x).requires_grad_()
        values.append(log_likelihood(x, logits))
        gradients.append(torch.autograd.grad(values[-1].sum(), logits)[0])
    assert values[0].shape == (12,)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


def test_three_distributions(pair, images):
    x, z = binarise(images), torch.randn(3, 12, LATENT_SIZE)
    for ours, theirs in zip(*([vae.prior, vae.encode(x), vae.decode(z)] for vae in pair)):
        assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
        torch.testing.assert_close(ours.mean, theirs.mean)
        torch.testing.assert_close(ours.variance, theirs.variance)


def test_elbo(lesson, pair, images):
    x = binarise(images)
    bounds = []
    for vae, elbo in zip(pair, (lesson.elbo, lambda vae, x: objectives.elbo(vae, x).elbo), strict=True):
        torch.manual_seed(1)  # the same noise
        bounds.append(elbo(vae, x))
        bounds[-1].sum().backward()
    assert bounds[0].shape == (12,)
    torch.testing.assert_close(*bounds)
    for ours, theirs in zip(as_library(pair[0], lambda p: p.grad), pair[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad)


def test_initial_parameters(lesson):
    torch.manual_seed(0)
    vae = lesson.VAE(LATENT_SIZE)
    for std in (0.1, 0.01):
        lesson.draw_parameters(vae, std)
        drawn = torch.cat([parameter.detach().flatten() for parameter in vae.parameters()])
        assert abs(drawn.mean()) < 0.01 * std and abs(drawn.std() / std - 1) < 0.01


def test_training_is_adagrad_on_the_bound_of_100_images(lesson, pair, images):
    """Two steps by hand on the library's model, from the same random numbers, end at the same weights."""
    ours, theirs = pair
    torch.manual_seed(2)
    bounds = lesson.train(ours, images, num_samples=200, learning_rate=0.02)
    torch.manual_seed(2)
    optimiser = torch.optim.Adagrad(theirs.parameters(), lr=0.02)
    expected = []
    for _ in range(2):
        x = binarise(images[torch.randint(12, (100,))])
        expected.append(objectives.elbo(theirs, x).elbo.mean())
        optimiser.zero_grad()
        (-expected[-1]).backward()
        optimiser.step()
    assert bounds == pytest.approx([value.item() for value in expected], rel=1e-4)
    for mine, other in zip(as_library(ours), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-3)


def test_wake_sleep(lesson, pair, images):
    x, results = binarise(images), []
    for rival in (lesson.wake_sleep, wake_sleep.wake_sleep):
        pair[1].zero_grad()
        torch.manual_seed(1)  # the same dreams
        terms = rival(pair[1], x)
        terms.objective.mean().backward()
        results.append([*(term.detach() for term in terms), *(p.grad.clone() for p in pair[1].parameters())])
    torch.testing.assert_close(*results)


def test_the_slip_differs_from_the_bound_in_the_noise_alone(lesson, pair, images):
    x, vae = binarise(images), pair[1]
    q = vae.encode(x)
    torch.manual_seed(3)
    terms = lesson.slipped(vae, x)
    torch.manual_seed(3)
    z = q.mean + q.variance * torch.randn_like(q.mean)  # sigma^2 where sigma belongs
    torch.testing.assert_close(terms.distortion, -vae.decode(z).log_prob(x))
    torch.testing.assert_close(terms.objective, -terms.distortion - kl_divergence(q, vae.prior))
    used = torch.distributions.Independent(torch.distributions.Normal(q.mean, q.variance), 1)
    torch.testing.assert_close(terms.rate, kl_divergence(used, vae.prior))


@pytest.mark.parametrize("beta", [1, 0.05, 784])
def test_effective_beta_is_the_librarys_beta(lesson, beta):
    """Any multiple of distortion + beta * rate has that beta, whatever the number of pixels and latents."""
    for scale in (1, 1 / 784):
        loss = lambda bce, kl: scale * (bce.sum(1) + beta * kl.sum(1)).mean()  # noqa: E731, B023
        assert lesson.effective_beta(loss, pixels=28, latents=3) == pytest.approx(beta)


def test_squared_error_is_a_gaussian_of_the_stated_width(images):
    """Section 8: a * |x - y|^2 + b * rate is -b times the bound at sigma^2 = b / (2 a), but for a constant."""
    a, b = 1 / 784, 0.3
    y = torch.flip(images, [0])
    log_prob = functools.partial(Gaussian(sigma=(b / (2 * a)) ** 0.5)(y).log_prob)
    squared = a * ((images - y) ** 2).sum((1, 2, 3))
    torch.testing.assert_close(squared, b * (log_prob(y) - log_prob(images)), rtol=1e-3, atol=1e-3)
