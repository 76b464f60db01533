"""What the tests of the library share, and the warning that keeps them fast."""

import os
import time
import warnings

import pytest
import torch
from hypothesis import settings

from vae_utils.data import MNIST

MOST_SECONDS = 2  # of CPU time: waiting for other programs does not count
settings.register_profile("course", deadline=None)  # which would count that
settings.load_profile("course")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Tell of a test that takes long and is not marked `slow`: `pytest tests -m "not slow"` is for daily use.

    It does not fail: how long a second of computing is depends on the machine and on its other programs.
    """
    start = _cpu_seconds()
    result = yield
    spent = _cpu_seconds() - start
    if item.get_closest_marker("slow") is None and spent > MOST_SECONDS:
        slow = f"{item.nodeid} took {spent:.1f} s of CPU time: make it faster, or mark it slow"
        warnings.warn(pytest.PytestWarning(slow), stacklevel=1)
    return result


def _cpu_seconds():
    """Of this thread, and of the child processes that have ended."""
    times = os.times()
    return time.thread_time() + times.children_user + times.children_system


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tests of the library compute little at a time: a second thread would mostly wait, and slow a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_figure_stays_open():
    yield
    import matplotlib.pyplot as plt  # not above: most tests draw nothing

    plt.close("all")


@pytest.fixture(scope="session")
def images():
    """Twelve grey images of noise: enough for every property that no digit is needed for."""
    return torch.rand(12, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def toy_mnist():
    """Squares of random place and size in the place of digits: 256 to train on, 40 to test on."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(256 + 40, 1, 28, 28)
    corners = torch.randint(4, 16, (len(images), 2), generator=generator).tolist()
    for image, (top, left) in zip(images[:, 0], corners):
        image[top : top + 8, left : left + 8] = torch.rand(8, 8, generator=generator)
    labels = torch.arange(len(images)) % 10
    return MNIST(images[:256], labels[:256], images[256:], labels[256:], "VAE_DATA", True)


@pytest.fixture
def full_toy_mnist(toy_mnist):
    """Stands for `reproduce.common.full_mnist`: held-out images are the first 30 of the training images."""

    def full_mnist(hold_out=0, shuffle=True):
        if not hold_out:
            return toy_mnist
        images, labels = toy_mnist.train, toy_mnist.train_labels
        return MNIST(images[30:], labels[30:], images[:30], labels[:30], toy_mnist.source, True)

    return full_mnist
