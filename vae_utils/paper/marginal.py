"""log p(x) beyond importance sampling: by quadrature, by the paper's Appendix D, and with the best Gaussian q.

If the code has three dimensions or fewer, quadrature reaches any accuracy that one asks for. So the others are compared
with it. Everything is in nats per image.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from vae_utils.data import require_images
from vae_utils.paper.hmc import hmc_sample
from vae_utils.paper.importance import importance_log_weights, log_joint
from vae_utils.runtime import fixed_seed
from vae_utils.support.arguments import refusal, require_whole

MOST_DIMENSIONS = 3
POINTS = {1: 1000, 2: 100, 3: 32}  # latent dimensions: cells of the first grid along each axis
DEEPEST = 6  # halvings of the first grid's cells, at most
SHARED_PAIRS = 8_000_000  # numbers in memory at a time: 32 MB
PAIRS = 2_500  # codes decoded at a time: 8 MB of pixels


@dataclass(frozen=True)
class Quadrature:
    """log p(x) of each image by quadrature over z.

    Attributes:
        per_image: nats, shape [N].
        disagreement: between the largest and the smallest of the estimates that the 2^J coarser grids within
            the last one give, each of twice its spacing: nats, shape [N].
        halvings: of the first grid's cells, for each image, shape [N].
        protocol: how it was measured.
    """

    per_image: Tensor
    disagreement: Tensor
    halvings: Tensor
    protocol: str


@torch.no_grad()
def quadrature_log_likelihood(vae, images, points=None, extent=5.0, tolerance=0.3, seed=0):
    """log p(x) = log of the integral of p(z) p(x|z) over z, on cells that get smaller where the posterior is.

    A first grid of `points` cells along each axis of [-extent, extent] is decoded once for all images; each
    cell counts as its volume times the density at its centre. A trained posterior is often narrower than such
    a cell. So for each image the cells that may hold mass are halved along every axis, and again, until the
    grid is fine enough for it. That shows in the grid itself: every second of its points along each axis is a
    grid of twice the spacing, there are 2^J of those, and they all have to agree within `tolerance`. Their
    average, which is the result, is far better than any of them: with a Gaussian posterior of width s, a grid
    of spacing h errs by the share 2 exp(-2 (pi s / h)^2), so that 0.2 at 2h means 0.0002 at h.

    Args:
        vae: a model of at most three latent dimensions, on the CPU. No encoder is needed.
        images: grey images in [0, 1], shape [N, 1, H, W]; turned into outcomes of p(x|z) by one fixed draw,
            the one of `importance.log_likelihood` with the same seed.
        points: cells of the first grid along each axis, an even number; by default from `POINTS`.
        extent: where the grid ends, in standard deviations of the prior.
        tolerance: nats.
        seed: of the draw of pixels.

    Returns:
        Quadrature.

    Raises:
        ValueError: if the model has more than three latent dimensions, `points` is not an even number above 0,
            or `images` are not grey images in [0, 1].
    """
    require_images(images, vae.image_shape)
    if vae.latent_size > MOST_DIMENSIONS:
        expected = f"to be {MOST_DIMENSIONS} or less, because no grid is fine enough for more"
        raise ValueError(refusal("latent_size", expected, vae.latent_size, "use importance.log_likelihood"))
    points = POINTS[vae.latent_size] if points is None else points
    if points < 2 or points % 2:
        raise ValueError(refusal("points", "to be an even number of 2 or more", points))
    x = vae.observe(images, torch.Generator().manual_seed(seed))
    size, side = vae.latent_size, 2 * extent / points
    # Pairs of neighbours along each axis, in the order of `_halves`: the first grid is one that was halved too.
    parents = (torch.arange(points // 2) + 0.5) * (2 * side) - extent
    grid = _halve(torch.cartesian_prod(*[parents] * size).reshape(-1, size), side)  # [K, J]
    parts = [_refine(vae, batch, grid, side, tolerance) for batch in x.split(max(1, SHARED_PAIRS // len(grid)))]
    protocol = (
        f"{len(x):,} images, {vae.likelihood.protocol}, quadrature over z from {points}^{size} cells on [-{extent:g}, "
        f"{extent:g}], halved until coarser grids agree within {tolerance:g} nats"
    )
    return Quadrature(*(torch.cat(part) for part in zip(*parts, strict=True)), protocol)


def _halve(centres, side):
    """Centres [P, J] of cells to those of the 2^J cells of this `side` within each: [P * 2^J, J], in its order."""
    corners = torch.cartesian_prod(*[torch.tensor([-side / 2, side / 2])] * centres.shape[-1])
    return (centres[:, None] + corners.reshape(-1, centres.shape[-1])).reshape(-1, centres.shape[-1])


def _refine(vae, x, grid, side, tolerance):
    """(log p(x), disagreement, halvings) of each image of `x`, beginning with cells of this `side`."""
    num_images, size = len(x), vae.latent_size
    num_corners = 2**size
    density = torch.cat([vae.likelihood.pairwise_log_prob(vae.decoder(part), x) for part in grid.split(PAIRS)])
    density += vae.prior.log_prob(grid)[:, None]  # log p(x, z): [K, B]
    coarser = density.unflatten(0, (-1, num_corners)).logsumexp(0)  # [2^J, B]
    total = coarser.logsumexp(0)
    estimate = total + size * math.log(side)
    disagreement = coarser.amax(0) - coarser.amin(0)
    halvings = torch.zeros(num_images, dtype=torch.long)
    sharing = (2 * total - (2 * density).logsumexp(0)).exp()
    worth = (density > density.amax(0) - _margin(sharing, size, tolerance)) & (disagreement >= tolerance)
    cell, image = worth.nonzero(as_tuple=True)
    settled = density.masked_fill_(worth, -math.inf).logsumexp(0) + size * math.log(side)
    z = grid[cell]  # [P, J]: one row a pair
    for _ in range(DEEPEST):
        if len(z) == 0:
            break
        side = side / 2
        active = torch.zeros(num_images, dtype=torch.bool).index_fill_(0, image, True)
        z, image = _halve(z, side), image.repeat_interleave(num_corners)
        pairs = zip(z.split(PAIRS), image.split(PAIRS), strict=True)
        density = torch.cat([log_joint(vae, x[owner], part) for part, owner in pairs])
        mass = density + size * math.log(side)
        corners = [slice(corner, None, num_corners) for corner in range(num_corners)]
        coarser = torch.stack([_log_sum(mass[corner], image[corner], num_images) for corner in corners])
        now = torch.logaddexp(settled, coarser.logsumexp(0))
        spread = torch.logaddexp(settled, coarser + size * math.log(2))
        disagreement = torch.where(active, spread.amax(0) - spread.amin(0), disagreement)
        estimate = torch.where(active, now, estimate)
        halvings += active
        best, total = _top(density, image, num_images), _log_sum(density, image, num_images)
        sharing = (2 * total - _log_sum(2 * density, image, num_images)).exp()
        floor = torch.where(disagreement >= tolerance, best - _margin(sharing, size, tolerance), math.inf)
        worth = density > floor[image]
        settled = torch.logaddexp(settled, _log_sum(mass[~worth], image[~worth], num_images))
        z, image = z[worth], image[worth]
    return estimate, disagreement, halvings


def _margin(sharing, size, tolerance):
    """How far below the best centre a cell may lie and still be halved, nats; the others count as they are.

    The best centre may itself miss a narrow mode: at a distance of d widths it lies d^2 / 2 nats below it. How
    narrow is told by the number of cells that share the mass, about (3.5 s / h)^J; where it is near one, the
    width could be as little as a tenth of the cell, and the margin is at its largest.
    """
    return 4.0 - math.log(tolerance) + (25.0 * sharing ** (-2 / size)).clamp(max=30.0)


def _top(log_terms, image, num_images):
    """The largest term of each image, -inf where it has none: [num_images]."""
    return torch.full((num_images,), -math.inf).scatter_reduce_(0, image, log_terms, "amax")


def _log_sum(log_terms, image, num_images):
    """log sum exp of the terms of each image, -inf where it has none: [num_images]."""
    shift = _top(log_terms, image, num_images).clamp(min=-1e30)
    sums = torch.zeros(num_images).index_add_(0, image, (log_terms - shift[image]).exp())
    return sums.log() + shift


# Appendix D


@torch.no_grad()
def posterior_sample_log_likelihood(vae, images, num_samples=50, num_leapfrog=4, burn_in=50, candidates=10_000, seed=0):
    """log p(x) by the estimator of the paper's Appendix D, from draws of the true posterior. No encoder is needed.

    1. Hamiltonian Monte Carlo draws z_1, ..., z_S from p(z|x).
    2. A density q(z) is fitted to the first half of them.
    3. The second half gives p(x) = [ mean_l q(z_l) / (p(z_l) p(x|z_l)) ]^-1.

    The mean in step 3 is unbiased for 1 / p(x) if the draws are right and independent of q; so its logarithm
    errs upwards, the other way than importance sampling: log p(x) comes out too large on average (Jensen).
    Where a chain misses a part of the posterior, it errs the other way.

    Each chain starts at one of many draws of the prior, chosen in proportion to p(x|z). The density is a
    sum of Gaussians in the shape of the draws' covariance, its bandwidth chosen for each image by fitting to
    one half of the first half and scoring the other; the paper says only that a density is fitted; this
    choice is that of its authors' program.

    Args:
        vae: a model of few latent dimensions ("less than 5"), on the CPU.
        images: grey images in [0, 1], shape [N, 1, H, W]; binarised as in `quadrature_log_likelihood`.
        num_samples: S, at least 8; the paper has 50.
        num_leapfrog: leapfrog steps in a move; the paper has 4.
        burn_in: moves to throw away first, in which the step size is tuned to 90% acceptance.
        candidates: draws of the prior that a start is chosen from; with 1, a chain starts at a draw of the prior.
        seed: of the draws of pixels and of z.

    Returns:
        Nats per image, shape [N].

    Raises:
        ValueError: if `num_samples` < 8, or `images` are not grey images in [0, 1].
    """
    require_images(images, vae.image_shape)
    require_whole("num_samples", num_samples, least=8, remedy="they are cut in halves, and one of these again")
    x = vae.observe(images, torch.Generator().manual_seed(seed))
    parts = []
    with fixed_seed(seed):
        for batch in x.split(1000):
            z = posterior_samples(vae, batch, num_samples, num_leapfrog, burn_in, candidates)
            parts.append(reciprocal_log_likelihood(vae, batch, z))
    return torch.cat(parts)


@torch.no_grad()
def posterior_samples(vae, x, num_samples, num_leapfrog=4, burn_in=50, candidates=10_000):
    """Draws of p(z|x) by Hamiltonian Monte Carlo, one chain an image: shape [S, B, J].

    Args:
        vae: as `posterior_sample_log_likelihood`.
        x: outcomes of p(x|z), shape [B, 1, H, W].
        num_samples, num_leapfrog, burn_in, candidates: as `posterior_sample_log_likelihood`.
    """
    start = vae.prior.sample((len(x),)) if candidates == 1 else likely_draws(vae, x, candidates)
    return hmc_sample(partial(log_joint, vae, x), start, num_samples, burn_in, num_leapfrog)[0]


@torch.no_grad()
def likely_draws(vae, x, candidates=10_000):
    """One of `candidates` draws of the prior for each of the outcomes x [B, ...], by its likelihood p(x|z): [B, J]."""
    drawn = vae.prior.sample((candidates,))
    scores = torch.cat([vae.likelihood.pairwise_log_prob(vae.decoder(part), x) for part in drawn.split(PAIRS)])
    return drawn[torch.multinomial(scores.softmax(0).T, 1).squeeze(1)]


@torch.no_grad()
def reciprocal_log_likelihood(vae, x, z):
    """Steps 2 and 3 of Appendix D, from any draws of the posterior.

    Args:
        vae, x: as `posterior_samples`.
        z: draws of p(z|x), shape [S, B, J].

    Returns:
        Nats per image, shape [B].
    """
    fitted, held_out = z[: len(z) // 2], z[len(z) // 2 :]
    joint = torch.stack([log_joint(vae, x, draw) for draw in held_out])
    log_ratios = kernel_log_density(fitted, held_out) - joint  # [S/2, B]
    return math.log(len(held_out)) - log_ratios.logsumexp(0)


def kernel_log_density(fitted, z):
    """log of a Gaussian kernel density for each image, its bandwidth chosen by validation on a split.

    Args:
        fitted: draws to fit to, shape [S, B, J].
        z: where to evaluate, shape [T, B, J].

    Returns:
        Nats, shape [T, B].
    """
    num_draws, _, size = fitted.shape
    scott = num_draws ** (-1 / (size + 4))
    factors = [scott * math.exp(step / 2) for step in range(-5, 5)]
    fit, validate = fitted[::2], fitted[1::2]
    scores = torch.stack([_kernels(fit, validate, torch.tensor(factor)).sum(0) for factor in factors])  # [F, B]
    return _kernels(fitted, z, torch.tensor(factors)[scores.argmax(0)])


def _kernels(centres, z, factor):
    """log (1/S) sum_s N(z; centre_s, factor^2 C), C the covariance of the centres: [T, B]."""
    num, _, size = centres.shape
    deviations = (centres - centres.mean(0)).transpose(0, 1)  # [B, S, J]
    covariance = deviations.mT @ deviations / (num - 1)
    # A floor in the draws' own units. A chain that has not moved has no covariance, and gets the prior's.
    spread = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    floor = torch.where(spread > 1e-12, 1e-4 * spread + 1e-8, 1.0)
    root = torch.linalg.cholesky(covariance + floor[:, None, None] * torch.eye(size))
    whitened = partial(torch.linalg.solve_triangular, root, upper=False)
    scaled, places = whitened(centres.permute(1, 2, 0)).mT, whitened(z.permute(1, 2, 0)).mT  # [B, S, J], [B, T, J]
    factor = factor.expand(len(root))
    distances = torch.cdist(places, scaled).square() / (2 * factor[:, None, None] ** 2)  # [B, T, S]
    log_volume = root.diagonal(dim1=-2, dim2=-1).log().sum(-1) + size * factor.log()
    constant = log_volume + size / 2 * math.log(2 * math.pi) + math.log(num)
    return ((-distances).logsumexp(-1) - constant[:, None]).T


# Gaps


def best_gaussian_posterior(vae, x, num_steps=500, learning_rate=0.05, num_samples=16, seed=0):
    """The diagonal Gaussian q(z) of the highest ELBO for each image by itself, found by gradient ascent.

    It splits what a bound loses (Cremer et al. 2018): log p(x) minus the ELBO of the best q is the
    *approximation gap*, what no diagonal Gaussian can have; the rest, up to the ELBO of q(z|x), is the
    *amortisation gap*, the cost of one encoder for all images.

    The ascent begins at q(z|x), and once more with its mean at a likely draw of the prior: where the encoder is far
    off, an ascent from its q may end on a wrong hill. Of the two ends the one of the higher ELBO counts for each image.

    Args:
        vae: the model; its weights stay as they are.
        x: outcomes of p(x|z), shape [B, 1, H, W].
        num_steps: of Adam, whose step goes down to 0 in a straight line.
        learning_rate: of Adam, for the means (in units of the first q's widths) and the log-widths.
        num_samples: draws of z for each image and step.
        seed: of the draws.

    Returns:
        Distribution over codes: batch shape [B], event shape [J], detached.
    """
    with fixed_seed(seed):
        q = vae.encode(x).base_dist
        starts = q, Normal(likely_draws(vae, x), q.scale)
        ends = [_ascend(vae, x, start, num_steps, learning_rate, num_samples) for start in starts]
        with torch.no_grad():
            bounds = [importance_log_weights(vae, x, 10 * num_samples, end).mean(0) for end in ends]
    best = torch.stack(bounds).argmax(0), torch.arange(len(x), device=x.device)  # which end, of each image
    loc, scale = (torch.stack([getattr(end.base_dist, name) for end in ends])[best] for name in ("loc", "scale"))
    return Independent(Normal(loc, scale), 1)


def _ascend(vae, x, start, num_steps, learning_rate, num_samples):
    """The Gaussian that gradient ascent on each image's ELBO reaches from `start`, Normal of batch shape [B, J]."""
    loc, scale = start.loc.detach(), start.scale.detach()
    shift, log_factor = (torch.zeros_like(loc).requires_grad_() for _ in range(2))

    def posterior():
        return Independent(Normal(loc + scale * shift, scale * log_factor.exp()), 1)

    optimiser = torch.optim.Adam([shift, log_factor], lr=learning_rate)
    for step in range(num_steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        loss = -importance_log_weights(vae, x, num_samples, posterior()).mean(0).sum()
        shift.grad, log_factor.grad = torch.autograd.grad(loss, [shift, log_factor])
        optimiser.step()
    with torch.no_grad():
        return posterior()


@dataclass(frozen=True)
class Gaps:
    """What the bound of each image loses, and why: shape [N], nats.

    Attributes:
        elbo: with q(z|x) of the encoder.
        best_elbo: with the best diagonal Gaussian.
        log_likelihood: log p(x), by quadrature.
    """

    elbo: Tensor
    best_elbo: Tensor
    log_likelihood: Tensor

    @property
    def approximation(self):
        """log p(x) minus the best Gaussian's ELBO."""
        return self.log_likelihood - self.best_elbo

    @property
    def amortisation(self):
        """The best Gaussian's ELBO minus the encoder's."""
        return self.best_elbo - self.elbo


def gaps(vae, images, num_samples=500, seed=0, **kwargs):
    """Approximation and amortisation gap of a model of at most three latent dimensions.

    Args:
        vae, images, seed: as `quadrature_log_likelihood`.
        num_samples: draws of z for each image at which the two ELBOs are measured, fresh ones.
        kwargs: of `best_gaussian_posterior`.

    Returns:
        Gaps.
    """
    exact = quadrature_log_likelihood(vae, images, seed=seed).per_image
    x = vae.observe(images, torch.Generator().manual_seed(seed))
    best = best_gaussian_posterior(vae, x, seed=seed, **kwargs)
    chunks = [min(20, num_samples - done) for done in range(0, num_samples, 20)]
    with torch.no_grad(), fixed_seed(seed + 1):
        elbo, best_elbo = (
            sum(importance_log_weights(vae, x, size, q).sum(0) for size in chunks) / num_samples
            for q in (vae.encode(x), best)
        )
    return Gaps(elbo, best_elbo, exact)
