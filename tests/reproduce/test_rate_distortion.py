"""What `rate-distortion` stores for each beta and seed."""

from itertools import product

import pytest
import torch

from vae_utils.files import load_tensors
from vae_utils.reproduce import rate_distortion


@pytest.mark.slow
def test_rate_distortion_stores_rows_and_frames(run, out, full_toy_mnist, monkeypatch):
    monkeypatch.setattr(rate_distortion, "full_mnist", full_toy_mnist)
    rows = run("rate-distortion", "--epochs", 2, "--seed", 3)["results"]["rows"]
    assert [(row["seed"], row["beta"]) for row in rows] == list(product((3, 4), rate_distortion.BETAS))
    for row in rows:
        assert row["elbo"] == pytest.approx(-(row["rate"] + row["distortion"]), abs=0.002)
        one = next(r for r in rows if r["seed"] == row["seed"] and r["beta"] == 1.0)
        assert row["elbo_minus_beta_1"] == pytest.approx(row["elbo"] - one["elbo"], abs=0.002)
    assert rows[0]["rate"] != rows[8]["rate"]  # beta reaches the training
    assert rows[4]["elbo"] != rows[13]["elbo"]  # and so does the seed
    frames, metadata = load_tensors(out / "rate-distortion.safetensors")
    shapes, of_all = {name: list(frame.shape) for name, frame in frames.items()}, [9, 8, 1, 28, 28]
    assert shapes == {"betas": [9], "originals": of_all[1:], "reconstructions": of_all, "samples": of_all}
    assert frames["samples"].dtype == torch.uint8 and "rate-distortion" in metadata["command"]
