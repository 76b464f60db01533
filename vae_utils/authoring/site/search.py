"""What the search knows: each section of each page, its heading and its words."""

import json

from bs4 import NavigableString, Tag

LEVELS = ("h1", "h2", "h3", "h4")
WHOLE = ("pre", "math")  # code and formulas: their pieces are no words of their own
IN_LINE = ("a", "b", "code", "em", "i", "math", "span", "strong", "sub", "sup")


def index_of(pages):
    """A script that hands the index over: a list of [address, page, heading, words]."""
    entries = [entry for page in pages for entry in sections_of(page)]
    return f"globalThis.vaeIndex = {json.dumps(entries, ensure_ascii=False)};\n"


def sections_of(page):
    """The entries of one page, in its order."""
    entries = [[page.file, page.label, page.title, ""]]
    for piece in _pieces(page.article):
        if isinstance(piece, str):
            entries[-1][3] += piece
        elif piece.name != "h1":
            entries.append([f"{page.file}#{piece['id']}", page.label, _joined(_pieces(piece)), ""])
    return [[address, label, title, _joined(text)] for address, label, title, text in entries]


def _pieces(part):
    """What is read in a part of a page, in its order: texts, and headings as tags."""
    for child in part.children:
        if type(child) is NavigableString:  # a comment is none
            yield str(child)
        elif isinstance(child, Tag) and child.name in LEVELS and child.get("id"):
            yield child
        elif isinstance(child, Tag) and child.name in WHOLE:
            yield child.get_text()
        elif isinstance(child, Tag) and child.name not in ("script", "style") and not _is_sign(child):
            yield from _pieces(child)
        if isinstance(child, Tag) and child.name not in IN_LINE:
            yield " "


def _is_sign(tag):
    """Whether this is the sign beside a heading."""
    return "anchor-link" in tag.get("class", [])


def _joined(pieces):
    return " ".join("".join(pieces).split())
