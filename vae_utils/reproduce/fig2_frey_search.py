"""The search for what Figure 2 leaves unsaid of Frey Face: readings of AEVB, beside the paper's curves."""

from vae_utils.reproduce import curves
from vae_utils.reproduce.common import Command
from vae_utils.reproduce.fig2_frey import BATCH_SIZE, FIGURE, FLOOR, STD, frey_faces, smallest_sigma, train_frey_curve

SEARCH_SAMPLES, SEARCH_LATENTS = round(10**6.5), 10
COMPARED_AT = (10**5.75, 10**6, 10**6.25, 10**6.5)


def tries():
    """What is tried: method, settings of `train_frey_curve` and `curves.train_as_paper`. One change at a time."""
    base = {"rate": 0.01, "std": STD, "floor": FLOOR, "waiting": curves.WAITING, "batch_size": BATCH_SIZE}
    changes = [{}, {"rate": 0.02}, {"rate": 0.1}, {"std": 0.1}, {"waiting": 0}, {"floor": 0.0}, {"decoder_layers": 2}]
    return [("AEVB", base | change) for change in [*changes, {"batch_size": curves.BATCH_SIZE}]]


def fig2_frey_search(options):
    """Which reading of what Figure 2 leaves unsaid lies on the paper's Frey Face curve: AEVB, 10 latents.

    10^6.5 images each. The minibatch of the paper's text (100) is among them. For wake-sleep see `fig2-frey-sleep`.
    """
    faces, samples = frey_faces(), options.samples or SEARCH_SAMPLES
    stored = curves.StoredRuns(options)
    panel = f"Frey Nz={SEARCH_LATENTS}"
    for method, settings in tries():
        name = f"{method}, " + ", ".join(f"{key} {value:.4g}" for key, value in settings.items())
        if stored.has(name, samples, batch_size=settings["batch_size"]):
            continue
        label = f"fig2-frey-search {name.replace(',', '')}"
        found = {"asked": samples, "method": method, "latent_size": SEARCH_LATENTS, **settings}
        lines = []
        try:
            arguments = dict(samples=samples, seed=options.seed, faces=faces, **settings)
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
