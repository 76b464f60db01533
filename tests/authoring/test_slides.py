"""Slides: what stands on them and what is said, and that the browser makes everything fit."""

import re

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vae_utils.authoring.browser import assert_healthy
from vae_utils.authoring.lesson import blocks, code_cells, is_solution, paths, prose, read, sections
from vae_utils.authoring.slides import MOST_LINES, ROWS, WITH_PICTURE, SlideDeck, lead, make_deck, without_results

SMALLEST = 16  # px, of letters on a slide of 1280 x 720: what a projector carries to the last row
LEAST_PICTURE = 60  # px: a strip of digits
# Shows every slide in turn, or measures the pages of a print; returns what is wrong, and what was found.
MEASURE = """async () => {
    const printed = document.documentElement.classList.contains("print-pdf");
    const slides = [...document.querySelectorAll(".slides section:not(.stack)")];
    return slides.map(slide => {
        if (!printed) { const { h, v } = Reveal.getIndices(slide); Reveal.slide(h, v); }
        const frame = (printed ? slide : document.querySelector(".slides")).getBoundingClientRect();
        const found = { outside: [], letters: [], pictures: [],
                        headings: slide.querySelectorAll("h1, h2, h3, h4").length,
                        title: slide.querySelector("h1, h2") !== null,
                        shown: slide.innerText.trim().split("\\n").length };
        for (const element of slide.querySelectorAll("*")) {
            const box = element.getBoundingClientRect();
            if (element.closest("aside") || !box.width || !box.height) continue;
            const sticks = box.left < frame.left - 1 || box.top < frame.top - 1 || box.right > frame.right + 1
                           || box.bottom > frame.bottom + 1;
            const hides = element.tagName !== "IMG" && getComputedStyle(element).overflowX !== "visible"
                          && element.scrollWidth > element.clientWidth + 1;
            if (sticks || hides) found.outside.push(`${element.tagName} ${element.textContent.slice(0, 60)}`);
            if ([...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim())
                && !element.closest("msub, msup, msubsup, munder, mover, munderover, mfrac")) {
                found.letters.push(parseFloat(getComputedStyle(element).fontSize));
            }
            if (element.tagName === "IMG") {
                const scale = Math.min(box.width / element.naturalWidth, box.height / element.naturalHeight);
                found.pictures.push(scale * Math.min(element.naturalHeight, element.naturalWidth));
            }
        }
        return found;
    });
}"""


@pytest.fixture
def deck(made, path):
    """The deck of a lesson."""
    return made / "slides" / f"{path.stem}.html"


def measure(page, deck, query=""):
    page.goto(deck.as_uri() + query)
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    if query:
        page.wait_for_function("document.querySelectorAll('.pdf-page section[data-fitted]').length > 0")
    return page.evaluate(MEASURE)


def problems(slide):
    """What is wrong with a slide as measured."""
    return (
        slide["outside"]
        + [f"letters of {size} px" for size in slide["letters"] if size < SMALLEST]
        + [f"a picture of {size} px" for size in slide["pictures"] if size < LEAST_PICTURE]
        + [f"{slide['headings']} headings"] * (slide["headings"] != 1)
        + ["nothing under the heading"] * (not slide["title"] and slide["shown"] < 2 and not slide["pictures"])
    )


def kinds(lesson, *wanted):
    """The blocks of the lesson's prose that are of these kinds."""
    return [text for kind, text in blocks(prose(lesson.cells)) if kind in wanted]


# --- the lessons' decks


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "?print-pdf"], ids=["screen", "print"])
def test_every_slide_fits_and_can_be_read(deck, offline, query):
    measured = measure(offline, deck, query)
    assert {i: problems(slide) for i, slide in enumerate(measured, 1) if problems(slide)} == {}
    assert_healthy(offline)


@pytest.mark.slow
def test_slides_hold_the_pictures_with_words_and_nothing_of_the_solutions(deck, path):
    lesson, page = read(path), BeautifulSoup(deck.read_text("utf-8"), "html.parser")
    shown = [cell for cell in code_cells(lesson.cells) if not is_solution(cell)]
    pictures = [output for cell in shown for output in cell.outputs if "image/png" in output.get("data", {})]
    predictions = [text for text in kinds(lesson, "quote") if "Predict." in text]
    # A slide for each section and each prediction; no block, cell or picture takes more than two of its own.
    slides = page.select("section section")
    for_the_eye = kinds(lesson, "heading", "quote", "formula", "fence", "list", "table", "picture")
    assert len(sections(lesson)) + len(predictions) / 2 <= len(slides)
    assert len(slides) <= len(for_the_eye) + len(shown) + len(pictures)
    images = page.select("section section img")
    assert len(images) == len(pictures) and all(image["alt"] for image in images)
    notes = [slide.select("aside.notes") for slide in slides]
    assert all(len(found) <= 1 for found in notes)
    noted = " ".join(" ".join(note.extract().get_text() for found in notes for note in found).split())
    for cell in filter(is_solution, lesson.cells):
        assert " ".join(cell.source.split()) in noted
    assert not re.search(r"# Solution|\bHint\b", page.get_text())
    assert page.get_text().count("Predict.") == len(predictions)


@pytest.mark.slow
def test_the_speaker_has_notes_without_a_network(made, offline):
    measure(offline, made / "slides" / f"{paths()[0].stem}.html")
    with offline.expect_popup() as opened:
        offline.keyboard.press("s")
    view = opened.value
    view.wait_for_function("document.querySelector('.speaker-controls-notes .value')?.textContent.trim()")
    assert offline.strangers == []


# --- what the browser does


def lesson_of(*cells):
    return new_notebook(cells=[new_markdown_cell("# Why?"), new_markdown_cell("## 1 · One"), *cells])


@pytest.fixture
def measured(offline, tmp_path):
    """A function: the slides of these cells under a title and a heading, as measured."""

    def make_and_measure(*cells):
        deck = tmp_path / "deck.html"
        deck.write_text(SlideDeck().from_notebook_node(lesson_of(*cells), {"metadata": {"name": "deck"}})[0], "utf-8")
        return measure(offline, deck)

    return make_and_measure


@pytest.mark.slow
def test_letters_are_smaller_where_there_is_much_and_measuring_finds_what_is_too_much(measured):
    cells = [tagged("slide", new_markdown_cell("word " * words)) for words in (20, 200, 2000)]
    few, many, too_many = (measured(cell)[1] for cell in cells)
    assert problems(few) == problems(many) == [] and min(many["letters"]) < min(few["letters"])
    assert too_many["outside"] and min(too_many["letters"]) == SMALLEST


@pytest.mark.slow
def test_a_line_that_letters_of_the_least_size_hold_is_not_broken(measured, offline):
    """Lines of all lengths: a browser breaks one that is too long by a part of a pixel."""
    cells = [new_code_cell("1", outputs=[new_output("stream", text="x" * length)]) for length in range(60, 116)]
    measured(*cells)
    broken = offline.evaluate("""() => [...document.querySelectorAll(".vae-printed")].filter(text => {
        const { h, v } = Reveal.getIndices(text.closest("section"));
        Reveal.slide(h, v);
        return text.offsetHeight > 2 * parseFloat(getComputedStyle(text).lineHeight);
    }).map(text => text.textContent.length)""")
    assert broken == []


# --- what stands on a slide


def laid_out(*cells):
    """For each slide its title, what it shows, and its notes."""
    deck = make_deck(lesson_of(*cells))
    slides = [(slide.title, [cell.source for cell in slide.cells], slide.notes) for slide in deck]
    return slides[2:] or slides[1:]  # without the titles, if they stand alone


def tagged(tag, cell):
    cell.metadata["tags"] = [tag]
    return cell


LONG = " ".join(9 * ["A sentence that nobody reads from a wall."])
FENCED = "```python\n1\n```"


def test_prose_becomes_notes_and_what_leads_to_a_formula_stays():
    assert laid_out(new_markdown_cell(f"{LONG} So divide:\n\n$$\na\n$$\n\n{LONG}")) == [
        ("1 · One", ["So divide:", "$$\na\n$$"], [f"{LONG} So divide:", LONG])
    ]


def test_what_is_only_said_stays_in_the_notes_of_a_slide_that_is_not_empty():
    line = "*After a restart: run the code cells before section 1.*"
    assert laid_out(new_markdown_cell(f"{line}\n\nDivide:\n\n$$\na\n$$\n\n### Two\n\n{LONG}")) == [
        ("1 · One", ["Divide:", "$$\na\n$$"], [line, "**Two**", LONG])
    ]


@pytest.mark.parametrize(
    "cells, slide",
    [
        ((new_code_cell("1"), tagged("slide", new_markdown_cell(LONG))), ([LONG], [])),
        ((new_code_cell("1"), tagged("fragment", new_markdown_cell(LONG))), (["1", LONG], [])),
        ((new_code_cell("1"), tagged("notes", new_markdown_cell("Short:"))), (["1"], ["Short:"])),
        ((tagged("notes", new_code_cell("1")), new_code_cell("2")), (["2"], [FENCED])),
        ((tagged("skip", new_code_cell("1")), new_code_cell("2")), (["2"], [])),
    ],
    ids=["slide", "fragment", "notes", "notes of code", "skip"],
)
def test_tags_override(cells, slide):
    assert laid_out(*cells) == [("1 · One", *slide)]


def test_lead():
    assert lead("Short.", "code") == "Short."
    assert lead("Short.", "") == ""
    assert lead(f"{LONG} Then $x$ is:", "formula") == "Then $x$ is:"
    assert lead(f"{LONG} And ask for", "formula") == "And ask for"
    assert lead(f"**A thing.** {LONG}", "code") == "**A thing.**"
    assert lead(LONG, "code") == ""


def test_code_is_cut_at_blank_lines_and_what_is_longer_still_is_noted():
    block = "\n".join(["x = 1"] * (MOST_LINES // 2 - 1))
    first, second = laid_out(new_markdown_cell("> **Predict.**"), new_code_cell("\n\n".join(4 * [block])))
    assert first[1] == second[1] == [f"{block}\n\n{block}"]
    long = "\n".join(["x = 1"] * (MOST_LINES + 1))
    ((_, sources, notes),) = laid_out(new_code_cell(f"y = 2      # why\n\n{long}"))
    assert sources == ["y = 2  # why"] and long in notes[0]


def test_code_that_is_a_comment_only_is_shown_and_what_begins_with_an_import_is_noted():
    (slide,) = laid_out(new_code_cell("# yours"), new_code_cell("import torch"))
    assert slide == ("1 · One", ["# yours"], ["```python\nimport torch\n```"])


@pytest.mark.parametrize("lines, shown", [(WITH_PICTURE, 2), (WITH_PICTURE + 1, 1)])
def test_longer_code_leaves_the_slide_to_its_picture(lines, shown):
    source = "\n".join(f"x{i} = 1" for i in range(lines))
    picture = new_output("display_data", {"image/png": "AAAA"})
    ((_, sources, notes),) = laid_out(new_code_cell(source, outputs=[picture]))
    assert len(sources) == shown and bool(notes) == (shown == 1)


def test_a_widget_of_a_lesson_that_was_run_by_hand_is_shown_once():
    """JupyterLab has stored two outputs: its still for the day when it is reopened, and itself."""
    reopened = new_output("display_data", {"text/html": "<img>"}, metadata={"vae_utils": {"reopened": True}})
    live = new_output("display_data", {"image/png": "AAAA"}, metadata={"vae_utils": {"live": True}})
    nb = lesson_of(new_code_cell("show()", outputs=[reopened, live]))
    page = SlideDeck().from_notebook_node(nb, {"metadata": {"name": "deck"}})[0]
    assert len(BeautifulSoup(page, "html.parser").select("section img")) == 1


def test_what_only_prints_a_result_is_left_out_beside_the_result():
    assert without_results("a = 1\nprint(a,\n      2)\nassert a") == "a = 1"
    assert without_results("print(1)") == "print(1)"


def test_long_printed_text_goes_on_and_loses_nothing():
    text = "".join(f"{i}\n" for i in range(2 * ROWS + 1))
    deck = make_deck(lesson_of(new_code_cell("go()", outputs=[new_output("stream", text=text)])))
    shown = [output.text for slide in deck for cell in slide.cells for output in cell.get("outputs", [])]
    assert "".join(shown) == text.rstrip("\n") and max(len(piece.splitlines()) for piece in shown) <= ROWS
