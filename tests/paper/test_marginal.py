"""log p(x) by quadrature, Appendix D and the best Gaussian, on a linear-Gaussian model that has it in closed form."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vae_utils.likelihoods import Gaussian, GreyCrossEntropy
from vae_utils.models import VAE, paper_vae
from vae_utils.paper import kept_chains, marginal
from vae_utils.paper.hmc import hmc_sample
from vae_utils.paper.importance import log_likelihood
from vae_utils.paper.kept_chains import KeptChains
from vae_utils.paper.marginal import (
    best_gaussian_posterior,
    gaps,
    kernel_log_density,
    posterior_sample_log_likelihood,
    quadrature_log_likelihood,
    reciprocal_log_likelihood,
)

SHAPE = (1, 2, 3)


class Flat(nn.Module):
    """A linear map between codes and images."""

    def __init__(self, inputs, outputs, shape):
        super().__init__()
        self.linear, self.shape = nn.Linear(inputs, outputs), shape

    def forward(self, x):
        return self.linear(x.flatten(1)).reshape(len(x), *self.shape)


def linear_gaussian(size, sigma=0.1, spread=0.3):
    """x = W z + b + noise, with an encoder that knows nothing of it: q(z|x) is near N(0, I)."""
    torch.manual_seed(size)
    vae = VAE(Flat(6, 2 * size, (2 * size,)), Flat(size, 6, SHAPE), Gaussian(sigma), size, image_shape=SHAPE)
    with torch.no_grad():
        vae.decoder.linear.weight.normal_(0, spread)
        vae.decoder.linear.bias.fill_(0.5)
        vae.encoder.linear.weight.normal_(0, 0.01)
        vae.encoder.linear.bias.zero_()
    return vae.requires_grad_(False)


def images_of(vae, count):
    """Draws of the model itself that happen to lie in [0, 1]."""
    torch.manual_seed(1)
    drawn = vae.decode(vae.prior.sample((20 * count,))).sample()
    inside = drawn[((drawn >= 0) & (drawn <= 1)).flatten(1).all(1)]
    assert len(inside) >= count
    return inside[:count]


def exact(vae, x):
    """log N(x; b, W W^T + sigma^2 I)."""
    weight = vae.decoder.linear.weight
    covariance = weight @ weight.T + vae.likelihood.sigma**2 * torch.eye(6)
    return MultivariateNormal(vae.decoder.linear.bias, covariance).log_prob(x.flatten(1))


def posterior(vae, x):
    weight, sigma = vae.decoder.linear.weight, vae.likelihood.sigma
    precision = weight.T @ weight / sigma**2 + torch.eye(vae.latent_size)
    mean = torch.linalg.solve(precision, weight.T @ (x.flatten(1) - vae.decoder.linear.bias).T / sigma**2).T
    return mean, torch.linalg.inv(precision)


# --- quadrature


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("sigma", [0.3, 0.05, 0.01])
def test_quadrature_is_exact(size, sigma):
    """Posteriors from a third of the prior's width to a hundredth, in rows of the grid and across them."""
    vae = linear_gaussian(size, sigma)
    images = images_of(vae, 6)
    result = quadrature_log_likelihood(vae, images)
    atol = 0.03 if (size, sigma) == (3, 0.01) else 0.004  # the one at the deepest cells
    torch.testing.assert_close(result.per_image, exact(vae, images), atol=atol, rtol=0)
    assert result.disagreement.shape == result.halvings.shape == (6,)


def test_a_grid_alone_would_not_do():
    """The first grid, 0.3 wide, is far too coarse for a posterior 0.02 wide: halving is what makes it exact."""
    vae = linear_gaussian(3, 0.01)
    images = images_of(vae, 6)
    coarse = quadrature_log_likelihood(vae, images, tolerance=math.inf)
    assert coarse.halvings.max() == 0
    assert (coarse.per_image - exact(vae, images)).abs().mean() > 1
    assert quadrature_log_likelihood(vae, images).halvings.min() >= 2


def test_quadrature_converges_and_says_how_well():
    vae = linear_gaussian(2, 0.03)
    images = images_of(vae, 10)
    errors = []
    for tolerance in (1e6, 1.0, 0.1):
        result = quadrature_log_likelihood(vae, images, points=20, tolerance=tolerance)
        assert (result.disagreement < tolerance).all()
        errors.append((result.per_image - exact(vae, images)).abs().mean().item())
    assert errors[0] > 10 * errors[1] and errors[2] < 0.01


def test_quadrature_finds_both_modes():
    """p(x|z) that depends on |z|: two modes of equal mass, far apart."""
    vae = linear_gaussian(1, 0.05)

    class Even(nn.Module):
        def forward(self, z):
            return (0.2 * z.abs()).reshape(-1, 1, 1, 1).expand(-1, *SHAPE)

    vae.decoder = Even()
    images = torch.full((1, *SHAPE), 0.3)  # |z| = 1.5
    z = torch.linspace(-8, 8, 200_001)
    log_joint = vae.decode(z[:, None]).log_prob(images) + vae.prior.log_prob(z[:, None])
    reference = log_joint.double().logsumexp(0) + math.log(z[1] - z[0])
    assert quadrature_log_likelihood(vae, images).per_image.item() == pytest.approx(reference.item(), abs=5e-3)


def test_quadrature_agrees_with_importance_sampling_on_a_network():
    torch.manual_seed(0)
    vae = paper_vae(2, 20, std=0.3, likelihood=GreyCrossEntropy())
    images = torch.rand(4, 1, 28, 28)
    sampled = log_likelihood(vae, images, 20_000, device="cpu")
    result = quadrature_log_likelihood(vae, images, seed=0)
    error = 1 / sampled.effective_samples.sqrt()
    assert ((result.per_image - sampled.per_image).abs() < 5 * error + 0.01).all()
    assert "4 images" in result.protocol and "quadrature" in result.protocol


def test_quadrature_refuses():
    with pytest.raises(ValueError, match="three|3"):
        quadrature_log_likelihood(linear_gaussian(4), torch.rand(2, *SHAPE))
    with pytest.raises(ValueError, match="even"):
        quadrature_log_likelihood(linear_gaussian(1), torch.rand(2, *SHAPE), points=7)
    with pytest.raises(ValueError, match="pixels"):
        quadrature_log_likelihood(linear_gaussian(1), 2 + torch.rand(2, *SHAPE))


# --- chains on the posterior


def test_chains_have_the_moments_of_the_posterior():
    vae = linear_gaussian(2, 0.1)
    x = images_of(vae, 1).expand(500, *SHAPE)

    def log_joint(z):
        return vae.decode(z).log_prob(x) + vae.prior.log_prob(z)

    torch.manual_seed(0)
    draws, accepted = hmc_sample(log_joint, vae.prior.sample((500,)), 20, 100, 4)
    mean, covariance = posterior(vae, x[:1])
    width = covariance.diagonal().sqrt()
    draws = (draws.flatten(0, 1) - mean[0]) / width
    assert 0.8 < accepted.mean() < 0.97
    # 500 independent chains: standard errors of 0.045 widths and 0.06 of the variance before averaging
    torch.testing.assert_close(draws.mean(0), torch.zeros(2), atol=0.12, rtol=0)
    torch.testing.assert_close(draws.T.cov(), covariance / torch.outer(width, width), atol=0.15, rtol=0)


# --- Appendix D


def test_appendix_d_errs_upwards_and_importance_sampling_downwards():
    """From exact posterior draws: unbiased for 1 / p(x), hence too large for log p(x); one image, many times."""
    vae = linear_gaussian(2, 0.1)
    images = images_of(vae, 1).expand(4000, *SHAPE).contiguous()
    mean, covariance = posterior(vae, images[:1])
    truth = exact(vae, images)
    torch.manual_seed(0)
    draws = MultivariateNormal(mean[0], covariance).sample((50, 4000))
    above = reciprocal_log_likelihood(vae, images, draws) - truth
    below = log_likelihood(vae, images, 50, device="cpu").per_image - truth
    for errors, sign, inverse in ((above, 1, -1), (below, -1, 1)):
        standard_error = errors.std() / math.sqrt(len(errors))
        assert sign * errors.mean() > 3 * standard_error
        ratios = (inverse * errors).exp()  # estimate of 1 / p(x), or of p(x), over it
        assert abs(ratios.mean() - 1) < 4 * ratios.std() / math.sqrt(len(ratios)) + 0.01
    assert above.mean() < 0.3


def test_appendix_d_with_chains_is_near():
    vae = linear_gaussian(2, 0.1)
    images = images_of(vae, 200)
    errors = posterior_sample_log_likelihood(vae, images) - exact(vae, images)
    assert abs(errors.mean()) < 0.3 and errors.abs().median() < 0.5


@pytest.mark.slow
def test_appendix_d_tightens_with_more_samples():
    vae = linear_gaussian(1, 0.1)
    images = images_of(vae, 1).expand(200, *SHAPE).contiguous()
    estimates = (posterior_sample_log_likelihood(vae, images, count) for count in (20, 200))
    few, many = ((estimate - exact(vae, images)).abs().mean() for estimate in estimates)
    assert many < few / 2


def test_appendix_d_wants_two_halves():
    with pytest.raises(ValueError, match="num_samples"):
        posterior_sample_log_likelihood(linear_gaussian(1), torch.rand(2, *SHAPE), num_samples=4)


def test_kernel_density_is_a_density_and_fits_a_gaussian():
    torch.manual_seed(0)
    centres = torch.tensor([0.0, 1.0, -2.0])[:, None]
    grid = torch.linspace(-0.5, 0.5, 2001)[:, None, None] + centres
    log_density = kernel_log_density(0.05 * torch.randn(400, 3, 1) + centres, grid)
    torch.testing.assert_close(log_density.exp().sum(0) / 2000, torch.ones(3), atol=1e-3, rtol=0)
    true = Normal(centres, 0.05).log_prob(grid).squeeze(-1)
    divergence = (true.exp() * (true - log_density)).sum(0) / 2000
    assert (divergence.abs() < 0.05).all()


# --- Appendix D with chains that are kept


def test_chains_of_a_model_that_stays_find_its_evidence():
    vae = linear_gaussian(2)
    x = images_of(vae, 40)
    chains = KeptChains(vae, x)
    for _ in range(3):  # from draws of the prior into a posterior a fifth as wide
        estimate = chains.log_likelihood(vae)
    errors = estimate - exact(vae, x)
    assert errors.abs().median() < 0.3 and errors.mean().abs() < 0.3
    assert chains.reports == 3 and 0.01 < chains.step_size < 1


def test_chains_go_on_from_where_they_were():
    """Kept on disk and put back, they say the same; begun anew, they are elsewhere."""
    vae = linear_gaussian(2)
    x = images_of(vae, 40)
    chains = KeptChains(vae, x)
    chains.log_likelihood(vae)
    other = KeptChains(vae, x)
    other.z, other.step_size, other.reports = chains.z.clone(), chains.step_size, chains.reports
    expected = chains.log_likelihood(vae)
    assert torch.equal(other.log_likelihood(vae), expected)
    assert not torch.equal(KeptChains(vae, x).log_likelihood(vae), expected)


def test_a_chain_in_the_wrong_mode_reads_low(monkeypatch):
    """Two modes far apart, one of them a millionth of the mass: chains that begin there report its mass alone."""

    class TwoModes:
        prior = Normal(torch.zeros(1), torch.ones(1))

    # p(z) p(x|z) proportional to N(z; 3, 0.1) + 1e-6 N(z; -3, 0.1): with log p(x) = log(1 + 1e-6)
    modes = Normal(torch.tensor([3.0, -3.0]), 0.1)

    def log_joint(vae, x, z):
        return (modes.log_prob(z) + torch.tensor([1.0, 1e-6]).log()).logsumexp(-1)

    for module in (kept_chains, marginal):
        monkeypatch.setattr(module, "log_joint", log_joint)
    chains = KeptChains(TwoModes, torch.zeros(40, 1, 1, 1))
    chains.z, chains.step_size = torch.cat([torch.full((20, 1), 3.0), torch.full((20, 1), -3.0)]), 0.05
    estimate = chains.log_likelihood(None)
    assert estimate[:20].mean().abs() < 0.3
    assert abs(estimate[20:].mean() - torch.tensor(1e-6).log()) < 0.3


def test_a_chain_that_has_not_moved_spoils_no_mean():
    """All draws of the first half at one place, those of the second half elsewhere: off by nats, not by millions."""
    vae = linear_gaussian(2)
    x = images_of(vae, 3)
    mean, covariance = posterior(vae, x)
    torch.manual_seed(0)
    draws = MultivariateNormal(mean, covariance).sample((200,))
    draws[:100, 0] = draws[0, 0]
    errors = reciprocal_log_likelihood(vae, x, draws) - exact(vae, x)
    assert errors[0].abs() < 30 and (errors[1:].abs() < 1).all()


def test_the_counts_of_kept_chains_are_checked():
    vae = linear_gaussian(2)
    x = images_of(vae, 40)
    with pytest.raises(ValueError, match="num_samples"):
        KeptChains(vae, x, num_samples=7)
    with pytest.raises(ValueError, match="burn_in"):
        KeptChains(vae, x, burn_in=-1)


# --- gaps


def test_the_best_gaussian_is_the_closed_form():
    """Of all diagonal Gaussians the best has the posterior's mean, and variances 1 / diagonal of its precision."""
    vae = linear_gaussian(3, 0.15)
    x = images_of(vae, 5)
    found = best_gaussian_posterior(vae, x, num_steps=300).base_dist
    mean, covariance = posterior(vae, x)
    width = torch.linalg.inv(covariance).diagonal().rsqrt()
    assert ((found.loc - mean) / width).abs().max() < 0.15
    torch.testing.assert_close(found.scale, width.expand(5, 3), rtol=0.1, atol=0)
    assert all(parameter.grad is None for parameter in vae.parameters())


def test_the_best_gaussian_is_found_where_the_encoder_looks_elsewhere():
    """An encoder that is a hundred widths off, from where no ascent leads back in time."""
    vae = linear_gaussian(2, 0.15)
    x = images_of(vae, 5)
    mean, covariance = posterior(vae, x)
    width = torch.linalg.inv(covariance).diagonal().rsqrt()
    vae.encode = lambda x: Independent(Normal(mean + 100 * width, 0.5 * width.expand(5, 2)), 1)
    found = best_gaussian_posterior(vae, x, num_steps=300).base_dist
    assert ((found.loc - mean) / width).abs().max() < 0.5


@pytest.mark.slow
def test_gaps_are_the_divergences():
    """log p(x) - ELBO(q) = KL(q || p(z|x)), for the best q and for the encoder's."""
    vae = linear_gaussian(2, 0.15)
    images = images_of(vae, 5)
    result = gaps(vae, images)
    mean, covariance = posterior(vae, images)
    truth = MultivariateNormal(mean, covariance)
    best = best_gaussian_posterior(vae, images).base_dist
    loss = result.approximation + result.amortisation
    for q, gap in ((best, result.approximation), (vae.encode(images).base_dist, loss)):
        divergence = kl_divergence(MultivariateNormal(q.loc, torch.diag_embed(q.scale**2)), truth)
        torch.testing.assert_close(gap, divergence, rtol=0.1, atol=0.2)  # of 500 draws: 0.05 a standard error
    assert (result.approximation > -0.01).all() and result.approximation.mean() > 0
