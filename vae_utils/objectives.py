"""What training maximises: the ELBO and its relatives, in nats per image.

All are written with `vae.prior`, `vae.encode` and `vae.decode` alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from vae_utils.support.arguments import require_whole
from vae_utils.support.kinds import checked


class Terms(NamedTuple):
    """One objective and its two parts, for each image: shape [B], nats.

    Attributes:
        objective: what training maximises.
        rate: KL(q(z|x) || p(z)), at least 0.
        distortion: minus the log-likelihood of the image under p(x|z), averaged over draws of z.
    """

    objective: Tensor
    rate: Tensor
    distortion: Tensor

    @property
    def elbo(self) -> Tensor:
        """-(rate + distortion): the bound of Eq. 3, whatever the objective weighs."""
        return -(self.rate + self.distortion)


@checked
def elbo(vae: nn.Module, x: Tensor, beta: float = 1.0, num_samples: int = 1) -> Terms:
    """The evidence lower bound with the KL in closed form: the estimator of Eq. 7, and Eq. 10 for Gaussian q.

    -KL(q(z|x) || p(z)) + (1/L) sum_l log p(x|z_l),  z_l ~ q(z|x)

    Args:
        vae: model with `prior`, `encode`, `decode`.
        x: images, shape [B, *image_shape], outcomes of the decoder's likelihood.
        beta: weight of the KL in `Terms.objective` (Higgins et al. 2017); below 1 the objective is not a bound
            on log p(x).
        num_samples: L, at least 1. More samples make the estimate less noisy, not larger.

    Returns:
        Terms: nats per image, each of shape [B], differentiable in the weights of both networks.

    Raises:
        ValueError: if `num_samples` < 1, or `x` has another shape or other values than the model's images.
    """
    require_whole("num_samples", num_samples)
    q = vae.encode(x)
    z = q.rsample((num_samples,))  # [L, B, J]
    distortion = -vae.decode(z).log_prob(x).mean(0)
    rate = kl_divergence(q, vae.prior)
    return Terms(-distortion - beta * rate, rate, distortion)


@checked
def reconstruction(vae: nn.Module, x: Tensor) -> Terms:
    """The objective of a plain autoencoder on the same network: log p(x|z) at the mean of q(z|x), with no KL.

    Args:
        vae, x: as `elbo`.

    Returns:
        Terms: `objective` is -distortion; `rate` is reported as 0, because a deterministic code has no q to
            compare with p(z).

    Raises:
        ValueError: if `x` has another shape or other values than the model's images.
    """
    distortion = -vae.decode(vae.encode(x).mean).log_prob(x)
    return Terms(-distortion, torch.zeros_like(distortion), distortion)
