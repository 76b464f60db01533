"""One JavaScript module made of several: anywidget and an exported page hold a single text.

This needs no tool. Each file names what it takes from others in lines `import { ... } from "./NAME.js";`; here
the files stand one after the other, each after those that it imports from, without these lines. So two files must not
use one name for two things, because a browser refuses that.
"""

import re
from pathlib import Path

IMPORT = re.compile(r'^import \{[^}]*\} from "(\./[\w/]+\.js)";\n', re.MULTILINE)


def bundled(path: Path) -> str:
    """The text of a module and of all that it imports, at any depth, each once."""
    seen, parts = set(), []

    def add(file):
        if file in seen:
            return
        seen.add(file)
        source = file.read_text("utf-8")
        for name in IMPORT.findall(source):
            add((file.parent / name).resolve())
        parts.append(IMPORT.sub("", source).strip())

    add(path.resolve())
    return "\n\n".join(parts) + "\n"
