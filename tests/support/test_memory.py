"""What a program has freed must not stay with it, and what it need not load must stay out."""

import ctypes
import subprocess
import sys
import weakref

import pytest

from vae_utils.support import memory
from vae_utils.support.memory import GROWTH, GivingBack

MB = 2**20
HAS_TRIM = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")


def test_memory_is_returned_when_the_program_has_grown_and_kept_when_it_is_needed():
    calls = []
    giving = GivingBack(calls.append)
    giving.needed = 500 * MB
    trims = []
    for now in (
        500 * MB,
        500 * MB + GROWTH,  # not yet more than that
        501 * MB + GROWTH,  # now it is
        600 * MB,  # what it takes after that, it needs
        600 * MB + GROWTH,
        601 * MB + GROWTH,
        550 * MB,  # a step of a training takes and frees: what it needed once, it needs again
        600 * MB + GROWTH,
    ):
        before = len(calls)
        giving.look(now)
        trims.append(len(calls) > before)
    assert trims == [False, False, True, False, False, True, False, False]


def test_after_a_cell_a_program_may_need_less(monkeypatch):
    monkeypatch.setattr(memory, "resident", lambda: 300 * MB)
    giving = GivingBack(lambda pad: None)
    giving.needed = 500 * MB
    giving.after_a_cell()
    giving.look(310 * MB)
    assert giving.needed == 310 * MB


def test_after_a_cell_what_refers_to_itself_is_gone():
    class Figure:
        def __init__(self):
            self.own = self

    figure = weakref.ref(Figure())
    assert figure() is not None
    GivingBack(lambda pad: None).after_a_cell()
    assert figure() is None


def test_nobody_looks_between_cells():
    giving = GivingBack(lambda pad: None)
    assert giving.working.is_set()
    giving.after_a_cell()
    assert not giving.working.is_set()
    giving.before_a_cell()
    assert giving.working.is_set()


# Small pieces, every other of which is kept, so that the C library can return nothing by itself.
FREE_BETWEEN = """
import sys, time, torch
from IPython.core.interactiveshell import InteractiveShell
from vae_utils.support.memory import give_back, resident
shell = InteractiveShell.instance() if "cell" in sys.argv else None
if "nothing" not in sys.argv:
    give_back()
before = resident()
take = "kept = [(torch.rand(10_000), torch.rand(20)) for _ in range(4_000)]; kept = [small for large, small in kept]"
if shell:
    shell.run_cell("import torch; " + take)
else:
    exec(take)
    time.sleep(2)
    other = [torch.rand(10_500) for piece in range(1_500)]  # which fit nowhere
    deadline = time.monotonic() + 20
    while "nothing" not in sys.argv and resident() - before > 150e6 and time.monotonic() < deadline:
        time.sleep(0.1)
print(resident() - before)
"""


@pytest.mark.skipif(not HAS_TRIM, reason="the C library has no malloc_trim")
@pytest.mark.parametrize(
    "way, least, most", [("cell", 0, 40e6), ("growth", 0, 150e6), ("nothing", 200e6, 300e6)], ids=str
)
def test_freed_memory_goes_back_to_the_system(way, least, most):
    child = subprocess.run([sys.executable, "-c", FREE_BETWEEN, way], capture_output=True, text=True, check=True)
    assert least <= int(child.stdout.split()[-1]) < most


def said_with_and_without(program, leave_out):
    """The lines that a program prints as it is, and those after a call of this function of `memory`."""
    said = []
    for first in ("", f"from vae_utils.support.memory import {leave_out}; {leave_out}()"):
        child = subprocess.run([sys.executable, "-c", program.format(first=first)], capture_output=True, text=True)
        said.append(child.stdout.splitlines())
    return said


TRAINING = """
import sys, torch
{first}
torch.manual_seed(0)
for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad, torch.optim.SGD, torch.optim.RMSprop):
    p = torch.nn.Parameter(torch.zeros(3))
    optimiser = kind([p], lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=9)
    for _ in range(3):
        optimiser.zero_grad()
        (p - torch.randn(3)).square().sum().backward()
        optimiser.step()
        schedule.step()
    optimiser.load_state_dict(optimiser.state_dict())
    print(kind.__name__, p.tolist(), p.grad_fn, torch.is_grad_enabled())
torch.optim.LBFGS([p])  # which knows of no `differentiable`
print("torch._dynamo" in sys.modules)
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
"""


@pytest.mark.slow
def test_optimisers_leave_the_compiler_out_and_do_the_same():
    said = said_with_and_without(TRAINING, "leave_compiler_out")
    assert said[0][:-2] == said[1][:-2] and len(said[1]) == 7
    assert said[1][-2:] == ["False", "2.0"]  # and who wants the compiler has it


SHAPES = """
import sys, torch
{first}
for shapes in [(), ((2,), (3, 1), (1, 1, 1)), (3, (2, 1)), (torch.Size([4]), []), ((0, 1), (5,))]:
    print(tuple(torch.broadcast_shapes(*shapes)))
try:
    torch.broadcast_shapes((2,), (3,))
except RuntimeError:
    print("RuntimeError")
normal = torch.distributions.MultivariateNormal(torch.zeros(3, 2), torch.eye(2))
print(normal.batch_shape, normal.log_prob(torch.ones(2)))
print("sympy" in sys.modules)
"""


@pytest.mark.slow
def test_the_multivariate_normal_leaves_algebra_out_and_is_the_same():
    said = said_with_and_without(SHAPES, "leave_algebra_out")
    assert said[0][:-1] == said[1][:-1] and len(said[1]) == 8
    assert said[0][-1] == "True" and said[1][-1] == "False"
