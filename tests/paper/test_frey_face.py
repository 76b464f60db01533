"""The film that stands in for Frey Face; `tests/core/test_sources.py` loads the faces themselves."""

import contextlib
import io

import pytest
import torch

from vae_utils import data
from vae_utils.paper.frey_face import load_frey_faces


@pytest.fixture(scope="module")
def stand_in():
    """The stand-in, loaded where there is neither data/ nor a download."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setenv("VAE_DATA", "embedded")
        patch.setattr(data.Source, "_fetch", lambda source: pytest.fail("a stand-in needs no network"))
        faces = load_frey_faces()
    assert said.getvalue() == (
        "No Frey Face, but a stand-in: 1,600 training and 365 test images, a window that wanders over a "
        "photograph of scikit-learn (VAE_DATA=embedded)\n"
    )
    return faces


def test_the_stand_in_is_a_film_of_continuous_grey_images(stand_in):
    assert stand_in.train.shape == (1600, 1, 28, 20) and stand_in.test.shape == (365, 1, 28, 20)
    assert stand_in.source == "stand-in" and not stand_in.is_frey
    frames = torch.cat([stand_in.train, stand_in.test])
    assert frames.min() >= 0 and frames.max() < 1 and len(frames.unique()) > 150  # grey, not black and white
    assert torch.equal(frames * 256, (frames * 256).round())  # bytes, as a camera has them
    assert len(frames.flatten(1).unique(dim=0)) == 1965  # no test frame was trained on


def test_the_stand_in_is_explained_by_few_numbers_but_not_by_a_plane(stand_in):
    """What makes it a fit subject: a window's place is two numbers, and brightness is curved in them."""
    frames = stand_in.train.flatten(1)
    shares = torch.linalg.svdvals(frames - frames.mean(0)) ** 2
    shares = shares / shares.sum()
    assert shares[:2].sum() < 0.6 and shares[:20].sum() > 0.8  # of Frey Face: 0.32 and 0.81
