"""Rivals of the paper's algorithm, against models whose posterior is known."""

import pytest
import torch
from torch import nn

from vae_utils.baselines import wake_sleep
from vae_utils.likelihoods import Gaussian, GreyCrossEntropy
from vae_utils.models import VAE, paper_vae
from vae_utils.objectives import elbo

SIGMA = 0.5


class LinearGaussian(nn.Module):
    """Codes to pixels by a fixed matrix: with Gaussian noise, the posterior is Gaussian and known."""

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, z):
        return (z @ self.matrix.T).unflatten(1, (1, 1, -1))


class AffineEncoder(nn.Module):
    """q's mean is affine in x, its variances the same for all x: the family that holds the best diagonal q."""

    def __init__(self, num_pixels, latent_size):
        super().__init__()
        self.mean = nn.Linear(num_pixels, latent_size)
        self.log_variance = nn.Parameter(torch.zeros(latent_size))

    def forward(self, x):
        mean = self.mean(x.flatten(1))
        return torch.cat([mean, self.log_variance.expand_as(mean)], 1)


def train_encoder(objective, matrix):
    """Fit the encoder alone to a fixed decoder; images are draws from the model itself."""
    torch.manual_seed(0)
    vae = VAE(AffineEncoder(*matrix.shape), LinearGaussian(matrix), Gaussian(SIGMA), matrix.shape[1],
              image_shape=(1, 1, len(matrix)))
    optimiser = torch.optim.Adam(vae.encoder.parameters(), lr=0.02)
    for step in range(1200):
        optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / 1200)
        x = vae.decode(vae.prior.sample((256,))).sample()
        optimiser.zero_grad()
        (-objective(vae, x).objective.mean()).backward()
        optimiser.step()
    return vae


@pytest.mark.parametrize("objective", [wake_sleep, elbo])
def test_sleep_covers_the_posterior_and_the_elbo_keeps_inside_it(objective):
    """A posterior with correlated codes: KL(p || q) gives its marginal variances, KL(q || p) conditional ones."""
    matrix = torch.tensor([[1.0, 0.8], [0.0, 0.6], [0.5, 0.5]])
    precision = torch.eye(2) + matrix.T @ matrix / SIGMA**2
    covariance = precision.inverse()
    vae = train_encoder(objective, matrix)
    variance = vae.encoder.log_variance.exp()
    expected = {wake_sleep: covariance.diagonal(), elbo: 1 / precision.diagonal()}[objective]
    assert torch.allclose(variance, expected, rtol=0.08)
    assert (covariance.diagonal() > 1.5 * (1 / precision.diagonal())).all()          # so the two differ
    # Both find the mean of the exact posterior.
    assert torch.allclose(vae.encoder.mean.weight, covariance @ matrix.T / SIGMA**2, atol=0.05)


def test_wake_moves_the_decoder_alone_and_sleep_the_encoder_alone(images):
    """Both gradients against those of their own objective, from the same draws."""
    torch.manual_seed(0)
    vae = paper_vae(2, 9, std=0.3, likelihood=GreyCrossEntropy())
    x = images[:6]
    torch.manual_seed(1)
    terms = wake_sleep(vae, x)
    terms.objective.sum().backward()
    found = {name: w.grad.clone() for name, w in vae.named_parameters()}
    torch.manual_seed(1)
    q = vae.encode(x)
    z = q.sample()
    dreamt_z = vae.prior.sample((6,))
    dreamt_x = vae.decode(dreamt_z).sample()
    assert set(dreamt_x.unique().tolist()) <= {0.0, 1.0}                              # dreams are draws
    wake = vae.decode(z).log_prob(x)
    sleep = vae.encode(dreamt_x).log_prob(dreamt_z)
    for part, objective in (("decoder", wake), ("encoder", sleep)):
        weights = {name: w for name, w in vae.named_parameters() if name.startswith(part)}
        for name, gradient in zip(weights, torch.autograd.grad(objective.sum(), weights.values())):
            assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6), name
    assert torch.allclose(terms.elbo, wake - terms.rate, rtol=1e-5) and terms.rate.min() >= 0
    assert not terms.rate.requires_grad and not terms.distortion.requires_grad


def test_wake_sleep_draws_anew(images):
    torch.manual_seed(0)
    vae = paper_vae(2, 9, std=0.3, likelihood=GreyCrossEntropy())
    first, second = (wake_sleep(vae, images[:4]).objective for _ in range(2))
    assert first.shape == (4,) and not torch.equal(first, second)
