"""Figure 3: log p(x) of models trained by AEVB, wake-sleep and Monte Carlo EM, from few images and from many."""

import json
import sys
import time
from functools import partial

import torch

from vae_utils.evaluation import evaluate
from vae_utils.files import write_atomically
from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.paper.importance import log_likelihood
from vae_utils.paper.marginal import posterior_sample_log_likelihood, quadrature_log_likelihood
from vae_utils.paper.monte_carlo_em import monte_carlo_em
from vae_utils.reproduce import curves
from vae_utils.reproduce.common import Command, full_mnist, say, with_error
from vae_utils.reproduce.fig2_mnist import HELD_OUT
from vae_utils.reproduce.precision import fast_products
from vae_utils.reproduce.resuming import Resume, state_path
from vae_utils.training import after, fit, paper_adagrad

FIGURE, LATENT_SIZE, HIDDEN, STD = "Fig3", 3, 100, 0.01
# The first so many training images, as in the paper, and every tenth test image. The paper's are the first 1,000 test
# images; these have less ink than the rest (a mean brightness of 0.122 against 0.1325), and are measured at the end.
SCORED = 1000
RUNS = {  # (method, N): training images evaluated, for Monte Carlo EM by its updates
    ("AEVB", 1000): 10**7.25,
    ("WS", 1000): 10**7,
    ("MCEM", 1000): 10**7,
    ("AEVB", 50_000): 10**7,
    ("WS", 50_000): 10**6.5,
    ("MCEM", 50_000): 10**7.5,
}
NUM_LEAPFROG, NUM_UPDATES = 10, 5
# What an image of ours counts for on the paper's axis: `monte_carlo_em` counts the images of the 5 updates, the paper
# those of the 10 leapfrog steps too (`unsaid`).
COUNTS = {"AEVB": 1, "WS": 1, "MCEM": (NUM_LEAPFROG + NUM_UPDATES) / NUM_UPDATES}
COMPARED_AT = (10**5.5, 10**6, 10**6.5, 10**7, 10**7.5)
PROBE_SAMPLES, PROBE_ITERATIONS, PROBE_IMAGES = 200_000, 60, 1000
IMPORTANCE_SAMPLES, POSTERIOR_SAMPLES, POSTERIOR_LEAPFROG = 500, 50, 4


def panel(num_images):
    """The paper's name of a panel of Figure 3."""
    return f"MNIST Nz={LATENT_SIZE} H={HIDDEN} Ntrain={num_images}"


def fig3(options):
    """Figure 3: log p(x) under AEVB, wake-sleep and Monte Carlo EM, 1,000 and 50,000 images, over the paper's.

    log p(x) of the first 1,000 training images and of every tenth test image is measured by quadrature, and at
    the end of each curve also by Appendix D and by importance sampling. Curves that the record in the output
    folder already has, at this length and seed, are not trained again.
    """
    mnist, test = full_mnist(hold_out=HELD_OUT), full_mnist().test
    first, test = test[:SCORED], test[:: len(test) // SCORED]
    stored = curves.StoredRuns(options, lambda runs, rows: {"settings": settings()})
    for (method, num_images), samples in RUNS.items():
        samples = round(options.samples or samples)
        name, images = f"{method} {num_images}", mnist.train[:num_images]
        if stored.has(name, samples):
            continue
        label = f"fig3 {name}"
        curve = Curve(label, options.seed, images[:SCORED], test, samples)
        rate, probes = curves.choose_rate(partial(short_run_performance, method, images, options.seed))
        vae, seconds = train_fig3_curve(method, images, samples, rate, options.seed, curve)
        at, count = sorted(curve.points), COUNTS[method]
        counted = [round(point * count) for point in at]
        found = {
            "asked": samples,
            "samples": counted[-1],
            "learning_rate": rate,
            "probes": probes,
            "seconds": round(seconds),
            "estimates": estimates(vae, method, images[:SCORED], test),
            "quadrature_of_the_first_test_images": with_error("mean", quadrature_log_likelihood(vae, first).per_image),
        }
        lines, points = [], [point * count for point in COMPARED_AT]
        for part in ("train", "test"):
            drawn = FIGURE, panel(num_images), f"{method} {part}"
            nats = [curve.points[point][part] for point in at]
            found[f"against_paper_{part}"] = curves.compare(*drawn, counted, nats, points)
            lines += [(*drawn, point, round(value, 3), options.seed) for point, value in zip(counted, nats)]
        stored.add(name, found, lines)
        print(f"{name}: {found}", flush=True)
    limits = dict(y_limits=(-165, -105), x_limits=(2e5, 1e8), y_label="log p(x) (nats per image)")
    curves.draw_over_paper(options, FIGURE, [panel(num_images) for num_images in (1000, 50_000)], **limits)


def settings():
    """What all runs have in common, in words and numbers that JSON can hold."""
    return {
        "model": start(0).settings,
        "pixels": "GreyCrossEntropy",
        "std": STD,
        "waiting": f"{curves.WAITING} steps for AEVB and wake-sleep, none for Monte Carlo EM",
        "batch_size": curves.BATCH_SIZE,
        "scored_images": f"the first {SCORED:,} training images, every tenth test image",
        "mcem_leapfrog_steps": NUM_LEAPFROG,
        "mcem_weight_updates": NUM_UPDATES,
        "mcem_samples": "images of leapfrog steps and of weight updates, as the paper's axis counts",
        "choice": "learning rate: the largest training bound (MCEM: log p(x, z)) in the first iterations",
    }


def start(seed):
    """The model before its first step."""
    torch.manual_seed(seed)
    return paper_vae(LATENT_SIZE, HIDDEN, STD, GreyCrossEntropy())


def report_points(samples):
    """Numbers of training images at which log p(x) is measured."""
    return curves.report_points(samples, first=10**5.5, per_decade=4)


# Training


def train_fig3_curve(method, images, samples, rate, seed, curve):
    """One curve: the model, and the seconds of its training. `curve` is told of every report."""
    vae, label, others = start(seed), curve.label, {"seed": seed, "report_at": report_points(samples)}
    if method in curves.METHODS:
        others |= {"method": method, "on_report": curve.add}
        return vae, curves.train_as_paper(label, vae, images, samples, rate, **others)[-1].seconds
    state = Resume(state_path(label, seed), {"images": len(images), "samples": samples, "rate": rate})
    others |= {"on_step": state, "on_report": lambda vae, report, z: curve.add(vae, report)}
    iterations = max(1, round(samples / (len(images) * NUM_UPDATES)))
    try:
        with fast_products():
            reports = _mcem(vae, images, iterations, rate, progress=sys.stdout.isatty(), **others)
    except KeyboardInterrupt:
        raise SystemExit(f"{label}: interrupted from the keyboard; the same command goes on from there") from None
    return vae, reports[-1].seconds


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


class Curve:
    """log p(x) along one training, kept on disk beside the training's own state.

    Attributes:
        points: {training images evaluated: {"train": nats, "test": nats}}.
    """

    def __init__(self, label, seed, train, test, samples):
        self.label, self.train, self.test, self.samples = label, train, test, samples
        self.path = state_path(label, seed).with_suffix(".json")
        kept = json.loads(self.path.read_text("utf-8")) if self.path.is_file() else {"samples": None}
        self.points = {}
        if kept["samples"] == samples and state_path(label, seed).is_file():
            self.points = {int(point): values for point, values in kept["points"].items()}
        else:  # a state without its measurements is of no use
            curves.forget(label, seed)
        self.begun, self.first = time.perf_counter(), None

    def add(self, vae, report):
        """Measure, print with the time left, and keep."""
        values = {
            part: quadrature_log_likelihood(vae, images).per_image.mean().item()
            for part, images in (("train", self.train), ("test", self.test))
        }
        self.points[report.samples] = values
        with write_atomically(self.path) as temporary:
            temporary.write_text(json.dumps({"samples": self.samples, "points": self.points}), encoding="utf-8")
        passed = time.perf_counter() - self.begun
        self.first = report.samples if self.first is None else self.first
        left = passed * (self.samples - report.samples) / max(report.samples - self.first, report.samples / 2)
        measured = f"log p(x) of train {values['train']:.2f}, of test {values['test']:.2f} nats per image"
        say(f"{self.label}: {report.samples:,} images, {measured}; about {max(left, 0) / 60:.0f} min left")


def estimates(vae, method, train, test):
    """The same quantity by several estimators, at the end: means with standard errors over images, nats.

    `difference` is to the quadrature, image by image. Monte Carlo EM has no encoder, hence no importance
    sampling and no ELBO.
    """
    found = {}
    for part, images in (("train", train), ("test", test)):
        exact = quadrature_log_likelihood(vae, images).per_image
        density = partial(posterior_sample_log_likelihood, vae, images, POSTERIOR_SAMPLES, POSTERIOR_LEAPFROG)
        measured = {
            f"Appendix D, {POSTERIOR_SAMPLES} posterior samples": density(),
            "the same, chains begun at draws of the prior": density(candidates=1),
        }
        if method in curves.METHODS:
            weighted = log_likelihood(vae, images, IMPORTANCE_SAMPLES, device="cpu").per_image
            measured[f"importance sampling, {IMPORTANCE_SAMPLES} samples"] = weighted
            measured["ELBO"] = evaluate(vae, images, device="cpu").elbo
        found[part] = {"quadrature": with_error("mean", exact)}
        for name, values in measured.items():
            found[part][name] = with_error("mean", values) | {"difference": with_error("mean", values - exact)}
    return found


COMMAND = Command(
    fig3,
    stage=1,
    options=("samples", "seed"),
    in_the_paper="N = 1,000 and 50,000; up to 6e7 to 1e8 images a curve; log p(x) by HMC and a density estimate",
)
