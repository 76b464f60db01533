"""What pytest cannot read from pyproject.toml."""

import os

import matplotlib

# The kernels that run the notebooks inherit the environment. With a backend fixed there, figures would not
# reach the cells' outputs.
os.environ.pop("MPLBACKEND", None)
# In this process, though, no test needs a window.
matplotlib.use("agg")
