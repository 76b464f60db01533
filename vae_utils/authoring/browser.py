"""JupyterLab and a real browser, driven from Python: `running_lab` and `running_chromium` are context managers.

They need the package playwright (requirements.txt) and a Chromium or Chrome (Debian: apt-get install chromium).
`explorer_speed` measures with them, and the tests see with them what a reader sees.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import nbformat

from vae_utils.authoring.execution import KERNEL

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--no-first-run"]
FLAGS += [f"--disable-{what}" for what in ("gpu", "quic", "sync", "background-networking", "component-update")]
SECONDS_TO_START = 60
SECONDS_TO_RUN = 300  # all cells of a notebook
LOOPBACK = "127.0.0.1"
# What JupyterLab asks its users in pop-ups, answered beforehand: no news, no look for newer versions.
SETTINGS = {"@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
# What Jupyter writes, and the variables that say where.
FOLDERS = {name: f"JUPYTER_{name.upper()}_DIR" for name in ("config", "data", "runtime")}
FOLDERS |= {name: f"JUPYTERLAB_{name.upper()}_DIR" for name in ("settings", "workspaces")} | {"ipython": "IPYTHONDIR"}


# --- JupyterLab


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that runs.

    Attributes:
        folder: what it shows: its root directory.
        port, token: where it listens on 127.0.0.1, and the word that it asks for.
    """

    folder: Path
    port: int
    token: str

    @property
    def url(self):
        return f"http://{LOOPBACK}:{self.port}"

    def api(self, path, method="GET", token=True):
        """Status and JSON body (None if there is none) of the server's answer to a request of `/api/path`."""
        headers = {"Authorization": f"token {self.token}"} if token else {}
        request = urllib.request.Request(f"{self.url}/api/{path}", headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.loads(response.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, None

    def write(self, name, *cells):
        """Put a notebook of these code cells into the folder."""
        write_notebook(self.folder / name, *cells)

    def shut_down(self, *names):
        """End the kernels of these notebooks, or of all: each holds half a gigabyte."""
        for session in self.api("sessions")[1]:
            if not names or session["path"] in names:
                self.api(f"sessions/{session['id']}", "DELETE")


def write_notebook(path, *cells):
    """Write a notebook of these code cells."""
    metadata = {"kernelspec": KERNEL}  # without a kernel's name JupyterLab would ask for one, and wait
    cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)


@contextlib.contextmanager
def running_lab(home):
    """JupyterLab of this Python, on loopback, with a token, knowing nothing of its user's settings.

    Args:
        home: an empty folder for all that it writes; what it shows is in `home/root`.

    Yields:
        Lab: one that answers.

    Raises:
        RuntimeError: if it does not start in time; its log is in the message.
    """
    root, log = home / "root", home / "log"
    root.mkdir()
    # its own folders in front; what is installed beside this Python is found all the same
    theirs = ("JUPYTER", "IPYTHON", "MPLBACKEND")  # the user's settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    environment |= {variable: str(home / folder) for folder, variable in FOLDERS.items()}
    for name, values in SETTINGS.items():
        path = home / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values), "utf-8")
    lab = Lab(root, _free_port(), secrets.token_hex(16))
    environment["JUPYTER_TOKEN"] = lab.token
    place = {"ip": LOOPBACK, "port": lab.port, "port_retries": 0, "root_dir": root}
    options = [f"--ServerApp.{name}={value}" for name, value in place.items()]
    options += [f"--{app}.expose_app_in_browser=True" for app in ("LabApp", "JupyterNotebookApp")]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *options]
    with open(log, "w", encoding="utf-8") as file:
        streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
        server = subprocess.Popen(command, env=environment, cwd=root, start_new_session=True, **streams)
    try:
        _wait_until_it_answers(lab, server, log)
        yield lab
    finally:
        _end(lab, server)


def _free_port():
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def _wait_until_it_answers(lab, server, log):
    end = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            if lab.api("status")[0] == 200:
                return
        time.sleep(0.1)
    said = log.read_text("utf-8")[-3000:]
    raise RuntimeError(f"JupyterLab was expected to answer within {SECONDS_TO_START} s, but did not; it said:\n{said}")


def _end(lab, server):
    """Kernels first: each is the head of a process group of its own, which the server's end may not reach."""
    with contextlib.suppress(OSError):
        lab.shut_down()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


# --- the browser


@contextlib.contextmanager
def running_chromium():
    """The system's Chromium without a window, driven by Playwright.

    Raises:
        ModuleNotFoundError, FileNotFoundError: in one sentence, if Playwright or the browser is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        sentence = "the package playwright was expected, but is not installed; install requirements.txt"
        raise ModuleNotFoundError(sentence) from error
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        raise FileNotFoundError(
            f"a browser was expected in PATH ({', '.join(BROWSERS)}), got none; "
            "install one, on Debian by: apt-get install chromium"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser, **options):
    """A page in a context of its own: nothing carries over from another test.

    The page gets two lists: `page.complaints`, what its console holds of errors, and `page.strangers`, the
    addresses outside this computer that it asked for.

    Args:
        options: of Playwright's `Browser.new_context`; a window of 1280 x 720 by default.
    """
    page = browser.new_context(**({"viewport": {"width": 1280, "height": 720}} | options)).new_page()
    page.complaints, page.strangers = [], []

    def listen(message):
        if message.type == "error":
            page.complaints.append(f"{message.text} [{message.location['url'].partition('?')[0]}]")

    def note(request):
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname != LOOPBACK:
            page.strangers.append(request.url)

    page.on("console", listen)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", note)
    return page


# --- a notebook in the browser


def evaluate(page, function, argument=None, seconds=30):
    """The result of a JavaScript function, which may be async; TimeoutError if it takes longer."""
    # Playwright itself waits for ever.
    limited = f"""([argument, seconds]) => Promise.race([
        Promise.resolve(({function})(argument)).then(result => [result]),
        new Promise(resolve => setTimeout(resolve, 1000 * seconds, null)),
    ])"""
    answer = page.evaluate(limited, [argument, seconds])
    if answer is None:
        raise TimeoutError(f"an end within {seconds} s was expected of: {function}")
    return answer[0]


def open_notebook(page, lab, name, in_notebook_7=False):
    """Open a notebook of the lab's folder alone, without side bars, and wait for its kernel."""
    # A workspace of its own: JupyterLab would open the tabs of the visit before.
    path = "notebooks" if in_notebook_7 else f"doc/workspaces/{secrets.token_hex(4)}/tree"
    page.goto(f"{lab.url}/{path}/{name}?token={lab.token}")
    page.wait_for_function("window.jupyterapp && jupyterapp.shell.currentWidget?.sessionContext")
    # The kernel's indicator says "idle" before there is a kernel: these promises know better.
    wait = """async () => {
        const { context, sessionContext } = jupyterapp.shell.currentWidget;
        await context.ready;
        await sessionContext.ready;
    }"""
    evaluate(page, wait)


def run_all(page, widgets):
    """Run all cells, wait until the last one has run and that many of our widgets stand on the page."""
    run = "async () => { await jupyterapp.commands.execute('notebook:run-all-cells'); }"
    evaluate(page, run, seconds=SECONDS_TO_RUN)
    page.wait_for_function("widgets => document.querySelectorAll('.vae-live').length >= widgets", arg=widgets)


def run_cell(page, index):
    """Run one cell again, and wait for its end."""
    run = """async index => {
        jupyterapp.shell.currentWidget.content.activeCellIndex = index;
        await jupyterapp.commands.execute('notebook:run-cell');
    }"""
    evaluate(page, run, index)


def printed(page, index):
    """The text that a cell has put out, also where it is not on the screen."""
    return page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-OutputArea-output").all_text_contents()


def set_theme(page, name):
    """Change JupyterLab's theme ("JupyterLab Light", "JupyterLab Dark") and wait until it is there."""
    evaluate(page, "async theme => { await jupyterapp.commands.execute('apputils:change-theme', { theme }); }", name)
    page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)


def problems(page):
    """All that is wrong on the page, in words: errors of widgets, of cells, of the console."""
    mime = 'data-mime-type="application/vnd.jupyter'
    outputs = page.locator(f'.jp-OutputArea-output:is([{mime}.error"], [{mime}.stderr"])')
    return [
        *(f"widget: {text}" for text in page.locator(".vae-error").all_text_contents() if text.strip()),
        *(f"cell: {text}" for text in outputs.all_text_contents()),
        *(f"console: {text}" for text in page.complaints),
        *(f"asked the network for {address}" for address in page.strangers),
    ]


def assert_healthy(page):
    """No error shown by a widget or a cell, none in the console, nothing asked of the network."""
    found = problems(page)
    assert not found, "\n".join(found)  # in words of our own: pytest explains asserts of test modules only
