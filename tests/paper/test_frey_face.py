"""Frey Face from each of its four places, each way in which they can fail, and the film that stands in for it."""

import contextlib
import functools
import hashlib
import http.server
import io
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vae_utils import data
from vae_utils.paper import frey_face
from vae_utils.paper.frey_face import load_frey_faces

FREY_FACE_SOURCE = frey_face.FREY_FACE_SOURCE

# Stands for the faces: 1,965 small frames whose corner says which they are.
PIXELS = np.random.default_rng(0).integers(8, 239, (560, 1965), np.uint8)
PIXELS[0], PIXELS[1] = np.arange(1965) // 256, np.arange(1965) % 256


def mat_file(**variables):
    content = io.BytesIO()
    savemat(content, variables)
    return content.getvalue()


FILE = mat_file(ff=PIXELS)
NO_DOWNLOAD = ("raise SystemExit('this test must not download')",)


def change(monkeypatch, **fields):
    monkeypatch.setattr(frey_face, "FREY_FACE_SOURCE", replace(frey_face.FREY_FACE_SOURCE, **fields))


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A world where the faces are noise, data/ a temporary folder, VAE_DATA unset, and no download works."""
    digest = hashlib.sha256(np.ascontiguousarray(PIXELS.T)).hexdigest()
    change(monkeypatch, files={"frey_rawface.mat": (digest, 1965)}, download=NO_DOWNLOAD)
    monkeypatch.setattr(data, "DATA", tmp_path / "data")
    monkeypatch.delenv("VAE_DATA", raising=False)
    return tmp_path


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


def write_faces(root, content=FILE):
    path = root / "FreyFace" / "frey_rawface.mat"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def numbers(images):
    """Which frames these are, from the two pixels in which `PIXELS` says so."""
    corner = (images[:, 0, 0, :2] * 256).round().long()
    return (corner[:, 0] * 256 + corner[:, 1]).tolist()


def assert_is_small(faces):
    assert faces.train.shape == (1600, 1, 28, 20) and faces.test.shape == (365, 1, 28, 20)
    assert faces.train.dtype == faces.test.dtype == torch.float32 and faces.is_frey
    assert sorted(numbers(faces.train) + numbers(faces.test)) == list(range(1965))  # none lost, none twice
    for images in (faces.train, faces.test):
        bytes_ = PIXELS.T[numbers(images)].reshape(-1, 1, 28, 20)  # rows of 20 pixels
        assert np.array_equal(images.numpy() * 256, bytes_)  # / 256 is exact in binary, / 255 is not


def one_line(capfd):
    """What was printed: exactly one line, nothing on stderr, and no folder of this machine."""
    out, err = capfd.readouterr()
    assert err == "" and out.count("\n") == 1
    assert str(data.PROJECT) not in out and str(data.DATA) not in out
    return out


# Files that are there


def test_folder_named_by_vae_data(small, monkeypatch, capfd):
    write_faces(small / "elsewhere")
    monkeypatch.setenv("VAE_DATA", str(small / "elsewhere"))
    faces = load_frey_faces()
    assert_is_small(faces)
    assert faces.source == "VAE_DATA"
    line = "Frey Face: 1,600 training and 365 test images, from the folder that VAE_DATA names\n"
    assert one_line(capfd) == line
    assert repr(faces) == "FreyFace(train=1,600, test=365, source='VAE_DATA', is_frey=True)"


def test_a_folder_that_has_only_mnist_leads_on(small, monkeypatch, capfd):
    write_faces(small / "data")
    (small / "elsewhere").mkdir()
    monkeypatch.setenv("VAE_DATA", str(small / "elsewhere"))
    assert load_frey_faces().source == "data/"


def test_relative_vae_data_starts_at_the_project(small, monkeypatch):
    write_faces(small / "shared")
    (small / "project" / "notebooks").mkdir(parents=True)
    monkeypatch.setattr(data, "PROJECT", small / "project")
    monkeypatch.setenv("VAE_DATA", "../shared")
    monkeypatch.chdir(small / "project" / "notebooks")
    assert load_frey_faces().source == "VAE_DATA"


def test_vae_data_that_points_nowhere(small, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(small / "nowhere"))
    with pytest.raises(FileNotFoundError) as error:
        load_frey_faces()
    for part in ("VAE_DATA", str(small / "nowhere"), "FreyFace/frey_rawface.mat", "unset"):
        assert part in str(error.value)


def test_data_in_the_project(small, capfd):
    write_faces(small / "data")
    faces = load_frey_faces()
    assert_is_small(faces)
    assert faces.source == "data/" and "from data/" in one_line(capfd)


def test_a_copy_written_by_another_program_is_the_same_faces(small):
    compressed = io.BytesIO()
    savemat(compressed, {"ff": PIXELS, "other": np.arange(3)}, do_compression=True)
    write_faces(small / "data", compressed.getvalue())
    assert_is_small(load_frey_faces())


CHANGED = PIXELS.copy()
CHANGED[559, 1964] ^= 1


@pytest.mark.parametrize(
    "content, fault",
    [
        (FILE[:-1000], "one that is truncated, damaged or no MATLAB file"),
        (FILE[:100], "one that is truncated, damaged or no MATLAB file"),
        (b"", "one that is truncated, damaged or no MATLAB file"),
        (b"<html>404</html>" * 1000, "one that is truncated, damaged or no MATLAB file"),
        (FILE[:128] + b"\xff" * 56 + FILE[184:], "one that is truncated, damaged or no MATLAB file"),
        (mat_file(gg=PIXELS), "got nothing under the key ff"),
        (mat_file(ff=PIXELS.T), "got uint8 of shape [1965, 560] under the key ff"),
        (mat_file(ff=PIXELS / 256), "got float64 of shape [560, 1965] under the key ff"),
        (mat_file(ff=CHANGED), "a damaged one, whose pixels do not have the checksum of Frey Face"),
    ],
    ids=["truncated", "header only", "empty", "a web page", "overwritten", "no key", "transposed", "floats", "one bit"],
)
@pytest.mark.parametrize("place, remedy", [("data", "delete it"), ("elsewhere", "unset VAE_DATA")])
def test_bad_file_is_named_with_its_fault_and_its_remedy(small, monkeypatch, content, fault, place, remedy):
    bad = write_faces(small / place, content)
    if place == "elsewhere":
        monkeypatch.setenv("VAE_DATA", str(small / place))
    with pytest.raises(ValueError) as error:
        load_frey_faces()
    words = str(error.value)
    assert (
        words.startswith(f"{bad} was expected to be an intact file of Frey Face, got ")
        and fault in words
        and remedy in words
    )


# The download, from servers on this machine


@pytest.fixture
def download(small, monkeypatch):
    """Lets the download take place, from the address given and through no proxy."""
    script = "import os; os.environ['no_proxy'] = '*'\n" + FREY_FACE_SOURCE.download[0]
    return lambda address: change(monkeypatch, download=(script, address))


@pytest.fixture
def server(small):
    """A web server on loopback for the folder that comes with it."""
    folder = small / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as web:
        threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/frey_rawface.mat", folder
        web.shutdown()


@pytest.fixture
def fallback(small, monkeypatch):
    """A stand-in that costs nothing to make."""
    black = [np.zeros((1965, 560), np.uint8)]
    change(monkeypatch, stand_in=replace(FREY_FACE_SOURCE.stand_in, make=lambda: black))


def assert_fell_back(faces, capfd, reason):
    said = one_line(capfd)
    assert faces.source == "stand-in" and not faces.is_frey
    assert said.startswith("No Frey Face, but a stand-in: ") and reason in said and "VAE_DATA" in said
    assert not data.DATA.is_dir() or list(data.DATA.iterdir()) == []


def test_download_is_verified_and_kept(small, download, server, capfd):
    address, folder = server
    (folder / "frey_rawface.mat").write_bytes(FILE)
    download(address)
    faces = load_frey_faces()
    assert_is_small(faces)
    assert faces.source == "download" and "downloaded into data/" in one_line(capfd)
    assert [path.name for path in data.DATA.iterdir()] == ["FreyFace"]  # the temporary folder is gone
    assert load_frey_faces().source == "data/"


@pytest.mark.parametrize("content", [FILE[:-1000], mat_file(ff=CHANGED), b"<html>moved</html>"])
def test_what_arrived_is_verified_before_it_is_kept(small, download, server, fallback, capfd, content):
    address, folder = server
    (folder / "frey_rawface.mat").write_bytes(content)
    download(address)
    assert_fell_back(load_frey_faces(), capfd, "what arrived is not Frey Face")


def test_a_server_without_the_file(small, download, server, fallback, capfd):
    download(server[0])
    assert_fell_back(load_frey_faces(), capfd, "HTTP Error 404")


def test_a_server_that_never_answers(small, download, fallback, monkeypatch, capfd):
    monkeypatch.setattr(data, "SOCKET_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections wait in its queue for ever
        download(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        faces = load_frey_faces()
    assert_fell_back(faces, capfd, "timed out")


@pytest.mark.slow
def test_a_download_that_takes_too_long_is_stopped(small, fallback, monkeypatch, capfd):
    script = "import sys, time; open(sys.argv[1] + '/frey_rawface.mat', 'w').write('half'); time.sleep(20)"
    change(monkeypatch, download=(script,))
    monkeypatch.setattr(data, "DOWNLOAD_SECONDS", 1)
    assert_fell_back(load_frey_faces(), capfd, "longer than 1 seconds")


def test_keyboard_interrupt_leaves_nothing(small, monkeypatch):
    def interrupt(command, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data.subprocess, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_frey_faces()
    assert list(data.DATA.iterdir()) == []


def test_data_folder_that_cannot_be_written(small, fallback, capfd):
    (small / "data").write_text("a file where the folder should be")
    assert_fell_back(load_frey_faces(), capfd, "data/ cannot be written")


# The stand-in


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


# hold_out


def test_hold_out_sets_training_frames_apart(small, capfd):
    write_faces(small / "data")
    whole, part = load_frey_faces(), load_frey_faces(hold_out=200)
    assert part.train.shape == (1400, 1, 28, 20) and part.test.shape == (200, 1, 28, 20)
    assert sorted(numbers(part.train) + numbers(part.test)) == sorted(numbers(whole.train))
    assert "1,400 training and 200 held-out training images" in capfd.readouterr().out.splitlines()[1]


def test_the_split_is_the_same_every_time(small):
    write_faces(small / "data")
    torch.manual_seed(1)
    first = load_frey_faces(hold_out=7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = load_frey_faces(hold_out=7)
    assert torch.equal(first.test, second.test) and torch.equal(first.train, second.train)
    assert torch.equal(torch.get_rng_state(), state)  # and the reader's own random numbers stay as they were
    assert numbers(first.train)[:5] != sorted(numbers(first.train))[:5]  # in a random order


@pytest.mark.parametrize("hold_out", [-1, 1600, 2000])
def test_hold_out_that_makes_no_sense(small, hold_out):
    write_faces(small / "data")
    with pytest.raises(ValueError, match="hold_out was expected to be a whole number from 0 to 1599"):
        load_frey_faces(hold_out=hold_out)


@pytest.mark.slow
def test_importing_the_module_stays_light():
    code = "import sys, vae_utils.paper.frey_face; print(*{'scipy', 'sklearn', 'PIL'} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.split() == []
