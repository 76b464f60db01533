"""The website: what is in it, what it weighs, where its links lead, and what a build refuses."""

import base64
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook

from vae_utils.authoring.__main__ import main
from vae_utils.authoring.parts import Inline, Shared
from vae_utils.authoring.site import build
from vae_utils.authoring.site.pages import Links, Page, article_of, description_of, markdown_notebook, slug
from vae_utils.authoring.site.search import sections_of
from vae_utils.explore.program import decoder_program
from vae_utils.models import load_vae

HARMFUL = '<img src=x onerror="window.harmed=1">'


def page_of(*sources, shared=None, **given):
    article = article_of(markdown_notebook(*sources), "page", shared or Inline(), live=False)
    about = {"file": "page.html", "source": "notebooks/page.md", "label": "Page", "title": "Page", "description": ""}
    return Page(**about | given, article=article)


# --- parts


def test_a_shared_part_is_there_once_and_says_where(tmp_path):
    shared = Shared(tmp_path / "shared", "shared/")
    first, second, other = shared.text("</script> é"), shared.text("</script> é"), shared.text("another")
    assert first == second != other
    assert len(list(shared.folder.iterdir())) == 2
    line = (tmp_path / first["file"]).read_text("utf-8")
    assert json.loads(re.search(r'= (".*");$', line.strip())[1]) == "</script> é"
    assert shared.picture("no picture") == "data:image/png;base64,no picture"  # as in a page of one file


# --- articles, links, search


def test_links_lead_to_pages_headings_and_files_or_become_text(tmp_path):
    shared = Shared(tmp_path / "shared", "shared/")
    text = (
        "# One\n\n[a](02_b.ipynb#cell-id=c7) [b](../README.md#how-to-start-it) [c](../LICENSE) "
        "[d](https://example.org) [e](#two--more) [f](missing.md)\n\n## Two & more"
    )
    lesson = page_of("# Lesson", file="02_b.html", source="notebooks/02_b.ipynb")
    lesson.article.append(BeautifulSoup('<p id="cell-id=c7"></p>', "html.parser"))
    handbook = page_of("# Book\n\n## How to start it", file="book.html", source="README.md")

    def addresses(repository):
        mended = page_of(text, shared=shared)
        Links([mended, lesson, handbook], shared, repository).mend(mended)
        return [link["href"] for link in mended.article.select("p a")]

    inside = ["02_b.html#cell-id=c7", "book.html#how-to-start-it"]
    assert addresses("") == [*inside, "https://example.org", "#two--more"]
    place = "https://example.org/me/vae"
    assert addresses(place) == [*inside, f"{place}/blob/HEAD/LICENSE", "https://example.org", "#two--more"]


def test_a_picture_that_is_not_there_ends_the_build(tmp_path):
    shared = Shared(tmp_path / "shared", "shared/")
    page = page_of("# One\n\n![words](none.png)", shared=shared)
    with pytest.raises(
        ValueError, match="a picture of notebooks/page.md was expected to be in the project, got none.png"
    ):
        Links([page], shared, "").mend(page)


def test_the_search_knows_sections_their_words_and_their_code():
    text = "# One\n\nBefore $x$.\n\n## Two\n\nThe `rsample` [link](https://example.org).\n\n```python\nelbo(1)\n```"
    entries = sections_of(page_of(text))
    assert [entry[0] for entry in entries] == ["page.html", "page.html#two"]
    assert [entry[2] for entry in entries] == ["Page", "Two"]
    assert entries[0][3].endswith("Before x.")
    assert {"rsample", "link", "elbo"} <= set(re.findall(r"\w+", entries[1][3]))


def test_names_of_headings_and_descriptions():
    assert slug(" What is where: a (short) list") == "what-is-where-a-short-list"
    assert description_of("![p](p.png)\n\n**Bold** and [linked](x.md) words.") == "Bold and linked words."
    assert len(description_of("word " * 100 + "end.")) < 180


# --- what a build refuses


def test_a_folder_with_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="the folder was expected to be empty or to hold an older site, got one that"):
        main(["site", "--stills", "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(SystemExit, match="got a file"):
        main(["site", "--stills", "--out", str(tmp_path / "mine.txt")])


def test_an_address_that_is_none_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="--address was expected to begin with https://, got 'example.org'"):
        main(["site", "--address", "example.org", "--out", str(tmp_path / "site")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("whole", [True, False])
def test_an_old_site_goes_when_a_new_one_is_whole(tmp_path, monkeypatch, whole):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / build.RECORD).write_text("old")

    def making(folder, *others):
        (folder / build.RECORD).write_text("new")
        if not whole:
            raise ValueError("a lesson was expected to run")
        yield "made"

    monkeypatch.setattr(build, "_make", making)
    if whole:
        assert next(iter(build.build_site(folder))) == "made" and len(list(build.build_site(folder))) == 2
    else:
        with pytest.raises(ValueError, match="expected to run"):
            list(build.build_site(folder))
    assert (folder / build.RECORD).read_text() == ("new" if whole else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_words_of_a_lesson_are_text_in_its_frame(tmp_path):
    shared = Shared(tmp_path / "shared", "shared/")
    words = {"title": HARMFUL, "label": HARMFUL, "description": HARMFUL}
    pages = [page_of("# Home", file="index.html", source="index.md", title="Home, at")]
    article = article_of(new_notebook(cells=[new_markdown_cell(f"# A\n\n## `{HARMFUL}`")]), HARMFUL, shared, live=False)
    pages.append(Page(file="a.html", source="notebooks/a.ipynb", article=article, **words))
    pages[0].extra = {"lede": "", "hero": "", "scripts": [], "caption": HARMFUL}
    build._write(tmp_path, pages, shared, "https://example.org")
    for page in pages:
        soup = BeautifulSoup((tmp_path / page.file).read_text("utf-8"), "html.parser")
        assert soup.select("[onerror]") == [] and soup.select('img[src="x"]') == []
        assert HARMFUL in soup.get_text()


# --- the site itself


@pytest.mark.slow
def test_every_link_leads_somewhere(soups):
    ids = {name: [tag["id"] for tag in soup.select("[id]")] for name, soup in soups.items()}
    for name, soup in soups.items():
        assert [one for one, count in Counter(ids[name]).items() if count > 1] == [], name
        addresses = [tag.get("href") or tag.get("src") for tag in soup.select("[href], [src]")]
        addresses += [tag["data-index"] for tag in soup.select("[data-index]")]
        for data in soup.select("#vae-page-data"):
            addresses += re.findall(r'"file": "([^"]+)"', data.string)
        for address in addresses:
            parts = urlsplit(address)
            if parts.scheme in ("http", "https", "data", "mailto"):
                continue
            file = unquote(parts.path) or name
            assert not file.startswith("/") and (site_folder(soups) / file).is_file(), (name, address)
            if parts.fragment and file in ids:
                assert unquote(parts.fragment) in ids[file], (name, address)


def site_folder(soups):
    return soups["index.html"].folder


@pytest.mark.slow
def test_pages_ask_for_nothing_from_the_network_and_link_to_each_other(soups):
    assert {"index.html", "teaching.html", "scoreboard.html", "handbook.html", "downloads.html"} < set(soups)
    for name, soup in soups.items():
        loaded = soup.select("script[src], link[rel=stylesheet], img[src]")
        assert [tag for tag in loaded if re.match(r"(https?:)?//", tag.get("src") or tag.get("href"))] == []
        assert soup.title.text and soup.select_one("meta[name=description]")["content"], name
        assert soup.html["lang"] == "en" and len(soup.select("h1")) == 1, name
    lessons = sorted(name for name in soups if name[0].isdigit())
    assert len(lessons) == 7
    for before, after in itertools.pairwise(lessons):
        assert soups[before].select_one("a[rel=next]")["href"] == after
        assert soups[after].select_one("a[rel=prev]")["href"] == before
    assert len(soups["scoreboard.html"].select("article img")) == 6
    downloads = [link["href"] for link in soups["downloads.html"].select("article a[href^=downloads]")]
    assert len(downloads) == 14
    assert "raise NotImplementedError" in (site_folder(soups) / downloads[0]).read_text("utf-8")


@pytest.mark.slow
def test_a_shared_link_shows_title_description_and_picture(soups):
    about = {tag["property"]: tag["content"] for tag in soups["04_latent_manifold.html"].select("meta[property]")}
    assert about["og:title"] == "04 · What has the latent space become?"
    assert about["og:url"] == "https://example.org/vae/04_latent_manifold.html"
    picture = about["og:image"].removeprefix("https://example.org/vae/")
    assert (site_folder(soups) / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_weights_scripts_and_pictures_are_there_once(site):
    files = [path for path in Path(site).rglob("*") if path.is_file() and "downloads" not in path.parts]
    contents = Counter(path.read_bytes() for path in files)
    assert max(contents.values()) == 1
    weights = base64.b64encode(decoder_program(load_vae("manifold")).weights.tobytes())
    assert sum(content.count(weights[:5000]) for content in contents) == 1
    assert sum(content.count(b"class LatentExplorer") for content in contents) == 1
    used = b"".join(path.read_bytes() for path in files if path.suffix == ".html")
    assert [path.name for path in (Path(site) / "shared").iterdir() if path.name.encode() not in used] == []
