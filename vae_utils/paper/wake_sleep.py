"""Wake-sleep (Hinton et al. 1995), which the paper compares AEVB with: section 4."""

import torch
from torch.distributions import kl_divergence

from vae_utils.objectives import Terms


def wake_sleep(vae, x):
    """The two objectives of wake-sleep in one: each network follows its own, and there is no common bound.

    wake   log p(x|z),       z ~ q(z|x)             moves the decoder alone
    sleep  log q(z'|x'),     z' ~ p(z), x' ~ p(x|z')  moves the encoder alone

    Both gradients come out of one backward pass, because z and the dreams x', z' are drawn without a gradient.
    So the encoder learns on images that the decoder dreams. It learns to cover the posterior, because its KL(p || q)
    is the other way round from the ELBO's.

    Args:
        vae: model with `prior`, `encode`, `decode`.
        x: images, shape [B, *image_shape], outcomes of the decoder's likelihood.

    Returns:
        Terms: `objective` is the sum of the two; `rate` and `distortion` those of the ELBO at the present
            weights.

    Raises:
        ValueError: as `objectives.elbo`.
    """
    with torch.no_grad():
        q = vae.encode(x)
        z = q.sample()
        rate = kl_divergence(q, vae.prior)
        dreamt_z = vae.prior.sample((len(x),))
        dreamt_x = vae.decode(dreamt_z).sample()
    distortion = -vae.decode(z).log_prob(x)
    return Terms(vae.encode(dreamt_x).log_prob(dreamt_z) - distortion, rate, distortion.detach())
