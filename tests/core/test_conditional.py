"""Models that are given a class: the formula by hand, one class or many, how they are trained and kept."""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import one_hot

from vae_utils.diagrams import network
from vae_utils.evaluation import active_units, aggregate_kl, evaluate, manifold, posterior_parameters
from vae_utils.figures import show_samples
from vae_utils.models import VAE, conv_vae, load_vae, mlp_vae, save_vae, start_at_mean
from vae_utils.objectives import elbo
from vae_utils.paper.importance import log_likelihood
from vae_utils.training import fit

K = 4
BUILDERS = {
    "mlp": lambda classes=K, J=3: mlp_vae(J, (12, 10), image_shape=(2, 8, 12), classes=classes),
    "conv": lambda classes=K, J=3: conv_vae(J, (2, 4), 8, (1, 1), image_shape=(2, 8, 12), classes=classes),
}


@pytest.fixture(params=BUILDERS.values(), ids=BUILDERS)
def build(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture
def x():
    return torch.rand(6, 2, 8, 12, generator=torch.Generator().manual_seed(0)).round()


@pytest.fixture
def c():
    return torch.tensor([3, 0, 2, 2, 1, 3])


# The formula


def test_the_bound_is_the_formula_by_hand(x, c):
    vae = BUILDERS["mlp"]()
    torch.manual_seed(1)
    terms = elbo(vae.given(c), x, num_samples=5)
    torch.manual_seed(1)
    hot = one_hot(c, K).float()
    mean, log_variance = vae.encoder.output(vae.encoder.trunk(torch.cat([x.flatten(1), hot], 1))).chunk(2, 1)
    q = Normal(mean, torch.exp(log_variance / 2))
    z = q.rsample((5,))  # [5, 6, J]
    logits = torch.stack([vae.decoder(torch.cat([draw, hot], 1)) for draw in z])
    distortion = -Bernoulli(logits=logits).log_prob(x).sum((2, 3, 4)).mean(0)
    rate = kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(terms.distortion, distortion)
    torch.testing.assert_close(terms.rate, rate)


def test_convolutions_see_the_class_as_planes(x, c):
    vae = BUILDERS["conv"]()
    planes = one_hot(c, K).float()[:, :, None, None] * torch.ones(1, 1, 8, 12)
    mean = vae.encoder(torch.cat([x, planes], 1))[:, :3]
    assert torch.equal(vae.given(c).encode(x).mean, mean)


def test_with_no_weight_on_the_class_it_is_the_model_without(build, x, c):
    vae, without = build(), build(classes=0)
    weights = without.state_dict()
    for name, weight in vae.state_dict().items():
        if weight.shape != weights[name].shape:  # the first layer of each network: the class comes last
            kept = weights[name].shape[1]
            weights[name] = torch.cat([weights[name], torch.zeros_like(weight[:, kept:])], 1)
    vae.load_state_dict(weights)
    bounds = []
    for model in (vae.given(c), without):
        torch.manual_seed(1)
        bounds.append(elbo(model, x).elbo)
    torch.testing.assert_close(*bounds)


def test_without_classes_nothing_changes(build):
    torch.manual_seed(5)
    vae = build(classes=0)
    assert vae.classes == 0 and vae.split([3, 4]) == [vae, vae]


# One class or many


def test_each_image_has_its_own_class(build, x, c):
    vae = build()
    together, z = vae.given(c), torch.randn(5, 6, 3)
    for b in range(6):
        alone = vae.given(c[b].item())
        torch.testing.assert_close(together.encode(x).mean[b], alone.encode(x[b : b + 1]).mean[0])
        torch.testing.assert_close(together.decode(z).mean[:, b], alone.decode(z[:, b]).mean)


@pytest.mark.parametrize("batch", [(), (1,), (6,), (5, 6), (2, 5, 6), (5, 1)])
def test_codes_of_any_batch_are_decoded(build, c, batch):
    vae, z = build(), torch.randn(*batch, 3)
    one = vae.given(2).decode(z)
    assert one.batch_shape == batch and one.event_shape == (2, 8, 12)
    many = vae.given(c).decode(z)
    assert many.batch_shape == torch.broadcast_shapes(batch, (6,))
    whole = vae.given(2).decode(z.expand(*many.batch_shape, 3))
    torch.testing.assert_close(many.mean[..., c == 2, :, :, :], whole.mean[..., c == 2, :, :, :])


def test_keep_z_and_change_c(build):
    vae, z = build(), torch.randn(3)
    pictures = vae.given(torch.arange(K)).decode(z).mean
    assert pictures.shape == (K, 2, 8, 12)
    torch.testing.assert_close(pictures[1], vae.given(1).decode(z).mean)
    assert not torch.allclose(pictures[0], pictures[1])


def test_the_given_model_shares_all_weights_and_leaves_the_other_as_it_was(build, x, c):
    vae = build()
    given = vae.given(c)
    assert [*map(id, given.parameters())] == [*map(id, vae.parameters())]
    elbo(given, x).objective.sum().backward()
    assert all(p.grad is not None for p in vae.encoder.parameters())
    with pytest.raises(ValueError, match="given one of its 4 classes"):
        vae.encode(x)
    assert torch.equal(given.given(1).decode(torch.ones(3)).mean, vae.given(1).decode(torch.ones(3)).mean)
    assert vae.double().given(c).encode(x.double()).mean.dtype == torch.float64


def test_measures_give_each_batch_its_classes(build, x, c):
    vae = build()
    whole, parts = (posterior_parameters(vae.given(c), x, batch_size=size)[0] for size in (6, 4))
    torch.testing.assert_close(whole, parts)
    assert evaluate(vae.given(c), x).elbo.isfinite().all() and evaluate(vae.given(1), x).elbo.isfinite().all()
    assert active_units(vae.given(c), x).shape == (3,) and aggregate_kl(vae.given(c), x).mean > -10


@torch.no_grad()
def test_the_likelihood_gives_each_batch_its_classes(build, x, c):
    """Of a model that ignores z, whose log p(x|c) is exact with any number of samples."""
    vae = build()
    nn.init.zeros_(vae.encoder.output.weight)
    nn.init.zeros_(vae.encoder.output.bias)
    vae.decoder.trunk[0].weight[:, :3] = 0
    exact = vae.given(c).decode(torch.zeros(6, 3)).log_prob(x)
    estimate = log_likelihood(vae.given(c.repeat(4)), x.repeat(4, 1, 1, 1), num_samples=3).per_image  # batches of 16
    torch.testing.assert_close(estimate, exact.repeat(4))
    assert not torch.allclose(exact, vae.given(0).decode(torch.zeros(6, 3)).log_prob(x))


def test_pictures_and_drawings_take_a_given_model():
    vae = mlp_vae(2, (8,), classes=3)
    assert manifold(vae.given(2), 3).shape == (3, 3, 1, 28, 28)
    assert show_samples(vae.given(1), 4) and network(vae.given(0))


# Training, and on disk


@pytest.mark.slow
def test_training_learns_each_class(build):
    """Each class is one image: the code has nothing to say, and the class says all."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % K
    images = torch.rand(K, 2, 8, 12, generator=generator).round()[labels]
    vae = build()
    history = fit(
        vae,
        images,
        labels=labels,
        test=images[:8],
        test_labels=labels[:8],
        epochs=60,
        batch_size=20,
        learning_rate=1e-2,
        progress=False,
    )
    assert history[-1].test_elbo > -20 > history[0].train_elbo
    p = vae.given(torch.arange(K)).decode(torch.zeros(3))
    assert (p.mean - images[:K]).abs().mean() < 0.1  # 0.5 without the class
    wrong = evaluate(vae.given(labels.roll(1)), images).elbo.mean()
    assert wrong < evaluate(vae.given(labels), images).elbo.mean() - 50


def test_a_saved_model_is_conditional_again(build, x, c, tmp_path):
    vae = build()
    start_at_mean(vae, x)
    save_vae(vae.given(c), tmp_path / "model.safetensors")
    loaded = load_vae(tmp_path / "model.safetensors")
    assert loaded.classes == K and loaded.settings == vae.settings
    assert torch.equal(loaded.given(c).encode(x).mean, vae.half().float().given(c).encode(x).mean)


# Refusals


@pytest.mark.parametrize(
    "mistake, sentence",
    [
        (
            lambda vae, x, c: vae.encode(x),
            r"the model was expected to be given one of its 4 classes, got none; vae.given",
        ),
        (lambda vae, x, c: vae.decode(torch.zeros(3)), "given one of its 4 classes"),
        (lambda vae, x, c: elbo(vae, x), "given one of its 4 classes"),
        (lambda vae, x, c: evaluate(vae, x), "given one of its 4 classes"),
        (lambda vae, x, c: vae.given(4), "classes were expected to be from 0 to 3, got values from 4 to 4"),
        (lambda vae, x, c: vae.given(c - 1), "from 0 to 3, got values from -1 to 2"),
        (lambda vae, x, c: vae.given(c.float()), r"classes were expected to be one whole number, .*float32"),
        (lambda vae, x, c: vae.given(c[:, None]), "classes were expected to be one whole number, or int64"),
        (lambda vae, x, c: vae.given(True), "c was expected"),
        (
            lambda vae, x, c: vae.given(c[:5]).encode(x),
            "images were expected to be as many .*, got 6 images and 5 classes",
        ),
        (lambda vae, x, c: vae.given(c[:5]).decode(torch.zeros(6, 3)), "codes .*got 6 codes and 5 classes"),
        (lambda vae, x, c: evaluate(vae.given(c[:5]), x), "got 6 images and 5 classes"),
        (
            lambda vae, x, c: fit(vae, x, epochs=1),
            "labels were expected to hold the class of each image, got none; .*labels=",
        ),
        (
            lambda vae, x, c: fit(vae, x, labels=c[:5], epochs=1),
            r"labels were expected to have shape \[6\], .*got \[5\]",
        ),
        (lambda vae, x, c: fit(vae, x, labels=c[0], epochs=1), r"labels were expected to have shape \[6\], .*got \[\]"),
        (lambda vae, x, c: fit(vae, x, labels=c + 1, epochs=1), "from 0 to 3, got values from 1 to 4"),
        (lambda vae, x, c: fit(vae, x, labels=c, test=x, epochs=1), "test_labels were expected to hold .*test_labels="),
        (lambda vae, x, c: fit(mlp_vae(2, (4,)), torch.rand(6, 1, 28, 28), labels=c, epochs=1), "model .*conditional"),
        (lambda vae, x, c: mlp_vae(2, (4,)).given(1), "the model was expected to be conditional, .*classes=10"),
        (lambda vae, x, c: mlp_vae(2, (4,), classes=-1), "classes were expected to be a whole number of 0 or more"),
        (lambda vae, x, c: conv_vae(2, classes=1.5), "classes was expected|classes were expected"),
    ],
)
def test_a_mistake_with_classes_is_one_sentence(mistake, sentence, x, c):
    with pytest.raises(ValueError, match=sentence):
        mistake(BUILDERS["mlp"](), x, c)


def test_a_network_of_ones_own_may_be_conditional(x, c):
    """The contract in words: the encoder reads C + K planes, the decoder J + K numbers."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear((2 + K) * 96, 6)

        def forward(self, x):
            return self.layer(x.flatten(1))

    vae = VAE(Encoder(), nn.Linear(3 + K, 192), None, 3, image_shape=(2, 8, 12), classes=K)
    assert elbo(vae.given(c), x).elbo.shape == (6,)
