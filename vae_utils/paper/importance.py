"""Importance weighting (Burda et al. 2016): log p(x) from many draws of q(z|x), as a measure and as an objective."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from vae_utils.data import require_images
from vae_utils.evaluation import Estimate
from vae_utils.models import VAE
from vae_utils.objectives import Terms
from vae_utils.runtime import fixed_seed, on_device
from vae_utils.support.arguments import require_whole
from vae_utils.support.kinds import checked


def log_joint(vae, x, z):
    """log p(x, z) = log p(x|z) + log p(z).

    Args:
        vae, x: as `elbo`.
        z: codes, shape [..., B, J].

    Returns:
        Nats, shape [..., B].
    """
    return vae.decode(z).log_prob(x) + vae.prior.log_prob(z)


def importance_log_weights(vae, x, num_samples, q=None):
    """log p(x, z_k) - log q(z_k), z_k ~ q: each an unbiased estimate of the ELBO of q (Eq. 6).

    Args:
        vae, x: as `elbo`.
        num_samples: K, at least 1.
        q: distribution over codes, batch shape [B]; q(z|x) of the encoder if None.

    Returns:
        Nats, shape [K, B].

    Raises:
        ValueError: as `elbo`.
    """
    require_whole("num_samples", num_samples)
    q = vae.encode(x) if q is None else q
    z = q.rsample((num_samples,))  # [K, B, J]
    return log_joint(vae, x, z) - q.log_prob(z)


def importance_weighted(vae, x, num_samples):
    """The importance-weighted bound as an objective for training, with the ELBO's two terms beside it.

    log (1/K) sum_k p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)          (Burda et al. 2016, Eq. 8)

    Args:
        vae, x: as `elbo`.
        num_samples: K, at least 1; K = 1 has the ELBO's expectation.

    Returns:
        Terms: `objective` is the bound, an underestimate of log p(x) in expectation for every K, tighter as K
            grows; `rate` is exact and `elbo` the mean over the K draws.

    Raises:
        ValueError: as `elbo`.
    """
    require_whole("num_samples", num_samples)
    q = vae.encode(x)
    log_weights = importance_log_weights(vae, x, num_samples, q)
    rate = kl_divergence(q, vae.prior)
    bound = log_weights.logsumexp(0) - math.log(num_samples)
    return Terms(bound, rate, -log_weights.mean(0) - rate)


@dataclass(frozen=True)
class LogLikelihood:
    """The importance-weighted estimate of log p(x) of each image, and its effective sample size.

    Attributes:
        per_image: nats, shape [N].
        effective_samples: from 1 to the number of samples, shape [N].
        protocol: how it was measured.
    """

    per_image: Tensor
    effective_samples: Tensor
    protocol: str

    def __str__(self):
        return f"log p(x) at least {Estimate.of(self.per_image)} nats per image   [{self.protocol}]"


@checked
@torch.no_grad()
def log_likelihood(
    vae: VAE,
    images: Tensor,
    num_samples: int = 5000,
    every: int = 1,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: Callable | None = None,
) -> LogLikelihood:
    """log p(x) by importance sampling with q(z|x): in expectation a lower bound, rising with `num_samples`.

    Pixels are the same draw as in `evaluate` with the same seed, so the two may be compared image by image.

    Args:
        vae, images, seed, device: as `evaluate`.
        num_samples: K; the literature's tables have 5,000.
        every: score the images 0, `every`, 2 * `every`, ... only: on the same draw of pixels as in the whole
            set, so that models that were given different shares of it can still be paired.
        progress: wraps the list of batches, e.g. `tqdm.tqdm`, or None.

    Returns:
        LogLikelihood. `effective_samples` is (sum w)^2 / sum w^2, from 1 (one draw has all the weight) to K.

    Raises:
        ValueError: if `images` are not images in [0, 1] of the model's shape, or `num_samples` or `every` < 1.
    """
    require_images(images, vae.image_shape)
    require_whole("every", every)
    x = vae.observe(images.cpu(), torch.Generator().manual_seed(seed))[::every]
    batches = x.split(16)
    models = vae.split([len(batch) for batch in batches])
    chunks = [min(64, num_samples - done) for done in range(0, num_samples, 64)] or [num_samples]
    estimates, effective = [], []
    with on_device(vae, device) as device, fixed_seed(seed):
        for model, batch in zip(models, batches if progress is None else progress(batches), strict=True):
            batch = batch.to(device)
            log_weights = torch.cat([importance_log_weights(model, batch, size) for size in chunks])  # [K, B]
            total = log_weights.logsumexp(0)
            estimates.append((total - math.log(num_samples)).cpu())
            effective.append((2 * total - (2 * log_weights).logsumexp(0)).exp().cpu())
    share = f" (1 in {every} of {len(images):,})" if every > 1 else ""
    protocol = f"{len(x):,} images{share}, {vae.likelihood.protocol}, {num_samples:,} importance samples"
    return LogLikelihood(torch.cat(estimates), torch.cat(effective), protocol)
