"""Refusals: the form of the sentence, and that nothing passes that should not."""

import numpy as np
import pytest

from vae_utils.support.arguments import refusal, require_number, require_one_of, require_whole


@pytest.mark.parametrize("value", [1, 5, np.int64(3)])
def test_whole_numbers_in_the_range_pass(value):
    require_whole("n", value, 1, 5)


@pytest.mark.parametrize("value", [0, 6, 2.0, True, None, "3", np.float32(2)])
def test_everything_else_is_refused_in_one_form(value):
    with pytest.raises(ValueError) as caught:
        require_whole("n", value, 1, 5, "count again")
    assert str(caught.value) == f"n was expected to be a whole number from 1 to 5, got {value}; count again"


def test_a_range_may_be_open():
    require_whole("n", 10**9)
    with pytest.raises(ValueError, match="^n was expected to be a whole number of 1 or more, got 0$"):
        require_whole("n", 0)


@pytest.mark.parametrize(
    "value, fine", [(0.1, True), (np.float32(1), True), (0, False), (float("nan"), False), ("1", False), (False, False)]
)
def test_numbers_above_an_end(value, fine):
    if fine:
        require_number("rate", value, above=0)
    else:
        with pytest.raises(ValueError, match="^rate was expected to be a number above 0, got "):
            require_number("rate", value, above=0)


def test_numbers_with_both_ends():
    require_number("share", 1.0, least=0, most=1)
    with pytest.raises(ValueError, match="^share was expected to be a number from 0 to 1, got 1.5$"):
        require_number("share", 1.5, least=0, most=1)
    with pytest.raises(ValueError, match="^share was expected to be a number above 0 and of 1 or less, got 2$"):
        require_number("share", 2, above=0, most=1)


def test_choices():
    require_one_of("x", "a", ["a", "b"])
    with pytest.raises(ValueError, match="^x was expected to be one of a, b, got 'c'$"):
        require_one_of("x", "c", ["a", "b"])


def test_the_verb_follows_the_noun():
    assert refusal("images", "as tensors", "a list").startswith("images were expected")
    assert refusal("loss", "as a tensor", "a list").startswith("loss was expected")
