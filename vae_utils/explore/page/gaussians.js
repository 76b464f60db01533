// Gaussians, paths between codes, and arrays of numbers.

export const LOG_2_PI = Math.log(2 * Math.PI);
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
export const squares = (z) => z.reduce((sum, value) => sum + value * value, 0);

// The number of the point that is closest to `place`, or null if none is within reach.
export function closest(points, place, reach = Infinity) {
  let best = reach ** 2, chosen = null;
  points.forEach((point, i) => {
    const distance = squares(point.map((value, d) => value - place[d]));
    if (distance < best) [best, chosen] = [distance, i];
  });
  return chosen;
}

// log N(z; 0, I) in nats.
export const logPrior = (z) => -0.5 * (squares(z) + z.length * LOG_2_PI);

// The share of N(0, 1) below z: Abramowitz and Stegun 1964, formula 7.1.26, right to 2e-7.
export function quantile(z) {
  const t = 1 / (1 + 0.3275911 * Math.abs(z) / Math.SQRT2);
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const above = 0.5 * tail * Math.exp(-z * z / 2);
  return z > 0 ? 1 - above : above;
}

// The z below which that share lies, between -limit and limit, by halving.
export function fromQuantile(share, limit) {
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

// The bytes of a float32 array [N, width] to N rows.
export function rows(view, width) {
  const numbers = Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
  return Array.from({ length: numbers.length / width }, (_, i) => numbers.slice(width * i, width * (i + 1)));
}

// A draw from N(0, 1): Box and Muller 1958.
export function gaussianDraw() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}
