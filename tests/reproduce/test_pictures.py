"""The pictures of README are drawn from the stored weights."""

import numpy as np
import torch
from PIL import Image

from vae_utils.evaluation import manifold
from vae_utils.figures import image_wall
from vae_utils.models import load_vae
from vae_utils.reproduce import pictures
from vae_utils.runtime import fixed_seed


def test_pictures_are_drawn_from_the_stored_weights(run, out, assets):
    results = run("pictures", "--seed", 4)["results"]
    with Image.open(out / "manifold.png") as picture:
        assert picture.size == (20 * 28 * 2, 20 * 28 * 2)
        wall = image_wall(manifold(load_vae("manifold"), 20), gap=0, scale=2)
        assert np.array_equal(np.asarray(picture), wall)
    with Image.open(out / "samples.png") as picture:
        assert picture.size == ((pictures.COLUMNS * 29 - 1) * 2, (pictures.ROWS * 29 - 1) * 2)
        vae = load_vae("conv")
        with fixed_seed(4), torch.no_grad():
            first = vae.decode(vae.prior.sample((pictures.ROWS * pictures.COLUMNS,))).mean[:1]
        assert np.array_equal(np.asarray(picture)[:56, :56], image_wall(first, scale=2))
    assert set(results) == {"manifold.png", "samples.png"}
