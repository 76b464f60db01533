"""The classifier of digits: probabilities in batches, and its stored weights."""

import pytest
import torch

from vae_utils import classifier as classifier_module
from vae_utils.classifier import DigitClassifier, load_classifier
from vae_utils.files import save_tensors


def test_classifier_gives_probabilities_in_batches(images):
    classifier = DigitClassifier().eval()
    whole, parts = classifier.probabilities(images), classifier.probabilities(images, batch_size=5)
    assert whole.shape == (12, 10) and torch.allclose(whole.sum(1), torch.ones(12))
    assert torch.allclose(whole, parts, atol=1e-6)


def test_classifier_never_judges_with_dropout(images):
    classifier = DigitClassifier().train()
    said = classifier.probabilities(images)
    assert torch.equal(classifier.probabilities(images), said) and classifier.training
    assert torch.equal(classifier.eval().probabilities(images), said) and not classifier.training


def test_stored_classifier_is_loaded_or_its_fault_is_named(tmp_path, monkeypatch, images):
    monkeypatch.setattr(classifier_module, "ASSETS", tmp_path)
    with pytest.raises(FileNotFoundError, match="classifier.safetensors"):
        load_classifier()
    saved = DigitClassifier().eval()
    save_tensors(tmp_path / "classifier.safetensors", saved.state_dict(), {"accuracy": 0.99}, half=False)
    loaded = load_classifier()
    assert torch.equal(loaded.probabilities(images), saved.probabilities(images))
    assert loaded.metadata == {"accuracy": 0.99}
    save_tensors(tmp_path / "classifier.safetensors", {"w": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="classifier.safetensors holds weights of another architecture"):
        load_classifier()
