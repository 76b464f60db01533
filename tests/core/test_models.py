"""Networks of either kind: shapes of the three distributions, where they start, what a file keeps of them."""

import re
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vae_utils import models
from vae_utils.evaluation import evaluate
from vae_utils.files import load_tensors, save_tensors
from vae_utils.likelihoods import FAMILIES, Bernoulli, ContinuousBernoulli, Gaussian, GreyCrossEntropy, PixelGaussian
from vae_utils.models import (
    VAE,
    ResidualBlock,
    conv_vae,
    load_vae,
    load_weights,
    mlp_vae,
    paper_vae,
    save_vae,
    start_at_mean,
)
from vae_utils.training import fit

BUILDERS = {
    "mlp": lambda likelihood=None: mlp_vae(3, (12, 10), likelihood=likelihood),
    "paper": lambda likelihood=None: paper_vae(3, 12, likelihood=likelihood),
    "conv": lambda likelihood=None: conv_vae(3, (2, 4), 8, blocks=(1, 2), likelihood=likelihood),
}


@pytest.fixture(params=BUILDERS.values(), ids=BUILDERS)
def build(request):
    torch.manual_seed(0)
    return request.param


# Three distributions


@pytest.mark.parametrize("family, features", [(GreyCrossEntropy, 1), (PixelGaussian, 2)])
def test_images_of_another_shape_are_a_setting(family, features, tmp_path):
    torch.manual_seed(0)
    vae = paper_vae(2, 7, likelihood=family(), image_shape=(1, 28, 20))
    x = torch.rand(5, 1, 28, 20)
    p = vae.decode(vae.encode(x).sample((3,)))
    assert p.batch_shape == (3, 5) and p.event_shape == (1, 28, 20) and p.log_prob(x).isfinite().all()
    assert vae.decode(torch.zeros(2)).batch_shape == ()
    assert sum(w.numel() for w in vae.decoder.parameters()) == 3 * 7 + 8 * 560 * features
    save_vae(vae, tmp_path / "faces.safetensors")
    again = load_vae(tmp_path / "faces.safetensors")
    assert torch.allclose(again.decode(torch.ones(4, 2)).mean, vae.decode(torch.ones(4, 2)).mean, atol=1e-3)
    with pytest.raises(ValueError, match=r"\[B, 1, 28, 20\], got a tensor of float32 with shape \[5, 1, 28, 28\]"):
        vae.encode(torch.rand(5, 1, 28, 28))
    with pytest.raises(ValueError, match=r"\[N, 1, 28, 20\], got \[5, 1, 28, 28\]"):
        start_at_mean(vae, torch.rand(5, 1, 28, 28))


def test_a_convolutional_decoder_has_a_variance_for_each_pixel_too(images):
    vae = conv_vae(3, (2, 4), 8, likelihood=PixelGaussian())
    start_at_mean(vae, images)
    p = vae.decode(torch.zeros(4, 3))
    assert p.event_shape == (1, 28, 28) and p.stddev.flatten(1).std(1).max() >= 0


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize(
    "build, image_shape",
    [
        (partial(mlp_vae, 3, (12,)), (3, 10, 6)),
        (partial(paper_vae, 3, 12), (2, 5, 7)),
        (partial(conv_vae, 3, (2, 4), 8, blocks=(1, 1)), (3, 64, 64)),
        (partial(conv_vae, 3, (2,), 8), (4, 8, 20)),
    ],
)
def test_images_of_any_channels_and_size(family, build, image_shape, tmp_path):
    torch.manual_seed(0)
    vae = build(likelihood=family(), image_shape=image_shape)
    images = torch.rand(5, *image_shape)
    start_at_mean(vae, images)
    x = vae.observe(images)
    p = vae.decode(vae.encode(x).sample((2,)))
    assert p.batch_shape == (2, 5) and p.event_shape == p.mean.shape[2:] == image_shape
    assert p.log_prob(x).isfinite().all() and evaluate(vae, images).elbo.isfinite().all()
    save_vae(vae, tmp_path / "own.safetensors")
    again = load_vae(tmp_path / "own.safetensors")
    assert again.image_shape == image_shape
    assert torch.allclose(again.decode(torch.ones(4, 3)).mean, vae.decode(torch.ones(4, 3)).mean, atol=5e-3)
    assert len(fit(vae, images, epochs=1, batch_size=2, progress=False)) == 1


def test_start_at_mean_gives_each_channel_its_own():
    vae, red = mlp_vae(2, (4,), image_shape=(3, 4, 4)), torch.zeros(6, 3, 4, 4)
    red[:, 0] = 0.9
    nn.init.zeros_(vae.decoder.output.weight)
    start_at_mean(vae, red)
    assert torch.allclose(vae.decode(torch.zeros(2)).mean.mean((1, 2)), torch.tensor([0.9, 0.01, 0.01]), atol=1e-4)


@pytest.mark.parametrize(
    "sides, smallest, depth",
    [
        ((28, 28), (7, 7), 2),
        ((32, 32), (8, 8), 2),
        ((64, 64), (8, 8), 3),
        ((96, 64), (6, 4), 4),
        ((128, 128), (8, 8), 4),
        ((28, 20), (7, 5), 2),
        ((100, 100), (25, 25), 2),
        ((8, 4), (2, 1), 2),
    ],
)
def test_the_depth_of_convolutions_follows_the_size(sides, smallest, depth):
    vae = conv_vae(2, (3, 5), 8, image_shape=(3, *sides))
    maps = [layer for layer in vae.encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in maps] == [3, *[5] * (depth - 1)]  # the last one repeats
    assert vae.decoder.trunk[3].unflattened_size == (5, *smallest)
    assert sum(isinstance(layer, nn.PixelShuffle) for layer in vae.decoder.modules()) == depth


def test_28_x_28_grey_is_the_network_of_lesson_03_to_the_last_digit():
    """Written out with its sizes: the stored weights are of this network, and of these names."""
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(32, 48, 4, stride=2, padding=1),
        ResidualBlock(48),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(48 * 7 * 7, 256),
        nn.SiLU(),
    )
    output = nn.Linear(256, 64)
    decoder = nn.Sequential(
        nn.Linear(32, 256),
        nn.SiLU(),
        nn.Linear(256, 48 * 7 * 7),
        nn.Unflatten(1, (48, 7, 7)),
        ResidualBlock(48),
        ResidualBlock(48),
        nn.SiLU(),
        nn.Conv2d(48, 4 * 32, 3, padding=1),
        nn.PixelShuffle(2),
        nn.SiLU(),
        nn.Conv2d(32, 4, 5, padding=2, bias=False),
        nn.PixelShuffle(2),
    )
    torch.manual_seed(0)
    vae = conv_vae(32, (32, 48), 256, (1, 2))
    by_hand = {"encoder.trunk": encoder, "encoder.output": output, "decoder.trunk": decoder}
    by_hand = {f"{part}.{name}": w for part, net in by_hand.items() for name, w in net.state_dict().items()}
    by_hand["decoder.output_bias"] = torch.zeros(1, 28, 28)
    assert by_hand.keys() == vae.state_dict().keys()
    assert all(torch.equal(weight, by_hand[name]) for name, weight in vae.state_dict().items())
    x, z = (torch.rand(4, 1, 28, 28) < 0.2).float(), torch.randn(4, 32)
    assert torch.equal(vae.encode(x).mean, output(encoder(x))[:, :32])
    assert torch.equal(vae.decode(z).base_dist.logits, decoder(z) + torch.zeros(1, 28, 28))


def test_prior_is_a_standard_normal():
    prior = mlp_vae(4, (8,)).prior
    assert prior.event_shape == (4,) and prior.batch_shape == ()
    assert torch.equal(prior.mean, torch.zeros(4)) and torch.equal(prior.stddev, torch.ones(4))


@pytest.mark.parametrize("batch", [1, 5])
def test_encode_gives_a_diagonal_gaussian_for_each_image(build, images, batch):
    q = build().encode(images[:batch])
    assert q.batch_shape == (batch,) and q.event_shape == (3,)


def test_second_half_of_the_encoders_output_is_the_log_variance(build, images):
    vae = build()
    mean, log_variance = vae.encoder(images).split(3, dim=1)
    q = vae.encode(images)
    assert torch.equal(q.mean, mean) and torch.allclose(q.variance.log(), log_variance, atol=1e-5)


@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 5), (2, 1, 5)])
def test_decode_takes_codes_of_any_batch(build, batch):
    p = build().decode(torch.randn(*batch, 3))
    assert p.batch_shape == batch and p.event_shape == (1, 28, 28)


def test_decoding_many_draws_at_once_equals_a_loop(build):
    vae, z = build(), torch.randn(4, 5, 3)
    looped = torch.stack([vae.decode(draw).mean for draw in z])
    assert torch.allclose(vae.decode(z).mean, looped, atol=1e-6)


def test_every_image_has_its_own_code(build, images):
    vae = build()
    assert torch.allclose(vae.encode(images).mean[3:4], vae.encode(images[3:4]).mean, atol=1e-6)


def test_observe_is_the_likelihoods(images):
    assert set(mlp_vae(2, (4,)).observe(images).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(mlp_vae(2, (4,), likelihood=Gaussian(0.1)).observe(images), images)


def test_the_whole_model_changes_precision(build, images):
    vae = build().double()
    assert vae.decode(vae.encode(images.double()).mean).mean.dtype == vae.prior.mean.dtype == torch.float64


# Refusals


@pytest.mark.parametrize(
    "wrong",
    [
        torch.arange(5),
        torch.rand(5, 784),
        torch.rand(5, 28, 28),
        torch.rand(1, 28, 28),
        torch.rand(5, 3, 28, 28),
        torch.rand(5, 1, 32, 32),
        torch.zeros(5, 1, 28, 28, dtype=torch.uint8),
    ],
)
def test_encode_refuses_what_is_no_batch_of_images(build, wrong):
    with pytest.raises(ValueError, match=r"expected to be floating-point.*\[B, 1, 28, 28\].*labels") as refusal:
        build().encode(wrong)
    assert str(list(wrong.shape)) in str(refusal.value)


@pytest.mark.parametrize("wrong", [torch.randn(5, 4), torch.randn(3, 5), torch.tensor(1.0)])
def test_decode_refuses_codes_of_another_size(build, wrong):
    with pytest.raises(ValueError, match="codes were expected to have 3 numbers"):
        build().decode(wrong)


def test_a_decoder_of_ones_own_whose_features_do_not_fit_is_told_their_shape():
    by_hand = VAE(nn.Identity(), nn.Linear(2, 28 * 28), PixelGaussian(), 2, image_shape=(3, 28, 28))
    with pytest.raises(ValueError, match=r"features were expected to have shape \[B, 6, 28, 28\], got \[5, 784\]"):
        by_hand.decode(torch.zeros(5, 2))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_colours_do_not_train_a_grey_model(build, family):
    """Nor grey images one of colours; whatever the likelihood, which by itself would broadcast."""
    grey, colours = torch.rand(8, 1, 28, 28), torch.rand(8, 3, 28, 28)
    vae = build(family())
    for use in (partial(fit, epochs=1, batch_size=4, progress=False), evaluate, start_at_mean):
        with pytest.raises(ValueError, match=r"image_shape=\(3, 28, 28\), or make them grey, by images\.mean"):
            use(vae, colours)
        with pytest.raises(ValueError, match=r"image_shape=\(1, 28, 28\), or repeat their channel, by images\.exp"):
            use(mlp_vae(2, (4,), likelihood=family(), image_shape=(3, 28, 28)), grey)


@pytest.mark.parametrize(
    "mistake, sentence",
    [
        (lambda: mlp_vae(0), "latent_size was expected to be a whole number of 1 or more, got 0"),
        (lambda: conv_vae(-2), "latent_size was expected to be a whole number of 1 or more, got -2"),
        (lambda: VAE(nn.Identity(), nn.Identity(), None, 0), "latent_size was expected"),
        (lambda: mlp_vae(2, ()), "number of hidden layers.*got 0"),
        (lambda: mlp_vae(2, (8, 0)), "width of a hidden layer.*got 0"),
        (lambda: conv_vae(2, (0, 4)), "width of a layer.*got 0"),
        (lambda: conv_vae(2, blocks=(0, -1)), "number of blocks.*got -1"),
        (lambda: mlp_vae(2, activation="swish"), "one of tanh, relu, silu, got 'swish'"),
        (lambda: mlp_vae(2, image_shape=(28, 28)), r"\(channels, height, width\).*got \(28, 28\); .*\(1, 28, 28\)"),
        (lambda: conv_vae(2, image_shape=(28, 28, 3)), r"got \(28, 28, 3\); channels come first: \(3, 28, 28\)"),
        (lambda: mlp_vae(2, image_shape=(0, 28, 28)), r"each 1 or more, got \(0, 28, 28\)"),
        (lambda: mlp_vae(2, image_shape=(2, 1, 28, 28)), r"each 1 or more, got \(2, 1, 28, 28\)"),
        (
            lambda: conv_vae(2, image_shape=(3, 50, 61)),
            r"multiples of 4 .*, got 50 x 61; the nearest is image_shape=\(3, 48, 60\)",
        ),
        (lambda: conv_vae(2, image_shape=(1, 1, 64)), r"got 1 x 64; the nearest is image_shape=\(1, 4, 64\)"),
        (lambda: conv_vae(2, (8, 8, 8)), "channels were expected to have 1 to 2 numbers, .*28 x 28 pixels, got 3"),
        (lambda: conv_vae(2, ()), "channels were expected to have 1 to 2 numbers, .*got 0"),
    ],
)
def test_impossible_networks_are_refused(mistake, sentence):
    with pytest.raises(ValueError, match=sentence):
        mistake()


# Where they start


def test_residual_block_starts_as_the_identity_and_can_learn():
    block, h = ResidualBlock(3), torch.randn(2, 3, 7, 7)
    assert torch.equal(block(h), h)
    block(h).square().sum().backward()
    assert block.convolutions[-1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("std", [0.01, 0.1])
def test_every_parameter_of_the_papers_network_has_the_same_spread(std):
    vae = paper_vae(20, 500, std)
    for name, parameter in vae.named_parameters():
        error = std / (2 * parameter.numel()) ** 0.5  # of a standard deviation
        assert abs(parameter.std() - std) < 5 * error, name
    assert not any(isinstance(module, nn.LayerNorm) for module in vae.modules())
    assert sum(isinstance(module, nn.Tanh) for module in vae.modules()) == 2


@pytest.mark.parametrize(
    "likelihood", [Bernoulli(), GreyCrossEntropy(), ContinuousBernoulli(), Gaussian(0.1), Gaussian()]
)
def test_start_at_mean_decodes_every_code_to_the_mean_image(build, likelihood):
    vae = build(likelihood)
    for parameter in vae.decoder.parameters():
        nn.init.zeros_(parameter)  # what is left is the bias of the output
    pictures = torch.linspace(0.11, 0.89, 784).view(1, 1, 28, 28) + torch.tensor([-0.1, 0.1]).view(2, 1, 1, 1)
    start_at_mean(vae, pictures)
    assert torch.allclose(vae.decode(torch.randn(5, 3)).mean, pictures.mean(0), atol=2e-3)


def test_start_at_mean_refuses_labels():
    with pytest.raises(ValueError, match="labels"):
        start_at_mean(mlp_vae(2, (4,)), torch.arange(5))


# On disk


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(0.1), Gaussian(), ContinuousBernoulli()])
def test_loaded_model_is_the_saved_one_in_half_precision(build, likelihood, images, tmp_path):
    vae, path = build(likelihood), tmp_path / "model.safetensors"
    save_vae(vae, path, protocol="none", seed=3)
    loaded = load_vae(path)
    assert loaded.settings == vae.settings and loaded.likelihood.settings == likelihood.settings
    assert (loaded.metadata["protocol"], loaded.metadata["seed"]) == ("none", 3)
    rounded = vae.half().float()
    assert torch.equal(loaded.encode(images).mean, rounded.encode(images).mean)
    assert torch.equal(loaded.decode(torch.ones(3)).mean, rounded.decode(torch.ones(3)).mean)


def test_half_precision_costs_less_than_a_thousandth_of_a_pixel(build, tmp_path):
    vae, z = build(), torch.randn(50, 3)
    save_vae(vae, tmp_path / "model.safetensors")
    difference = load_vae(tmp_path / "model.safetensors").decode(z).mean - vae.decode(z).mean
    assert 0 < difference.abs().max() < 1e-3


widths = st.lists(st.integers(1, 6), min_size=1, max_size=3)


@settings(max_examples=10)
@given(st.integers(1, 4), widths, st.sampled_from(["tanh", "relu", "silu"]), st.booleans())
def test_settings_of_any_network_survive_the_disk(tmp_path_factory, latent_size, hidden, activation, layer_norm):
    path = tmp_path_factory.mktemp("m") / "model.safetensors"
    vae = mlp_vae(latent_size, tuple(hidden), activation, layer_norm)
    save_vae(vae, path)
    assert str(load_vae(path)) == str(vae)


def test_a_bare_name_means_a_file_in_assets(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "ASSETS", tmp_path)
    save_vae(mlp_vae(2, (4,)), tmp_path / "small.safetensors")
    assert load_vae("small").latent_size == 2
    with pytest.raises(FileNotFoundError, match="smal"):
        load_vae("smal")


def test_networks_put_together_by_hand_cannot_be_saved(tmp_path):
    by_hand = VAE(nn.Linear(1, 1), nn.Linear(1, 1), None, 2)
    with pytest.raises(ValueError, match="built by hand"):
        save_vae(by_hand, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "other, layer, expected, given",
    [
        (lambda: mlp_vae(2, (8,)), "output", "[4, 8]", "[6, 8]"),
        (lambda: mlp_vae(3, (8, 8)), "trunk.3", "[8, 8]", "none"),
        (lambda: mlp_vae(3, (8,), layer_norm=False), "trunk.1", "none", "[8]"),
        (lambda: conv_vae(3, (2, 4), 8), "trunk.0", "[2, 1, 4, 4]", "[8, 784]"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_named_and_changes_nothing(other, layer, expected, given):
    vae = other()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    difference = re.escape(f"encoder.{layer}.weight was expected to have shape {expected}, got {given}")
    sentence = f"^file.safetensors holds weights of another architecture: {difference}; .*load_vae$"
    with pytest.raises(ValueError, match=sentence):
        load_weights(vae, mlp_vae(3, (8,)).state_dict(), "file.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


@pytest.mark.parametrize(
    "damage",
    [
        {"builder": "gan"},
        {"likelihood": {"family": "Poisson"}},
        {"likelihood": "Bernoulli"},
        {"latent_size": 0},
        {"latent_size": "two"},
        {"hidden": None},
        {"colour": "red"},
    ],
)
def test_damaged_settings_are_a_sentence_that_names_the_file(damage, tmp_path):
    path = tmp_path / "model.safetensors"
    save_vae(mlp_vae(2, (4,)), path)
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors, {**metadata, "settings": {**metadata["settings"], **damage}})
    with pytest.raises(ValueError, match="model.safetensors: settings were expected to be as save_vae writes them"):
        load_vae(path)


def test_a_file_without_settings_is_no_model(tmp_path):
    path = tmp_path / "curves.safetensors"
    for metadata in ({}, {"settings": "mlp"}):
        save_tensors(path, {"w": torch.zeros(2)}, metadata)
        with pytest.raises(ValueError, match="curves.safetensors: settings were expected to be as save_vae writes"):
            load_vae(path)


def test_weights_that_do_not_fit_their_settings_are_refused_before_anything_is_built(tmp_path):
    vae = mlp_vae(2, (8,))
    vae.settings = vae.settings | {"hidden": [300_000, 300_000]}  # 360 GB
    save_vae(vae, tmp_path / "large.safetensors")
    difference = r"trunk.0.weight was expected to have shape \[300000, 784\], got \[8, 784\]"
    with pytest.raises(ValueError, match=f"another architecture: .*{difference}"):
        load_vae(tmp_path / "large.safetensors")
