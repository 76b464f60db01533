"""The parts of a lesson: exercises, what is folded away, the blocks of its prose."""

import re

# What a learner copy must not show, as the summaries of folded Markdown begin.
ANSWERS = ("Answer", "Solution", "What you may find")

_FOLDED = re.compile(
    r"<details>\s*<summary>(?P<summary>.*?)</summary>\s*\n(?P<text>.*?)"
    r"</details>[^\S\n]*\n?",
    re.DOTALL | re.IGNORECASE,
)
_FENCED = re.compile(r"```.*?```", re.DOTALL)


def tags(cell):
    """The tags of a cell, a set."""
    return set(cell.metadata.get("tags", []))


def is_solution(cell):
    """Whether this is a solution that runs."""
    return cell.cell_type == "code" and "solution" in tags(cell)


def is_answer(summary):
    """Whether text folded under this summary gives the answer away, as a hint does not."""
    plain = re.sub(r"<[^>]*>|[*_]", "", summary).strip().lower()
    return plain.startswith(tuple(map(str.lower, ANSWERS)))


def headings(cell):
    """The headings of a cell as pairs of level and text; none of a code cell."""
    if cell.cell_type != "markdown":
        return []
    return [
        (len(marks), text.strip())
        for marks, text in re.findall(r"^(#{1,6}) +(.+)$", _FENCED.sub("", cell.source), re.MULTILINE)
    ]


def exercises(nb):
    """The cells of each exercise: from `### Exercise N` to the next heading of its level or above.

    A cell in which an exercise begins below other text, or ends above it, is cut there.

    Returns:
        List of lists of cells, copies of the notebook's.
    """
    found = []
    inside = False
    for cell in nb.cells:
        if cell.cell_type != "markdown":
            if inside:
                found[-1].append(cell.copy())
            continue
        for part in _sections(cell.source):
            heading = re.match(r"(#{1,3}) +(.*)", part)
            if heading:
                inside = bool(re.match(r"Exercise \d+\b", heading[2])) and len(heading[1]) == 3
                if inside:
                    found.append([])
            if inside and part.strip():
                piece = cell.copy()
                piece.source = part.strip("\n")
                found[-1].append(piece)
    return found


def _sections(source):
    """Markdown cut before each of its headings of the first three levels."""
    parts = [""]
    fenced = False
    for line in source.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        if re.match(r"#{1,3} ", line) and not fenced:
            parts.append("")
        parts[-1] += line
    return parts


def unfold(source):
    """Markdown with what it folds away taken apart.

    Returns:
        List of pairs of summary and text, in the order of the source; the summary is None where text is not
        folded.
    """
    parts = []
    end = 0
    for match in _FOLDED.finditer(source):
        parts.append((None, source[end : match.start()]))
        parts.append((re.sub(r"<[^>]*>", "", match["summary"]).strip(), match["text"].strip("\n")))
        end = match.end()
    parts.append((None, source[end:]))
    return [(summary, text) for summary, text in parts if text.strip()]


def without_answers(source):
    """Markdown without the folded parts that give an answer away."""
    return _FOLDED.sub(lambda match: "" if is_answer(match["summary"]) else match[0], source).strip("\n")


def blocks(source):
    """Markdown as its blocks: what blank lines divide, where they do so.

    Returns:
        List of pairs of kind and source; kinds are "heading", "formula", "quote", "list", "table", "fence",
        "folded", "picture" and "paragraph".
    """
    found = []
    for summary, text in unfold(source):
        if summary is not None:
            found.append(("folded", f"**{summary}**\n\n{text}"))
            continue
        found += [(_kind(block), block) for block in _divided(text)]
    return found


def _divided(text):
    """Text cut at blank lines, but not inside a fence or a displayed formula; a list stays in one piece."""
    pieces = [[]]
    closing = None
    for line in text.splitlines():
        stripped = line.strip()
        if closing:
            pieces[-1].append(line)
            if stripped.endswith(closing):
                closing = None
                pieces.append([])
        elif stripped.startswith(("```", "$$")):
            mark = stripped[:3] if stripped.startswith("```") else "$$"
            pieces.append([line])
            if stripped == mark or not stripped.endswith(mark):
                closing = mark
            else:
                pieces.append([])
        elif re.match(r"#{1,6} ", line):
            pieces += [[line], []]
        elif not stripped:
            pieces.append([])
        elif _is_item(line) and pieces[-1] and not _is_item(pieces[-1][0]):
            pieces.append([line])
        else:
            pieces[-1].append(line)
    blocks = ["\n".join(piece) for piece in pieces if piece]
    joined = []
    for block in blocks:
        inside_list = _is_item(block) or block.startswith("  ")
        if joined and inside_list and _is_item(joined[-1]):
            joined[-1] += "\n" + block
        else:
            joined.append(block)
    return joined


def _is_item(line):
    return bool(re.match(r"([-*+]|\d+[.)]) ", line))


def _kind(block):
    for pattern, kind in (
        (r"#", "heading"),
        (r"\$\$", "formula"),
        (r">", "quote"),
        (r"```", "fence"),
        (r"\|", "table"),
        (r"!\[|<img", "picture"),
    ):
        if re.match(pattern, block):
            return kind
    return "list" if _is_item(block) else "paragraph"
