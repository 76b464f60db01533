"""Figure 3 from end to end at toy size: what is written, what an interruption costs, which rate is chosen."""

import shutil

import pytest

from vae_utils.likelihoods import GreyCrossEntropy
from vae_utils.models import paper_vae
from vae_utils.paper.marginal import quadrature_log_likelihood
from vae_utils.reproduce import curves, fig3, fig3_curve, resuming
from vae_utils.reproduce.fig3_curve import interpolated

EXACT_POINTS = fig3.exact_points
METHODS = ("AEVB", "WS", "MCEM")
PANEL = "MNIST Nz=3 H=100 Ntrain=1000"


@pytest.fixture(autouse=True)
def small(full_toy_mnist, monkeypatch):
    shrunk = {"RUNS": {(method, 256): (8000, 3000) for method in METHODS}, "ALSO": {("WS", 256): (0.03,)}}
    shrunk |= {"SCORED": 20, "NUM_SEEDS": 2, "full_mnist": full_toy_mnist, "panel": lambda num_images: PANEL}
    shrunk |= {
        "PROBE_SAMPLES": 800,
        "PROBE_ITERATIONS": 2,
        "exact_points": lambda method, num_images, samples: [samples / 2],
    }
    shrunk["paper_vae"] = lambda size, hidden, std, likelihood: paper_vae(2, 8, 0.1, likelihood)
    for name, value in shrunk.items():
        monkeypatch.setattr(fig3, name, value)
    monkeypatch.setattr(curves, "WAITING", 2)
    monkeypatch.setattr(fig3_curve, "POSTERIOR_SAMPLES", 8)


@pytest.mark.slow
def test_figure_3_leaves_curves_a_picture_and_a_record(run, out, rows_of, capsys):
    runs = run("fig3", "--seed", 2)["results"]["runs"]
    assert {path.name for path in out.iterdir()} == {"fig3.csv", "fig3.json", "fig3.png"}
    rows = rows_of(out / "fig3.csv")
    names = {f"{method} {part}" for method in METHODS for part in ("train", "test")}
    assert {row["panel"] for row in rows} == {PANEL}
    for figure in ("Fig3", "Fig3 estimate"):
        assert {row["curve"] for row in rows if row["figure"] == figure} == names
        assert {row["curve"] for row in rows if row["figure"] == f"{figure}, rate 0.03"} == {"WS train", "WS test"}
    assert {row["seed"] for row in rows} == {"2", "3"}
    assert set(runs) == {f"{method} 256" for method in METHODS}
    for method in METHODS:
        run = runs[f"{method} 256"]
        points = [row for row in rows if (row["figure"], row["curve"], row["seed"]) == ("Fig3", f"{method} test", "2")]
        assert len(points) == 2 and int(points[-1]["samples"]) == run["samples"]
        exact = run["estimates"]["test"]["quadrature"]["mean"]
        assert float(points[-1]["nats"]) == pytest.approx(exact, abs=0.02)  # of the end; measured with fast_products
        estimated = [row for row in rows if (row["figure"], row["curve"]) == ("Fig3 estimate", f"{method} test")]
        assert len(estimated) == 2 * len({row["samples"] for row in estimated}) >= 4
        assert [row["learning_rate"] for row in run["probes"]] == list(curves.LEARNING_RATES)
        best = max((row for row in run["probes"] if row["train"] is not None), key=lambda row: row["train"])
        assert run["learning_rate"] == best["learning_rate"]
        estimators = set(run["estimates"]["train"])
        assert ("ELBO" in estimators) == (method != "MCEM")  # which has no encoder
    assert set(runs["WS 256"]["other_rates"]) == {"0.03"} and not runs["AEVB 256"]["other_rates"]
    seen = runs["MCEM 256"]["samples"]
    assert seen % (256 * 15) == 0 and abs(seen - 8000) <= 256 * 15 / 2
    assert "min left" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["AEVB", "MCEM"])
@pytest.mark.parametrize("measure", ["quadrature", "estimate"])
def test_an_interrupted_curve_goes_on_where_it_was(method, measure, full_toy_mnist, states, monkeypatch):
    """Interrupted in the middle of a measurement: the same curve as in one go, chains included."""
    mnist = full_toy_mnist()
    scored = {"train": mnist.train[:20], "test": mnist.test[:20]}

    def train():
        return fig3.train_fig3_curve(method, mnist.train, 12_000, 0.1, 0, scored)[2].points

    whole = train()
    assert len(whole["estimate"]) > 2 and len(whole["quadrature"]) == 2
    shutil.rmtree(states)  # or nothing would be left to do
    measured, function = [], getattr(fig3_curve.Curve, f"_{measure}")

    def interrupted(self, vae, part, samples):
        measured.append(part)
        if len(measured) == 4:  # the test images at the second measurement
            raise KeyboardInterrupt
        return function(self, vae, part, samples)

    monkeypatch.setattr(resuming, "SECONDS", 0.0)
    monkeypatch.setattr(fig3_curve.Curve, f"_{measure}", interrupted)
    with pytest.raises(SystemExit, match=f"fig3 {method} 256 rate 0.1: interrupted from the keyboard.* goes on"):
        train()
    monkeypatch.setattr(fig3_curve.Curve, f"_{measure}", function)
    assert train() == whole


def test_a_longer_curve_goes_on_from_a_shorter_one(full_toy_mnist, states, monkeypatch):
    mnist = full_toy_mnist()
    scored = {"train": mnist.train[:4], "test": mnist.test[:4]}
    monkeypatch.setattr(
        fig3_curve,
        "quadrature_log_likelihood",
        lambda vae, images, tolerance: quadrature_log_likelihood(vae, images, 4),
    )

    def train(samples):
        return fig3.train_fig3_curve("AEVB", mnist.train, samples, 0.1, 0, scored)[2]

    train(1500)
    longer = train(3000)
    assert len(longer.points["quadrature"]) == 3 and len(longer.measured("quadrature")) == 2
    assert train(3000).points == longer.points  # nothing is left to do, and nothing is lost
    shutil.rmtree(states)
    for measure in longer.points:
        assert train(3000).measured(measure) == longer.measured(measure)


def test_states_without_a_training_are_of_no_use(states):
    states.mkdir(parents=True)
    lost = states / "fig3-AEVB-seed-0.chains.safetensors"
    lost.write_bytes(b"")
    fig3_curve.Curve("fig3 AEVB", 0, {}, 1000, 100, [500], 400)
    assert not lost.exists()


def test_reports_come_at_the_papers_distances_and_at_the_points_of_the_quadrature():
    curve = fig3_curve.Curve("fig3 toy", 0, {}, 1000, 100, [520], 400)
    assert curve.report_at == [100, 400, 500, 800, 1000]
    assert curve.steps == {"estimate": {1, 4, 8}, "quadrature": {5, 10}}


def test_curves_are_read_between_their_points():
    found = interpolated([100, 10_000], [-200.0, -100.0], [50, 100, 1000, 20_000])
    assert found == {100: -200.0, 1000: pytest.approx(-150.0)}


def test_the_quadrature_begins_where_the_papers_curve_does(monkeypatch):
    monkeypatch.setattr(fig3, "panel", lambda num_images: f"MNIST Nz=3 H=100 Ntrain={num_images}")
    assert [round(point) for point in EXACT_POINTS("AEVB", 1000, 10**7)] == [316228, 1000000, 3162278, 10000000]
    assert [round(point) for point in EXACT_POINTS("MCEM", 50_000, 68e6)] == [31622777]


def test_the_model_is_the_papers():
    vae = paper_vae(fig3.LATENT_SIZE, fig3.HIDDEN, fig3.STD, GreyCrossEntropy())
    assert vae.latent_size == 3 and vae.decoder.trunk[0].weight.shape == (100, 3)
    assert (fig3.NUM_LEAPFROG, fig3.NUM_UPDATES) == (10, 5)  # Appendix E
    assert fig3.POSTERIOR_LEAPFROG == 4  # section 5, as the 50 draws
