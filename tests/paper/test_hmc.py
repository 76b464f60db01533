"""Hamiltonian Monte Carlo against densities whose moments are known, and against its own conservation laws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from vae_utils.paper.hmc import adapt_by_factor, adapt_step_size, hmc_sample, hmc_step, leapfrog, value_and_gradient

MEAN = torch.tensor([1.0, -2.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.9], [0.9, 2.0]], dtype=torch.float64)


def correlated(z):
    return MultivariateNormal(MEAN, COVARIANCE).log_prob(z)


def quartic(z):
    """Not Gaussian, not separable: -(|z|^2 + z1^4 + z1 z2^2), bounded above on the places used here."""
    return -(z.square().sum(-1) + z[..., 0] ** 4 + 0.3 * z[..., 0] * z[..., 1] ** 2)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_gradient_is_of_each_chain_by_itself():
    z = torch.randn(3, 4, 2, dtype=torch.float64)
    value, gradient = value_and_gradient(correlated, z)
    torch.testing.assert_close(value, correlated(z))
    torch.testing.assert_close(gradient, -(z - MEAN) @ torch.linalg.inv(COVARIANCE))
    assert not value.requires_grad and not gradient.requires_grad


# --- the leapfrog


@settings(max_examples=30)
@given(st.integers(1, 12), st.floats(0.01, 0.3))
def test_leapfrog_comes_back_when_the_momentum_is_reversed(num_leapfrog, step_size):
    z, momentum = 0.5 * torch.randn(2, 5, 2, dtype=torch.float64)
    end, speed, change = leapfrog(quartic, z, momentum, step_size, num_leapfrog)
    back, start_speed, change_back = leapfrog(quartic, end, -speed, step_size, num_leapfrog)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(start_speed, -momentum)
    torch.testing.assert_close(change_back, -change)


def test_leapfrog_keeps_volume():
    def flow(state):
        z, momentum, _ = leapfrog(lambda z: -z.square().sum(-1) - z[..., 0] ** 4, state[:1], state[1:], 0.3, 3)
        return torch.cat([z, momentum])

    state = torch.tensor([0.7, -0.4], dtype=torch.float64)
    nudges = 1e-5 * torch.eye(2, dtype=torch.float64)
    jacobian = torch.stack([(flow(state + nudge) - flow(state - nudge)) / 2e-5 for nudge in nudges])
    assert torch.linalg.det(jacobian).item() == pytest.approx(1, abs=1e-6)


def test_energy_error_falls_with_the_square_of_the_step():
    """Over the same time. A first or last step that is not half a step makes the error fall only linearly."""
    z, momentum = 0.5 * torch.randn(2, 50, 2, dtype=torch.float64)
    errors = [leapfrog(quartic, z, momentum, 0.8 / steps, steps)[2].abs().mean() for steps in (20, 40, 80)]
    ratios = [errors[0] / errors[1], errors[1] / errors[2]]
    assert ratios == pytest.approx([4, 4], rel=0.05)


def test_energy_change_is_that_of_the_hamiltonian():
    z, momentum = torch.randn(2, 5, 2, dtype=torch.float64)
    end, speed, change = leapfrog(correlated, z, momentum, 0.5, 2)
    energies = [-correlated(place) + push.square().sum(-1) / 2 for place, push in ((z, momentum), (end, speed))]
    torch.testing.assert_close(change, energies[1] - energies[0])


def test_each_chain_may_have_its_own_step():
    z, momentum = torch.randn(2, 2, 2, dtype=torch.float64)
    together, _, _ = leapfrog(correlated, z, momentum, torch.tensor([0.1, 0.4]), 3)
    for chain, step in enumerate((0.1, 0.4)):
        alone, _, _ = leapfrog(correlated, z[chain], momentum[chain], torch.tensor(step), 3)
        torch.testing.assert_close(together[chain], alone, rtol=1e-6, atol=1e-6)  # 0.1 in float32


# --- the sampler


def test_known_moments():
    """A step so long that a fifth of the moves is refused: without the test at the end, the moments are wrong."""
    z = MEAN + torch.randn(2000, 2, dtype=torch.float64)
    kept, shares = [], []
    for move in range(60):
        z, accepted = hmc_step(correlated, z, 0.75, 4)
        assert accepted.shape == (2000,)
        if move >= 20:
            kept.append(z)
            shares.append(accepted.double().mean())
    draws = torch.stack(kept).flatten(0, 1)
    assert 0.7 < torch.stack(shares).mean() < 0.95
    # 2,000 independent chains: standard errors of at most sqrt(2 / 2000) = 0.03 for the mean and
    # 2 sqrt(2 / 2000) = 0.06 for the covariance, before averaging over 40 moves
    torch.testing.assert_close(draws.mean(0), MEAN, atol=0.06, rtol=0)
    torch.testing.assert_close(draws.T.cov(), COVARIANCE, atol=0.1, rtol=0)


def test_refused_chains_stay_and_accepted_ones_move():
    z = torch.randn(500, 2, dtype=torch.float64)
    end, accepted = hmc_step(correlated, z, 1.0, 3)
    assert 0.05 < accepted.double().mean() < 0.95
    assert torch.equal((end != z).any(-1), accepted)
    assert not end.requires_grad


def test_a_roll_into_nothing_is_refused():
    def cliff(z):
        return torch.where(z[..., 0] > 0, torch.nan, 0.0) * z[..., 0] - z.square().sum(-1)

    z = torch.full((100, 1), -0.1)
    end, accepted = hmc_step(cliff, z, 0.5, 2)
    assert 0 < accepted.sum() < 100 and (end <= 0).all()


@pytest.mark.parametrize("chains", [1, 1000])
def test_the_step_size_finds_its_acceptance(chains):
    scale = 0.03  # as narrow as a trained posterior

    def narrow(z):
        return -z.square().sum(-1) / (2 * scale**2)

    z, step, shares = scale * torch.randn(chains, 3), 1.0, []
    for move in range(600):
        z, accepted = hmc_step(narrow, z, step, 4)
        step = adapt_step_size(step, accepted)
        shares += [accepted.float().mean()] * (move >= 200)
    # one chain: 400 coin flips, standard error 0.015, and the adaptation pulls it in
    assert torch.stack(shares).mean().item() == pytest.approx(0.9, abs=0.03)


def test_step_size_does_not_depend_on_the_number_of_chains():
    few, many = (adapt_step_size(0.1, torch.arange(count) % 2 == 0) for count in (10, 10_000))
    assert few == pytest.approx(many) == pytest.approx(0.1 * math.exp(0.1 * (0.5 - 0.9)))


def test_a_step_size_by_factors_goes_to_and_fro_around_its_acceptance():
    def narrow(z):
        return -z.square().sum(-1) / (2 * 0.03**2)

    z, step, steps, shares = 0.03 * torch.randn(1000, 3), 1e-3, [], []
    for _ in range(200):
        z, accepted = hmc_step(narrow, z, step, 4)
        step = adapt_by_factor(step, accepted)
        steps.append(step)
        shares.append(accepted.float().mean().item())
    assert steps[0] == pytest.approx(1.25e-3) and steps[9] == pytest.approx(1e-3 * 1.25**10)
    assert max(steps[50:]) / min(steps[50:]) < 1.25**4
    assert min(shares[50:]) < 0.9 < max(shares[50:]) and sum(shares[50:]) / 150 == pytest.approx(0.9, abs=0.08)


def test_sample_tunes_each_chain_and_has_the_moments():
    scale = torch.tensor([0.05, 2.0], dtype=torch.float64).repeat(1000)[:, None]  # narrow and wide by turns

    def density(z):
        return -(z / scale).square().sum(-1) / 2

    draws, accepted = hmc_sample(density, scale * torch.randn(2000, 1, dtype=torch.float64), 40, 150, 3)
    assert draws.shape == (40, 2000, 1) and accepted.shape == (2000,)
    variances = (draws / scale).square().mean(0).view(-1, 2).mean(0)  # [2]
    torch.testing.assert_close(variances, torch.ones_like(variances), atol=0.1, rtol=0)
    assert accepted.view(-1, 2).mean(0).tolist() == pytest.approx([0.9, 0.9], abs=0.06)


def test_what_makes_no_sense_is_refused():
    z = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="num_leapfrog"):
        hmc_step(correlated, z, 0.1, 0)
    for num_samples, burn_in, name in ((0, 1, "num_samples"), (1, -1, "burn_in")):
        with pytest.raises(ValueError, match=name):
            hmc_sample(correlated, z, num_samples, burn_in, 1)
