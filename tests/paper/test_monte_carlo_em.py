"""Rivals of the paper's algorithm, against models whose posterior is known."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from vae_utils.likelihoods import Gaussian, GreyCrossEntropy
from vae_utils.models import VAE, paper_vae
from vae_utils.objectives import elbo
from vae_utils.paper.hmc import adapt_by_factor
from vae_utils.paper.monte_carlo_em import monte_carlo_em as loud_em
from vae_utils.paper.wake_sleep import wake_sleep
from vae_utils.reproduce import resuming
from vae_utils.reproduce.resuming import Resume
from vae_utils.training import paper_adagrad

monte_carlo_em = partial(loud_em, progress=False)
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
    num_pixels, size = matrix.shape
    encoder, decoder = AffineEncoder(num_pixels, size), LinearGaussian(matrix)
    vae = VAE(encoder, decoder, Gaussian(SIGMA), size, image_shape=(1, 1, num_pixels))
    optimiser = torch.optim.Adam(vae.encoder.parameters(), lr=0.02)
    for step in range(1200):
        optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / 1200)
        x = vae.decode(vae.prior.sample((256,))).sample()
        optimiser.zero_grad()
        (-objective(vae, x).objective.mean()).backward()
        optimiser.step()
    return vae


@pytest.mark.slow
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
    assert (covariance.diagonal() > 1.5 * (1 / precision.diagonal())).all()  # so the two differ
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
    assert set(dreamt_x.unique().tolist()) <= {0.0, 1.0}  # dreams are draws
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


# --- Monte Carlo EM

PAPERS_STEPS = dict(learning_rate=0.02, optimiser=paper_adagrad(20))


@pytest.fixture
def twenty():
    return torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def linear_model():
    matrix = torch.tensor([[0.3], [0.2], [-0.25]])
    encoder, decoder = AffineEncoder(3, 1), nn.Sequential(nn.Linear(1, 3), nn.Unflatten(1, (1, 1, 3)))
    return VAE(encoder, decoder, Gaussian(0.1), 1, image_shape=(1, 1, 3)), matrix


def evidence(weight, bias, x):
    covariance = weight @ weight.T + 0.1**2 * torch.eye(len(bias))
    return MultivariateNormal(bias, covariance).log_prob(x.flatten(1)).mean().item()


@pytest.mark.slow
def test_monte_carlo_em_climbs_the_exact_evidence():
    """One latent dimension and a linear decoder: the maximum of the likelihood is known (probabilistic PCA)."""
    torch.manual_seed(0)
    vae, matrix = linear_model()
    images = (0.5 + 0.5 * torch.randn(400, 1) @ matrix.T + 0.1 * torch.randn(400, 3)).clamp(0, 1).view(-1, 1, 1, 3)
    x = images.flatten(1)
    values, vectors = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)) / len(x))
    best = evidence(vectors[:, -1:] * (values[-1] - 0.1**2).sqrt(), x.mean(0), images)
    before = {name: value.clone() for name, value in vae.encoder.state_dict().items()}
    reports, z = monte_carlo_em(vae, images, iterations=600, learning_rate=0.02, optimiser=torch.optim.Adam)
    reached = evidence(vae.decoder[0].weight.detach(), vae.decoder[0].bias.detach(), images)
    assert best - 0.02 < reached <= best + 1e-5
    assert z.shape == (400, 1) and reports[-1].accepted == pytest.approx(0.9, abs=0.05)
    for name, value in vae.encoder.state_dict().items():
        assert torch.equal(value, before[name])  # there is no encoder in it


def test_monte_carlo_em_leaves_its_codes_at_the_posterior():
    """With the weights held still, a chain for each image comes to that image's own posterior."""
    torch.manual_seed(0)
    vae, matrix = linear_model()
    with torch.no_grad():
        vae.decoder[0].weight.copy_(matrix)
        vae.decoder[0].bias.fill_(0.5)
    images = torch.tensor([0.8, 0.6, 0.3]).expand(2000, 1, 1, 3)
    _, z = monte_carlo_em(vae, images, iterations=60, learning_rate=0.0, optimiser=torch.optim.SGD)
    precision = 1 + (matrix.T @ matrix).item() / 0.1**2
    mean = (matrix.T @ torch.tensor([0.3, 0.1, -0.2])).item() / 0.1**2 / precision
    assert z.mean().item() == pytest.approx(mean, abs=5 / math.sqrt(2000 * precision))
    assert z.var().item() == pytest.approx(1 / precision, rel=0.15)  # standard error 3%


def test_monte_carlo_em_counts_images_as_the_paper_does(twenty):
    """Each leapfrog step and each update evaluates all images."""
    vae = paper_vae(2, 9, likelihood=GreyCrossEntropy())
    seen = []
    when = dict(report_at=[100, 390], on_report=lambda vae, report, z: seen.append((report.samples, tuple(z.shape))))
    reports, _ = monte_carlo_em(vae, twenty, iterations=4, **PAPERS_STEPS, num_leapfrog=3, num_updates=2, **when)
    assert [report.samples for report in reports] == [100, 400]
    assert seen == [(100, (20, 2)), (400, (20, 2))]
    assert [report.iterations for report in reports] == [1, 4]


def test_the_step_size_follows_the_rule_that_is_given(twenty):
    vae = paper_vae(2, 9, likelihood=GreyCrossEntropy())
    rule = dict(step_size=0.01, adapt=adapt_by_factor)
    reports, _ = monte_carlo_em(vae, twenty, iterations=3, **PAPERS_STEPS, **rule)
    assert reports[-1].accepted == 1.0 and reports[-1].step_size == pytest.approx(0.01 * 1.25**3)


def test_waiting_updates_leave_the_weights_alone(twenty):
    weights = []
    for waiting in (6, 5):
        torch.manual_seed(0)
        vae = paper_vae(2, 9, likelihood=GreyCrossEntropy())
        start = vae.decoder.output.weight.detach().clone()
        monte_carlo_em(vae, twenty, iterations=3, **PAPERS_STEPS, waiting=waiting, num_updates=2)
        weights.append(torch.equal(vae.decoder.output.weight, start))
    assert weights == [True, False]


def test_monte_carlo_em_goes_on_where_it_was_interrupted(twenty, tmp_path, monkeypatch):
    """The same weights, codes and reports as in one go; the state is written between two iterations only."""

    def run(path=None, interrupt=None):
        torch.manual_seed(0)
        vae = paper_vae(2, 9, std=0.1, likelihood=GreyCrossEntropy())

        def stop(vae, report, z):
            if report.iterations == interrupt:
                raise KeyboardInterrupt

        events = dict(report_at=[900, 1200], on_report=stop, on_step=path and Resume(path, {}))
        return vae, *monte_carlo_em(vae, twenty, iterations=6, **PAPERS_STEPS, chunk=7, **events)

    monkeypatch.setattr(resuming, "SECONDS", 0.0)
    whole, reports, z = run()
    path = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(path, interrupt=4)
    vae, again, z_again = run(path)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, vae.state_dict()[name]), name
    assert torch.equal(z, z_again)
    assert [replace(report, seconds=0) for report in reports] == [replace(report, seconds=0) for report in again]


def test_monte_carlo_em_refuses_what_makes_no_sense(twenty):
    vae = paper_vae(2, 9, likelihood=GreyCrossEntropy())
    with pytest.raises(ValueError, match="iterations"):
        monte_carlo_em(vae, twenty, iterations=0, **PAPERS_STEPS)
    with pytest.raises(ValueError, match="pixels"):
        monte_carlo_em(vae, 2 + twenty, iterations=1, **PAPERS_STEPS)
