"""The comparisons, on held-out training images, that chose how the stored models are trained."""

from dataclasses import replace
from functools import partial

from vae_utils.evaluation import evaluate
from vae_utils.models import mlp_vae
from vae_utils.reproduce.common import HELD_OUT, Command, full_mnist, record, say, summary
from vae_utils.reproduce.stored_models import CONV, RECIPES

# What is compared on held-out images, at a fraction of the final length. The best learning rate so found is
# 4e-3 for all three; the two long runs take 3e-3, since long runs favour smaller steps than short ones do,
# and were not compared at full length.
CANDIDATES = {
    "select-mlp": [
        replace(RECIPES["mlp"], build=partial(mlp_vae, size), learning_rate=rate, epochs=3)
        for size, rate in [(32, 2e-3), (32, 4e-3), (50, 4e-3)]
    ],
    "select-conv": [replace(CONV, learning_rate=rate, epochs=1.5) for rate in (1e-3, 2e-3, 4e-3)],
    "select-manifold": [replace(RECIPES["manifold"], learning_rate=rate, epochs=6) for rate in (1e-3, 2e-3, 4e-3)],
}


def select(options):
    """Compare settings for one stored model on held-out training images."""
    mnist = full_mnist(hold_out=HELD_OUT)
    rows = []
    for recipe in CANDIDATES[options.name]:
        vae, history = recipe.train(mnist, progress=False)
        result = evaluate(vae, mnist.test)
        rows.append(recipe.settings | summary(result) | {"seconds": round(history[-1].seconds, 1)})
        say(f"{rows[-1]['model']}, learning rate {recipe.learning_rate}, {recipe.epochs} epochs: {result}")
    record(options, rows)


COMMAND = Command(select, stage=None, names=tuple(CANDIDATES))
