"""Feedback on the exercises of lesson 02: Eq. 7 with several draws, and with the mean of q instead of a draw.

The models that an answer gets remember the codes that it decodes. So the right bound is computed from the answer's own
draws, to the last digit, and a draw that is not from q(z|x) is noticed.
"""

import math
from functools import partial, wraps

import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal
from torch.nn import functional as F

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

IMAGE_SHAPE = (1, 28, 28)


# --- a model that remembers what it decodes


class _Decoder(nn.Module):
    """Codes [..., J] to logits [..., 1, 28, 28]; all copies of one decoder remember codes in the same list."""

    def __init__(self, net):
        super().__init__()
        self.net, self.decoded = net, _Memory()

    def forward(self, z):
        self.decoded.append(z.detach())
        return self.net(z)


class _Memory(list):
    result = None  # what the answer made of the codes

    def __deepcopy__(self, memo):
        return self


class _VAE(nn.Module):
    """The lesson's model: three distributions, fed by two networks."""

    def __init__(self, latent_size):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 2 * latent_size))
        net = (nn.Linear(latent_size, 12), nn.Tanh(), nn.Linear(12, 784), nn.Unflatten(-1, IMAGE_SHAPE))
        self.decoder = _Decoder(nn.Sequential(*net))
        self.prior = Independent(Normal(torch.zeros(latent_size), torch.ones(latent_size)), 1)

    def encode(self, x):
        mean, log_variance = self.encoder(x).chunk(2, -1)
        return Independent(Normal(mean, torch.exp(0.5 * log_variance)), 1)

    def decode(self, z):
        return Independent(Bernoulli(logits=self.decoder(z)), 3)


def _model(num_images, latent_size, learns=True):
    """A model whose q is neither the prior nor a needle, and binary images for it."""
    generator = torch.Generator().manual_seed(10 * num_images + latent_size)
    vae = _VAE(latent_size)
    with torch.no_grad():
        for layer, weight, bias in ((vae.encoder[1], 0.1, 0.3), (vae.decoder.net[0], 1.0, 0.5)):
            layer.weight.normal_(0.0, weight, generator=generator)
            layer.bias.normal_(0.0, bias, generator=generator)
        vae.encoder[1].bias[latent_size:] -= 0.8  # log-variances
        vae.decoder.net[2].weight.normal_(0.0, 0.6, generator=generator)
        vae.decoder.net[2].bias.normal_(0.0, 1.0, generator=generator)
    vae.requires_grad_(learns)
    x = (torch.rand(num_images, *IMAGE_SHAPE, generator=generator) < 0.4).to(torch.get_default_dtype())
    return vae, x


def _remembering(answer):
    """The answer, by a model that has forgotten what it decoded before."""

    @wraps(answer)
    def remembering(vae, x, *rest):
        vae.decoder.decoded.clear()
        vae.decoder.decoded.result = answer(vae, x, *rest)
        return vae.decoder.decoded.result

    return remembering if callable(answer) else answer


# --- the score of one draw or more


def itself(value):
    return value


def _log_mean(values):
    return values.logsumexp(0) - math.log(len(values))


def _cross_entropy(x, logits):
    return x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)


def _running(values):
    total = values[0]
    for value in values[1:]:
        total = (total + value) / 2
    return total


def score(
    x,
    mean,
    log_variance,
    z,
    logits,
    *,
    per_pixel=_cross_entropy,
    pixels=lambda terms: terms.sum((-3, -2, -1)),
    squash=itself,
    variance=torch.exp,
    square=torch.square,
    one=1.0,
    log=itself,
    latents=lambda terms: terms.sum(-1),
    weight=0.5,
    turned=False,
    combine=lambda fit, rate, p, q: fit.mean(0) - rate,
    batch=itself,
):
    """The bound of images [B, ...] from logits [L, B, ...] of codes z [L, B, J]; p, q are log p(z), log q(z|x)."""
    fit = pixels(per_pixel(x, squash(logits)))
    p, q = Normal(0.0, 1.0).log_prob(z).sum(-1), Normal(mean, torch.exp(log_variance / 2)).log_prob(z).sum(-1)
    if turned:  # what q is to the prior, the prior is to this
        mean, log_variance = mean * torch.exp(-log_variance / 2), -log_variance
    rate = weight * latents(square(mean) + variance(log_variance) - one - log(log_variance))
    return batch(combine(fit, rate, p, q))


SCORE_SLIPS = dict(
    per_pixel={
        "Only pixels with ink count: log p(x|z) has a second term, (1 - x) log(1 - y), for paper. Without it the "
        "decoder paints everything black.": lambda x, a: x * F.logsigmoid(a),
        "Only pixels of paper count: the term x log y is missing.": lambda x, a: (1 - x) * F.logsigmoid(-a),
        "This is minus the squared error. Binary "
        "images have a Bernoulli log-likelihood, x log y + (1 - x) log(1 - y).": lambda x, a: -((x - a.sigmoid()) ** 2),
        "This is minus half the squared error, as for Gaussian pixels. Binary images have a Bernoulli log-likelihood, "
        "x log y + (1 - x) log(1 - y).": lambda x, a: -((x - a.sigmoid()) ** 2) / 2,
        "Ink and paper are exchanged: x belongs to log y, 1 - x to log(1 - y).": lambda x, a: _cross_entropy(1 - x, a),
        "The logarithm is missing: this adds probabilities of pixels, not their logarithms.": lambda x, a: (
            _cross_entropy(x, a).exp()
        ),
    },
    pixels={
        "You take the mean over the pixels, but log p(x|z) is the sum over all 784. The KL then weighs 784 times too "
        "much (β = 784), and training ends in posterior collapse.": lambda t: t.mean((-3, -2, -1)),
        "Your sum over pixels leaves an axis of length 1 behind, and [B, 1] minus [B] is broadcast to [B, B]: every "
        "image's fit beside every image's KL. Sum over the last three axes.": lambda t: t.sum((-2, -1)),
        "You take the mean over pixels and images at once. Sum over the pixels of each image.": torch.mean,
        "You take the mean over rows or columns of pixels. Sum over all three axes.": lambda t: (
            t.sum((-3, -2, -1)) / 28
        ),
    },
    squash={
        "A sigmoid is applied twice: its output is taken for logits, which pass through a sigmoid again. No pixel can "
        "then be fainter than 0.5 or surer than 0.73.": torch.sigmoid
    },
    variance={
        "In the KL, σ stands where σ² belongs: the variance is exp(log-variance).": lambda v: torch.exp(v / 2),
        "In the KL, exp(log-variance) is squared, but it is σ² already.": lambda v: torch.exp(2 * v),
        "In the KL, the log-variance stands where the variance belongs: an exp() is missing.": itself,
        "In the KL, the log-variance is squared. The variance is exp(log-variance).": torch.square,
        "In the KL, σ² is missing: its terms are μ² + σ² - 1 - log σ².": torch.zeros_like,
    },
    square={
        "In the KL, the mean is not squared.": itself,
        "In the KL, μ² is missing: codes may then move as far from the prior as they like.": torch.zeros_like,
        "In the KL, the absolute value of μ stands where μ² belongs.": torch.abs,
    },
    one={
        "In the KL, the -1 for each latent is missing: a q that equals the prior would cost ½ nat for each.": 0.0,
        "In the KL, the 1 has the wrong sign: the terms are μ² + σ² - 1 - log σ².": -1.0,
    },
    log={
        "In the KL, log σ stands where log σ² belongs, which is the log-variance itself.": lambda v: v / 2,
        "In the KL, log σ² has the wrong sign: the terms are μ² + σ² - 1 - log σ².": torch.neg,
        "In the KL, log σ² is missing: nothing keeps q from becoming a needle.": torch.zeros_like,
    },
    turned={"The KL is the other way round, KL(prior || q). The bound has KL(q || prior).": True},
    latents={
        "You take the mean over the latents, but the KL is the sum over all J. It then weighs J times too little (β = "
        "1/J): samples from the prior get worse.": lambda t: t.mean(-1),
        "You sum the KL over the wrong axis: over the images, not over the latents. It goes unnoticed when the batch "
        "is as large as the latent space.": lambda t: t.sum(0),
        "You sum the KL over all images and latents. Each image has a KL of its own.": torch.sum,
        "You take the mean of the KL over all images and latents. Each image has a KL of its own, the sum over its "
        "latents.": torch.mean,
        "You average the KL over the images. Each image has a KL of its own.": lambda t: t.sum(-1).mean(),
    },
    weight={
        "The KL has the wrong sign: the bound is the fit minus the KL. Training would reward codes that are far from "
        "the prior.": -0.5,
        "The factor ½ of the KL is missing, so it weighs twice what it should (β = 2).": 1.0,
        "The factor ½ of the KL is missing, and its sign is wrong: the bound is the fit minus the KL.": -1.0,
        "The factor ½ of the KL is there twice (β = ½).": 0.25,
        "The KL "
        "is missing: this is the fit alone, as of a plain autoencoder. Draws from the prior would mean nothing.": 0.0,
    },
)
SIGNS = {
    "log q(z|x) is missing: only log p(x, z) is left, at the codes that are decoded.": lambda fit, rate, p, q: (
        fit + p
    ).mean(0),
    "log p(z) is missing: log p(x|z) - log q(z|x) is left, at the codes that are decoded.": lambda fit, rate, p, q: (
        fit - q
    ).mean(0),
    "The sign of the whole is turned: this is the loss, minus the bound. Maximising it would make the model worse with "
    "every step.": lambda fit, rate, p, q: rate - fit.mean(0),
    "The fit has the wrong sign: this is the cross-entropy, "
    "minus log p(x|z). The bound is log p(x|z) minus the KL.": lambda fit, rate, p, q: -fit.mean(0) - rate,
    "The fit is missing: only the KL is left.": lambda fit, rate, p, q: -rate + 0 * fit.mean(0),
    "The fit is missing: only the KL is left, without its minus.": lambda fit, rate, p, q: rate + 0 * fit.mean(0),
}
EQ_6 = (
    "This is Eq. 6, with log p(z) - log q(z|x) at the draws instead of the KL. It is right on average; the task "
    "asks for Eq. 7, whose KL is known in closed form and adds no noise."
)


# --- where codes come from


def _noise(vae, mean, std, count):
    """The noise behind the answer's codes, [count, B, J], if they are mean + std * noise; own noise for no codes."""
    decoded = [codes.reshape(-1, mean.shape[-1]) for codes in vae.decoder.decoded]
    if not decoded:
        return torch.randn(count, *mean.shape, dtype=mean.dtype)
    codes = torch.cat(decoded).to(mean.dtype)
    orders = codes.view(count, *mean.shape), codes.view(len(mean), count, -1).transpose(0, 1)
    return min(((z - mean.detach()) / std.detach() for z in orders), key=lambda noise: noise.square().mean())


def require_like(noise, distribution=torch.special.ndtr):
    """Raise ValueError unless each number of `noise` may be an independent draw from this distribution function.

    By the test of Kolmogorov and Smirnov; by chance draws would fail it once in 100,000 times.
    """
    shared = any(
        size > 1 and bool((noise - noise.narrow(dim, 0, 1)).abs().max() < 1e-3) for dim, size in enumerate(noise.shape)
    )
    share = distribution(noise.flatten().double()).sort().values
    wanted = (torch.arange(len(share)) + 0.5) / len(share)
    if shared or (share - wanted).abs().max() > 2.5 / len(share) ** 0.5:
        raise ValueError("these are not draws")


def _drawn(
    vae, mean, log_variance, count, *, std=lambda v: torch.exp(v / 2), at=1.0, spread=1.0, cut=("",), every=None
):
    """Codes z = at * mean + std * noise [count, B, J], from the noise that the answer drew."""
    width = std(log_variance)
    noise = _noise(vae, at * mean, width, count)
    if every is None:
        require_like(noise / (spread if isinstance(spread, float) else spread(count)))
    else:  # the same for all along one dimension
        one = noise.narrow(every, 0, 1)
        if (noise - one).abs().max() > 1e-3:
            raise ValueError("each has its own")
    mean, width = (part.detach() if name in cut else part for name, part in (("mean", mean), ("std", width)))
    return at * mean + width * noise


def _once(vae, mean, log_variance, count, averaged=False):
    """One code for each image, where `count` were asked for."""
    if count > 1:
        return _drawn(vae, mean, log_variance, 1, spread=count**-0.5 if averaged else 1.0)
    return _drawn(vae, mean, log_variance, 1)


def _from_prior(vae, mean, log_variance, count):
    z = _noise(vae, torch.zeros_like(mean), torch.ones_like(mean), count)
    require_like(z)
    return z


def _uniform(vae, mean, log_variance, count, low=0.0):
    noise = _noise(vae, mean, torch.exp(log_variance / 2), count)
    require_like(noise, lambda value: ((value - low) / (1 - low)).clamp(0, 1))
    return mean + torch.exp(log_variance / 2) * noise


def _mean(vae, mean, log_variance, count):
    return mean.expand(count, *mean.shape)


def _drawn_or_not(vae, mean, log_variance, count):
    """As `_drawn`; other draws if the answer's are not from q(z|x)."""
    try:
        return _drawn(vae, mean, log_variance, count)
    except (ValueError, RuntimeError):
        return mean + torch.exp(log_variance / 2) * torch.randn(count, *mean.shape, dtype=mean.dtype)


def _bound(
    vae,
    x,
    num_samples,
    *,
    halves=lambda both: both.chunk(2, -1),
    read=itself,
    source=_drawn_or_not,
    network=lambda net, z: net(z),
    **slips,
):
    mean, log_variance = halves(vae.encoder(x))  # [B, J] each
    log_variance = read(log_variance)
    z = source(vae, mean, log_variance, num_samples)
    return score(x, mean, log_variance, z, network(vae.decoder.net, z), **slips)


def _bound_at_mean(vae, x, *, source=_mean, **slips):
    return _bound(vae, x, 1, source=source, **slips)


_PAIRS = "source", "pixels", "latents", "variance", "weight", "squash"
_BATCH = {
    "The bound is divided by 784, per pixel. The task asks for nats per image.": lambda v: v / 784,
    "You sum over the batch; the task asks for one number for each image.": torch.sum,
    "You average over the batch, which the training loop does, once, at the end; the task asks for one number for each "
    "image, so that images can be compared.": torch.mean,
}
READ = {
    "exp(log-variance) is used as σ. It is σ²: the standard deviation is exp(½ log-variance).": lambda v: 2 * v,
    "The second half of the encoder's output is used as σ itself. It is log σ²: σ is exp(½ log-variance).": lambda v: (
        2 * v.abs().log()
    ),
}
HALVES = {
    "The halves of the encoder's output are exchanged: the means come first, then the log-variances.": lambda both: (
        both.chunk(2, -1)[::-1]
    ),
    "Means and log-variances are read in turn, every second number. The first half holds the means, the second the "
    "log-variances.": lambda both: (both[..., ::2], both[..., 1::2]),
}


def _logit_of_mean(net, z):
    return torch.logit(torch.sigmoid(net(z)).mean(0, keepdim=True))


_SOURCES = {
    "No noise is drawn: the mean of q stands for z. The number is then not a bound (it is too high), and training "
    "would make q as narrow as it can.": _mean,
    "z "
    "is drawn from the prior, not from q(z|x): the decoder never sees what the encoder says of the image.": _from_prior,
    "The draw is detached, as by sample() or no_grad(): the gradient of the fit does not reach the encoder. Use "
    "rsample().": partial(_drawn, cut=("mean", "std")),
    "σ is detached in the draw: the gradient of the fit reaches the encoder's mean, not its log-variance.": partial(
        _drawn, cut=("std",)
    ),
    "μ is detached in the draw: the gradient of the fit reaches the encoder's log-variance, not its mean.": partial(
        _drawn, cut=("mean",)
    ),
    "In the draw, exp(log-variance) is used as σ. It is σ²: the standard deviation is exp(½ log-variance).": partial(
        _drawn, std=torch.exp
    ),
    "In the draw, the log-variance is used as σ: an exp(½ ·) is missing.": partial(_drawn, std=itself),
    "In the draw, half the log-variance is used as σ: an exp() is missing.": partial(_drawn, std=lambda v: v / 2),
    "In the draw, exp(2 log-variance) is used as σ: the standard deviation is exp(½ log-variance).": partial(
        _drawn, std=lambda v: torch.exp(2 * v)
    ),
    "The noise is not multiplied by σ: z = μ + σ ε.": partial(_drawn, std=torch.ones_like),
    "μ is missing in the draw: z = μ + σ ε.": partial(_drawn, at=0.0),
    "All images of a batch get the same noise. Draw noise of shape [L, B, J]. Shared noise leaves the average right, "
    "but the errors of a batch no longer cancel.": partial(_drawn, every=1),
    "All latents of an image get the same noise. Draw noise of shape [L, B, J]: otherwise z stays on a line.": partial(
        _drawn, every=2
    ),
    "All draws of an image "
    "get the same noise. Draw noise of shape [L, B, J]: otherwise more draws change nothing.": partial(_drawn, every=0),
    "The noise is uniform, from torch.rand. It should be Gaussian, from torch.randn.": _uniform,
    "The noise is uniform between -1 and 1. It should be Gaussian, from torch.randn.": partial(_uniform, low=-1.0),
}
_BOUND_MISTAKES = mistakes_in(
    _bound,
    source=_SOURCES
    | {
        "The codes are averaged before they are decoded, so one code is left for each image. Eq. 7 averages log "
        "p(x|z), and a decoder is not linear: decode every draw, then average.": partial(_once, averaged=True),
        "One code is decoded for each image, whatever num_samples is: draw L of them.": _once,
        "The noise is divided by √L, as if the draws were already averaged. Each draw has the whole σ.": partial(
            _drawn, spread=lambda count: count**-0.5
        ),
        "The noise is divided by L. Each draw has the whole σ; only log p(x|z) is averaged.": partial(
            _drawn, spread=lambda count: 1 / count
        ),
    },
    network={
        "The logits are averaged over the draws. "
        "Eq. 7 averages log p(x|z): score every draw, then average.": lambda net, z: net(z).mean(0, keepdim=True),
        "The probabilities of the pixels are averaged over the draws. Eq. 7 averages log p(x|z): score every draw, "
        "then average.": _logit_of_mean,
    },
    combine={
        "You sum over the draws where Eq. "
        "7 averages: with L draws the fit counts L times and the KL once.": lambda fit, rate, p, q: fit.sum(0) - rate,
        "You sum the bound over the draws: divide by L.": lambda fit, rate, p, q: (fit - rate).sum(0),
        "You divide the KL by L too. The fit is averaged over the draws; the KL is one number, which is subtracted "
        "once.": lambda fit, rate, p, q: fit.mean(0) - rate / len(fit),
        "The KL is subtracted once for each draw. The "
        "fit is averaged over the draws, so the KL counts once.": lambda fit, rate, p, q: fit.mean(0) - rate * len(fit),
        "You divide by the number of images, not by the number of draws.": lambda fit, rate, p, q: (
            fit.sum(0) / fit.shape[1] - rate
        ),
        "You divide by the number of draws twice.": lambda fit, rate, p, q: fit.mean(0) / len(fit) - rate,
        "This is the log of a sum over the draws. Eq. 7 averages log p(x|z) itself.": lambda fit, rate, p, q: (
            fit.logsumexp(0) - rate
        ),
        "This is the log of a mean of p(x|z) over the draws; Eq. 7 is a mean of logs. With the KL beside it, yours is "
        "neither "
        "the ELBO nor the importance-weighted bound of lesson 05.": lambda fit, rate, p, q: _log_mean(fit) - rate,
        EQ_6: lambda fit, rate, p, q: (fit + p - q).mean(0),
        "This is the importance-weighted bound of lesson 05, the log of a mean of p(x, z) / q(z|x). It is a bound, and "
        "a tighter one; the task asks for Eq. 7, a mean of logs.": lambda fit, rate, p, q: _log_mean(fit + p - q),
        "log p(z) - log q(z|x) has the wrong sign.": lambda fit, rate, p, q: (fit - p + q).mean(0),
        "Only the last draw counts. Add up log p(x|z) of all draws, and divide by L.": lambda fit, rate, p, q: (
            fit[-1] - rate
        ),
        "Only the first draw counts. Add up log p(x|z) of all draws, and divide by L.": lambda fit, rate, p, q: (
            fit[0] - rate
        ),
        "Each new draw is averaged with all that came before, (old + new) / 2: the last counts half, the first hardly. "
        "Add up, and divide by L once.": lambda fit, rate, p, q: _running(fit) - rate,
        "A running average that starts at 0, (old + new) / 2, loses a part of the "
        "fit. Add up, and divide by L once.": lambda fit, rate, p, q: _running(torch.cat([0 * fit[:1], fit])) - rate,
        "The largest log p(x|z) of all draws is taken, not their mean.": lambda fit, rate, p, q: fit.amax(0) - rate,
        "The median over the draws is taken, not the mean.": lambda fit, rate, p, q: fit.median(0).values - rate,
        "You average over the wrong axis: over the images, not over the draws.": lambda fit, rate, p, q: (
            fit.mean(1) - rate
        ),
        "The fit is averaged over the images too. Average over the draws alone.": lambda fit, rate, p, q: (
            fit.mean() - rate
        ),
    }
    | SIGNS,
    pairs=_PAIRS,
    batch=_BATCH,
    read=READ,
    halves=HALVES,
    **SCORE_SLIPS,
)
_MEAN_MISTAKES = mistakes_in(
    _bound_at_mean,
    {
        "Only ½ μ² is left of the KL: it has σ² - 1 - log σ² too, which is the price of a narrow q.": lambda *args: (
            _bound_at_mean(*args, variance=torch.zeros_like, one=0.0, log=torch.zeros_like)
        )
    },
    source={
        "You decode the prior's mean, z = 0, for every image. Take the mean of q(z|x).": lambda vae, m, *rest: _mean(
            vae, 0 * m, *rest
        ),
        "You decode μ + σ. Take the mean alone.": lambda vae, m, v, n: _mean(vae, m + torch.exp(v / 2), v, n),
        "You decode σ, not μ.": lambda vae, mean, v, count: _mean(vae, torch.exp(v / 2), v, count),
        "You decode the log-variance, not the mean.": lambda vae, m, v, n: _mean(vae, v, v, n),
        "All images get the mean of all codes. Each image has a mean of its own.": lambda vae, m, v, n: _mean(
            vae, m.mean(0).expand_as(m), v, n
        ),
        # What may be a draw comes last: other codes may look like one.
        "There is "
        "still a draw in it. Here z is to be the mean of q(z|x), so that you can see what that shortcut does.": _drawn,
        "You draw z from the prior. Take the mean of q(z|x).": _from_prior,
    },
    combine={
        "The KL is replaced by log p(z) - log q(z|x) "
        "at z = μ. It is an average over q, not its value at one point.": lambda fit, rate, p, q: (fit + p - q).mean(0),
        "log q(z|x) - log p(z) at z = μ is added instead of the KL, with the wrong sign.": lambda fit, rate, p, q: (
            fit - p + q
        ).mean(0),
    }
    | SIGNS,
    pairs=_PAIRS,
    batch=_BATCH,
    read=READ,
    halves=HALVES,
    **SCORE_SLIPS,
)


def _seen_draws(vae, x, count):
    """A fact: how many codes were decoded, and whether they look like draws of q(z|x)."""

    def fact():
        codes, asked = sum(z[..., 0].numel() for z in vae.decoder.decoded), count * len(x)
        case = f"For {len(x)} images and {count} draw{'s' * (count > 1)}"
        if codes != asked:
            return f"{case}, expected {asked} codes to be decoded, got {codes}. Look at the shape of z."
        with torch.no_grad():
            mean, log_variance = vae.encoder(x).chunk(2, -1)
            noise = _noise(vae, mean, torch.exp(log_variance / 2), count)
        try:
            require_like(noise)
        except ValueError:
            return (
                f"{case}, expected (z - μ) / σ to be noise from N(0, 1), each number of its own, got numbers with mean "
                f"{noise.mean():.2f} and standard deviation {noise.std():.2f}. Look at the line that draws z."
            )
        return None

    return fact


def _seen_weights(vae, x, count):
    """A fact: of which multiples of fit and KL the result consists, if it does."""

    def fact():
        result = vae.decoder.decoded.result
        with torch.no_grad():
            terms = [
                _bound(vae, x, count, source=source, combine=combine)
                for source in [_drawn_or_not if count > 1 else _mean]
                for combine in (lambda fit, rate, p, q: fit.mean(0), lambda fit, rate, p, q: rate)
            ]
        if not isinstance(result, torch.Tensor) or result.shape != (len(x),):
            return None
        columns, result = torch.stack(terms, 1).double(), result.detach().double()
        weights = torch.linalg.lstsq(columns, result[:, None]).solution
        if ((columns @ weights)[:, 0] - result).abs().max() > 1e-4 * columns.abs().max():
            return None
        fit, rate = weights.flatten().tolist()
        if abs(fit - 1) < 1e-3 and abs(rate + 1) < 1e-3:
            return None
        sign = "+-"[rate < 0]
        return f"For {len(x)} images, expected 1 × fit - 1 × KL, got {fit:.3g} × fit {sign} {abs(rate):.3g} × KL."

    return fact


def _same_noise(answer):
    """Two calls have to draw twice."""
    vae, x = _model(2, 3)
    answer = _remembering(answer)
    calls = []
    for _ in range(2):
        answer(vae, x, 1)
        calls.append(torch.cat([torch.zeros(0), *(z.flatten() for z in vae.decoder.decoded)]))
    if len(calls[0]) and len(calls[0]) == len(calls[1]) and (calls[0] - calls[1]).abs().max() < 1e-4:
        return (
            "The noise is the same at every call: a seed is set inside the function. Training would fit this one draw "
            "and not the distribution."
        )
    return None


@undisturbed
def elbo(answer):
    """Exercise `elbo_many`: the bound of Eq. 7 with L draws for each image.

    The function gets a vae (the lesson's: `encode`, `decode`, `prior`, and the networks `encoder`, which returns means
    and log-variances side by side, [B, 2J], and `decoder`, which returns logits), binary images x [B, 1, 28, 28] and
    num_samples, L. It returns nats per image, [B], with gradients to both networks.
    """
    large = (*_model(40, 3), 25)
    cases = [
        Case("3 images, 5 latents, 4 draws", (*_model(3, 5), 4)),
        Case("4 images, 4 latents, 4 draws", (*_model(4, 4), 4)),
        Case("1 image, 1 latent, 1 draw", (*_model(1, 1), 1)),
        Case("5 images, 2 latents, 1 draw", (*_model(5, 2), 1)),
        Case("40 images, 3 latents, 25 draws", large),
    ]
    right = (
        "Pixels and latents are summed, draws averaged, and every image draws its own noise, through which the "
        "gradient reaches both μ and σ. More draws make the number less noisy, not larger."
    )
    facts = [_seen_draws(*large), _seen_weights(*large)]
    answer = _remembering(answer)
    return verdict_on(answer, _bound, cases, _BOUND_MISTAKES, right=right, probes=[_same_noise], facts=facts)


@undisturbed
def elbo_at_mean(answer):
    """Exercise `elbo_at_mean`: what a program reports that decodes the mean of q instead of a draw.

    The function gets a vae and binary images x, as in `elbo`. It returns log p(x|z) at z = the mean of q(z|x), minus
    KL(q(z|x) || p(z)): nats per image, [B]. No gradient is asked for.
    """
    many = _model(30, 3, learns=False)
    cases = [
        Case("3 images, 5 latents", _model(3, 5, learns=False)),
        Case("4 images, 4 latents", _model(4, 4, learns=False)),
        Case("1 image, 1 latent", _model(1, 1, learns=False)),
        Case("30 images, 3 latents", many),
    ]
    right = (
        "The rate is that of a noisy code, and the distortion that of a noiseless one, so the sum is no bound on log "
        "p(x): it flatters, and the more so the wider q is."
    )
    facts = [_seen_weights(*many, 1)]
    return verdict_on(_remembering(answer), _bound_at_mean, cases, _MEAN_MISTAKES, right=right, facts=facts)
