"""A folder to practise on: digits in colours and of many sizes, with what such folders have in them besides."""

import random
from pathlib import Path

from PIL import Image, ImageOps

from vae_utils.data import MNIST
from vae_utils.support.arguments import refusal, require_whole
from vae_utils.support.kinds import checked

LEAST_SIDE, MOST_SIDE = 32, 96  # of a picture, in pixels
LEAST_CONTRAST = 80  # between digit and ground, in grey levels
NOTES = "{count:,} pictures of digits, made from {source} MNIST with seed {seed}, and some odd ones.\n"


@checked
def make_example_folder(path: str | Path, mnist: MNIST, count: int = 2000, seed: int = 0) -> Path:
    """A folder of pictures as people have them, with one subfolder for each digit.

    Each picture is a training digit of MNIST in one colour on a ground of another; the two are drawn at random, and
    so are height and width. Half of the files are PNG, half JPEG, and some have spaces and accents in their names. The
    odd ones are a grey picture, a transparent one, one with 16 bits, one in black on white, one that its camera took
    lying on its side, a truncated one, a text that is called .jpg, a hidden file, and notes.

    Args:
        path: the folder to make. If it is there already, made with the same settings, nothing is done.
        mnist: the digits.
        count: pictures, apart from the odd ones.
        seed: of all draws.

    Returns:
        The folder.

    Raises:
        ValueError: if `count` is not a whole number from 10 to the number of training digits, or the folder holds other
            files.
    """
    folder = Path(path)
    require_whole("count", count, 10, len(mnist.train), "each is another training digit")
    notes, text = folder / "notes.txt", NOTES.format(count=count, source=mnist.source, seed=seed)
    if folder.is_dir() and notes.is_file() and notes.read_text("utf-8") == text:
        return folder
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        expected = "to be a new or empty folder"
        raise ValueError(refusal(f"{str(folder)!r}", expected, "one with other files", "choose another name"))
    draw = random.Random(seed)
    chosen = draw.sample(range(len(mnist.train)), count)
    for number, i in enumerate(chosen):
        picture = _coloured(_ink(mnist.train[i]), draw)
        name = f"Zoë's digit {number}" if number % 50 == 7 else f"{number:05d}"
        own = folder / str(mnist.train_labels[i].item())
        own.mkdir(parents=True, exist_ok=True)
        picture.save(own / f"{name}.{draw.choice(('png', 'jpg'))}")
    _add_odd_ones(folder, _ink(mnist.train[chosen[0]]), str(mnist.train_labels[chosen[0]].item()), draw)
    notes.write_text(text, "utf-8")  # the last one: a folder that has it is complete
    return folder


def _ink(image):
    """One digit [1, 28, 28] as a picture, 255 where there is ink."""
    return Image.fromarray((image[0] * 255).round().byte().numpy())


def _coloured(ink, draw):
    """The digit in one colour on a ground of another, in a picture of any size and shape."""
    while True:
        digit, ground = (tuple(draw.randrange(256) for _ in range(3)) for _ in range(2))
        if abs(_brightness(digit) - _brightness(ground)) > LEAST_CONTRAST:
            break
    width, height = (draw.randint(LEAST_SIDE, MOST_SIDE) for _ in range(2))
    side = min(width, height)
    picture = Image.new("RGB", (width, height), ground)
    mask = ink.resize((side, side), Image.Resampling.BICUBIC)
    picture.paste(digit, ((width - side) // 2, (height - side) // 2), mask)
    return picture


def _brightness(colour):
    return Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))


def _add_odd_ones(folder, ink, label, draw):
    """The odd ones, all of one digit."""
    own = folder / label
    large = ink.resize((64, 64), Image.Resampling.BICUBIC)
    large.save(own / "grey.png")
    Image.merge("LA", (ImageOps.invert(large), large)).convert("RGBA").save(own / "transparent.png")
    ImageOps.invert(large).convert("RGB").save(own / "black on white.jpg")
    large.convert("I").point(lambda level: level * 257).convert("I;16").save(own / "16 bits.png")
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6  # to be turned by 90 degrees to the right
    _coloured(ink, draw).rotate(90, expand=True).save(own / "on its side.jpg", exif=on_its_side)
    _coloured(ink, draw).save(own / "truncated.jpg", quality=95)
    whole = (own / "truncated.jpg").read_bytes()
    (own / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (own / "a text.jpg").write_text("This is not a picture.\n", "utf-8")
    (own / ".hidden.png").write_bytes(b"")
