"""Numbers that a lesson's prose quotes, and whether anything stands behind them: an output, code, a record, a source.

Looked at are numbers with a decimal point or a thousands separator, outside of formulas, code, headings and
predictions, which offer guesses. A wrong number that stands somewhere else in the lesson by chance is not found: of
single digits changed at random in the lessons, about two in three are.
"""

import ast
import re

import numpy as np

from vae_utils.authoring.folds import is_veil
from vae_utils.authoring.lesson import PREDICTION, blocks, code_cells, lessons, prose, read, sections, unfold
from vae_utils.files import ASSETS

RECORDS = (".json", ".csv", ".md")  # in `ASSETS`
QUOTED = re.compile(r"(?<![\w.,/])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+)(?![\d,]*\d|\.\d)(%| million| billion)?")
FACTORS = {"": 1, "%": 100, " million": 1e-6, " billion": 1e-9}  # from what is stored to what is quoted
STORED = re.compile(  # no part of a name or of a digest
    r"(?<![\w.])(?:\d{1,3}(?:[,_]\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?(?!\w*\d)"
)
# A sentence with one of these says where its numbers are from: a year in brackets, a link to the web, the paper.
SOURCE = re.compile(
    r"\([^()]*\b(?:19|20)\d\d\b[^()]*\)|\]\(https?:"
    r"|\b[Tt]he paper\b|\bpaper's\b|\bthe authors\b|Auto-Encoding Variational Bayes"
)
# Targets of links, and numbers of sections.
NO_QUANTITY = re.compile(r"\]\([^)]*\)|\b[Ss]ections? \d[\d.]*(?:(?:,| and| to) \d[\d.]*)*")
LESSON = re.compile(r"\b[Ll]esson (\d\d)\b")
UNREAD = re.compile(r"```.*?```|\$\$.*?\$\$|(?<!\\)\$[^$]+\$|`[^`]*`|</?[a-zA-Z][^>\n]*>|(?m:^#[^\n]*$)", re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[.?!:;])(?<!al\.)(?<!Eq\.)[*)_]*\s+(?=[A-Z“\"*\[])")


def unfounded(nb):
    """The numbers that nothing stands behind: a list of (cell id, number, sentence)."""
    own, found = _values(_shown(nb)), []
    for section in sections(nb):
        values = np.concatenate([own, _values(_records(section))])
        for cell in section.cells:
            for sentence in _sentences(cell.source) if cell.cell_type == "markdown" else []:
                found += [(cell.id, number, sentence) for number in _unfounded_in(sentence, values)]
    return found


def _unfounded_in(sentence, values):
    if SOURCE.search(sentence):
        return []
    others = [_values(_shown(read(lessons([number])[0]))) for number in LESSON.findall(sentence)]
    values = np.concatenate([values, *others])
    quoted = QUOTED.findall(NO_QUANTITY.sub(" ", sentence))
    return [number + unit for number, unit in quoted if not is_said(number, unit, values)]


def is_said(number, unit, values):
    """Whether one of the values, without their signs, is this number when it is rounded as the number is."""
    digits = number.replace(",", "")
    _, point, decimals = digits.partition(".")
    # zeros at the end of an integer may come from rounding, but two digits are meant
    zeros = min(len(digits) - len(digits.rstrip("0")), len(digits) - 2) if not point else -len(decimals)
    return bool((np.abs(np.abs(values) * FACTORS[unit] - float(digits)) <= 0.5 * 10.0**zeros * (1 + 1e-6)).any())


def _values(text):
    return np.array([float(re.sub("[,_]", "", number)) for number in STORED.findall(text)])


def _shown(nb):
    """The lesson's code and what its cells have put out in words."""
    texts = []
    for cell in code_cells(nb.cells):
        texts.append(cell.source)
        for output in cell.outputs:
            data = {} if is_veil(output) else output.get("data", {})
            html = re.sub(r"<style.*?</style>|<[^>]*>", " ", data.get("text/html", ""), flags=re.DOTALL)
            texts += [output.get("text", ""), data.get("text/plain", ""), html]
    return "\n".join(texts)


def _records(section):
    """The texts of the records that a section names: in strings of its code, or in code and links of its prose."""
    code = "\n\n".join(cell.source for cell in section.code)
    names = {str(getattr(node, "value", "")) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
    text = prose(section.cells)
    names |= {
        word.split("/")[-1] for span in re.findall(r"`([^`]+)`|\]\(([^)]+)\)", text) for word in " ".join(span).split()
    }
    files = [file for file in sorted(ASSETS.iterdir()) if file.suffix in RECORDS and {file.stem, file.name} & names]
    return "\n".join(file.read_text("utf-8") for file in files)


def _sentences(source):
    """The sentences of Markdown, folded ones too; a row of a table is one, with the table's head before it."""
    for _, text in unfold(source):
        for kind, block in blocks(UNREAD.sub(" ", text)):
            if kind == "table":
                head, _, *rows = block.splitlines()
                yield from (f"{head} {row}" for row in rows)
            elif not block.startswith(PREDICTION):
                items = re.split(r"\n(?=[-*\d])", block) if kind == "list" else [block]
                for item in items:
                    yield from SENTENCE_END.split(" ".join(item.split()))
