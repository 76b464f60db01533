"""What the tests of commands share: how they are run, where they write, and how that is read."""

import csv

import pytest
import torch

from vae_utils import models
from vae_utils.data import load_mnist
from vae_utils.files import digest_of
from vae_utils.models import conv_vae, mlp_vae, save_vae
from vae_utils.paper.frey_face import FreyFace
from vae_utils.reproduce import curves, fig2_frey, fig2_mnist, fig2_search, resuming
from vae_utils.reproduce.__main__ import main
from vae_utils.reproduce.provenance import read_record


@pytest.fixture(autouse=True)
def states(monkeypatch, tmp_path):
    """Where the states of trainings lie, instead of `data/reproduce/`."""
    monkeypatch.setattr(resuming, "DATA", tmp_path / "data")
    return tmp_path / "data" / "reproduce"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(out):
    """Function of a command line, without `--out`, that runs it and returns the record that it leaves.

    Whatever data files it leaves, their digests are in the record.
    """

    def run(name, *arguments, to=out):
        main([name, *map(str, arguments), "--out", str(to)])
        record = read_record(to / f"{name}.json")
        assert all(digest_of(to / file) == digest for file, digest in record.get("files", {}).items())
        return record

    return run


@pytest.fixture(scope="session")
def rows_of():
    """Function of a CSV file that returns its lines as dicts."""

    def rows_of(path):
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    return rows_of


@pytest.fixture
def assets(monkeypatch, tmp_path):
    """Stored weights, untrained but different, for the commands that read them."""
    monkeypatch.setattr(models, "ASSETS", tmp_path / "assets")
    torch.manual_seed(0)
    for name, vae in {
        "manifold": mlp_vae(2, (16,)),
        "mlp": mlp_vae(3, (16,)),
        "mlp-2-minutes": mlp_vae(4, (8,)),
        "conv": conv_vae(3, (2, 4), 8),
        "conv-iw": conv_vae(3, (2, 4), 8),
    }.items():
        save_vae(vae, tmp_path / "assets" / f"{name}.safetensors")


@pytest.fixture
def small_fig2(full_toy_mnist, monkeypatch):
    """Figure 2 at toy size: its network has 8 hidden units, its data are the toy's."""
    for module in (fig2_mnist, fig2_search):
        monkeypatch.setattr(module, "full_mnist", full_toy_mnist)
    paper_vae = fig2_mnist.paper_vae
    monkeypatch.setattr(fig2_mnist, "paper_vae", lambda size, **others: paper_vae(size, hidden=8, **others))
    monkeypatch.setattr(fig2_mnist, "OTHER_SEEDS", 1)
    monkeypatch.setattr(curves, "report_points", lambda samples: [samples / 10, samples / 2])


@pytest.fixture(scope="session")
def film():
    """A bright square that moves over a grey ground, with a camera's noise."""
    generator = torch.Generator().manual_seed(0)
    frames = 0.4 + 0.05 * torch.randn(240, 1, 28, 20, generator=generator)
    corners = torch.randint(2, 10, (240, 2), generator=generator).tolist()
    for frame, (top, left) in zip(frames[:, 0], corners, strict=True):
        frame[top : top + 8, left : left + 8] += 0.3
    frames = frames.clamp(0, 255 / 256)
    return FreyFace(frames[:200], frames[200:], "VAE_DATA", True)


@pytest.fixture(scope="session")
def small_frey():
    """Function that puts a film in the place of Frey Face, and a small network in the place of the paper's."""

    def small_frey(patch, film):
        patch.setattr(fig2_frey, "load_frey_faces", lambda: film)
        patch.setattr(fig2_frey, "HIDDEN", 20)
        patch.setattr(fig2_frey, "BATCH_SIZE", 100)
        patch.setattr(fig2_frey, "TRIAL", 10_500)
        patch.setattr(fig2_frey, "OTHER_SEEDS", 1)
        patch.setattr(fig2_frey, "SPLITS", 3)

    return small_frey


@pytest.fixture(scope="session")
def digits():
    """The 5,000 digits that the repository brings along."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_DATA", "embedded")
        return load_mnist()
