"""Training what is stored: weights, curve and record, from the start or from where it was interrupted."""

import pytest
import torch

from vae_utils import models
from vae_utils.evaluation import evaluate
from vae_utils.models import load_vae, mlp_vae
from vae_utils.reproduce import common, stored_models


@pytest.fixture(autouse=True)
def small(full_toy_mnist, monkeypatch):
    monkeypatch.setattr(stored_models, "full_mnist", full_toy_mnist)
    recipe = common.Recipe(lambda: mlp_vae(3, (16,)), epochs=18, learning_rate=3e-3)
    monkeypatch.setitem(stored_models.RECIPES, "mlp-2-minutes", recipe)


def test_training_leaves_weights_curve_and_record(run, out, rows_of, toy_mnist, capsys):
    record = run("mlp-2-minutes", "--epochs", 3, "--seed", 2)
    assert {path.name for path in out.iterdir()} == {f"mlp-2-minutes.{kind}" for kind in ("safetensors", "csv", "json")}
    vae = load_vae(out / "mlp-2-minutes.safetensors")
    bound = evaluate(vae, toy_mnist.test).elbo.mean().item()
    assert record["results"]["elbo"] == pytest.approx(bound, abs=6e-4)  # of the weights as stored
    assert vae.metadata["results"] == record["results"]
    assert record["results"]["protocol"] == "40 images, pixels binarised by one fixed draw, 1 draw of z"
    assert record["command"] == "python -m vae_utils.reproduce mlp-2-minutes --seed 2 --epochs 3"
    assert record["seed"] == record["results"]["seed"] == 2 and record["results"]["epochs"] == 3
    curve = rows_of(out / "mlp-2-minutes.csv")
    assert [row["samples"] for row in curve] == ["256", "512", "768"]
    assert float(curve[-1]["test_elbo"]) == pytest.approx(bound, abs=0.5)  # but for half precision
    assert f"ELBO {bound:.2f}" in capsys.readouterr().out


def test_an_interrupted_training_goes_on_where_it_was(run, out, states, tmp_path, monkeypatch):
    call = ["mlp-2-minutes", "--epochs", 6]
    run(*call, to=tmp_path / "whole")
    out.mkdir()
    (out / "mlp-2-minutes.safetensors").write_bytes(b"an older result")
    steps, encode = [], models.VAE.encode

    def interrupted(*args):
        steps.append(args)
        if len(steps) == 9:  # the first step, the report, of the third epoch
            raise KeyboardInterrupt
        return encode(*args)

    monkeypatch.setattr(models.VAE, "encode", interrupted)
    with pytest.raises(SystemExit, match="the same command goes on from data/reproduce/mlp-2-minutes-seed-0"):
        run(*call)
    assert [path.read_bytes() for path in out.iterdir()] == [b"an older result"]
    run(*call)
    whole, resumed = ((folder / "mlp-2-minutes.safetensors") for folder in (tmp_path / "whole", out))
    assert all(torch.equal(*pair) for pair in zip(load_vae(whole).parameters(), load_vae(resumed).parameters()))
    assert not list(states.iterdir())  # done, so forgotten
