"""Figure 3: log p(x) of models trained by AEVB, wake-sleep and Monte Carlo EM, from few images and from many."""

import json
import sys
from functools import partial
from itertools import product

import numpy as np
import torch

from vae_utils.evaluation import evaluate
from vae_utils.figures import use_style
from vae_utils.files import write_atomically
from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.paper.curves import ESTIMATE, paper_curves, plot_figure_3, read_curves
from vae_utils.paper.hmc import adapt_by_factor
from vae_utils.paper.importance import log_likelihood
from vae_utils.paper.marginal import posterior_sample_log_likelihood, quadrature_log_likelihood
from vae_utils.paper.monte_carlo_em import monte_carlo_em
from vae_utils.reproduce import curves
from vae_utils.reproduce.common import Command, full_mnist, save_figure, with_error
from vae_utils.reproduce.fig3_curve import PARTS, POSTERIOR_LEAPFROG, POSTERIOR_SAMPLES, Curve, interpolated
from vae_utils.reproduce.precision import fast_products
from vae_utils.reproduce.resuming import Resume, state_path
from vae_utils.training import after, fit, paper_adagrad

FIGURE, LATENT_SIZE, HIDDEN, STD = "Fig3", 3, 100, 0.01
FIGURES = {"quadrature": FIGURE, "estimate": ESTIMATE}  # names of our curves in the CSV, by measure
SCORED = 1000  # "the first 1000 datapoints" of MNIST's own training and test sets
NUM_SEEDS = 3
NUM_LEAPFROG, NUM_UPDATES = 10, 5
FIRST_STEP = 0.01  # of Monte Carlo EM's leapfrog, as in the authors' program
# (method, N): training images evaluated, and those between two of the paper's points (the median distance of the
# vertices where none is left out), since at each of them the chains of its estimator have moved on.
RUNS = {
    ("AEVB", 1000): (10**7, 141_000),
    ("WS", 1000): (10**7, 741_000),
    ("MCEM", 1000): (10**7, 195_000),
    ("AEVB", 50_000): (10**7, 1_449_000),
    ("WS", 50_000): (10**7, 905_000),
    ("MCEM", 50_000): (68_250_000, 1_500_000),
}
# Learning rates beside the one that the first iterations choose: where their choice was a coin flip (wake-sleep), and
# where the paper's curve has the speed of another one (AEVB).
ALSO = {("WS", 1000): (0.02, 0.1), ("AEVB", 50_000): (0.02,), ("WS", 50_000): (0.02, 0.1)}
PROBE_SAMPLES, PROBE_ITERATIONS, PROBE_IMAGES = 200_000, 60, 1000
IMPORTANCE_SAMPLES = 500


def panel(num_images):
    """The paper's name of a panel of Figure 3."""
    return f"MNIST Nz={LATENT_SIZE} H={HIDDEN} Ntrain={num_images}"


def fig3(options):
    """Figure 3: log p(x) under AEVB, wake-sleep and Monte Carlo EM, 1,000 and 50,000 images, over the paper's.

    log p(x) of MNIST's first 1,000 training and test images is measured along each curve by the paper's estimator and
    by quadrature, three seeds each, and at the end of the first seed in other ways too. Curves that the record in the
    output folder already has, at this length and seed, are not trained again.
    """
    mnist = full_mnist()
    scored = {"train": mnist.train[:SCORED], "test": mnist.test[:SCORED]}
    stored = curves.StoredRuns(options, lambda runs, rows: {"settings": settings()})
    for (method, num_images), (samples, _) in RUNS.items():
        samples = round(options.samples or samples)
        name, images = f"{method} {num_images}", mnist.train[:num_images]
        if stored.has(name, samples):
            continue
        chosen, probes = chosen_rate(method, images)
        found, lines = {"asked": samples, "learning_rate": chosen, "probes": probes, "other_rates": {}}, []
        for rate in dict.fromkeys((chosen, *ALSO.get((method, num_images), ()))):
            seeds = range(options.seed, options.seed + NUM_SEEDS)
            trained = [train_fig3_curve(method, images, samples, rate, seed, scored) for seed in seeds]
            measured = dict(zip(seeds, (curve for _, _, curve in trained), strict=True))
            beside = {"seconds": round(trained[0][1])} | beside_the_papers(measured, method, num_images, samples)
            lines += curve_rows(measured, method, num_images, rate if rate != chosen else None)
            if rate == chosen:
                vae, last = trained[0][0], max(measured[options.seed].measured("quadrature"))
                found |= {"samples": last, **beside, "estimates": estimates(vae, method, scored)}
            else:
                found["other_rates"][str(rate)] = beside
        stored.add(name, found, lines)
    use_style()
    drawn = plot_figure_3(read_curves(stored.csv), [panel(num_images) for num_images in (1000, 50_000)])
    save_figure(drawn, stored.csv.with_suffix(".png"))


def settings():
    """What all runs have in common, in words and numbers that JSON can hold."""
    return {
        "model": start(0).settings,
        "pixels": "GreyCrossEntropy",
        "std": STD,
        "waiting": f"{curves.WAITING} steps for AEVB and wake-sleep, none for Monte Carlo EM",
        "batch_size": curves.BATCH_SIZE,
        "scored_images": f"MNIST's first {SCORED:,} training and test images",
        "mcem_leapfrog_steps": NUM_LEAPFROG,
        "mcem_weight_updates": NUM_UPDATES,
        "mcem_samples": f"{NUM_LEAPFROG + NUM_UPDATES} N an iteration, as all points of the paper's curves lie",
        "estimate": "Appendix D by chains that start at the prior and are kept from report to report",
        "choice": "learning rate: the largest training bound (MCEM: log p(x, z)) in the first iterations of seed 0",
    }


def start(seed):
    """The model before its first step."""
    torch.manual_seed(seed)
    return paper_vae(LATENT_SIZE, HIDDEN, STD, GreyCrossEntropy())


def exact_points(method, num_images, samples):
    """Numbers of training images at which log p(x) is computed by quadrature: two a decade, where the paper's lie."""
    begins = min(paper_curves(FIGURE, panel(num_images))[f"{method} {part}"][0][0] for part in PARTS)
    return [point for point in curves.report_points(samples, first=10**5.5, per_decade=2).tolist() if point > begins]


# Training


def train_fig3_curve(method, images, samples, rate, seed, scored):
    """One curve: the model, the seconds of its training and its `Curve`.

    A longer training goes on from a shorter one of the same rate and seed.
    """
    label = f"fig3 {method} {len(images)} rate {rate:g}"
    unit = curves.BATCH_SIZE if method in curves.METHODS else len(images) * (NUM_LEAPFROG + NUM_UPDATES)
    exactly_at, spacing = exact_points(method, len(images), samples), RUNS[method, len(images)][1]
    curve = Curve(label, seed, scored, samples, unit, exactly_at, spacing)
    vae, others = start(seed), {"seed": seed, "report_at": curve.report_at}
    told = {"rate": rate}
    if method in curves.METHODS:
        others |= {"method": method, "told": told, "on_report": curve.add}
        return vae, curves.train_as_paper(label, vae, images, samples, rate, **others)[-1].seconds, curve
    others |= {"on_step": Resume(state_path(label, seed), told | {"images": len(images)})}
    others |= {"on_report": lambda vae, report, z: curve.add(vae, report), "progress": sys.stdout.isatty()}
    try:
        with fast_products():
            reports = _mcem(vae, images, max(1, round(samples / unit)), rate, **others)
    except KeyboardInterrupt:
        raise SystemExit(f"{label}: interrupted from the keyboard; the same command goes on from there") from None
    return vae, reports[-1].seconds, curve


def _mcem(vae, images, iterations, rate, **kwargs):
    papers = dict(optimiser=paper_adagrad(len(images)), num_leapfrog=NUM_LEAPFROG, num_updates=NUM_UPDATES)
    papers |= dict(step_size=FIRST_STEP, adapt=adapt_by_factor)
    reports, _ = monte_carlo_em(vae, images, iterations=iterations, learning_rate=rate, **papers, **kwargs)
    return reports


def chosen_rate(method, images):
    """The paper's choice by short runs of seed 0, kept beside the trainings: (rate, what was tried)."""
    path = state_path(f"fig3 {method} {len(images)} rates", 0).with_suffix(".json")
    if not path.is_file():
        choice = curves.choose_rate(partial(short_run_performance, method, images, 0))
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(choice), encoding="utf-8")
    return json.loads(path.read_text("utf-8"))


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


def beside_the_papers(measured, method, num_images, samples):
    """Ours by each measure beside the paper's curves, where both have a value: mean and scatter over the seeds.

    Args:
        measured: {seed: Curve}.
        method, num_images, samples: of the run.

    Returns:
        Dict from "against_paper_train", "estimate_against_paper_train", ... to a list of dicts: nats per image, the
        `scatter` the standard deviation of one seed.
    """
    found = {}
    for part, (measure, name) in product(PARTS, (("quadrature", ""), ("estimate", "estimate_"))):
        paper = paper_curves(FIGURE, panel(num_images))[f"{method} {part}"]
        theirs = interpolated(*paper, [*exact_points(method, num_images, samples), samples])
        ours = [curve.at(measure, part, list(theirs)) for curve in measured.values()]
        rows = found[f"{name}against_paper_{part}"] = []
        for point, nats in theirs.items():
            of_seeds = [values[point] for values in ours if point in values]
            if of_seeds:
                mean, scatter = np.mean(of_seeds), np.std(of_seeds, ddof=1) if len(of_seeds) > 1 else 0.0
                values = {"ours": mean, "scatter": scatter, "paper": nats, "difference": mean - nats}
                rows.append({"samples": round(point)} | {key: round(float(each), 2) for key, each in values.items()})
    return found


def curve_rows(measured, method, num_images, other_rate):
    """Lines of the CSV for the seeds of one curve: its figure says by what it is measured, and at which other rate."""
    at_rate = f", rate {other_rate}" * (other_rate is not None)
    return [
        (FIGURES[measure] + at_rate, panel(num_images), f"{method} {part}", samples, round(values[part], 3), seed)
        for measure, part in product(FIGURES, PARTS)
        for seed, curve in measured.items()
        for samples, values in curve.measured(measure).items()
    ]


def estimates(vae, method, scored):
    """The same quantity by several estimators, at the end: means with standard errors over images, nats.

    `difference` is to the quadrature, image by image. Monte Carlo EM has no encoder, hence no importance
    sampling and no ELBO.
    """
    found = {}
    for part, images in scored.items():
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
