"""How an exercise answers, on a function small enough that every outcome can be foreseen."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from vae_utils import checks
from vae_utils.checks.core import Case, Mistake, Slip, Verdict, combinations, verdict_on

from listed_mistakes import check_tests, reference_and_mistakes


def rate(x, weight, factor=2.0, sign=1, reduce=lambda terms: terms.sum(-1)):
    """The task of these tests: 2 * sum of x * weight, [B, D] and [D] -> [B]."""
    return sign * factor * reduce(x * weight)


def cases():
    generator = torch.Generator().manual_seed(0)
    weight = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    return [
        Case("4 rows", (torch.randn(4, 3, generator=generator), weight)),
        Case("3 rows of 3", (torch.randn(3, 3, generator=generator), weight)),
        Case("large numbers", (1e6 * torch.randn(2, 3, generator=generator), weight)),
    ]


MISTAKES = combinations(
    rate,
    [
        Slip("factor", 1.0, "The factor is lost."),
        Slip("sign", -1, "The sign is turned."),
        Slip("reduce", lambda terms: terms.mean(-1), "A mean stands for a sum."),
        Slip("reduce", lambda terms: terms.sum(0), "The wrong axis."),
    ],
)


def verdict(answer, **kwargs):
    return verdict_on(answer, rate, cases(), MISTAKES, right="It mattered.", **kwargs)


def text_on(answer, reference, cases, mistakes=()):
    return verdict_on(answer, reference, cases, mistakes, right="").text


# --- right and wrong

RIGHT = [
    rate,
    lambda x, weight: 2 * x @ weight,
    lambda x, weight: torch.einsum("bd,d->b", x, weight) * 2,
    lambda x, weight: 2 * x.double() @ weight.double(),
    lambda x, weight: torch.stack([2 * (row * weight).sum() for row in x]),
    lambda x, weight: (2 * x * weight).flip(-1).T.sum(0),  # other memory
]
WRONG = {
    "The factor is lost.": lambda x, weight: x @ weight,
    "The sign is turned.": lambda x, weight: -2 * x @ weight,
    "A mean stands for a sum.": lambda x, weight: 2 * (x * weight).mean(1),
    "The wrong axis.": lambda x, weight: 2 * (x * weight).sum(0),
    "Two things at once. The factor is lost. And: The sign is turned.": lambda x, weight: -x @ weight,
    "The factor is lost. Also, the gradient is cut off": lambda x, weight: (x @ weight).detach(),
    # no known mistake
    "a list": lambda x, weight: [],
    "a list, which is not what was asked for": lambda x, weight: [None] * len(x),
    "a dict": lambda x, weight: {"a": 1},
    "complex": lambda x, weight: torch.complex(x, x).sum(-1),
    "got nan": lambda x, weight: 2 * x @ weight * math.nan,
    "one dimension too many": lambda x, weight: 2 * (x @ weight)[:, None],
    "sum of the right results": lambda x, weight: 2 * (x @ weight).sum(),
    "expected 1 value, got 2 values": lambda x, weight: (2 * x @ weight, x),
    "no gradient": lambda x, weight: (2 * x @ weight).detach(),
    "carry no gradient": lambda x, weight: (2 * x @ weight).detach().numpy(),
    "the gradient in `weight` is not": lambda x, weight: 2 * x @ torch.cat([weight[:1], weight[1:].detach()]),
    "off by the same +700": lambda x, weight: 2 * x @ weight + 700,
    "1.5 times what it should be": lambda x, weight: 3 * x @ weight,
    "Not right yet": lambda x, weight: 2 * x @ weight + x[:, 0],
    "`Linear` stops with": nn.Linear,
    "`max` stops with": max,
    "`print` returns None": print,
    # torch's own refusal is no stub's
    "NotImplementedError": lambda x, weight: kl_divergence(Normal(x, 1.0), 3),
    "without parentheses … this is None": None,
    "without parentheses … this is an int": 3,
    "without parentheses … this is a Tensor": torch.ones(3),
}
test_answers, test_mistakes = check_tests(verdict, RIGHT, WRONG, least=4)


def test_a_verdict_shows_its_text():
    text = "A sentence that needs a second line when it is shown, since no reader likes to scroll sideways at all."
    shown = repr(Verdict(False, True, text))
    assert shown.replace("\n", " ") == text and max(map(len, shown.splitlines())) <= 100 and "\n" in shown
    assert str(Verdict(True, True, text)) == shown


def test_slips_of_one_argument_are_not_paired():
    assert len(MISTAKES) == 4 + (6 - 1)  # the two of `reduce` exclude each other


def test_the_version_with_the_same_gradient_is_preferred():
    """Two mistakes with the same values: the gradient tells them apart, whatever their order."""
    mistakes = [
        Mistake(lambda x, weight: rate(x, weight, 1.0), "moves"),
        Mistake(lambda x, weight: rate(x, weight, 1.0).detach() + 0 * weight.sum(), "does not move"),
    ]
    for order in (mistakes, mistakes[::-1]):
        for mistake in mistakes:
            assert text_on(mistake.function, rate, cases(), order) == mistake.text


def test_a_mistake_may_fail_where_shapes_do_not_fit():
    """Some slips run only if the batch is as large as the rows are long."""

    def transposed(x, weight):
        return 2 * (x.T * weight).sum(-1)

    mistakes = [Mistake(transposed, "Rows and columns have changed places.")]
    assert text_on(transposed, rate, cases(), mistakes) == mistakes[0].text
    # but failing alone is no evidence
    failing = text_on(lambda x, weight: x @ x, rate, cases(), mistakes)
    assert "RuntimeError" in failing and "Rows" not in failing


def test_a_mistake_that_equals_the_reference_on_all_cases_is_never_named():
    mistakes = [Mistake(rate, "no mistake at all")]
    assert "no mistake" not in text_on(lambda x, weight: x @ weight, rate, cases(), mistakes)


def test_nan_is_no_evidence_for_a_mistake():
    mistakes = [Mistake(lambda x, weight: rate(x, weight) * math.nan, "This one mistake.")]
    assert "got nan" in text_on(lambda x, weight: x.sum(1) / 0 - x.sum(1) / 0, rate, cases(), mistakes)


# --- counter-examples


def test_the_counter_example_is_the_largest_of_the_smallest_case_and_shows_its_input():
    given = [Case("a few", (torch.tensor([1.0, 3.0, 7.5]),)), Case("one", (torch.tensor(2.5),))]
    text = text_on(lambda x: x.clamp(max=2.0), lambda x: 1 * x, given)
    assert "For one: expected 2.5, got 2 (x = 2.5)" in text
    text = text_on(lambda x: x.clamp(max=3.0), lambda x: 1 * x, given)
    assert "For a few at [2]: expected 7.5, got 3 (x = [1, 3, 7.5])" in text
    square = [Case("a square", (torch.tensor([[1.0, 2.0], [3.0, 4.0]]),))]
    assert "(x = [[1, 2], [3, 4]])" in text_on(lambda x: x**3 + 1, lambda x: 1 * x, square)


def test_close_numbers_are_printed_until_they_differ():
    text = text_on(lambda x: x + 0.002, lambda x: 1 * x, [Case("one", (123.456,))])
    assert "expected 123.456, got 123.458" in text


# --- arguments


def test_no_answer_can_spoil_the_arguments():
    def spoils(x, weight):
        right = rate(x, weight)
        with torch.no_grad():
            x.zero_()
            weight.fill_(7.0)
        return right.clone()

    given = cases()
    text_on(spoils, rate, given, MISTAKES)
    assert given[0].arguments[1].tolist() == [1.0, -2.0, 0.5] and given[0].arguments[0].any()
    assert given[0].arguments[1].grad is None


def test_an_answer_that_changes_what_it_was_given_is_right_and_told():
    """The values are right, and the caller's tensors are spoilt."""

    def adds_in_place(x):
        x += 1
        return x

    given = [Case("three numbers", (torch.arange(3.0),))]
    found = verdict_on(adds_in_place, lambda x: x + 1, given, right="It mattered.")
    assert found.right and found.text.startswith("Right. It mattered. But the function changes `x` itself")
    assert "changes" not in verdict_on(lambda x: x + 1, lambda x: x + 1, given, right="It mattered.").text


def test_a_missing_gradient_is_spoken_of_where_the_values_are_right():
    """A constant is no detached result."""
    assert "no gradient" in verdict(lambda x, weight: (2 * x @ weight).detach()).text
    constant = verdict(lambda x, weight: torch.ones(len(x))).text
    assert "Not right yet" in constant and "gradient" not in constant


def test_arguments_may_be_modules_numbers_and_functions():
    def applied(network, f, factor):
        return factor * f(network(torch.ones(2, 3)))

    def half_detached(net, f, factor):
        return factor * f(nn.functional.linear(torch.ones(2, 3), net.weight, net.bias.detach()))

    network = nn.Linear(3, 2)
    given = [Case("a network", (network, torch.tanh, 2.0))]
    assert "Right." in text_on(lambda net, f, k: f(net(torch.ones(2, 3))) * k, applied, given)
    assert "no gradient" in text_on(lambda *arguments: applied(*arguments).detach(), applied, given)
    assert "no gradient reaches `network.bias`" in text_on(half_detached, applied, given)
    assert network.weight.grad is None


@pytest.mark.parametrize(
    "answer", [lambda a: a / 2, lambda a: np.float64(a / 2), lambda a: torch.tensor(a / 2), lambda a: np.array(a / 2)]
)
def test_a_number_may_be_of_any_kind(answer):
    assert "Right." in text_on(answer, lambda a: a / 2, [Case("three", (3.0,))])


def test_tuples_are_compared_part_by_part():
    def both(x):
        return x + 1, x * 2

    given = [Case("x", (torch.arange(3.0),))]
    assert "Right." in text_on(lambda x: [x + 1, 2 * x], both, given)
    assert "Right." in text_on(lambda x: torch.stack([x + 1, 2 * x]), both, given)
    assert "in result 2" in text_on(lambda x: torch.stack([x + 1, 3 * x]), both, given)
    assert "expected 2 values, got 1 value" in text_on(lambda x: torch.stack([x + 1, 2 * x, x]), both, given)
    assert "in result 2" in text_on(lambda x: (x + 1, x * 3), both, given)
    assert "expected 2 values, got 1 value" in text_on(lambda x: x + 1, both, given)


# --- random answers


def noisy(mean, width):
    return mean + width * torch.randn(20_000)


def mean_and_std(draws):
    return torch.stack([draws.mean(), draws.std()])


def verdict_on_draws(answer):
    arguments = torch.tensor(1.0, requires_grad=True), 0.5
    mistakes = [Mistake(lambda mean, width: mean.expand(20_000), "There is no draw.")]
    return verdict_on(answer, noisy, [Case("a mean of 1", arguments, mean_and_std, atol=0.02)], mistakes, right="")


RIGHT_DRAWS = [
    lambda mean, width: Normal(mean, width).rsample((20_000,)),
    lambda mean, width: mean + width * torch.randn(2, 10_000).flatten().flip(0),
]
WRONG_DRAWS = {
    "There is no draw.": lambda mean, width: mean.expand(20_000),
    "no gradient": lambda mean, width: Normal(mean, width).sample((20_000,)),
    "Not right yet": lambda mean, width: mean + width**2 * torch.randn(20_000),
    "expected shape [20000], got [100]": lambda mean, width: mean + width * torch.randn(100),
    "got []": lambda mean, width: 3,
}
test_draws, test_mistakes_of_draws = check_tests(verdict_on_draws, RIGHT_DRAWS, WRONG_DRAWS, least=1)


def test_every_call_draws_from_the_same_seed():
    given = [Case("3 draws", (3,)), Case("4 draws", (4,))]
    assert "Right." in text_on(lambda shape: torch.randn(shape), torch.randn, given)
    assert "Right." not in text_on(torch.rand, torch.randn, given)


def test_a_view_that_fails_is_the_answers_fault():
    given = [Case("a distribution", (0.5,), view=lambda p: p.mean)]
    assert "Right." in text_on(lambda m: Normal(m, 2.0), lambda m: Normal(m, 1.0), given)
    assert "a float, which is not what was asked for" in text_on(lambda m: m, lambda m: Normal(m, 1.0), given)


def test_probes_speak_only_where_all_values_are_right():
    probes = [lambda answer: None, lambda answer: "a probe" if answer(torch.ones(1, 3), torch.ones(3)) < 0 else None]
    assert verdict(rate, probes=probes) == Verdict(True, True, "Right. It mattered.")
    assert "expected" in verdict(lambda x, weight: 2 * x @ weight.abs() - 100, probes=probes).text
    assert verdict(rate, probes=[lambda answer: "a probe"]) == Verdict(False, True, "a probe")
    assert verdict(lambda x, weight: -2 * x @ weight, probes=probes).text == "The sign is turned."

    def only_for_probes(x, weight):
        if len(x) == 1:
            raise ValueError("no single rows")
        return rate(x, weight)

    assert "no single rows" in verdict(only_for_probes, probes=probes).text


def test_facts_speak_where_no_mistake_explains_the_values():
    facts = [lambda: None, lambda: "a fact"]
    assert verdict(rate, facts=facts).right
    assert verdict(lambda x, weight: x @ weight, facts=facts).text == "The factor is lost."
    assert verdict(lambda x, weight: 2 * x @ weight.abs() - 100, facts=facts).text == "a fact"


def test_an_answer_that_loses_digits_is_right():
    """A way that is right in float64, and off by more than a rounding in float32."""

    def wavering(x):
        return (x + 1e4) - 1e4

    given = [Case("small numbers", (torch.tensor([1.2345678, -0.5]),))]
    found = verdict_on(wavering, lambda x: 1 * x, given, right="It mattered.")
    assert found.right and "loses digits in float32" in found.text and "expected 1.235, got 1.234," in found.text
    assert not verdict_on(lambda x: x + 1e-3, lambda x: 1 * x, given, right="").right
    overflowing = [Case("large numbers", (torch.tensor([1.0, 2e3]),))]
    assert "got inf" in text_on(lambda x: x.exp().log(), lambda x: 1 * x, overflowing)


GENERAL = {
    "minus the right result": lambda x: -x,
    "twice the right result": lambda x: 2 * x,
    "half the right result": lambda x: x / 2,
    "in bits": lambda x: x / math.log(2),
    "divided by log 10": lambda x: x / math.log(10),
    "This is the square of": torch.square,
    "square root": torch.sqrt,
    "1 divided by": lambda x: 1 / x,
    "the logarithm of the right result": torch.log,
    "the task asks for the logarithm": torch.exp,
    "the sum of the right results": torch.sum,
    "the mean of the right results": torch.mean,
    "opposite order": lambda x: x.flip(0),
    "one dimension too many": lambda x: x[:, None],
}


@pytest.mark.parametrize(("phrase", "answer"), GENERAL.items())
def test_what_may_be_wrong_with_any_result_is_named(phrase, answer):
    given = [Case("three numbers", (torch.tensor([0.3, 1.7, 2.9]),)), Case("two", (torch.tensor([4.1, 0.2]),))]
    assert phrase in text_on(answer, lambda x: 1 * x, given)


def test_infinite_values_are_reported_and_are_evidence():
    """log(exp(x)) is right for small numbers, and its -inf for large ones is that of the mistake."""
    given = [Case("small", (torch.tensor([0.5, -1.0]),)), Case("large", (torch.tensor([-500.0, 1.0, 2.0]),))]
    mistakes = [Mistake(lambda x: x.exp().log(), "An exponential comes first.")]
    assert text_on(lambda x: x.exp().log(), lambda x: 1 * x, given, mistakes) == "An exponential comes first."
    assert "expected -500, got -inf" in text_on(lambda x: x.exp().log(), lambda x: 1 * x, given)


def test_a_view_says_what_it_shows():
    def moments(draws):
        return torch.stack([draws.mean(), draws.std()])

    given = [Case("1,000 draws", (1000,), moments, of=("the mean", "the spread"), atol=0.2)]
    text = text_on(lambda n: 3 * torch.randn(n), torch.randn, given)
    assert "For 1,000 draws, the spread: expected" in text


def test_a_relative_tolerance_is_of_each_number():
    given = [Case("two numbers", (torch.tensor([1.0, 1000.0]),), rtol=0.1)]
    assert text_on(lambda x: 1.05 * x, lambda x: 1 * x, given).startswith("Right.")
    assert not text_on(lambda x: x + 5, lambda x: 1 * x, given).startswith("Right.")


def test_a_reference_that_fails_is_reported_to_its_author():
    with pytest.raises(RuntimeError, match="reference"):
        text_on(rate, lambda x: x, cases())


# --- the package


def untouched(*arguments):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("name", checks.__all__)
def test_every_check_is_documented_and_takes_a_function_alone(name):
    check = getattr(checks, name)
    assert len(check.__doc__) > 100  # what the function gets and what it must return
    given = check(untouched)
    assert (given.right, given.attempted) == (False, False)
    assert given.text.startswith("Not attempted yet") and "`untouched`" in given.text


@pytest.mark.parametrize("name", checks.__all__)
def test_every_check_works_where_gradients_are_off(name):
    check = getattr(checks, name)
    if name != "algorithm_1":  # its reference is no program; learners' programs are in test_algorithm.py
        with torch.no_grad():
            assert check(reference_and_mistakes(check)[0]).text.startswith("Right.")


def seed_all(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def random_numbers():
    """What torch, NumPy and Python would draw next."""
    return torch.get_rng_state().tolist(), np.random.get_state()[1:3], random.getstate()


@pytest.mark.parametrize("ending", ["right", "a mistake", "an error", "no function"])
@pytest.mark.parametrize("name", checks.__all__)
def test_every_check_leaves_random_numbers_alone(name, ending):
    """Those of all libraries, although the answer draws, and seeds, whatever becomes of it."""
    check = getattr(checks, name)
    reference, mistakes = reference_and_mistakes(check)
    called = []

    def answer(*arguments):
        called.append((torch.rand(3), np.random.rand(3), random.random()))
        seed_all(99)
        if ending == "an error":
            raise ZeroDivisionError
        return (reference if ending == "right" else mistakes[0].function)(*arguments)

    seed_all(1)
    before = random_numbers()
    check(None if ending == "no function" else answer)
    assert bool(called) == (ending != "no function")
    np.testing.assert_equal(random_numbers(), before)


def test_every_call_draws_the_same_by_whichever_library():
    draws = []

    def answer(shape):
        draws.append((np.random.rand(), random.random()))
        return torch.zeros(shape)

    text_on(answer, torch.zeros, [Case("3", (3,)), Case("4", (4,))])
    assert len(set(draws)) == 1


GARBAGE = [
    (lambda *_: None, "is a `return` missing?"),
    (lambda *_: "log p(x)", "a str"),
    (lambda *_: 1 / 0, "ZeroDivisionError: division by zero"),
    (lambda: 0, "takes 0 positional arguments"),
    (3.0, "without parentheses after its name; this is a float"),
    ("q(z)", "without parentheses after its name; this is a str"),
    (lambda *_: (torch.zeros(3), "nats"), "a tuple"),
    (lambda *_: torch.zeros(2, 3, 4, 5), "expected"),
    # each check has its own sentence for these
    (lambda *_: 0.0, ""),
    (lambda *_: math.nan, ""),
    (lambda *_: torch.tensor(math.nan), ""),
    (lambda first, *_: first * math.nan, ""),
    (lambda first, *_: torch.as_tensor(first, dtype=torch.float32) + math.inf, ""),
]


@pytest.mark.parametrize("name", checks.__all__)
@pytest.mark.parametrize(("answer", "phrase"), GARBAGE)
def test_every_check_answers_garbage_with_a_sentence(name, answer, phrase):
    given = getattr(checks, name)(answer)
    assert (given.right, given.attempted) == (False, True) and len(given.text) > 30
    assert phrase in given.text
