"""Fewer digits where they are not missed: for long runs of small networks, and of convolutions."""

from contextlib import contextmanager

import torch


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
