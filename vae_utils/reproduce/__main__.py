"""The command line: `python -m vae_utils.reproduce NAME`."""

import argparse
import time
from functools import partial
from pathlib import Path

from vae_utils.checkpoints import ASSETS
from vae_utils.reproduce import holes, paper, pictures, speed, stored, table, trade

COMMANDS = {f"select-{name}": partial(stored.select, name) for name in stored.CANDIDATES}
COMMANDS |= {name: partial(stored.train, name) for name in stored.RECIPES}
COMMANDS["paper"] = paper.figure_2
COMMANDS |= {"rate-distortion": trade.rate_distortion, "likelihoods": trade.likelihoods}
COMMANDS |= {"classifier": holes.classifier, "holes": holes.holes}
COMMANDS |= {"pictures": pictures.pictures, "speed": speed.speed, "table": table.table}
COMMANDS |= {f"likelihood-{name}": partial(table.likelihood, name) for name in table.EVERY}


def main(arguments=None):
    """Run one command; see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m vae_utils.reproduce",
                                     description="Make again what stands in assets/.")
    parser.add_argument("name", choices=COMMANDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=float, help="train shorter or longer than the recipe says")
    parser.add_argument("--held-out", action="store_true",
                        help="measure on held-out training images instead of test images")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder to write to (default: assets/)")
    options = parser.parse_args(arguments)
    options.start = time.perf_counter()
    COMMANDS[options.name](options)


if __name__ == "__main__":
    main()
