"""log p(x) along one training of Figure 3: the truth by quadrature, and what the paper's estimator says."""

import time

import numpy as np

from vae_utils.files import load_tensors, save_tensors
from vae_utils.paper.marginal import KeptChains, quadrature_log_likelihood
from vae_utils.reproduce.common import say
from vae_utils.reproduce.resuming import state_path
from vae_utils.runtime import fixed_seed

PARTS = ("train", "test")
POSTERIOR_SAMPLES, POSTERIOR_LEAPFROG = 50, 4
TOLERANCE = 2.0  # nats, of the quadrature: less than half the time of its usual 0.3, the mean within 0.02


class Curve:
    """Measurements of one training, kept on disk beside the training's own state.

    A measurement that was on disk before an interruption is not made again: the chains have moved on since.

    Args:
        label, seed: as `resuming.state_path`.
        images: {"train": images, "test": images} to measure on, [N, 1, 28, 28] each.
        samples: training images evaluated at the end.
        unit: training images of one step of the training: reports come at its multiples.
        exactly_at: numbers of training images at which the quadrature is computed; the end is one more.
        spacing: training images between two of the paper's reports, at which the chains move on; the first report
            comes after the first step.

    Attributes:
        points: {measure: {training images evaluated: {"train": nats, "test": nats}}}, of the measures "quadrature"
            and "estimate": all that is on disk, the end of a shorter training included (`measured` leaves it out).
    """

    def __init__(self, label, seed, images, samples, unit, exactly_at, spacing):
        self.label, self.seed, self.images, self.samples, self.unit = label, seed, images, samples, unit
        reports = range(int(samples / spacing) + 1)
        self.steps = {
            "quadrature": {self._step(point) for point in [*exactly_at, samples]},
            "estimate": {self._step(number * spacing) for number in reports},
        }
        self.path = state_path(label, seed).with_suffix(".chains.safetensors")
        self.points, self.chains = {measure: {} for measure in self.steps}, None
        if not state_path(label, seed).is_file():  # measurements without the training's state are of no use
            self.path.unlink(missing_ok=True)
        if self.path.is_file():
            for measure, points in load_tensors(self.path)[1]["points"].items():
                self.points[measure] = {int(samples): values for samples, values in points.items()}
        self.begun, self.first = time.perf_counter(), None

    def _step(self, samples):
        return max(1, round(samples / self.unit))

    @property
    def report_at(self):
        """Numbers of training images after which the training has to report."""
        return [step * self.unit for step in sorted(set.union(*self.steps.values()))]

    def add(self, vae, report):
        """Measure, keep, and print with the time left."""
        if self.chains is None:
            self._start_chains(vae)
        step, measured = self._step(report.samples), {}
        for measure, steps in self.steps.items():
            if step in steps and report.samples not in self.points[measure]:
                measured[measure] = self.points[measure][report.samples] = {
                    part: getattr(self, f"_{measure}")(vae, part, report.samples).nanmean().item() for part in PARTS
                }
        if measured:
            self._save()
            self._tell(report.samples, measured)

    def _quadrature(self, vae, part, samples):
        return quadrature_log_likelihood(vae, self.images[part], tolerance=TOLERANCE).per_image

    def _estimate(self, vae, part, samples):
        with fixed_seed(self.seed + samples):
            return self.chains[part].log_likelihood(vae, POSTERIOR_SAMPLES, POSTERIOR_LEAPFROG)

    def _start_chains(self, vae):
        with fixed_seed(self.seed):
            self.chains = {part: KeptChains(vae, images) for part, images in self.images.items()}
        if self.path.is_file():
            tensors, kept = load_tensors(self.path)
            for part, chains in self.chains.items():
                chains.z, chains.step_size = tensors[part], kept["step_sizes"][part]

    def _save(self):
        step_sizes = {part: chains.step_size for part, chains in self.chains.items()}
        tensors = {part: chains.z for part, chains in self.chains.items()}
        save_tensors(self.path, tensors, {"points": self.points, "step_sizes": step_sizes}, half=False)

    def _tell(self, samples, measured):
        self.first = samples if self.first is None else self.first
        passed = time.perf_counter() - self.begun
        left = passed * (self.samples - samples) / max(samples - self.first, samples / 2)
        words = [
            f"{measure} of train {values['train']:.2f}, of test {values['test']:.2f}"
            for measure, values in measured.items()
        ]
        say(f"{self.label}: {samples:,} images, {', '.join(words)} nats; about {max(left, 0) / 60:.0f} min left")

    def measured(self, measure):
        """What was asked for: {training images evaluated: {"train": nats, "test": nats}}, in order."""
        points = sorted(self.points[measure].items())
        return {samples: values for samples, values in points if self._step(samples) in self.steps[measure]}

    def at(self, measure, part, points):
        """Nats at those of `points` (training images) that lie between two measurements: {point: nats}."""
        known = self.measured(measure)
        return interpolated(list(known), [values[part] for values in known.values()], points)


def interpolated(samples, nats, points):
    """A curve read between its own points, straight in the logarithm of samples: {point: nats} of those inside it."""
    inside = [point for point in points if samples[0] <= point <= samples[-1]]
    values = np.interp(np.log(inside), np.log(samples), nats)
    return dict(zip(inside, values.tolist(), strict=True))
