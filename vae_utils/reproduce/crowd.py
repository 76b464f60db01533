"""What learners cost each other who train on one machine at once, with and without `support.threads`."""

import multiprocessing
import os
import statistics
import time
from functools import partial

import torch

from vae_utils.models import mlp_vae, paper_vae
from vae_utils.objectives import elbo
from vae_utils.reproduce.common import Command, record
from vae_utils.support.threads import share_cores
from vae_utils.training import fit

LEARNERS = (1, 2, 4)
ROUNDS = 3
SECONDS = 5.0  # of each measurement


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


def _learner(loop, threads, seconds, barrier, results):
    """One learner, in a process of its own: its milliseconds a step, from the moment when all are ready."""
    if threads == "shared":
        share_cores()
    elif threads is not None:
        torch.set_num_threads(threads)
    images = torch.rand(1000, 1, 28, 28).round()
    steps, start = -1, time.perf_counter()

    def go_on():
        nonlocal steps, start
        if steps < 0:  # the first call comes when the model is there
            barrier.wait()
            start = time.perf_counter()
        steps += 1
        return time.perf_counter() - start < seconds

    LOOPS[loop](images, go_on)
    results.put(1000 * (time.perf_counter() - start) / steps)


def milliseconds(loop, learners, threads, seconds=SECONDS):
    """Milliseconds a step of each of so many learners.

    Args:
        loop: of `LOOPS`.
        learners: how many train at once.
        threads: of each: a number, "shared" (`share_cores`), or None for torch's own choice.
        seconds: how long.
    """
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(learners), spawn.Queue()
    arguments = loop, threads, seconds, barrier, results
    processes = [spawn.Process(target=_learner, args=arguments) for _ in range(learners)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120 + 5 * seconds) for _ in processes]
    for process in processes:
        process.join()
    return sorted(found)


def crowd(options):
    """Milliseconds a step of 1, 2 and 4 learners at once, in three ways, beside their fair share.

    The ways: as torch comes; sharing cores; and with one thread each, which is what caches, memory and the kernel's
    scheduler leave of the fair share where nobody waits for another's threads. The fair share is what a learner alone
    takes on its part of the cores, or, where there are more learners than cores, on one core for as much longer as
    there are learners for each.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ways = {"torch": None, "shared": "shared", "single": 1}
    rows = []
    for loop in LOOPS:
        measure = partial(milliseconds, loop)
        rounds = [
            {
                learners: {
                    **{way: max(measure(learners, threads)) for way, threads in ways.items()},
                    "fair": measure(1, max(1, cores // learners))[0] * max(1, learners / cores),
                }
                for learners in LEARNERS
            }
            for _ in range(ROUNDS)
        ]
        for learners in LEARNERS:
            ms = {way: statistics.median(of[learners][way] for of in rounds) for way in ("fair", *ways)}
            row = {f"{way}_ms": value for way, value in ms.items()}
            row |= {f"{way}_ratio": ms[way] / ms["fair"] for way in ways}
            row = {name: round(value, 2) for name, value in row.items()}
            rows.append({"loop": loop, "learners": learners} | row)
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    protocol = f"milliseconds a step of the slowest learner, median of {ROUNDS} rounds of {SECONDS:g} s; ratios to fair"
    record(options, {"cores": cores, "rows": rows, "protocol": protocol})


COMMAND = Command(crowd, stage=1)
