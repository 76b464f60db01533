"""What is read from the paper's lines, on lines that we have drawn ourselves and know."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vae_utils.paper import vertices
from vae_utils.paper.curves import paper_curves

LEVEL = -543.4  # 784 log 2: a model before its first step, on MNIST


def drawn(samples, nats, *, x_limits=(1e5, 3e8), y_limits=(-150, -95)):
    """The vertices of a line as a PDF keeps them: cut at the page, straight stretches without their inner points."""
    figure, ax = plt.subplots(figsize=(8, 6))
    (line,) = ax.plot(samples, nats)
    ax.set(xscale="log", xlim=x_limits, ylim=y_limits)
    figure.canvas.draw()
    width, height = figure.bbox.size
    on_page = line.get_transform().transform_path(line.get_path())
    path = on_page.cleaned(clip=(0, 0, width, height), simplify=True)
    inside = path.vertices[path.codes != path.STOP]
    plt.close(figure)
    return ax.transData.inverted().transform(inside)


def training(first, apart=240_000, count=400, level=LEVEL):
    """Reports of a loop that reports after its first step, of `first` images: samples, nats."""
    samples = first + apart * np.arange(count)
    nats = -100 - 60 * (samples / 2e5) ** -0.4
    return samples, np.where(samples == first, level, nats)


def read(line):
    return vertices.first_report(line.runs[0][0], line.entry, LEVEL)


@pytest.mark.parametrize("batch_size", [50, 100, 500, 1000])
def test_a_known_minibatch_is_read_where_the_axes_do_not_show_it(batch_size):
    line = vertices.take_apart(drawn(*training(batch_size)))
    assert line.entry[0] > 10 * batch_size and line.curve[0, 0] == pytest.approx(240_000 + batch_size, rel=1e-3)
    assert read(line) == pytest.approx(batch_size, rel=0.01)
    assert vertices.round_number(read(line)) == batch_size


def test_a_wrong_minibatch_is_told_apart():
    """100 and 200 are not confused, nor is a loop that had learned something before it first reported."""
    readings = [read(vertices.take_apart(drawn(*training(size)))) for size in (100, 200)]
    assert [vertices.round_number(reading) for reading in readings] == [100, 200]
    late = read(vertices.take_apart(drawn(*training(100, level=-300.0))))
    assert late < 1 and vertices.round_number(late) != 100


def test_a_line_that_jumps_back_is_of_two_runs():
    trial, whole = training(100, count=5), training(100, apart=250_000)
    line = vertices.take_apart(drawn(*(np.concatenate(parts) for parts in zip(trial, whole, strict=True))))
    assert len(line.runs) == 2 and len(line.runs[0]) == 4 and line.curve[0, 0] == pytest.approx(250_100, rel=1e-3)
    ((last, cut),) = line.returns
    assert last[0] == pytest.approx(960_100, rel=1e-3)
    assert vertices.first_report(last, cut, LEVEL) == pytest.approx(100, rel=0.01)


def test_what_is_left_of_a_line_is_that_line():
    samples, nats = training(100)
    left = vertices.take_apart(drawn(samples, nats)).curve
    between = np.interp(np.log(samples[1:]), np.log(left[:, 0]), left[:, 1])
    assert len(left) < len(samples) and abs(between - nats[1:]).max() < 0.2


@pytest.mark.parametrize("passes", [5, 12, 15])
def test_reports_on_a_grid_have_its_unit(passes):
    generator = np.random.default_rng(0)
    multiples = np.cumsum(generator.integers(11, 16, 12))
    samples = passes * 1000.0 * multiples * (1 + 5e-5)  # as the axis is read
    assert vertices.largest_unit(samples, 1000) == passes
    assert vertices.off_the_grid(samples, passes * 1000).max() < 0.02
    assert vertices.off_the_grid(samples, 17_000).max() > 0.3


def test_reports_on_no_grid_have_no_unit():
    samples = np.random.default_rng(0).uniform(1e5, 4e6, 30)
    assert vertices.largest_unit(samples, 1000) is None
    assert vertices.off_the_grid(samples, 15_000).max() > 0.4


def test_distances_that_follow_from_others_are_not_counted():
    even = 15_000.0 * np.array([35, 37, 39, 43, 45])
    assert vertices.free_steps(even, 15_000) == 2  # the first, and 2
    assert vertices.free_steps(15_000.0 * np.array([13, 27, 41, 56]), 15_000) == 3  # 13, 14, 15


@pytest.mark.parametrize("value, expected", [(100.7, 100), (498, 500), (506.9, 500), (1.2, 1), (1500, 2000)])
def test_a_round_number_is_the_nearest_in_the_logarithm(value, expected):
    assert vertices.round_number(value) == expected


def test_what_is_no_line_from_below_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected to enter the axes from below, got one that begins at 0"):
        vertices.take_apart(np.array([[1.0, 0.0], [2.0, -1.0]]))
    with pytest.raises(ValueError, match="to have a slope, got a horizontal one"):
        vertices.first_report(np.array([2.0, 1.0]), np.array([1.0, 1.0]), LEVEL)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other.csv: the columns were expected to be figure, panel"):
        vertices.read_vertices(tmp_path / "other.csv")


def test_the_stored_curves_are_those_of_the_stored_vertices():
    for (figure, panel, curve), points in vertices.read_vertices().items():
        samples, nats = paper_curves(figure, panel)[curve]
        expected = vertices.take_apart(points).curve
        assert (np.diff(samples) > 0).all()
        assert np.array_equal(samples, expected[:, 0]) and np.array_equal(nats, expected[:, 1])
        assert math.isfinite(nats.sum())
