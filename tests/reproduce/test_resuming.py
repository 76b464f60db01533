"""A training that was interrupted goes on to the same numbers, and only that training does."""

from functools import partial

import pytest

from vae_utils import training
from vae_utils.likelihoods import Gaussian
from vae_utils.models import conv_vae
from vae_utils.objectives import elbo
from vae_utils.reproduce import resuming
from vae_utils.reproduce.resuming import fit_resuming
from vae_utils.training import paper_adagrad

from small_training import WarmUp, after, interrupt, pictures, same, small_vae, weights_of  # noqa: F401 (a fixture)

SHORT = dict(batch_size=8, learning_rate=1e-2, progress=False)


def long_run(vae, pictures, path=None, objective=elbo, **others):
    """Three and a half epochs with reports off the epochs' ends: 4 reports, 21 steps, a schedule that waits."""
    others |= {"epochs": 3.5, "test": pictures[:5], "objective": objective, "report_at": [40, 56, 120]}
    return fit_resuming(path, vae, pictures, **SHORT, **others)


@pytest.mark.parametrize("optimiser", [training.adam, paper_adagrad(48)], ids=["adam", "adagrad"])
@pytest.mark.parametrize("stops", [(3,), (6, 2), (9, 9, 1)])
def test_an_interrupted_training_goes_on_to_the_same_numbers(optimiser, stops, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "SECONDS", 0)  # the state is written after each step
    whole = small_vae()
    history = long_run(whole, pictures, optimiser=optimiser)
    path = tmp_path / "state.safetensors"
    for stop in stops:
        stopped = long_run(small_vae(), pictures, path, after(stop, interrupt), optimiser=optimiser)
        assert "interrupted" in stopped.stopped
    vae = small_vae(seed=1)  # its own weights do not matter any more
    resumed = long_run(vae, pictures, path, after(-1, interrupt), optimiser=optimiser)
    assert same(weights_of(vae), weights_of(whole))
    for name in ("samples", "train_elbo", "train_rate", "test_elbo", "test_distortion"):
        assert resumed.column(name) == history.column(name), name
    finished = long_run(small_vae(), pictures, path, after(0, interrupt), optimiser=optimiser)
    assert finished == resumed and finished.stopped is None  # not one step was made again


def test_between_reports_the_state_is_written_twice_a_minute(pictures, tmp_path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])

    def keep(path, tensors, about, half):
        written.append(about["run"]["step"])

    def slow(vae, x):
        now[0] += 10
        return elbo(vae, x)

    monkeypatch.setattr(resuming, "save_tensors", keep)
    state = tmp_path / "state.safetensors"
    fit_resuming(state, small_vae(), pictures, epochs=2, objective=slow, report_at=[48], **SHORT)
    assert written == [0, 4, 6, 10, 12]  # at the start, more than 30 s later, and at the reports


def test_a_folder_that_cannot_be_written_is_named_before_the_first_step(pictures, tmp_path):
    (tmp_path / "data").write_text("no folder")
    with pytest.raises(OSError, match="state.safetensors: the folder was expected to be writable"):
        fit_resuming(
            tmp_path / "data" / "state.safetensors", small_vae(), pictures, epochs=1, objective=pytest.fail, **SHORT
        )


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 4},
        {"learning_rate": 1e-3},
        {"epochs": 2},
        {"objective": partial(elbo, beta=2.0)},
        {"objective": WarmUp(1.0, 20)},
    ],
)
def test_the_state_of_another_training_is_refused(change, pictures, tmp_path):
    path, call = tmp_path / "state.safetensors", {"epochs": 1, "objective": WarmUp(1.0, 10), **SHORT}
    fit_resuming(path, small_vae(), pictures, **call)
    name = next(iter(change))
    sentence = (
        rf"state.safetensors: the state was expected to be that of a training with {{'{name}': .*; finish that one"
    )
    with pytest.raises(ValueError, match=sentence):
        fit_resuming(path, small_vae(), pictures, **(call | {"objective": WarmUp(1.0, 10)} | change))


@pytest.mark.parametrize("vae", [small_vae(Gaussian(0.1)), conv_vae(2, (2, 2), 4)], ids=["likelihood", "network"])
def test_the_state_of_another_model_is_refused(vae, pictures, tmp_path):
    path = tmp_path / "state.safetensors"
    fit_resuming(path, small_vae(), pictures, epochs=1, **SHORT)
    with pytest.raises(ValueError, match="training with {'model': .*; finish that one first, or delete"):
        fit_resuming(path, vae, pictures, epochs=1, **SHORT)


def test_a_warm_up_goes_on_where_it_was(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "SECONDS", 0)
    whole, path = WarmUp(1.0, 10), tmp_path / "state.safetensors"
    long_run(small_vae(), pictures, objective=whole)
    first = WarmUp(1.0, 10)
    monkeypatch.setattr(WarmUp, "stop_at", 7)
    assert "interrupted" in long_run(small_vae(), pictures, path, first).stopped
    monkeypatch.setattr(WarmUp, "stop_at", None)
    second = WarmUp(1.0, 10)
    long_run(small_vae(), pictures, path, second)
    assert second.step == whole.step == 21
