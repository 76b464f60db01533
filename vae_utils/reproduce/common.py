"""What the experiments share: recipes, full data, provenance."""

import json
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from PIL import Image

from vae_utils.data import load_mnist
from vae_utils.evaluation import Estimate
from vae_utils.figures import figure_png
from vae_utils.files import write_atomically
from vae_utils.models import start_at_mean
from vae_utils.paper.importance import importance_weighted
from vae_utils.reproduce.precision import in_bfloat16
from vae_utils.reproduce.resuming import fit_resuming
from vae_utils.training import History

HELD_OUT = 5000  # training images on which every choice between settings is made


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
        bfloat16: whether the networks compute in bfloat16 while they are trained (`runtime.in_bfloat16`).
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
        with in_bfloat16(vae.encoder, vae.decoder) if self.bfloat16 else nullcontext():
            history = fit_resuming(
                checkpoint,
                vae,
                mnist.train,
                epochs=self.epochs,
                learning_rate=self.learning_rate,
                batch_size=self.batch_size,
                seed=self.seed,
                **(self.training | kwargs),
            )
            if self.ending is not None and not history.stopped:
                history = self._end(vae, mnist, history, checkpoint, **(self.training | kwargs))
        return vae, history

    def _end(self, vae, mnist, history, checkpoint, on_report=None, **kwargs):
        def from_the_start(report):
            return replace(
                report,
                **{
                    name: getattr(report, name) + getattr(history[-1], name)
                    for name in ("samples", "epochs", "seconds")
                },
            )

        added = fit_resuming(
            checkpoint and ending_of(checkpoint),
            vae,
            mnist.train,
            epochs=self.ending.epochs,
            learning_rate=self.ending.learning_rate,
            objective=partial(importance_weighted, num_samples=self.ending.num_samples),
            batch_size=self.batch_size,
            seed=self.seed + 1,
            on_report=on_report and (lambda vae, report: on_report(vae, from_the_start(report))),
            **kwargs,
        )
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
        return {
            "model": model.settings,
            "likelihood": model.likelihood.settings,
            "epochs": self.epochs,
            "seed": self.seed,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "bfloat16": self.bfloat16,
            "ending": self.ending and asdict(self.ending),
        }


def ending_of(checkpoint):
    """Where the state of a recipe's ending lies, beside that of what comes before it."""
    return checkpoint.with_stem(f"{checkpoint.stem}-ending")


def full_mnist(hold_out=0):
    """MNIST's 70,000 images; numbers made from fewer are not this project's numbers."""
    mnist = load_mnist(hold_out)
    if not mnist.is_full:
        raise SystemExit(
            "reproduce needs the full MNIST, and only the embedded 5,000 digits were found: "
            "connect to the network once, or let VAE_DATA name a folder that has it"
        )
    return mnist


def summary(result):
    """An `Evaluation` as rounded numbers with their protocol."""
    elbo = Estimate.of(result.elbo)
    return {
        "elbo": round(elbo.mean, 3),
        "standard_error": round(elbo.standard_error, 3),
        "rate": round(result.rate.mean().item(), 3),
        "distortion": round(result.distortion.mean().item(), 3),
        "protocol": result.protocol,
    }


def record(name, options, results):
    """Write the provenance record `NAME.json` of one command into `options.out`.

    Where the results are of several runs, `--latents` only chose some of them: each run says by itself how it
    was made (`made_by`), and the record names the command that makes them all.
    """
    chosen = None if "runs" in results else options.latents
    write_record(
        options.out / f"{name}.json",
        command(name, options, chosen),
        options.start,
        results,
        seed=options.seed,
        versions=versions(),
    )


def write_record(path, command, start, results, **others):
    """Write what is known of a run that began at `start` (of time.perf_counter), and `others` with it."""
    content = {
        "command": command,
        "date": date.today().isoformat(),
        **others,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - start),
        "cpu_seconds": round(time.process_time()),
        "results": results,
    }
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def made_by(name, options):
    """What a run of a figure says of itself: the command, the day, the processor and its threads, the versions."""
    return {
        "command": command(name, options, options.latents),
        "date": date.today().isoformat(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def command(name, options, latents=None):
    """The command line that makes the same numbers again."""
    words = ["python -m vae_utils.reproduce", name]
    if options.seed != 0:
        words.append(f"--seed {options.seed}")
    if options.epochs is not None:
        words.append(f"--epochs {options.epochs:g}")
    if options.samples is not None:
        words.append(f"--samples {options.samples}")
    if latents is not None:
        words.append(f"--latents {' '.join(map(str, latents))}")
    if options.held_out:
        words.append("--held-out")
    return " ".join(words)


def versions():
    """Versions of what the numbers depend on."""
    return {"torch": version("torch"), "torchvision": version("torchvision"), "python": platform.python_version()}


def processor():
    """The processor's name where the system tells it, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


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
        raise ValueError(
            f"a picture was expected as a uint8 array [height, width], got {array.dtype} of "
            f"shape {list(array.shape)}; make it with image_wall"
        )
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
