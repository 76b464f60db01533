"""What a stored lesson keeps until the reader asks: answers, what solutions show, parts for a second course.

JupyterLab folds both by metadata of cells. Running a cell shows its output, and running all cells opens everything.
What other front ends do is in notebooks/CONTRIBUTING.md.
"""

from nbformat.v4 import new_output

from vae_utils.authoring.lesson import MARK, answers, is_deeper, is_marked, is_solution

HEADING_FOLDED = "jp-MarkdownHeadingCollapsed"
# In the place of a folded output JupyterLab shows the first line of it, which may be the answer: so this goes in front.
VEIL = "Predict first, then run this cell."
SOLUTION_VEIL = "Try it yourself first. Then open the solution and run it."


def fold(nb):
    """Fold the answers to predictions, what solutions show, and the parts for a second course, in place."""
    answering = {id(cell) for cell in answers(nb)}
    for cell in nb.cells:
        if cell.cell_type == "code":
            show_output(cell)
            if cell.outputs and (is_solution(cell) or id(cell) in answering):
                hide_output(cell, SOLUTION_VEIL if is_solution(cell) else VEIL)
        cell.metadata.pop(HEADING_FOLDED, None)
        if is_deeper(cell):
            cell.metadata[HEADING_FOLDED] = True


def hide_output(cell, veil):
    """Fold the output of a cell of code, in place, by both of nbformat's names: front ends read one or the other."""
    cell.metadata["collapsed"] = True
    cell.metadata.setdefault("jupyter", {})["outputs_hidden"] = True
    cell.outputs.insert(0, new_output("display_data", {"text/plain": veil}, metadata={MARK: {"veil": True}}))


def show_output(cell):
    """Undo `hide_output`, in place."""
    cell.metadata.pop("collapsed", None)
    jupyter = cell.metadata.get("jupyter", {})
    jupyter.pop("outputs_hidden", None)
    if not jupyter:
        cell.metadata.pop("jupyter", None)
    drop_veil(cell)


def drop_veil(cell):
    """Leave of the outputs those that the cell has put out, in place."""
    cell.outputs = [output for output in cell.outputs if not is_veil(output)]


def is_hidden(cell):
    """Whether the output of this cell of code is folded."""
    return cell.metadata.get("jupyter", {}).get("outputs_hidden", False)


def is_veil(output):
    """Whether this is no output of a cell, but the line that `hide_output` puts in front of it."""
    return is_marked(output, "veil")
