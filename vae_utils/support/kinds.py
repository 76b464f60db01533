"""Every public function says in its type hints what it asks for, and `checked` raises an error for anything else."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from functools import partial, wraps
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vae_utils.support.arguments import is_a, refusal

# What an annotation asks for, in words, and the test of it. A bool is not a number here; NumPy's numbers are.
KINDS = {
    bool: ("True or False", lambda value: isinstance(value, bool)),
    int: ("a whole number", partial(is_a, Integral)),
    float: ("a number", partial(is_a, Real)),
    Callable: ("a function", callable),
    type(None): ("None", lambda value: value is None),
    torch.Tensor: ("a tensor", torch.is_tensor),
    str: ("text", lambda value: isinstance(value, str)),
    Path: ("a path", lambda value: isinstance(value, Path)),
}


def checked(function: Callable) -> Callable:
    """A function that refuses arguments of another kind than its type hints say, before it does anything.

    Numbers, text, tensors, functions, objects of a class, sequences, dicts and unions of these are told apart; what
    a value has to be within its kind (a range, a shape) is for the function itself to say. A hint of `object`
    allows all.

    Raises:
        ValueError: by the function that is returned.
    """
    parameters = list(inspect.signature(function).parameters.values())
    names = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    hints = {}

    @wraps(function)
    def refusing(*args, **kwargs):
        if not hints:  # at the first call, when all classes that hints name are known
            hints.update(typing.get_type_hints(function))
            for p in parameters:
                if p.name in hints and p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                    del hints[p.name]
        for name, value in (*zip(names, args), *kwargs.items()):
            if name in hints and not _fits(value, hints[name]):
                expected = f"to be {_in_words(hints[name])}"
                raise ValueError(refusal(name, expected, described(value), _remedy(value, hints[name])))
        return function(*args, **kwargs)

    return refusing


def _fits(value, hint):
    """Whether a value is of the kind that a type hint names."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is object:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in inside)
    if hint in KINDS or origin is Callable:
        return KINDS[origin or hint][1](value)
    if origin in (Iterable, Sequence):
        entries = value if isinstance(value, (list, tuple)) else ()  # an iterator is left to `function`
        return isinstance(value, origin) and not isinstance(value, str) and all(_fits(e, inside[0]) for e in entries)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, inside[0]) and _fits(v, inside[1]) for k, v in value.items())
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False
        kinds = inside if inside[-1] is not ... else inside[:1] * len(value)
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    return isinstance(value, origin or hint)


def _in_words(hint):
    """What a type hint asks for: "a whole number or None"."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_in_words, inside)))
    if hint in KINDS or origin is Callable:
        return KINDS[origin or hint][0]
    name = {Iterable: "list", Sequence: "list"}.get(origin, (origin or hint).__name__)
    named = f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"
    if origin is dict:
        return f"{named} from {_in_words(inside[0])} to {_in_words(inside[1])}"
    return f"{named} of which each entry is {_in_words(inside[0])}" if inside else named


def described(value: object) -> str:
    """A value of the wrong kind, for the end of "got ..."."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if torch.is_tensor(value):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')} with shape {list(value.shape)}"
    if value is None or isinstance(value, (str, bool, Real)):
        return repr(value) if len(repr(value)) < 60 else f"text of {len(value)} letters"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _remedy(value, hint):
    """How to get from a value of a frequent wrong kind to the right one; "" if that is not known."""
    wanted = {hint, *typing.get_args(hint)}
    if isinstance(value, type) and any(isinstance(kind, type) and issubclass(value, kind) for kind in wanted):
        return f"write {value.__name__}() with parentheses"
    if torch.Tensor in wanted and isinstance(value, np.ndarray):
        return "torch.from_numpy(...) makes a tensor of an array"
    if torch.Tensor in wanted and hasattr(value, "train_labels"):
        return "its images are in .train and .test"
    if torch.Tensor in wanted and isinstance(value, (list, tuple)) and all(isinstance(entry, Real) for entry in value):
        return "torch.tensor(...) makes a tensor of numbers"
    if torch.Tensor in wanted and isinstance(value, (list, tuple)):
        return "torch.stack(...) makes one tensor of several"
    if torch.Tensor in wanted and isinstance(value, (DataLoader, Dataset)):
        return "collect all images in one tensor first: torch.stack([image for image, label in dataset])"
    if Callable in {typing.get_origin(kind) or kind for kind in wanted} and isinstance(value, torch.optim.Optimizer):
        return "leave the call out, as in optimiser=torch.optim.Adam"
    if int in wanted and isinstance(value, float) and value.is_integer():
        return f"write {value:.0f}"
    if hasattr(value, "encode") and hasattr(value, "decode"):
        return "put your networks into one: VAE(encoder, decoder, likelihood, latent_size)"
    return ""
