"""The command line: `python -m vae_utils.authoring [COMMAND ...]`."""

import argparse
import re
import sys
import time
from pathlib import Path

import nbformat
from nbconvert.utils.exceptions import ConversionException

from vae_utils.authoring.copies import learner_copy, new_lesson, solutions_copy
from vae_utils.authoring.execution import execute
from vae_utils.authoring.exporter import LessonExporter
from vae_utils.authoring.lesson import LESSONS, lessons, minutes, paths, read
from vae_utils.authoring.slides import SlideDeck
from vae_utils.files import write_atomically
from vae_utils.support.arguments import refusal


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
KINDS = {"learner": (make_learner, ".ipynb"), "solutions": (make_solutions, ".html")}
KINDS |= {"slides": (make_slides, ".html"), "pages": (make_page, ".html")}


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
    made = maker(read(path), path.stem, live)
    target = folder / kind / f"{path.stem}{ending}"
    with write_atomically(target) as temporary:
        temporary.write_text(made, "utf-8")
    return target


def begin(name, question):
    """Write a new lesson, a copy of the template.

    Args:
        name: of the file, without its ending: the next number and a few words, such as 08_your_images.
        question: its title.

    Returns:
        Path of the notebook.

    Raises:
        ValueError: if the name has another form or number, or the title asks nothing.
    """
    number = len(paths()) + 1
    if not re.fullmatch(rf"{number:02d}(_[a-z0-9]+)+", name):
        form = f"that is the next number and small letters, such as {number:02d}_your_images"
        raise ValueError(refusal("a name", form, repr(name)))
    if not question.endswith("?"):
        raise ValueError(refusal("a title", "that is a question", repr(question), "end it with a question mark"))
    path = LESSONS / f"{name}.ipynb"
    with write_atomically(path) as temporary:
        nbformat.write(new_lesson(number, question), temporary)
    return path


# --- commands: each yields the lines that it prints


def _make(options):
    for kind in KINDS if options.kind == "all" else [options.kind]:
        for path in lessons(options.lessons):
            yield make(kind, path, options.out, options.live)


def _site(options):
    from vae_utils.authoring.site.build import build_site  # not above: it loads PyTorch, and other commands do not

    yield from build_site(options.out, options.address, options.repository, live=not options.stills)


def _execute(options):
    for path in options.notebooks or paths():
        if not path.is_file():
            raise ValueError(refusal("a notebook", "to run", f"{path}, which is no file"))
        start = time.perf_counter()
        execute(path)
        seconds, size, pace = time.perf_counter() - start, path.stat().st_size / 1000, minutes(read(path))
        yield f"{path}: {seconds:.0f} s, {size:.0f} kB, {pace:.1f} minutes to read"


def _new(options):
    path = begin(options.name, options.question)
    yield f"{path}: its rules are in {LESSONS / 'CONTRIBUTING.md'}"


HAND_OUTS = {
    "all": "the four kinds of hand-outs below (what no command means as well)",
    "learner": "notebooks without outputs and solutions",
    "solutions": "the exercises with their answers, as web pages",
    "slides": "decks to show",
    "pages": "lessons to read, as web pages",
}


def _parser():
    what = "Write lessons, and make hand-outs from them."
    parser = argparse.ArgumentParser(prog="python -m vae_utils.authoring", description=what)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for kind, text in HAND_OUTS.items():
        command = commands.add_parser(kind, help=text, description=f"Make {text}.")
        command.set_defaults(run=_make, kind=kind)
        command.add_argument("lessons", nargs="*", metavar="LESSON", help="such as 4 or 04_latent_manifold (all)")
        command.add_argument("--out", type=Path, default=LESSONS.parent / "handouts", help="folder (handouts/)")
        live = "pages whose widgets work; each lesson is run for that, a minute or two"
        command.add_argument("--live", action="store_true", help=live)
    what = "the website: all lessons as live pages, with a front page and a search"
    about = f"Make {what}. Any host serves it, and it opens from a disk."
    command = commands.add_parser("site", help=what, description=about)
    command.set_defaults(run=_site)
    folder = LESSONS.parent / "handouts" / "site"
    command.add_argument("--out", type=Path, default=folder, help="folder (handouts/site/)")
    address = "where it will be (https://…): links to it show a picture then"
    command.add_argument("--address", default="", help=address)
    repository = (
        "where the project is (https://…): links to its files lead there, and from GitHub lessons open in the cloud"
    )
    command.add_argument("--repository", default="", help=repository)
    stills = "widgets as pictures: no lesson is run for that, so the site is there in a minute"
    command.add_argument("--stills", action="store_true", help=stills)
    command = commands.add_parser("execute", help="run notebooks and store their outputs")
    command.set_defaults(run=_execute)
    command.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="a path (all lessons)")
    command = commands.add_parser("new", help="begin a lesson from the template")
    command.set_defaults(run=_new)
    command.add_argument("name", metavar="NAME", help="the next number and a few words, such as 08_your_images")
    command.add_argument("question", metavar="QUESTION", help="the title, in quotes")
    return parser


def main(arguments=None):
    """Run one command; see `--help`."""
    options = _parser().parse_args((sys.argv[1:] if arguments is None else arguments) or ["all"])
    try:
        for line in options.run(options):
            print(line, flush=True)
    except (ValueError, ModuleNotFoundError, OSError, ConversionException) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
