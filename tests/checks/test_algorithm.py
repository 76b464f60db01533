"""The check of Algorithm 1: each wrong line is named, whichever way a learner writes the rest."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vae_utils import checks

from listed_mistakes import check_tests


def networks(latent_size, hidden, activation=nn.Tanh, logits=nn.Identity, layers=1):
    more = [layer for _ in range(layers - 1) for layer in (nn.Linear(hidden, hidden), activation())]
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(784, hidden), activation(), *more, nn.Linear(hidden, 2 * latent_size)
    )
    last = nn.Linear(hidden, 784), logits(), nn.Unflatten(-1, (1, 28, 28))
    return encoder, nn.Sequential(nn.Linear(latent_size, hidden), activation(), *last)


def kl(mean, v):
    return 0.5 * (mean**2 + v.exp() - 1 - v).sum(-1)


def written(
    minibatch=lambda images: images[torch.randint(len(images), (100,))],
    std=lambda v: torch.exp(v / 2),
    noise=torch.randn_like,
    cut=lambda z: z,
    place=lambda mean: mean,
    halves=lambda both: both.chunk(2, -1),
    pixels=lambda t: t.sum((1, 2, 3)),
    rate=kl,
    loss=lambda fit, rate: (rate - fit).mean(),
    report=lambda bound: bound.mean().item(),
    optimiser=lambda weights: torch.optim.Adam(weights, lr=0.003),
    learning=lambda encoder, decoder: [*encoder.parameters(), *decoder.parameters()],
    zero="before",
    step=True,
    steps=lambda n: n,
    result=lambda encoder, decoder, bounds: (encoder, decoder, bounds),
    **shape,
):
    """Algorithm 1 line by line, each of which may be spoilt."""

    def my_vae(images, latent_size, hidden, num_steps):
        encoder, decoder = networks(latent_size, hidden, **shape)
        adam, bounds = optimiser(learning(encoder, decoder)), []
        for _ in range(steps(num_steps)):
            x = minibatch(images)
            mean, v = halves(encoder(x))
            logits = decoder(cut(place(mean) + std(v) * noise(mean)))
            fit = pixels(-F.binary_cross_entropy_with_logits(logits, x, reduction="none"))
            price = rate(mean, v)
            if zero == "before":
                adam.zero_grad()
            loss(fit, price).backward()
            if zero == "after":
                adam.zero_grad()
            if step:
                adam.step()
            bounds.append(report(fit - price))
        return result(encoder, decoder, bounds)

    return my_vae


def between(usual, other):
    """A line that is as usual in the first three steps and in the last of 200."""
    count = itertools.count()
    return lambda *given: (other if 3 <= next(count) % 200 < 199 else usual)(*given)


class Encoder(nn.Module):
    def __init__(self, latent_size, hidden):
        super().__init__()
        self.body, self.mean = nn.Linear(784, hidden), nn.Linear(hidden, latent_size)
        self.log_variance = nn.Linear(hidden, latent_size)

    def forward(self, x):
        h = torch.tanh(self.body(x.flatten(1)))
        return torch.cat([self.mean(h), self.log_variance(h)], 1)


def in_epochs(images, latent_size, hidden, steps):
    """Two heads, torch.distributions, epochs, and a loss that is summed."""
    encoder, decoder = Encoder(latent_size, hidden), networks(latent_size, hidden)[1]
    weights = nn.ModuleList([encoder, decoder]).parameters()
    adagrad, bounds = torch.optim.Adagrad(weights, lr=0.03), []
    while len(bounds) < steps:
        for x in images[torch.randperm(len(images))].split(100):
            mean, v = encoder(x).chunk(2, -1)
            q = torch.distributions.Normal(mean, v.exp().sqrt())
            fit = torch.distributions.Bernoulli(logits=decoder(q.rsample())).log_prob(x).sum()
            rate = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
            loss = rate - fit
            loss.backward()
            adagrad.step()
            adagrad.zero_grad()
            bounds.append(-loss / len(x))
    return encoder, decoder, torch.stack(bounds[:steps])


RIGHT = [
    written(),
    in_epochs,
    written(optimiser=lambda weights: torch.optim.SGD(weights, lr=0.01)),
    written(
        optimiser=lambda weights: torch.optim.Adam(weights, lr=0.01, maximize=True),
        loss=lambda fit, rate: (fit - rate).mean(),
    ),
]
ONE_NOISE = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
WRONG = {
    "mean over the pixels": written(pixels=lambda t: t.mean((1, 2, 3))),
    "mean over the latents": written(rate=lambda m, v: kl(m, v) / m.shape[1]),
    "factor ½ of the KL is missing, so": written(rate=lambda m, v: 2 * kl(m, v)),
    "The KL has the wrong sign": written(rate=lambda m, v: -kl(m, v)),
    "The KL is missing: this is the fit alone": written(rate=lambda m, v: 0 * kl(m, v)),
    "In the KL, σ stands where σ²": written(rate=lambda m, v: 0.5 * (m**2 + (v / 2).exp() - 1 - v).sum(-1)),
    "The sign of the whole is turned": written(report=lambda bound: -bound.mean().item()),
    "You report the sum over the minibatch": written(report=lambda bound: bound.sum().item()),
    "The bounds that you return … expected … got": written(report=lambda bound: bound.mean().item() + 3),
    "β = 784: is the fit averaged over the pixels": written(loss=lambda fit, rate: (rate - fit / 784).mean()),
    "β = 2: is the factor ½ of the KL missing?": written(loss=lambda fit, rate: (2 * rate - fit).mean()),
    "β = … is the KL missing from it?": written(loss=lambda fit, rate: -fit.mean()),
    "β = 100: is the KL summed": written(loss=lambda fit, rate: rate.sum() - fit.mean()),
    "β = 1 in the first step, and with 0.1 in step": written(
        loss=between(lambda fit, rate: (rate - fit).mean(), lambda fit, rate: (0.1 * rate - fit).mean())
    ),
    "The gradients of step … of 200 are not those of the bound": written(
        loss=between(lambda fit, rate: (rate - fit).mean(), lambda fit, rate: (rate + fit**2 / 100).mean())
    ),
    "For the minibatch of step … expected 100 images, got 90": written(
        minibatch=between(*(lambda images, n=n: images[torch.randint(len(images), (n,))] for n in (100, 90)))
    ),
    "β = 0.1: look at its weight": written(loss=lambda fit, rate: (0.1 * rate - fit).mean()),
    "The first step lowers the bound": written(loss=lambda fit, rate: (fit - rate).mean()),
    "No noise is drawn": written(noise=torch.zeros_like),
    "exp(log-variance) is used as σ in the draw": written(std=torch.exp),
    "The log-variance is used as σ in the draw": written(std=lambda v: v),
    "μ is detached, or missing": written(place=torch.Tensor.detach),
    "does not reach the means": written(place=torch.zeros_like),
    "The halves of the encoder's output are exchanged": written(halves=lambda both: both.chunk(2, -1)[::-1]),
    "are read in turn": written(halves=lambda both: (both[:, ::2], both[:, 1::2])),
    "log σ² has the wrong sign": written(rate=lambda m, v: 0.5 * (m**2 + v.exp() - 1 + v).sum(-1)),
    "Training diverges": written(optimiser=lambda weights: torch.optim.Adam(weights, lr=3.0)),
    "σ is detached, or missing": written(std=lambda v: torch.exp(v / 2).detach()),
    "does not reach the encoder": written(cut=torch.Tensor.detach),
    "or from the prior": written(cut=torch.randn_like),
    "The noise is uniform": written(noise=torch.rand_like),
    "got numbers with mean … standard deviation 2": written(noise=lambda m: 2 * torch.randn_like(m)),
    "the same images many times": written(minibatch=lambda images: images[:1].expand(100, -1, -1, -1)),
    "in the order of the images": written(
        minibatch=lambda images, count=iter(range(10**6)): images.split(100)[next(count) % 4]
    ),
    "in the first step, and with 1 in the last": written(loss=lambda fit, rate: (rate.clamp(min=2) - fit).mean()),
    "All images of a minibatch get the same noise": written(noise=lambda m: torch.randn(m.shape[1])),
    "All latents of an image get the same noise": written(noise=lambda m: torch.randn(len(m), 1)),
    "The noise is the same in every step": written(noise=lambda m: ONE_NOISE),
    "zero_grad() in each step, before backward()": written(zero="never"),
    "their gradients are gone … zero_grad() must not stand between": written(zero="after"),
    "weights of the encoder do not change": written(step=False),
    "weights of the decoder do not change": written(learning=lambda encoder, decoder: encoder.parameters()),
    "encoder's hidden layer is not tanh": written(activation=nn.ReLU),
    "is nothing between two linear layers": written(activation=nn.Identity),
    "not tanh, or something follows": written(activation=nn.Sigmoid),
    "expected 18,990 weights and biases, got": written(layers=2),
    "The decoder's last step is a sigmoid": written(logits=nn.Sigmoid),
    "take the same minibatch": written(minibatch=lambda images: images[100:200]),
    "Each step takes all": written(minibatch=lambda images: images),
    "expected 100 images, got 50": written(minibatch=lambda images: images[torch.randint(len(images), (50,))]),
    "expected 200 bounds, got 2": written(steps=lambda n: 2),
    "look at the step size": written(optimiser=lambda weights: torch.optim.Adam(weights, lr=1e-5)),
    "expected a network (nn.Module), got function": written(result=lambda e, d, bounds: (lambda x: e(x), d, bounds)),
    "is not called in the loop": written(result=lambda e, d, bounds: (networks(3, 24)[0], d, bounds)),
    "the encoder stops with a RuntimeError": written(result=lambda e, d, bounds: (d, e, bounds)),
    "expected encoder, decoder, bounds": written(result=lambda e, d, bounds: (e, d)),
}
test_algorithm, _ = check_tests(checks.algorithm_1, RIGHT, WRONG)
test_algorithm = pytest.mark.slow(test_algorithm)
