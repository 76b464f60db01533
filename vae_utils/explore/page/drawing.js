// A digit of one's own on its way through a model.

import { clamp, gaussianDraw, rows } from "./gaussians.js";
import { Picture, ink, make, makeButton, makeSlider, number, saveSoon } from "./elements.js";
import { legend } from "./axes.js";
import { makePassage } from "./bound.js";
import { Costs } from "./costs.js";
import { Pen } from "./pen.js";
import { PosteriorBars, PosteriorPlane } from "./posterior.js";
import { readPicture } from "./scan.js";
import { PIXELS, Sheet, centred, reduced } from "./sheet.js";

const MOST_DRAWS = 40;                                     // of z that are shown
const MILLISECONDS_A_DRAW = 250;

export class DrawingPad {
  constructor(model, root, { guard, tell }) {
    Object.assign(this, model.get("spec"));                // latent_size, likelihood, extent, order, labels, ramp, ...
    Object.assign(this, { model, guard, tell });
    const thresholds = rows(model.get("thresholds"), 1).flat();
    this.passage = makePassage({ steps: this.steps, weights: model.get("weights"), likelihood: this.likelihood, thresholds });
    this.noises = [model.get("noise")];                    // the last is the one in use
    this.digits = model.get("digits");                     // bytes, all pixels of each test image to start from
    this.sheet = new Sheet();
    this.fit = true;                                       // centre and scale as MNIST's images were
    this.build(root);
    this.pixels = model.get("pixels");                     // of the image that goes in: whole numbers from 0 to 255
    this.sheet.put(this.pixels.map((value) => value / 255));
    this.sheet.past = [];
    this.ended = () => this.lost();
    model.on("comm_live_update", this.ended);
  }

  build(root) {
    this.pen = new Pen(this.sheet, { guard: this.guard, changed: () => this.changed(), beyond: () => {
      this.warning = "Part of this line lies beyond the sheet and is lost; undo takes the line back.";
      this.touch();
    } });
    const size = [PIXELS, PIXELS];
    this.fitted = new Picture("", size);
    this.observed = new Picture(this.observed_words, size);
    this.decoded = new Picture("decoded: the mean of p(x|z)", size);
    this.heat = new Picture("−log p(x|z) by pixel", size);
    const ramp = make("span", { class: "vae-heat", style: `background: linear-gradient(to right, ${this.ramp.join()})` });
    this.heat.caption.append(make("span", { class: "vae-scale" }, "0", ramp, `${this.dearest} nats`));
    this.heatOf = heatMap(this.ramp, this.dearest);
    this.bars = new PosteriorBars(this);
    this.costs = new Costs(rows(this.model.get("costs"), 2));
    this.hints = make("div", { class: "vae-hint", role: "status" });
    this.readout = make("div", { class: "vae-readout", role: "status" });
    const pictures = [this.fitted, this.observed, this.decoded, this.heat].map((picture) => picture.element);
    const posterior = [];
    if (this.latent_size === 2) {
      const codes = rows(this.model.get("codes"), 2);
      this.plane = new PosteriorPlane({ ...this, codes });
      posterior.push(this.plane.element, ...(codes.length ? [legend(this.colours)] : []));
    }
    const column = (...children) => make("div", { class: "vae-side" }, ...children);
    // On a phone, columns are gone, and the pictures stand right below the sheet: a hand sees what it does.
    const part = (order, ...children) => make("div", { style: `order: ${order}` }, ...children);
    root.classList.add("vae-drawing");
    root.append(make("div", { class: "vae-sides" },
      column(part(1, this.pen.element, this.changes(), this.hints), part(3, this.tools())),
      column(part(2, make("div", { class: "vae-pictures" }, ...pictures)), part(4, this.costs.element)),
      column(part(5, this.draws(), ...posterior, this.bars.element))),
      this.readout, make("div", { class: "vae-where" }, this.where));
  }

  // A button that changes the sheet.
  change(action, text, act) {
    return makeButton(action, text, () => this.guard(() => { act(); this.changed(); }));
  }

  changed() {
    this.warning = null;
    this.touch();
  }

  changes() {
    return make("div", { class: "vae-line" }, this.change("undo", "undo", () => this.sheet.undo()),
      this.change("clear", "clear", () => this.sheet.clear()), this.change("invert", "invert", () => this.sheet.invert()));
  }

  tools() {
    const input = make("input", { type: "file", accept: "image/*", hidden: true, onchange: () => {
      if (input.files.length) this.open(input.files[0]);
      input.value = "";                                    // or the same file could not be chosen again
    } });
    const box = make("input", { type: "checkbox", checked: true, onchange: () => this.guard(() => {
      this.fit = box.checked;
      this.touch();
    }) });
    const range = { min: 1, max: 5, step: 0.5, index: "thickness", describe: (value) => `${number(value, 1)} pixels` };
    const slider = makeSlider("thickness", range, (value) => {
      this.pen.thickness = value;
      slider.show(value);
    });
    slider.show(this.pen.thickness);
    const first = [...Array(10).keys()].filter((digit) => this.starts(digit).length);
    const digits = first.map((digit) => {
      const button = this.change(`digit-${digit}`, String(digit), () => this.sheet.put(this.next(digit)));
      button.setAttribute("aria-label", `start from a ${digit} of the test set`);
      return button;
    });
    return make("div", {},
      slider.element,
      make("div", { class: "vae-line" }, make("label", {}, box, "centre and scale as MNIST's were")),
      make("div", { class: "vae-line" }, makeButton("open", "open a picture", () => input.click()), input),
      ...(digits.length ? [make("div", { class: "vae-line vae-digits" }, "start from a test image:", ...digits)] : []),
      this.pen.help);
  }

  // The numbers of the test images of this digit whose pixels are here, and the pixels of each by turns.
  starts(digit) {
    const count = this.digits.byteLength / PIXELS ** 2;
    return [...Array(count).keys()].filter((i) => this.labels[i] === digit);
  }

  next(digit) {
    const own = this.starts(digit), turn = (this.turns ??= {})[digit] ?? 0, first = PIXELS ** 2 * own[turn % own.length];
    this.turns[digit] = turn + 1;
    return Array.from({ length: PIXELS ** 2 }, (_, i) => this.digits.getUint8(first + i) / 255);
  }

  draws() {
    const box = make("input", { type: "checkbox", onchange: () => this.guard(() => {
      clearInterval(this.drawing);
      if (box.checked) this.drawing = setInterval(() => this.guard(() => this.drawAgain()), MILLISECONDS_A_DRAW);
    }) });
    return make("div", { class: "vae-line" }, makeButton("draw", "draw z again", () => this.guard(() => this.drawAgain())),
      make("label", {}, box, "keep drawing z"));
  }

  drawAgain() {
    this.noises = [...this.noises, this.noises[0].map(gaussianDraw)].slice(-MOST_DRAWS);
    this.touch();
  }

  async open(file) {
    try {
      this.sheet.putScan(await readPicture(file));
      this.changed();
    } catch (problem) {
      this.warning = problem.message;                      // until the sheet changes
      this.touch();
    }
  }

  // Draw with the next frame, once, however many events come before it.
  touch() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.guard(() => this.show());
    });
  }

  show() {
    const drawn = reduced(this.sheet.ink), before = this.pixels.join();
    const { image, ...done } = this.fit ? centred(this.sheet) : { image: drawn, scale: 1, shift: [0, 0], threshold: null };
    this.pixels = Array.from(image, (value) => Math.round(255 * value));
    const greys = this.pixels.map((value) => value / 255), passage = this.passage(greys, this.noises.at(-1));
    this.pen.picture.show(ink(drawn));
    this.fitted.show(ink(greys));
    this.observed.show(ink(passage.x));
    this.decoded.show(ink(passage.decoded));
    this.decoded.canvas.dataset.z = passage.z.join();
    this.heat.paint(passage.costs.map(this.heatOf));
    if (this.plane) this.plane.show(passage, this.noises);
    // Words and bars cost the browser most: they follow ten times a second.
    this.follow = () => {
      this.following = null;
      this.fitted.say(this.fit ? fittingWords(done) : "as it was drawn");
      if (this.plane) this.plane.say(passage, this.noises);
      this.bars.show(passage);
      this.costs.show(passage);
      const advice = this.warning ?? this.advice(drawn);
      if (this.hints.textContent !== advice) this.hints.textContent = advice;        // or it would be read out again
    };
    this.following ??= setTimeout(() => this.guard(() => this.follow()), 100);
    clearTimeout(this.rest);                               // what is read out waits until the hand rests
    this.rest = setTimeout(() => { this.readout.textContent = this.costs.sentence(passage); }, 400);
    if (this.pixels.join() !== before) saveSoon(this, "pixels", () => this.lost());
  }

  // About what the reader may not have meant.
  advice(drawn) {
    const inked = drawn.reduce((sum, value) => sum + value, 0) / drawn.length;
    if (inked === 0) return "Nothing is drawn: these are the numbers of a blank image. Draw a digit on the sheet.";
    return inked > 0.5 ? "Most of this picture counts as ink. A photo of dark ink on light paper has to be "
      + "inverted: in MNIST ink is 1 and paper is 0." : "";
  }

  lost() {
    this.tell("The kernel has ended. The drawing still goes through the model, in this page; Python does not hear of it.");
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.rest);
    clearTimeout(this.following);
    clearInterval(this.drawing);
    if (this.frame) cancelAnimationFrame(this.frame);
    this.model.off("comm_live_update", this.ended);
  }
}

function fittingWords({ scale, shift, threshold }) {
  if (scale === null) return "a blank sheet";
  const [x, y] = shift.map((value) => number(value, 1));
  const made = threshold === null ? "" : "made black or white, ";
  return `${made}scaled by ${number(scale)}, moved by (${x}, ${y}) pixels`;
}

// From nats to a colour [red, green, blue]: between colours such as "#ff8800", which stand evenly from 0 to `dearest`.
function heatMap(ramp, dearest) {
  const colours = ramp.map((colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)));
  const last = colours.length - 1;
  return (nats) => {
    const place = clamp(nats / dearest, 0, 1) * last, low = Math.min(Math.floor(place), last - 1);
    return colours[low].map((value, i) => Math.round(value + (place - low) * (colours[low + 1][i] - value)));
  };
}
