"""The bounds against models of known evidence: by quadrature over the latents, and in closed form (pPCA)."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import LowRankMultivariateNormal, kl_divergence

from vae_utils.data import binarise
from vae_utils.evaluation import elbo_of_set
from vae_utils.likelihoods import Bernoulli, ContinuousBernoulli, Gaussian, GreyCrossEntropy
from vae_utils.models import VAE, mlp_vae
from vae_utils.objectives import Terms, elbo, reconstruction
from vae_utils.paper.importance import importance_log_weights, importance_weighted
from vae_utils.runtime import fixed_seed

FAMILIES = {
    "bernoulli": Bernoulli,
    "grey": GreyCrossEntropy,
    "continuous": ContinuousBernoulli,
    "gaussian": lambda: Gaussian(0.8),
}


def linear_vae(latent_size, likelihood, scale=0.07):
    """One linear layer each way, in float64, with a posterior broad enough for a grid."""
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 2 * latent_size))
    decoder = nn.Sequential(nn.Linear(latent_size, 784), nn.Unflatten(1, (1, 28, 28)))
    nn.init.normal_(decoder[0].weight, std=scale)
    return VAE(encoder, decoder, likelihood, latent_size).double()


def log_evidence(vae, x):
    """log p(x) = log of the integral of p(z) p(x|z) over a grid: shape [B]."""
    axis = torch.linspace(-6, 6, 41, dtype=torch.float64)  # the step is below every posterior's standard deviation
    z = torch.cartesian_prod(*[axis] * vae.latent_size).view(-1, 1, vae.latent_size)  # [grid, 1, D]
    log_joint = vae.prior.log_prob(z) + vae.decode(z).log_prob(x)
    return log_joint.logsumexp(0) + vae.latent_size * (axis[1] - axis[0]).log()


def kl_to_posterior(vae, x):
    """KL(q(z|x) || p(z|x)) by Gauss-Hermite quadrature around q: shape [B]."""
    q, evidence = vae.encode(x), log_evidence(vae, x)
    return sum(
        weight * (q.log_prob(z) - (vae.prior.log_prob(z) + vae.decode(z).log_prob(x) - evidence))
        for z, weight in ((q.mean + q.stddev * noise, weight) for noise, weight in hermite(vae.latent_size))
    )


def hermite(latent_size, num_nodes=8):
    """Nodes and weights with sum_i w_i f(node_i) = E f(noise), noise ~ N(0, I)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    for chosen in itertools.product(range(num_nodes), repeat=latent_size):
        yield torch.tensor(nodes[list(chosen)]), np.prod(weights[list(chosen)] / math.sqrt(2 * math.pi))


@pytest.fixture
def set_noise(monkeypatch):
    """A function that fixes the noise of every `rsample` to one value."""

    def set_noise(noise):
        monkeypatch.setattr("torch.distributions.normal._standard_normal", lambda shape, **_: noise.expand(shape))

    return set_noise


@pytest.fixture(params=[1, 2], ids=["one latent", "two latents"])
def latent_size(request):
    return request.param


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES)
def model_and_x(request, latent_size, images):
    vae = linear_vae(latent_size, request.param())
    return vae, vae.observe(images[:2], torch.Generator().manual_seed(0)).double()


# The ELBO


def test_elbo_plus_kl_to_the_posterior_is_the_evidence(model_and_x, set_noise):
    vae, x = model_and_x
    expected_elbo = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for noise, weight in hermite(vae.latent_size):
            set_noise(noise)
            expected_elbo += weight * elbo(vae, x).elbo
        gap = kl_to_posterior(vae, x)
        assert (gap > 0.01).all()  # there is something to add
        assert torch.allclose(expected_elbo + gap, log_evidence(vae, x), rtol=0, atol=1e-5)


def test_expected_gradient_is_the_gradient_of_the_exact_bound(set_noise, images):
    vae, x = linear_vae(1, Bernoulli()), binarise(images[:2]).double()
    exact = torch.autograd.grad((log_evidence(vae, x) - kl_to_posterior(vae, x)).sum(), vae.parameters())
    expected = [torch.zeros_like(parameter) for parameter in vae.parameters()]
    for noise, weight in hermite(1):
        set_noise(noise)
        gradient = torch.autograd.grad(elbo(vae, x).objective.sum(), vae.parameters())
        expected = [total + weight * part for total, part in zip(expected, gradient, strict=True)]
    for total, gradient in zip(expected, exact, strict=True):
        assert torch.allclose(total, gradient, atol=1e-6 * gradient.abs().max())


def test_reparameterised_gradient_of_a_square_is_its_closed_form(set_noise, images):
    """p(x|z) Gaussian and linear in z: the gradient at z = mean + std * noise is known for each noise."""
    vae, x = linear_vae(2, Gaussian(0.8)), images[:3].double()
    noise = torch.tensor([0.3, -1.2], dtype=torch.float64)
    set_noise(noise)
    q = vae.encode(x)
    W, b = vae.decoder[0].weight, vae.decoder[0].bias
    z = q.mean + q.stddev * noise
    by_code = (x.flatten(1) - z @ W.T - b) @ W / 0.8**2  # d log p(x|z) / dz
    d_mean, d_log_variance = by_code - q.mean, 0.5 * (by_code * noise * q.stddev - (q.variance - 1))
    gradient = torch.autograd.grad(elbo(vae, x).objective.sum(), vae.encoder[1].bias)[0]
    assert torch.allclose(gradient, torch.cat([d_mean, d_log_variance], 1).sum(0))


@pytest.mark.parametrize(
    "objective",
    [
        lambda vae, x: elbo(vae, x, beta=0.7, num_samples=2).objective,
        lambda vae, x: reconstruction(vae, x).objective,
        lambda vae, x: importance_weighted(vae, x, 3).objective,
    ],
    ids=["elbo", "reconstruction", "importance"],
)
def test_gradients_are_those_of_finite_differences(objective, images):
    vae, x = linear_vae(2, Gaussian().double()), images[:2].double()

    vae.forward = lambda x: objective(vae, x)  # for `functional_call`
    names = ("encoder.1.bias", "decoder.0.weight", "likelihood.log_sigma")

    def value(*weights):
        with fixed_seed(0):
            return torch.func.functional_call(vae, dict(zip(names, weights, strict=True)), x)

    inputs = [vae.get_parameter(name).detach().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(value, inputs, fast_mode=True, rtol=1e-5)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=5))
def test_rate_is_appendix_b(parameters):
    mean, log_variance = torch.tensor(parameters, dtype=torch.float64).T
    vae = linear_vae(len(mean), GreyCrossEntropy())
    nn.init.zeros_(vae.encoder[1].weight)  # q(z|x) is the same for every x
    vae.encoder[1].bias.data = torch.cat([mean, log_variance])
    appendix_b = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
    assert torch.allclose(elbo(vae, torch.rand(1, 1, 28, 28).double()).rate, appendix_b)


@pytest.mark.parametrize("beta", [0, 0.5, 1, 4])
def test_beta_weighs_the_rate_in_the_objective_alone(beta, images):
    with fixed_seed(0):
        plain = elbo(linear_vae(2, GreyCrossEntropy()), images.double())
    with fixed_seed(0):
        weighed = elbo(linear_vae(2, GreyCrossEntropy()), images.double(), beta=beta)
    assert torch.allclose(weighed.objective, -plain.distortion - beta * plain.rate)
    assert torch.equal(weighed.elbo, plain.elbo) and torch.equal(weighed.rate, plain.rate)


def test_more_samples_make_the_elbo_less_noisy_and_not_larger(images):
    vae, x = linear_vae(2, Gaussian(0.5)), images[:1].double().expand(500, 1, 28, 28)
    with torch.no_grad():
        one, eight = elbo(vae, x).elbo, elbo(vae, x, num_samples=8).elbo
    assert abs(one.mean() - eight.mean()) < 5 * math.sqrt((one.var() + eight.var()) / 500)
    assert one.var() / eight.var() == pytest.approx(8, rel=0.3)


@pytest.mark.parametrize("batch", [1, 12])
def test_terms_are_one_number_for_each_image(batch, images):
    vae, x = linear_vae(2, GreyCrossEntropy()), images[:batch].double()
    for terms in (elbo(vae, x), elbo(vae, x, num_samples=3), reconstruction(vae, x)):
        assert all(term.shape == (batch,) for term in terms) and terms.elbo.shape == (batch,)
    assert importance_log_weights(vae, x, 5).shape == (5, batch)
    assert importance_weighted(vae, x, 5).objective.shape == (batch,)


def test_importance_weighted_reports_an_elbo_and_the_exact_rate(images):
    vae, x = linear_vae(2, GreyCrossEntropy()), images.double()
    with fixed_seed(0):
        terms = importance_weighted(vae, x, 5)
    with fixed_seed(0):
        log_weights = importance_log_weights(vae, x, 5)
    assert torch.allclose(terms.elbo, log_weights.mean(0)) and (terms.objective > terms.elbo).all()
    assert torch.allclose(terms.rate, kl_divergence(vae.encode(x), vae.prior))


def test_bound_is_minus_rate_and_distortion_whatever_the_objective():
    terms = Terms(objective=torch.tensor([5.0]), rate=torch.tensor([2.0]), distortion=torch.tensor([3.0]))
    assert terms.elbo == -5


@pytest.mark.parametrize("bound", [elbo, importance_log_weights, importance_weighted])
@pytest.mark.parametrize("num_samples", [0, -1])
def test_at_least_one_sample(bound, num_samples, images):
    with pytest.raises(ValueError, match=f"num_samples were expected .* of 1 or more, got {num_samples}"):
        bound(linear_vae(2, GreyCrossEntropy()), images.double(), num_samples=num_samples)


@pytest.mark.parametrize("objective", [elbo, reconstruction, lambda vae, x: importance_weighted(vae, x, 2).objective])
def test_grey_images_and_labels_are_refused_by_a_bernoulli_model(objective, images):
    vae = mlp_vae(2, (4,))
    with pytest.raises(ValueError, match="binarise"):
        objective(vae, images)
    with pytest.raises(ValueError, match="labels"):
        objective(vae, torch.arange(3))


# A plain autoencoder


def test_reconstruction_uses_the_mean_and_no_rate(images):
    vae = linear_vae(2, GreyCrossEntropy())
    terms = reconstruction(vae, images.double())
    expected = vae.decode(vae.encode(images.double()).mean).log_prob(images.double())
    assert torch.equal(terms.objective, expected) and torch.equal(terms.distortion, -expected) and not terms.rate.any()


def test_reconstruction_gives_the_log_variances_no_gradient(images):
    vae = linear_vae(2, GreyCrossEntropy())
    reconstruction(vae, images.double()).objective.sum().backward()
    mean, log_variance = vae.encoder[1].weight.grad.split(2)
    assert mean.abs().sum() > 0 and not log_variance.any()
    elbo(vae, images.double()).objective.sum().backward()
    assert vae.encoder[1].weight.grad[2:].abs().sum() > 0


# The importance-weighted bound


def test_each_log_weight_is_the_evidence_plus_log_posterior_minus_log_q(model_and_x):
    vae, x = model_and_x
    with torch.no_grad():
        with fixed_seed(0):
            log_weights = importance_log_weights(vae, x, 7)
        with fixed_seed(0):
            z = vae.encode(x).rsample((7,))
        evidence = log_evidence(vae, x)
        log_posterior = vae.prior.log_prob(z) + vae.decode(z).log_prob(x) - evidence
        assert torch.allclose(log_weights, evidence + log_posterior - vae.encode(x).log_prob(z), rtol=0, atol=1e-8)


def test_importance_weighted_bound_rises_to_the_evidence_from_below(images):
    vae, x = linear_vae(2, Bernoulli()), binarise(images[:1], torch.Generator().manual_seed(0)).double()
    vae.encoder[1].bias.data += torch.tensor([0.3, -0.3, -2.0, -1.0])  # q is not too good
    with torch.no_grad(), fixed_seed(0):
        evidence = log_evidence(vae, x)
        log_weights = importance_log_weights(vae, x, 8000)  # [8000, 1]
        bounds = {k: log_weights.view(-1, k).logsumexp(1) - math.log(k) for k in (1, 10, 100)}
        means = [bound.mean() for bound in bounds.values()]
        errors = [bound.std() / math.sqrt(len(bound)) for bound in bounds.values()]
    assert all(mean < evidence + 3 * error for mean, error in zip(means, errors, strict=True))
    assert all(after > before for before, after in itertools.pairwise(means))
    assert evidence - means[-1] < 0.1 < 0.3 < evidence - means[0]
    weights = (log_weights - evidence).exp()
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(8000)  # unbiased for p(x) itself


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(0, 2**31))
def test_importance_weighted_bound_is_the_log_of_the_mean_weight(num_samples, seed):
    vae, x = linear_vae(2, GreyCrossEntropy()), torch.rand(2, 1, 28, 28).double()
    with fixed_seed(seed):
        bound = importance_weighted(vae, x, num_samples).objective
    with fixed_seed(seed):
        log_weights = importance_log_weights(vae, x, num_samples)
    largest = log_weights.max()
    assert torch.allclose(bound, largest + (log_weights - largest).exp().mean(0).log())
    assert (bound >= log_weights.mean(0) - 1e-9).all()  # Jensen


# pPCA: with a linear Gaussian decoder, evidence and posterior have closed forms (Tipping & Bishop 1999)


@pytest.fixture
def ppca():
    """A linear VAE, W orthogonal, with q(z|x) the posterior N(M^-1 W'(x - b), s^2 M^-1), M = W'W + s^2 I."""
    vae, variance = linear_vae(2, Gaussian(0.5)), 0.5**2
    W, b = vae.decoder[0].weight.data, vae.decoder[0].bias.data
    W.copy_(torch.linalg.qr(W).Q * torch.tensor([1.5, 0.7], dtype=torch.float64))
    M = (W**2).sum(0) + variance  # diagonal
    vae.encoder[1].weight.data = torch.cat([W.T / M[:, None], torch.zeros(2, 784)])
    vae.encoder[1].bias.data = torch.cat([-(W.T @ b) / M, (variance / M).log()])
    return vae, LowRankMultivariateNormal(b, W, torch.full((784,), variance, dtype=torch.float64))


def test_with_the_exact_posterior_every_importance_weight_is_the_evidence(ppca, images):
    vae, p = ppca
    log_weights = importance_log_weights(vae, images.double(), 20)
    assert torch.allclose(log_weights, p.log_prob(images.flatten(1).double()).expand(20, 12), rtol=0, atol=1e-8)


def test_with_the_exact_posterior_the_elbo_touches_the_evidence(ppca, images, set_noise):
    vae, p = ppca
    bound = torch.zeros(12, dtype=torch.float64)
    for noise, weight in hermite(2, num_nodes=2):  # exact: log p(x|z) is quadratic in z
        set_noise(noise)
        bound += weight * elbo(vae, images.double()).elbo.detach()
    assert torch.allclose(bound, p.log_prob(images.flatten(1).double()), rtol=0, atol=1e-8)


# A set of images


def test_elbo_of_a_set_measures_every_model_on_the_same_draw_of_pixels(images):
    x = binarise(images, torch.Generator().manual_seed(3))
    vae = mlp_vae(2, (4,))
    for batch_size in (5, 1000):
        rate = elbo_of_set(vae, images, seed=3, batch_size=batch_size).rate
        assert torch.allclose(rate, elbo(vae, x).rate, atol=1e-5)


def test_elbo_of_a_set_is_the_elbo_with_the_same_noise(images):
    vae = mlp_vae(2, (4,), likelihood=Gaussian(0.3))
    terms = elbo_of_set(vae, images, num_samples=4, seed=5)
    with fixed_seed(5):
        expected = elbo(vae, images, num_samples=4)
    assert all(torch.equal(a, b) for a, b in zip(terms, expected, strict=True)) and not terms.elbo.requires_grad


def test_elbo_of_a_set_depends_on_its_seed_alone(images):
    vae = mlp_vae(2, (4,))
    first, again, other = (elbo_of_set(vae, images, seed=seed).elbo for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    "bad", [torch.arange(5), torch.rand(5, 28, 28), 255 * torch.rand(5, 1, 28, 28), torch.rand(0, 1, 28, 28)]
)
def test_elbo_of_a_set_refuses_what_are_no_grey_images(bad):
    with pytest.raises(ValueError, match="expected"):
        elbo_of_set(mlp_vae(2, (4,)), bad)
