"""Where a computation runs, and on which random numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vae_utils.support.kinds import checked


def best_device() -> torch.device:
    """The device that the environment variable VAE_DEVICE names, or else CUDA, Apple's MPS, or the CPU."""
    if os.environ.get("VAE_DEVICE"):
        return torch.device(os.environ["VAE_DEVICE"])
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@checked
@contextmanager
def on_device(module: nn.Module, device: str | torch.device | None = None) -> Iterator[torch.device]:
    """Move `module` to `device` (`best_device()` if None), and back at the end.

    Yields:
        torch.device: where the module is. Its inputs have to be moved there too.
    """
    home = next(module.parameters()).device
    device = best_device() if device is None else torch.device(device)
    module.to(device)
    try:
        yield device
    finally:
        module.to(home)


@checked
@contextmanager
def fixed_seed(seed: int) -> Iterator[None]:
    """Draws inside the block depend only on `seed`. Draws after it are the same as without the block."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
