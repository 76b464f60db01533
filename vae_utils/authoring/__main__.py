"""The command line: `python -m vae_utils.authoring [KIND] [LESSON ...]`."""

import argparse
import re
from pathlib import Path

import nbformat

from vae_utils.authoring.copies import learner_copy, solutions_copy
from vae_utils.authoring.exporter import LessonExporter
from vae_utils.authoring.slides import SlideDeck
from vae_utils.files import write_atomically

PROJECT = Path(__file__).resolve().parents[2]
LESSONS = PROJECT / "notebooks"


def make_learner(nb, name, live):
    return nbformat.writes(learner_copy(nb)) + "\n"


def make_solutions(nb, name, live):
    return make_page(solutions_copy(nb), f"{name}: solutions", live=False)


def make_slides(nb, name, live):
    return SlideDeck().from_notebook_node(nb, {"metadata": {"name": name}})[0]


def make_page(nb, name, live):
    page = LessonExporter(live=live).from_notebook_node(nb, {"metadata": {"name": name, "path": str(LESSONS)}})[0]
    return re.sub(r'(<a href="\d\d_\w+)\.ipynb', r"\1.html", page)  # to the page beside this one


# kind: what makes it and how its file's name ends
KINDS = {
    "learner": (make_learner, ".ipynb"),
    "solutions": (make_solutions, ".html"),
    "slides": (make_slides, ".html"),
    "pages": (make_page, ".html"),
}


def make(kind, path, folder, live=False):
    """Make one hand-out of one lesson.

    Args:
        kind: one of `KINDS`.
        path: of the lesson's notebook.
        folder: where it goes: to `folder/kind/NAME`.
        live: whether the widgets of a page work; the lesson is run for that.

    Returns:
        Path of the file.

    Raises:
        OSError: if the folder cannot be written.
        ModuleNotFoundError: if a deck is wanted and reveal.js is not installed.
    """
    maker, ending = KINDS[kind]
    made = maker(nbformat.read(path, as_version=4), path.stem, live)
    target = folder / kind / f"{path.stem}{ending}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(target) as temporary:
        temporary.write_text(made, "utf-8")
    return target


def lessons(names):
    """Paths of the lessons that these names mean, such as 4, 04 or 04_latent_manifold; all of them if none.

    Raises:
        ValueError: if there is no such lesson.
    """
    paths = sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))
    known = {path.stem: path for path in paths} | {path.stem[:2]: path for path in paths}
    for name in names:
        if Path(name).stem.zfill(2) not in known:
            raise ValueError(
                f"a lesson was expected, one of {', '.join(path.stem for path in paths)}, or its number; got {name!r}"
            )
    return [known[Path(name).stem.zfill(2)] for name in names] or paths


def main(arguments=None):
    """Make hand-outs; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m vae_utils.authoring", description="Make hand-outs from the lessons."
    )
    parser.add_argument(
        "kind",
        nargs="?",
        default="all",
        choices=[*KINDS, "all"],
        help="learner: notebooks without outputs and solutions; solutions: the exercises with "
        "their answers; slides: a deck to show; pages: lessons to read (default: all)",
    )
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="such as 4 or 04_latent_manifold (default: all)")
    parser.add_argument("--out", type=Path, default=PROJECT / "handouts", help="folder (default: handouts/)")
    parser.add_argument(
        "--live", action="store_true", help="pages whose widgets work; each lesson is run for that, a minute or two"
    )
    options = parser.parse_args(arguments)
    try:
        paths = lessons(options.lessons)
        for kind in KINDS if options.kind == "all" else [options.kind]:
            for path in paths:
                print(make(kind, path, options.out, options.live), flush=True)
    except (ValueError, ModuleNotFoundError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
