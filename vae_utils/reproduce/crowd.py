"""What learners cost each other who train on one machine at once, with and without `support.threads`."""

import multiprocessing
import os
import time
from itertools import product

import torch

from vae_utils.models import mlp_vae, paper_vae
from vae_utils.objectives import elbo
from vae_utils.reproduce.common import Command, record
from vae_utils.support.threads import share_cores
from vae_utils.training import fit

LEARNERS = (1, 2, 4)
ROUNDS = 7
SECONDS = 3.0  # of each measurement
WAYS = {"torch": None, "shared": "shared", "single": 1}  # the threads of each learner, as `_learner` has them


def written_out(images, go_on):
    """Lesson 02's loop with the paper's network and optimiser; steps until `go_on` says no."""
    vae = paper_vae(20)
    optimiser = torch.optim.Adagrad(vae.parameters(), lr=0.02)
    while go_on():
        x = images[torch.randint(len(images), (100,))]
        loss = -elbo(vae, x).objective.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def by_fit(images, go_on):
    """`training.fit` with the library's defaults."""

    def stop(run):
        if not go_on():
            raise KeyboardInterrupt

    fit(mlp_vae(), images, epochs=1e9, on_step=stop, progress=False, report_at=())


LOOPS = {"the loop written out": written_out, "fit": by_fit}


def _learner(loop, rank, plan, seconds, barrier, results):
    """One learner, in a process of its own: its milliseconds a step in each entry of the plan in which it takes part.

    Args:
        loop: of `LOOPS`.
        rank: its number, from 0; in an entry with k learners those below k train, and the others wait.
        plan: list of (learners, threads): a number, "shared" (`share_cores`), or None for torch's own choice.
        seconds: of each entry.
        barrier, results: what the learners have in common.
    """
    images, torchs_choice = torch.rand(1000, 1, 28, 28).round(), torch.get_num_threads()
    for entry, (learners, threads) in enumerate(plan):
        barrier.wait()
        if rank < learners:
            torch.set_num_threads(threads if isinstance(threads, int) else torchs_choice)
            sharing = share_cores() if threads == "shared" else None
            results.put((entry, _milliseconds_a_step(loop, images, seconds)))
            if sharing:
                sharing.stop()
    barrier.wait()


def _milliseconds_a_step(loop, images, seconds):
    steps, start = -1, time.perf_counter()

    def go_on():
        nonlocal steps, start
        if steps < 0:  # the first call comes when the model is there
            start = time.perf_counter()
        steps += 1
        return time.perf_counter() - start < seconds

    LOOPS[loop](images, go_on)
    return 1000 * (time.perf_counter() - start) / steps


def milliseconds(loop, plan, seconds=SECONDS):
    """Milliseconds a step of the slowest learner in each entry of a plan, one entry after the other.

    Args:
        loop, plan, seconds: as `_learner`.

    Returns:
        List of numbers, one for each entry.
    """
    processes = max(learners for learners, _ in plan)
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(processes), spawn.Queue()
    started = [
        spawn.Process(target=_learner, args=(loop, k, plan, seconds, barrier, results)) for k in range(processes)
    ]
    for process in started:
        process.start()
    slowest = [0.0] * len(plan)
    for _ in range(sum(learners for learners, _ in plan)):
        entry, found = results.get(timeout=120 + 10 * seconds)
        slowest[entry] = max(slowest[entry], found)
    for process in started:
        process.join()
    return slowest


def crowd(options):
    """Milliseconds a step of 1, 2 and 4 learners at once, in three ways, beside their fair share.

    The ways: as torch comes; sharing cores; and with one thread each, where nobody waits for another's threads: what is
    lost then is lost to caches, memory and the kernel's scheduler. The fair share is what a learner alone
    takes on its part of the cores, or, where there are more learners than cores, on one core for as much longer as
    there are learners for each. The ways take turns, so that a machine that is slow for a while is so for all.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = []
    for loop, learners in product(LOOPS, LEARNERS):
        turn = [(1, max(1, cores // learners)), *((learners, threads) for threads in WAYS.values())]
        found = torch.tensor(milliseconds(loop, turn * ROUNDS)).view(ROUNDS, len(turn))
        found[:, 0] *= max(1, learners / cores)
        ratios = found / found[:, :1]
        medians = zip(("fair", *WAYS), found.median(0).values.tolist(), strict=True)
        row = {f"{name}_ms": value for name, value in medians}
        for name, of_rounds in zip(WAYS, ratios.T[1:], strict=True):
            low, median, high = of_rounds.sort().values[[1, ROUNDS // 2, -2]].tolist()
            row |= {f"{name}_ratio": median, f"{name}_low": low, f"{name}_high": high}
        rows.append({"loop": loop, "learners": learners} | {name: round(value, 2) for name, value in row.items()})
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    protocol = (
        f"milliseconds a step of the slowest learner, {ROUNDS} rounds of {SECONDS:g} s in turn; ratios to the fair "
        "share of the same round: their median, low and high without the lowest and the highest round"
    )
    record(options, {"cores": cores, "rows": rows, "protocol": protocol})


COMMAND = Command(crowd, stage=1)
