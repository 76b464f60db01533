"""What a record says of its own making: the command, the day, the versions, the processor and the time it took."""

import json
import platform
import time
from datetime import date
from importlib.metadata import version

import torch

from vae_utils.files import write_atomically


def write_record(path, command, start, results, **others):
    """Write what is known of a run that began at `start` (of time.perf_counter), and `others` with it."""
    content = {
        "command": command,
        "date": date.today().isoformat(),
        **others,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - start),
        "cpu_seconds": round(time.process_time()),
        "results": results,
    }
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def versions():
    """Versions of what the numbers depend on."""
    return {"torch": version("torch"), "torchvision": version("torchvision"), "python": platform.python_version()}


def processor():
    """The processor's name where the system tells it, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
