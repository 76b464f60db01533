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
    to, item, tolist = Tensor.to, Tensor.item, Tensor.tolist

    def cpu(tensor):
        return torch.full(tensor.shape, 0.5).to(tensor.dtype) if tensor.is_meta else tensor

    def sent(tensor, *args, **kwargs):
        target = kwargs.get("device", args[0] if args else None)
        target = target.device if torch.is_tensor(target) else target
        comes_home = isinstance(target, (str, torch.device)) and torch.device(target).type != "meta"
        return to(cpu(tensor) if comes_home else tensor, *args, **kwargs)

    readers = {
        "to": sent,
        "cpu": cpu,
        "item": lambda tensor: item(cpu(tensor)),
        "tolist": lambda tensor: tolist(cpu(tensor)),
        "__bool__": lambda tensor: bool(item(cpu(tensor))),
        "__float__": lambda tensor: float(item(cpu(tensor))),
        "__format__": lambda tensor, spec: format(item(cpu(tensor)), spec),
    }
    with contextlib.ExitStack() as patches:
        for name, reader in readers.items():
            patches.enter_context(patch.object(Tensor, name, reader))
        yield
