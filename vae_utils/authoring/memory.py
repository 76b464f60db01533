"""How much memory the kernel of each lesson takes at its peak, on Linux.

    python -m vae_utils.authoring.memory [LESSON ...] [--cells N] [--out FOLDER]

Each lesson is run from top to bottom in a kernel of its own, with the images that `load_mnist` finds. The peak is what
Linux calls VmHWM: all pages in memory. Those of files are among them, libraries above all, and are in memory once for
all kernels of a machine; what is left is a kernel's own. It writes memory.json if all lessons are run.
"""

import argparse
import time
from pathlib import Path

from vae_utils.authoring.execution import run
from vae_utils.authoring.lesson import lessons, read
from vae_utils.data import load_mnist
from vae_utils.files import ASSETS
from vae_utils.reproduce.provenance import versions, write_record

COMMAND = "python -m vae_utils.authoring.memory"


def pages(process, name):
    """GiB of a process as Linux counts them: VmHWM, in memory at most since `forget_peak`; RssFile, of files, now."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**20


def forget_peak(process):
    """Let the peak begin from what is in memory now."""
    Path(f"/proc/{process}/clear_refs").write_text("5")


def peaks(path):
    """The peak of each code cell of the lesson at `path`, in their order: dict of cell id to (GiB, GiB of its own).

    Raises:
        ValueError: if a cell fails.
    """
    found, files = {}, {}

    def begin(process, cell):
        forget_peak(process)
        files[cell.id] = pages(process, "RssFile")  # more are read in the cell: its own are no more than what we say

    def end(process, cell):
        highest = pages(process, "VmHWM")
        found[cell.id] = highest, highest - files[cell.id]

    run(read(path), path, before=begin, after=end)
    return found


def main(arguments=None):
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="a number, such as 04 (all)")
    parser.add_argument("--cells", type=int, default=1, metavar="N", help="print the N cells with the highest peaks")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder of the record (assets/)")
    options = parser.parse_args(arguments)
    if not Path("/proc/self/clear_refs").exists():
        raise SystemExit("A Linux kernel was expected, which tells the peak of a process; run this on Linux.")
    try:
        chosen = lessons(options.lessons)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    start, rows = time.perf_counter(), {}
    images = load_mnist().source
    for path in chosen:
        found = peaks(path)
        highest = sorted(found, key=found.get, reverse=True)[: options.cells]
        all_pages, own = (max(column) for column in zip(*found.values()))
        rows[path.stem] = {"gib": round(all_pages, 3), "own_gib": round(own, 3), "cell": highest[0]}
        cells = ", ".join(f"{cell} {found[cell][0]:.3f}" for cell in highest)
        print(f"{path.stem}: {all_pages:.3f} GiB at the peak, {own:.3f} its own; highest cells: {cells}", flush=True)
    if not options.lessons:
        protocol = "VmHWM of the lesson's kernel, and without the pages of files; one run"
        results = {"images": images, "lessons": rows, "protocol": protocol}
        write_record(options.out / "memory.json", COMMAND, start, results, seed=None, versions=versions())


if __name__ == "__main__":
    main()
