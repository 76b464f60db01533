"""Everything that trains or measures runs on each device that is present, and with whatever kernels it has."""

import re
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import vae_utils
from vae_utils.classifier import DigitClassifier
from vae_utils.evaluation import (
    active_units,
    aggregate_kl,
    elbo_of_set,
    evaluate,
    hole_mass,
    kl_per_dimension,
    manifold,
    posterior_parameters,
)
from vae_utils.files import ASSETS
from vae_utils.likelihoods import FAMILIES, Gaussian
from vae_utils.models import VAE, conv_vae, load_vae, mlp_vae, paper_vae, save_vae, start_at_mean
from vae_utils.objectives import elbo, reconstruction
from vae_utils.paper.bayes import (
    BayesianVAE,
    full_bound,
    map_bound,
    predictive_elbo,
    predictive_log_likelihood,
    weight_prior,
)
from vae_utils.paper.importance import importance_weighted, log_likelihood
from vae_utils.paper.marginal import best_gaussian_posterior
from vae_utils.paper.monte_carlo_em import monte_carlo_em
from vae_utils.paper.wake_sleep import wake_sleep
from vae_utils.reproduce.resuming import fit_resuming
from vae_utils.reproduce.speed import unclipped
from vae_utils.training import adam, fit, paper_adagrad

from another_device import numbers_from_nowhere


@pytest.fixture(scope="module", autouse=True)
def first_optimiser():
    """With the first, torch loads its compiler: seconds that are no test's own."""
    torch.optim.SGD([nn.Parameter(torch.ones(1))])


# --- every optimiser on every device name, with kernels and without

# Those of `fit` and of the commands; the others are torch's own, as lessons call them.
OPTIMISERS = {
    "adam": adam,
    "unclipped": unclipped,
    "paper_adagrad": paper_adagrad(10),
    "Adam": torch.optim.Adam,
    "Adagrad": torch.optim.Adagrad,
}


def device_names():
    """All that this torch lets one write, whether the device is there or not."""
    with pytest.raises(RuntimeError) as refused:
        torch.device("absent")
    return re.search("one of (.*) device type", str(refused.value))[1].split(", ")


def no_kernel(*args, **kwargs):
    raise NotImplementedError("Could not run 'aten::_fused_adagrad_' with arguments from the 'MPS' backend")


@pytest.fixture(params=["its kernels", "no kernels"])
def kernels(request, monkeypatch):
    """torch as it is, or as it is where there are no fused kernels: they answer as Apple's MPS does."""
    if request.param == "no kernels":
        for name in filter(re.compile("_fused_(adam|adagrad|adamw|sgd)_$").fullmatch, dir(torch)):
            monkeypatch.setattr(torch, name, no_kernel)
    return request.param


def two_weights(name, monkeypatch):
    """A matrix and a vector on the device; where that is absent, they and what is made for them only say so."""
    weights = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some names are of old
        device = torch.device(name)
    try:
        torch.zeros(1, device=device)
    except Exception:  # torch has a kind of its own for each absence
        zeros = torch.zeros
        monkeypatch.setattr(torch, "zeros", lambda *shape, device=None, **others: zeros(*shape, **others))
        monkeypatch.setattr(nn.Parameter, "device", device, raising=False)
        return weights
    return [nn.Parameter(weight.detach().to(device)) for weight in weights]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", device_names())
def test_every_optimiser_steps_on_every_device(name, optimiser, kernels, monkeypatch):
    weights = two_weights(name, monkeypatch)
    with numbers_from_nowhere():  # Adam asks whether the gradient is finite
        stepping = OPTIMISERS[optimiser](weights)
        for group in stepping.param_groups:
            group["lr"] = 0.1
        for _ in range(2):
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            stepping.step()
    if name != "meta":
        assert all((weight < 0.95).all() and weight.isfinite().all() for weight in weights)
    if name == "cpu" and optimiser in ("adam", "unclipped", "paper_adagrad"):
        assert bool(stepping.defaults["fused"]) == (kernels == "its kernels")


def test_no_other_optimiser_is_used_and_none_insists_on_a_kernel():
    package = Path(vae_utils.__file__).parent
    files = [*package.rglob("*.py"), *(ASSETS.parent / "notebooks").glob("*.ipynb")]
    sources = {file: file.read_text("utf-8") for file in files}
    used = {kind for text in sources.values() for kind in re.findall(r"torch\.optim\.([A-Z]\w+)", text)}
    assert used - {"Optimizer"} == {"Adam", "Adagrad"}
    assert [file.name for file, text in sources.items() if re.search(r"fused\s*=\s*True", text)] == ["training.py"]


# --- everything once on each device that is present, and on one that is not


def present():
    """The kinds of device of this machine, as VAE_DEVICE names them."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    there["xpu"] = hasattr(torch, "xpu") and torch.xpu.is_available()
    return [name for name, is_there in there.items() if is_there]


@pytest.fixture(params=[*present(), "meta"])
def device(request, monkeypatch):
    monkeypatch.setenv("VAE_DEVICE", request.param)
    if request.param != "meta":
        yield torch.device(request.param)
        return
    with numbers_from_nowhere():
        yield torch.device("meta")


class WarmUp:
    """An objective that counts its steps, as lesson 03 writes it."""

    def __init__(self, num_steps):
        self.num_steps, self.step = num_steps, 0

    def __call__(self, vae, x):
        self.step += 1
        return elbo(vae, x, beta=min(1.0, self.step / self.num_steps))


class TwoLayers(nn.Sequential):
    """A network of a reader's own."""

    def __init__(self, size, features, *shape):
        super().__init__(nn.Flatten(-3) if len(shape) == 1 else nn.Identity(), nn.Linear(size, features))
        if len(shape) == 3:
            self.append(nn.Unflatten(-1, shape))


def small(likelihood=None):
    return mlp_vae(2, (8,), likelihood=likelihood)


def map_estimate():
    vae = small()
    return vae, {"objective": partial(map_bound, num_images=24, prior=weight_prior(vae.decoder, 1.0, 3.0))}


def full_vb():
    vae = small()
    prior = weight_prior(vae.decoder, 1.0, 3.0)
    return BayesianVAE(vae, prior), {"objective": partial(full_bound, num_images=24)}


# {what: function that returns a model and further arguments of `fit`}
TRAININGS = {name: lambda family=family: (small(family()), {}) for name, family in FAMILIES.items()}
TRAININGS |= {
    "Gaussian of a fixed width": lambda: (small(Gaussian(0.1)), {}),
    "conv_vae": lambda: (conv_vae(2, (2, 4), 8), {}),
    "conv_vae with blocks": lambda: (conv_vae(2, (2, 4), 8, (1, 1)), {}),
    "paper_vae": lambda: (paper_vae(2, 8), {}),
    "networks of one's own": lambda: (VAE(TwoLayers(784, 4, 784), TwoLayers(2, 784, 1, 28, 28), None, 2), {}),
    "reconstruction": lambda: (small(), {"objective": reconstruction}),
    "beta": lambda: (small(), {"objective": partial(elbo, beta=4.0)}),
    "warm-up": lambda: (small(), {"objective": WarmUp(3)}),
    "importance_weighted": lambda: (small(), {"objective": partial(importance_weighted, num_samples=3)}),
    "wake_sleep": lambda: (small(), {"objective": wake_sleep}),
    "map_bound": map_estimate,
    "full_bound": full_vb,
    **{name: lambda chosen=chosen: (small(), {"optimiser": chosen}) for name, chosen in OPTIMISERS.items()},
}


@pytest.mark.parametrize("training", TRAININGS)
def test_every_training_runs_there_and_the_model_comes_home(training, device, images):
    torch.manual_seed(0)
    vae, settings = TRAININGS[training]()
    before = [weight.clone() for weight in vae.parameters()]
    where, seen = set(), []
    pictures = torch.cat([images, images.flip(-1)]).round()

    def look(vae, report):
        """What a reader writes, who knows of no other device."""
        seen.append(vae.decode(torch.zeros(1, 2)).mean)

    def note(run):
        where.add(next(run.vae.parameters()).device.type)

    common = {"epochs": 1, "batch_size": 8, "test": pictures, "progress": False, "on_report": look, "on_step": note}
    history = fit(vae, pictures, **common, **settings)
    assert where == {device.type} and len(history) == 1
    assert {tensor.device.type for tensor in (*vae.parameters(), *vae.buffers(), *seen)} == {"cpu"}
    if device.type != "meta":
        assert torch.tensor([history[-1].train_elbo, history[-1].test_elbo]).isfinite().all()
        assert any(not torch.equal(*pair) for pair in zip(before, vae.parameters()))


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_a_training_goes_on_there(device, images, tmp_path):
    path, calls = tmp_path / "state.safetensors", []

    def stop(vae, x):
        calls.append(len(x))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return elbo(vae, x)

    for _ in range(2):
        common = {"epochs": 2, "batch_size": 4, "progress": False, "report_at": [4, 24]}
        history = fit_resuming(path, small(), images, objective=stop, **common)
    assert history[-1].samples == 24 and len(calls) == 3 + 5  # the third image of the first call is not repeated


def test_a_loop_that_is_written_out_runs_there(device, images):
    vae = small().to(device)
    optimiser = torch.optim.Adagrad(vae.parameters(), lr=0.01)
    for minibatch in images.to(device).split(4):
        loss = -elbo(vae, vae.observe(minibatch)).objective.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.device.type == device.type and torch.tensor(loss.item()).isfinite()


def networks_moved_before(vae, x):
    return elbo(VAE(vae.encoder, vae.decoder, vae.likelihood, 2), x.round()).objective


# {what: function of a model and images, both on the device}; the result is there or on the CPU
MEASURES = {
    "elbo_of_set": lambda vae, x: elbo_of_set(vae, x).elbo,
    "manifold": lambda vae, x: manifold(vae, 3),
    "start_at_mean": lambda vae, x: start_at_mean(vae, x),
    "classifier": lambda vae, x: DigitClassifier().to(x.device).probabilities(x),
    "best_gaussian_posterior": lambda vae, x: best_gaussian_posterior(vae, x.round(), num_steps=3).mean,
    "networks moved before": networks_moved_before,
    "monte_carlo_em": lambda vae, x: monte_carlo_em(
        vae, x, iterations=2, learning_rate=0.01, optimiser=paper_adagrad(12), num_leapfrog=2, progress=False
    )[1],
}
# A generator on the device is asked for, which `meta` has none of.
DRAWING = {
    "posterior_parameters": lambda vae, x: posterior_parameters(vae, x)[1],
    "kl_per_dimension": kl_per_dimension,
    "active_units": active_units,
    "aggregate_kl": lambda vae, x: torch.tensor(aggregate_kl(vae, x, num_samples=20).mean),
    "hole_mass": lambda vae, x: torch.tensor(hole_mass(vae, x, num_samples=20).mean),
}


@pytest.mark.parametrize("measure", [*MEASURES, *DRAWING])
def test_every_measure_is_taken_where_the_model_is(measure, device, images):
    if measure in DRAWING and device.type == "meta":
        pytest.skip("there is no generator")
    torch.manual_seed(0)
    result = (MEASURES | DRAWING)[measure](small().to(device), images.to(device))
    if device.type != "meta" and result is not None:
        assert result.isfinite().all()


def test_what_is_lent_to_a_device_comes_back_with_its_numbers(device, images, tmp_path):
    """Of a model on the CPU, and of one that is on the device already."""
    vae, of_weights = small(), BayesianVAE(small())
    results = [
        evaluate(vae, images).elbo,
        log_likelihood(vae, images, num_samples=3).per_image,
        predictive_elbo(of_weights, images, num_weights=2).elbo,
        predictive_log_likelihood(of_weights, images, num_weights=2, num_samples=3).per_image,
        evaluate(small().to(device), images.to(device)).elbo,
    ]
    assert {result.device.type for result in results} == {"cpu"} and next(vae.parameters()).device.type == "cpu"
    save_vae(small().to(device), tmp_path / "vae.safetensors")
    assert next(load_vae(tmp_path / "vae.safetensors").parameters()).device.type == "cpu"
    if device.type != "meta":
        assert torch.stack(results).isfinite().all()
