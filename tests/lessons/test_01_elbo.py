"""What lesson 01 writes out, held against closed forms, quadrature, torch.distributions and the library."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Gumbel, MultivariateNormal, Normal, kl_divergence

from vae_utils import objectives
from vae_utils.data import binarise, load_mnist
from vae_utils.explore.widgets import GapExplorer
from vae_utils.models import load_vae

from notebook_definitions import NOTEBOOKS, definitions

NOTEBOOK = NOTEBOOKS / "01_elbo.ipynb"
S2 = 0.1  # the noise variance of the lesson's Gaussian model

means = st.floats(-2, 2.5)
sigmas = st.floats(0.05, 1.5)


@pytest.fixture(scope="module", autouse=True)
def float64():
    """As the lesson's first cell does; the other tests keep their own."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def star(float64):
    """The one-dimensional model for 7 photons, by the formulas and without the lesson's code."""
    grid = torch.linspace(-15, 15, 30_001)
    dz = grid[1] - grid[0]
    log_prior = -0.5 * grid**2 - 0.5 * math.log(2 * math.pi)
    log_likelihood = 7 * (math.log(3) + grid) - 3 * grid.exp() - math.lgamma(8)
    log_joint = log_prior + log_likelihood
    log_evidence = ((log_joint.exp()).sum() * dz).log()
    known = dict(grid=grid, dz=dz, log_joint=log_joint, log_evidence=log_evidence)
    return SimpleNamespace(**known, log_posterior=log_joint - log_evidence, log_likelihood=log_likelihood)


@pytest.fixture(scope="module")
def toy(star):
    """The lesson's functions on that model."""
    names = ["likelihood", "grid_elbo", "grid_gap", "grid_expectation"]
    return definitions("01_elbo", *names, **vars(star))


@pytest.fixture(scope="module")
def kl_to_prior(float64):
    return definitions("01_elbo", "kl_to_prior").kl_to_prior


@pytest.fixture(scope="module")
def gradients(float64):
    estimators = ["score_gradient", "path_gradient"]
    variances = ["path_variance", "score_variance", "baseline_variance", "score_variance_in", "baseline_variance_in"]
    measured = ["variance_with_error", "samples_in", "cosine_variances"]
    return definitions("01_elbo", *estimators, *variances, *measured)


@pytest.fixture(scope="module")
def sgvb(float64):
    model = dict(s2=S2, observed=torch.tensor(1.0), prior=Normal(0.0, 1.0))
    return definitions("01_elbo", "sgvb", "value_variances", "gradient_variances", **model)


@pytest.fixture(scope="module")
def linear(float64):
    return definitions("01_elbo", "LinearVAE", "elbo", "climb", "ppca")


def dice(nodes=200):
    """Nodes and weights of Gauss-Hermite quadrature: exact averages over N(0, 1)."""
    places, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.tensor(places), torch.tensor(weights / weights.sum())


def mean_and_variance(values, weights):
    mean = (values * weights).sum()
    return mean, (weights * (values - mean) ** 2).sum()


# --- the bound and the gap


def closed_form_bound(mean, sigma):
    fit = 7 * (math.log(3) + mean) - 3 * math.exp(mean + sigma**2 / 2) - math.lgamma(8)
    return fit - 0.5 * (mean**2 + sigma**2 - 1 - 2 * math.log(sigma))


def test_likelihood_is_poisson_with_rate_three_times_exp_z(toy, star):
    torch.testing.assert_close(toy.likelihood(star.grid).log_prob(torch.tensor(7.0)), star.log_likelihood)


@settings(max_examples=50)
@given(means, sigmas)
def test_bound_is_the_closed_form(toy, mean, sigma):
    exact = closed_form_bound(mean, sigma)
    assert toy.grid_elbo(Normal(mean, sigma)).item() == pytest.approx(exact, abs=1e-6)


@settings(max_examples=50)
@given(means, sigmas)
def test_bound_and_gap_add_up_to_the_evidence(toy, star, mean, sigma):
    q = Normal(mean, sigma)
    gap = toy.grid_gap(q).item()
    assert gap > 0
    assert closed_form_bound(mean, sigma) + gap == pytest.approx(star.log_evidence.item(), abs=1e-6)


def test_the_identity_needs_no_gaussian(toy, star):
    q = Gumbel(0.5, 0.35)
    assert (toy.grid_elbo(q) + toy.grid_gap(q)).item() == pytest.approx(star.log_evidence.item(), abs=1e-6)


def test_expectation_on_the_grid(toy, star):
    average = toy.grid_expectation(Normal(0.4, 0.6), star.grid**2).item()
    assert average == pytest.approx(0.4**2 + 0.6**2, abs=1e-9)


# --- draws from the prior


@pytest.fixture(scope="module")
def draws_from_the_prior(star):
    names = ["likelihood", "by_quadrature", "average_over_prior"]
    return definitions("01_elbo", *names, prior=Normal(0.0, 1.0), grid=star.grid, dz=star.dz)


def test_evidence_and_information_of_one_star(draws_from_the_prior, star):
    log_px, information = draws_from_the_prior.by_quadrature(3.0, torch.tensor(7.0))
    posterior = star.log_posterior.exp() * star.dz
    fit = (posterior * star.log_likelihood).sum()  # the information is fit minus evidence, by Bayes' rule
    assert log_px.item() == pytest.approx(star.log_evidence.item())
    assert information.item() == pytest.approx((fit - star.log_evidence).item())
    assert 50 * draws_from_the_prior.by_quadrature(0.03, torch.tensor(0.0))[1] < 0.1  # nats, of 50 stars without light


def test_draws_from_the_prior_usually_give_too_little_where_the_data_tell_much(draws_from_the_prior, star):
    torch.manual_seed(1)
    errors = [
        draws_from_the_prior.average_over_prior(20, 3.0, torch.tensor(7.0)) - 20 * star.log_evidence for _ in range(10)
    ]
    assert sum(error < 0 for error in errors) >= 7 and torch.stack(errors).mean() < -1
    dark, exact = torch.tensor(0.0), draws_from_the_prior.by_quadrature(0.03, torch.tensor(0.0))[0]
    assert abs(draws_from_the_prior.average_over_prior(50, 0.03, dark) - 50 * exact) < 0.02


# --- the sliders


def test_the_sliders_say_what_the_lesson_computes(toy, star):
    explorer = GapExplorer(star.grid[::20], star.log_joint[::20])  # as the lesson calls it
    for mean, sigma in ((-0.5, 0.8), (0.68, 0.37), (2.5, 1.5), (-1.5, 0.1)):
        q = Normal(mean, sigma)
        expected = toy.grid_elbo(q).item(), toy.grid_gap(q).item()
        assert explorer.terms(mean, sigma) == pytest.approx(expected, abs=1e-6)


# --- what exercises 1 and 2 say


def gap(star, mean, sigma):
    return star.log_evidence.item() - closed_form_bound(mean, sigma)


def test_a_wide_q_costs_more_than_a_narrow_one(star):
    gaps = [gap(star, *position) for position in ((0.68, 0.37), (0.68, 0.185), (0.68, 0.74), (0.74, 0.37))]
    assert gaps == pytest.approx([0.008, 0.33, 0.97, 0.02], abs=0.005)


@pytest.mark.parametrize(("photons", "mean", "sigma"), [(7, 0.677, 0.37), (70, 3.1, 0.12)])
def test_the_best_sigma_is_one_over_the_root_of_one_plus_the_rate(photons, mean, sigma):
    position = torch.tensor([mean, math.log(sigma)], requires_grad=True)
    optimiser = torch.optim.LBFGS([position], max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def minus_bound():
        m, s = position[0], position[1].exp()
        optimiser.zero_grad()
        loss = 3 * torch.exp(m + s**2 / 2) - photons * m + 0.5 * (m**2 + s**2 - 2 * s.log())
        loss.backward()
        return loss

    optimiser.step(minus_bound)
    best_mean, best_sigma = position[0].item(), position[1].exp().item()
    assert (best_mean, best_sigma) == pytest.approx((mean, sigma), abs=0.005)
    rate = 3 * math.exp(best_mean + best_sigma**2 / 2)
    assert rate == pytest.approx(photons - best_mean, abs=1e-4)
    assert 1 / best_sigma**2 == pytest.approx(1 + rate, abs=1e-3)


# --- Appendix B


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-4, 2)), min_size=1, max_size=4))
def test_kl_to_prior_has_the_value_and_the_gradient_of_torch(kl_to_prior, pairs):
    mean, log_var = (torch.tensor(values, requires_grad=True) for values in zip(*pairs, strict=True))
    ours = kl_to_prior(mean, log_var)
    theirs = kl_divergence(Normal(mean, torch.exp(log_var / 2)), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(ours, theirs)
    gradient, exact = (torch.autograd.grad(kl, (mean, log_var)) for kl in (ours, theirs))
    torch.testing.assert_close(gradient, exact)


def test_kl_to_prior_sums_over_the_last_dimension_only(kl_to_prior):
    assert kl_to_prior(torch.zeros(5, 3), torch.zeros(5, 3)).shape == (5,)


# --- gradients through a draw


@pytest.mark.parametrize(("d", "sigma"), [(0.0, 1.0), (1.0, 1.0), (3.0, 1.0), (1.0, 0.1), (-2.0, 0.5)])
def test_variances_of_the_quadratic(gradients, d, sigma):
    k, (noise, weights) = 0.7, dice()
    mean, baseline = k + d, d**2 + 3 * sigma**2
    estimates = {
        "path_variance": gradients.path_gradient(lambda z: 2 * (z - k), mean, sigma, noise),
        "score_variance": gradients.score_gradient(lambda z: (z - k) ** 2, mean, sigma, noise),
        "baseline_variance": gradients.score_gradient(lambda z: (z - k) ** 2 - baseline, mean, sigma, noise),
    }
    for name, values in estimates.items():
        average, variance = mean_and_variance(values, weights)
        assert average.item() == pytest.approx(2 * d, abs=1e-8)
        assert variance.item() == pytest.approx(getattr(gradients, name)(d, sigma), rel=1e-8)


def test_the_baseline_is_the_best_constant(gradients):
    d, sigma, (noise, weights) = 1.0, 0.5, dice()
    best = d**2 + 3 * sigma**2

    def variance(b):
        return mean_and_variance(gradients.score_gradient(lambda z: z**2 - b, d, sigma, noise), weights)[1]

    assert variance(best) < min(variance(best - 0.01), variance(best + 0.01))


@pytest.mark.parametrize("k", [0.1, 0.5, 1.0, 2.0, 8.0])
@pytest.mark.parametrize(("mean", "sigma"), [(0.5, 1.0), (-1.2, 0.6)])
def test_variances_of_the_cosine(gradients, k, mean, sigma):
    noise, weights = dice()
    path, score = gradients.cosine_variances(torch.tensor(k), torch.tensor(mean), sigma)
    slopes = gradients.path_gradient(lambda z: -k * torch.sin(k * z), mean, sigma, noise)
    scores = gradients.score_gradient(lambda z: torch.cos(k * z), mean, sigma, noise)
    by_path, by_score = mean_and_variance(slopes, weights), mean_and_variance(scores, weights)
    torch.testing.assert_close(by_path[0], by_score[0], atol=1e-8, rtol=0)
    torch.testing.assert_close(by_path[1], path, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(by_score[1], score, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("dimensions", [1, 3, 10])
def test_variances_in_more_dimensions(gradients, dimensions):
    torch.manual_seed(dimensions)
    for baseline, exact in [(0, gradients.score_variance_in), (dimensions + 2, gradients.baseline_variance_in)]:
        variance, error = gradients.variance_with_error(gradients.samples_in(dimensions, baseline))
        assert abs(variance - exact(dimensions)) < 4 * error < 0.15 * variance


def test_error_of_a_variance_is_the_spread_of_variances(gradients):
    torch.manual_seed(0)
    results = [gradients.variance_with_error(3 * torch.randn(2000)) for _ in range(1000)]
    variances, errors = (torch.stack(column) for column in zip(*results, strict=True))
    assert variances.mean().item() == pytest.approx(9, rel=0.01)
    assert errors.mean().item() == pytest.approx(variances.std().item(), rel=0.1)


# --- Eqs 6 and 7

POSTERIOR = 1 / (1 + S2), math.sqrt(S2 / (1 + S2))  # its mean and sigma
POSITIONS = [(0.0, 1.0), POSTERIOR, (POSTERIOR[0], 0.5), (0.5, 0.3), (-0.4, 1.3)]


@pytest.mark.parametrize(("mean", "sigma"), POSITIONS)
def test_sgvb_values(sgvb, mean, sigma):
    noise, weights = dice()
    posterior = Normal(*POSTERIOR)
    evidence = Normal(0.0, math.sqrt(1 + S2)).log_prob(torch.tensor(1.0))
    bound = evidence - kl_divergence(Normal(mean, sigma), posterior)
    estimates = sgvb.sgvb(torch.tensor(mean), sigma, noise)
    for values, exact in zip(estimates, sgvb.value_variances(mean, sigma), strict=True):
        average, variance = mean_and_variance(values, weights)
        torch.testing.assert_close(average, bound)
        assert variance.item() == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("mean", "sigma"), POSITIONS)
def test_sgvb_gradients(sgvb, mean, sigma):
    noise, weights = dice()
    exact_means = (1 - mean) / S2 - mean, 1 / sigma - sigma * (1 + 1 / S2)
    for which, exact_ones in enumerate(sgvb.gradient_variances(mean, sigma)):
        parameters = [torch.full_like(noise, value).requires_grad_() for value in (mean, sigma)]
        sgvb.sgvb(*parameters, noise)[which].sum().backward()
        for parameter, exact_mean, exact in zip(parameters, exact_means, exact_ones, strict=True):
            average, variance = mean_and_variance(parameter.grad, weights)
            assert average.item() == pytest.approx(exact_mean)
            assert variance.item() == pytest.approx(exact)


def test_only_off_centre_eq_6_has_the_quieter_gradient_in_sigma(sgvb):
    """As the lesson says of its table: its four positions, in order."""
    positions = [(0.0, 1.0), (POSTERIOR[0], 0.5), (0.5, POSTERIOR[1]), POSTERIOR]
    variances = [list(sgvb.gradient_variances(*position)) for position in positions]
    assert all(eq6[0] > eq7[0] for eq6, eq7 in variances)
    assert [eq6[1] < eq7[1] for eq6, eq7 in variances] == [False, False, True, False]


# --- Algorithm 1, on digits


@pytest.fixture(scope="module")
def digits(float64):
    torch.manual_seed(0)
    held_out = torch.bernoulli(torch.full((20, 1, 28, 28), 0.2)).float()
    names = "SmallVAE", "elbo", "score_elbo", "train"
    return definitions("01_elbo", *names, held_out=held_out, binarise=binarise)


def test_small_vae_speaks_as_the_library_does(digits, agree):
    torch.manual_seed(0)
    vae, x = digits.SmallVAE(latent_size=3, hidden=5), digits.held_out[:7].double()
    q = vae.encode(x)
    assert (q.batch_shape, q.event_shape, vae.prior.event_shape) == ((7,), (3,), (3,))
    p = vae.decode(q.rsample((4,)))
    assert (p.batch_shape, p.event_shape) == ((4, 7), (1, 28, 28))
    agree(vae, lambda: digits.elbo(vae, x), lambda: objectives.elbo(vae, x).elbo)


def test_bound_is_the_papers_eq_10(digits):
    torch.manual_seed(0)
    vae, x = digits.SmallVAE(latent_size=3, hidden=5), digits.held_out[:7].double()
    torch.manual_seed(1)
    ours = digits.elbo(vae, x)
    torch.manual_seed(1)
    mean, log_var = vae.encoder(x.flatten(1)).chunk(2, -1)
    z = mean + (log_var / 2).exp() * torch.randn(mean.shape)
    y = torch.sigmoid(vae.decoder(z))
    fit = (x.flatten(1) * y.log() + (1 - x.flatten(1)) * (1 - y).log()).sum(-1)
    torch.testing.assert_close(ours, 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1) + fit)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [False, True])
def test_both_estimators_have_one_gradient_on_average(digits, baseline):
    """The minibatch's own mean as a baseline shrinks the score function's by 1 in M, which is 4,000 here."""
    torch.manual_seed(0)
    vae, x = digits.SmallVAE(latent_size=1, hidden=3), digits.held_out[:1].double().expand(4000, -1, -1, -1)
    weights = vae.encoder[2].bias, vae.decoder[2].bias

    def gradients(objective):
        draws = [torch.autograd.grad(objective().mean(), weights) for _ in range(25)]
        return [torch.stack(part) for part in zip(*draws, strict=True)]

    by_path = gradients(lambda: digits.elbo(vae, x))
    by_score = gradients(lambda: digits.score_elbo(vae, x, baseline))
    for path, score in zip(by_path, by_score, strict=True):
        error = ((path.var(0) + score.var(0)) / 25).sqrt()
        assert ((path.mean(0) - score.mean(0)).abs() < 7 * error + 1e-9).all()
    if not baseline:
        assert by_score[0].var(0).sum() > 10 * by_path[0].var(0).sum()


def test_training_raises_the_bound_of_held_out_images(digits):
    torch.manual_seed(0)
    vae = digits.SmallVAE(latent_size=2, hidden=10).float()
    bounds = digits.train(vae, torch.full((300, 1, 28, 28), 0.2), digits.elbo, steps=100, learning_rate=0.01)
    assert len(bounds) == 2
    assert -543 < bounds[0] < bounds[1] < -784 * 0.4  # of a fair coin, and a little above the entropy of what is seen


@pytest.mark.slow
def test_the_windows_hold_the_posteriors():
    """The lesson's quadrature covers a small part of the plane: what lies outside must not matter."""
    mnist, vae = load_mnist(), load_vae("manifold").float()
    if not mnist.is_full:
        pytest.skip("the lesson's four digits are those of MNIST's test set")
    digits = binarise(mnist.test[[0, 12, 5, 8]], torch.Generator().manual_seed(0))
    side = torch.arange(-4.5, 4.5, 0.04, dtype=torch.float32)
    with torch.no_grad():
        q, plane = vae.encode(digits), torch.cartesian_prod(side, side)
        parts = [torch.stack([vae.decode(z).log_prob(x) for x in digits]) for z in plane.split(2000)]
        log_joint = torch.cat(parts, 1) + vae.prior.log_prob(plane)
    outside = ((plane - q.mean[:, None]).abs() > 0.4).any(-1)
    share = log_joint.masked_fill(~outside, -math.inf).logsumexp(1) - log_joint.logsumexp(1)
    assert (share.exp() < 0.03).all()  # of the last; of the others less than a millionth
    assert (share.exp()[:3] < 1e-6).all()


# --- the linear VAE


def data(num_images=200, num_pixels=6):
    torch.manual_seed(0)
    return torch.randn(num_images, num_pixels) @ torch.randn(num_pixels, num_pixels) + 1


def evidence(x, mean, weight, noise):
    covariance = weight @ weight.T + noise * torch.eye(len(mean))
    return MultivariateNormal(mean, covariance).log_prob(x).mean()


def test_ppca_is_the_exact_evidence_and_a_maximum(linear):
    x = data()
    best, noise, eigenvalues, directions = linear.ppca(x, latent_size=2)
    weight = directions[:, :2] * (eigenvalues[:2] - noise).sqrt()
    torch.testing.assert_close(evidence(x, x.mean(0), weight, noise), best)
    for shift, stretch, more in ((0.05, 1, 1), (0, 1.05, 1), (0, 1, 1.1)):
        assert evidence(x, x.mean(0) + shift, stretch * weight, more * noise) < best


def test_linear_vae_speaks_as_the_library_does(linear):
    torch.manual_seed(0)
    vae, x = linear.LinearVAE(num_pixels=6, latent_size=2), data(7)
    q = vae.encode(x)
    assert (q.batch_shape, q.event_shape, vae.prior.event_shape) == ((7,), (2,), (2,))
    p = vae.decode(q.rsample((3,)))
    assert (p.batch_shape, p.event_shape) == ((3, 7), (6,))


def test_linear_vae_holds_log_variances(linear):
    vae, x = linear.LinearVAE(num_pixels=6, latent_size=2), data(7)
    with torch.no_grad():
        vae.x_log_var.fill_(math.log(0.04))
        vae.z_log_var.fill_(math.log(0.25))
    torch.testing.assert_close(vae.encode(x).stddev, torch.full((7, 2), 0.5))
    torch.testing.assert_close(vae.decode(torch.zeros(7, 2)).stddev, torch.full((7, 6), 0.2))


def test_bound_equals_the_librarys_in_value_and_gradient(linear, agree):
    torch.manual_seed(0)
    vae, x = linear.LinearVAE(num_pixels=6, latent_size=2), data(7)
    agree(vae, lambda: linear.elbo(vae, x), lambda: objectives.elbo(vae, x).elbo)


def test_training_reaches_the_exact_evidence(linear):
    torch.manual_seed(0)
    x = torch.randn(100, 1) * torch.tensor([2.0, -1.0, 1.0, 0.5]) + 0.5 * torch.randn(100, 4)
    vae = linear.LinearVAE(num_pixels=4, latent_size=1)
    bounds = linear.climb(vae, x, steps=500, learning_rate=0.1)
    best = linear.ppca(x, latent_size=1)[0].item()
    learned = evidence(x, vae.decoder.bias, vae.decoder.weight, vae.x_log_var.exp()).item()
    assert len(bounds) == 500
    assert best - 0.02 < learned <= best + 1e-9
    assert np.mean(bounds[-100:]) == pytest.approx(learned, abs=0.05)


def test_training_leaves_fixed_parameters_alone(linear):
    vae = linear.LinearVAE(num_pixels=6, latent_size=2)
    vae.x_log_var.requires_grad_(False).fill_(-1.0)
    linear.climb(vae, data(20), steps=3, learning_rate=0.1)
    assert vae.x_log_var.item() == -1.0
