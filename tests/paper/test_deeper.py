"""Wake-sleep's decoder with a second hidden layer: what it adds to the paper's network, and what it leaves."""

import pytest
import torch

from vae_utils.likelihoods import PixelGaussian
from vae_utils.models import paper_vae
from vae_utils.paper.deeper import deeper_paper_vae

SETTINGS = dict(latent_size=3, hidden=20, std=0.01, likelihood=PixelGaussian(), image_shape=(1, 28, 20))


def test_with_one_layer_it_is_the_papers_network():
    torch.manual_seed(0)
    paper = paper_vae(**SETTINGS)
    torch.manual_seed(0)
    same = deeper_paper_vae(**SETTINGS, decoder_layers=1)
    assert same.settings == paper.settings
    for name, value in paper.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], value, rtol=0, atol=0)


def test_a_second_layer_is_tanh_as_wide_as_the_first_and_drawn_alike():
    vae = deeper_paper_vae(**SETTINGS, decoder_layers=2)
    first, tanh, second, again = vae.decoder.trunk
    assert (first.in_features, first.out_features, second.in_features, second.out_features) == (3, 20, 20, 20)
    assert isinstance(tanh, torch.nn.Tanh) and isinstance(again, torch.nn.Tanh)
    assert 0.008 < second.weight.std() < 0.012 and len(vae.encoder.trunk) == 2
    assert vae.decode(torch.zeros(4, 3)).event_shape == (1, 28, 20) and vae.settings is None


def test_no_layer_is_refused():
    with pytest.raises(ValueError, match="decoder_layers were expected to be a whole number of 1 or more, got 0"):
        deeper_paper_vae(**SETTINGS, decoder_layers=0)
