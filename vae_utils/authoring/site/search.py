"""What the search knows: each section of each page, its heading and its words."""

import json

from bs4 import NavigableString, Tag

LEVELS = ("h1", "h2", "h3", "h4")
SILENT = ("math", "script", "style", "a", *LEVELS)  # `a`: only the signs beside headings, see `_is_silent`


def index_of(pages):
    """A script that hands the index over: a list of [address, page, heading, words]."""
    entries = [entry for page in pages for entry in sections_of(page)]
    return f"globalThis.vaeIndex = {json.dumps(entries, ensure_ascii=False)};\n"


def sections_of(page):
    """The entries of one page, in its order."""
    entries = [[page.file, page.label, page.title, ""]]
    for node in page.article.descendants:
        if isinstance(node, Tag) and node.name in LEVELS and node.get("id"):
            title = " ".join(_words(node))
            if node.name != "h1":
                entries.append([f"{page.file}#{node['id']}", page.label, title, ""])
        elif type(node) is NavigableString and node.strip() and not _is_silent(node):
            entries[-1][3] += f" {' '.join(node.split())}"
    return [[address, label, title, text.strip()] for address, label, title, text in entries]


def _words(heading):
    texts = heading.find_all(string=True)
    return [text.strip() for text in texts if text.strip() and "anchor-link" not in text.parent.get("class", [])]


def _is_silent(text):
    """Whether a text is no prose or code: part of a formula, a heading, or the sign beside one."""
    for parent in text.parents:
        if parent.name in SILENT and (parent.name != "a" or "anchor-link" in parent.get("class", [])):
            return True
    return False
