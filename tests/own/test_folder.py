"""A folder of pictures becomes images by rules that can be checked by hand; what cannot is named, with a reason."""

import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from vae_utils.own import folder as module
from vae_utils.own.folder import image_folder

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture(autouse=True)
def no_warning_reaches_the_reader():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def save(path, colour=RED, size=(8, 8), mode="RGB", **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **settings)


def read(folder, size=8, **settings):
    """All images of a folder in the order of their names, as whole numbers [N, C, H, W]."""
    images = image_folder(folder, size, shuffle=False, hold_out=0, **settings).train
    return (images.clone() * 255).round().int()


def bands(*colours, size=(8, 8)):
    """A picture of vertical bands of equal width."""
    width, height = size
    picture = Image.new("RGB", (width * len(colours), height))
    for k, colour in enumerate(colours):
        picture.paste(colour, (width * k, 0, width * (k + 1), height))
    return picture


# What an image is


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert torch.equal(read(tmp_path, (6, 5))[0], torch.from_numpy(pixels).movedim(-1, 0).int())
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    assert torch.equal(read(tmp_path, (6, 5), colour=False)[0, 0], torch.from_numpy(grey.copy()).int())


def test_of_other_shapes_the_middle_is_cut_out_and_scaled(tmp_path):
    bands(RED, GREEN, BLUE).save(tmp_path / "wide.png")
    bands(RED, GREEN, BLUE).rotate(90, expand=True).save(tmp_path / "tall.png")
    bands(GREEN, size=(3, 100)).save(tmp_path / "thin.png")
    bands(GREEN, size=(1, 1)).save(tmp_path / "tiny.png")
    for size in (8, 4, 16):
        assert (read(tmp_path, size) - torch.tensor(GREEN).view(3, 1, 1))[..., 1:-1, 1:-1].abs().max() == 0
    sixths = read(tmp_path, (4, 12))[3, :, 0]  # the whole of "wide", scaled
    assert sixths[:, 0].tolist() == list(RED) and sixths[:, 11].tolist() == list(BLUE)


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_picture_is_turned_as_its_camera_says(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # what is left in the file is above in the picture
    bands(RED, BLUE, size=(32, 64)).save(tmp_path / f"a.{kind}", exif=exif)
    image = read(tmp_path, 16)[0]
    assert (image[:, 2, 8] - torch.tensor(RED)).abs().max() < 5
    assert (image[:, 13, 8] - torch.tensor(BLUE)).abs().max() < 5


def test_what_is_transparent_shows_the_ground(tmp_path):
    save(tmp_path / "a.png", (255, 0, 0, 0), mode="RGBA")
    save(tmp_path / "b.png", (0, 128), mode="LA")
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([9, 9, 9, 0, 0, 255])
    palette.save(tmp_path / "c.png", transparency=1)
    palette.save(tmp_path / "d.gif", transparency=0)
    first, second, third, last = read(tmp_path)[:, :, 0, 0].tolist()
    assert first == third == list(WHITE) and second == [127] * 3 and last == list(BLUE)
    assert read(tmp_path, ground="#00ff00")[0, :, 0, 0].tolist() == list(GREEN)


@pytest.mark.parametrize("mode, colour, expected", [("L", 77, 77), ("1", 1, 255), ("I;16", 40_000, 156)])
def test_grey_pictures_have_three_equal_channels(tmp_path, mode, colour, expected):
    save(tmp_path / "a.png", colour, mode=mode)
    assert (read(tmp_path) == expected).all() and (read(tmp_path, colour=False) == expected).all()


def test_a_large_jpeg_is_much_the_same_picture(tmp_path):
    """Although it is read at a fraction of its size."""
    bands(RED, GREEN, size=(600, 1200)).save(tmp_path / "a.jpg", quality=95)
    image = read(tmp_path, 32)[0]
    assert (image[:, 16, 8] - torch.tensor(RED)).abs().max() < 6
    assert (image[:, 16, 24] - torch.tensor(GREEN)).abs().max() < 6


# Which files, in which order


@pytest.fixture
def hundred(tmp_path):
    for k in range(100):
        save(tmp_path / f"{k // 25}" / f"{k:03d}.png", (k, k, k), size=(2, 2))
    return tmp_path


def levels(images):
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def test_pictures_come_in_the_order_of_their_names_or_in_a_random_one_that_stays(hundred, monkeypatch):
    ordered = image_folder(hundred, 2, shuffle=False)
    assert levels(ordered.train) == list(range(90)) and levels(ordered.test) == list(range(90, 100))
    mixed = image_folder(hundred, 2, hold_out=30)
    assert sorted(levels(mixed.train) + levels(mixed.test)) == list(range(100)) and len(mixed.test) == 30
    assert levels(mixed.train) != sorted(levels(mixed.train))
    scandir = os.scandir
    monkeypatch.setattr(module.os, "scandir", lambda path: list(scandir(path))[::-1])
    assert levels(image_folder(hundred, 2, hold_out=30).train) == levels(mixed.train)


def test_classes_are_the_subfolders(hundred):
    save(hundred / "0" / "deeper" / "a.png", (7, 7, 7), size=(2, 2))
    save(hundred / "above.png")
    images = image_folder(hundred, 2, classes=True)
    assert images.classes == ("0", "1", "2", "3")
    for part, labels in ((images.train, images.train_labels), (images.test, images.test_labels)):
        assert labels.dtype == torch.int64 and labels.tolist() == [level // 25 for level in levels(part)]
    assert images.left_out == {"above.png": "it is not in a subfolder, so it has no class"}
    without = image_folder(hundred, 2)
    assert without.classes == () and without.train_labels is without.test_labels is None


def test_images_are_kept_as_bytes_without_a_copy(hundred):
    images = image_folder(hundred, 2)
    assert images.train.stored.dtype == torch.uint8
    assert images.train.stored.untyped_storage().data_ptr() == images.test.stored.untyped_storage().data_ptr()
    assert images.train.stored.untyped_storage().nbytes() == 100 * 3 * 4


def test_one_line_says_how_many_and_how_much(hundred, capsys):
    for name in ("x\ny.txt", ".hidden", "z.txt", "zz.txt"):
        (hundred / name).write_text("no picture")
    images = image_folder(hundred, 2)
    line = capsys.readouterr().out
    assert line.startswith(f"{hundred.name}: 90 training and 10 held-out images of 2 x 2 pixels in colour, 0.0 MB; 4 ")
    assert line.endswith(
        "left out ('x\\ny.txt': it is not a picture; z.txt: it is not a picture; zz.txt: it is not a picture; ...)\n"
    )
    assert repr(images) == "OwnImages(train=90, test=10, shape=[3, 2, 2], classes=0, left_out=4)"


@pytest.mark.parametrize("name", ["with spaces.png", "Zoë größer.png", "two\nlines.png", "'quoted\".png", "no suffix"])
def test_any_name_will_do(tmp_path, name):
    save(tmp_path / name, format="PNG")
    assert len(read(tmp_path)) == 1


def bomb(path, width=100_000, height=100_000):
    """A PNG of a few bytes whose head promises this many pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\1IDAT"
    )


def test_each_file_that_is_left_out_has_its_reason(tmp_path):
    save(tmp_path / "good.png")
    save(tmp_path / ".hidden.png")
    save(tmp_path / ".folder" / "a.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    for kind in ("jpg", "png"):
        Image.effect_noise((64, 64), 50).save(tmp_path / f"half.{kind}")
        content = (tmp_path / f"half.{kind}").read_bytes()
        (tmp_path / f"half.{kind}").write_bytes(content[: len(content) // 2])
    bomb(tmp_path / "bomb.png")
    bomb(tmp_path / "large.png", 10_000, 10_000)
    Image.new("F", (8, 8), 0.5).save(tmp_path / "float.tiff")
    if os.name == "posix":
        (tmp_path / "loop").symlink_to(tmp_path)
        (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
        (tmp_path / "link.png").symlink_to(tmp_path / "good.png")
        os.mkfifo(tmp_path / "pipe")
    images = image_folder(tmp_path, 8, hold_out=0)
    expected = {
        ".folder": "hidden",
        ".hidden.png": "hidden",
        "bomb.png": "too many pixels",
        "empty.png": "not a picture",
        "float.tiff": "not whole numbers",
        "half.jpg": "cannot be read",
        "half.png": "cannot be read",
        "large.png": "too many pixels",
        "loop": "link to a folder",
        "nowhere": "link to nothing",
        "pipe": "not a file",
        "text.jpg": "not a picture",
    }
    expected = {name: reason for name, reason in expected.items() if os.path.lexists(tmp_path / name)}
    assert list(images.left_out) == list(expected)
    assert all(expected[name] in reason for name, reason in images.left_out.items()), images.left_out
    assert not any(str(tmp_path) in reason or "\n" in reason for reason in images.left_out.values())
    assert len(images.train) == 2 + (os.name == "posix")


# Refusals


def test_no_folder_no_pictures_no_class(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere' was expected to be a folder with pictures, got none of this"):
        image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="was expected to be a folder with pictures, got an empty one; correct"):
        image_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(FileNotFoundError, match="got a file"):
        image_folder(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"got 1 file, none of them one \(notes.txt: it is not a picture\)"):
        image_folder(tmp_path)
    save(tmp_path / "cats" / "a.png")
    (tmp_path / "dogs").mkdir()
    with pytest.raises(ValueError, match="each class was expected to have a picture, got none in 'dogs'; put"):
        image_folder(tmp_path, classes=True)
    (tmp_path / "dogs" / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="none in 'dogs'"):
        image_folder(tmp_path, classes=True)
    assert len(image_folder(tmp_path).train) == 1


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (dict(size=0), "height was expected to be a whole number of 1 or more, got 0"),
        (dict(size=(8, -1)), "width was expected"),
        (dict(size=(3, 8, 8)), r"size was expected to be a side, or \(height, width\), got \(3, 8, 8\)"),
        (dict(size=1.5), "size was expected"),
        (
            dict(size=10**7),
            "images were expected to fit into memory, got 12 files, .* take 3600000 GB; choose a smaller",
        ),
        (dict(size=10**12), "images were expected to fit into memory"),
        (dict(hold_out=12), "hold_out was expected to be a whole number from 0 to 11, got 12; some of the 12 pictures"),
        (dict(ground="checked"), "ground was expected to be a colour, got 'checked'"),
        (dict(colour="yes"), "colour was expected to be True or False"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, settings, sentence):
    for k in range(12):
        save(tmp_path / f"{k}.png")
    with pytest.raises(ValueError, match=sentence):
        image_folder(tmp_path, **settings)


# Memory

MEASURE = """
import resource, sys
from vae_utils.own.folder import image_folder
first = image_folder(sys.argv[2])  # what Pillow and torch load at the first picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
images = image_folder(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(images.train) + len(images.test))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has other units elsewhere")
def test_20_000_pictures_need_less_than_twice_their_own_memory(tmp_path):
    for k in range(20):
        save(tmp_path / "few" / f"{k}.png", (k, 0, 0), size=(64, 64))
    many = tmp_path / "many"
    many.mkdir()
    for k in range(20_000):
        os.link(tmp_path / "few" / f"{k % 20}.png", many / f"{k}.png")
    command = [sys.executable, "-c", MEASURE, str(many), str(tmp_path / "few")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    kilobytes, count = map(int, said.split())
    assert count == 20_000
    assert kilobytes * 1024 < 1.2 * 20_000 * 3 * 64 * 64
