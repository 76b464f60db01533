"""Figure 3: log p(x) of models trained by AEVB, wake-sleep and Monte Carlo EM, from few images and from many."""

import math
import sys
import time
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch

from vae_utils.evaluation import evaluate
from vae_utils.files import load_tensors, save_tensors
from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.paper.curves import paper_curves
from vae_utils.paper.importance import log_likelihood
from vae_utils.paper.kept_chains import KeptChains
from vae_utils.paper.marginal import posterior_sample_log_likelihood, quadrature_log_likelihood
from vae_utils.paper.monte_carlo_em import monte_carlo_em
from vae_utils.reproduce import curves
from vae_utils.reproduce.bands import band
from vae_utils.reproduce.common import Command, full_mnist, say, with_error
from vae_utils.reproduce.fig2_mnist import HELD_OUT
from vae_utils.reproduce.precision import fast_products
from vae_utils.reproduce.resuming import Resume, state_path
from vae_utils.training import after, fit, paper_adagrad

FIGURE, LATENT_SIZE, HIDDEN, STD = "Fig3", 3, 100, 0.01
SCORED = 1000  # the first training and the first test images, in MNIST's own order, as in the paper
RUNS = {  # (method, N): training images evaluated, for Monte Carlo EM by its updates
    ("AEVB", 1000): 10**7.25,
    ("WS", 1000): 10**7,
    ("MCEM", 1000): 10**6.5,
    ("AEVB", 50_000): 10**7,
    ("WS", 50_000): 10**6.5,
    ("MCEM", 50_000): 10**7.1,
}
# A second rate for the first seed: short runs of wake-sleep cannot tell the two apart, and for AEVB the paper's curve
# has the speed of the smaller one.
OTHER_RATES = {("AEVB", 50_000): 0.02, ("WS", 1000): 0.1}
OTHER_SEEDS = 2  # for the scatter
NUM_LEAPFROG, NUM_UPDATES = 10, 5
# What an image of ours counts for on the paper's axis: `monte_carlo_em` counts the images of the 5 updates, the paper
# those of the 10 leapfrog steps too (`unsaid`).
COUNTS = {"AEVB": 1, "WS": 1, "MCEM": (NUM_LEAPFROG + NUM_UPDATES) / NUM_UPDATES}
COMPARED_AT = (10**5.5, 10**6, 10**6.5, 10**7, 10**7.5)
SPIKE = 5  # nats from the median of five reports: there the kept chains' estimate of some image has broken down
EXACT = " by quadrature"  # ends the name of a panel of the same curves, measured that way
KEPT = "the same, chains kept from report to report"  # the paper's estimator among those at the end of a run
PROBE_SAMPLES, PROBE_ITERATIONS, PROBE_IMAGES = 200_000, 60, 1000
IMPORTANCE_SAMPLES, POSTERIOR_SAMPLES, POSTERIOR_LEAPFROG = 500, 50, 4


@dataclass(frozen=True)
class Run:
    """One curve of the figure.

    Attributes:
        method, num_images: of the curve.
        seed: of the first weights and of all draws.
        rate: of Adagrad, or None for the one that short runs choose.
        first: whether the seed is the command's own.
    """

    method: str
    num_images: int
    seed: int
    rate: float | None = None
    first: bool = True

    @property
    def name(self):
        """Such as "AEVB 1000", "AEVB 1000 seed 1" or "AEVB 50000 rate 0.02"."""
        others = f" rate {self.rate}" if self.rate else "" if self.first else f" seed {self.seed}"
        return f"{self.method} {self.num_images}{others}"

    @property
    def panel(self):
        """What the panel of its curve is called in the CSV: the paper's name, and the rate if another was chosen."""
        return panel(self.num_images) + (f" rate {self.rate}" if self.rate else "")


def runs(seed):
    """All curves, those of the first seed first: list of `Run`."""
    found = [Run(*curve, seed) for curve in RUNS]
    found += [Run(*curve, seed, rate) for curve, rate in OTHER_RATES.items() if curve in RUNS]
    return found + [Run(*curve, seed + other, first=False) for other in range(1, 1 + OTHER_SEEDS) for curve in RUNS]


def panel(num_images):
    """The paper's name of a panel of Figure 3."""
    return f"MNIST Nz={LATENT_SIZE} H={HIDDEN} Ntrain={num_images}"


def fig3(options):
    """Figure 3: log p(x) under AEVB, wake-sleep and Monte Carlo EM, 1,000 and 50,000 images, over the paper's.

    The first 1,000 training and test images are measured where the paper measured, by its estimator with chains that
    are kept from report to report, and four times a decade by quadrature; at the end of the first seed's curves also
    by the other estimators. Reports of which the estimate has broken down are left out (`spikes`), and the record
    lists them. Curves that the record in the output folder already has are not trained again.
    """
    mnist, test = full_mnist(hold_out=HELD_OUT, shuffle=False), full_mnist().test[:SCORED]
    stored, protocol = curves.StoredRuns(options, what_all_share), settings()

    @cache  # the other seeds' is the first one's
    def chosen_rate(method, num_images):
        return curves.choose_rate(partial(short_run_performance, method, mnist.train[:num_images], options.seed))

    for curve in runs(options.seed):
        samples = round(options.samples or RUNS[curve.method, curve.num_images])
        if stored.has(curve.name, samples, protocol=protocol):
            continue
        images = mnist.train[: curve.num_images]
        rate, probes = (curve.rate, None) if curve.rate else chosen_rate(curve.method, curve.num_images)
        scored = {"train": images[:SCORED], "test": test}
        vae, measured, seconds = train_fig3_curve(curve, images, samples, rate, scored)
        found = {
            "asked": samples,
            "protocol": protocol,
            "samples": round(max(measured.estimated) * COUNTS[curve.method]),
            "seed": curve.seed,
            "learning_rate": rate,
            "probes": probes,
            "seconds": round(seconds),
            "left_out": measured.left_out(curve),
        }
        if curve.first:
            found["estimates"] = estimates(vae, curve.method, measured, scored)
        stored.add(curve.name, found, measured.lines(curve))
        print(f"{curve.name}: {found}", flush=True)
    stored.write_record(*stored.read())
    panels = [panel(num_images) + how for how in ("", EXACT) for num_images in (1000, 50_000)]
    limits = dict(y_limits=(-165, -105), x_limits=(2e5, 1e8), y_label="log p(x) (nats per image)")
    curves.draw_over_paper(options, FIGURE, panels, **limits)


def what_all_share(runs, rows):
    """What the record says besides its runs: each curve by the paper's estimator beside the paper's, seeds together."""
    found = {}
    for (method, num_images), rate in [*((curve, None) for curve in RUNS), *OTHER_RATES.items()]:
        curve = Run(method, num_images, 0, rate)
        ours = [
            (figure, panel(num_images), name, *rest)
            for figure, drawn_in, name, *rest in rows
            if drawn_in == curve.panel and name.split()[0] == method
        ]
        points, reached = paper_points(method, num_images), max((row[3] for row in ours), default=0)
        at = near(points[points <= 1.01 * reached], COMPARED_AT)
        for part in ("train", "test"):
            points = band(FIGURE, panel(num_images), f"{method} {part}", ours, at)
            found |= {f"{curve.name} {part}": points} if points else {}
    return {"bands": found}


def settings():
    """What all runs have in common, in words and numbers that JSON can hold."""
    return {
        "model": start(0).settings,
        "pixels": "GreyCrossEntropy",
        "std": STD,
        "waiting": f"{curves.WAITING} steps for AEVB and wake-sleep, none for Monte Carlo EM",
        "batch_size": curves.BATCH_SIZE,
        "images": f"MNIST's own order; scored are the first {SCORED:,} training and the first {SCORED:,} test images",
        "estimator": f"Appendix D, {POSTERIOR_SAMPLES} draws from chains kept from report to report, one step size",
        "mcem_leapfrog_steps": NUM_LEAPFROG,
        "mcem_weight_updates": NUM_UPDATES,
        "mcem_step_size": "0.01, then times or divided by 1.25 after each move",
        "mcem_samples": "images of leapfrog steps and of weight updates, as the paper's axis counts",
        "choice": "learning rate: the largest training bound (MCEM: log p(x, z)) in the first iterations",
    }


def start(seed):
    """The model before its first step."""
    torch.manual_seed(seed)
    return paper_vae(LATENT_SIZE, HIDDEN, STD, GreyCrossEntropy())


def paper_points(method, num_images):
    """Where the paper measured a curve, on its own axis: sorted array; points of train and test 0.5% apart are one."""
    drawn = paper_curves(FIGURE, panel(num_images))
    points = np.union1d(*(drawn[f"{method} {part}"][0] for part in ("train", "test")))
    return points[np.diff(points, prepend=0.0) > 0.005 * points]


def report_points(method, num_images, samples):
    """Numbers of training images, as the method counts them, at which log p(x) is estimated.

    Where the paper measured; before the first point that its axes show, every so many images as after it, and after the
    first minibatch, since the chains are kept from the start.
    """
    points = paper_points(method, num_images) / COUNTS[method]
    gap = points[1] - points[0]
    before = np.arange(points[0] - gap, 0, -gap)
    return np.concatenate([[curves.BATCH_SIZE], before[::-1], points[points <= 1.001 * samples]])


def near(points, wanted):
    """Those of the `points` that lie nearest to the `wanted` ones, within 20%: sorted list."""
    found = set()
    for each in wanted:
        distances = np.abs(np.log(np.asarray(points) / each))
        if len(points) and distances.min() < math.log(1.2):
            found.add(float(points[distances.argmin()]))
    return sorted(found)


# Training


def train_fig3_curve(run, images, samples, rate, scored):
    """One curve: the model, what was `Measured` on the way, and the seconds of its training.

    Args:
        run: the `Run`.
        images: to train on.
        samples: training images evaluated.
        rate: of Adagrad.
        scored: {"train": images, "test": images} to be measured.
    """
    vae, label, method = start(run.seed), f"fig3 {run.name}", run.method
    unit = len(images) * NUM_UPDATES if method == "MCEM" else curves.BATCH_SIZE
    points = np.unique((report_points(method, run.num_images, samples) / unit).round().clip(1) * unit)
    exact = near(points, curves.report_points(samples, first=10**5.5, per_decade=4))
    measured = Measured(label, run.seed, vae, scored, samples, {*exact, unit * max(1, round(samples / unit))})
    others = {"seed": run.seed, "report_at": points}
    if method in curves.METHODS:
        others |= {"method": method, "on_report": measured.add}
        return vae, measured, curves.train_as_paper(label, vae, images, samples, rate, **others)[-1].seconds
    state = Resume(state_path(label, run.seed), {"images": len(images), "samples": samples, "rate": rate})
    others |= {"on_step": state, "on_report": lambda vae, report, z: measured.add(vae, report)}
    try:
        with fast_products():
            reports = _mcem(vae, images, max(1, round(samples / unit)), rate, progress=sys.stdout.isatty(), **others)
    except KeyboardInterrupt:
        raise SystemExit(f"{label}: interrupted from the keyboard; the same command goes on from there") from None
    return vae, measured, reports[-1].seconds


def _mcem(vae, images, iterations, rate, **kwargs):
    papers = dict(optimiser=paper_adagrad(len(images)), num_leapfrog=NUM_LEAPFROG, num_updates=NUM_UPDATES)
    reports, _ = monte_carlo_em(vae, images, iterations=iterations, learning_rate=rate, **papers, **kwargs)
    return reports


def short_run_performance(method, images, seed, rate):
    """Training performance at the end of a short run: nats per image.

    Monte Carlo EM is tried on the first 1,000 images: Adagrad takes the same steps on the mean gradient of
    many as on that of some, up to their noise.
    """
    vae, batch_size = start(seed), curves.BATCH_SIZE
    with fast_products():
        if method == "MCEM":
            probed = images[:PROBE_IMAGES]
            return _mcem(vae, probed, PROBE_ITERATIONS, rate, seed=seed, progress=False)[-1].log_joint
        steps = PROBE_SAMPLES // batch_size
        history = fit(
            vae,
            images,
            epochs=steps / (len(images) // batch_size),
            objective=curves.METHODS[method],
            batch_size=batch_size,
            learning_rate=after(curves.WAITING, steps, rate),
            optimiser=paper_adagrad(len(images)),
            seed=seed,
            report_at=[0.75 * PROBE_SAMPLES],
            progress=False,
        )
    return history[-1].train_elbo


# Measuring


class Measured:
    """log p(x) along one training by two estimators, kept on disk beside the training's own state.

    Args:
        label, seed: of the training.
        vae: the model before its first step.
        scored: {"train": images, "test": images}.
        samples: training images evaluated at the end.
        exact_at: numbers of training images at which log p(x) is measured by quadrature too.

    Attributes:
        estimated, exact: {training images evaluated: {"train": nats, "test": nats}}.
        last: {"train": nats of each image, "test": ...} by the kept chains at the last report.
    """

    def __init__(self, label, seed, vae, scored, samples, exact_at):
        self.label, self.scored, self.samples, self.exact_at = label, scored, samples, exact_at
        self.path = state_path(f"{label} measured", seed)
        settings = {"num_samples": POSTERIOR_SAMPLES, "num_leapfrog": POSTERIOR_LEAPFROG, "seed": seed}
        self.chains = {part: KeptChains(vae, vae.observe(images), **settings) for part, images in scored.items()}
        self.estimated, self.exact, self.last = {}, {}, {}
        kept = self.path.is_file() and state_path(label, seed).is_file() and load_tensors(self.path)
        if kept and kept[1]["samples"] == samples:
            self._load(*kept)
        else:  # a state without its measurements is of no use
            curves.forget(label, seed)
        self.begun, self.first = time.perf_counter(), max(self.estimated, default=0)

    def _load(self, tensors, about):
        for part, chains in self.chains.items():
            chains.z, self.last[part] = tensors[f"{part}.z"], tensors[f"{part}.last"]
            chains.step_size, chains.reports = about["step_sizes"][part], len(about["estimated"])
        for name in ("estimated", "exact"):
            setattr(self, name, {int(point): nats for point, nats in about[name].items()})

    def add(self, vae, report):
        """Measure, keep, and print with the time left; what was measured before an interruption stays."""
        if report.samples in self.estimated:
            return
        self.last = {part: chains.log_likelihood(vae) for part, chains in self.chains.items()}
        self.estimated[report.samples] = {part: nats.mean().item() for part, nats in self.last.items()}
        if report.samples in self.exact_at:
            self.exact[report.samples] = {
                part: quadrature_log_likelihood(vae, images).per_image.mean().item()
                for part, images in self.scored.items()
            }
        tensors = {f"{part}.z": chains.z for part, chains in self.chains.items()}
        tensors |= {f"{part}.last": nats for part, nats in self.last.items()}
        about = {name: getattr(self, name) for name in ("samples", "estimated", "exact")}
        about["step_sizes"] = {part: chains.step_size for part, chains in self.chains.items()}
        save_tensors(self.path, tensors, about, half=False)
        passed, done = time.perf_counter() - self.begun, max(report.samples - self.first, 1)
        minutes = passed * max(self.samples - report.samples, 0) / done / 60
        nats = ", ".join(f"{part} {value:.2f}" for part, value in self.estimated[report.samples].items())
        say(f"{self.label}: {report.samples:,} images, log p(x) {nats} nats per image; about {minutes:.0f} min left")

    def lines(self, run):
        """Lines of the CSV for both estimators."""
        return [
            (FIGURE, run.panel + how, f"{run.method} {part}", samples, nats, run.seed)
            for how, points in (("", self.estimated), (EXACT, self.exact))
            for part in self.scored
            for samples, nats, broken in self._reports(run, points, part)
            if how or not broken
        ]

    def left_out(self, run):
        """The reports that are no lines, because the kept chains' estimate has broken down: [curve, images, nats]."""
        return [
            [f"{run.method} {part}", samples, nats]
            for part in self.scored
            for samples, nats, broken in self._reports(run, self.estimated, part)
            if broken
        ]

    @staticmethod
    def _reports(run, points, part):
        """(images on the paper's axis, nats, whether it is a spike), in order."""
        samples = sorted(points)
        nats = [round(points[point][part], 3) for point in samples]
        return zip((round(point * COUNTS[run.method]) for point in samples), nats, spikes(nats), strict=True)


def spikes(nats):
    """Which reports of a curve, in order, lie more than `SPIKE` from the median of five around them: list of bool.

    Near an end the median is that of three; the end itself is none. A curve that only rises has no spike.
    """
    reach = [min(2, i, len(nats) - 1 - i) for i in range(len(nats))]
    medians = [np.median(nats[i - r : i + r + 1]) for i, r in enumerate(reach)]
    return [bool(abs(value - median) > SPIKE) for value, median in zip(nats, medians, strict=True)]


def estimates(vae, method, measured, scored):
    """The same quantity by several estimators, at the end: means with standard errors over images, nats.

    `difference` is to the quadrature, image by image. Monte Carlo EM trains no encoder: no importance
    sampling and no ELBO.
    """
    found = {}
    for part, images in scored.items():
        exact = quadrature_log_likelihood(vae, images).per_image
        density = partial(posterior_sample_log_likelihood, vae, images, POSTERIOR_SAMPLES, POSTERIOR_LEAPFROG)
        by_name = {
            f"Appendix D, {POSTERIOR_SAMPLES} posterior samples": density(),
            "the same, chains begun at draws of the prior": density(candidates=1),
            KEPT: measured.last[part],
        }
        if method in curves.METHODS:
            weighted = log_likelihood(vae, images, IMPORTANCE_SAMPLES, device="cpu").per_image
            by_name[f"importance sampling, {IMPORTANCE_SAMPLES} samples"] = weighted
            by_name["ELBO"] = evaluate(vae, images, device="cpu").elbo
        found[part] = {"quadrature": with_error("mean", exact)}
        for name, values in by_name.items():
            found[part][name] = with_error("mean", values) | {"difference": with_error("mean", values - exact)}
    return found


COMMAND = Command(
    fig3,
    stage=1,
    options=("samples", "seed"),
    in_the_paper="N = 1,000 and 50,000; up to 6e7 to 1e8 images a curve; log p(x) by HMC and a density estimate",
)
