"""Lesson 03: what it writes out equals the library; the runs behind its curves are stored as it reads."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vae_utils.likelihoods import Bernoulli
from vae_utils.models import VAE, conv_vae, load_weights, mlp_vae
from vae_utils.objectives import elbo

from notebook_definitions import definitions

LESSON = "03_conv_vae"


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def x():
    return (torch.rand(6, 1, 28, 28) < 0.2).float()


# --- networks


@pytest.mark.parametrize("channels, hidden", [((16, 32), 128), ((3, 5), 7)])
def test_networks_are_the_librarys(x, channels, hidden):
    lesson = definitions(LESSON, "ConvEncoder", "ConvDecoder")
    encoder, decoder = (network(4, channels, hidden) for network in (lesson.ConvEncoder, lesson.ConvDecoder))
    ours = VAE(encoder, decoder, Bernoulli(), latent_size=4)
    library = conv_vae(4, channels, hidden)
    load_weights(ours, library.state_dict())  # same names, same shapes
    z = torch.randn(6, 4)
    torch.testing.assert_close(ours.encode(x).mean, library.encode(x).mean, rtol=0, atol=0)
    torch.testing.assert_close(ours.encode(x).stddev, library.encode(x).stddev, rtol=0, atol=0)
    torch.testing.assert_close(ours.decode(z).mean, library.decode(z).mean, rtol=0, atol=0)
    results = []
    for vae in (ours, library):
        torch.manual_seed(1)
        results.append(torch.autograd.grad(elbo(vae, x).objective.mean(), list(vae.parameters())))
    torch.testing.assert_close(*results)


def test_defaults_of_the_lessons_networks_are_what_its_text_says():
    lesson = definitions(LESSON, "ConvEncoder", "ConvDecoder")
    library = conv_vae(20, (16, 32), 128)
    for ours, theirs in ((lesson.ConvEncoder(20), library.encoder), (lesson.ConvDecoder(20), library.decoder)):
        assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


def test_a_stroke_is_a_stroke_anywhere():
    """The claim of section 1, at the depth of the whole trunk: four pixels make one step at 7 x 7."""
    trunk = definitions(LESSON, "ConvEncoder").ConvEncoder(2).trunk[:4]
    image = torch.zeros(1, 1, 28, 28)
    image[..., 10:18, 8:14] = torch.rand(8, 6)
    torch.testing.assert_close(trunk(image.roll(4, -1))[..., 2:5], trunk(image).roll(1, -1)[..., 2:5])


@pytest.mark.parametrize("same_order", [True, False])
@pytest.mark.parametrize("tile", [1, 2, 4, 7, 28])
def test_pixels_wander_inside_their_squares(tile, same_order):
    """Exercise 1: every square keeps its pixels, in one other order for every image, or even for every square."""
    scramble = partial(definitions(LESSON, "scramble_within").scramble_within, tile=tile, same_order=same_order)
    images = torch.rand(2, 1, 28, 28)
    scrambled = scramble(images)

    def squares(batch):
        return nn.functional.unfold(batch, tile, stride=tile)  # [N, tile^2, squares]

    torch.testing.assert_close(squares(scrambled).sort(1).values, squares(images).sort(1).values, rtol=0, atol=0)
    moved = (scrambled != images).float().mean()
    assert moved == 0 if tile == 1 else moved > 0.5
    torch.testing.assert_close(scramble(images.flip(0)).flip(0), scrambled, rtol=0, atol=0)
    alike = scramble(torch.arange(tile * tile * 1.0).view(tile, tile).repeat(28 // tile, 28 // tile)[None, None])
    assert (squares(alike) == squares(alike)[..., :1]).all() == (same_order or tile in (1, 28))


# --- objectives


def test_warm_up_ends_at_its_beta(x, agree):
    warm_up = definitions(LESSON, "WarmUp").WarmUp(4.0, num_steps=4)
    vae = mlp_vae(3, (16,), layer_norm=False)
    for beta in (1.0, 2.0, 3.0, 4.0, 4.0):
        agree(vae, lambda: warm_up(vae, x).objective, lambda beta=beta: elbo(vae, x, beta=beta).objective)


# --- measures


def test_grey_share():
    lesson = definitions(LESSON, "grey_share")
    images = torch.tensor([0.0, 0.05, 0.5, 0.85, 0.95, 1.0, 0.2, 0.0]).view(2, 1, 2, 2)
    assert lesson.grey_share(images).tolist() == pytest.approx([100 * 2 / 4, 100 * 1 / 4])


def test_means_at_is_the_decoder_in_parts():
    lesson = definitions(LESSON, "means_at")
    vae = mlp_vae(2, (16,), layer_norm=False)
    z = torch.randn(257, 2)
    torch.testing.assert_close(lesson.means_at(vae, z), vae.decode(z).mean)


def test_average_of_senders_is_bayes_rule(x):
    """Against the sum written out, in float64, and for an image that is the only one near its code."""
    images = torch.rand(6, 1, 28, 28)
    vae = mlp_vae(2, (16,), layer_norm=False)
    lesson = definitions(LESSON, "average_of_senders", mnist=SimpleNamespace(train=images))
    z = torch.randn(3, 2)
    torch.manual_seed(5)
    average, senders = lesson.average_of_senders(vae, z)
    with torch.no_grad():
        q = vae.encode(vae.observe(images, torch.Generator().manual_seed(0)))
        weight = q.log_prob(z[:, None]).double().exp()  # [3, 6]
    weight = weight / weight.sum(1, keepdim=True)
    expected = (weight[:, :, None, None, None] * images.double()).sum(1)
    torch.testing.assert_close(average.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(senders.double(), 1 / weight.square().sum(1), rtol=1e-4, atol=1e-5)
    assert (senders >= 1).all() and (senders <= 6.001).all()
