"""A website of the real lessons, where one widget stands in the place of each: no lesson has to run for that."""

import pytest
from bs4 import BeautifulSoup
from ipywidgets.embed import embed_data

from vae_utils.authoring.exporter import WIDGET_STATE, marked_outputs
from vae_utils.authoring.lesson import read
from vae_utils.authoring.site import build
from vae_utils.explore.widgets import LatentExplorer
from vae_utils.models import load_vae

START = [0.5, -1.0]


@pytest.fixture(scope="session")
def explorer():
    """The widget that stands in the place of each: the stored 2-D model, 1.6 MB of weights."""
    return LatentExplorer(load_vae("manifold"), z=START)


@pytest.fixture(scope="session")
def site(explorer, tmp_path_factory):
    """The folder of the site."""
    folder = tmp_path_factory.mktemp("web") / "site"
    data, _ = explorer._repr_mimebundle_()
    state = embed_data(views=[explorer], drop_defaults=False)["manager_state"]

    def lively(path):
        nb = read(path)
        for output in marked_outputs(nb):
            output.data = dict(data)
        nb.metadata["widgets"] = {WIDGET_STATE: state}
        return nb

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "read", lively)
        lines = list(build.build_site(folder, "https://example.org/vae/"))
    assert lines[-1].startswith(str(folder / "index.html"))
    return folder


@pytest.fixture(scope="session")
def soups(site):
    """Each page of the site, parsed: {name: BeautifulSoup}."""
    made = {}
    for path in sorted(site.glob("*.html")):
        made[path.name] = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        made[path.name].folder = site
    return made
