"""Why wake-sleep's curve on Frey Face is flat: hidden layers of its decoder, learning rates, seeds."""

from itertools import product

from vae_utils.paper.ppca import pixel_gaussians
from vae_utils.reproduce import curves
from vae_utils.reproduce.common import Command
from vae_utils.reproduce.fig2_frey import FIGURE, frey_faces, train_frey_curve

LATENTS, LAYERS, RATES, SEEDS = (10, 20), (1, 2), (0.01, 0.02), 3
SAMPLES = round(10**6.5)
ESCAPED = 30  # nats above one Gaussian for each pixel: the paper's curves stay within 1 nat of their level
COMPARED_AT = (10**5.75, 10**6, 10**6.5)


def fig2_frey_sleep(options):
    """Which of two causes keeps wake-sleep flat on Frey Face: a second hidden layer in its decoder, or its rate.

    One or two hidden layers, learning rates 0.01 and 0.02, minibatches of 500, three seeds, with 10 and 20 latents. A
    run ends once its test bound is 30 nats above one Gaussian for each pixel: then it has left the paper's level.
    """
    faces, samples = frey_faces(), options.samples or SAMPLES
    level = pixel_gaussians(faces.train).log_prob(faces.test.double()).mean().item()
    stored = curves.StoredRuns(options, lambda runs, rows: {"pixel_gaussians": round(level, 2)})
    for other, latent_size, layers, rate in product(range(SEEDS), options.latents or LATENTS, LAYERS, RATES):
        seed = options.seed + other
        name = f"{latent_size} latents, {layers} in the decoder, rate {rate}, seed {seed}"
        if stored.has(name, samples):
            continue
        label = f"fig2-frey-sleep {name.replace(',', '')}"
        watch = curves.StopWhen(label, seed, lambda report: report.test_elbo > level + ESCAPED)
        try:
            settings = dict(decoder_layers=layers, on_report=watch)
            train_frey_curve(label, "WS", latent_size, rate, samples, seed, faces, **settings)
            outcome = "flat to the end"
        except curves.Reached:
            outcome = f"left the plateau by {watch.reports[-1].samples:,} images"
        except FloatingPointError as error:
            outcome = f"diverged: {error}"
        found = {"asked": samples, "latent_size": latent_size, "decoder_layers": layers, "rate": rate, "seed": seed}
        found |= {"outcome": outcome, **about(watch.reports, latent_size)}
        print(f"{name}: {found}", flush=True)
        stored.add(name, found, curves.curve_rows(FIGURE, f"Frey Nz={latent_size}", f"{name}: WS", watch.reports, seed))
        curves.forget(label, seed)


def about(reports, latent_size):
    """What the record says of one run: its end, its largest KL divergence on the way, the paper's curve beside it."""
    if not reports:
        return {}
    columns = [[getattr(report, name) for report in reports] for name in ("samples", "test_elbo")]
    return {
        "samples": reports[-1].samples,
        "seconds": round(reports[-1].seconds),
        "test": round(reports[-1].test_elbo, 2),
        "rate_of_test": round(reports[-1].test_rate, 4),
        "largest_rate_of_test": round(max(report.test_rate for report in reports), 4),
        "against_paper": curves.compare(FIGURE, f"Frey Nz={latent_size}", "WS test", *columns, at=COMPARED_AT),
    }


COMMAND = Command(fig2_frey_sleep, stage=1, options=("samples", "latents", "seed"))
