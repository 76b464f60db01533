"""Where a computation runs, and on which random numbers."""

import os
from contextlib import contextmanager

import torch


def best_device() -> torch.device:
    """The one that the environment variable VAE_DEVICE names, else CUDA, else Apple's MPS, else the CPU."""
    if os.environ.get("VAE_DEVICE"):
        return torch.device(os.environ["VAE_DEVICE"])
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@contextmanager
def on_device(module, device=None):
    """Lend `module` to `device` (`best_device()` if None) and bring it home at the end.

    Yields:
        torch.device: where the module is; what it is to read has to be brought there.
    """
    home = next(module.parameters()).device
    device = best_device() if device is None else torch.device(device)
    module.to(device)
    try:
        yield device
    finally:
        module.to(home)


@contextmanager
def fast_products():
    """Inside, matrix products of float32 may round their factors to bfloat16, where the processor is made for it.

    Sums and results stay in float32. It is for long runs of small networks, and pays even where nothing is
    rounded: PyTorch then takes another routine for the product, twice as fast on some processors, with results
    that differ from the usual ones in the seventh digit.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def in_bfloat16(*networks):
    """Inside, the `networks` compute with 8-bit mantissas, as autocast sees fit, and answer in float32.

    What is built from their answers (distributions, the bound, the steps of the optimiser) stays in float32:
    a sum over 784 pixels would not survive the rounding. It halves the time of a convolution on processors with
    instructions for bfloat16 and gains little on others.

    Args:
        networks: modules that return one tensor, e.g. `vae.encoder, vae.decoder`.
    """
    for network in networks:
        network.forward = _rounded(network.forward)
    try:
        yield
    finally:
        for network in networks:
            del network.forward  # the class's own shows again


def _rounded(forward):
    def rounded(x):
        with torch.autocast(x.device.type, torch.bfloat16):
            return forward(x).float()

    return rounded


@contextmanager
def fixed_seed(seed):
    """Draws inside depend on `seed` alone; draws outside go on as if nothing had happened."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
