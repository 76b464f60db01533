"""DrawingPad in a real browser: what is drawn goes through the model as PyTorch says, whatever the hand does."""

import base64
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from vae_utils.authoring.browser import (
    assert_healthy,
    evaluate,
    new_page,
    printed,
    problems,
    run_cell,
    set_theme,
    write_notebook,
)
from vae_utils.data import load_mnist
from vae_utils.evaluation import elbo_of_set, posterior_parameters
from vae_utils.evaluation import evaluate as bound_of
from vae_utils.explore.drawing import DrawingPad
from vae_utils.models import load_vae, mlp_vae

from browser import chromium, jupyter_lab, page  # noqa: F401  (fixtures)
from live_widgets import (
    assert_every_control_has_a_name,
    assert_fits_and_can_be_read,
    assert_tab_reaches_every_control,
    bring,
    explore_js,
    keep_screenshot,
    notebook,
    numbers,
)

pytestmark = pytest.mark.slow  # each drives a browser

HARMFUL = '<img src=x onerror="window.harmed = 1">.png'
PREPARE = """
import os
from vae_utils.data import load_mnist
from vae_utils.explore.drawing import DrawingPad
from vae_utils.models import load_vae
vae, mnist = load_vae("manifold"), load_mnist()
print(os.getpid())
"""
CELLS = {  # of the notebook "drawing.ipynb"
    "prepare": PREPARE,
    "two": "two = DrawingPad(vae, data=mnist)\ntwo",
    "conv": "conv = DrawingPad(load_vae('conv'), data=mnist)\nconv",
    "empty": "empty = DrawingPad(vae)\nempty",
    "alive": "from ipywidgets.widgets import widget; "
    "print(sum(type(w).__name__ == 'DrawingPad' for w in widget._instances.values()))",
}
MODELS = {"two": "manifold", "conv": "conv", "empty": "manifold"}
FOUR = [[(8, 4), (6, 13), (16, 14), (22, 11)], [(19, 3), (16, 25)]]  # lines, in pixels of the sheet


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


@pytest.fixture(scope="module")
def models():
    return {name: load_vae(model) for name, model in MODELS.items()}


@pytest.fixture(scope="module")
def bench(chromium, jupyter_lab):
    """A notebook with three pads, run."""
    with notebook(chromium, jupyter_lab, "drawing.ipynb", *CELLS.values(), widgets=3) as page:
        assert_healthy(page)
        yield page


@pytest.fixture
def workshop(bench):
    yield bench
    bench.mouse.up()
    assert_healthy(bench)


def pad(page, name):
    """The live part of one of the cells, on the screen, with a blank sheet."""
    root = page.locator(".jp-Notebook .jp-Cell").nth(list(CELLS).index(name)).locator(".vae-live")
    start_anew(root)
    return root


def start_anew(root):
    bring(root.locator(".vae-sheet"))
    root.get_by_label("centre and scale").set_checked(True)
    root.locator("[data-action=clear]").click()
    bring(root.locator(".vae-sheet"))
    settle(root)


def settle(root):
    """Until the next frame is drawn, and its words have followed."""
    evaluate(root.page, "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 200)))")


def on_sheet(root, place):
    """Where a place of the sheet, in pixels of the image, lies on the screen."""
    box = root.locator(".vae-sheet").bounding_box()
    return tuple(box[side] + box[size] * value / 28 for side, size, value in zip("xy", ("width", "height"), place))


def draw(root, *lines):
    bring(root.locator(".vae-sheet"))
    mouse = root.page.mouse
    for start, *rest in lines:
        mouse.move(*on_sheet(root, start))
        mouse.down()
        for place in rest:
            mouse.move(*on_sheet(root, place), steps=6)
        mouse.up()
    settle(root)


def canvas(root, which):
    """Red, green and blue of one of the pictures: the sheet, what goes in, x, decoded, costs. [28, 28, 3]."""
    names = ("sheet", "fitted", "x", "decoded", "costs")
    read = "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, 28, 28).data)"
    pixels = root.locator("canvas").nth(names.index(which)).evaluate(read)
    return torch.tensor(pixels).reshape(28, 28, 4)[..., :3]


def ink(root, which):
    """Of a picture in greys: 0 is paper, 1 is ink."""
    return 1 - canvas(root, which)[..., 0] / 255


def entered(root):
    """The image that goes into the encoder, as the page shows it: [1, 1, 28, 28]."""
    return (ink(root, "fitted")[None, None] * 255).round() / 255


def z_of(root):
    return torch.tensor([float(value) for value in root.locator("canvas[data-z]").get_attribute("data-z").split(",")])


def noise_of(root, vae):
    """By which the draw of z differs from the mean of q(z|x), in units of sigma."""
    mean, sigma = posterior_parameters(vae, entered(root))
    return (z_of(root) - mean[0]) / sigma[0]


def nats(root):
    """Distortion, KL and their sum, as the page says them."""
    said = root.locator("svg text", has_text=re.compile(r"^−?[\d.]+ nats")).all_text_contents()
    return [numbers(text)[0] for text in said]


@torch.no_grad()
def assert_agrees(root, vae):
    """All that the page shows of its image is what PyTorch makes of it."""
    image = entered(root)
    passage = DrawingPad(vae).passage(image)
    z = z_of(root)
    assert torch.equal(ink(root, "x").round(), passage.x)
    assert (ink(root, "decoded") - vae.decode(z).mean[0]).abs().max() <= 1.5 / 255
    distortion = -vae.decode(z).log_prob(passage.x[None]).item()
    rate = passage.kl.sum().item()
    assert nats(root) == pytest.approx([distortion, rate, distortion + rate], abs=0.051 + 1e-4 * distortion)
    dearest = torch.nn.functional.binary_cross_entropy(vae.decode(z).mean[0], passage.x, reduction="none")
    white = canvas(root, "costs").sum(-1) == 3 * 255
    assert dearest[white].max() < 0.05 and (dearest[~white] > 0).all()
    return image


def run_code(page, code):
    """What the notebook's kernel says to code that no cell holds."""
    run = """async code => {
        const request = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code });
        let said = "";
        request.onIOPub = message => { said += message.content.text ?? message.content.evalue ?? ""; };
        await request.done;
        return said;
    }"""
    return evaluate(page, run, code)


def hint(root):
    return root.locator(".vae-hint").text_content()


# --- what the page shows


@pytest.mark.parametrize("name", ["two", "conv"])
def test_at_the_start_the_numbers_are_those_of_evaluate(bench, name, models, mnist):
    root = bench.locator(".jp-Notebook .jp-Cell").nth(list(CELLS).index(name)).locator(".vae-live")
    bring(root.locator(".vae-sheet"))
    image = assert_agrees(root, models[name])
    assert torch.equal(image, (mnist.test[:1] * 255).round() / 255)
    worth = bound_of(models[name], image, device="cpu")
    expected = [worth.distortion.item(), worth.rate.item(), -worth.elbo.item()]
    assert nats(root) == pytest.approx(expected, abs=0.06)
    everything = -elbo_of_set(models[name], mnist.test[:1000]).elbo
    share = (everything < -worth.elbo).float().mean().item()
    bench.wait_for_timeout(500)  # until it is said
    assert numbers(root.locator(".vae-readout").last.text_content())[3] == pytest.approx(100 * share, abs=0.51)
    keep_screenshot(bench, f"drawing-start-{name}")


@pytest.mark.parametrize("name", ["two", "conv"])
def test_a_drawn_digit_goes_through_the_model_and_python_has_it(workshop, name, models):
    root = pad(workshop, name)
    draw(root, *FOUR)
    image = assert_agrees(root, models[name])
    assert 0.05 < image.mean() < 0.3
    workshop.wait_for_timeout(400)  # until the hand rests
    said = run_code(workshop, f"print(*({name}.image * 255).round().int().flatten().tolist())")
    assert torch.equal(torch.tensor([int(word) for word in said.split()]), (image * 255).round().int().flatten())
    keep_screenshot(workshop, f"drawing-{name}")


def test_every_move_of_the_pen_is_shown(workshop, models):
    root = pad(workshop, "two")
    seen = []
    workshop.mouse.move(*on_sheet(root, (9, 5)))
    workshop.mouse.down()
    for place in ((12, 6), (18, 6), (17, 12), (14, 22)):
        workshop.mouse.move(*on_sheet(root, place), steps=3)
        settle(root)
        assert_agrees(root, models["two"])
        seen.append(z_of(root))
    assert len({tuple(z.tolist()) for z in seen}) == 4
    workshop.mouse.up()
    before = ink(root, "sheet")
    workshop.mouse.move(*on_sheet(root, (3, 3)))  # without a button: nothing is drawn
    settle(root)
    assert torch.equal(ink(root, "sheet"), before)


def test_the_noise_stays_while_the_drawing_changes(workshop, models):
    root = pad(workshop, "conv")
    vae, noises = models["conv"], []
    for line in FOUR:
        draw(root, line)
        noises.append(noise_of(root, vae))
    torch.testing.assert_close(*noises, atol=2e-3, rtol=0)
    for _ in range(3):
        root.locator("[data-action=draw]").click()
        settle(root)
        noises.append(noise_of(root, vae))
        assert_agrees(root, vae)
    assert (torch.stack(noises[2:]).std(0) > 0.01).all()
    keep = root.get_by_label("keep drawing z")
    keep.check()
    draws = []
    for _ in range(3):
        workshop.wait_for_timeout(400)
        draws.append(z_of(root))
    keep.uncheck()
    assert len({tuple(z.tolist()) for z in draws}) == 3
    settle(root)
    last = z_of(root)
    workshop.wait_for_timeout(600)
    assert torch.equal(z_of(root), last)


def test_the_ellipse_stands_where_q_is_and_as_wide(workshop, models):
    root = pad(workshop, "two")
    draw(root, *FOUR)
    mean, sigma = (values[0] for values in posterior_parameters(models["two"], entered(root)))
    plane = root.locator(".vae-latents")
    frame = plane.locator("rect").first.bounding_box()
    extent = evaluate(workshop, "() => 3.5")
    ellipse = (
        plane.locator("ellipse")
        .nth(1)
        .evaluate("""ellipse => {
        const { x, y, width, height } = ellipse.getBoundingClientRect();
        return [x + width / 2, y + height / 2, width / 2, height / 2];
    }""")
    )
    unit = frame["width"] / (2 * extent)
    expected = [frame["x"] + unit * (mean[0].item() + extent), frame["y"] + unit * (extent - mean[1].item())]
    assert ellipse[:2] == pytest.approx(expected, abs=1.5)
    assert ellipse[2:] == pytest.approx((unit * sigma).tolist(), abs=1.5)


# --- centred and scaled as MNIST's images were


def test_the_digits_of_mnist_stay_as_they_are(page, mnist):
    images = (mnist.test[:1000] * 255).round().flatten(1).int().tolist()
    body = """
        return given.images.filter(image => {
            const sheet = new js.Sheet();
            sheet.put(image.map(value => value / 255));
            return js.centred(sheet).image.every((value, i) => Math.round(255 * value) === image[i])
                && js.reduced(sheet.ink).every((value, i) => Math.round(255 * value) === image[i]);
        }).length;"""
    assert explore_js(page, body, images=images) == 1000


def test_every_scale_has_its_longer_side_of_20_pixels_in_the_middle(page):
    body = """
        return given.boxes.map(([left, top, width, height]) => {
            const sheet = new js.Sheet();
            for (let y = top; y < top + height; y++) sheet.ink.fill(1, 224 * y + left, 224 * y + left + width);
            const { image, scale, shift } = js.centred(sheet);
            return [Array.from(image), scale, shift];
        });"""
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 100, (60, 2), generator=generator)
    boxes = torch.cat([corners, torch.randint(4, 124, (60, 2), generator=generator)], 1)
    for (left, top, width, height), (image, scale, shift) in zip(
        boxes.tolist(), explore_js(page, body, boxes=boxes.tolist())
    ):
        image = torch.tensor(image).reshape(28, 28)
        longer = max(width, height)
        assert scale == pytest.approx(20 * 8 / longer)
        rows, columns = image.amax(1).nonzero(), image.amax(0).nonzero()
        assert max(rows.max() - rows.min(), columns.max() - columns.min()) == 19
        assert image.sum().item() == pytest.approx(width * height * (20 / longer) ** 2, rel=1e-4)
        for d, (line, first, length) in enumerate(((image.sum(0), left, width), (image.sum(1), top, height))):
            centre = (line * torch.arange(28)).sum() / line.sum()
            assert 13.49 < centre < 14.51
            from_the_middle = (first + length / 2) / 8 - 14  # of the box, on the sheet
            # the last pixel of the shorter side may be grey: its mass is half a pixel off at most
            assert centre.item() + 0.5 - 14 == pytest.approx(
                from_the_middle + shift[d], abs=0.01 if length == longer else 0.5
            )


def test_the_step_can_be_seen_and_switched_off(workshop, models):
    root = pad(workshop, "two")
    draw(root, [(3, 3), (3, 10)])
    fitted, caption = entered(root), root.locator("figcaption").first
    assert not torch.equal(fitted[0, 0], ink(root, "sheet"))
    scale, *_ = numbers(caption.text_content())
    assert scale == pytest.approx(20 / (7 + 2.5), abs=0.03)
    root.get_by_label("centre and scale").uncheck()
    settle(root)
    assert torch.equal((entered(root) * 255).round(), (ink(root, "sheet") * 255).round()[None, None])
    assert caption.text_content() == "as it was drawn"
    assert_agrees(root, models["two"])


# --- the hand


def test_a_line_is_as_thick_as_asked_and_undo_takes_it_back(workshop):
    root = pad(workshop, "two")
    slider = root.locator(".vae-slider[data-index=thickness]")
    for key, thickness in (("Home", 1), ("End", 5)):
        slider.press(key)
        before = ink(root, "sheet").sum()
        draw(root, [(5, 6 + thickness), (20, 6 + thickness)])
        area = 15 * thickness + torch.pi * thickness**2 / 4  # its ends are round
        assert (ink(root, "sheet").sum() - before).item() == pytest.approx(area, rel=0.05)
    for left in (1, 0):
        root.locator("[data-action=undo]").click()
        settle(root)
        assert (ink(root, "sheet").sum() > 0) == bool(left)
    root.locator("[data-action=undo]").click()  # the clear before
    settle(root)
    slider.fill("2.5")


def test_the_keyboard_draws(workshop, models):
    root = pad(workshop, "two")
    sheet = root.locator(".vae-sheet")
    sheet.focus()
    for key in ("ArrowUp", "ArrowUp", "Shift+ArrowLeft"):  # the pen is up
        sheet.press(key)
    settle(root)
    assert ink(root, "sheet").sum() == 0 and "pen up at (13.75, 12)" in root.locator(".vae-place").text_content()
    for key in ("Space", *["ArrowDown"] * 6, "Space", *["ArrowRight"] * 40):
        sheet.press(key)
    settle(root)
    drawn = ink(root, "sheet")
    assert drawn[12:18, 13].min() > 0.9 and drawn[:, 16:].sum() == 0
    assert "pen up at (28, 18)" in root.locator(".vae-place").text_content()  # it stops at the edge
    assert_agrees(root, models["two"])
    sheet.press("Delete")
    settle(root)
    assert ink(root, "sheet").sum() == 0
    sheet.press("Control+z")
    settle(root)
    assert torch.equal(ink(root, "sheet"), drawn)
    assert evaluate(workshop, "() => document.activeElement.classList.contains('vae-sheet')")


def test_what_lies_beyond_the_sheet_is_lost_and_that_is_said(workshop, models):
    root = pad(workshop, "two")
    draw(root, [(14, 14), (14, 40), (20, 40), (20, 20)])
    assert "beyond the sheet" in hint(root)
    drawn = ink(root, "sheet")
    assert drawn[27, 14] > 0.9 and drawn[27, 20] > 0.9 and drawn[27, 17] < 0.1
    assert_agrees(root, models["two"])
    root.locator("[data-action=undo]").click()
    settle(root)
    assert ink(root, "sheet").sum() == 0 and "beyond" not in hint(root)


def test_an_empty_sheet_says_so_here_and_in_python(workshop, models):
    root = pad(workshop, "empty")
    assert "Nothing is drawn" in hint(root)
    assert_agrees(root, models["empty"])  # the numbers of a blank image
    draw(root, *FOUR)
    assert hint(root) == ""
    root.locator("[data-action=clear]").click()
    workshop.wait_for_timeout(400)
    assert "a drawing was expected on the sheet, got none" in run_code(workshop, "empty.image")


def test_numbers_beyond_all_bounds_are_written_short(workshop):
    root = pad(workshop, "conv")  # for a blank image this model has a sigma of millions
    assert re.search(r"\d\.\d × 10[⁰¹²³⁴⁵⁶⁷⁸⁹]+ nats, all cost less", root.text_content())
    assert "NaN" not in root.text_content()


def test_each_digit_starts_from_test_images_of_its_class_by_turns(workshop, mnist, models):
    root = pad(workshop, "conv")
    for digit in (3, 8):
        own = mnist.test[:100][mnist.test_labels[:100] == digit]
        for image in own[:2]:
            root.locator(f"[data-action=digit-{digit}]").click()
            settle(root)
            assert (entered(root)[0] - image).abs().max() <= 0.51 / 255
            assert_agrees(root, models["conv"])


def test_an_inverted_digit_costs_what_it_costs(workshop, models):
    root = pad(workshop, "two")
    draw(root, *FOUR)
    before = nats(root)[2]
    root.get_by_label("centre and scale").uncheck()
    drawn = ink(root, "sheet")
    root.locator("[data-action=invert]").click()
    settle(root)
    assert (ink(root, "sheet") - (1 - drawn)).abs().max() <= 1.01 / 255 and "inverted" in hint(root)
    assert_agrees(root, models["two"])
    assert nats(root)[2] > 5 * before and "all of 1,000 test images" in said_at_rest(root)
    root.locator("[data-action=invert]").click()
    settle(root)
    assert hint(root) == ""


def said_at_rest(root):
    root.page.wait_for_timeout(600)
    return root.locator(".vae-readout").last.text_content()


# --- pictures from files


def photo(size=(400, 300), paper=205, ink=40, form="JPEG"):
    """A 1 in dark ink on grey paper, darker towards one side."""
    picture = Image.new("L", size, paper)
    shade = np.asarray(picture, dtype=float) - np.linspace(0, 40, size[0])[None]
    picture = Image.fromarray(shade.astype(np.uint8))
    width, height = size
    ImageDraw.Draw(picture).line(
        [(0.5 * width, 0.2 * height), (0.45 * width, 0.8 * height)], fill=ink, width=width // 20
    )
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()


def open_file(root, name, content, kind="image/png"):
    root.locator("input[type=file]").set_input_files({"name": name, "mimeType": kind, "buffer": content})
    root.page.wait_for_timeout(500)
    settle(root)


def test_a_photo_is_read_inverted_made_black_or_white_and_fitted(workshop, models):
    root = pad(workshop, "two")
    open_file(root, "one.jpg", photo(), "image/jpeg")
    assert "has to be inverted" in hint(root)
    assert_agrees(root, models["two"])
    dear = nats(root)[2]
    root.locator("[data-action=invert]").click()
    settle(root)
    assert hint(root) == ""
    image = assert_agrees(root, models["two"])[0, 0]
    rows = image.amax(1).nonzero()
    assert rows.max() - rows.min() == 19 and 0.02 < image.mean() < 0.15  # a 1, and no paper about it
    assert "made black or white" in root.locator("figcaption").first.text_content()
    assert nats(root)[2] < dear / 3
    keep_screenshot(workshop, "drawing-photo")


@pytest.mark.parametrize("size", [(60, 20), (28, 28), (3000, 2000)])
def test_pictures_of_any_shape_fit_on_the_sheet(workshop, size):
    root = pad(workshop, "two")
    root.get_by_label("centre and scale").uncheck()
    open_file(root, "grey.png", photo(size, form="PNG"))
    drawn = ink(root, "sheet")
    assert 0.5 < drawn.mean() < 0.85 and drawn[14].min() < 0.5 < drawn[14].max()
    assert drawn[0].std() < 0.1  # around the picture is the grey of its edge


HUGE = Image.new("1", (9000, 9000))


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        (HARMFUL, b"<svg onload='window.harmed = 1'>", "a picture was expected"),
        ("empty.png", b"", "a picture was expected"),
        ("half.png", photo(form="PNG")[:40], "a picture was expected"),
        ("heavy.png", bytes(21_000_000), "at most 20 MB was expected, got 21 MB"),
        ("huge.png", HUGE, "at most 40 million pixels was expected, got 81 million"),
    ],
    ids=["no picture", "empty", "half", "heavy", "huge"],
)
def test_a_file_that_cannot_be_drawn_is_refused_in_a_sentence(bench, name, content, sentence):
    root = pad(bench, "two")
    draw(root, *FOUR)
    before = ink(root, "sheet")
    if content is HUGE:
        file = io.BytesIO()
        HUGE.save(file, "PNG")
        content = file.getvalue()
    open_file(root, name, content)
    said = root.locator(".vae-hint")
    said.filter(has_text=sentence).wait_for()
    assert re.fullmatch(r".* was expected.*, got .*; .*", said.text_content())
    if name == HARMFUL:
        assert HARMFUL in said.text_content() and evaluate(bench, "() => window.harmed === undefined")
    assert torch.equal(ink(root, "sheet"), before)  # the drawing is still there,
    draw(root, [(3, 3), (6, 6)])  # and goes on
    assert said.text_content() == ""
    assert_healthy(bench)


@pytest.mark.parametrize("damage", ["cut", "nan"])
def test_damaged_weights_are_told_of(page, damage):
    made = DrawingPad(mlp_vae(2, (4,)))
    encoder, decoder = made.weights
    encoder = encoder[:-20] if damage == "cut" else b"\x00\x7e" + encoder[2:]
    state = {"kind": "draw", "name": "", "spec": made.spec, "noise": made.noise, "pixels": made.pixels}
    buffers = {"thresholds": made.thresholds, "codes": b"", "costs": b"", "digits": b""}
    body = """
        const view = text => new DataView(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);
        const state = { ...given.state, weights: given.weights.map(view) };
        for (const [name, text] of Object.entries(given.buffers)) state[name] = view(text);
        const el = document.createElement("div");
        document.body.append(el);
        js.default.render({ model: { get: name => state[name], on() {}, off() {} }, el });
        return el.querySelector(".vae-error").textContent;"""
    encoded = {name: base64.b64encode(value).decode() for name, value in buffers.items()}
    weights = [base64.b64encode(value).decode() for value in (encoder, decoder)]
    said = explore_js(page, body, state=state, buffers=encoded, weights=weights)
    assert re.fullmatch(r"weights were expected as \d+ finite numbers, got \d+, of which \d+ are finite; .*", said)


# --- for every reader


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("size", [(1280, 720), (640, 360), (360, 780)], ids=["1280x720", "200%", "phone"])
def test_it_fits_and_can_be_seen(workshop, size, theme):
    workshop.set_viewport_size(dict(zip(("width", "height"), size)))
    set_theme(workshop, f"JupyterLab {theme}")
    for name in ("two", "conv", "empty"):
        root = pad(workshop, name)
        assert_fits_and_can_be_read(root)
        assert root.locator(".vae-sheet").bounding_box()["width"] >= 150
        draw(root, *FOUR)
        assert ink(root, "sheet").mean() > 0.05
        keep_screenshot(workshop, f"drawing-{name}-{size[0]}-{theme}")
    workshop.set_viewport_size({"width": 1280, "height": 720})
    set_theme(workshop, "JupyterLab Light")


@pytest.mark.parametrize("name", ["two", "conv"])
def test_tab_reaches_every_control_and_each_has_a_name(workshop, name):
    root = pad(workshop, name)
    assert_tab_reaches_every_control(root)
    assert_every_control_has_a_name(root)
    draw(root, *FOUR)
    distortion, rate, both = nats(root)
    said = said_at_rest(root)  # once, when the hand rests
    assert numbers(said)[:3] == pytest.approx([both, distortion, rate])
    for drawing in root.locator("svg[role=img], canvas[role=img]").all():
        assert drawing.get_attribute("aria-label").strip()


def test_a_finger_draws_on_a_phone(chromium, jupyter_lab, models):
    phone = {"viewport": {"width": 360, "height": 780}, "has_touch": True, "is_mobile": True}
    with notebook(chromium, jupyter_lab, "finger.ipynb", PREPARE, CELLS["empty"], **phone) as page:
        root = page.locator(".vae-live")
        bring(root.locator(".vae-sheet"))
        finger = page.context.new_cdp_session(page)

        def touch(kind, *places):
            points = [dict(zip("xy", on_sheet(root, place)), id=i) for i, place in enumerate(places)]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", (14, 5))
        for y in range(6, 23):  # downwards, where a page would scroll
            touch("touchMove", (14, y))
        touch("touchStart", (14, 22), (4, 4))  # a second finger draws nothing
        touch("touchMove", (14, 22), (8, 4))
        touch("touchEnd")
        settle(root)
        drawn = ink(root, "sheet")
        assert drawn[5:22, 13:15].min() > 0.9 and drawn[:, :10].sum() == 0
        assert_agrees(root, models["empty"])
        root.locator("canvas[data-z]").scroll_into_view_if_needed()
        keep_screenshot(page, "drawing-finger")
        assert_healthy(page)
    jupyter_lab.shut_down("finger.ipynb")


# --- with and without a kernel


def megabytes(page):
    """Of the kernel, and of the page after all that nobody needs is gone; and the page's elements, in thousands."""
    kernel = Path("/proc", printed(page, 0)[0].split()[-1], "status")
    resident = int(re.search(r"VmRSS:\s+(\d+)", kernel.read_text())[1]) / 1000 if kernel.exists() else 0  # not on Linux
    page.wait_for_timeout(1000)  # until the last messages have come
    console = page.context.new_cdp_session(page)
    for _ in range(2):
        console.send("HeapProfiler.collectGarbage")
    heap, elements = console.send("Runtime.getHeapUsage"), console.send("Memory.getDOMCounters")["nodes"]
    return torch.tensor([resident, (heap["usedSize"] + heap["backingStorageSize"]) / 1e6, elements / 1000])


def test_running_its_cell_again_and_again_leaves_one_and_memory_where_it_was(workshop):
    """Twenty times, or as often as the environment variable VAE_RERUNS says; `pytest -rP` shows the numbers."""
    place, alive = list(CELLS).index("empty"), list(CELLS).index("alive")
    before, reruns = printed(workshop, alive), int(os.environ.get("VAE_RERUNS", 20))
    for _ in range(5):  # what is taken once
        run_cell(workshop, place)
    taken = megabytes(workshop)
    for _ in range(reruns):
        run_cell(workshop, place)
    grown = (megabytes(workshop) - taken) / reruns  # a pad is 3 MB of weights, as numbers in the page 13
    kernel, heap, elements = grown.tolist()
    print(f"{reruns} re-runs, each: kernel {kernel:+.2f} MB, page {heap:+.3f} MB and {1000 * elements:+.1f} elements")
    assert kernel < 2 and heap < 0.1 and elements < 0.02
    run_cell(workshop, alive)
    assert printed(workshop, alive) == before and int(before[0]) == 3
    root = pad(workshop, "empty")
    assert root.count() == 1
    draw(root, *FOUR)
    assert ink(root, "decoded").max() > 0.5


def test_when_the_kernel_dies_the_page_says_so_and_goes_on(chromium, jupyter_lab, models):
    with notebook(chromium, jupyter_lab, "doomed.ipynb", PREPARE, CELLS["empty"]) as page:
        os.kill(int(printed(page, 0)[0].split()[-1]), signal.SIGKILL)
        root = page.locator(".vae-live")
        root.locator(".vae-message", has_text="The kernel has ended").wait_for(timeout=15_000)
        page.locator(".jp-Dialog button").click()  # JupyterLab says it too
        bring(root.locator(".vae-sheet"))
        draw(root, *FOUR)
        assert_agrees(root, models["empty"])
        page.wait_for_timeout(400)
        assert problems(page) == []
    jupyter_lab.shut_down("doomed.ipynb")


def test_an_exported_page_draws_without_kernel_and_network(chromium, tmp_path, models):
    write_notebook(tmp_path / "lesson.ipynb", PREPARE, CELLS["two"])
    command = [sys.executable, "-m", "nbconvert", "--to", "lesson", "--execute", "lesson.ipynb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    page = new_page(chromium, offline=True, viewport={"width": 360, "height": 780})
    page.goto((tmp_path / "lesson.html").as_uri())
    root = page.locator(".vae-page .vae-live")
    start_anew(root)
    draw(root, *FOUR)
    assert_agrees(root, models["two"])
    assert page.locator(".vae-page img:visible").count() == 0  # the still has gone
    assert evaluate(page, "() => document.documentElement.scrollWidth") <= 360
    keep_screenshot(page, "drawing-exported")
    assert_healthy(page)
    page.context.close()
