"""What stands in assets/ is what the commands made: weights agree with records, and README quotes them."""

import os
import re
from pathlib import Path

import pytest

from vae_utils.data import load_mnist
from vae_utils.evaluation import evaluate
from vae_utils.files import ASSETS, digest_of
from vae_utils.models import load_vae
from vae_utils.reproduce.__main__ import find_commands
from vae_utils.reproduce.provenance import read_record
from vae_utils.reproduce.stored_models import RECIPES

RECORDS = sorted(ASSETS.glob("*.json"))
README = (ASSETS.parent / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def mnist():
    if os.environ.get("VAE_DATA") == "embedded":
        pytest.skip("records are of the full test set")
    mnist = load_mnist()
    if not mnist.is_full:
        pytest.skip("records are of the full test set")
    return mnist


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_how_to_make_it_again(path):
    record = read_record(path)
    if path.stem in ("explorer-speed", "memory"):
        assert record["command"] == f"python -m vae_utils.authoring.{path.stem.replace('-', '_')}"
    else:
        assert record["command"] == f"python -m vae_utils.reproduce {path.stem}" and path.stem in find_commands()
    assert {"date", "seed", "versions", "processor", "threads", "seconds", "results"} <= set(record)


def test_every_data_file_is_the_one_that_a_record_describes():
    """Weights, curves, the film; the vertices of the paper's figures aside, which no command makes."""
    described = {}
    for path in RECORDS:
        files = read_record(path).get("files", {})
        assert not described.keys() & files.keys(), path
        described |= files
    there = {path.name for pattern in ("*.safetensors", "*.csv") for path in ASSETS.glob(pattern)}
    assert there - described.keys() == {"paper_vertices.csv"}
    assert {name: digest_of(ASSETS / name) for name in described} == described


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name.startswith("conv") else name for name in RECIPES]
)
def test_stored_weights_have_the_bound_of_their_record(name, mnist):
    recorded = read_record(ASSETS / f"{name}.json")["results"]
    vae = load_vae(name)
    assert vae.metadata["results"] == recorded
    again = evaluate(vae, mnist.test)
    # one draw of z: about 0.03 of noise
    assert again.elbo.mean().item() == pytest.approx(recorded["elbo"], abs=0.1)
    assert again.rate.mean().item() == pytest.approx(recorded["rate"], abs=0.05)


def test_assets_stay_small():
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 24e6


def quoted():
    """Every number of README's results table, from the records: what it is -> how it is written."""
    read = {path.stem: read_record(path)["results"] for path in RECORDS}
    table, fast = read["table"], read["mlp-2-minutes"]
    rows = {"two minutes": f"−{-fast['elbo']:.2f} ± {fast['standard_error']:.2f}"}
    for name in ("manifold", "mlp", "conv", "conv-iw"):
        rows[f"{name}, bound"] = f"−{-table[name]['elbo']:.2f} ± {table[name]['standard_error']:.2f}"
        if name != "manifold":
            likelihood = read[f"likelihood-{name}"]
            rows[f"{name}, likelihood"] = f"−{-likelihood['log_likelihood']:.2f} ± {likelihood['standard_error']:.2f}"
    for name in ("conv", "conv-iw"):
        for what in (f"{name} against mlp, ELBO", f"{name} against mlp, log p(x)"):
            rows[what] = f"{table[what]['difference']:.2f} ± {table[what]['standard_error']:.2f}"
        estimated = table[f"{name}, log p(x) of all images"]
        rows[f"{name}, all images"] = f"−{-estimated['log_likelihood']:.2f} ± {estimated['standard_error']:.2f}"
    rows["speed"] = f"{read['speed']['median_ratio']:.1f} times"
    for name, row in read["explorer-speed"].items():
        rows[name] = (
            f"| {row['drawn_median_ms']:.1f} ms | {row['drawn_p95_ms']:.1f} ms | {row['frames_per_second']:.0f} |"
        )
    return rows


@pytest.mark.parametrize("what, text", quoted().items())
def test_readme_quotes_the_record(what, text):
    assert text in README


def test_pictures_of_readme_exist_and_have_words():
    pictures = re.findall(r'<img src="([^"]+)"[^>]* alt="([^"]*)"', README)
    assert len(pictures) >= 2
    for source, words in pictures:
        assert Path(ASSETS.parent / source).is_file() and len(words) > 30
