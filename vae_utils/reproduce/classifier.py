"""The judge of pictures: a classifier of digits."""

import torch
from torch.nn.functional import cross_entropy

from vae_utils.classifier import DigitClassifier
from vae_utils.files import save_tensors
from vae_utils.reproduce.common import HELD_OUT, Command, full_mnist, record
from vae_utils.reproduce.provenance import versions
from vae_utils.training import fused

UNSURE = 0.9  # the judge is unsure of a picture if no digit gets this probability


def classifier(options):
    """Train the judge on 55,000 training images; report it on the 5,000 others, then on the test set."""
    mnist, epochs = full_mnist(hold_out=HELD_OUT), options.epochs or 8
    torch.manual_seed(options.seed)
    judge = train_classifier(mnist.train, mnist.train_labels, epochs)
    official = full_mnist()
    results = {
        "trained_on": f"{len(mnist.train):,} training images, grey",
        "epochs": epochs,
        "held_out_accuracy": round(accuracy(judge, mnist.test, mnist.test_labels), 4),
        "test_accuracy": round(accuracy(judge, official.test, official.test_labels), 4),
        "test_images_unsure": round(share(judge.probabilities(official.test).amax(1) < UNSURE), 4),
    }
    print(f"classifier: {results}")
    about = {"results": results, "versions": versions()}
    save_tensors(options.out / "classifier.safetensors", judge.state_dict(), about)
    record(options, results, "classifier.safetensors")


def train_classifier(images, labels, epochs, batch_size=128, learning_rate=2e-3):
    """A `DigitClassifier` trained by Adam at a rate that falls to zero; the caller sets the seed."""
    judge = DigitClassifier().train()
    optimiser = fused(torch.optim.Adam, list(judge.parameters()), lr=learning_rate)
    num_steps = max(1, round(epochs * (len(images) // batch_size)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=num_steps + 1)
    for step in range(num_steps):
        at = step * batch_size % (len(images) // batch_size * batch_size)
        if at == 0:
            order = torch.randperm(len(images))
        batch = order[at : at + batch_size]
        optimiser.zero_grad()
        cross_entropy(judge(images[batch]), labels[batch]).backward()
        optimiser.step()
        schedule.step()
    return judge.eval()


def accuracy(judge, images, labels):
    """Share of images whose most probable digit is the label."""
    return share(judge.probabilities(images).argmax(1) == labels)


def share(mask):
    """The share of True in a mask."""
    return mask.float().mean().item()


COMMAND = Command(classifier, stage=1, options=("epochs", "seed"))
