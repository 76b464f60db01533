"""How the check of an exercise works: it calls the learner's function, and says which mistake it makes.

    def kl(answer):
        return verdict_on(answer, _kl, cases, mistakes, right="Each image pays for its own code.")

A `Case` is one set of arguments; a `Mistake` is a wrong version of the function with a sentence about it. An answer
that equals the right function on all cases is right. One that equals a mistake on all cases gets that mistake's
sentence; any other gets the smallest case that fails, with what was expected and what was got. So a sentence about a
mistake is printed only if it explains the numbers. Two mistakes that give the same results on all cases must not
both be listed: add a case that tells them apart (batch and latents of different size, values away from 0 and 1).
"""

import copy
import itertools
import math
import random
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial, wraps

import numpy as np
import torch
from torch import Tensor, nn

from vae_utils.runtime import fixed_seed

SEED = 0
# Relative to the largest number expected in a case. With 1e-5, a constant typed to six digits is still right.
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
        arguments: positional arguments. Each call gets fresh copies of tensors and modules, so that no answer can
            change them for the next. If a tensor, or a weight of a module, requires a gradient, the gradient of the
            summed result is compared too.
        view: what to compare, computed from the result (a mean over draws, a covariance, the mean of a returned
            distribution); the result itself if None. If the result is a tensor or a tuple of tensors, its kind and
            shape are compared before.
        of: what a view shows, in words: one for each of its numbers ("the spread of latent 2"), or one for all.
        atol: largest difference accepted, in units of what is compared: for averages over draws, about five of their
            standard errors. Gradients then need to exist where the reference has them, not to be equal. None: a
            tolerance for rounding, by dtype.
        rtol: as `atol`, as a share of each number expected.
    """

    name: str
    arguments: tuple
    view: Callable | None = None
    of: tuple[str, ...] = ()
    atol: float | None = None
    rtol: float | None = None

    @property
    def exact(self):
        """Whether two right answers may differ by rounding only."""
        return self.atol is None and self.rtol is None


@dataclass(frozen=True)
class Mistake:
    """A wrong version of the function.

    Attributes:
        function: takes the same arguments as the reference. It may fail on some cases (shapes that do not fit), and is
            then recognised by the others and by failing on the same.
        text: which mistake it is, and what it does to training. Whole sentences.
        pair: whether these are two mistakes at once; single ones are tried before.
    """

    function: Callable
    text: str
    pair: bool = False


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


def combinations(formula, slips, pairs=None):
    """Every slip alone, then every two together.

        combinations(_kl, [Slip("factor", 1.0, "The ½ is missing: ..."), Slip("sign", -1, "The sign is turned: ...")])

    Args:
        formula: the reference, whose keyword arguments default to the right choices.
        slips: of `formula`; two with the same keyword exclude each other.
        pairs: the keywords whose slips are taken two at a time; None: all. An answer is compared with each pair.

    Returns:
        List of `Mistake`s; each single slip comes before any pair, and the first that matches is named.
    """
    single = [({slip.keyword: slip.value}, slip.text) for slip in slips]
    double = [
        (a | b, f"Two things at once. {text} And: {other}")
        for (a, text), (b, other) in itertools.combinations(single, 2)
        if a.keys() != b.keys() and (pairs is None or {*a, *b} <= {*pairs})
    ]
    singles = [Mistake(partial(formula, **choices), text) for choices, text in single]
    return singles + [Mistake(partial(formula, **choices), text, pair=True) for choices, text in double]


def mistakes_in(formula, versions=None, /, *, pairs=None, **choices):
    """The `Mistake`s of an exercise, from tables that give each sentence its wrong function or choice.

        mistakes_in(
            _kl, {"You sum over the batch: ...": _summed}, sign={"The sign is turned: ...": -1}, factor={"...": 1.0}
        )

    Args:
        formula: as of `combinations`.
        versions: wrong functions, by their sentences; they come first, and no slip is combined with them.
        pairs: as of `combinations`.
        choices: under each keyword of `formula` its wrong choices, by their sentences; slips for `combinations`.
    """
    slips = [Slip(keyword, value, text) for keyword, wrong in choices.items() for text, value in wrong.items()]
    return [Mistake(function, text) for text, function in (versions or {}).items()] + combinations(
        formula, slips, pairs
    )


# What may be wrong with any result, by what is said of it.
_GENERAL = {
    "The sign is turned: this is minus the right result.": lambda right: -right,
    "This is twice the right result: look for a factor ½ that is missing, or for one of 2 too many.": lambda right: (
        2 * right
    ),
    "This is half the right result: look for a factor 2 that is missing, or for one of ½ too many.": lambda right: (
        right / 2
    ),
    "This is the right result divided by log 2, in bits: the task asks for natural logarithms.": lambda right: (
        right / math.log(2)
    ),
    "This is the right result divided by log 10: log10 stands where the natural logarithm is needed.": lambda right: (
        right / math.log(10)
    ),
    "This is the square of the right result.": torch.square,
    "This is the square root of the right result.": torch.sqrt,
    "This is 1 divided by the right result.": torch.reciprocal,
    "This is the logarithm of the right result: it needs an exp() at the end.": torch.log,
    "This is exp() of the right result: the task asks for the logarithm.": lambda right: right.exp().where(
        right.abs() < 50, math.nan
    ),
    "This is the sum of the right results: the task asks for each of them.": torch.sum,
    "This is the mean of the right results: the task asks for each of them.": torch.mean,
    "These are the right numbers in the opposite order.": lambda right: right.flip(0) if right.ndim else right,
    "These are the right numbers with one dimension too many, of length 1: `squeeze` takes it away.": lambda right: (
        right[..., None] if right.ndim else right
    ),
}


def _general_mistakes(reference):
    """The `Mistake`s that any exercise may have."""

    def spoilt(spoil, *arguments):
        result = reference(*arguments)
        parts = result if isinstance(result, tuple) else (result,)
        parts = tuple(spoil(torch.as_tensor(part)) for part in parts)
        return parts if isinstance(result, tuple) else parts[0]

    return [Mistake(partial(spoilt, spoil), text) for text, spoil in _GENERAL.items()]


def _is_pair(mistake):
    return mistake.pair


def undisturbed(check):
    """A check whose draws, and those of the answer that it calls, leave the learner's own random numbers alone.

    PyTorch's, NumPy's and Python's random numbers go on after it as without it. Every check that a lesson calls has
    this decorator, because its cases may draw before `verdict_on` is called.
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
    """From here, every call of an answer draws the same numbers, whichever library it uses."""
    torch.default_generator.manual_seed(SEED)
    np.random.seed(SEED)
    random.seed(SEED)


@undisturbed
def verdict_on(answer, reference, cases, mistakes=(), *, right, probes=(), facts=()):
    """Compare a learner's function with the right one and with known mistakes; no wrong answer raises.

    In this order: not attempted; right on all cases and probes; a known mistake (by values and gradients, then by
    values alone), of the list or of those that any function may have; a defect (an exception, a wrong type or shape,
    NaN, no gradient); a fact; the smallest case that fails. All draws start from the same seed.

    Args:
        answer: what the learner wrote.
        reference: the right function. It runs after the answer, on copies of the same arguments. A draw in it is the
            answer's draw only if both draw in the same way and order: compare random results by a `view` that averages,
            with an `atol`, or let an argument remember what the answer drew.
        cases: list of `Case`s, at least one.
        mistakes: list of `Mistake`s, the most likely first.
        right: a sentence or two for a right answer: why it mattered.
        probes: functions of the answer that return a sentence about what is wrong, or None: for what no single call
            shows. They run only if all cases have passed.
        facts: functions without arguments that return a sentence about what was seen while the cases ran, or None. They
            run only if a case has failed and no mistake explains it, so they report and do not guess.

    Returns:
        Verdict.

    Raises:
        RuntimeError: if the reference fails on a case: an error of the check, not of the learner.
    """
    name = _name(answer)
    if not callable(answer):
        needed = "The function itself is needed, without parentheses after its name"
        return Verdict(False, True, f"{needed}; this is {_kind(answer)}.")
    try:
        given = [_run(answer, case, learner=True) for case in cases]
        expected = [_run(reference, case) for case in cases]
        given = [_unstacked(*outcomes) for outcomes in zip(given, expected, strict=True)]
        if problems := [outcome.problem for outcome in expected if outcome.problem]:
            raise RuntimeError(f"the reference of this check fails: {problems}")
        if all(map(_agree, given, expected, cases)):
            sentence = _first(probes, answer)
            notes = f"Right. {right}{_changed_inputs(given, cases, reference)}"
            return Verdict(sentence is None, True, sentence or notes)
        if note := _lost_digits(answer, reference, given, expected, cases):
            return Verdict(True, True, f"Right. {right} {note}")
        sentence = (
            _known_mistake(given, expected, cases, sorted([*mistakes, *_general_mistakes(reference)], key=_is_pair))
            or _defect(given, expected, cases, name, reference)
            or next(filter(None, (fact() for fact in facts)), None)
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
    shapes: list[tuple] | None = None  # of the result before `view`; None if it is not tensors
    problem: str = ""
    changed: list[int] = field(default_factory=list)  # places of arguments that a learner's function changes


def _run(function, case, learner=False, differentiate=True):
    with torch.set_grad_enabled(differentiate):
        # Copies take longer than most functions. Hundreds of mistakes are compared by values first, and change nothing.
        arguments = [_copy(argument) if differentiate else argument for argument in case.arguments]
        _seed()
        try:
            result = function(*arguments)
        except Exception as error:
            if learner and _is_stub(error):
                raise _NotAttempted from None
            return _Outcome(problem=f"stops with {with_article(_describe(error))}")
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
            reason = with_article(_describe(error))
            return _Outcome(problem=f"returns numbers whose gradient fails with {reason}", shapes=shapes)
        pairs = enumerate(zip(arguments, case.arguments)) if learner else ()
        changed = [place for place, (now, then) in pairs if isinstance(then, Tensor) and not torch.equal(now, then)]
        return _Outcome([leaf.detach().cpu() for leaf in compared], gradients, shapes, changed=changed)


def _unstacked(given, expected):
    """Results of one shape may come as one tensor, stacked: unpacking it gives the same."""
    parts = expected.shapes or []
    alike = len(parts) > 1 and len(set(parts)) == 1 and len(expected.values) == len(parts)
    if alike and len(given.values) == 1 and given.shapes == [(len(parts), *parts[0])] == [given.values[0].shape]:
        return replace(given, values=list(given.values[0]), shapes=parts)
    return given


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
    inputs = [tensor for _, tensor in _learnable(arguments, itertools.repeat(""))]
    differentiable = [leaf for leaf in leaves if leaf.requires_grad]
    if not inputs or not differentiable:
        return [None] * len(inputs)
    return list(torch.autograd.grad(sum(leaf.sum() for leaf in differentiable), inputs, allow_unused=True))


def _learnable(arguments, names):
    """Names and tensors that a gradient is wanted for."""
    for name, argument in zip(names, arguments):
        if isinstance(argument, nn.Module):
            named = ((f"{name}.{weight}", tensor) for weight, tensor in argument.named_parameters())
        else:
            named = [(name, argument)] if isinstance(argument, Tensor) else []
        yield from (pair for pair in named if pair[1].requires_grad)


# --- comparing outcomes


def _agree(given, expected, case, gradients=True, slack=1.0):
    """Whether two outcomes are the same to within rounding (`slack` times), or to within what the case accepts."""
    if given.problem or expected.problem:
        return bool(given.problem) and bool(expected.problem)
    same = not _wrong_shape(given, expected) and all(
        _close(ours, right, case, slack) for ours, right in zip(given.values, expected.values, strict=True)
    )
    gradients = gradients and all(bool(value.isfinite().all()) for value in given.values)
    return same and (not gradients or all(_gradient_errors(given, expected, case, slack)))


def _gradient_errors(given, expected, case, slack=1.0):
    """For each gradient, whether it is as expected."""
    for ours, right in zip(given.gradients, expected.gradients, strict=True):
        if _is_zero(ours) and _is_zero(right):
            yield True
        elif ours is None or right is None or not case.exact:
            yield not case.exact and (_is_zero(right) or not _is_zero(ours))
        else:
            yield _close(ours, right, slack=slack)


def _is_zero(gradient):
    return gradient is None or not gradient.any()


def _wrong_shape(given, expected):
    if expected.shapes is not None and given.shapes != expected.shapes:
        return True
    return [value.shape for value in given.values] != [value.shape for value in expected.values]


def _close(ours, right, case=None, slack=1.0):
    return ours.shape == right.shape and bool((_excess(ours, right, case) <= slack).all())


def _excess(ours, right, case=None):
    """Differences in units of what is accepted, elementwise; infinite where one of the two is not a finite number."""
    rounding = max(TOLERANCES.get(tensor.dtype, 1e-9) for tensor in (ours, right))
    ours, right = ours.double(), right.double()
    if case is None or case.exact:
        finite = right[torch.isfinite(right)]
        accepted = rounding * max(1.0, finite.abs().max().item() if len(finite) else 0.0)
    else:
        accepted = (case.atol or 0.0) + (case.rtol or 0.0) * right.abs() + 1e-12
    excess = ((ours - right).abs() / accepted).nan_to_num(nan=torch.inf, posinf=torch.inf)
    excess[~ours.isfinite() & ~right.isfinite()] = 0.0
    return excess


def _lost_digits(answer, reference, given, expected, cases):
    """A note if the answer is right in float64 and nearly right in the float32 that was given; None otherwise."""
    nearly = all(
        case.exact and not ours.problem and _agree(ours, right, case, slack=100)
        for ours, right, case in zip(given, expected, cases, strict=True)
    )
    if not nearly or any(isinstance(argument, nn.Module) for case in cases for argument in case.arguments):
        return None
    doubled = [Case(case.name, tuple(map(_double, case.arguments)), case.view) for case in cases]
    again = [(_run(answer, case), _run(reference, case), case) for case in doubled]
    if not all(not ours.problem and _agree(ours, right, case) for ours, right, case in again):
        return None
    failure = _smallest_failure(given, expected, cases)
    where = f" for {failure.case.name}, expected {failure.goal}, got {failure.got}," if failure else ""
    return f"But your way of computing loses digits in float32:{where} while in float64 it agrees."


def _double(value):
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.detach().double().requires_grad_(value.requires_grad)
    return value


def _known_mistake(given, expected, cases, mistakes):
    """The text of the first mistake with the answer's values and gradients, or at least with its values."""
    by_values = None
    cut_off = any(
        _is_zero(ours) > _is_zero(right)
        for o, e in zip(given, expected)
        for ours, right in zip(o.gradients, e.gradients)
    )
    for mistake in () if all(outcome.problem for outcome in given) else mistakes:
        wrong = _outcomes_like(given, mistake.function, cases)
        if wrong and _tells(wrong, given, expected, cases, gradients=True):
            return mistake.text
        if wrong and not by_values and cut_off and _tells(wrong, given, expected, cases, gradients=False):
            by_values = f"{mistake.text} Also, the gradient is cut off somewhere."
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
    return same and any(_differs(*outcomes, gradients) for outcomes in zip(wrong, given, expected, cases, strict=True))


def _differs(wrong, given, right, case, gradients):
    """Whether a mistake's outcome is evidence. A nan is not, because it equals that of any other mistake."""
    if wrong.problem or _wrong_shape(wrong, right):
        return not wrong.problem
    known = [(a == b) | (a.isfinite() & b.isfinite()) for a, b in zip(wrong.values, given.values, strict=True)]
    pairs = zip(wrong.values, right.values, known, strict=True)
    if any(((_excess(value, goal, case) > 1) & sure).any() for value, goal, sure in pairs):
        return True
    return gradients and all(sure.all() for sure in known) and not all(_gradient_errors(wrong, right, case))


# --- sentences


def _defect(given, expected, cases, name, reference):
    """The first thing about the outcomes that is wrong in kind, not in value; None if there is none."""
    for ours, right, case in zip(given, expected, cases, strict=True):
        asked, shapes = right.shapes, ours.shapes
        if asked is None and not ours.problem:  # the result is not tensors: look at what `view` made
            asked, shapes = ([tuple(value.shape) for value in outcome.values] for outcome in (right, ours))
        if asked and shapes and len(shapes) != len(asked):
            return f"For {case.name}, expected {_count(asked)}, got {_count(shapes)}. Look at what `{name}` returns."
        if asked and shapes and shapes != asked:
            return (
                f"For {case.name}, expected shape {_in_words(asked)}, got {_in_words(shapes)}. Look at the dimensions "
                "over which you sum or average."
            )
        if ours.problem:
            end = ": is a `return` missing?" if "returns None" in ours.problem else "."
            return f"For {case.name}, `{name}` {ours.problem}{end}"
    if failure := _smallest_failure(given, expected, cases, infinite=True):
        return (
            f"{_in_numbers(failure, reference)} Look for a logarithm of 0, a division by 0, or an exponential of a "
            "large number. In training, one such number spreads to every weight."
        )
    values_right = all(_agree(*outcomes, gradients=False) for outcomes in zip(given, expected, cases, strict=True))
    if values_right and all(_is_zero(gradient) for outcome in given for gradient in outcome.gradients):
        case = next((case for case, right in zip(cases, expected) if not all(map(_is_zero, right.gradients))), None)
        if case is not None:
            return (
                f"For {case.name}, `{name}` returns numbers that carry no gradient, so nothing could learn from them: "
                "a detach(), item(), sample() or no_grad() cuts the way back."
            )
    return None


def _changed_inputs(given, cases, reference):
    """A note if a right answer changes its own arguments; empty otherwise."""
    for outcome, case in zip(given, cases, strict=True):
        if outcome.changed:
            name = _names(reference, case)[outcome.changed[0]]
            return (
                f" But the function changes `{name}` itself, as {name} += ... does, so the caller then has another "
                f"`{name}`. Write {name} = {name} + ... instead."
            )
    return ""


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
                described = with_article(_describe(error))
                sentence = f"`{_name(answer)}` passes the first tests, but then stops with {described}."
        if sentence:
            return sentence
    return None


@dataclass(frozen=True)
class _Failure:
    """One number that is not as expected: of which case, which of how many parts of its result, and where in it."""

    case: Case
    part: int
    parts: int
    shape: tuple[int, ...]
    place: tuple[int, ...]
    values: tuple[float, float]

    got = property(lambda self: _distinct(*self.values)[0])
    goal = property(lambda self: _distinct(*self.values)[1])


def _smallest_failure(given, expected, cases, infinite=False):
    """The largest deviation in the failing case that has the fewest numbers; None if all values are right."""
    found = []
    for ours, right, case in zip(given, expected, cases, strict=True):
        for part, pair in enumerate(zip(ours.values, right.values)):
            if pair[0].shape != pair[1].shape:
                continue
            excess = _excess(*pair, case)
            excess = excess.where(~pair[0].isfinite(), 0.0) if infinite else excess
            if excess.numel() and excess.max() > 1:
                place = tuple(int(index) for index in np.unravel_index(int(excess.argmax()), excess.shape))
                values = tuple(value[place].item() for value in pair)
                found.append(
                    (
                        (sum(map(_size, case.arguments)), -excess.max().item()),
                        _Failure(case, part, len(ours.values), tuple(excess.shape), place, values),
                    )
                )
    return min(found, key=lambda item: item[0], default=(0, None))[1]


def _size(argument):
    if isinstance(argument, nn.Module):
        return sum(weight.numel() for weight in argument.parameters())
    return argument.numel() if isinstance(argument, Tensor) else 1


def _counter_example(given, expected, cases, name, reference):
    """The smallest failure: of values if there is one, of gradients otherwise."""
    failure = _smallest_failure(given, expected, cases)
    if failure is None:
        return _wrong_gradient(given, expected, cases, name, reference)
    return f"Not right yet. {_in_numbers(failure, reference)}{_pattern(given, expected, cases)}"


def _in_numbers(failure, reference):
    """What was expected and what was got, of which inputs."""
    case, place = failure.case, failure.place
    if case.of:
        where = f", {case.of[place[0] if len(case.of) > 1 else 0]}"
    else:
        where = f" in result {failure.part + 1}" * (failure.parts > 1) + (f" at {list(place)}" if place else "")
    inputs = "" if case.view else _small_inputs(failure, reference)
    return f"For {case.name}{where}: expected {failure.goal}, got {failure.got}{inputs}."


def _wrong_gradient(given, expected, cases, name, reference):
    """All values are right, but a gradient is not: one that is missing, or the first that is wrong."""
    wrong = [
        (case, argument, gradient, torch.zeros_like(gradient) if goal is None and gradient is not None else goal)
        for ours, right, case in zip(given, expected, cases, strict=True)
        for good, (argument, _), gradient, goal in zip(
            _gradient_errors(ours, right, case),
            _learnable(case.arguments, _names(reference, case)),
            ours.gradients,
            right.gradients,
        )
        if not good
    ]
    case, argument, gradient, goal = next((found for found in wrong if _is_zero(found[2])), wrong[0])
    if _is_zero(gradient):
        return (
            f"The values of `{name}` are right, but no gradient reaches `{argument}` ({case.name}): a detach(), "
            "item(), sample() or no_grad() cuts it off. Training would not move it."
        )
    place = np.unravel_index(int((gradient - goal).abs().argmax()), gradient.shape)
    got, goal = _distinct(gradient[place].item(), goal[place].item())
    return (
        f"The values of `{name}` are right, but the gradient in `{argument}` is not ({case.name}): expected {goal}, "
        f"got {got}. Either a route is still open that a detach() should cut, or one too many is cut, by a detach(), "
        "item(), sample() or no_grad()."
    )


def _pattern(given, expected, cases):
    """A sentence if all results are off by the same factor or by the same difference."""
    if not all(case.exact for case in cases):
        return ""
    ours, right = (
        torch.cat([value.double().flatten() for outcome in outcomes for value in outcome.values])
        for outcomes in (given, expected)
    )
    large = right.abs() > 1e-3 * right.abs().amax() if len(right) else right.bool()
    if large.sum() < 2:
        return ""
    ratio, difference = (ours / right)[large], ours - right
    if ratio[0] and (ratio - ratio[0]).abs().max() < 0.01 * (ratio[0] - 1).abs():
        return f" Every result is {ratio[0]:.4g} times what it should be."
    if (difference - difference[0]).abs().max() < 1e-3 * difference[0].abs():
        return f" Every result is off by the same {difference[0]:+.4g}."
    return ""


def _names(reference, case):
    """The names of the arguments, as the reference has them."""
    code = getattr(getattr(reference, "func", reference), "__code__", None)
    return code.co_varnames if code else [f"argument {i + 1}" for i in range(len(case.arguments))]


def _small_inputs(failure, reference):
    """The arguments as far as they are small enough to read: whole, or the row of the deviation."""
    shown = []
    for name, value in zip(_names(reference, failure.case), failure.case.arguments):
        if isinstance(value, Tensor) and value.numel() > 8 and failure.shape[:1] == value.shape[:1]:
            name, value = f"{name}[{failure.place[0]}]", value[failure.place[0]]
        if isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() <= 8):
            shown.append(f"{name} = {_written(value.tolist() if isinstance(value, Tensor) else value)}")
    return f" ({', '.join(shown)})" if shown else ""


def _written(value):
    """Numbers, in brackets as their tensor has them."""
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, list) else f"{value:.4g}"


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
    return "None" if result is None else with_article(name)


def with_article(name):
    """The name after "a" or "an", as one says it: a ValueError, an OverflowError, a UnicodeError."""
    return f"{'an' if name[0].lower() in 'aeiou' and not name.startswith(('Uni', 'Use')) else 'a'} {name}"


def _name(answer):
    name = getattr(answer, "__name__", "")
    return name if name.isidentifier() else "your function"
