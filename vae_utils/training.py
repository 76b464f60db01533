"""Algorithm 1: minibatches, a fresh draw of pixels and codes, a gradient step.

Any objective, any model, images in memory.
"""

import csv
import functools
import math
import sys
import time
from dataclasses import asdict, dataclass, fields

import torch
from tqdm import tqdm

from vae_utils.data import require_images
from vae_utils.evaluation import elbo_of_set
from vae_utils.files import TrainingState, write_atomically
from vae_utils.objectives import elbo
from vae_utils.runtime import fixed_seed, on_device


@dataclass(frozen=True)
class Report:
    """What is known of a training at one moment: nats per image, except the counts.

    Attributes:
        samples: training images evaluated so far (the paper's horizontal axis).
        epochs: samples / number of training images.
        seconds: time spent on training steps, apart from evaluations and `on_report`.
        train_elbo, train_rate, train_distortion: running means over the minibatches since the last report,
            each at the weights of its own step; early on they lie below the test values, which use the
            current weights. They are the terms of the objective in use: with `objectives.reconstruction`, the
            rate is 0.
        test_elbo, test_rate, test_distortion: the ELBO whatever the objective, with one draw of z for each
            test image; NaN where no test images were given.
    """

    samples: int
    epochs: float
    seconds: float
    train_elbo: float
    train_rate: float
    train_distortion: float
    test_elbo: float = math.nan
    test_rate: float = math.nan
    test_distortion: float = math.nan


class History(list):
    """The reports of one training, in order; `stopped` says where and why it ended early, or is None."""

    def __init__(self, reports=(), stopped=None):
        super().__init__(reports)
        self.stopped = stopped

    def column(self, name):
        """One field of all reports, as a list of numbers."""
        return [getattr(report, name) for report in self]

    def write_csv(self, path):
        """Write one line a report; an interrupted write leaves the old file."""
        with write_atomically(path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Report)])
            writer.writeheader()
            writer.writerows(asdict(report) for report in self)

    def __str__(self):
        if not self:
            return self.stopped or "not trained"
        last = self[-1]
        lines = [
            f"{last.samples:,} images ({last.epochs:.3g} epochs) in {last.seconds:.0f} s: "
            f"train ELBO {last.train_elbo:.2f}"
            + ("" if math.isnan(last.test_elbo) else f", test ELBO {last.test_elbo:.2f}")
            + " nats per image"
        ]
        return "\n".join(lines + [self.stopped] * bool(self.stopped))


def linear_decay(progress):
    """Learning-rate factor: 5% of the run to warm up, then straight down to 0.2%; `progress` in [0, 1]."""
    return min(progress / 0.05, 1 - 0.998 * (progress - 0.05) / 0.95)


def constant(progress):
    """Learning-rate factor 1 throughout."""
    return 1.0


def adam(parameters, learning_rate):
    """torch's Adam with its fused kernel (one pass over all weights)."""
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)


def after(num_waiting, num_steps):
    """Learning-rate schedule: 0 for the first `num_waiting` of `num_steps` steps, then 1.

    The author's program lets Adagrad gather the squares of 100 gradients before its first step, which the
    paper does not mention; `torch.optim.Adagrad` gathers them at a learning rate of 0 as well.
    """

    def schedule(progress):
        return float(round(progress * num_steps) > num_waiting)

    return schedule


def paper_adagrad(num_images, prior=1.0):
    """The paper's optimiser for `fit`: Adagrad with the prior p(theta) = N(0, I), an approximate MAP.

    The prior is on weight matrices, not on bias vectors. The paper's gradient is summed over a minibatch and
    the prior's is scaled by M/N; `fit` averages over the minibatch, so the prior's share is 1/N: a weight
    decay of 1/`num_images`.

    Args:
        num_images: N.
        prior: factor on the prior's share; 0 for maximum likelihood.
    """

    def optimiser(parameters, learning_rate):
        parameters = list(parameters)
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": prior / num_images},
            {"params": [p for p in parameters if p.dim() <= 1]},
        ]
        return torch.optim.Adagrad(groups, lr=learning_rate, fused=True)

    return optimiser


def fit(
    vae,
    images,
    *,
    epochs,
    test=None,
    objective=elbo,
    batch_size=128,
    learning_rate=2e-3,
    optimiser=adam,
    schedule=linear_decay,
    max_norm=200.0,
    seed=0,
    device=None,
    report_at=None,
    on_report=None,
    checkpoint=None,
    progress=True,
):
    """Maximise an objective by stochastic gradient ascent (Algorithm 1 of the paper).

    Grey images become outcomes of p(x|z) by `vae.observe`: with a Bernoulli likelihood, a fresh binary draw
    for each minibatch in training and one fixed draw in evaluation. The keyboard can interrupt: the model
    keeps what it has learned.

    Args:
        vae: the model; it is trained in place and comes back to the device where it was.
        images: grey training images in [0, 1], shape [N, *image_shape].
        epochs: passes over `images`; a fraction is allowed.
        test: images for the test columns of the history, or None.
        objective: function of (vae, x) that returns `Terms`; the mean of `Terms.objective` is maximised.
        batch_size: M, images in a minibatch, drawn without replacement within an epoch.
        learning_rate: of `optimiser`, at the schedule's peak.
        optimiser: function of (parameters, learning_rate) that returns a torch optimiser.
        schedule: function from the share of the run that is done to a factor on the learning rate.
        max_norm: gradients of a larger norm (of the minibatch's mean) are scaled down to it; None for never.
        seed: of the order of images and of every draw; the weights' own draw happens before, outside.
        device: where to train; `runtime.best_device()` if None.
        report_at: numbers of training images after which to report; by default at the end of each epoch.
        on_report: function of (vae, report) called at each report, e.g. to keep a picture.
        checkpoint: path of a file that keeps the state of the training (weights, optimiser, random numbers,
            history), written at each report and twice a minute, or None. Where there is such a file, the same
            call goes on from it, on a CPU to the same numbers as without the interruption.
        progress: whether to show a text bar with the running bound and the time left.

    Returns:
        History: a `Report` for each epoch (or for each entry of `report_at`) and one for the end.

    Raises:
        ValueError: if images are not [N, *image_shape] in [0, 1], the batch is larger than the data, `epochs`
            is not above 0, or `checkpoint` holds the state of another training.
        FloatingPointError: if the loss stops being finite; the model is put back to its last report.
    """
    require_images(images, vae.image_shape)
    if test is not None:
        require_images(test, vae.image_shape)
    if not 1 <= batch_size <= len(images):
        raise ValueError(f"batch_size was expected from 1 to the {len(images)} images given, got {batch_size}")
    if not epochs > 0:
        raise ValueError(f"epochs was expected to be more than 0, got {epochs}")
    num_steps = max(1, round(epochs * (len(images) // batch_size)))
    report_at = _report_steps(report_at, batch_size, num_steps, len(images) // batch_size)
    history, run = History(), _Running()
    with on_device(vae, device) as device, fixed_seed(seed):
        images = images.to(device)
        optimiser = optimiser(vae.parameters(), learning_rate)
        peaks = [group["lr"] for group in optimiser.param_groups]
        batches = _Minibatches(len(images), batch_size, device)
        call = {
            "epochs": epochs,
            "images": len(images),
            "batch_size": batch_size,
            "learning_rate": peaks[0],
            "objective": _name(objective),
            "seed": seed,
        }
        state = TrainingState(checkpoint, call)
        training = vae, optimiser, batches, run, history
        done = _go_on(state, *training)
        last_good = _copy_weights(vae)
        bar = tqdm(
            total=num_steps * batch_size,
            initial=done * batch_size,
            unit=" images",
            unit_scale=True,
            disable=not progress,
            leave=False,
            mininterval=0.5,
            ncols=100,
            file=sys.stdout,
        )
        try:
            vae.train()
            for step in range(done + 1, num_steps + 1):
                batch = batches.draw()
                factor = schedule(step / num_steps)
                for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                    group["lr"] = peak * factor
                x = vae.observe(images[batch])
                run.add(_ascend(vae, objective, x, optimiser, max_norm, step, run.samples))
                bar.update(batch_size)
                if step % 50 == 0:
                    bar.set_postfix_str(f"ELBO {run.means()[0]:.1f} nats", refresh=False)
                if step in report_at:
                    history.append(_report(vae, run, step, len(images), test))
                    last_good = _copy_weights(vae)
                    if on_report is not None:
                        with torch.random.fork_rng():  # a picture on the way must not change where it leads
                            on_report(vae, history[-1])
                    _keep(state, *training, step)
                    run.start_watch()
                elif state.is_due():
                    run.stop_watch()
                    _keep(state, *training, step)
                    run.start_watch()
        except KeyboardInterrupt:
            samples = run.samples
            history.stopped = (
                f"interrupted from the keyboard after {samples:,} images "
                f"({samples / len(images):.3g} epochs); "
                "the model keeps what it has learned so far"
            )
            if run.count:
                history.append(_report(vae, run, step, len(images), None))
        except FloatingPointError:
            vae.load_state_dict(last_good)
            raise
        finally:
            bar.close()
            vae.eval()
    return history


def _ascend(vae, objective, x, optimiser, max_norm, step, samples):
    cause = None
    try:
        terms = objective(vae, x)
        loss = -terms.objective.mean()
        finite = bool(loss.isfinite())
    except ValueError as error:
        if step == 1:  # a mistake in the call: torch's or our own sentence says which
            raise
        finite, cause = False, error  # torch refuses a distribution with NaN parameters
    if finite:
        optimiser.zero_grad()
        loss.backward()
        if max_norm is not None:
            finite = bool(torch.nn.utils.clip_grad_norm_(vae.parameters(), max_norm).isfinite())
    if not finite:
        raise _not_finite("the loss or its gradient", step, samples) from cause
    optimiser.step()
    return terms


def _not_finite(what, step, samples):
    return FloatingPointError(
        f"{what} stopped being a finite number at step {step} (after {samples:,} images); "
        "the model was put back to its last report; try a learning rate 3 to 10 times smaller"
    )


class _Running:
    """Sums of the bound's terms since the last report; images and seconds of training since the start."""

    def __init__(self):
        self.samples, self.seconds = 0, 0.0
        self.clear()
        self.start_watch()

    def clear(self):
        self.sums, self.count = 0, 0

    def start_watch(self):
        self.started = time.perf_counter()

    def stop_watch(self):
        if self.started is not None:
            self.seconds += time.perf_counter() - self.started
        self.started = None

    def add(self, terms):
        self.sums = self.sums + torch.stack([terms.elbo, terms.rate, terms.distortion]).detach().sum(1)
        self.count += len(terms.rate)
        self.samples += len(terms.rate)

    def means(self):
        return (self.sums / self.count).tolist()


def _report(vae, run, step, num_images, test):
    run.stop_watch()
    tested = {}
    if test is not None:
        try:
            terms = elbo_of_set(vae.eval(), test)
        except ValueError as error:  # as in `_ascend`: the last step broke the weights
            raise _not_finite("the test bound", step, run.samples) from error
        tested = dict(
            test_elbo=terms.elbo.mean().item(),
            test_rate=terms.rate.mean().item(),
            test_distortion=terms.distortion.mean().item(),
        )
        vae.train()
    means = run.means()
    run.clear()
    return Report(run.samples, run.samples / num_images, run.seconds, *means, **tested)


def _report_steps(report_at, batch_size, num_steps, steps_per_epoch):
    if report_at is None:
        return set(range(steps_per_epoch, num_steps + 1, steps_per_epoch)) | {num_steps}
    return {max(1, round(samples / batch_size)) for samples in report_at} | {num_steps}


class _Minibatches:
    """Tensors of indices, [batch_size] each: a new order for each epoch, no partial batches."""

    def __init__(self, num_images, batch_size, device):
        self.num_images, self.batch_size, self.device = num_images, batch_size, device
        self.order = torch.empty(0, dtype=torch.long, device=device)
        self.position = 0

    def draw(self):
        if self.position + self.batch_size > len(self.order):
            self.order, self.position = torch.randperm(self.num_images, device=self.device), 0
        self.position += self.batch_size
        return self.order[self.position - self.batch_size : self.position]


def _keep(state, vae, optimiser, batches, run, history, step):
    """Write all that `_go_on` needs."""
    state.save(
        vae,
        optimiser,
        {"order": batches.order},
        step=step,
        position=batches.position,
        sums=run.sums.tolist() if run.count else [],
        count=run.count,
        samples=run.samples,
        seconds=run.seconds,
        reports=[asdict(report) for report in history],
    )


def _go_on(state, vae, optimiser, batches, run, history):
    """Put everything back to where the file left it; the number of steps done, 0 without a file."""
    found = state.load(vae, optimiser)
    if found is None:
        return 0
    tensors, kept = found
    batches.order, batches.position = tensors["order"].to(batches.device), kept["position"]
    run.samples, run.seconds, run.count = kept["samples"], kept["seconds"], kept["count"]
    run.sums = torch.tensor(kept["sums"], device=batches.device) if run.count else 0
    history.extend(Report(**report) for report in kept["reports"])
    run.start_watch()
    return kept["step"]


def _name(function):
    """What tells one objective from another in a file: `elbo`, `elbo(beta=4.0)`."""
    if isinstance(function, functools.partial):
        return f"{_name(function.func)}({', '.join(f'{k}={v}' for k, v in function.keywords.items())})"
    return getattr(function, "__qualname__", type(function).__qualname__)


def _copy_weights(vae):
    return {name: value.clone() for name, value in vae.state_dict().items()}
