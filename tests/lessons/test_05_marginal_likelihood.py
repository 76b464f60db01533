"""What lesson 05 writes out, held against the library and against closed forms."""

import json

import pytest
import torch

from vae_utils.files import ASSETS
from vae_utils.likelihoods import Bernoulli
from vae_utils.models import mlp_vae
from vae_utils.paper import hmc, importance
from vae_utils.paper.curves import read_curves
from vae_utils.paper.importance import log_likelihood
from vae_utils.paper.marginal import posterior_samples, quadrature_log_likelihood
from vae_utils.reproduce import fig3

from notebook_definitions import definitions

LESSON = "05_marginal_likelihood"


@pytest.fixture(scope="module")
def lesson():
    sampling = "log_weights", "log_mean", "effective_samples", "importance_weighted"
    return definitions(LESSON, "grid_log_likelihood", "hmc_step", *sampling)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return mlp_vae(2, (12,), "tanh", layer_norm=False, likelihood=Bernoulli())


@pytest.fixture
def x(images):
    return images.round()


# --- quadrature


def test_the_grid_is_the_librarys_quadrature(lesson, vae, images):
    x = vae.observe(images, torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = lesson.grid_log_likelihood(vae, x, 200)
    torch.testing.assert_close(ours, quadrature_log_likelihood(vae, images).per_image, atol=2e-3, rtol=0)


# --- importance sampling


def test_log_weights_are_the_librarys(lesson, vae, x, agree):
    assert lesson.log_weights(vae, x, 7).shape == (7, len(x))
    agree(vae, lambda: lesson.log_weights(vae, x, 7), lambda: importance.importance_log_weights(vae, x, 7))


def test_effective_samples_are_the_librarys(lesson, vae, images):
    x = vae.observe(images, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    with torch.no_grad():
        log_w = lesson.log_weights(vae, x, 40)
    library = log_likelihood(vae, images, 40, seed=0, device="cpu")
    torch.testing.assert_close(lesson.log_mean(log_w), library.per_image)
    torch.testing.assert_close(lesson.effective_samples(log_w), library.effective_samples)


def test_effective_samples_have_their_ends(lesson):
    equal, one = torch.zeros(8, 1), torch.full((8, 1), -100.0)
    one[3] = 0.0
    assert lesson.effective_samples(equal).item() == pytest.approx(8)
    assert lesson.effective_samples(one).item() == pytest.approx(1)


@pytest.mark.parametrize("num_samples", [1, 6])
def test_the_objective_is_the_librarys_bound(lesson, vae, x, agree, num_samples):
    bounds = lesson.importance_weighted, importance.importance_weighted
    agree(vae, *(lambda bound=bound: bound(vae, x, num_samples).objective for bound in bounds))
    assert (lesson.importance_weighted(vae, x, num_samples).rate >= 0).all()


def test_the_objectives_two_terms_make_an_elbo(lesson, vae, x):
    """With the same draws: the mean of the log weights, which is Eq. 6's estimate."""
    torch.manual_seed(1)
    terms = lesson.importance_weighted(vae, x, 9)
    torch.manual_seed(1)
    torch.testing.assert_close(terms.elbo, lesson.log_weights(vae, x, 9).mean(0))


# --- Hamiltonian Monte Carlo


def test_one_step_is_the_librarys(lesson):
    """Same pushes, same coins: the same moves, with the same chains refused."""

    def density(z):
        return -(z[..., 0] ** 2 + 3 * (z[..., 1] - z[..., 0] ** 2) ** 2)

    torch.manual_seed(0)
    z = torch.randn(300, 2)
    results = []
    for step in (lesson.hmc_step, hmc.hmc_step):
        torch.manual_seed(1)
        results.append(step(density, z, 0.4, 4))
    (ours, our_moves), (theirs, their_moves) = results
    assert 0.3 < our_moves.float().mean() < 0.98
    same = our_moves == their_moves
    assert same.float().mean() > 0.99  # a coin may fall on the last digit of a sum
    torch.testing.assert_close(ours[same], theirs[same])


def test_its_gradient_is_that_of_the_model(lesson, vae, x):
    """On a model's own log p(x, z), with graphs that must not be kept."""

    def log_joint(z):
        return vae.decode(z).log_prob(x) + vae.prior.log_prob(z)

    results = []
    for step in (lesson.hmc_step, hmc.hmc_step):
        torch.manual_seed(1)
        results.append(step(log_joint, torch.zeros(len(x), 2), 0.1, 3)[0])
    assert not results[0].requires_grad
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-4)


# --- what the lesson reads

STORED = json.loads((ASSETS / "fig3.json").read_text("utf-8"))["results"]["runs"]


@pytest.mark.parametrize("name", STORED)
def test_figure_3_is_stored_as_the_lesson_reads_it(name):
    """The end of each curve is what the lesson's bars start from, by both estimators."""
    run, curve = STORED[name], {curve.name: curve for curve in fig3.runs(0)}[name]
    assert {"AEVB 1000", "WS 1000", "MCEM 1000"} <= set(STORED)
    if "estimates" not in run:
        return  # another seed
    for how, estimator in (("", fig3.KEPT), (fig3.EXACT, "quadrature")):
        curves = read_curves(ASSETS / "fig3.csv")["Fig3", curve.panel + how]
        for part in ("train", "test"):
            samples, nats = curves[f"{curve.method} {part}"][0]
            assert samples[-1] == run["samples"]
            assert nats[-1] == pytest.approx(run["estimates"][part][estimator]["mean"], abs=2e-3)


# --- exercises


def test_posterior_samples_have_the_shape_the_exercise_says(vae, x):
    assert posterior_samples(vae, x, 8, burn_in=2).shape == (8, len(x), 2)
