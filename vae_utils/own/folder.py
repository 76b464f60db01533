"""A folder of pictures as images in memory: read one at a time, brought to one size, kept as bytes."""

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from vae_utils.support.arguments import refusal, require_whole
from vae_utils.support.byte_images import ByteImages
from vae_utils.support.kinds import checked

SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L")  # Pillow's names for grey pictures of 65,536 levels
NAMED = 3  # files left out that the printed line names
HIDDEN = "it is hidden"


@dataclass(frozen=True, repr=False)
class OwnImages:
    """Pictures as tensors: images float32 [N, C, H, W] in [0, 1], kept as bytes (`ByteImages`), labels int64 [N].

    `test` holds the pictures that were set apart. `classes` are the names of the subfolders, of which labels are the
    numbers; without classes, the labels are None. `left_out` tells of each file that is not among the images why.
    """

    train: torch.Tensor
    train_labels: torch.Tensor | None
    test: torch.Tensor
    test_labels: torch.Tensor | None
    classes: tuple[str, ...]
    left_out: dict[str, str]

    def __repr__(self) -> str:
        shape, counts = list(self.train.shape[1:]), f"train={len(self.train):,}, test={len(self.test):,}"
        return f"OwnImages({counts}, shape={shape}, classes={len(self.classes)}, left_out={len(self.left_out):,})"


@checked
def image_folder(
    path: str | Path,
    size: int | Sequence[int] = 64,
    colour: bool = True,
    classes: bool = False,
    hold_out: int | None = None,
    shuffle: bool = True,
    ground: str = "white",
) -> OwnImages:
    """All pictures of a folder and its subfolders, brought to one size; one printed line says how many.

    A picture is turned as its camera says (EXIF). What is transparent shows the `ground`. Then the largest part around
    its middle that has the wanted shape is cut out and scaled (bicubic), smaller pictures up too. Of a film, the first
    picture counts. While they are read, pictures need the memory that the result needs, and that of one more picture.

    Hidden files and folders (whose names begin with a dot), links to folders, and what Pillow cannot read or takes for
    a decompression bomb are left out, each with its reason. Everything else depends on the names and the content of
    the files alone, not on the order in which the system lists them.

    Args:
        path: the folder.
        size: of the images in pixels: their side, or [height, width].
        colour: whether images have three channels, red, green and blue; if not, one, their brightness.
        classes: whether each subfolder is a class. What is not in a subfolder is left out then.
        hold_out: number of pictures that are taken out of `train` and make `test`; a tenth if None.
        shuffle: whether pictures are put in random order, the same one every time, before the last ones are held out.
            If not, they have the order of their names.
        ground: colour below transparent pictures, as Pillow names it: "white", "#808080".

    Returns:
        OwnImages: train, train_labels, test, test_labels, classes, left_out.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if no picture in it can be read, a class has none, `hold_out` leaves none to train on, a size is
            below 1, or the images do not fit into memory.
    """
    root = Path(path).expanduser()
    height, width = (size, size) if isinstance(size, Integral) else _pair(size)
    for name, side in (("height", height), ("width", width)):
        require_whole(name, side)
    try:
        ground = ImageColor.getrgb(ground)[:3]
    except ValueError as error:
        raise ValueError(refusal("ground", "to be a colour", repr(ground), 'such as "white" or "#808080"')) from error
    if not root.is_dir():
        given = "a file" if root.exists() else "none of this name"
        raise FileNotFoundError(refusal(f"{str(root)!r}", "to be a folder with pictures", given, "correct the path"))
    files, left_out = _files(root)
    names = sorted(entry.name for entry in os.scandir(root) if _is_folder(entry)) if classes else []
    if classes:
        left_out |= {name: "it is not in a subfolder, so it has no class" for name in files if "/" not in name}
        files = [name for name in files if "/" in name]
    if shuffle:
        files = [files[i] for i in torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()]
    try:
        stored = torch.empty(len(files), 3 if colour else 1, height, width, dtype=torch.uint8)
    except RuntimeError as error:
        gigabytes = f"{len(files) * (3 if colour else 1) * height * width / 1e9:.0f} GB"
        given = f"{len(files):,} files, of which the images would take {gigabytes}"
        raise ValueError(refusal("the images", "to fit into memory", given, "choose a smaller size")) from error
    read = []  # the files whose images stand in `stored`, in this order
    for name in tqdm(files, unit=" files", leave=False, delay=2, ncols=100, file=sys.stdout):
        try:
            stored[len(read)] = _read(root / name, (width, height), "RGB" if colour else "L", ground)
        except ValueError as reason:
            left_out[name] = str(reason)
        else:
            read.append(name)
    left_out = dict(sorted(left_out.items()))
    if not read:
        given = (
            f"{len(left_out):,} file{'s' * (len(left_out) > 1)}, none of them one{_reasons(left_out)}"
            if left_out
            else "an empty one"
        )
        raise ValueError(refusal(f"{str(root)!r}", "to be a folder with pictures", given, "correct the path"))
    labels = torch.tensor([names.index(name.split("/")[0]) for name in read]) if classes else None
    if classes and (without := [names[k] for k in range(len(names)) if k not in labels]):
        remedy = "put a picture there, or take the folder away"
        raise ValueError(refusal("each class", "to have a picture", f"none in {without[0]!r}", remedy))
    hold_out = len(read) // 10 if hold_out is None else hold_out
    require_whole("hold_out", hold_out, 0, len(read) - 1, f"some of the {len(read):,} pictures have to remain")
    train, test = stored[: len(read)].tensor_split([len(read) - hold_out])
    train_labels, test_labels = labels.tensor_split([len(train)]) if classes else (None, None)
    images = OwnImages(ByteImages(train), train_labels, ByteImages(test), test_labels, tuple(names), left_out)
    print(_line(root, images))
    return images


def _pair(size):
    if len(size) != 2:
        raise ValueError(refusal("size", "to be a side, or (height, width)", tuple(size), "such as 64 or (48, 64)"))
    return size


def _files(root):
    """Names of all files below `root`, sorted, with "/" between folders; and of those that are no candidates, why."""
    files, left_out, folders = [], {}, [""]
    while folders:
        inside = folders.pop()
        try:
            entries = sorted(os.scandir(root / inside), key=lambda entry: entry.name)
        except OSError as error:
            left_out[inside.rstrip("/")] = f"the folder cannot be read: {error.strerror}"
            continue
        for entry in entries:
            name = inside + entry.name
            if entry.name.startswith("."):
                left_out[name] = HIDDEN
            elif _is_folder(entry):
                folders.append(f"{name}/")
            elif entry.is_dir():
                left_out[name] = "it is a link to a folder"
            elif not entry.is_file():
                left_out[name] = "it is a link to nothing" if entry.is_symlink() else "it is not a file"
            else:
                files.append(name)
    return sorted(files), left_out


def _is_folder(entry):
    return entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")


def _read(path, size, mode, ground):
    """One picture: uint8 [C, H, W]; or a ValueError that says why there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF and the like: the picture can be read
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as picture:
                picture.draft(None, (2 * max(size), 2 * max(size)))  # a large JPEG is read at half its size, or less
                picture = ImageOps.exif_transpose(picture)
                if picture.mode == "F":
                    raise ValueError("its pixels are not whole numbers")
                if picture.mode in SIXTEEN_BITS:  # which Pillow itself would cut off at level 255
                    picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
                if picture.has_transparency_data:
                    picture = picture.convert("RGBA")
                    picture = Image.alpha_composite(Image.new("RGBA", picture.size, (*ground, 255)), picture)
                picture = ImageOps.fit(picture.convert(mode), size, Image.Resampling.BICUBIC)
                pixels = np.array(picture).reshape(*size[::-1], -1)
        except UnidentifiedImageError:
            raise ValueError("it is not a picture") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise ValueError("it has too many pixels (a decompression bomb?)") from None
        except MemoryError:
            raise ValueError("it does not fit into memory") from None
        except Exception as error:  # a damaged file may lead a decoder anywhere
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise ValueError(f"it cannot be read: {reason}") from None
    return torch.from_numpy(pixels).movedim(-1, 0)


def _line(root, images):
    """What the reader is told of the images."""
    total, (channels, height, width) = len(images.train) + len(images.test), images.train.shape[1:]
    kind = "in colour" if channels == 3 else "in grey"
    counts = f"{len(images.train):,} training and {len(images.test):,} held-out images"
    line = f"{_shown(root.resolve().name)}: {counts} of {height} x {width} pixels {kind}"
    line += f" in {len(images.classes)} class{'es' * (len(images.classes) > 1)}" * bool(images.classes)
    line += f", {total * channels * height * width / 1e6:.1f} MB"
    if images.left_out:
        line += f"; {len(images.left_out):,} left out{_reasons(images.left_out)}"
    return line


def _reasons(left_out):
    """The first files that were left out, hidden ones last, and why."""
    first = sorted(left_out.items(), key=lambda item: item[1] == HIDDEN)[:NAMED]
    said = [f"{_shown(name)}: {reason}" for name, reason in first]
    return f" ({'; '.join(said)}{'; ...' * (len(left_out) > NAMED)})" if said else ""


def _shown(name):
    """A name on one line: as it is, or, with line breaks and bytes that are no letters, as Python writes it."""
    return name if name.isprintable() else ascii(name)
