"""The tests of one exercise's check, made from the answers that a learner may give."""

import sys
from unittest.mock import patch

import pytest

UNNAMED = "expected … got"  # an honest counter-example


def check_tests(check, right, wrong, unlisted=(), formulas=True, least=10):
    """Two tests, to be named at the top level of a module.

    The first holds what `check` says of each answer. The second holds that the check knows `least` mistakes, and names
    each: no other gives the same numbers on its cases.

    Args:
        check: such as `checks.kl`.
        right: list of right answers, in other words each.
        wrong: dict of wrong answers, by what is said of each; " … " stands for words left out.
        unlisted: wrong answers that nobody foresaw: each gets what was expected and what was got, and no name.
        formulas: whether the check's own wrong functions can stand for a learner's.
    """
    answers = [*(("Right.", answer) for answer in right), *wrong.items(), *((UNNAMED, answer) for answer in unlisted)]

    @pytest.mark.parametrize(("phrase", "answer"), answers)
    def test_answer(phrase, answer):
        verdict = check(answer)
        assert (verdict.right, verdict.attempted) == (phrase == "Right.", True), verdict
        assert all(part in verdict.text for part in phrase.split(" … ")), verdict
        assert ("Two things at once" in verdict.text) == ("Two things at once" in phrase), verdict

    def test_mistakes():
        listed = [m for m in reference_and_mistakes(check)[1] if not m.text.startswith("Two things at once")]
        assert len(listed) >= least
        for mistake in listed if formulas else ():
            assert check(mistake.function).text == mistake.text

    return test_answer, test_mistakes


def reference_and_mistakes(check):
    """The right function and the list of `Mistake`s that a check compares an answer with."""
    with patch.object(sys.modules[check.__module__], "verdict_on") as verdict_on:
        check(None)
    _, reference, _, mistakes = (*verdict_on.call_args.args, [])[:4]
    return reference, mistakes
