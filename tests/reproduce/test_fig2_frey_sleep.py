"""Why wake-sleep is flat: what each run says, and that an interruption loses nothing."""

from contextlib import suppress

import pytest

from vae_utils.paper.ppca import pixel_gaussians
from vae_utils.reproduce import curves, fig2_frey, fig2_frey_sleep
from vae_utils.training import Report


@pytest.fixture
def level(film):
    return pixel_gaussians(film.train).log_prob(film.test.double()).mean().item()


def report(samples, nats, rate=0.0):
    return Report(samples, 1.0, 1.0, nats, 0.0, 0.0, nats, rate, 0.0)


def test_each_run_says_what_became_of_it(run, out, rows_of, small_frey, film, level, monkeypatch):
    def train(label, method, latent_size, rate, samples, seed, faces, decoder_layers, on_report):
        assert method == "WS" and samples == 2000 and faces is film
        if rate == 0.02 and decoder_layers == 2:
            raise FloatingPointError("the loss stopped being a finite number")
        for count, nats in enumerate((1, 2, 31, 32) if decoder_layers == 1 else (1, 2, 3, 2)):
            on_report(None, report(500 * (count + 1), level + nats, rate=count))

    small_frey(monkeypatch, film)
    monkeypatch.setattr(fig2_frey_sleep, "train_frey_curve", train)
    results = run("fig2-frey-sleep", "--samples", 2000, "--latents", 10)["results"]
    runs = results["runs"]
    assert len(runs) == 2 * 2 * fig2_frey_sleep.SEEDS and results["pixel_gaussians"] == pytest.approx(level, abs=0.01)
    assert next(iter(runs)) == "10 latents, 1 in the decoder, rate 0.01, seed 0"
    for found in runs.values():
        if found["decoder_layers"] == 1:
            assert found["outcome"] == "left the plateau by 1,500 images" and found["samples"] == 1500
            assert found["largest_rate_of_test"] == 2
        elif found["rate"] == 0.02:
            assert found["outcome"].startswith("diverged: the loss") and "samples" not in found
        else:
            assert found["outcome"] == "flat to the end" and found["test"] == pytest.approx(level + 2, abs=0.01)
    named = {row["curve"].rpartition(": ")[0] for row in rows_of(out / "fig2-frey-sleep.csv")}
    assert named == {name for name, found in runs.items() if "diverged" not in found["outcome"]}
    monkeypatch.setattr(fig2_frey_sleep, "train_frey_curve", lambda *_, **__: pytest.fail("it trained again"))
    run("fig2-frey-sleep", "--samples", 2000, "--latents", 10)


def test_reports_before_an_interruption_count(small_frey, film, states, monkeypatch):
    """A watched training that stops, and one that goes on from its state, have the reports of one that did not."""
    small_frey(monkeypatch, film)

    def train(stop_at):
        watch = curves.StopWhen("a curve", 0, lambda report: report.samples >= stop_at)
        arguments = dict(on_report=watch, report_at=[200, 400, 600], progress=False, decoder_layers=2)
        with suppress(curves.Reached):
            fig2_frey.train_frey_curve("a curve", "WS", 2, 0.01, 800, 0, film, **arguments)
        return [(report.samples, report.test_elbo) for report in watch.reports]

    whole = train(10_000)
    assert [samples for samples, _ in whole] == [200, 400, 600, 800]
    curves.forget("a curve", 0)
    assert train(600) == whole[:3] and list(states.iterdir())
    assert train(10_000) == whole
    watch = curves.StopWhen("a curve", 0, lambda report: report.samples >= 400)  # it is there: no step is needed
    with pytest.raises(curves.Reached):
        watch.check()
    assert len(watch.reports) == 2
