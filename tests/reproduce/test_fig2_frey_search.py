"""The search for Figure 2's reading on a toy film: each try is reported, those that failed too."""

import pytest

from vae_utils.reproduce import fig2_frey_search


@pytest.mark.slow
def test_the_search_reports_each_try_and_those_that_failed(run, out, rows_of, small_frey, film, monkeypatch):
    def overflowing(label, method, latent_size, rate, *arguments, **kwargs):
        if rate == 0.1:
            raise FloatingPointError("the loss stopped being a finite number")
        return train(label, method, latent_size, rate, *arguments, **kwargs)

    small_frey(monkeypatch, film)
    assert fig2_frey_search.BATCH_SIZE == 500
    monkeypatch.setattr(fig2_frey_search, "BATCH_SIZE", 50)
    train = fig2_frey_search.train_frey_curve
    monkeypatch.setattr(fig2_frey_search, "train_frey_curve", overflowing)
    runs = run("fig2-frey-search", "--samples", 2000)["results"]["runs"]
    assert len(runs) == len(fig2_frey_search.tries()) == 13
    failed = {name for name, run in runs.items() if run.get("outcome", "").startswith("diverged")}
    assert failed == {name for name, run in runs.items() if run["rate"] == 0.1} and len(failed) == 2
    assert {row["curve"].rpartition(": ")[0] for row in rows_of(out / "fig2-frey-search.csv")} == set(runs) - failed
    floors = {run["floor"] for run in runs.values()}
    assert floors == {0.0, 1 / 256}
    assert [run["batch_size"] for run in runs.values() if "batch_size" in run] == [50] * 4
    monkeypatch.setattr(fig2_frey_search, "train_frey_curve", lambda *_, **__: pytest.fail("it trained again"))
    run("fig2-frey-search", "--samples", 2000)
