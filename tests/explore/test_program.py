"""Networks as plain data: which can leave PyTorch, and with what. test_browser.py runs the programs."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from vae_utils.explore.program import MOST_BYTES, NotPortable, decoder_program, encoder_program
from vae_utils.likelihoods import ContinuousBernoulli, Gaussian, PixelGaussian
from vae_utils.models import VAE, conv_vae, load_vae, mlp_vae, paper_vae


def with_decoder(decoder):
    return VAE(nn.Identity(), decoder, None, 2)


@pytest.mark.parametrize(
    "vae", [mlp_vae(3, (8, 6)), paper_vae(5, 7), conv_vae(4, (4, 4), 8, (0, 1))], ids=["mlp", "paper", "conv"]
)
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_program_holds_all_weights_of_its_network_in_half_precision(vae, kind):
    program = {"encoder": encoder_program, "decoder": decoder_program}[kind](vae)
    stored = np.sort(program.weights)
    given = torch.cat([parameter.detach().flatten() for parameter in getattr(vae, kind).parameters()])
    added = len(stored) - len(given)  # zeros, for layers without a bias
    given = np.sort(np.concatenate([given.half().numpy(), np.zeros(added, np.float16)]))
    assert program.weights.dtype == np.float16 and (stored == given).all()
    assert json.loads(json.dumps(program.steps)) == program.steps


def test_an_encoder_ends_in_two_numbers_for_each_latent():
    for vae in (mlp_vae(3, (8, 6)), conv_vae(3, (4, 4), 8, (1, 0))):
        program = encoder_program(vae)
        assert program.steps[-1]["op"] == "linear" and program.steps[-1]["shape"] == [6]
    first, second, blocks = 4 * 16 * 14 * 14, 4 * 4 * 16 * 7 * 7, 2 * 4 * 4 * 9 * 7 * 7
    assert program.products == first + second + blocks + 4 * 7 * 7 * 8 + 8 * 6


def test_a_decoder_may_stop_at_its_features():
    vae = mlp_vae(2, (4,))
    whole, features = decoder_program(vae), decoder_program(vae, features=True)
    assert whole.steps[:-1] == features.steps and whole.steps[-1]["op"] == "sigmoid"


def test_an_encoder_that_cannot_leave_says_why():
    for encoder, reason in (
        (Branching(), "list of layers"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784)), "does not know"),
    ):
        with pytest.raises(NotPortable, match=reason):
            encoder_program(VAE(encoder, nn.Linear(2, 784), None, 2))


@pytest.mark.parametrize("vae", [mlp_vae(3, (8, 6)), conv_vae(4, (4, 4), 8, (0, 1))], ids=["mlp", "conv"])
def test_steps_read_only_what_was_made_before_and_weights_do_not_overlap(vae):
    program = decoder_program(vae)
    taken = []
    for k, step in enumerate(program.steps):
        assert all(0 <= source <= k for source in step["inputs"])
        taken += [step[name] for name in ("weight", "bias") if name in step]
    ends = [first + length for first, length in taken]
    assert [first for first, _ in taken] == [0, *ends[:-1]] and ends[-1] == len(program.weights)
    assert np.prod(program.steps[-1]["shape"]) == 784


def test_products_are_those_of_the_layers():
    assert decoder_program(mlp_vae(3, (8, 6))).products == 3 * 6 + 6 * 8 + 8 * 784
    convolutions = 4 * 16 * 9 * 49 + 4 * 4 * 25 * 196  # 4 channels to 4 * 4 at 7 x 7, then 4 to 4 at 14 x 14
    assert decoder_program(conv_vae(4, (4, 4), 8)).products == 4 * 8 + 8 * 4 * 49 + convolutions


def test_the_last_step_makes_features_into_means():
    assert decoder_program(mlp_vae(2, (4,))).steps[-1]["op"] == "sigmoid"
    assert decoder_program(mlp_vae(2, (4,), likelihood=Gaussian())).steps[-1]["op"] == "linear"


def test_of_several_features_a_pixel_the_first_make_the_mean():
    steps = decoder_program(paper_vae(2, 4, likelihood=PixelGaussian(), image_shape=(1, 28, 20))).steps
    assert [step["op"] for step in steps] == ["linear", "tanh", "linear", "first", "sigmoid"]
    assert [np.prod(step["shape"]) for step in steps] == [4, 4, 1120, 560, 560]
    assert steps[-2]["inputs"] == [3] and steps[-1]["inputs"] == [4]


def test_the_model_stays_as_it_was():
    vae = mlp_vae(2, (4,)).double().train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    decoder_program(vae)
    assert vae.decoder.training
    for name, value in vae.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)  # the precision, too


class Branching(nn.Module):
    def forward(self, z):
        return z if z.sum() > 0 else -z


class Sum(nn.Module):
    """Sums that a list of plain steps would get wrong, and layers that are computed for nothing."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Linear(2, 784), nn.Linear(2, 784)
        self.bias = nn.Parameter(torch.ones(1))

    def forward(self, z):
        h = self.first(z)
        if self.kind == "unused":
            self.second(z)
            return h
        if self.kind == "factor":
            return torch.add(h, self.second(z), alpha=0.1)
        return h + self.bias


@pytest.mark.parametrize(
    "vae, reason",
    [
        (with_decoder(nn.Sequential(nn.Linear(2, 784), nn.ReLU(inplace=True))), "in place"),
        (with_decoder(Sum("unused")), "does not return"),
        (with_decoder(Sum("factor")), "with a factor"),
        (with_decoder(Sum("broadcast")), "numbers of different shapes"),
        (with_decoder(nn.Sequential(nn.Linear(2, 784), nn.Softplus())), "a layer that the page does not know"),
        (with_decoder(nn.Sequential(nn.Unflatten(1, (2, 1, 1)), nn.ConvTranspose2d(2, 1, 28))), "does not know"),
        (
            with_decoder(nn.Sequential(nn.Linear(2, 784), nn.LayerNorm(784, elementwise_affine=False))),
            "without weights",
        ),
        (with_decoder(Branching()), "cannot be written as a list of layers"),
        (mlp_vae(2, (4,), likelihood=ContinuousBernoulli()), "ContinuousBernoulli"),
        (mlp_vae(2, (4, 5000, 1000)), "too many for a page"),
        (conv_vae(2, (128, 256), 32), "too many for a page"),
    ],
)
def test_what_cannot_leave_says_why(vae, reason):
    with pytest.raises(NotPortable, match=reason):
        decoder_program(vae)


def test_infinite_weights_are_refused():
    vae = mlp_vae(2, (4,))
    with torch.no_grad():
        vae.decoder.output.bias[0] = 1e6  # beyond half precision
    with pytest.raises(NotPortable, match="half precision"):
        decoder_program(vae)


@pytest.mark.parametrize("name", ["mlp", "conv", "manifold"])
def test_stored_models_are_portable_and_rounding_does_not_change_them(name):
    vae = load_vae(name)
    program = decoder_program(vae)
    assert program.weights.nbytes < MOST_BYTES / 4
    assert all(torch.equal(value, value.half().float()) for value in vae.decoder.parameters())
