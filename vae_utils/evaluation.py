"""What a model is worth: bounds, log-likelihood, the use it makes of its code, and how well q(z) fills p(z).

Every number is in nats per image, summed over pixels and latent dimensions; every result names its protocol.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal

from vae_utils.data import require_images
from vae_utils.models import VAE
from vae_utils.objectives import Terms, elbo
from vae_utils.runtime import fixed_seed, on_device
from vae_utils.support.arguments import refusal, require_whole
from vae_utils.support.kinds import checked


@dataclass(frozen=True)
class Estimate:
    """A mean over images, and its standard error, which comes from the spread of the images."""

    mean: float
    standard_error: float

    @classmethod
    @checked
    def of(cls, per_image: Tensor) -> "Estimate":
        """From one number for each image, shape [N]."""
        error = per_image.std().item() / math.sqrt(len(per_image)) if len(per_image) > 1 else math.nan
        return cls(per_image.mean().item(), error)

    def __str__(self):
        return f"{self.mean:.2f} ± {self.standard_error:.2f}"


@dataclass(frozen=True)
class Evaluation:
    """ELBO, rate and distortion of each image: shape [N], nats. Prints as a sentence with its protocol."""

    elbo: Tensor
    rate: Tensor
    distortion: Tensor
    protocol: str

    def __str__(self):
        return (
            f"ELBO {Estimate.of(self.elbo)} nats per image = -(distortion {self.distortion.mean():.2f} + rate "
            f"{self.rate.mean():.2f})   [{self.protocol}]"
        )


@checked
@torch.no_grad()
def elbo_of_set(vae: VAE, images: Tensor, num_samples: int = 1, seed: int = 0, batch_size: int = 400) -> Terms:
    """The ELBO of each image of a set, under this project's one protocol of evaluation.

    Images are turned into outcomes of p(x|z) once, by a draw that depends on `seed` alone: every model
    with the same likelihood, whatever its device or batch, is measured on the same binary images. z is
    sampled, never set to q's mean.

    Args:
        vae: the model, on any device; a conditional one given the class of each image.
        images: in [0, 1], shape [N, *image_shape].
        num_samples: L, draws of z for each image.
        seed: of the draw of pixels and of z.
        batch_size: images at a time; it bounds the memory, and changes the draws of z but not of pixels.

    Returns:
        Terms: nats per image, each of shape [N], on the CPU.

    Raises:
        ValueError: if `images` are not images in [0, 1] of the model's shape, or `num_samples` < 1.
    """
    require_images(images, vae.image_shape)
    pixels = torch.Generator().manual_seed(seed)
    device = next(vae.parameters()).device
    with fixed_seed(seed):
        batches = images.split(batch_size)
        models = vae.split([len(batch) for batch in batches])
        outcomes = (vae.observe(batch.cpu(), pixels).to(device) for batch in batches)
        parts = [elbo(model, x, num_samples=num_samples) for model, x in zip(models, outcomes, strict=True)]
    return Terms(*(torch.cat(term).cpu() for term in zip(*parts, strict=True)))


@checked
def evaluate(
    vae: VAE, images: Tensor, num_samples: int = 1, seed: int = 0, device: str | torch.device | None = None
) -> Evaluation:
    """The ELBO of a set of images and its two parts, under the protocol of `elbo_of_set`.

    Args:
        vae: the model; a conditional one given the class of each image, `vae.given(labels)`.
        images: in [0, 1], shape [N, *image_shape].
        num_samples: draws of z for each image; more make the estimate less noisy, not larger.
        seed: of the draw of pixels and of z.
        device: where to compute; `runtime.best_device()` if None.

    Returns:
        Evaluation.

    Raises:
        ValueError: if `images` are not images in [0, 1] of the model's shape.
    """
    with on_device(vae, device), torch.no_grad():
        terms = elbo_of_set(vae, images, num_samples, seed)
        first, _ = vae.split([1, len(images) - 1])
        drawn = first.decode(vae.prior.mean[None]).mean.mean().item()
    if abs(images.mean().item() - drawn) > 0.5:
        warnings.warn(
            f"the images have a mean brightness of {images.mean():.2f}, the model's own of {drawn:.2f}; if they show "
            "ink on white paper, pass 1 - images",
            stacklevel=3,
        )
    draws = f"{num_samples} draw{'s' * (num_samples > 1)} of z"
    protocol = f"{len(images):,} images, {vae.likelihood.protocol}, {draws}"
    return Evaluation(terms.elbo, terms.rate, terms.distortion, protocol)


# What the code is used for


@checked
@torch.no_grad()
def posterior_parameters(vae: VAE, images: Tensor, batch_size: int = 400) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of q(z|x): two tensors [N, J].

    Images enter by one fixed draw of their pixels.

    Args:
        vae: the model, on the device of `images`; a conditional one given the class of each image.
        images: in [0, 1], shape [N, *image_shape].
        batch_size: images at a time; it bounds the memory and changes nothing else.

    Raises:
        ValueError: if `images` are not images in [0, 1] of the model's shape.
    """
    require_images(images, vae.image_shape)
    pixels = torch.Generator(images.device).manual_seed(0)
    parts = images.split(batch_size)
    mean, scale = (vae.prior.mean.new_empty(len(images), vae.latent_size) for _ in range(2))
    # Written in place, because small tensors between large ones that are freed would spread over the memory.
    models = vae.split([len(part) for part in parts])
    for model, x, to_mean, to_scale in zip(models, parts, mean.split(batch_size), scale.split(batch_size), strict=True):
        q = model.encode(model.observe(x, pixels)).base_dist
        to_mean.copy_(q.loc)
        to_scale.copy_(q.scale)
    return mean, scale


@checked
def kl_per_dimension(vae: VAE, images: Tensor) -> Tensor:
    """KL(q(z_j|x) || p(z_j)) for each latent dimension, averaged over images: shape [J], nats.

    Their sum is the rate.
    """
    mean, scale = posterior_parameters(vae, images)
    return (0.5 * (mean**2 + scale**2 - 1) - scale.log()).mean(0)  # Appendix B


@checked
def active_units(vae: VAE, images: Tensor, threshold: float = 0.01) -> Tensor:
    """Which latent dimensions carry information: Cov_x(E_q[z_j]) > threshold: bool, [J].

    Burda et al. 2016, section 5, with their threshold.
    """
    mean, _ = posterior_parameters(vae, images)
    return mean.var(0) > threshold


@checked
@torch.no_grad()
def aggregate_log_density(mean: Tensor, scale: Tensor, z: Tensor) -> Tensor:
    """log q(z) = log (1/N) sum_n N(z; mean_n, scale_n^2): the codes of a whole data set as one density.

    Args:
        mean, scale: of q(z|x_n), shape [N, J] (`posterior_parameters`).
        z: codes, shape [M, J].

    Returns:
        Nats, shape [M].
    """
    q = torch.distributions.Independent(torch.distributions.Normal(mean, scale), 1)  # batch shape [N]
    chunk = max(1, 2_000_000 // mean.numel())  # at most 8 MB a temporary
    log_sums = [q.log_prob(part[:, None]).logsumexp(1) for part in z.split(chunk)]
    return torch.cat(log_sums) - math.log(len(mean))


@checked
def aggregate_kl(vae: VAE, images: Tensor, num_samples: int = 2000, seed: int = 0) -> Estimate:
    """KL(q(z) || p(z)), q(z) the aggregate of q(z|x) over `images`: an Estimate over draws of z ~ q(z), nats.

    It is the rate minus the information I_q(x; z) that codes carry about their images, at most log N (Hoffman
    & Johnson 2016): the part of the rate that a better prior would save.

    Args:
        vae, images: as `posterior_parameters`.
        num_samples: draws of z.
        seed: of the draws of z.
    """
    mean, scale = posterior_parameters(vae, images)
    with fixed_seed(seed):
        chosen = torch.randint(len(mean), (num_samples,))
        z = mean[chosen] + scale[chosen] * torch.randn_like(mean[chosen])
    return Estimate.of(aggregate_log_density(mean, scale, z) - vae.prior.log_prob(z))


@checked
def hole_mass(vae: VAE, images: Tensor, ratio: float = 0.1, num_samples: int = 2000, seed: int = 0) -> Estimate:
    """Share of the prior's mass where q(z) < ratio * p(z): places for which there is hardly any image.

    Args:
        vae, images: as `posterior_parameters`; q(z) is the aggregate of q(z|x) over `images`.
        ratio: how far below p(z) the density q(z) has to lie.
        num_samples: draws of z.
        seed: of the draws of z.

    Returns:
        Estimate over draws of z ~ p(z), between 0 and 1.
    """
    mean, scale = posterior_parameters(vae, images)
    with fixed_seed(seed):
        z = vae.prior.sample((num_samples,))
    holes = aggregate_log_density(mean, scale, z) - vae.prior.log_prob(z) < math.log(ratio)
    return Estimate.of(holes.float())


# What it imagines


@checked
def prior_grid(n: int) -> Tensor:
    """Codes at equal steps of prior probability (the grid of the paper's Figure 4).

    A linear grid on the unit square goes through the inverse Gaussian CDF. Its quantiles are (i + 1/2) / n,
    so that none lies at infinity.

    Args:
        n: codes along each axis.

    Returns:
        Tensor [n, n, 2], laid out as seen: rows from top to bottom have z2 from high to low, columns z1 from
        low to high.

    Raises:
        ValueError: if n < 1.
    """
    require_whole("n", n)
    z = Normal(0.0, 1.0).icdf((torch.arange(n) + 0.5) / n)
    z2, z1 = torch.meshgrid(z.flip(0), z, indexing="ij")
    return torch.stack([z1, z2], dim=-1)


@checked
@torch.no_grad()
def manifold(vae: VAE, n: int = 20) -> Tensor:
    """Means of p(x|z) on `prior_grid(n)`: Figure 4 of the paper.

    Args:
        vae: a model of two latent dimensions.
        n: images along each axis.

    Returns:
        Tensor [n, n, *image_shape] on the CPU.

    Raises:
        ValueError: if the model has another number of latent dimensions, or n < 1.
    """
    if vae.latent_size != 2:
        raise ValueError(refusal("latent_size", "to be 2, so that a plane can show the codes", vae.latent_size))
    return vae.decode(prior_grid(n).to(vae.prior.mean)).mean.cpu()
