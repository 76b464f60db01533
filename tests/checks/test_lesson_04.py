"""The checks of lesson 04: each mistake that people make is named, nothing that is right is refused."""

import math
from functools import partial

import numpy as np
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from vae_utils import checks
from vae_utils.evaluation import aggregate_log_density

from listed_mistakes import check_tests

# --- log q(z)


def terms(mean, scale, z):
    """log q(z_m|x_n): [M, N]."""
    return Normal(mean, scale).log_prob(z[:, None]).sum(2)


def averaged(log_p):
    return torch.logsumexp(log_p, 1) - math.log(log_p.shape[1])


WRONG_DENSITIES = {
    "mean of the logarithms": lambda m, s, z: terms(m, s, z).mean(1),
    "log N is missing": lambda m, s, z: terms(m, s, z).logsumexp(1),
    "divide by M": lambda m, s, z: terms(m, s, z).logsumexp(1) - math.log(len(z)),
    "dimension 0": lambda m, s, z: terms(m, s, z).logsumexp(0) - math.log(len(z)),
    "Only the nearest image": lambda m, s, z: terms(m, s, z).max(1).values - math.log(len(m)),
    "not in floating point": lambda m, s, z: torch.log(torch.exp(terms(m, s, z)).mean(1)),
    "density q(z); the task asks for its logarithm": lambda m, s, z: terms(m, s, z).exp().mean(1),
    "averaged over the latents": lambda m, s, z: averaged(Normal(m, s).log_prob(z[:, None]).mean(2)),
    "The square root of": lambda m, s, z: averaged(terms(m, s**0.5, z)),
    "scale² is used": lambda m, s, z: averaged(terms(m, s * s, z)),
    "exp(scale) is used": lambda m, s, z: averaged(terms(m, s.exp(), z)),
    "exp(½ scale)": lambda m, s, z: averaged(terms(m, (s / 2).exp(), z)),
    "2π is missing": lambda m, s, z: averaged((-(((z[:, None] - m) / s) ** 2) / 2 - s.log()).sum(2)),
    "one image only": lambda m, s, z: Normal(m, s).log_prob(z).sum(1),
    "Each latent is averaged": lambda m, s, z: averaged(Normal(m, s).log_prob(z[:, None])).sum(1),
    "mean of all means": lambda m, s, z: Normal(m.mean(0), s.mean(0)).log_prob(z).sum(1),
    "the mixture's mean and variance": lambda m, s, z: (
        Normal(m.mean(0), (s**2 + m**2).mean(0).sub(m.mean(0) ** 2).sqrt()).log_prob(z).sum(1)
    ),
    "Two things at once … mean of the logarithms … scale² is used": lambda m, s, z: terms(m, s**2, z).mean(1),
}


def mixture(mean, scale, z):
    components = Independent(Normal(mean, scale), 1)
    return MixtureSameFamily(Categorical(logits=torch.zeros_like(mean[:, 0])), components).log_prob(z)


def place_by_place(mean, scale, z):
    q = MultivariateNormal(mean, torch.diag_embed(scale**2))
    return torch.stack([q.log_prob(place).logsumexp(0) - math.log(len(mean)) for place in z])


def by_numpy(mean, scale, z):
    log_p = terms(mean.double(), scale.double(), z.double()).numpy()
    largest = log_p.max(1, keepdims=True)
    return torch.from_numpy(largest[:, 0] + np.log(np.exp(log_p - largest).mean(1)))


RIGHT_DENSITIES = [
    mixture,
    place_by_place,
    by_numpy,
    aggregate_log_density,
    lambda *a: averaged(terms(*a)),
    lambda m, s, z: averaged(terms(m.T.contiguous().T, s.T.contiguous().T, z.T.contiguous().T)),
    lambda m, s, z: averaged((-0.5 * ((z[:, None] - m) / s) ** 2 - s.log() - 0.9189385).sum(-1)),
]
UNLISTED_DENSITIES = [
    lambda m, s, z: terms(m, s, z).topk(min(len(m), 100), 1).values.logsumexp(1) - math.log(len(m)),
    lambda m, s, z: averaged(terms(m, s.mean(), z)),
    lambda m, s, z: terms(m, s, z).logsumexp(1) - math.log(m.shape[1]),
]
test_log_aggregate, test_mistakes_of_log_aggregate = check_tests(
    checks.log_aggregate, RIGHT_DENSITIES, WRONG_DENSITIES, UNLISTED_DENSITIES
)


# --- remembered codes


def sampler(rows=None, noise=torch.randn_like, spread=lambda codes: codes.std(0), strength=lambda width: width):
    """A sampler with its parts to be spoilt; it draws its noise first, other than the check's own."""

    def remembered(codes, width, count=1000):
        step = noise(torch.zeros(count, codes.shape[1], dtype=codes.dtype))
        chosen = codes[torch.randint(0, len(codes), (count,))] if rows is None else rows(codes, count)
        return chosen + strength(width) * spread(codes) * step

    return remembered


def small_sampler(rows):
    """A sampler that chooses no more rows than there are codes."""
    return lambda codes, width, count=1000: sampler(rows)(codes, width, min(count, len(codes)))


WRONG_SAMPLERS = {
    "All draws share one draw": sampler(noise=lambda shape: torch.randn(shape.shape[1])),
    "share one number of noise": sampler(noise=lambda shape: torch.randn(len(shape), 1)),
    "No noise is drawn": sampler(noise=torch.ones_like),
    "The last code is never chosen": sampler(rows=lambda codes, count: codes[torch.randint(len(codes) - 1, (count,))]),
    "The first code is never": sampler(rows=lambda codes, count: codes[torch.randint(1, len(codes), (count,))]),
    "as many draws as codes": lambda codes, width, count=1000: sampler()(codes, width, len(codes)),
    "The draws are the same at every call": lambda *a, **k: torch.manual_seed(0) and sampler()(*a, **k),
    "No noise arrives": sampler(noise=lambda shape: 0.0),
    "(rand), not Gaussian": sampler(noise=torch.rand_like),
    "same width in every latent": sampler(spread=lambda codes: 1.0),
    "One standard deviation is used": sampler(spread=lambda codes: codes.std()),
    "multiplied by the variance": sampler(spread=lambda codes: codes.var(0)),
    "The square root of `width`": sampler(strength=lambda width: width**0.5),
    "has no effect": sampler(strength=lambda width: 1.0),
    "These are the first codes": small_sampler(lambda codes, count: codes[:count]),
    "never chooses a code twice": small_sampler(lambda codes, count: codes[torch.randperm(len(codes))[:count]]),
    "one and the same code": sampler(rows=lambda codes, count: codes[torch.randint(len(codes), (1,))]),
    "Each latent is taken from another image": sampler(
        rows=lambda codes, count: torch.gather(codes, 0, torch.randint(len(codes), (count, codes.shape[1])))
    ),
    "start from the mean of all codes": sampler(rows=lambda codes, count: codes.mean(0)),
    "expected shape [4000, 3], got [1, 4000, 3]": lambda codes, width, count=1000: sampler()(codes, width, count)[None],
}


def by_normal(codes, width, count=1000):
    chosen = codes[torch.multinomial(torch.ones(len(codes)), count, replacement=True)]
    return torch.normal(chosen, (width * codes.std(0)).expand(count, -1))


def with_a_generator(codes, width, count=1000, *, generator):
    chosen = codes[torch.randint(len(codes), (count,), generator=generator)]
    return chosen + width * codes.std(0) * torch.randn(chosen.shape, generator=generator)


RIGHT_SAMPLERS = [
    sampler(),
    by_normal,
    # the tolerances leave room for chance: other draws of the same sampler pass as well
    *(partial(with_a_generator, generator=torch.Generator().manual_seed(seed)) for seed in range(4)),
    lambda codes, width, count=1000: sampler()(codes.double(), width, count),
    lambda codes, width, count=1000: sampler()(codes.T.contiguous().T, width, count).T.contiguous().T,
    sampler(spread=lambda codes: codes.std(0, unbiased=False)),
]
UNLISTED_SAMPLERS = [
    sampler(noise=lambda shape: torch.rand_like(shape) - 0.5),
    sampler(strength=lambda width: 1 + width),
    sampler(rows=lambda codes, count: codes[(torch.rand(count) ** 2 * len(codes)).long()]),  # not all alike
    sampler(rows=lambda codes, count: codes[torch.randint(10, (count,))]),
]
test_remembered, test_mistakes_of_remembered = check_tests(
    checks.remembered, RIGHT_SAMPLERS, WRONG_SAMPLERS, UNLISTED_SAMPLERS
)


# --- the cost of other axes


def whole_matrix(scale, rotation):
    """S of each image: [N, D, D]."""
    return rotation @ torch.diag_embed(scale**2) @ rotation.T


def cost(scale, precision, half=0.5, logs=2.0):
    return half * (precision.log() + logs * scale.log())


def precisions(scale, rotation):
    return (1 / scale**2) @ (rotation**2).T


WRONG_COSTS = {
    "The factor ½ is missing": lambda s, R: cost(s, precisions(s, R), half=1.0).sum(1),
    "The sign is turned": lambda s, R: -cost(s, precisions(s, R)).sum(1),
    "take 2 log σ": lambda s, R: cost(s, precisions(s, R), logs=1.0).sum(1),
    "of log σ², is missing": lambda s, R: 0.5 * precisions(s, R).log().sum(1),
    "The second sum has the wrong sign": lambda s, R: cost(s, precisions(s, R), logs=-2.0).sum(1),
    "1/σ is used as the precision": lambda s, R: cost(s, (1 / s) @ (R**2).T).sum(1),
    "diagonal of S itself": lambda s, R: cost(s, whole_matrix(s, R).diagonal(dim1=1, dim2=2)).sum(1),
    "squares of R's entries": lambda s, R: cost(s, s**-2 @ R.T).sum(1),
    "The cost is 0 for every rotation": lambda s, R: torch.zeros_like(s[:, 0]),
    "goes the other way": lambda s, R: cost(s, s**-2 @ R**2).sum(1),
    "averaged over the latents": lambda s, R: cost(s, precisions(s, R)).mean(1),
    "sum runs over the images": lambda s, R: cost(s, precisions(s, R)).sum(0),
    "average over images is taken inside": lambda s, R: cost(s, precisions(s, R)).sum(1).mean(),
    "Everything is summed": lambda s, R: cost(s, precisions(s, R)).sum(),
    "in the other direction": lambda s, R: -cost(s, 1 / whole_matrix(s, R).diagonal(dim1=1, dim2=2)).sum(1),
}


def by_torch_distributions(scale, rotation):
    scale, rotation = scale.double(), rotation.double()
    turned = MultivariateNormal(torch.zeros_like(scale), whole_matrix(scale, rotation))
    best = MultivariateNormal(turned.mean, torch.diag_embed(1 / precisions(scale, rotation)))
    return kl_divergence(best, turned)


def by_inverses(scale, rotation):
    precision = torch.linalg.inv(whole_matrix(scale.double(), rotation.double())).diagonal(dim1=1, dim2=2)
    return 0.5 * (precision.log().sum(1) + torch.logdet(whole_matrix(scale.double(), rotation.double())))


RIGHT_COSTS = [
    by_torch_distributions,
    by_inverses,
    lambda s, R: cost(s, precisions(s, R)).sum(1),
    lambda s, R: cost(s, precisions(s.T.contiguous().T, R)).sum(dim=-1),
    lambda s, R: torch.einsum("jk,nk->nj", R.square(), s.pow(-2)).log().sum(1) / 2 + s.log().sum(1),
]
UNLISTED_COSTS = [
    lambda s, R: 0.5 * (precisions(s, R).sum(1).log() + 2 * s.log().sum(1)),
    lambda s, R: 0.5 * (s**2 - 1 - 2 * s.log()).sum(1),  # the KL to the prior
]
test_cost_of_turning, test_mistakes_of_cost_of_turning = check_tests(
    checks.cost_of_turning, RIGHT_COSTS, WRONG_COSTS, UNLISTED_COSTS
)
