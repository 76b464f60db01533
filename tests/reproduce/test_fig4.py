"""Figure 4 is drawn from the model of two latents and the stored faces."""

import torch
from PIL import Image

from vae_utils.likelihoods import PixelGaussian
from vae_utils.models import paper_vae
from vae_utils.reproduce import fig4


def test_figure_4_is_the_plane_of_two_latents(run, out, small_fig2, monkeypatch):
    torch.manual_seed(0)
    faces = paper_vae(2, 8, likelihood=PixelGaussian(), image_shape=(1, 28, 20))
    monkeypatch.setattr(fig4, "load_vae", lambda name: faces)
    results = run("fig4", "--samples", 1000)["results"]
    sizes = {name: Image.open(out / f"fig4-{name}.png").size for name in ("mnist", "frey")}
    assert sizes == {"mnist": (20 * 28, 20 * 28), "frey": (10 * 20 * 2, 10 * 28 * 2)}
    assert results["fig4-mnist.png"]["samples"] == 1000
