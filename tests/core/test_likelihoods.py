"""Each family p(x|z): what every one promises, then its own formula, and the pixels that it cannot have produced.

A family that is added to `FAMILIES` runs the first part as it is.
"""

import inspect
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy

from vae_utils.data import binarise
from vae_utils.likelihoods import (
    FAMILIES,
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    GreyCrossEntropy,
    Likelihood,
    PixelGaussian,
)

each_family = pytest.mark.parametrize(
    "likelihood", [*(family() for family in FAMILIES.values()), Gaussian(0.3)], ids=[*FAMILIES, "Gaussian(0.3)"]
)
seeds = given(st.integers(0, 2**31))


def random_features(*batch, seed=0, scale=3.0, per_pixel=1):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*batch, per_pixel, 28, 28, generator=generator, dtype=torch.float64)


# What every family promises


def features_of(likelihood, *batch):
    return random_features(*batch, per_pixel=likelihood.features_per_pixel).float()


@pytest.fixture(scope="module")
def pictures(images):
    """Grey images as data sets have them: with pixels that are quite black and quite white."""
    pictures = images[:4].clone()
    pictures[:, :, :5], pictures[:, :, 5:9] = 0, 1
    return pictures


@each_family
def test_settings_build_the_family_again(likelihood):
    settings = dict(likelihood.settings)
    arguments = set(inspect.signature(type(likelihood)).parameters) - set(inspect.signature(Likelihood).parameters)
    assert set(settings) == {"family", *arguments}
    again = FAMILIES[settings.pop("family")](**settings)
    assert type(again) is type(likelihood) and again.settings == likelihood.settings


@each_family
def test_its_protocol_is_in_words(likelihood):
    assert isinstance(likelihood.protocol, str) and likelihood.protocol.strip()


@each_family
@pytest.mark.parametrize("batch", [(), (3,), (4, 3), (5, 4, 3)])
def test_one_number_for_each_image_of_any_batch(likelihood, batch, pictures):
    p = likelihood(features_of(likelihood, *batch))
    log_prob = p.log_prob(likelihood.observe(pictures[:3]))
    assert p.event_shape == (1, 28, 28) and p.batch_shape == batch
    assert log_prob.shape == (batch or (3,)) and log_prob.isfinite().all()
    assert p.sample().shape == (*batch, 1, 28, 28)


@each_family
def test_its_own_draws_are_outcomes(likelihood):
    p = likelihood(features_of(likelihood, 3))
    x = p.sample()
    assert p.support.check(x).all() and p.log_prob(x).isfinite().all()


@each_family
def test_channels_are_more_pixels(likelihood, pictures):
    """The log-probability of an image in colours is the sum over its channels, each as a grey image of its own."""
    planes = features_of(likelihood, 4, 3)  # [4, 3, F, 28, 28]
    x = likelihood.observe(torch.stack([pictures[:, 0], 1 - pictures[:, 0], pictures[:, 0] / 2], 1))  # [4, 3, 28, 28]
    features = planes.transpose(1, 2).flatten(1, 2)  # [4, F 3, 28, 28]: blocks of channels
    assert features.shape[1:] == likelihood.feature_shape(x.shape[1:])
    p = likelihood(features)
    by_channel = torch.stack([likelihood(planes[:, c]).log_prob(x[:, c : c + 1]) for c in range(3)]).sum(0)
    torch.testing.assert_close(p.log_prob(x), by_channel, rtol=1e-5, atol=1e-2)
    assert p.event_shape == p.mean.shape[1:] == (3, 28, 28)
    by_hand = torch.stack([likelihood(one).log_prob(x) for one in features])
    torch.testing.assert_close(likelihood.pairwise_log_prob(features, x), by_hand, rtol=1e-4, atol=1e-2)
    mean = torch.linspace(0.11, 0.89, 3 * 784).view(3, 28, 28)
    assert torch.allclose(likelihood(likelihood.unconstrained(mean)).mean, mean, atol=1e-3)


@each_family
def test_every_feature_learns(likelihood, pictures):
    features = features_of(likelihood, 4).requires_grad_()
    likelihood(features).log_prob(likelihood.observe(pictures)).sum().backward()
    assert features.grad.isfinite().all()
    assert (features.grad.abs().sum((0, 2, 3)) > 0).all()


@each_family
def test_pairs_are_what_one_image_under_one_code_is(likelihood, pictures):
    features, x = features_of(likelihood, 3), likelihood.observe(pictures)
    by_hand = torch.stack([torch.stack([likelihood(one).log_prob(image) for image in x]) for one in features])
    torch.testing.assert_close(likelihood.pairwise_log_prob(features, x), by_hand, rtol=1e-4, atol=1e-2)


@each_family
def test_unconstrained_features_have_the_mean_that_was_asked_for(likelihood):
    mean = torch.linspace(0.11, 0.89, 784).view(1, 28, 28)
    features = likelihood.unconstrained(mean)
    assert features.shape == (likelihood.features_per_pixel, 28, 28)
    assert torch.allclose(likelihood(features).mean, mean, atol=1e-3)


@each_family
def test_pixels_that_are_always_black_start_with_finite_features(likelihood):
    black_and_white = torch.tensor([0.0, 1.0]).repeat(392).view(1, 28, 28)
    features = likelihood.unconstrained(black_and_white)
    dark, bright = likelihood(features).mean.flatten()[:2]
    assert features.isfinite().all() and 0 <= dark < 0.12 and 0.88 < bright <= 1  # near, where it cannot be there


@each_family
@pytest.mark.parametrize("bad", [math.nan, -0.1, 255.0])
def test_pixels_that_cannot_be_its_outcomes_are_refused(likelihood, bad):
    p = likelihood(features_of(likelihood, 1))
    x = torch.full((1, 1, 28, 28), 0.0)
    x[..., 5, 5] = bad
    if not p.support.check(x).all():  # a Gaussian's are all numbers
        with pytest.raises(ValueError, match="(?i)expected"):
            p.log_prob(x)
    else:
        assert not math.isnan(bad)


@pytest.mark.parametrize("lacking", ["forward", "protocol", "unconstrained"])
@pytest.mark.parametrize("features_per_pixel, link", [(2, "sigmoid"), (1, None)])
def test_a_family_without_what_only_it_can_know_is_refused_where_it_is_defined(lacking, features_per_pixel, link):
    body = {
        "forward": lambda self, features: None,
        "protocol": "words",
        "unconstrained": lambda self, mean: mean,
        "features_per_pixel": features_per_pixel,
        "link": link,
    }
    type("Whole", (Likelihood,), body)
    del body[lacking]
    with pytest.raises(TypeError, match=f"^Beta was expected to define .*, got no {lacking}; Likelihood says how"):
        type("Beta", (Likelihood,), body)


# Each family's own formula


@settings(max_examples=20)
@seeds
def test_bernoulli_is_equation_11(seed):
    features = random_features(3, seed=seed)
    x = binarise(features.sigmoid(), torch.Generator().manual_seed(seed)).double()
    expected = -binary_cross_entropy(features.sigmoid(), x, reduction="none").sum((1, 2, 3))
    assert torch.allclose(Bernoulli()(features).log_prob(x), expected, rtol=1e-10)


def test_bernoulli_stays_finite_where_the_sigmoid_rounds_to_one():
    features = torch.full((1, 1, 28, 28), 200.0)
    assert Bernoulli()(features).log_prob(torch.zeros(1, 1, 28, 28)) == -784 * 200


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_grey_cross_entropy_is_linear_between_black_and_white_images(seed, share):
    """Hence the average of log p over binary draws of the grey image."""
    generator = torch.Generator().manual_seed(seed)
    features = random_features(1, seed=seed)
    first, second = binarise(torch.full((2, 1, 28, 28), 0.5), generator).double()
    grey, coins = GreyCrossEntropy()(features), Bernoulli()(features)
    between = share * coins.log_prob(first) + (1 - share) * coins.log_prob(second)
    assert torch.allclose(grey.log_prob(share * first + (1 - share) * second), between, rtol=1e-10)


def test_no_features_bring_grey_cross_entropy_above_minus_the_entropy_of_the_draws(images):
    x = images[:1].double().clamp(1e-3, 1 - 1e-3)
    floor = -(x * x.log() + (1 - x) * (1 - x).log()).sum()
    best = torch.logit(x).requires_grad_()
    at_best = GreyCrossEntropy()(best).log_prob(x)
    assert torch.allclose(at_best, -floor)
    assert torch.autograd.grad(at_best.sum(), best)[0].abs().max() < 1e-10
    assert GreyCrossEntropy()(best + 0.01 * random_features(1)).log_prob(x) < at_best


@pytest.mark.parametrize("logit", [-9.0, -1.0, -0.01, 0.0, 1e-3, 0.5, 4.0, 9.0])
def test_continuous_bernoulli_integrates_to_one(logit):
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)
    x = torch.zeros(1001, 1, 28, 28, dtype=torch.float64)
    x[:, 0, 5, 5] = grid  # 783 pixels at 0, where the density is known
    log_constant = math.log(logit / math.tanh(logit / 2)) if logit else math.log(2)
    at_zero = log_constant + math.log(1 / (1 + math.exp(logit)))
    features = torch.full((1, 1, 28, 28), logit, dtype=torch.float64)
    log_density = ContinuousBernoulli()(features).log_prob(x) - 783 * at_zero
    assert torch.trapezoid(log_density.exp(), grid).item() == pytest.approx(1, abs=1e-4)


@settings(max_examples=20)
@given(st.floats(0.01, 10), st.integers(0, 2**31))
def test_gaussian_is_squared_error_with_its_scale_and_constant(sigma, seed):
    mean, x = random_features(2, 3, seed=seed)
    squared_error = ((x - mean) ** 2).sum((1, 2, 3))
    expected = -squared_error / (2 * sigma**2) - 392 * math.log(2 * math.pi * sigma**2)
    assert torch.allclose(Gaussian(sigma)(mean).log_prob(x), expected, rtol=1e-10)


def test_best_learned_variance_is_the_mean_squared_error(images):
    likelihood, mean = Gaussian().double(), 0.2 * random_features(12)
    best = ((images - mean) ** 2).mean().sqrt()
    slopes = []
    for sigma in (0.9 * best, best, 1.1 * best):
        likelihood.log_sigma.data = (sigma - Gaussian.FLOOR).log()
        log_prob = likelihood(mean).log_prob(images.double()).sum()
        slopes.append(torch.autograd.grad(log_prob, likelihood.log_sigma)[0].item())
    assert slopes[0] > 0 > slopes[2] and abs(slopes[1]) < 1e-9 * slopes[0]


def test_learned_sigma_stays_above_one_grey_level():
    likelihood = Gaussian()
    likelihood.log_sigma.data.fill_(-1000)
    assert likelihood.sigma.item() == pytest.approx(1 / 256)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 1 / 256, 0.1]))
def test_pixel_gaussian_is_equation_12(seed, floor):
    """By hand: a mean through a sigmoid, a log-variance (not a log-sigma), and the floor added to the variance."""
    features = random_features(3, seed=seed, scale=1.0, per_pixel=2)
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, variance = 1 / (1 + torch.exp(-features[:, 0])), torch.exp(features[:, 1]) + floor**2
    by_hand = -0.5 * (torch.log(2 * math.pi * variance) + (x[:, 0] - mean) ** 2 / variance)
    assert torch.allclose(PixelGaussian(floor)(features).log_prob(x), by_hand.sum((1, 2)))


def test_a_floor_keeps_the_density_of_a_pixel_bounded():
    certain = torch.cat([torch.zeros(1, 28, 28), torch.full((1, 28, 28), -60.0)])
    grey = torch.full((1, 28, 28), 0.5)
    highest = 784 * math.log(256 / math.sqrt(2 * math.pi))
    assert PixelGaussian(1 / 256)(certain).log_prob(grey) == pytest.approx(highest, rel=1e-4)
    assert PixelGaussian(0.0)(certain).log_prob(grey) > 4 * highest
    with pytest.raises(ValueError, match="floor was expected to be a number of 0 or more, got -1"):
        PixelGaussian(-1)


def test_only_a_learned_sigma_is_a_parameter():
    assert not list(Gaussian(0.1).parameters())
    assert [name for name, _ in Gaussian().named_parameters()] == ["log_sigma"]


# observe: what the outcomes of a family look like


def test_bernoulli_observes_a_fresh_draw_of_each_pixel_unless_the_generator_is_fixed(images):
    observe = Bernoulli().observe
    assert torch.equal(*(draw(images, torch.Generator().manual_seed(1)) for draw in (observe, binarise)))
    assert not torch.equal(observe(images), observe(images))


@pytest.mark.parametrize("likelihood", [GreyCrossEntropy(), ContinuousBernoulli(), Gaussian(), PixelGaussian()])
def test_families_of_grey_pixels_observe_the_images_themselves(likelihood, images):
    assert torch.equal(likelihood.observe(images), images)


# Refusals


def test_bernoulli_refuses_grey_pixels_and_says_what_to_do(images):
    features = random_features(1)
    for log_prob in (Bernoulli()(features).log_prob, partial(Bernoulli().pairwise_log_prob, features)):
        with pytest.raises(ValueError, match=r"0 or 1.*binarise\(images\).*GreyCrossEntropy"):
            log_prob(images)


@pytest.mark.parametrize("likelihood", [GreyCrossEntropy(), ContinuousBernoulli()])
@pytest.mark.parametrize("bad", [255.0, -0.1, math.nan])
def test_pixels_outside_the_unit_interval_are_refused(likelihood, bad):
    features = random_features(1)
    for log_prob in (likelihood(features).log_prob, partial(likelihood.pairwise_log_prob, features)):
        with pytest.raises(ValueError, match=r"expected to be in \[0, 1\].*255"):
            log_prob(torch.full((1, 1, 28, 28), bad))


@pytest.mark.parametrize("sigma", [0, -1.0, math.nan])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma was expected to be a number above 0.*None learns it"):
        Gaussian(sigma)
