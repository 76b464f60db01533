"""Drawings hold what they claim to: the shapes and the numbers in them are the model's own."""

import math
import re

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import Circle, FancyArrowPatch
from torch import nn
from torch.distributions import Normal, kl_divergence

from vae_utils import diagrams
from vae_utils.data import binarise
from vae_utils.evaluation import evaluate
from vae_utils.likelihoods import Bernoulli, PixelGaussian
from vae_utils.models import VAE, conv_vae, mlp_vae, paper_vae
from vae_utils.support.alt import alt_text

pytestmark = pytest.mark.usefixtures("no_figure_stays_open")


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(0)
    return binarise(torch.rand(1, 1, 28, 28, generator=generator), generator)


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts if text.get_text()]


def numbers(text):
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+", text.replace("−", "-"))]


def some_vae(latent_size=3):
    torch.manual_seed(0)
    return mlp_vae(latent_size, (16,))


DRAWN = {
    "graphical_model": diagrams.graphical_model,
    "graphical_model, θ random": lambda: diagrams.graphical_model(theta_is_random=True),
    "network": lambda: diagrams.network(paper_vae(20)),
    "network of convolutions": lambda: diagrams.network(conv_vae(20, blocks=(1, 2))),
    "network of many layers": lambda: diagrams.network(mlp_vae(20, range(20, 60))),
    "computation_graphs": diagrams.computation_graphs,
    "bound_over_theta": diagrams.bound_over_theta,
    "digit_through": lambda: diagrams.digit_through(some_vae(), torch.zeros(1, 1, 28, 28)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_drawing_is_said_in_words_and_large_enough_to_read(name):
    figure = DRAWN[name]()
    assert figure.get_label() and alt_text(figure) == figure.get_label()
    assert len(alt_text(figure)) < 200
    assert 8 <= figure.get_figwidth() <= 9
    written = [text for ax in figure.axes for text in (*ax.texts, ax.title, ax.xaxis.label) if text.get_text()]
    written += [label for ax in figure.axes if ax.axison for label in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    assert all(text.get_fontsize() >= diagrams.SMALL for text in written)


@pytest.mark.parametrize("name", [name for name in DRAWN if "many" not in name])
def test_no_words_leave_the_drawing_or_lie_on_others(name):
    figure = DRAWN[name]()
    figure.canvas.draw()
    places = [text.get_window_extent() for ax in figure.axes for text in ax.texts if text.get_text()]
    width, height = figure.canvas.get_width_height()
    assert all(min(p.x0, p.y0) >= 0 and p.x1 <= width and p.y1 <= height for p in places)
    overlaps = [
        (one, other)
        for i, one in enumerate(places)
        for other in places[:i]
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 1 and min(one.y1, other.y1) - max(one.y0, other.y0) > 3
    ]
    assert overlaps == []


# --- the graphical model


@pytest.mark.parametrize("theta_is_random, circles", [(False, {"$z$", "$x$"}), (True, {"$z$", "$x$", "$\\theta$"})])
def test_random_quantities_stand_in_circles(theta_is_random, circles):
    (ax,) = diagrams.graphical_model(theta_is_random).axes
    centres = {tuple(patch.center) for patch in ax.patches if isinstance(patch, Circle)}
    assert {text.get_text() for text in ax.texts if text.get_position() in centres} - {""} == circles


def test_the_frame_holds_x_and_z_and_no_weights():
    (ax,) = diagrams.graphical_model().axes
    frame = ax.patches[0].get_window_extent()
    inside = {text.get_text() for text in ax.texts if frame.contains(*ax.transData.transform(text.get_position()))}
    assert inside == {"$z$", "$x$", "$N$"}


# --- networks


@pytest.mark.parametrize(
    "vae, shapes",
    [
        (paper_vae(20), ["28 × 28", "784", "500", "20", "20", "20", "500", "784", "28 × 28"]),
        (mlp_vae(2, (30, 40)), ["28 × 28", "784", "30", "40", "2", "2", "2", "40", "30", "784", "28 × 28"]),
        (
            conv_vae(8, (16, 24), hidden=50, blocks=(1, 1)),
            [
                "28 × 28",
                "16 × 14 × 14",
                "24 × 7 × 7",
                "50",
                "8",
                "8",
                "8",
                "50",
                "24 × 7 × 7",
                "16 × 14 × 14",
                "28 × 28",
            ],
        ),
        (
            mlp_vae(2, (9,), likelihood=PixelGaussian(), image_shape=(1, 28, 20)),
            ["28 × 20", "560", "9", "2", "2", "2", "9", "1120", "2 × 28 × 20"],
        ),
    ],
    ids=["paper", "mlp", "conv", "frey"],
)
def test_shapes_are_the_models_own(vae, shapes):
    figure = diagrams.network(vae)
    last_lines = [text.split("\n")[-1] for text in texts(figure)]
    assert [line for line in last_lines if re.fullmatch(r"\d+( × \d+)*", line)] == shapes


class Encoder(nn.Module):
    """As a lesson writes it, with a function where others have a module."""

    def __init__(self):
        super().__init__()
        self.hidden, self.output = nn.Linear(784, 11), nn.Linear(11, 4)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x.flatten(1))))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.logits = nn.Linear(2, 13), nn.Linear(13, 784)

    def forward(self, z):
        return self.logits(torch.tanh(self.hidden(z))).unflatten(1, (1, 28, 28))


def test_networks_of_ones_own_are_drawn_and_left_as_they_were(image):
    vae = VAE(Encoder(), Decoder(), Bernoulli(), latent_size=2)
    state = torch.get_rng_state()
    written = texts(diagrams.network(vae, image))
    assert torch.equal(state, torch.get_rng_state())
    assert {"784", "11", "13"} <= set(written)
    assert not any(module._forward_hooks for module in vae.modules())
    counts = [sum(p.numel() for p in half.parameters()) for half in (vae.encoder, vae.decoder)]
    assert [f"{counts[0]:,} weights $\\phi$" in text for text in written].count(True) == 1
    assert [f"{counts[1]:,} weights $\\theta$" in text for text in written].count(True) == 1


def test_networks_without_modules_are_drawn_as_one_arrow():
    class Half(nn.Module):
        def __init__(self, *shape):
            super().__init__()
            self.shape = shape

        def forward(self, h):
            return h.new_zeros(len(h), *self.shape)

    written = texts(diagrams.network(VAE(Half(6), Half(1, 28, 28), None, latent_size=3)))
    assert "$\\mu$\n3" in written and "$z$\n3" in written


def test_transposed_convolutions_are_named():
    vae = conv_vae(2, (4, 4), 8)
    vae.decoder = nn.Sequential(
        nn.Linear(2, 4 * 49), nn.Unflatten(1, (4, 7, 7)), nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 4, 2, 1),
    )  # fmt: skip
    written = texts(diagrams.network(vae))
    assert written.count("transposed\nconv 4×4\nstride 2") == 2 and "4 × 14 × 14" in written


def test_a_hook_that_meets_an_error_is_taken_away():
    vae = some_vae()
    vae.decoder = nn.Sequential(nn.Linear(99, 784))
    with pytest.raises(RuntimeError):
        diagrams.network(vae)
    assert not any(module._forward_hooks for module in vae.modules())


def test_pixels_are_shown_in_their_places(image):
    (ax,) = diagrams.network(some_vae(), image).axes
    above, below = sorted(ax.images, key=lambda drawn: -drawn.get_extent()[2])
    assert torch.equal(torch.as_tensor(above.get_array()), image[0, 0])
    assert below.get_array().min() > 0 and below.get_array().max() < 1


def test_colours_are_drawn_in_colour():
    vae, image = mlp_vae(3, (16,), image_shape=(3, 28, 28), likelihood=PixelGaussian()), torch.rand(1, 3, 28, 28)
    for draw in (diagrams.network, diagrams.digit_through):
        figure = draw(vae, image)
        shown = [drawn.get_array() for ax in figure.axes for drawn in ax.images]
        assert any(len(s.shape) == 3 and abs(s - image[0].movedim(0, -1).numpy()).max() < 1e-6 for s in shown)
    assert any("6 × 28 × 28" in text for text in texts(diagrams.network(vae)))


@pytest.mark.parametrize("draw", [diagrams.network, diagrams.digit_through])
@pytest.mark.parametrize(
    "bad, message",
    [
        (torch.zeros(2, 1, 28, 28), "image was expected to be a batch of one, got 2; images"),
        (torch.zeros(1, 1, 20, 28), "images were expected to be one or more of shape"),
        (torch.full((1, 1, 28, 28), 2.0), "expected"),
    ],
)
def test_other_images_are_refused(draw, bad, message):
    with pytest.raises(ValueError, match=message):
        draw(some_vae(), bad)


# --- computation graphs


def test_the_gradient_reaches_phi_only_where_z_is_computed():
    (ax,) = diagrams.computation_graphs().axes
    gradients = [p for p in ax.patches if isinstance(p, FancyArrowPatch) and _colour(p) == diagrams.VERMILION]
    ends = [p._posA_posB[1] for p in gradients if p.get_linewidth() == 0]  # heads
    phis = [text.get_position() for text in ax.texts if text.get_text() == "$\\phi$"]
    reached = [any(math.dist(phi, end) < 0.25 for end in ends) for phi in sorted(phis)]
    assert reached == [False, True]


def _colour(patch):
    return plt.matplotlib.colors.to_hex(patch.get_edgecolor()).upper()


# --- the bound over θ


def test_the_bounds_lie_below_the_evidence_and_touch_it_where_q_is_the_posterior():
    left, right = diagrams.bound_over_theta().axes
    for ax in left, right:
        curves = {line.get_label(): torch.as_tensor(line.get_xydata()) for line in ax.lines}
        theta, evidence = curves["evidence"].T
        z = torch.linspace(-12, 12, 4801, dtype=torch.float64)
        log_joint = Normal(0.0, 1.0).log_prob(z) + Normal(theta[:, None] * z, 1.0).log_prob(torch.tensor(3.0))
        torch.testing.assert_close(evidence, log_joint.logsumexp(1) + math.log(z[1] - z[0]), rtol=0, atol=1e-9)
        bounds = {label: curve[:, 1] for label, curve in curves.items() if label.startswith("bound")}
        assert len(bounds) == (2 if ax is left else 1)
        for label, bound in bounds.items():
            assert (bound <= evidence + 1e-12).all()
            q = Normal(*torch.tensor(numbers(label)[:2], dtype=torch.float64))
            if "0.71" not in label:  # whose σ is rounded in the label
                log_q = q.log_prob(z)
                expected = ((log_joint - log_q) * log_q.exp()).sum(1) * (z[1] - z[0])
                torch.testing.assert_close(bound, expected, rtol=0, atol=1e-7)
        if ax is left:
            exact = next(bound for label, bound in bounds.items() if "0.71" in label)
            at_one = (theta - 1).abs().argmin()
            assert evidence[at_one] - exact[at_one] < 1e-12
            assert (evidence - exact)[(theta - 1).abs() > 0.1].min() > 1e-5


def test_the_printed_changes_are_the_curves():
    left, right = diagrams.bound_over_theta().axes
    changes = {ax: {t.split("\n")[0]: numbers(t) for t in texts_of(ax) if t.startswith("step")} for ax in (left, right)}

    def evidence(theta):
        return Normal(0.0, math.hypot(theta, 1)).log_prob(torch.tensor(3.0)).item()

    def bound(theta, mean, sigma):
        q = Normal(mean, sigma)
        fit = Normal(theta * mean, 1.0).log_prob(torch.tensor(3.0)) - (theta * sigma) ** 2 / 2
        return (fit - kl_divergence(q, Normal(0.0, 1.0))).item()

    for ax, start, q in ((left, 1.0, (1.5, 0.5**0.5)), (right, 2.4, (1.8, 0.45))):
        end = max(torch.arange(0.5, 3.5, 1e-3).tolist(), key=lambda theta: bound(theta, *q))
        expected = [bound(end, *q) - bound(start, *q), evidence(end) - evidence(start)]
        assert changes[ax]["step in $\\theta$:"] == pytest.approx(expected, abs=0.006)
    rise = bound(1.0, 1.5, 0.5**0.5) - bound(1.0, 0.6, 0.8)
    assert changes[left]["step in $\\phi$:"] == pytest.approx([rise], abs=0.006)
    assert changes[right]["step in $\\theta$:"][1] < 0 < changes[right]["step in $\\theta$:"][0]


def texts_of(ax):
    return [text.get_text() for text in ax.texts]


# --- one image through a model


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("latent_size", [2, 20])
def test_the_numbers_are_those_of_evaluate_and_add_up(image, latent_size, seed):
    vae = some_vae(latent_size)
    (line,) = (text for text in texts(diagrams.digit_through(vae, image, seed)) if "ELBO" in text)
    distortion, rate, total = numbers(line)
    result = evaluate(vae, image, seed=seed, device="cpu")
    assert distortion == pytest.approx(result.distortion.item(), abs=0.06)
    assert rate == pytest.approx(result.rate.item(), abs=0.06)
    assert total == pytest.approx(-result.elbo.item(), abs=0.06)
    assert round(distortion + rate, 4) == total


def test_grey_pixels_are_drawn_as_evaluate_draws_them():
    vae, grey = some_vae(), torch.rand(1, 1, 28, 28)
    (line,) = (text for text in texts(diagrams.digit_through(vae, grey, seed=7)) if "ELBO" in text)
    assert numbers(line)[2] == pytest.approx(-evaluate(vae, grey, seed=7, device="cpu").elbo.item(), abs=0.06)


def test_heat_and_bars_sum_to_distortion_and_rate(image):
    vae = some_vae(20)
    figure = diagrams.digit_through(vae, image)
    panels = {ax.get_title().partition(" ")[0]: ax for ax in figure.axes if ax.get_title()}
    result = evaluate(vae, image, device="cpu")
    assert torch.as_tensor(panels["4"].images[0].get_array()).sum().item() == pytest.approx(result.distortion.item())
    assert sum(bar.get_height() for bar in panels["5"].patches) == pytest.approx(result.rate.item(), rel=1e-5)
    assert len(panels["5"].patches) == 20
    assert torch.equal(torch.as_tensor(panels["1"].images[0].get_array()), image[0, 0])


def test_the_table_is_the_reparameterisation(image):
    vae = some_vae(12)
    written = [t.replace("−", "-") for t in texts(diagrams.digit_through(vae, image))]
    starts = [written.index(name) for name in (diagrams.MU, diagrams.SIGMA, diagrams.EPSILON, diagrams.REPARAMETERISED)]
    mu, sigma, epsilon, z = ([float(t) for t in written[i + 1 : i + 9]] for i in starts)
    assert z == pytest.approx([m + s * e for m, s, e in zip(mu, sigma, epsilon)], abs=0.03)
    q = vae.encode(image).base_dist
    assert mu == pytest.approx(q.loc[0, :8].tolist(), abs=0.006)
    assert sigma == pytest.approx(q.scale[0, :8].tolist(), abs=0.006)
    assert "9" not in written
