"""Feedback on the exercises of lesson 05: estimates of log p(x), and the roll of Hamiltonian Monte Carlo."""

import math
from functools import partial

import torch
from torch.distributions import Normal

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

_OVERFLOW = (
    "The formula is right for small numbers, but an exponential comes before the mean: e to the power of 2,000 is inf "
    "and e to the power of -2,000 is 0, whose logarithm is -inf. Real images have log-likelihoods in the hundreds and "
    "thousands. `logsumexp` takes the largest term out first, and nothing overflows."
)


def _survives(reference, *calls):
    """A probe: whether an answer that is right for small numbers is so for the large ones of real images."""

    def probe(answer):
        for arguments in calls:
            right, ours = reference(*arguments), torch.as_tensor(answer(*arguments))
            if not torch.allclose(ours.double(), right.double(), rtol=1e-4):
                return _OVERFLOW
        return None

    return probe


# --- the importance-sampling estimate


def _identity(value):
    return value


def _log_mean(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


def _sum(log_p):
    return log_p.sum(-1)


def _weigh(x_given_z, prior, q):
    return x_given_z + prior - q


def _importance_estimate(
    log_likelihood, z, mean, std, *, weigh=_weigh, scale=_identity, over_latents=_sum, constant=0.0, average=_log_mean
):
    log_prior = over_latents(Normal(0.0, 1.0).log_prob(z) + constant)
    log_q = over_latents(Normal(mean, scale(std)).log_prob(z))
    return average(weigh(log_likelihood, log_prior, log_q))


_IMPORTANCE_MISTAKES = mistakes_in(
    _importance_estimate,
    weigh={
        "The prior is missing from the weights: w = p(x|z) p(z) / q(z|x). Without p(z) every code counts as if all "
        "were equally likely: the result is no bound any more, and a model that hides its images far from the origin, "
        "where the prior never draws, is not charged for it.": lambda x_given_z, prior, q: x_given_z - q,
        "Nothing is divided by q(z|x): codes that the encoder draws often are counted often. "
        "The estimate is then of E_q[p(x, z)], "
        "which says more about the width of q than about the image.": lambda x_given_z, prior, q: x_given_z + prior,
        "These are the likelihoods alone: w = p(x|z) p(z) / q(z|x) has two more factors. An average of p(x|z) over "
        "draws of q is what the decoder makes of codes that were chosen for this image; it leaves out what the choice "
        "costs.": lambda x_given_z, prior, q: x_given_z,
        "log q(z|x) has the wrong sign: the weights divide by q(z|x), so its logarithm is subtracted. Multiplied, it "
        "favours the encoder's favourite codes once more instead of "
        "making up for it.": lambda x_given_z, prior, q: x_given_z + prior + q,
        "The quotient stands on its head: "
        "the prior belongs above the line and q(z|x) below it.": lambda x_given_z, prior, q: x_given_z - prior + q,
    },
    average={
        "This is the mean of the logarithms, and the task asks for the logarithm of the mean. The mean of log w is the "
        "ELBO (Eq. 6): more draws make it less noisy, but not tighter, "
        "so 5,000 draws would buy nothing.": lambda log_w: log_w.mean(0),
        "log K is missing: this is the logarithm of the sum of the weights, not of their mean. "
        "It grows by log K, 8.5 nats for 5,000 draws, "
        "so that a model looks better the longer you measure it.": lambda log_w: log_w.logsumexp(0),
        "log K is added where it should be subtracted: a mean is the sum divided by K.": lambda log_w: (
            log_w.logsumexp(0) + math.log(len(log_w))
        ),
        "You divide by the number of images B, but there are K draws. With K = B nobody would notice.": lambda log_w: (
            log_w.logsumexp(0) - math.log(log_w.shape[1])
        ),
        "The average runs over the images, dimension 1, instead of over the draws, dimension 0. "
        "With K = B even the shape is right, "
        "and you would mix the evidence of all images into each.": lambda log_w: _log_mean(log_w.transpose(0, 1)),
        "All images are averaged under one logarithm. Each image has a p(x) of its own: "
        "average over the draws only.": lambda log_w: log_w.logsumexp((0, 1)) - math.log(log_w.numel()),
        "The sign is turned: this is the negative of log p(x), a loss. "
        "The task asks for log p(x) itself.": lambda log_w: -_log_mean(log_w),
    },
    over_latents={
        "The log-densities are averaged over the latent dimensions instead of summed. The density of a code is the "
        "product over its dimensions; a mean charges D dimensions the price of one, "
        "so many latents look cheap.": lambda log_p: log_p.mean(-1),
        "The log-densities of z still have one number for each latent dimension: [K, B, D]. Sum over the last "
        "dimension before you add them to the [K, B] of the likelihood; where K = B = D, "
        "broadcasting hides this.": _identity,
    },
    scale={
        "`std` is used as a variance: what q(z|x) was drawn with is the standard deviation itself. The weights then "
        "judge the draws by a Gaussian of another width, and their mean is p(x) no more.": torch.sqrt,
        "The standard deviation is squared before it is used as one (`Normal` wants the standard deviation, not the "
        "variance). The weights then judge the draws by a Gaussian of another width.": torch.square,
        "`std` is used as a log standard deviation: there is no exponential to take, "
        "it is the width itself.": torch.exp,
        "`std` is used as a log-variance: there is no exponential to take, it is the width itself.": lambda std: (
            std / 2
        ).exp(),
    },
    constant={
        "The 2π is missing from the prior but not from q(z|x). In the quotient it cancels, or it has to be in both: as "
        "it is, each latent dimension gives away 0.92 nats.": 0.5 * math.log(2 * math.pi),
        "The 2π is missing from q(z|x) but not from the prior. In the quotient it cancels, or it has to be in both: as "
        "it is, each latent dimension costs 0.92 nats too much.": -0.5 * math.log(2 * math.pi),
    },
)


def _draws(num_samples, num_images, latents, level, seed, dtype=torch.float32):
    """Log-likelihoods around `level`, and draws of a q(z|x) that is neither the prior nor of width 1."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    mean, std = 0.7 * randn(num_images, latents), (0.6 * randn(num_images, latents) - 0.7).exp()
    z = mean + std * randn(num_samples, num_images, latents)
    return level + 1.5 * randn(num_samples, num_images), z, mean, std


@undisturbed
def importance_estimate(answer):
    """Exercise 1: log p(x) of each image from K draws of q(z|x).

    The function gets log_likelihood [K, B], log p(x|z) in nats; z [K, B, D]; mean and std [B, D] of q(z|x). It returns
    log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x), with p(z) = N(0, I): [B].
    """
    cases = [
        Case("6 draws for each of 4 images, 2 latents", _draws(6, 4, 2, -3.0, 0)),
        Case("3 draws for each of 3 images, 3 latents", _draws(3, 3, 3, -3.0, 1)),
        Case("1 draw for each of 5 images, 4 latents", _draws(1, 5, 4, -2.0, 2, torch.float64)),
    ]
    large = _survives(_importance_estimate, _draws(7, 2, 3, -2000.0, 3), _draws(4, 5, 3, 1300.0, 4))
    right = (
        "The mean stays inside the logarithm and the exponentials never leave `logsumexp`, so more draws tighten the "
        "bound, for images of any size."
    )
    return verdict_on(answer, _importance_estimate, cases, _IMPORTANCE_MISTAKES, right=right, probes=[large])


# --- the leapfrog of Hamiltonian Monte Carlo


def _leapfrog(
    gradient, z, speed, step_size, num_steps, *, sign=1, first=0.5, between=1.0, last=0.5, fresh=True, missing=0
):
    slope = sign * gradient(z)
    speed = speed + first * step_size * slope
    for left in reversed(range(num_steps - missing)):
        z = z + step_size * speed
        slope = sign * gradient(z) if fresh else slope
        speed = speed + (between if left else last) * step_size * slope
    return z, speed


def _forward_euler(gradient, z, speed, step_size, num_steps):
    for _ in range(num_steps):
        z, speed = z + step_size * speed, speed + step_size * gradient(z)
    return z, speed


def _place_first(gradient, z, speed, step_size, num_steps):
    for _ in range(num_steps):
        z = z + step_size / 2 * speed
        speed = speed + step_size * gradient(z)
        z = z + step_size / 2 * speed
    return z, speed


_LEAPFROG_MISTAKES = mistakes_in(
    _leapfrog,
    {
        "Place and speed both move a whole step from the *old* state: Euler's method. Each step gains energy, so that "
        "the ball climbs out of every valley, and the test at the end refuses nearly all long moves.": _forward_euler,
        "The speed takes whole steps only, always before the place: the half steps at the two ends are missing. "
        "Then rolling back does not lead home, "
        "and a move that cannot be undone does not keep the posterior.": partial(_leapfrog, first=1.0, last=0.0),
        "The place moves first and the speed takes whole steps only: the half steps at the two ends are missing. "
        "Then rolling back does not lead home, "
        "and a move that cannot be undone does not keep the posterior.": partial(_leapfrog, first=0.0, last=1.0),
        "This halves the steps of the *place* instead of the speed. It is a leapfrog too, one that can be undone and "
        "is as accurate; the lesson's form starts and ends with half a step of the speed.": _place_first,
        "The two results are right but exchanged: return the place first, then the speed.": lambda *arguments: (
            _leapfrog(*arguments)[::-1]
        ),
    },
    sign={
        "The gradient has the wrong sign: `gradient` is that of log p, and the ball rolls towards larger log p. Yours "
        "is driven away from the posterior.": -1
    },
    fresh={
        "The gradient is computed once, at the start, and used all the way. It has to be asked again at each new "
        "place: as it is, the ball does not feel the landscape it rolls over.": False
    },
    first={
        "The first step of the speed is a whole one; it should be half a step, since the place has not moved yet. The "
        "error of a move is then of the order of the step, not of its square, and the move cannot be undone.": 1.0,
        "The first half step of the speed is missing: the place starts with the push alone. The move cannot be undone, "
        "and its energy error is of the order of the step, not of its square.": 0.0,
    },
    last={
        "The last step of the speed is a whole one; it should be half a step. Place and speed are then not those of "
        "the same moment, and the test at the end compares the wrong energies.": 1.0,
        "The half step of the speed at the end is missing. Place and speed are then not those of the same moment, and "
        "the test at the end compares the wrong energies.": 0.0,
    },
    between={
        "All steps of the speed are half steps. Only the first and the last are; between them two half steps meet and "
        "make a whole one. As it is, the landscape counts for half its height.": 0.5
    },
    missing={
        "There is one step too few: `num_steps` counts the whole steps of the place.": 1,
        "There is one step too many: `num_steps` counts the whole steps of the place.": -1,
    },
)


def _slope_of_a_gaussian(z):
    """Of log N(z; 1, diag(1, 1/4, 1/9, ...)) in z."""
    return -(z - 1) * torch.arange(1, z.shape[-1] + 1, dtype=z.dtype) ** 2


def _slope_of_a_bowl(z):
    """Of -|z|^4 / 4 in z."""
    return -z * z.square().sum(-1, keepdim=True)


@undisturbed
def leapfrog(answer):
    """Exercise 2: a roll of Hamiltonian Monte Carlo without the test at its end.

    The function gets gradient, a function from places [C, D] to the gradients of log p there [C, D]; z and speed
    [C, D]; step_size, a number; num_steps, the whole steps of the place. It returns (z, speed).
    """

    def start(chains, latents, seed, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(chains, latents, generator=generator, dtype=dtype) for _ in range(2)]

    steep = start(3, 3, 2, torch.float64)
    cases = [
        Case("4 chains in 2 dimensions, 1 step", (_slope_of_a_gaussian, *start(4, 2, 0), 0.3, 1)),
        Case("5 chains in 3 dimensions, 4 steps", (_slope_of_a_gaussian, *start(5, 3, 1), 0.2, 4)),
        Case("3 chains in 3 dimensions, 7 steps over a steep bowl", (_slope_of_a_bowl, *steep, 0.1, 7)),
    ]
    right = (
        "Half steps at both ends make the roll one that can be undone, and its energy error shrinks with the square of "
        "the step: that is why long moves are accepted."
    )
    return verdict_on(answer, _leapfrog, cases, _LEAPFROG_MISTAKES, right=right)


# --- the harmonic mean


def _harmonic_mean(log_likelihood, *, inner=-1, outer=-1, average=_log_mean):
    return outer * average(inner * log_likelihood)


_HARMONIC_MISTAKES = mistakes_in(
    _harmonic_mean,
    {
        "Both minus signs are missing: you average p(x|z) itself. That would be right for draws of the *prior*; draws "
        "of the posterior were chosen because they explain the image, and the result is far too high.": _log_mean
    },
    inner={"You average p(x|z), not 1 / p(x|z): a minus is missing inside the mean.": 1},
    outer={
        "The minus in front of the logarithm is missing: this estimates -log p(x), and a better model gets a lower "
        "number.": 1
    },
    average={
        "This is the mean of the logarithms, and the task asks for the logarithm of a mean. The mean of log p(x|z) "
        "over draws of the posterior is only the reconstruction: "
        "it leaves out what the codes cost.": lambda log_v: log_v.mean(0),
        "log L is missing: this is the sum over the draws, not their mean, "
        "and every further draw lowers the estimate.": lambda log_v: log_v.logsumexp(0),
        "log L has the wrong sign: the mean is the sum divided by L, "
        "and only then comes the minus in front.": lambda log_v: log_v.logsumexp(0) + math.log(len(log_v)),
        "The mean runs over the images, dimension 1, instead of over the draws, dimension 0. With L = B even the shape "
        "is right.": lambda log_v: _log_mean(log_v.T),
    },
)


@undisturbed
def harmonic_mean(answer):
    """Exercise 4: -log (1/L) sum_l 1 / p(x|z_l) for draws of the posterior.

    The function gets log_likelihood [L, B], log p(x|z_l) in nats, and returns the estimate of log p(x): [B].
    """
    cases = [
        Case("6 draws for each of 4 images", _draws(6, 4, 1, -3.0, 0)[:1]),
        Case("3 draws for each of 3 images", _draws(3, 3, 1, -3.0, 1)[:1]),
        Case("1 draw for each of 5 images", _draws(1, 5, 1, -3.0, 2, torch.float64)[:1]),
    ]
    large = _survives(_harmonic_mean, _draws(7, 2, 1, -2000.0, 3)[:1], _draws(4, 5, 1, 1300.0, 4)[:1])
    right = (
        "Nothing is wrong with your lines, and still the estimate is useless: the mean lives on codes that explain the "
        "image badly, and the posterior hardly ever draws them."
    )
    return verdict_on(answer, _harmonic_mean, cases, _HARMONIC_MISTAKES, right=right, probes=[large])
