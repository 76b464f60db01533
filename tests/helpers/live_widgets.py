"""What tests of the interactive pieces share: notebooks in the browser, and what every piece owes to its readers."""

import base64
import contextlib
import os
import re
from pathlib import Path

import numpy as np
import torch

import vae_utils.explore
from vae_utils.authoring.browser import evaluate, new_page, open_notebook, run_all
from vae_utils.explore.scripts import bundled

CONTROLS = "button, input, select, summary, [tabindex='0']"


@contextlib.contextmanager
def notebook(chromium, jupyter_lab, name, *cells, widgets=1, in_notebook_7=False, **options):
    """A page, with `options` of `new_page`, and a notebook that has run: of these cells, or from the lab's folder."""
    if cells:
        jupyter_lab.write(name, *cells)
    page = new_page(chromium, **options)
    open_notebook(page, jupyter_lab, name, in_notebook_7)
    run_all(page, widgets)
    yield page
    page.context.close()


def bring(element):
    """Scroll an element to the middle of the screen, and wait until nothing moves any more."""
    element.wait_for()
    # Again and again: cells on the way get their true height only when they come into view.
    element.evaluate("""async element => {
        for (let top = NaN, still = 0; still < 5; top = element.getBoundingClientRect().top) {
            element.scrollIntoView({ block: "center" });
            await new Promise(requestAnimationFrame);
            still = element.getBoundingClientRect().top === top ? still + 1 : 0;
        }
    }""")


def numbers(text):
    """All numbers in a text that is written for readers, with a true minus sign."""
    return [float(number.replace("−", "-")) for number in re.findall(r"[−-]?\d+(?:\.\d+)?", text)]


def keep_screenshot(page, name):
    """For eyes: where VAE_SCREENSHOTS says."""
    if folder := os.environ.get("VAE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


# --- what every piece owes to its readers


def assert_tab_reaches_every_control(root):
    """In order, and each shows that it is the one."""
    controls = root.locator(f":is({CONTROLS}) >> visible=true").all()
    controls[0].focus()
    for control in controls:
        assert control.evaluate("control => control === document.activeElement"), control.evaluate("it => it.outerHTML")
        ring = control.locator(".vae-ring")
        part, names = (ring, ["stroke", "strokeWidth"]) if ring.count() else (control, ["outlineStyle", "outlineWidth"])
        look_of_it = "(part, names) => names.map(name => getComputedStyle(part)[name])"
        style, width = part.evaluate(look_of_it, names)
        assert style in ("solid", "rgb(0, 114, 178)") and float(width.removesuffix("px")) >= 3
        root.page.keyboard.press("Tab")
        assert part.evaluate(look_of_it, names) != [style, width]


def assert_every_control_has_a_name(root):
    """And each slider a value, for screen readers."""
    assert root.get_attribute("role") == "group" and root.get_attribute("aria-label")
    for control in root.locator(f":is({CONTROLS}, [role=img]):not([hidden], [hidden] *)").all():
        told = control.evaluate("""control => [
            control.getAttribute("aria-label") || control.labels?.[0]?.textContent || control.textContent,
            control.matches("[type=range], [role=slider]") ? control.ariaValueText : "no slider"]""")
        assert all(text and text.strip() for text in told), (told, control.evaluate("c => c.outerHTML"))


def assert_fits_and_can_be_read(root):
    """No part leaves the cell's output, and words are large and dark enough."""
    outside = root.evaluate("""root => {
        const room = root.closest(".jp-OutputArea-output").getBoundingClientRect();
        const parts = root.querySelectorAll(".vae-plane, canvas, input, button, select, .vae-readout");
        return Array.from(parts)
            .filter(part => part.checkVisibility())
            .filter(part => part.getBoundingClientRect().left < room.left - 1
                         || part.getBoundingClientRect().right > room.right + 1)
            .map(part => part.outerHTML);
    }""")
    assert outside == []
    assert root.evaluate("root => root.scrollWidth <= root.clientWidth")
    for words in root.locator(WORDS).all():
        assert contrast(words) > 4.5, words.inner_text()
    smallest = root.evaluate("""root => Math.min(...Array.from(root.querySelectorAll("svg.vae-plane"), plane =>
        parseFloat(getComputedStyle(plane).fontSize) * plane.getScreenCTM().a))""")  # Infinity where is none
    assert smallest > 8  # in pixels of the page: at 200% twice as many


# What is read, but for words in drawings, which are black on white in every theme.
WORDS = (
    "button, select, label, summary, figcaption, .vae-coordinate span, .vae-readout, .vae-where, .vae-legend, "
    ".vae-path >> visible=true"
)


def contrast(element):
    """Of a text and what lies behind it: WCAG 2.1's ratio, 4.5 for what everybody can read."""
    ink, paper = element.evaluate("""element => {
        let behind = element;
        while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
        return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
    }""")
    ink, paper = ([float(c) for c in re.findall(r"[\d.]+", colour)] for colour in (ink, paper))
    assert paper[3:] in ([], [1.0]), paper  # what shows through it is not looked at
    (opacity,) = ink[3:] or [1.0]
    light = []
    for colour in ([opacity * a + (1 - opacity) * b for a, b in zip(ink[:3], paper)], paper[:3]):
        channels = torch.tensor(colour) / 255
        linear = torch.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        light.append((linear * torch.tensor([0.2126, 0.7152, 0.0722])).sum().item())
    return (max(light) + 0.05) / (min(light) + 0.05)


# --- the arithmetic of the page


def explore_js(page, body, **given):
    """What the body of an async JavaScript function makes of `given`; `js` has what our files export."""
    function = f"""async ({{ source, given }}) => {{
        const js = await import(URL.createObjectURL(new Blob([source], {{ type: "text/javascript" }})));
        {body}
    }}"""
    source = bundled(Path(vae_utils.explore.__file__).with_name("explore.js"))
    return evaluate(page, function, {"source": source, "given": given}, seconds=120)


RUN = """
    const bytes = Uint8Array.from(atob(given.weights), character => character.charCodeAt(0));
    const run = js.makeProgram(given.steps, js.readHalf(new DataView(bytes.buffer)));
    const made = given.inputs.map(input => run(input).slice()), length = made[0].length;
    const all = new Float32Array(length * made.length);
    made.forEach((numbers, i) => all.set(numbers, length * i));
    const url = await new Promise(resolve => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.readAsDataURL(new Blob([all]));
    });
    return url.slice(url.indexOf(",") + 1);
"""


def run_in_page(page, program, inputs):
    """What the page makes of inputs [N, ...]: float32 [N, length of the output]."""
    given = {"steps": program.steps, "weights": base64.b64encode(program.weights).decode()}
    answer = explore_js(page, RUN, **given, inputs=inputs.flatten(1).tolist())
    return torch.from_numpy(np.frombuffer(base64.b64decode(answer), np.float32).copy()).reshape(len(inputs), -1)
