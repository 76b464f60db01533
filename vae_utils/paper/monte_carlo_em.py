"""Monte Carlo EM, which needs no encoder: the paper's Appendix E."""

import math
import sys
import time
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from vae_utils.data import require_images
from vae_utils.paper.hmc import hmc_step, longer_or_shorter
from vae_utils.paper.importance import log_joint
from vae_utils.runtime import fixed_seed
from vae_utils.support.arguments import require_whole


@dataclass(frozen=True)
class MCEMReport:
    """What is known of a Monte Carlo EM at one moment.

    Attributes:
        iterations: E- and M-steps so far.
        samples: training images evaluated so far by weight updates, as `monte_carlo_em` says.
        seconds: time spent so far, apart from `on_report`.
        log_joint: log p(x, z) at the current weights and codes, nats per image. It is not a bound on log p(x),
            because the entropy of the codes is missing.
        accepted: share of the moves accepted since the last report.
        step_size: of the leapfrog, now, in units of z.
    """

    iterations: int
    samples: int
    seconds: float
    log_joint: float
    accepted: float
    step_size: float


def monte_carlo_em(
    vae,
    images,
    *,
    iterations,
    learning_rate,
    optimiser,
    waiting=0,
    num_leapfrog=10,
    num_updates=5,
    step_size=0.01,
    target=0.9,
    seed=0,
    report_at=None,
    on_report=None,
    on_step=None,
    chunk=2000,
    progress=True,
):
    """Monte Carlo EM on all images at once: no encoder, one chain for each image (Appendix E of the paper).

    E: one Hamiltonian move of every z_n towards p(z_n|x_n), from where the last iteration left it
    M: `num_updates` steps up the mean of log p(x_n, z_n) in the weights of the decoder

    The chains start from the prior. Grey images become outcomes of p(x|z) once, by one fixed draw, because a
    chain needs a target that does not change. Here an iteration counts as N * num_updates images. The leapfrog steps
    are work that this number does not show. The paper's Figure 3 counts both (`reproduce unsaid`), as does `reproduce
    fig3`.

    Args:
        vae: the model, on the CPU; the weights that p(x|z) depends on are trained in place.
        images: grey training images in [0, 1], shape [N, 1, H, W].
        iterations: E- and M-steps.
        learning_rate: of `optimiser`.
        optimiser: function of the parameters that returns a torch optimiser, e.g. `training.paper_adagrad(N)`.
        waiting: updates at the beginning in which the optimiser sees gradients and the weights stay, as
            `training.after`.
        num_leapfrog: leapfrog steps in a move.
        num_updates: steps of the optimiser after it.
        step_size: of the leapfrog, at the start; then tuned so that a share of `target` is accepted.
        target: share of the moves to accept.
        seed: of every draw; the weights' own draw happens before, outside.
        report_at: numbers of training images evaluated after which to report; by default at every tenth of the run.
        on_report: function of (vae, report, z) called at each report, z of shape [N, J].
        on_step: function of the `MCEMRun`, called before the first iteration and after each: it may keep the run,
            or put it back to where an earlier one was interrupted (`reproduce.resuming`).
        chunk: images at a time: bounds the memory, and changes which random number goes to which image.
        progress: whether to show a text bar with the time left.

    Returns:
        (reports, z): list of `MCEMReport`, and the codes, shape [N, J].

    Raises:
        ValueError: if images are not [N, 1, H, W] in [0, 1], or a count is below 1.
        KeyboardInterrupt: from the keyboard; the weights keep what they have learned.
        FloatingPointError: if log p(x, z) stops being finite.
    """
    require_images(images, vae.image_shape)
    for name, count in (("iterations", iterations), ("num_updates", num_updates), ("num_leapfrog", num_leapfrog)):
        require_whole(name, count)
    cost = len(images) * num_updates
    if report_at is None:
        report_at = [cost * iterations * tenth / 10 for tenth in range(1, 11)]
    report_at = {min(iterations, max(1, round(samples / cost))) for samples in report_at} | {iterations}
    with fixed_seed(seed):
        x = vae.observe(images)
        run = MCEMRun(vae, x, optimiser(vae.parameters()), step_size)
        if on_step is not None:
            on_step(run)
        looks = dict(unit=" iterations", leave=False, mininterval=0.5, ncols=100, file=sys.stdout)
        bar = tqdm(total=iterations, initial=run.iteration, disable=not progress, **looks)
        try:
            while run.iteration < iterations:
                run.start_watch()
                run.expect(num_leapfrog, target, chunk)
                for update in range(num_updates):
                    done = run.iteration * num_updates + update
                    run.maximise(learning_rate if done >= waiting else 0.0, chunk)
                run.iteration += 1
                run.stop_watch()
                bar.update()
                bar.set_postfix_str(f"log p(x, z) {run.log_joint:.1f}", refresh=False)
                if run.iteration in report_at:
                    run.report(cost)
                    if on_report is not None:
                        with torch.random.fork_rng():
                            on_report(vae, run.history[-1], run.z)
                if on_step is not None:
                    on_step(run)
        finally:
            bar.close()
    return run.history, run.z


class MCEMRun:
    """The state of one run between two iterations.

    Attributes:
        vae, optimiser: in training.
        x, z: outcomes of p(x|z), [N, 1, H, W], and the end of each one's chain, [N, J].
        iteration, seconds: so far.
        step_size: of the leapfrog.
        shares: of moves accepted, one for each iteration since the last report.
        history: the reports so far.
    """

    KEPT, REPORT = ("z", "iteration", "seconds", "shares", "step_size"), MCEMReport  # for a file

    def __init__(self, vae, x, optimiser, step_size):
        self.vae, self.x, self.optimiser, self.step_size = vae, x, optimiser, step_size
        self.z = vae.prior.sample((len(x),))
        self.iteration, self.history, self.shares, self.log_joint, self.seconds = 0, [], [], math.nan, 0.0
        self._started = None

    def expect(self, num_leapfrog, target, chunk):
        moves = [
            hmc_step(partial(log_joint, self.vae, x), z, self.step_size, num_leapfrog)
            for x, z in zip(self.x.split(chunk), self.z.split(chunk), strict=True)
        ]
        self.z, accepted = map(torch.cat, zip(*moves, strict=True))
        self.shares.append(accepted.float().mean().item())
        self.step_size = longer_or_shorter(self.step_size, accepted, target)

    def maximise(self, learning_rate, chunk):
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.zero_grad()
        total = 0.0
        for x, z in zip(self.x.split(chunk), self.z.split(chunk), strict=True):
            share = log_joint(self.vae, x, z).sum() / len(self.x)
            (-share).backward()
            total += share.item()
        if not math.isfinite(total):
            raise FloatingPointError(
                f"the log joint density stopped being a finite number in iteration {self.iteration}; try a learning "
                "rate 3 to 10 times smaller"
            )
        self.optimiser.step()
        self.log_joint = total

    def start_watch(self):
        self._started = time.perf_counter()

    def stop_watch(self):
        """Count the seconds since `start_watch`, once."""
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
        self._started = None

    def report(self, cost):
        accepted = sum(self.shares) / len(self.shares)
        self.history.append(
            MCEMReport(self.iteration, self.iteration * cost, self.seconds, self.log_joint, accepted, self.step_size)
        )
        self.shares = []
