"""Algorithm 1: minibatches, a fresh draw of pixels and codes, a gradient step.

Any objective, any model, images in memory.
"""

import csv
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vae_utils.data import require_images
from vae_utils.evaluation import elbo_of_set
from vae_utils.files import write_atomically
from vae_utils.objectives import Terms, elbo
from vae_utils.runtime import fixed_seed, on_device
from vae_utils.support.arguments import refusal, require_number, require_whole
from vae_utils.support.kinds import checked, described


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
            test image; NaN if no test images were given.
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

    @checked
    def column(self, name: str) -> list:
        """One field of all reports, as a list of numbers."""
        return [getattr(report, name) for report in self]

    @checked
    def write_csv(self, path: str | Path) -> None:
        """Write one line for each report; an interrupted write leaves the old file."""
        with write_atomically(path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Report)])
            writer.writeheader()
            writer.writerows(asdict(report) for report in self)

    def __str__(self):
        if not self:
            return self.stopped or "not trained"
        last = self[-1]
        lines = [
            f"{last.samples:,} images ({last.epochs:.3g} epochs) in {last.seconds:.0f} s: train ELBO "
            f"{last.train_elbo:.2f}"
            + ("" if math.isnan(last.test_elbo) else f", test ELBO {last.test_elbo:.2f}")
            + " nats per image"
        ]
        return "\n".join(lines + [self.stopped] * bool(self.stopped))


# How fast, and by which rule


@checked
def linear_decay(peak: float) -> Callable[[float], float]:
    """Learning rate over a run: 5% of it to warm up, then in a straight line down to 0.2% of `peak`."""
    return lambda progress: peak * min(progress / 0.05, 1 - 0.998 * (progress - 0.05) / 0.95)


@checked
def constant(rate: float) -> Callable[[float], float]:
    """The same learning rate throughout."""
    return lambda progress: rate


@checked
def after(num_waiting: int, num_steps: int, rate: float) -> Callable[[float], float]:
    """Learning rate over a run: 0 for the first `num_waiting` of its `num_steps` steps, then `rate`.

    The author's program lets Adagrad gather the squares of 100 gradients before its first step, which the
    paper does not mention; `torch.optim.Adagrad` gathers them at a learning rate of 0 as well.
    """
    return lambda progress: rate * float(round(progress * num_steps) > num_waiting)


@checked
def fused(kind: Callable, parameters: Sequence[Tensor | dict], **settings: object) -> torch.optim.Optimizer:
    """An optimiser of torch with its fused kernel, one pass over all weights, where their device has that kernel.

    Args:
        kind: a class of `torch.optim` that takes `fused`.
        parameters: list of tensors, or of groups of them.
        settings: further arguments of `kind`.
    """
    tensors = [tensor for entry in parameters for tensor in (entry["params"] if isinstance(entry, dict) else [entry])]
    chosen = {"fused": True} if tensors and _has_fused_kernel(kind, tensors[0]) else {}
    return kind(parameters, **settings, **chosen)


def _has_fused_kernel(kind, tensor):
    """Whether a step on one number beside `tensor` works.

    A table would not stay true. Apple's MPS has Adam's kernel but not Adagrad's, CUDA has Adagrad's since torch 2.11,
    and what torch itself says about this is wrong for MPS.
    """
    trial = nn.Parameter(torch.zeros_like(tensor.detach().reshape(-1)[:1]))
    trial.grad = torch.zeros_like(trial)
    try:
        kind([trial], fused=True).step()
    except RuntimeError:  # NotImplementedError is one of these
        return False
    return True


@checked
def adam(parameters: Iterable[Tensor], max_norm: float = 200.0) -> torch.optim.Optimizer:
    """torch's Adam, `fused`; longer gradients are shortened to `max_norm`."""
    optimiser = fused(torch.optim.Adam, list(parameters))
    optimiser.register_step_pre_hook(partial(_shorten, max_norm))
    return optimiser


def _shorten(max_norm, optimiser, *_):
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    if not torch.nn.utils.clip_grad_norm_(parameters, max_norm).isfinite():
        raise FloatingPointError("the gradient")


@checked
def paper_adagrad(num_images: int, prior: float = 1.0) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    """The paper's optimiser for `fit`: Adagrad with the prior p(theta) = N(0, I), an approximate MAP.

    The prior is on weight matrices, not on bias vectors. The paper's gradient is summed over a minibatch and
    the prior's is scaled by M/N; `fit` averages over the minibatch, so the prior's share is 1/N: a weight
    decay of 1/`num_images`.

    Args:
        num_images: N.
        prior: factor on the prior's share; 0 for maximum likelihood.
    """

    def optimiser(parameters):
        parameters = list(parameters)
        matrices = {"params": [p for p in parameters if p.dim() > 1], "weight_decay": prior / num_images}
        vectors = {"params": [p for p in parameters if p.dim() <= 1]}
        return fused(torch.optim.Adagrad, [matrices, vectors])

    return optimiser


# Algorithm 1


@checked
def fit(
    vae: nn.Module,
    images: Tensor,
    *,
    epochs: float,
    test: Tensor | None = None,
    labels: Tensor | None = None,
    test_labels: Tensor | None = None,
    objective: Callable = elbo,
    batch_size: int = 128,
    learning_rate: float | Callable[[float], float] = 2e-3,
    optimiser: Callable = adam,
    seed: int = 0,
    report_at: Iterable[float] | None = None,
    on_report: Callable | None = None,
    on_step: Callable | None = None,
    progress: bool = True,
) -> History:
    """Maximise an objective by stochastic gradient ascent (Algorithm 1 of the paper).

    Images become outcomes of p(x|z) by `vae.observe`: with a Bernoulli likelihood, a fresh binary draw
    for each minibatch in training and one fixed draw in evaluation. You can interrupt it from the keyboard, and the
    model keeps what it has learned. It runs on `runtime.best_device()`.

    Args:
        vae: the model; it is trained in place and comes back to the device where it was.
        images: training images in [0, 1], shape [N, *image_shape].
        epochs: passes over `images`; a fraction is allowed.
        test: images for the test columns of the history, or None.
        labels, test_labels: for a conditional model the class of each image, int64 [N]: it is trained as
            `vae.given(labels)`; None for any other.
        objective: function of (vae, x) that returns `Terms`; the mean of `Terms.objective` is maximised.
        batch_size: M, images in a minibatch, drawn without replacement within an epoch.
        learning_rate: a number, the peak of `linear_decay`, or a function from the share of the run that is done
            to the learning rate, such as `constant(0.01)`.
        optimiser: function of the parameters that returns a torch optimiser, whose learning rate is then set.
        seed: of the order of images and of every draw; the weights' own draw happens before, outside.
        report_at: numbers of training images after which to report; by default at the end of each epoch.
        on_report: function of (vae, report) called at each report, e.g. to keep a picture; the model is then on the
            device where it was before.
        on_step: function of the `Run`, called before the first step and after each: it may keep the run, or put
            it back to where an earlier one was interrupted (`reproduce.resuming`).
        progress: whether to show a text bar with the running bound and the time left.

    Returns:
        History: a `Report` for each epoch (or for each entry of `report_at`) and one for the end.

    Raises:
        ValueError: if images are not [N, *image_shape] in [0, 1], the batch is larger than the data, `epochs` is not
            above 0, or a conditional model has no labels, or another one has.
        FloatingPointError: if the loss stops being finite; the model is put back to its last report.
    """
    if not (hasattr(vae, "observe") and hasattr(vae, "image_shape")):
        remedy = "put your networks into one: VAE(encoder, decoder, likelihood, latent_size)"
        raise ValueError(refusal("vae", "to have observe and image_shape, as a VAE has", described(vae), remedy))
    for some, classes, name in ((images, labels, "labels"), (test, test_labels, "test_labels")):
        if some is not None:
            require_images(some, vae.image_shape)
            _require_labels(vae, len(some), classes, name)
    require_whole("batch_size", batch_size, 1, len(images))
    require_number("epochs", epochs, above=0)
    steps_per_epoch = len(images) // batch_size
    num_steps = max(1, round(epochs * steps_per_epoch))
    report_steps = _report_steps(report_at, batch_size, num_steps, steps_per_epoch)
    rate = learning_rate if callable(learning_rate) else linear_decay(learning_rate)
    home = next(vae.parameters()).device
    with on_device(vae) as device, fixed_seed(seed):
        images, labels = images.to(device), None if labels is None else labels.to(device)
        run = Run(vae, optimiser(vae.parameters()), len(images), batch_size, device)
        if on_step is not None:
            on_step(run)
        last_good = _copy_weights(vae)
        bar = tqdm(
            total=num_steps * batch_size,
            initial=run.samples,
            unit=" images",
            unit_scale=True,
            leave=False,
            disable=not progress,
            mininterval=0.5,
            ncols=100,
            file=sys.stdout,
        )
        try:
            vae.train()
            run.start_watch()
            while run.step < num_steps:
                batch = run.next_batch()
                model, x = vae if labels is None else vae.given(labels[batch]), vae.observe(images[batch])
                for group in run.optimiser.param_groups:
                    group["lr"] = rate((run.step + 1) / num_steps)
                run.add(_ascend(run, objective, model, x))
                bar.update(batch_size)
                if run.step % 50 == 0:
                    bar.set_postfix_str(f"ELBO {run.means()[0]:.1f} nats", refresh=False)
                if run.step in report_steps:
                    run.report(test, test_labels)
                    last_good = _copy_weights(vae)
                    if on_report is not None:
                        # a picture must not change the training, and `on_report` expects the model where it was
                        with torch.random.fork_rng(), on_device(vae, home):
                            on_report(vae, run.history[-1])
                if on_step is not None:
                    on_step(run)
                run.start_watch()
        except KeyboardInterrupt:
            run.history.stopped = (
                f"interrupted from the keyboard after {run.samples:,} images ({run.samples / len(images):.3g} "
                "epochs); the model keeps what it has learned"
            )
            if run.count:
                run.report(None)
        except FloatingPointError:
            vae.load_state_dict(last_good)
            raise
        finally:
            bar.close()
            vae.eval()
            run.optimiser.zero_grad()  # gradients that nobody needs take as much memory as the weights
    return run.history


def _require_labels(vae, count, labels, name):
    """Raise an error unless there is a class for each image if the model is conditional, and none if it is not."""
    if labels is not None:
        vae.given(labels)  # an error for what are no classes of this model
        if labels.shape != (count,):
            raise ValueError(refusal(name, f"to have shape [{count}], one for each image", list(labels.shape)))
    elif getattr(vae, "classes", 0):
        remedy = f"the model is conditional: pass {name}=..."
        raise ValueError(refusal(name, "to hold the class of each image", "none", remedy))


def _ascend(run, objective, model, x):
    """One step up the gradient; the terms of the objective before it."""
    cause, broken = None, "the loss"
    try:
        terms = objective(model, x)
        if not isinstance(terms, Terms):
            remedy = "return Terms(objective, rate, distortion), each of shape [B]"
            raise ValueError(refusal("the objective", "to return Terms", described(terms), remedy))
        loss = -terms.objective.mean()
        finite = bool(loss.isfinite())
    except ValueError as error:
        if run.step == 0:  # a mistake in the call: torch's or our own sentence says which
            raise
        finite, cause = False, error  # torch refuses a distribution with NaN parameters
    if finite:
        run.optimiser.zero_grad()
        loss.backward()
        try:
            run.optimiser.step()
        except FloatingPointError as error:
            finite, broken = False, str(error)
    if not finite:
        raise _not_finite(broken, run.step + 1, run.samples) from cause
    return terms


def _not_finite(what, step, samples):
    return FloatingPointError(
        f"{what} stopped being a finite number at step {step} (after {samples:,} images); the model was put back to "
        "its last report; try a learning rate 3 to 10 times smaller"
    )


class Run:
    """The state of a training between two steps.

    Attributes:
        vae, optimiser: in training.
        order, position: indices of the images of this epoch in the order drawn, and how many of them are used.
        step, samples: steps done and training images evaluated.
        sums, count: of ELBO, rate and distortion since the last report, and over how many images.
        seconds: of training steps so far.
        history: the reports so far.
    """

    KEPT, REPORT = ("order", "position", "step", "samples", "sums", "count", "seconds"), Report  # for a file

    def __init__(self, vae, optimiser, num_images, batch_size, device):
        self.vae, self.optimiser = vae, optimiser
        self.num_images, self.batch_size = num_images, batch_size
        self.order, self.position = torch.empty(0, dtype=torch.long, device=device), 0
        self.step = self.samples = self.sums = self.count = 0
        self.seconds, self.history, self._started = 0.0, History(), None

    def next_batch(self) -> Tensor:
        """Indices of the next minibatch, [batch_size]: a new order for each epoch, no partial batches."""
        if self.position + self.batch_size > len(self.order):
            self.order, self.position = torch.randperm(self.num_images, device=self.order.device), 0
        self.position += self.batch_size
        return self.order[self.position - self.batch_size : self.position]

    def start_watch(self):
        """From here on, time counts as training."""
        if self._started is None:
            self._started = time.perf_counter()

    def stop_watch(self):
        """Time until `start_watch` is not training: evaluations, pictures, writing a file."""
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
        self._started = None

    def add(self, terms: Terms) -> None:
        """Count a step that was made on `terms`."""
        self.sums = self.sums + torch.stack([terms.elbo, terms.rate, terms.distortion]).detach().sum(1)
        self.step, self.count, self.samples = (
            self.step + 1,
            self.count + len(terms.rate),
            self.samples + len(terms.rate),
        )

    def means(self) -> list[float]:
        """ELBO, rate and distortion since the last report, nats per image."""
        return (self.sums / self.count).tolist()

    def report(self, test: Tensor | None, labels: Tensor | None = None) -> None:
        """Add a `Report` to the history, with the test columns if there are `test` images (with their classes)."""
        self.stop_watch()
        tested = {}
        if test is not None:
            try:
                self.vae.eval()
                terms = elbo_of_set(self.vae if labels is None else self.vae.given(labels), test)
            except ValueError as error:  # as in `_ascend`: the last step broke the weights
                raise _not_finite("the test bound", self.step, self.samples) from error
            tested = {f"test_{name}": getattr(terms, name).mean().item() for name in ("elbo", "rate", "distortion")}
            self.vae.train()
        epochs = self.samples / self.num_images
        self.history.append(Report(self.samples, epochs, self.seconds, *self.means(), **tested))
        self.sums = self.count = 0


def _report_steps(report_at, batch_size, num_steps, steps_per_epoch):
    if report_at is None:
        return set(range(steps_per_epoch, num_steps + 1, steps_per_epoch)) | {num_steps}
    return {max(1, round(samples / batch_size)) for samples in report_at} | {num_steps}


def _copy_weights(vae):
    return {name: value.clone() for name, value in vae.state_dict().items()}
