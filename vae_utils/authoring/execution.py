"""Run a notebook from top to bottom and store its outputs: the one way in which outputs get into a commit.

A notebook is written only if all its cells ran. What differs from run to run or from machine to machine
though the cells say the same (timings, widget state, model ids, versions, the course of a progress bar) is
left out, so that running an unchanged notebook again changes no byte of what its cells determine.
"""

import base64
import io
import os
import re

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager
from PIL import Image

from vae_utils.authoring.lesson import read
from vae_utils.files import write_atomically

SECONDS_PER_CELL = 300  # as in pyproject.toml
# Ids of widgets that no longer live, and copies of image/png.
DROPPED_MIMES = ("application/vnd.jupyter.widget-view+json", "image/jpeg")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "pygments_lexer": "ipython3"}


def execute(path):
    """Run the notebook at `path` in this Python, and write it with its outputs, cleaned.

    Raises:
        ValueError: if a cell fails; it is named, and the file stays as it is.
    """
    notebook = read(path)
    run(notebook, path)
    with write_atomically(path) as temporary:
        nbformat.write(clean(notebook), temporary)


def run(notebook, path, before=None, after=None):
    """Run all cells in this Python, in a kernel of their own; the outputs are left in `notebook`.

    Args:
        notebook: what `lesson.read` has read.
        path: where it lies: the kernel's folder is the same.
        before, after: functions of (id of the kernel's process, cell), called at each code cell; or None.

    Raises:
        ValueError: if a cell fails; it is named.
    """
    started = []
    manager = AsyncKernelManager(kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager())
    place = {"metadata": {"path": str(path.resolve().parent)}}
    client = NotebookClient(notebook, km=manager, timeout=SECONDS_PER_CELL, record_timing=False, resources=place)

    def begin(cell, cell_index):
        started.append(cell_index)
        if before is not None:
            before(manager.provisioner.pid, cell)

    def end(cell, cell_index, execute_reply):
        if after is not None:
            after(manager.provisioner.pid, cell)

    client.on_cell_execute, client.on_cell_executed = begin, end
    # a fixed backend would keep figures out of the outputs
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    try:
        client.execute(cleanup_kc=True, env=environment)  # the kernel ends too, though the manager is ours
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise ValueError(
            f"{error}\n{path} was expected to run to its end, got this error in cell {started[-1]} "
            "(counting all, from 0); correct the cell and run the command again, the file is as it was"
        ) from None


def clean(notebook):
    """Drop, in place, what is not the cells' own doing."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata |= {"kernelspec": KERNEL, "language_info": LANGUAGE}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        cell.metadata.pop("trusted", None)
        if cell.cell_type == "code":
            cell.outputs = fold_streams(cell.outputs)
            for output in cell.outputs:
                for mime in DROPPED_MIMES:
                    output.get("data", {}).pop(mime, None)
                    output.get("metadata", {}).pop(mime, None)
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = shrink(output.data["image/png"])
    return notebook


def shrink(png):
    """The same picture (base64) in at most 256 colours, if that makes it smaller: the eye sees no difference."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":
        return png
    smaller = io.BytesIO()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    return min(png, base64.b64encode(smaller.getvalue()).decode() + "\n", key=len)


def fold_streams(outputs):
    """Join what was printed between two other outputs, per stream; keep of it what a terminal would show."""
    joined, open_streams = [], {}
    for output in outputs:
        if output.output_type != "stream":
            open_streams = {}
        elif output.name in open_streams:
            open_streams[output.name].text += output.text
            continue
        else:
            open_streams[output.name] = output
        joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = fold_carriage_returns(output.text)
    return [output for output in joined if output.output_type != "stream" or output.text]


def fold_carriage_returns(text):
    """Let each carriage return write over its line; drop lines that this leaves blank, as a cleared bar's."""
    folded = []
    for line in re.findall(r".*\n|.+", text):  # with their line ends
        shown = ""
        for part in line.removesuffix("\n").split("\r"):
            shown = part + shown[len(part) :]
        if "\r" not in line:
            folded.append(line)
        elif shown.strip():
            folded.append(shown.rstrip() + "\n" * line.endswith("\n"))
    return "".join(folded)
