"""Files of weights: what goes in comes out, what is damaged is named, and a crash costs nothing."""

import errno
import os
import pickle
import stat
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from vae_utils.files import ASSETS, digest_of, load_tensors, save_tensors, write_atomically

METADATA = {
    "latent size": 20,
    "protocol": "dynamic binarisation, ±",
    "bound": -93.25,
    "hidden": [512, 512],
    "seed": None,
    "settings": {"layer_norm": True},
}


def some_tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(5, 3, generator=generator),
        "bias": torch.randn(5, generator=generator),
        "steps": torch.tensor(70_000),
        "empty": torch.zeros(0, 4),
        "double": torch.tensor([1 / 3], dtype=torch.float64),
    }


def test_round_trip_in_full_precision(tmp_path):
    path, tensors = tmp_path / "weights.safetensors", some_tensors()
    save_tensors(path, tensors, METADATA, half=False)
    loaded, metadata = load_tensors(path)
    assert metadata == METADATA
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        assert loaded[name].dtype == dtype and torch.equal(loaded[name], tensor.to(dtype))


def test_round_trip_in_half_precision(tmp_path):
    path, tensors = tmp_path / "weights.safetensors", some_tensors()
    save_tensors(path, tensors, METADATA)
    loaded, metadata = load_tensors(path)
    assert metadata == METADATA
    assert loaded["weight"].dtype == torch.float32
    assert torch.equal(loaded["weight"], tensors["weight"].half().float())
    assert not torch.equal(loaded["weight"], tensors["weight"])
    assert loaded["steps"] == 70_000  # whole numbers keep every digit, beyond float16's range too


def test_half_precision_halves_the_file(tmp_path):
    weights = {"w": torch.randn(100, 100)}
    sizes = []
    for half in (True, False):
        save_tensors(tmp_path / "w.safetensors", weights, {}, half=half)
        sizes.append((tmp_path / "w.safetensors").stat().st_size)
    assert sizes[1] > 1.9 * sizes[0]


def test_parameters_views_and_shared_tensors_can_be_saved(tmp_path):
    base = torch.arange(6.0).view(2, 3)
    tensors = {"parameter": torch.nn.Parameter(base), "transposed": base.T, "again": base}
    save_tensors(tmp_path / "w.safetensors", tensors, {}, half=False)
    loaded, _ = load_tensors(tmp_path / "w.safetensors")
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


simple = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(allow_nan=False)
json_values = st.recursive(simple, lambda value: st.lists(value, max_size=3), max_leaves=5)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.dictionaries(st.text(min_size=1), json_values, max_size=4))
def test_metadata_keep_their_types(tmp_path_factory, metadata):
    path = tmp_path_factory.mktemp("m") / "w.safetensors"
    save_tensors(path, {"w": torch.zeros(1)}, metadata)
    assert load_tensors(path)[1] == metadata


def test_half_precision_never_turns_numbers_into_infinity(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(ValueError, match="'big'.*half=False"):
        save_tensors(path, {"big": torch.tensor([1e5])}, {})
    assert list(tmp_path.iterdir()) == []
    save_tensors(path, {"big": torch.tensor([1e5])}, {}, half=False)
    assert load_tensors(path)[0]["big"] == 1e5


def test_metadata_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="metadata.*JSON.*Tensor"):
        save_tensors(tmp_path / "w.safetensors", {"w": torch.zeros(1)}, {"bound": torch.tensor(1.0)})
    assert list(tmp_path.iterdir()) == []


# Files that are missing, damaged or dangerous


def test_missing_file_is_named(tmp_path):
    for path in (tmp_path / "no-such.safetensors", tmp_path):  # a folder is no file either
        with pytest.raises(FileNotFoundError) as error:
            load_tensors(path)
        assert str(error.value).startswith(f"{path}: a file was expected to be there, got none")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_seen(tmp_path, place, bit):
    """Anywhere: in the numbers, their names and shapes, the settings, the digest itself."""
    path = tmp_path / "weights.safetensors"
    save_tensors(path, some_tensors(), {"settings": {"widths": [3, 4]}})
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ValueError, match="weights were expected to be as save_tensors writes them"):
        load_tensors(path)


def test_a_file_without_a_digest_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    for metadata in ({"settings": "1"}, {"format": "pt"}):  # the latter is what other programs write
        save_file({"a": torch.ones(3)}, path, metadata=metadata)
        with pytest.raises(ValueError, match="weights.safetensors.*save_tensors.*digest.*make it again"):
            load_tensors(path)


def test_weights_have_one_digest_in_whatever_order_they_are_written(tmp_path):
    """safetensors writes settings in an order that is drawn anew each time."""
    path, digests = tmp_path / "weights.safetensors", set()
    for _ in range(3):
        save_tensors(path, some_tensors(), METADATA)
        digests.add(digest_of(path))
    save_tensors(path, some_tensors(), METADATA | {"seed": 1})
    assert len(digests) == 1 and digest_of(path) not in digests
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="weights were expected to be as save_tensors writes them"):
        digest_of(path)


def test_the_digest_of_another_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "curve.csv").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of(tmp_path / "curve.csv") == known


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_the_stored_weights_are_those_of_their_digests(path):
    load_tensors(path)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_truncated_file_is_named(tmp_path, share):
    path = tmp_path / "w.safetensors"
    save_tensors(path, some_tensors(), METADATA)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError) as error:
        load_tensors(path)
    for words in (str(path), "truncated", "make it again"):
        assert words in str(error.value)


def test_foreign_file_is_named(tmp_path):
    picture = tmp_path / "w.safetensors"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(ValueError, match="w.safetensors"):
        load_tensors(picture)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_pickle_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "w.safetensors", tmp_path / "trace"
    pickle.loads(pickle.dumps(Bomb(trace))).close()
    assert trace.exists()  # the bomb works ...
    trace.unlink()
    for write in (torch.save, lambda bomb, path: path.write_bytes(pickle.dumps(bomb))):
        write(Bomb(trace), path)
        with pytest.raises(ValueError, match="w.safetensors"):
            load_tensors(path)
    assert not trace.exists()  # ... and did not go off


# Writing whole files or none


def test_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new folder" / "curve.csv"
    with write_atomically(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".csv" and temporary != path
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("crash", [RuntimeError, KeyboardInterrupt])
def test_crash_in_the_middle_keeps_the_old_file(tmp_path, crash):
    path = tmp_path / "curve.csv"
    path.write_text("old")
    with pytest.raises(crash), write_atomically(path) as temporary:
        temporary.write_text("half of the ne")
        raise crash
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_failed_save_keeps_the_old_weights(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_tensors(path, {"w": torch.ones(1)}, {})

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vae_utils.files.os.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_tensors(path, {"w": torch.zeros(1)}, {})
    assert load_tensors(path)[0]["w"] == 1 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_and_keeps_the_old_file(tmp_path, fault):
    path = tmp_path / "curve.csv"
    path.write_text("old")
    with pytest.raises(OSError) as error, write_atomically(path):
        raise OSError(fault, os.strerror(fault))
    sentence = f"{path}: the disk was expected to have room for the file, got {os.strerror(fault)}; make room and"
    assert str(error.value).startswith(sentence)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="there nobody can ask whether a program runs")
def test_what_a_killed_writer_left_goes_at_the_next_write(tmp_path, monkeypatch):
    path, other = tmp_path / "curve.csv", tmp_path / "curve-2.csv"
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: killed.pid)
        abandoned = [write_atomically(place) for place in (path, other)]
        left = [writer.__enter__() for writer in abandoned]
    with write_atomically(path) as living, write_atomically(path):
        assert living.exists() and not left[0].exists()
    assert left[1].exists()  # until somebody writes to `other`
    assert sorted(tmp_path.iterdir()) == sorted([path, left[1]])


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "curve.csv"
    with write_atomically(path) as first, write_atomically(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the outer block ends last


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    path = tmp_path / "file" / "w.safetensors"
    with pytest.raises(OSError) as error:
        save_tensors(path, {"w": torch.zeros(1)}, {})
    assert str(error.value).startswith(f"{path}: the folder was expected")
    assert str(error.value).endswith("; choose another folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_file_can_be_read_by_whom_the_umask_lets(tmp_path):
    (tmp_path / "plain").touch()
    save_tensors(tmp_path / "w.safetensors", {"w": torch.zeros(1)}, {})
    modes = {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    assert len(modes) == 1


def test_assets_lie_in_the_project():
    assert ASSETS.name == "assets" and (ASSETS.parent / "pyproject.toml").is_file()
