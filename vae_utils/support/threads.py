"""How many threads a computation takes: as many cores as nobody else is using.

PyTorch takes one thread for each core, and threads that wait for each other keep their cores busy. On a machine that
several learners share, some thread is always without a core, and all others wait for it: four learners on two cores
need about sixty times as long as their share of the machine allows (`reproduce crowd`). So, on Linux, a program that
shares cores begins a computation with one thread, and checks four times a second: it takes more threads if cores are
idle, and gives them back if it has waited for a core.

A number that the user has chosen, by OMP_NUM_THREADS, MKL_NUM_THREADS or `torch.set_num_threads`, is left alone.
Choose one for results that are equal to the last bit: sums of floats depend on the number of threads.
"""

import os
import threading
import time
from pathlib import Path

import torch
from torch import nn

PERIOD = 0.25  # seconds between two checks
FIRST = 0.1  # seconds until the first check of a computation; until then it has one thread
BUSY = 0.5  # share of its time in which a program computes or waits for a core; with less, a new computation begins
WAITED = 0.15  # share of its busy time without a core; with more, threads are given back
IDLE = 0.6  # idle cores; with more, a thread is taken
LONGEST_REST = 64  # checks after giving back, at the most, in which no thread is taken


class CoreSharing:
    """Sets the number of threads of the thread that makes it, whenever a network is called there.

    Args:
        most: threads, at the most.
    """

    def __init__(self, most: int):
        self.most = self.threads = most
        self.owner = threading.get_ident()  # torch counts the threads of each Python thread apart
        self.rest, self.next_rest = 0, 1  # checks
        self.before, self.period = None, FIRST  # the clocks at the last check; seconds from there to the next
        torch.set_num_threads(most)
        self.hook = nn.modules.module.register_module_forward_pre_hook(self._before_a_network)

    def stop(self) -> None:
        """Leave the number of threads as it is from now on."""
        self.hook.remove()

    def _before_a_network(self, module, inputs):
        if threading.get_ident() != self.owner or (self.before and time.monotonic() - self.before[0] < self.period):
            return
        if torch.get_num_threads() != self.threads:  # the user has chosen another number
            self.stop()
            return
        now = _clocks()
        seconds, ran, waited, idle = (after - before for after, before in zip(now, self.before or now))
        self.before = now
        if ran + waited > BUSY * seconds:
            self.period = PERIOD
            self._follow(waited / (ran + waited), idle / seconds)
        else:  # a computation begins, and nobody knows yet who else computes
            self.period = FIRST
            self._take(1)

    def _follow(self, waited: float, idle: float) -> None:
        """Choose a number of threads.

        Args:
            waited: share of its busy time in which the program had no core.
            idle: cores that nobody used.
        """
        threads = self.threads
        self.rest = max(0, self.rest - 1)
        if waited > WAITED:
            threads = max(1, int(threads * (1 - waited)))
        elif idle > IDLE and not self.rest:
            threads = min(self.most, threads + int(idle + 1 - IDLE))
        if threads < self.threads:
            self.rest, self.next_rest = self.next_rest, min(2 * self.next_rest, LONGEST_REST)
        elif threads == self.threads == self.most:
            self.next_rest = 1
        self._take(threads)

    def _take(self, threads):
        if threads != self.threads:
            self.threads = threads
            torch.set_num_threads(threads)


def share_cores() -> CoreSharing | None:
    """Let the number of threads follow what others leave of the machine.

    Returns:
        CoreSharing, or None if all stays as it is: if the user has chosen a number, if there is one core, and on
        systems other than Linux, which do not say how long a thread has waited.
    """
    if os.environ.get("OMP_NUM_THREADS") or os.environ.get("MKL_NUM_THREADS"):
        return None
    try:
        _clocks()
    except (OSError, ValueError, IndexError):
        return None
    most = min(torch.get_num_threads(), _quota())
    return CoreSharing(most) if most > 1 else None


def _clocks():
    """Seconds: of the clock; of this thread on a core, and ready without one; idle, of all cores that it may use."""
    ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    own = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu"))
    idle = sum(int(line[4]) + int(line[5]) for line in lines if line[0] in own)
    return time.monotonic(), int(ran) / 1e9, int(waited) / 1e9, idle / os.sysconf("SC_CLK_TCK")


def _quota():
    """Cores that a container may use at once, rounded up; a large number where nothing limits it."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 1_000_000
    return 1_000_000 if limit == "max" else max(1, round(int(limit) / int(period) + 0.49))
