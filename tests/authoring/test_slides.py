"""Slides: what stands on them and what is said, and that the browser makes everything fit."""

import re

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from vae_utils.authoring.__main__ import make
from vae_utils.authoring.browser import assert_healthy, new_page
from vae_utils.authoring.lesson import blocks, is_solution, paths, read, sections
from vae_utils.authoring.slides import (
    MOST_LINES,
    WITH_PICTURE,
    align_comments,
    cut_code,
    lead,
    make_deck,
    without_results,
)

from browser import chromium  # noqa: F401 (a fixture)

PATHS = paths()
SMALLEST = 16  # px, of letters on a slide of 1280 x 720: what a projector carries to the last row
# Draws every slide in turn; returns what sticks out of it and the size of its smallest letters, by slide.
MEASURE = """() => Reveal.getSlides().map(slide => {
    const { h, v } = Reveal.getIndices(slide);
    Reveal.slide(h, v);
    const frame = document.querySelector(".slides").getBoundingClientRect();
    const found = { at: `${h}/${v}`, outside: [], smallest: Infinity, picture: Infinity,
                    headings: slide.querySelectorAll(".vae-title").length };
    for (const element of slide.querySelectorAll("*")) {
        const box = element.getBoundingClientRect();
        if (element.closest("aside") || !box.width || !box.height) continue;
        const sticks = box.left < frame.left || box.top < frame.top || box.right > frame.right
                       || box.bottom > frame.bottom;
        const hides = element.tagName !== "IMG" && getComputedStyle(element).overflowX === "hidden"
                      && element.scrollWidth > element.clientWidth + 1;
        if (sticks || hides) found.outside.push(`${element.tagName} ${element.textContent.slice(0, 60)}`);
        if ([...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim())
            && !element.closest("msub, msup, msubsup, munder, mover, munderover, mfrac")) {
            found.smallest = Math.min(found.smallest, parseFloat(getComputedStyle(element).fontSize));
        }
        if (element.tagName === "IMG") {
            const scale = Math.min(box.width / element.naturalWidth, box.height / element.naturalHeight);
            found.picture = Math.min(found.picture, scale * element.naturalHeight, scale * element.naturalWidth);
        }
    }
    return found;
})"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decks")
    return {path: make("slides", path, folder) for path in PATHS}


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


def num_pictures(lesson):
    return sum(
        "image/png" in output.get("data", {})
        for cell in lesson.cells
        for output in cell.get("outputs", [])
        if not is_solution(cell)
    )


@pytest.fixture
def screen(chromium):
    page = new_page(chromium, offline=True)
    yield page
    page.context.close()


@pytest.mark.slow
def test_slides_hold_the_pictures_with_words_and_nothing_of_the_solutions(decks, path):
    lesson, page = read(path), BeautifulSoup(decks[path].read_text("utf-8"), "html.parser")
    assert len(page.select("section section")) >= len(sections(lesson))
    images = page.select("section section img")
    assert len(images) == num_pictures(lesson) and all(image["alt"] for image in images)
    notes = page.select("aside.notes")
    assert all(len(section.select("aside.notes")) <= 1 for section in page.select("section section"))
    noted = " ".join(" ".join(note.get_text() for note in notes).split())
    for cell in filter(is_solution, lesson.cells):
        assert " ".join(cell.source.split()) in noted
    for note in notes:
        note.extract()
    assert not re.search(r"# Solution|\bHint\b", page.get_text())
    assert page.get_text().count("Predict.") == sum(
        kind == "quote" and "Predict." in text
        for cell in lesson.cells
        if cell.cell_type == "markdown"
        for kind, text in blocks(cell.source)
    )


@pytest.mark.slow
def test_every_slide_fits_and_can_be_read(decks, path, screen):
    screen.goto(decks[path].as_uri())
    screen.wait_for_function("window.Reveal && Reveal.isReady()")
    measured = screen.evaluate(MEASURE)
    assert [slide for slide in measured if slide["headings"] != 1] == []
    assert [slide for slide in measured if slide["outside"]] == []
    assert [slide for slide in measured if slide["smallest"] < SMALLEST] == []
    assert [slide for slide in measured if slide["picture"] < 60] == []  # a strip of digits is the smallest
    assert_healthy(screen)


@pytest.mark.slow
def test_measuring_finds_what_does_not_fit(decks, screen):
    screen.goto(decks[PATHS[0]].as_uri())
    screen.wait_for_function("window.Reveal && Reveal.isReady()")
    screen.evaluate("""() => {
        const slides = Reveal.getSlides();
        const text = "long ".repeat(9999);
        slides[1].insertAdjacentHTML("beforeend", `<p style="font-size: 9px; flex: none">${text}</p>`);
    }""")
    slide = screen.evaluate(MEASURE)[1]
    assert slide["outside"] and slide["smallest"] == 9


@pytest.mark.slow
def test_the_speaker_has_notes_without_a_network(decks, screen):
    screen.goto(decks[PATHS[0]].as_uri())
    screen.wait_for_function("window.Reveal && Reveal.isReady()")
    with screen.expect_popup() as opened:
        screen.keyboard.press("s")
    view = opened.value
    view.wait_for_function("document.querySelector('.speaker-controls-notes .value')?.textContent.trim()")
    assert screen.strangers == []


def laid_out(*cells):
    """For each slide its title, what it shows, and its notes."""
    nb = new_notebook(cells=[new_markdown_cell("# Why?"), new_markdown_cell("## 1 · One"), *cells])
    slides = [(slide.title, [cell.source for cell in slide.cells], slide.notes) for slide in make_deck(nb)]
    return slides[2:] or slides[1:]  # without the titles, if they stand alone


LONG = " ".join(9 * ["A sentence that nobody reads from a wall."])


def test_prose_becomes_notes_and_what_leads_to_a_formula_stays():
    assert laid_out(new_markdown_cell(f"{LONG} So divide:\n\n$$\na\n$$\n\n{LONG}")) == [
        ("1 · One", ["So divide:", "$$\na\n$$"], [f"{LONG} So divide:", LONG])
    ]


def test_what_a_section_needs_after_a_restart_is_no_slide():
    line = "*After a restart: run the code cells before section 1.*"
    assert laid_out(new_markdown_cell(f"{line}\n\nDivide:\n\n$$\na\n$$")) == [
        ("1 · One", ["Divide:", "$$\na\n$$"], [line])
    ]


def test_tags_override():
    def tagged(tag, cell):
        cell.metadata["tags"] = [tag]
        return cell

    assert laid_out(new_code_cell("1"), tagged("slide", new_markdown_cell(LONG))) == [("1 · One", [LONG], [])]
    assert laid_out(new_code_cell("1"), tagged("fragment", new_markdown_cell(LONG))) == [("1 · One", ["1", LONG], [])]
    assert laid_out(new_code_cell("1"), tagged("notes", new_markdown_cell("Short:"))) == [
        ("1 · One", ["1"], ["Short:"])
    ]
    assert laid_out(tagged("skip", new_code_cell("1")), new_code_cell("2")) == [("1 · One", ["2"], [])]
    assert laid_out(tagged("notes", new_code_cell("1")), new_code_cell("2")) == [
        ("1 · One", ["2"], ["```python\n1\n```"])
    ]


def test_lead():
    assert lead("Short.", "code") == "Short."
    assert lead("Short.", "") == ""
    assert lead(f"{LONG} Then $x$ is:", "formula") == "Then $x$ is:"
    assert lead(f"{LONG} And ask for", "formula") == "And ask for"
    assert lead(f"**A thing.** {LONG}", "code") == "**A thing.**"
    assert lead(LONG, "code") == ""


def test_code_is_made_narrow_and_cut_at_blank_lines():
    wide = f"a = 1{' ' * 60}# a long comment on this line\nb = '# no'"
    assert align_comments(wide) == "a = 1  # a long comment on this line\nb = '# no'"
    long = f"    x = {'1 + ' * 18}1          # why, and for how long, and what it costs"
    assert align_comments("if a:\n" + long).splitlines()[1] == "    # why, and for how long, and what it costs"
    parts = cut_code("\n\n".join("\n".join(["x = 1"] * 6) for _ in range(4)))
    assert [len(part.split()) // 3 for part in parts] == [12, 12] and max(
        len(part.splitlines()) for part in parts
    ) <= MOST_LINES


@pytest.mark.parametrize("lines, shown", [(WITH_PICTURE, 2), (WITH_PICTURE + 1, 1)])
def test_longer_code_leaves_the_slide_to_its_picture(lines, shown):
    source = "\n".join(f"x{i} = 1" for i in range(lines))
    picture = new_output("display_data", {"image/png": "AAAA"})
    ((_, sources, notes),) = laid_out(new_code_cell(source, outputs=[picture]))
    assert len(sources) == shown and bool(notes) == (shown == 1)


def test_what_only_prints_a_result_is_left_out_beside_the_result():
    assert without_results("a = 1\nprint(a,\n      2)\nassert a") == "a = 1"
    assert without_results("print(1)") == "print(1)"


def test_long_printed_text_goes_on_and_loses_nothing():
    text = "".join(f"{i}\n" for i in range(50))
    deck = make_deck(
        new_notebook(
            cells=[
                new_markdown_cell("# Why?\n\n## 1"),
                new_code_cell("go()", outputs=[new_output("stream", text=text)]),
            ]
        )
    )
    shown = [output.text for slide in deck for cell in slide.cells for output in cell.get("outputs", [])]
    assert "".join(shown) == text and len(shown) > 1
