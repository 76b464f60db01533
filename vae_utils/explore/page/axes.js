// The axes of two latents: contours of the prior, and codes of test images.

import { clamp, fromQuantile, quantile } from "./gaussians.js";
import { LINE, draw, make, number } from "./elements.js";

export const SIDE = 400, LEFT = 44, TOP = 18;              // in units of the drawing
const RIGHT = TOP, BOTTOM = 38;                            // each has room for the ring around a test image
const FURTHEST_QUANTILE = 3.5;                             // in standard deviations: quantiles 0 and 1 lie nowhere
export const WIDTH = LEFT + SIDE + RIGHT, HEIGHT = TOP + SIDE + BOTTOM;

// A mark for each digit, so that its shape says what its colour says: corners around the origin, the first at
// `turn` (in turns, clockwise from the right), at these distances by turns.
export const corners = (count, turn, ...distances) => Array.from({ length: count }, (_, i) => {
  const angle = 2 * Math.PI * (turn + i / count), distance = distances[i % distances.length];
  return [distance * Math.cos(angle), distance * Math.sin(angle)];
});
const MARKS = [
  corners(20, 0, 3.6), corners(3, 0.25, 4.6), corners(4, 0.125, 4.6), corners(3, 0.75, 4.6), corners(4, 0, 4.6),
  corners(5, 0.75, 4.2), corners(6, 0, 4.1), corners(3, 0.5, 4.6), corners(8, 0, 5.4, 2), corners(8, 0.125, 5.4, 2),
];
const outline = (digit, x, y) =>
  `M${MARKS[digit].map(([a, b]) => `${(x + a).toFixed(1)},${(y + b).toFixed(1)}`).join("L")}Z`;
const mark = (path, colour) => draw("path", {
  d: path, fill: colour, "fill-opacity": 0.75, stroke: "#000", "stroke-opacity": 0.35, "stroke-width": 0.5,
});

// What the marks mean.
export function legend(colours) {
  const box = { width: 18, height: 18, viewBox: "-6 -6 12 12", class: "vae-mark", "aria-hidden": "true" };
  const entries = colours.map((colour, digit) =>
    make("span", {}, draw("svg", box, mark(outline(digit, 0, 0), colour)), ` ${digit}`));
  return make("div", { class: "vae-line vae-legend" }, "test images:", ...entries);
}

export class LatentAxes {
  constructor({ extent, compact = false, codes = [], labels = [], colours = [] }) {
    Object.assign(this, { extent, compact, codes, labels, colours });
    this.quantiles = false;
  }

  // From a coordinate to its share of the axis, 0 to 1, and back: in units of the prior or in quantiles.
  share(value) {
    return this.quantiles ? quantile(value) : (value / this.extent + 1) / 2;
  }

  coordinate(share) {
    const inside = clamp(share, 0, 1);
    return this.quantiles ? fromQuantile(inside, FURTHEST_QUANTILE) : (2 * inside - 1) * this.extent;
  }

  // From a code to its place in the drawing.
  place([z1, z2]) {
    return [LEFT + SIDE * this.share(z1), TOP + SIDE * (1 - this.share(z2))];
  }

  axes() {
    const { extent } = this, parts = [draw("rect", { ...LINE, x: LEFT, y: TOP, width: SIDE, height: SIDE })];
    const text = (words, attributes) => draw("text", { "text-anchor": "middle", ...attributes }, words);
    const spaced = Math.max(1, Math.round(extent / 4));
    const ticks = this.quantiles
      ? [0.01, 0.1, 0.5, 0.9, 0.99].map((share) => [fromQuantile(share, FURTHEST_QUANTILE), String(share)])
      : [-4, -3, -2, -1, 0, 1, 2, 3, 4].map((i) => [i * spaced, number(i * spaced, 0)]);
    for (const [value, words] of ticks.filter(([value]) => Math.abs(value) <= extent)) {
      const [x, y] = this.place([value, value]), bottom = TOP + SIDE;
      parts.push(draw("line", { ...LINE, x1: x, x2: x, y1: bottom, y2: bottom + 5 }),
        draw("line", { ...LINE, x1: LEFT - 5, x2: LEFT, y1: y, y2: y }),
        text(words, { x, y: bottom + 18 }), text(words, { x: LEFT - 8, y: y + 4, "text-anchor": "end" }));
    }
    const scale = this.quantiles ? " (quantile of N(0, 1))" : " (standard deviations of N(0, 1))";
    const units = this.compact ? "" : scale;
    parts.push(text(`z₁${units}`, { x: LEFT + SIDE / 2, y: TOP + SIDE + 34 }),
      text(`z₂${units}`, { transform: `translate(12 ${TOP + SIDE / 2}) rotate(-90)` }));
    return parts;
  }

  // Where the prior's density is that of `sigma` standard deviations.
  contour(sigma) {
    // Where contours lie close together, their names would print over each other.
    const crowded = this.quantiles ? sigma === 3 : SIDE / (2 * this.extent) < 14;
    const around = corners(121, 0, sigma).map((z) => this.place(z)), [x, y] = this.place([0, -sigma]);
    return [
      draw("polygon", { points: around.join(" "), fill: "none", stroke: "#000", "stroke-dasharray": "6 4" }),
      draw("text", { x, y: y + 4, "text-anchor": "middle", stroke: "#fff", "stroke-width": 4, "paint-order": "stroke" },
        crowded ? "" : `${sigma}σ`),
    ];
  }

  // Ten digits by turns, in four layers, or the last digit would hide all that lies under it.
  dots() {
    const { labels, colours } = this;
    const inside = (value) => Math.abs(value) < this.extent;
    return [0, 1, 2, 3].flatMap((layer) => colours.map((colour, digit) => {
      const own = this.codes.filter((code, i) => i % 4 === layer && labels[i] === digit && code.every(inside));
      return mark(own.map((code) => outline(digit, ...this.place(code))).join(""), colour);
    }));
  }
}
