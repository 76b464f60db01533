// A network: the steps that program.py wrote, on plain arrays.

// Numbers of 16 bits (1 sign, 5 exponent, 10 fraction) to numbers of 32.
export function readHalf(view) {
  const numbers = new Float32Array(Math.floor(view.byteLength / 2));
  for (let i = 0; i < numbers.length; i++) {
    const bits = view.getUint16(2 * i, true);
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    numbers[i] = exponent === 31 ? NaN : bits >> 15 ? -size : size;                  // infinities and what is no number
  }
  return numbers;
}

// A function from the network's input, numbers in a row, to its output, an array that the next call will overwrite:
// for a decoder from a code z to the mean of p(x|z), for an encoder from an image to the parameters of q(z|x).
export function makeProgram(steps, weights) {
  const parts = steps.flatMap((step) => [step.weight, step.bias]).filter(Boolean);
  const expected = parts.reduce((sum, [, length]) => sum + length, 0);
  if (weights.length !== expected || !weights.every(Number.isFinite)) {
    throw new Error(`weights were expected as ${expected} finite numbers, got ${weights.length}, of which `
      + `${weights.filter(Number.isFinite).length} are finite; the file or the page is damaged: fetch it again`);
  }
  const part = ([first, length]) => weights.subarray(first, first + length);
  const sizes = steps.map((step) => step.shape.reduce((a, b) => a * b, 1));
  const results = [null, ...sizes.map((size) => new Float32Array(size))];          // results[0] will be the input
  const actions = steps.map((step, k) => {
    const bias = step.bias && part(step.bias);
    let weight = step.weight && part(step.weight), seen = null;
    if (step.op === "convolution") {
      weight = Float64Array.from(weight);      // JavaScript computes with 64 bits, and these are read again and again
      seen = patchesOf(step);
    }
    if (step.op === "constant") results[k + 1].set(weight);
    return () => OPERATIONS[step.op](results[k + 1], step.inputs.map((i) => results[i]), step, weight, bias, seen);
  });
  return (input) => {
    results[0] = Float32Array.from(input);                 // of the same type as the others: one fast path
    for (const action of actions) action();
    return results[results.length - 1];
  };
}

const elementwise = (f) => (out, [x]) => { for (let i = 0; i < out.length; i++) out[i] = f(x[i]); };

// out = weight x + bias. Four rows at a time, because reading x once for all four makes it nearly twice as fast.
function multiply(out, weight, bias, x) {
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
    out[row] = a;
    out[row + 1] = b;
    out[row + 2] = c;
    out[row + 3] = d;
  }
  for (; row < bias.length; row++) {
    let sum = bias[row];
    for (let i = 0; i < length; i++) sum += weight[row * length + i] * x[i];
    out[row] = sum;
  }
}

// The same for two columns x and y at once, which makes it twice as fast again: number r of the results goes to
// out[toX + r * step] and out[toY + r * step].
function multiplyTwo(out, toX, toY, step, weight, bias, x, y) {
  const length = x.length;
  let row = 0;
  for (; row + 3 < bias.length; row += 4) {
    const first = row * length, second = first + length, third = second + length, fourth = third + length;
    let ax = bias[row], bx = bias[row + 1], cx = bias[row + 2], dx = bias[row + 3], ay = ax, by = bx, cy = cx, dy = dx;
    for (let i = 0; i < length; i++) {
      const p = x[i], q = y[i], a = weight[first + i], b = weight[second + i], c = weight[third + i], d = weight[fourth + i];
      ax += a * p;
      bx += b * p;
      cx += c * p;
      dx += d * p;
      ay += a * q;
      by += b * q;
      cy += c * q;
      dy += d * q;
    }
    out[toX + row * step] = ax;
    out[toX + (row + 1) * step] = bx;
    out[toX + (row + 2) * step] = cx;
    out[toX + (row + 3) * step] = dx;
    out[toY + row * step] = ay;
    out[toY + (row + 1) * step] = by;
    out[toY + (row + 2) * step] = cy;
    out[toY + (row + 3) * step] = dy;
  }
  for (; row < bias.length; row++) {
    let [sumX, sumY] = [bias[row], bias[row]];
    for (let i = 0; i < length; i++) {
      sumX += weight[row * length + i] * x[i];
      sumY += weight[row * length + i] * y[i];
    }
    out[toX + row * step] = sumX;
    out[toY + row * step] = sumY;
  }
}

// For each place of a convolution's result, which numbers of its input the kernel sees there; those outside of it are
// the one after its last.
function patchesOf({ before: [channels, rows, columns], shape: [, height, width], kernel, stride, padding }) {
  const seen = new Int32Array(height * width * channels * kernel * kernel);
  for (let place = 0, at = 0; place < height * width; place++) {
    const top = Math.floor(place / width) * stride - padding, left = (place % width) * stride - padding;
    for (let channel = 0; channel < channels; channel++) {
      for (let row = top; row < top + kernel; row++) {
        for (let column = left; column < left + kernel; column++) {
          const inside = row >= 0 && row < rows && column >= 0 && column < columns;
          seen[at++] = inside ? (channel * rows + row) * columns + column : channels * rows * columns;
        }
      }
    }
  }
  return seen;
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
    multiply(out, weight, bias, x);
  },
  layernorm(out, [x], step, weight, bias) {
    let mean = 0, variance = 0;
    for (const value of x) mean += value / x.length;
    for (const value of x) variance += (value - mean) ** 2 / x.length;
    const scale = 1 / Math.sqrt(variance + step.epsilon);
    for (let i = 0; i < out.length; i++) out[i] = (x[i] - mean) * scale * weight[i] + bias[i];
  },
  // A linear layer on the patch around every place; of an odd number of places the last counts twice.
  convolution(out, [x], step, weight, bias, seen) {
    const places = step.shape[1] * step.shape[2], length = seen.length / places;
    const input = new Float64Array(x.length + 1), first = new Float64Array(length), second = new Float64Array(length);
    input.set(x);
    for (let place = 0; place < places; place += 2) {
      const next = Math.min(place + 1, places - 1);
      for (let i = 0, a = place * length, b = next * length; i < length; i++, a++, b++) {
        first[i] = input[seen[a]];
        second[i] = input[seen[b]];
      }
      multiplyTwo(out, place, next, places, weight, bias, first, second);
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
