"""How an exercise answers, on a function small enough that every outcome can be foreseen.

What each lesson's checks know is in test_checks_01.py and so on.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from vae_utils import checks
from vae_utils.checks.core import Case, Mistake, Slip, Verdict, combinations, verdict_on


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


# --- right


@pytest.mark.parametrize(
    "answer",
    [
        rate,
        lambda x, weight: 2 * x @ weight,
        lambda x, weight: torch.einsum("bd,d->b", x, weight) * 2,
        lambda x, weight: 2 * x.double() @ weight.double(),
        lambda x, weight: torch.stack([2 * (row * weight).sum() for row in x]),
        lambda x, weight: (2 * x * weight).flip(-1).T.sum(0),
    ],
    ids=["itself", "matmul", "einsum", "float64", "loop", "other memory"],
)
def test_right_answers_in_other_words(answer):
    assert verdict(answer) == Verdict(True, True, "Right. It mattered.")


def test_a_verdict_shows_its_text():
    text = "A sentence that needs a second line when it is shown, since no reader likes to scroll sideways at all."
    shown = repr(Verdict(False, True, text))
    assert shown.replace("\n", " ") == text and max(map(len, shown.splitlines())) <= 100 and "\n" in shown
    assert str(Verdict(True, True, text)) == shown


# --- not attempted


def stub(x, weight):
    raise NotImplementedError("your turn")


def test_a_stub_is_not_attempted():
    given = verdict(stub)
    assert (given.right, given.attempted) == (False, False)
    assert given.text.startswith("Not attempted yet") and "`stub`" in given.text


def test_torchs_own_refusal_is_an_attempt():
    normal = torch.distributions.Normal
    given = verdict(lambda x, weight: torch.distributions.kl_divergence(normal(x, 1.0), 3))
    assert given.attempted and "NotImplementedError" in given.text


# --- mistakes


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda x, weight: x @ weight, "The factor is lost."),
        (lambda x, weight: -2 * x @ weight, "The sign is turned."),
        (lambda x, weight: 2 * (x * weight).mean(1), "A mean stands for a sum."),
        (lambda x, weight: 2 * (x * weight).sum(0), "The wrong axis."),
    ],
    ids=["factor", "sign", "mean", "axis"],
)
def test_a_known_mistake_is_named(answer, phrase):
    assert verdict(answer) == Verdict(False, True, phrase)


def test_two_mistakes_at_once_are_named():
    given = verdict(lambda x, weight: -x @ weight)
    assert given.text == "Two things at once. The factor is lost. And: The sign is turned."


def test_slips_of_one_argument_are_not_paired():
    assert len(MISTAKES) == 4 + (6 - 1)  # the two of `reduce` exclude each other


def test_a_mistake_is_named_even_if_its_gradient_is_cut_off():
    assert verdict(lambda x, weight: (x @ weight).detach()).text.startswith("The factor is lost. Besides")


def test_the_version_with_the_same_gradient_is_preferred():
    """Two mistakes with the same values: the gradient tells them apart, whatever their order."""
    mistakes = [
        Mistake(lambda x, weight: rate(x, weight, 1.0), "moves"),
        Mistake(lambda x, weight: rate(x, weight, 1.0).detach() + 0 * weight.sum(), "does not move"),
    ]
    for order in (mistakes, mistakes[::-1]):
        assert verdict_on(mistakes[1].function, rate, cases(), order, right="").text == "does not move"
        assert verdict_on(mistakes[0].function, rate, cases(), order, right="").text == "moves"


def test_a_mistake_may_fail_where_shapes_do_not_fit():
    """Some slips run only if the batch is as large as the rows are long."""

    def transposed(x, weight):
        return 2 * (x.T * weight).sum(-1)

    mistakes = [Mistake(transposed, "Rows and columns have changed places.")]
    assert verdict_on(transposed, rate, cases(), mistakes, right="").text == mistakes[0].text
    # but failing alone is no evidence
    failing = verdict_on(lambda x, weight: x @ x, rate, cases(), mistakes, right="").text
    assert "RuntimeError" in failing or "Rows" not in failing


def test_a_mistake_that_equals_the_reference_on_all_cases_is_never_named():
    mistakes = [Mistake(rate, "no mistake at all")]
    assert "no mistake" not in verdict_on(lambda x, weight: x @ weight, rate, cases(), mistakes, right="").text


def test_nan_is_no_evidence_for_a_mistake():
    mistakes = [Mistake(lambda x, weight: rate(x, weight) * math.nan, "This one mistake.")]
    assert (
        "not finite"
        in verdict_on(lambda x, weight: x.sum(1) / 0 - x.sum(1) / 0, rate, cases(), mistakes, right="").text
    )


# --- defects and counter-examples


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda x, weight: None, "return` missing"),
        (lambda x, weight: "seven", "a str"),
        (lambda x, weight: [], "a list"),
        (lambda x, weight: {"a": 1}, "a dict"),
        (lambda x, weight: [None] * len(x), "a list"),
        (lambda x, weight: torch.complex(x, x).sum(-1), "complex"),
        (lambda x, weight: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda x: x, "takes 1 positional argument"),
        (lambda x, weight: 2 * x @ weight * math.nan, "not finite"),
        (lambda x, weight: 2 * (x @ weight)[:, None], "shape [4, 1], but the task asks for [4]"),
        (lambda x, weight: 2 * (x @ weight).sum(), "shape [], but the task asks for [4]"),
        (lambda x, weight: (2 * x @ weight, x), "2 values where the task asks for 1 value"),
        (lambda x, weight: (2 * x @ weight).detach(), "no gradient"),
        (lambda x, weight: (2 * x @ weight).detach().numpy(), "no gradient"),
        (lambda x, weight: 2 * x @ torch.cat([weight[:1], weight[1:].detach()]), "gradient is not"),
        (lambda x, weight: 2 * x @ weight + 700, "off by the same +700"),
        (lambda x, weight: 3 * x @ weight, "1.5 times what it should be"),
        (lambda x, weight: 2 * x @ weight + x[:, 0], "Not right yet"),
        (torch.nn.Linear, "stops with"),
        (max, "stops with"),
        (print, "returns None"),
    ],
    ids=range(21),
)
def test_garbage_gets_a_sentence(answer, phrase):
    given = verdict(answer)
    assert (given.right, given.attempted) == (False, True)
    assert phrase in given.text


@pytest.mark.parametrize("answer", [None, 3, "kl", torch.ones(3)])
def test_what_is_no_function_gets_a_sentence(answer):
    assert "without parentheses" in verdict(answer).text


def test_the_counter_example_is_the_largest_and_shows_its_input():
    def clipped(x):
        return x.clamp(max=2.0)

    given = verdict_on(
        clipped,
        lambda x: 1 * x,
        [Case("a few", (torch.tensor([1.0, 3.0, 7.5]),)), Case("one", (torch.tensor(2.5),))],
        right="",
    ).text
    assert "for a few at [2]: expected 7.5, got 2 (x = [1, 3, 7.5])" in given


def test_close_numbers_are_printed_until_they_differ():
    given = verdict_on(lambda x: x + 0.002, lambda x: 1 * x, [Case("one", (123.456,))], right="").text
    assert "expected 123.456, got 123.458" in given


# --- arguments


def test_no_answer_can_spoil_the_arguments():
    def spoils(x, weight):
        right = rate(x, weight)
        with torch.no_grad():
            x.zero_()
            weight.fill_(7.0)
        return right.clone()

    given = cases()
    verdict_on(spoils, rate, given, MISTAKES, right="")
    assert given[0].arguments[1].tolist() == [1.0, -2.0, 0.5] and given[0].arguments[0].any()
    assert given[0].arguments[1].grad is None


def test_the_learners_random_numbers_go_on_undisturbed():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    verdict(lambda x, weight: torch.randn(3) + x @ weight)
    assert torch.equal(torch.rand(3), expected)


def test_checks_work_where_gradients_are_off():
    with torch.no_grad():
        assert verdict(rate).right


def test_arguments_may_be_modules_numbers_and_functions():
    def applied(network, f, factor):
        return factor * f(network(torch.ones(2, 3)))

    network = nn.Linear(3, 2)
    given = [Case("a network", (network, torch.tanh, 2.0))]
    assert verdict_on(lambda net, f, k: f(net(torch.ones(2, 3))) * k, applied, given, right="").right
    detached = verdict_on(lambda net, f, k: f(net(torch.ones(2, 3))).detach() * k, applied, given, right="").text
    assert "no gradient" in detached
    linear = nn.functional.linear
    half = verdict_on(
        lambda net, f, k: k * f(linear(torch.ones(2, 3), net.weight, net.bias.detach())), applied, given, right=""
    ).text
    assert "gradient is not" in half
    assert network.weight.grad is None


@pytest.mark.parametrize(
    "answer", [lambda a: a / 2, lambda a: np.float64(a / 2), lambda a: torch.tensor(a / 2), lambda a: np.array(a / 2)]
)
def test_a_number_may_be_of_any_kind(answer):
    assert verdict_on(answer, lambda a: a / 2, [Case("three", (3.0,))], right="").right


def test_tuples_are_compared_part_by_part():
    def both(x):
        return x + 1, x * 2

    given = [Case("x", (torch.arange(3.0),))]
    assert verdict_on(lambda x: [x + 1, 2 * x], both, given, right="").right
    assert "in result 2" in verdict_on(lambda x: (x + 1, x * 3), both, given, right="").text
    assert "1 value where the task asks for 2 values" in verdict_on(lambda x: x + 1, both, given, right="").text


# --- random answers


def noisy(mean, width):
    return mean + width * torch.randn(20_000)


RANDOM = [
    Case(
        "a mean of 1",
        (torch.tensor(1.0, requires_grad=True), 0.5),
        view=lambda draws: torch.stack([draws.mean(), draws.std()]),
        atol=0.02,
    )
]


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda mean, width: torch.distributions.Normal(mean, width).rsample((20_000,)), "Right."),
        (lambda mean, width: mean + width * torch.randn(2, 10_000).flatten().flip(0), "Right."),
        (lambda mean, width: mean.expand(20_000), "no draw"),
        (lambda mean, width: torch.distributions.Normal(mean, width).sample((20_000,)), "no gradient"),
        (lambda mean, width: mean + width**2 * torch.randn(20_000), "Not right yet"),
        (lambda mean, width: mean + width * torch.randn(100), "shape [100], but the task asks for [20000]"),
        (lambda mean, width: 3, "shape []"),
    ],
)
def test_draws_are_compared_by_what_averages_show(answer, phrase):
    mistakes = [Mistake(lambda mean, width: mean.expand(20_000), "There is no draw.")]
    assert phrase in verdict_on(answer, noisy, RANDOM, mistakes, right="").text


def test_every_call_draws_from_the_same_seed():
    def draw(shape):
        return torch.randn(shape)

    given = [Case("3 draws", (3,)), Case("4 draws", (4,))]
    assert verdict_on(lambda shape: torch.randn(shape), draw, given, right="").right
    assert not verdict_on(lambda shape: torch.rand(shape), draw, given, right="").right


def test_a_view_that_fails_is_the_answers_fault():
    given = [Case("a distribution", (0.5,), view=lambda p: p.mean)]
    normal = torch.distributions.Normal
    assert verdict_on(lambda m: normal(m, 2.0), lambda m: normal(m, 1.0), given, right="").right
    number = verdict_on(lambda m: m, lambda m: normal(m, 1.0), given, right="").text
    assert "a float, which is not what was asked for" in number


def test_probes_speak_after_mistakes_and_before_counter_examples():
    probes = [lambda answer: None, lambda answer: "a probe" if answer(torch.ones(1, 3), torch.ones(3)) < 0 else None]
    assert verdict(rate, probes=probes).right
    assert verdict(lambda x, weight: 2 * x @ weight.abs() - 100, probes=probes).text == "a probe"
    assert verdict(lambda x, weight: -2 * x @ weight, probes=probes).text == "The sign is turned."

    def only_for_probes(x, weight):
        if len(x) == 1:
            raise ValueError("no single rows")
        return rate(x, weight)

    assert "no single rows" in verdict(only_for_probes, probes=probes).text


def test_a_reference_that_fails_is_reported_to_its_author():
    with pytest.raises(RuntimeError, match="reference"):
        verdict_on(rate, lambda x: x, cases(), right="")


# --- the package


def untouched(*arguments):
    raise NotImplementedError("your turn")


def test_every_check_is_documented_and_takes_a_function_alone():
    for name in checks.__all__:
        check = getattr(checks, name)
        assert len(check.__doc__) > 100, name  # what the function gets and what it must return
        verdict = check(untouched)
        assert verdict.attempted is False and not verdict.right, name
        assert not check(None).right, name


GARBAGE = {
    "nothing": lambda *_: None,
    "a word": lambda *_: "log p(x)",
    "a number": lambda *_: 0.0,
    "an error": lambda *_: 1 / 0,
    "not a number": lambda *_: math.nan,
    "a tensor of it": lambda *_: torch.tensor(math.nan),
    "its first argument spoilt": lambda first, *_: first * math.nan,
    "too many arguments": lambda: 0,
    "a number, no function": 3.0,
    "a word, no function": "q(z)",
    "another shape": lambda *_: torch.zeros(2, 3, 4, 5),
    "a pair": lambda *_: (torch.zeros(3), "nats"),
    "infinity": lambda first, *_: torch.as_tensor(first, dtype=torch.float32) + math.inf,
}


@pytest.mark.parametrize("name", checks.__all__)
@pytest.mark.parametrize("kind", GARBAGE)
def test_every_check_answers_garbage_with_a_sentence(name, kind):
    verdict = getattr(checks, name)(GARBAGE[kind])
    assert not verdict.right and verdict.attempted and len(verdict.text) > 30
