"""What a kernel gives back, and what it need not load: memory that a room's other learners do not have else."""

import ctypes
import sys
from functools import wraps
from types import FunctionType

import torch


def give_back_after_cells() -> bool:
    """From now on, return freed memory to the system after each cell.

    The C library keeps it for the process, for a next cell that may never need as much: in a lesson of a hundred
    cells up to half a gigabyte.

    Returns:
        Whether it is so: not outside IPython, and not with a C library other than glibc (macOS, Windows, musl).
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # TypeError: there is no None on Windows
        return False
    if shell is not None:
        shell.events.register("post_run_cell", lambda result: trim(0))
    return shell is not None


def leave_compiler_out() -> None:
    """Let torch's optimisers begin at once: 150 MB and some seconds less for each kernel that trains.

    At their first use they load torch's compiler, to tell it that it has nothing to compile (`torch._compile`). Their
    methods do here what they do there, without telling it. With a torch that is built otherwise, nothing changes.
    """
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type)]
    for kind in kinds:
        for name, method in list(vars(kind).items()):
            inner = getattr(method, "__wrapped__", None)
            if inner is None or not isinstance(method, FunctionType):
                continue
            if "torch._dynamo" in method.__code__.co_names:  # of a `step`, which loads it each time
                setattr(kind, name, _with_gradients_as_asked(inner))
            elif "__dynamo_disable" in method.__code__.co_consts:  # it loads it if its function has none of these
                inner.__dynamo_disable = inner


def _with_gradients_as_asked(step):
    """`step` of an optimiser, which builds a graph only if it was made with differentiable=True."""

    @wraps(step)
    def wrapped(self, *args, **kwargs):
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return wrapped
