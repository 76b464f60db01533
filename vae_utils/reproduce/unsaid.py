"""What the paper's pictures tell of its protocol that its text does not."""

import math

import torch

from vae_utils.files import ASSETS
from vae_utils.likelihoods import PixelGaussian
from vae_utils.paper import vertices
from vae_utils.reproduce.common import Command, record
from vae_utils.reproduce.curves import write_paper_curves
from vae_utils.reproduce.fig2_frey import frey_faces

PASSES = 15  # over the data in an iteration of Monte Carlo EM: 10 leapfrog steps and 5 updates of the weights
LAST_MULTIPLE = 300  # beyond it the axis as it was read is off by more than a few hundredths of 15 N


def unsaid(options):
    """The paper's protocol from its pictures: minibatches, restarts, how Monte Carlo EM counts; and its curves.

    From all vertices of the vector paths in its PDF (`assets/paper_vertices.csv`). The author's loop reports for the
    first time after its first step, so Figure 2's curves begin at M images and at the bound of an untrained model; that
    point lies below the axes, but the line that leads to it is drawn. The curves that the project compares with,
    `paper_figures.csv`, are the reports that are seen.
    """
    drawn = vertices.read_vertices(ASSETS / "paper_vertices.csv")
    lines = {name: vertices.take_apart(points) for name, points in drawn.items()}
    write_paper_curves(options.out / "paper_figures.csv", {name: line.curve for name, line in lines.items()})
    levels = untrained_bounds()
    begins, grids = {}, {}
    for (figure, panel, curve), line in lines.items():
        if figure == "Fig2":
            begins[f"{panel}, {curve}"] = beginning(line, levels[panel.split()[0]])
        elif curve.startswith("MCEM"):
            grids[f"{panel}, {curve}"] = on_a_grid(line, panel)
    results = {
        "source": "vector paths of Figures 2 and 3 in the PDF of arXiv 1312.6114",
        "untrained_bound": {name: round(level, 2) for name, level in levels.items()},
        "minibatch": {name: minibatch(begins, name) for name in levels},
        "begins": begins,
        "monte_carlo_em": grids,
    }
    for name, found in results["minibatch"].items():
        low, high = found["readings"]
        print(f"{name}: {found['curves']} curves begin at {low:.0f} to {high:.0f} images, so M = {found['M']}")
    for name, found in begins.items():
        for trial in found["trials"]:
            print(f"{name}: a first run of {trial['samples']:,.0f} images, then a new one from {trial['next']:.0f}")
    for name, found in grids.items():
        print(
            f"{name}: {found['points']} reports at multiples of {found['largest_unit']} N, none further than "
            f"{found['furthest']:.3f} of 15 N beside one: by luck {found['chance']:.0e}, "
            f"{found['chance_at_even_distances']:.0e} if reports come at even distances"
        )
    record(options, results, "paper_figures.csv")


def untrained_bounds():
    """The bound of a model before its first step, nats per image, {"MNIST": ..., "Frey": ...}: features and rate 0."""
    faces = frey_faces()
    frames = torch.cat([faces.train, faces.test])
    untrained = PixelGaussian(0.0)(frames.new_zeros(2, *frames.shape[2:]))
    return {"MNIST": -784 * math.log(2), "Frey": untrained.log_prob(frames).mean().item()}


def beginning(line, level):
    """What one curve of Figure 2 begins at, and the runs that were drawn before the one that the figure is about."""
    trials = []
    for run, (last, cut) in zip(line.runs, line.returns):
        seen = [[round(samples), nats] for samples, nats in run.tolist()]
        trials.append({"samples": round(last[0]), "seen": seen, "next": vertices.first_report(last, cut, level)})
    first = vertices.first_report(line.runs[0][0], line.entry, level)
    return {"first_report": round(first, 1), "trials": trials, "next_reports": line.curve[:4, 0].round().tolist()}


def minibatch(begins, data):
    """M on one data set: the round number next to all readings, and their range."""
    readings = [found["first_report"] for name, found in begins.items() if name.startswith(data)]
    nearest = {vertices.round_number(reading) for reading in readings}
    return {
        "M": nearest.pop() if len(nearest) == 1 else None,
        "curves": len(readings),
        "readings": [min(readings), max(readings)],
    }


def on_a_grid(line, panel):
    """Whether one curve of Monte Carlo EM has its reports at multiples of 15 N, and the chance of that by luck.

    A report that falls anywhere lies within a share d of a multiple with probability 2 d.
    """
    num_images = int(panel.rpartition("=")[2])
    unit = PASSES * num_images
    every = line.curve[:, 0]
    samples = every[every <= LAST_MULTIPLE * unit]
    furthest = vertices.off_the_grid(samples, unit).max()
    return {
        "N": num_images,
        "points": len(samples),
        "points_beyond": len(every) - len(samples),
        "furthest_of_all": round(vertices.off_the_grid(every, unit).max(), 4),
        "largest_unit": vertices.largest_unit(samples, num_images),
        "multiples": (samples / unit).round(3).tolist(),
        "furthest": round(furthest, 4),
        "chance": (2 * furthest) ** len(samples),
        "chance_at_even_distances": (2 * furthest) ** vertices.free_steps(samples, unit),
    }


COMMAND = Command(unsaid, stage=1)
