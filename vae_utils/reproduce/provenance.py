"""What a record says of its own making: the command, the day, the versions, the processor and the time it took.

It also holds the digests of the files that it describes and of itself, so that no figure in it changes unseen.
"""

import hashlib
import json
import platform
import time
from datetime import date
from importlib.metadata import version

import torch

from vae_utils.files import digest_of, write_atomically
from vae_utils.support.arguments import refusal


def write_record(path, command, start, results, files=(), **others):
    """Write what is known of a run that began at `start` (of time.perf_counter), and `others` with it.

    `files` are the names of those beside it that it describes, such as weights and curves: they are there already.
    """
    content = {
        "command": command,
        "date": date.today().isoformat(),
        **others,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - start),
        "cpu_seconds": round(time.process_time()),
        **({"files": {name: digest_of(path.with_name(name)) for name in files}} if files else {}),
        "digest": "",
        "results": results,
    }
    content["digest"] = _digest(json.loads(json.dumps(content)))  # as it will be read: keys are text
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_record(path):
    """A record, as a dict, if it is as its command wrote it.

    Raises:
        OSError: if there is no such file.
        ValueError: if anything in it was changed.
    """
    try:
        content, problem = json.loads(path.read_text("utf-8")), "it does not have the digest of its content"
    except ValueError as error:  # no JSON, or no text
        content, problem = None, error
    if not (isinstance(content, dict) and content.get("digest") == _digest(content)):
        remedy = "restore the file from the repository, or make it again"
        given = f"a changed or damaged file ({problem})"
        sentence = refusal("the record", "to be as its command wrote it", given, remedy)
        raise ValueError(f"{path}: {sentence}")
    return content


def _digest(content):
    """SHA-256 of all that a record says, however its lines are laid out."""
    said = {name: value for name, value in content.items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


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
