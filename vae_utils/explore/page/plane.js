// The plane of two latents with a point to drag.

import { HEIGHT, LEFT, LatentAxes, SIDE, TOP, WIDTH } from "./axes.js";
import { clamp, closest } from "./gaussians.js";
import { draw, make, number } from "./elements.js";

export const MAP_SIDE = 15, MOST_FOR_A_MAP = 5e8;          // multiplications: about half a second
const TRAIL = { fill: "none", stroke: "#000", "stroke-width": 3 };

export class Plane extends LatentAxes {
  constructor(explorer, m) {
    super({ ...explorer, codes: explorer.codes[m] });
    this.explorer = explorer;
    this.decode = explorer.decoders[m];
    this.maps = {};                                        // with quantiles and without, once they were drawn
    this.backdrop = draw("g", { "aria-hidden": "true" });  // the ticks alone say nothing
    this.path = draw("polyline", TRAIL);
    this.halo = draw("circle", { ...TRAIL, r: 13, visibility: "hidden" });
    const guarded = (act) => (event) => explorer.guard(() => act(event));
    this.point = draw("g", {
      class: "vae-point", tabindex: 0, role: "slider",
      "aria-label": `point z in the plane of ${explorer.names[m]}; arrow keys move it`,
      "aria-valuemin": -explorer.extent, "aria-valuemax": explorer.extent,
      onkeydown: guarded((event) => this.key(event)),
    },
      draw("circle", { class: "vae-ring", r: 10, fill: "none", stroke: "#000", "stroke-width": 2 }),
      draw("circle", { r: 7, fill: "#fff", "fill-opacity": 0.6, stroke: "#000", "stroke-width": 2 }),
      draw("circle", { r: 1.5, fill: "#000" }));
    this.element = draw("svg", {
      class: "vae-plane", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group",
      "aria-label": `latent plane of ${explorer.names[m]}`,
      onpointerdown: guarded((event) => this.press(event)), onpointermove: guarded((event) => this.drag(event)),
      onpointerup: guarded(() => this.release()), onpointercancel: () => { this.pressed = null; },
    }, this.backdrop, this.path, this.halo, this.point);
    this.redraw();
  }

  // Axes, contours and dots: all that stands still while the point moves.
  redraw() {
    const { map, dots, compact } = this.explorer;
    const picture = map ? [this.maps[this.quantiles] ??= this.map()] : [];
    this.backdrop.replaceChildren(...this.axes(), ...picture, ...(dots ? this.dots() : []),
      ...(compact ? [] : [1, 2, 3]).flatMap((sigma) => this.contour(sigma)));
  }

  // What the decoder makes of positions on a grid, pale enough for what lies on it.
  map() {
    const [height, width] = this.explorer.size, { light, channels } = this.explorer, pixels = height * width;
    const down = this.explorer.compact ? 10 : MAP_SIDE, across = Math.round(down * height / width);
    const canvas = make("canvas", { width: width * across, height: height * down });
    const context = canvas.getContext("2d"), tile = context.createImageData(width, height);
    for (let i = 0; i < across * down; i++) {
      const column = i % across, row = Math.floor(i / across);
      const shares = [(column + 0.5) / across, 1 - (row + 0.5) / down];
      const means = this.decode(shares.map((share) => this.coordinate(share)));
      for (let k = 0; k < pixels; k++) {
        for (let j = 0; channels === 3 && j < 3; j++) tile.data[4 * k + j] = 255 * means[j * pixels + k];
        tile.data[4 * k + 3] = channels === 3 ? 150 : 150 * (light ? 1 - means[k] : means[k]);   // black, seen through
      }
      context.putImageData(tile, width * column, height * row);
    }
    return draw("image", { x: LEFT, y: TOP, width: SIDE, height: SIDE, preserveAspectRatio: "none",
                           href: canvas.toDataURL() });
  }

  // Move the point, the ring around the chosen test image, and the path.
  show() {
    const { z, chosen, way, extent } = this.explorer;
    const inside = z.map((value) => clamp(value, -extent, extent));            // at the edge, if z is beyond it
    this.point.setAttribute("transform", `translate(${this.place(inside)})`);
    this.point.setAttribute("aria-valuenow", inside[0]);
    this.point.setAttribute("aria-valuetext", `z1 ${number(z[0])}, z2 ${number(z[1])}`);
    this.halo.setAttribute("visibility", chosen === null ? "hidden" : "visible");
    if (chosen !== null) this.halo.setAttribute("transform", `translate(${this.place(this.codes[chosen])})`);
    if (way !== this.drawnWay || this.quantiles !== this.drawnQuantiles) {
      this.path.setAttribute("points", (way ?? []).map((step) => this.place(step).join()).join(" "));
      [this.drawnWay, this.drawnQuantiles] = [way, this.quantiles];
    }
  }

  position(event) {
    const box = this.element.getBoundingClientRect(), scale = WIDTH / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  moveTo([x, y]) {
    this.explorer.moveTo([this.coordinate((x - LEFT) / SIDE), this.coordinate(1 - (y - TOP) / SIDE)]);
  }

  press(event) {
    if (event.button) return;                              // not the main button
    this.pressed = this.position(event);
    this.still = true;
    this.element.setPointerCapture(event.pointerId);       // the drag goes on outside the plane
    this.point.focus({ preventScroll: true });
    event.preventDefault();
    this.moveTo(this.pressed);
  }

  drag(event) {
    if (!this.pressed) return;
    const at = this.position(event);
    if (this.still && Math.hypot(at[0] - this.pressed[0], at[1] - this.pressed[1]) < 4) return;
    this.still = false;
    this.moveTo(at);
  }

  release() {
    const at = this.pressed;
    this.pressed = null;
    if (!at || !this.still || !this.explorer.dots) return;
    const chosen = closest(this.codes.map((code) => this.place(code)), at, 8);     // a click: within reach of a dot?
    if (chosen !== null) this.explorer.choose(chosen, this.codes[chosen]);
  }

  key(event) {
    const step = event.shiftKey ? 0.5 : 0.1, { z, extent } = this.explorer;
    const move = {
      ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowDown: [0, -step], ArrowUp: [0, step], Home: [-z[0], -z[1]],
    }[event.key];
    if (!move) return;
    event.preventDefault();                                // the page does not scroll
    this.explorer.moveTo(z.map((value, i) => clamp(value + move[i], -extent, extent)));
  }
}
