"""Figure 5: samples for 2 to 20 latents, from the paper's own network."""

import matplotlib.pyplot as plt
import torch

from vae_utils.figures import image_wall, show_wall, use_style
from vae_utils.reproduce.common import Command, record, save_figure
from vae_utils.reproduce.fig2_mnist import paper_model
from vae_utils.runtime import fixed_seed

LATENTS, SIDE = (2, 5, 10, 20), 10


@torch.no_grad()
def fig5(options):
    """Figure 5: draws from the prior, decoded, for 2, 5, 10 and 20 latents, none of them chosen."""
    results, walls = {}, {}
    for latent_size in options.latents or LATENTS:
        vae, results[f"{latent_size} latents"] = paper_model(latent_size, options)
        with fixed_seed(options.seed):
            z = vae.prior.sample((SIDE**2,))
        walls[f"{latent_size}-D latent space"] = image_wall(vae.decode(z).mean, columns=SIDE, gap=0)
    use_style()
    figure, axes = plt.subplots(1, len(walls), figsize=(3.2 * len(walls), 3.5), squeeze=False)
    for ax, (title, wall) in zip(axes[0], walls.items()):
        show_wall(ax, wall)
        ax.set(title=title, xticks=[], yticks=[])
    save_figure(figure, options.out / "fig5.png")
    record(options, results)


COMMAND = Command(fig5, stage=2, options=("samples", "latents", "seed"), in_the_paper="2, 5, 10 and 20 latents")
