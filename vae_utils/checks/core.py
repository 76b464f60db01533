"""How an exercise answers: it calls the learner's function, and says which mistake was made.

    def kl(answer):
        return verdict_on(answer, _kl, cases, mistakes, right="Each image pays for its own code.")

A `Case` is one set of arguments; a `Mistake` is a wrong version of the function with a sentence about it. An answer
that equals the right function on all cases is right; one that equals a mistake on all cases gets that mistake's
sentence. So two mistakes that give the same results on all cases must not both be listed: add a case that tells them
apart (batch and latents of different size, values away from 0 and 1).
"""

import copy
import itertools
import random
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps

import numpy as np
import torch
from torch import Tensor, nn

from vae_utils.runtime import fixed_seed

SEED = 0
# Relative, of the largest number expected in a case; one part in 1e5 also forgives a constant typed to six digits.
TOLERANCES = {torch.float64: 1e-5, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found; shown as its text, so that a cell may end in `checks.kl(kl)`.

    Attributes:
        right: whether the answer passed.
        attempted: whether the learner has begun: False for a stub that still raises NotImplementedError.
        text: one to three sentences to the learner.
    """

    right: bool
    attempted: bool
    text: str

    def __repr__(self):
        return textwrap.fill(self.text, 100, break_long_words=False, break_on_hyphens=False)

    __str__ = __repr__


@dataclass(frozen=True)
class Case:
    """One call of the learner's function.

    Attributes:
        name: the arguments in words, to complete "for ...": "3 images of 5 latents".
        arguments: positional arguments. Each call gets fresh copies of tensors and modules, so that no answer can spoil
            them for the next. If a tensor, or a weight of a module, requires a gradient, the gradient of the summed
            result is compared too.
        view: what to compare, computed from the result (a mean over draws, a covariance, the mean of a returned
            distribution); the result itself if None. Kind and shape of a result that is a tensor or a tuple of tensors
            are judged before.
        atol: largest difference accepted, in units of what is compared: for averages over draws, about five of their
            standard errors. Gradients then need to exist where the reference has them, not to be equal. None: a
            tolerance for rounding, by dtype.
    """

    name: str
    arguments: tuple
    view: Callable | None = None
    atol: float | None = None


@dataclass(frozen=True)
class Mistake:
    """A wrong version of the function.

    Attributes:
        function: takes the same arguments as the reference. It may fail on some cases (shapes that do not fit), and is
            then recognised by the others and by failing on the same.
        text: which mistake it is, and what it does to training. Whole sentences.
    """

    function: Callable
    text: str


@dataclass(frozen=True)
class Slip:
    """One wrong choice in a formula that takes its choices as keywords; see `combinations`.

    Attributes:
        keyword: name of the formula's argument.
        value: the wrong choice.
        text: as of a `Mistake`.
    """

    keyword: str
    value: object
    text: str


def combinations(formula, slips):
    """Every slip alone, then every two together.

        combinations(_kl, [Slip("factor", 1.0, "The ½ is missing: ..."), Slip("sign", -1, "The sign is turned: ...")])

    Args:
        formula: the reference, whose keyword arguments default to the right choices.
        slips: of `formula`; two with the same keyword exclude each other.

    Returns:
        List of `Mistake`s; each single slip comes before any pair, and the first that matches is named.
    """
    single = [({slip.keyword: slip.value}, slip.text) for slip in slips]
    double = [
        (a | b, f"Two things at once. {text} And: {other}")
        for (a, text), (b, other) in itertools.combinations(single, 2)
        if a.keys() != b.keys()
    ]
    return [Mistake(partial(formula, **choices), text) for choices, text in single + double]


def mistakes_in(formula, versions=None, /, **choices):
    """The `Mistake`s of an exercise, from tables that give each sentence its wrong function or choice.

        mistakes_in(
            _kl, {"You sum over the batch: ...": _summed}, sign={"The sign is turned: ...": -1}, factor={"...": 1.0}
        )

    Args:
        formula: as of `combinations`.
        versions: wrong functions, by their sentences; they come first, and no slip is combined with them.
        choices: under each keyword of `formula` its wrong choices, by their sentences; slips for `combinations`.
    """
    slips = [Slip(keyword, value, text) for keyword, wrong in choices.items() for text, value in wrong.items()]
    return [Mistake(function, text) for text, function in (versions or {}).items()] + combinations(formula, slips)


def undisturbed(check):
    """A check whose draws, and those of the answer that it calls, leave the learner's own random numbers alone.

    PyTorch's, NumPy's and Python's go on after it as if nothing had happened. Every function of this package that is
    called from a lesson wears it, since its cases may draw before `verdict_on` is called.
    """

    @wraps(check)
    def alone(*args, **kwargs):
        numpys, pythons = np.random.get_state(), random.getstate()
        try:
            with fixed_seed(SEED):
                return check(*args, **kwargs)
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)

    return alone


def _seed():
    """Every call of an answer draws the same, by whichever library."""
    torch.default_generator.manual_seed(SEED)
    np.random.seed(SEED)
    random.seed(SEED)


@undisturbed
def verdict_on(answer, reference, cases, mistakes=(), *, right, probes=()):
    """Compare a learner's function with the right one and with known mistakes; no wrong answer raises.

    In this order: not attempted; right on all cases and probes; a known mistake (by values and gradients, then by
    values alone); a defect (an exception, a wrong type or shape, NaN, no gradient); a probe's sentence; the largest
    counter-example. All draws start from the same seed.

    Args:
        answer: what the learner wrote.
        reference: the right function. A draw in it is the answer's draw only if both draw in the same way and order:
            compare random results by a `view` that averages, with an `atol`.
        cases: list of `Case`s, at least one.
        mistakes: list of `Mistake`s, the most likely first.
        right: a sentence or two for a right answer: why it mattered.
        probes: functions of the answer that return a sentence about what is wrong, or None: for what no single call
            shows (the same draw for all images, no gradient to one of the networks). They run when no case has failed
            and no mistake was named.

    Returns:
        Verdict.

    Raises:
        RuntimeError: if the reference fails on a case: an error of the check, not of the learner.
    """
    name = _name(answer)
    if not callable(answer):
        needed = "The function itself is needed, without parentheses after its name"
        return Verdict(False, True, f"{needed}; this is {_kind(answer)}.")
    expected = [_run(reference, case) for case in cases]
    problems = [outcome.problem for outcome in expected]
    if any(problems):
        raise RuntimeError(f"the reference of this check fails: {problems}")
    try:
        given = [_run(answer, case, learner=True) for case in cases]
        if all(map(_agree, given, expected, cases)):
            sentence = _first(probes, answer)
            return Verdict(sentence is None, True, sentence or f"Right. {right}")
        sentence = (
            _known_mistake(given, expected, cases, mistakes)
            or _defect(given, expected, cases, name)
            or _first(probes, answer)
            or _counter_example(given, expected, cases, name, reference)
        )
    except _NotAttempted:
        place = f"in `{name}`, put your own lines in the place of the one that raises NotImplementedError"
        return Verdict(False, False, f"Not attempted yet: {place}, and run the cell again.")
    return Verdict(False, True, sentence)


# --- one call


class _NotAttempted(Exception):
    """The stub is still a stub."""


@dataclass
class _Outcome:
    """What one call gave: either a `problem` in words, or values, on the CPU, and their gradients."""

    values: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor | None] = field(default_factory=list)
    shapes: list[tuple] | None = None  # of the result before `view`; None if it is no tensors
    problem: str = ""


def _run(function, case, learner=False, differentiate=True):
    with torch.enable_grad():
        arguments = [_copy(argument) for argument in case.arguments]
        _seed()
        try:
            result = function(*arguments)
        except Exception as error:
            if learner and _is_stub(error):
                raise _NotAttempted from None
            return _Outcome(problem=f"stops with a {_describe(error)}")
        shapes = _shapes(result)
        try:
            compared = _leaves(result if case.view is None else case.view(result))
        except Exception as error:
            reason = "" if case.view is None else f" ({_describe(error)})"
            return _Outcome(problem=f"returns {_kind(result)}, which is not what was asked for{reason}", shapes=shapes)
        if any(leaf.is_complex() for leaf in compared):
            return _Outcome(problem="returns complex numbers", shapes=shapes)
        try:
            gradients = _gradients(compared, arguments) if differentiate else []
        except Exception as error:
            return _Outcome(problem=f"returns numbers whose gradient fails with a {_describe(error)}", shapes=shapes)
        return _Outcome([leaf.detach().cpu() for leaf in compared], gradients, shapes)


def _copy(value):
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    return copy.deepcopy(value) if isinstance(value, nn.Module) else value


def _is_stub(error):
    """Whether `error` is the stub's, and not one that torch raises for something it cannot do."""
    if not isinstance(error, NotImplementedError):
        return False
    step = error.__traceback__
    while step.tb_next is not None:
        step = step.tb_next
    return not step.tb_frame.f_globals.get("__name__", "").startswith("torch")


def _leaves(result):
    """The tensors in a result, in order. Raises TypeError for anything that holds no numbers."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, (bool, int, float, np.ndarray, np.number, np.bool_)):
        return [torch.as_tensor(np.asarray(result))]
    if isinstance(result, (tuple, list)) and result:
        return [leaf for item in result for leaf in _leaves(item)]
    raise TypeError(f"{type(result).__name__} holds no numbers")


def _shapes(result):
    try:
        return [tuple(leaf.shape) for leaf in _leaves(result)]
    except TypeError:
        return None


def _gradients(leaves, arguments):
    """Of the sum of all `leaves`, in each tensor and each weight among `arguments` that a gradient is wanted for."""
    tensors = itertools.chain.from_iterable(a.parameters() if isinstance(a, nn.Module) else [a] for a in arguments)
    inputs = [tensor for tensor in tensors if isinstance(tensor, Tensor) and tensor.requires_grad]
    differentiable = [leaf for leaf in leaves if leaf.requires_grad]
    if not inputs or not differentiable:
        return [None] * len(inputs)
    return list(torch.autograd.grad(sum(leaf.sum() for leaf in differentiable), inputs, allow_unused=True))


# --- comparing outcomes


def _agree(given, expected, case, gradients=True):
    """Whether two outcomes are the same to within rounding, or to within `case.atol`."""
    if given.problem or expected.problem:
        return bool(given.problem) and bool(expected.problem)
    same = not _wrong_shape(given, expected) and all(
        _close(ours, right, case.atol) for ours, right in zip(given.values, expected.values, strict=True)
    )
    return same and (not gradients or _same_gradients(given, expected, case))


def _same_gradients(given, expected, case):
    pairs = list(zip(given.gradients, expected.gradients, strict=True))
    if case.atol is not None:
        return all(_is_zero(right) or not _is_zero(ours) for ours, right in pairs)
    return all(
        _close(*(torch.zeros(()) if gradient is None else gradient for gradient in pair))
        or (_is_zero(pair[0]) and _is_zero(pair[1]))
        for pair in pairs
    )


def _is_zero(gradient):
    return gradient is None or not gradient.any()


def _wrong_shape(given, expected):
    if expected.shapes is not None and given.shapes != expected.shapes:
        return True
    return [value.shape for value in given.values] != [value.shape for value in expected.values]


def _close(ours, right, atol=None):
    return ours.shape == right.shape and bool((_excess(ours, right, atol) <= 1).all())


def _excess(ours, right, atol=None):
    """Differences in units of what is accepted, elementwise; infinite where only one of the two is finite."""
    rtol = max(TOLERANCES.get(tensor.dtype, 1e-9) for tensor in (ours, right))
    ours, right = ours.double(), right.double()
    finite = torch.isfinite(right)
    if atol is None:
        largest = right[finite].abs().max().item() if finite.any() else 0.0
        atol = rtol * max(1.0, largest)
    excess = (ours - right).abs() / atol
    excess[~finite & ~torch.isfinite(ours)] = 0.0
    return excess.nan_to_num(nan=torch.inf, posinf=torch.inf)


def _known_mistake(given, expected, cases, mistakes):
    """The text of the first mistake with the answer's values and gradients, or at least with its values."""
    by_values = None
    for mistake in () if all(outcome.problem for outcome in given) else mistakes:
        wrong = _outcomes_like(given, mistake.function, cases)
        if wrong and _tells(wrong, given, expected, cases, gradients=True):
            return mistake.text
        if wrong and not by_values and _tells(wrong, given, expected, cases, gradients=False):
            by_values = f"{mistake.text} Besides, the gradient is cut off somewhere."
    return by_values


def _outcomes_like(given, function, cases):
    """Outcomes of a mistake on all cases; None if its values are not those that were given."""
    for ours, case in zip(given, cases, strict=True):
        if not _agree(ours, _run(function, case, differentiate=False), case, gradients=False):
            return None
    return [_run(function, case) for case in cases]


def _tells(wrong, given, expected, cases, gradients):
    """Whether the mistake is the answer on all cases and something else than the reference on one of them."""
    same = all(_agree(*pair, gradients) for pair in zip(given, wrong, cases, strict=True))
    return same and any(
        _is_finite(outcome) and not _agree(outcome, right, case, gradients)
        for outcome, right, case in zip(wrong, expected, cases, strict=True)
    )


def _is_finite(outcome):
    return not outcome.problem and all(bool(torch.isfinite(value).all()) for value in outcome.values)


# --- sentences


def _defect(given, expected, cases, name):
    """The first thing about the outcomes that is wrong in kind, not in value; None if there is none."""
    for ours, right, case in zip(given, expected, cases, strict=True):
        start = f"For {case.name}, `{name}`"
        asked, shapes = right.shapes, ours.shapes
        if asked is None and not ours.problem:  # the result is no tensors: look at what `view` made
            asked, shapes = ([tuple(value.shape) for value in outcome.values] for outcome in (right, ours))
        if asked and shapes and len(shapes) != len(asked):
            return f"{start} returns {_count(shapes)} where the task asks for {_count(asked)}."
        if asked and shapes and shapes != asked:
            return (
                f"{start} returns shape {_in_words(shapes)}, but the task asks for {_in_words(asked)}. Look at the "
                "dimensions over which you sum or average."
            )
        if ours.problem:
            end = ": is a `return` missing?" if "returns None" in ours.problem else "."
            return f"{start} {ours.problem}{end}"
        for value, goal in zip(ours.values, right.values, strict=True):
            if not torch.isfinite(value[torch.isfinite(goal)]).all():
                return (
                    f"{start} returns a number that is not finite (nan or inf), where the right answer is finite. "
                    "Look for a logarithm of 0, a division by 0, or an exponential of a large number; in training, "
                    "one nan spreads to every weight."
                )
    for ours, right, case in zip(given, expected, cases, strict=True):
        if all(map(_is_zero, ours.gradients)) and not all(map(_is_zero, right.gradients)):
            return (
                f"For {case.name}, `{name}` returns numbers that carry no gradient, so nothing could learn from them: "
                "a detach(), item(), sample() or no_grad() cuts the way back."
            )
    return None


def _first(probes, answer):
    """The first sentence that a probe has about the answer, or None."""
    for probe in probes:
        with torch.enable_grad():
            _seed()
            try:
                sentence = probe(answer)
            except Exception as error:
                if _is_stub(error):
                    raise _NotAttempted from None
                sentence = f"`{_name(answer)}` passes the first tests, but then stops with a {_describe(error)}."
        if sentence:
            return sentence
    return None


def _counter_example(given, expected, cases, name, reference):
    """The largest deviation: of values if there is one, of gradients otherwise."""
    found = []
    for ours, right, case in zip(given, expected, cases, strict=True):
        for number, pair in enumerate(zip(ours.values, right.values, strict=True)):
            excess = _excess(*pair, case.atol)
            if excess.numel():
                found.append((excess.max().item(), int(excess.argmax()), number, pair, case))
    nothing = 0, 0, 0, (0, 0), None
    worst, place, number, (value, goal), case = max(found, key=lambda item: item[0], default=nothing)
    if worst <= 1:
        return (
            f"The values of `{name}` are right, but their gradient is not: somewhere on the way a detach(), item(), "
            "sample() or no_grad() cuts off a part of it, and training would follow the rest alone."
        )
    place = tuple(int(index) for index in np.unravel_index(place, value.shape))
    got, goal = _distinct(value[place].item(), goal[place].item())
    which = f" in result {number + 1}" if len(expected[0].values) > 1 else ""
    where = f" at {list(place)}" if place else ""
    inputs = "" if case.view else _small_inputs(case, reference, place)
    return (
        f"Not right yet. The largest deviation is for {case.name}{which}{where}: expected {goal}, got "
        f"{got}{inputs}.{_pattern(given, expected, cases)}"
    )


def _pattern(given, expected, cases):
    """A sentence if all results are off by the same factor or by the same difference."""
    if any(case.atol is not None for case in cases):
        return ""
    ours, right = (
        torch.cat([value.double().flatten() for outcome in outcomes for value in outcome.values])
        for outcomes in (given, expected)
    )
    known = torch.isfinite(ours) & torch.isfinite(right)
    ours, right = ours[known], right[known]
    large = right.abs() > 1e-3 * right.abs().amax() if len(right) else known
    if large.sum() < 2:
        return ""
    ratio, difference = (ours / right)[large], ours - right
    if (ratio - ratio[0]).abs().max() < 0.01 * (ratio[0] - 1).abs():
        return f" Every result is {ratio[0]:.4g} times what it should be."
    if (difference - difference[0]).abs().max() < 1e-3 * difference[0].abs():
        return f" Every result is off by the same {difference[0]:+.4g}."
    return ""


def _small_inputs(case, reference, place):
    """The arguments at the place of the deviation, as far as they are small enough to read."""
    code = getattr(getattr(reference, "func", reference), "__code__", None)
    names = code.co_varnames if code else [f"argument {i + 1}" for i in range(len(case.arguments))]
    shown = []
    for name, value in zip(names, case.arguments):
        if isinstance(value, Tensor) and value.numel() > 8 and place and len(value) > place[0]:
            name, value = f"{name}[{place[0]}]", value[place[0]]
        if isinstance(value, (int, float)):
            shown.append(f"{name} = {value:.4g}")
        elif isinstance(value, Tensor) and value.numel() <= 8:
            numbers = [f"{number:.4g}" for number in value.detach().flatten().tolist()]
            shown.append(f"{name} = {numbers[0] if not value.ndim else '[' + ', '.join(numbers) + ']'}")
    return f" ({', '.join(shown)})" if shown else ""


def _distinct(a, b):
    """Two numbers with as many digits as it takes to tell them apart."""
    for digits in range(4, 12):
        texts = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return texts


def _count(shapes):
    return f"{len(shapes)} value{'s' * (len(shapes) != 1)}"


def _in_words(shapes):
    return " and ".join(str(list(shape)) for shape in shapes)


def _describe(error):
    line = (str(error).strip().splitlines() or [""])[0]
    message = f": {line[:160]}" if line else ""
    return f"{type(error).__name__}{message}".rstrip(".")


def _kind(result):
    name = type(result).__name__
    return "None" if result is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _name(answer):
    name = getattr(answer, "__name__", "")
    return name if name.isidentifier() else "your function"
