// What the two networks make of an image, and the bound on its log p(x), in nats: Eqs 7 and 10 of the paper with one
// draw of z.

import { makeProgram, readHalf } from "./program.js";

// log(1 + exp(f)), for large f too.
const softplus = (f) => Math.max(f, 0) + Math.log1p(Math.exp(-Math.abs(f)));
const coin = { mean: (f) => 1 / (1 + Math.exp(-f)), nats: (f, x) => softplus(f) - x * f };       // f is a logit

// By the names that likelihoods.py gives them: the outcome that a grey pixel stands for, the mean of p(x|z) and
// -log p(x|z) of a pixel, by the decoder's feature f.
const LIKELIHOODS = {
  Bernoulli: { observe: (grey, threshold) => (threshold < grey ? 1 : 0), ...coin },
  GreyCrossEntropy: { observe: (grey) => grey, ...coin },
};

// KL(q || p) of each latent, p a standard normal: Appendix B of the paper.
export const klOf = (mean, sigma) => mean.map((m, j) => 0.5 * (m * m + sigma[j] ** 2 - 1) - Math.log(sigma[j]));

const total = (numbers) => numbers.reduce((sum, value) => sum + value, 0);

// A function of grey pixels (0 to 1) and of a noise [D]: the way of the image through the model.
//
// `thresholds` are those of the one draw by which a grey pixel becomes black or white: numbers from 0 to 1, one for
// each pixel.
export function makePassage({ steps, weights, likelihood, thresholds }) {
  const [encode, decode] = steps.map((part, i) => makeProgram(part, readHalf(weights[i])));
  const { observe, mean: link, nats } = LIKELIHOODS[likelihood];
  return (greys, noise) => {
    const x = Float32Array.from(greys, (grey, i) => observe(Math.fround(grey), thresholds[i]));
    const q = Array.from(encode(x)), mean = q.slice(0, noise.length);
    const sigma = q.slice(noise.length).map((logVariance) => Math.exp(0.5 * logVariance));
    const z = noise.map((epsilon, j) => mean[j] + sigma[j] * epsilon);           // the reparameterisation
    const features = decode(z), costs = Array.from(features, (f, i) => nats(f, x[i])), kl = klOf(mean, sigma);
    return { x, mean, sigma, z, decoded: Array.from(features, link), costs, kl, distortion: total(costs), rate: total(kl) };
  };
}
