"""Training: same seed, same weights; a step is the paper's; nothing that happens loses the model."""

import csv
import math
import time
from functools import partial

import pytest
import torch
from torch import nn

from vae_utils import training
from vae_utils.evaluation import elbo_of_set
from vae_utils.likelihoods import Gaussian, GreyCrossEntropy
from vae_utils.models import VAE, conv_vae
from vae_utils.objectives import Terms, elbo, reconstruction
from vae_utils.training import History, Report, constant, linear_decay, paper_adagrad
from vae_utils.training import fit as loud_fit

from small_training import after, interrupt, pictures, same, small_vae, weights_of  # noqa: F401 (a fixture)

fit = partial(loud_fit, progress=False)


def not_a_number(terms):
    return terms._replace(objective=terms.objective * math.nan)


# The run


@pytest.mark.parametrize("build", [small_vae, lambda: conv_vae(2, (2, 2), 4)], ids=["mlp", "conv"])
def test_same_seed_same_history_and_weights(build, pictures):
    runs = []
    for surroundings in (1, 2):
        torch.manual_seed(0)
        vae = build()
        torch.manual_seed(surroundings)
        history = fit(vae, pictures, test=pictures[:5], epochs=2, batch_size=16, seed=3)
        runs.append((weights_of(vae), [history.column(name) for name in ("samples", "train_elbo", "test_elbo")]))
    assert same(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]


def test_another_seed_another_run(pictures):
    vaes = [small_vae(), small_vae()]
    for seed, vae in enumerate(vaes):
        fit(vae, pictures, epochs=1, batch_size=16, seed=seed)
    assert not same(*map(weights_of, vaes))


def test_draws_of_the_caller_go_on_as_if_nothing_had_happened(pictures):
    vae = small_vae()
    before = torch.get_rng_state()
    fit(vae, pictures, test=pictures[:5], epochs=1, batch_size=16)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_happens_on_the_way_does_not_change_the_run(pictures):
    vaes = [small_vae(), small_vae()]
    fit(vaes[0], pictures, epochs=2, batch_size=16)
    watched = dict(test=pictures[:5], report_at=[16, 32, 48], on_report=lambda *_: torch.rand(9))
    fit(vaes[1], pictures, epochs=2, batch_size=16, **watched)
    assert same(*map(weights_of, vaes))  # neither the evaluations nor on_report drew from the run's stream


@pytest.mark.parametrize("likelihood", [None, GreyCrossEntropy(), Gaussian()])
def test_the_bound_improves(likelihood, pictures):
    vae = small_vae(likelihood)
    before = elbo_of_set(vae, pictures).elbo.mean()
    history = fit(vae, pictures, test=pictures, epochs=20, batch_size=12, learning_rate=1e-2)
    assert history[-1].test_elbo > before + 40 and history[-1].train_elbo > history[0].train_elbo


def test_every_epoch_has_every_image_once_and_a_fresh_draw_of_its_pixels():
    grey = torch.linspace(0, 1, 10).view(10, 1, 1, 1).expand(10, 1, 28, 28) * 0.5 + 0.25
    seen = []

    def spy(vae, x):
        seen.append(x)
        return elbo(vae, x)

    fit(small_vae(), grey, epochs=2, batch_size=5, objective=spy)
    epochs = torch.cat(seen).split(10)
    assert [len(x) for x in seen] == [5] * 4
    for epoch in epochs:
        assert torch.allclose(epoch.mean((1, 2, 3)).sort().values, grey[:, 0, 0, 0], atol=0.08)
    assert not torch.equal(*(epoch[epoch.mean((1, 2, 3)).argsort()] for epoch in epochs))

    seen.clear()
    fit(small_vae(GreyCrossEntropy()), grey, epochs=1, batch_size=3, objective=spy)
    assert len(torch.cat(seen)[:, 0, 0, 0].unique()) == 9  # without replacement


def test_the_last_report_describes_the_weights_that_one_gets(pictures):
    vae = small_vae()
    history = fit(vae, pictures, test=pictures[:7], epochs=1, batch_size=16)
    terms = elbo_of_set(vae, pictures[:7])
    means = [term.mean().item() for term in (terms.elbo, terms.rate, terms.distortion)]
    assert means == [history[-1].test_elbo, history[-1].test_rate, history[-1].test_distortion]
    assert not vae.training


def test_train_columns_are_means_over_the_images_since_the_last_report(pictures):
    seen = []

    def spy(vae, x):
        seen.append(elbo(vae, x, beta=3))
        return seen[-1]

    history = fit(small_vae(), pictures, epochs=2, batch_size=16, objective=spy)
    last = torch.stack([torch.stack([terms.elbo, terms.rate, terms.distortion]).mean(1) for terms in seen[3:]]).mean(0)
    report = history[-1]
    assert [report.train_elbo, report.train_rate, report.train_distortion] == pytest.approx(last.tolist())


@pytest.mark.parametrize(
    "epochs, report_at, samples",
    [
        (2, None, [48, 96]),
        (1.5, None, [48, 72]),
        (0.01, None, [8]),
        (2, [8, 41], [8, 40, 96]),
        (1, [], [48]),
        (1, [10**6], [48]),
    ],
)
def test_reports_come_when_asked_for_and_at_the_end(epochs, report_at, samples, pictures):
    reported = []
    when = dict(report_at=report_at, on_report=lambda vae, report: reported.append(report))
    history = fit(small_vae(), pictures, epochs=epochs, batch_size=8, **when)
    assert history.column("samples") == samples and reported == history and history.stopped is None
    assert history.column("epochs") == [count / 48 for count in samples]


def test_seconds_are_of_training_alone(pictures):
    start = time.perf_counter()
    history = fit(small_vae(), pictures, epochs=3, batch_size=16, on_report=lambda *_: time.sleep(0.2))
    assert history.column("seconds") == sorted(history.column("seconds"))
    assert 0 < history[-1].seconds < time.perf_counter() - start - 0.6


def test_history_survives_csv(tmp_path, pictures):
    history = fit(small_vae(), pictures, epochs=2, batch_size=16, test=pictures[:3])
    history.append(Report(1, 1.0, 1.0, -1.0, 1.0, 0.0))
    history.write_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(Report.__dataclass_fields__)
    for name in rows[0]:
        assert [float(row[name]) for row in rows] == pytest.approx(history.column(name), rel=0, abs=0, nan_ok=True)


def test_history_prints_as_a_sentence():
    report = Report(96, 2.0, 3.4, -99.123, 5.0, 94.0)
    assert str(History([report])) == "96 images (2 epochs) in 3 s: train ELBO -99.12 nats per image"
    tested = Report(96, 2.0, 3.4, -99.123, 5.0, 94.0, -101.0, 5.0, 96.0)
    assert "test ELBO -101.00 nats per image" in str(History([tested], stopped="interrupted"))
    assert str(History([tested], stopped="interrupted")).endswith("\ninterrupted") and str(History()) == "not trained"


def test_progress_bar_goes_away_and_can_be_silent(pictures, capfd):
    fit(small_vae(), pictures, epochs=1, batch_size=16)
    assert capfd.readouterr() == ("", "")
    fit(small_vae(), pictures, epochs=1, batch_size=16, progress=True)
    assert "images" in capfd.readouterr().out


# Interruptions and failures


def test_an_interrupt_keeps_the_weights_and_says_where(pictures):
    vae = small_vae()
    history = fit(vae, pictures, epochs=9, batch_size=8, objective=after(8, interrupt), learning_rate=constant(2e-3))
    until_then = small_vae()
    fit(until_then, pictures, epochs=8 / 6, batch_size=8, learning_rate=constant(2e-3))
    assert same(weights_of(vae), weights_of(until_then)) and not vae.training
    assert history.column("samples") == [48, 64]
    assert history.stopped.startswith("interrupted from the keyboard after 64 images (1.33 epochs)")
    assert str(history).endswith(history.stopped)


def test_an_interrupt_in_a_report_does_not_report_twice(pictures):
    def on_report(vae, report):
        if report.samples == 96:
            raise KeyboardInterrupt

    history = fit(small_vae(), pictures, epochs=9, batch_size=8, on_report=on_report)
    assert history.column("samples") == [48, 96] and "after 96 images (2 epochs)" in history.stopped


def test_an_interrupt_before_the_first_step_leaves_an_empty_history(pictures):
    vae = small_vae()
    history = fit(vae, pictures, epochs=1, batch_size=8, objective=after(0, interrupt))
    assert history == [] and "after 0 images" in str(history) and same(weights_of(vae), weights_of(small_vae()))


def test_the_schedule_of_the_author_waits_and_gathers(pictures):
    """After steps that do not move, Adagrad's step is divided by the root of all squares so far."""
    schedule = training.after(3, 8, 2.0)
    assert [schedule(step / 8) for step in range(1, 9)] == [0, 0, 0, 2, 2, 2, 2, 2]
    vae, start = small_vae(Gaussian(0.5)), weights_of(small_vae(Gaussian(0.5)))
    steps = dict(objective=reconstruction, learning_rate=training.after(3, 4, 0.1), optimiser=paper_adagrad(48))
    fit(vae, pictures, epochs=4, batch_size=48, **steps)
    moved = torch.cat([(w - start[name]).flatten().abs() for name, w in vae.state_dict().items()])
    # Four equal gradients g: lr * g / sqrt(4 g^2). The weights have not moved between, so they are equal.
    assert moved.max() == pytest.approx(0.05, rel=1e-3)


def test_a_loss_that_is_no_number_names_the_step_and_restores_the_last_report(pictures):
    vae, kept = small_vae(), []
    what = dict(objective=after(8, not_a_number), on_report=lambda vae, _: kept.append(weights_of(vae)))
    with pytest.raises(FloatingPointError, match=r"at step 9 \(after 64 images\).*last report.*smaller"):
        fit(vae, pictures, epochs=3, batch_size=8, **what)
    assert len(kept) == 1 and same(weights_of(vae), kept[0]) and not vae.training


def test_a_gradient_that_is_no_number_is_noticed_before_it_reaches_the_weights(pictures):
    def infinitely_steep(terms):
        return terms._replace(objective=(terms.objective * 0).sqrt())

    vae = small_vae()
    with pytest.raises(FloatingPointError, match="at step 3"):
        fit(vae, pictures, epochs=1, batch_size=8, objective=after(2, infinitely_steep))
    assert same(weights_of(vae), weights_of(small_vae()))


@pytest.mark.parametrize("tested", [False, True])
def test_a_huge_learning_rate_ends_in_one_sentence(tested, pictures):
    vae = small_vae(Gaussian(0.1))
    report = dict(test=pictures, report_at=[8]) if tested else dict(report_at=[])
    with pytest.raises(FloatingPointError, match="at step .*learning rate 3 to 10 times smaller"):
        fit(vae, pictures, epochs=40, batch_size=8, learning_rate=constant(1e30), **report)
    assert same(weights_of(vae), weights_of(small_vae(Gaussian(0.1))))


def test_a_mistake_in_an_objective_is_not_hidden_by_the_failure_it_looks_like(pictures):
    def mistake(terms):
        raise ValueError("my own mistake")

    with pytest.raises(FloatingPointError) as failure:
        fit(small_vae(), pictures, epochs=1, batch_size=8, objective=after(3, mistake))
    assert str(failure.value.__cause__) == "my own mistake"
    with pytest.raises(ValueError, match="my own mistake"):
        fit(small_vae(), pictures, epochs=1, batch_size=8, objective=after(0, mistake))


@pytest.mark.parametrize("event", [None, interrupt, not_a_number])
def test_the_model_comes_home_whatever_happens(event, pictures, monkeypatch):
    vae, journey = small_vae(), []
    monkeypatch.setenv("VAE_DEVICE", "cpu:0")
    monkeypatch.setattr(vae, "to", lambda device: journey.append(device))
    try:
        fit(vae, pictures, epochs=1, batch_size=8, objective=after(2, event) if event else elbo)
    except FloatingPointError:
        assert event is not_a_number
    assert journey == [torch.device("cpu:0"), torch.device("cpu")]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (dict(batch_size=49), "batch_size was expected to be a whole number from 1 to 48, got 49"),
        (dict(batch_size=0), "batch_size .* got 0"),
        (dict(epochs=0), "epochs .* above 0, got 0"),
        (dict(epochs=math.nan), "epochs .* got nan"),
        (dict(images=torch.arange(48)), "labels"),
        (dict(images=255 * torch.ones(48, 1, 28, 28)), "in .0, 1., got values from 255"),
        (dict(images=torch.ones(48, 28, 28)), r"shape \[N, 1, 28, 28\], got \[48, 28, 28\]"),
        (dict(test=torch.arange(48)), "labels"),
        (dict(test=torch.ones(3, 784)), r"got \[3, 784\]"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_step(arguments, sentence, pictures):
    vae = small_vae()
    arguments = dict(images=pictures, epochs=1, batch_size=8) | arguments
    with pytest.raises(ValueError, match=sentence):
        fit(vae, arguments.pop("images"), **arguments)
    assert same(weights_of(vae), weights_of(small_vae()))


# Steps


def test_linear_decay_warms_up_and_falls_and_constant_is_constant():
    factors = {0.0: 0.0, 0.025: 0.5, 0.05: 1.0, 0.525: 1 - 0.998 / 2, 1.0: 0.002}
    assert [linear_decay(3.0)(progress) for progress in factors] == pytest.approx([3 * f for f in factors.values()])
    assert {constant(0.1)(progress) for progress in factors} == {0.1}


@pytest.mark.parametrize(
    "given, expected", [(lambda progress: 3 * progress, lambda k: 3 * k / 4), (3.0, lambda k: linear_decay(3.0)(k / 4))]
)
def test_the_learning_rate_is_a_function_of_the_share_that_is_done(given, expected, pictures):
    rates = []

    class Recorder(torch.optim.SGD):
        def step(self, closure=None):
            rates.append([group["lr"] for group in self.param_groups])

    def optimiser(parameters):
        first, *others = parameters
        return Recorder([{"params": [first]}, {"params": others}])

    fit(small_vae(), pictures, epochs=1, batch_size=12, optimiser=optimiser, learning_rate=given)
    assert torch.allclose(torch.tensor(rates), torch.tensor([[expected(k)] * 2 for k in (1, 2, 3, 4)]))


def test_the_run_is_shown_before_the_first_step_and_after_each(pictures):
    seen = []
    fit(small_vae(), pictures, epochs=1, batch_size=12, on_step=lambda run: seen.append((run.step, len(run.history))))
    assert seen == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1)]


def test_papers_adagrad_takes_the_steps_of_the_paper(pictures):
    """Two steps by hand: the first moves weights by the learning rate, so it cannot show the decay."""
    by_hand, vae = (small_vae(Gaussian(0.5)).double() for _ in range(2))
    x = pictures.double()
    steps = dict(objective=reconstruction, optimiser=paper_adagrad(48), learning_rate=constant(0.05))
    fit(vae, x, epochs=2, batch_size=48, **steps)
    squares = {name: 0 for name, _ in by_hand.named_parameters()}
    for _ in range(2):
        by_hand.zero_grad()
        (-reconstruction(by_hand, x).objective.mean()).backward()
        with torch.no_grad():
            for name, w in by_hand.named_parameters():
                is_weight = name.endswith("weight") and w.dim() == 2  # no bias, no LayerNorm
                gradient = w.grad + w / 48 if is_weight else w.grad  # prior N(0, I): w / N
                squares[name] += gradient**2
                w -= 0.05 * gradient / (squares[name].sqrt() + 1e-10)
    for (name, w), expected in zip(vae.named_parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(w, expected, atol=1e-7), name


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_adam_shortens_gradients_that_are_longer_than_its_norm(max_norm):
    weight = torch.nn.Parameter(torch.zeros(4))
    optimiser = training.adam([weight], max_norm=max_norm)
    weight.grad = torch.full((4,), 30.0)
    optimiser.step()
    assert weight.grad.norm().item() == pytest.approx(min(max_norm, 60.0), rel=1e-4)


def test_any_objective_that_returns_terms_will_do(pictures):
    def minus_rate(vae, x):
        rate = torch.distributions.kl_divergence(vae.encode(x), vae.prior)
        return Terms(-rate, rate, torch.zeros_like(rate))

    history = fit(small_vae(), pictures, epochs=20, batch_size=12, objective=minus_rate, learning_rate=1e-2)
    assert history[-1].train_rate < 0.2 * history[0].train_rate


class ThreeDistributions(nn.Module):
    """A reader's own class, as lesson 02 writes it: `prior`, `encode` and `decode` are all that it has."""

    prior = encode = decode = None


def test_a_class_of_ones_own_is_told_how_to_go_in(pictures):
    with pytest.raises(ValueError, match=r"got a ThreeDistributions; put your networks into one: VAE\(encoder, dec"):
        fit(ThreeDistributions(), pictures, epochs=1)


def test_what_the_networks_of_ones_own_need_is_said_truly(pictures):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 4))
    decoder = nn.Sequential(nn.Linear(2, 784), nn.Unflatten(-1, (1, 28, 28)))
    history = fit(VAE(encoder, decoder, None, 2), pictures, epochs=1, batch_size=8)
    assert history[-1].samples == 48


def test_an_objective_returns_terms(pictures):
    with pytest.raises(ValueError, match="the objective was expected to return Terms, got a tensor .*; return Terms"):
        fit(small_vae(), pictures, epochs=1, batch_size=8, objective=lambda vae, x: -elbo(vae, x).objective.mean())
