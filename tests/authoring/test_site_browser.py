"""The website in a browser: from a disk, without a network, by the keys, on paper, in both themes, on a phone."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import axe_playwright_python
import numpy as np
import pytest

from vae_utils.authoring.browser import assert_healthy, new_page
from vae_utils.authoring.site import front

from live_site import START
from live_widgets import contrast

pytestmark = pytest.mark.slow
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8")
LESSON, HOME = "04_latent_manifold.html", "index.html"
SECONDS_TO_LIVE = 1  # of a processor: the clock of a machine that does other things says more
OPEN_ALL = "for (const part of document.querySelectorAll('main details')) part.open = true"


@pytest.fixture
def reader(site, offline):
    """A page without a network, what it has loaded from the disk, and a way to open a page of the site."""
    offline.loaded = {}

    def note(request):
        parts = urlsplit(request.url)
        if parts.scheme == "file":
            path = Path(unquote(parts.path))
            offline.loaded[path] = path.stat().st_size if path.exists() else 0

    def visit(name):
        offline.loaded.clear()
        offline.goto((site / name).as_uri())
        return offline

    offline.on("request", note)
    offline.visit = visit
    return offline


def pixels(canvas):
    """The grey levels of a picture of a widget, [28, 28]."""
    read = "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"
    side = canvas.evaluate("canvas => canvas.width")
    return np.array(canvas.evaluate(read)).reshape(-1, side, 4)[:, :, 0]


def wake(page, number=0):
    """Scroll to a widget, in a fold that is opened, and wait until it lives."""
    page.evaluate(OPEN_ALL)
    holder = page.locator(".vae-page").nth(number)
    holder.scroll_into_view_if_needed()
    holder.locator(".vae-live").wait_for()
    return holder


# --- weight and life


def test_the_first_page_is_light_and_alive_at_once(reader):
    page = reader.visit(HOME)
    page.locator(".vae-live canvas").first.wait_for()
    assert 100_000 < sum(page.loaded.values()) <= 300_000
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")
    spent = {metric["name"]: metric["value"] for metric in client.send("Performance.getMetrics")["metrics"]}
    assert spent["TaskDuration"] < SECONDS_TO_LIVE
    widget = page.locator(".vae-page")
    assert widget.bounding_box()["y"] < 400
    assert np.abs(pixels(widget.locator("canvas")) - front._explorer().pictures(front.START)[0]).max() <= 1
    assert (
        f"{front.small_model().metadata['results']['weights']:,} weights" in page.locator(".vae-caption").inner_text()
    )
    before = pixels(widget.locator("canvas"))
    widget.locator(".vae-point").press("ArrowRight")
    assert np.abs(pixels(widget.locator("canvas")) - before).max() > 3
    assert_healthy(page)


def test_a_lesson_is_light_until_its_widgets_are_scrolled_to_and_draws_what_pytorch_draws(reader, site, explorer):
    for path in sorted(site.glob("0*.html")):
        page = reader.visit(path.name)
        page.wait_for_timeout(200)
        assert page.locator(".vae-live").count() == 0
        assert 300_000 < sum(page.loaded.values()) <= 3_000_000, path.name
        assert max(page.loaded.values()) < 1_000_000  # no weights among them
    page = reader.visit(LESSON)
    holder = wake(page)
    assert any(size > 2_000_000 for size in page.loaded.values())
    drawn = pixels(holder.locator(".vae-picture").first)
    assert np.abs(drawn - explorer.pictures(START)[0]).max() <= 1
    assert holder.locator("> img").is_hidden()
    assert_healthy(page)


def test_the_record_says_what_the_browser_loads(reader, site):
    import json

    recorded = json.loads((site / "site.json").read_text("utf-8"))["kilobytes"]
    page = reader.visit("05_marginal_likelihood.html")
    page.wait_for_timeout(300)
    assert abs(sum(page.loaded.values()) / 1000 - recorded["05_marginal_likelihood.html"][0]) <= 1


# --- faults


@pytest.mark.parametrize("fault, words", [("damaged", "but it is damaged"), ("missing", "but it did not arrive")])
def test_weights_that_are_damaged_or_missing_leave_a_sentence_and_the_still(reader, site, tmp_path, fault, words):
    copy = tmp_path / "site"
    copy.mkdir()
    shutil.copy(site / LESSON, copy)
    shutil.copytree(site / "shared", copy / "shared")
    weights = max((copy / "shared").iterdir(), key=lambda path: path.stat().st_size)
    if fault == "missing":
        weights.unlink()
    else:
        text = weights.read_text("utf-8")
        weights.write_text(text[:5000] + ("A" if text[5000] != "A" else "B") + text[5001:], "utf-8")
    reader.goto((copy / LESSON).as_uri())
    reader.evaluate(OPEN_ALL)
    holder = reader.locator(".vae-page").first
    holder.scroll_into_view_if_needed()
    alert = holder.get_by_role("alert")
    alert.wait_for()
    assert words in alert.inner_text() and "get this site again" in alert.inner_text()
    assert holder.locator("> img").is_visible()


def test_without_scripts_there_are_stills_and_text(site, chromium):
    page = new_page(chromium, java_script_enabled=False)
    for name in (HOME, LESSON):
        page.goto((site / name).as_uri())
        assert page.locator("h1").is_visible() and not page.locator(".vae-tools").is_visible()
        if name == LESSON:
            page.locator(".vae-fold:has(.vae-page) > summary").first.click()
            page.locator(".vae-contents > summary").click()
            assert page.locator(".vae-contents a[aria-current=page]").is_visible()
        still = page.locator(".vae-page > img").first
        assert still.is_visible() and still.get_attribute("alt")
        assert still.evaluate("image => image.naturalWidth") > 100
    page.context.close()


# --- search, keys, theme


def test_the_search_finds_sections_and_enter_goes_there(reader, site):
    page = reader.visit(LESSON)
    page.keyboard.press("Control+k")
    asked = page.get_by_role("searchbox")
    assert asked.evaluate("input => input === document.activeElement")
    asked.fill("exam question")
    page.locator(".vae-search li").first.wait_for()
    assert "Ten questions for an exam" in page.locator(".vae-search li").first.inner_text()
    asked.fill('<img src=x onerror="window.harmed=1">')
    page.get_by_text("Nothing found").wait_for()
    asked.fill("zzzz")
    page.get_by_text("Nothing found").wait_for()
    asked.fill("score-function")
    page.locator(".vae-search li", has_text="01 · The ELBO").first.wait_for()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('.vae-search li') !== null")
    page.keyboard.press("ArrowUp")
    first = page.locator(".vae-search li a").first.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{first}")
    target = unquote(urlsplit(page.url).fragment)
    in_sight = (
        "id => { const { top } = document.getElementById(id).getBoundingClientRect(); return 0 < top && top < 400; }"
    )
    page.wait_for_function(in_sight, arg=target)
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    assert not page.locator(".vae-search").is_visible()
    assert page.evaluate("window.harmed === undefined")
    assert_healthy(page)


def test_the_keys_reach_everything_in_order(reader):
    page = reader.visit(LESSON)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the text"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "text"
    wanted = "a[href], button, summary, input, [tabindex='0']"
    reached, visible = page.evaluate(
        """async wanted => {
            const all = [...document.querySelectorAll(wanted)].filter((part) => part.checkVisibility());
            const seen = [];
            for (const part of all.slice(0, 60)) {
                part.focus({ focusVisible: true });
                const style = getComputedStyle(part);
                if (document.activeElement === part && parseFloat(style.outlineWidth) >= 3) seen.push(part);
            }
            return [seen.length, Math.min(60, all.length)];
        }""",
        wanted,
    )
    assert reached == visible == 60
    anchor = page.locator("h2 .anchor-link").first
    anchor.focus()
    page.keyboard.press("Enter")
    page.locator(".vae-said:not(:empty)").wait_for()
    assert page.url.endswith(anchor.get_attribute("href"))
    deeper = page.locator(".vae-deeper > summary").first
    deeper.press("Enter")
    assert page.locator(".vae-deeper").first.get_attribute("open") is not None


def test_a_theme_is_chosen_and_kept(reader):
    page = reader.visit(LESSON)
    button = page.locator(".vae-theme-button")
    grounds = {}
    for name in ("", "light", "dark"):
        assert page.evaluate("document.documentElement.dataset.theme") == name
        grounds[name] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert contrast(page.locator("article p").first) > 7
        if name != "dark":
            button.press("Enter")
    assert grounds["light"] == grounds[""] != grounds["dark"]
    card = page.locator(".jp-RenderedHTML > img").first
    assert card.evaluate("image => getComputedStyle(image).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    page = reader.visit("teaching.html")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds["dark"]
    assert "dark" in page.locator(".vae-theme-button").get_attribute("aria-label")


# --- for everybody


def names():
    """Of the site's pages, before it is made."""
    lessons = [path.stem for path in sorted(Path(__file__).parents[2].glob("notebooks/0*.ipynb"))]
    return ["index", "teaching", "scoreboard", "handbook", "contributing", "downloads", *lessons]


@pytest.mark.parametrize("name", names())
def test_axe_finds_nothing_serious(reader, name):
    page = reader.visit(f"{name}.html")
    page.evaluate(OPEN_ALL)
    if page.locator(".vae-page").count():
        wake(page)
    page.evaluate(AXE)
    for scheme, rules in {"light": "undefined", "dark": "['color-contrast']"}.items():
        page.emulate_media(color_scheme=scheme)
        # Formulas have no colours or names of their own, and the colours of code have a test below: of both, a lesson
        # has thousands of pieces.
        options = f"{{ preload: false, resultTypes: ['violations'], runOnly: {rules} }}"
        run = f"() => axe.run({{ exclude: [['math'], ['.highlight span']] }}, {options})"
        found = page.evaluate(run)["violations"]
        grave = [it for it in found if it["impact"] in ("serious", "critical")]
        grave = [(it["id"], [node["target"] for node in it["nodes"]]) for it in grave]
        assert grave == [], scheme


def test_code_can_be_read_in_all_its_colours(reader):
    page = reader.visit("01_elbo.html")
    classes = page.evaluate("[...new Set([...document.querySelectorAll('.highlight span')].map((it) => it.className))]")
    assert {"k", "kn", "s1", "mi", "c1", "nf"} <= set(classes)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name in filter(None, classes):
            assert contrast(page.locator(f".highlight span.{name}").first) > 4.5, (scheme, name)


def test_nothing_scrolls_sideways_on_a_phone(chromium, site):
    page = new_page(chromium, offline=True, viewport={"width": 360, "height": 740})
    for name in names():
        page.goto((site / f"{name}.html").as_uri())
        page.evaluate(OPEN_ALL)
        page.evaluate("dispatchEvent(new Event('resize'))")
        assert page.evaluate("document.documentElement.scrollWidth") == 360, name
    page.context.close()


def test_paper_has_all_of_it_and_stills_for_widgets(reader):
    page = reader.visit(LESSON)
    holder = wake(page)
    page.evaluate(OPEN_ALL.replace("true", "false"))
    page.emulate_media(media="print")
    assert holder.locator("> img").is_visible() and not holder.locator(".vae-live").is_visible()
    hidden = page.evaluate("""() => [...document.querySelectorAll("article :is(p, pre, h2, h3, img, math)")]
        .filter((part) => !part.checkVisibility({ contentVisibilityAuto: true }) && !part.closest(".vae-live"))
        .map((part) => part.outerHTML.slice(0, 200))""")
    assert hidden == []
    for away in (".vae-top", ".vae-contents", ".vae-turn"):
        assert not page.locator(away).is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 251)"
