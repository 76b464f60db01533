"""Records: each holds its digest and those of the files that it describes, and a changed figure is refused."""

import json
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_utils.files import digest_of, save_tensors
from vae_utils.reproduce.provenance import read_record, write_record


@pytest.fixture
def path(tmp_path):
    """A record of a model and its curve, where keys are numbers and figures of all kinds."""
    path = tmp_path / "toy.json"
    save_tensors(path.with_suffix(".safetensors"), {"weight": torch.ones(3)}, {"seed": 0})
    path.with_suffix(".csv").write_text("epoch,nats\n1,-90.5\n")
    results = {"elbo": -87.881, "tiny": 1e-05, 20: (True, None, "±"), "gap": float("nan")}
    write_record(path, "a command", time.perf_counter(), results, [f"toy.{kind}" for kind in ("safetensors", "csv")])
    return path


def test_a_record_is_read_as_it_was_written_and_knows_its_files(path):
    record = read_record(path)
    assert record["command"] == "a command" and record["results"]["20"] == [True, None, "±"]
    assert record["files"] == {name: digest_of(path.with_name(name)) for name in ("toy.safetensors", "toy.csv")}
    path.write_text(json.dumps(record))  # in other lines
    assert read_record(path)["results"]["elbo"] == -87.881


def test_a_record_of_no_file_names_none(tmp_path):
    write_record(tmp_path / "toy.json", "a command", time.perf_counter(), [1, 2])
    assert "files" not in read_record(tmp_path / "toy.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("-87.881", "-87.811"),
        lambda text: text.replace('"tiny"', '"tinny"'),
        lambda text: text.replace("a command", "another command"),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: json.dumps({name: value for name, value in json.loads(text).items() if name != "digest"}),
    ],
    ids=["a figure", "a name", "the command", "truncated", "empty", "no record", "no digest"],
)
def test_a_changed_record_is_refused_in_a_sentence(path, change):
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(ValueError) as refused:
        read_record(path)
    said = str(refused.value)
    assert said.startswith(
        f"{path}: the record was expected to be as its command wrote it, got a changed or damaged file ("
    )
    assert said.endswith("); restore the file from the repository, or make it again") and "\n" not in said


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_seen_or_says_the_same(path, place, bit):
    """It says the same where an e in a number becomes an E."""
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[int(place * len(whole))] ^= 1 << bit
    path.write_bytes(flipped)
    try:
        same = json.dumps(read_record(path)) == json.dumps(json.loads(whole))
    except ValueError as refused:
        same = str(refused).startswith(f"{path}: the record was expected to be as its command wrote it")
    path.write_bytes(whole)
    assert same
