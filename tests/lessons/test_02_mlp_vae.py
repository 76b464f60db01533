"""What lesson 02 writes out is what the library does: value and gradient, on the same weights and noise."""

import json
import re

import numpy as np
import pytest
import torch
from torch.distributions import kl_divergence

from vae_utils import objectives
from vae_utils.authoring.lesson import LESSONS, read
from vae_utils.data import binarise
from vae_utils.files import ASSETS
from vae_utils.likelihoods import Bernoulli
from vae_utils.models import paper_vae
from vae_utils.paper import wake_sleep
from vae_utils.paper.curves import paper_curves

from notebook_definitions import definitions

MODEL = ("bernoulli_log_likelihood", "Encoder", "Decoder", "VAE", "draw_parameters")
OBJECTIVES = ("elbo", "train", "slipped", "effective_beta", "wake_sleep")
LATENT_SIZE = 4


@pytest.fixture(scope="module")
def lesson():
    return definitions("02_mlp_vae", *MODEL, *OBJECTIVES)


@pytest.fixture
def pair(lesson):
    """The lesson's model and the library's `paper_vae` with the same weights."""
    torch.manual_seed(0)
    ours, theirs = lesson.VAE(LATENT_SIZE), paper_vae(LATENT_SIZE)
    lesson.draw_parameters(ours, std=0.1)
    with torch.no_grad():
        for theirs_parameter, ours_parameter in zip(theirs.parameters(), ours.parameters(), strict=True):
            theirs_parameter.copy_(ours_parameter)
    return ours, theirs


def test_log_likelihood(lesson, images):
    x = binarise(images)
    values, gradients = [], []
    for log_likelihood in (lesson.bernoulli_log_likelihood, lambda x, logits: Bernoulli()(logits).log_prob(x)):
        # far beyond where sigmoid rounds to 0 or 1
        logits = torch.linspace(-30, 30, x.numel()).view_as(x).requires_grad_()
        values.append(log_likelihood(x, logits))
        gradients.append(torch.autograd.grad(values[-1].sum(), logits)[0])
    assert values[0].shape == (12,)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


def test_networks_have_the_librarys_interface(pair, images):
    """One tensor of means and log-variances, so that what a learner writes for one model works on the other."""
    ours, theirs = pair
    x, z = binarise(images), torch.randn(12, LATENT_SIZE)
    assert ours.encoder(x).shape == (12, 2 * LATENT_SIZE)
    torch.testing.assert_close(ours.encoder(x), theirs.encoder(x))
    torch.testing.assert_close(ours.decoder(z), theirs.decoder(z))


def test_three_distributions(pair, images):
    x, z = binarise(images), torch.randn(3, 12, LATENT_SIZE)
    for ours, theirs in zip(*([vae.prior, vae.encode(x), vae.decode(z)] for vae in pair)):
        assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
        torch.testing.assert_close(ours.mean, theirs.mean)
        torch.testing.assert_close(ours.variance, theirs.variance)


def test_elbo(lesson, pair, images):
    x = binarise(images)
    found = []
    for vae, elbo in zip(pair, (lesson.elbo, objectives.elbo), strict=True):
        torch.manual_seed(1)  # the same noise
        found.append(tuple(elbo(vae, x)))
        found[-1][0].sum().backward()
    assert [term.shape for term in found[0]] == [(12,)] * 3
    torch.testing.assert_close(*found)
    for ours, theirs in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_initial_parameters(lesson):
    torch.manual_seed(0)
    vae = lesson.VAE(LATENT_SIZE)
    for std in (0.1, 0.01):
        lesson.draw_parameters(vae, std)
        drawn = torch.cat([parameter.detach().flatten() for parameter in vae.parameters()])
        assert abs(drawn.mean()) < 0.01 * std and abs(drawn.std() / std - 1) < 0.01


def test_training_is_adagrad_on_the_bound_of_100_images(lesson, pair, images):
    """Two steps by hand on the library's model, from the same random numbers, end at the same weights."""
    ours, theirs = pair
    torch.manual_seed(2)
    history = lesson.train(ours, images, num_samples=200, learning_rate=0.02)
    torch.manual_seed(2)
    optimiser = torch.optim.Adagrad(theirs.parameters(), lr=0.02)
    expected = []
    for _ in range(2):
        x = binarise(images[torch.randint(12, (100,))])
        terms = [term.mean() for term in objectives.elbo(theirs, x)]
        optimiser.zero_grad()
        (-terms[0]).backward()
        optimiser.step()
        expected.append([term.item() for term in terms])
    torch.testing.assert_close(history, torch.tensor(expected), atol=1e-3, rtol=1e-4)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-3)


def test_wake_sleep(lesson, pair, images):
    x, results = binarise(images), []
    for rival in (lesson.wake_sleep, wake_sleep.wake_sleep):
        pair[1].zero_grad()
        torch.manual_seed(1)  # the same dreams
        terms = rival(pair[1], x)
        terms.objective.mean().backward()
        results.append([*(term.detach() for term in terms), *(p.grad.clone() for p in pair[1].parameters())])
    torch.testing.assert_close(*results)


def test_the_slip_differs_from_the_bound_in_the_noise_alone(lesson, pair, images):
    x, vae = binarise(images), pair[1]
    q = vae.encode(x)
    torch.manual_seed(3)
    terms = lesson.slipped(vae, x)
    torch.manual_seed(3)
    z = q.mean + q.variance * torch.randn_like(q.mean)  # sigma^2 where sigma belongs
    torch.testing.assert_close(terms.distortion, -vae.decode(z).log_prob(x))
    torch.testing.assert_close(terms.objective, -terms.distortion - kl_divergence(q, vae.prior))
    used = torch.distributions.Independent(torch.distributions.Normal(q.mean, q.variance), 1)
    torch.testing.assert_close(terms.rate, kl_divergence(used, vae.prior))


@pytest.mark.parametrize("beta", [1, 0.05, 784])
def test_effective_beta_is_the_librarys_beta(lesson, beta):
    """Any multiple of distortion + beta * rate has that beta, whatever the number of pixels and latents."""
    for scale in (1, 1 / 784):
        loss = lambda bce, kl: scale * (bce.sum(1) + beta * kl.sum(1)).mean()  # noqa: E731, B023
        assert lesson.effective_beta(loss, pixels=28, latents=3) == pytest.approx(beta)


# --- what the text says of stored outputs


def shown(cell_id):
    """What the cell with this id printed."""
    (cell,) = (cell for cell in read(LESSONS / "02_mlp_vae.ipynb").cells if cell.id == cell_id)
    return "".join(output.get("text", "") for output in cell.outputs)


def test_the_rate_is_never_near_zero_in_the_first_training():
    """The text: it uses z from the start, and the second minibatch is the worst."""
    assert float(re.search(r"lowest rate: ([\d.]+)", shown("c028"))[1]) > 20
    bounds = [float(value) for value in re.findall(r"^ *[\d,]+ +(-[\d.]+)", shown("c028"), re.MULTILINE)]
    assert len(bounds) == 7 and min(bounds) == bounds[1] and bounds[0] < -543


def test_rulers_differ_by_more_than_models():
    """The text: along a row the ruler makes three to four nats, down a column the models differ by about one."""
    rows = re.findall(r"^trained on .* (-[\d.]+) +(-[\d.]+)$", shown("c083"), re.MULTILINE)
    table = torch.tensor([[float(value) for value in row] for row in rows])
    assert table.shape == (2, 2)
    assert ((table[:, 0] - table[:, 1] > 2.5) & (table[:, 0] - table[:, 1] < 4.5)).all()
    assert (table[0] - table[1]).abs().max() < 1.5


def test_the_papers_number_stands_beside_grey_ones():
    """The text: by the paper's ruler one stored model is about one nat above its best point, the other four to five."""
    grey = [float(value) for value in re.findall(r"^mlp.* (-[\d.]+) ±[^±\n]*$", shown("c089"), re.MULTILINE)]
    best = float(re.search(r"the paper, .* (-[\d.]+)", shown("c089"))[1])
    assert 0.5 < grey[0] - best < 1.5 and 4 < grey[1] - best < 5


def test_nats_and_readable_digits_come_together_and_places_late():
    """The text of the film: 79% of the nats and 641 of 853 by epoch 2, zeros first, 414 and 782 as at the end."""
    frames = json.loads((ASSETS / "replay.json").read_text())["results"]["frames"]
    start, end = frames[0], frames[-1]
    by_epoch = {round(frame["epochs"], 2): frame for frame in frames}
    first, second, half = by_epoch[0.13], by_epoch[2.0], by_epoch[20.0]
    assert sum(first["read"]) == first["read"][0] > 0
    share = (second["test_elbo"] - start["test_elbo"]) / (end["test_elbo"] - start["test_elbo"])
    assert round(share, 2) == 0.79 and abs(sum(second["read"]) / sum(end["read"]) - share) < 0.05
    assert (sum(second["read"]), second["as_at_end"], sum(end["read"])) == (641, 414, 853)
    assert sum(end["read"]) - half["as_at_end"] == 71


@pytest.mark.parametrize("size", [3, 5, 10, 20, 200])
def test_what_is_said_of_the_papers_curves(size):
    """The text: AEVB ends above; only with 3 latents wake-sleep leads at first, for some half a million images."""
    paper = paper_curves("Fig2", f"MNIST Nz={size}")
    (samples, aevb), sleep = paper["AEVB test"], paper["WS test"]
    lead = aevb - np.interp(np.log(samples), np.log(sleep[0]), sleep[1])
    assert lead[-1] > 1
    behind = samples[lead < 0]
    assert (4e5 < behind.max() < 7e5 and behind[0] == samples[0]) if size == 3 else not len(behind)


def test_the_papers_gaps_shrink_with_more_latents():
    """The text: the more latents, the smaller train minus test, and the best test bound is the same with 20 and 200."""
    bests, gaps = (
        [float(value) for value in re.search(rf"^paper: {name} +([- \d.]+)$", shown("c056"), re.MULTILINE)[1].split()]
        for name in ("best test bound", r"train minus test, 2·10\^8 images")
    )
    assert len(gaps) == 5 and gaps == sorted(gaps, reverse=True)
    assert bests[:4] == sorted(bests[:4]) and bests[3] == bests[4]


def test_factors_of_wake_sleep():
    """The text: two to five in ours, one to three in the paper's to the same bounds, 16 later with 20 latents."""
    rows = [line for line in shown("c106").splitlines() if " to " in line and "latents" in line]
    ours = [float(value) for value in re.findall(r": ([\d.]+) \(", shown("c106"))]
    theirs = [[float(value) for value in re.findall(r"\(paper ([\d.]+)\)", row)] for row in rows]
    assert len(ours) == 15 and min(ours) > 1.5 and max(ours) < 5.5
    assert all(len(row) == 4 and min(row[:3]) >= 1 and max(row[:3]) < 3.5 and row[3] > 2 * row[2] for row in theirs)
    (twenty,) = (row for row in rows if row.startswith(" 20"))
    assert "to -104: " in twenty and round(theirs[3][3]) == 16
