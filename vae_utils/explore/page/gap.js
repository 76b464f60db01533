// Lessons 01 and 07: the gap between the ELBO and the evidence, for a Gaussian q over one unknown number.

import { LOG_2_PI } from "./gaussians.js";
import { LINE, draw, make, makeSlider, number, saveSoon } from "./elements.js";

// log p(x), by a sum over an even grid z.
function evidence(z, logJoint) {
  const peak = Math.max(...logJoint);
  return peak + Math.log(logJoint.reduce((sum, value) => sum + Math.exp(value - peak), 0) * (z[1] - z[0]));
}

// The density of q = N(mean, width^2) on that grid, and its ELBO.
function gaussianBound(z, logJoint, mean, width) {
  const dz = z[1] - z[0];
  const density = z.map((value) => Math.exp(-0.5 * ((value - mean) / width) ** 2 - 0.5 * LOG_2_PI) / width);
  let elbo = 0;
  for (let i = 0; i < z.length; i++) {
    if (density[i] > 0) elbo += density[i] * (logJoint[i] - Math.log(density[i])) * dz;
  }
  return { elbo, density };
}

export class GapExplorer {
  constructor(model, root, { guard, tell }) {
    const { z, log_joint: logJoint, view: [left, right], names: [latent, data] } = model.get("spec");
    const room = right - left;
    const logEvidence = evidence(z, logJoint);
    const shown = z.map((_, i) => i).filter((i) => z[i] >= left && z[i] <= right);
    const posterior = shown.map((i) => Math.exp(logJoint[i] - logEvidence)), highest = 2 * Math.max(...posterior);
    // The curves are 250 high, the bar under them 26; the bar covers 4 nats, and what is below leaves it.
    const width = 560, height = 250, bar = height + 46;
    const across = (share) => 10 + (width - 20) * share;
    const place = (value) => across((value - left) / room);
    const nats = (value) => across(Math.max(0, (value - logEvidence + 4) / 4.4));
    const curve = (densities) => densities.map((density, k) =>
      `${place(z[shown[k]]).toFixed(1)},${(height * (1 - density / highest)).toFixed(1)}`).join(" ");
    const halo = { stroke: "#fff", "stroke-width": 4, "paint-order": "stroke" };
    const text = (words, x, y, anchor = "middle") => draw("text", { ...halo, x, y, "text-anchor": anchor }, words);
    const ticks = [];
    for (let value = Math.ceil(left); value <= right; value++) {
      ticks.push(text(number(value, 0), place(value), height + 16));
    }

    const q = draw("polyline", { fill: "none", stroke: "#0072B2", "stroke-width": 3 });
    const bound = draw("rect", { x: across(0), y: bar, height: 26, fill: "#0072B2" });
    const gap = draw("rect", { y: bar, height: 26, fill: "#D55E00" });
    const reached = draw("line", { y1: bar - 3, y2: bar + 29, stroke: "#fff", "stroke-width": 4 });
    const end = { x1: nats(logEvidence), x2: nats(logEvidence), y1: bar - 5, y2: bar + 31 };
    const area = `${place(left)},${height} ${curve(posterior)} ${place(right)},${height}`;
    this.drawing = draw("svg", { class: "vae-plane vae-still", viewBox: `0 0 ${width} ${bar + 52}`, role: "img" },
      draw("polygon", { points: area, fill: "#767676", "fill-opacity": 0.35 }),
      draw("line", { ...LINE, x1: across(0), x2: across(1), y1: height, y2: height }), ...ticks, q,
      text(latent, width / 2, height + 34),
      text(`filled: posterior p(${latent}|${data}), line: q`, across(0), 20, "start"),
      bound, gap, reached, draw("line", { ...end, stroke: "#000", "stroke-width": 3 }),
      text("left: up to the ELBO, right: the gap", across(0), bar + 45, "start"),
      text(`log p(${data}) = ${number(logEvidence)}`, across(1), bar + 45, "end"));
    this.readout = make("div", { class: "vae-readout", role: "status" });
    this.model = model;
    this.q = [...model.get("q")];
    this.show = () => {
      const [mean, spread] = this.q;
      const { elbo, density } = gaussianBound(z, logJoint, mean, spread);
      q.setAttribute("points", curve(shown.map((i) => density[i])));
      bound.setAttribute("width", nats(elbo) - across(0));
      gap.setAttribute("x", nats(elbo));
      for (const x of ["x1", "x2"]) reached.setAttribute(x, nats(elbo));
      gap.setAttribute("width", Math.max(0, nats(logEvidence) - nats(elbo)));
      this.sliders[0].show(mean);
      this.sliders[1].show(spread);
      const said = `ELBO ${number(elbo, 3)} nats   gap ${number(logEvidence - elbo, 3)} nats   `
        + `log p(${data}) ${number(logEvidence, 3)} nats`;
      this.readout.textContent = said;
      this.drawing.setAttribute("aria-label", `q with mean ${number(mean)} and standard deviation ${number(spread)}: ${said}`);
    };
    this.lost = () => tell("The kernel has ended. The bound is computed in this page and still follows the sliders.");
    const move = (k) => (value) => guard(() => {
      this.q = this.q.map((old, i) => (i === k ? value : old));
      this.show();
      saveSoon(this, "q", this.lost);
    });
    const centres = { min: left, max: right, step: room / 500, index: 0 };
    const spreads = { min: room / 50, max: 0.3 * room, step: room / 500, index: 1, label: "standard deviation of q" };
    this.sliders = [makeSlider("mean of q", centres, move(0)), makeSlider("σ of q", spreads, move(1))];
    const sliders = this.sliders.map((slider) => slider.element);
    root.append(make("div", { class: "vae-gap" }, this.drawing, ...sliders, this.readout));
    this.changed = () => guard(() => {
      this.q = [...model.get("q")];
      this.show();
    });
    model.on("change:q", this.changed);
    model.on("comm_live_update", this.lost);
  }

  close() {
    clearTimeout(this.timer);
    this.model.off("change:q", this.changed);
    this.model.off("comm_live_update", this.lost);
  }
}
