"""Our seeds as a band beside the paper's curve: what counts as explained by scatter."""

import numpy as np
import pytest

from vae_utils.reproduce import bands


@pytest.fixture(autouse=True)
def flat_paper(monkeypatch):
    monkeypatch.setattr(bands, "paper_value", lambda figure, panel, curve, samples: 100.0 if samples < 5000 else None)


def lines(samples, values):
    return [("Fig2", "a panel", "AEVB test", samples, nats, seed) for seed, nats in enumerate(values)]


def band(rows, at=(1000, 2000), **others):
    return bands.band("Fig2", "a panel", "AEVB test", rows, at, **others)


@pytest.mark.parametrize(
    "values, confirmed",
    [((99, 101, 103), True), ((101, 103, 105), True), ((105, 106, 107), False), ((80, 81, 82), False)],
)
def test_a_point_is_confirmed_within_two_standard_deviations_of_the_band(values, confirmed):
    (point,) = band(lines(1000, values))
    assert point["confirmed"] is confirmed and point["seeds"] == 3
    assert (point["low"], point["high"], point["ours"]) == (min(values), max(values), np.mean(values))
    assert point["spread"] == pytest.approx(np.std(values, ddof=1), abs=0.01)
    assert point["difference"] == pytest.approx(np.mean(values) - 100)


def test_an_unknown_split_widens_the_band():
    """Seeds that scatter by 1 and a split that scatters by 3: two standard deviations are 6.3."""
    for lowest, confirmed in ((106.2, True), (106.4, False)):
        (point,) = band(lines(1000, (lowest, lowest + 1, lowest + 2)), split=3.0)
        assert point["confirmed"] is confirmed and point["split"] == 3.0 and point["spread"] == 1.0


def test_a_seed_that_goes_on_alone_has_the_scatter_that_was_known_last():
    first, then = band(lines(1000, (98, 100, 102)) + lines(2005, (103.9,)))
    assert (first["spread"], then["spread"], then["seeds"]) == (2, 2, 1) and then["confirmed"] is True


def test_without_scatter_nothing_is_decided():
    points = band(lines(1000, (100.0, 100.0)))
    assert [(point["spread"], point["confirmed"]) for point in points] == [(None, None)]


def test_other_curves_other_places_and_places_beside_the_papers_do_not_count():
    other = [("Fig2", "a panel", "WS test", 1000, 1.0, 0), ("Fig2", "another", "AEVB test", 1000, 1.0, 0)]
    assert band(other) == [] and band(lines(1100, (1, 2, 3)), at=(1000,)) == []
    assert band(lines(6000, (1, 2, 3)), at=(6000,)) == []


def test_all_curves_are_found_by_their_panels(monkeypatch):
    rows = [
        ("Fig2", panel, f"{method} test", 1000, 1.0, 0)
        for panel in ("MNIST Nz=20", "MNIST Nz=5", "MNIST Nz=20 rate 0.1")
        for method in ("WS", "AEVB")
    ]
    found = bands.bands("Fig2", rows, (1000,))
    assert list(found) == ["AEVB 5", "AEVB 20", "AEVB 20 rate 0.1", "WS 5", "WS 20", "WS 20 rate 0.1"]
    assert all(points[0]["seeds"] == 1 for points in found.values())
