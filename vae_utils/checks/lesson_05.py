"""Feedback on the exercises of lesson 05: estimates of log p(x), and the roll of Hamiltonian Monte Carlo."""

import math
from functools import partial

import torch
from torch.distributions import Normal

from vae_utils.checks.core import Case, mistakes_in, undisturbed, verdict_on

_OVERFLOW = (
    "The formula is right for small numbers, but an exponential comes before the mean: e to the power of 2,000 is inf "
    "and e to the power of -2,000 is 0, whose logarithm is -inf. Real images have log-likelihoods in the hundreds and "
    "thousands. Use `logsumexp`, which takes the largest term out first."
)


_ONE_SHIFT = (
    "The same number is taken out for all images before exp(): beside an image near +1,300 all weights of one near "
    "-2,000 underflow to 0. Take out the largest of each image, as `logsumexp(0)` does."
)
_MEAN_SHIFT = (
    "What is taken out before exp() is not the largest number, but the mean or another: far above it exp() overflows. "
    "`logsumexp` takes the largest out."
)


def _log_mean_by(taken_out):
    """log (1/K) sum exp, with a number taken out before exp() and added again."""
    return lambda log_w: (log_w - taken_out(log_w)).exp().mean(0).log() + taken_out(log_w)


# --- the importance-sampling estimate


def _log_mean(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


def _sum(log_p):
    return log_p.sum(-1)


def _weigh(x_given_z, prior, q):
    return x_given_z + prior - q


def _standard(z, mean, std):
    return Normal(0.0, 1.0).log_prob(z)


def _importance_estimate(
    log_likelihood,
    z,
    mean,
    std,
    *,
    weigh=_weigh,
    prior=_standard,
    q=lambda z, mean, std: Normal(mean, std).log_prob(z),
    over_latents=_sum,
    constant=0.0,
    average=_log_mean,
):
    log_prior = over_latents(prior(z, mean, std) + constant)
    return average(weigh(log_likelihood, log_prior, over_latents(q(z, mean, std))))


def _shifted(log_w):
    return (log_w - log_w.amax(0)).exp().mean(0).log()


_IMPORTANCE_MISTAKES = mistakes_in(
    _importance_estimate,
    {
        "This is Appendix D's kind of mean, of 1 / w: the task asks for the mean of w.": lambda *draws: (
            _importance_estimate(*draws, average=lambda log_w: -_log_mean(-log_w))
        ),
        "The KL in closed form stands beside the logarithm of a mean of p(x|z). That is not a bound of either kind: "
        "p(z) and q(z|x) belong in each weight, inside the mean.": lambda l, z, m, s: (
            _log_mean(l) - 0.5 * (m**2 + s**2 - 1 - 2 * s.log()).sum(-1)
        ),
    },
    weigh={
        "The prior is missing from the weights: w = p(x|z) p(z) / q(z|x).": lambda l, p, q: l - q,
        "Nothing is divided by q(z|x): codes that the encoder draws often are counted often.": lambda l, p, q: l + p,
        "These are the likelihoods alone: w = p(x|z) p(z) / q(z|x) has two more factors.": lambda l, p, q: l,
        "The likelihood is missing from the weights: w = p(x|z) p(z) / q(z|x).": lambda l, p, q: p - q + 0 * l,
        "log q(z|x) "
        "has the wrong sign: the weights divide by q(z|x), so its logarithm is subtracted.": lambda l, p, q: l + p + q,
        "log p(z) has the wrong sign: it is added.": lambda l, p, q: l - p - q,
        "The quotient is upside down: p(z) belongs above the line and q(z|x) below it.": lambda l, p, q: l - p + q,
        "The whole weight is upside down.": lambda l, p, q: q - l - p,
        "The ratio p(z) / q(z|x) counts twice.": lambda l, p, q: l + 2 * (p - q),
        "The logarithms are divided. A quotient of densities is a difference of logarithms.": lambda l, p, q: (
            (l + p) / q
        ),
        "The logarithms are multiplied. A product of densities is a sum of logarithms.": lambda l, p, q: l * p / q,
    },
    average={
        "This is the mean of the logarithms, and the task asks for the logarithm of the mean. The mean of log w is the "
        "ELBO (Eq. 6): more draws make it less noisy, but not tighter.": lambda w: w.mean(0),
        "This is the sum of the logarithms, and the task asks for the logarithm of the mean.": lambda w: w.sum(0),
        "log K is missing: this is the logarithm of the sum of the weights, not of their mean.": lambda w: w.logsumexp(
            0
        ),
        "log K is added where it should be subtracted: a mean is the sum divided by K.": lambda w: (
            w.logsumexp(0) + math.log(len(w))
        ),
        "The logarithm of the sum is divided by K. The sum is: subtract log K.": lambda w: w.logsumexp(0) / len(w),
        "K is subtracted, not log K.": lambda w: w.logsumexp(0) - len(w),
        "log(K - 1) is subtracted, not log K.": lambda w: w.logsumexp(0) - math.log(max(len(w) - 1, 1)),
        "You divide by the number of images B, but there are K draws. With K = B nobody would notice.": lambda w: (
            w.logsumexp(0) - math.log(w.shape[1])
        ),
        "The average runs over the images, dimension 1, instead of over the draws, dimension 0. With K = B even the "
        "shape is right.": lambda w: _log_mean(w.transpose(0, 1)),
        "All images are averaged under one logarithm. Average over the draws only.": lambda w: (
            w.logsumexp((0, 1)) - math.log(w.numel())
        ),
        "The sign is turned: this is the negative of log p(x), a loss.": lambda w: -_log_mean(w),
        "Only the largest weight counts. The mean of all is asked for.": lambda w: w.amax(0),
        "Only the largest weight counts, divided by K.": lambda w: w.amax(0) - math.log(len(w)),
        "This is the median of the weights, not their mean.": lambda w: w.median(0).values,
        "Only the first draw counts.": lambda w: w[0],
        "Only the last draw counts.": lambda w: w[-1],
        "The largest "
        "term is taken out before exp(), which is right, but it is not added again after the logarithm.": _shifted,
        "The largest term is taken out before exp(), but it is not added again, and log K is missing.": lambda w: (
            (w - w.amax(0)).exp().sum(0).log()
        ),
        "The weights are normalised to sum to 1, and then average log w: this leans to large weights, and is not log "
        "of the mean.": lambda w: (w.softmax(0) * w).sum(0),
        _OVERFLOW: lambda log_w: log_w.exp().mean(0).log(),
        _ONE_SHIFT: _log_mean_by(lambda log_w: log_w.amax()),
        _MEAN_SHIFT: _log_mean_by(lambda log_w: log_w.mean(0)),
        f"log K is missing. And: {_OVERFLOW}": lambda log_w: log_w.exp().sum(0).log(),
        "This is the mean weight, p(x) itself; the task asks for its logarithm. For real images it is 0 or inf in a "
        "computer.": lambda w: w.exp().mean(0),
    },
    over_latents={
        "The log-densities are averaged over the latent dimensions instead of summed: J dimensions cost as much as "
        "one.": lambda l: l.mean(-1),
        "The log-densities of z still have one number for each latent dimension: [K, B, J]. Sum over the last "
        "dimension before you add them to the [K, B] of the likelihood.": lambda l: l,
        "The log-densities are multiplied over the latents. Logarithms are summed.": lambda l: l.prod(-1),
        "Only the first latent is used.": lambda l: l[..., 0],
    },
    prior={
        "The prior has the widths of q(z|x). It is N(0, I).": lambda z, m, std: Normal(0.0, std).log_prob(z),
        "The prior has the means of q(z|x). It is N(0, I).": lambda z, m, std: Normal(m, 1.0).log_prob(z),
        "The prior is taken at the mean of q(z|x), not at the draws.": lambda z, m, std: (
            Normal(0.0, 1.0).log_prob(m).expand_as(z)
        ),
        "The ½ of the prior's square is missing.": lambda z, m, std: -(z**2) - 0.5 * math.log(2 * math.pi),
    },
    q={
        "`std` is used as a variance: what q(z|x) was drawn with is the standard deviation itself.": lambda z, m, s: (
            Normal(m, s.sqrt()).log_prob(z)
        ),
        "The standard deviation is squared before it is used as one (`Normal` wants the standard deviation, not the "
        "variance).": lambda z, m, s: Normal(m, s**2).log_prob(z),
        "`std` is used as a log standard deviation: there is no exponential to take.": lambda z, m, s: Normal(
            m, s.exp()
        ).log_prob(z),
        "`std` is used as a log-variance: there is no exponential to take.": lambda z, m, s: Normal(
            m, (s / 2).exp()
        ).log_prob(z),
        "q(z|x) is taken as N(mean, 1): `std` is not used.": lambda z, m, s: Normal(m, 1.0).log_prob(z),
        "q(z|x) is taken as N(0, std²): `mean` is not used.": lambda z, m, s: Normal(0.0, s).log_prob(z),
        "q(z|x) is taken at its mean, not at the draws.": lambda z, m, s: Normal(m, s).log_prob(m).expand_as(z),
        "log std is missing in log q(z|x): only the square is left of it.": lambda z, m, s: Normal(0.0, 1.0).log_prob(
            (z - m) / s
        ),
        "The ½ of the square in log q(z|x) is missing.": lambda z, m, s: (
            2 * Normal(m, s).log_prob(z) + s.log() + 0.5 * math.log(2 * math.pi)
        ),
    },
    constant={
        "The 2π is missing from the prior but not from q(z|x): each latent dimension gives away 0.92 nats.": 0.5
        * math.log(2 * math.pi),
        "The 2π is missing from q(z|x) but not from the prior: each latent dimension costs 0.92 nats too much.": -0.5
        * math.log(2 * math.pi),
    },
    pairs=("weigh", "average", "over_latents", "q", "constant"),
)


def _draws(num_samples, num_images, latents, level, seed, dtype=torch.float32):
    """Log-likelihoods around `level`, and draws of a q(z|x) that is neither the prior nor of width 1.

    `level` is a number, or a tensor with one for each draw and image.
    """
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    mean, std = 0.7 * randn(num_images, latents), (0.6 * randn(num_images, latents) - 0.7).exp()
    z = mean + std * randn(num_samples, num_images, latents)
    return level + 1.5 * randn(num_samples, num_images), z, mean, std


# Draws of two images: far apart within each image, and the images far from one another.
_FAR_APART = torch.tensor([[-2000.0, 1300.0], [-3500.0, 1300.0], [-3500.0, -200.0]])


@undisturbed
def importance_estimate(answer):
    """Exercise 1: log p(x) of each image from K draws of q(z|x).

    The function gets log_likelihood [K, B], log p(x|z) in nats; z [K, B, J]; mean and std [B, J] of q(z|x). It returns
    log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x), with p(z) = N(0, I): [B].
    """
    cases = [
        Case("6 draws for each of 4 images, 2 latents", _draws(6, 4, 2, -3.0, 0)),
        Case("3 draws for each of 3 images, 3 latents", _draws(3, 3, 3, -3.0, 1)),
        Case("1 draw for each of 5 images, 4 latents", _draws(1, 5, 4, -2.0, 2, torch.float64)),
        Case("2 draws for 1 image, 1 latent", _draws(2, 1, 1, -2.0, 5)),
        Case("log-likelihoods near -2,000", _draws(7, 2, 3, -2000.0, 3)),
        Case("log-likelihoods near 1,300", _draws(4, 5, 3, 1300.0, 4)),
        Case("log-likelihoods from -3,500 to 1,300", _draws(3, 2, 1, _FAR_APART, 6)),
    ]
    right = (
        "The mean stays inside the logarithm and the exponentials never leave `logsumexp`, so more draws tighten the "
        "bound, for images of any size."
    )
    return verdict_on(answer, _importance_estimate, cases, _IMPORTANCE_MISTAKES, right=right)


# --- the leapfrog of Hamiltonian Monte Carlo


def _leapfrog(
    gradient,
    z,
    speed,
    step_size,
    num_steps,
    *,
    sign=1,
    first=0.5,
    between=1.0,
    last=0.5,
    fresh=True,
    steps=lambda num_steps: num_steps,
    place=1.0,
    push=1.0,
    size=lambda step_size, num_steps: step_size,
):
    step_size = size(step_size, num_steps)
    slope = sign * push * gradient(z)
    speed = speed + first * step_size * slope
    for left in reversed(range(steps(num_steps))):
        z = z + place * step_size * speed
        slope = sign * push * gradient(z) if fresh else slope
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


def _late_gradient(gradient, z, speed, step_size, num_steps):
    """Half, whole, half, and the second half with the gradient of before the step."""
    for _ in range(num_steps):
        slope = gradient(z)
        speed = speed + step_size / 2 * slope
        z = z + step_size * speed
        speed = speed + step_size / 2 * slope
    return z, speed


def _halved(part, gradient, z, speed, step_size, num_steps):
    """In each step, half steps where whole ones are needed, or whole ones for halves."""
    ends, middle = part
    for _ in range(num_steps):
        speed = speed + ends * step_size * gradient(z)
        z = z + middle * step_size * speed
        speed = speed + ends * step_size * gradient(z)
    return z, speed


def _old_speed(gradient, z, speed, step_size, num_steps):
    for _ in range(num_steps):
        before, speed = speed, speed + step_size / 2 * gradient(z)
        z = z + step_size * before
        speed = speed + step_size / 2 * gradient(z)
    return z, speed


def _turned_speed(*arguments):
    z, speed = _leapfrog(*arguments)
    return z, -speed


_LEAPFROG_MISTAKES = mistakes_in(
    _leapfrog,
    {
        "Place and speed both move a whole step from the *old* state: Euler's method. Each step gains energy, and the "
        "test at the end refuses nearly all long moves.": _forward_euler,
        "The speed takes whole steps only, always before the place: the half steps at the two ends are missing. A move "
        "that cannot be undone does not keep the posterior.": partial(_leapfrog, first=1.0, last=0.0),
        "The place moves first and the speed takes whole steps only: the half steps at the two ends are missing. A "
        "move that cannot be undone does not keep the posterior.": partial(_leapfrog, first=0.0, last=1.0),
        "This halves the steps of the *place* instead of the speed. It is a leapfrog too; the lesson's form starts and "
        "ends with half a step of the speed.": _place_first,
        "The two results are right but exchanged: return the place first, then the speed.": lambda *arguments: (
            _leapfrog(*arguments)[::-1]
        ),
        "The speed is turned round at the end. The task asks for the speed itself.": _turned_speed,
        "The second half step of the speed uses the gradient of the old place. Ask for it anew.": _late_gradient,
        "The speed takes two whole steps for each step of the place. They should be half steps.": partial(
            _halved, (1.0, 1.0)
        ),
        "The place takes half steps too. It takes whole ones.": partial(_halved, (0.5, 0.5)),
        "The place moves with the speed from before the half step. It should move with the new one.": _old_speed,
        "There is one step too few, of place and speed: `num_steps` counts the whole steps of the place.": (
            lambda *arguments: _halved((0.5, 1.0), *arguments[:-1], arguments[-1] - 1)
        ),
    },
    sign={"The gradient has the wrong sign: `gradient` is that of log p, and the ball rolls towards larger log p.": -1},
    fresh={"The gradient is computed once, at the start, and used all the way. Ask for it at each new place.": False},
    first={
        "The first step of the speed is a whole one; it should be half a step.": 1.0,
        "The first half step of the speed is missing.": 0.0,
    },
    last={
        "The last step of the speed is a whole one; it should be half a step. Place and speed are then not those of "
        "the same moment.": 1.0,
        "The half step of the speed at the end is missing. Place and speed are then not those of the same moment.": 0.0,
    },
    between={
        "All steps of the speed are half steps. Only the first and the last are.": 0.5,
        "Between the ends the speed takes no steps.": 0.0,
        "Between the ends the speed takes double steps.": 2.0,
    },
    steps={
        "There is one step too few: `num_steps` counts the whole steps of the place.": lambda number: number - 1,
        "There is one step too many: `num_steps` counts the whole steps of the place.": lambda number: number + 1,
        "There is one step only: `num_steps` is not used.": lambda number: 1,
        "There are twice as many steps as there should be.": lambda number: 2 * number,
    },
    place={"The place moves against the speed.": -1.0},
    push={"The gradient is halved: log p has no ½ here.": 0.5},
    size={
        "The step size is divided by the number of steps.": lambda D, number: D / number,
        "The step size is squared.": lambda size, number: size**2,
        "The step size is halved everywhere. Only the first and the last step of the speed are.": lambda D, n: D / 2,
        "The step size is doubled.": lambda size, number: 2 * size,
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

    The function gets gradient, a function from places [C, J] to the gradients of log p there [C, J]; z and speed
    [C, J]; step_size, a number; num_steps, the whole steps of the place. It returns (z, speed).
    """

    def start(chains, latents, seed, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(chains, latents, generator=generator, dtype=dtype) for _ in range(2)]

    steep = start(3, 3, 2, torch.float64)
    cases = [
        Case("1 chain in 1 dimension, 2 steps", (_slope_of_a_gaussian, *start(1, 1, 3), 0.4, 2)),
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
        "of the posterior were chosen because they explain the image.": _log_mean,
        "This is the mean of 1 / log p. The task asks for the mean of 1 / p.": lambda l: (1 / l).mean(0),
        "This is the harmonic mean of log p. The task asks for that of p, and for its logarithm.": lambda l: (
            1 / (1 / l).mean(0)
        ),
        "This is 1 / p(x) or its inverse, "
        "without the logarithm: for real images it is 0 or inf in a computer.": lambda l: 1 / (-l).exp().mean(0),
        "This is the mean of 1 / p(x|z), without the logarithm.": lambda l: (-l).exp().mean(0),
    },
    inner={"You average p(x|z), not 1 / p(x|z): a minus is missing inside the mean.": 1},
    outer={
        "The minus in front of the logarithm is missing: this estimates -log p(x).": 1,
        "The result is doubled.": -2,
        "The result is halved.": -0.5,
    },
    average={
        "This is the mean of the logarithms, and the task asks for the logarithm of a mean. The mean of log p(x|z) is "
        "only the reconstruction.": lambda l: l.mean(0),
        "This is the sum of the logarithms, and the task asks for the logarithm of a mean.": lambda l: l.sum(0),
        "log L is missing: this is the sum over the draws, not their mean.": lambda l: l.logsumexp(0),
        "log L has the wrong sign: the mean "
        "is the sum divided by L, and only then comes the minus in front.": lambda l: l.logsumexp(0) + math.log(len(l)),
        "The logarithm of the sum is divided by L. The sum is: subtract log L.": lambda l: l.logsumexp(0) / len(l),
        "L is subtracted, not log L.": lambda l: l.logsumexp(0) - len(l),
        "You divide by the number of images B, but there are L draws.": lambda l: l.logsumexp(0) - math.log(l.shape[1]),
        "The mean runs over the images, dimension 1, instead of over the draws, dimension 0. With L = B even the shape "
        "is right.": lambda l: _log_mean(l.T),
        "All images are averaged under one logarithm. Average over the draws only.": lambda l: (
            l.flatten().logsumexp(0) - math.log(l.numel())
        ),
        "Only the draw with the smallest p(x|z) counts.": lambda l: l.amax(0),
        "Only the draw with the largest p(x|z) counts.": lambda l: l.amin(0),
        "This is the median, not the mean.": lambda l: l.median(0).values,
        "Only the first draw counts.": lambda l: l[0],
        "Only the last draw counts.": lambda l: l[-1],
        "The largest term is taken out before exp(), but it is not added again after the logarithm.": _shifted,
        "Only the draw with the smallest p(x|z) counts, for all L draws.": lambda l: l.amax(0) - math.log(len(l)),
        _OVERFLOW: lambda l: l.exp().mean(0).log(),
        _ONE_SHIFT: _log_mean_by(lambda l: l.amax()),
        _MEAN_SHIFT: _log_mean_by(lambda l: l.mean(0)),
        f"log L is missing. And: {_OVERFLOW}": lambda l: l.exp().sum(0).log(),
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
        Case("2 draws for 1 image", _draws(2, 1, 1, -2.0, 5)[:1]),
        Case("log-likelihoods near -2,000", _draws(7, 2, 1, -2000.0, 3)[:1]),
        Case("log-likelihoods near 1,300", _draws(4, 5, 1, 1300.0, 4)[:1]),
        Case("log-likelihoods from -3,500 to 1,300", _draws(3, 2, 1, _FAR_APART, 6)[:1]),
    ]
    right = (
        "Nothing is wrong with your lines, and still the estimate is useless: the mean lives on codes that explain the "
        "image badly, and the posterior hardly ever draws them."
    )
    return verdict_on(answer, _harmonic_mean, cases, _HARMONIC_MISTAKES, right=right)
