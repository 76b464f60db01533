"""Weights and other tensors on disk: files that hold numbers and never code, written whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vae_utils.support.arguments import refusal
from vae_utils.support.kinds import checked

ASSETS = Path(__file__).resolve().parents[1] / "assets"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk; this user's share of it; the size that a file may have


@checked
@contextlib.contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that becomes `path` when the block ends well.

    If the block raises, `path` stays as it was and the temporary file is deleted. So a reader of `path` sees the
    old content or the new one, never half a file. If a program is killed in such a block, its temporary file is
    deleted when somebody writes to `path` again.

    Args:
        path: the file to write; its folder is made if it does not exist.

    Yields:
        `Path` of an empty file to write into.

    Raises:
        OSError: if the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    writer = f".{path.stem}-{platform.node()}-"
    temporary = path.with_name(f"{writer}{os.getpid()}-{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(path.parent, writer, path.suffix)
        temporary.touch()
    except OSError as error:
        sentence = refusal("the folder", "to be writable", error.strerror, "choose another folder")
        raise OSError(f"{path}: {sentence}") from error
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        remedy = "make room and try again; an older file of this name has not changed"
        sentence = refusal("the disk", "to have room for the file", error.strerror, remedy)
        raise OSError(f"{path}: {sentence}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _remove_orphans(folder, writer, suffix):
    """Delete the temporary files whose writers, on this machine, no longer run."""
    if os.name != "posix":  # there `os.kill` does not ask, it ends the other program
        return
    form = re.compile(rf"{re.escape(writer)}(\d+)-[0-9a-f]{{32}}{re.escape(suffix)}")
    for name in os.listdir(folder):
        if found := form.fullmatch(name):
            try:
                os.kill(int(found[1]), 0)
            except ProcessLookupError:
                (folder / name).unlink(missing_ok=True)
            except (PermissionError, OverflowError):  # another user's program, which runs; not a program's number
                pass


@checked
def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict, half: bool = True) -> None:
    """Write named tensors and the settings that made them to one safetensors file.

    Args:
        path: the file to write, atomically.
        tensors: dict of name to tensor, any shapes and devices.
        metadata: dict of name to anything that JSON can hold.
        half: store floating tensors as float16 (half the size, about three decimal digits).

    Raises:
        ValueError: if a finite value does not fit into float16, or the metadata does not fit into JSON.
        OSError: if the folder cannot be written.
    """
    stored = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    if half:
        stored = {name: _to_half(name, tensor) for name, tensor in stored.items()}
    try:
        texts = {name: json.dumps(value) for name, value in metadata.items()}
    except TypeError as error:
        sentence = refusal("metadata", "to fit into JSON (text, numbers, lists, dicts)", error, "convert it first")
        raise ValueError(f"{path}: {sentence}") from error
    texts["digest"] = _digest(stored, texts)
    with write_atomically(path) as temporary:
        temporary.write_bytes(save(stored, metadata=texts))  # with save_file, only its owner could read it


@checked
def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read what `save_tensors` wrote. The format holds numbers and text only, so no file can run code.

    Args:
        path: a safetensors file.

    Returns:
        (tensors, metadata): dict of name to tensor, floating ones as float32, on the CPU; and the dict of
        settings.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, damaged or not one of ours.
    """
    tensors, metadata, _ = _verified(Path(path))
    # A copy, because Windows does not replace a file that is mapped into memory, and a training overwrites its state.
    return {
        name: t.to(torch.float32, copy=True) if t.is_floating_point() else t.clone() for name, t in tensors.items()
    }, metadata


@checked
def digest_of(path: str | Path) -> str:
    """SHA-256 of a file's content, by which a record recognises the file that it describes.

    For weights it is the digest of their tensors and settings, which the file itself contains. The order of the bytes
    may differ between two files with the same content.

    Args:
        path: a safetensors file, or any other.

    Raises:
        FileNotFoundError, ValueError: for weights, as `load_tensors`.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    return _verified(path)[2] if path.suffix == ".safetensors" else hashlib.sha256(path.read_bytes()).hexdigest()


def _verified(path):
    """Tensors, settings and their digest, of a file where all three agree."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: {refusal('a file', 'to be there', 'none', 'check the name, or make it again')}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file is not a dict)
            texts = file.metadata() or {}
        digest = texts.pop("digest", None)
        if digest != _digest(tensors, texts):
            raise SafetensorError("it does not have the digest of its tensors and settings")
        return tensors, {name: json.loads(text) for name, text in texts.items()}, digest
    except (SafetensorError, json.JSONDecodeError) as error:
        remedy = "restore the file from the repository, or make it again"
        given = f"a truncated or damaged file ({error})"
        sentence = refusal("weights", "to be as save_tensors writes them", given, remedy)
        raise ValueError(f"{path}: {sentence}") from error


def _digest(tensors, texts):
    """SHA-256 of all that a file contains: every name, type, shape and bit."""
    sha = hashlib.sha256(json.dumps(sorted(texts.items())).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def _to_half(name, tensor):
    if not tensor.is_floating_point():
        return tensor
    halved = tensor.half()
    if not torch.equal(halved.isfinite(), tensor.isfinite()):
        raise ValueError(
            refusal(f"tensor {name!r}", "to be within float16's 65,504", "larger values", "save it with half=False")
        )
    return halved
