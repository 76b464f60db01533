"""What the experiments share: commands, recipes, full data, records, pictures."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from vae_utils.data import load_mnist
from vae_utils.evaluation import Estimate, evaluate
from vae_utils.figures import figure_png
from vae_utils.files import write_atomically
from vae_utils.models import load_vae, save_vae, start_at_mean
from vae_utils.paper.importance import importance_weighted
from vae_utils.reproduce.precision import in_bfloat16
from vae_utils.reproduce.provenance import processor, versions, write_record
from vae_utils.reproduce.resuming import fit_resuming
from vae_utils.training import History

HELD_OUT = 5000  # training images on which every choice between settings is made


@dataclass(frozen=True)
class Command:
    """What makes a module of this package a command: it holds one, as `COMMAND`.

    Attributes:
        run: function of the options, whose `name` is the command's; its docstring begins with what is made.
        stage: its place in `all`: 1 needs nothing that is stored, 2 loads what 1 has stored, 3 reads the records of
            all; None is not part of it.
        options: of "epochs", "samples", "latents", "held_out" and "seed", those that it knows.
        names: of a family of commands; empty for the one that has the module's name.
        in_the_paper: how much the paper's own experiment took, or what it was.
    """

    run: Callable
    stage: int | None
    options: tuple = ()
    names: tuple = ()
    in_the_paper: str = ""


@dataclass(frozen=True)
class Ending:
    """A second training, from where the first ended, on the importance-weighted bound.

    Attributes:
        num_samples: K of `paper.importance.importance_weighted`.
        epochs, learning_rate: as `training.fit`.
    """

    num_samples: int
    epochs: float
    learning_rate: float


@dataclass(frozen=True)
class Recipe:
    """How one model is built and trained.

    Attributes:
        build: function of no arguments that returns an untrained VAE.
        epochs, learning_rate, batch_size, seed: as `training.fit`; the seed also draws the first weights.
        bfloat16: whether the networks compute in bfloat16 while they are trained (`precision.in_bfloat16`).
        ending: an `Ending`, or None.
        training: further arguments of `training.fit`.
    """

    build: Callable
    epochs: float
    learning_rate: float
    batch_size: int = 128
    seed: int = 0
    bfloat16: bool = False
    ending: Ending | None = None
    training: dict = field(default_factory=dict)

    def start(self, mnist):
        """Build, and start at the data's mean: the model before its first step."""
        torch.manual_seed(self.seed)
        vae = self.build()
        start_at_mean(vae, mnist.train)
        return vae

    def train(self, mnist, checkpoint=None, **kwargs):
        """`start`, then train: the model and its `History`, the ending's reports after the others'.

        `checkpoint` is the file from which the training goes on, or None (`resuming.fit_resuming`).
        """
        vae = self.start(mnist)
        kwargs = {"batch_size": self.batch_size} | self.training | kwargs
        own = {"epochs": self.epochs, "learning_rate": self.learning_rate, "seed": self.seed}
        with in_bfloat16(vae.encoder, vae.decoder) if self.bfloat16 else nullcontext():
            history = fit_resuming(checkpoint, vae, mnist.train, **own, **kwargs)
            if self.ending is not None and not history.stopped:
                history = self._end(vae, mnist, history, checkpoint, **kwargs)
        return vae, history

    def _end(self, vae, mnist, history, checkpoint, on_report=None, **kwargs):
        def from_the_start(report):
            before = {name: getattr(history[-1], name) for name in ("samples", "epochs", "seconds")}
            return replace(report, **{name: getattr(report, name) + value for name, value in before.items()})

        own = {"epochs": self.ending.epochs, "learning_rate": self.ending.learning_rate, "seed": self.seed + 1}
        own["objective"] = partial(importance_weighted, num_samples=self.ending.num_samples)
        own["on_report"] = on_report and (lambda vae, report: on_report(vae, from_the_start(report)))
        added = fit_resuming(checkpoint and ending_of(checkpoint), vae, mnist.train, **own, **kwargs)
        return History([*history, *map(from_the_start, added)], added.stopped)

    def scaled(self, epochs):
        """The same recipe with so many epochs before the ending, which keeps its share; itself if None."""
        if epochs is None:
            return self
        ending = self.ending and replace(self.ending, epochs=self.ending.epochs * epochs / self.epochs)
        return replace(self, epochs=epochs, ending=ending)

    @property
    def settings(self):
        """The recipe in words and numbers that JSON can hold."""
        model = self.build()
        numbers = ("epochs", "seed", "learning_rate", "batch_size", "bfloat16")
        found = {"model": model.settings, "likelihood": model.likelihood.settings}
        found |= {name: getattr(self, name) for name in numbers}
        return found | {"ending": self.ending and asdict(self.ending)}


def ending_of(checkpoint):
    """Where the state of a recipe's ending lies, beside that of what comes before it."""
    return checkpoint.with_stem(f"{checkpoint.stem}-ending")


def full_mnist(hold_out=0, shuffle=True):
    """MNIST's 70,000 images as `data.load_mnist` gives them; numbers made from fewer are not this project's numbers."""
    mnist = load_mnist(hold_out, shuffle)
    if not mnist.is_full:
        raise SystemExit(
            "reproduce needs the full MNIST, and only the embedded 5,000 digits were found: connect to the network "
            "once, or let VAE_DATA name a folder that has it"
        )
    return mnist


def say(text):
    """Print a line at once, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def with_error(name, per_image, error="standard_error"):
    """The mean over images under `name` and its standard error, rounded as a record holds them."""
    estimate = Estimate.of(per_image)
    return {name: round(estimate.mean, 3), error: round(estimate.standard_error, 3)}


def summary(result):
    """An `Evaluation` as rounded numbers with their protocol."""
    means = {name: round(getattr(result, name).mean().item(), 3) for name in ("rate", "distortion")}
    return with_error("elbo", result.elbo) | means | {"protocol": result.protocol}


def store_model(vae, path, test, known):
    """Save a model with what is known of it; returned with the test bound, which is that of the weights as stored."""
    save_vae(vae, path)  # in half precision
    result = evaluate(load_vae(path), test)
    print(f"{path.stem}: {result}", flush=True)
    results = known | summary(result)
    save_vae(vae, path, results=results, versions=versions())
    return results


def record(options, results, *files):
    """Write the provenance record `NAME.json` of one command into `options.out`, where the `files` of its data are.

    Where the results are of several runs, `--latents` only chose some of them: each run says by itself how it
    was made (`made_by`), and the record names the command that makes them all.
    """
    words = command(options, None if "runs" in results else options.latents)
    path = options.out / f"{options.name}.json"
    write_record(path, words, options.start, results, files, seed=options.seed, versions=versions())


def made_by(options):
    """What a run of a figure says of itself: the command, the day, the processor and its threads, the versions."""
    return {
        "command": command(options, options.latents),
        "date": date.today().isoformat(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def command(options, latents=None):
    """The command line that makes the same numbers again."""
    words = ["python -m vae_utils.reproduce", options.name]
    words += [f"--seed {options.seed}"] * (options.seed != 0)
    words += [f"--epochs {options.epochs:g}"] if options.epochs is not None else []
    words += [f"--samples {options.samples}"] if options.samples is not None else []
    words += [f"--latents {' '.join(map(str, latents))}"] if latents is not None else []
    words += ["--held-out"] * options.held_out
    return " ".join(words)


def save_image(array, path, scale=1):
    """Write a picture as an 8-bit grey PNG, small, and whole or not at all.

    Args:
        array: uint8 array [height, width], 0 black to 255 white, e.g. from `image_wall`.
        path: the file to write.
        scale: pixels of the file along each pixel of the array (nearest neighbour, so edges stay sharp).

    Raises:
        ValueError: if the array is something else.
        OSError: if the file cannot be written; an older file of that name stays.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 2 or array.size == 0:
        got = f"{array.dtype} of shape {list(array.shape)}"
        raise ValueError(f"a picture was expected as a uint8 array [height, width], got {got}; make it with image_wall")
    with write_atomically(path) as temporary:
        enlarged = array.repeat(scale, axis=0).repeat(scale, axis=1)
        Image.fromarray(enlarged).save(temporary, format="PNG", optimize=True)


def save_figure(figure, path):
    """Write a figure to a PNG file, atomically; pyplot forgets it.

    Raises:
        OSError: if the folder cannot be written.
    """
    with write_atomically(path) as temporary:
        temporary.write_bytes(figure_png(figure))
