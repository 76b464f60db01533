"""Figure 4: the learned manifolds, from the paper's own network."""

from vae_utils.evaluation import manifold
from vae_utils.figures import image_wall
from vae_utils.models import load_vae
from vae_utils.reproduce.common import Command, record, save_image
from vae_utils.reproduce.fig2_mnist import paper_model


def fig4(options):
    """Figure 4: the learned manifolds of digits (20 x 20) and faces (10 x 10), with the paper's network.

    The model of the digits is trained under the protocol of Figure 2 with 2 latents; that of the faces is
    `fig2-frey`'s.
    """
    vae, results = paper_model(2, options)
    save_image(image_wall(manifold(vae, n=20), gap=0), options.out / "fig4-mnist.png")
    faces = 1 - manifold(load_vae("frey-2"), n=10)  # a photograph is light, not ink
    save_image(image_wall(faces, gap=0), options.out / "fig4-frey.png", scale=2)
    record(options, {"fig4-mnist.png": results, "fig4-frey.png": "frey-2.safetensors, made by fig2-frey"})


COMMAND = Command(fig4, stage=2, options=("samples", "seed"), in_the_paper="20 x 20 digits and 10 x 10 faces")
