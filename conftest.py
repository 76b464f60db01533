"""What pytest cannot read from pyproject.toml."""

import os

import matplotlib
from nbval.plugin import IPyNbCell

from vae_utils.authoring.folds import drop_veil

# The kernels that run the notebooks inherit the environment. With a backend fixed there, figures would not
# reach the cells' outputs.
os.environ.pop("MPLBACKEND", None)
# Where tests run in several processes, each has a core, and the kernels that it starts need no second thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# In this process, though, no test needs a window.
matplotlib.use("agg")


def pytest_collection_modifyitems(items):
    """A line before the answer to a prediction is stored by `authoring execute`, not put out by the cell."""
    for item in items:
        if isinstance(item, IPyNbCell) and "outputs" in item.cell:
            drop_veil(item.cell)
