"""What the interactive pieces compute in Python; test_browser.py drives them in a browser."""

import base64
import io
import math
from functools import partial
from types import SimpleNamespace

import IPython
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.distributions import Normal, kl_divergence

from vae_utils.data import MNIST
from vae_utils.evaluation import posterior_parameters
from vae_utils.explore import widgets
from vae_utils.explore.widgets import FramePlayer, GapExplorer, LatentExplorer, _made_in_cell
from vae_utils.likelihoods import Gaussian, PixelGaussian
from vae_utils.models import VAE, mlp_vae, paper_vae

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return mlp_vae(2, (16,)).eval()


@pytest.fixture(scope="module")
def mnist():
    generator = torch.Generator().manual_seed(1)  # not that of the fixed draw of pixels
    images = torch.rand(40, 1, 28, 28, generator=generator)
    labels = torch.arange(40) % 10
    return MNIST(images, labels, images, labels, "embedded", False)


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)))


# --- what is decoded


@pytest.mark.parametrize("z1", [-40, -3, -0.01, 0, 1, 40])
@pytest.mark.parametrize("z2", [-40, 0, 2.5, 40])
def test_every_position_has_the_decoders_picture(vae, z1, z2):
    (shown,) = LatentExplorer(vae).pictures([z1, z2])
    with torch.no_grad():
        mean = vae.decode(torch.tensor([z1, z2], dtype=torch.float32)).mean[0]
    assert shown.dtype == np.uint8 and shown.shape == (28, 28)
    assert abs(shown - (255 - (255 * mean).round()).numpy()).max() <= 1


@pytest.mark.parametrize("light", [False, True])
def test_pictures_of_another_shape_and_light_ones(light):
    torch.manual_seed(0)
    faces = paper_vae(2, 8, std=1.0, likelihood=PixelGaussian(), image_shape=(1, 28, 20))
    explorer = LatentExplorer(faces, light=light)
    with torch.no_grad():
        mean = faces.decode(torch.tensor([[0.5, -1.0]])).mean[0, 0]
    (shown,) = explorer.pictures([0.5, -1.0])
    assert shown.shape == (28, 20)
    assert abs(shown / 255 - (mean if light else 1 - mean).numpy()).max() < 0.51 / 255
    assert explorer.spec["size"] == [28, 20] and explorer.spec["light"] == light
    assert explorer.spec["where"].startswith("Decoded in this page")
    explorer.still()


@pytest.fixture(scope="module")
def own():
    """As `own.folder.image_folder(classes=True)` returns it, of images in colour."""
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(30, 3, 16, 12, generator=generator), torch.arange(30) % 3
    return SimpleNamespace(test=images, test_labels=labels, classes=("ant", "bee", "cat"))


@pytest.mark.parametrize("likelihood", [PixelGaussian(), Gaussian()])
def test_colours_are_shown_as_they_are(likelihood, own):
    torch.manual_seed(0)
    vae = mlp_vae(2, (16,), likelihood=likelihood, image_shape=(3, 16, 12))
    explorer = LatentExplorer(vae, data=own)
    (shown,) = explorer.pictures([0.5, -1.0])
    with torch.no_grad():
        mean = vae.decode(torch.tensor([0.5, -1.0])).mean.movedim(0, -1).clamp(0, 1)
    assert shown.shape == (16, 12, 3) and abs(shown / 255 - mean.numpy()).max() < 0.51 / 255
    assert explorer.spec["channels"] == 3 and explorer.spec["light"] and not explorer.spec["conditional"]
    assert explorer.spec["class_names"] == ["ant", "bee", "cat"]
    assert explorer.spec["where"].startswith("Decoded in this page") and len(explorer.images) == 30 * 3 * 16 * 12
    assert picture(explorer.still()).ndim == 3


@pytest.mark.parametrize("latent_size", [2, 3])
def test_a_conditional_model_is_shown_at_its_class(latent_size, own):
    torch.manual_seed(0)
    vae = mlp_vae(latent_size, (16,), image_shape=(3, 16, 12), classes=3)
    explorer, z = LatentExplorer(vae, data=own, c=1), [0.3] * latent_size
    assert explorer.spec["conditional"] and explorer.spec["steps"][0][0]["op"] == "linear"
    for c in range(3):
        explorer.c = c
        with torch.no_grad():
            mean = vae.given(c).decode(torch.tensor(z)).mean.movedim(0, -1)
        assert abs(explorer.pictures(z)[0] / 255 - mean.numpy()).max() < 0.51 / 255
        explorer.still()
    codes = torch.frombuffer(bytearray(explorer.codes[0]), dtype=torch.float32).view(30, latent_size)
    torch.testing.assert_close(codes, posterior_parameters(vae.given(own.test_labels), own.test)[0])
    assert LatentExplorer(vae).spec["class_names"] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="c was expected to be from 0 to 2, got 3"):
        explorer.c = 3


@pytest.mark.parametrize("z", [[], [0.0], [0.0, 0, 0], [math.nan, 0], [0, math.inf], [0, -math.inf]])
def test_a_position_that_is_none_is_refused(vae, z):
    explorer = LatentExplorer(vae)
    attempts = partial(explorer.pictures, z), partial(setattr, explorer, "z", z), partial(LatentExplorer, vae, z=z)
    for attempt in attempts:
        with pytest.raises(ValueError, match="2 finite numbers"):
            attempt()
    assert explorer.z == [0, 0]


def test_two_models_are_decoded_at_the_same_z(vae):
    other = mlp_vae(2, (8,)).eval()
    both = LatentExplorer({"one": vae, "other": other}).pictures([0.3, -1])
    assert (both[0] == LatentExplorer(vae).pictures([0.3, -1])[0]).all()
    assert (both[1] == LatentExplorer(other).pictures([0.3, -1])[0]).all()


def test_models_of_another_precision_are_decoded_and_stay_as_they_are(vae, mnist):
    double = mlp_vae(2, (16,)).double().train()
    double.load_state_dict(vae.state_dict())
    explorer = LatentExplorer(double, data=mnist)
    assert (explorer.pictures([1, 1])[0] == LatentExplorer(vae).pictures([1, 1])[0]).all()
    assert double.training and double.prior.mean.dtype == torch.float64


def test_lesson_01s_default_precision_changes_nothing(vae, mnist):
    torch.set_default_dtype(torch.float64)
    try:
        double = mlp_vae(2, (16,))
        double.load_state_dict(vae.state_dict())
        shown = LatentExplorer(double, data=mnist)
        shown.still()
    finally:
        torch.set_default_dtype(torch.float32)
    assert (shown.pictures([1, -1])[0] == LatentExplorer(vae).pictures([1, -1])[0]).all()


class Noted(nn.Module):
    """Counts its calls in training: a model must not learn from being looked at."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.layer = nn.Linear(2, 784)

    def forward(self, z):
        return self.layer(self.norm(z))


def test_looking_does_not_change_a_model_in_training():
    model = VAE(nn.Identity(), Noted(), None, 2).train()
    explorer = LatentExplorer(model)
    explorer.pictures([0.5, 0.5])
    explorer.still()
    assert "BatchNorm1d" in explorer.spec["where"] and model.training
    assert model.decoder.norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    "models, data, sentence",
    [
        ({}, None, "to be a VAE or a dict"),
        (nn.Linear(2, 2), None, "got Linear"),
        ({"a": mlp_vae(2, (4,)), "b": mlp_vae(3, (4,))}, None, "same number of latents"),
        ({"a": mlp_vae(2, (4,)), "b": mlp_vae(2, (4,), image_shape=(1, 28, 20))}, None, "images of one shape, got"),
        (mlp_vae(2, (4,)), torch.rand(3, 1, 28, 28), "load_mnist"),
        (mlp_vae(2, (4,)), SimpleNamespace(test=torch.rand(3, 1, 28, 28), test_labels=None), "no labels; leave it out"),
        (mlp_vae(2, (4,), image_shape=(2, 8, 8)), None, "grey images or images of three channels"),
        ({"a": mlp_vae(2, (4,)), "b": mlp_vae(2, (4,), classes=3)}, None, "same number of classes"),
        (
            mlp_vae(2, (4,)),
            SimpleNamespace(test=torch.rand(3, 1, 28, 28), test_labels=torch.tensor([0, 4, 10])),
            "at most ten classes, got 10",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(models, data, sentence):
    with pytest.raises(ValueError, match=sentence):
        LatentExplorer(models, data)


# --- what the page is told


def test_the_page_gets_half_precision_weights_and_the_reader_is_told(vae):
    explorer = LatentExplorer(vae)
    (weights,) = explorer.weights
    assert len(weights) == 2 * sum(parameter.numel() for parameter in vae.decoder.parameters())
    assert "in this page" in explorer.spec["where"] and "0.0 MB" in explorer.spec["where"]


class Loud(nn.Module):
    """A decoder that no list of layers can say."""

    def forward(self, z):
        if z[0, 0] > 1:
            raise ArithmeticError("too far to the right")
        return z.sum(1, keepdim=True).expand(-1, 784)


@pytest.fixture
def answers(monkeypatch):
    """An explorer whose decoder stays in the kernel, and what it sends."""
    explorer = LatentExplorer(VAE(nn.Identity(), Loud(), None, 2))
    sent = []
    monkeypatch.setattr(LatentExplorer, "send", lambda self, content, buffers=None: sent.append((content, buffers)))
    return explorer, sent


def test_a_decoder_that_cannot_leave_answers_from_the_kernel(answers):
    explorer, sent = answers
    assert explorer.weights == [] and "by the kernel, because its network" in explorer.spec["where"]
    explorer._answer(explorer, {"z": [0.5, 0.5], "c": 0}, [])
    ((content, (pixels,)),) = sent
    assert content == {"z": [0.5, 0.5], "c": 0}
    assert pixels == bytes([255 - round(255 * torch.tensor(1.0).sigmoid().item())] * 784)


@pytest.mark.parametrize(
    "question, words",
    [
        ({"z": [2.0, 0]}, "ArithmeticError: too far to the right"),
        ({"z": [1.0]}, "ValueError: a position"),
        ({"z": [None, 0]}, "Error"),
        ({}, "KeyError"),
    ],
)
def test_an_exception_reaches_the_reader(answers, question, words):
    explorer, sent = answers
    explorer._answer(explorer, question | {"c": 0}, [])
    ((content, buffers),) = sent
    assert words in content["error"] and buffers is None


def test_codes_images_and_typical_digits_are_those_of_the_data(vae, mnist):
    explorer = LatentExplorer(vae, data=mnist)
    codes = np.frombuffer(explorer.codes[0], np.float32).reshape(-1, 2)
    assert len(codes) == len(explorer.spec["labels"]) == 40 and len(explorer.images) == 40 * 784
    for digit, code in enumerate(explorer.spec["typical"]):
        own = codes[mnist.test_labels == digit]
        centre = torch.from_numpy(own.copy()).median(0).values.numpy()
        assert np.linalg.norm(code - centre) == pytest.approx(np.linalg.norm(own - centre, axis=1).min())


def test_axes_reach_as_far_as_the_codes(vae, mnist):
    wide = mlp_vae(2, (16,)).eval()
    with torch.no_grad():
        wide.encoder.output.weight *= 100
    assert LatentExplorer(vae, data=mnist).spec["extent"] == 3.5
    codes = np.frombuffer(LatentExplorer(wide, data=mnist).codes[0], np.float32)
    assert LatentExplorer({"a": vae, "b": wide}, data=mnist).spec["extent"] >= np.quantile(abs(codes), 0.99) > 3.5


def test_latents_are_in_the_order_of_their_kl_and_collapsed_ones_are_named(mnist):
    vae = mlp_vae(3, (16,)).eval()
    with torch.no_grad():  # q(z|x): latent 1 is the prior, latent 3 the narrowest
        vae.encoder.output.weight[[0, 3]] = 0
        vae.encoder.output.bias[3:] = torch.tensor([0.0, -1, -5])
        vae.encoder.output.bias[0] = 0
        vae.encoder.output.weight[1:3] *= 2
    explorer = LatentExplorer(vae, data=mnist)
    assert explorer.spec["order"] == [2, 1, 0] and explorer.spec["collapsed"] == [0]
    assert explorer.spec["kl"][0] == pytest.approx(0, abs=1e-6)
    other = mlp_vae(3, (16,)).eval()
    other.load_state_dict(vae.state_dict())
    with torch.no_grad():  # here it is latent 2 that carries nothing
        for row in (0, 1), (3, 4):
            other.encoder.output.weight[list(row)] = other.encoder.output.weight[list(row[::-1])]
            other.encoder.output.bias[list(row)] = other.encoder.output.bias[list(row[::-1])]
    assert LatentExplorer(other, data=mnist).spec["collapsed"] == [1]
    assert LatentExplorer({"a": vae, "b": other}, data=mnist).spec["collapsed"] == []


# --- stills, names, ends


@pytest.mark.slow
def test_each_leaves_a_picture_and_the_same_words_in_every_run(vae, mnist):
    z = torch.linspace(-8, 8, 401)
    explorers = [LatentExplorer(vae), LatentExplorer(vae, data=mnist), LatentExplorer(mlp_vae(5, (4,)))]
    pair = LatentExplorer({"a": vae, "b": vae}, data=mnist)
    for widget in (*explorers, pair, GapExplorer(z, -(z**2)), FramePlayer([frame(7)] * 3, "abc", "letter")):
        data, metadata = widget._repr_mimebundle_()
        assert data.keys() == {WIDGET_VIEW, "image/png", "text/plain"}, widget
        pixels = picture(base64.b64decode(data["image/png"]))
        assert np.unique(pixels).size > (0 if isinstance(widget, FramePlayer) else 20), widget
        assert data["text/plain"] == repr(widget) and "0x" not in repr(widget)
        assert metadata["vae_utils"] == {"live": True}


class Hostile(LatentExplorer):
    """One whose words come from someone who means harm."""

    def alt_text(self):
        return '<img src=x onerror="alert(1)">'


def test_words_stay_text_beside_the_still_of_a_reopened_notebook(vae, monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "_running_cell", lambda: ("a cell", "its run"))
    monkeypatch.setattr(widgets, "display", lambda data, **about: shown.append((data, about["metadata"])))
    Hostile(vae)._ipython_display_()
    (still, mark), (live, _) = shown
    assert mark == {"vae_utils": {"reopened": True}} and live["image/png"] in still["text/html"]
    assert "<img src=x" not in still["text/html"] and "&lt;img src=x onerror=&quot;" in still["text/html"]


@pytest.fixture
def run_cell(monkeypatch):
    """Let what follows be made by one run of one cell; returns the names that the kernel knows, and Out."""
    requests, names, outputs = iter(range(1000)), {}, {}

    def run(cell):
        request = {"metadata": {"cellId": cell}, "header": {"msg_id": str(next(requests))}}
        history = SimpleNamespace(output_hist=outputs)
        kernel = SimpleNamespace(get_parent=lambda channel: request)
        shell = SimpleNamespace(kernel=kernel, all_ns_refs=[names], history_manager=history)
        monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
        return names, outputs

    yield run
    _made_in_cell.clear()


def test_a_cell_that_runs_again_frees_what_it_made_before(vae, run_cell):
    run_cell("a")
    first, second = LatentExplorer(vae), LatentExplorer(vae)
    run_cell("b")
    elsewhere = LatentExplorer(vae)
    closed = []
    for name, widget in {"first": first, "second": second, "elsewhere": elsewhere}.items():
        widget.close = lambda name=name: closed.append(name)
    run_cell("a")
    LatentExplorer(vae)
    assert closed == ["first", "second"]


def test_out_forgets_what_was_freed_and_names_of_the_reader_stay(vae, run_cell):
    names, outputs = run_cell("a")
    first, number = LatentExplorer(vae), torch.ones(3)
    names |= {"_1": first, "mine": first, "_2": number}
    outputs |= {1: first, 2: number}
    run_cell("a")
    LatentExplorer(vae)
    assert list(names) == ["mine", "_2"] and list(outputs) == [2]


# --- the gap


@pytest.mark.parametrize("mean, width", [(0.0, 1.0), (0.6, 0.4), (-1.5, 0.1), (2.5, 1.5)])
def test_gap_is_the_kl_to_the_posterior(mean, width):
    z = torch.linspace(-15, 15, 3001, dtype=torch.float64)
    log_joint = Normal(0.5, 0.7).log_prob(z) - 2.25  # the posterior is N(0.5, 0.7^2), log p(x) = -2.25
    elbo, gap = GapExplorer(z, log_joint).terms(mean, width)
    expected = kl_divergence(Normal(mean, width), Normal(0.5, 0.7)).item()
    assert gap == pytest.approx(expected, abs=1e-5) and elbo == pytest.approx(-2.25 - expected, abs=1e-5)


@pytest.mark.parametrize("mean, width", [(math.nan, 1), (0, 0), (0, -1), (0, math.nan), (math.inf, 1)])
def test_a_q_that_is_none_is_refused(mean, width):
    z, q = torch.linspace(-1, 1, 5), [mean, width]
    explorer = GapExplorer(z, -z)
    build = partial(GapExplorer, z, -z)
    attempts = partial(explorer.terms, *q), partial(build, q=q), partial(setattr, explorer, "q", q)
    for attempt in (*attempts, partial(build, stills=[(0, 1), (0, 1), q])):
        with pytest.raises(ValueError, match="sigma above 0"):
            attempt()


def titles_of_the_still(explorer, monkeypatch):
    figures = []
    monkeypatch.setattr(widgets, "figure_png", lambda figure: figures.append(figure) or b"")
    explorer.still()
    plt.close(figures[0])
    return [(ax.get_xlabel(), ax.get_title()) for ax in figures[0].axes]


TWO_MODES = torch.logaddexp(*(Normal(mean, 0.2).log_prob(torch.linspace(-4, 4, 801)) for mean in (-1.5, 1.5)))


def test_the_still_shows_the_qs_and_the_names_that_the_caller_asks_for(monkeypatch):
    """Two modes: between them the posterior's own mean and sigma are no good q, so the lesson names its own."""
    stills = [(1.0, 0.4), (1.5, 0.2), (0.0, 1.5)]
    explorer = GapExplorer(torch.linspace(-4, 4, 801), TWO_MODES, stills=stills, names=("θ", "X"))
    gaps = [explorer.terms(*pair)[1] for pair in stills]
    assert gaps[1] == pytest.approx(math.log(2), abs=1e-3) and min(gaps[0], gaps[2]) > 4
    for (label, title), (mean, sigma), gap in zip(titles_of_the_still(explorer, monkeypatch), stills, gaps):
        assert (
            label == "$θ$" and title.startswith(f"mean {mean:.2f}, σ {sigma:.2f}\n") and f"gap {gap:.3f} nats" in title
        )
        assert f"{mean:.1f} and {sigma:.2f}, gap {gap:.2f}" in explorer.alt_text()
    assert "posterior of θ" in repr(explorer) and len(repr(explorer)) < 200 and explorer.spec["names"] == ["θ", "X"]


def test_the_still_ends_where_the_gap_is_nearly_closed(monkeypatch):
    z = torch.linspace(-15, 15, 3001, dtype=torch.float64)
    explorer = GapExplorer(z, Normal(0.5, 0.7).log_prob(z), q=(0.0, 1.0))  # as lesson 01 calls it
    labels, titles = zip(*titles_of_the_still(explorer, monkeypatch))
    assert set(labels) == {"$z$"} and [title.partition("\n")[0] for title in titles] == [
        "mean 0.00, σ 1.00",
        "mean −0.20, σ 0.35",
        "mean 0.50, σ 0.70",
    ]
    assert "gap 0.000 nats" in titles[2].replace("−0.000", "0.000") and "nearly closed" in explorer.alt_text()


@pytest.mark.parametrize("stills", [[], [(0, 1)], [(0, 1)] * 4])
def test_stills_are_three(stills):
    with pytest.raises(ValueError, match=f"three pairs of a mean and a sigma, got {len(stills)}"):
        GapExplorer(torch.linspace(-1, 1, 5), -torch.ones(5), stills=stills)


@pytest.mark.parametrize(
    "z, log_joint",
    [
        ([[0, 0], [1, 1]], [[0, 0], [0, 0]]),
        ([0, 1, 2], [0, 1, 2, 3]),
        ([0.0, 1, 3], [0, 0, 0]),
        ([0], [0]),
        ([2, 1, 0], [0, 0, 0]),
        ([0, 0, 0], [0, 0, 0]),
        ([0, 1, 2], [0, math.nan, 0]),
    ],
)
def test_a_grid_that_is_none_is_refused(z, log_joint):
    with pytest.raises(ValueError, match="an even grid"):
        GapExplorer(z, log_joint)


# --- the film


def frame(shade, size=(6, 4)):
    file = io.BytesIO()
    Image.new("L", size, shade).save(file, "PNG")
    return file.getvalue()


def test_the_sheet_shows_frames_from_first_to_last():
    shades = [0, 40, 80, 120, 160, 200, 240]
    for start, stills, shown in (
        (None, None, [0, 80, 160, 240]),
        (3, None, [0, 120, 160, 240]),
        (0, (1, 2, 4, 6), [40, 80, 160, 240]),
    ):
        sheet = picture(FramePlayer([frame(shade) for shade in shades], shades, "shade", start, stills).still())
        assert sheet.shape == (8, 12, 3)
        assert sheet[::4, ::6, 0].flatten().tolist() == shown


@pytest.mark.parametrize("frames, labels", [([], []), ([frame(1)], "ab"), ([frame(1), frame(2, (5, 5))], "ab")])
def test_frames_that_do_not_fit_are_refused(frames, labels):
    with pytest.raises(ValueError, match="to have one size and a label each"):
        FramePlayer(frames, labels, "letter")


def test_a_start_that_is_no_frame_is_refused():
    with pytest.raises(ValueError, match="start"):
        FramePlayer([frame(1)], "a", "letter", start=1)


@pytest.mark.parametrize("stills", [(), (0, 1), (-1,)])
def test_stills_that_are_no_frames_are_refused(stills):
    with pytest.raises(ValueError, match="stills"):
        FramePlayer([frame(1)], "a", "letter", stills=stills)
