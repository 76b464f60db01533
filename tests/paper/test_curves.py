"""The paper's own curves: the numbers that are known of them, and ours drawn over them."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vae_utils.paper import curves


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


@pytest.mark.parametrize(
    "panel, curve, samples, nats",
    [
        ("MNIST Nz=20", "AEVB test", 1e6, -123.9),
        ("MNIST Nz=20", "AEVB test", 1e7, -104.8),
        ("MNIST Nz=3", "WS test", 1e7, -144.8),
        ("Frey Nz=10", "AEVB train", 1e7, 1227.0),
    ],
)
def test_paper_curves_pass_through_the_known_points(panel, curve, samples, nats):
    x, y = curves.paper_curves("Fig2", panel)[curve]
    assert (np.diff(x) > 0).all()
    # `nats` are means over a twentieth of a decade; single reports of Frey Face scatter about them by 1%
    share = 0.01 if panel.startswith("Frey") else 0.003
    assert abs(np.interp(math.log(samples), np.log(x), y) - nats) < share * abs(nats)


def test_paper_curves_name_the_panels_there_are():
    with pytest.raises(ValueError, match="MNIST Nz=200.*got .*Nz=4"):
        curves.paper_curves("Fig2", "MNIST Nz=4")
    assert "MCEM test" in curves.paper_curves("Fig3", "MNIST Nz=3 H=100 Ntrain=1000")


def test_a_caller_cannot_change_the_papers_curves():
    curves.paper_curves("Fig2", "MNIST Nz=5")["AEVB test"][1][:] = 0
    assert (curves.paper_curves("Fig2", "MNIST Nz=5")["AEVB test"][1] < -100).all()


def test_paper_curves_are_drawn_with_the_papers_dashes():
    ax = curves.plot_paper_curves(plt.figure().add_subplot(), "MNIST Nz=20", ("AEVB train", "WS test"))
    lines = lines_of(ax)
    train, test = lines["paper, AEVB train"], lines["paper, WS test"]
    assert (train.get_linestyle(), test.get_linestyle()) == ("-", "--")
    assert np.array_equal(test.get_ydata(), curves.paper_curves("Fig2", "MNIST Nz=20")["WS test"][1])
    with pytest.raises(ValueError, match="got 'VAE test'"):
        curves.plot_paper_curves(ax, "MNIST Nz=20", ("VAE test",))


def test_our_curves_lie_over_all_of_the_papers(tmp_path):
    ours = {("Fig3", "MNIST Nz=3 H=100 Ntrain=1000"): {"AEVB test": [(np.array([1e6, 1e7]), np.array([-150.0, -140]))]}}
    panels = [f"MNIST Nz=3 H=100 Ntrain={size}" for size in (1000, 50_000)]
    figure = curves.plot_figure("Fig3", panels, ours, y_limits=(-165, -105))
    for ax, panel in zip(figure.axes, panels):
        paper = curves.paper_curves("Fig3", panel)
        broad = [line for line in ax.lines if line.get_linewidth() == curves.BROAD["test"]["linewidth"]]
        assert len(broad) == len(paper) == 6  # three methods, train and test
        for line in broad:
            style = {"-": "train", "--": "test"}[line.get_linestyle()]
            method = next(name for name, colour in curves.METHOD_COLOURS.items() if colour == line.get_color())
            theirs = {*zip(*paper[f"{method} {style}"])}
            assert {*zip(line.get_xdata(), line.get_ydata())} <= theirs and line.get_ydata()[-1] in max(theirs)
            gaps = np.diff(np.log10(line.get_xdata()))
            assert gaps[:-1].min() > 1e-3 and gaps.max() < 0.3 * np.log10(100)
            # a grey print has no colours: a mark has to say which method it is, but not close the gaps of a test curve
            assert line.get_marker() == curves.METHOD_MARKERS[method] and line.get_markersize() > 7
            assert len(line.get_markevery()) == 1
        assert ax.get_xscale() == "log"
    thin = [line for line in figure.axes[0].lines if line.get_linewidth() < 3]
    assert [line.get_ydata().tolist() for line in thin] == [[-150.0, -140.0]] and not figure.axes[1].lines[6:]
    legend = [
        "AEVB",
        "Monte Carlo EM",
        "wake-sleep",
        "ours, train",
        "ours, test",
        "the paper's, train",
        "the paper's, test",
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == legend
    looks = [(line.get_linestyle(), line.get_linewidth()) for line in figure.legends[0].get_lines()[3:]]
    assert len({*looks}) == 4
    with pytest.raises(ValueError, match="the panel was expected to be one of the paper's"):
        curves.plot_over_paper(figure.axes[0], "Fig3", "no panel", {})


def test_several_seeds_are_a_line_and_a_band_as_far_as_all_go():
    first = np.array([1e5, 1e6, 1e7]), np.array([-150.0, -130, -110])
    other = np.array([1e5, 1e6]), np.array([-154.0, -126])
    panel = "MNIST Nz=20"
    ours = {("Fig2", panel): {"AEVB test": [first, other], "WS test": [first]}}
    figure = curves.plot_figure("Fig2", [panel], ours)
    (band,) = figure.axes[0].collections
    corners = {(1e5, -150), (1e5, -154), (1e6, -130), (1e6, -126)}
    assert {tuple(corner) for corner in band.get_paths()[0].vertices} == corners
    assert "ours, all seeds" in [text.get_text() for text in figure.legends[0].get_texts()]
    thin = [line for line in figure.axes[0].lines if line.get_linewidth() < 3]
    assert [line.get_ydata().tolist() for line in thin] == 2 * [first[1].tolist()]


def test_no_line_leads_to_our_first_report_within_the_axes_from_one_outside():
    far, near = np.array([100.0, 1e6, 1e7]), np.array([100.0, 200.0])
    ours = {("Fig2", "MNIST Nz=3"): {"AEVB test": [(far, far), (near, near)], "WS test": [(near, near)]}}
    ax, *_ = curves.plot_figure("Fig2", ["MNIST Nz=3"], ours, x_limits=(1e5, 3e8)).axes
    thin = [line for line in ax.get_lines() if line.get_linewidth() < 3]
    assert [line.get_xdata().tolist() for line in thin] == [[1e6, 1e7]]
    plt.close("all")
