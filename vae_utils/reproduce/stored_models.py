"""The models whose weights the lessons load: how each is built and trained."""

import time
from dataclasses import replace
from functools import partial

from vae_utils.models import conv_vae, mlp_vae
from vae_utils.reproduce.common import Command, Ending, Recipe, ending_of, full_mnist, record, say, store_model
from vae_utils.reproduce.resuming import state_path

residual = partial(conv_vae, channels=(32, 48), hidden=256, blocks=(1, 2))

CONV = Recipe(partial(residual, 32), epochs=120, learning_rate=3e-3, bfloat16=True)

RECIPES = {
    "mlp": Recipe(partial(mlp_vae, 32), epochs=90, learning_rate=3e-3),
    "conv": CONV,
    # The same, and on: Burda et al. (2016, Table 1) find their objective with 5 samples 1.2 nats of log p(x) better
    # when all of a training is on it; an ending costs less. 50 minutes of two cores in all, not compared with others.
    "conv-iw": replace(CONV, ending=Ending(num_samples=5, epochs=22, learning_rate=1e-3)),
    "manifold": Recipe(partial(mlp_vae, 2, (512, 512, 256)), epochs=40, learning_rate=4e-3),
    "mlp-2-minutes": Recipe(partial(mlp_vae, 20), epochs=14, learning_rate=3e-3),
}


def train_stored_model(options):
    """Train one stored model on all 60,000 images; write its weights, its curve and its record.

    The same command goes on from an interruption: its state lies in `data/reproduce/` until it is done.
    """
    name = options.name
    recipe = replace(RECIPES[name].scaled(options.epochs), seed=options.seed)
    mnist = full_mnist()
    state = state_path(name, options.seed)

    def tell(vae, report):
        bounds = f"train ELBO {report.train_elbo:.2f}, test ELBO {report.test_elbo:.2f}"
        say(f"{name}: {report.epochs:.0f} epochs, {report.seconds:.0f} s, {bounds}")

    start = time.process_time()
    vae, history = recipe.train(mnist, test=mnist.test, on_report=tell, checkpoint=state)
    if history.stopped:
        goes_on = f"the same command goes on from data/reproduce/{state.name}"
        raise SystemExit(f"{history.stopped}; {goes_on}; {options.out} is as it was")
    cpu_seconds = time.process_time() - start  # of this call, which may have gone on from another's
    spent = {"training_seconds": round(history[-1].seconds), "training_cpu_seconds": round(cpu_seconds)}
    results = store_model(vae, options.out / f"{name}.safetensors", mnist.test, recipe.settings | spent)
    history.write_csv(options.out / f"{name}.csv")
    record(options, results, f"{name}.safetensors", f"{name}.csv")
    state.unlink()
    ending_of(state).unlink(missing_ok=True)


COMMAND = Command(train_stored_model, stage=1, options=("epochs", "seed"), names=tuple(RECIPES))
