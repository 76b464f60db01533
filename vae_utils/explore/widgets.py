"""The widgets of the lessons: a point in latent space, the gap of the bound, a film.

    LatentExplorer(vae, data=mnist)      drag a point, watch the digit
    GapExplorer(z, log_joint)            move q, watch the ELBO rise to the evidence
    FramePlayer(frames, labels, "epoch") stored pictures under a slider

Each is an anywidget: Python sends numbers once, and `explore.js`, beside this file, answers every move in the reader's
browser; `explore.css` says how that looks. Only a decoder that `program` cannot translate stays here and answers
through the kernel. In a notebook that is stored or reopened, and on a page that runs no code, each shows a still
picture. A fourth, DrawingPad, has its own file: `drawing`.
"""

import base64
import copy
import html
import io
import math
import uuid
from pathlib import Path

import anywidget
import IPython
import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from IPython.display import display
from PIL import Image

from vae_utils.evaluation import active_units, kl_per_dimension, manifold, posterior_parameters
from vae_utils.explore.program import NotPortable, decoder_program
from vae_utils.explore.scripts import bundled
from vae_utils.figures import COLOURS, DIGIT_COLOURS, GREY, figure_png, image_wall, scatter_codes, show_images
from vae_utils.models import VAE

NUM_SHOWN = 1000  # test images whose codes are drawn: 0.8 MB with their pixels
LEAST_EXTENT = 3.5  # of the plane and the sliders, in standard deviations of the prior
MEASURED = 2000  # test images on which the KL of each latent is measured

# Shown before the widget, for a notebook that was saved and is opened again without its kernel. Then the front end has
# only a sentence in the widget's place ("Error displaying widget: model not found"). This text hides the sentence and
# shows the picture. While the widget works, it hides the picture.
STILL = """<style>
:root:has([data-still="{name}"]) :is(#{name}, .jp-OutputArea-child:has(#{name})) {{ display: none; }}
.jp-OutputArea-child:has(#{name}) + .jp-OutputArea-child:not(:has(.vae-live)) {{ display: none; }}
</style><img id="{name}" alt="{words}" style="max-width: 100%" src="data:image/png;base64,{picture}">"""

HERE = Path(__file__).parent
SCRIPT = bundled(HERE / "explore.js")

_made_in_cell = {}  # from a cell of the notebook to the request that ran it and the widgets it made


class LiveWidget(anywidget.AnyWidget):
    """What all widgets share: the part in the page, the still picture, and an end when their cell runs again."""

    _esm = (HERE / "loader.js").read_text("utf-8")  # as a path, anywidget would keep every widget
    _css = (HERE / "explore.css").read_text("utf-8")
    script = traitlets.Unicode(SCRIPT).tag(sync=True)  # what `loader.js` imports, once a page
    kind = traitlets.Unicode().tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)  # of its still picture

    def __init__(self, **traits):
        super().__init__(name=f"vae-still-{uuid.uuid4().hex}", **traits)
        self._still = None
        _replace_in_cell(self)

    def still(self):
        """The picture for readers without a live page: the bytes of a PNG file."""
        raise NotImplementedError

    def alt_text(self):
        """What the still picture shows, in less than 200 letters, for readers who do not see it."""
        raise NotImplementedError

    def __repr__(self):
        return f"{type(self).__name__}, a still picture of it: {self.alt_text()}"

    def _repr_mimebundle_(self, **kwargs):
        if self._still is None:
            self._still = base64.b64encode(self.still()).decode()
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return data | {"image/png": self._still}, metadata | {"vae_utils": {"live": True}}

    def _ipython_display_(self):
        if _running_cell()[0] is None:
            raise NotImplementedError  # no front end that reopens notebooks: IPython asks for the mimebundle then
        data, metadata = self._repr_mimebundle_()
        words = html.escape(data["text/plain"])
        still = STILL.format(name=self.name, words=words, picture=self._still)
        display({"text/html": still, "text/plain": ""}, metadata={"vae_utils": {"reopened": True}}, raw=True)
        display(data, metadata=metadata, raw=True)


def _running_cell():
    """The ids of the cell that runs and of its run; None and None if that is not known."""
    shell = IPython.get_ipython()
    request = shell.kernel.get_parent("shell") if hasattr(shell, "kernel") else {}
    cell = request.get("metadata", {}).get("cellId")  # JupyterLab, Notebook 7 and VS Code send it
    return (cell, request["header"]["msg_id"]) if cell else (None, None)


def _replace_in_cell(widget):
    """Free the widgets that an earlier run of the same cell made: the front end has dropped them already."""
    cell, run = _running_cell()
    if cell is None:
        return
    before, widgets = _made_in_cell.get(cell, (None, []))
    if before != run:
        for old in widgets:
            old.close()
            _forget_output(old)
        widgets = []
    _made_in_cell[cell] = run, [*widgets, widget]


def _forget_output(widget):
    """Take a widget out of Out[n] and _n, where IPython would keep each for as long as the kernel lives."""
    shell = IPython.get_ipython()
    for names in (*shell.all_ns_refs, shell.history_manager.output_hist):
        for name in [name for name, value in names.items() if value is widget and str(name).strip("_").isdigit()]:
            del names[name]


class LatentExplorer(LiveWidget):
    """Move a code z and see what each decoder makes of it.

    With two latents there is a plane with a point to drag; with more, a slider for each latent, in the order
    of its share of the KL, the collapsed ones folded away. `z` holds the position and may be set. A conditional model
    has a selector of its classes too; `c` holds the class.

    Args:
        models: a VAE of grey images or of three channels, or a dict of name to VAE to see side by side at the same z,
            with as many latents and classes each.
        data: test images to show as codes, as `load_mnist()` or `own.folder.image_folder(classes=True)` returns them;
            None for none. With two models, paths between digits and the nearest test image go by the codes of the
            first.
        z: where the point starts; the origin if None.
        compact: leave out the buttons, the path, the legend, and words that a newcomer does not know yet.
        light: whether a pixel of 1 is light, as in a photograph; by default it is ink on paper. Colours are shown as
            they are.
        c: the class at the start, from 0 to K - 1.

    Raises:
        ValueError: if there is no model, the latent sizes, classes or the shapes of the images differ, images have two
            channels or more than three, `data` is something else, `z` is not J finite numbers, or `c` no class.
    """

    z = traitlets.List(traitlets.Float()).tag(sync=True)
    c = traitlets.Int().tag(sync=True)
    weights = traitlets.List().tag(sync=True)  # of each decoder, float16
    codes = traitlets.List().tag(sync=True)  # means of q(z|x) by each model, float32 [N, J]
    images = traitlets.Bytes().tag(sync=True)  # of the same test images, uint8 [N, C H W]

    def __init__(self, models, data=None, z=None, compact=False, light=False, c=0):
        self.models = _named(models)
        vae = next(iter(self.models.values()))
        channels, *size = vae.image_shape
        light = light or channels == 3  # colours are never ink
        self._latent_size, self._light, self._num_classes = vae.latent_size, light, vae.classes
        spec, binary = _programs(self.models)
        shown, encoded = _encode(self.models, data)
        spec |= shown | {"names": list(self.models), "latent_size": vae.latent_size, "size": size, "channels": channels}
        spec |= {"colours": list(DIGIT_COLOURS), "compact": compact, "light": light}
        start = [0.0] * vae.latent_size if z is None else list(map(float, z))
        class_names = getattr(data, "classes", ())
        if vae.classes and len(class_names) != vae.classes:
            class_names = map(str, range(vae.classes))
        spec |= {"class_names": list(class_names), "conditional": vae.classes > 0}
        super().__init__(kind="latent", z=start, c=c, spec=spec, **binary, **encoded)
        self.on_msg(self._answer)

    @traitlets.validate("z")
    def _require_position(self, proposal):
        z = list(proposal["value"])
        if len(z) != self._latent_size or not all(map(math.isfinite, z)):
            raise ValueError(f"a position was expected to be {self._latent_size} finite numbers, got {z}")
        return z

    @traitlets.validate("c")
    def _require_class(self, proposal):
        if not 0 <= proposal["value"] < max(1, self._num_classes):
            raise ValueError(f"c was expected to be from 0 to {max(0, self._num_classes - 1)}, got {proposal['value']}")
        return proposal["value"]

    def _of_class(self, model, c=None):
        """The model to look at: of the chosen class, if it is conditional."""
        return _given(model, self.c if c is None else c)

    @torch.no_grad()
    def pictures(self, z, c=None):
        """What each model decodes at one position.

        Args:
            z: J finite numbers.
            c: the class, if models are conditional; the chosen one if None.

        Returns:
            List of uint8 arrays, the mean of p(x|z): [H, W], as ink on paper unless `light`, 255 is white; or
            [H, W, 3], red, green and blue.

        Raises:
            ValueError: if `z` is not J finite numbers.
        """
        z = self._require_position({"value": z})
        models = (self._of_class(model, c) for model in self.models.values())
        means = (model.decode(torch.tensor([z]).to(model.prior.mean)).mean for model in models)
        return [image_wall(self._ink(mean), gap=0) for mean in means]

    def _ink(self, images):
        """The pictures module shows 1 as ink, if images are grey."""
        return 1 - images if self._light and images.shape[-3] == 1 else images

    def _answer(self, _, question, buffers):
        """Decode what the page asks for. The widget shows the reader any error."""
        try:
            pictures = self.pictures(question["z"], question["c"])
        except Exception as error:
            self.send(question | {"error": f"{type(error).__name__}: {error}"})
        else:  # one channel after the other, as from a decoder in the page
            pictures = [np.moveaxis(picture, -1, 0) if picture.ndim == 3 else picture for picture in pictures]
            self.send(question, buffers=[picture.tobytes() for picture in pictures])

    @torch.no_grad()
    def still(self):
        """With two latents, what equal steps of probability decode to, beside the codes of a single model.

        With more, one latent of the first model at a time.
        """
        return figure_png(self._planes() if self._latent_size == 2 else self._traversals())

    def alt_text(self):
        names = " and ".join(self.models)
        if self._latent_size > 2:
            return f"images decoded by {next(iter(self.models))}, one latent moved at a time from −3 to 3."
        beside = "; beside them the codes of test images" if self._has_dots() else ""
        return f"images decoded by {names} on a 9 by 9 grid of the latent plane{beside}."

    def _has_dots(self):
        """Whether the still has a picture of the codes: of a single model, and if there are test images."""
        return len(self.models) == 1 and len(self.spec["labels"]) > 0

    def _planes(self):
        dots = self._has_dots()
        count = len(self.models) + dots
        figure, axes = plt.subplots(1, count, squeeze=False, layout="constrained", figsize=(3.9 * count, 4.1))
        scale, ticks = ("", ()) if self.spec["compact"] else (": quantile of the prior", (0.1, 0.5, 0.9))
        for ax, (name, model) in zip(axes[0, dots:], self.models.items()):
            height, width = model.image_shape[1:]
            wall = image_wall(self._ink(manifold(self._of_class(model), 9)), gap=0)
            ax.imshow(wall, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 0, 1), aspect=height / width)
            ax.set(xlabel=f"$z_1${scale}", ylabel=f"$z_2${scale}", xticks=ticks, yticks=ticks)
            ax.set_title(f"decoded by {name}")
            ax.grid(False)
        if dots:
            codes = torch.from_numpy(np.frombuffer(self.codes[0], np.float32).reshape(-1, 2).copy())
            extent = self.spec["extent"]
            scatter_codes(codes, torch.tensor(self.spec["labels"]), axes[0, 0])
            axes[0, 0].set(title="codes of test images", xlim=(-extent, extent), ylim=(-extent, extent))
        return figure

    def _traversals(self):
        name, model = next(iter(self.models.items()))
        model, rows = self._of_class(model), {}
        for j in self.spec["order"][:5]:
            z = torch.tensor(self.z).to(model.prior.mean).repeat(9, 1)
            z[:, j] = torch.linspace(-3, 3, 9)
            rows[f"latent {j + 1}"] = self._ink(model.decode(z).mean)
        return show_images(rows, title=f"{name}, one latent at a time, from −3 to 3")


def _named(models):
    """A dict of copies to look at: on the CPU, in float32, not in training."""
    models = models if isinstance(models, dict) else {"the model": models}
    if not models or not all(isinstance(model, VAE) for model in models.values()):
        given = ", ".join(type(model).__name__ for model in models.values()) or "none"
        raise ValueError(f"models were expected to be a VAE or a dict from names to VAEs, got {given}")
    if wrong := [model.image_shape for model in models.values() if model.image_shape[0] not in (1, 3)]:
        raise ValueError(f"models were expected to have grey images or images of three channels, got {wrong[0]}")
    classes = {name: model.classes for name, model in models.items()}
    if len(set(classes.values())) > 1:
        raise ValueError(f"models were expected to have the same number of classes, got {classes}")
    sizes = {name: model.latent_size for name, model in models.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"models were expected to have the same number of latents, got {sizes}")
    shapes = {name: model.image_shape for name, model in models.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"models were expected to have images of one shape, got {shapes}")
    return {name: copy.deepcopy(model).to("cpu", torch.float32).eval() for name, model in models.items()}


def _programs(models):
    """The decoders for the page, or why they stay here: a dict for JSON, and a dict of bytes."""
    programs = []
    for name, model in models.items():
        try:
            programs.append(decoder_program(model))
        except NotPortable as reason:
            whose = f"{name}: " if len(models) > 1 else ""
            where = f"Decoded by the kernel, because {whose}{reason}."
            return {"steps": [], "products": 0, "where": where}, {"weights": []}
    weights = [program.weights.tobytes() for program in programs]
    size = sum(map(len, weights)) / 1e6
    where = f"Decoded in this page: {size:.1f} MB of weights, sent once; the kernel is not asked for pictures."
    steps, products = [program.steps for program in programs], sum(program.products for program in programs)
    return {"steps": steps, "products": products, "where": where}, {"weights": weights}


def _encode(models, data):
    """What the page needs to know of the test images: a dict for JSON, and a dict of bytes."""
    size = next(iter(models.values())).latent_size
    about = {"labels": [], "typical": [], "extent": LEAST_EXTENT}
    about |= {"kl": None, "order": list(range(size)), "collapsed": []}
    if data is None:
        return about, {"codes": [], "images": b""}
    if getattr(data, "test_labels", None) is None:
        given = f"{type(data).__name__}, which has no labels; leave it out, and no codes are drawn"
        raise ValueError(f"data was expected to be as load_mnist() returns it, got {given}")
    measured = data.test[:MEASURED].to("cpu", torch.float32)
    images, labels = measured[:NUM_SHOWN], data.test_labels[:NUM_SHOWN]
    if len(labels) and labels.max() >= len(DIGIT_COLOURS):
        raise ValueError(f"labels were expected to be of at most ten classes, got {labels.max()}; leave data out")
    codes = [posterior_parameters(_given(model, labels), images)[0] for model in models.values()]
    about |= {"labels": labels.tolist(), "typical": _typical(codes[0], labels), "extent": extent_of(torch.cat(codes))}
    if size > 2 and len(measured) > 1:
        models = {name: _given(model, data.test_labels[:MEASURED]) for name, model in models.items()}
        # Of several models, the one that uses a latent most counts.
        kl = torch.stack([kl_per_dimension(model, measured) for model in models.values()]).amax(0)
        active = torch.stack([active_units(model, measured) for model in models.values()]).any(0)
        about |= {"kl": kl.tolist(), "order": kl.argsort(descending=True).tolist()}
        about |= {"collapsed": (~active).nonzero()[:, 0].tolist()}
    return about, {"codes": [code.numpy().tobytes() for code in codes], "images": as_bytes(images).numpy().tobytes()}


def _given(model, c):
    """The model of these classes, if it is conditional."""
    return model.given(c) if model.classes else model


def extent_of(codes):
    """How far axes reach that hold nearly all of these codes [N, J], in half units."""
    return max(LEAST_EXTENT, math.ceil(2 * codes.abs().quantile(0.998).item()) / 2)


def as_bytes(images):
    """Grey images in [0, 1] as a page has them: whole numbers from 0 to 255, uint8."""
    return (images * 255).round().to(torch.uint8)


def _typical(codes, labels):
    """For each digit the code that lies nearest to the median of its class; nothing if a digit is missing."""
    classes = [codes[labels == digit] for digit in range(10)]
    if not all(map(len, classes)):
        return []
    return [own[(own - own.median(0).values).norm(dim=1).argmin()].tolist() for own in classes]


class GapExplorer(LiveWidget):
    """Move the mean and the standard deviation of a Gaussian q and watch the ELBO rise to the evidence.

    `q` holds [mean, sigma] and may be set. In lesson 01 the unknown number is a code z, in lesson 07 a weight.

    Args:
        z: even grid over the one latent number, wide enough to hold all of p(x, z) and of q, shape [G].
        log_joint: log p(x, z) on the grid, nats, shape [G].
        view: ends of the part of the axis that is drawn.
        q: mean and standard deviation at the start.
        stills: three pairs of a mean and a standard deviation, for the still picture. If None: `q`, one that is too
            narrow, and the mean and standard deviation of the posterior.
        names: what the latent number and the data are called in the labels.

    Raises:
        ValueError: if `z` and `log_joint` are not two finite vectors of one length, `z` is not an even grid
            that rises, or a q is not a finite mean and a sigma above 0, or `stills` are not three.
    """

    q = traitlets.List(traitlets.Float(), minlen=2, maxlen=2).tag(sync=True)

    def __init__(self, z, log_joint, view=(-2, 3), q=(-0.5, 0.8), stills=None, names=("z", "x")):
        z, log_joint = torch.as_tensor(z).double(), torch.as_tensor(log_joint).double()
        if z.ndim != 1 or z.shape != log_joint.shape or not _is_even(z) or not log_joint.isfinite().all():
            shapes = f"shapes {list(z.shape)} and {list(log_joint.shape)}"
            raise ValueError(
                f"z and log_joint were expected to be an even grid [G] that rises and log p(x, z) on it, got {shapes}"
            )
        self.grid, self.log_joint = z, log_joint
        self.stills = None if stills is None else [tuple(self._require_gaussian({"value": pair})) for pair in stills]
        if stills is not None and len(self.stills) != 3:
            raise ValueError(f"stills were expected to be three pairs of a mean and a sigma, got {len(self.stills)}")
        spec = {"z": z.tolist(), "log_joint": log_joint.tolist(), "view": list(view), "names": list(names)}
        super().__init__(kind="gap", q=list(q), spec=spec)

    @traitlets.validate("q")
    def _require_gaussian(self, proposal):
        mean, sigma = proposal["value"]
        if not (math.isfinite(mean) and 0 < sigma < math.inf):
            raise ValueError(f"q was expected to be a finite mean and a sigma above 0, got {mean} and {sigma}")
        return [mean, sigma]

    def terms(self, mean, sigma):
        """The ELBO of q = N(mean, sigma^2), and what is missing to log p(x): nats, by a sum over the grid.

        Raises:
            ValueError: if `mean` is not finite or `sigma` is not above 0.
        """
        mean, sigma = self._require_gaussian({"value": (mean, sigma)})
        q, step = torch.distributions.Normal(self.grid.new_tensor(mean), sigma), self.grid[1] - self.grid[0]
        log_q = q.log_prob(self.grid)
        elbo = (log_q.exp() * (self.log_joint - log_q)).sum() * step  # Eq. 2
        return elbo.item(), (self.log_joint.logsumexp(0) + step.log() - elbo).item()

    def alt_text(self):
        if self.stills is None:
            return (
                "a Gaussian q over the posterior at three positions: as the sliders stand, too narrow, and "
                "where the gap of the ELBO is nearly closed."
            )
        shown = "; ".join(
            f"{mean:.1f} and {sigma:.2f}, gap {self.terms(mean, sigma)[1]:.2f}" for mean, sigma in self.stills
        )
        return f"a Gaussian q over the posterior of {self.spec['names'][0]}, with mean and sigma {shown} nats."

    def still(self):
        """Three positions of q: those asked for, or the sliders', one too narrow, and the posterior's own moments."""
        step = self.grid[1] - self.grid[0]
        posterior = (self.log_joint - self.log_joint.logsumexp(0)).exp() / step
        mean = (posterior * self.grid).sum().item() * step.item()
        spread = math.sqrt((posterior * (self.grid - mean) ** 2).sum().item() * step.item())
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
        for ax, (centre, sigma) in zip(axes, self.stills or (self.q, (mean - spread, spread / 2), (mean, spread))):
            elbo, gap = self.terms(centre, sigma)
            q = torch.distributions.Normal(self.grid.new_tensor(centre), sigma).log_prob(self.grid).exp()
            ax.fill_between(self.grid, posterior, color=GREY, alpha=0.35, label="posterior")
            ax.plot(self.grid, q, color=COLOURS["blue"], linestyle="-", label="$q$")
            title = f"mean {centre:z.2f}, σ {sigma:.2f}\nELBO {elbo:.3f}, gap {gap:.3f} nats"
            ax.set(xlim=self.spec["view"], xlabel=f"${self.spec['names'][0]}$", title=title.replace("-", "−"))
        axes[0].set_ylabel("density")
        axes[0].legend(loc="upper right" if self.stills is None else "upper left")
        return figure_png(figure)


def _is_even(grid):
    rises = len(grid) > 1 and bool(grid[1] > grid[0])
    return rises and torch.allclose(grid.diff(), grid[1] - grid[0], rtol=1e-3)


class FramePlayer(LiveWidget):
    """Stored pictures under a slider, with a button that plays them.

    Args:
        frames: pictures as the bytes of PNG files, all of one size.
        labels: for each what the slider says, such as "3" or "0.56".
        name: what the slider moves over, such as "epoch" or "β".
        start: the frame that is shown first; the last if None.
        stills: which frames the still picture shows, by their index. If None: up to four, from the first to the last
            and the one at the start among them.

    Raises:
        ValueError: if there are no frames, their sizes differ, their number is not that of the labels, or `start` or
            one of `stills` is not one of them.
    """

    frames = traitlets.List().tag(sync=True)

    def __init__(self, frames, labels, name, start=None, stills=None):
        sizes = {_opened(frame).size for frame in frames}
        if len(sizes) != 1 or len(frames) != len(labels):
            given = f"{len(frames)} frames of {len(sizes)} sizes and {len(labels)} labels"
            raise ValueError(f"frames were expected to have one size and a label each, got {given}")
        ((width, height),) = sizes
        start = len(frames) - 1 if start is None else start
        if start not in range(len(frames)):
            raise ValueError(f"start was expected to be a frame from 0 to {len(frames) - 1}, got {start}")
        self.stills = None if stills is None else list(stills)
        if stills is not None and not (self.stills and set(self.stills) <= set(range(len(frames)))):
            raise ValueError(f"stills were expected to be frames from 0 to {len(frames) - 1}, got {self.stills}")
        spec = {"labels": list(map(str, labels)), "name": name, "start": start, "width": width, "height": height}
        super().__init__(kind="frames", frames=list(frames), spec=spec)

    def alt_text(self):
        name, labels = self.spec["name"], self.spec["labels"]
        if self.stills is not None:
            shown = ", ".join(labels[k] for k in self.stills)
            return f"{len(self.stills)} of {len(labels)} frames, at {name} {shown}."
        return f"up to four of {len(labels)} frames, from {name} {labels[0]} to {name} {labels[-1]}."

    def still(self):
        """Frames, two in a row: those asked for, or up to four from first to last, the one at the start among them."""
        chosen = self.stills
        if chosen is None:
            chosen = [round(i * (len(self.frames) - 1) / 3) for i in range(4)]
            nearest = min(range(4), key=lambda i: abs(chosen[i] - self.spec["start"]))
            chosen[nearest] = self.spec["start"]
            chosen = sorted(set(chosen))
        width, height = self.spec["width"], self.spec["height"]
        sheet = Image.new("RGB", (width * min(2, len(chosen)), height * math.ceil(len(chosen) / 2)), "white")
        for place, k in enumerate(chosen):
            sheet.paste(_opened(self.frames[k]).convert("RGB"), (width * (place % 2), height * (place // 2)))
        file = io.BytesIO()
        sheet.save(file, "PNG", optimize=True)
        return file.getvalue()


def _opened(png):
    return Image.open(io.BytesIO(png))
