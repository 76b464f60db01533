"""What lesson 07 writes out, held against the library, torch.distributions and numerical integrals."""

import json
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.nn.utils import parameters_to_vector

from vae_utils.files import ASSETS, load_tensors
from vae_utils.models import conv_vae, load_weights, mlp_vae
from vae_utils.paper.bayes import BayesianVAE, full_bound, weight_prior

from notebook_definitions import definitions

NOISE = 0.3
INPUTS = torch.tensor([[1.0, 0.2], [1.0, 0.9], [1.0, 1.7]], dtype=torch.float64)
X = torch.tensor([0.1, 0.5, 1.2], dtype=torch.float64)


@pytest.fixture(scope="module")
def line():
    return definitions("07_full_variational_bayes", "design", "exact", "bound", "best_diagonal", "ellipse", NOISE=NOISE)


@pytest.fixture(scope="module")
def algorithm():
    return definitions("07_full_variational_bayes", "as_weights", "bound_of_everything", "learn")


# --- the line: everything by a grid over its two weights


@pytest.fixture(scope="module")
def grid():
    """All weights [801 * 801, 2] with log p(theta, x), and the area of a cell."""
    axis = torch.linspace(-4, 4, 801, dtype=torch.float64)
    theta = torch.cartesian_prod(axis, axis)
    log_likelihood = Normal(theta @ INPUTS.T, NOISE).log_prob(X).sum(1)
    return theta, log_likelihood + Normal(0.0, 1.0).log_prob(theta).sum(1), (axis[1] - axis[0]).item() ** 2


def test_exact_evidence_and_posterior(line, grid):
    theta, log_joint, cell = grid
    posterior, evidence = line.exact(INPUTS, X)
    torch.testing.assert_close(log_joint.logsumexp(0) + math.log(cell), evidence)
    weight = (log_joint - evidence).exp() * cell
    torch.testing.assert_close(weight @ theta, posterior.mean)
    torch.testing.assert_close(posterior.log_prob(theta[::999]), (log_joint - evidence)[::999])


def test_bound_by_the_grid(line, grid):
    theta, log_joint, cell = grid
    mean, sigma = torch.tensor([0.1, 0.5]).double(), torch.tensor([0.2, 0.3]).double()
    log_q = Normal(mean, sigma).log_prob(theta).sum(1)
    expected = (log_q.exp() * (log_joint - log_q)).sum() * cell
    torch.testing.assert_close(line.bound(mean, sigma, INPUTS, X), expected)


def test_best_diagonal_is_a_minimum(line):
    posterior, _ = line.exact(INPUTS, X)
    mean, sigma = line.best_diagonal(posterior)

    def gap(mean, sigma):
        return kl_divergence(MultivariateNormal(mean, torch.diag(sigma**2)), posterior)

    step = torch.tensor([0.01, 0.0]).double()
    for other in ((mean + step, sigma), (mean, sigma + step), (mean, sigma - step.flip(0))):
        assert gap(*other) > gap(mean, sigma)


def test_design_is_a_line(line):
    assert (line.design(torch.tensor([2.0, 3.0])) @ torch.tensor([1.0, 10.0])).tolist() == [21.0, 31.0]


def test_ellipse_is_two_standard_deviations_away(line):
    posterior, _ = line.exact(INPUTS, X)
    away = line.ellipse(posterior.mean, posterior.covariance_matrix).T - posterior.mean
    squares = (away @ posterior.precision_matrix * away).sum(1)
    torch.testing.assert_close(squares, torch.full_like(squares, 4.0))


def test_curve_is_a_network_with_one_hidden_layer():
    curve = definitions("07_full_variational_bayes", "curve", HIDDEN=4).curve
    network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    theta, z = parameters_to_vector(network.parameters()).detach(), torch.linspace(-2, 2, 7)
    torch.testing.assert_close(curve(theta, z), network(z[:, None])[:, 0].detach())
    assert curve(theta.expand(5, 2, -1), z).shape == (5, 2, 7)


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


# --- what the record of section 6 says


@pytest.fixture(scope="module")
def runs():
    """The runs of the first seed, for each number of images."""
    rows = json.loads((ASSETS / "full-vb.json").read_text("utf-8"))["results"]["runs"].values()
    return {n: [row for row in rows if row["images"] == n and row["seed"] == 0] for n in (100, 300, 1000, 3000)}


def best(rows, score, *methods):
    return max((row for row in rows if row["method"] in methods), key=lambda row: row[score])


def test_the_two_lists_of_settings_do_not_make_the_difference(runs):
    for rows in runs.values():
        for score, method in (("held_out_best", "VB"), ("bound", "VB, evidence")):
            assert best(rows, score, "VB", "VB, evidence") == best(rows, score, method)


def test_the_loss_shrinks_at_one_fixed_setting(runs):
    fixed = dict(method="VB, evidence", prior_std=0.3, initial_std=0.05, rate=0.01)
    losses = []
    for rows in runs.values():
        (row,) = (row for row in rows if fixed.items() <= row.items())
        losses.append(best(rows, "held_out_best", "MAP")["held_out_final"] - row["held_out_final"])
    assert [round(loss) for loss in losses] == [40, 29, 19, 7]


# --- what the stored posteriors say


@pytest.fixture(scope="module")
def stored():
    given = dict(load_tensors=load_tensors, ASSETS=ASSETS, load_weights=load_weights)
    return definitions("07_full_variational_bayes", "stored_model", "doubts", **given)


class Doubting:
    """Decodes any code to one image, plus noise that is the same for all pixels, or each pixel's own."""

    prior = Normal(torch.zeros(2), torch.ones(2))
    weights = SimpleNamespace(mean=None)

    def __init__(self, shape):
        self.shape = shape

    def at(self, theta):
        return self

    def decode(self, z):
        return SimpleNamespace(mean=0.5 + 0.1 * torch.randn(self.shape).expand(len(z), 1, 28, 28))


@pytest.mark.parametrize("shape, expected", [((1, 1, 1, 1), 1.0), ((10, 1, 28, 28), 0.0), ((10, 1, 28, 1), 1.0)])
def test_correlation_tells_shared_doubt_from_that_of_each_pixel(stored, shape, expected):
    rows, spread, agreement = stored.doubts(Doubting(shape))
    assert agreement == pytest.approx(expected, abs=0.02) and spread == pytest.approx(0.1, rel=0.1)
    assert [len(images) for images in rows.values()] == [10] * 5


@pytest.mark.parametrize("num_images, lowest", [(300, (1.0, 1.25)), (3000, (1.25, 1.75))])
def test_price_of_the_weights_is_lowest_where_exercise_5_says(stored, num_images, lowest):
    """By its answer, at one over the root of the mean of (sigma / sigma_0)^2."""
    vae = stored.stored_model(num_images)
    factor = (vae.weights.stddev / vae.weights_prior.stddev).square().mean().item() ** -0.5
    prices = {}
    with torch.no_grad():
        for f in (0.95 * factor, factor, 1.05 * factor, 1, 1.5, 2):
            vae.log_sigma += math.log(f)
            prices[f] = vae.weights_kl().item() / num_images
            vae.log_sigma -= math.log(f)
    assert lowest[0] < factor < lowest[1] and min(prices, key=prices.get) == factor
    if num_images == 3000:
        assert [round(prices[f]) for f in (1, 1.5, 2)] == [16, 13, 15]


def test_layers_are_cut_where_the_lesson_cuts_them(stored):
    """The first 1,100 weights are those of the first layer."""
    first, *_ = (sum(p.numel() for p in layer.parameters()) for layer in stored.stored_model(300).decoder.trunk)
    assert first == 1100
