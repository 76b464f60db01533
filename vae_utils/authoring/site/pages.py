"""A notebook as an article of the site: its HTML, its headings, its links."""

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook

from vae_utils.authoring.exporter import HOME, LessonExporter
from vae_utils.authoring.lesson import LESSONS, headings
from vae_utils.support.arguments import refusal

PROJECT = LESSONS.parent
SITE = Path(__file__).parent
SHORT = 170  # letters of a description


@dataclass
class Page:
    """One page of the site.

    Attributes:
        file: its name in the site.
        source: the path in the project of what it is made from, with slashes: links start there.
        label: its name in the contents.
        title: its first heading, as text.
        description: a sentence or two for those who share a link.
        article: `BeautifulSoup` of what stands in its middle.
        extra: what its frame needs besides.
    """

    file: str
    source: str
    label: str
    title: str
    description: str
    article: BeautifulSoup
    extra: dict = field(default_factory=dict)

    @property
    def ids(self):
        return {tag["id"] for tag in self.article.select("[id]")}

    @property
    def sections(self):
        """Pairs of id and HTML of its headings of level 2, for the contents."""
        found = []
        for heading in self.article.select("h2[id]"):
            copied = BeautifulSoup(str(heading), "html.parser").h2
            for link in copied.select("a"):
                link.decompose()
            found.append((heading["id"], copied.decode_contents()))
        return found


def article_of(nb, name, shared, live):
    """A notebook as `BeautifulSoup`, by the exporter that makes single pages too.

    Raises:
        ConversionException: if a lesson that is run for its widgets fails.
    """
    folders = [str(SITE), str(HOME)]
    exporter = LessonExporter(live=live, parts=shared, template_file="article.html.j2", extra_template_paths=folders)
    made, _ = exporter.from_notebook_node(nb, {"metadata": {"name": name, "path": str(LESSONS)}})
    return made_ready(BeautifulSoup(made, "html.parser"))


def markdown_notebook(*sources):
    """A notebook of these cells of Markdown."""
    return new_notebook(cells=[new_markdown_cell(source) for source in sources])


def title_of(source):
    """The first heading of Markdown, without its marks."""
    return plain(headings(source)[0][1])


def description_of(source):
    """The first paragraph of Markdown that is a sentence, plain and short."""
    for block in re.split(r"\n\s*\n", source):
        text = plain(block)
        if re.match(r"[*\w]", block) and text.endswith((".", ":", "?")):
            words = re.sub(r"\s+\S*$", " …", text[:SHORT]) if len(text) > SHORT else text
            return words.replace("$", "")
    return ""


def plain(source):
    """Markdown of one block as text: the words of links, no marks."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", source)
    return " ".join(re.sub(r"\*\*|[*`]", "", text).split())


# --- what the site's pages have that a single page does not need


def made_ready(soup):
    """Make an article fit for everybody's eyes, ears and keys, in place."""
    for tag in soup.select(".jp-InputPrompt, .jp-OutputPrompt, summary a.anchor-link"):  # a summary is a button itself
        tag.decompose()
    taken = {"text"}  # of the frame
    for heading in soup.select(":is(h1, h2, h3, h4)[id]"):  # nbconvert's names have signs that a link has to spell out
        name = slug(heading.get_text())
        heading["id"] = next(name + tail for tail in ("", *(f"-{i}" for i in range(1, 99))) if name + tail not in taken)
        taken.add(heading["id"])
        for link in heading.select("a.anchor-link"):
            link["href"] = f"#{heading['id']}"
    for link in soup.select("a.anchor-link"):
        about = " ".join(link.parent.get_text().split()).removesuffix("¶")
        link.attrs |= {"aria-label": f"Link to {about}", "title": "Copy a link to this place"}
        link.string = "#"
    for number, table in enumerate(soup.select("table"), start=1):
        words = ", ".join(cell.get_text().strip() for cell in table.select("tr:first-child th"))
        name = f"Table {number}: {words}".rstrip(" ,:")
        table.wrap(soup.new_tag("div", attrs={"class": "vae-wide", "data-name": name}))
        for cell in table.select("th"):
            if not cell.get_text().strip():
                cell.name = "td"
    for box in soup.select("li > input[type=checkbox], li > p > input[type=checkbox]"):
        box["aria-hidden"] = "true"
    return soup


# --- links


class Links:
    """Where the links of the sources lead in the site.

    Args:
        pages: all `Page`s.
        shared: `parts.Shared`, which takes the pictures.
        repository: address of the project on a host of repositories; where files lead that are no page. If empty, these
            links become text.
    """

    def __init__(self, pages, shared, repository):
        self.pages = {page.source: page for page in pages}
        self.shared, self.repository = shared, repository

    def mend(self, page):
        """Let the links and pictures of an article lead to the site's own, in place.

        Raises:
            ValueError: if a picture is not in the project.
        """
        for link in page.article.select("a[href]"):
            target = self.target(page, link["href"])
            if target is None:
                link.unwrap()
            else:
                link["href"] = target
        for image in page.article.select("img[src]"):
            address = urlsplit(image["src"])
            if not address.scheme and not image["src"].startswith(self.shared.address):
                path = PROJECT / _from(page.source, address.path)
                if not path.is_file():
                    raise ValueError(refusal(f"a picture of {page.source}", "to be in the project", image["src"]))
                image["src"] = self.shared.file(path.read_bytes(), path.suffix[1:])

    def target(self, page, address):
        """The address in the site of what a page's source calls `address`; None if it is nowhere."""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            return address
        path = _from(page.source, parts.path) if parts.path else page.source
        if path in self.pages:
            there, name = self.pages[path], unquote(parts.fragment)
            file = "" if there is page and name in page.ids else there.file
            return f"{file}#{name}" if name in there.ids else file
        if parts.path.startswith("downloads/"):  # which are made beside the pages
            return address
        return f"{self.repository}/blob/HEAD/{path}" if self.repository and (PROJECT / path).exists() else None


def slug(heading):
    """GitHub's name for a heading: the sources link by it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _from(source, path):
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(path)))
