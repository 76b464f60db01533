"""What the tests of the library share."""

import pytest
import torch


@pytest.fixture(scope="session")
def images():
    """Twelve grey images of noise: enough for every property that no digit is needed for."""
    return torch.rand(12, 1, 28, 28, generator=torch.Generator().manual_seed(0))
