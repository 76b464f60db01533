"""Lesson 06: what it writes out equals the library; its arithmetic."""

import math

import pytest
import torch

from vae_utils.evaluation import kl_per_dimension
from vae_utils.likelihoods import PixelGaussian
from vae_utils.models import paper_vae
from vae_utils.paper.frey_face import FREY_FACE_SHAPE

from notebook_definitions import definitions

LESSON = "06_frey_faces"
SHAPE = (1, 28, 20)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def x():
    return torch.rand(6, *SHAPE)


def copy_into(decoder, library):
    """The library's weights in the lesson's decoder: it has one matrix for both heads."""
    hidden, output = library.decoder.trunk[0], library.decoder.output
    pixels = decoder.mean.out_features
    decoder.load_state_dict(
        {
            "hidden.weight": hidden.weight,
            "hidden.bias": hidden.bias,
            "mean.weight": output.weight[:pixels],
            "mean.bias": output.bias[:pixels],
            "log_variance.weight": output.weight[pixels:],
            "log_variance.bias": output.bias[pixels:],
        }
    )


@pytest.mark.parametrize("floor", [0.0, 1 / 256, 0.1])
def test_the_decoder_and_its_density_are_the_librarys(x, floor):
    lesson = definitions(LESSON, "GaussianDecoder", "gaussian_log_density")
    library = paper_vae(3, 50, std=0.3, likelihood=PixelGaussian(floor), image_shape=SHAPE)
    ours = lesson.GaussianDecoder(3, hidden=50)
    copy_into(ours, library)
    z = torch.randn(6, 3)
    mean, log_variance = ours(z)
    torch.testing.assert_close(mean.view(-1, *SHAPE), library.decode(z).mean)
    nats = lesson.gaussian_log_density(x.flatten(1), mean, log_variance, floor)
    torch.testing.assert_close(nats, library.decode(z).log_prob(x), rtol=1e-5, atol=1e-3)
    nats.mean().backward()
    library.decode(z).log_prob(x).mean().backward()
    heads = torch.cat([ours.mean.weight.grad, ours.log_variance.weight.grad])
    decoder = library.decoder
    for found, layer in ((heads, decoder.output), (ours.hidden.weight.grad, decoder.trunk[0])):
        expected = layer.weight.grad
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_sizes_are_those_of_the_film():
    lesson = definitions(LESSON, "GaussianDecoder")
    mean, log_variance = lesson.GaussianDecoder(2)(torch.randn(4, 2))
    assert mean.shape == log_variance.shape == (4, FREY_FACE_SHAPE[0]) and math.prod(SHAPE) == FREY_FACE_SHAPE[0]


def test_without_a_floor_a_known_pixel_earns_without_end(capsys):
    lesson = definitions(LESSON, "ascend")
    printed = []
    for floor in (0.0, 1 / 256):
        lesson.ascend(floor)
        printed.append([float(line.split()[-2]) for line in capsys.readouterr().out.splitlines()])
    free, floored = printed
    ceiling = math.log(256) - 0.5 * math.log(2 * math.pi)
    assert free[-1] > 2 * ceiling and floored[-1] == pytest.approx(ceiling, abs=0.01)
    assert max(floored) <= ceiling + 0.005


def test_training_starts_both_methods_from_the_same_weights():
    """And is the paper's: the learning rate is 0 for the first 100 steps, so that two epochs of 16 change nothing."""
    film = torch.rand(1600, *SHAPE)
    faces = type("Film", (), {"train": film, "test": film[:20]})
    lesson = definitions(LESSON, "train", faces=faces)
    start, history = lesson.train(lesson.elbo, 2, std=0.1, epochs=1, progress=False)
    rival, _ = lesson.train(lesson.wake_sleep, 2, std=0.1, epochs=1, progress=False)
    for name, value in start.state_dict().items():
        torch.testing.assert_close(rival.state_dict()[name], value, rtol=0, atol=0)
    assert history[-1].samples == 1600 and kl_per_dimension(start, film[:20]).shape == (2,)
