"""MNIST, Fashion-MNIST and Frey Face from each of their four places, and each way in which these can fail."""

import gzip
import hashlib
import http.server
import io
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vae_utils import data
from vae_utils.paper import frey_face

RANDOM = np.random.default_rng(0)


def idx_file(name):
    """The content of one of MNIST's four files, with 30 or 10 random digits in it."""
    count = 30 if "train" in name else 10
    magic, shape, end = (2051, (28, 28), 256) if "images" in name else (2049, (), 10)
    header = b"".join(number.to_bytes(4, "big") for number in (magic, count, *shape))
    return header + RANDOM.integers(0, end, (count, *shape), np.uint8).tobytes()


def mat_file(compress=False, **variables):
    content = io.BytesIO()
    savemat(content, variables, do_compression=compress)
    return content.getvalue()


DIGITS = {name: idx_file(name) for name in data.MNIST_SOURCE.files}
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in DIGITS.items()}
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = DIGITS
PACKED_IMAGES, PACKED_LABELS, *_ = PACKED
# Stands for the faces: 1,965 small frames whose corner says which they are.
PIXELS = RANDOM.integers(8, 239, (560, 1965), np.uint8)
PIXELS[0], PIXELS[1] = np.arange(1965) // 256, np.arange(1965) % 256
CHANGED = PIXELS.copy()
CHANGED[559, 1964] ^= 1
[FREY_FILE] = frey_face.FREY_FACE_SOURCE.files
FACES = {FREY_FILE: mat_file(ff=PIXELS)}
HALF_A_DOWNLOAD = """
import pathlib, sys, time
raw = pathlib.Path(sys.argv[1], "MNIST", "raw")
raw.mkdir(parents=True)
for name in sys.argv[4:]:
    (raw / name).write_bytes(b"half")
time.sleep(float(sys.argv[3]))
"""


class World:
    """One set of images is small in it, data/ a temporary folder, VAE_DATA unset, and no download works."""

    def __init__(self, patch, root):
        self.patch, self.root = patch, root
        patch.setattr(data, "DATA", root / "data")
        patch.delenv("VAE_DATA", raising=False)
        self.change(files=self.digests(), download=("raise SystemExit('this test must not download')",))

    @property
    def source(self):
        return getattr(self.module, self.constant)

    def is_original(self, images):
        return getattr(images, self.flag)

    def change(self, **fields):
        self.patch.setattr(self.module, self.constant, replace(self.source, **fields))

    def write(self, place):
        """The files, into data/ or into a folder that VAE_DATA then names; returns the folder that they are in."""
        folder = self.root / place / self.source.folder
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        if place != "data":
            self.patch.setenv("VAE_DATA", str(self.root / place))
        return folder


class MNIST(World):
    module, constant, load = data, "MNIST_SOURCE", staticmethod(data.load_mnist)
    files, served, flag = DIGITS, PACKED, "is_full"
    line = "MNIST: 30 training and 10 test images"
    shown = "MNIST(train=30, test=10, source='VAE_DATA')"
    stand_in, stand_in_line = [np.zeros((2, 784)), np.zeros(2)] * 2, "MNIST: 2 training and 2 test images, embedded"
    parts = (("train", "test"), ("train_labels", "test_labels"))

    def digests(self):
        counts = {name: 30 if "train" in name else 10 for name in self.files}
        return {name: (hashlib.md5(self.files[name]).hexdigest(), count) for name, count in counts.items()}

    def assert_read(self, mnist):
        assert self.is_original(mnist)
        for images, content in ((mnist.train, DIGITS[TRAIN_IMAGES]), (mnist.test, DIGITS[TEST_IMAGES])):
            pixels = np.frombuffer(content[16:], np.uint8).reshape(-1, 1, 28, 28)
            assert images.dtype == torch.float32
            np.testing.assert_allclose(images.numpy(), pixels / 255, atol=1e-7)
        for labels, content in ((mnist.train_labels, DIGITS[TRAIN_LABELS]), (mnist.test_labels, DIGITS[TEST_LABELS])):
            assert labels.dtype == torch.int64 and labels.tolist() == list(content[8:])

    def download_from(self, *addresses):
        """By torchvision, of the small files."""
        kind = self.source.folder.partition("/")[0]
        resources = [(name, hashlib.md5(content).hexdigest()) for name, content in PACKED.items()]
        before, call, after = data.TORCHVISION.partition("\ngetattr")
        small_set = f"\nkind = torchvision.datasets.{kind}\nkind.mirrors, kind.resources = {addresses!r}, {resources!r}"
        self.change(download=(before + small_set + call + after, kind))


class FashionMNIST(MNIST):
    """The same files in packed form, and no stand-in."""

    constant, load = "FASHION_MNIST_SOURCE", staticmethod(data.load_fashion_mnist)
    files = PACKED
    line = "Fashion-MNIST: 30 training and 10 test images"
    shown = "FashionMNIST(train=30, test=10, source='VAE_DATA')"


class FreyFace(World):
    module, constant, load = frey_face, "FREY_FACE_SOURCE", staticmethod(frey_face.load_frey_faces)
    files, served, flag = FACES, FACES, "is_frey"
    line = "Frey Face: 1,600 training and 365 test images"
    shown = "FreyFace(train=1,600, test=365, source='VAE_DATA', is_frey=True)"
    stand_in, stand_in_line = [np.zeros((1965, 560))], "No Frey Face, but a stand-in: "
    parts = (("train", "test"),)

    def digests(self):
        return {FREY_FILE: (hashlib.sha256(np.ascontiguousarray(PIXELS.T)).hexdigest(), 1965)}

    def assert_read(self, faces):
        assert self.is_original(faces)
        assert faces.train.shape == (1600, 1, 28, 20) and faces.test.shape == (365, 1, 28, 20)
        assert faces.train.dtype == faces.test.dtype == torch.float32
        order = torch.randperm(1965, generator=torch.Generator().manual_seed(0))  # as ever
        bytes_ = PIXELS.T[order].reshape(-1, 1, 28, 20)  # rows of 20 pixels
        assert np.array_equal(torch.cat([faces.train, faces.test]).numpy() * 256, bytes_)  # exact; / 255 is not

    def download_from(self, *addresses):
        self.change(download=(frey_face.DOWNLOAD, f"{addresses[-1]}{FREY_FILE}"))


WORLDS = {world.__name__: world for world in (MNIST, FashionMNIST, FreyFace)}


@pytest.fixture(params=WORLDS)
def small(request, monkeypatch, tmp_path):
    return WORLDS[request.param](monkeypatch, tmp_path)


def of(*names, slow=()):
    """Runs a test with some of the sets only."""
    names = [*names, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]
    return pytest.mark.parametrize("small", names, indirect=True)


def one_line(capfd):
    """What was printed: exactly one line, nothing on stderr, and no folder of this machine."""
    out, err = capfd.readouterr()
    assert err == "" and out.count("\n") == 1
    assert str(data.PROJECT) not in out and str(data.DATA) not in out
    return out


# Files that are there


def test_folder_named_by_vae_data(small, capfd):
    small.write("elsewhere")
    images = small.load()
    small.assert_read(images)
    assert images.source == "VAE_DATA" and repr(images) == small.shown
    assert one_line(capfd) == f"{small.line}, from the folder that VAE_DATA names\n"


def test_relative_vae_data_starts_at_the_project(small, monkeypatch):
    small.write("shared")
    monkeypatch.setattr(data, "PROJECT", small.root / "project")
    monkeypatch.setenv("VAE_DATA", "../shared")
    (small.root / "project" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(small.root / "project" / "notebooks")
    assert small.load().source == "VAE_DATA"


def test_vae_data_that_points_nowhere(small, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(small.root / "nowhere"))
    with pytest.raises(FileNotFoundError) as error:
        small.load()
    for part in ("VAE_DATA", str(small.root / "nowhere"), f"{small.source.folder}/{next(iter(small.files))}", "unset"):
        assert part in str(error.value)


@of("MNIST")
def test_vae_data_that_lacks_one_file(small):
    (small.write("elsewhere") / TEST_LABELS).unlink()
    with pytest.raises(FileNotFoundError, match=TEST_LABELS):
        small.load()


@of("FashionMNIST", "FreyFace")
def test_a_folder_that_has_only_mnist_leads_on(small, monkeypatch, tmp_path):
    small.write("data")
    MNIST(monkeypatch, tmp_path).write("elsewhere")
    assert small.load().source == "data/"


def test_data_in_the_project(small, capfd):
    small.write("data")
    images = small.load()
    small.assert_read(images)
    assert images.source == "data/" and one_line(capfd) == f"{small.line}, from data/\n"


@of("FreyFace")
def test_a_copy_written_by_another_program_is_the_same_faces(small):
    (small.write("data") / FREY_FILE).write_bytes(mat_file(ff=PIXELS, other=np.arange(3), compress=True))
    small.assert_read(small.load())


FACE, BROKEN = FACES[FREY_FILE], "one that is truncated, damaged or not a MATLAB file"
OTHER_PIXELS = "a damaged one, whose pixels do not have the checksum of Frey Face"
NO_MNIST = "something that is not MNIST where images should be"
NOT_PACKED = "one that is truncated, damaged or not packed"
BAD_FILES = {
    "truncated": ("MNIST", TRAIN_IMAGES, DIGITS[TRAIN_IMAGES][:-1000], "a truncated one: 22,536 bytes of 23,536"),
    "the last": ("MNIST", TEST_IMAGES, DIGITS[TEST_IMAGES][:-1], "a truncated one"),
    "labels": ("MNIST", TRAIN_IMAGES, DIGITS[TRAIN_LABELS], f"the content of {TRAIN_LABELS}"),
    "test set": ("MNIST", TRAIN_IMAGES, DIGITS[TEST_IMAGES], f"the content of {TEST_IMAGES}"),
    "unknown labels": ("MNIST", TRAIN_IMAGES, DIGITS[TRAIN_LABELS] + b"\0", "labels where images should be"),
    "still packed": ("MNIST", TRAIN_IMAGES, PACKED[PACKED_IMAGES], NO_MNIST),
    "empty": ("MNIST", TRAIN_IMAGES, b"", NO_MNIST),
    "one byte": ("MNIST", TRAIN_IMAGES, DIGITS[TRAIN_IMAGES][:-1] + b"\0", "a damaged one or other data"),
    "truncated pack": ("FashionMNIST", PACKED_IMAGES, PACKED[PACKED_IMAGES][:-1000], NOT_PACKED),
    "unpacked": ("FashionMNIST", PACKED_IMAGES, DIGITS[TRAIN_IMAGES], NOT_PACKED),
    "packed labels": ("FashionMNIST", PACKED_IMAGES, PACKED[PACKED_LABELS], f"the content of {PACKED_LABELS}"),
    "truncated faces": ("FreyFace", FREY_FILE, FACE[:-1000], BROKEN),
    "header only": ("FreyFace", FREY_FILE, FACE[:100], BROKEN),
    "no faces": ("FreyFace", FREY_FILE, b"", BROKEN),
    "a web page": ("FreyFace", FREY_FILE, b"<html>404</html>" * 1000, BROKEN),
    "overwritten": ("FreyFace", FREY_FILE, FACE[:128] + b"\xff" * 56 + FACE[184:], BROKEN),
    "no key": ("FreyFace", FREY_FILE, mat_file(gg=PIXELS), "nothing under the key ff"),
    "transposed": ("FreyFace", FREY_FILE, mat_file(ff=PIXELS.T), "uint8 of shape [1965, 560] under the key ff"),
    "floats": ("FreyFace", FREY_FILE, mat_file(ff=PIXELS / 256), "float64 of shape [560, 1965] under the key ff"),
    "one bit": ("FreyFace", FREY_FILE, mat_file(ff=CHANGED), OTHER_PIXELS),
}


@pytest.mark.parametrize("small, name, content, fault", BAD_FILES.values(), ids=BAD_FILES, indirect=["small"])
@pytest.mark.parametrize(
    "place, remedy", [("data", "delete it"), ("elsewhere", "put a good copy in its place, or unset VAE_DATA")]
)
def test_bad_file_is_named_with_its_fault_and_its_remedy(small, name, content, fault, place, remedy):
    bad = small.write(place) / name
    bad.write_bytes(content)
    with pytest.raises(ValueError) as error:
        small.load()
    words = str(error.value)
    assert words.startswith(f"{bad} was expected to be an intact file of {small.source.name}, got {fault}")
    assert f"; {remedy}" in words


# The download, from servers on this machine


@pytest.fixture
def patient(monkeypatch):
    """A download goes through no proxy, and has the minute that a busy machine may need to import torch."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(data, "DOWNLOAD_SECONDS", 300)


@pytest.fixture
def server(small, tmp_path, patient):
    """The folder of a web server on loopback, where the small set is downloaded from."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in small.served.items():
        (folder / name).write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as web:
        threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        small.download_from(f"http://127.0.0.1:{web.server_port}/")
        yield folder
        web.shutdown()


def assert_falls_back(small, capfd, reason):
    """On a stand-in that costs nothing to make."""
    small.change(stand_in=replace(small.source.stand_in, make=lambda: small.stand_in))
    images = small.load()
    said = one_line(capfd)
    assert images.source == small.source.stand_in.label and not small.is_original(images)
    assert said.startswith(small.stand_in_line) and reason in said and "VAE_DATA" in said
    assert not data.DATA.is_dir() or list(data.DATA.iterdir()) == []


@of("FreyFace", slow=["MNIST", "FashionMNIST"])
def test_download_is_verified_and_kept(small, server, capfd):
    """torchvision leaves the packed files beside what it unpacks: each source keeps those that it reads."""
    images = small.load()
    small.assert_read(images)
    assert images.source == "download" and one_line(capfd) == f"{small.line}, downloaded into data/\n"
    assert [path.name for path in data.DATA.iterdir()] == [small.source.folder.partition("/")[0]]  # nothing temporary
    assert {path.name for path in (data.DATA / small.source.folder).iterdir()} == small.files.keys()
    assert small.load().source == "data/"


@of("FreyFace")
def test_what_a_killed_download_left_is_cleared_away(small, server):
    for name, age in {"old": 100 * data.DOWNLOAD_SECONDS, "young": 1}.items():
        (folder := data.DATA / f".download-{name}").mkdir(parents=True)
        (folder / "part").write_text("half of it")
        os.utime(folder, (time.time() - age,) * 2)
    small.load()
    assert [path.name for path in data.DATA.glob(".*")] == [".download-young"]


@of("FreyFace", slow=["MNIST"])
def test_damaged_download_leaves_nothing(small, server, capfd):
    name, content, reason = {
        "MNIST": (f"{TEST_LABELS}.gz", b"not the labels", "corrupted"),
        "Frey Face": (FREY_FILE, mat_file(ff=CHANGED), "what arrived is not Frey Face"),
    }[small.source.name]
    (server / name).write_bytes(content)
    assert_falls_back(small, capfd, reason)


@of("FreyFace")
def test_a_server_without_the_file(small, server, capfd):
    (server / FREY_FILE).unlink()
    assert_falls_back(small, capfd, "HTTP Error 404")


@of("FreyFace", slow=["MNIST"])
def test_servers_that_refuse_or_never_answer(small, patient, monkeypatch, capfd):
    monkeypatch.setattr(data, "SOCKET_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait in its queue for ever
        small.download_from(*(f"http://127.0.0.1:{port}/" for port in (refusing, silent.getsockname()[1])))
        assert_falls_back(small, capfd, "timed out")
        silent.settimeout(0)
        silent.accept()  # raises if torchvision never came as far as this second mirror
    assert socket.getdefaulttimeout() is None


@pytest.mark.slow
@of("MNIST")
def test_download_that_takes_too_long_is_stopped(small, monkeypatch, capfd):
    small.change(download=(HALF_A_DOWNLOAD, "20", TRAIN_IMAGES))
    monkeypatch.setattr(data, "DOWNLOAD_SECONDS", 1)
    assert_falls_back(small, capfd, "longer than 1 seconds")


@of("MNIST")
def test_what_arrived_is_verified_before_it_is_kept(small, capfd):
    small.change(download=(HALF_A_DOWNLOAD, "0", *DIGITS))
    assert_falls_back(small, capfd, "what arrived is not MNIST")


@of("MNIST")
def test_keyboard_interrupt_leaves_nothing(small, monkeypatch):
    def interrupt(command, **_):
        subprocess.check_call(command)
        raise KeyboardInterrupt

    small.change(download=(HALF_A_DOWNLOAD, "0", *DIGITS))
    monkeypatch.setattr(data.subprocess, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        small.load()
    assert list(data.DATA.iterdir()) == []


@of("MNIST", "FreyFace")
def test_data_folder_that_cannot_be_written(small, capfd):
    data.DATA.write_text("a file where the folder should be")
    assert_falls_back(small, capfd, "data/ cannot be written")


@of("FashionMNIST")
@pytest.mark.parametrize("named, reason", [("", "this test must not download"), ("embedded", "no package contains it")])
def test_nothing_stands_in_for_fashion_mnist(small, monkeypatch, named, reason):
    monkeypatch.setenv("VAE_DATA", named)
    with pytest.raises(FileNotFoundError) as error:
        small.load()
    words = str(error.value)
    assert words.startswith("Fashion-MNIST was expected to come from data/ or a download, got neither")
    assert reason in words
    assert "network" in words and f"FashionMNIST/raw with {TRAIN_IMAGES}.gz" in words


# hold_out


def test_held_out_images_are_drawn_as_ever(small, capfd):
    """The numbers in `assets/` were made on these: their place in the training set is fixed by seed 0."""
    small.write("data")
    whole = small.load()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    part = small.load(hold_out=7)
    assert torch.equal(torch.get_rng_state(), state)  # the reader's own random numbers stay as they were
    order = torch.randperm(len(whole.train), generator=torch.Generator().manual_seed(0))
    for kept, apart in small.parts:  # nothing lost, nothing twice, no test image, and labels stay with their images
        assert torch.equal(getattr(part, apart), getattr(whole, kept)[order[:7]])
        assert torch.equal(getattr(part, kept), getattr(whole, kept)[order[7:]])
    said = capfd.readouterr().out.splitlines()[1]
    assert f"{len(whole.train) - 7:,} training and 7 held-out training images" in said


@of("MNIST", "FashionMNIST")
def test_without_shuffling_the_last_are_held_out_and_all_keep_their_order(small, capfd):
    small.write("data")
    whole, part = small.load(), small.load(hold_out=7, shuffle=False)
    for kept, apart in small.parts:
        assert torch.equal(getattr(part, kept), getattr(whole, kept)[:23])
        assert torch.equal(getattr(part, apart), getattr(whole, kept)[23:])
    assert "23 training and 7 held-out training images" in capfd.readouterr().out.splitlines()[1]
    assert torch.equal(small.load(shuffle=False).train, whole.train)
    with pytest.raises(ValueError, match="from 0 to 29, got 30"):
        small.load(hold_out=30, shuffle=False)


def test_hold_out_that_makes_no_sense(small):
    small.write("data")
    count = len(small.load().train)
    words = f"hold_out was expected to be a whole number from 0 to {count - 1}, got .*{count:,} training images"
    for hold_out in (-1, count, count + 1):
        with pytest.raises(ValueError, match=words):
            small.load(hold_out=hold_out)


@pytest.mark.slow
def test_importing_the_loaders_is_light():
    heavy = {"torchvision", "mlxtend", "sklearn", "scipy", "pandas", "matplotlib", "ipywidgets", "PIL"}
    code = f"import sys, vae_utils.paper.frey_face; print(*{heavy} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.split() == []
