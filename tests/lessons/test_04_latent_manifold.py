"""What lesson 04 writes out, and the measures of its comparison of autoencoder and VAE, against known answers."""

import itertools
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vae_utils import evaluation
from vae_utils.classifier import load_classifier
from vae_utils.data import load_mnist
from vae_utils.explore import widgets as explore
from vae_utils.models import load_vae, mlp_vae

from notebook_definitions import definitions

PLANE = ("equal_mass_grid", "slerp", "stroke", "typical", "traversal", "in_units_of_its_codes", "mixture_of")
MAPS = ("neighbours", "pca", "tsne")
AXES = ("random_rotation", "slant", "single_r2", "joint_r2", "digit_share")


@cache
def plane():
    torch.manual_seed(0)
    return mlp_vae(2, (16,)).eval()


@cache
def written_out():
    return definitions("04_latent_manifold", *PLANE, *MAPS, *AXES, vae=plane())


@pytest.fixture(scope="module")
def lesson():
    return written_out()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def digits(request):
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setenv("VAE_DATA", "embedded")
    return load_mnist()


# --- the plane


@pytest.mark.parametrize("n", [1, 2, 20])
def test_equal_mass_grid_is_the_librarys(lesson, n):
    torch.testing.assert_close(lesson.equal_mass_grid(n), evaluation.prior_grid(n))


def test_what_exercise_1_counts():
    """The numbers of its answer: draws in a cell of equal mass, and in two cells of the regular grid."""

    def mass(low, high):
        return (Normal(0.0, 1.0).cdf(torch.tensor(high)) - Normal(0.0, 1.0).cdf(torch.tensor(low))).item()

    assert 200_000 / 400 == 500
    assert pytest.approx(22, abs=0.5) == (500 * (1 - 1 / 400)) ** 0.5
    assert 200_000 * mass(0.0, 0.3) ** 2 == pytest.approx(2780, abs=5)
    assert 200_000 * mass(-3.0, -2.7) ** 2 == pytest.approx(0.9, abs=0.05)


def test_what_exercise_2_finds_along_a_line():
    """Along z2 = 0 the judge is sure of six digits, in this order, and in doubt as long as it says."""
    z1 = torch.linspace(-3, 3, 601)
    pictures = load_vae("manifold").decode(torch.stack([z1, torch.zeros_like(z1)], 1)).mean
    said = load_classifier().probabilities(pictures)
    sure = said.amax(1) >= 0.9
    digits = said.argmax(1)[sure].unique_consecutive().tolist()
    assert digits == [2, 3, 5, 4, 9, 7]
    ends = [z1[sure & (said.argmax(1) == digit)] for digit in digits]
    doubts = [(later.min() - earlier.max()).item() for earlier, later in itertools.pairwise(ends)]
    assert doubts == pytest.approx([0.3, 0.3, 0.05, 0.05, 0.1], abs=0.03)
    assert 8 in said.argmax(1)[(z1 > ends[1].max()) & (z1 < ends[2].min())]
    assert ends[2].max() < 0.13 < ends[3].min()


def test_what_exercise_2_finds_about_slant(lesson):
    """A step to the left leans a 1 to the right, and a 0 to the left."""
    starts = torch.tensor([[0.2, -1.7], [0.1, 1.7]])
    vae = load_vae("manifold")
    before, after = (lesson.slant(vae.decode(z).mean) for z in (starts, starts - torch.tensor([0.2, 0.0])))
    change = after - before
    assert change[0] > 0.03 and change[1] < -0.03


@pytest.mark.parametrize(("z1", "digits"), [(0.0, [0, 6, 3, 5, 8, 7, 1]), (0.2, [0, 2, 4, 7, 1])])
def test_digits_on_the_way_down(z1, digits):
    """Section 2: from z2 = 2 to the 1s."""
    z2 = torch.linspace(2, -2, 401)
    said = load_classifier().probabilities(load_vae("manifold").decode(torch.stack([z2 * 0 + z1, z2], 1)).mean)
    assert said.argmax(1)[said.amax(1) >= 0.9].unique_consecutive().tolist() == digits


def test_regions_of_figure_4():
    """Section 1: the 2 and the 3 have two regions each, every other digit one; crumbs apart."""
    from scipy.ndimage import label

    vae, judge = load_vae("manifold"), load_classifier()
    said = torch.cat(
        [judge.probabilities(vae.decode(z).mean) for z in evaluation.prior_grid(100).view(-1, 2).split(500)]
    )
    digit = said.argmax(1).where(said.amax(1) >= 0.9, -1).view(100, 100)
    for of in range(10):
        parts, _ = label((digit == of).numpy())
        sizes = torch.from_numpy(parts).flatten().bincount()[1:]
        assert (sizes > 50).sum() == (2 if of in (2, 3) else 1)


def test_where_the_drawn_1_lands(lesson):
    """The stand-in on the pad: a 1 that two latents give back as a 9, and 32 as a 1."""
    drawn, judge = lesson.stroke((9.0, 12.0), (15.0, 6.0), (15.0, 23.0)), load_classifier()
    returned = [drawn]
    for name in ("manifold", "mlp"):
        model = load_vae(name)
        returned.append(model.decode(evaluation.posterior_parameters(model, drawn)[0]).mean)
    assert judge.probabilities(torch.cat(returned)).argmax(1).tolist() == [1, 9, 1]


def test_a_stroke_is_ink_along_its_line(lesson):
    image = lesson.stroke((5.0, 10.0), (20.0, 10.0))
    assert image.shape == (1, 1, 28, 28) and image.min() >= 0 and image.max() <= 1
    assert (image[0, 0, 9:12, 5:21] > 0.9).all() and image[0, 0, 10].argmax() <= 5
    assert image[0, 0, :8].sum() == 0 and image[0, 0, 13:].sum() == 0


# --- the autoencoder in other units


def test_an_autoencoder_in_units_of_its_codes_is_the_same_autoencoder(lesson, digits):
    model = plane()
    twin = lesson.in_units_of_its_codes(model, digits.test)
    codes, _ = evaluation.posterior_parameters(twin, digits.test)
    torch.testing.assert_close(codes.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(codes.std(0), torch.ones(2), atol=1e-4, rtol=0)
    x = model.observe(digits.test[:20])
    torch.testing.assert_close(twin.decode(twin.encode(x).mean).mean, model.decode(model.encode(x).mean).mean)
    torch.testing.assert_close(twin.encode(x).stddev, model.encode(x).stddev)
    assert not torch.equal(twin.encode(x).mean, model.encode(x).mean)  # and the model stays as it was


# --- paths

vectors = st.integers(0, 2**31).map(lambda seed: torch.randn(2, 30, generator=torch.Generator().manual_seed(seed)))


@settings(max_examples=50)
@given(vectors, st.floats(0, 1))
def test_slerp_stays_on_the_sphere(pair, t):
    lesson = written_out()
    a, b = (v / v.norm() for v in pair)
    torch.testing.assert_close(lesson.slerp(a, b, torch.tensor(t)).norm(), torch.tensor(1.0))
    angle = torch.arccos((a * b).sum())
    turned = torch.arccos((a * lesson.slerp(a, b, torch.tensor(t))).sum().clamp(-1, 1))
    assert abs(turned - t * angle) < 2e-3  # a constant rate


def test_slerp_begins_and_ends_where_it_should(lesson):
    a, b = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    path = lesson.slerp(a, b, torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(path, torch.stack([a, b]))


def test_typical_is_of_its_class_and_near_its_middle(lesson):
    codes = torch.tensor([[0.0, 0], [1, 0], [2, 0], [1.1, 0]])
    assert lesson.typical(1, codes, torch.tensor([1, 1, 1, 0])) == 1


def test_typical_digits_of_the_explorer_are_the_lessons(lesson, digits):
    codes, _ = evaluation.posterior_parameters(plane(), digits.test[: explore.NUM_SHOWN])
    labels = digits.test_labels[: explore.NUM_SHOWN]
    expected = torch.stack([codes[lesson.typical(digit, codes, labels)] for digit in range(10)])
    shown = explore.LatentExplorer(plane(), data=digits).spec["typical"]
    torch.testing.assert_close(torch.tensor(shown), expected)


def test_a_traversal_moves_one_number(lesson):
    pictures = lesson.traversal(plane(), torch.tensor([0.5, 7.0]), 1, steps=3)
    expected = plane().decode(torch.tensor([[0.5, -3.0], [0.5, 0], [0.5, 3]])).mean
    torch.testing.assert_close(pictures, expected)


# --- axes


def test_random_rotation_keeps_lengths(lesson):
    R = lesson.random_rotation(20, 3)
    torch.testing.assert_close(R @ R.T, torch.eye(20), atol=1e-5, rtol=0)
    assert not torch.allclose(R, lesson.random_rotation(20, 4))


def test_r2_knows_a_factor_from_noise_and_the_joint_one_ignores_rotations(lesson):
    torch.manual_seed(0)
    codes = torch.randn(5000, 4)
    factor = 3 * codes[:, 2] + codes[:, 0] + 1  # variance 9 + 1
    torch.testing.assert_close(lesson.single_r2(codes, factor), torch.tensor([0.1, 0, 0.9, 0]), atol=0.03, rtol=0)
    assert lesson.joint_r2(codes, factor) == pytest.approx(1, abs=1e-6)
    noisy = factor + torch.randn(5000) * 10**0.5
    turned = codes @ lesson.random_rotation(4, 0).T
    assert lesson.joint_r2(codes, noisy) == pytest.approx(0.5, abs=0.03)
    assert lesson.joint_r2(turned, noisy) == pytest.approx(lesson.joint_r2(codes, noisy), abs=1e-5)


def test_digit_share_is_the_variance_between_classes(lesson):
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(2000)
    codes = torch.stack([labels.float(), torch.randn(20_000), labels + torch.randn(20_000) * 8.25**0.5], 1)
    torch.testing.assert_close(lesson.digit_share(codes, labels), torch.tensor([1.0, 0, 0.5]), atol=0.02, rtol=0)


def test_slant_of_drawn_strokes(lesson):
    images = torch.zeros(3, 1, 28, 28)
    for row in range(5, 23):
        images[0, 0, row, 14] = 1  # upright
        images[1, 0, row, 28 - row] = 1  # one pixel to the right for each pixel up: /
        images[2, 0, row, row] = 1  # \
    torch.testing.assert_close(lesson.slant(images), torch.tensor([0.0, 1, -1]))


@pytest.mark.parametrize("size", [2, 5])
def test_cost_of_turning_is_the_kl_of_the_best_diagonal(size):
    """The formula of exercise 5, against the closed-form KL and against neighbours that must be worse."""
    torch.manual_seed(0)
    scale = torch.rand(size).double() + 0.1
    R, _ = torch.linalg.qr(torch.randn(size, size).double())
    turned = MultivariateNormal(torch.zeros(size).double(), R @ torch.diag(scale**2) @ R.T)
    precision = scale.pow(-2) @ (R**2).T

    def cost(variance):
        return kl_divergence(MultivariateNormal(turned.mean, torch.diag(variance)), turned)

    exact = 0.5 * (precision.log() + 2 * scale.log()).sum().item()
    assert cost(1 / precision) == pytest.approx(exact, abs=1e-9)
    assert all(cost(1 / precision * factor) > cost(1 / precision) for factor in (0.9, 1.1))


# --- where codes are


def test_a_mixture_follows_its_codes_where_a_gaussian_does_not(lesson):
    torch.manual_seed(0)
    codes = torch.cat([torch.randn(2000, 2) - 10, torch.randn(2000, 2) + 10])
    gaussian, mixture = MultivariateNormal(codes.mean(0), codes.T.cov()), lesson.mixture_of(codes, parts=4)

    def between(density):
        return (density.sample((500,)).norm(dim=1) < 5).float().mean().item()

    assert between(mixture) == 0 and between(gaussian) > 0.1
    assert mixture.log_prob(codes).mean() > gaussian.log_prob(codes).mean() + 0.5


def test_a_mixture_is_a_density(lesson):
    torch.manual_seed(0)
    mixture = lesson.mixture_of(torch.randn(1000, 2), parts=3)
    ticks = torch.linspace(-6, 6, 121)
    plane = torch.cartesian_prod(ticks, ticks)
    assert mixture.log_prob(plane).exp().sum().item() * 0.01 == pytest.approx(1, abs=1e-3)


# --- maps of many dimensions


def test_pca_is_the_plane_of_largest_variance_and_stretches_no_distance(lesson):
    torch.manual_seed(0)
    points = (torch.randn(300, 5) * torch.tensor([1.0, 5, 0.5, 3, 0.1])).double()
    flat = lesson.pca(points)
    variances = torch.linalg.eigvalsh(points.T.cov()).flip(0)
    torch.testing.assert_close(flat.var(0), variances[:2], rtol=1e-3, atol=0)
    assert (torch.cdist(flat, flat) <= torch.cdist(points, points) + 1e-5).all()


def test_tsne_keeps_groups_apart_and_its_kl_is_as_low_as_scikit_learns(lesson):
    from sklearn.manifold import TSNE

    torch.manual_seed(0)
    groups = torch.arange(3).repeat_interleave(40)
    points = torch.randn(120, 6) + 8 * torch.eye(6)[groups]
    flat = lesson.tsne(points, 20)
    centres = torch.stack([flat[groups == k].mean(0) for k in range(3)])
    assert torch.equal(torch.cdist(flat, centres).argmin(1), groups)
    theirs = TSNE(2, perplexity=20, init="pca", random_state=0, method="exact").fit(points.numpy())
    assert kl_of_map(points, flat, 20) < theirs.kl_divergence_ + 0.1


def test_neighbours_are_as_many_as_the_perplexity(lesson):
    from scipy.spatial.distance import squareform
    from sklearn.manifold._t_sne import _joint_probabilities

    points = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    P = lesson.neighbours(points, 10)
    squared = torch.cdist(points, points).square().fill_diagonal_(0).numpy()
    theirs = torch.tensor(squareform(_joint_probabilities(squared, 10, 0)), dtype=P.dtype)
    torch.testing.assert_close(P, theirs, atol=1e-5, rtol=1e-2)
    assert P.sum().item() == pytest.approx(1, abs=1e-5) and P.diagonal().sum() == 0


def kl_of_map(points, flat, perplexity):
    """KL(P || Q) of t-SNE, P from scikit-learn's own search for the widths."""
    from scipy.spatial.distance import squareform
    from sklearn.manifold._t_sne import _joint_probabilities

    squared = torch.cdist(points, points).square().fill_diagonal_(0).numpy()
    P = torch.tensor(squareform(_joint_probabilities(squared, perplexity, 0)))
    near = (1 / (1 + torch.cdist(flat, flat).square())).fill_diagonal_(0)
    Q = (near / near.sum()).double()
    return torch.special.xlogy(P, P).sum().item() - torch.special.xlogy(P, Q.clamp_min(1e-12)).sum().item()


def test_prior_hole_of_a_known_mismatch():
    """The grid of section 6: an aggregate of one narrow cloud leaves most of the prior a hole."""
    z = torch.tensor([[0.0, 0.0], [1.5, 0.0]])
    log_q = evaluation.aggregate_log_density(torch.zeros(1, 2), torch.full((1, 2), 0.3), z)
    ratio = log_q - Normal(0.0, 1.0).log_prob(z).sum(1)
    assert ratio[0] > 0 and ratio[1] < torch.tensor(0.1).log()
