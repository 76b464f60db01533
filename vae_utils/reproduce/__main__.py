"""The command line: `python -m vae_utils.reproduce NAME`."""

import argparse
import os
import pkgutil
import time
from importlib import import_module
from pathlib import Path

import vae_utils.reproduce as package
from vae_utils.files import ASSETS
from vae_utils.reproduce.provenance import read_record


def find_commands():
    """{name: `Command`} of every module of this package that holds one, in an order in which `all` works."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "__main__":
            command = getattr(import_module(f"{package.__name__}.{module.name}"), "COMMAND", None)
            names = (command.names or [module.name.replace("_", "-")]) if command else ()
            found |= dict.fromkeys(names, command)
    return dict(sorted(found.items(), key=lambda entry: entry[1].stage or 0))


def main(arguments=None):
    """Run one command; see `--help`."""
    commands = find_commands()
    every = "  all              Every command that makes something stored, one after the other, for hours."
    parser = argparse.ArgumentParser(
        prog="python -m vae_utils.reproduce",
        description="Make again what stands in assets/.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["names:", *(_help(name, command) for name, command in commands.items()), every]),
    )
    parser.add_argument("name", choices=[*commands, "all"], metavar="NAME", help="one of the names below")
    parser.add_argument("--seed", type=int, default=0)
    add = parser.add_argument
    add("--epochs", type=_number("epochs above 0", 0), help="train shorter or longer than the recipe says")
    samples = _number("training images of 100 or more", 99, lambda text: round(float(text)))
    add("--samples", type=samples, help="training images evaluated by each curve of a figure, e.g. 1e6")
    latents = _number("latent dimensions of 1 or more", 0, int)
    add("--latents", type=latents, nargs="+", help="latent sizes of a figure, e.g. 3 5")
    add("--held-out", action="store_true", help="measure on held-out training images instead of test images")
    add("--out", type=_folder, default=ASSETS, help="folder to write to (default: assets/)")
    options = parser.parse_args(arguments)
    given = [name for name in ("epochs", "samples", "latents", "held_out", "seed") if getattr(options, name)]
    for option in given:
        knowing = [name for name, command in commands.items() if option in command.options]
        if options.name not in (*knowing, "all"):
            parser.error(
                f"--{option.replace('_', '-')} was expected with {' or '.join(knowing)} only, got it "
                f"with {options.name}; leave it out"
            )
    stored = [name for name, command in commands.items() if command.stage is not None]
    chosen = stored if options.name == "all" else [options.name]
    for name in chosen:
        if chosen is stored:
            print(f"--- {name}", flush=True)
        own = {option: parser.get_default(option) for option in given if option not in commands[name].options}
        own |= {"name": name, "start": time.perf_counter()}
        commands[name].run(argparse.Namespace(**(vars(options) | own)))


def _help(name, command):
    """What a command makes, what the paper used, and how long the stored result took."""
    lines = [f"  {name:16s} {(command.run.__doc__ or '').partition(chr(10))[0]}"]
    if command.in_the_paper:
        lines.append(f"{'':19s}in the paper: {command.in_the_paper}")
    path = ASSETS / f"{name}.json"
    if path.is_file():
        try:
            record = read_record(path)
        except ValueError as damage:  # whoever reads this may be about to make it again
            return "\n".join([*lines, f"{'':19s}{damage}"])
        threads = f"{record['threads']} thread{'s' * (record['threads'] > 1)}"
        lines.append(f"{'':19s}stored: {_duration(record)} on {threads} of {record['processor']}, {record['date']}")
    return "\n".join(lines)


def _duration(record):
    """Of all runs of a figure, where a call may have found some of them made already; else of the call."""
    runs = record["results"].get("runs") if isinstance(record["results"], dict) else None
    runs = runs.values() if isinstance(runs, dict) else ()
    seconds = max(record["seconds"], sum(run.get("seconds", 0) for run in runs))
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _number(what, above, convert=float):
    """A type for argparse: a number above `above`; 1e6 and 1000000 are the same to `float`."""

    def read(text):
        try:
            number = convert(text)
        except (ValueError, OverflowError):
            number = above
        if not above < number < float("inf"):
            raise argparse.ArgumentTypeError(f"a number of {what} was expected, got {text}")
        return number

    return read


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
