// q(z|x) to look at: an ellipse over the prior where there are two latents, and a bar for each latent.

import { HEIGHT, LatentAxes, SIDE, WIDTH } from "./axes.js";
import { clamp } from "./gaussians.js";
import { LINE, draw, inNats, make, number, subscript } from "./elements.js";

const setAll = (shape, values) => { for (const name in values) shape.setAttribute(name, values[name]); };
const BLUE = "#0072B2", RED = "#D55E00", GREY = "#767676";

// The cloud of draws around the mean: it moves and widens as a whole, for the same noises. All of it is said by
// attributes of shapes, and it stands on paper of a constant size: a transformation, or a cloud that takes another part
// of the page, would make the browser lay out all layers of the page anew, milliseconds in each frame.
class Cloud {
  // `paper`: x, y, width and height of all that it may cover.
  constructor(paper) {
    const dots = (colour, width) => draw("path", {
      fill: "none", stroke: colour, "stroke-width": width, "stroke-linecap": "round",
    });
    const ellipse = (opacity) => draw("ellipse", { fill: BLUE, "fill-opacity": opacity, stroke: BLUE });
    this.ellipses = [ellipse(0.15), ellipse(0.25)];
    this.draws = dots("#000", 3);
    this.last = [dots("#fff", 10), dots(RED, 7)];
    const sheet = draw("rect", { ...paper, "fill-opacity": 0 });
    this.element = draw("g", {}, sheet, ...this.ellipses, this.draws, ...this.last);
  }

  // [x, y] of the mean, what one sigma measures along both axes, and the draws in units of sigma.
  show([x, y], [across, up], noises) {
    this.ellipses.forEach((ellipse, i) => setAll(ellipse, { cx: x, cy: y, rx: (2 - i) * across, ry: (2 - i) * up }));
    const path = (chosen) => chosen.map(([a, b]) => `M${x + a * across} ${y - b * up}h0`).join("");
    this.draws.setAttribute("d", path(noises.slice(0, -1)));
    for (const dot of this.last) dot.setAttribute("d", path(noises.slice(-1)));
  }
}

// Two latents: the plane, and beside it the surroundings of the mean, magnified.
export class PosteriorPlane extends LatentAxes {
  constructor(spec) {
    super(spec);
    this.clouds = [
      new Cloud({ x: 0, y: 0, width: WIDTH, height: HEIGHT }), new Cloud({ x: -60, y: -60, width: 120, height: 120 }),
    ];
    const dots = draw("g", { opacity: 0.6 }, ...this.dots());
    const backdrop = [...this.axes(), dots, ...[1, 2, 3].flatMap((sigma) => this.contour(sigma))];
    // Two drawings, one over the other: the thousand dots are not painted again when the cloud moves.
    const layer = (name, ...parts) => draw("svg", {
      class: `vae-plane vae-still ${name}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true",
    }, ...parts);
    this.plane = make("div", { class: "vae-latents", role: "img" },
      layer("", ...backdrop), layer("vae-over", this.clouds[0].element));
    this.near = draw("svg", { class: "vae-plane vae-still vae-near", viewBox: "-60 -60 120 120", role: "img" },
      draw("rect", { ...LINE, x: -59.5, y: -59.5, width: 119, height: 119 }), this.clouds[1].element);
    this.caption = make("figcaption");
    this.element = make("div", {}, this.plane, make("figure", { class: "vae-magnified" }, this.near, this.caption));
  }

  show({ mean, sigma }, noises) {
    const unit = SIDE / (2 * this.extent), largest = Math.max(...sigma);
    this.clouds[0].show(this.place(mean), sigma.map((value) => value * unit), noises);
    this.clouds[1].show([0, 0], sigma.map((value) => 18 * value / largest), noises);
  }

  say({ mean, sigma, z }, noises) {
    const unit = SIDE / (2 * this.extent), times = 18 / (Math.max(...sigma) * unit);
    const words = (pair) => `(${pair.map((value) => number(value)).join(", ")})`;
    this.caption.textContent = `μ = ${words(mean)}, σ = ${words(sigma)}: blue, at 1σ and 2σ, here `
      + `${times < 10 ? number(times, 1) : number(times, 0)} times as large. Red: z = μ + σε = ${words(z)}; `
      + `ε = ${words(noises.at(-1))} stays the same while you draw.`;
    const said = `q(z|x) with mean ${words(mean)} and standard deviations ${words(sigma)}`;
    this.plane.setAttribute("aria-label", `${said} on the plane of the prior`);
    this.near.setAttribute("aria-label", `${said}, magnified, and ${noises.length} draws of z`);
  }
}

const ROW = 19, LABEL = 30, AXIS = 130, KL_FROM = LABEL + AXIS + 10, KL_ROOM = 72, BARS_WIDTH = 280;

// One row for each latent that the model uses: q(z|x) over the prior, and its KL. The rest are one number.
export class PosteriorBars {
  constructor({ order, collapsed, extent, kl, most_kl: most }) {
    const rows = order.filter((j) => !collapsed.includes(j));
    const height = ROW * (rows.length + 1) + (collapsed.length ? ROW : 0) + 8;
    const text = (words, x, y, anchor = "start") => draw("text", { x, y, "text-anchor": anchor }, words);
    const place = (value) => LABEL + AXIS * (clamp(value / extent, -1, 1) + 1) / 2;
    const along = (nats) => KL_ROOM * clamp(nats / most, 0, 1);
    const bar = (attributes) => draw("rect", { height: ROW - 6, ...attributes });
    const parts = [text("μ ± σ, z in red", LABEL + AXIS / 2, 14, "middle"), text("KL, nats", KL_FROM, 14)];
    parts.push(bar({ x: place(-1), y: ROW, width: place(1) - place(-1), height: ROW * rows.length, fill: GREY,
                     "fill-opacity": 0.2 }));
    parts.push(...[-1, 0, 1].map((sign) => draw("line", {
      ...LINE, "stroke-dasharray": "2 3", x1: place(sign * extent), x2: place(sign * extent), y1: ROW,
      y2: ROW * (rows.length + 1),
    })));
    this.rows = rows.map((j, row) => {
      const y = ROW * (row + 1) + 3;
      const made = {
        j, q: bar({ y, fill: BLUE, "fill-opacity": 0.7 }), z: bar({ y: y - 1, width: 3, height: ROW - 4, fill: RED }),
        nats: bar({ x: KL_FROM, y, fill: BLUE }), number: text("", BARS_WIDTH - 4, y + 11, "end"),
      };
      parts.push(text(`z${subscript(j + 1)}`, 2, y + 11), made.q, made.z, made.nats, made.number);
      if (kl) parts.push(bar({ x: KL_FROM + along(kl[j]) - 1, y: y - 2, width: 2, height: ROW - 2, fill: "#000" }));
      return made;
    });
    this.rest = text("", LABEL, height - 10);
    this.show = ({ mean, sigma, z, kl: costs }) => {
      for (const made of this.rows) {
        const [left, right] = [-1, 1].map((side) => place(mean[made.j] + side * sigma[made.j]));
        setAll(made.q, { x: left, width: Math.max(2, right - left) });
        setAll(made.z, { x: place(z[made.j]) - 1.5 });
        setAll(made.nats, { width: along(costs[made.j]) });
        made.number.textContent = inNats(costs[made.j], 2);
      }
      const unused = collapsed.reduce((sum, j) => sum + costs[j], 0);
      this.rest.textContent = collapsed.length ? `${collapsed.length} collapsed latents: KL ${inNats(unused, 2)} in all` : "";
      const used = rows.map((j) => `z${j + 1} ${inNats(costs[j])}`).join(", ");
      this.drawing.setAttribute("aria-label", `KL of each latent in nats: ${used}`);
    };
    this.drawing = draw("svg", { class: "vae-plane vae-still", viewBox: `0 0 ${BARS_WIDTH} ${height}`, role: "img" },
      ...parts, this.rest);
    const average = kl ? "; black line: the KL's mean over test images" : "";
    this.element = make("figure", { class: "vae-bars" }, this.drawing,
      make("figcaption", {}, `q(z|x), latent by latent, over the prior, 0 ± 1, in grey${average}`));
  }
}
