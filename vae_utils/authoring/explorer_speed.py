"""How fast the picture follows the hand, in several designs: one browser, one run.

    python -m vae_utils.authoring.explorer_speed [--moves 240] [--seconds 3] [--out assets]

JupyterLab and Chromium run on this computer, without a window. For each design, in turn:

- *latency*: one event after the other, each after the last has been answered and a pause; from the dispatch
  of the event to the moment when the new pixels are in the page, and to the next frame. Median and 95th
  percentile in milliseconds.
- *frames per second*: events every 8 ms, as from a fast mouse, for some seconds; the frames in which the
  picture is another than in the frame before. A browser draws 60 at most.
- *lag*: from the last of these events to the last change of the picture. What is shown then must be what the
  decoder makes of the last position; the command fails if it is not.

It writes explorer-speed.json, with the load that the computer had before the start.
"""

import argparse
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

from vae_utils.authoring import browser
from vae_utils.files import ASSETS
from vae_utils.models import load_vae
from vae_utils.reproduce.provenance import versions, write_record

COMMAND = "python -m vae_utils.authoring.explorer_speed"
PACKAGES = ("jupyterlab", "ipywidgets", "anywidget", "matplotlib")
PREPARE = """
import ipywidgets
import matplotlib.pyplot as plt
import torch
from vae_utils.data import load_mnist
from vae_utils.explore.drawing import DrawingPad
from vae_utils.explore.widgets import LatentExplorer
from vae_utils.models import VAE, load_vae

vae, mnist = load_vae("manifold"), load_mnist()
"""
INTERACT = """
@torch.no_grad()
def show(z1, z2):
    plt.figure(figsize=(3, 3))
    plt.imshow(vae.decode(torch.tensor([z1, z2])).mean[0], cmap="gray_r", vmin=0, vmax=1)
    plt.axis("off")
    plt.show()

ipywidgets.interact(show, z1=(-3.5, 3.5, 0.05), z2=(-3.5, 3.5, 0.05));
"""
# Source of a decoder that stays in the kernel, and fails where z1 is above its limit.
KEPT_IN_KERNEL = """
class Fussy(torch.nn.Module):                      # its `if` cannot be written as a list of layers
    def __init__(self, decoder, limit):
        super().__init__()
        self.decoder, self.limit = decoder, limit

    def forward(self, z):
        if z[0, 0] > self.limit:
            raise ArithmeticError("too far to the right")
        return self.decoder(z)

"""
KERNEL = KEPT_IN_KERNEL + "LatentExplorer(VAE(vae.encoder, Fussy(vae.decoder, 9), None, 2))"
# name: the cell that shows the design, the stored model that it decodes, and how JavaScript moves it
DESIGNS = {
    "interact, matplotlib figure drawn anew": (INTERACT, "manifold", "keys"),
    "LatentExplorer, MLP (2 latents) in the page": ("LatentExplorer(vae)", "manifold", "point"),
    "LatentExplorer, conv (32 latents) in the page": ("LatentExplorer(load_vae('conv'))", "conv", "slider"),
    "LatentExplorer, the same MLP in the kernel": (KERNEL, "manifold", "point"),
    "DrawingPad, MLP (2 latents)": ("DrawingPad(vae, data=mnist)", "manifold", "pen"),
    "DrawingPad, MLP (32 latents)": ("DrawingPad(load_vae('mlp'), data=mnist)", "mlp", "pen"),
    "DrawingPad, conv (32 latents)": ("DrawingPad(load_vae('conv'), data=mnist)", "conv", "pen"),
}

# For each way to move: a function of the step's number that sends one event to the cell's widget, and the
# place of the picture. The positions run through the plane, and no two in a row are the same.
HARNESS = """
const cell = document.querySelectorAll(".jp-Notebook .jp-Cell")[index];
const phase = (i) => [Math.cos(i / 9), Math.sin(i / 7)];
const place = (i) => {                               // of the hand at step i, on the screen
    const box = cell.querySelector(".vae-plane").getBoundingClientRect(), [x, y] = phase(i);
    return [box.left + box.width * (0.55 + 0.35 * x), box.top + box.height * (0.45 + 0.35 * y)];
};
const movers = {
    point(i) {
        const [clientX, clientY] = place(i);
        cell.querySelector(".vae-plane").dispatchEvent(
            new PointerEvent("pointermove", { bubbles: true, pointerId: 1, buttons: 1, clientX, clientY }));
    },
    slider(i) {
        const slider = cell.querySelector(".vae-slider");
        slider.value = -3 + 0.05 * (7 * i % 120);          // it would stop at its own steps anyway
        slider.dispatchEvent(new Event("input", { bubbles: true }));
    },
    pen(i) {                                               // to and fro over the sheet, each time on blank paper
        const sheet = cell.querySelector(".vae-sheet"), box = sheet.getBoundingClientRect();
        const row = Math.floor(i / 10) % 9, column = row % 2 ? 9 - i % 10 : i % 10;
        const clientX = box.left + box.width * (0.05 + 0.1 * column);
        const clientY = box.top + box.height * (0.05 + 0.11 * row);
        sheet.dispatchEvent(
            new PointerEvent("pointermove", { bubbles: true, pointerId: 1, buttons: 1, clientX, clientY }));
        if (i % 90 === 0) cell.querySelector("[data-action=clear]").click();
    },
    keys(i) {
        cell.querySelector(".noUi-handle").dispatchEvent(new KeyboardEvent("keydown", { bubbles: true,
            key: i % 100 < 50 ? "ArrowRight" : "ArrowLeft" }));
    },
};
const canvas = cell.querySelector("canvas[data-z]");
// What tells one picture from another: for a canvas its z, for a figure its bytes.
const shown = () => canvas ? canvas.dataset.z : cell.querySelector(".jp-OutputArea-output img")?.src;
const pixels = () => canvas && canvas.getContext("2d").getImageData(0, 0, 28, 28).data.join();
// Calls `tell` each time that another picture is there, decoded.
const watch = (tell) => {
    let last = shown();
    const observer = new MutationObserver(async () => {
        if (shown() === last || shown() === undefined) return;
        last = shown();
        if (!canvas) await cell.querySelector(".jp-OutputArea-output img").decode().catch(() => {});
        tell(performance.now());
    });
    observer.observe(cell, { subtree: true, childList: true, attributes: true });
    return observer;
};
const frame = () => new Promise(requestAnimationFrame);
const pause = (ms) => new Promise(resolve => setTimeout(resolve, ms));
"""


def in_harness(body):
    """A JavaScript function with this body, in which the names of the harness are known."""
    return f"async ({{ index, mover, moves, seconds }}) => {{{HARNESS}{body}}}"


LATENCY = in_harness("""
    const drawn = [], framed = [];
    let tell = () => {};
    const observer = watch(now => tell(now));
    for (let i = 0; i < moves + 10; i++) {
        const before = pixels();
        const answer = new Promise(resolve => { tell = resolve; });
        const start = performance.now();
        movers[mover](i);
        const end = await Promise.race([answer, pause(5000)]);
        if (!end) throw new Error(`no new picture within 5 s of move ${i}`);
        await frame();
        const next = performance.now();
        if (canvas && pixels() === before) throw new Error(`z changed at move ${i}, the pixels did not`);
        if (i >= 10) { drawn.push(end - start); framed.push(next - start); }      // ten to warm up
        await pause(30 + 20 * Math.random());              // at all times between two frames alike
    }
    observer.disconnect();
    return { drawn, framed };
""")
FLOOD = in_harness("""
    let i = -1;                                            // step 0 comes first, which gives the pen blank paper
    let changes = 0, frames = 0, changed = false, last = 0;
    const observer = watch(now => { changed = true; last = now; });
    const timer = setInterval(() => movers[mover](++i), 8);
    const start = performance.now();
    while (performance.now() - start < 1000 * seconds) {
        await frame();
        frames += 1;
        changes += changed;
        changed = false;
    }
    clearInterval(timer);
    const took = performance.now() - start;
    movers[mover](++i);
    const end = performance.now();
    for (let before = NaN; before !== last; ) { before = last; await pause(500); }
    observer.disconnect();
    const point = cell.querySelector(".vae-point circle:last-child")?.getBoundingClientRect();
    const plane = cell.querySelector(".vae-plane rect")?.getBoundingClientRect();
    const onPlane = (x, y) => [(x - plane.x) / plane.width, (y - plane.y) / plane.height];
    return {
        fps: 1000 * changes / took, drawn: 1000 * frames / took, events: 1000 * i / took,
        lag: Math.max(0, last - end),
        z: canvas && canvas.dataset.z.split(",").map(Number),
        sliders: Object.fromEntries(Array.from(cell.querySelectorAll(".vae-sliders .vae-slider"),
                                               slider => [slider.dataset.index, Number(slider.value)])),
        pixels: canvas && Array.from(canvas.getContext("2d").getImageData(0, 0, 28, 28).data),
        point: mover === "point" ? onPlane(point.x + point.width / 2, point.y + point.height / 2) : null,
        sent: mover === "point" ? onPlane(...place(i)) : null,
    };
""")


def measure(page, index, name, mover, moves, seconds):
    """One design, whose cell has this index: a row of the table."""
    cell = page.locator(".jp-Notebook .jp-Cell").nth(index)
    target = cell.locator(".vae-sheet, .vae-plane, .vae-slider, .noUi-handle").first
    target.wait_for()
    target.evaluate("element => element.scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(1000)  # for the picture, and for the kernel to rest
    if mover in ("point", "pen"):  # a real press: the moves that follow are a drag
        target.hover()
        page.mouse.down()
    design = {"index": index, "mover": mover, "moves": moves, "seconds": seconds}
    latency = browser.evaluate(page, LATENCY, design, seconds=300)
    flood = browser.evaluate(page, FLOOD, design, seconds=60)
    page.mouse.up()
    browser.assert_healthy(page)
    if mover != "keys":
        require_last_position(name, flood)
    row = {}
    for kind in ("drawn", "framed"):
        row[f"{kind}_median_ms"] = round(statistics.median(latency[kind]), 1)
        row[f"{kind}_p95_ms"] = round(statistics.quantiles(latency[kind], n=20)[-1], 1)
    rates = {"frames_per_second": round(flood["fps"], 1), "events_per_second": round(flood["events"])}
    return row | {"moves": moves} | rates | {"lag_ms": round(flood["lag"], 1)}


@torch.no_grad()
def require_last_position(name, flood):
    """After a fast drag: the point is where the hand was last, and the picture is of that z.

    Raises:
        RuntimeError: if not.
    """
    vae = load_vae(name)
    z = torch.tensor(flood["z"], dtype=torch.float32)
    shown = torch.tensor(flood["pixels"]).reshape(28, 28, 4)[..., 0]
    difference = (shown - (255 - 255 * vae.decode(z).mean[0])).abs().max()
    if difference > 1.5:
        raise RuntimeError(f"the decoder's last picture was expected, got one {difference:.1f} grey levels from it")
    for index, value in flood["sliders"].items():
        if abs(z[int(index)] - value) >= 0.026:
            raise RuntimeError(f"slider {index} was expected to say {z[int(index)]} as the picture does, got {value}")
    if flood["sent"] and any(abs(sent - point) >= 0.005 for sent, point in zip(flood["sent"], flood["point"])):
        raise RuntimeError(f"the point was expected where the hand is, at {flood['sent']}, got {flood['point']}")


def main():
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=240, help="events to measure (default: 240)")
    parser.add_argument("--seconds", type=float, default=3, help="length of the fast drag (default: 3)")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder of the record (default: assets)")
    options = parser.parse_args()
    start, load = time.perf_counter(), os.getloadavg()[0]
    rows = {}
    with (
        tempfile.TemporaryDirectory() as home,
        browser.running_lab(Path(home)) as lab,
        browser.running_chromium() as chromium,
    ):
        lab.write("speed.ipynb", PREPARE, *(cell for cell, _, _ in DESIGNS.values()))
        page = browser.new_page(chromium)
        browser.open_notebook(page, lab, "speed.ipynb")
        browser.run_all(page, widgets=6)
        print(
            f"{'ms from event to':46} new pixels: median, p95   next frame: median, p95   frames/s     lag", flush=True
        )
        for index, (name, (_, model, mover)) in enumerate(DESIGNS.items(), start=1):
            rows[name] = row = measure(page, index, model, mover, options.moves, options.seconds)
            print(
                f"{name:46} {row['drawn_median_ms']:18.1f} {row['drawn_p95_ms']:5.1f} "
                f"{row['framed_median_ms']:19.1f} {row['framed_p95_ms']:5.1f} "
                f"{row['frames_per_second']:10.1f} {row['lag_ms']:7.0f}",
                flush=True,
            )
        packages = {name: version(name) for name in PACKAGES} | {"chromium": chromium.version}
    about = {"versions": versions() | packages, "cores": os.cpu_count(), "load_before": round(load, 2)}
    write_record(options.out / "explorer-speed.json", COMMAND, start, rows, seed=None, **about)


if __name__ == "__main__":
    main()
