"""What DrawingPad computes in Python, and how it refuses; test_drawing_browser.py draws on it in a browser."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vae_utils.evaluation import evaluate, kl_per_dimension, posterior_parameters
from vae_utils.explore.drawing import NUM_STARTS, DrawingPad, _thresholds
from vae_utils.likelihoods import Gaussian, GreyCrossEntropy
from vae_utils.models import VAE, conv_vae, mlp_vae


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return mlp_vae(2, (16,)).eval()


@pytest.fixture(scope="module", params=["Bernoulli", "GreyCrossEntropy"])
def either(request):
    torch.manual_seed(0)
    return mlp_vae(3, (8,), likelihood=GreyCrossEntropy() if request.param == "GreyCrossEntropy" else None).eval()


def test_the_numbers_of_an_image_are_those_of_evaluate(either, images):
    pad = DrawingPad(either)
    for image in images[:3, None]:
        grey = (image * 255).round() / 255
        passage, worth = pad.passage(grey), evaluate(either, grey, device="cpu")
        assert passage.costs.sum().item() == pytest.approx(worth.distortion.item(), rel=1e-5)
        assert passage.kl.sum().item() == pytest.approx(worth.rate.item(), rel=1e-5)
        mean, scale = posterior_parameters(either, grey)
        torch.testing.assert_close(torch.stack([passage.mean, passage.sigma]), torch.cat([mean, scale]))


def test_a_pixel_is_black_where_its_grey_is_above_its_threshold(vae, images):
    pad = DrawingPad(vae)
    thresholds = torch.from_numpy(np.frombuffer(pad.thresholds, np.float32).copy()).reshape(1, 28, 28)
    torch.testing.assert_close(thresholds, _thresholds())
    for image in images[:3, None]:
        assert torch.equal(pad.passage(image).x, (thresholds < image[0])[0].float())


def test_the_page_gets_test_images_with_their_costs(vae, toy_mnist):
    pad = DrawingPad(vae, data=toy_mnist)
    costs = torch.frombuffer(bytearray(pad.costs), dtype=torch.float32).reshape(-1, 2)
    worth = evaluate(vae, toy_mnist.test, device="cpu")
    torch.testing.assert_close(costs, torch.stack([worth.distortion, worth.rate], 1))
    codes = torch.frombuffer(bytearray(pad.codes), dtype=torch.float32).reshape(-1, 2)
    torch.testing.assert_close(codes, posterior_parameters(vae, toy_mnist.test)[0])
    assert pad.spec["labels"] == toy_mnist.test_labels.tolist()
    assert pad.spec["kl"] == pytest.approx(kl_per_dimension(vae, toy_mnist.test).tolist(), rel=1e-4)
    assert len(pad.digits) == 784 * min(NUM_STARTS, len(toy_mnist.test))
    assert DrawingPad(vae).costs == DrawingPad(vae).digits == b""


def test_collapsed_latents_come_last_and_are_named(toy_mnist):
    vae = mlp_vae(3, (16,)).eval()
    with torch.no_grad():  # q(z|x) of latent 1 is the prior
        vae.encoder.output.weight[[0, 3]] = 0
        vae.encoder.output.bias[[0, 3]] = 0
        vae.encoder.output.weight[1:3] *= 3
    spec = DrawingPad(vae, data=toy_mnist).spec
    assert spec["collapsed"] == [0] and spec["order"][-1] == 0 and sorted(spec["order"]) == [0, 1, 2]


def test_the_drawing_is_a_tensor_in_python(vae, toy_mnist):
    pad = DrawingPad(vae, data=toy_mnist)
    assert pad.image.shape == (1, 1, 28, 28) and pad.image.dtype == torch.float32
    assert (pad.image - toy_mnist.test[:1]).abs().max() <= 0.51 / 255
    given = torch.zeros(1, 28, 28)
    given[0, 3, 4] = 0.2
    started = DrawingPad(vae, image=given)
    assert torch.equal(started.image[0], given)
    assert torch.equal(DrawingPad(vae, image=started.image).image, started.image)
    evaluate(vae, pad.image, device="cpu")  # it is an image as others are


def test_an_empty_drawing_is_told_of(vae):
    with pytest.raises(ValueError, match="a drawing was expected on the sheet, got none; draw a digit and run"):
        DrawingPad(vae).image  # noqa: B018  (a property)


class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :4] if x.sum() > 0 else -x.flatten(1)[:, :4]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            (mlp_vae(2, (4,), likelihood=Gaussian()),),
            "of 28 x 28 pixels with Bernoulli or GreyCrossEntropy, got Gaussian",
        ),
        ((mlp_vae(2, (4,), image_shape=(1, 28, 20)),), "got Bernoulli of 28 x 20 pixels"),
        ((VAE(Branching(), mlp_vae(2, (4,)).decoder, None, 2),), "that a page can compute, got one that it cannot"),
        ((conv_vae(2, (128, 256), 512),), "too many for a page"),
        ((mlp_vae(2, (4,)), None, torch.zeros(28, 28)), "images were expected"),
        ((mlp_vae(2, (4,)), None, torch.full((1, 28, 28), 255.0)), "pixels were expected to be in"),
        ((mlp_vae(2, (4,)), None, torch.zeros(2, 1, 28, 28)), "one image was expected to start from, got 2"),
        ((mlp_vae(2, (4,)), torch.zeros(3, 1, 28, 28)), "data was expected to be"),
        ((nn.Linear(2, 2),), "vae was expected to be a VAE, got a Linear"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        DrawingPad(*arguments)


def test_weights_that_are_not_finite_are_refused():
    vae = mlp_vae(2, (4,))
    with torch.no_grad():
        vae.encoder.output.bias[0] = math.nan
    with pytest.raises(ValueError, match="not all finite"):
        DrawingPad(vae)


def test_the_model_stays_as_it_was(toy_mnist):
    vae = mlp_vae(2, (4,)).double().train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    DrawingPad(vae, data=toy_mnist)
    assert vae.training and all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("latents", [2, 5])
@pytest.mark.parametrize("with_data", [True, False])
def test_each_leaves_a_picture_and_words(latents, with_data, toy_mnist, no_figure_stays_open):
    torch.manual_seed(0)
    pad = DrawingPad(mlp_vae(latents, (16,)), data=toy_mnist if with_data else None)
    picture = np.asarray(Image.open(io.BytesIO(pad.still())))
    assert np.unique(picture).size > 20 and picture.shape[1] > 500
    passage = pad.passage(torch.zeros(1, 1, 28, 28) if not with_data else pad.image)
    assert f"−ELBO {(passage.costs.sum() + passage.kl.sum()).item():.1f} nats" in pad.alt_text()
    assert len(repr(pad)) < 200 and "0x" not in repr(pad)
