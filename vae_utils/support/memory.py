"""Memory that a kernel gives back, and libraries that it does not load, so that other learners have more memory."""

import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FunctionType

import torch

PERIOD = 0.02  # seconds between two checks
GROWTH = 8 * 2**20  # bytes


class GivingBack(threading.Thread):
    """Returns freed memory to the system while a program grows.

    The C library keeps freed memory, and does not always use it again: a loop that takes and frees the same small
    tensors thousands of times can grow by a gigabyte. So this checks, fifty times a second, whether the program has
    grown by `GROWTH`, and returns what is free. What the program takes again until the next check it needs, and keeps.
    In a notebook it also checks at the end of each cell, when less may be needed: above all figures, whose parts
    refer to each other, so that Python has to search for them. It does not check between two cells.

    Args:
        trim: the C library's `malloc_trim`.
    """

    def __init__(self, trim: Callable):
        super().__init__(name="giving memory back", daemon=True)
        self.trim, self.needed = trim, resident()  # bytes
        self.returned = False  # since the last check
        self.working = threading.Event()
        self.working.set()

    def run(self) -> None:
        while self.working.wait():
            time.sleep(PERIOD)
            self.look(resident())

    def look(self, now: int) -> None:
        """Return what is free, if the program has grown.

        Args:
            now: bytes of it in memory.
        """
        if self.returned:
            self.needed, self.returned = max(self.needed, now), False
        elif now > self.needed + GROWTH:
            self.trim(0)
            self.returned = True

    def before_a_cell(self, *of_the_cell) -> None:
        """Look again."""
        self.working.set()

    def after_a_cell(self, *of_the_cell) -> None:
        """Return what is free."""
        self.working.clear()
        gc.collect()
        self.trim(0)
        self.needed, self.returned = resident(), True


def give_back() -> GivingBack | None:
    """Return freed memory to the system from now on.

    Returns:
        GivingBack, or None with a C library other than glibc (macOS, Windows, musl).
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
        resident()
    except (AttributeError, OSError, TypeError):  # TypeError: on Windows CDLL does not take None
        return None
    giving = GivingBack(trim)
    giving.start()
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
        gc.freeze()  # the objects of torch and the kernel stay anyway, and to search them takes 0.15 s
        shell.events.register("pre_run_cell", giving.before_a_cell)
        shell.events.register("post_run_cell", giving.after_a_cell)
    return giving


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leave_compiler_out() -> None:
    """Let torch's optimisers start without torch's compiler: each kernel that trains saves 150 MB and some seconds.

    At their first use they load the compiler, only to tell it that it has nothing to compile (`torch._compile`). Here
    their methods do the same without telling it. With a torch that is built in another way, nothing changes.
    """
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type)]
    for kind in kinds:
        for name, method in list(vars(kind).items()):
            inner = getattr(method, "__wrapped__", None)
            if inner is None or not isinstance(method, FunctionType):
                continue
            if "__dynamo_disable" in method.__code__.co_consts:  # it loads it if its function has none of these
                inner.__dynamo_disable = inner
            elif "torch._dynamo" in method.__code__.co_names:  # of a `step`, which loads it each time
                setattr(kind, name, _with_gradients_as_asked(inner))


def leave_algebra_out() -> None:
    """Let torch's multivariate normal work without sympy: each kernel that uses it saves 35 MB and half a second.

    `torch.broadcast_shapes` loads it in case a size is a symbol. Only torch's compiler makes such sizes.
    """
    with_symbols = torch.broadcast_shapes

    @wraps(with_symbols)
    def broadcast_shapes(*shapes):
        if any(isinstance(size, torch.SymInt) for shape in shapes if isinstance(shape, tuple) for size in shape):
            return with_symbols(*shapes)
        nothing = torch.zeros(())
        return torch.broadcast_tensors(nothing, *(nothing.expand(shape) for shape in shapes))[0].shape

    torch.broadcast_shapes = broadcast_shapes


def _with_gradients_as_asked(step):
    """`step` of an optimiser, which builds a graph only if it was made with differentiable=True."""

    @wraps(step)
    def wrapped(self, *args, **kwargs):
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return wrapped
