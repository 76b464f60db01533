"""Figure 2, MNIST: AEVB and wake-sleep in five panels over the paper's own."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from vae_utils.evaluation import active_units, evaluate, kl_per_dimension
from vae_utils.likelihoods import FAMILIES
from vae_utils.models import paper_vae
from vae_utils.reproduce import curves
from vae_utils.reproduce.bands import bands
from vae_utils.reproduce.common import Command, full_mnist, summary

FIGURE = "Fig2"
LATENTS = (3, 5, 10, 20, 200)
SAMPLES = 10_000_000  # of the first seed
OTHER_SEEDS, THEIR_SAMPLES = 2, 10**6  # for the scatter
COMPARED_AT = (10**5.5, 10**6, 10**6.5, 10**7, 10**7.5, 10**8)
HELD_OUT = 10_000  # the author trains on 50,000 of the 60,000 images


@dataclass(frozen=True)
class Reading:
    """What the paper leaves unsaid about its Figure 2, said.

    Attributes:
        pixels: name of the likelihood: what becomes of grey pixels.
        std: standard deviation of the first weights and biases: "N(0, 0.01)".
        waiting: steps in which Adagrad gathers squares and does not move.
        rate: of Adagrad; the paper chooses from 0.01, 0.02, 0.1.
        prior: weight of the prior on the weights relative to N(0, I)'s.
        images: number of training images.
    """

    pixels: str = "GreyCrossEntropy"
    std: float = 0.01
    waiting: int = curves.WAITING
    rate: float = 0.02
    prior: float = 1.0
    images: int = 60_000 - HELD_OUT

    def __str__(self):
        steps = f"{self.waiting} steps of waiting, rate {self.rate}"
        return f"{self.pixels}, std {self.std}, {steps}, prior x {self.prior:g}, {self.images:,} images"


# The nearest to the paper's curves in `fig2-search`. The paper, too, chooses the rate for each curve.
BEST = {("AEVB", size): Reading(rate=0.02) for size in LATENTS}
BEST |= {("WS", size): Reading(rate=0.01) for size in LATENTS[:-1]} | {("WS", 200): Reading(rate=0.02)}


def best(method, latent_size):
    """The `Reading` of one curve; of the nearest size that was looked at, for a size that the paper does not have."""
    nearest = min(LATENTS, key=lambda size: abs(size - latent_size))
    return BEST[method, nearest]


def train_mnist_curve(label, method, latent_size, reading, samples, seed, mnist, test):
    """One curve: the model and its history."""
    torch.manual_seed(seed)
    vae = paper_vae(latent_size, std=reading.std, likelihood=FAMILIES[reading.pixels]())
    images = mnist.train[: reading.images]
    settings = dict(method=method, waiting=reading.waiting, prior=reading.prior, test=test, seed=seed)
    return vae, curves.train_as_paper(label, vae, images, samples, reading.rate, **settings)


def figure_curve(method, latent_size, options, samples=None, seed=None):
    """One curve of the figure, trained if need be: the model, its history, its `Reading` and the test images.

    Args:
        method, latent_size: of the curve.
        options: of the command.
        samples, seed: where they are not those of `options`.
    """
    reading, samples = best(method, latent_size), samples or options.samples or SAMPLES
    mnist, test = full_mnist(hold_out=HELD_OUT), full_mnist().test
    label, seed = f"fig2-mnist {method} {latent_size}", options.seed if seed is None else seed
    vae, history = train_mnist_curve(label, method, latent_size, reading, samples, seed, mnist, test)
    return vae, history, reading, test


def fig2_mnist(options):
    """Figure 2, upper row: AEVB and wake-sleep for 3, 5, 10, 20, 200 latents, over the paper's curves.

    Other seeds go less far, to show the scatter. Curves that the record in the output folder already has, at this
    length and seed, are not trained again.
    """
    stored = curves.StoredRuns(options, what_all_share)
    for other, latent_size, method in product(range(1 + OTHER_SEEDS), options.latents or LATENTS, curves.METHODS):
        samples, seed = options.samples or (THEIR_SAMPLES if other else SAMPLES), options.seed + other
        name = f"{method} {latent_size}" + f" seed {seed}" * bool(other)
        if stored.has(name, samples):
            continue
        vae, history, reading, test = figure_curve(method, latent_size, options, samples, seed)
        found = {
            "asked": samples,
            "samples": history[-1].samples,
            "seed": seed,
            "reading": str(reading),
            "seconds": round(history[-1].seconds),
            "train": round(history[-1].train_elbo, 2),
            **summary(evaluate(vae, test)),
            "units_with_kl_above_0.01": int((kl_per_dimension(vae, test) > 0.01).sum()),
            "active_units": int(active_units(vae, test).sum()),
        }
        stored.add(name, found, curves.curve_rows(FIGURE, f"MNIST Nz={latent_size}", method, history, seed))
        if other:
            curves.forget(f"fig2-mnist {method} {latent_size}", seed)
    stored.write_record(*stored.read())
    curves.draw_over_paper(options, FIGURE, [f"MNIST Nz={size}" for size in LATENTS])


def what_all_share(runs, rows):
    """What the record says besides its runs: the bands, and the paper's claims in numbers, of the first seed."""
    first = min((row[-1] for row in rows), default=0)
    alone = {name: run for name, run in runs.items() if name.count(" ") == 1}
    return claims(alone, [row for row in rows if row[-1] == first]) | {"bands": bands(FIGURE, rows, COMPARED_AT)}


def claims(runs, rows):
    """The paper's claims about its Figure 2 in numbers: what more latents do to the gap, and who is faster."""
    panels = {}
    for _, panel, curve, samples, nats, _ in rows:
        panels.setdefault(panel, {}).setdefault(curve, []).append((samples, nats))
    gaps = {name: round(run["train"] - run["elbo"], 2) for name, run in runs.items()}
    speed = {
        panel: speed_ratios(np.array(drawn["AEVB test"]), np.array(drawn["WS test"]))
        for panel, drawn in panels.items()
        if {"AEVB test", "WS test"} <= set(drawn)
    }
    return {"train_minus_test": gaps, "samples_of_ws_over_aevb": speed}


def speed_ratios(aevb, wake_sleep, shares=(0.5, 0.9, 0.99)):
    """Wake-sleep's samples over AEVB's to the same test bound: {bound: ratio}.

    The bounds are those that wake-sleep reaches at three shares of its last decade of samples.

    Args:
        aevb, wake_sleep: curves, [N, 2]: samples, nats.
        shares: of the way from a tenth of wake-sleep's samples to all of them, in logarithm.
    """
    found = {}
    best_aevb, best_ws = (np.maximum.accumulate(curve[:, 1]) for curve in (aevb, wake_sleep))
    for share in shares:
        logarithm = np.log10(wake_sleep[-1, 0]) - (1 - share)
        bound = np.interp(logarithm, np.log10(wake_sleep[:, 0]), best_ws)
        if best_aevb[0] < bound <= best_aevb[-1]:
            reached = np.interp(bound, best_aevb, np.log10(aevb[:, 0]))
            found[f"{bound:.1f}"] = round(10 ** (logarithm - reached), 2)
    return found


def paper_model(latent_size, options):
    """The AEVB model of `fig2-mnist` with so many latents, trained if need be, and what is known of it."""
    with torch.enable_grad():
        vae, history, _, test = figure_curve("AEVB", latent_size, options)
    return vae, summary(evaluate(vae, test)) | {"samples": history[-1].samples}


COMMAND = Command(
    fig2_mnist,
    stage=1,
    options=("samples", "latents", "seed"),
    in_the_paper="up to 4e8 images a curve; 20 to 40 minutes for each 1e6 on a Xeon of 40 GFLOPS",
)
