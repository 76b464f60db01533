"""All of the site, in a folder of its own until it is whole."""

import json
import re
import shutil
import time
import uuid
from pathlib import Path
from urllib.parse import quote, urlsplit

import jinja2
from nbformat import writes

from vae_utils.authoring.copies import learner_copy
from vae_utils.authoring.exporter import HOME
from vae_utils.authoring.lesson import paths, prose, read, stated_minutes
from vae_utils.authoring.parts import Shared
from vae_utils.authoring.site import front, sources
from vae_utils.authoring.site.pages import SITE, Links, Page, article_of, description_of, markdown_notebook, title_of
from vae_utils.authoring.site.search import index_of
from vae_utils.authoring.slides import SlideDeck
from vae_utils.support.arguments import refusal

RECORD = "site.json"  # by which a folder is known to be a site; it holds what each page weighs
SHARED = "shared/"


def build_site(folder, address="", repository="", live=True):
    """Make the site, and put it in the place of an older one.

    Args:
        folder: where it goes. If it is there, it is empty or holds a site that this function made.
        address: where the site will be, for the picture that a shared link shows; no such picture if empty.
        repository: where the project is on a host of repositories; links to its files lead there.
        live: whether widgets work; the lessons are run for that.

    Yields:
        Lines that say what was made.

    Raises:
        ValueError: if the folder holds something else, or an address is none.
        OSError: if the folder cannot be written.
        ConversionException: if a lesson fails in its run.
    """
    folder = Path(folder).absolute()
    _require_site(folder)
    address, repository = _address("address", address), _address("repository", repository)
    making = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        making.mkdir(parents=True)
    except OSError as error:
        sentence = refusal("the folder", "to be writable", error.strerror, "choose another folder by --out")
        raise OSError(f"{folder.parent}: {sentence}") from error
    try:
        yield from _make(making, address, repository, live)
        _replace(folder, making)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    yield f"{folder / 'index.html'}: open it in a browser, or put the folder on any host"


def _require_site(folder):
    there = folder.is_dir() and any(folder.iterdir())
    if (there and not (folder / RECORD).is_file()) or (folder.exists() and not folder.is_dir()):
        given = "one that holds something else" if there else "a file"
        remedy = "choose another folder by --out, or empty this one"
        raise ValueError(f"{folder}: {refusal('the folder', 'to be empty or to hold an older site', given, remedy)}")


def _address(name, value):
    if value and urlsplit(value).scheme not in ("http", "https"):
        raise ValueError(refusal(f"--{name}", "to begin with https://", repr(value)))
    return value.rstrip("/")


def _replace(folder, made):
    """The old one goes only when the new one stands."""
    old = made.with_name(f"{made.name}-old")
    if folder.exists():
        folder.rename(old)
    try:
        made.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _make(folder, address, repository, live):
    shared = Shared(folder / SHARED, SHARED)
    yield from _make_downloads(folder / "downloads")
    pages = [_front(shared), *_documents(folder, shared)]
    for path in paths():
        start = time.perf_counter()
        pages.append(_lesson(path, repository, shared, live))
        yield f"{pages[-1].file}: {time.perf_counter() - start:.0f} s"
    links = Links(pages, shared, repository)
    for page in pages:
        links.mend(page)
    _write(folder, pages, shared, address)
    weights = {page.file: weight(folder, page.file) for page in pages}
    (folder / RECORD).write_text(json.dumps({"kilobytes": weights}, indent=1), "utf-8")
    for file, (before, widgets) in weights.items():
        yield f"{file}: {before} kB" + (f", and {widgets} kB when its widgets wake" if widgets else "")


def _make_downloads(folder):
    for kind in ("learner", "slides"):
        (folder / kind).mkdir(parents=True)
    for path in paths():
        nb = read(path)
        (folder / "learner" / path.name).write_text(writes(learner_copy(nb)) + "\n", "utf-8")
        deck, _ = SlideDeck().from_notebook_node(nb, {"metadata": {"name": path.stem}})
        (folder / "slides" / f"{path.stem}.html").write_text(deck, "utf-8")
    yield "downloads: learner copies and slides"


# --- pages


def _front(shared):
    title, first = sources.opening()
    article = article_of(front.notebook(), "front", shared, live=True)
    words = article_of(markdown_notebook(first), "front", shared, live=False)
    hero = article.select_one(".vae-page").extract()
    scripts = [script.extract() for script in article.select("script")]
    article.select_one(".jp-CodeCell").decompose()
    extra = {"hero": hero, "scripts": scripts, "lede": words.select_one("p"), "caption": front.caption()}
    # README's directory is the project's: so its links begin there
    return Page("index.html", "index.md", "Home", title, description_of(first), article, extra)


def _documents(folder, shared):
    about = "Learner copies of the lessons, without outputs and solutions, and slides that need no network."
    listed = ("downloads.html", "notebooks/", "Downloads", about, sources.downloads(folder / "downloads"))
    for file, source, label, description, text in [*sources.documents(), listed]:
        article = article_of(markdown_notebook(text), label, shared, live=False)
        yield Page(file, source, label, title_of(text), description, article)


def _lesson(path, repository, shared, live):
    nb = read(path)
    text = prose(nb.cells)
    extra = {"minutes": stated_minutes(nb), "elsewhere": _elsewhere(repository, f"notebooks/{path.name}")}
    article = article_of(nb, path.stem, shared, live)
    title, label = title_of(text), sources.labels()[path.stem]
    description = description_of(text.partition("\n")[2])
    return Page(f"{path.stem}.html", f"notebooks/{path.name}", label, title, description, article, extra)


def _elsewhere(repository, notebook):
    """Where the lesson opens in the cloud: {name: address}; nothing for a repository that is not on GitHub."""
    place = urlsplit(repository)
    if place.netloc != "github.com":
        return {}
    return {
        "Binder": f"https://mybinder.org/v2/gh{place.path}/HEAD?urlpath={quote(f'lab/tree/{notebook}')}",
        "Colab": f"https://colab.research.google.com/github{place.path}/blob/HEAD/{notebook}",
    }


# --- files


def _write(folder, pages, shared, address):
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(SITE), autoescape=True, trim_blocks=True)
    frame = environment.get_template("frame.html.j2")
    lessons = [page for page in pages if page.source.endswith(".ipynb")]
    given = {
        "style": shared.file(b"".join(path.read_bytes() for path in (HOME / "page.css", SITE / "site.css")), "css"),
        "script": shared.script((SITE / "site.js").read_text("utf-8")),
        "index": shared.file(index_of([page for page in pages if page.file != "index.html"]).encode(), "js"),
        "card": f"{address}/{shared.file(front.card(), 'png')}" if address else "",
        "site": pages[0],
        "lessons": lessons,
        "others": [page for page in pages[1:] if page not in lessons],
        "address": address,
    }
    for page in pages:
        at = lessons.index(page) if page in lessons else None
        before = lessons[at - 1] if at else None
        after = lessons[at + 1] if at is not None and at + 1 < len(lessons) else None
        made = frame.render(**given, page=page, before=before, after=after)
        (folder / page.file).write_text(made, "utf-8")


def weight(folder, file):
    """What a page of the site weighs, in kilobytes.

    Returns:
        Pair: all that a browser loads before a widget wakes, and what the widgets bring.
    """
    text = (Path(folder) / file).read_text("utf-8")
    sizes = {path: path.stat().st_size for path in Path(folder, SHARED).iterdir() if path.name in text}
    widgets = sum(size for path, size in sizes.items() if f'"file": "{SHARED}{path.name}"' in text)
    searched = sum(size for path, size in sizes.items() if f'data-index="{SHARED}{path.name}"' in text)
    card = sum(size for path, size in sizes.items() if re.search(rf'og:image" content="[^"]*{path.name}"', text))
    before = len(text.encode()) + sum(sizes.values()) - widgets - searched - card
    return round(before / 1000), round(widgets / 1000)
