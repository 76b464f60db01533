"""What a model is worth: bounds, log-likelihood, the use it makes of its code, and how well q(z) fills p(z).

Every number is in nats per image, summed over pixels and latent dimensions; every result names its protocol.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_utils.data import require_images
from vae_utils.objectives import Terms, elbo, importance_log_weights
from vae_utils.runtime import fixed_seed, on_device


@dataclass(frozen=True)
class Estimate:
    """A mean over images with the standard error that the spread of the images leaves on it."""

    mean: float
    standard_error: float

    @classmethod
    def of(cls, per_image):
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
            f"ELBO {Estimate.of(self.elbo)} nats per image = -(distortion {self.distortion.mean():.2f} "
            f"+ rate {self.rate.mean():.2f})   [{self.protocol}]"
        )


@torch.no_grad()
def elbo_of_set(vae, images, num_samples=1, seed=0, batch_size=1000):
    """The ELBO of each image of a set, under this project's one protocol of evaluation.

    Grey images are turned into outcomes of p(x|z) once, by a draw that depends on `seed` alone: every model
    with the same likelihood, whatever its device or batch, is measured on the same binary images. z is
    sampled, never set to q's mean.

    Args:
        vae: the model, on any device.
        images: grey images in [0, 1], shape [N, 1, 28, 28].
        num_samples: L, draws of z for each image.
        seed: of the draw of pixels and of z.
        batch_size: images at a time: bounds the memory, changes the draws of z but not of pixels.

    Returns:
        Terms: nats per image, each of shape [N], on the CPU.

    Raises:
        ValueError: if `images` are not grey images in [0, 1], or `num_samples` < 1.
    """
    require_images(images, vae.image_shape)
    x = vae.observe(images.cpu(), torch.Generator().manual_seed(seed))
    device = next(vae.parameters()).device
    with fixed_seed(seed):
        parts = [elbo(vae, batch.to(device), num_samples=num_samples) for batch in x.split(batch_size)]
    return Terms(*(torch.cat(term).cpu() for term in zip(*parts, strict=True)))


def evaluate(vae, images, num_samples=1, seed=0, device=None):
    """The ELBO of a set of images and its two parts, under the protocol of `elbo_of_set`.

    Args:
        vae: the model.
        images: grey images in [0, 1], shape [N, 1, 28, 28].
        num_samples: draws of z for each image; more make the estimate less noisy, not larger.
        seed: of the draw of pixels and of z.
        device: where to compute; `runtime.best_device()` if None.

    Returns:
        Evaluation.

    Raises:
        ValueError: if `images` are not grey images in [0, 1].
    """
    with on_device(vae, device):
        terms = elbo_of_set(vae, images, num_samples, seed)
    draws = f"{num_samples} draw{'s' * (num_samples > 1)} of z"
    protocol = f"{len(images):,} images, {vae.likelihood.protocol}, {draws}"
    return Evaluation(terms.elbo, terms.rate, terms.distortion, protocol)


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


@torch.no_grad()
def log_likelihood(vae, images, num_samples=5000, every=1, seed=0, device=None, progress=None):
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
        ValueError: if `images` are not grey images in [0, 1], or `num_samples` or `every` < 1.
    """
    require_images(images, vae.image_shape)
    if every < 1:
        raise ValueError(f"every was expected to be 1 (score all images) or more, got {every}")
    x = vae.observe(images.cpu(), torch.Generator().manual_seed(seed))[::every]
    batches = x.split(16)
    chunks = [min(64, num_samples - done) for done in range(0, num_samples, 64)] or [num_samples]
    estimates, effective = [], []
    with on_device(vae, device) as device, fixed_seed(seed):
        for batch in batches if progress is None else progress(batches):
            batch = batch.to(device)
            log_weights = torch.cat([importance_log_weights(vae, batch, size) for size in chunks])  # [K, B]
            total = log_weights.logsumexp(0)
            estimates.append((total - math.log(num_samples)).cpu())
            effective.append((2 * total - (2 * log_weights).logsumexp(0)).exp().cpu())
    share = f" (1 in {every} of {len(images):,})" if every > 1 else ""
    protocol = f"{len(x):,} images{share}, {vae.likelihood.protocol}, {num_samples:,} importance samples"
    return LogLikelihood(torch.cat(estimates), torch.cat(effective), protocol)


# What the code is used for


@torch.no_grad()
def posterior_parameters(vae, images, batch_size=1000):
    """Means and standard deviations of q(z|x): two tensors [N, D].

    Grey images enter by one fixed draw of their pixels.

    Args:
        vae: the model, on the device of `images`.
        images: grey images in [0, 1], shape [N, 1, 28, 28].
        batch_size: images at a time; it bounds the memory and changes nothing else.

    Raises:
        ValueError: if `images` are not grey images in [0, 1].
    """
    require_images(images, vae.image_shape)
    x = vae.observe(images, torch.Generator(images.device).manual_seed(0))
    posteriors = [vae.encode(batch).base_dist for batch in x.split(batch_size)]
    return torch.cat([q.loc for q in posteriors]), torch.cat([q.scale for q in posteriors])


def kl_per_dimension(vae, images):
    """KL(q(z_j|x) || p(z_j)) for each latent dimension, averaged over images: shape [D], nats.

    Their sum is the rate.
    """
    mean, scale = posterior_parameters(vae, images)
    return (0.5 * (mean**2 + scale**2 - 1) - scale.log()).mean(0)  # Appendix B


def active_units(vae, images, threshold=0.01):
    """Which latent dimensions carry information: Cov_x(E_q[z_j]) > threshold: bool, [D].

    Burda et al. 2016, section 5, with their threshold.
    """
    mean, _ = posterior_parameters(vae, images)
    return mean.var(0) > threshold


@torch.no_grad()
def aggregate_log_density(mean, scale, z):
    """log q(z) = log (1/N) sum_n N(z; mean_n, scale_n^2): the codes of a whole data set as one density.

    Args:
        mean, scale: of q(z|x_n), shape [N, D] (`posterior_parameters`).
        z: codes, shape [M, D].

    Returns:
        Nats, shape [M].
    """
    q = torch.distributions.Independent(torch.distributions.Normal(mean, scale), 1)  # batch shape [N]
    chunk = max(1, 20_000_000 // mean.numel())  # at most 80 MB a temporary
    log_sums = [q.log_prob(part[:, None]).logsumexp(1) for part in z.split(chunk)]
    return torch.cat(log_sums) - math.log(len(mean))


def aggregate_kl(vae, images, num_samples=2000, seed=0):
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


def hole_mass(vae, images, ratio=0.1, num_samples=2000, seed=0):
    """Share of the prior's mass where q(z) < ratio * p(z): it is drawn from, and hardly any image is there.

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


# Pictures, whoever drew them


@torch.no_grad()
def nearest_distance(images, reference, chunk=100):
    """Euclidean distance, in pixel values, from each image to the nearest of `reference`: shape [N].

    Args:
        images, reference: shapes [N, 1, 28, 28] and [M, 1, 28, 28].
        chunk: images at a time: bounds the memory to about `chunk` * M numbers.
    """
    reference = reference.flatten(1)
    return torch.cat([torch.cdist(part, reference).amin(1) for part in images.flatten(1).split(chunk)])


def relative_path_length(frames):
    """How much longer a film is than the jump from its first picture to its last: a cross-fade has 1.

    sum_t |frame_{t+1} - frame_t| / |frame_T - frame_1|, Euclidean in pixel values.

    Args:
        frames: pictures along each path, shape [T, N, 1, 28, 28].

    Returns:
        Shape [N].
    """
    frames = frames.flatten(2)
    return (frames[1:] - frames[:-1]).norm(dim=2).sum(0) / (frames[-1] - frames[0]).norm(dim=1)
