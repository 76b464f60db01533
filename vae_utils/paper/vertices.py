"""What the lines of the paper's Figures 2 and 3 tell beyond their points: where a curve begins, and on which grid.

`assets/paper_vertices.csv` holds every vertex of the vector paths in the paper's PDF (arXiv 1312.6114), in the units of
the axes. Matplotlib has left out vertices that a straight line passes through, and has cut each line where it leaves
the axes. Nothing else is lost. The horizontal axis of Figure 2 is logarithmic, that of Figure 3 linear.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae_utils.files import ASSETS
from vae_utils.paper.curves import PAPER_NUMBERS, rows_of
from vae_utils.support.arguments import refusal
from vae_utils.support.kinds import checked


@checked
def read_vertices(path: str | Path = ASSETS / "paper_vertices.csv") -> dict:
    """All vertices of the paper's curves.

    Args:
        path: of a CSV with the columns figure, panel, curve, vertex, train_samples_evaluated, value_nats.

    Returns:
        Dict from (figure, panel, curve) to an array [V, 2] in the order in which the line is drawn: training images
        evaluated, nats per image. The first vertex is where the line enters the axes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has other columns.
    """
    found = {}
    for row in rows_of(path, ("vertex", *PAPER_NUMBERS)):
        point = tuple(float(row[name]) for name in PAPER_NUMBERS)
        found.setdefault((row["figure"], row["panel"], row["curve"]), []).append(point)
    return {name: np.array(points) for name, points in found.items()}


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a figure, taken apart.

    Attributes:
        entry: [2], where the line enters the axes on its way to the first report that is seen.
        runs: list of arrays [P, 2], reports of one training each: a line that jumps back to the left is of two.
        returns: list of arrays [2, 2], one for each jump back: the last report before it, and where the line leaves the
            axes on its way to the next run's first report.
    """

    entry: np.ndarray
    runs: list
    returns: list

    @property
    def curve(self) -> np.ndarray:
        """Reports of the last run, [P, 2]: the curve that the figure is about."""
        return self.runs[-1]


@checked
def take_apart(vertices: np.ndarray) -> Line:
    """Tell reports from places where the line is cut, and one run from the next.

    Args:
        vertices: [V, 2], one entry of `read_vertices`.

    Returns:
        `Line`.

    Raises:
        ValueError: if the line does not enter the axes from below, or shows no report.
    """
    edge = vertices[0, 1]
    if not (vertices[:, 1] > edge).any() or (vertices[:, 1] < edge).any():
        remedy = "its first vertex has to be the lowest"
        raise ValueError(refusal("the line", "to enter the axes from below", f"one that begins at {edge:g}", remedy))
    seen = np.flatnonzero(vertices[:, 1] > edge)
    jumps = 1 + np.flatnonzero(np.diff(vertices[seen, 0]) < 0)
    runs = np.split(seen, jumps)
    # Between two runs the line is below the axes: the vertex after the last report is where it left them.
    returns = [vertices[before[-1] : before[-1] + 2] for before in runs[:-1]]
    return Line(vertices[0], [vertices[run] for run in runs], returns)


@checked
def first_report(seen: np.ndarray, cut: np.ndarray, level: float) -> float:
    """The place of a report that is not seen because it is below the axes. It lies on the line that leads to it.

    The line is straight in the logarithm of the images, as Figure 2 draws it.

    Args:
        seen: [2], the report at the line's other end: images, nats.
        cut: [2], where the line is cut by the edge of the axes.
        level: height of the report, nats: the bound of a model before its first step.

    Returns:
        Training images evaluated.

    Raises:
        ValueError: if the line has no slope between `seen` and `cut`.
    """
    if seen[1] == cut[1]:
        remedy = "take one that leads to a report"
        raise ValueError(refusal("the line", "to have a slope", "a horizontal one", remedy))
    share = (level - seen[1]) / (cut[1] - seen[1])
    return float(seen[0] * (cut[0] / seen[0]) ** share)


@checked
def round_number(value: float) -> int:
    """The nearest of 1, 2, 5, 10, 20, 50, 100 ... in the logarithm: what a minibatch is likely to have been."""
    exponents = np.arange(9)
    candidates = np.outer(10.0**exponents, (1, 2, 5)).ravel()
    return int(candidates[np.argmin(abs(np.log(candidates / value)))])


@checked
def off_the_grid(samples: np.ndarray, unit: float) -> np.ndarray:
    """How far each number lies from the nearest multiple of `unit`, as a share of it, in [0, 0.5]."""
    units = samples / unit
    return abs(units - np.round(units))


@checked
def largest_unit(samples: np.ndarray, unit: float, most: int = 60, tolerance: float = 0.1) -> int | None:
    """The largest k up to `most` for which all numbers lie on multiples of k * `unit`.

    Args:
        samples: numbers of images.
        unit: one unit, e.g. N for one pass over the data.
        most: the last k that is tried.
        tolerance: share of k * `unit` by which a number may lie beside its multiple.

    Returns:
        k, or None if there is none, not even 1.
    """
    fitting = [k for k in range(1, most + 1) if (off_the_grid(samples, k * unit) <= tolerance).all()]
    return fitting[-1] if fitting else None


@checked
def free_steps(samples: np.ndarray, unit: float) -> int:
    """How many numbers were free to miss the grid, if reports come at even distances that a line may skip.

    These are the first one, and those distances between neighbours that are not a multiple of a smaller one.
    """
    steps = np.unique(np.diff(np.round(samples / unit)).astype(int))
    return 1 + sum(all(step % other for other in steps[steps < step]) for step in steps)
