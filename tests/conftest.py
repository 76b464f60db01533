"""What the tests of the library share."""

import pytest
import torch

from vae_utils.data import MNIST


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

    def full_mnist(hold_out=0):
        if not hold_out:
            return toy_mnist
        apart, rest = slice(0, 30), slice(30, None)
        return MNIST(
            toy_mnist.train[rest],
            toy_mnist.train_labels[rest],
            toy_mnist.train[apart],
            toy_mnist.train_labels[apart],
            toy_mnist.source,
            True,
        )

    return full_mnist
