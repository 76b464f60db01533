"""Convolutions against fully connected layers at equal computing time: the lesson on convolutions reads the numbers."""

import time
from functools import partial

import torch

from vae_utils.evaluation import Estimate, evaluate
from vae_utils.models import conv_vae, mlp_vae
from vae_utils.paper.importance import log_likelihood
from vae_utils.reproduce.common import HELD_OUT, Command, Recipe, full_mnist, record, summary, with_error
from vae_utils.reproduce.provenance import read_record

# Both have 20 latents and 440 thousand weights. One pass over the images takes the first nearly five times as much
# processor time as the second, so that the second gets five passes for each of the first.
NETWORKS = {"conv": partial(conv_vae, 20, (16, 32), 128), "mlp": partial(mlp_vae, 20, (270,), layer_norm=False)}
PASSES_FOR_ONE = {"conv": 1, "mlp": 5}
BUDGETS = (1, 3)  # passes of conv
LEARNING_RATES, CHOSEN_AT = (3e-3, 6e-3, 1.2e-2), 3  # and the budget at which they are compared
NUM_SEEDS = 2
NUM_SAMPLES, EVERY = 1000, 20  # of the importance sampling, and one test image in so many


def equal_time(options):
    """An MLP and a convolutional network trained for the same processor time: log p(x) of each, and its difference.

    Writes `equal-time.json`: `learning_rates`, what each rate reaches on held-out images at the longer budget;
    `runs`, one for each budget, seed and network; `differences`, of log p(x), paired, for each budget and seed. A run
    that is there already is not made again.
    """
    path = options.out / f"{options.name}.json"
    kept = read_record(path) if path.is_file() else {"seed": None}
    found = kept["results"] if kept["seed"] == options.seed else {}
    rates = found.get("learning_rates") or {name: _try_rates(name, options.seed) for name in NETWORKS}
    runs, differences = found.get("runs", {}), found.get("differences", [])
    mnist = full_mnist()
    for budget in BUDGETS:
        for seed in range(options.seed, options.seed + NUM_SEEDS):
            names = {name: f"{name}, budget {budget}, seed {seed}" for name in NETWORKS}
            if runs.keys() >= set(names.values()):
                continue
            scored = {}
            for name, title in names.items():
                rate = max(rates[name], key=lambda tried: tried["elbo"])["learning_rate"]
                run, scored[name] = _run(name, budget, seed, rate, mnist)
                runs[title] = {"network": name, "budget": budget, "seed": seed} | run
                print(f"{title}: {run}", flush=True)
            paired = with_error("difference", scored["conv"] - scored["mlp"])
            differences.append({"budget": budget, "seed": seed} | paired)
            record(options, {"learning_rates": rates, "runs": runs, "differences": differences})


def _try_rates(name, seed):
    mnist = full_mnist(hold_out=HELD_OUT)
    tried = []
    for rate in LEARNING_RATES:
        vae, *_ = _train(name, CHOSEN_AT, seed, rate, mnist)
        tried.append({"learning_rate": rate} | summary(evaluate(vae, mnist.test)))
        print(f"{name}: {tried[-1]}", flush=True)
    return tried


def _train(name, budget, seed, rate, mnist):
    """The model, its passes over the training images, and the processor time that they took, in seconds."""
    passes = budget * PASSES_FOR_ONE[name]
    recipe = Recipe(NETWORKS[name], passes, rate, seed=seed, training={"progress": False})
    start = time.process_time()
    vae, _ = recipe.train(mnist)
    return vae, passes, time.process_time() - start


def _run(name, budget, seed, rate, mnist):
    vae, passes, seconds = _train(name, budget, seed, rate, mnist)
    likelihood = log_likelihood(vae, mnist.test, NUM_SAMPLES, every=EVERY)
    estimate = Estimate.of(likelihood.per_image)
    run = {
        "passes": passes,
        "cpu_seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "learning_rate": rate,
        "parameters": sum(p.numel() for p in vae.parameters()),
        **summary(evaluate(vae, mnist.test)),
        "log_likelihood": round(estimate.mean, 3),
        "standard_error_of_log_likelihood": round(estimate.standard_error, 3),
        "protocol_of_log_likelihood": likelihood.protocol,
    }
    return run, likelihood.per_image


COMMAND = Command(equal_time, stage=1, options=("seed",))
