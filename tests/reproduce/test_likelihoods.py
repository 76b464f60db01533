"""What `likelihoods` stores for each noise model of the pixel."""

import pytest

from vae_utils.files import load_tensors
from vae_utils.reproduce import likelihoods


def test_likelihoods_stores_rows_and_frames(run, out, full_toy_mnist, monkeypatch):
    monkeypatch.setattr(likelihoods, "full_mnist", full_toy_mnist)
    rows = run("likelihoods", "--epochs", 2, "--seed", 3)["results"]["rows"]
    assert [row["likelihood"] for row in rows] == list(likelihoods.LIKELIHOODS)
    assert rows[3]["sigma"] == 1.0  # fixed
    assert rows[5]["sigma"] != pytest.approx(0.2 + 1 / 256, abs=1e-4)  # learned
    assert all(0 <= row["grey_samples"] <= 1 and row["squared_error"] > 0 for row in rows)
    frames, _ = load_tensors(out / "likelihoods.safetensors")
    assert list(frames["draws"].shape) == [6, 8, 1, 28, 28]
    assert set(frames["draws"][0].unique().tolist()) <= {0, 255}  # coins
    assert len(frames["draws"][5].unique()) > 2  # a Gaussian's grey
