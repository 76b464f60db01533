"""Where the large parts of a page lie: in the page itself, or in files that several pages share.

`Inline` makes a page of one file. `Shared` makes each part a file of its own, named by its content, so that a weight,
a script or a picture that ten pages need is there once. A page that is opened from a disk may load a script, but it may
not fetch a file of numbers. So what page.js has to read is a script too: one line that hands a text over.
"""

import base64
import hashlib
import json
import zlib
from pathlib import Path

DIGITS = 16  # of a name, which is made of the content: enough to tell any two parts apart


class Inline:
    """Parts stay in the page."""

    def picture(self, png):
        """The address of a picture (base64 of a PNG)."""
        return f"data:image/png;base64,{png}"

    def text(self, text):
        """What stands in the page's data for a text that page.js reads: the text itself."""
        return text

    def script(self, source):
        """HTML of a script that runs when the page is there."""
        return f'<script type="module">\n{source}</script>'


class Shared:
    """Parts are files of one folder.

    Args:
        folder: where the files go; it is made.
        address: of that folder, as the pages see it.
    """

    def __init__(self, folder, address):
        self.folder, self.address = Path(folder), address
        self.folder.mkdir(parents=True, exist_ok=True)

    def picture(self, png):
        """The address of a picture (base64 of a PNG)."""
        try:
            return self.file(base64.b64decode(png, validate=True), "png")
        except ValueError:  # no picture: as in a page of one file, the reader sees the words in its place
            return f"data:image/png;base64,{png}"

    def text(self, text):
        """What stands in the page's data for a text that page.js reads: where it lies, and its checksum."""
        name = _name(text.encode())
        line = f'(globalThis.vaeParts ??= {{}})["{name}"] = {json.dumps(text)};\n'
        self._write(f"{name}.js", line.encode())
        return {"file": f"{self.address}{name}.js", "name": name, "sum": zlib.adler32(text.encode("utf-16-le"))}

    def script(self, source):
        """HTML of a script that runs when the page is there."""
        return f'<script defer src="{self.file(_alone(source).encode(), "js")}"></script>'

    def file(self, content, ending):
        """Keep these bytes as a file; its address."""
        name = f"{_name(content)}.{ending}"
        self._write(name, content)
        return f"{self.address}{name}"

    def _write(self, name, content):
        path = self.folder / name
        if not path.exists():
            path.write_bytes(content)


def _name(content):
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _alone(source):
    """A module as a plain script, since a browser does not load modules from a disk; its names stay its own."""
    return f"(() => {{\n{source}}})();\n"
