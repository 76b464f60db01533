"""Appendix F, which the paper left without an experiment: full variational Bayes on few images, and rivals.

Four ways to learn the decoder's weights from N images, with one network and one number of updates:

    ML            the ELBO alone
    MAP           the ELBO and the log-prior of the weights: what the paper calls an approximate MAP
    VB            the full bound, q(theta) a diagonal Gaussian (Algorithm 2)
    VB, evidence  the same; its settings are chosen by the full bound itself, which needs no held-out images

The other settings are chosen on held-out training images; test images are looked at once a run has ended,
and decide nothing. The two ways to choose VB's settings differ much: a run that starts from a small sigma and
stops before its widths have grown is MAP in all but name, and its bound on log p(X) is worthless.
"""

import copy
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from statistics import mean, stdev

import matplotlib.pyplot as plt
import torch

from vae_utils.data import DATA
from vae_utils.evaluation import evaluate
from vae_utils.figures import COLOURS, use_style
from vae_utils.files import save_tensors, write_atomically
from vae_utils.models import mlp_vae, start_at_mean
from vae_utils.objectives import elbo
from vae_utils.paper import bayes
from vae_utils.paper.importance import log_likelihood
from vae_utils.reproduce.common import HELD_OUT, Command, full_mnist, record, save_figure
from vae_utils.reproduce.curves import write_curves
from vae_utils.reproduce.provenance import versions
from vae_utils.training import fit

SIZES = (100, 300, 1000, 3000)  # N
SAMPLES = 100_000  # training images evaluated by each run: 1,000 updates
BATCH_SIZE, NUM_REPORTS, NUM_SEEDS = 100, 8, 3
LATENT_SIZE, HIDDEN = 10, 100
NUM_WATCHED = 1000  # of the held-out training images: they choose
BIAS_STD = 3.0  # of the prior of biases: a blank pixel's is near -5
RATES = (2e-3, 5e-3)  # Adam's, compared for each method at each N
EVERY_ELBO, EVERY_TIGHT = 5, 40  # test images scored by the ELBO, and by importance sampling
NUM_WEIGHTS_ELBO = 5  # draws of theta for the ELBO (ML and MAP have one theta)
NUM_WEIGHTS, NUM_DRAWS = 50, 5  # of theta, and of z for each, for importance sampling
STORED, STORED_SIZES = "VB, evidence", (300, 3000)  # the method and the N that the lesson shows
CURVES = ("samples", "held_out", "train")
PROTOCOL = {
    "predictive_elbo": f"E over q(theta) of the ELBO ({NUM_WEIGHTS_ELBO} draws; ML and MAP: one theta), every "
    f"{EVERY_ELBO}th test image, pixels binarised by one fixed draw, 1 draw of z; nats per image",
    "predictive_log_likelihood": f"log of the mean importance weight over {NUM_WEIGHTS} draws of theta with {NUM_DRAWS}"
    f" of z each (ML and MAP: {NUM_WEIGHTS * NUM_DRAWS} of z), every {EVERY_TIGHT}th test image; a lower bound too",
    "at_mean_weights": "the same with one theta, the mean of q(theta)",
    "final, best": "after the last update; at the best held-out ELBO among the reports of a run",
    "spread": "standard deviation over seeds: training images, first weights and all draws differ",
    "choice": f"first seed; on {NUM_WATCHED:,} held-out training images, best value on the way; of VB, evidence: the "
    "full bound at the end",
    "bound": f"training ELBO over the last 1/{NUM_REPORTS} of the updates, minus KL(q(theta) || p(theta)) / N; nats "
    "per image",
}


@dataclass(frozen=True)
class Setting:
    """How one run learns.

    Attributes:
        method: name in `METHODS`.
        prior_std: of the weights' prior; MAP and VB.
        initial_std: of q(theta) at the start; VB.
        rate: Adam's, at the schedule's peak.
    """

    method: str
    prior_std: float = 1.0
    initial_std: float = 0.0
    rate: float = RATES[0]


def _ml(vae, setting, num_images):
    return vae, elbo


def _map(vae, setting, num_images):
    prior = bayes.weight_prior(vae.decoder, setting.prior_std, BIAS_STD)
    return vae, partial(bayes.map_bound, num_images=num_images, prior=prior)


def _vb(vae, setting, num_images):
    prior = bayes.weight_prior(vae.decoder, setting.prior_std, BIAS_STD)
    return bayes.BayesianVAE(vae, prior, setting.initial_std), partial(bayes.full_bound, num_images=num_images)


@dataclass(frozen=True)
class Method:
    """What it is called, how a run is built, the settings that are compared, and by which number of a row."""

    label: str
    build: Callable
    candidates: list
    score: str = "held_out_best"


WIDTHS = ((1.0, 0.007), (0.3, 0.007), (0.3, 0.05))  # `prior_std`, `initial_std`
OF_VB = [Setting("VB", *widths, rate) for widths in WIDTHS for rate in RATES]
OF_EVIDENCE = [Setting("VB, evidence", std, 0.05, rate) for std, rate in ((0.3, 5e-3), (0.3, 1e-2), (0.1, 1e-2))]
METHODS = {
    "ML": Method("maximum likelihood", _ml, [Setting("ML", rate=rate) for rate in RATES]),
    "MAP": Method("approximate MAP", _map, [Setting("MAP", std, rate=rate) for std in (1.0, 0.3) for rate in RATES]),
    "VB": Method("full variational Bayes", _vb, OF_VB),
    "VB, evidence": Method("full VB, chosen by its own bound", _vb, OF_EVIDENCE, score="bound"),
}


def full_vb(options):
    """Appendix F: full variational Bayes, MAP and ML on 100 to 3,000 images; test predictive bounds.

    For each N and method the settings are compared with one seed; the best is repeated with further seeds (other
    training images, first weights and draws). Runs that an interrupted call has finished are taken from `data/`.
    """
    runs = _Runs(options)
    chosen = {}
    for size in SIZES:
        for name, method in METHODS.items():
            best = max(method.candidates, key=lambda s: runs.get(size, s, options.seed)[method.score])
            chosen[size, name] = [runs.get(size, best, options.seed + i) for i in range(NUM_SEEDS)]
            if name == STORED and size in STORED_SIZES:
                runs.publish(size, best)
    rows = [
        ("AppF", f"N={size}", f"{name} {part}", samples, nats, row["seed"])
        for (size, name), repeats in chosen.items()
        for row in repeats
        for part in ("train", "held_out")
        for samples, nats in zip(row["samples"], row[part], strict=True)
    ]
    write_curves(options.out / "full-vb.csv", rows)
    results = {
        "protocol": PROTOCOL,
        "samples": runs.samples,
        "batch_size": BATCH_SIZE,
        "network": {"latent_size": LATENT_SIZE, "hidden": HIDDEN, "activation": "tanh"},
        "bias_std": BIAS_STD,
        "cpu_seconds_of_all_runs": round(sum(row["seconds"] for row in runs.rows.values())),
        "chosen": [_summary(size, name, repeats) for (size, name), repeats in chosen.items()],
        "differences": _differences(chosen),
        "runs": {name: {key: row[key] for key in row if key not in CURVES} for name, row in runs.rows.items()},
    }
    record(options, results, "full-vb.csv", *(f"full-vb-{size}.safetensors" for size in STORED_SIZES))
    draw_full_vb(results["chosen"], options.out / "full-vb.png")
    shutil.rmtree(runs.folder)  # all is written: the same command starts anew


class _Runs:
    """Runs by their settings, each done once and kept on disk until all are written."""

    def __init__(self, options):
        self.options, self.mnist, self.test = options, full_mnist(hold_out=HELD_OUT), full_mnist().test
        self.samples = options.samples or SAMPLES
        self.folder = DATA / "reproduce" / f"full-vb-seed-{options.seed}-samples-{self.samples}"
        self.path = self.folder / "runs.json"
        self.rows = json.loads(self.path.read_text("utf-8")) if self.path.is_file() else {}

    def get(self, size, setting, seed):
        name = f"N={size}, {setting}, seed {seed}"
        if name not in self.rows:
            row, vae = _run(self.mnist, self.test, size, setting, self.samples, seed)
            if setting.method == STORED and size in STORED_SIZES and seed == self.options.seed:
                _store(self._weights(size, setting), vae, size, setting, row, self.samples)
            self.rows[name] = row
            with write_atomically(self.path) as temporary:
                temporary.write_text(json.dumps(self.rows), encoding="utf-8")
            best = f"best {row['held_out_best']:.2f} at {row['best_at']:,} images"
            test = f"test {row['final']['predictive_elbo']:.2f}, {row['seconds']} s"
            so_far = f"{len(self.rows)} of about {self._expected()} runs"
            print(f"{name}: held-out {row['held_out_final']:.2f} ({best}), {test}; {so_far}", flush=True)
        return self.rows[name]

    def _expected(self):
        candidates = sum(len(method.candidates) for method in METHODS.values())
        return len(SIZES) * (candidates + len(METHODS) * (NUM_SEEDS - 1))

    def _weights(self, size, setting):
        return self.folder / f"{size}-{setting.prior_std}-{setting.initial_std}-{setting.rate}.safetensors"

    def publish(self, size, setting):
        """Copy the weights of the chosen VB run to where the lesson finds them."""
        with write_atomically(self.options.out / f"full-vb-{size}.safetensors") as temporary:
            temporary.write_bytes(self._weights(size, setting).read_bytes())


def _run(mnist, test, size, setting, samples, seed):
    """Train once: the last model, and what came of it at the end and at the best held-out bound."""
    start = time.process_time()
    order = torch.randperm(len(mnist.train), generator=torch.Generator().manual_seed(seed))
    images = mnist.train[order[:size]]  # of the same seed, smaller sets lie in larger ones
    torch.manual_seed(seed)
    vae = mlp_vae(LATENT_SIZE, (HIDDEN,), "tanh", layer_norm=False)
    start_at_mean(vae, images)
    vae, objective = METHODS[setting.method].build(vae, setting, size)
    best = {"elbo": -float("inf")}

    def keep(vae, report):
        if report.test_elbo > best["elbo"]:
            best.update(elbo=report.test_elbo, samples=report.samples, state=copy.deepcopy(vae.state_dict()))

    history = fit(
        vae,
        images,
        epochs=samples / size,
        batch_size=BATCH_SIZE,
        objective=objective,
        seed=seed,
        learning_rate=setting.rate,
        test=mnist.test[:NUM_WATCHED],
        on_report=keep,
        progress=False,
        report_at=[samples * i // NUM_REPORTS for i in range(1, NUM_REPORTS + 1)],
    )
    if history.stopped:
        raise SystemExit(f"{history.stopped}; the same command goes on with the runs that are not done")
    row = {
        "images": size,
        "seed": seed,
        **asdict(setting),
        "samples": history.column("samples"),
        "held_out": [round(value, 3) for value in history.column("test_elbo")],
        "train": [round(value, 3) for value in history.column("train_elbo")],
        "held_out_final": round(history[-1].test_elbo, 3),
        "held_out_best": round(best["elbo"], 3),
        "best_at": best["samples"],
        "final": _measure(vae, test, size),
    }
    row["bound"] = round(history[-1].train_elbo - row["final"].get("weights_kl_per_image", 0.0), 3)
    final = copy.deepcopy(vae)
    vae.load_state_dict(best["state"])
    row |= {"best": _measure(vae, test, size), "seconds": round(time.process_time() - start, 1)}
    return row, final


def _measure(vae, test, size):
    """Test bounds in nats per image: averages over q(theta) where there is one."""
    some, num_samples = test[::EVERY_ELBO], NUM_WEIGHTS * NUM_DRAWS
    if not isinstance(vae, bayes.BayesianVAE):
        tight = log_likelihood(vae, test, num_samples, every=EVERY_TIGHT)
        return _means({"predictive_elbo": evaluate(vae, some).elbo, "predictive_log_likelihood": tight.per_image})
    at_mean, kl = vae.at(vae.weights.mean), vae.weights_kl().item()
    tight = bayes.predictive_log_likelihood(vae, test, NUM_WEIGHTS, NUM_DRAWS, every=EVERY_TIGHT)
    bounds = {
        "predictive_elbo": bayes.predictive_elbo(vae, some, NUM_WEIGHTS_ELBO).elbo,
        "predictive_log_likelihood": tight.per_image,
        "elbo_at_mean_weights": evaluate(at_mean, some).elbo,
        "log_likelihood_at_mean_weights": log_likelihood(at_mean, test, num_samples, every=EVERY_TIGHT).per_image,
    }
    kls = {"weights_kl": round(kl, 1), "weights_kl_per_image": round(kl / size, 3)}
    near_prior = (vae.weights.stddev > 0.9 * vae.weights_prior.stddev).float()
    return _means(bounds) | kls | _means({"share_near_prior": near_prior})


def _means(found):
    return {name: round(values.mean().item(), 3) for name, values in found.items()}


def _store(path, vae, size, setting, row, samples):
    network = {"latent_size": LATENT_SIZE, "hidden": [HIDDEN], "activation": "tanh", "layer_norm": False}
    prior = {"std": setting.prior_std, "bias_std": BIAS_STD}
    about = {"network": network, "prior": prior, "num_images": size, "setting": asdict(setting), "seed": row["seed"]}
    about |= {"samples": samples, "results": row["final"], "versions": versions()}
    save_tensors(path, vae.state_dict(), about)


def _summary(size, name, repeats):
    """Means and spreads over seeds of one method at one N."""
    found = {"images": size, "method": name, "best_at": [row["best_at"] for row in repeats]}
    found |= {key: repeats[0][key] for key in ("prior_std", "initial_std", "rate")}
    found["bound"] = [row["bound"] for row in repeats]
    for moment in ("final", "best"):
        for measure in repeats[0][moment]:
            found[f"{moment} {measure}"] = _over_seeds([row[moment][measure] for row in repeats])
    return found


def _differences(chosen):
    """VB minus its rivals on the same training and test images, seed by seed: nats per image."""
    rows = []
    measures = ("predictive_elbo", "predictive_log_likelihood")
    for size, rival, moment, measure in product(SIZES, ("ML", "MAP", "VB, evidence"), ("final", "best"), measures):
        pairs = zip(chosen[size, "VB"], chosen[size, rival], strict=True)
        values = [round(ours[moment][measure] - theirs[moment][measure], 3) for ours, theirs in pairs]
        row = {"images": size, "rival": rival, "moment": moment, "measure": measure}
        rows.append(row | _over_seeds(values))
    return rows


def _over_seeds(values):
    return {"mean": round(mean(values), 3), "spread": round(stdev(values), 3), "values": values}


STYLES = {
    "ML": ("vermilion", "s", "-"),
    "MAP": ("green", "^", "--"),
    "VB": ("blue", "o", "-"),
    "VB, evidence": ("sky", "v", ":"),
}


def draw_full_vb(chosen, picture):
    """Test bounds against N, after the last update and stopped early; bars are the spread over seeds."""
    use_style()
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 5.2), sharey=True, layout="constrained")
    titles = {"final": "after the last update", "best": "stopped at the best held-out bound"}
    for ax, (moment, title) in zip(axes, titles.items()):
        for shift, (name, (colour, marker, style)) in enumerate(STYLES.items()):
            rows = [row for row in chosen if row["method"] == name]
            x = [row["images"] * 1.05 ** (shift - 1.5) for row in rows]  # side by side
            means, spreads = ([row[f"{moment} predictive_elbo"][part] for row in rows] for part in ("mean", "spread"))
            look = dict(color=COLOURS[colour], marker=marker, linestyle=style, capsize=4, label=METHODS[name].label)
            ax.errorbar(x, means, spreads, **look)
        ax.set(xscale="log", xlabel="training images N", title=title)
        ax.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
        ax.minorticks_off()
    axes[0].set_ylabel("test predictive ELBO (nats per image)")
    axes[1].legend(loc="lower right")
    save_figure(figure, picture)


COMMAND = Command(
    full_vb, stage=1, options=("samples", "seed"), in_the_paper="equations and an algorithm, no experiment (Appendix F)"
)
