"""A stored training as a film: the frames that `reproduce replay` left in one picture, each under its title."""

import io

from PIL import Image, ImageDraw, ImageFont

MARGIN, HEAD = 10, 40  # screen pixels: around a frame, and above it for its title
GAP = 32  # between the plane and the samples
ZOOM = 2


def titled_frames(path, titles):
    """Frames for `explore.FramePlayer`, from a picture that holds them one below the other.

    In each the plane of codes is the square on the left, and what is to the right of it are samples. Both are drawn
    twice as large, with a gap between them and the frame's title above.

    Args:
        path: of the picture, such as `ASSETS / "replay.png"`.
        titles: list of strings, one a frame.

    Returns:
        List of the bytes of PNG files.

    Raises:
        FileNotFoundError: if there is no such picture.
    """
    with Image.open(path) as film:
        film.load()
    side = film.height // len(titles)
    width = ZOOM * film.width + GAP + 2 * MARGIN
    frames = []
    for top, title in zip(range(0, film.height, side), titles):
        page = Image.new("L", (width, ZOOM * side + HEAD + MARGIN), "white")
        for left, right, place in ((0, side, MARGIN), (side, film.width, MARGIN + ZOOM * side + GAP)):
            part = film.crop((left, top, right, top + side))
            page.paste(part.resize((ZOOM * part.width, ZOOM * part.height), Image.Resampling.NEAREST), (place, HEAD))
        font = ImageFont.load_default(26)
        ImageDraw.Draw(page).text((width / 2, HEAD / 2), title, "black", font, anchor="mm")
        file = io.BytesIO()
        page.save(file, "PNG")
        frames.append(file.getvalue())
    return frames
