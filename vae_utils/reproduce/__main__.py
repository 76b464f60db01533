"""The command line: `python -m vae_utils.reproduce NAME`."""

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path

from vae_utils.files import ASSETS
from vae_utils.reproduce import (
    classifier,
    fig2_frey,
    fig2_frey_search,
    fig2_mnist,
    fig2_search,
    fig3,
    fig4,
    fig5,
    full_vb,
    holes,
    likelihood,
    likelihoods,
    pictures,
    rate_distortion,
    replay,
    select,
    speed,
    stored_models,
    table,
)


def run_all(options):
    """Every command that makes something stored, one after the other, for hours."""
    for name in COMMANDS:
        if name != "all" and not name.startswith("select-"):
            print(f"--- {name}", flush=True)
            options.start = time.perf_counter()
            COMMANDS[name](options)


COMMANDS = {f"select-{name}": partial(select.select, name) for name in select.CANDIDATES}
COMMANDS |= {name: partial(stored_models.train, name) for name in stored_models.RECIPES}
COMMANDS |= {"rate-distortion": rate_distortion.rate_distortion, "likelihoods": likelihoods.likelihoods}
COMMANDS |= {"classifier": classifier.classifier, "holes": holes.holes}
COMMANDS |= {"pictures": pictures.pictures, "speed": speed.speed, "replay": replay.replay}
COMMANDS |= {f"likelihood-{name}": partial(likelihood.likelihood, name) for name in likelihood.EVERY}
COMMANDS |= {
    "fig2-search": fig2_search.fig2_search,
    "fig2-mnist": fig2_mnist.fig2_mnist,
    "fig2-frey-search": fig2_frey_search.frey_search,
    "fig2-frey": fig2_frey.fig2_frey,
    "fig3": fig3.fig3,
    "fig4": fig4.fig4,
    "fig5": fig5.fig5,
    "full-vb": full_vb.full_vb,
}
COMMANDS |= {"table": table.table, "all": run_all}

ONLY_WITH = {  # option: the commands that know it, beside `all`
    "held_out": ("speed",),
    "samples": ("fig2-search", "fig2-mnist", "fig2-frey-search", "fig2-frey", "fig3", "fig4", "fig5", "full-vb"),
    "latents": ("fig2-mnist", "fig2-frey", "fig5"),
}
IN_THE_PAPER = {
    "fig2-mnist": "up to 4e8 images a curve; 20 to 40 minutes for each 1e6 on a Xeon of 40 GFLOPS",
    "fig2-frey": "up to 5e8 images a curve",
    "fig3": "N = 1,000 and 50,000; up to 6e7 to 1e8 images a curve; log p(x) by HMC and a density estimate",
    "fig4": "20 x 20 digits and 10 x 10 faces",
    "fig5": "2, 5, 10 and 20 latents",
    "full-vb": "equations and an algorithm, no experiment (Appendix F)",
}


def main(arguments=None):
    """Run one command; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m vae_utils.reproduce",
        description="Make again what stands in assets/.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["names:", *(_help(name) for name in COMMANDS)]),
    )
    parser.add_argument("name", choices=COMMANDS, metavar="NAME", help="one of the names below")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=_epochs, help="train shorter or longer than the recipe says")
    parser.add_argument(
        "--samples", type=_samples, help="training images evaluated by each curve of a figure, e.g. 1e6"
    )
    parser.add_argument("--latents", type=_latents, nargs="+", help="latent sizes of a figure, e.g. 3 5")
    parser.add_argument(
        "--held-out", action="store_true", help="speed only: measure on held-out training images instead of test images"
    )
    parser.add_argument("--out", type=_folder, default=ASSETS, help="folder to write to (default: assets/)")
    options = parser.parse_args(arguments)
    for option, names in ONLY_WITH.items():
        if getattr(options, option) and options.name not in (*names, "all"):
            parser.error(
                f"--{option.replace('_', '-')} was expected with {' or '.join(names)} only, got it "
                f"with {options.name}; leave it out"
            )
    options.start = time.perf_counter()
    COMMANDS[options.name](options)


def _help(name):
    """What a command makes, what the paper used, and how long the stored result took."""
    function = getattr(COMMANDS[name], "func", COMMANDS[name])
    lines = [f"  {name:16s} {(function.__doc__ or '').partition(chr(10))[0]}"]
    if name in IN_THE_PAPER:
        lines.append(f"{'':19s}in the paper: {IN_THE_PAPER[name]}")
    record = ASSETS / f"{name}.json"
    if record.is_file():
        record = json.loads(record.read_text("utf-8"))
        lines.append(
            f"{'':19s}stored: {_duration(record)} on {record['threads']} thread"
            f"{'s' * (record['threads'] > 1)} of {record['processor']}, {record['date']}"
        )
    return "\n".join(lines)


def _duration(record):
    """Of all runs of a figure, where a call may have found some of them made already; else of the call."""
    runs = record["results"].get("runs") if isinstance(record["results"], dict) else None
    runs = runs.values() if isinstance(runs, dict) else ()
    seconds = max(record["seconds"], sum(run.get("seconds", 0) for run in runs))
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _epochs(text):
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of epochs above 0 was expected, got {text}")
    return number


def _samples(text):
    """1e6 and 1000000 are the same number."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 100 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of training images of 100 or more was expected, got {text}")
    return round(number)


def _latents(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number of latent dimensions of 1 or more was expected, got {text}")
    return int(text)


def _folder(text):
    """Refused before an hour of training, not after it."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"a folder that exists or can be made was expected, got {text} ({error.strerror}); choose another"
        ) from error
    if not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"a folder that you may write to was expected, got {text}; choose another")
    return path


if __name__ == "__main__":
    main()
