"""Feedback on the exercises of lesson 02: Eq. 7 with several draws, and with the mean of q in the place of a draw."""

import math

import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal
from torch.nn import functional as F

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

IMAGE_SHAPE = (1, 28, 28)


# --- models whose bound is known


class _VAE(nn.Module):
    """The lesson's model: three distributions, fed by two networks."""

    def __init__(self, encoder, decoder, latent_size):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.prior = Independent(Normal(torch.zeros(latent_size), torch.ones(latent_size)), 1)

    def encode(self, x):
        mean, log_variance = self.encoder(x)
        return Independent(Normal(mean, torch.exp(0.5 * log_variance)), 1)

    def decode(self, z):
        return Independent(Bernoulli(logits=self.decoder(z)), 3)


class _Encoder(nn.Module):
    def __init__(self, latent_size):
        super().__init__()
        self.mean, self.log_variance = nn.Linear(784, latent_size), nn.Linear(784, latent_size)

    def forward(self, x):
        return self.mean(x.flatten(1)), self.log_variance(x.flatten(1))


def _decoder(latent_size):
    return nn.Sequential(nn.Linear(latent_size, 784), nn.Unflatten(-1, IMAGE_SHAPE))


def _arguments(num_images, latent_size, log_variance, listens, learns=True):
    """A model with log-variances near the given one, and images for it."""
    generator = torch.Generator().manual_seed(10 * num_images + latent_size)
    encoder, decoder = _Encoder(latent_size), _decoder(latent_size)
    with torch.no_grad():
        for layer, centre in ((encoder.mean, 0.0), (encoder.log_variance, log_variance)):
            layer.weight.normal_(0.0, 0.03, generator=generator)
            layer.bias.normal_(centre, 0.2, generator=generator)
        decoder[0].weight.normal_(0.0, 0.6 if listens else 0.0, generator=generator)
        decoder[0].bias.normal_(0.0, 1.0, generator=generator)
    decoder[0].weight.requires_grad_(listens)  # deaf, its gradient would still hang on the draw
    vae = _VAE(encoder, decoder, latent_size)
    if not learns:
        vae.requires_grad_(False)
    x = (torch.rand(num_images, *IMAGE_SHAPE, generator=generator) < 0.4).to(torch.get_default_dtype())
    return vae, x


# --- the bound, and what may go wrong with it


def _bound(
    vae,
    x,
    num_samples,
    *,
    pixels=lambda terms: terms.sum((-3, -2, -1)),
    latents=lambda terms: terms.sum(-1),
    draws=lambda values: values.mean(0),
    batch=lambda values: values,
    squash=lambda logits: logits,
    weight=0.5,
    variance=torch.exp,
    read=lambda log_variance: log_variance,
    path=True,
    noise=1.0,
    at=1,
    sign=1,
):
    mean, log_variance = vae.encoder(x)  # [B, D] each
    log_variance = read(log_variance)
    z = at * mean + noise * torch.exp(log_variance / 2) * torch.randn(num_samples, *mean.shape, dtype=mean.dtype)
    logits = squash(vae.decoder(z if path else z.detach()))
    per_pixel = x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)  # [L, B, 1, 28, 28]
    rate = latents(mean**2 + variance(log_variance) - 1 - log_variance)
    return sign * batch(draws(pixels(per_pixel)) - weight * rate)


def _bound_at_mean(vae, x, **slips):
    return _bound(vae, x, 1, noise=0.0, **slips)


_SLIPS = dict(
    pixels={
        "You take the mean over the pixels: log p(x|z) is the sum over all 784. The KL then weighs 784 times too much "
        "(β = 784), and training ends in posterior collapse: "
        "every sample is the mean image.": lambda terms: terms.mean((-3, -2, -1)),
        "Your sum over pixels leaves an axis of length 1 behind, and [B, 1] minus [B] is broadcast to [B, B]: every "
        "image's fit beside every image's KL. Sum over the last three axes.": lambda terms: terms.sum((-2, -1)),
    },
    latents={
        "You take the mean over the latents: the KL is the sum over all D. It then weighs D times too little (β = "
        "1/D): sharp reconstructions, and samples from the prior that are no digits.": lambda terms: terms.mean(-1),
        "You sum the KL over the wrong axis: "
        "over the images, not over the latents. It goes unnoticed when the batch is as large as the latent space, and "
        "charges each image for the codes of the others.": lambda terms: terms.sum(0),
    },
    batch={
        "You sum over the batch; the task asks for one number for each image. Summed, the step would grow with the "
        "size of the batch.": lambda values: values.sum(),
        "You average over the batch, which the training loop does, once, at the end; the task asks for one number for "
        "each image, so that images can be compared.": lambda values: values.mean(),
    },
    weight={
        "The KL has the wrong sign: the bound is the fit minus the KL. As it stands training is paid for codes far "
        "from the prior, and the number grows without end.": -0.5,
        "The factor ½ of the KL is lost, so it weighs twice what it should (β = 2): fewer nats in the code, softer "
        "pictures, a worse bound.": 1.0,
        "The KL is missing: this is the fit alone, as of a plain autoencoder. Codes would drift apart, q would become "
        "a needle, and draws from the prior would mean nothing.": 0.0,
    },
    sign={
        "The sign of the whole is turned: this is the loss, minus the bound. Maximising it would make the model worse "
        "with every step.": -1
    },
    squash={
        "A sigmoid is applied twice: your sigmoid's output is taken for logits, which passes through a sigmoid again. "
        "No pixel can then be fainter than 0.5 or surer than 0.73, and pictures stay grey.": torch.sigmoid
    },
    read={
        "exp(log-variance) is used as σ. It is σ²: the standard deviation is exp(½ log-variance). With that ½ lost the "
        "widths that training finds are not those that the encoder says.": lambda log_variance: 2 * log_variance
    },
    variance={
        "In the KL, σ stands where σ² belongs: the variance is exp(log-variance). Training would charge for another "
        "noise than the one it draws.": lambda log_variance: torch.exp(log_variance / 2),
        "In the KL, exp(log-variance) is squared, but it is σ² already. Training would charge for another noise than "
        "the one it draws.": lambda log_variance: torch.exp(2 * log_variance),
        "In the KL, the log-variance stands where the variance belongs: an exp() is missing. A log-variance is often "
        "negative, and the cost would have no minimum where it should.": lambda log_variance: log_variance,
    },
)
_BOUND_MISTAKES = mistakes_in(
    _bound,
    **_SLIPS,
    draws={
        "You sum over the draws where Eq. 7 averages: with L draws the fit counts L times and the KL once, so the KL "
        "weighs too little (β = 1/L).": lambda values: values.sum(0),
        "This is the log of a sum over the draws, log L too large and no average of logs: Eq. "
        "7 averages log p(x|z) itself.": lambda values: values.logsumexp(0),
        "You average over the wrong axis: over the images, not over the draws. It goes unnoticed when there are as "
        "many draws as images.": lambda values: values.mean(1),
    },
    path={
        "The draw is detached, as by sample() or no_grad(): the gradient of the fit does not reach the encoder, which "
        "then learns from the KL alone and collapses to the prior. Use rsample().": False
    },
)
_MEAN_MISTAKES = mistakes_in(
    _bound_at_mean,
    **_SLIPS,
    at={
        "You decode the prior's mean, z = 0, for every image: take the mean of q(z|x), which the encoder gives. As it "
        "stands the number knows nothing of how well the code describes the image.": 0
    },
)


# --- what no single call shows: the draws


class _Constant(nn.Module):
    """The same q for every image."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))
        self.log_variance = nn.Parameter(2 * torch.tensor(std).log())

    def forward(self, x):
        return self.mean.expand(len(x), -1), self.log_variance.expand(len(x), -1)


STD, SLOPES = [0.7, 0.4, 0.3], [1.0, 2.0, 3.0]


def _linear(num_images):
    """A model in which log p(x|z) is a constant plus SLOPES · z, to within 0.01, and equal images for it.

    Pixel j of the first three has ink and the logit SLOPES[j] z_j - 10, and log sigmoid(a) is nearly a there.
    """
    decoder = _decoder(len(STD))
    with torch.no_grad():
        decoder[0].weight.copy_(torch.eye(784, len(STD)) * torch.tensor(SLOPES))
        decoder[0].bias.fill_(-10.0)
    x = torch.zeros(num_images, 784)
    x[:, : len(STD)] = 1.0
    return _VAE(_Constant([0.3, -0.2, 0.5], STD), decoder, len(STD)), x.unflatten(1, IMAGE_SHAPE)


def _how_it_draws(answer):
    """One draw for each of 500 equal images, twice: the spread of the results is that of the noise."""
    vae, x = _linear(500)
    with torch.no_grad():
        first, second = (answer(vae, x, 1).double() for _ in range(2))
    within, between = first.std().item(), (first - second).abs().max().item()
    if within < 1e-3 and between < 1e-3:
        return (
            "Equal images give equal results, every time: no noise is drawn, and the mean of q stands for z. The "
            "number is no bound then (it flatters), and in training q's width would cost something and be good for "
            "nothing."
        )
    if within < 1e-3:
        return (
            "All images of a batch get the same noise: equal images give equal results, another one at every call. "
            "Draw noise of shape [B, D]. Shared noise leaves the average right, but the errors of a batch no longer "
            "cancel, and gradients are as noisy as those of a single image."
        )
    if between < 1e-3:
        return (
            "The noise is the same at every call: a seed is set inside the function. Training would fit this one draw "
            "and not the distribution."
        )
    slopes, std = torch.tensor(SLOPES).double(), torch.tensor(STD).double()
    norm = (slopes * std).norm()
    spreads = {
        None: norm,  # as it should be
        "exp(log-variance) is used as σ in the draw. It is σ²: the standard deviation is exp(½ log-variance). The "
        "noise that is drawn is then not the noise that the KL charges for, and where σ is below 1 the program reports "
        "a bound that is too good.": (slopes * std**2).norm(),
        "The log-variance is used as σ in the draw: an exp(½ ·) is missing. Codes are then blurred the more, the surer "
        "the encoder is.": (slopes * 2 * std.log()).norm(),
        "All latents of an image get the same noise: draw noise of shape [B, D], not [B, 1]. With one number for all "
        "dimensions z stays on a line, and the decoder never sees the rest of q.": (slopes * std).sum(),
        "The noise is uniform, from torch.rand: it should be Gaussian with mean 0, from torch.randn. Codes are shifted "
        "to one side, and the KL charges for another distribution.": norm / math.sqrt(12),
    }
    spread = torch.cat([first, second]).std()
    text, nearest = min(spreads.items(), key=lambda item: (spread / item[1]).log().abs())
    return text if (spread / nearest - 1).abs() < 0.15 else None  # its standard error is about 0.02


def _how_it_averages(answer):
    """Many draws make the result less noisy, not larger; the gradient reaches σ through the noise."""
    vae, x = _linear(500)
    with torch.no_grad():
        one, many = answer(vae, x, 1).double(), answer(vae, x, 8).double()
    if (many.mean() - one.mean()).item() > 0.35:  # the standard error is about 0.07
        return (
            "This is the log of a mean of p(x|z) over the draws; Eq. 7 is a mean of logs. More draws make yours "
            "larger: with the KL beside it that is neither the ELBO nor the importance-weighted bound of lesson 05."
        )
    if one.std() < 1.5 * many.std():  # the ratio of the two should be the root of 8, 2.8
        return (
            "More draws do not make the result less noisy: all draws of an image get the same noise. Draw noise of "
            "shape [L, B, D]."
        )
    signs = torch.ones(len(x))
    signs[::2] = -1.0  # equal images: what is not noise cancels
    (gradient,) = torch.autograd.grad((answer(vae, x, 1) * signs).sum(), vae.encoder.log_variance)
    if gradient.abs().max() < 1e-2:  # about 5 to 10 where it is right
        return (
            "σ is detached in the draw: the fit's gradient reaches the encoder's mean, not its log-variance, which "
            "then learns from the KL alone, and q becomes as wide as the prior."
        )
    return None


def _draws_anyway(answer):
    """Two calls that differ show a draw."""
    vae, x = _linear(4)
    with torch.no_grad():
        first, second = (answer(vae, x) for _ in range(2))
    if (first - second).abs().max() > 1e-3:
        return (
            "Two calls give two results: there is still a draw in it. Here z is to be the mean of q(z|x), so that you "
            "can see what that shortcut does."
        )
    return None


# --- the exercises


@undisturbed
def elbo(answer):
    """Exercise `elbo_many`: the bound of Eq. 7 with L draws for each image.

    The function gets a vae (the lesson's: `encode`, `decode`, `prior`, and the networks `encoder`, which returns mean
    and log-variance, and `decoder`, which returns logits), binary images x [B, 1, 28, 28] and num_samples, L. It
    returns nats per image, [B], with gradients to both networks.
    """
    # Two kinds of model make the bound free of chance: one whose q is a needle, and one whose decoder does not listen.
    needle, deaf = dict(log_variance=-40.0, listens=True), dict(log_variance=-0.6, listens=False)
    cases = [
        Case("3 images, 5 latents, 4 draws", (*_arguments(3, 5, **needle), 4)),
        Case("4 images, 4 latents, 4 draws", (*_arguments(4, 4, **needle), 4)),
        Case("1 image, 2 latents, 1 draw", (*_arguments(1, 2, **needle), 1)),
        Case("3 images, 5 latents, 2 draws, a wide q", (*_arguments(3, 5, **deaf), 2)),
        Case("4 images, 4 latents, 1 draw, a wide q", (*_arguments(4, 4, **deaf), 1)),
    ]
    right = (
        "Pixels and latents are summed, draws averaged, and every image draws its own noise, through which the "
        "gradient reaches both μ and σ. More draws make the number less noisy, not larger."
    )
    probes = [_how_it_draws, _how_it_averages]
    return verdict_on(answer, _bound, cases, _BOUND_MISTAKES, right=right, probes=probes)


@undisturbed
def elbo_at_mean(answer):
    """Exercise `elbo_at_mean`: what a program reports that decodes the mean of q in the place of a draw.

    The function gets a vae and binary images x, as in `elbo`. It returns log p(x|z) at z = the mean of q(z|x), minus
    KL(q(z|x) || p(z)): nats per image, [B]. No gradient is asked for.
    """
    model = dict(log_variance=-0.6, listens=True, learns=False)
    cases = [
        Case("3 images, 5 latents", _arguments(3, 5, **model)),
        Case("4 images, 4 latents", _arguments(4, 4, **model)),
        Case("1 image, 2 latents", _arguments(1, 2, **model)),
    ]
    right = (
        "The rate is that of a noisy code, and the distortion that of a noiseless one, so the sum is no bound on log "
        "p(x): it flatters, and the more so the wider q is."
    )
    return verdict_on(answer, _bound_at_mean, cases, _MEAN_MISTAKES, right=right, probes=[_draws_anyway])
