"""Several JavaScript modules as one text."""

import re
from pathlib import Path

import vae_utils.explore
from vae_utils.explore.scripts import bundled
from vae_utils.explore.widgets import SCRIPT

FOLDER = Path(vae_utils.explore.__file__).parent


def test_a_module_comes_after_those_that_it_imports_from_and_once(tmp_path):
    modules = {
        "all.js": 'import { b } from "./parts/b.js";\nimport { a } from "./parts/a.js";\nexport default [a, b];\n',
        "parts/a.js": "export const a = 1;\n",
        "parts/b.js": '// About b.\n\nimport {\n  a,\n} from "./a.js";\n\nexport const b = a;\n',
    }
    for name, source in modules.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source, "utf-8")
    expected = "export const a = 1;\n\n// About b.\n\n\nexport const b = a;\n\nexport default [a, b];\n"
    assert bundled(tmp_path / "all.js") == expected


def test_all_of_our_modules_are_in_what_a_front_end_gets():
    text = bundled(FOLDER / "explore.js")
    assert text == SCRIPT and not re.search(r"^import\b", text, re.MULTILINE)
    assert len(re.findall(r"^export default", text, re.MULTILINE)) == 1
    for path in FOLDER.glob("page/*.js"):
        first = path.read_text("utf-8").partition("\n")[0]
        assert first.startswith("// ") and text.count(first) == 1, path


def test_no_module_takes_a_name_that_another_has():
    """In one text both would be one thing."""
    declared = re.compile(r"^(?:export )?(?:const|class|(?:async )?function) (\w+)", re.MULTILINE)
    names = [name for path in FOLDER.glob("page/*.js") for name in declared.findall(path.read_text("utf-8"))]
    assert len(names) > 50 and sorted(set(names)) == sorted(names)
