"""Images that are kept in memory as bytes and behave as floats."""

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from vae_utils.support.arguments import refusal

AT_A_TIME = 1000  # images, if an operation needs all of them
LARGE = 1_000_000  # pixels; a part with more of them is kept as bytes too

# Functions that select pixels, or change their order or shape, and compute nothing.
ARRANGING = {"__getitem__", "flatten", "view", "view_as", "reshape", "permute", "movedim", "transpose", "flip", "roll"}

# Functions that the object itself answers: it knows its shape, kind and device.
KNOWN = {"__len__", "size", "dim", "numel", "is_floating_point", "element_size"}
KNOWN_ATTRIBUTES = {"shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "grad_fn", "grad"}
KNOWN_ATTRIBUTES |= {"is_cuda", "is_mps", "is_cpu", "is_meta", "is_sparse", "is_quantized", "nbytes", "itemsize"}
# Functions that write into memory; those whose names end in _ do too.
WRITERS = {"__setitem__", "__set__", "data_ptr", "untyped_storage"}


class ByteImages(Tensor):
    """Bytes as a float32 tensor in [0, 1]: a quarter of the memory. Every operation gets floats and returns floats.

    Parts, and pixels in another order, are made into floats if they are few, and stay bytes if they are `LARGE`.
    Other operations on all of them make all of them floats while they run, except `split`, `mean` and `to` another
    device. One cannot write into them: `clone()` is an ordinary tensor.

    Args:
        stored: uint8 [N, ...], 255 for a brightness of 1.
    """

    stored: Tensor

    @staticmethod
    def __new__(cls, stored: Tensor) -> "ByteImages":
        return Tensor._make_wrapper_subclass(cls, stored.shape, dtype=torch.float32, device=stored.device)

    def __init__(self, stored: Tensor):
        self.stored = stored

    def floats(self) -> Tensor:
        """All of them as an ordinary tensor."""
        return _floats(self.stored)

    def split(self, size: int, dim: int = 0) -> tuple["ByteImages", ...]:
        """As `Tensor.split`: each part stays bytes."""
        return tuple(map(ByteImages, self.stored.split(size, dim)))

    def mean(self, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype=None) -> Tensor:
        """As `Tensor.mean`; over images or over all, the sum is exact and takes no memory."""
        if dim not in (None, 0) or dtype:
            return self.floats().mean(dim, keepdim, dtype=dtype)
        total = sum(part.sum(0, keepdim=keepdim) for part in self.stored.split(AT_A_TIME))
        mean = total.double() / (255 * len(self))
        return (mean if dim == 0 else mean.mean()).float()

    def to(self, *args, **kwargs) -> Tensor:
        """As `Tensor.to`; on another device they are bytes too."""
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        if dtype not in (None, torch.float32):
            return self.floats().to(*args, **kwargs)
        stored = self.stored.to(device, non_blocking=non_blocking)
        return self if stored is self.stored else ByteImages(stored)

    def cpu(self) -> Tensor:
        """As `Tensor.cpu`."""
        return self.to("cpu")

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        with torch._C.DisableTorchFunctionSubclass():
            if (name == "__get__" and function.__self__.__name__ in KNOWN_ATTRIBUTES) or name in KNOWN:
                return function(*args, **kwargs)
            if name in ARRANGING:
                stored = function(*tree_map_only(cls, lambda images: images.stored, args), **kwargs)
                return ByteImages(stored) if stored.numel() > LARGE else _floats(stored)
            written = (name.endswith("_") and not name.endswith("__")) or name in WRITERS
            if (written and isinstance(args[0], cls)) or isinstance(kwargs.get("out"), cls):
                remedy = "take a copy: images = images.clone()"
                raise ValueError(refusal("images that are kept as bytes", "only to be read", name, remedy))
            return function(*_as_floats(args), **_as_floats(kwargs))

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return function(*_as_floats(args), **_as_floats(kwargs or {}))  # by torch itself, as inside torch.vmap


def _floats(stored):
    return stored.to(torch.float32).div_(255)


def _as_floats(arguments):
    return tree_map_only(ByteImages, ByteImages.floats, arguments)
