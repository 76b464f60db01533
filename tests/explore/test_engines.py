"""Exported pages in three engines: what is seen is what PyTorch says, by hand, by key, by finger, in a small window.

`tests/helpers/engines.py` says how each engine is driven. JupyterLab is tested in Chromium: test_browser.py.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from vae_utils.authoring.browser import write_notebook
from vae_utils.authoring.explorer_speed import KEPT_IN_KERNEL
from vae_utils.authoring.lesson import LESSONS, read
from vae_utils.data import load_mnist
from vae_utils.evaluation import posterior_parameters
from vae_utils.explore.program import decoder_program, encoder_program
from vae_utils.models import load_vae

from browser import browser_or_skip, window  # noqa: F401  (a fixture)
from engines import ENGINES, running_engine
from live_widgets import numbers, run_in_page

pytestmark = pytest.mark.slow  # each drives a browser

KERNEL_DECODED = KEPT_IN_KERNEL + "LatentExplorer(VAE(vae.encoder, Fussy(vae.decoder, 1), None, 2))"
PADS = """
from vae_utils.data import load_mnist
from vae_utils.explore.drawing import DrawingPad
from vae_utils.models import load_vae
mnist = load_mnist()
"""
PHONE, ZOOMED = (360, 780), (640, 360)  # 1280 x 720 at 200% is 640 x 360 of the page's pixels
FOUR = [[(8, 4), (6, 13), (16, 14), (22, 11)], [(19, 3), (16, 25)]]  # lines, in pixels of the sheet


# --- pages


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """Lesson 04 as far as its first explorer, with all of its prose, and an explorer that needs the kernel."""
    folder = tmp_path_factory.mktemp("lesson")
    nb = read(LESSONS / "04_latent_manifold.ipynb")
    explorer = next(i for i, cell in enumerate(nb.cells) if cell.source.startswith("LatentExplorer("))
    nb.cells = [cell for i, cell in enumerate(nb.cells) if cell.cell_type == "markdown" or i <= explorer]
    nb.cells.append(nbformat.v4.new_code_cell("from vae_utils.models import VAE\n" + KERNEL_DECODED))
    nbformat.write(nb, folder / "page.ipynb")
    return exported(folder)


@pytest.fixture(scope="module")
def pads(tmp_path_factory):
    """The drawing pad with two latents, and that of lesson 03."""
    folder = tmp_path_factory.mktemp("pads")
    models = ("manifold", "conv")
    write_notebook(folder / "page.ipynb", PADS, *(f"DrawingPad(load_vae('{name}'), data=mnist)" for name in models))
    return exported(folder)


def exported(folder):
    """The page of `page.ipynb`, made as README says."""
    command = [sys.executable, "-m", "nbconvert", "--to", "lesson", "--execute", "page.ipynb"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "page.html"


@pytest.fixture(scope="module")
def vae():
    return load_vae("manifold")


@pytest.fixture(autouse=True)
def healthy(request):
    """No error in a console, and none shown by a widget."""
    yield
    if "window" in request.fixturenames:
        window = request.getfixturevalue("window")
        shown = "() => [...document.querySelectorAll('.vae-error')].map(it => it.textContent).filter(Boolean)"
        assert (window.errors(), window.evaluate(shown)) == ([], [])


def open_page(window, page, size=(1280, 720), scale=1):
    window.open(page, *size, scale)
    window.wait_for("() => document.querySelectorAll('.vae-live').length >= 2")


# --- what stands where


def box(window, selector, which=0, at=0.5):
    """left, top, width, height of a part, scrolled to where it is `at` of the window's height."""
    look = """async ([selector, which, at]) => {
        const part = document.querySelectorAll(selector)[which];
        for (let fold = part; fold; fold = fold.parentElement) if (fold.tagName === "DETAILS") fold.open = true;
        for (let top = NaN, still = 0; still < 3;) {                 // until nothing moves any more
            const { top: now, height } = part.getBoundingClientRect();
            scrollBy({ top: now + height / 2 - at * innerHeight, behavior: "instant" });
            await new Promise(requestAnimationFrame);
            still = part.getBoundingClientRect().top === top ? still + 1 : 0;
            top = part.getBoundingClientRect().top;
        }
        const { left, top, width, height } = part.getBoundingClientRect();
        return [left, top, width, height];
    }"""
    return window.evaluate(look, [selector, which, at])


def end_of_axes(window):
    """Of the first explorer's plane: the largest z."""
    return window.evaluate("() => Number(document.querySelector('.vae-point').getAttribute('aria-valuemax'))")


def on_plane(window, *route):
    """Where positions z of the first explorer's plane lie in the window."""
    (left, top, width, height), extent = box(window, ".vae-plane rect"), end_of_axes(window)
    return [(left + width * (z[0] / extent + 1) / 2, top + height * (1 - z[1] / extent) / 2) for z in route]


def on_sheet(window, line, which=0):
    left, top, width, height = box(window, ".vae-sheet", which)
    return [(left + width * x / 28, top + height * y / 28) for x, y in line]


SHOWN = """() => {
    const canvas = document.querySelector(".vae-live[data-kind=latent] canvas.vae-picture");
    const { data } = canvas.getContext("2d").getImageData(0, 0, 28, 28);
    return [canvas.dataset.z.split(",").map(Number), Array.from(data).filter((_, i) => i % 4 === 0)];
}"""


@torch.no_grad()
def assert_shows_its_decoder(window, vae):
    """The first explorer's picture is what PyTorch decodes at the z that it claims, which is returned."""
    z, pixels = window.evaluate(SHOWN)
    pixels = torch.tensor(pixels).reshape(28, 28)
    assert pixels.unique().numel() > 30  # a digit in greys, no blank sheet
    assert (pixels - ink(vae, z)).abs().max() <= 1
    return z


@torch.no_grad()
def ink(vae, z):
    return 255 - 255 * vae.decode(torch.tensor(z).float()).mean[0]


def seen(window, left, top, width, height):
    """That part of the window as the screen shows it, red, green, blue: [height, width, 3]."""
    picture = Image.open(io.BytesIO(window.screenshot())).convert("RGB")
    scale = picture.width / window.evaluate("() => innerWidth")
    corners = [round(scale * value) for value in (left, top, left + width, top + height)]
    return torch.from_numpy(np.asarray(picture.crop(corners)).copy())


def keep(window, name):
    """For eyes: where VAE_SCREENSHOTS says."""
    if folder := os.environ.get("VAE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{window.name}-{name}.png").write_bytes(window.screenshot())


# --- the explorer


def test_the_point_follows_hand_and_keys_and_the_picture_is_pytorchs(window, lesson, vae):
    open_page(window, lesson)
    start = assert_shows_its_decoder(window, vae)
    route = on_plane(window, start, (1.5, 0.5), (-0.7, 1.2))
    window.drag(route)
    assert assert_shows_its_decoder(window, vae) == pytest.approx((-0.7, 1.2), abs=0.02)
    window.press("ArrowRight", "ArrowRight", "ArrowUp")
    assert assert_shows_its_decoder(window, vae) == pytest.approx((-0.5, 1.3), abs=0.02)
    window.evaluate("() => document.querySelector('.vae-slider').focus()")
    window.press("ArrowRight")
    assert assert_shows_its_decoder(window, vae) == pytest.approx((-0.45, 1.3), abs=0.06)
    keep(window, "explorer")


def test_the_screen_shows_the_pixels(window, lesson, vae):
    """Each is a square of the screen, without blur."""
    open_page(window, lesson)
    window.drag(on_plane(window, (0, 0), (0.5, 0.4)))
    left, top, width, height = box(window, ".vae-live[data-kind=latent] canvas.vae-picture")
    picture, square = seen(window, left + 1, top + 1, width - 2, height - 2), (width - 2) / 28  # within its border
    middles = ((torch.arange(28) + 0.5) * square).long()
    grey = picture[middles][:, middles].float()
    z = assert_shows_its_decoder(window, vae)
    assert (grey - ink(vae, z)[..., None]).abs().max() <= 2


def test_at_the_corners_of_the_plane_the_rings_are_whole(window, lesson):
    """That of the point, and the one around a test image: no part around them cuts them off."""
    open_page(window, lesson, PHONE)
    end = end_of_axes(window)
    for corner in ((-end, end), (end, end), (end, -end), (-end, -end)):
        window.drag(on_plane(window, (0, 0), (0.3, 0.2), [1.02 * value for value in corner]))
        cut = window.evaluate("""() => {
            const plane = document.querySelector(".vae-plane"), halo = plane.querySelector(":scope > circle");
            const ring = plane.querySelector(".vae-ring"), place = ring.getScreenCTM();
            const [x, y] = [place.e, place.f], cut = [];
            for (const circle of [ring, halo]) {
                const stroke = parseFloat(getComputedStyle(circle).strokeWidth);
                const radius = (circle.r.baseVal.value + stroke / 2) * place.a;
                for (let around = plane; around !== document.body; around = around.parentElement) {
                    const { left, right, top, bottom } = around.getBoundingClientRect();
                    const room = Math.min(x - left, right - x, y - top, bottom - y);
                    if (getComputedStyle(around).overflow !== "visible" && room < radius) cut.push(around.outerHTML);
                }
            }
            return cut;
        }""")
        assert cut == [], corner
        assert tuple(window.evaluate(SHOWN)[0]) == corner
    keep(window, "corner")


def test_what_needs_the_kernel_says_so_and_keeps_its_still(window, lesson):
    open_page(window, lesson)
    said = window.wait_for("""() => [...document.querySelectorAll(".vae-page:has(.vae-message:not(:empty))")].map(it =>
        [it.querySelector(".vae-message").textContent, it.querySelector("img").naturalWidth])""")
    assert len(said) == 1 and "needs a kernel" in said[0][0] and said[0][1] > 300


def test_a_widget_that_cannot_start_says_so_and_keeps_its_still(window, lesson, tmp_path):
    """As in an engine that lacks something: here the script asks for a name that is not there."""
    page = lesson.read_text("utf-8")
    script = "export default { initialize, render };"
    assert page.count(script) == 1
    page = page.replace(script, "export default { initialize, render: noSuchThing };")
    (tmp_path / "page.html").write_text(page, "utf-8")
    window.open(tmp_path / "page.html")
    window.wait_for("() => document.querySelectorAll('.vae-page .vae-error').length === 2")
    said = window.evaluate("""() => [...document.querySelectorAll(".vae-page")].map(it =>
        [it.querySelector(".vae-error").textContent, it.querySelector("img").naturalWidth])""")
    assert all(text.startswith("This piece could not start in this browser: ") and width > 300 for text, width in said)
    assert any("noSuchThing" in text for text, _ in said)  # when asked again, WebKit gives another reason
    (tmp_path / "blank.html").write_text("<!DOCTYPE html><html><head></head></html>")
    window.open(tmp_path / "blank.html")  # without the errors that were meant


# --- the arithmetic


@pytest.mark.parametrize("name", ["manifold", "conv"])
@torch.no_grad()
def test_both_networks_agree_with_pytorch(window, name):
    model, images = load_vae(name), load_mnist().test[:20]
    x = model.observe(images, torch.Generator().manual_seed(0))
    q = model.encode(x).base_dist
    mean, log_variance = run_in_page(window, encoder_program(model), x).chunk(2, 1)
    assert q.loc.std() > 0.5
    assert (mean - q.loc).abs().max() <= 1e-3 and (log_variance - 2 * q.scale.log()).abs().max() <= 1e-3
    decoded = run_in_page(window, decoder_program(model), mean)
    assert (decoded - model.decode(q.loc).mean.flatten(1)).abs().max() <= 1 / 255


# --- the drawing pad

# When nothing changes any more: words follow the picture after a while.
PASSAGE = """async which => {
    const root = document.querySelectorAll(".vae-live[data-kind=draw]")[which];
    const look = () => {
        const [sheet, fitted, x, decoded] = [...root.querySelectorAll("canvas")].map(canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, 28, 28);
            return Array.from(data).filter((_, i) => i % 4 === 0);
        });
        const words = [...root.querySelectorAll("svg text")].map(text => text.textContent);
        const z = root.querySelector("canvas[data-z]").dataset.z.split(",").map(Number);
        return { fitted, decoded, z, said: words.filter(text => /^−?[\\d.]+ nats/.test(text)) };
    };
    for (let before = null; ;) {
        await new Promise(requestAnimationFrame);
        await new Promise(done => setTimeout(done, 300));
        const shown = look();
        if (JSON.stringify(shown) === before) return shown;
        before = JSON.stringify(shown);
    }
}"""


@pytest.mark.parametrize(("which", "name"), [(0, "manifold"), (1, "conv")])
@torch.no_grad()
def test_a_drawn_digit_moves_q_and_the_bound_as_pytorch_says(window, pads, which, name):
    open_page(window, pads)
    model, draws = load_vae(name), []
    window.evaluate(f"() => document.querySelectorAll('[data-action=clear]')[{which}].click()")
    for line in FOUR:
        window.drag(on_sheet(window, line, which))
        draws.append(passage(window, which, model))
    (z, nats), (other_z, other_nats) = draws
    assert (z - other_z).abs().max() > 0.1 and abs(nats[2] - other_nats[2]) > 1
    keep(window, f"drawing-{name}")


def passage(window, which, model):
    """z and [distortion, KL, their sum] that a pad shows, all as PyTorch has them."""
    shown = window.evaluate(PASSAGE, which)
    image = 1 - torch.tensor(shown["fitted"]).reshape(1, 1, 28, 28) / 255
    assert 0.02 < image.mean() < 0.3
    z, x = torch.tensor(shown["z"]).float(), model.observe(image, torch.Generator().manual_seed(0))
    p, q = model.decode(z), model.encode(x)
    assert (torch.tensor(shown["decoded"]).reshape(28, 28) - (255 - 255 * p.mean[0])).abs().max() <= 1
    mean, sigma = posterior_parameters(model, image)
    assert (((z - mean[0]) / sigma[0]).abs() < 5).all()
    distortion, rate = -p.log_prob(x).item(), torch.distributions.kl_divergence(q, model.prior).item()
    nats = [numbers(text)[0] for text in shown["said"]]
    assert nats == pytest.approx([distortion, rate, distortion + rate], abs=0.051 + 1e-4 * distortion)
    return z, nats


# --- formulas


def test_formulas_are_drawn(window, lesson):
    """As MathML that takes room: a fraction is higher than a letter, and no source is left."""
    open_page(window, lesson)
    found = window.evaluate("""() => {
        for (const fold of document.querySelectorAll("details")) fold.open = true;
        const sizes = selector => [...document.querySelectorAll(selector)].map(it => {
            const { width, height } = it.getBoundingClientRect();
            return [width, height];
        });
        const prose = [...document.querySelectorAll(".jp-RenderedMarkdown")].map(it => {
            const copy = it.cloneNode(true);
            for (const code of copy.querySelectorAll("code, pre, annotation")) code.remove();
            return copy.textContent;
        });
        const braced = [...document.querySelectorAll("munder > munder[accentunder]:first-child")];
        const below = braced.map(it =>
            it.nextElementSibling.getBoundingClientRect().top - it.firstElementChild.getBoundingClientRect().bottom);
        return { all: sizes("math"), letters: sizes("math > mi:only-child"), fractions: sizes("mfrac"), below, prose };
    }""")
    assert len(found["all"]) > 50 and min(min(size) for size in found["all"]) > 3
    assert max(height for _, height in found["letters"]) < min(height for _, height in found["fractions"])
    assert len(found["below"]) > 2 and min(found["below"]) > 1  # the words under a brace, from the term above it
    assert not [text for text in found["prose"] if "$" in text or "\\frac" in text or "\\mathbf" in text]
    box(window, ".vae-formula")
    keep(window, "formulas")


# --- windows of other sizes, and fingers


@pytest.mark.parametrize("size", [PHONE, ZOOMED], ids=["phone", "200%"])
def test_a_small_window_holds_every_widget_and_scrolls_one_way(window, lesson, pads, vae, size):
    for page in (pads, lesson):
        open_page(window, page, size, scale=2)
        wide = """() => {
            for (const fold of document.querySelectorAll("details")) fold.open = true;
            return [document.documentElement.scrollWidth, innerWidth];
        }"""
        needed, there = window.evaluate(wide)
        assert needed <= there == size[0]
        parts = window.evaluate("""() => {
            const parts = ".vae-live :is(.vae-plane, canvas, input, button, select, .vae-readout)";
            return [...document.querySelectorAll(parts)].filter(part => part.checkVisibility()).map(part => {
                const { left, right } = part.getBoundingClientRect();
                return [left, right, part.outerHTML.slice(0, 80)];
            });
        }""")
        assert [part for part in parts if part[0] < 0 or part[1] > size[0]] == [] and len(parts) > 10
    assert box(window, ".vae-plane")[2] >= 150
    keep(window, f"explorer-{size[0]}")
    window.drag(on_plane(window, (0, 0), (0.5, 0.3), (1.0, 0.6)))
    assert assert_shows_its_decoder(window, vae) == pytest.approx((1.0, 0.6), abs=0.05)


def test_a_finger_moves_the_point_and_draws(window, lesson, pads, vae):
    """Downwards, where a page would scroll."""
    open_page(window, lesson, PHONE, scale=2)
    window.drag(on_plane(window, *((0, -0.2 * step) for step in range(8))), finger=True)
    assert assert_shows_its_decoder(window, vae) == pytest.approx((0, -1.4), abs=0.05)
    open_page(window, pads, PHONE, scale=2)
    window.evaluate("() => document.querySelector('[data-action=clear]').click()")
    window.drag(on_sheet(window, [(14, y) for y in range(5, 23, 2)]), finger=True)
    drawn = """() => {
        const { data } = document.querySelector(".vae-sheet").getContext("2d").getImageData(14, 0, 1, 28);
        return Array.from(data).filter((_, i) => i % 4 === 0);
    }"""
    window.wait_for(f"() => ({drawn})()[20] < 30")
    column = window.evaluate(drawn)
    assert max(column[6:20]) < 30 and min(column[:3] + column[26:]) == 255
    keep(window, "finger")


def test_the_page_leaves_a_finger_on_the_plane_to_the_widget(window, lesson, pads):
    for page, selector in ((lesson, ".vae-plane"), (pads, ".vae-sheet")):
        open_page(window, page)
        assert window.evaluate(f"() => getComputedStyle(document.querySelector('{selector}')).touchAction") == "none"


# --- without them


@pytest.mark.parametrize("setting, outcome", [("", pytest.skip), ("required", pytest.fail)])
@pytest.mark.parametrize("name", ENGINES)
def test_without_an_engine_tests_skip_but_never_where_it_is_required(monkeypatch, tmp_path, name, setting, outcome):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VAE_BROWSER", setting)
    with pytest.raises(outcome.Exception, match="apt-get install"), browser_or_skip(running_engine(name)):
        pass
