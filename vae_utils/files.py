"""Weights and other tensors on disk: files that hold numbers and never code, written whole or not at all."""

import contextlib
import hashlib
import json
import os
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


@checked
@contextlib.contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that becomes `path` when the block ends well.

    If the block raises, `path` stays as it was and the temporary file goes. A reader of `path` therefore sees
    the old content or the new one, never half a file.

    Args:
        path: the file to write; its folder is made if need be.

    Yields:
        `Path` of an empty file to write into.

    Raises:
        OSError: if the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        sentence = refusal("the folder", "to be one that can be written", error.strerror, "choose another folder")
        raise OSError(f"{path}: {sentence}") from error
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
        sentence = refusal("metadata", "as JSON can hold it (text, numbers, lists, dicts)", error, "convert it first")
        raise ValueError(f"{path}: {sentence}") from error
    texts["digest"] = _digest(stored, texts)
    with write_atomically(path) as temporary:
        temporary.write_bytes(save(stored, metadata=texts))  # save_file would make it private to its owner


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
    # A copy: Windows does not replace a file that somebody has in memory, and a training writes over its state.
    return {
        name: t.to(torch.float32, copy=True) if t.is_floating_point() else t.clone() for name, t in tensors.items()
    }, metadata


@checked
def digest_of(path: str | Path) -> str:
    """SHA-256 of what a file says, by which a record knows the file that it describes.

    Of weights it is the one that stands in the file, of their tensors and settings: the order of bytes in the file
    is not the same whenever the same is written.

    Args:
        path: a safetensors file, or any other.

    Raises:
        FileNotFoundError, ValueError: of weights, as `load_tensors`.
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file is no dict)
            texts = file.metadata() or {}
        digest = texts.pop("digest", None)
        if digest != _digest(tensors, texts):
            raise SafetensorError("it does not have the digest of its tensors and settings")
        return tensors, {name: json.loads(text) for name, text in texts.items()}, digest
    except (SafetensorError, json.JSONDecodeError) as error:
        remedy = "restore the file from the repository, or make it again"
        sentence = refusal("weights", "as save_tensors writes them", f"a truncated or damaged file ({error})", remedy)
        raise ValueError(f"{path}: {sentence}") from error


def _digest(tensors, texts):
    """SHA-256 of all that a file says: every name, type, shape and bit."""
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
            refusal(f"tensor {name!r}", "within float16's 65,504", "larger values", "save it with half=False")
        )
    return halved
