"""Frey Face, the paper's second data set: frames of a film of one man's face, or of another film in its place."""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import torch

from vae_utils.data import Source, StandIn, set_apart

FREY_FACE_SHAPE = (560, 1965)  # of the key `ff`: one column a frame, 28 rows of 20 pixels
FREY_TRAIN = 1600  # the split of the author's later program (dpkingma/nips14-ssl); the paper does not say one
NUM_LEVELS = 256  # bytes / 256, as in the author's program: with / 255 a density would have other units


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

    def __repr__(self) -> str:
        sizes = f"train={len(self.train):,}, test={len(self.test):,}"
        return f"FreyFace({sizes}, source={self.source!r}, is_frey={self.is_frey})"


def load_frey_faces(hold_out: int = 0) -> FreyFace:
    """Frey Face, or a stand-in if it cannot be found or downloaded. One printed line says where it is from.

    1,965 frames of a short film of one man's face (B. Frey; S. Roweis), in a random order that is the same
    every time: 1,600 to train on and 365 to test on. A test frame therefore has training frames from the
    same second of film beside it. A pixel is its byte / 256, as in the author's program.

    The places are those of `data.Source.find`; a folder has `FreyFace/frey_rawface.mat` (key `ff`). If none has
    it, there are as many frames of another film: a window that wanders over the photograph "china.jpg" of
    scikit-learn. They too are continuous, grey, 28 x 20, and explained by few numbers (where the window is).

    Args:
        hold_out: number of training frames, the same ones every time, that are taken out of `train` and replace `test`,
            as in `load_mnist`.

    Returns:
        `FreyFace`: train, test, source, is_frey.

    Raises:
        FileNotFoundError: if VAE_DATA names a folder that does not exist.
        ValueError: if a file is truncated, damaged or another one than its name says, or if `hold_out` is
            not a whole number from 0 to 1,599.
    """
    [pixels], source, where = FREY_FACE_SOURCE.find()
    frames = torch.from_numpy(pixels.astype(np.float32)).div_(NUM_LEVELS).view(-1, 1, 28, 20)
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
    train, test = frames[order[:FREY_TRAIN]], frames[order[FREY_TRAIN:]]
    kept, apart = set_apart(len(train), hold_out)
    if hold_out:
        train, test = train[kept], train[apart]
    faces = FreyFace(train, test, source, is_frey=source != "stand-in")
    kind = "held-out training" if hold_out else "test"
    name = "Frey Face" if faces.is_frey else "No Frey Face, but a stand-in"
    print(f"{name}: {len(faces.train):,} training and {len(faces.test):,} {kind} images, {where}")
    return faces


def _read_frey_faces(path, files):
    """The frames in a MATLAB file: uint8 [1965, 560]."""
    from scipy.io import loadmat

    content = path.read_bytes()
    try:
        pixels = loadmat(io.BytesIO(content), variable_names=["ff"]).get("ff")
    except Exception as error:  # scipy raises a different one for each place where a file may be broken
        raise ValueError(f"one that is truncated, damaged or not a MATLAB file ({error})") from error
    if not isinstance(pixels, np.ndarray) or pixels.shape != FREY_FACE_SHAPE or pixels.dtype != np.uint8:
        found = "nothing" if pixels is None else f"{pixels.dtype} of shape {list(pixels.shape)}"
        raise ValueError(f"{found} under the key ff, where bytes of shape {list(FREY_FACE_SHAPE)} should be")
    frames = np.ascontiguousarray(pixels.T)
    digest, _ = files[path.name]
    if hashlib.sha256(frames).hexdigest() != digest:
        raise ValueError("a damaged one, whose pixels do not have the checksum of Frey Face")
    return frames


def _wandering_window():
    """A list of 1,965 frames of a window that wanders over a photograph: uint8 [1965, 28, 20].

    The photograph is china.jpg (a pavilion by a lake), which scikit-learn contains. In each direction the window's
    centre follows two slow waves whose periods do not have a common multiple, so it is never twice in one place.
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
    return [np.stack([np.asarray(frame) for frame in frames])]


DOWNLOAD = """
import pathlib, shutil, sys, urllib.request
path = pathlib.Path(sys.argv[1], "FreyFace", "frey_rawface.mat")
path.parent.mkdir()
with urllib.request.urlopen(sys.argv[3], timeout=float(sys.argv[2])) as answer, path.open("wb") as file:
    shutil.copyfileobj(answer, file)
"""

# SHA-256 of the pixels, not of the file: MATLAB and scipy write the date into it, so that copies of the faces differ.
PIXELS_DIGEST = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"
FREY_FACE_SOURCE = Source(
    name="Frey Face",
    folder="FreyFace",
    files={"frey_rawface.mat": (PIXELS_DIGEST, FREY_FACE_SHAPE[1])},
    read=_read_frey_faces,
    download=(DOWNLOAD, "https://cs.nyu.edu/~roweis/data/frey_rawface.mat"),
    stand_in=StandIn(
        make=_wandering_window,
        label="stand-in",
        words="a window that wanders over a photograph of scikit-learn",
        original="Frey Face",
        remedy="for the faces run again with a network, or let VAE_DATA name a folder that holds "
        "FreyFace/frey_rawface.mat",
    ),
)
