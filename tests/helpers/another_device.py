"""A device that is not there: torch's `meta`, whose tensors have shapes and no numbers.

Where one tensor has stayed behind on the CPU, torch refuses to compute with both, as it does beside a GPU. So any
machine finds what otherwise shows only where there is one.
"""

import contextlib
from unittest.mock import patch

import torch
from torch import Tensor


@contextlib.contextmanager
def numbers_from_nowhere():
    """Inside, whatever is read from a tensor on `meta` is 0.5, 0 or True, as its type allows."""
    to = Tensor.to

    def cpu(tensor):
        return torch.full(tensor.shape, 0.5).to(tensor.dtype) if tensor.is_meta else tensor

    def sent(tensor, *args, **kwargs):
        target = kwargs.get("device", args[0] if args else None)
        target = target.device if torch.is_tensor(target) else target
        comes_home = isinstance(target, (str, torch.device)) and torch.device(target).type != "meta"
        return to(cpu(tensor) if comes_home else tensor, *args, **kwargs)

    def at_home(read):
        return lambda tensor, *args: read(cpu(tensor), *args)

    readers = ("item", "tolist", "__bool__", "__float__", "__format__")
    patched = {"to": sent, "cpu": cpu} | {name: at_home(getattr(Tensor, name)) for name in readers}
    with contextlib.ExitStack() as patches:
        for name, function in patched.items():
            patches.enter_context(patch.object(Tensor, name, function))
        yield
