"""A classifier of digits: it says of a decoded picture whether it is a digit, and which one."""

import torch
from torch import Tensor, nn

from vae_utils.files import ASSETS, load_tensors
from vae_utils.models import load_weights
from vae_utils.support.kinds import checked


class DigitClassifier(nn.Module):
    """A small convolutional network from images to ten logits: is a picture a digit, and which?"""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * 7 * 7, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)

    @checked
    @torch.no_grad()
    def probabilities(self, images: Tensor, batch_size: int = 100) -> Tensor:
        """p(digit|image): shape [N, 10], for grey images [N, 1, 28, 28]; never with dropout."""
        was_training = self.training
        self.eval()
        try:
            return torch.cat([self(batch).softmax(1) for batch in images.split(batch_size)])
        finally:
            self.train(was_training)


def load_classifier() -> DigitClassifier:
    """The stored classifier, `assets/classifier.safetensors` (`python -m vae_utils.reproduce classifier`).

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged or has the weights of another network.
    """
    tensors, metadata = load_tensors(ASSETS / "classifier.safetensors")
    classifier = DigitClassifier()
    load_weights(classifier, tensors, "classifier.safetensors")
    classifier.metadata = metadata
    return classifier.eval()
