"""The judge learns digits, and is unsure where there are none."""

import torch

from vae_utils.classifier import load_classifier
from vae_utils.reproduce import classifier


def test_the_stored_judge_knows_digits(digits):
    judge = load_classifier()
    assert classifier.accuracy(judge, digits.test, digits.test_labels) > 0.98
    assert judge.metadata["results"]["test_accuracy"] > 0.985
    noise = torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    blends = torch.lerp(digits.test[:500], digits.test[500:], 0.5)
    surest = [judge.probabilities(images).amax(1) for images in (digits.test, blends, noise)]
    unsure = [classifier.share(probability < classifier.UNSURE) for probability in surest]
    assert unsure[0] < 0.05 and unsure[1] > 0.3 and unsure[2] > 0.3


def test_classifier_learns(digits):
    torch.manual_seed(0)
    judge = classifier.train_classifier(digits.train, digits.train_labels, epochs=1)
    assert not judge.training
    assert classifier.accuracy(judge, digits.test, digits.test_labels) > 0.75
