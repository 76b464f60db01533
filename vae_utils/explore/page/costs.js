// What an image costs, in nats, beside what test images cost.

import { clamp } from "./gaussians.js";
import { draw, inNats, make, number } from "./elements.js";

const WIDTH_OF_COSTS = 280, BINS = 40, HIGH = 26, ROW_OF_COSTS = HIGH + 36;

export class Costs {
  // `tests`: for each of the test images its distortion and its KL; an empty list if there are none.
  constructor(tests) {
    const parts = [], rowHeight = tests.length ? ROW_OF_COSTS : 22;
    this.rows = [
      ["distortion", ([distortion]) => distortion], ["KL", ([, rate]) => rate],
      ["−ELBO", ([distortion, rate]) => distortion + rate],
    ].map(([name, of], row) => {
      const sorted = tests.map(of).sort((a, b) => a - b), end = Math.max(1, 1.3 * (sorted.at(-1) ?? 0));
      const top = rowHeight * row, floor = top + 22 + HIGH, counts = new Array(BINS).fill(0);
      for (const value of sorted) counts[clamp(Math.floor(BINS * value / end), 0, BINS - 1)] += 1;
      const most = Math.max(1, ...counts), wide = WIDTH_OF_COSTS / BINS;
      parts.push(draw("text", { x: 0, y: top + 14 }, name));
      if (sorted.length) {
        counts.forEach((count, bin) => parts.push(draw("rect", {
          x: bin * wide, y: floor - HIGH * count / most, width: wide - 1, height: HIGH * count / most, fill: "#767676",
        })));
        parts.push(draw("line", { x1: 0, x2: WIDTH_OF_COSTS, y1: floor, y2: floor, stroke: "#767676" }),
          draw("text", { x: WIDTH_OF_COSTS, y: floor + 12, "text-anchor": "end", class: "vae-small" }, number(end, 0)),
          draw("text", { x: 0, y: floor + 12, class: "vae-small" }, "0"));
      }
      const made = {
        of, sorted, end, number: draw("text", { x: WIDTH_OF_COSTS, y: top + 14, "text-anchor": "end" }),
        mark: draw("path", { fill: "#D55E00", d: `M-6,${top + 20}h12l-4.5,8v${HIGH - 6}h-3v-${HIGH - 6}z` }),
      };
      parts.push(made.number, ...(sorted.length ? [made.mark] : []));
      return made;
    });
    this.count = tests.length;
    this.drawing = draw("svg", {
      class: "vae-plane vae-still", viewBox: `0 0 ${WIDTH_OF_COSTS} ${3 * rowHeight}`, role: "img",
    }, ...parts);
    const beside = `grey: ${this.count.toLocaleString("en")} test images, each with one draw of z; red: this image`;
    this.element = make("figure", {}, this.drawing, ...(this.count ? [make("figcaption", {}, beside)] : []));
  }

  show({ distortion, rate }) {
    for (const { of, sorted, end, number: text, mark } of this.rows) {
      const value = of([distortion, rate]), share = shareBelow(value, sorted);
      text.textContent = `${inNats(value)} nats${sorted.length ? `, ${percent(share)} cost less` : ""}`;
      mark.setAttribute("transform", `translate(${WIDTH_OF_COSTS * clamp(value / end, 0, 1)} 0)`);
    }
    this.drawing.setAttribute("aria-label", this.sentence({ distortion, rate }));
  }

  sentence({ distortion, rate }) {
    const [, , { sorted }] = this.rows, bound = distortion + rate;
    const beside = this.count ? `; ${percent(shareBelow(bound, sorted))} of ${this.count.toLocaleString("en")} test images cost less` : "";
    return `−ELBO ${inNats(bound)} nats = distortion ${inNats(distortion)} + KL ${inNats(rate)}${beside}`;
  }
}

const shareBelow = (value, numbers) => numbers.filter((other) => other < value).length / numbers.length;

// A share in words that round neither to none nor to all.
function percent(share) {
  if (share === 0 || share === 1) return share ? "all" : "none";
  const extreme = share < 0.01 || share > 0.99;
  return `${number(clamp(100 * share, 0.1, 99.9), extreme ? 1 : 0)}%`;
}
