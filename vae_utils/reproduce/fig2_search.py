"""The search for what Figure 2 leaves unsaid: every reading of it at 10^6 images, beside the paper's curves."""

from dataclasses import replace
from itertools import product

from vae_utils.reproduce import curves
from vae_utils.reproduce.common import Command, full_mnist
from vae_utils.reproduce.fig2_mnist import BEST, FIGURE, HELD_OUT, LATENTS, train_mnist_curve

SEARCH_SAMPLES, SEARCH_LATENTS = 1_000_000, 20
COMPARED_AT = (10**5.5, 10**5.75, 10**6)
USELESS = -206  # nats: a model of the mean image alone


def search_readings(near=BEST["AEVB", SEARCH_LATENTS]):
    """What is tried at 10^6 images: all of what is most in doubt, one change at a time, other seeds.

    Returns:
        List of (method, latent size, reading, what is added to the seed). The last shows what chance does: first
        weights and the order of the images.
    """
    rates = curves.LEARNING_RATES
    doubts = product(("GreyCrossEntropy", "Bernoulli"), (0.01, 0.1), (curves.WAITING, 0), rates)
    tried = [replace(near, **dict(zip(("pixels", "std", "waiting", "rate"), doubt))) for doubt in doubts]
    tried += [replace(near, prior=0.0), replace(near, prior=100.0), replace(near, images=60_000)]
    asleep = [(size, replace(near, rate=rate)) for size, rate in product((SEARCH_LATENTS, LATENTS[-1]), rates)]
    return [
        *(("AEVB", SEARCH_LATENTS, reading, 0) for reading in tried),
        *(("WS", size, reading, 0) for size, reading in asleep),
        *(("AEVB", SEARCH_LATENTS, near, other) for other in (1, 2)),
    ]


def fig2_search(options):
    """Which reading of what Figure 2 leaves unsaid lies on the paper's curve: 10^6 images each.

    The distance is the mean absolute difference of the two test curves at 10^5.5, 10^5.75 and 10^6 images. A reading
    whose bound after a tenth of the images is still below a model of the mean image is given up, and reported so.
    """
    samples = options.samples or SEARCH_SAMPLES
    stored = curves.StoredRuns(options)
    for method, latent_size, reading, other_seed in search_readings():
        seed = options.seed + other_seed
        name = f"{method}, {latent_size} latents, {reading}" + f", seed {seed}" * bool(other_seed)
        if stored.has(name, samples):
            continue
        mnist = full_mnist(hold_out=HELD_OUT if reading.images < 60_000 else 0)
        found, history = _try_reading(method, latent_size, reading, samples, seed, mnist)
        curves.forget("fig2-search probe", seed)
        curves.forget("fig2-search", seed)
        print(f"{name}: {found}", flush=True)
        found = {"asked": samples, "method": method, "latent_size": latent_size, "seed": seed, **vars(reading)} | found
        lines = curves.curve_rows(FIGURE, f"MNIST Nz={latent_size}", f"{name}: {method}", history, seed)
        stored.add(name, found, lines)


def _try_reading(method, latent_size, reading, samples, seed, mnist):
    """What became of one reading, and its history: of the probe, if it went no further."""
    test, history = full_mnist().test, []
    arguments = method, latent_size, reading
    try:
        _, history = train_mnist_curve("fig2-search probe", *arguments, samples // 10, seed, mnist, test)
        if history[-1].test_elbo < USELESS:
            reached = f"test bound {history[-1].test_elbo:.3g} after {history[-1].samples:,} images"
            return {"outcome": f"given up: {reached}"}, history
        _, history = train_mnist_curve("fig2-search", *arguments, samples, seed, mnist, test)
    except FloatingPointError:
        return {"outcome": "diverged"}, history
    points = curves.compare_test(FIGURE, f"MNIST Nz={latent_size}", method, history, at=COMPARED_AT)
    return {"outcome": "trained", "distance": curves.mean_distance(points), "against_paper": points}, history


COMMAND = Command(fig2_search, stage=1, options=("samples", "seed"))
