"""A model and pictures that are small enough for a training in every test, and what may happen on the way."""

import itertools

import pytest
import torch

from vae_utils.models import mlp_vae
from vae_utils.objectives import elbo


@pytest.fixture(scope="module")
def pictures():
    """48 pictures of two kinds, left half bright or right half bright: there is something to learn."""
    bright = torch.full((48, 1, 28, 28), 0.1)
    bright[::2, ..., :14] = bright[1::2, ..., 14:] = 0.9
    return bright


def small_vae(likelihood=None, seed=0):
    torch.manual_seed(seed)
    return mlp_vae(2, (8,), likelihood=likelihood)


def weights_of(vae):
    return {name: value.clone() for name, value in vae.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def after(num_calls, event, objective=elbo):
    """`objective`, but call number `num_calls` + 1 makes `event(terms)` of its terms."""
    calls = itertools.count()

    def with_event(vae, x):
        terms = objective(vae, x)
        return event(terms) if next(calls) == num_calls else terms

    return with_event


def interrupt(terms):
    raise KeyboardInterrupt


class WarmUp:
    """As lesson 03 writes one: it counts its own calls."""

    stop_at = None

    def __init__(self, beta, steps):
        self.beta, self.steps, self.step = beta, steps, 0

    def __call__(self, vae, x):
        if self.step == self.stop_at:
            raise KeyboardInterrupt
        self.step += 1
        return elbo(vae, x, beta=self.beta * min(1, self.step / self.steps))
