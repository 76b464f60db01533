"""Error messages in one form: what was expected, what was given, what to do.

latent_size was expected to be a whole number of 1 or more, got 0; <what to do>
"""

from collections.abc import Iterable
from numbers import Integral, Real


def require_whole(name: str, value: object, least: int = 1, most: int | None = None, remedy: str = "") -> None:
    """Raise an error unless `value` is a whole number from `least` to `most` (no upper end if None).

    Args:
        name: of the argument, as the caller knows it.
        value: what was given; a bool is not a number here.
        least, most: the ends, which are allowed.
        remedy: what to do, in words, if the range alone does not say it.

    Raises:
        ValueError: if it is not.
    """
    if not (is_a(Integral, value) and least <= value and (most is None or value <= most)):
        raise ValueError(refusal(name, f"to be a whole number {_span(least, most)}", value, remedy))


def require_number(
    name: str,
    value: object,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    remedy: str = "",
) -> None:
    """Raise an error unless `value` is a number above `above`, from `least` to `most`; NaN is an error too.

    Args:
        name, value, remedy: as `require_whole`.
        above: an end that is not allowed itself, or None.
        least, most: ends that are allowed, or None.

    Raises:
        ValueError: if it is not.
    """
    fits = is_a(Real, value) and value == value
    fits = fits and (above is None or value > above) and (least is None or value >= least)
    if not (fits and (most is None or value <= most)):
        ends = [f"above {above:g}"] if above is not None else []
        ends += [_span(least, most)] if least is not None else [f"of {most:g} or less"] if most is not None else []
        raise ValueError(refusal(name, f"to be a number {' and '.join(ends)}".rstrip(), value, remedy))


def require_one_of(name: str, value: object, choices: Iterable, remedy: str = "") -> None:
    """Raise an error unless `value` is among `choices`.

    Raises:
        ValueError: if it is not.
    """
    choices = list(choices)
    if value not in choices:
        raise ValueError(refusal(name, f"to be one of {', '.join(map(str, choices))}", repr(value), remedy))


def refusal(what: str, expected: str, given: object, remedy: str = "") -> str:
    """The sentence itself: `what` was expected `expected`, got `given`; `remedy`."""
    verb = "were" if what.endswith("s") and not what.endswith("ss") else "was"
    return f"{what} {verb} expected {expected}, got {given}" + (f"; {remedy}" if remedy else "")


def is_a(kind: type, value: object) -> bool:
    """Whether `value` is a number of this kind; a bool is not."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _span(least, most):
    return f"of {least:g} or more" if most is None else f"from {least:g} to {most:g}"
