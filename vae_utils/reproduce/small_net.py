"""The small network that `rate-distortion` and `likelihoods` train many times, and what they keep of each model."""

from functools import partial

import torch

from vae_utils.evaluation import active_units
from vae_utils.files import save_tensors
from vae_utils.models import mlp_vae
from vae_utils.reproduce.common import Recipe, command
from vae_utils.runtime import fixed_seed

small_net = partial(mlp_vae, 20, (400,), layer_norm=False)
RECIPE = Recipe(small_net, epochs=4, learning_rate=5e-3, batch_size=256, training={"progress": False})

NUM_FRAMES = 8
DARKEST, BRIGHTEST = 0.1, 0.9  # grey is what lies between


@torch.no_grad()
def likelihood_free_measures(vae, images):
    """What needs no likelihood: error against the grey images, share of grey pixels, dimensions in use."""
    with fixed_seed(0):
        x = vae.observe(images, torch.Generator().manual_seed(0))
        reconstructions = vae.decode(vae.encode(x).sample()).mean
        samples = vae.decode(vae.prior.sample((len(images),))).mean
    return {
        "squared_error": round((reconstructions - images).square().sum((1, 2, 3)).mean().item(), 3),
        "grey_reconstructions": round(_grey(reconstructions), 4),
        "grey_samples": round(_grey(samples), 4),
        "grey_images": round(_grey(images), 4),
        "active_units": int(active_units(vae, images).sum()),
    }


def _grey(images):
    return ((images > DARKEST) & (images < BRIGHTEST)).float().mean().item()


def _shown(mnist):
    """Places in the test set of the first image of each of eight digits."""
    return [(mnist.test_labels == digit).nonzero()[0].item() for digit in range(NUM_FRAMES)]


@torch.no_grad()
def frames_of(vae, mnist):
    """What becomes of the test digits shown, and of as many draws of z: [8, 1, 28, 28] each; `draws` are of p(x|z)."""
    images = mnist.test[_shown(mnist)]
    with fixed_seed(0):
        p = vae.decode(vae.encode(vae.observe(images)).mean)
        drawn = vae.decode(vae.prior.sample((NUM_FRAMES,)))
        return {"reconstructions": p.mean, "samples": drawn.mean, "draws": drawn.sample()}


def save_frames(options, mnist, frames, **others):
    """Write `NAME.safetensors`: the `frames_of` each model as bytes, one model after the other, with `others`."""
    parts = {part: torch.stack([frame[part] for frame in frames]) for part in frames[0]}
    if "betas" in others:
        del parts["draws"]  # beta does not change what noise looks like
    parts["originals"] = mnist.test[_shown(mnist)]
    tensors = {part: _bytes(images) for part, images in parts.items()}
    about = {"command": command(options), "seed": options.seed}
    save_tensors(options.out / f"{options.name}.safetensors", tensors | others, about, half=False)


def _bytes(images):
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
