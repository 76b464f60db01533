"""The network that wake-sleep's decoder may have had in the paper: a second hidden layer between z and the image."""

from collections.abc import Sequence

from torch import nn

from vae_utils.likelihoods import Likelihood
from vae_utils.models import VAE, MLPDecoder, paper_vae
from vae_utils.support.arguments import require_whole
from vae_utils.support.kinds import checked


@checked
def deeper_paper_vae(
    latent_size: int, hidden: int, std: float, likelihood: Likelihood, image_shape: Sequence[int], decoder_layers: int
) -> VAE:
    """`models.paper_vae` with several tanh layers of equal width in the decoder; the encoder keeps its one.

    The paper's Appendix C has one hidden layer each way. The class for wake-sleep's p(x|z) in the author's public
    program (dpkingma/anglepy) has shapes that only fit together with two.

    Args:
        latent_size, hidden, std, likelihood, image_shape: as `models.paper_vae`.
        decoder_layers: hidden layers of the decoder; with 1 it is `paper_vae` itself, parameter by parameter.

    Returns:
        VAE; with more than one layer it has no `settings`, so `models.save_vae` refuses it.

    Raises:
        ValueError: if a size or the number of layers is below 1.
    """
    require_whole("decoder_layers", decoder_layers)
    vae = paper_vae(latent_size, hidden, std, likelihood, image_shape)
    if decoder_layers == 1:
        return vae
    decoder = MLPDecoder(latent_size, [hidden] * decoder_layers, "tanh", False, likelihood.feature_shape(image_shape))
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, 0, std)
    return VAE(vae.encoder, decoder, likelihood, latent_size, image_shape=image_shape)
