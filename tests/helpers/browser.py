"""`vae_utils.authoring.browser` as fixtures, to be imported by the tests that use them; and what a page asks for.

Without playwright or a browser the tests skip and say so; with the environment variable VAE_BROWSER=required,
which .ci/run sets, they fail instead, so that CI cannot be green for want of a browser.

Playwright keeps an event loop running in this thread, which would be in the way of the notebooks' kernels in
other tests: so these live as long as one module.
"""

import contextlib
import os
import re

import pytest
from bs4 import BeautifulSoup

from vae_utils.authoring.browser import new_page, running_chromium, running_lab

from engines import ENGINES, running_engine


@contextlib.contextmanager
def browser_or_skip(running):
    """What `running` gives; without its browser the test skips, or fails where VAE_BROWSER says "required"."""
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(running)
        except (ModuleNotFoundError, FileNotFoundError) as error:
            if os.environ.get("VAE_BROWSER") == "required":
                pytest.fail(f"VAE_BROWSER=required, but {error}", pytrace=False)
            pytest.skip(str(error))
        yield browser


def chromium_or_skip():
    return browser_or_skip(running_chromium())


@pytest.fixture(scope="module", params=ENGINES)
def window(request):
    """A window of each engine, by turns, for all tests of a module."""
    with browser_or_skip(running_engine(request.param)) as window:
        yield window


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests of a module."""
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def jupyter_lab(chromium, tmp_path_factory):
    """`running_lab`, for all tests of a module; not started where there is no browser to open it."""
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def page(chromium):
    """A fresh page at 1280 x 720."""
    page = new_page(chromium)
    yield page
    page.context.close()


def fetched(page):
    """Addresses on the network that a browser would ask for before anybody clicks."""
    page = BeautifulSoup(page, "html.parser")
    sources = [tag.get("src") or tag.get("href") for tag in page.select("[src], link[href]")]
    styles = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", "".join(map(str, page.select("style"))))
    imports = re.findall(r"import\s*\(?\s*[\"']([^\"']+)", "".join(map(str, page.select("script"))))
    return [address for address in sources + styles + imports if re.match(r"(https?:)?//", address)]
