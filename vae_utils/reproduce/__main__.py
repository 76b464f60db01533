"""The command line: `python -m vae_utils.reproduce NAME`."""

import argparse
import os
import time
from functools import partial
from pathlib import Path

from vae_utils.checkpoints import ASSETS
from vae_utils.reproduce import fig2, holes, paper, pictures, replay, speed, stored, table, trade

COMMANDS = {f"select-{name}": partial(stored.select, name) for name in stored.CANDIDATES}
COMMANDS |= {name: partial(stored.train, name) for name in stored.RECIPES}
COMMANDS["paper"] = paper.figure_2
COMMANDS |= {"fig2-search": fig2.fig2_search, "fig2-mnist": fig2.fig2_mnist}
COMMANDS |= {"rate-distortion": trade.rate_distortion, "likelihoods": trade.likelihoods}
COMMANDS |= {"classifier": holes.classifier, "holes": holes.holes}
COMMANDS |= {"pictures": pictures.pictures, "speed": speed.speed, "table": table.table,
             "replay": replay.replay}
COMMANDS |= {f"likelihood-{name}": partial(table.likelihood, name) for name in table.EVERY}
ONLY_WITH = {                # option: the commands that know it
    "held_out": ("speed",), "samples": ("fig2-search", "fig2-mnist"), "latents": ("fig2-mnist",),
}


def main(arguments=None):
    """Run one command; see `--help`."""
    first_lines = {name: (getattr(command, "func", command).__doc__ or "").partition("\n")[0]
                   for name, command in COMMANDS.items()}
    parser = argparse.ArgumentParser(
        prog="python -m vae_utils.reproduce", description="Make again what stands in assets/.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["names:"] + [f"  {name:16s} {line}" for name, line in first_lines.items()]))
    parser.add_argument("name", choices=COMMANDS, metavar="NAME", help="one of the names below")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=_epochs, help="train shorter or longer than the recipe says")
    parser.add_argument("--samples", type=_samples,
                        help="training images evaluated by each curve of a figure, e.g. 1e6")
    parser.add_argument("--latents", type=_latents, nargs="+", help="latent sizes of a figure, e.g. 3 5")
    parser.add_argument("--held-out", action="store_true",
                        help="speed only: measure on held-out training images instead of test images")
    parser.add_argument("--out", type=_folder, default=ASSETS, help="folder to write to (default: assets/)")
    options = parser.parse_args(arguments)
    for option, names in ONLY_WITH.items():
        if getattr(options, option) and options.name not in names:
            parser.error(f"--{option.replace('_', '-')} was expected with {' or '.join(names)} only, got it "
                         f"with {options.name}; leave it out")
    options.start = time.perf_counter()
    COMMANDS[options.name](options)


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
        raise argparse.ArgumentTypeError(f"a folder that exists or can be made was expected, got {text} "
                                         f"({error.strerror}); choose another") from error
    if not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"a folder that you may write to was expected, got {text}; "
                                         "choose another")
    return path


if __name__ == "__main__":
    main()
