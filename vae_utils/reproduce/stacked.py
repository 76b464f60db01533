"""Whether several small networks train faster as one, their weights stacked: seeds and rates side by side."""

import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from vae_utils.data import load_mnist
from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.objectives import elbo
from vae_utils.reproduce.common import Command, record
from vae_utils.reproduce.precision import fast_products
from vae_utils.training import fused

NETWORKS = {"Figure 3, 100 hidden units": (3, 100), "Figure 2, 500 hidden units": (20, 500)}  # latents, hidden
COUNTS = (1, 3, 6)
BATCH_SIZE, STEPS, ROUNDS = 100, 30, 5


class Stack:
    """Several models of one shape with their weights in common tensors: one more dimension in front, [S, ...].

    Args:
        models: of `paper_vae`, all of one shape.

    Attributes:
        weights: dict from "encoder.output.bias", ... to tensors [S, ...].
    """

    def __init__(self, models):
        self.models = models
        networks = [nn.ModuleDict({"encoder": vae.encoder, "decoder": vae.decoder}) for vae in models]
        self.weights = {
            name: value.detach().requires_grad_() for name, value in stack_module_state(networks)[0].items()
        }

    def batched(self, x, noise):
        """ELBO of each model by `torch.baddbmm`, cross-entropy of grey pixels.

        Args:
            x: images of each model, [S, B, 784].
            noise: draws of N(0, I), [S, B, J].

        Returns:
            Nats per image, averaged over each minibatch, [S].
        """
        codes = self._layers("encoder", x)
        mean, log_variance = codes.chunk(2, -1)
        return _bound(mean, log_variance, self._layers("decoder", mean + (log_variance / 2).exp() * noise), x)

    def _layers(self, network, h):
        for layer in ("trunk.0", "output"):
            weight, bias = (self.weights[f"{network}.{layer}.{name}"] for name in ("weight", "bias"))
            h = torch.baddbmm(bias[:, None], h, weight.mT)
            h = h.tanh() if layer != "output" else h
        return h

    def mapped(self, x, noise):
        """The same by `torch.func.vmap` over the modules themselves."""

        def one(weights, x, noise):
            parts = {
                network: {name.removeprefix(f"{network}."): value for name, value in weights.items() if network in name}
                for network in ("encoder", "decoder")
            }
            mean, log_variance = functional_call(self.models[0].encoder, parts["encoder"], (x,)).chunk(2, -1)
            z = mean + (log_variance / 2).exp() * noise
            logits = functional_call(self.models[0].decoder, parts["decoder"], (z,)).flatten(1)
            return _bound(mean, log_variance, logits, x)

        return vmap(one)(self.weights, x, noise)


def _bound(mean, log_variance, logits, x):
    # by hand: `vmap` cannot run the checks with which distributions meet their arguments
    rate = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2
    return -(F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1) + rate).mean(-1)


def stacked(options):
    """CPU time of a training step of several networks of the paper's, one after the other and as one stack.

    A step is the bound, its gradient and Adagrad's move; the images of a minibatch are at hand. One by one, the bound
    is the library's, with distributions and their checks; a stack's is written out. Ways take turns, and the median of
    the rounds counts, since other programs may run beside this one.
    """
    images = load_mnist().train[: BATCH_SIZE * max(COUNTS)].unflatten(0, (-1, BATCH_SIZE))  # [S, B, 1, 28, 28]
    found = {}
    with fast_products():
        for (name, (latent_size, hidden)), count in ((network, c) for network in NETWORKS.items() for c in COUNTS):
            torch.manual_seed(options.seed)
            models = [paper_vae(latent_size, hidden, likelihood=GreyCrossEntropy()) for _ in range(count)]
            ways = ways_of(models, images[:count], latent_size)
            rounds = [{way: milliseconds(step) / count for way, step in ways.items()} for _ in range(ROUNDS)]
            times = {way: round(statistics.median(each[way] for each in rounds), 2) for way in ways}
            found.setdefault(name, {})[str(count)] = times
            print(f"{name}, {count} models, ms of CPU a step and model: {times}", flush=True)
    record(options, {"milliseconds": found, "batch_size": BATCH_SIZE})


def ways_of(models, images, latent_size):
    """{way: function that makes one step of all models}: the library's, one after the other, and two kinds of stack."""

    def one_by_one():
        for vae, optimiser, x in zip(models, optimisers, images, strict=True):
            optimiser.zero_grad()
            (-elbo(vae, x).objective.mean()).backward()
            optimiser.step()

    def as_one(bound, optimiser):
        def step():
            optimiser.zero_grad()
            (-bound(images.flatten(2), torch.randn(*images.shape[:2], latent_size)).sum()).backward()
            optimiser.step()

        return step

    optimisers = [fused(torch.optim.Adagrad, list(vae.parameters())) for vae in models]
    ways = {"one by one": one_by_one}
    for way in ("batched", "mapped"):
        stack = Stack(models)
        ways[way] = as_one(getattr(stack, way), fused(torch.optim.Adagrad, list(stack.weights.values())))
    return ways


def milliseconds(step):
    """CPU time of a step: of `STEPS`, after one that is not counted."""
    step()
    start = time.process_time()
    for _ in range(STEPS):
        step()
    return (time.process_time() - start) / STEPS * 1000


COMMAND = Command(stacked, stage=1, options=("seed",))
