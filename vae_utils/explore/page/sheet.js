// A drawing as numbers: ink on a sheet that is finer than the image, and the image that is made from it.
//
// MNIST's images were made so (LeCun, Bottou, Bengio and Haffner 1998, section III.A): a digit in black and white was
// scaled, its shape kept, until it just fitted into 20 x 20 pixels, which made grey edges; then its centre of mass was
// moved to the centre of 28 x 28 pixels. The images themselves tell that this was done by whole pixels. `centred` does
// the same, and leaves the digits of MNIST as they are.

import { clamp } from "./gaussians.js";

export const PIXELS = 28, FINE = 8;                        // of the image; of the sheet along each pixel of it
export const SIDE_OF_SHEET = PIXELS * FINE;
const LONGER_SIDE = 20;                                    // of a digit, in pixels
const MOST_UNDONE = 100;

export class Sheet {
  constructor() {
    this.ink = new Float32Array(SIDE_OF_SHEET ** 2);       // 0 is paper, 1 is ink
    this.scanned = false;                                  // a picture from a file: in greys, paper not quite 0
    this.past = [];
  }

  // Call it before a change that one may want to take back.
  remember() {
    this.past.push({ ink: this.ink.slice(), scanned: this.scanned });
    if (this.past.length > MOST_UNDONE) this.past.shift();
  }

  undo() {
    if (this.past.length) Object.assign(this, this.past.pop());
  }

  clear() {
    this.remember();
    this.ink.fill(0);
    this.scanned = false;
  }

  invert() {
    this.remember();
    for (let i = 0; i < this.ink.length; i++) this.ink[i] = 1 - this.ink[i];
  }

  // A line between two places, in pixels of the image, with round ends. The edge is as grey as the line covers it.
  line(from, to, thickness) {
    const radius = FINE * thickness / 2, [x1, y1, x2, y2] = [...from, ...to].map((value) => FINE * value);
    const span = (a, b) => [Math.min(a, b) - radius - 1, Math.max(a, b) + radius + 1].map((value) =>
      clamp(Math.round(value), 0, SIDE_OF_SHEET));
    const [left, right] = span(x1, x2), [top, bottom] = span(y1, y2), length = (x2 - x1) ** 2 + (y2 - y1) ** 2;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const [dx, dy] = [x + 0.5 - x1, y + 0.5 - y1];
        const t = length && clamp((dx * (x2 - x1) + dy * (y2 - y1)) / length, 0, 1);
        const distance = Math.hypot(dx - t * (x2 - x1), dy - t * (y2 - y1)), at = SIDE_OF_SHEET * y + x;
        this.ink[at] = Math.max(this.ink[at], clamp(radius + 0.5 - distance, 0, 1));
      }
    }
  }

  // An image of 28 x 28, numbers from 0 to 1: each pixel becomes a square of the sheet.
  put(image) {
    this.remember();
    for (let i = 0; i < this.ink.length; i++) {
      const row = Math.floor(i / SIDE_OF_SHEET / FINE), column = Math.floor(i % SIDE_OF_SHEET / FINE);
      this.ink[i] = image[PIXELS * row + column];
    }
    this.scanned = false;
  }

  // A picture of the sheet's own size, numbers from 0 (black) to 1 (white).
  putScan(picture) {
    this.remember();
    this.ink.set(picture);
    this.scanned = true;
  }
}

// The sheet as it is, each pixel the mean of its square: 28 x 28 numbers.
export function reduced(ink) {
  const whole = { left: 0, top: 0, width: SIDE_OF_SHEET, height: SIDE_OF_SHEET };
  return averaged(ink, whole, PIXELS, PIXELS, FINE);
}

// The sheet as MNIST's images were made: the image, and what was done to it, or null where there is no ink.
export function centred({ ink, scanned }) {
  const threshold = scanned ? betweenTwoGreys(ink) : null;
  const inked = scanned ? ink.map((value) => (value > threshold ? 1 : 0)) : ink;
  const box = boxOf(inked);
  if (!box) return { image: new Float32Array(PIXELS ** 2), scale: null, shift: null, threshold };
  const step = Math.max(box.width, box.height) / LONGER_SIDE;          // of the sheet, for one pixel of the image
  const [width, height] = [box.width, box.height].map((side) => Math.ceil(side / step - 1e-9));       // rounding errors
  const digit = averaged(inked, box, width, height, step);
  const x = toCentre(digit, width, (i) => i % width), y = toCentre(digit, height, (i) => Math.floor(i / width));
  const image = new Float32Array(PIXELS ** 2);
  for (let row = 0; row < height; row++) {
    image.set(digit.subarray(width * row, width * (row + 1)), PIXELS * (y + row) + x);
  }
  const middle = (first, length) => (first + length / 2) / FINE - PIXELS / 2;       // of the box, from the sheet's
  const shift = [x + box.width / step / 2 - PIXELS / 2 - middle(box.left, box.width),
                 y + box.height / step / 2 - PIXELS / 2 - middle(box.top, box.height)];
  return { image, scale: FINE / step, shift, threshold };
}

// Where the first of `length` columns (or rows) goes, so that the centre of mass comes within half a pixel of the
// image's, as far as no ink falls off the edge.
function toCentre(digit, length, place) {
  let mass = 0, moment = 0;
  digit.forEach((value, i) => {
    mass += value;
    moment += value * place(i);
  });
  return clamp(-Math.round(moment / mass - PIXELS / 2), 0, PIXELS - length);
}

// The least rectangle that holds all ink, or null.
function boxOf(ink) {
  let left = SIDE_OF_SHEET, right = -1, top = SIDE_OF_SHEET, bottom = -1;
  for (let y = 0, i = 0; y < SIDE_OF_SHEET; y++) {
    for (let x = 0; x < SIDE_OF_SHEET; x++, i++) {
      if (ink[i] > 0) {
        if (x < left) left = x;
        if (x > right) right = x;
        if (y < top) top = y;
        bottom = y;
      }
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

// Means over squares of side `step` of a part of the sheet, `across` times `down` of them: first along each row, then
// down each column. What lies outside of the part counts as paper; squares may cut through the sheet's own.
function averaged(ink, { left, top, width, height }, across, down, step) {
  const strips = new Float64Array(across * height), image = new Float32Array(across * down);
  for (let row = 0; row < height; row++) {
    const first = SIDE_OF_SHEET * (top + row) + left;
    for (let i = 0; i < across; i++) strips[across * row + i] = meanOf(ink, first, 1, i * step, step, width);
  }
  for (let i = 0; i < across; i++) {
    for (let row = 0; row < down; row++) image[across * row + i] = meanOf(strips, i, across, row * step, step, height);
  }
  return image;
}

// The mean of numbers[first + k * stride] over k from `begin` on, `step` of them, which need not be whole; 0 from
// `length` on.
function meanOf(numbers, first, stride, begin, step, length) {
  const end = Math.min(begin + step, length);
  let sum = 0;
  for (let k = Math.floor(begin); k < end; k++) {
    sum += (Math.min(k + 1, end) - Math.max(k, begin)) * numbers[first + k * stride];
  }
  return sum / step;
}

// The grey that best parts paper from ink: the two sides then vary least within themselves (Otsu 1979).
function betweenTwoGreys(ink) {
  const LEVELS = 256, counts = new Float64Array(LEVELS);
  for (const value of ink) counts[Math.round(clamp(value, 0, 1) * (LEVELS - 1))] += 1;
  const total = counts.reduce((sum, count, level) => sum + count * level, 0);
  let best = -1, chosen = 0, below = 0, sumBelow = 0;
  for (let level = 0; level < LEVELS - 1; level++) {
    below += counts[level];
    sumBelow += counts[level] * level;
    const above = ink.length - below;
    if (!below || !above) continue;
    const between = below * above * (sumBelow / below - (total - sumBelow) / above) ** 2;
    if (between > best) [best, chosen] = [between, level];
  }
  return (chosen + 0.5) / (LEVELS - 1);
}
