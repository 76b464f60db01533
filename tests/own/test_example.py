"""The folder to practise on holds what it says, the same every time, and never takes the place of other files."""

import pytest
from PIL import Image

from vae_utils.own.example import make_example_folder
from vae_utils.own.folder import image_folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_a_folder_as_people_have_them(tmp_path, toy_mnist):
    folder = make_example_folder(tmp_path / "my pictures", toy_mnist, 100)
    pictures = [path for path in folder.glob("*/*") if path.stem.isdigit() or "Zoë" in path.name]
    assert len(pictures) == 100 and {path.suffix for path in pictures} == {".png", ".jpg"}
    assert len({Image.open(path).size for path in pictures}) > 50
    images = image_folder(folder, 28, classes=True)
    assert images.classes == tuple("0123456789") and len(images.train) + len(images.test) == 105
    assert sorted(name.split("/")[-1] for name in images.left_out) == [
        ".hidden.png",
        "a text.jpg",
        "notes.txt",
        "truncated.jpg",
    ]
    first, second = (contents(make_example_folder(tmp_path / name, toy_mnist, 100)) for name in ("a", "b"))
    assert first == second == contents(folder)
    assert contents(make_example_folder(tmp_path / "c", toy_mnist, 100, seed=1)) != first


def test_odd_ones_are_all_the_same_digit(tmp_path, toy_mnist):
    """Whose ink is darker than the ground in one, and lighter in another."""
    folder = make_example_folder(tmp_path / "odd", toy_mnist, 10)
    paths = {path.stem: path for path in folder.glob("*/*") if not path.stem.isdigit()}
    grey, inverted = (Image.open(paths[name]).convert("L").getpixel((0, 0)) for name in ("grey", "black on white"))
    assert grey == 0 and inverted > 250
    assert Image.open(paths["16 bits"]).mode.startswith("I") and Image.open(paths["transparent"]).mode == "RGBA"
    assert Image.open(paths["on its side"]).getexif()[0x0112] == 6
    assert len({path.parent for path in paths.values()} - {folder}) <= 2


def test_it_is_made_once_and_takes_no_other_folders_place(tmp_path, toy_mnist):
    folder = make_example_folder(tmp_path / "a", toy_mnist, 10)
    (folder / "mine.txt").write_text("mine")
    assert make_example_folder(folder, toy_mnist, 10) == folder  # a cell that is run again
    with pytest.raises(ValueError, match="was expected to be a new or empty folder, got one with other files; choose"):
        make_example_folder(folder, toy_mnist, 11)
    assert (folder / "mine.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="count was expected to be a whole number from 10 to 256, got 300"):
        make_example_folder(tmp_path / "b", toy_mnist, 300)
    assert not (tmp_path / "b").exists()
