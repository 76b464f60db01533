"""How long training takes, beside what a newcomer would run instead: the official PyTorch VAE example."""

import os
import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset

from vae_utils.data import DATA, PROJECT
from vae_utils.evaluation import evaluate
from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import mlp_vae
from vae_utils.reproduce.common import HELD_OUT, Command, Recipe, full_mnist, record
from vae_utils.training import fused

ROUNDS = 3
EXAMPLE_EPOCHS = 10

# The example's network and pixels (400 hidden units, 20 latents, cross-entropy of grey pixels), in float32
# like the example.
network = partial(mlp_vae, 20, (400,), layer_norm=False, likelihood=GreyCrossEntropy())


def unclipped(parameters):
    """Adam as the example has it, which shortens no gradients."""
    return fused(torch.optim.Adam, list(parameters))


OURS = Recipe(network, epochs=2.5, learning_rate=1.5e-2, batch_size=256, training={"optimiser": unclipped})


class Example(nn.Module):
    """A VAE as `pytorch/examples` has it: layers named one by one, the loss by hand on sigmoid outputs."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.mean, self.log_variance = nn.Linear(400, 20), nn.Linear(400, 20)
        self.back, self.pixels = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x):
        h = F.relu(self.hidden(x.view(-1, 784)))
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return torch.sigmoid(self.pixels(F.relu(self.back(z)))), mean, log_variance

    def loss(self, x):
        """-ELBO summed over the batch, with the cross-entropy of grey pixels."""
        y, mean, log_variance = self(x)
        cross_entropy = F.binary_cross_entropy(y, x.view(-1, 784), reduction="sum")
        return cross_entropy - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())


def train_example(loader, epochs, seed):
    """Train the example's way (PIL images through a DataLoader, Adam at 1e-3): the model, and the seconds it took."""
    torch.manual_seed(seed)
    model = Example()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = time.perf_counter()
    for _ in range(epochs):
        for x, _ in loader:
            optimiser.zero_grad()
            loss = model.loss(x)
            loss.backward()
            loss.item()  # the example adds up its training loss
            optimiser.step()
    return model, time.perf_counter() - start


@torch.no_grad()
def example_elbo(model, images, seed):
    """The example's test bound: nats per image, one draw of z, cross-entropy of grey pixels."""
    torch.manual_seed(seed)
    return -sum(model.loss(batch).item() for batch in images.split(1000)) / len(images)


def speed(options):
    """Seconds to the bound that the example has after its 10 epochs: both ways in turn, in one process.

    Only training is timed: not imports, not loading, not evaluation. A first, short training of each kind is
    thrown away, since it pays for what a process does once.
    """
    from torchvision import datasets, transforms

    mnist = full_mnist(HELD_OUT if options.held_out else 0)
    root = PROJECT / Path(os.environ["VAE_DATA"]).expanduser() if mnist.source == "VAE_DATA" else DATA
    example_epochs = max(1, round(options.epochs or EXAMPLE_EPOCHS))
    images = f"{len(mnist.test):,} {'held-out training' if options.held_out else 'test'} images"
    pictures = datasets.MNIST(root, train=True, transform=transforms.ToTensor())
    if options.held_out:
        pictures = Subset(pictures, range(len(mnist.train)))  # as many images as ours has
    loader = DataLoader(pictures, batch_size=128, shuffle=True)
    train_example(DataLoader(Subset(pictures, range(1280)), batch_size=128), 1, seed=0)
    replace(OURS, epochs=0.02).train(mnist, progress=False)
    rows = []
    for seed in range(options.seed, options.seed + ROUNDS):
        example, example_seconds = train_example(loader, example_epochs, seed)
        vae, history = replace(OURS, seed=seed).train(mnist, progress=False)
        row = {
            "seed": seed,
            "example_elbo": example_elbo(example, mnist.test, seed),
            "our_elbo": evaluate(vae, mnist.test, seed=seed).elbo.mean().item(),
            "example_seconds": example_seconds,
            "our_seconds": history[-1].seconds,
            "ratio": example_seconds / history[-1].seconds,
        }
        rows.append({name: round(value, 2) for name, value in row.items()})
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    median = statistics.median(row["ratio"] for row in rows)
    reached = all(row["our_elbo"] >= row["example_elbo"] for row in rows)
    outcome = f"the example's bound was {'reached' if reached else 'NOT reached'} in every round"
    protocol = f"[cross-entropy of grey pixels, {images}, 1 draw of z]"
    print(f"{median:.1f} times as fast (median of {ROUNDS} rounds); {outcome}   {protocol}")
    results = {
        "recipe": OURS.settings,
        "example_epochs": example_epochs,
        "rounds": rows,
        "median_ratio": round(median, 2),
        "reached": reached,
        "protocol": f"{images}, cross-entropy of grey pixels, 1 draw of z",
    }
    record(options, results)


COMMAND = Command(speed, stage=1, options=("held_out", "epochs", "seed"))
