"""What tests of several lessons share."""

import pytest
import torch


@pytest.fixture(scope="session")
def agree():
    """A function: what is computed in several ways is the same, in value and in gradient, from the same random numbers.

    It takes the model in whose weights the gradients are, the ways (functions without arguments), and the tolerance
    (`atol`, `rtol`) of the gradients of the sum of what they return.
    """

    def assert_agreement(vae, *ways, **tolerance):
        values, gradients = [], []
        for way in ways:
            torch.manual_seed(1)
            values.append(way())
            gradients.append(torch.autograd.grad(values[-1].sum(), list(vae.parameters())))
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*gradients, **tolerance)

    return assert_agreement
