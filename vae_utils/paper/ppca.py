"""Gaussian models of images whose evidence has a closed form: what a VAE with a Gaussian decoder has to beat.

Each is a `torch.distributions` object over whole images, so that `model.log_prob(images)` is its exact log p(x).
"""

import math

import torch
from torch.distributions import Independent, LowRankMultivariateNormal, Normal, TransformedDistribution
from torch.distributions.transforms import ReshapeTransform

from vae_utils.support.arguments import refusal, require_whole


def pixel_gaussians(images):
    """The most likely model without a code: one Gaussian for each pixel, independent of all others.

    Args:
        images: shape [N, 1, H, W], N at least 2.

    Returns:
        Distribution over images, float64: event shape [1, H, W].

    Raises:
        ValueError: if there are fewer than two images, or a pixel is the same in all of them, so that its density
            has no upper bound.
    """
    _require_several(images, 2)
    images = images.double()
    scale = images.std(0, correction=0)
    if not (scale > 0).all():
        given = f"{int((scale == 0).sum())} that are the same in all of them, whose density has no upper bound"
        raise ValueError(refusal("pixels", "to differ between images", given, "leave them out"))
    return Independent(Normal(images.mean(0), scale), images.ndim - 1)


def ppca(images, latent_size):
    """Probabilistic PCA, the most likely linear VAE: x = W z + mean + noise (Tipping & Bishop 1999).

    p(z) = N(0, I), p(x|z) = N(W z + mean, s^2 I), hence p(x) = N(mean, W W^T + s^2 I), whose greatest evidence
    lies where column i of W points along the i-th principal direction, with squared length lambda_i - s^2, and
    s^2 is the mean of the other eigenvalues. Its mean log p(x) over `images` is
    -(D log 2 pi + sum_{i <= J} log lambda_i + (D - J) log s^2 + D) / 2, and lesson 01 derives it.

    Args:
        images: shape [N, 1, H, W]; D = H W.
        latent_size: J, from 1 to the number of principal directions that the images have, minus one.

    Returns:
        Distribution over images, float64: event shape [1, H, W].

    Raises:
        ValueError: if `latent_size` is out of this range, or nothing is left over for the noise.
    """
    _require_several(images, 3)
    shape, x = images.shape[1:], images.double().flatten(1)
    most = min(len(x) - 1, x.shape[1]) - 1
    remedy = f"{len(x)} images of {x.shape[1]} pixels have no more directions"
    require_whole("latent_size", latent_size, 1, most, remedy)
    mean = x.mean(0)
    eigenvalues, directions = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    eigenvalues, directions = eigenvalues.flip(0).clamp(min=0), directions.flip(1)  # largest first
    kept, noise = eigenvalues[:latent_size], eigenvalues[latent_size:].mean()
    if not noise > 1e-12 * kept[0]:
        expected = f"to differ in more than {latent_size} directions"
        given = "nothing that is left over for the noise, and a density without an upper bound"
        raise ValueError(refusal("images", expected, given, "choose a smaller latent size"))
    factor = directions[:, :latent_size] * (kept - noise).sqrt()  # W: [D, J]
    flat = LowRankMultivariateNormal(mean, factor, noise.expand_as(mean))
    return TransformedDistribution(flat, ReshapeTransform(mean.shape, shape))


def _require_several(images, least):
    if images.ndim != 4 or len(images) < least or math.prod(images.shape[1:]) == 0:
        raise ValueError(refusal("images", f"to have shape [N, 1, H, W], N of {least} or more", list(images.shape)))
