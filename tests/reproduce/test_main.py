"""The command line from end to end, on toy data: what it writes, what it says, and what it never looks at."""

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from vae_utils import models
from vae_utils.classifier import load_classifier
from vae_utils.data import MNIST
from vae_utils.evaluation import elbo_of_set, evaluate
from vae_utils.figures import image_wall
from vae_utils.figures import manifold as manifold_of
from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import conv_vae, load_vae, mlp_vae, save_vae
from vae_utils.paper.importance import log_likelihood
from vae_utils.reproduce import common, pictures, replay, speed, stored, table
from vae_utils.reproduce.__main__ import COMMANDS, main
from vae_utils.runtime import fixed_seed

NUM_TEST, NUM_HELD_OUT = 40, 30


@pytest.fixture
def toy(toy_mnist):
    return toy_mnist


@pytest.fixture(autouse=True)
def small(full_toy_mnist, monkeypatch, tmp_path):
    """Every module finds the toy in the place of MNIST, and small networks in the place of large ones."""
    for module in (replay, speed, stored, table):
        monkeypatch.setattr(module, "full_mnist", full_toy_mnist)
    monkeypatch.setattr(common, "DATA", tmp_path / "data")
    monkeypatch.setitem(
        stored.RECIPES, "mlp-2-minutes", common.Recipe(lambda: mlp_vae(3, (16,)), epochs=18, learning_rate=3e-3)
    )


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def assets(monkeypatch, tmp_path):
    """Stored weights, untrained but different, for the commands that read them."""
    monkeypatch.setattr(models, "ASSETS", tmp_path / "assets")
    torch.manual_seed(0)
    weights = {
        "manifold": mlp_vae(2, (16,)),
        "mlp": mlp_vae(3, (16,)),
        "mlp-2-minutes": mlp_vae(4, (8,)),
        "conv": conv_vae(3, (2, 4), 8),
        "conv-iw": conv_vae(3, (2, 4), 8),
    }
    for name, vae in weights.items():
        save_vae(vae, tmp_path / "assets" / f"{name}.safetensors")
    return tmp_path / "assets"


def record_of(name, out):
    return json.loads((out / f"{name}.json").read_text("utf-8"))


# --- training what is stored


def test_training_leaves_weights_curve_and_record(out, toy, capsys):
    main(["mlp-2-minutes", "--epochs", "3", "--seed", "2", "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {f"mlp-2-minutes.{kind}" for kind in ("safetensors", "csv", "json")}
    record = record_of("mlp-2-minutes", out)
    vae = load_vae(out / "mlp-2-minutes.safetensors")
    bound = evaluate(vae, toy.test).elbo.mean().item()
    assert record["results"]["elbo"] == pytest.approx(bound, abs=6e-4)  # of the weights as stored
    assert vae.metadata["results"] == record["results"]
    assert record["results"]["protocol"] == "40 images, pixels binarised by one fixed draw, 1 draw of z"
    assert record["command"] == "python -m vae_utils.reproduce mlp-2-minutes --seed 2 --epochs 3"
    assert record["seed"] == record["results"]["seed"] == 2 and record["results"]["epochs"] == 3
    with open(out / "mlp-2-minutes.csv", newline="") as file:
        curve = list(csv.DictReader(file))
    assert [row["samples"] for row in curve] == ["256", "512", "768"]
    assert float(curve[-1]["test_elbo"]) == pytest.approx(bound, abs=0.5)  # but for half precision
    assert f"ELBO {bound:.2f}" in capsys.readouterr().out


def test_a_command_without_options_is_recorded_as_it_is_typed(out):
    options = SimpleNamespace(seed=0, epochs=None, samples=None, latents=None, held_out=False, out=out, start=0.0)
    common.record("table", options, {})
    assert record_of("table", out)["command"] == "python -m vae_utils.reproduce table"


def test_an_interrupted_training_goes_on_where_it_was(out, tmp_path, monkeypatch):
    call = ["mlp-2-minutes", "--epochs", "6", "--out"]
    main([*call, str(tmp_path / "whole")])
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
        main([*call, str(out)])
    assert [path.read_bytes() for path in out.iterdir()] == [b"an older result"]
    main([*call, str(out)])
    whole, resumed = ((folder / "mlp-2-minutes.safetensors") for folder in (tmp_path / "whole", out))
    assert all(torch.equal(*pair) for pair in zip(load_vae(whole).parameters(), load_vae(resumed).parameters()))
    assert not list((tmp_path / "data" / "reproduce").iterdir())  # done, so forgotten


# --- choosing settings


def test_selection_never_sees_the_test_set(out, toy, monkeypatch):
    recipe = common.Recipe(lambda: mlp_vae(2, (8,)), epochs=1, learning_rate=1e-3, batch_size=64)
    monkeypatch.setitem(stored.CANDIDATES, "mlp", [recipe, replace(recipe, learning_rate=2e-3)])
    seen = []

    def watched(vae, images, *args):
        seen.append(images)
        return evaluate(vae, images, *args)

    monkeypatch.setattr(stored, "evaluate", watched)
    main(["select-mlp", "--out", str(out)])
    rows = record_of("select-mlp", out)["results"]
    assert [row["learning_rate"] for row in rows] == [1e-3, 2e-3]
    assert all(row["protocol"].startswith(f"{NUM_HELD_OUT} images") for row in rows)
    assert all(torch.equal(images, toy.train[:NUM_HELD_OUT]) for images in seen) and len(seen) == 2


def test_an_ending_goes_on_from_the_first_training_with_its_own_objective(toy, tmp_path, monkeypatch):
    """Its reports follow the others, and an interruption in it costs nothing."""
    ending = common.Ending(num_samples=3, epochs=2, learning_rate=1e-3)
    recipe = common.Recipe(
        lambda: mlp_vae(2, (8,)), epochs=2, learning_rate=1e-3, batch_size=64, bfloat16=True, ending=ending
    )
    told, objective = [], common.importance_weighted
    first, _ = replace(recipe, ending=None).train(toy, progress=False)
    vae, history = recipe.train(toy, progress=False, on_report=lambda vae, report: told.append(report))
    assert history.column("epochs") == [1, 2, 3, 4] and told == history
    assert history.column("seconds") == sorted(history.column("seconds"))
    assert not torch.equal(first.decoder.output_bias, vae.decoder.output_bias)
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(kwargs)
        if len(calls) == 6:  # of 4 steps an epoch: the ending's second
            raise KeyboardInterrupt
        return objective(*args, **kwargs)

    monkeypatch.setattr(common, "importance_weighted", interrupted)
    state = tmp_path / "state.safetensors"
    _, history = recipe.train(toy, progress=False, checkpoint=state)
    assert "interrupted" in history.stopped and calls[0] == {"num_samples": 3} and len(calls) == 6
    again, history = recipe.train(toy, progress=False, checkpoint=state)
    assert history.column("epochs") == [1, 2, 3, 4] and len(calls) == 6 + 4  # the ending's second epoch
    assert all(map(torch.equal, vae.parameters(), again.parameters()))


def test_a_shorter_recipe_keeps_the_share_of_its_ending():
    recipe = common.Recipe(None, epochs=100, learning_rate=1e-3, ending=common.Ending(5, 20, 1e-3))
    assert recipe.scaled(None) is recipe
    assert (recipe.scaled(10).epochs, recipe.scaled(10).ending.epochs) == (10, 2)


# --- measuring what is stored


def test_likelihoods_are_paired_image_by_image(out, toy, assets, monkeypatch, capsys):
    monkeypatch.setattr(table, "EVERY", {"mlp": 2, "conv": 8})
    monkeypatch.setattr(table, "IMPORTANCE_SAMPLES", 20)
    for name in ("mlp", "conv"):
        main([f"likelihood-{name}", "--out", str(out)])
    written = record_of("likelihood-conv", out)["results"]
    assert written["protocol"] == ("5 images (1 in 8 of 40), pixels binarised by one fixed draw, 20 importance samples")
    monkeypatch.setattr(table, "EVERY", {"mlp": 1, "conv": 1})  # what is stored says how it was measured
    main(["table", "--out", str(out)])
    rows = record_of("table", out)["results"]
    mlp, conv = (
        log_likelihood(load_vae(name), toy.test, 20, every=every).per_image for name, every in (("mlp", 2), ("conv", 8))
    )
    pair = rows["conv against mlp, log p(x)"]
    assert pair["difference"] == pytest.approx((conv - mlp[[0, 4, 8, 12, 16]]).mean().item(), abs=6e-4)
    assert pair["images"] == "5 test images"
    elbos = [evaluate(load_vae(name), toy.test).elbo for name in ("mlp", "conv")]
    assert rows["conv against mlp, ELBO"]["difference"] == pytest.approx((elbos[1] - elbos[0]).mean().item(), abs=6e-4)
    assert rows["mlp"]["latent_size"] == 3 and 0 <= rows["mlp"]["active_units"] <= 3


def test_a_share_of_the_images_has_the_pixels_of_the_whole(toy):
    """A model whose z does not matter: what is left of log p(x) is the draw of its pixels."""
    vae = mlp_vae(2, (8,))
    with torch.no_grad():
        vae.decoder.output.weight.zero_()
        vae.decoder.output.bias.normal_(0, 2)
        vae.encoder.output.weight.zero_()
        vae.encoder.output.bias.zero_()  # q(z|x) = p(z): every weight is p(x|z)
    whole = log_likelihood(vae, toy.test, 3, seed=5).per_image
    for every in (1, 7):
        share = log_likelihood(vae, toy.test, 3, every=every, seed=5)
        assert torch.allclose(share.per_image, whole[::every], atol=1e-3)
    assert not torch.allclose(log_likelihood(vae, toy.test[::7], 3, seed=5).per_image, whole[::7], atol=1e-3)
    with pytest.raises(ValueError, match="every was expected to be 1"):
        log_likelihood(vae, toy.test, 3, every=0)


# --- pictures and speed


def test_pictures_are_drawn_from_the_stored_weights(out, assets):
    main(["pictures", "--seed", "4", "--out", str(out)])
    with Image.open(out / "manifold.png") as picture:
        assert picture.size == (20 * 28 * 2, 20 * 28 * 2)
        wall = image_wall(manifold_of(load_vae("manifold"), 20), gap=0, scale=2)
        assert np.array_equal(np.asarray(picture), wall)
    with Image.open(out / "samples.png") as picture:
        assert picture.size == ((pictures.COLUMNS * 29 - 1) * 2, (pictures.ROWS * 29 - 1) * 2)
        vae = load_vae("conv")
        with fixed_seed(4), torch.no_grad():
            first = vae.decode(vae.prior.sample((pictures.ROWS * pictures.COLUMNS,))).mean[:1]
        assert np.array_equal(np.asarray(picture)[:56, :56], image_wall(first, scale=2))
    assert set(record_of("pictures", out)["results"]) == {"manifold.png", "samples.png"}


@pytest.fixture
def filmed(monkeypatch):
    """A small model in the place of the one that is filmed: batches of 64, so 4 steps an epoch."""
    recipe = common.Recipe(lambda: mlp_vae(2, (8,)), epochs=4, learning_rate=1e-2, batch_size=64)
    monkeypatch.setitem(stored.RECIPES, "manifold", recipe)
    return recipe


def test_replay_shows_the_training_that_goes_without_it(out, toy, filmed, monkeypatch):
    monkeypatch.setattr(replay, "SURE", 0.2)  # of squares the classifier is hardly surer
    main(["replay", "--epochs", "2", "--seed", "3", "--out", str(out)])
    results = record_of("replay", out)["results"]
    rows = results["frames"]
    assert [row["samples"] for row in rows] == [0, 64, 128, 256, 512]  # the end once, and nothing beyond
    assert [row["epochs"] for row in rows] == [0, 0.25, 0.5, 1, 2]
    with Image.open(out / "replay.png") as picture:
        film = np.asarray(picture).reshape(len(rows), results["height"], results["width"])
    recipe = replace(filmed, epochs=2, seed=3)
    torch.manual_seed(3)
    before = recipe.build()
    models.start_at_mean(before, toy.train)
    with fixed_seed(3):
        z = before.prior.sample((1000,))
    read = []
    for frame, row, vae in ((film[0], rows[0], before), (film[-1], rows[-1], recipe.train(toy)[0])):
        with torch.no_grad():
            pictures = vae.decode(z).mean
        parts = image_wall(manifold_of(vae, 10), gap=0), image_wall(pictures[:30], columns=3, gap=0)
        assert abs(frame - np.concatenate(parts, axis=1).astype(int)).max() <= 8  # of 16 grey levels
        assert row["test_elbo"] == pytest.approx(elbo_of_set(vae, toy.test).elbo.mean().item(), abs=1e-3)
        said = load_classifier().probabilities(pictures)
        read.append(torch.where(said.amax(1) >= 0.2, said.argmax(1), -1))
        assert row["read"] == [(read[-1] == digit).sum() for digit in range(10)]
    assert rows[0]["as_at_end"] == ((read[0] == read[1]) & (read[0] >= 0)).sum()
    assert 0 < rows[0]["as_at_end"] < rows[-1]["as_at_end"] == sum(rows[-1]["read"]) < 1000
    assert rows[0]["train_elbo"] is None and math.isfinite(rows[-1]["train_elbo"])
    assert not np.array_equal(film[0], film[-1])


def test_an_interrupted_replay_writes_nothing(out, filmed, monkeypatch):
    frames = []

    def interrupted(*args):
        frames.append(replay_look(*args))
        if len(frames) == 3:
            raise KeyboardInterrupt
        return frames[-1]

    replay_look = replay.look
    monkeypatch.setattr(replay, "look", interrupted)
    with pytest.raises(SystemExit, match="after 128 images .* is as it was"):
        main(["replay", "--out", str(out)])
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("held_out", [False, True])
def test_speed_times_both_ways_and_takes_the_median(held_out, out, toy, monkeypatch, capsys):
    train = toy.train.repeat(6, 1, 1, 1)  # enough for the warming up

    class Pictures:
        """Stands for torchvision's MNIST."""

        def __init__(self, root, train, transform):
            assert train

        def __len__(self):
            return len(train)

        def __getitem__(self, index):
            return train[index], 0

    def full_mnist(hold_out):
        assert bool(hold_out) == held_out
        test = toy.train[:NUM_HELD_OUT] if held_out else toy.test
        return replace(toy, train=train[NUM_HELD_OUT * held_out :], test=test)

    measured = []

    def watched(vae, images, seed):
        measured.append(images)
        return evaluate(vae, images, seed=seed)

    monkeypatch.setattr(speed, "full_mnist", full_mnist)
    monkeypatch.setattr(speed, "evaluate", watched)
    monkeypatch.setattr(torchvision.datasets, "MNIST", Pictures)
    monkeypatch.setenv("VAE_DATA", "~/somewhere")
    main(["speed", "--epochs", "1", "--out", str(out)] + ["--held-out"] * held_out)
    record = record_of("speed", out)
    rows = record["results"]["rounds"]
    assert [row["seed"] for row in rows] == [0, 1, 2] and record["results"]["example_epochs"] == 1
    for row in rows:
        assert math.isfinite(row["our_elbo"]) and row["our_seconds"] >= 0 and row["example_seconds"] > 0
    assert record["results"]["median_ratio"] == sorted(row["ratio"] for row in rows)[1]
    assert record["results"]["reached"] == all(row["our_elbo"] >= row["example_elbo"] for row in rows)
    expected = toy.train[:NUM_HELD_OUT] if held_out else toy.test
    assert all(torch.equal(images, expected) for images in measured) and len(measured) == 3
    kind = "30 held-out training images" if held_out else "40 test images"
    assert f"[cross-entropy of grey pixels, {kind}, 1 draw of z]" in capsys.readouterr().out
    assert ("--held-out" in record["command"]) == held_out


def test_the_examples_bound_is_the_elbo_of_its_networks(toy):
    """The example's loss by hand against this library's, at the same draws of z."""
    torch.manual_seed(0)
    example = speed.Example()
    bound = speed.example_elbo(example, toy.test, seed=1)
    with torch.no_grad():
        h = example.hidden(toy.test.flatten(1)).relu()
        q = torch.distributions.Normal(example.mean(h), (0.5 * example.log_variance(h)).exp())
        torch.manual_seed(1)
        z = q.mean + torch.randn_like(q.mean) * q.stddev
        p = GreyCrossEntropy()(example.pixels(example.back(z).relu()).view(-1, 1, 28, 28))
        rate = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
        assert bound == pytest.approx((p.log_prob(toy.test) - rate).mean().item(), rel=1e-5)


# --- the command line itself


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    words = capsys.readouterr().out.replace("\n", "").replace(" ", "")
    assert all(name in words for name in COMMANDS)
    assert {"fig2-mnist", "fig2-frey", "fig4", "fig5", "full-vb", "table", "all"} <= set(COMMANDS)
    assert "inthepaper:up to 4e8 images a curve".replace(" ", "") in words and "stored:" in words


def test_all_makes_everything_in_an_order_that_works(out, monkeypatch):
    called = []
    for name in set(COMMANDS) - {"all"}:
        monkeypatch.setitem(COMMANDS, name, lambda options, name=name: called.append((name, options.samples)))
    main(["all", "--samples", "500", "--out", str(out)])
    names = [name for name, _ in called]
    assert set(names) == {name for name in COMMANDS if not name.startswith("select-")} - {"all"}
    assert {samples for _, samples in called} == {500}
    for first, then in (
        ("mlp", "likelihood-mlp"),
        ("conv-iw", "likelihood-conv-iw"),
        ("fig2-frey", "fig4"),
        ("fig2-mnist", "fig5"),
        ("classifier", "replay"),
        ("likelihood-conv", "table"),
        ("full-vb", "table"),
    ):
        assert names.index(first) < names.index(then)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["no-such-command"], "invalid choice"),
        (["mlp", "--epochs", "0"], "a number of epochs above 0 was expected, got 0"),
        (["mlp", "--epochs", "many"], "a number of epochs above 0 was expected, got many"),
        (["mlp", "--held-out"], "--held-out was expected with speed only, got it with mlp"),
        (["mlp", "--out", "{file}"], "a folder that exists or can be made was expected"),
    ],
)
def test_a_wrong_command_line_is_refused_before_any_work(arguments, sentence, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setitem(COMMANDS, "mlp", lambda options: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as stop:
        main([argument.format(file=tmp_path / "file") for argument in arguments])
    assert stop.value.code == 2 and sentence in capsys.readouterr().err


def test_numbers_are_made_from_the_full_set_only(toy, monkeypatch):
    asked = []

    def load(hold_out):
        asked.append(hold_out)
        return MNIST(toy.train, toy.train_labels, toy.test, toy.test_labels, toy.source, is_full)

    monkeypatch.setattr(common, "load_mnist", load)
    is_full = True
    assert len(common.full_mnist(7).train) == 256 and asked == [7]
    is_full = False
    with pytest.raises(SystemExit, match="needs the full MNIST, .*: connect .*, or let VAE_DATA name"):
        common.full_mnist()
