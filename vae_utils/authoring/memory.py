"""How much memory the kernel of each lesson takes at its peak, on Linux.

    python -m vae_utils.authoring.memory [LESSON ...] [--cells N] [--out FOLDER]

Each lesson is run from top to bottom in a kernel of its own, with the images that `load_mnist` finds. The peak is what
Linux calls VmHWM: all pages in memory, those of libraries too, which kernels of the same machine share. It writes
memory.json if all lessons are run.
"""

import argparse
import time
from pathlib import Path

from vae_utils.authoring.execution import run
from vae_utils.authoring.lesson import paths, read
from vae_utils.data import load_mnist
from vae_utils.files import ASSETS
from vae_utils.reproduce.provenance import versions, write_record

COMMAND = "python -m vae_utils.authoring.memory"


def peak(process):
    """GiB that a process has had in memory at most, since `forget_peak`."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def forget_peak(process):
    """Let the peak begin from what is in memory now."""
    Path(f"/proc/{process}/clear_refs").write_text("5")


def peaks(path):
    """GiB at the peak of each code cell of the lesson at `path`, in their order: dict of cell id to number.

    Raises:
        ValueError: if a cell fails, or the system is not Linux.
    """
    found = {}

    def note(process, cell):
        if cell.cell_type == "code":
            found[cell.id] = peak(process)

    run(read(path), path, before=lambda process, cell: forget_peak(process), after=note)
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
    start, rows = time.perf_counter(), {}
    images = load_mnist().source
    for path in paths():
        if options.lessons and path.stem[:2] not in options.lessons:
            continue
        found = peaks(path)
        highest = sorted(found, key=found.get, reverse=True)[: options.cells]
        rows[path.stem] = {"gib": round(max(found.values()), 3), "cell": highest[0]}
        cells = ", ".join(f"{cell} {found[cell]:.3f}" for cell in highest)
        print(f"{path.stem}: {rows[path.stem]['gib']:.3f} GiB at the peak; highest cells: {cells}", flush=True)
    if not options.lessons:
        results = {"images": images, "lessons": rows, "protocol": "VmHWM of the lesson's kernel, one run"}
        write_record(options.out / "memory.json", COMMAND, start, results, versions=versions())


if __name__ == "__main__":
    main()
