"""The library behind the course: variational autoencoders as three distributions, p(z), q(z|x) and p(x|z).

The files of this folder are what lessons 01 to 04 need, and can be read in this order:

    data          images in memory, and the draw that makes pixels binary
    likelihoods   p(x|z): families of distributions over the pixels of an image
    models        a VAE is three distributions; networks of two kinds feed them
    objectives    what training maximises: the ELBO and its relatives
    training      Algorithm 1
    evaluation    what a model is worth, in nats per image
    figures       pictures in one style
    diagrams      drawings: the model, its networks, the way of a gradient, the bound, one digit with its numbers
    files, runtime, classifier    weights on disk; devices and seeds; a classifier of digits

The folders have the rest: `support` (what these files need, and no lesson is about), `paper` (what lessons 05 to 07
add), `own` (what lesson 08 adds: pictures of one's own), `explore` (the widgets), `checks` (the checks of exercises),
`reproduce` (the commands that make `assets/`), `authoring` (for those who write and publish lessons).

The names below are those that two lessons or more import, and can be imported from `vae_utils` itself. A module is
loaded at the first use of one of its names, so `from vae_utils import load_mnist` takes no longer than
`vae_utils.data`. A person who imports from here may be one of many on this machine. So the first such import also lets
computations share its cores and memory (`support.threads`, `support.memory`). The commands of `reproduce` do not share,
because their results are equal to the last bit only if the number of threads stays the same.
"""

import importlib

_HOMES = {
    "checks": ("checks",),
    "classifier": ("load_classifier",),
    "data": ("binarise", "load_mnist"),
    "diagrams": ("graphical_model", "network"),
    "evaluation": ("Estimate", "active_units", "evaluate", "kl_per_dimension", "posterior_parameters"),
    "explore.drawing": ("DrawingPad",),
    "explore.widgets": ("FramePlayer", "GapExplorer", "LatentExplorer"),
    "figures": ("COLOURS", "GREY", "image_wall", "show_images", "use_style"),
    "files": ("ASSETS", "load_tensors"),
    "likelihoods": ("Gaussian",),
    "models": ("VAE", "load_vae", "mlp_vae", "paper_vae", "start_at_mean"),
    "objectives": ("elbo",),
    "paper.curves": ("paper_curves", "plot_figure", "read_curves"),
    "paper.marginal": ("best_gaussian_posterior",),
    "support.alt": ("set_alt_text",),
    "training": ("after", "fit", "paper_adagrad"),
}
_AT_WORK = (
    ("threads", "share_cores"),
    ("memory", "give_back"),
    ("memory", "leave_compiler_out"),
    ("memory", "leave_algebra_out"),
)
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name):
    """Load the module that a name of `__all__` is defined in (PEP 562: called for names not yet known here)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _HOME_OF.keys() & globals().keys():  # the first name
        for module, function in _AT_WORK:
            getattr(importlib.import_module(f"{__name__}.support.{module}"), function)()
    module = importlib.import_module(f"{__name__}.{_HOME_OF[name]}")
    value = module if _HOME_OF[name] == name else getattr(module, name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__():
    return sorted({*globals(), *__all__})
