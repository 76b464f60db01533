"""The film of a training: each frame has its own pixels, twice as large, under its title."""

import io

import numpy as np
import pytest
from PIL import Image

from vae_utils.explore import film


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_each_frame_has_its_plane_and_its_samples_under_its_title(tmp_path):
    strip = np.random.default_rng(0).integers(0, 255, (3 * 40, 52), dtype=np.uint8)  # three frames of 40 x 52
    Image.fromarray(strip).save(tmp_path / "strip.png")
    frames = [opened(png) for png in film.titled_frames(tmp_path / "strip.png", ["i", "i", "WWW"])]
    assert len({frame.shape for frame in frames}) == 1
    inks = [(255 - frame[: film.HEAD].astype(int)).sum() for frame in frames]
    assert 0 < inks[0] == inks[1] < inks[2]
    for k, frame in enumerate(frames):
        body = frame[film.HEAD : -film.MARGIN, film.MARGIN : -film.MARGIN]
        twice = strip[40 * k : 40 * k + 40].repeat(2, 0).repeat(2, 1)
        assert (body[:, :80] == twice[:, :80]).all() and (body[:, 80 + film.GAP :] == twice[:, 80:]).all()
        assert (body[:, 80 : 80 + film.GAP] == 255).all()


def test_a_film_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="strip.png"):
        film.titled_frames(tmp_path / "strip.png", ["one"])
