"""The first page: the manifold alive at its top, and under it README's own words."""

import base64
import io
from functools import cache

from ipywidgets.embed import embed_data
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from vae_utils.authoring.exporter import WIDGET_STATE
from vae_utils.authoring.site import sources
from vae_utils.evaluation import manifold
from vae_utils.explore.widgets import LatentExplorer
from vae_utils.figures import image_wall
from vae_utils.files import ASSETS, load_tensors
from vae_utils.models import load_weights, mlp_vae

START = (-0.6, 0.9)  # where the point stands at first
STILL_SIDE, GREYS = 10, 8  # digits in a row of the still, and shades of it: a dozen kilobytes
CARD = (1200, 630)  # pixels of the picture for those who share a link


@cache
def small_model():
    """The stored 2-D model with the small decoder of `reproduce front`; its encoder is not trained."""
    tensors, about = load_tensors(ASSETS / "front.safetensors")
    vae = mlp_vae(2, about["results"]["hidden"])
    load_weights(vae.decoder, tensors, "front.safetensors")
    vae.metadata = about
    return vae.eval()


def notebook():
    """The first page as a notebook: a cell that shows the widget, then README's words."""
    words = [
        f"## The idea\n\n{sources.section('The idea')}",
        f"## The course\n\n{sources.section('The course', 2)}",
        f"## How to run it\n\n{sources.to_start()}",
    ]
    return new_notebook(cells=[_hero(), *map(new_markdown_cell, words)], metadata={"widgets": _state()})


@cache
def _explorer():
    return LatentExplorer({"the small decoder": small_model()}, z=START, compact=True)


def _hero():
    widget = _explorer()
    data, metadata = widget._repr_mimebundle_()
    data["image/png"] = base64.b64encode(_still()).decode()
    data["text/plain"] = f"{STILL_SIDE**2} digits decoded from a grid over the plane; neighbours are alike."
    return new_code_cell("", outputs=[new_output("display_data", data, metadata=metadata)])


def _state():
    return {WIDGET_STATE: embed_data(views=[_explorer()], drop_defaults=False)["manager_state"]}


def caption():
    """What the widget is, with its honest numbers."""
    about = small_model().metadata["results"]
    return (
        f"Decoded in your browser, by a network of {about['weights']:,} weights that copies lesson 04's decoder of "
        f"{about['of']:,}; on average a pixel is {about['grey_levels_off']:.1f} of 255 grey levels off."
    )


def _wall(side):
    return Image.fromarray(image_wall(manifold(small_model(), side), gap=0))


def _still():
    return _png(_wall(STILL_SIDE).quantize(GREYS))


def card():
    """The picture for those who share a link: the bytes of a PNG."""
    wall = _wall(16).resize((CARD[0], CARD[0]), Image.Resampling.LANCZOS)
    top = (CARD[0] - CARD[1]) // 2
    return _png(wall.crop((0, top, CARD[0], top + CARD[1])).quantize(16))


def _png(image):
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
