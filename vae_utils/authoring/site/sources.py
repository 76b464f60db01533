"""What the site's pages are made of. Each text stands in one place of the project, and here is where."""

import re
from pathlib import Path

from vae_utils.authoring import lesson
from vae_utils.authoring.lesson import LESSONS
from vae_utils.files import ASSETS

README = LESSONS.parent / "README.md"
FIGURES = {  # under the scoreboard: file, what it shows
    "fig2-mnist.png": "Figure 2, MNIST: the test bound against the number of images seen, the paper's curves and ours",
    "fig2-frey.png": "Figure 2, Frey Face: the paper's curves and ours",
    "fig3.png": "Figure 3: the marginal likelihood, by AEVB, wake-sleep and Monte Carlo EM",
    "fig4-mnist.png": "Figure 4, MNIST: the plane that a model with two latents has learned",
    "fig4-frey.png": "Figure 4, Frey Face: the plane of faces",
    "fig5.png": "Figure 5: draws from models with 2, 5, 10 and 20 latents",
}


# file, source, label, description
DOCUMENTS = (
    (
        "teaching.html",
        LESSONS / "TEACHING.md",
        "Teach from it",
        "Plans for 50, 90 and 180 minutes, an exam, and a server for a class.",
    ),
    (
        "scoreboard.html",
        ASSETS / "scoreboard.md",
        "The paper, claim by claim",
        "Each claim and number of the paper beside ours, with the verdict, and the figures.",
    ),
    (
        "handbook.html",
        README,
        "Handbook",
        "How to install and run the course on each system, its results, and what is where.",
    ),
    (
        "contributing.html",
        LESSONS / "CONTRIBUTING.md",
        "Write a lesson",
        "The rules for a lesson, each with its reason.",
    ),
)


def documents():
    """Pages that are Markdown in the project: tuples of file, source, label, description and text."""
    made = []
    for file, path, label, description in DOCUMENTS:
        text = path.read_text("utf-8")
        if path.name == "scoreboard.md":  # a table and nothing else
            about = section(label, 1).replace("[assets/scoreboard.md](assets/scoreboard.md)", "This page")
            text = f"# {label}\n\n{about}\n\n{text}\n\n{_figures()}"
        made.append((file, path.relative_to(LESSONS.parent).as_posix(), label, description, text))
    return made


def _figures():
    shown = [f"### {words.partition(':')[0]}\n\n![{words}]({file})\n\n*{words}.*" for file, words in FIGURES.items()]
    return "\n\n".join(["## The figures", *shown])


def section(title, blocks=None):
    """README's section of this title without its heading: all of it, or its first blocks."""
    text = README.read_text("utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    parts = lesson.blocks(found[1])
    return "\n\n".join(source for _, source in parts[:blocks])


def opening():
    """README's title and its first paragraph."""
    head, _, rest = README.read_text("utf-8").partition("\n")
    return head.removeprefix("# "), lesson.blocks(rest)[0][1]


def to_start():
    """README's first command, with what one needs to know before."""
    command = next(source for kind, source in lesson.blocks(section("Start")) if kind == "fence")
    return (
        "In a fresh clone of the project, with Python 3.11 or newer, on Linux or on a Mac with Apple silicon, this "
        f"line makes an environment, installs what is needed and opens the first lesson in JupyterLab:\n\n{command}\n\n"
        "[The handbook](README.md#start) has the line for Windows, a smaller download, two services in the cloud, and "
        "what to do when something is missing. The pages here need none of it: their pieces work in any browser."
    )


def labels():
    """What README's table of the course calls each lesson: {stem: label}."""
    rows = re.findall(r"\| \[(.*?)\]\(notebooks/(\w+)\.ipynb\)", README.read_text("utf-8"))
    return {stem: label for label, stem in rows}


def downloads(folder):
    """The page of what is there to download, as Markdown, from what lies in `folder`."""
    kinds = {"learner": "notebook for learners", "slides": "slides"}
    rows = []
    for stem, label in labels().items():
        cells = []
        for kind in kinds:
            for path in sorted(Path(folder, kind).glob(f"{stem}.*")):
                cells.append(f"[{kinds[kind]}](downloads/{kind}/{path.name}), {path.stat().st_size / 1e6:.1f} MB")
        rows.append(f"| {label} | {' | '.join(cells)} |")
    words = (
        "Notebooks without outputs and solutions, with hints and checks, and a deck of slides for each lesson. "
        "A deck is one file that needs no network; the key S shows the speaker's notes. "
        "To run a notebook you need the project. See [how to run it](../README.md#start)."
    )
    head = ["# Downloads", "", words, "", "| lesson | to work through | to show |", "|---|---|---|"]
    return "\n".join([*head, *rows])
