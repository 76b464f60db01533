"""Three browser engines behind the few verbs that the tests need, so that a test is written once and runs in all.

    with running_engine("firefox") as window:
        window.open(path, 360, 780)
        window.evaluate("() => document.title")
        window.drag([(10, 10), (60, 40)])
        window.press("ArrowRight")
        assert window.errors() == []

- Chromium is driven by Playwright, as in all other tests.
- Firefox is Debian's firefox-esr, by WebDriver BiDi, which it speaks itself: one WebSocket, JSON both ways. Selenium
  would need geckodriver, which Debian does not ship; Playwright's own BiDi asks for a command that the ESR does not
  know (emulation.setMediaFeaturesOverride); Mozilla has given up its Python package marionette_driver.
- WebKit is Debian's WebKitGTK, by the driver that comes with it (webkit2gtk-driver) and Selenium. It always has a
  window, so it gets a screen of its own in memory: Xvfb.
"""

import base64
import contextlib
import glob
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import websocket

from vae_utils.authoring.browser import running_chromium
from vae_utils.support.arguments import refusal

ENGINES = ("chromium", "firefox", "webkit")
SECONDS = 120  # for an answer, on a busy machine
SCREEN = "1400x1000x24"  # of Xvfb: larger than any window that a test asks for
KEYS = {"ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Home": "\ue011"}
KEYS |= {"Tab": "\ue004", "Space": " "}  # WebDriver's names
# Firefox asks the network for nothing of its own, and opens no page of its own.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}


class Window:
    """One window of an engine; each engine adds how it does this.

    Attributes:
        name: of the engine.
    """

    name: str

    def open(self, path, width=1280, height=720, scale=1):
        """Show a file in a window whose page is so large.

        `scale` is how many pixels of the screen one of the page has; WebKit's driver knows only 1.
        """
        raise NotImplementedError

    def evaluate(self, function, argument=None):
        """The result of a JavaScript function, which may be async: what JSON can hold."""
        call = f"Promise.resolve(({function})({json.dumps(argument)})).then(result => JSON.stringify(result ?? null))"
        return json.loads(self._run(call))

    def wait_for(self, function, argument=None):
        """Until a JavaScript function gives something true, which is returned."""
        end = time.monotonic() + SECONDS
        while not (result := self.evaluate(function, argument)):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name} was expected to fulfil within {SECONDS} s: {function} of {argument}")
            time.sleep(0.05)
        return result

    def drag(self, route, finger=False):
        """Press at the first place (x, y) of the page, move to the others, and let go."""
        self._act(_pointer(route, "touch" if finger else "mouse"))

    def press(self, *keys):
        """Keys by their names in the browser, one after the other, where the focus is."""
        self._act(_keys(keys))

    def errors(self):
        """What the console holds of errors since the page was opened: list of sentences."""
        raise NotImplementedError

    def screenshot(self):
        """What the window shows: the bytes of a PNG file."""
        raise NotImplementedError

    def _run(self, promise):
        """The text to which a JavaScript expression, a promise, resolves."""
        raise NotImplementedError

    def _act(self, actions):
        """Do what WebDriver's "perform actions" describes."""
        raise NotImplementedError


def _pointer(route, kind, press=True):
    first, *others = [{"type": "pointerMove", "duration": 50, "x": round(x), "y": round(y)} for x, y in route]
    down, up = ([{"type": f"pointer{way}", "button": 0}] if press else [] for way in ("Down", "Up"))
    steps = [first, *down, *others, *up]
    return [{"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": steps}]


def _keys(keys):
    steps = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
    return [{"type": "key", "id": "keyboard", "actions": steps}]


def _found(*names, package):
    """The path of the first of these programs that is installed."""
    if path := next(filter(None, map(shutil.which, names)), None):
        return path
    remedy = f"install one, on Debian by: apt-get install {package}"
    raise FileNotFoundError(refusal("a browser", f"in PATH ({', '.join(names)})", "none", remedy))


@contextlib.contextmanager
def running_engine(name):
    """A window of one of `ENGINES`.

    Raises:
        ModuleNotFoundError, FileNotFoundError: in one sentence, if the browser or what drives it is missing.
    """
    with {"chromium": _chromium, "firefox": _firefox, "webkit": _webkit}[name]() as window:
        window.name = name
        yield window


# --- Chromium


class Chromium(Window):
    def __init__(self, browser):
        self._browser, self._page, self._errors = browser, None, []

    def open(self, path, width=1280, height=720, scale=1):
        if self._page:
            self._page.context.close()
        size = {"width": width, "height": height}
        self._page = self._browser.new_context(viewport=size, device_scale_factor=scale, has_touch=True).new_page()
        self._errors = []
        self._page.on("console", lambda said: self._errors.append(said.text) if said.type == "error" else None)
        self._page.on("pageerror", lambda error: self._errors.append(str(error)))
        self._page.goto(path.as_uri())

    def drag(self, route, finger=False):
        if not finger:
            self._page.mouse.move(*route[0])
            self._page.mouse.down()
            for place in route[1:]:
                self._page.mouse.move(*place, steps=3)
            self._page.mouse.up()
            return
        hand = self._page.context.new_cdp_session(self._page)  # Playwright itself only taps
        for i, (x, y) in enumerate(route):
            kind = "touchMove" if i else "touchStart"
            hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def press(self, *keys):
        for key in keys:
            self._page.keyboard.press(key)

    def errors(self):
        self.evaluate("() => null")  # what was on its way is there
        return self._errors

    def screenshot(self):
        return self._page.screenshot()

    def _run(self, promise):
        limit = f"new Promise((_, no) => setTimeout(() => no(new Error('no end in {SECONDS} s')), {1000 * SECONDS}))"
        return self._page.evaluate(f"Promise.race([{promise}, {limit}])")  # Playwright itself waits for ever


@contextlib.contextmanager
def _chromium():
    with running_chromium() as browser:
        yield Chromium(browser)


# --- Firefox


class Firefox(Window):
    """Speaks WebDriver BiDi: https://w3c.github.io/webdriver-bidi/."""

    def __init__(self, address):
        self._socket = websocket.create_connection(f"{address}/session", timeout=SECONDS, suppress_origin=True)
        self._numbers, self._errors = itertools.count(1), []
        self.send("session.new", capabilities={})
        self.send("session.subscribe", events=["log.entryAdded"])
        self._tab = self.send("browsingContext.create", type="tab")["context"]

    def send(self, method, **params):
        """The result of a command; what the console says meanwhile is kept."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv())).get("id") != number:
            entry = answer.get("params", {})
            if answer.get("method") == "log.entryAdded" and entry["level"] == "error":
                self._errors.append(entry["text"])
        if answer["type"] == "error":
            raise RuntimeError(f"Firefox refused {method}: {answer['message']}")
        return answer["result"]

    def open(self, path, width=1280, height=720, scale=1):
        size = {"width": width, "height": height}
        self.send("browsingContext.setViewport", context=self._tab, viewport=size, devicePixelRatio=scale)
        self.send("browsingContext.navigate", context=self._tab, url="about:blank", wait="complete")
        self._errors.clear()
        self.send("browsingContext.navigate", context=self._tab, url=path.as_uri(), wait="complete")

    def errors(self):
        self.evaluate("() => null")  # what was on its way is there
        return self._errors

    def screenshot(self):
        return base64.b64decode(self.send("browsingContext.captureScreenshot", context=self._tab)["data"])

    def _run(self, promise):
        target = {"context": self._tab}
        answer = self.send("script.evaluate", expression=promise, target=target, awaitPromise=True)
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return answer["result"]["value"]

    def _act(self, actions):
        self.send("input.performActions", context=self._tab, actions=actions)


@contextlib.contextmanager
def _firefox():
    program = _found("firefox-esr", "firefox", package="firefox-esr")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
        with open(f"{home}/user.js", "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        # In a container HOME may belong to somebody else, and then it does not start.
        command = [program, "--headless", "--no-remote", "--profile", home, "--remote-debugging-port", "0"]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with _ended(subprocess.Popen(command, env=os.environ | {"HOME": home}, **streams)) as process:
            said = []
            for line in process.stderr:
                said.append(line)
                if address := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
                    break
            else:
                raise RuntimeError(f"Firefox was expected to say where it listens, but ended; it said: {''.join(said)}")
            yield Firefox(address[1])


@contextlib.contextmanager
def _ended(process):
    """A process that ends with the block."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- WebKit

# The events of a finger, sent to what lies under its first place. A page can capture only a pointer whose number the
# engine knows: here that of the mouse.
FINGER = """async ([route, number]) => {
    const target = document.elementFromPoint(...route[0]);
    const send = (type, [clientX, clientY]) => target.dispatchEvent(new PointerEvent(type, {
        bubbles: true, cancelable: true, pointerType: "touch", pointerId: number, isPrimary: true, buttons: 1,
        clientX, clientY,
    }));
    send("pointerdown", route[0]);
    for (const place of route.slice(1)) {
        await new Promise(requestAnimationFrame);
        send("pointermove", place);
    }
    send("pointerup", route.at(-1));
    send("lostpointercapture", route.at(-1));
}"""
# The driver does not tell what the console says. So the page listens, from a line in front of its own first.
LISTEN = """<script>
window.complaints = [];
addEventListener("error", (event) => complaints.push(event.message));
addEventListener("unhandledrejection", (event) => complaints.push(String(event.reason)));
console.error = (...words) => { complaints.push(words.join(" ")); };
</script>"""


class WebKit(Window):
    """Its driver makes a mouse of every finger: so the page gets a finger's events by a script."""

    def __init__(self, driver, home):
        self._driver, self._copy = driver, home / "page.html"
        driver.set_script_timeout(SECONDS)
        # A window without bars: those of the browser keep a page from being as narrow as a phone.
        first = driver.current_window_handle
        driver.execute_script("window.open('about:blank', '', 'popup,width=1280,height=720')")
        while not (others := set(driver.window_handles) - {first}):
            time.sleep(0.05)
        driver.switch_to.window(others.pop())

    def open(self, path, width=1280, height=720, scale=1):
        self._driver.get("about:blank")
        self._driver.set_window_size(width, height)
        self.wait_for("size => innerWidth === size[0] && innerHeight === size[1]", [width, height])
        self._copy.write_text(path.read_text("utf-8").replace("<head>", f"<head>{LISTEN}", 1), "utf-8")
        self._driver.get(self._copy.as_uri())

    def drag(self, route, finger=False):
        if not finger:
            return super().drag(route)
        self.evaluate("""() => {
            window.mouse = new Promise(done => {
                addEventListener("pointermove", event => done(event.pointerId), { once: true });
            });
        }""")
        self._act(_pointer(route[:1], "mouse", press=False))
        self.evaluate(FINGER, [route, self.evaluate("() => window.mouse")])
        return None

    def errors(self):
        return self.evaluate("() => complaints")

    def screenshot(self):
        return self._driver.get_screenshot_as_png()

    def _run(self, promise):
        answer = self._driver.execute_async_script(
            f"const done = arguments[0]; ({promise}).then(text => done([text]), error => done([null, String(error)]));"
        )
        if len(answer) > 1:
            raise RuntimeError(answer[1])
        return answer[0]

    def _act(self, actions):
        self._driver.execute("actions", {"actions": actions})


@contextlib.contextmanager
def _webkit():
    driver, screen = (_found(name, package="webkit2gtk-driver xvfb") for name in ("WebKitWebDriver", "Xvfb"))
    try:
        from selenium import webdriver
    except ModuleNotFoundError as error:
        sentence = refusal("the package selenium", "for WebKit", "none", "install requirements.txt")
        raise ModuleNotFoundError(sentence) from error
    options = webdriver.WebKitGTKOptions()
    options.binary_location = max(glob.glob("/usr/lib*/*/webkit*/MiniBrowser"), default="MiniBrowser")
    options.add_argument("--automation")
    options.add_argument("--javascript-can-open-windows-automatically=true")
    said, says = os.pipe()
    command = [screen, "-displayfd", str(says), "-screen", "0", SCREEN, "-nolisten", "tcp"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ended(subprocess.Popen(command, pass_fds=[says], stderr=subprocess.DEVNULL)))
        os.close(says)
        with open(said) as number:
            environment = os.environ | {"DISPLAY": f":{number.readline().strip()}"}
        # With buffers of a graphics card, which is not there, its pictures of the window are some pixels off.
        environment["WEBKIT_DISABLE_DMABUF_RENDERER"] = "1"
        home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        service = webdriver.WebKitGTKService(driver, env=environment)
        browser = webdriver.WebKitGTK(options=options, service=service)
        stack.callback(browser.quit)
        yield WebKit(browser, Path(home))
