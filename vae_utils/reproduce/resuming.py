"""Trainings that go on after an interruption: the state on disk, and what hands it to `fit` or `monte_carlo_em`.

fit(vae, images, ..., on_step=Resume(path, call))
"""

import functools
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

from vae_utils.data import DATA
from vae_utils.files import load_tensors, save_tensors
from vae_utils.support.arguments import refusal
from vae_utils.training import fit

SECONDS = 30  # between two writes: what a machine that stops at a bad moment costs


def state_path(label, seed):
    """Where the state of a training lies, from which the same command goes on after an interruption."""
    return DATA / "reproduce" / f"{label.replace(' ', '-')}-seed-{seed}.safetensors"


def reports_on_disk(path):
    """The reports of the training whose state lies in `path`, as dicts; none where there is no file."""
    return load_tensors(path)[1]["reports"] if path.is_file() else []


def fit_resuming(path, vae, images, **settings):
    """`training.fit`, which goes on from the file `path` if it is there, on a CPU to the same numbers.

    Args:
        path: of the file that keeps the state, written at the start, at each report and twice a minute; None for none.
        vae, images, settings: as `fit`; those that tell one training from another are kept in the file.

    Raises:
        ValueError: as `fit`, or if the file holds the state of another training.
        OSError: if the file cannot be written.
    """
    call = {name: value for name, value in settings.items() if name in ("epochs", "batch_size", "seed")}
    objective = settings.get("objective")
    if objective is not None:
        call["objective"] = [named(objective), _own_state(objective)]
    if "learning_rate" in settings:
        call["learning_rate"] = _numbers_of(settings["learning_rate"])
    model = getattr(vae, "settings", None) or str(vae)
    call |= {"model": [model, vae.likelihood.settings], "images": len(images)}
    return fit(vae, images, **settings, on_step=path and Resume(path, call, objective))


def named(function):
    """What tells one objective from another in a file: `elbo`, `elbo(beta=4.0)`."""
    if isinstance(function, functools.partial):
        return f"{named(function.func)}({', '.join(f'{k}={v}' for k, v in function.keywords.items())})"
    return getattr(function, "__qualname__", type(function).__qualname__)


def _own_state(objective):
    """What an objective knows of itself if it is an object, such as the steps that a warm-up has counted."""
    inner = getattr(objective, "func", objective)  # of a partial
    return {} if inner is None or hasattr(inner, "__qualname__") else vars(inner)


def _numbers_of(learning_rate):
    """A learning rate, or the function over the run that `training.after` and its like make, with its numbers."""
    if not callable(learning_rate):
        return learning_rate
    cells = getattr(learning_rate, "__closure__", None) or ()
    return [
        named(learning_rate),
        *(cell.cell_contents for cell in cells if isinstance(cell.cell_contents, (int, float))),
    ]


class Resume:
    """`on_step` of a training: puts it back to where the file left it, then keeps it at reports and twice a minute.

    Args:
        path: of the file.
        call: dict of what tells this training from others, as JSON holds it.
        objective: if it is an object that counts steps, what it has counted is kept and put back too.
    """

    def __init__(self, path, call, objective=None):
        self.path, self.call, self.objective = Path(path), json.loads(json.dumps(call)), objective
        self.begun, self.written, self.reports = False, time.perf_counter(), 0

    def __call__(self, run):
        if not self.begun and self.path.is_file():
            self.load(run)
        elif not self.begun or len(run.history) > self.reports or time.perf_counter() - self.written > SECONDS:
            self.save(run)  # at the start too: a folder that cannot be written is named before the work
        self.begun, self.reports = True, len(run.history)

    def save(self, run):
        """Write weights, moments of the optimiser, random numbers and what the run knows of itself (`KEPT`)."""
        run.stop_watch()
        tensors = {"random": torch.get_rng_state()}
        tensors |= {f"model.{name}": value for name, value in run.vae.state_dict().items()}
        for index, moments in run.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        own = {name: getattr(run, name) for name in run.KEPT}
        tensors |= {f"run.{name}": value for name, value in own.items() if torch.is_tensor(value)}
        numbers = {name: value for name, value in own.items() if not torch.is_tensor(value)}
        reports = [asdict(report) for report in run.history]
        about = {"call": self.call, "run": numbers, "reports": reports, "objective": _own_state(self.objective)}
        save_tensors(self.path, tensors, about, half=False)
        self.written = time.perf_counter()

    def load(self, run):
        """Put everything back to where the file left it."""
        tensors, kept = load_tensors(self.path)
        theirs = kept.get("call", {})
        others = [name for name in {**self.call, **theirs} if self.call.get(name) != theirs.get(name)]
        if others:
            ours, theirs = ({name: call.get(name) for name in others} for call in (self.call, theirs))
            wish, remedy = f"to be that of a training with {ours}", "finish that one first, or delete the file"
            raise ValueError(f"{self.path}: {refusal('the state', wish, f'that of one with {theirs}', remedy)}")
        _own_state(self.objective).update(kept["objective"])
        parts = {"model": {}, "optimiser": {}, "run": kept["run"]}
        torch.set_rng_state(tensors.pop("random"))
        for name, value in tensors.items():
            whose, _, rest = name.partition(".")
            parts[whose][rest] = value
        moments = {}
        for name, value in parts["optimiser"].items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = value
        run.vae.load_state_dict(parts["model"])
        run.optimiser.load_state_dict({"state": moments, "param_groups": run.optimiser.state_dict()["param_groups"]})
        device = next(run.vae.parameters()).device
        for name, value in parts["run"].items():
            setattr(run, name, value.to(device) if torch.is_tensor(value) else value)
        run.history.extend(run.REPORT(**report) for report in kept["reports"])
