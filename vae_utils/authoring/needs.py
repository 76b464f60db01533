"""What each section of a lesson needs after a restart of the kernel: found in its code, written in a table at its head.

Also which cells of it disturb one another when a reader goes back and runs one again.
"""

import ast
import builtins
import symtable
from itertools import chain, pairwise

from vae_utils.authoring.lesson import code_cells, deeper, is_solution, sections

AFTER_RESTART = "after-restart"  # id of the cell with the table
SUMMARY = "After a restart of the kernel"
SENTENCE = "Run the code cells before section 1. A section also needs the code of these earlier ones:"
# Functions that change their first argument: who uses a trained model needs the section that trained it.
CHANGING = {"fit", "train", "train_as_paper", "load_weights", "start_at_mean", "draw_parameters"}
CHANGING_METHODS = {"append", "extend", "update", "load_state_dict"}


def needs(nb):
    """{title of a section: titles of the earlier sections that have to run before it, in order}.

    The cells before the first section (imports, data) are always needed and never named. The stub that a solution
    defines again is what other cells see.
    """
    latest, needed = {}, {}  # name -> titles of the sections that it is made of; title -> those that it needs
    for section in sections(nb):
        own_title = {section.title} if section.level == 2 else set()
        wanted = set()
        for cell in section.code:
            own = set()
            for statement in ast.parse(cell.source).body:
                used, made, changed = names(statement)
                wanted |= set(chain.from_iterable(latest.get(name, ()) for name in (used | changed) - own))
                if is_solution(cell):
                    own |= made
                else:
                    latest |= dict.fromkeys(made, own_title)
                latest |= {name: latest.get(name, set()) | own_title for name in changed}
        if section.level == 2 and section.code:
            wanted -= own_title
            wanted = wanted.union(*(needed[title] for title in wanted))
            needed[section.title] = [title for title in needed if title in wanted]
    return needed


def names(statement):
    """(used, made, changed): global names that a top-level statement reads, binds, and changes in place."""
    used, made, changed, read_too = set(), set(), set(), set()
    local = set(dir(builtins))
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            made.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.arg):
            local.add(node.arg)
        if isinstance(node, (ast.For, ast.comprehension)):  # bound before its body reads it
            local |= {inner.id for inner in ast.walk(node.target) if isinstance(inner, ast.Name)}
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            local |= {inner.id for inner in ast.walk(node.optional_vars) if isinstance(inner, ast.Name)}
        if isinstance(node, ast.Call):
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if function in CHANGING and node.args and isinstance(node.args[0], ast.Name):
                changed.add(node.args[0].id)
            if function in CHANGING_METHODS and isinstance(getattr(node.func, "value", None), ast.Name):
                changed.add(node.func.value.id)
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            changed |= {inner.id for inner in [node.value] if isinstance(inner, ast.Name)}
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            read_too.add(node.target.id)
    made, changed = made - read_too, changed | read_too
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        local |= made - {statement.name}  # what a body binds is its own
        made, changed = {statement.name}, set()
    elif not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)):
        local |= made  # a loop, a block: bound before it is read
    return used - local, made, changed - local - made


def overwritten(nb):
    """[(name, the cell that reads it, the later cell that binds it anew)]: whoever runs the first again gets it wrong.

    A cell that binds a name to what it was and more (`x = x[1:]`, `n += 1`) is there twice: it cannot run twice.
    Where both cells bind the name by the same statement, nothing is lost. Solutions do not count.
    """
    bound, found = {}, []  # name -> [(number of the cell, the statement that binds it)]
    cells = [cell for cell in code_cells(nb.cells) if not is_solution(cell)]
    reads = []  # what each cell takes from cells before it
    for number, cell in enumerate(cells):
        own, outside = set(), set()
        for statement in ast.parse(cell.source).body:
            code = ast.unparse(statement)
            made, used = globals_of(table_of(statement, cell.id))
            grows = isinstance(statement, ast.AugAssign) and not isinstance(statement.op, ast.BitOr)  # a | a is a
            used |= made if isinstance(statement, ast.AugAssign) else set()
            if grows or isinstance(statement, ast.Assign):
                found += [(name, cell.id, cell.id) for name in sorted(made & used - own)]
            outside |= used - made - own
            own |= made
            for name in made:
                bound.setdefault(name, []).append((number, code))
        reads.append(outside)
    for name, places in bound.items():
        for (first, code), (second, other) in pairwise(places):
            if code != other:
                found += [
                    (name, cells[reader].id, cells[second].id)
                    for reader in range(first + 1, second)
                    if name in reads[reader]
                ]
    return found


def borrowed(nb):
    """[(name, the cell of the main path that reads it)], of names that a part for a second course binds or changes.

    Whoever leaves such parts out would miss them.
    """
    away = {cell.id for part in deeper(nb) for cell in part}
    from_there, found = set(), []
    for cell in code_cells(nb.cells):
        own = set()
        for statement in ast.parse(cell.source).body:
            used, made, changed = names(statement)
            if cell.id in away:
                from_there |= made | changed
                continue
            found += [(name, cell.id) for name in sorted((used | changed) & from_there - own)]
            own |= made
        if not is_solution(cell):
            from_there -= own
    return list(dict.fromkeys(found))


class _AsGenerators(ast.NodeTransformer):
    def visit_ListComp(self, node):
        self.generic_visit(node)
        element = ast.Tuple([node.key, node.value], ast.Load()) if isinstance(node, ast.DictComp) else node.elt
        return ast.GeneratorExp(element, node.generators)

    visit_SetComp = visit_DictComp = visit_ListComp


def table_of(code, name="cell"):
    """The symbols of a statement or module, as `ast` has it: those of comprehensions apart, in any Python.

    Since 3.12 Python counts them among the symbols around them; those of generators stay apart.
    """
    generators = ast.fix_missing_locations(_AsGenerators().visit(ast.parse(ast.unparse(code))))
    return symtable.symtable(ast.unparse(generators), name, "exec")


def globals_of(table, top=True):
    """(made, used): names that a piece of code binds at its top level, and global names that it reads anywhere."""
    made = {s.get_name() for s in table.get_symbols() if top and (s.is_assigned() or s.is_imported())}
    used = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    for child in table.get_children():
        used |= globals_of(child, top=False)[1]
    return made, used - set(dir(builtins))


def table(nb):
    """What the cell `AFTER_RESTART` says, folded: one line for all sections that need the same ones."""
    groups = {}  # what is needed -> the sections that need it
    for title, needed in needs(nb).items():
        groups.setdefault(", ".join(map(_name, needed)) or "none", []).append(_name(title))
    rows = [f"| {', '.join(titles)} | {needed} |" for needed, titles in groups.items()]
    head = [f"<details><summary>{SUMMARY}</summary>", "", SENTENCE, ""]
    return "\n".join([*head, "| section | needs sections |", "|---|---|", *rows, "", "</details>"])


def fill_table(nb):
    """Write the table into its cell, in place; a notebook without that cell stays as it is."""
    for cell in nb.cells:
        if cell.get("id") == AFTER_RESTART:
            cell.source = table(nb)


def _name(title):
    """A section's number; its title, in quotes, if it has none."""
    number, dot, _ = title.partition(" · ")
    return number if dot and number.isdigit() else f"“{title}”"
