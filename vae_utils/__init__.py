"""The library behind the course: variational autoencoders as three distributions, p(z), q(z|x) and p(x|z).

The names below can be imported from `vae_utils` or from the module that defines them. A module is loaded at
the first use of one of its names, so that `from vae_utils import load_mnist` costs no more than
`vae_utils.data`.
"""

import importlib
import pkgutil

_HOMES = {
    "data": ("load_mnist", "load_frey_faces", "binarise", "MNIST", "FreyFace"),
    "likelihoods": ("Bernoulli", "GreyCrossEntropy", "Gaussian", "PixelGaussian",
                    "ContinuousBernoulli"),
    "models": ("VAE", "mlp_vae", "paper_vae", "conv_vae", "load_vae", "save_vae"),
    "objectives": ("elbo", "importance_weighted", "reconstruction", "Terms"),
    "training": ("fit", "History"),
    "runtime": ("best_device",),
    "evaluation": ("evaluate", "log_likelihood", "active_units", "kl_per_dimension"),
    "baselines": ("wake_sleep", "monte_carlo_em"),
    "marginal": ("quadrature_log_likelihood", "posterior_sample_log_likelihood"),
    "bayes": ("BayesianVAE", "full_bound"),
    "explore": ("LatentExplorer", "GapExplorer", "FramePlayer"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = {module.name for module in pkgutil.iter_modules(__path__)}

__all__ = sorted(_HOME_OF)


def __getattr__(name):
    """Load the module that `name` is, or is defined in (PEP 562: called for names not yet known here)."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__():
    return sorted({*globals(), *__all__, *_MODULES})
