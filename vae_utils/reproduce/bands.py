"""Our curves of several seeds as a band, the paper's beside it, and whether scatter explains the difference."""

from itertools import product

import numpy as np

from vae_utils.paper.curves import paper_panel
from vae_utils.reproduce.curves import METHODS, paper_value

SEEDS = 3  # fewer say too little of a standard deviation
WIDENED_BY = 2  # standard deviations of a seed, on both sides of the band


def band(figure, panel, curve, rows, at, split=0.0):
    """One curve of all seeds beside the paper's; where one seed goes on alone, the scatter is the last that is known.

    A point is confirmed if the paper's value lies within the lowest and the highest seed, widened by two standard
    deviations of a seed, or of seed and split together.

    Args:
        figure, panel, curve: as `paper.curves.paper_curves` names them.
        rows: lines (figure, panel, curve, samples, nats, seed) of `curves.StoredRuns`, of any curves.
        at: numbers of images at which to compare; reports within 1.2% of them count.
        split: standard deviation of a test value over random splits of the data, if the paper's split is not known.

    Returns:
        List of dicts, one for each of `at` where both have a value, nats per image: samples, seeds, ours (mean of the
        seeds), low, high, spread (standard deviation of a seed, or None if it was never known), paper, difference
        (ours minus paper), confirmed (None without a spread).
    """
    ours = [(samples, nats) for f, p, c, samples, nats, _ in rows if (f, p, c) == (figure, panel, curve)]
    points, spread = [], None
    for point in sorted(at):
        values = [nats for samples, nats in ours if abs(np.log10(samples / point)) < 0.005]
        paper = paper_value(figure, panel, curve, point)
        if len(values) >= SEEDS:
            spread = float(np.std(values, ddof=1))
        if values and paper is not None:
            numbers = {"ours": np.mean(values), "low": min(values), "high": max(values), "paper": paper}
            numbers["difference"] = numbers["ours"] - paper
            rounded = {name: round(float(value), 2) for name, value in numbers.items()}
            rounded |= {"spread": None if spread is None else round(spread, 2)} | ({"split": split} if split else {})
            points.append({"samples": round(point), "seeds": len(values), **rounded, "confirmed": None})
            if spread is not None:
                room = WIDENED_BY * np.hypot(spread, split)
                points[-1]["confirmed"] = bool(min(values) - room <= paper <= max(values) + room)
    return points


def bands(figure, rows, at, splits=None):
    """The test curves of all panels, seeds together, beside the paper's.

    Args:
        figure, at: as `band`.
        rows: as `band`; a panel may be named "MNIST Nz=20 rate 0.02", for a curve at another rate beside it.
        splits: dict from "AEVB 20" to the `split` of `band`, where that is not 0.

    Returns:
        Dict from "AEVB 20", "WS 20" or "AEVB 20 rate 0.02" to what `band` returns; few latents come first.
    """
    found = {}
    sizes = {panel: int(panel.split("Nz=")[1].split()[0]) for panel in sorted({row[1] for row in rows})}
    for method, (panel, size) in product(METHODS, sorted(sizes.items(), key=lambda item: item[1])):
        shown, rate = paper_panel(panel), panel.partition(" rate ")[2]
        ours = [(of, shown, *others) for of, drawn_in, *others in rows if drawn_in == panel]
        points = band(figure, shown, f"{method} test", ours, at, (splits or {}).get(f"{method} {size}", 0.0))
        found |= {f"{method} {size}" + f" rate {rate}" * bool(rate): points} if points else {}
    return found
