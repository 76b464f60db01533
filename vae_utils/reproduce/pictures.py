"""The pictures that README shows, and Figures 4 and 5 of the paper from the paper's own network."""

import matplotlib.pyplot as plt
import torch

from vae_utils.evaluation import evaluate, manifold
from vae_utils.figures import image_wall, show_wall, use_style
from vae_utils.models import load_vae
from vae_utils.reproduce import fig2
from vae_utils.reproduce.common import full_mnist, record, save_figure, save_image, summary
from vae_utils.runtime import fixed_seed

ROWS, COLUMNS = 8, 20
FIGURE_5_LATENTS, FIGURE_5_SIDE = (2, 5, 10, 20), 10


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
    record(
        "pictures",
        options,
        {
            "manifold.png": "manifold.safetensors, 20 x 20 codes through the inverse Gaussian CDF",
            "samples.png": f"conv.safetensors, {ROWS * COLUMNS} draws of z from the prior, means",
        },
    )


def fig4(options):
    """Figure 4: the learned manifolds of digits (20 x 20) and faces (10 x 10), with the paper's network.

    The model of the digits is trained under the protocol of Figure 2 with 2 latents; that of the faces is
    `fig2-frey`'s.
    """
    vae, results = paper_model(2, options)
    save_image(image_wall(manifold(vae, n=20), gap=0), options.out / "fig4-mnist.png")
    faces = 1 - manifold(load_vae("frey-2"), n=10)  # a photograph is light, not ink
    save_image(image_wall(faces, gap=0), options.out / "fig4-frey.png", scale=2)
    record("fig4", options, {"fig4-mnist.png": results, "fig4-frey.png": "frey-2.safetensors, made by fig2-frey"})


@torch.no_grad()
def fig5(options):
    """Figure 5: draws from the prior, decoded, for 2, 5, 10 and 20 latents, none of them chosen."""
    results, walls = {}, {}
    for latent_size in options.latents or FIGURE_5_LATENTS:
        vae, results[f"{latent_size} latents"] = paper_model(latent_size, options)
        with fixed_seed(options.seed):
            z = vae.prior.sample((FIGURE_5_SIDE**2,))
        walls[f"{latent_size}-D latent space"] = image_wall(vae.decode(z).mean, columns=FIGURE_5_SIDE, gap=0)
    use_style()
    figure, axes = plt.subplots(1, len(walls), figsize=(3.2 * len(walls), 3.5), squeeze=False)
    for ax, (title, wall) in zip(axes[0], walls.items()):
        show_wall(ax, wall)
        ax.set(title=title, xticks=[], yticks=[])
    save_figure(figure, options.out / "fig5.png")
    record("fig5", options, results)


def paper_model(latent_size, options):
    """The AEVB model of `fig2-mnist` with so many latents, trained if need be, and what is known of it."""
    samples = options.samples or fig2.SAMPLES
    mnist, test = full_mnist(hold_out=fig2.HELD_OUT), full_mnist().test
    with torch.enable_grad():
        vae, history = fig2.train(
            fig2.curve_label("AEVB", latent_size),
            "AEVB",
            latent_size,
            fig2.best("AEVB", latent_size),
            samples,
            options.seed,
            mnist,
            test,
        )
    return vae, summary(evaluate(vae, test)) | {"samples": history[-1].samples}
