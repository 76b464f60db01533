"""A training as a film: the 2-D model's plane and its samples on the way, and which digits are among them."""

import math
from dataclasses import asdict, replace

import numpy as np
import torch

from vae_utils.classifier import load_classifier
from vae_utils.evaluation import elbo_of_set, manifold
from vae_utils.figures import image_wall
from vae_utils.reproduce.common import Command, full_mnist, record, save_image
from vae_utils.reproduce.stored_models import RECIPES
from vae_utils.runtime import fixed_seed
from vae_utils.training import Report

# Passes over the training images after which a frame is kept, beside the first and the last: close together
# at first, when most happens.
EPOCHS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 35)
GRID = 10  # codes along each side of the plane
COLUMNS = 3  # of samples to its right, as high as the plane
GREY_STEP = 17  # 16 grey levels: they look like 256 here and take two thirds of the bytes
NUM_READ = 1000  # draws of z whose pictures the classifier reads
SURE = 0.9  # it reads a digit where it gives one this probability
PROTOCOL = {
    "test_": "images of the test set, pixels binarised by one fixed draw, 1 draw of z; nats per image",
    "read": f"of the means of p(x|z) for {NUM_READ} z from the prior, the same in each frame, how many the "
    f"classifier takes for each digit, 0 to 9, with probability {SURE} or more",
    "as_at_end": "how many of these it takes for the same digit in the last frame",
}


def replay(options):
    """Train the stored 2-D model once more; keep what it draws on the way.

    `replay.png` holds the frames one below the other, in the order of `replay.json`'s rows: in each, on the
    left `figures.manifold` (10 x 10 images), on the right 30 samples (10 x 3), means of p(x|z) for the same z
    in every frame.
    """
    recipe = replace(RECIPES["manifold"].scaled(options.epochs), seed=options.seed)
    mnist, judge = full_mnist(), load_classifier()
    frames, digits, rows = [], [], []

    def keep(vae, report):
        frame, read = look(vae, judge, options.seed)
        frames.append(frame)
        digits.append(read)
        rows.append(numbers(report) | {"read": [int((read == digit).sum()) for digit in range(10)]})
        print(f"replay: {rows[-1]}", flush=True)

    keep(*untrained(recipe, mnist))
    report_at = [epochs * len(mnist.train) for epochs in EPOCHS]
    _, history = recipe.train(mnist, test=mnist.test, on_report=keep, progress=False, report_at=report_at)
    if history.stopped:
        raise SystemExit(f"{history.stopped}; {options.out} is as it was")
    for row, read in zip(rows, digits, strict=True):
        row["as_at_end"] = int(((read == digits[-1]) & (read >= 0)).sum())
    height, width = frames[0].shape
    save_image(np.concatenate(frames), options.out / "replay.png")
    about = {"protocol": PROTOCOL, "height": height, "width": width, "frames": rows}
    record(options, recipe.settings | about, "replay.png")


def untrained(recipe, mnist):
    """The weights with which `recipe.train` begins, and what is known of them."""
    vae = recipe.start(mnist).eval()
    terms = elbo_of_set(vae, mnist.test)
    tested = (term.mean().item() for term in (terms.elbo, terms.rate, terms.distortion))
    return vae, Report(0, 0.0, 0.0, math.nan, math.nan, math.nan, *tested)


@torch.no_grad()
def look(vae, judge, seed):
    """One frame, uint8 [280, 364], and the digit that each of 1000 samples is read as, -1 for none."""
    with fixed_seed(seed):
        z = vae.prior.sample((NUM_READ,))
    samples = vae.decode(z).mean.cpu()
    shown = samples[: GRID * COLUMNS].unflatten(0, (GRID, COLUMNS))
    wall = image_wall(torch.cat([manifold(vae, GRID), shown], dim=1), gap=0)
    probability, digit = judge.probabilities(samples).max(1)
    return (np.rint(wall / GREY_STEP) * GREY_STEP).astype(np.uint8), digit.where(probability >= SURE, -1)


def numbers(report):
    """A report as JSON holds it: rounded, null for what was not measured, without the time it took."""
    return {
        name: None if math.isnan(value) else round(value, 3)
        for name, value in asdict(report).items()
        if name != "seconds"
    }


COMMAND = Command(replay, stage=2, options=("epochs", "seed"))
