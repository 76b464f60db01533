"""The paper's own setting beside the paper's own curve: a panel of Figure 2, up to 10^6 training images."""

import csv
from functools import partial

import numpy as np
import torch

from vae_utils.checkpoints import write_atomically
from vae_utils.evaluation import evaluate
from vae_utils.figures import paper_curves
from vae_utils.likelihoods import Bernoulli, GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.objectives import elbo_of_set
from vae_utils.reproduce.common import full_mnist, record, summary
from vae_utils.training import constant, fit, paper_adagrad

FIGURE, PANEL, LATENT_SIZE = "Fig2", "MNIST Nz=20", 20
HELD_OUT = 10_000                                # the paper's authors train on 50,000 of the 60,000 images
EPOCHS, PROBE_EPOCHS = 20, 1                     # 10^6 training images; what "the first few iterations" are
LEARNING_RATES = (0.01, 0.02, 0.1)
# The paper leaves two things open: what becomes of grey pixels, and whether the 0.01 of N(0, 0.01) is a
# variance.
READINGS = {f"{name}, std {std}": (likelihood, std) for std in (0.1, 0.01)
            for name, likelihood in (("binarised", Bernoulli), ("grey", GreyCrossEntropy))}
REPORT_AT = np.logspace(4, 6, 17)                # eight to a decade: 10^5.5 is one of them
COMPARED_AT = (10**5.5, 10**6)


def figure_2(options):
    """Train 20 latents under each reading of the paper; write the curves, and how far they are from its own.

    Appendix C and section 5: one tanh layer of 500 each way, all parameters from N(0, std^2), Adagrad at a
    constant step, M = 100, L = 1, a prior N(0, I) on the weights. Not in this run: the author's program lets
    Adagrad gather 100 gradients before its first step, which the paper does not mention.
    """
    held_out, test = full_mnist(hold_out=HELD_OUT), full_mnist().test
    probes, runs, rows = [], [], []
    for reading, (likelihood, std) in READINGS.items():
        train = partial(_train, held_out.train, likelihood, std, options)
        rate, tried = _choose_rate(train, held_out.test, min(PROBE_EPOCHS, options.epochs or EPOCHS))
        probes += [{"reading": reading} | row for row in tried]
        vae, history = train(rate, options.epochs or EPOCHS, test=test, report_at=REPORT_AT)
        differences = _differences(history)
        result = summary(evaluate(vae, test)) | {"training_seconds": round(history[-1].seconds)}
        runs.append({"reading": reading, "learning_rate": rate, "samples": history[-1].samples}
                    | result | differences)
        rows += [(FIGURE, PANEL, f"{reading}, {part}", report.samples,
                  round(getattr(report, f"{part}_elbo"), 3), options.seed)
                 for part in ("train", "test") for report in history]
        print(f"{reading}, learning rate {rate}: {history}; minus the paper's curve: {differences}",
              flush=True)
    with write_atomically(options.out / "paper.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("figure", "panel", "curve", "samples", "nats", "seed"))
        writer.writerows(rows)
    settings = {"model": paper_vae(LATENT_SIZE).settings,
                "optimiser": "Adagrad, constant step, prior N(0, I) on the weights", "batch_size": 100,
                "training_images": len(held_out.train),
                "choice": "learning rate: the largest training bound between 25,000 and 50,000 images"}
    record("paper", options, {"settings": settings, "learning_rates": probes, "runs": runs})


def _train(images, likelihood, std, options, rate, epochs, **kwargs):
    torch.manual_seed(options.seed)
    vae = paper_vae(LATENT_SIZE, std=std, likelihood=likelihood())
    history = fit(vae, images, epochs=epochs, batch_size=100, learning_rate=rate,
                  optimiser=paper_adagrad(len(images)), schedule=constant, max_norm=None, seed=options.seed,
                  progress=False, **kwargs)
    return vae, history


def _choose_rate(train, held_out, epochs):
    """The paper's way: the best training bound in the first few iterations. Held-out images are a check."""
    rows = []
    for rate in LEARNING_RATES:
        try:
            vae, history = train(rate, epochs, report_at=[25_000])
        except FloatingPointError:               # the loss overflowed
            print(f"    learning rate {rate}: diverged", flush=True)
            continue
        bounds = history[-1].train_elbo, elbo_of_set(vae, held_out).elbo.mean().item()
        rows.append({"learning_rate": rate, "train": round(bounds[0], 2), "held_out": round(bounds[1], 2)})
        print(f"    learning rate {rate}: training bound {bounds[0]:.2f}, held-out bound {bounds[1]:.2f}",
              flush=True)
    return max(rows, key=lambda row: row["train"])["learning_rate"], rows


def _differences(history):
    """Our test bound minus the paper's, in nats, at those of `COMPARED_AT` that the run has reached."""
    found = {}
    for samples in COMPARED_AT:
        near = [report for report in history if abs(report.samples / samples - 1) < 0.01]
        if near:
            ours, paper = near[0].test_elbo, paper_value(samples)
            found[f"at {samples:.3g}"] = {"ours": round(ours, 2), "paper": round(paper, 2),
                                          "difference": round(ours - paper, 2)}
    return found


def paper_value(samples, curve="AEVB test", decades=0.03):
    """The paper's curve at a number of training images: nats, mean of its points within `decades`."""
    x, nats = paper_curves(FIGURE, PANEL)[curve]
    return float(nats[abs(np.log10(x / samples)) <= decades].mean())
