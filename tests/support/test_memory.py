"""What a cell has freed must not stay with the kernel."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from vae_utils.support.memory import give_back_after_cells

# Small pieces, every hundredth of which is kept, so that the C library can return nothing by itself.
FREE_BETWEEN = """
import torch
pieces = [torch.rand(20_000) for _ in range(2_000)]
pieces = pieces[::100]
"""


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="a C library without malloc_trim")
def test_freed_memory_goes_back_after_a_cell():
    shell = InteractiveShell()
    before = sys.modules["IPython"].get_ipython
    sys.modules["IPython"].get_ipython = lambda: shell
    try:
        assert give_back_after_cells()
    finally:
        sys.modules["IPython"].get_ipython = before
    shell.run_cell("import torch")
    empty = resident()
    shell.run_cell(FREE_BETWEEN)
    assert resident() - empty < 40  # 160 MB were taken


def test_nothing_is_changed_outside_a_notebook():
    assert not give_back_after_cells()


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
print("torch._dynamo" in sys.modules)
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
"""


def test_optimisers_leave_the_compiler_out_and_do_the_same():
    without = "from vae_utils.support.memory import leave_compiler_out; leave_compiler_out()"
    said = []
    for first in ("", without):
        child = subprocess.run([sys.executable, "-c", TRAINING.format(first=first)], capture_output=True, text=True)
        said.append(child.stdout.splitlines())
    assert said[0][:-2] == said[1][:-2] and len(said[1]) == 7
    assert said[1][-2:] == ["False", "2.0"]  # and who wants the compiler has it
