// Elements of a page: HTML, drawings, sliders, players, pictures.

import { clamp } from "./gaussians.js";

// make("button", { class: "x", onclick: f }, "text", child, ...): an HTML element. An attribute that is true
// stands there without a value; one that is false is left out.
export function make(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

// The same for an element of a drawing; LINE is how its thin lines look.
export const LINE = { fill: "none", stroke: "#767676" };

export function draw(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

export function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// A slider with its name and its value; `onmove(number)` is called while it moves.
export function makeSlider(name, { min, max, step, index, label = name, describe = (value) => number(value) }, onmove) {
  const text = make("span", { class: "vae-number" });
  const input = make("input", {
    type: "range", class: "vae-slider", min, max, step, "data-index": index, "aria-label": label,
    oninput: () => onmove(Number(input.value)),
  });
  const show = (value) => {
    input.value = value;                                   // a value beyond the ends stops at the end
    text.textContent = describe(value);
    input.setAttribute("aria-valuetext", text.textContent);
  };
  return { element: make("div", { class: "vae-coordinate" }, make("span", {}, name), input, text), input, show };
}

// A number for readers: with a true minus sign, and without one before a zero.
export const number = (value, digits = 2) => value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
// Nats, also of an image from another world, which a model may find absurdly dear.
export const inNats = (value, digits = 1) => (value < 1e5 ? number(value, digits)
  : value.toExponential(1).replace(/e\+(\d+)/, (_, power) => ` × 10${superscript(power)}`));
const superscript = (power) => power.replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
export const subscript = (i) => String(i).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);

// Tell Python what owner[name] is, when the hand rests: the timer starts again at each call. Only then is it
// given to `model`, whose value the kernel's echo of an earlier message may set back. Without a kernel there is
// nobody to tell, and `lost` is called.
export function saveSoon(owner, name, lost) {
  clearTimeout(owner.timer);
  owner.timer = setTimeout(() => {
    owner.model.set(name, [...owner[name]]);
    try { owner.model.save_changes(); } catch { lost(); }
  }, 150);
}

// Calls tick(share of `seconds` that has passed) once a frame until it has passed, or until the result is called.
function play(seconds, tick, done) {
  const start = performance.now();
  let request = requestAnimationFrame(function frame(now) {
    const share = clamp((now - start) / 1000 / seconds, 0, 1);
    tick(share);
    if (share < 1) request = requestAnimationFrame(frame); else done();
  });
  return () => { cancelAnimationFrame(request); done(); };
}

export function makeButton(action, text, onclick) {
  return make("button", { type: "button", "data-action": action, onclick }, text);
}

// A button that plays and stops; `tick` as above.
export function makePlayer(seconds, tick) {
  let stop = null;
  const button = makeButton("play", "▶ play", () => {
    if (stop) return stop();
    button.textContent = "■ stop";
    stop = play(seconds, tick, () => {
      stop = null;
      button.textContent = "▶ play";
    });
  });
  return { button, stop: () => stop && stop() };
}

// Images: ink on paper, or light where a photograph is light, enlarged by the page without blur.
export class Picture {
  constructor(caption, [height, width]) {
    this.canvas = make("canvas", { class: "vae-picture", width, height, role: "img" });
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(width, height);
    this.image.data.fill(255);
    this.caption = make("figcaption");
    this.element = make("figure", {}, this.canvas, this.caption);
    this.say(caption);
  }

  say(caption) {
    this.caption.textContent = caption;
    this.canvas.setAttribute("aria-label", caption);
  }

  // `paper`: numbers from 0 (black) to 255 (white); or three times as many, all red ones, then green, then blue.
  show(paper) {
    const { data } = this.image, pixels = data.length / 4, step = paper.length > pixels ? pixels : 0;
    for (let i = 0; i < pixels; i++) {
      for (let k = 0; k < 3; k++) data[4 * i + k] = paper[k * step + i];
    }
    this.context.putImageData(this.image, 0, 0);
  }

  // `colours`: [red, green, blue] of each pixel.
  paint(colours) {
    colours.forEach((colour, i) => this.image.data.set(colour, 4 * i));
    this.context.putImageData(this.image, 0, 0);
  }
}

// Means in [0, 1] to ink on paper, as figures.image_wall does it; `light`: 1 is light, not ink.
export function ink(means, light) {
  return Array.from(means, (mean) => {
    if (!Number.isFinite(mean)) throw new Error("the decoder gave a pixel that is no number; are its weights finite?");
    return 255 - Math.round(255 * clamp(light ? 1 - mean : mean, 0, 1));
  });
}
