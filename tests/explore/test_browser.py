"""The widgets of the lessons in a real browser: what is seen is what the model says, whatever the hand does.

Set VAE_SCREENSHOTS to a folder to keep the pictures of the pages.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch

from vae_utils.authoring.browser import (
    assert_healthy,
    evaluate,
    new_page,
    open_notebook,
    printed,
    problems,
    run_all,
    run_cell,
    set_theme,
    write_notebook,
)
from vae_utils.authoring.explorer_speed import KEPT_IN_KERNEL
from vae_utils.authoring.lesson import read
from vae_utils.data import load_mnist
from vae_utils.evaluation import active_units, posterior_parameters
from vae_utils.explore.program import decoder_program, encoder_program
from vae_utils.explore.widgets import MEASURED, NUM_SHOWN, GapExplorer, LiveWidget
from vae_utils.likelihoods import Gaussian, PixelGaussian
from vae_utils.models import conv_vae, load_vae, mlp_vae, paper_vae, save_vae

from browser import chromium, chromium_or_skip, jupyter_lab, page  # noqa: F401  (fixtures)
from live_widgets import (
    assert_every_control_has_a_name,
    assert_fits_and_can_be_read,
    assert_tab_reaches_every_control,
    bring,
    explore_js,
    keep_screenshot,
    notebook,
    numbers,
    run_in_page,
)

pytestmark = pytest.mark.slow  # each drives a browser

PROJECT = Path(__file__).resolve().parents[2]
GREY_LEVELS = 1.5  # one, and half a one for rounding
LESSON = PROJECT / "notebooks" / "04_latent_manifold.ipynb"
# ipywidgets keeps a list of the widgets that are open.
ALIVE = (
    "from ipywidgets.widgets import widget; "
    "print(sum(type(w).__name__ == 'LatentExplorer' for w in widget._instances.values()))"
)
KERNEL_DECODED = KEPT_IN_KERNEL + "fussy = VAE(vae.encoder, Fussy(vae.decoder, 1), None, 2)\n"
PREPARE = """
import torch
from vae_utils.explore.widgets import FramePlayer, GapExplorer, LatentExplorer
from vae_utils.models import VAE, load_vae
vae = load_vae("manifold")
"""
SMALL = "small.ipynb", PREPARE + "LatentExplorer(vae)"  # a notebook's name and cell
# Five pictures, each of one grey, from white to black.
SHEETS = """
import io
from PIL import Image
sheets = []
for grey in (255, 191, 127, 64, 0):
    file = io.BytesIO()
    Image.new("L", (56, 56), grey).save(file, "PNG")
    sheets.append(file.getvalue())
"""


# --- pages that several tests visit: opening one costs seconds


@pytest.fixture(scope="module")
def vae():
    return load_vae("manifold")


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


@pytest.fixture(scope="module")
def lesson(chromium, jupyter_lab):
    """Lesson 04 as far as its first explorer, and all of its prose: nbval runs the other cells."""
    nb = read(LESSON)
    explorer = next(i for i, cell in enumerate(nb.cells) if cell.source.startswith("LatentExplorer("))
    nb.cells = [cell for i, cell in enumerate(nb.cells) if cell.cell_type == "markdown" or i <= explorer]
    nbformat.write(nb, jupyter_lab.folder / LESSON.name)
    with notebook(chromium, jupyter_lab, LESSON.name) as page:
        yield page


HARMFUL = '<img src=x onerror="window.harmed = 1">'
CELLS = {  # of the notebook "workshop.ipynb"
    "prepare": PREPARE + "from vae_utils.data import load_mnist\nmnist = load_mnist()",
    "one": "LatentExplorer(vae, data=mnist)",
    "another": "LatentExplorer(vae, z=[1.0, -1.0])",
    "kernel": KERNEL_DECODED + "LatentExplorer(fussy)",
    "many": "LatentExplorer({'conv': load_vae('conv'), 'mlp': load_vae('mlp')}, data=mnist)",
    "gap": "z = torch.linspace(-8, 8, 2001)\nGapExplorer(z, -0.5 * z**2 - 2 * (z - 1)**2)",
    "frames": SHEETS + f"FramePlayer(sheets, ['none', {HARMFUL!r}, 'half', 'much', 'all'], 'ink', start=0)",
    "pair": f"LatentExplorer({{{HARMFUL!r}: vae, 'right': vae}})",
    "alive": ALIVE,
}


@pytest.fixture(scope="module")
def bench(chromium, jupyter_lab):
    """A notebook with one widget of each kind, run."""
    with notebook(chromium, jupyter_lab, "workshop.ipynb", *CELLS.values(), widgets=7) as page:
        assert_healthy(page)
        yield page


@pytest.fixture
def workshop(bench):
    """The same notebook with its explorers where they were at the start."""
    evaluate(bench, "() => document.querySelectorAll('[data-action=reset]').forEach(button => button.click())")
    yield bench
    bench.mouse.up()


def widget(page, name):
    """The live part of one of the `CELLS`, on the screen."""
    root = page.locator(".jp-Notebook .jp-Cell").nth(list(CELLS).index(name)).locator(".vae-live")
    bring(root.locator("svg, canvas").first)
    return root


# --- what a widget shows

LOOK = """(root, which) => {
    const canvas = root.querySelectorAll("canvas.vae-picture")[which], { width, height } = canvas;
    return {
        z: canvas.dataset.z, width, height,
        pixels: Array.from(canvas.getContext("2d").getImageData(0, 0, width, height).data),
        sliders: Array.from(root.querySelectorAll(".vae-sliders .vae-slider"), slider => ({
            ...slider.dataset, value: slider.value, max: slider.max, step: slider.step,
            text: slider.closest(".vae-coordinate").querySelector(".vae-number").textContent,
        })),
        readout: root.querySelector(".vae-readout").textContent,
    };
}"""


def look(root, which=0):
    """What an explorer shows at one moment, in one dict; `pixels` is a tensor [H, W] of grey levels."""
    shown = root.evaluate(LOOK, which)
    pixels = torch.tensor(shown["pixels"]).reshape(shown["height"], shown["width"], 4)
    red, green, blue, opacity = pixels.unbind(-1)
    assert (red == green).all() and (red == blue).all() and (opacity == 255).all()
    return shown | {"z": shown["z"] and [float(value) for value in shown["z"].split(",")], "pixels": red}


def look_in_colour(root, which=0):
    """As `look`, but `pixels` has three channels: [3, H, W]."""
    shown = root.evaluate(LOOK, which)
    pixels = torch.tensor(shown["pixels"]).reshape(shown["height"], shown["width"], 4).movedim(-1, 0)
    assert (pixels[3] == 255).all()
    return shown | {"z": shown["z"] and [float(value) for value in shown["z"].split(",")], "pixels": pixels[:3]}


def seen(root, which=0):
    """The z that a picture claims to show."""
    return look(root, which)["z"]


@torch.no_grad()
def ink_on_paper(vae, z):
    """What the decoder says, as grey levels before they are rounded: [28, 28], 255 is white."""
    return 255 - 255 * vae.decode(torch.tensor(z)).mean[0]


def assert_shows_its_decoder(root, vae, which=0):
    """Picture, sliders and read-out of an explorer agree on z, which is returned."""
    shown = look(root, which)
    z, pixels = shown["z"], shown["pixels"]
    assert pixels.unique().numel() > 30  # a digit in greys, no blank sheet
    assert (pixels - ink_on_paper(vae, z)).abs().max() <= GREY_LEVELS
    assert sorted(int(slider["index"]) for slider in shown["sliders"]) == list(range(len(z)))
    for slider in shown["sliders"]:
        value, end, step = z[int(slider["index"])], float(slider["max"]), float(slider["step"])
        assert float(slider["value"]) == pytest.approx(min(max(value, -end), end), abs=step / 2 + 1e-9)
        assert numbers(slider["text"])[0] == pytest.approx(value, abs=0.0051)
    *position, log_p, length = numbers(shown["readout"].replace("log p(z)", ""))
    assert position == pytest.approx(z if len(z) == 2 else [], abs=0.0051)
    assert log_p == pytest.approx(vae.prior.log_prob(torch.tensor(z)).item(), abs=0.0051)
    assert length == pytest.approx(torch.tensor(z).norm().item(), abs=0.0051)
    return z


def axes(root):
    """The frame of a plane on the screen (x, y, width, height), and the largest z on its axes."""
    plane = root.locator(".vae-plane").first
    box = plane.locator("rect").first.bounding_box()
    extent = float(root.locator(".vae-point").first.get_attribute("aria-valuemax"))
    return (box["x"], box["y"], box["width"], box["height"]), extent


def on_screen(root, z):
    """Where a point of the plane lies on the screen."""
    (x, y, width, height), extent = axes(root)
    return x + width * (z[0] / extent + 1) / 2, y + height * (1 - z[1] / extent) / 2


def assert_point_is_at(root, z, pixels=1.0):
    box = root.locator(".vae-point circle").last.bounding_box()
    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    assert centre == pytest.approx(on_screen(root, z), abs=pixels)


def drag(page, root, *route):
    """Drag the point along positions z of the plane, in a few moves each."""
    bring(root.locator(".vae-plane").first)
    start, *rest = [on_screen(root, z) for z in route]
    page.mouse.move(*start)
    page.mouse.down()
    for place in rest:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def wait_for_z(root, z, which=0):
    """Until the picture shows this z, which the kernel may have to decode."""
    canvas = root.locator("canvas.vae-picture").nth(which).element_handle()
    shows = """([canvas, z]) => canvas.dataset.z
        && canvas.dataset.z.split(",").every((value, i) => Math.abs(value - z[i]) < 0.02)"""
    root.page.wait_for_function(shows, arg=[canvas, list(z)], timeout=10_000)


# --- the browser, JupyterLab and lesson 04


@pytest.mark.parametrize("setting, outcome", [("", pytest.skip), ("required", pytest.fail)])
def test_without_a_browser_tests_skip_but_never_where_it_is_required(monkeypatch, tmp_path, setting, outcome):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VAE_BROWSER", setting)
    with pytest.raises(outcome.Exception, match="apt-get install chromium"), chromium_or_skip():
        pass


def test_jupyterlab_listens_on_loopback_only_and_asks_for_its_token(jupyter_lab):
    assert jupyter_lab.api("contents")[0] == 200
    for path in ("contents", "kernels", "sessions", "status"):
        assert jupyter_lab.api(path, token=False) == (403, None)
    with socket.socket() as stranger:  # another address of this computer
        stranger.settimeout(2)
        assert stranger.connect_ex(("127.0.0.2", jupyter_lab.port)) != 0


def test_lesson_04_runs_in_jupyterlab_and_its_explorer_shows_the_decoder(lesson, vae):
    assert_healthy(lesson)
    root = lesson.locator('.vae-live[data-kind="latent"]').first
    start = assert_shows_its_decoder(root, vae)
    drag(lesson, root, (0, 0), (1.5, 0.5), (-0.7, 1.2))
    assert assert_shows_its_decoder(root, vae) != start
    assert_healthy(lesson)


def test_notebook_7_shows_the_same(chromium, jupyter_lab, vae):
    with notebook(chromium, jupyter_lab, *SMALL, in_notebook_7=True) as page:
        assert "lab" not in page.url.partition("?")[0]
        root = page.locator(".vae-live")
        drag(page, root, (0, 0), (1.5, 0.5))
        root.locator('.vae-slider[data-index="0"]').press("ArrowRight")
        root.locator(".vae-point").press("ArrowUp")
        assert assert_shows_its_decoder(root, vae) == pytest.approx((1.55, 0.6), abs=0.03)
        # its console holds errors of its own, of an empty notebook too
        assert [text for text in problems(page) if not text.startswith("console: ")] == []


@pytest.mark.parametrize("in_notebook_7", [False, True], ids=["JupyterLab", "Notebook 7"])
def test_a_lesson_that_was_saved_and_opened_again_shows_its_pictures(chromium, jupyter_lab, in_notebook_7):
    cells = [CELLS[name] for name in ("prepare", "one", "many", "gap", "frames", "pair")]
    name, stills = "reopened.ipynb", "img[id^=vae-still]"
    with notebook(chromium, jupyter_lab, name, *cells, widgets=5, in_notebook_7=in_notebook_7) as page:
        assert page.locator(f"{stills}:visible").count() == 0  # a widget that lives is enough
        evaluate(page, "async () => { await jupyterapp.commands.execute('docmanager:save'); }")
    jupyter_lab.shut_down(name)
    page = new_page(chromium)
    open_notebook(page, jupyter_lab, name, in_notebook_7)
    for index in range(1, len(cells)):
        still = page.locator(".jp-Notebook .jp-Cell").nth(index).locator(stills)
        bring(still)
        assert still.evaluate("image => image.naturalWidth") > 50 and still.get_attribute("alt").strip()
        assert page.get_by_text("Error displaying widget").filter(visible=True).count() == 0
    keep_screenshot(page, f"reopened-{'notebook-7' if in_notebook_7 else 'lab'}")
    run_all(page, widgets=5)
    assert page.locator(f"{stills}:visible").count() == 0 and page.locator(".vae-live:visible").count() > 0
    page.context.close()
    jupyter_lab.shut_down(name)


# --- one explorer, by hand


def test_dragging_the_point_shows_each_z_on_the_way(workshop, vae):
    root = widget(workshop, "one")
    workshop.mouse.move(*on_screen(root, (0, 0)))
    workshop.mouse.down()
    for z in ((0.4, 0.2), (1.1, -0.6), (-2.0, 0.3), (-0.1, 2.2)):
        workshop.mouse.move(*on_screen(root, z), steps=3)
        assert assert_shows_its_decoder(root, vae) == pytest.approx(z, abs=0.02)
        assert_point_is_at(root, z)
    workshop.mouse.up()
    workshop.mouse.move(*on_screen(root, (1, 1)))  # without a button: nothing moves
    assert seen(root) == pytest.approx((-0.1, 2.2), abs=0.02)
    assert_healthy(workshop)


def test_a_drag_beyond_the_plane_stops_at_its_edge(workshop, vae):
    root = widget(workshop, "one")
    extent = axes(root)[1]
    drag(workshop, root, (0, 0), (1, 1), (2 * extent, 0))
    assert assert_shows_its_decoder(root, vae) == pytest.approx((extent, 0), abs=0.02)


def test_a_slider_moves_the_point_by_mouse_and_by_keyboard(workshop, vae):
    root = widget(workshop, "one")
    slider = root.locator('.vae-slider[data-index="1"]')
    box = slider.bounding_box()
    slider.hover()
    workshop.mouse.down()
    slider.hover(position={"x": 0.8 * box["width"], "y": box["height"] / 2})
    workshop.mouse.up()
    z = assert_shows_its_decoder(root, vae)
    assert z[0] == 0 and z[1] > 1
    assert_point_is_at(root, z)
    slider.press("ArrowLeft")
    assert assert_shows_its_decoder(root, vae) == pytest.approx((0, z[1] - 0.05), abs=1e-6)
    slider.press("Home")
    assert seen(root) == pytest.approx((0, -axes(root)[1]))
    assert_healthy(workshop)


def test_arrow_keys_move_the_point_and_nothing_else(workshop, vae):
    root = widget(workshop, "one")
    root.locator(".vae-point").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft"):
        workshop.keyboard.press(key)
    z = assert_shows_its_decoder(root, vae)
    assert z == pytest.approx((0.2 - 0.5, 0.1))
    assert_point_is_at(root, z)
    assert evaluate(workshop, "() => document.activeElement.classList.contains('vae-point')")


@pytest.mark.parametrize("name", ["one", "many", "gap", "frames", "pair"])
def test_tab_reaches_every_control_in_order_and_shows_where_it_is(workshop, name):
    assert_tab_reaches_every_control(widget(workshop, name))
    assert_healthy(workshop)


def test_a_screen_reader_gets_a_name_for_every_control_and_a_value_for_every_slider(workshop):
    for name in ("one", "many", "gap", "frames", "pair"):
        assert_every_control_has_a_name(widget(workshop, name))
    gap = widget(workshop, "gap")
    gap.locator(".vae-slider").first.press("ArrowRight")
    said = gap.get_by_role("status").first.text_content()  # read out when it changes
    assert "ELBO" in said and gap.get_by_role("img").get_attribute("aria-label").endswith(said)


def test_python_and_the_page_know_the_same_z(workshop, jupyter_lab):
    root = widget(workshop, "one")
    drag(workshop, root, (0, 0), (0.5, -1.5))
    workshop.wait_for_timeout(300)  # until the hand rests
    code = """async code => {
        const request = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code });
        let said = "";
        request.onIOPub = message => { said += message.content.text ?? message.content.evalue ?? ""; };
        await request.done;
        return said;
    }"""
    find = (
        "from ipywidgets.widgets import widget\n"
        "explorer, = [w for w in widget._instances.values() if type(w).__name__ == 'LatentExplorer'"
        " and w.spec['labels'] and w.spec['latent_size'] == 2]\n"
    )
    assert numbers(evaluate(workshop, code, find + "print(*explorer.z)")) == pytest.approx(seen(root))
    assert evaluate(workshop, code, find + "explorer.z = [0.25, 0.75]") == ""
    wait_for_z(root, (0.25, 0.75))


def test_on_axes_of_quantiles_equal_steps_are_equal_shares_of_the_prior(workshop, vae):
    root = widget(workshop, "one")
    quantiles, dots = (root.get_by_label(name, exact=True) for name in ("quantiles", "test images"))
    quantiles.check()
    dots.uncheck()  # a click on one would go to its code
    (x, y, width, height), _ = axes(root)
    for shares in ((0.5, 0.5), (0.1, 0.8), (0.97, 0.03)):
        workshop.mouse.click(x + width * shares[0], y + height * (1 - shares[1]))
        z = torch.tensor(assert_shows_its_decoder(root, vae))
        assert torch.distributions.Normal(0, 1).cdf(z).tolist() == pytest.approx(shares, abs=0.005)
        point = root.locator(".vae-point circle").last.bounding_box()
        assert point["x"] + point["width"] / 2 == pytest.approx(x + width * shares[0], abs=1)
    quantiles.uncheck()
    dots.check()
    assert_healthy(workshop)


# --- buttons, dots, paths


def test_a_click_on_a_dot_shows_the_test_image_beside_its_reconstruction(workshop, vae, mnist):
    root = widget(workshop, "one")
    codes = codes_of(vae, mnist)
    chosen = most_lonely(codes)
    workshop.mouse.click(*on_screen(root, codes[chosen].tolist()))
    assert assert_shows_its_decoder(root, vae) == pytest.approx(codes[chosen].tolist(), abs=1e-4)
    assert_shows_test_image(root, mnist.test[chosen])
    assert f"{mnist.test_labels[chosen]}" in root.locator("figcaption").nth(1).text_content()
    assert_healthy(workshop)


def test_nearest_goes_to_the_nearest_code(workshop, vae, mnist):
    root = widget(workshop, "one")
    codes = codes_of(vae, mnist)
    drag(workshop, root, (0, 0), (0.9, 0.4))
    z = seen(root)
    root.locator('[data-action="nearest"]').click()
    nearest = (codes - torch.tensor(z)).norm(dim=1).argmin()
    assert assert_shows_its_decoder(root, vae) == pytest.approx(codes[nearest].tolist(), abs=1e-4)
    assert_shows_test_image(root, mnist.test[nearest])


def test_random_draws_differ_and_reset_returns(workshop, vae):
    root = widget(workshop, "one")
    draws = []
    for _ in range(8):
        root.locator('[data-action="random"]').click()
        draws.append(assert_shows_its_decoder(root, vae))
    assert len({tuple(z) for z in draws}) == 8
    assert 0.2 < torch.tensor(draws).std() < 2.5
    root.locator('[data-action="reset"]').click()
    assert seen(root) == [0, 0]


@pytest.mark.parametrize("kind", ["straight", "sphere"])
def test_a_path_plays_from_a_1_to_a_7(workshop, vae, mnist, kind):
    root = widget(workshop, "one")
    codes, labels = codes_of(vae, mnist), mnist.test_labels[:NUM_SHOWN]
    ends = []
    for digit in (1, 7):  # the code nearest to the median of its class
        own = codes[labels == digit]
        ends.append(own[(own - own.median(0).values).norm(dim=1).argmin()].tolist())
    root.locator('[data-action="kind"]').select_option(kind)
    root.locator('[data-action="play"]').click()
    on_the_way = []
    for _ in range(5):
        workshop.wait_for_timeout(300)
        on_the_way.append(assert_shows_its_decoder(root, vae))
    root.locator('[data-action="play"]', has_text="play").wait_for()  # which says "stop" while it plays
    assert assert_shows_its_decoder(root, vae) == pytest.approx(ends[1], abs=1e-4)
    first, last = torch.tensor(ends)
    for z in torch.tensor(on_the_way):
        share = ((z - first) @ (last - first)) / (last - first).square().sum()
        distance = (z - first - share * (last - first)).norm()
        assert -0.1 < share < 1.1 and (distance < 1e-3 if kind == "straight" else True)
        if kind == "sphere":
            assert min(first.norm(), last.norm()) - 1e-3 < z.norm() < max(first.norm(), last.norm()) + 1e-3
    assert_healthy(workshop)


@torch.no_grad()
def codes_of(vae, mnist):
    """Of the test images that are shown: means of q(z|x)."""
    return posterior_parameters(vae, mnist.test[:NUM_SHOWN])[0]


def most_lonely(codes):
    """The code near the middle of the plane whose neighbours are furthest: a click cannot miss it."""
    distances = torch.cdist(codes, codes) + 1e9 * torch.eye(len(codes))
    return torch.where(codes.abs().amax(1) < 2, distances.amin(1), 0).argmax().item()


def assert_shows_test_image(root, image):
    assert root.locator("canvas.vae-picture").nth(1).is_visible()
    assert (look(root, 1)["pixels"] - (255 - 255 * image[0])).abs().max() <= 0.51


# --- more models, more latents


def test_names_and_labels_stay_text(workshop):
    assert widget(workshop, "pair").locator("figcaption").first.text_content().startswith(HARMFUL)
    root = widget(workshop, "frames")
    root.locator("input[type=range]").press("Home")
    root.locator("input[type=range]").press("ArrowRight")
    assert HARMFUL in root.text_content()
    root.locator("input[type=range]").press("Home")
    assert evaluate(workshop, "() => window.harmed === undefined")


def test_two_models_show_the_same_z_and_collapsed_latents_are_folded_away(workshop, mnist):
    root = widget(workshop, "many")
    models = {"conv": load_vae("conv"), "mlp": load_vae("mlp")}
    root.locator('[data-action="random"]').click()
    for which, (name, model) in enumerate(models.items()):
        assert name in root.locator("figcaption").nth(which).text_content()
        z = assert_shows_its_decoder(root, model, which)
    assert len(z) == 32 and seen(root, 0) == seen(root, 1)
    nats = [numbers(slider["text"])[1] for slider in look(root)["sliders"]]
    assert nats == sorted(nats, reverse=True) and nats[0] > 1
    folded = root.locator("details:not([open]) .vae-slider").count()
    in_use = [active_units(model, mnist.test[:MEASURED]) for model in models.values()]
    assert 0 < folded == torch.stack(in_use).any(0).logical_not().sum()
    assert_healthy(workshop)


# --- decoded in the kernel


def test_the_kernel_decodes_what_the_page_cannot_and_says_so(workshop, vae):
    root = widget(workshop, "kernel")
    assert "kernel" in root.locator(".vae-where").text_content().lower()
    for z in ((-0.5, 0.5), (0.9, -1.3)):
        drag(workshop, root, (0, 0), (-2, -2), z)
        wait_for_z(root, z)  # the last position, whatever came before
        shown = assert_shows_its_decoder(root, vae)
        assert (look(root)["pixels"] - ink_on_paper(vae, shown)).abs().max() <= 0.51
    assert_healthy(workshop)


def test_an_exception_in_the_decoder_is_shown_and_makes_the_page_unhealthy(workshop):
    """The deliberate failure: `interact` would have swallowed it."""
    root = widget(workshop, "kernel")
    for _ in range(15):  # by keys: a busy machine may move the page under the mouse
        root.locator(".vae-point").press("ArrowRight")
    root.locator(".vae-error", has_text="ArithmeticError: too far to the right").wait_for()
    with pytest.raises(AssertionError, match="too far to the right"):
        assert_healthy(workshop)
    for _ in range(10):
        root.locator(".vae-point").press("ArrowLeft")
    wait_for_z(root, (0.5, 0))
    assert_healthy(workshop)


@pytest.fixture
def doomed(chromium, jupyter_lab):
    """Explorers decoded by page and by kernel, and the gap; the first cell prints the id of the kernel's process."""
    cells = PREPARE + "import os; print(os.getpid())", "LatentExplorer(vae)", KERNEL_DECODED + "LatentExplorer(fussy)"
    with notebook(chromium, jupyter_lab, "doomed.ipynb", *cells, CELLS["gap"], widgets=3) as page:
        assert page.locator(".vae-message").all_text_contents() == ["", "", ""]
        assert_healthy(page)
        yield page
    jupyter_lab.shut_down("doomed.ipynb")


def test_a_kernel_that_died_leaves_a_message_on_every_explorer(doomed, vae):
    """As soon as JupyterLab knows it itself: its server looks every three seconds."""
    os.kill(int(printed(doomed, 0)[0]), signal.SIGKILL)
    for root in doomed.locator(".vae-live").all():
        root.locator(".vae-message", has_text="kernel").wait_for(timeout=15_000)
    doomed.locator(".jp-Dialog button").click()  # JupyterLab says it too
    page_decoded, kernel_decoded, gap = doomed.locator(".vae-live").all()
    for root in (page_decoded, kernel_decoded):
        root.locator(".vae-point").press("ArrowRight")
    gap.locator(".vae-slider").first.press("ArrowRight")
    doomed.wait_for_timeout(500)
    assert assert_shows_its_decoder(page_decoded, vae) == pytest.approx([0.1, 0])
    assert seen(kernel_decoded) == [0, 0] and kernel_decoded.locator(".vae-message").text_content()
    assert problems(doomed) == []


def test_a_kernel_that_was_shut_down_leaves_a_message_where_it_is_needed(doomed, jupyter_lab, vae):
    jupyter_lab.shut_down("doomed.ipynb")
    doomed.wait_for_timeout(1000)
    page_decoded, kernel_decoded, _ = doomed.locator(".vae-live").all()
    for root in (page_decoded, kernel_decoded):  # JupyterLab tells the widgets nothing of this end
        root.locator(".vae-point").press("ArrowRight")
    kernel_decoded.locator(".vae-message", has_text="kernel").wait_for(timeout=15_000)
    assert assert_shows_its_decoder(page_decoded, vae) == pytest.approx([0.1, 0])
    # ipywidgets' own words, when a widget has changed and nobody is there to hear it
    assert [text for text in problems(doomed) if "Could not send widget sync message" not in text] == []


# --- nothing global


def test_two_explorers_do_not_disturb_each_other(workshop, vae):
    first, second = widget(workshop, "one"), widget(workshop, "another")
    assert seen(first) == [0, 0] and seen(second) == [1, -1]
    drag(workshop, first, (0, 0), (0.5, 0.5))
    assert assert_shows_its_decoder(second, vae) == [1, -1]
    drag(workshop, second, (1, -1), (-1, 0))
    assert assert_shows_its_decoder(first, vae) == pytest.approx((0.5, 0.5), abs=0.02)
    assert assert_shows_its_decoder(second, vae) == pytest.approx((-1, 0), abs=0.02)


def test_running_a_cell_again_replaces_its_explorer_and_frees_the_old_one(workshop, vae):
    place, alive = list(CELLS).index("another"), list(CELLS).index("alive")
    before = int(printed(workshop, alive)[0])
    drag(workshop, widget(workshop, "another"), (1, -1), (-1, 0))
    for _ in range(2):
        run_cell(workshop, place)
    run_cell(workshop, alive)
    assert int(printed(workshop, alive)[0]) == before == 5
    root = widget(workshop, "another")
    assert root.count() == 1 and assert_shows_its_decoder(root, vae) == [1, -1]
    drag(workshop, root, (1, -1), (0, 1))
    assert assert_shows_its_decoder(root, vae) == pytest.approx((0, 1), abs=0.02)
    assert_healthy(workshop)


def test_a_script_is_imported_once_a_page_and_a_newer_one_beside_it(page):
    """The loader, imported for each widget as anywidget does: for one kernel, then for a restarted, newer one."""
    show = """async ({ loader, scripts }) => {
        window.imports = [];
        const shown = [];
        for (const script of scripts) {
            const address = URL.createObjectURL(new Blob([loader], { type: "text/javascript" }));
            const { default: widget } = await import(address), el = document.createElement("div");
            const model = { get: () => script };
            await widget.initialize({ model });
            await widget.render({ model, el });
            shown.push(el.textContent);
        }
        return [window.imports, shown];
    }"""
    old, new = (
        f"imports.push('{name}'); export default {{ initialize() {{}}, render({{ el }}) {{ el.append('{name}'); }} }};"
        for name in ("old", "new")
    )
    given = {"loader": LiveWidget._esm, "scripts": [old, old, new, old]}
    assert evaluate(page, show, given) == [["old", "new"], ["old", "old", "new", "old"]]


# --- the other lessons' pieces


def test_the_gap_closes_by_keyboard_as_the_formula_says(workshop):
    z = torch.linspace(-8, 8, 2001)
    same = GapExplorer(z, -0.5 * z**2 - 2 * (z - 1) ** 2)
    root = widget(workshop, "gap")
    mean, width = root.locator(".vae-slider").all()
    gaps = []
    for slider, key in ((mean, "ArrowRight"), (mean, "PageUp"), (width, "ArrowLeft")):
        slider.press(key)
        elbo, gap, _ = numbers(root.locator(".vae-readout").text_content().replace("p(x)", ""))
        terms = same.terms(*(float(s.input_value()) for s in (mean, width)))
        assert (elbo, gap) == pytest.approx(terms, abs=0.002)
        gaps.append(gap)
    assert len(set(gaps)) == 3
    assert_healthy(workshop)


def test_stored_frames_play_and_follow_the_keyboard(workshop):
    root = widget(workshop, "frames")
    canvas, slider = root.locator("canvas"), root.locator(".vae-slider")

    def grey():
        return canvas.evaluate("c => c.getContext('2d').getImageData(20, 20, 1, 1).data[0]")

    assert grey() == 255
    slider.press("ArrowRight")
    assert grey() == 255 - 64 and HARMFUL in root.text_content()
    slider.press("End")
    assert grey() == 0 and "all" in root.text_content()
    slider.press("Home")
    root.locator('[data-action="play"]').click()
    canvas.and_(workshop.locator('[data-frame="4"]')).wait_for(timeout=10_000)
    assert grey() == 0
    assert_healthy(workshop)


# --- sizes, themes, touch


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("size", [(1280, 720), (640, 360), (390, 844)], ids=["1280x720", "200%", "phone"])
def test_every_widget_fits_and_can_be_seen(workshop, size, theme):
    workshop.set_viewport_size(dict(zip(("width", "height"), size)))
    set_theme(workshop, f"JupyterLab {theme}")
    for name in ("one", "many", "gap", "frames", "pair"):
        root = widget(workshop, name)
        assert_fits_and_can_be_read(root)
        keep_screenshot(workshop, f"{name}-{size[0]}-{theme.lower()}")
    one = widget(workshop, "one")
    for part in (one.locator(".vae-plane"), one.locator("canvas.vae-picture").first):
        box = part.bounding_box()
        assert min(box["width"], box["height"]) >= 150
    workshop.set_viewport_size({"width": 1280, "height": 720})


def test_a_finger_taps_and_drags_on_a_phone(chromium, jupyter_lab, vae):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with notebook(chromium, jupyter_lab, *SMALL, **phone) as page:
        root = page.locator(".vae-live")
        bring(root.locator(".vae-plane"))
        page.touchscreen.tap(*on_screen(root, (0.6, 1.1)))
        assert assert_shows_its_decoder(root, vae) == pytest.approx((0.6, 1.1), abs=0.04)
        finger = page.context.new_cdp_session(page)  # Playwright itself only taps

        def touch(kind, *places):
            points = [dict(zip("xy", on_screen(root, z))) for z in places]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", (0, 0))
        for step in range(1, 11):
            touch("touchMove", (0, -0.2 * step))  # downwards, where a page would scroll
        touch("touchEnd")
        assert assert_shows_its_decoder(root, vae) == pytest.approx((0, -2), abs=0.04)
        keep_screenshot(page, "touch")
        assert_healthy(page)


# --- without a kernel and a network


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A page with five explorers, made by nbconvert as README says; beside it the models that the last ones show."""
    folder = tmp_path_factory.mktemp("page")
    torch.manual_seed(0)
    faces = paper_vae(2, 30, std=1.0, likelihood=PixelGaussian(), image_shape=(1, 28, 20))
    save_vae(faces, folder / "faces.safetensors")
    face = "LatentExplorer(load_vae('faces.safetensors'), z=[0.5, -0.3], light=True)"
    save_vae(mlp_vae(2, (16,), image_shape=(3, 16, 12), classes=3), folder / "own.safetensors")
    torch.manual_seed(1)
    save_vae(mlp_vae(3, (16,), image_shape=(3, 16, 12)), folder / "free.safetensors")
    own = (
        "own = load_vae('own.safetensors')\nfrom types import SimpleNamespace\ntorch.manual_seed(0)\n"
        "data = SimpleNamespace(test=torch.rand(30, 3, 16, 12), test_labels=torch.arange(30) % 3, "
        "classes=('ant', 'bee', 'cat'))\nLatentExplorer(own, data=data, c=1)"
    )
    free = "LatentExplorer(load_vae('free.safetensors'))"
    cells = *(CELLS[name] for name in ("prepare", "one", "kernel")), face, own, free
    write_notebook(folder / "lesson.ipynb", *cells)
    command = [sys.executable, "-m", "nbconvert", "--to", "lesson", "--execute", "lesson.ipynb"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "lesson.html"


@pytest.fixture
def offline(chromium, exported):
    """That page, in a browser that has no network."""
    page = new_page(chromium, offline=True)
    page.goto(exported.as_uri())
    yield page
    assert_healthy(page)
    page.context.close()


def test_an_exported_page_is_alive_without_kernel_and_network(offline, vae, mnist):
    root = offline.locator(".vae-page").first.locator(".vae-live")
    assert assert_shows_its_decoder(root, vae) == [0, 0]
    drag(offline, root, (0, 0), (1.5, 0.5), (-0.7, 1.2))
    assert assert_shows_its_decoder(root, vae) == pytest.approx((-0.7, 1.2), abs=0.02)
    assert_point_is_at(root, seen(root))
    root.locator('.vae-slider[data-index="0"]').press("Home")
    assert assert_shows_its_decoder(root, vae)[0] == pytest.approx(-axes(root)[1])
    root.locator('.vae-slider[data-index="1"]').press("ArrowRight")
    assert assert_shows_its_decoder(root, vae)[1] == pytest.approx(1.25, abs=0.03)
    root.locator('[data-action="nearest"]').click()
    z = assert_shows_its_decoder(root, vae)
    nearest = (codes_of(vae, mnist) - torch.tensor(z)).norm(dim=1).argmin()
    assert_shows_test_image(root, mnist.test[nearest])
    keep_screenshot(offline, "exported")


def test_an_exported_page_says_that_a_decoder_needs_a_kernel_and_keeps_the_still(offline):
    place = offline.locator(".vae-page").nth(1)
    place.locator(".vae-message", has_text="needs a kernel").wait_for()
    assert place.locator("img").is_visible() and offline.locator(".vae-page img:visible").count() == 1


def test_an_exported_page_without_scripts_shows_every_still(chromium, exported):
    page = new_page(chromium, java_script_enabled=False)
    page.goto(exported.as_uri())
    stills = page.locator(".vae-page img").all()
    assert len(stills) == page.locator(".vae-page").count() > 2 and page.locator(".vae-live").count() == 0
    for still in stills:
        assert still.bounding_box()["width"] > 300 and "a still picture of it" in still.get_attribute("alt")
    page.context.close()


@torch.no_grad()
def test_an_exported_page_draws_a_light_picture_that_is_not_square(offline, exported):
    """As in lesson 06, decoded in the page, against PyTorch: at the start and after a move."""
    faces = load_vae(exported.with_name("faces.safetensors"))
    root = offline.locator(".vae-page").nth(2).locator(".vae-live")
    shown = []
    for z in ((0.5, -0.3), (0.6, -0.3)):
        wait_for_z(root, z)
        shown.append(look(root))
        mean = faces.decode(torch.tensor(shown[-1]["z"])).mean[0]
        assert mean.shape == (28, 20) and (shown[-1]["pixels"] - 255 * mean).abs().max() <= 2
        root.locator(".vae-point").press("ArrowRight")
    assert not torch.equal(*(drawn["pixels"] for drawn in shown))
    box = root.locator("canvas.vae-picture").first.bounding_box()
    assert box["height"] / box["width"] == pytest.approx(28 / 20, abs=0.03)


@torch.no_grad()
def test_an_exported_page_draws_colours_of_the_chosen_class(offline, exported):
    own, free = (load_vae(exported.with_name(f"{name}.safetensors")) for name in ("own", "free"))
    root = offline.locator(".vae-page").nth(3).locator(".vae-live")
    select = root.locator('[data-action="class"]')
    select.locator("option").nth(2).wait_for(state="attached")
    assert select.locator("option").all_inner_texts() == ["ant", "bee", "cat"] and select.input_value() == "1"
    for c in (1, 2, 0):
        select.select_option(str(c))
        root.locator(".vae-point").press("ArrowRight")
        shown = look_in_colour(root)
        mean = own.given(c).decode(torch.tensor(shown["z"])).mean
        assert mean.shape == (3, 16, 12) and (shown["pixels"] - 255 * mean).abs().max() <= 1
    root.locator("label", has_text="map of digits").locator("input").check()
    root.locator('[data-action="nearest"]').click()
    root.locator("figcaption", has_text="test image: a ").wait_for()
    name = root.locator("figcaption", has_text="test image: a ").inner_text().rpartition(" ")[2]
    assert select.input_value() == str(["ant", "bee", "cat"].index(name))
    test = look_in_colour(root, 1)["pixels"]
    torch.manual_seed(0)
    assert any((test - 255 * image).abs().max() <= 1 for image in torch.rand(30, 3, 16, 12))
    root = offline.locator(".vae-page").nth(4).locator(".vae-live")
    shown = look_in_colour(root)
    assert (shown["pixels"] - 255 * free.decode(torch.tensor(shown["z"])).mean).abs().max() <= 1
    assert root.locator('[data-action="class"]').count() == 0


# --- the arithmetic of the page


def test_a_path_along_the_sphere_turns_evenly_and_its_length_goes_evenly(page):
    """Held against the turning of the plane by hand; opposite ends and the origin have no one way to turn."""
    ends = [[[1, 0], [-1.5, 0.01]], [[3, 0], [0, 0.1]], [[1, 2], [2, -1]], [[1, 0], [-2, 0]], [[0, 0], [1, 1]]]
    turn = "return given.ends.map(([a, b]) => [0, 0.25, 0.5, 1].map(t => js.between(a, b, t, true)));"
    ways = explore_js(page, turn, ends=ends)
    for (a, b), way in zip(torch.tensor(ends, dtype=torch.float64), torch.tensor(ways, dtype=torch.float64)):
        torch.testing.assert_close(way[[0, -1]], torch.stack([a, b]))
        if (a.norm() * b.norm() > 0) and abs(a @ b) < 0.99999 * a.norm() * b.norm():
            lengths = torch.lerp(a.norm(), b.norm(), torch.tensor([0, 0.25, 0.5, 1]).double())
            torch.testing.assert_close(way.norm(dim=1), lengths)
            turned = torch.acos((way @ a / way.norm(dim=1) / a.norm()).clamp(-1, 1))
            torch.testing.assert_close(turned[1:3] / turned[3], torch.tensor([0.25, 0.5]).double())
        else:
            torch.testing.assert_close(way[2], (a + b) / 2)


@pytest.mark.parametrize("name", ["manifold", "mlp", "conv"])
@torch.no_grad()
def test_the_pages_decoder_agrees_with_pytorch_on_1000_codes(page, name):
    vae = load_vae(name)
    codes = vae.prior.sample([1000])
    expected = vae.decode(codes).mean.flatten(1)
    assert expected.std() > 0.1  # pictures, not blank sheets
    assert (run_in_page(page, decoder_program(vae), codes) - expected).abs().max() <= 1 / 255


OWN = {
    "colour": (lambda: conv_vae(8, (8, 16), 32, (0, 1), Gaussian(), (3, 64, 64)), None),
    "colour, two features": (lambda: conv_vae(8, (8, 16), 32, (0, 0), PixelGaussian(), (3, 32, 48)), None),
    "conditional": (lambda: conv_vae(4, (8, 16), 32, (0, 1), None, (3, 32, 32), classes=5), 3),
    "conditional MLP": (lambda: mlp_vae(4, (64,), image_shape=(1, 20, 12), classes=3), 0),
}


@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_the_pages_decoder_agrees_with_pytorch_in_colour_and_of_a_class(page, name):
    build, c = OWN[name]
    torch.manual_seed(0)
    vae = build().half().float()
    for parameter in vae.decoder.parameters():
        parameter.mul_(2.5).copy_(parameter.half())  # pictures with contrast
    z = vae.prior.sample([50])
    model, inputs = vae, z
    if c is not None:
        hot = torch.zeros(50, vae.classes)
        hot[:, c] = 1
        model, inputs = vae.given(c), torch.cat([z, hot], 1)
    expected = model.decode(z).mean.flatten(1)
    assert expected.std() > 0.05
    assert (run_in_page(page, decoder_program(vae), inputs) - expected).abs().max() <= 1 / 255


@pytest.mark.parametrize("name", ["manifold", "mlp", "conv"])
@torch.no_grad()
def test_the_pages_encoder_agrees_with_pytorch_on_1000_images(page, name, mnist):
    """And so does the way of these images through both networks."""
    vae, images = load_vae(name), mnist.test[:1000]
    x = vae.observe(images, torch.Generator().manual_seed(0))
    mean, log_variance = run_in_page(page, encoder_program(vae), x).chunk(2, 1)
    q = vae.encode(x).base_dist
    assert q.loc.std() > 0.5
    assert (mean - q.loc).abs().max() <= 1e-3 and (log_variance - 2 * q.scale.log()).abs().max() <= 1e-3
    decoded = run_in_page(page, decoder_program(vae), mean)
    assert (decoded - vae.decode(q.loc).mean.flatten(1)).abs().max() <= 1 / 255
