"""A network as plain data: a list of steps and one array of weights, for a machine without PyTorch.

`page/program.js` carries the steps out in a web page, so that a drag needs no answer from Python.
"""

import copy
import math
import operator
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx, nn

MOST_BYTES = 8_000_000  # of weights in half precision: about a second of a slow connection, once
MOST_PRODUCTS = 30_000_000  # multiplications for one image: about two frames of 1/60 s in JavaScript

ELEMENTWISE = {nn.SiLU: "silu", nn.Tanh: "tanh", nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
UNCHANGED = (nn.Identity, nn.Dropout, nn.Flatten, nn.Unflatten)  # numbers stay in their order
UNCHANGED_METHODS = ("flatten", "unflatten", "reshape", "view")


class NotPortable(Exception):
    """Why a network cannot leave PyTorch, in words that end the sentence "computed by the kernel, because"."""


@dataclass(frozen=True)
class Program:
    """What computes a network's output for one input.

    Attributes:
        steps: dicts that JSON can hold. Each has its `op`; `inputs`, the numbers of the results that it reads
            (0 is the input, k is what step k - 1 made); the `shape` of its result; and what else its `op` needs. A
            tensor of weights is given as [first, length] in `weights`.
        weights: float16 array.
        products: multiplications for one input.
    """

    steps: list
    weights: np.ndarray
    products: int


def decoder_program(vae, features=False):
    """Translate the decoder of `vae`, and the function from its features to the mean of p(x|z).

    Weights are rounded to half precision. Those from `models.load_vae` were stored so and do not change; in
    models that were trained a moment ago the rounding moves a pixel by about half of 1/255 at most.

    Args:
        vae: a model whose decoder is made of Linear, LayerNorm, Conv2d and PixelShuffle layers, of the usual
            activations, and of sums.
        features: whether to stop at the features, from which the page can compute log p(x|z) without loss.

    Returns:
        Program: from a code [J], and of a conditional model the one-hot class after it [K], to means or features, one
            for each pixel of each channel.

    Raises:
        NotPortable: if the decoder holds something else, or is too large for a web page.
    """
    if vae.likelihood.link is None:
        raise NotPortable(f"the mean of a {type(vae.likelihood).__name__} is computed there")
    writer = _written(vae.decoder, (vae.latent_size + vae.classes,))
    if vae.likelihood.features_per_pixel > 1:  # the first of them make the mean
        writer.step("first", [len(writer.steps)], vae.image_shape)
    if vae.likelihood.link == "sigmoid" and not features:
        writer.step("sigmoid", [len(writer.steps)], writer.steps[-1]["shape"])
    return _finished(writer)


def encoder_program(vae):
    """Translate the encoder of `vae`.

    Args:
        vae: a model whose encoder is made as `decoder_program` asks of a decoder.

    Returns:
        Program: from an image, its pixels in a row, to the means of q(z|x), and after them the log-variances [2J].

    Raises:
        NotPortable: as `decoder_program`.
    """
    return _finished(_written(vae.encoder, vae.image_shape))


def _written(network, shape):
    """A writer that has gone through the network, whose input has this shape (without the batch)."""
    try:
        network = copy.deepcopy(network).to("cpu", torch.float32).eval()
        graph = fx.symbolic_trace(network)
        _Shapes(graph).run(torch.zeros(1, *shape, dtype=torch.float32))
    except Exception as error:  # a network's own code may do anything when it is given a symbol
        raise NotPortable(f"its network cannot be written as a list of layers ({error})") from error
    writer = _Writer(graph)
    for node in graph.graph.nodes:
        writer.add(node)
    return writer


def _finished(writer):
    weights = np.concatenate([np.zeros(0), *(tensor.detach().numpy().ravel() for tensor in writer.tensors)])
    with np.errstate(over="ignore"):  # what overflows is refused below
        weights = weights.astype(np.float16)
    if weights.nbytes > MOST_BYTES or writer.products > MOST_PRODUCTS:
        size, products = f"{weights.nbytes / 1e6:.1f} MB of weights", f"{writer.products / 1e6:.0f} million"
        raise NotPortable(f"its {size} and {products} multiplications for each image are too many for a page")
    if not np.isfinite(weights).all():
        raise NotPortable("its weights are not all finite in half precision")
    return Program(writer.steps, weights, writer.products)


class _Shapes(fx.Interpreter):
    """Runs a traced network once and notes the shape of what each node makes.

    torch.fx.passes.shape_prop does it too, but loads SymPy for it: 44 MB, and a second before the first explorer.
    """

    def run_node(self, node):
        result = super().run_node(node)
        node.meta["shape"] = getattr(result, "shape", None)
        return result


class _Writer:
    """Walks a traced network, in the order of its computation."""

    def __init__(self, graph):
        self.modules = dict(graph.named_modules())
        self.graph = graph
        self.steps, self.tensors = [], []
        self.size, self.products = 0, 0
        self.results = {}  # from a node to the number of its result

    def step(self, op, inputs, shape, **others):
        self.steps.append({"op": op, "inputs": inputs, "shape": list(shape), **others})

    def sizes(self, node):
        """Numbers of one image that a node makes; a constant has no batch."""
        shape = node.meta["shape"]
        return math.prod(shape if node.op == "get_attr" else shape[1:])

    def store(self, tensor):
        first, self.size = self.size, self.size + tensor.numel()
        self.tensors.append(tensor)
        return [first, tensor.numel()]

    def add(self, node):
        inputs = [self.results[argument] for argument in node.args if isinstance(argument, fx.Node)]
        if node.op == "placeholder":
            self.results[node] = 0
            return
        if node.op == "output":
            if inputs != [len(self.steps)]:
                raise NotPortable("it computes something that it does not return, or returns several results")
            return
        module = self.modules.get(node.target) if node.op == "call_module" else None
        if isinstance(module, UNCHANGED) or (node.op == "call_method" and node.target in UNCHANGED_METHODS):
            self.results[node] = inputs[0]
            return
        if node.op == "get_attr":
            constant = operator.attrgetter(node.target)(self.graph)
            self.step("constant", [], constant.shape, weight=self.store(constant))
        elif node.op == "call_function" and node.target in (operator.add, torch.add) and len(inputs) == 2:
            if node.kwargs or self.sizes(node.args[0]) != self.sizes(node.args[1]):
                raise NotPortable("it adds numbers of different shapes, or adds them with a factor")
            self.step("add", inputs, node.meta["shape"][1:])
        elif module is not None:
            before, after = (end.meta["shape"][1:] for end in (node.args[0], node))
            self.add_layer(module, inputs, before, after)
        else:
            raise NotPortable(f"it calls {getattr(node.target, '__name__', node.target)}, which the page does not know")
        self.results[node] = len(self.steps)

    def add_layer(self, layer, inputs, before, after):
        """One layer, from shape `before` to shape `after` (without the batch)."""
        if getattr(layer, "inplace", False):  # it would change what a later sum still reads
            raise NotPortable(f"it has a layer that works in place ({layer})")
        if type(layer) in ELEMENTWISE:
            self.step(ELEMENTWISE[type(layer)], inputs, after)
        elif isinstance(layer, nn.Linear) and len(before) == 1:
            self.products += layer.weight.numel()
            self.step("linear", inputs, after, **self.weight_and_bias(layer))
        elif isinstance(layer, nn.LayerNorm) and list(layer.normalized_shape) == list(before):
            self.step("layernorm", inputs, after, epsilon=layer.eps, **self.weight_and_bias(layer))
        elif isinstance(layer, nn.Conv2d) and _is_plain(layer):
            self.products += layer.weight.numel() * math.prod(after[1:])
            (kernel, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, layer.padding
            sizes = {"before": list(before), "kernel": kernel, "stride": stride, "padding": padding}
            self.step("convolution", inputs, after, **sizes, **self.weight_and_bias(layer))
        elif isinstance(layer, nn.PixelShuffle):
            self.step("shuffle", inputs, after, factor=layer.upscale_factor)
        else:
            raise NotPortable(f"it has a layer that the page does not know ({layer})")

    def weight_and_bias(self, layer):
        if layer.weight is None:
            raise NotPortable(f"it has a layer without weights ({layer})")
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        return {"weight": self.store(layer.weight), "bias": self.store(bias)}


def _is_plain(layer):
    shapes = (layer.kernel_size, layer.stride, layer.padding)
    square = all(not isinstance(sizes, str) and len(set(sizes)) == 1 for sizes in shapes)
    return square and layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
