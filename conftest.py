"""What pytest cannot read from pyproject.toml."""

import os

import matplotlib

# The kernels that run the notebooks inherit the environment. With a backend fixed there, figures would not
# reach the cells' outputs.
os.environ.pop("MPLBACKEND", None)
# Where tests run in several processes, each has a core, and the kernels that it starts need no second thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# In this process, though, no test needs a window.
matplotlib.use("agg")
