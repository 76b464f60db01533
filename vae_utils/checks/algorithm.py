"""Feedback on the first exercise of lesson 02: Algorithm 1 as a whole.

The check watches the networks while the answer trains them. From what goes in and out in the first steps, in the last
and in some between it computes the right bounds, the right gradients, and the noise behind each code; so it knows which
line is wrong.
"""

import copy
import random
from dataclasses import replace
from functools import wraps

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on, with_article
from vae_utils.checks.lesson_02 import EQ_6, HALVES, IMAGE_SHAPE, READ, SCORE_SLIPS, SIGNS, itself, require_like, score

LATENTS, HIDDEN, STEPS, MINIBATCH, GOOD = 3, 24, 200, 100, -400
FIRST = 3  # steps that are watched, and these between them and the last, with no pattern in them:
BETWEEN = sorted(random.Random(0).sample(range(FIRST + 1, STEPS), 8))


def _drawings(count):
    """Binary pictures of discs, somewhere and of some size: [count, 1, 28, 28]."""
    generator = torch.Generator().manual_seed(0)
    centre = 8 + 12 * torch.rand(2, count, 1, 1, generator=generator)
    radius = 4 + 3 * torch.rand(count, 1, 1, generator=generator)
    axis = torch.arange(28.0)
    distance = (axis[:, None] - centre[0]) ** 2 + (axis - centre[1]) ** 2  # [count, 28, 28], squared
    ink = torch.sigmoid((radius**2 - distance) / 6).clamp(0.02, 0.98)
    return torch.bernoulli(ink, generator=generator)[:, None]


class _Watch:
    """What passes through networks while a program trains them: the first steps, some between, and the last one.

    Each of `steps` (the first), `between` (by number) and `last` has `calls`, the last input and output of each module,
    and `gradients`, of each weight the value and the gradient that the optimiser sees. A step ends with backward().
    `emptied` holds the weights whose gradient was gone when the optimiser was called.
    """

    def __init__(self):
        self.count, self.steps, self.between, self.last, self.emptied = 0, [], {}, None, set()
        self._watched, self._handles = {}, []

    @property
    def seen(self):
        """All that is kept, by the number of the step."""
        return dict(enumerate(self.steps, 1)) | self.between | {STEPS: self.last}

    def __enter__(self):
        self._handles += register_module_forward_hook(self._called), register_optimizer_step_pre_hook(self._stepping)
        return self

    def __exit__(self, *error):
        for handle in self._handles:
            handle.remove()

    def _called(self, module, inputs, output):
        if not (inputs and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor)):
            return
        if self.last is None or self.last["gradients"]:
            self.last = {"calls": {}, "gradients": {}}
            self.count += 1
            if self.count <= FIRST:
                self.steps.append(self.last)
            elif self.count in BETWEEN:
                self.between[self.count] = self.last
        self.last["calls"][module] = inputs[0].detach().clone(), output.detach().clone()
        for weight in module.parameters(recurse=False):
            if weight.requires_grad and id(weight) not in self._watched:
                self._watched[id(weight)] = weight
                self._handles.append(weight.register_post_accumulate_grad_hook(self._learned))

    def _learned(self, weight):
        self.last["gradients"][id(weight)] = weight.detach().clone(), weight.grad.clone()

    def _stepping(self, optimiser, *_):
        if self.count == 1:
            for weight in (weight for group in optimiser.param_groups for weight in group["params"]):
                _, gradient = self.last["gradients"].get(id(weight), (None, None))
                if gradient is not None and gradient.any() and (weight.grad is None or not weight.grad.any()):
                    self.emptied.add(id(weight))


def _three(result):
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        raise TypeError("expected encoder, decoder, bounds")
    return 3


def _training(result, watch, images):
    """What is wrong with a training run, as a sentence; None if nothing is."""
    run = dict(zip(("encoder", "decoder", "bounds"), result), watch=watch, images=images)
    for look in (_networks, _steps_taken, _finite, _reported, _draws, _gradients, _noise, _progress):
        if sentence := look(**run):
            return sentence
    return None


def _networks(encoder, decoder, bounds, images, **_):
    """Kind and shape of what is returned."""
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        if not isinstance(network, nn.Module):
            return f"For the {name}, expected a network (nn.Module), got {type(network).__name__}."
    x, z = images[:5], torch.zeros(5, LATENTS)
    for name, network, given, asked in (
        ("encoder", encoder, x, (5, 2 * LATENTS)),
        ("decoder", decoder, z, (5, *IMAGE_SHAPE)),
    ):
        try:
            with torch.no_grad():
                result = network(given)
        except Exception as error:
            described = f"{with_article(type(error).__name__)}: {error}"
            return f"Given {list(given.shape)}, the {name} stops with {described}."
        if not isinstance(result, torch.Tensor) or result.shape != asked:
            got = f"shape {list(result.shape)}" if isinstance(result, torch.Tensor) else f"a {type(result).__name__}"
            hint = "" if name == "decoder" else " The means and the log-variances stand side by side in one tensor."
            return f"For {list(given.shape)} into the {name}, expected shape {list(asked)}, got {got}.{hint}"
        asked = {"encoder": _weights(784, 2 * LATENTS), "decoder": _weights(LATENTS, 784)}[name]
        got = sum(weight.numel() for weight in network.parameters())
        if got != asked:
            return (
                f"For the {name} with {HIDDEN} hidden units and {LATENTS} latents, expected {asked:,} weights and "
                f"biases, got {got:,}. It has one hidden layer, and each of its two layers has biases."
            )
        if sentence := _activation(name, network, given):
            return sentence
    if len(bounds) != STEPS:
        return f"For {STEPS} steps, expected {STEPS} bounds, got {len(bounds)}. Each step adds one number."
    return None


def _weights(inputs, outputs):
    return (inputs + 1) * HIDDEN + (HIDDEN + 1) * outputs


def _activation(name, network, given):
    """tanh is bounded and odd: far out on a line, two opposite inputs give twice the last bias together."""
    with torch.no_grad():
        far, farther, opposite = (network(scale * (given + 0.1)).flatten(1) for scale in (1e6, 1e7, -1e6))
        if name == "decoder" and ((far >= 0) & (far <= 1)).all() and ((opposite >= 0) & (opposite <= 1)).all():
            return (
                "The decoder's last step is a sigmoid, so it gives probabilities. Expected logits, which may be any "
                "number: the log-likelihood is computed from them, and then a sigmoid would be applied twice."
            )
        biases = [weight for weight in network.parameters() if weight.ndim == 1 and weight.numel() != HIDDEN]
        bias = torch.cat(biases) if biases else far.new_zeros(0)
        if (far - farther).abs().max() > 1e-2 * (1 + far.abs().max()):
            return (
                f"The {name}'s hidden layer is not tanh: its output grows without end when its input does. (If there "
                "is nothing between two linear layers, they are one.)"
            )
        if bias.numel() == far.shape[1] and ((far + opposite) / 2 - bias).abs().max() > 1e-2 * (1 + far.abs().max()):
            return f"The {name}'s hidden layer is not tanh, or something follows its last linear layer."
    return None


def _steps_taken(encoder, decoder, watch, images, **_):
    """Whether the networks are called, learn, and see minibatches."""
    for name, network in (("encoder", encoder), ("decoder", decoder)):
        if watch.last is None or network not in watch.last["calls"]:
            return f"The {name} that you return is not called in the loop. Call it as {name}(...), and return it."
        gradients = watch.steps[0]["gradients"]
        known = [(weight, *gradients[id(weight)]) for weight in network.parameters() if id(weight) in gradients]
        if gradients and not known and name == "decoder":
            return "No gradient reaches the decoder: the loss does not depend on its output, or it is detached."
        if known and all(bool((now == before).all()) for now, before, _ in known):
            learning = {id(weight) for weight, _, gradient in known if gradient.any()}
            if learning and learning <= watch.emptied:
                return (
                    f"The weights of the {name} do not change in the first step, because their gradients are gone when "
                    "step() is called: zero_grad() must not stand between backward() and step()."
                )
            return (
                f"The weights of the {name} do not change in the first step. Check that the optimiser has them, and "
                "that its step() is called after backward()."
            )
    if not watch.steps[0]["gradients"]:
        return "No weight gets a gradient: expected a call of backward() in each step."
    for number, step in watch.seen.items():
        for name, network in (("encoder", encoder), ("decoder", decoder)):
            if network not in step["calls"]:
                return f"The {name} that you return is not called in step {number}. Call both networks in each step."
    first, second = (step["calls"][encoder][0].reshape(-1, *IMAGE_SHAPE) for step in watch.steps[:2])
    if len(first) == len(images):
        return f"Each step takes all {len(images)} images. Expected random minibatches of {MINIBATCH}."
    for number, step in watch.seen.items():
        if (size := len(step["calls"][encoder][0].reshape(-1, *IMAGE_SHAPE))) != MINIBATCH:
            where = "a minibatch" if size == len(first) else f"the minibatch of step {number}"
            return f"For {where}, expected {MINIBATCH} images, got {size}."
    if not (first[:, None] == images).flatten(2).all(2).any(1).all():
        return "What goes into the encoder is not one of the images. Look at the line that chooses the minibatch."
    if len(first.flatten(1).unique(dim=0)) < MINIBATCH / 2:
        return "The minibatch holds the same images many times. Choose each of its images at random."
    if (first == second).all():
        return "The first two steps take the same minibatch. Choose images at random, anew in each step."
    if (first == images[:MINIBATCH]).all():
        return "The minibatches are taken in the order of the images. Choose images at random."
    return None


def _numbers(step, encoder, decoder):
    """Images, means, log-variances, codes and logits of a step."""
    (x, output), (z, logits) = step["calls"][encoder], step["calls"][decoder]
    x = x.reshape(-1, *IMAGE_SHAPE)
    return x, *output.chunk(2, -1), z.reshape(-1, *output[..., :LATENTS].shape), logits.reshape(-1, *x.shape)


def _std(log_variance):
    return torch.exp(log_variance / 2)


def _finite(encoder, decoder, watch, **_):
    """Whether the numbers stay numbers."""
    for number, step in watch.seen.items():
        numbers = _numbers(step, encoder, decoder)
        std = _std(numbers[2])
        if not ((std > 0).all() and all(part.isfinite().all() for part in (*numbers, std))):
            when = f"by step {number}" if number > FIRST else "in the first steps already"
            return (
                f"Training diverges: {when}, your networks give inf or nan, or a σ of 0 or inf. Look at the step size "
                "(0.003 is a good one for Adam), and for a logarithm of 0 or an exponential of a large number."
            )
    return None


def _reported_bound(numbers, *, read=itself, halves=lambda both: both.chunk(2, -1), **slips):
    """The mean bound of a minibatch, from what went through the networks."""
    x, mean, log_variance, z, logits = numbers
    mean, log_variance = halves(torch.cat([mean, log_variance], -1))
    return score(x, mean, read(log_variance), z, logits, **{"batch": torch.mean} | slips)


_REPORT_MISTAKES = mistakes_in(
    _reported_bound,
    {
        "You report the bound of a single image. Report the mean over the minibatch.": lambda numbers: _reported_bound(
            numbers, batch=lambda values: values[0]
        )
    },
    pairs=("batch", "pixels", "latents", "weight"),
    batch={
        "You report the sum over the minibatch. The task asks for the mean, in nats per image.": torch.sum,
        "You report the bound divided by 784, per pixel. The task asks for nats per image.": lambda v: v.mean() / 784,
    },
    combine={EQ_6: lambda fit, rate, p, q: (fit + p - q).mean(0)} | SIGNS,
    read=READ,
    halves=HALVES,
    **SCORE_SLIPS,
)


def _reported(encoder, decoder, bounds, watch, **_):
    """The bounds that are returned, against those of the numbers that went through the networks."""
    numbers = {number: _numbers(step, encoder, decoder) for number, step in watch.seen.items()}

    def my_vae(step):
        return torch.as_tensor(bounds[step - 1]).detach()

    def right(step, **_):
        return _reported_bound(numbers[step])

    mistakes = [replace(m, function=lambda step, m=m: m.function(numbers[step])) for m in _REPORT_MISTAKES]
    cases = [Case(f"step {step} of {STEPS}", (step,), view=itself) for step in numbers]
    verdict = verdict_on(my_vae, right, cases, mistakes, right="")
    if verdict.right:
        return None
    found = verdict.text.removeprefix("Not right yet. ")
    return f"The bounds that you return are not those of what went through your networks. {found}"


def _noises(encoder, decoder, watch):
    """Of each step that is watched, the ε behind the codes, [1, B, J]."""
    seen = [_numbers(step, encoder, decoder) for step in watch.seen.values()]
    return [(z - mean) / _std(log_variance) for _, mean, log_variance, z, _ in seen]


def _draws(encoder, decoder, watch, **_):
    """Whether z is a draw of q(z|x), by the noise behind it."""
    noise = _noises(encoder, decoder, watch)
    for part in noise:
        if part.shape != (1, MINIBATCH, LATENTS):
            return f"For each image, expected one code to be decoded, got {len(part)}."
    if noise[0].abs().max() < 1e-3:
        return (
            "No noise is drawn: the decoder gets the mean of q instead of z. The number is then not a bound (it is "
            "too high), and training does not learn a useful width of q."
        )
    if (noise[0] - noise[1]).abs().max() < 1e-3:
        return "The noise is the same in every step: training fits this one draw. Draw it inside the loop."
    for what, index in (("images of a minibatch", 1), ("latents of an image", 2)):
        if (noise[0] - noise[0].narrow(index, 0, 1)).abs().max() < 1e-3:
            return f"All {what} get the same noise. Draw noise of the shape of the means, [{MINIBATCH}, {LATENTS}]."
    if noise[0].min() > -1e-3 and noise[0].max() < 1 + 1e-3:
        return "The noise is uniform between 0 and 1, from torch.rand. It should be Gaussian, from torch.randn."
    return None


def _noise(encoder, decoder, watch, **_):
    """Whether the noise may be from N(0, I)."""
    noise = torch.stack(_noises(encoder, decoder, watch))
    try:
        require_like(noise)
    except ValueError:
        return (
            f"Expected (z - μ) / σ to be noise from N(0, 1), got numbers with mean {noise.mean():.2f} and standard "
            f"deviation {noise.std():.2f}. Look at the line that draws z."
        )
    return None


_BETAS = {
    0.0: "is the KL missing from it?",
    -1.0: "does the KL have the wrong sign?",
    2.0: "is the factor ½ of the KL missing?",
    0.5: "is the factor ½ of the KL there twice?",
    784.0: "is the fit averaged over the pixels, not summed?",
    1 / LATENTS: "is the KL averaged over the latents, not summed?",
    float(MINIBATCH): "is the KL summed over the minibatch, and the fit averaged?",
    1 / MINIBATCH: "is the fit summed over the minibatch, and the KL averaged?",
}
_NO_MEANS = "The gradient of the fit does not reach the means: in the draw μ is detached, or missing. Draw z = μ + σ ε."
# Of the draw z = μ + σ ε: what stands for μ, what for σ, and a sentence if that is not as it should be.
_DRAWS = [
    (itself, _std, None),
    (
        itself,
        torch.exp,
        "exp(log-variance) is used as σ in the draw. It is σ²: the standard deviation is exp(½ log-variance).",
    ),
    (itself, itself, "The log-variance is used as σ in the draw: an exp(½ ·) is missing."),
    (
        itself,
        lambda v: _std(v).detach(),
        "The gradient of the fit does not reach the log-variances: in the draw σ is detached, or missing. Draw z = μ + "
        "σ ε.",
    ),
    (torch.Tensor.detach, _std, _NO_MEANS),
    (torch.zeros_like, _std, _NO_MEANS),
]


def _explained(step, encoder, decoder):
    """Of a step: a sentence on μ and σ or None, and what its gradients have of fit and KL. None if that is not all."""
    ours = _found(step, encoder, decoder)
    for *draw, text in _DRAWS:
        shares = [_share(*pair) for pair in zip(ours, _right_gradients(step, encoder, decoder, *draw))]
        if all(rest < 1e-2 for _, rest in shares):
            return text, *shares[0][0].tolist(), *shares[1][0].tolist()
    return None


def _gradients(encoder, decoder, watch, **_):
    """The gradients that the optimiser sees, against those of fit and KL."""
    first, second = watch.steps[:2]
    explained = _explained(first, encoder, decoder)
    if explained is None:
        return (
            "The gradients of the first step are not those of the bound, whatever the weights of its two terms. Look "
            "at the loss that backward() is called on, and for a detach(), item(), sample() or no_grad() on the way."
        )
    wanted = [_right_gradients(step, encoder, decoder, itself, _std) for step in (first, second)]
    ours, again = (_found(step, encoder, decoder) for step in (first, second))
    added = [_share(now - before, columns)[1] for now, before, columns in zip(again, ours, wanted[1])]
    if explained[0] is None and _explained(second, encoder, decoder) is None and max(added) < 1e-2:
        return (
            "In the second step the gradients of the first are still there, and the new ones are added to them. Call "
            "optimiser.zero_grad() in each step, before backward()."
        )
    betas = {}
    for number, step in watch.seen.items():
        explained = _explained(step, encoder, decoder)
        if explained is None:
            where = f"step {number} of {STEPS}"
            return f"The gradients of {where} are not those of the bound. Does the loss change on the way?"
        text, fit, rate, in_decoder = explained
        betas[number] = rate / fit if fit else 0.0
    if abs(fit) < 1e-3 * abs(in_decoder):
        return (
            "The gradient of the fit does not reach the encoder, which learns from the KL alone: z is detached, or "
            "drawn by sample(), under no_grad() or from the prior. Draw z = μ + σ ε."
        )
    if text:
        return text
    beta = betas[1]
    others = [number for number in betas if abs(betas[number] - beta) > 1e-2 * (1 + abs(beta))]
    if others:
        other = others[-1]
        when = "in the last" if other == STEPS else f"in step {other} of {STEPS}"
        return (
            f"The bounds that you return are right, but the loss weighs the KL with β = {beta:.3g} in the first step, "
            f"and with {betas[other]:.3g} {when}. Expected 1 in each: look for a warm-up or a clamp."
        )
    if abs(beta - 1) > 1e-2:
        known = min(_BETAS, key=lambda value: abs(beta - value))
        reason = _BETAS[known] if abs(beta - known) < 0.01 * max(1, abs(known)) else "look at its weight."
        return f"The bounds that you return are right, but the loss weighs the KL with β = {beta:.3g}: {reason}"
    moved = [after - before for after, before in zip(*(_found(s, encoder, decoder, 0) for s in (second, first)))]
    if sum(move @ columns[:, 0] for move, columns in zip(moved, wanted[0])) < 0:
        return "The first step lowers the bound. An optimiser minimises: call backward() on minus the bound."
    return None


def _found(step, encoder, decoder, which=1):
    """Of encoder and decoder, the gradients that were seen in a step; with `which` = 0 the weights."""
    seen = step["gradients"]
    return [
        torch.cat(
            [seen[id(w)][which].flatten() if id(w) in seen else 0 * w.detach().flatten() for w in net.parameters()]
        )
        for net in (encoder, decoder)
    ]


def _right_gradients(step, encoder, decoder, place, std):
    """For the encoder the gradients of fit and minus KL, for the decoder that of the fit, in columns."""
    x, mean, log_variance, z, _ = _numbers(step, encoder, decoder)
    noise = (z - place(mean)) / std(log_variance)
    then = [copy.deepcopy(net) for net in (encoder, decoder)]
    for net, weights in zip(then, _found(step, encoder, decoder, 0)):
        nn.utils.vector_to_parameters(weights, net.parameters())
    mean, log_variance = then[0](x).chunk(2, -1)
    z = place(mean) + std(log_variance) * noise
    fit, rate = (
        score(x, mean, log_variance, z, then[1](z), combine=combine, batch=torch.mean)
        for combine in (lambda fit, rate, p, q: fit.mean(0), lambda fit, rate, p, q: -rate)
    )

    def gradient(value, net):
        weights = list(net.parameters())
        gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten() for g in gradients])

    return torch.stack([gradient(fit, then[0]), gradient(rate, then[0])], 1), gradient(fit, then[1])[:, None]


def _share(ours, columns):
    """Least squares: how much of each column is in a gradient, and the share that no column explains."""
    if not ours.any():
        return torch.zeros(columns.shape[1]), 0.0
    size = columns.norm(dim=0)
    shares = torch.linalg.lstsq((columns / size).double(), ours.double()[:, None]).solution[:, 0]
    rest = ours - (columns / size).double() @ shares
    return shares / size, (rest.norm() / ours.norm()).item()


def _progress(encoder, decoder, bounds, images, **_):
    """Whether the networks that are returned have learned."""
    with torch.no_grad():
        mean, log_variance = encoder(images).chunk(2, -1)
        z = mean + _std(log_variance) * torch.randn(5, *mean.shape)
        end = score(images, mean, log_variance, z, decoder(z.flatten(0, 1)).unflatten(0, (5, -1))).mean().item()
    if not end > GOOD:
        return (
            f"In {STEPS} steps the bound goes from {float(bounds[0]):.0f} to {end:.0f} nats per image; expected at "
            f"least {GOOD}. All gradients are right, so look at the step size: 0.003 is a good one for Adam."
        )
    return None


@undisturbed
def algorithm_1(answer):
    """Exercise `my_vae`: encoder, decoder, bound and training loop.

    The function gets binary images [N, 1, 28, 28], latent_size J, hidden, the units of the one hidden layer of each
    network, and steps. It returns an encoder, images to [B, 2J], a decoder, codes to logits [B, 1, 28, 28], and the
    mean bound of each minibatch of 100, in nats per image.
    """
    images, runs = _drawings(400), []

    @wraps(answer)
    def watched(*arguments):
        with _Watch() as watch:
            result = answer(*arguments)
        runs.append((result, watch))
        return result

    case = Case(
        f"{STEPS} steps with {LATENTS} latents and {HIDDEN} hidden units", (images, LATENTS, HIDDEN, STEPS), view=_three
    )
    right = (
        "Encoder, draw, decoder, score, step: all numbers and gradients are those of Algorithm 1, and the bound rises. "
        "The networks have the library's interface, so every function of this course can work with them."
    )
    watched = watched if callable(answer) else answer
    return verdict_on(
        watched, lambda *_: ("", "", ""), [case], right=right, probes=[lambda _: _training(*runs[-1], images)]
    )
