"""What lesson 07 writes out, held against the library, torch.distributions and numerical integrals."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.nn.utils import parameters_to_vector

from vae_utils.models import conv_vae, mlp_vae
from vae_utils.paper.bayes import BayesianVAE, full_bound, weight_prior

from notebook_definitions import definitions

NOISE = 0.3
INPUTS = torch.tensor([[1.0, 0.2], [1.0, 0.9], [1.0, 1.7]], dtype=torch.float64)
Y = torch.tensor([0.1, 0.5, 1.2], dtype=torch.float64)


@pytest.fixture(scope="module")
def line():
    return definitions("07_full_variational_bayes", "design", "exact", "bound", "best_diagonal", NOISE=NOISE)


@pytest.fixture(scope="module")
def algorithm():
    return definitions("07_full_variational_bayes", "as_weights", "bound_of_everything", "learn")


# --- the line: everything by a grid over its two weights


@pytest.fixture(scope="module")
def grid():
    """All weights [801 * 801, 2] with log p(theta, y), and the area of a cell."""
    axis = torch.linspace(-4, 4, 801, dtype=torch.float64)
    theta = torch.cartesian_prod(axis, axis)
    log_likelihood = Normal(theta @ INPUTS.T, NOISE).log_prob(Y).sum(1)
    return theta, log_likelihood + Normal(0.0, 1.0).log_prob(theta).sum(1), (axis[1] - axis[0]).item() ** 2


def test_exact_evidence_and_posterior(line, grid):
    theta, log_joint, cell = grid
    posterior, evidence = line.exact(INPUTS, Y)
    torch.testing.assert_close(log_joint.logsumexp(0) + math.log(cell), evidence)
    weight = (log_joint - evidence).exp() * cell
    torch.testing.assert_close(weight @ theta, posterior.mean)
    torch.testing.assert_close(posterior.log_prob(theta[::999]), (log_joint - evidence)[::999])


def test_bound_by_the_grid(line, grid):
    theta, log_joint, cell = grid
    mean, sigma = torch.tensor([0.1, 0.5]).double(), torch.tensor([0.2, 0.3]).double()
    log_q = Normal(mean, sigma).log_prob(theta).sum(1)
    expected = (log_q.exp() * (log_joint - log_q)).sum() * cell
    torch.testing.assert_close(line.bound(mean, sigma, INPUTS, Y), expected)


def test_best_diagonal_is_a_minimum(line):
    posterior, _ = line.exact(INPUTS, Y)
    mean, sigma = line.best_diagonal(posterior)

    def gap(mean, sigma):
        return kl_divergence(MultivariateNormal(mean, torch.diag(sigma**2)), posterior)

    step = torch.tensor([0.01, 0.0]).double()
    for other in ((mean + step, sigma), (mean, sigma + step), (mean, sigma - step.flip(0))):
        assert gap(*other) > gap(mean, sigma)


def test_design_is_a_line(line):
    assert (line.design(torch.tensor([2.0, 3.0])) @ torch.tensor([1.0, 10.0])).tolist() == [21.0, 31.0]


# --- Algorithm 2

MODELS = {"MLP": partial(mlp_vae, 3, (8,)), "conv": partial(conv_vae, 3, (4, 4), 8, (0, 1))}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_bound_equals_the_librarys_in_value_and_gradient(algorithm, build, images, agree):
    torch.manual_seed(0)
    vae = BayesianVAE(build(), initial_std=0.1)
    x = vae.observe(images)
    ours, theirs = partial(algorithm.bound_of_everything, vae, vae.log_sigma, x, 500), partial(full_bound, vae, x, 500)
    agree(vae, ours, lambda: 500 * theirs().objective.mean(), rtol=1e-3, atol=1e-2)  # sums over 500 images


def test_weights_come_back_in_order(algorithm):
    decoder = mlp_vae(3, (8,)).decoder
    weights = algorithm.as_weights(decoder, parameters_to_vector(decoder.parameters()))
    assert all(torch.equal(weights[name], weight) for name, weight in decoder.named_parameters())


def test_learning_is_adam_on_the_bound(algorithm, images):
    """Two steps by hand on the library's bound, from the same random numbers, end at the same weights."""
    torch.manual_seed(0)
    ours, theirs = BayesianVAE(mlp_vae(3, (8,))), BayesianVAE(mlp_vae(3, (8,)))
    theirs.load_state_dict(ours.state_dict())
    log_sigma = torch.nn.Parameter(ours.log_sigma.detach().clone())
    ours.log_sigma.requires_grad_(False)
    torch.manual_seed(2)
    algorithm.learn(ours, log_sigma, images, steps=2, batch_size=5, learning_rate=0.01)
    torch.manual_seed(2)
    optimiser = torch.optim.Adam(theirs.parameters(), lr=0.01)
    for _ in range(2):
        x = theirs.observe(images[torch.randint(12, (5,))])
        optimiser.zero_grad()
        (-full_bound(theirs, x, 12).objective.mean()).backward()
        optimiser.step()
    torch.testing.assert_close(log_sigma, theirs.log_sigma, atol=1e-4, rtol=1e-4)
    learned, expected = (parameters_to_vector(vae.decoder.parameters()) for vae in (ours, theirs))
    torch.testing.assert_close(learned, expected, atol=1e-4, rtol=1e-3)


def test_the_lessons_prior_is_the_papers():
    """N(0, I): the bound that the lesson writes out has no other."""
    assert (weight_prior(mlp_vae(3, (8,)).decoder).stddev == 1).all()
