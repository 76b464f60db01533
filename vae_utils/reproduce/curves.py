"""Curves as the paper draws them: trained under its protocol, a state on disk, written beside its own curves."""

import csv
import sys
import time

import numpy as np

from vae_utils.figures import use_style
from vae_utils.files import write_atomically
from vae_utils.objectives import elbo
from vae_utils.paper.curves import PAPER_NUMBERS, paper_curves, plot_figure, read_curves
from vae_utils.paper.wake_sleep import wake_sleep
from vae_utils.reproduce.common import made_by, record, save_figure, say
from vae_utils.reproduce.precision import fast_products
from vae_utils.reproduce.provenance import read_record
from vae_utils.reproduce.resuming import fit_resuming, reports_on_disk, state_path
from vae_utils.training import Report, after, paper_adagrad

METHODS = {"AEVB": elbo, "WS": wake_sleep}  # named as the paper's figures name them
BATCH_SIZE = 100  # M, as the text says and as MNIST's curves begin; L = 1
WAITING = 100  # steps in which the author's program only gathers squares
LEARNING_RATES = (0.01, 0.02, 0.1)  # section 5: "chosen from"


def choose_rate(performance):
    """The paper's way: the learning rate of the best training performance in the first few iterations.

    Args:
        performance: function from a rate to nats on training images at the end of a short run, or FloatingPointError.

    Returns:
        (rate, tried): the best of `LEARNING_RATES`, and for each of them a dict with what was reached ("train"),
        None where the training diverged.

    Raises:
        FloatingPointError: if all diverged.
    """
    tried = []
    for rate in LEARNING_RATES:
        try:
            reached = round(performance(rate), 2)
        except FloatingPointError:
            reached = None
        tried.append({"learning_rate": rate, "train": reached})
    if not any(row["train"] is not None for row in tried):
        raise FloatingPointError(f"the loss overflowed with each of the learning rates {LEARNING_RATES}")
    return best_rate(tried), tried


def best_rate(tried):
    """The learning rate whose short run went best, of what `choose_rate` tried."""
    trained = [row for row in tried if row["train"] is not None]
    return max(trained, key=lambda row: row["train"])["learning_rate"]


def train_as_paper(
    label,
    vae,
    images,
    samples,
    learning_rate,
    *,
    method="AEVB",
    batch_size=BATCH_SIZE,
    waiting=WAITING,
    prior=1.0,
    on_report=None,
    **kwargs,
):
    """Algorithm 1, or wake-sleep, as the paper's section 5 has it; an interruption costs half a minute.

    Adagrad at a constant step after `waiting` steps, L = 1, the prior N(0, I) on the weights; matrix
    products as in `precision.fast_products`. Every report is a line of text with the time left. The state stays in
    `data/reproduce/` when all is done, so that another command that needs the same model has it at once, until
    `forget` is called or the file deleted.

    Args:
        label: names the curve for the reader and, with the seed, the state on disk.
        vae, images: as `training.fit`.
        samples: training images evaluated, the paper's horizontal axis.
        learning_rate: of Adagrad.
        method: "AEVB" or "WS".
        batch_size: M, images in a minibatch.
        waiting: see `training.after`.
        prior: see `training.paper_adagrad`.
        on_report: as `training.fit`, after the line of text.
        kwargs: `seed`, `test`, `report_at` and others of `training.fit`.

    Returns:
        training.History.

    Raises:
        SystemExit: if the keyboard interrupts; the same call goes on from there.
        FloatingPointError: as `training.fit`.
    """
    state = state_path(label, kwargs.get("seed", 0))
    if state.is_file():
        print(f"{label}: goes on from data/reproduce/{state.name}; delete it to start anew", flush=True)
    num_steps = max(1, round(samples / batch_size))
    start, begun = time.perf_counter(), []

    def tell(vae, report):
        begun.append(report.samples)
        passed = time.perf_counter() - start
        new = report.samples - (begun[0] if len(begun) > 1 else 0)
        left = passed * (samples - report.samples) / max(new, 1)
        bounds = f"train {report.train_elbo:.2f}, test {report.test_elbo:.2f} nats per image"
        say(f"{label}: {report.samples:,} images, {bounds}; about {left / 60:.0f} min left")
        if on_report is not None:
            on_report(vae, report)

    with fast_products():
        history = fit_resuming(
            state,
            vae,
            images,
            epochs=num_steps / (len(images) // batch_size),
            objective=METHODS[method],
            batch_size=batch_size,
            learning_rate=after(waiting, num_steps, learning_rate),
            optimiser=paper_adagrad(len(images), prior),
            on_report=tell,
            **({"progress": sys.stdout.isatty(), "report_at": report_points(samples)} | kwargs),
        )
    if history.stopped:
        raise SystemExit(f"{label}: {history.stopped}; the same command goes on from there")
    return history


class Reached(Exception):
    """A training has come to where its caller wants it to end for now; its state stays on disk."""


class StopWhen:
    """`on_report` of `train_as_paper`: keeps the reports and raises `Reached` at the first that fulfils `condition`.

    Args:
        label, seed: of the training; if it was interrupted, the reports on disk come first.
        condition: function of a `training.Report`.
    """

    def __init__(self, label, seed, condition):
        self.condition = condition
        self.reports = [Report(**report) for report in reports_on_disk(state_path(label, seed))]

    def check(self):
        """Forget what came after the first report that fulfils the condition, and raise `Reached`, if there is one."""
        for count, report in enumerate(self.reports, start=1):
            if self.condition(report):
                del self.reports[count:]
                raise Reached

    def __call__(self, vae, report):
        self.reports.append(report)
        self.check()


def forget(label, seed):
    """Delete the state of a training, so that the same call starts anew."""
    state_path(label, seed).unlink(missing_ok=True)


def report_points(samples, first=10**4.5, per_decade=8):
    """Numbers of training images at which to report: evenly spaced in their logarithm, 10^5, 10^6 included."""
    count = int(np.floor(np.log10(samples / first) * per_decade + 1e-6)) + 1
    return first * 10 ** (np.arange(max(count, 0)) / per_decade)


def curve_rows(figure, panel, method, history, seed):
    """Lines of the CSV for one training: the train and the test curve, ELBO in nats per image."""
    return [
        (figure, panel, f"{method} {part}", report.samples, round(getattr(report, f"{part}_elbo"), 3), seed)
        for part in ("train", "test")
        for report in history
    ]


class StoredRuns:
    """The runs of one figure in the output folder, `NAME.json` and `NAME.csv`, extended one run at a time.

    The files are read anew each time: another call may have written other runs meanwhile.

    Args:
        options: of the command line; runs of another seed count as none.
        others: function of (runs, rows) that returns what else the record's results hold.
        weights: names of files in the output folder that the record describes too, if they are there.
    """

    def __init__(self, options, others=lambda runs, rows: {}, weights=()):
        self.options, self.others, self.weights = options, others, weights
        self.csv = options.out / f"{options.name}.csv"

    def read(self):
        """(runs, rows): a dict from a run's name to what is known of it, and the lines of the CSV; or empty."""
        path = self.csv.with_suffix(".json")
        if not (path.is_file() and self.csv.is_file()):
            return {}, []
        kept = read_record(path)  # the CSV may be newer by a run: a call can end, or be, between the two writes
        if kept["seed"] != self.options.seed:
            return {}, []
        with open(self.csv, newline="") as file:
            rows = [
                (figure, panel, curve, int(samples), float(nats), int(seed))
                for figure, panel, curve, samples, nats, seed in list(csv.reader(file))[1:]
            ]
        return kept["results"]["runs"], rows

    def known(self, run, **settings):
        """What the record holds of a run if it was made with these settings, else None."""
        found = self.read()[0].get(run, {})
        return found if found and all(found.get(name) == value for name, value in settings.items()) else None

    def has(self, run, samples, **settings):
        """Whether this run is stored at this length, made with these settings; says so if it is."""
        if not self.known(run, asked=samples, **settings):
            return False
        print(f"{run}: {self.csv.name} has it already; to train it again, let --out name an empty folder", flush=True)
        return True

    def add(self, run, found, lines):
        """Store one run.

        Args:
            run: its name.
            found: what is known of it, as JSON holds it, with `asked`: the samples asked for.
            lines: of the CSV; they replace those of the same panel, curve and seed.
        """
        runs, rows = self.read()
        runs[run] = found | {"made_by": made_by(self.options)}
        replaced = {(*line[1:3], line[-1]) for line in lines}
        rows = [row for row in rows if (*row[1:3], row[-1]) not in replaced] + lines
        write_curves(self.csv, rows)
        self.write_record(runs, rows)

    def write_record(self, runs, rows):
        """The provenance record of all runs."""
        files = [self.csv.name, *(name for name in self.weights if (self.options.out / name).is_file())]
        record(self.options, {"runs": runs} | self.others(runs, rows), *files)


def draw_over_paper(options, figure, panels, **limits):
    """`NAME.png` from `NAME.csv` by `paper.curves.plot_figure`: panels side by side, our curves over the paper's."""
    use_style()
    path = options.out / f"{options.name}.csv"
    save_figure(plot_figure(figure, panels, read_curves(path), **limits), path.with_suffix(".png"))


def write_curves(path, rows):
    """Write (figure, panel, curve, samples, nats, seed) as CSV; a failed write leaves the old file."""
    _write_rows(path, ("samples", "nats", "seed"), rows)


def write_paper_curves(path, lines):
    """Write the paper's curves as `paper.curves.paper_curves` reads them.

    Args:
        path: of the CSV file; a failed write leaves the old one.
        lines: dict from (figure, panel, curve) to an array [P, 2]: training images evaluated, nats per image.
    """
    rows = ((*name, f"{samples:.0f}", f"{nats:g}") for name, points in lines.items() for samples, nats in points)
    _write_rows(path, PAPER_NUMBERS, rows)


def _write_rows(path, numbers, rows):
    with write_atomically(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("figure", "panel", "curve", *numbers))
        writer.writerows(rows)


def paper_value(figure, panel, curve, samples):
    """The paper's curve at a number of training images: on the line between two of its reports, or None beside them."""
    x, nats = paper_curves(figure, panel)[curve]
    if not x[0] <= samples <= x[-1]:
        return None
    # Between the reports that were left out lies a straight line, in the coordinates of the figure's own axis.
    on_axis = np.log if figure == "Fig2" else np.asarray
    return float(np.interp(on_axis(samples), on_axis(x), nats))


def compare(figure, panel, curve, samples, nats, at):
    """Our curve (`samples`, `nats`) beside the paper's at those numbers of images where both have a value.

    Returns:
        List of dicts, nats per image.
    """
    rows = []
    for point in at:
        ours = [value for x, value in zip(samples, nats, strict=True) if abs(np.log10(x / point)) < 0.01]
        paper = paper_value(figure, panel, curve, point)
        if ours and paper is not None:
            values = {"ours": ours[0], "paper": paper, "difference": ours[0] - paper}
            rows.append({"samples": round(point)} | {name: round(value, 2) for name, value in values.items()})
    return rows


def compare_test(figure, panel, method, history, **kwargs):
    """`compare` for the test bounds of a training's history."""
    return compare(figure, panel, f"{method} test", history.column("samples"), history.column("test_elbo"), **kwargs)


def mean_distance(points):
    """Mean absolute difference of what `compare` returned, in nats per image; None if there are no points."""
    return round(float(np.mean([abs(point["difference"]) for point in points])), 2) if points else None
