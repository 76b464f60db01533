"""The tests of one exercise's check, made from the answers that a learner may give."""

import sys
from unittest.mock import patch

import pytest


def check_tests(check, right, wrong):
    """Two tests, to be named at the top level of a module.

    The first holds what `check` says of each answer. The second holds that each mistake on the check's list is among
    the wrong answers, and is named: no other gives the same numbers on the check's cases.

    Args:
        check: such as `checks.kl`.
        right: list of right answers, in other words each.
        wrong: dict of wrong answers, by what is said of each; " … " stands for words left out.
    """

    @pytest.mark.parametrize(("phrase", "answer"), [*(("Right.", answer) for answer in right), *wrong.items()])
    def test_answer(phrase, answer):
        verdict = check(answer)
        assert (verdict.right, verdict.attempted) == (phrase == "Right.", True), verdict
        assert all(part in verdict.text for part in phrase.split(" … ")), verdict
        assert ("Two things at once" in verdict.text) == ("Two things at once" in phrase), verdict

    def test_mistakes():
        for mistake in reference_and_mistakes(check)[1]:
            if not mistake.text.startswith("Two things at once"):
                assert check(mistake.function).text == mistake.text
                assert any(phrase in mistake.text for phrase in wrong), mistake.text

    return test_answer, test_mistakes


def reference_and_mistakes(check):
    """The right function and the list of `Mistake`s that a check compares an answer with."""
    with patch.object(sys.modules[check.__module__], "verdict_on") as verdict_on:
        check(None)
    _, reference, _, mistakes = verdict_on.call_args.args
    return reference, mistakes
