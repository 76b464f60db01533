"""Full variational Bayes against exact answers: a conjugate model, and one whose evidence is a quadrature."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.utils import parameters_to_vector

from vae_utils.evaluation import evaluate
from vae_utils.likelihoods import Gaussian
from vae_utils.models import VAE, conv_vae, mlp_vae
from vae_utils.objectives import elbo
from vae_utils.paper.bayes import (
    BayesianVAE,
    full_bound,
    map_bound,
    predictive_elbo,
    predictive_log_likelihood,
    weight_prior,
)
from vae_utils.paper.importance import log_likelihood
from vae_utils.training import adam, constant
from vae_utils.training import fit as loud_fit

fit = partial(loud_fit, progress=False)
SIGMA = 0.5  # of a pixel, in both models
NUM_DRAWS = 400


# --- a conjugate model: x_n ~ N(theta, SIGMA^2), one weight a pixel, a code that says nothing
# Its evidence and its posterior are Gaussian, and the posterior is diagonal: q(theta) can be exact.


class Constant(nn.Module):
    """The features are the weights, whatever the code."""

    def __init__(self, num_pixels):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1, num_pixels))  # a matrix: the prior's `std` is its

    def forward(self, z):
        return self.theta.expand(len(z), -1)[:, None, None, :]


class Silent(nn.Module):
    """q(z|x) = p(z): means and log-variances 0, and one parameter so that the model has a device."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return 0 * self.unused * x.new_ones(len(x), 2)


@pytest.fixture
def x():
    """Five images of three pixels."""
    first, second, third = [0.9, 0.7, 1.0, 0.8, 0.5], [0.1, 0.3, 0.0, 0.2, 0.6], [0.4, 0.4, 0.6, 0.5, 0.1]
    return torch.tensor([first, second, third]).T.reshape(5, 1, 1, 3)


def point_model():
    return VAE(Silent(), Constant(3), Gaussian(SIGMA), 1, image_shape=(1, 1, 3))


def conjugate(prior_std, mean, sigma):
    vae = point_model()
    return with_weights(BayesianVAE(vae, weight_prior(vae.decoder, prior_std)), mean, sigma)


@torch.no_grad()
def with_weights(vae, mean, sigma):
    """The model once its q(theta) is N(mean, sigma^2)."""
    [theta] = vae.decoder.parameters()
    theta.copy_(mean.view_as(theta))
    vae.log_sigma.fill_(math.log(sigma))
    return vae


def posterior(x, prior_std=1.0):
    """Mean [3] and standard deviation of p(theta|X)."""
    precision = 1 / prior_std**2 + len(x) / SIGMA**2
    return x.sum(0).flatten() / SIGMA**2 / precision, precision**-0.5


def evidence(x, prior_std=1.0):
    """log p(X): for each pixel the five values are jointly Gaussian."""
    covariance = SIGMA**2 * torch.eye(len(x)) + prior_std**2
    joint = torch.distributions.MultivariateNormal(torch.zeros(len(x)), covariance)
    return joint.log_prob(x.view(len(x), 3).T).sum()


def exact_bound(x, mean, sigma, prior_std=1.0):
    """E_q[log p(X|theta)] - KL(q(theta) || p(theta)) in closed form, differentiable."""
    squares = (x.view(len(x), 3) - mean) ** 2 + sigma**2
    log_likelihood = -squares / (2 * SIGMA**2) - math.log(SIGMA * math.sqrt(2 * math.pi))
    prior = Normal(torch.zeros(3), prior_std)
    return log_likelihood.sum() - kl_divergence(Normal(mean, sigma.expand(3)), prior).sum()


def estimates(vae, x, num_images, objective=full_bound, num_draws=NUM_DRAWS):
    """`num_draws` estimates of the bound on log p(X)."""
    torch.manual_seed(0)
    with torch.no_grad():
        return torch.stack([num_images * objective(vae, x, num_images).objective.mean() for _ in range(num_draws)])


def assert_mean(values, expected, errors=5.0):
    """Within `errors` standard errors: 5 is exceeded once in two million, and the seed is fixed."""
    spread = values.std(0) / math.sqrt(len(values))
    assert ((values.mean(0) - expected).abs() <= errors * spread + 1e-4).all(), (values.mean(0), expected)


@pytest.mark.parametrize("prior_std", [1.0, 0.3])
def test_bound_is_the_evidence_at_the_exact_posterior(x, prior_std):
    mean, sigma = posterior(x, prior_std)
    assert_mean(estimates(conjugate(prior_std, mean, sigma), x, len(x)), evidence(x, prior_std))
    torch.testing.assert_close(exact_bound(x, mean, torch.tensor(sigma), prior_std), evidence(x, prior_std))


@pytest.mark.parametrize(("shift", "factor"), [(0.0, 2.0), (0.3, 1.0), (-0.2, 0.3)])
def test_bound_lies_below_by_the_kl_to_the_posterior(x, shift, factor):
    """Eq. 13: log p(X) = KL(q(theta) || p(theta|X)) + bound."""
    mean, sigma = posterior(x)
    gap = kl_divergence(Normal(mean + shift, factor * sigma), Normal(mean, sigma)).sum()
    assert gap > 0.1
    assert_mean(estimates(conjugate(1.0, mean + shift, factor * sigma), x, len(x)), evidence(x) - gap)


@pytest.mark.slow
def test_minibatches_are_scaled_up_and_the_weights_are_not(x):
    """N/M: the mean over all minibatches is the bound of the whole set."""
    mean, sigma = torch.tensor([0.2, 0.5, 0.3]), torch.tensor(0.4)
    vae = conjugate(1.0, mean, sigma)
    of_each = torch.stack([estimates(vae, x[i : i + 1], len(x), num_draws=300) for i in range(5)])  # [5, draws]
    assert_mean(of_each.mean(0), exact_bound(x, mean, sigma))


def test_gradient_is_unbiased(x):
    mean, sigma = torch.tensor([0.2, 0.5, 0.3], requires_grad=True), torch.tensor(0.4, requires_grad=True)
    exact_bound(x, mean, sigma).backward()
    vae = conjugate(1.0, mean.detach(), sigma.detach())
    torch.manual_seed(0)
    slopes = []
    for _ in range(NUM_DRAWS):
        bound = len(x) * full_bound(vae, x, len(x)).objective.mean()
        gradient = torch.autograd.grad(bound, (vae.decoder.theta, vae.log_sigma))
        slopes.append(parameters_to_vector(gradient))
    slopes = torch.stack(slopes)  # [draws, 3 + 3]
    assert_mean(slopes[:, :3], mean.grad)
    assert_mean(slopes[:, 3:].sum(1), sigma.grad * sigma.detach())


def falling(progress):
    return 0.05 * (1 - progress)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [5, 1])
def test_training_finds_the_posterior(x, batch_size):
    """The sum over N sets the width: with M in its place it would be sqrt(5) times too wide for M = 1."""
    vae = conjugate(1.0, torch.zeros(3), 0.1)
    steps = dict(epochs=500 // (5 // batch_size), batch_size=batch_size, learning_rate=falling)
    fit(vae, x, objective=partial(full_bound, num_images=5), **steps)
    mean, sigma = posterior(x)
    torch.testing.assert_close(vae.weights.mean, mean, atol=0.1, rtol=0)  # sigma is 0.22
    torch.testing.assert_close(vae.weights.stddev, torch.full((3,), sigma), rtol=0.25, atol=0)


def test_map_is_the_mode_of_the_posterior(x):
    vae = point_model()
    objective = partial(map_bound, num_images=5, prior=weight_prior(vae.decoder, 0.3))
    fit(vae, x, epochs=200, batch_size=5, learning_rate=falling, objective=objective)
    torch.testing.assert_close(vae.decoder.theta.detach().flatten(), posterior(x, 0.3)[0], atol=5e-3, rtol=0)


def test_map_with_the_standard_prior_is_weight_decay(images):
    """The gradient of log p(theta) / N is -theta / N: what the paper calls a small weight decay."""
    torch.manual_seed(0)
    vae = mlp_vae(2, (8,))
    x = vae.observe(images)
    gradients = []
    for objective in (elbo, partial(map_bound, num_images=50, prior=weight_prior(vae.decoder))):
        torch.manual_seed(1)
        loss = objective(vae, x).objective.mean()
        gradients.append(torch.autograd.grad(loss, list(vae.decoder.parameters())))
    for plain, with_prior, weight in zip(*gradients, vae.decoder.parameters(), strict=True):
        torch.testing.assert_close(with_prior - plain, -weight / 50, atol=1e-5, rtol=1e-3)


@pytest.mark.slow
def test_predictive_bounds_on_the_conjugate_model(x):
    """With q(theta) exact the predictive density is Gaussian: N(mean, SIGMA^2 + sigma^2)."""
    mean, sigma = posterior(x)
    vae, q = conjugate(1.0, mean, sigma), Normal(mean, sigma)
    new = torch.tensor([[0.2, 0.9, 0.5], [0.8, 0.2, 0.4]]).view(2, 1, 1, 3)
    exact = Independent(Normal(mean, math.hypot(SIGMA, sigma)), 1).log_prob(new.view(2, 3))
    # E_q[log p(x|theta)]
    looser = exact_bound(new[:1], mean, torch.tensor(sigma)) + kl_divergence(q, Normal(torch.zeros(3), 1.0)).sum()
    bound = predictive_elbo(vae, new, num_weights=NUM_DRAWS, device="cpu")
    tight = predictive_log_likelihood(vae, new, num_weights=NUM_DRAWS, num_samples=1, device="cpu")
    assert bound.elbo[0].item() == pytest.approx(looser.item(), abs=0.1)  # a draw's spread: 0.55
    torch.testing.assert_close(tight.per_image, exact, atol=0.1, rtol=0)
    assert exact[0] > looser + 0.25
    assert (tight.effective_samples > 100).all() and (tight.effective_samples < NUM_DRAWS).all()


# --- one weight, one latent: x = theta z + noise. log p(X) is an integral over theta alone.

GRID = torch.linspace(-8, 8, 4001, dtype=torch.float64)
VALUES = torch.tensor([1.3, -0.4, 0.8, -1.9], dtype=torch.float64)


class LineEncoder(nn.Module):
    """q(z|x) = N(slope x, width^2)."""

    def __init__(self, slope, width):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.log_variance = nn.Parameter(torch.tensor(2 * math.log(width)))

    def forward(self, x):
        mean = self.slope * x.flatten(1)
        return torch.cat([mean, self.log_variance.expand_as(mean)], 1)


def line(mean, sigma, slope, width):
    decoder = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Unflatten(1, (1, 1, 1)))
    vae = BayesianVAE(VAE(LineEncoder(slope, width), decoder, Gaussian(SIGMA), 1, image_shape=(1, 1, 1)))
    return with_weights(vae, torch.tensor(mean), sigma)


def log_posterior_of_theta():
    """log p(theta, X) on the grid, and log p(X)."""
    given_theta = Normal(0.0, (GRID**2 + SIGMA**2).sqrt()).log_prob(VALUES[:, None]).sum(0)
    log_joint = given_theta + Normal(0.0, 1.0).log_prob(GRID)
    return log_joint, log_joint.logsumexp(0) + (GRID[1] - GRID[0]).log()


@pytest.mark.slow
@settings(max_examples=6)
@given(st.floats(-1.5, 1.5), st.floats(0.1, 0.8), st.floats(-1.0, 1.0), st.floats(0.3, 1.2))
def test_bound_plus_both_gaps_is_the_evidence(mean, sigma, slope, width):
    """Eqs 13 and 15: KL(q(theta)||p(theta|X)) + E_q[sum_n KL(q(z|x_n)||p(z|x_n, theta))] are missing."""
    log_joint, log_evidence = log_posterior_of_theta()
    q = Normal(mean, sigma)
    weight = q.log_prob(GRID).exp() * (GRID[1] - GRID[0])
    gap_of_theta = (weight * (q.log_prob(GRID) - log_joint + log_evidence)).sum()
    variance = SIGMA**2 / (GRID**2 + SIGMA**2)  # of p(z|x, theta)
    exact = Normal(GRID * VALUES[:, None] / (GRID**2 + SIGMA**2), variance.sqrt())
    gap_of_z = (weight * kl_divergence(Normal(slope * VALUES[:, None], width), exact).sum(0)).sum()
    images = VALUES.float().view(-1, 1, 1, 1)
    values = estimates(line(mean, sigma, slope, width), images, len(images), num_draws=200)
    assert gap_of_theta > 0 and gap_of_z > 0
    assert_mean(values, (log_evidence - gap_of_theta - gap_of_z).float())


# --- any decoder

MODELS = {
    "MLP": partial(mlp_vae, 3, (8,)),
    "conv": partial(conv_vae, 3, (4, 4), 8, (0, 1)),
    "learned sigma": partial(mlp_vae, 3, (8,), likelihood=Gaussian()),
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_any_decoder(build, images):
    torch.manual_seed(0)
    vae = build()
    ours = BayesianVAE(vae, initial_std=1e-7)  # q(theta) is as good as a point
    x = vae.observe(images)
    bounds = []
    for model in (vae, ours, ours.draw(), ours.at(ours.weights.mean)):
        torch.manual_seed(1)
        q = model.encode(x)
        z = q.mean + q.stddev * torch.randn(2, 12, 3)  # [L, B, D]
        bounds.append(model.decode(z).log_prob(x))
    assert bounds[1].shape == (2, 12)
    for bound in bounds[1:]:
        torch.testing.assert_close(bound, bounds[0], atol=0.05, rtol=1e-4)


def test_each_call_draws_the_weights_anew_and_a_draw_keeps_them(images):
    torch.manual_seed(0)
    vae = BayesianVAE(mlp_vae(3, (8,)), initial_std=0.3)
    z = torch.zeros(5, 3)
    first, second = vae.decode(z).mean, vae.decode(z).mean
    assert not torch.allclose(first, second)
    torch.testing.assert_close(first, first[:1].expand_as(first))  # one draw for all codes
    model = vae.draw()
    assert torch.equal(model.decode(z).mean, model.decode(z).mean)
    assert not torch.allclose(model.decode(z).mean, vae.at(vae.weights.mean).decode(z).mean)


def test_a_draw_has_the_moments_of_q():
    vae = BayesianVAE(mlp_vae(1, (2,), layer_norm=False), initial_std=0.2)
    torch.manual_seed(0)
    drawn = torch.stack([parameters_to_vector(vae.draw().decoder.parameters()).detach() for _ in range(300)])
    assert_mean(drawn, vae.weights.mean.detach(), errors=6)
    assert drawn.std(0).mean().item() == pytest.approx(0.2, rel=0.02)


def test_all_of_q_is_trained(images):
    torch.manual_seed(0)
    vae = BayesianVAE(mlp_vae(3, (8,)))
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    steps = dict(objective=partial(full_bound, num_images=12), learning_rate=constant(2e-3), optimiser=adam)
    fit(vae, images, epochs=2, batch_size=6, test=images, **steps)
    assert [name for name, value in vae.state_dict().items() if torch.equal(value, before[name])] == []


def test_prior_of_vectors_is_their_own():
    prior = weight_prior(nn.Linear(3, 2), std=0.5, bias_std=4.0)
    assert prior.stddev.tolist() == [0.5] * 6 + [4.0] * 2
    assert weight_prior(nn.Linear(3, 2)).stddev.tolist() == [1.0] * 8


def test_ordinary_functions_evaluate_it(images):
    """A model of vanishing sigma has the bounds of the ordinary one, under the same draws."""
    torch.manual_seed(0)
    vae = mlp_vae(3, (8,))
    ours = BayesianVAE(vae, initial_std=1e-8)
    bound, expected = predictive_elbo(ours, images, 2, device="cpu"), evaluate(vae, images, device="cpu")
    torch.testing.assert_close(bound.elbo, expected.elbo, atol=0.02, rtol=0)
    tight = predictive_log_likelihood(ours, images, 5, 40, device="cpu").per_image.mean()
    expected = log_likelihood(vae, images, 200, device="cpu").per_image.mean()
    torch.testing.assert_close(tight, expected, atol=0.5, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae, x: full_bound(vae, x, 0), "num_images were expected to be a whole number of 1 or more, got 0"),
        (lambda vae, x: map_bound(vae, x, 0, vae.weights_prior), "num_images were expected"),
        (lambda vae, x: weight_prior(vae.decoder, 0), "std was expected to be a number above 0"),
        (lambda vae, x: weight_prior(vae.decoder, 1, -1), "bias_std was expected"),
        (lambda vae, x: BayesianVAE(vae, initial_std=0), "initial_std was expected"),
        (lambda vae, x: BayesianVAE(vae, weight_prior(nn.Linear(1, 1))), "make it with weight_prior"),
        (lambda vae, x: predictive_elbo(vae, x, 0), "num_weights were expected"),
        (lambda vae, x: predictive_log_likelihood(vae, x, 1, 1, every=0), "every was expected"),
        (lambda vae, x: predictive_log_likelihood(vae, x, 1, 0), "num_samples were expected"),
    ],
    ids=range(9),
)
def test_what_is_refused(call, message, images):
    vae = BayesianVAE(mlp_vae(2, (4,)))
    with pytest.raises(ValueError, match=message):
        call(vae, vae.observe(images))
