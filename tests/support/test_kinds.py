"""Every public function of the core refuses arguments of another kind, in one form, before it does anything."""

import inspect
import pkgutil
import re
from importlib import import_module

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import vae_utils
from vae_utils.likelihoods import Gaussian, Likelihood
from vae_utils.models import VAE, mlp_vae
from vae_utils.support.kinds import checked
from vae_utils.training import fit


class Stranger:
    """Nothing that any function asks for."""


# What is given, and the words of a type hint of which each would allow it.
GIVEN = {
    "an object": (Stranger(), ()),
    "a class": (Stranger, ("Callable",)),
    "a list of objects": ([Stranger()], ()),
    "a dict of objects": ({Stranger(): Stranger()}, ("Iterable", r"dict(?!\[)")),
    "None": (None, ("None",)),
    "text": ("x", ("str",)),
    "a truth": (True, ("bool",)),
    "a whole number": (3, ("int", "float")),
    "NumPy's whole number": (np.int64(3), ("int", "float")),
    "a number": (2.5, ("float",)),
    "an array": (np.ones(3), ("Iterable", "ndarray")),
    "a tensor": (torch.ones(3), ("Tensor", "Iterable")),
    "a function": (len, ("Callable",)),
}


def public_functions():
    """{name: function} of all that the core's modules define and show, methods of its classes included."""
    found = {}
    for module in pkgutil.iter_modules(vae_utils.__path__):
        if module.ispkg:
            continue
        module = import_module(f"vae_utils.{module.name}")
        for owner in (module, *(value for value in vars(module).values() if inspect.isclass(value))):
            if inspect.isclass(owner) and owner.__module__ != module.__name__:
                continue
            for name, value in vars(owner).items():
                value = getattr(value, "__func__", value)
                if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                    found[f"{module.__name__}.{value.__qualname__}"] = value
    return found


FUNCTIONS = public_functions()
# What torch or the course's own code calls, with arguments that it has made itself
INNER = r"\.forward|pairwise_log_prob|training\.Run\.|data\.Source\.|_CoinLogProb|log_prob$"


def hinted(function):
    """{name: hint as text} of its parameters, in the words of its source."""
    every = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: str(p.annotation) for p in every if p.kind not in kinds and p.name not in ("self", "cls")}


def asks(function):
    return {name: hint for name, hint in hinted(function).items() if "object" not in hint}


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if hinted(function)])
def test_a_public_function_says_what_it_asks_for_and_checks_it(name):
    if re.search(INNER, name):
        pytest.skip("called by torch or by the library alone")
    function = FUNCTIONS[name]
    assert "inspect._empty" not in " ".join(hinted(function).values()), "a type hint is missing"
    assert hasattr(function, "__wrapped__"), "it is not @checked"


CHECKED = {name: function for name, function in FUNCTIONS.items() if not re.search(INNER, name) and asks(function)}
CHECKED |= {f"{owner.__name__}()": owner.__init__ for owner in (VAE, Gaussian)}


@pytest.mark.parametrize("name", CHECKED)
def test_every_wrong_kind_gets_the_houses_sentence(name):
    """Whatever other arguments are missing: kinds come first."""
    for parameter, hint in asks(CHECKED[name]).items():
        for given, (value, allowing) in GIVEN.items():
            if any(re.search(rf"\b{word}(?!\w)", hint) for word in allowing):
                continue
            with pytest.raises(ValueError) as caught:
                CHECKED[name](**{parameter: value})
            form = rf"{parameter} (was|were) expected to be .+, got .+"
            assert re.fullmatch(form, str(caught.value)), f"{given} for {parameter}: {hint}"


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda x: mlp_vae(2, likelihood=Gaussian), "got the class Gaussian; write Gaussian() with parentheses"),
        (lambda x: mlp_vae(2.0), "latent_size was expected to be a whole number, got 2.0; write 2"),
        (lambda x: mlp_vae(2, 512), "hidden was expected to be a list of which each entry is a whole number, got 512"),
        (lambda x: fit(mlp_vae(2, (8,)), x.numpy(), epochs=1), "got a ndarray; torch.from_numpy"),
        (lambda x: fit(mlp_vae(2, (8,)), list(x), epochs=1), "got a list; torch.stack"),
        (lambda x: fit(mlp_vae(2, (8,)), DataLoader(TensorDataset(x)), epochs=1), "got a DataLoader; collect"),
        (lambda x: fit(mlp_vae(2, (8,)), x, epochs=1, optimiser=torch.optim.Adam([x])), "leave the call out"),
        (lambda x: fit(Gaussian(), x, epochs=1), "got a Gaussian; put your networks into one: VAE("),
        (
            lambda x: fit(mlp_vae(2, (8,)), x, epochs=1, objective=lambda vae, x: x.mean()),
            "to return Terms, got a tensor",
        ),
    ],
)
def test_frequent_slips_are_told_how_to_go_on(call, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        call(torch.rand(200, 1, 28, 28).round())


def test_right_kinds_pass_whatever_their_make():
    @checked
    def kinds(a: int, b: float = 1.0, *rest: str, c: Likelihood | None = None, d: object = 0, **others: int):
        return a, b, rest, c, d, others

    assert kinds(np.int32(1), 2) == (1, 2, (), None, 0, {})
    assert kinds(1, np.float32(0.5), 3, 4, d=len, e="all") == (1, 0.5, (3, 4), None, len, {"e": "all"})
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        kinds()
