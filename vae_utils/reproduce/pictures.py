"""The pictures that README shows."""

import torch

from vae_utils.evaluation import manifold
from vae_utils.figures import image_wall
from vae_utils.models import load_vae
from vae_utils.reproduce.common import Command, record, save_image
from vae_utils.runtime import fixed_seed

ROWS, COLUMNS = 8, 20


@torch.no_grad()
def pictures(options):
    """Draw `manifold.png` and `samples.png`.

    The first is Figure 4 from the 2-D model; the second, means of p(x|z) for z drawn from the prior, none
    of them chosen.
    """
    save_image(image_wall(manifold(load_vae("manifold"), n=20), gap=0), options.out / "manifold.png", scale=2)
    vae = load_vae("conv")
    with fixed_seed(options.seed):
        z = vae.prior.sample((ROWS * COLUMNS,))
    save_image(image_wall(vae.decode(z).mean, columns=COLUMNS), options.out / "samples.png", scale=2)
    results = {
        "manifold.png": "manifold.safetensors, 20 x 20 codes through the inverse Gaussian CDF",
        "samples.png": f"conv.safetensors, {ROWS * COLUMNS} draws of z from the prior, means",
    }
    record(options, results)


COMMAND = Command(pictures, stage=2, options=("seed",))
