"""Pictures hold what they claim to: pixels in the right place, curves with the right dash."""

import io
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal

from vae_utils import figures
from vae_utils.evaluation import manifold, prior_grid
from vae_utils.models import VAE, mlp_vae
from vae_utils.training import History, Report

pytestmark = pytest.mark.usefixtures("no_figure_stays_open")


@pytest.fixture
def images():
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("backend", [None, "Agg", "TkAgg"])
def test_figures_appear_below_their_cells_whatever_backend_the_environment_names(backend, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    if backend:
        monkeypatch.setenv("MPLBACKEND", backend)
    style = new_code_cell("from vae_utils import use_style\nuse_style()")
    plot = new_code_cell("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    notebook = new_notebook(cells=[style, plot])
    NotebookClient(notebook, timeout=120).execute()
    assert any("image/png" in output.get("data", {}) for output in notebook.cells[1].outputs)


def ink(image):
    """What one image [1, H, W] should look like: an oracle apart from the library's code."""
    return np.rint(255 - 255 * image[0].double().numpy())


class Plane(VAE):
    """A model whose mean image spells out its code: pixel (0, 0) is the quantile of z1, (0, 1) that of z2."""

    def __init__(self):
        super().__init__(nn.Identity(), nn.Identity(), None, 2)

    def decode(self, z):
        mean = torch.zeros(*z.shape[:-1], 1, 28, 28)
        mean[..., 0, 0, :2] = Normal(0.0, 1.0).cdf(z)
        return Independent(Bernoulli(probs=mean), 3)


def history(offset=0.0, test=True):
    reports = []
    for n, elbo in ((1000, offset - 200), (2000, offset - 150), (3000, offset - 120)):
        columns = dict(train_elbo=elbo, train_rate=20.0, train_distortion=-elbo - 20)
        columns |= dict(test_elbo=elbo + 5, test_rate=21.0) if test else {}
        reports.append(Report(samples=n, epochs=n / 1000, seconds=n / 500, **columns))
    return History(reports)


# Walls of images


def test_wall_places_each_image_at_its_row_and_column(images):
    wall = figures.image_wall(images, columns=3, gap=2)
    assert wall.dtype == np.uint8 and wall.shape == (2 * 28 + 2, 3 * 28 + 2 * 2)
    for i, image in enumerate(images):
        top, left = i // 3 * 30, i % 3 * 30
        assert np.abs(wall[top : top + 28, left : left + 28] - ink(image)).max() <= 1
    assert (wall[28:30] == figures.GAP_GREY).all() and (wall[:, 28:30] == figures.GAP_GREY).all()


def test_wall_is_ink_on_paper():
    black_then_white = torch.stack([torch.ones(1, 28, 28), torch.zeros(1, 28, 28)])
    wall = figures.image_wall(black_then_white, columns=2, gap=0)
    assert (wall[:, :28] == 0).all() and (wall[:, 28:] == 255).all()


def test_wall_of_a_grid_is_the_grid(images):
    grid = images.reshape(2, 3, 1, 28, 28)
    assert np.array_equal(figures.image_wall(grid), figures.image_wall(images, columns=3))


@pytest.mark.parametrize("n, shape", [(1, (1, 1)), (4, (2, 2)), (5, (2, 3)), (6, (2, 3))])
def test_wall_is_about_square_and_fills_up_with_white(images, n, shape):
    wall = figures.image_wall(images[:n], gap=0)
    assert wall.shape == (shape[0] * 28, shape[1] * 28)
    if n == 5:
        assert (wall[28:, 56:] == 255).all()


def test_wall_enlarges_images_but_not_the_gap(images):
    wall = figures.image_wall(images[:2], columns=2, gap=1, scale=3)
    assert wall.shape == (84, 84 + 1 + 84)
    small = figures.image_wall(images[:2], columns=2, gap=1)
    assert np.array_equal(wall[:, 85:][::3, 2::3], small[:, 29:])
    assert np.array_equal(wall[:, :84][1::3, 1::3], small[:, :28])


def test_wall_takes_images_that_carry_a_gradient_or_leave_the_unit_interval_a_little():
    wall = figures.image_wall(torch.tensor([-0.3, 1.4]).view(2, 1, 1, 1).requires_grad_(), columns=2, gap=0)
    assert wall.tolist() == [[255, 0]]


def test_colours_are_shown_as_they_are():
    """Red beside a half-bright green; below them white, where no image is left."""
    images = torch.zeros(3, 3, 2, 2)
    images[0, 0], images[1, 1], images[2] = 1, 0.5, 1
    wall = figures.image_wall(images, columns=2, gap=1, scale=2)
    assert wall.shape == (9, 9, 3)
    assert wall[0, 0].tolist() == [255, 0, 0] and wall[3, 8].tolist() == [0, 128, 0]
    assert (wall[5:] == 255)[:, :4].all() and (wall[4] == figures.GAP_GREY).all()
    figure = figures.show_images({"grey": images[:, :1], "in colour": images})
    grey, coloured = (ax.images[0].get_array() for ax in figure.axes)
    assert grey.ndim == 2 and coloured.shape[2] == 3


@pytest.mark.parametrize(
    "bad, message",
    [
        (torch.zeros(10, dtype=torch.int64), "labels"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "divide bytes by 255"),
        (torch.full((2, 1, 28, 28), 255.0), "divide 8-bit images by 255"),
        (torch.full((2, 1, 28, 28), math.nan), r"in \[0, 1\]"),
        (torch.zeros(0, 1, 28, 28), "one or more"),
        (torch.zeros(28, 28), r"\[28, 28\]"),
        (torch.zeros(2, 2, 28, 28), r"\[2, 2, 28, 28\]"),
        ([[0.0]], "a list"),
    ],
)
def test_wall_says_what_is_wrong_with_images(bad, message):
    with pytest.raises(ValueError, match=message):
        figures.image_wall(bad)


@pytest.mark.parametrize("setting", [{"columns": 0}, {"gap": -1}, {"scale": 0}, {"scale": 1.5}])
def test_wall_says_which_setting_is_wrong(images, setting):
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name} (was|were) expected .* got {value}"):
        figures.image_wall(images, **setting)


def test_columns_of_a_grid_are_not_negotiable(images):
    with pytest.raises(ValueError, match="placed in 3 columns already, got 2; leave it out"):
        figures.image_wall(images.reshape(2, 3, 1, 28, 28), columns=2)


# Files and bytes


def test_figure_png_takes_the_figure_away_from_pyplot():
    figure = plt.figure(figsize=(3, 2), dpi=100)
    assert Image.open(io.BytesIO(figures.figure_png(figure))).size == (300, 200)
    assert not plt.get_fignums()
    assert figures.figure_png(figure)  # and can do so again


# Rows of images


def test_rows_are_labelled_and_each_is_one_picture(images):
    figure = figures.show_images({"image": images, "mean": 1 - images}, title="Two rows")
    first, second = figure.axes
    assert (first.get_ylabel(), second.get_ylabel()) == ("image", "mean")
    shown = second.images[0]
    assert np.array_equal(shown.get_array(), figures.image_wall(1 - images, columns=6))
    assert shown.get_clim() == (0, 255) and shown.get_cmap().name == "gray"


def test_rows_must_agree(images):
    with pytest.raises(ValueError, match="6 in 'image', 2 in 'mean'"):
        figures.show_images({"image": images, "mean": images[:2]})
    with pytest.raises(ValueError, match="rows were expected to hold one row"):
        figures.show_images({})


# What a model imagines


@pytest.mark.parametrize("n", [1, 2, 7])
def test_prior_grid_is_the_inverse_cdf_of_even_steps(n):
    grid = prior_grid(n)
    assert grid.shape == (n, n, 2)
    back = Normal(0.0, 1.0).cdf(grid)
    steps = (torch.arange(n) + 0.5) / n
    assert torch.allclose(back[..., 0], steps.expand(n, n), atol=1e-6)  # z1 grows to the right
    assert torch.allclose(back[..., 1], steps.flip(0)[:, None].expand(n, n), atol=1e-6)  # z2 upwards


def test_manifold_shows_each_code_where_its_axes_say():
    images = manifold(Plane(), n=4)
    assert images.shape == (4, 4, 1, 28, 28)
    assert torch.allclose(images[3, 0, 0, 0, :2], torch.tensor([0.125, 0.125]))  # lower left: both low
    assert torch.allclose(images[0, 1, 0, 0, :2], torch.tensor([0.375, 0.875]))

    figure = figures.show_manifold(Plane(), n=4)
    (ax,) = figure.axes
    shown = ax.images[0]
    left, right, bottom, top = shown.get_extent()
    assert (left, right, bottom, top) == (0, 1, 0, 1) and shown.origin == "upper"  # so row 0 is z2 near 1
    scale = shown.get_array().shape[0] // (4 * 28)
    corner = shown.get_array()[::scale, ::scale]
    assert abs(int(corner[0, 28]) - 255 * (1 - 0.375)) < 4  # a grey step is 5
    position = ax.get_window_extent()
    assert (round(position.width), round(position.height)) == shown.get_array().shape


def test_manifold_runs_on_a_real_model_and_only_on_a_plane():
    torch.manual_seed(0)
    vae = mlp_vae(2, hidden=(8,))
    images = manifold(vae, n=3)
    assert not images.requires_grad
    assert torch.allclose(images[1, 1], vae.decode(torch.zeros(1, 2)).mean[0])  # the middle is z = 0
    with pytest.raises(ValueError, match="latent_size was expected to be 2.*got 3"):
        manifold(mlp_vae(3, hidden=(8,)))
    with pytest.raises(ValueError, match="n was expected"):
        manifold(vae, n=0)


def test_samples_are_draws_from_the_means_above_them():
    figure = figures.show_samples(Plane(), n=5, seed=3)
    means, draws = (ax.images[0].get_array() for ax in figure.axes)
    assert set(np.unique(draws)) <= {0, 255, figures.GAP_GREY}
    assert (draws[means == 255] == 255).all()  # where the mean is 0, no draw has ink
    again = figures.show_samples(Plane(), n=5, seed=3)
    other = figures.show_samples(Plane(), n=5, seed=4)
    assert np.array_equal(again.axes[1].images[0].get_array(), draws)
    assert not np.array_equal(other.axes[0].images[0].get_array(), means)


def test_scatter_shows_every_code_once_and_each_digit_at_its_median():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2 * 7  # zeros and sevens
    codes = torch.randn(200, 2, generator=generator) + labels[:, None]
    ax = figures.scatter_codes(codes, labels, sigmas=(1, 2))
    drawn = np.concatenate([points.get_offsets() for points in ax.collections])
    assert np.array_equal(np.sort(drawn, axis=0), np.sort(codes.numpy(), axis=0))
    glyphs = {text.get_text(): text.get_position() for text in ax.texts}
    for digit in (0, 7):
        assert np.allclose(glyphs[str(digit)], np.median(codes[labels == digit].numpy(), axis=0))
    assert [circle.radius for circle in ax.patches] == [1, 2]


def test_digits_of_classes_on_one_spot_stay_readable_and_others_stay_put():
    points = np.array([[0.0, 0.0], [0.01, 0.0], [0.0, 0.02], [5.0, 5.0]])
    moved = figures._apart(points, 1.0)
    distances = np.linalg.norm(moved[:, None] - moved, axis=-1)[~np.eye(4, dtype=bool)]
    assert distances.min() > 0.95
    assert np.array_equal(moved[3], points[3]) and np.allclose(moved[:3].mean(0), points[:3].mean(0))


@pytest.mark.parametrize(
    "codes, labels, message",
    [
        (torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), "pick two dimensions"),
        (torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64), r"\[4, 2\] and \[3\]"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), r"\[0, 2\]"),
        (torch.zeros(4, 2), torch.full((4,), 10), "digits from 0 to 9, got values from 10"),
    ],
)
def test_scatter_says_what_is_wrong(codes, labels, message):
    with pytest.raises(ValueError, match=message):
        figures.scatter_codes(codes, labels)


def test_ten_digits_have_ten_colours_and_ten_markers():
    assert len(set(figures.DIGIT_COLOURS)) == len(set(figures.DIGIT_MARKERS)) == 10


# Curves


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_history_draws_train_solid_and_test_dashed():
    lines = lines_of(figures.plot_history({"MLP": history(), "conv": history(offset=10)}, x="epochs"))
    assert set(lines) == {"MLP, train", "MLP, test", "conv, train", "conv, test"}
    assert lines["conv, test"].get_xydata().tolist() == [[1, -185], [2, -135], [3, -105]]
    assert {lines[f"{name}, train"].get_linestyle() for name in ("MLP", "conv")} == {"-"}
    assert {lines[f"{name}, test"].get_linestyle() for name in ("MLP", "conv")} == {"--"}
    assert lines["MLP, train"].get_color() == lines["MLP, test"].get_color()
    assert lines["MLP, train"].get_color() != lines["conv, train"].get_color()
    assert lines["MLP, train"].get_marker() != lines["conv, train"].get_marker()


def test_history_without_test_images_has_one_curve():
    ax = figures.plot_history(history(test=False), log_x=True)
    assert list(lines_of(ax)) == ["train"]
    assert ax.get_xscale() == "log" and "nats" in ax.get_ylabel() and "images" in ax.get_xlabel()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"y": "loss"}, "y was expected .*got 'loss'"),
        ({"x": "steps"}, "x was expected .*got 'steps'"),
        ({"histories": History()}, "train first"),
        ({"histories": {}}, "train first"),
        ({"histories": [1.0, 2.0]}, "got a list"),
    ],
)
def test_history_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.plot_history(**{"histories": history(), **arguments})


def test_rate_distortion_orders_by_rate_and_marks_the_best_elbo():
    points = {"β = 10": (5.0, 140.0), "β = 0.1": (70.0, torch.tensor(52.0)), "β = 1": (26.0, 72.0)}
    ax = figures.rate_distortion(points)
    curve = ax.get_lines()[0]
    assert curve.get_xydata().tolist() == [[5, 140], [26, 72], [70, 52]]
    assert {text.get_text(): text.xy for text in ax.texts} == points
    assert "98.0" in ax.get_legend().get_texts()[0].get_text()
    with pytest.raises(ValueError, match="points were expected to hold one or more"):
        figures.rate_distortion({})


def test_style_is_legible_and_told_apart_without_colour():
    with plt.rc_context():
        figures.use_style()
        sizes = [plt.rcParams[f"{part}.labelsize"] for part in ("axes", "xtick", "ytick")]
        assert min(*sizes, plt.rcParams["font.size"], plt.rcParams["legend.fontsize"]) >= 12
        cycle = list(plt.rcParams["axes.prop_cycle"])
    assert {entry["color"] for entry in cycle} <= set(figures.COLOURS.values())
    assert all(a["linestyle"] != b["linestyle"] for a, b in itertools.pairwise(cycle))


def test_no_function_shows_a_window(monkeypatch, images):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("plt.show() was called"))
    figures.show_images({"image": images})
    figures.show_samples(Plane(), n=2)
    figures.plot_history(history())
    figures.rate_distortion({"one": (1, 2)})
