// The interactive pieces of the lessons, drawn in the reader's browser. widgets.py holds the other half, and
// explore.css says how they look.
//
// A widget is a class made of (model, root): `model` gives the values that Python sent (model.get), `root` is an
// empty <div> in the page. Three of them stand at the end of this file: LatentExplorer, GapExplorer, FramePlayer.
// Before them comes what they share: a decoder, Gaussians and paths, and the making of elements.
// No library, no build step, no network; the same file serves JupyterLab and an exported page.

// ---------------------------------------------------------------------------------------------------------
// The decoder: the steps that program.py wrote, on plain arrays
// ---------------------------------------------------------------------------------------------------------

// Numbers of 16 bits (1 sign, 5 exponent, 10 fraction) to numbers of 32.
export function readHalf(view) {
  const numbers = new Float32Array(view.byteLength / 2);
  for (let i = 0; i < numbers.length; i++) {
    const bits = view.getUint16(2 * i, true);
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    numbers[i] = bits >> 15 ? -size : size;
  }
  return numbers;
}

// A function from a code z to the mean of p(x|z), an array that the next call will overwrite.
export function makeDecoder(steps, weights) {
  const part = ([first, length]) => weights.subarray(first, first + length);
  const sizes = steps.map((step) => step.shape.reduce((a, b) => a * b, 1));
  const results = [null, ...sizes.map((size) => new Float32Array(size))];          // results[0] will be z
  const actions = steps.map((step, k) => {
    const weight = step.weight && part(step.weight), bias = step.bias && part(step.bias);
    if (step.op === "constant") results[k + 1].set(weight);
    return () => OPERATIONS[step.op](results[k + 1], step.inputs.map((i) => results[i]), step, weight, bias);
  });
  return (z) => {
    results[0] = Float32Array.from(z);                     // of the same type as the others: one fast path
    for (const action of actions) action();
    return results[results.length - 1];
  };
}

const elementwise = (f) => (out, [x]) => { for (let i = 0; i < out.length; i++) out[i] = f(x[i]); };

// out = weight x + bias; number r of the result goes to out[to + r * step]. Four rows at a time, because
// reading x once for all four makes it nearly twice as fast.
function multiply(out, to, step, weight, bias, x) {
  const length = x.length;
  let row = 0;
  for (; row + 3 < bias.length; row += 4) {
    const first = row * length, second = first + length, third = second + length, fourth = third + length;
    let a = bias[row], b = bias[row + 1], c = bias[row + 2], d = bias[row + 3];
    for (let i = 0; i < length; i++) {
      const value = x[i];
      a += weight[first + i] * value;
      b += weight[second + i] * value;
      c += weight[third + i] * value;
      d += weight[fourth + i] * value;
    }
    out[to + row * step] = a;
    out[to + (row + 1) * step] = b;
    out[to + (row + 2) * step] = c;
    out[to + (row + 3) * step] = d;
  }
  for (; row < bias.length; row++) {
    let sum = bias[row];
    for (let i = 0; i < length; i++) sum += weight[row * length + i] * x[i];
    out[to + row * step] = sum;
  }
}

// Each writes its result into `out`.
const OPERATIONS = {
  constant() {},
  first(out, [x]) {                                                       // as many as fit: features of the mean
    out.set(x.subarray(0, out.length));
  },
  sigmoid: elementwise((x) => 1 / (1 + Math.exp(-x))),
  silu: elementwise((x) => x / (1 + Math.exp(-x))),
  tanh: elementwise(Math.tanh),
  relu: elementwise((x) => Math.max(0, x)),
  add(out, [x, y]) {
    for (let i = 0; i < out.length; i++) out[i] = x[i] + y[i];
  },
  linear(out, [x], step, weight, bias) {
    multiply(out, 0, 1, weight, bias, x);
  },
  layernorm(out, [x], step, weight, bias) {
    let mean = 0, variance = 0;
    for (const value of x) mean += value / x.length;
    for (const value of x) variance += (value - mean) ** 2 / x.length;
    const scale = 1 / Math.sqrt(variance + step.epsilon);
    for (let i = 0; i < out.length; i++) out[i] = (x[i] - mean) * scale * weight[i] + bias[i];
  },
  // A linear layer on the patch around every place.
  convolution(out, [x], step, weight, bias) {
    const { before: [channels, rows, columns], shape: [, height, width], kernel, stride, padding } = step;
    const patch = new Float32Array(channels * kernel * kernel);
    for (let place = 0; place < height * width; place++) {
      const top = Math.floor(place / width) * stride - padding, left = (place % width) * stride - padding;
      for (let channel = 0, at = 0; channel < channels; channel++) {
        for (let row = top; row < top + kernel; row++) {
          for (let column = left; column < left + kernel; column++) {
            const inside = row >= 0 && row < rows && column >= 0 && column < columns;
            patch[at++] = inside ? x[(channel * rows + row) * columns + column] : 0;
          }
        }
      }
      multiply(out, place, height * width, weight, bias, patch);
    }
  },
  shuffle(out, [x], { shape: [channels, height, width], factor }) {       // channels become pixels
    const rows = height / factor, columns = width / factor;
    for (let c = 0, at = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        for (let i = 0; i < width; i++) {
          const channel = (c * factor + y % factor) * factor + i % factor;
          out[at++] = x[(channel * rows + Math.floor(y / factor)) * columns + Math.floor(i / factor)];
        }
      }
    }
  },
};

// ---------------------------------------------------------------------------------------------------------
// Gaussians and paths
// ---------------------------------------------------------------------------------------------------------

const LOG_2_PI = Math.log(2 * Math.PI);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const squares = (z) => z.reduce((sum, value) => sum + value * value, 0);

// The number of the point that is closest to `place`, or null if none is within reach.
function closest(points, place, reach = Infinity) {
  let best = reach ** 2, chosen = null;
  points.forEach((point, i) => {
    const distance = squares(point.map((value, d) => value - place[d]));
    if (distance < best) [best, chosen] = [distance, i];
  });
  return chosen;
}

// log N(z; 0, I) in nats.
const logPrior = (z) => -0.5 * (squares(z) + z.length * LOG_2_PI);

// The share of N(0, 1) below z: Abramowitz and Stegun 1964, formula 7.1.26, right to 2e-7.
function quantile(z) {
  const t = 1 / (1 + 0.3275911 * Math.abs(z) / Math.SQRT2);
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const above = 0.5 * tail * Math.exp(-z * z / 2);
  return z > 0 ? 1 - above : above;
}

// The z below which that share lies, between -limit and limit, by halving.
function fromQuantile(share, limit) {
  let low = -limit, high = limit;
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (quantile(middle) < share) low = middle; else high = middle;
  }
  return (low + high) / 2;
}

// From a (t = 0) to b (t = 1): straight, or turning at a constant rate along the sphere (Shoemake 1985), while
// the length goes evenly from that of a to that of b.
export function between(a, b, t, sphere) {
  let [first, second] = [1 - t, t];
  if (sphere) {
    const product = a.reduce((sum, value, i) => sum + value * b[i], 0);
    const [from, to] = [a, b].map((end) => Math.sqrt(squares(end)));
    const angle = Math.acos(clamp(product / (from * to), -1, 1));
    // No angle at the origin, none to speak of between neighbours, no unique turn between opposites: go straight.
    if (Math.sin(angle) > 1e-6) {
      const scale = (first * from + second * to) / Math.sin(angle);
      [first, second] = [scale * Math.sin((1 - t) * angle) / from, scale * Math.sin(t * angle) / to];
    }
  }
  return a.map((value, i) => first * value + second * b[i]);
}

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

// ---------------------------------------------------------------------------------------------------------
// Elements of a page
// ---------------------------------------------------------------------------------------------------------

// make("button", { class: "x", onclick: f }, "text", child, ...): an HTML element. An attribute that is true
// stands there without a value; one that is false is left out.
function make(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

// The same for an element of a drawing.
function draw(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// A slider with its name and its value; `onmove(number)` is called while it moves.
function makeSlider(name, { min, max, step, index, label = name, describe = (value) => number(value) }, onmove) {
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
const number = (value, digits = 2) => value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
const subscript = (i) => String(i).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);

// Tell Python what owner[name] is, when the hand rests: the timer starts again at each call. Only then is it
// given to `model`, whose value the kernel's echo of an earlier message may set back. Without a kernel there is
// nobody to tell, and `lost` is called.
function saveSoon(owner, name, lost) {
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

function makeButton(action, text, onclick) {
  return make("button", { type: "button", "data-action": action, onclick }, text);
}

// A button that plays and stops; `tick` as above.
function makePlayer(seconds, tick) {
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

// ---------------------------------------------------------------------------------------------------------
// Images: ink on paper, or light where a photograph is light, enlarged by the page without blur
// ---------------------------------------------------------------------------------------------------------

class Picture {
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

  // `paper`: numbers from 0 (black) to 255 (white).
  show(paper) {
    const data = this.image.data;
    for (let i = 0; i < paper.length; i++) data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = paper[i];
    this.context.putImageData(this.image, 0, 0);
  }
}

// Means in [0, 1] to ink on paper, as figures.image_wall does it; `light`: 1 is light, not ink.
function ink(means, light) {
  return Array.from(means, (mean) => {
    if (!Number.isFinite(mean)) throw new Error("the decoder gave a pixel that is no number; are its weights finite?");
    return 255 - Math.round(255 * clamp(light ? 1 - mean : mean, 0, 1));
  });
}

// ---------------------------------------------------------------------------------------------------------
// The plane of two latents: contours of the prior, codes of test images, and a point to drag
// ---------------------------------------------------------------------------------------------------------

const SIDE = 400, LEFT = 44, TOP = 8, BOTTOM = 38;         // in units of the drawing
const MAP_SIDE = 15, MOST_FOR_A_MAP = 5e8;                 // multiplications: about half a second
const FURTHEST_QUANTILE = 3.5;                             // in standard deviations: quantiles 0 and 1 lie nowhere
const WIDTH = LEFT + SIDE + 18, HEIGHT = TOP + SIDE + BOTTOM;
const LINE = { fill: "none", stroke: "#767676" }, TRAIL = { fill: "none", stroke: "#000", "stroke-width": 3 };

// A mark for each digit, so that its shape says what its colour says: corners around the origin, the first at
// `turn` (in turns, clockwise from the right), at these distances by turns.
const corners = (count, turn, ...distances) => Array.from({ length: count }, (_, i) => {
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

class Plane {
  constructor(explorer, m) {
    this.explorer = explorer;
    this.codes = explorer.codes[m];
    this.decode = explorer.decoders[m];
    this.quantiles = false;
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

  // From a coordinate to its share of the axis, 0 to 1, and back: in units of the prior or in quantiles.
  share(value) {
    return this.quantiles ? quantile(value) : (value / this.explorer.extent + 1) / 2;
  }

  coordinate(share) {
    const { extent } = this.explorer, inside = clamp(share, 0, 1);
    return this.quantiles ? fromQuantile(inside, FURTHEST_QUANTILE) : (2 * inside - 1) * extent;
  }

  // From a code to its place in the drawing.
  place([z1, z2]) {
    return [LEFT + SIDE * this.share(z1), TOP + SIDE * (1 - this.share(z2))];
  }

  // Axes, contours and dots: all that stands still while the point moves.
  redraw() {
    const { map, dots, compact } = this.explorer;
    const picture = map ? [this.maps[this.quantiles] ??= this.map()] : [];
    this.backdrop.replaceChildren(...this.axes(), ...picture, ...(dots ? this.dots() : []),
      ...(compact ? [] : [1, 2, 3]).flatMap((sigma) => this.contour(sigma)));
  }

  axes() {
    const { extent } = this.explorer, parts = [draw("rect", { ...LINE, x: LEFT, y: TOP, width: SIDE, height: SIDE })];
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
    const units = this.explorer.compact ? "" : scale;
    parts.push(text(`z₁${units}`, { x: LEFT + SIDE / 2, y: TOP + SIDE + 34 }),
      text(`z₂${units}`, { transform: `translate(12 ${TOP + SIDE / 2}) rotate(-90)` }));
    return parts;
  }

  // Where the prior's density is that of `sigma` standard deviations.
  contour(sigma) {
    // Where contours lie close together, their names would print over each other.
    const crowded = this.quantiles ? sigma === 3 : SIDE / (2 * this.explorer.extent) < 14;
    const around = corners(121, 0, sigma).map((z) => this.place(z)), [x, y] = this.place([0, -sigma]);
    return [
      draw("polygon", { points: around.join(" "), fill: "none", stroke: "#000", "stroke-dasharray": "6 4" }),
      draw("text", { x, y: y + 4, "text-anchor": "middle", stroke: "#fff", "stroke-width": 4, "paint-order": "stroke" },
        crowded ? "" : `${sigma}σ`),
    ];
  }

  // What the decoder makes of positions on a grid, pale enough for what lies on it.
  map() {
    const [height, width] = this.explorer.size, { light } = this.explorer;
    const down = this.explorer.compact ? 10 : MAP_SIDE, across = Math.round(down * height / width);
    const canvas = make("canvas", { width: width * across, height: height * down });
    const context = canvas.getContext("2d"), tile = context.createImageData(width, height);
    for (let i = 0; i < across * down; i++) {
      const column = i % across, row = Math.floor(i / across);
      const shares = [(column + 0.5) / across, 1 - (row + 0.5) / down];
      const means = this.decode(shares.map((share) => this.coordinate(share)));
      for (let k = 0; k < height * width; k++) {
        tile.data[4 * k + 3] = 150 * (light ? 1 - means[k] : means[k]);            // black, seen through
      }
      context.putImageData(tile, width * column, height * row);
    }
    return draw("image", { x: LEFT, y: TOP, width: SIDE, height: SIDE, preserveAspectRatio: "none",
                           href: canvas.toDataURL() });
  }

  // Ten digits by turns, in four layers, or the last digit would hide all that lies under it.
  dots() {
    const { labels, colours } = this.explorer;
    const inside = (value) => Math.abs(value) < this.explorer.extent;
    return [0, 1, 2, 3].flatMap((layer) => colours.map((colour, digit) => {
      const own = this.codes.filter((code, i) => i % 4 === layer && labels[i] === digit && code.every(inside));
      return mark(own.map((code) => outline(digit, ...this.place(code))).join(""), colour);
    }));
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

// ---------------------------------------------------------------------------------------------------------
// The latent explorer
// ---------------------------------------------------------------------------------------------------------

class LatentExplorer {
  constructor(model, root, { guard, tell }) {
    Object.assign(this, model.get("spec"));                // names, latent_size, extent, labels, ...
    Object.assign(this, { model, guard, tell });
    this.z = this.start = [...model.get("z")];
    this.codes = model.get("codes").map((view) => rows(view, this.latent_size));
    this.images = model.get("images");                     // bytes, all pixels of each test image
    this.decoders = model.get("weights").map((view, m) => makeDecoder(this.steps[m], readHalf(view)));
    this.chosen = null;                                    // the number of the test image that is shown
    this.dots = this.labels.length > 0 && this.latent_size === 2;
    this.mappable = this.decoders.length > 0 && this.products < MOST_FOR_A_MAP / MAP_SIDE ** 2;
    this.map = !this.dots && this.mappable;
    this.build(root);
    this.listen();
  }

  build(root) {
    const single = this.names.length === 1, flat = this.latent_size === 2;
    this.ofTheFirst = single ? "" : ` of ${this.names[0]}`;        // whose codes paths and neighbours are
    const shown = this.compact ? "the picture at the ring" : "mean of p(x|z)";
    this.pictures = this.names.map((name) => new Picture(single ? shown : `${name}: ${shown}`, this.size));
    this.test = this.labels.length ? new Picture("", this.size) : null;
    if (this.test) this.test.caption.setAttribute("aria-live", "polite");      // which digit was chosen is read out
    this.planes = flat ? this.names.map((_, m) => new Plane(this, m)) : [];
    this.readout = make("div", { class: "vae-readout" });
    const pictures = this.pictures.map((picture) => picture.element), test = this.test ? [this.test.element] : [];
    const row = (...figures) => make("div", { class: "vae-pictures" }, ...figures);
    const column = (...children) => make("div", { class: "vae-column" }, ...children);
    const columns = [];
    if (flat && single) {
      const below = this.compact ? [] : [this.readout];
      columns.push(column(this.planes[0].element), column(row(...pictures, ...test), this.coordinates(), ...below));
    } else if (flat) {
      columns.push(...this.planes.map((plane, m) => column(this.names[m], plane.element, pictures[m])),
        column(this.coordinates(), this.readout, row(...test)));
    } else {
      columns.push(column(row(...pictures, ...test), this.readout), column(this.coordinates()));
    }
    root.classList.toggle("vae-compact", this.compact);
    root.classList.toggle("vae-pair", flat && !single);
    root.append(make("div", { class: "vae-row" }, ...columns));
    if (!this.compact) root.append(this.controls(), this.paths());
    if (!this.compact && this.dots) root.append(this.legend());
    root.append(make("div", { class: "vae-where" }, this.where));
  }

  // A slider for each latent, in the order of its KL; those that carry nothing are folded away.
  coordinates() {
    this.sliders = this.order.map((index) => {
      const kl = this.kl ? ` (KL ${number(this.kl[index])})` : "";
      const range = { min: -this.extent, max: this.extent, step: 0.05, index, describe: (value) => number(value) + kl };
      return makeSlider(`z${subscript(index + 1)}`, range, (value) => this.guard(() => {
        this.moveTo(this.z.map((old, i) => (i === index ? value : old)));
      }));
    });
    const folded = this.order.map((index) => this.collapsed.includes(index));
    const elements = (which) => this.sliders.filter((_, i) => folded[i] === which).map((slider) => slider.element);
    const box = make("div", { class: "vae-sliders" }, ...elements(false));
    if (this.collapsed.length) {
      const title = `${this.collapsed.length} collapsed latents: unused, their q(z|x) is the prior`;
      box.append(make("details", {}, make("summary", {}, title), ...elements(true)));
    }
    return box;
  }

  controls() {
    const button = (action, text, act) => makeButton(action, text, () => this.guard(act));
    const tick = (text, checked, act) => {
      const box = make("input", { type: "checkbox", checked, onchange: () => this.guard(() => {
        act(box.checked);
        for (const plane of this.planes) plane.redraw();
        this.show();
      }) });
      return make("label", {}, box, text);
    };
    const parts = [button("random", "random draw", () => this.moveTo(this.z.map(gaussianDraw)))];
    if (this.labels.length) parts.push(button("nearest", `nearest test image${this.ofTheFirst}`, () => this.nearest()));
    parts.push(button("reset", "reset", () => this.moveTo([...this.start])));
    if (this.planes.length) {
      parts.push(tick("quantiles", false, (on) => { for (const plane of this.planes) plane.quantiles = on; }));
      if (this.labels.length) parts.push(tick("test images", this.dots, (on) => { this.dots = on; }));
      if (this.mappable) parts.push(tick("map of digits", this.map, (on) => { this.map = on; }));
    }
    return make("div", { class: "vae-line" }, ...parts);
  }

  legend() {
    const box = { width: 18, height: 18, viewBox: "-6 -6 12 12", class: "vae-mark", "aria-hidden": "true" };
    const entries = this.colours.map((colour, digit) =>
      make("span", {}, draw("svg", box, mark(outline(digit, 0, 0), colour)), ` ${digit}`));
    return make("div", { class: "vae-line vae-legend" }, "test images:", ...entries);
  }

  // Two ends, each a digit (its most typical test image) or a point where the reader has been; a way to play.
  paths() {
    const option = (value, text) => make("option", { value }, text);
    const digits = this.typical.map((_, digit) => option(digit, `a ${digit}${this.ofTheFirst}`));
    this.ends = [1, 7].map((digit) => this.typical[digit] || this.start);
    const end = (e, word, which) => {
      const chosen = () => {
        this.ends[e] = select.value === "here" ? [...this.z] : this.typical[select.value];
        begin();
      };
      const select = make("select", { "aria-label": `${which} of the path`, "data-end": e, onchange: chosen },
        ...digits.map((choice) => choice.cloneNode(true)), option("here", "a point"));
      select.value = digits.length ? [1, 7][e] : "here";
      const here = makeButton(`here-${e}`, "here", () => this.guard(() => {
        this.ends[e] = [...this.z];
        select.value = "here";
        layOut();
        slider.show(e);
        this.show();
      }));
      here.setAttribute("aria-label", `${which} the path here`);
      return make("span", { class: "vae-end" }, word, select, here);
    };
    const kind = make("select", { "aria-label": "kind of path", "data-action": "kind", onchange: () => begin() },
      option("straight", "straight"), option("sphere", "along the sphere"));
    const at = (t) => between(...this.ends, t, kind.value === "sphere");
    const go = (t) => this.guard(() => { this.moveTo(at(t), { playing: true }); slider.show(t); });
    const range = { min: 0, max: 1, step: 0.01, index: "path", label: "place along the path" };
    const slider = makeSlider("along it", range, (t) => {
      player.stop();
      go(t);
    });
    const player = makePlayer(3, go);
    this.stopPlaying = player.stop;
    // The line that the planes draw: anew whenever an end or the kind has changed.
    const layOut = () => {
      player.stop();
      this.way = Array.from({ length: 41 }, (_, i) => at(i / 40));
    };
    const begin = () => {
      layOut();
      go(0);
    };
    layOut();
    slider.show(0);
    return make("div", { class: "vae-line vae-path" },
      "path", end(0, "from", "start"), end(1, "to", "end"), kind, player.button, slider.element);
  }

  // The one way in which z changes.
  moveTo(z, { playing = false, chosen = null } = {}) {
    if (!z.every(Number.isFinite)) throw new Error(`a position was expected as finite numbers, got ${z}`);
    if (!playing && this.stopPlaying) this.stopPlaying();
    this.z = z;
    this.chosen = chosen;
    this.show();
    saveSoon(this, "z", () => this.lost());
  }

  choose(i, code) {
    this.test.say(`test image: a ${this.labels[i]}`);
    const pixels = this.size[0] * this.size[1];
    this.test.show(ink(Array.from({ length: pixels }, (_, k) => this.images.getUint8(pixels * i + k) / 255), this.light));
    this.moveTo([...code], { chosen: i });
  }

  nearest() {
    const chosen = closest(this.codes[0], this.z);
    this.choose(chosen, this.codes[0][chosen]);
  }

  show() {
    for (const plane of this.planes) plane.show();
    for (const [i, slider] of this.sliders.entries()) slider.show(this.z[this.order[i]]);
    if (this.test) this.test.element.hidden = this.chosen === null;
    const z = this.latent_size > 2 ? "" : `z = (${this.z.map((value) => number(value)).join(", ")})   `;
    const length = number(Math.sqrt(squares(this.z)));
    this.readout.textContent = `${z}log p(z) = ${number(logPrior(this.z))} nats   |z| = ${length}`;
    if (this.decoders.length) this.decoders.forEach((decode, m) => this.draw(m, this.z, ink(decode(this.z), this.light)));
    else this.ask();
  }

  draw(m, z, paper) {
    this.pictures[m].show(paper);
    this.pictures[m].canvas.dataset.z = z.join();
  }

  // A decoder in the kernel: one question at a time, and the next is about where the point is then.
  ask() {
    if (this.asked) return;
    if (this.model.kernel === false) return this.lost();   // an exported page
    const z = this.z;
    try { this.model.send({ z }); } catch { return this.lost(); }
    this.asked = z;
    clearTimeout(this.patience);
    this.patience = setTimeout(() => {
      this.asked = null;                                   // or no move would ever be asked about again
      this.tell("No answer from the kernel for 3 seconds: it is busy with another cell, or it has ended. The picture "
        + "is the last one that it sent. When it is idle, move the point; after a restart, run the cells again.");
    }, 3000);
  }

  lost() {
    this.tell(this.decoders.length
      ? "The kernel has ended. The picture is decoded in this page and still follows the point."
      : "This decoder needs a kernel, and none answers: the picture does not follow the point. In JupyterLab, "
        + "run the cells again.");
  }

  answer({ z, error }, buffers) {
    if (!this.asked || z.join() === this.asked.join()) {   // or it answers another view of this widget
      clearTimeout(this.patience);
      this.asked = null;
      if (z.join() !== this.z.join()) this.ask();          // the point has moved on
    }
    if (error) throw new Error(error);
    this.tell("");
    buffers.forEach((view, m) => this.draw(m, z, new Uint8Array(view.buffer, view.byteOffset, view.byteLength)));
  }

  listen() {
    this.handlers = {
      "change:z": () => {
        const z = this.model.get("z");
        if (z.join() !== this.z.join()) this.guard(() => { this.z = [...z]; this.chosen = null; this.show(); });
      },
      "msg:custom": (content, buffers) => this.guard(() => this.answer(content, buffers)),
      "comm_live_update": () => this.lost(),
    };
    for (const [event, handler] of Object.entries(this.handlers)) this.model.on(event, handler);
  }

  close() {
    if (this.stopPlaying) this.stopPlaying();
    clearTimeout(this.timer);
    clearTimeout(this.patience);
    for (const [event, handler] of Object.entries(this.handlers)) this.model.off(event, handler);
  }
}

// The bytes of a float32 array [N, width] to N rows.
function rows(view, width) {
  const numbers = Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
  return Array.from({ length: numbers.length / width }, (_, i) => numbers.slice(width * i, width * (i + 1)));
}

// A draw from N(0, 1): Box and Muller 1958.
function gaussianDraw() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

// ---------------------------------------------------------------------------------------------------------
// Lessons 01 and 07: the gap between the ELBO and the evidence, for a Gaussian q over one unknown number
// ---------------------------------------------------------------------------------------------------------

class GapExplorer {
  constructor(model, root, { guard }) {
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
    const move = (k) => (value) => guard(() => {
      this.q = this.q.map((old, i) => (i === k ? value : old));
      this.show();
      saveSoon(this, "q", () => {});
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
  }

  close() {
    clearTimeout(this.timer);
    this.model.off("change:q", this.changed);
  }
}

// ---------------------------------------------------------------------------------------------------------
// Lessons 02 and 03: pictures that were stored, one for each position of a slider
// ---------------------------------------------------------------------------------------------------------

class FramePlayer {
  constructor(model, root, { guard }) {
    const { labels, name, start, width, height } = model.get("spec");
    const canvas = make("canvas", { class: "vae-frame", width, height, role: "img" });
    const context = canvas.getContext("2d");
    const readout = make("div", { class: "vae-readout" });
    const last = labels.length - 1;
    let shown = start;
    const show = (k) => {
      shown = k;
      if (this.failed) throw this.failed;
      if (this.frames) context.drawImage(this.frames[k], 0, 0);
      canvas.dataset.frame = k;
      canvas.setAttribute("aria-label", `${name} ${labels[k]}`);
      slider.show(k);
      readout.textContent = `frame ${k + 1} of ${last + 1}`;
    };
    const slider = makeSlider(name, { min: 0, max: last, step: 1, index: 0, describe: (k) => labels[k] }, (k) => {
      player.stop();
      guard(() => show(k));
    });
    const player = makePlayer(Math.max(2, 0.35 * last), (share) => guard(() => show(Math.round(share * last))));
    this.stop = player.stop;
    root.append(canvas, make("div", { class: "vae-line" }, slider.element, player.button, readout));
    this.show = () => show(shown);
    // Decoded once: from then on a frame costs a copy.
    Promise.all(model.get("frames").map((view) => createImageBitmap(new Blob([view], { type: "image/png" }))))
      .then((frames) => guard(() => { this.frames = frames; show(shown); }))
      .catch((error) => { this.failed = error; guard(() => show(shown)); });
  }

  close() {
    this.stop();
    if (this.frames) for (const frame of this.frames) frame.close();
  }
}

// ---------------------------------------------------------------------------------------------------------
// What JupyterLab and the exported page call
// ---------------------------------------------------------------------------------------------------------

const WIDGETS = { latent: LatentExplorer, gap: GapExplorer, frames: FramePlayer };
const NAMES = { latent: "latent explorer", gap: "gap of the ELBO", frames: "stored pictures" };    // for screen readers

// Fill `el`; returns a function that frees what was made.
function render({ model, el }) {
  const message = make("div", { class: "vae-message", role: "status" });
  const error = make("div", { class: "vae-error", role: "alert" });
  const tell = (text) => { message.textContent = text; };
  const guard = (act) => {                                 // whatever goes wrong, the reader sees it
    try {
      act();
      error.textContent = "";
    } catch (problem) {
      error.textContent = problem.message;
    }
  };
  const kind = model.get("kind");
  const names = { "data-kind": kind, "data-still": model.get("name"), "aria-label": NAMES[kind] };
  const root = make("div", { class: "vae-live", role: "group", ...names });
  el.append(root);
  let widget;
  guard(() => { widget = new WIDGETS[kind](model, root, { guard, tell }); });
  if (widget) guard(() => widget.show());
  root.append(message, error);
  // JupyterLab keeps its own arrow keys away from elements that say so.
  for (const element of root.querySelectorAll("button, input, select, summary, [tabindex]")) {
    element.setAttribute("data-lm-suppress-shortcuts", "true");
  }
  return () => widget && widget.close();
}

export default { render };
