"""The search for what Figure 2 leaves unsaid of Frey Face: readings at 10^6 images, beside the paper's curves."""

from itertools import product

from vae_utils.reproduce import curves
from vae_utils.reproduce.common import Command
from vae_utils.reproduce.fig2_frey import BATCH_SIZE, FIGURE, FLOOR, STD, frey_faces, smallest_sigma, train_frey_curve

SEARCH_SAMPLES, SEARCH_LATENTS = 1_000_000, 10
COMPARED_AT = (10**5.75, 10**6)


def tries():
    """What is tried at 10^6 images: method, settings of `train_frey_curve` and `curves.train_as_paper`.

    Minibatches are of 100, as the paper's text says, where they are not of 500 (`fig2_frey.BATCH_SIZE`).
    """
    base = {"rate": 0.01, "std": STD, "floor": FLOOR, "waiting": curves.WAITING}
    changes = [{}, {"rate": 0.02}, {"rate": 0.1}, {"std": 0.1}, {"waiting": 0}, {"floor": 0.0}]
    asleep = [("WS", base | {"rate": rate}) for rate in curves.LEARNING_RATES]
    larger = product(curves.METHODS, ({"rate": rate, "batch_size": BATCH_SIZE} for rate in curves.LEARNING_RATES[:2]))
    return [
        *(("AEVB", base | change) for change in changes),
        *asleep,
        *((method, base | change) for method, change in larger),
    ]


def fig2_frey_search(options):
    """Which reading of what Figure 2 leaves unsaid lies on the paper's Frey Face curves: 10^6 images each."""
    faces, samples = frey_faces(), options.samples or SEARCH_SAMPLES
    stored = curves.StoredRuns(options)
    panel = f"Frey Nz={SEARCH_LATENTS}"
    for method, settings in tries():
        name = f"{method}, " + ", ".join(f"{key} {value:.4g}" for key, value in settings.items())
        if stored.has(name, samples):
            continue
        label = f"fig2-frey-search {name.replace(',', '')}"
        found = {"asked": samples, "method": method, "latent_size": SEARCH_LATENTS, **settings}
        lines = []
        try:
            arguments = dict(samples=samples, seed=options.seed, faces=faces, batch_size=curves.BATCH_SIZE) | settings
            vae, history = train_frey_curve(label, method, SEARCH_LATENTS, **arguments)
            points = curves.compare_test(FIGURE, panel, method, history, at=COMPARED_AT)
            found |= {
                "train_bounds": {report.samples: round(report.train_elbo, 1) for report in history},
                "against_paper": points,
                "distance": curves.mean_distance(points),
                "rate_of_test": round(history[-1].test_rate, 3),
                "smallest_sigma": smallest_sigma(vae, faces.test),
            }
            lines = curves.curve_rows(FIGURE, panel, f"{name}: {method}", history, options.seed)
        except FloatingPointError as error:
            found["outcome"] = f"diverged: {error}"
        print(f"{name}: {found}", flush=True)
        stored.add(name, found, lines)
        curves.forget(label, options.seed)


COMMAND = Command(fig2_frey_search, stage=1, options=("samples", "seed"))
