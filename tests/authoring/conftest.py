"""What the tests of pages and of hand-outs share."""

import pytest

from vae_utils.authoring.__main__ import main
from vae_utils.authoring.browser import new_page
from vae_utils.authoring.lesson import paths

from browser import chromium  # noqa: F401  (a fixture)
from live_site import explorer, site, soups  # noqa: F401  (fixtures)


@pytest.fixture(params=paths(), ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder with all kinds of hand-outs of all lessons."""
    folder = tmp_path_factory.mktemp("handouts")
    main(["all", "--out", str(folder)])
    return folder


@pytest.fixture
def offline(chromium):
    """A page of a browser that has no network."""
    page = new_page(chromium, offline=True)
    yield page
    page.context.close()
