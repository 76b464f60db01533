"""The checks of lesson 05: each mistake that people make is named, nothing that is right is refused."""

import math

import numpy as np
import torch
from torch.distributions import Independent, Normal, kl_divergence

from vae_utils import checks
from vae_utils.checks import lesson_05

from listed_mistakes import check_tests

STANDARD = Normal(0.0, 1.0)


def log_q(z, mean, std):
    return Normal(mean, std).log_prob(z).sum(-1)


def log_prior(z):
    return STANDARD.log_prob(z).sum(-1)


def log_weights(log_likelihood, z, mean, std):
    return log_likelihood + log_prior(z) - log_q(z, mean, std)


def log_mean(log_w):
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


def shifted(log_w, taken_out):
    """log_mean with another number than the largest of each image taken out before exp()."""
    return (log_w - taken_out(log_w)).exp().mean(0).log() + taken_out(log_w)


# --- importance sampling


def without_two_pi(z, mean, std):
    return (-0.5 * ((z - mean) / std) ** 2 - torch.as_tensor(std).log()).sum(-1)


WRONG_ESTIMATES = {
    "The prior is missing": lambda l, z, m, s: log_mean(l - log_q(z, m, s)),
    "Nothing is divided by q": lambda l, z, m, s: log_mean(l + log_prior(z)),
    "likelihoods alone": lambda l, z, m, s: log_mean(l),
    "log q(z|x) has the wrong sign": lambda l, z, m, s: log_mean(l + log_prior(z) + log_q(z, m, s)),
    "is upside down": lambda l, z, m, s: log_mean(l - log_prior(z) + log_q(z, m, s)),
    "mean of the logarithms": lambda *draws: log_weights(*draws).mean(0),
    "log K is missing": lambda *draws: log_weights(*draws).logsumexp(0),
    "log K is added": lambda *draws: log_weights(*draws).logsumexp(0) + math.log(len(draws[0])),
    "number of images B": lambda *draws: log_weights(*draws).logsumexp(0) - math.log(draws[0].shape[1]),
    "dimension 1, instead of over the draws": lambda *draws: log_mean(log_weights(*draws).T),
    "All images are averaged under one": lambda *draws: log_mean(log_weights(*draws).flatten()),
    "an exponential comes before the mean": lambda *draws: log_weights(*draws).exp().mean(0).log(),
    "a loss": lambda *draws: -log_mean(log_weights(*draws)),
    "The same number is taken out for all images": lambda *draws: shifted(log_weights(*draws), lambda w: w.max()),
    "not the largest number": lambda *draws: shifted(log_weights(*draws), lambda w: w.mean(0)),
    "The KL in closed form": lambda l, z, m, s: (
        log_mean(l) - kl_divergence(Independent(Normal(m, s), 1), Independent(Normal(0 * m, torch.ones_like(s)), 1))
    ),
    "instead of summed": lambda l, z, m, s: log_mean(l + (STANDARD.log_prob(z) - Normal(m, s).log_prob(z)).mean(-1)),
    "one number for each latent": lambda l, z, m, s: log_mean(l + STANDARD.log_prob(z) - Normal(m, s).log_prob(z)),
    "`std` is used as a variance": lambda l, z, m, s: log_mean(log_weights(l, z, m, s.sqrt())),
    "is squared before": lambda l, z, m, s: log_mean(log_weights(l, z, m, s**2)),
    "log standard deviation": lambda l, z, m, s: log_mean(log_weights(l, z, m, s.exp())),
    "as a log-variance": lambda l, z, m, s: log_mean(log_weights(l, z, m, (0.5 * s).exp())),
    "2π is missing from the prior": lambda l, z, m, s: log_mean(l + without_two_pi(z, 0.0, 1.0) - log_q(z, m, s)),
    "2π is missing from q": lambda l, z, m, s: log_mean(l + log_prior(z) - without_two_pi(z, m, s)),
    "Two things at once … prior is missing … log K is missing": lambda l, z, m, s: (l - log_q(z, m, s)).logsumexp(0),
}


def by_numpy(log_likelihood, z, mean, std):
    log_w = log_weights(*(value.double() for value in (log_likelihood, z, mean, std))).numpy()
    largest = log_w.max(0)
    return torch.from_numpy(largest + np.log(np.exp(log_w - largest).mean(0)))


def by_torch_distributions(log_likelihood, z, mean, std):
    q = Independent(Normal(mean, std), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    return torch.logsumexp(log_likelihood + prior.log_prob(z) - q.log_prob(z) - math.log(len(z)), dim=0)


def image_by_image(log_likelihood, z, mean, std):
    return torch.stack(
        [log_mean(log_weights(log_likelihood[:, [i]], z[:, [i]], mean[[i]], std[[i]]))[0] for i in range(len(mean))]
    )


def non_contiguous(log_likelihood, z, mean, std):
    z = z.transpose(0, 2).contiguous().transpose(0, 2)
    return log_mean(log_weights(log_likelihood.T.contiguous().T, z, mean, std))


RIGHT_ESTIMATES = [
    by_numpy,
    by_torch_distributions,
    image_by_image,
    non_contiguous,
    lambda *draws: log_mean(log_weights(*(value.double() for value in draws))),
    lambda l, z, m, s: log_mean(l + without_two_pi(z, 0.0, 1.0) - without_two_pi(z, m, s)),  # it cancels
]
UNLISTED_ESTIMATES = [
    lambda *draws: log_weights(*draws).logsumexp(0) - math.log10(len(draws[0])),
    lambda l, z, m, s: (log_weights(l, z, m, s).softmax(0) * l).sum(0),
    lambda *draws: (lambda w: (w - w.mean(0)).exp().mean(0).log())(log_weights(*draws)),
]
test_estimates, test_mistakes_of_estimates = check_tests(
    checks.importance_estimate, RIGHT_ESTIMATES, WRONG_ESTIMATES, UNLISTED_ESTIMATES
)


def test_the_estimate_is_log_p_of_a_model_that_is_known():
    """The reference itself: with q the exact posterior of a Gaussian model each weight is p(x)."""
    x, generator = torch.tensor([0.3, -1.2]), torch.Generator().manual_seed(0)
    mean, std = (x / 2)[:, None], torch.full((2, 1), 0.5**0.5)  # x = z + noise of width 1
    z = mean + std * torch.randn(4, 2, 1, generator=generator)
    ours = lesson_05._importance_estimate(Normal(z[..., 0], 1.0).log_prob(x), z, mean, std)
    torch.testing.assert_close(ours, Normal(0.0, 2**0.5).log_prob(x))


# --- leapfrog


def rolled(first=0.5, between=1.0, last=0.5, sign=1, steps=lambda n: n, stale=False):
    def leapfrog(gradient, z, speed, step_size, num_steps):
        start = z
        speed = speed + sign * first * step_size * gradient(z)
        for left in reversed(range(steps(num_steps))):
            z = z + step_size * speed
            speed = speed + sign * (between if left else last) * step_size * gradient(start if stale else z)
        return z, speed

    return leapfrog


def euler(gradient, z, speed, step_size, num_steps):
    for _ in range(num_steps):
        z, speed = z + step_size * speed, speed + step_size * gradient(z)
    return z, speed


def place_in_halves(gradient, z, speed, step_size, num_steps):
    for _ in range(num_steps):
        z = z + 0.5 * step_size * speed
        speed = speed + step_size * gradient(z)
        z = z + 0.5 * step_size * speed
    return z, speed


def in_halves(gradient, z, speed, step_size, num_steps):
    for _ in range(num_steps):
        speed = speed + step_size / 2 * gradient(z)
        z = z + step_size * speed
        speed = speed + step_size / 2 * gradient(z)
    return z, speed


def old_speed(gradient, z, speed, step_size, num_steps):
    for _ in range(num_steps):
        new = speed + step_size / 2 * gradient(z)
        z = z + step_size * speed
        speed = new + step_size / 2 * gradient(z)
    return z, speed


WRONG_ROLLS = {
    "Euler's method": euler,
    "always before the place": rolled(first=1.0, last=0.0),
    "The place moves first": rolled(first=0.0, last=1.0),
    "halves the steps of the *place*": place_in_halves,
    "exchanged": lambda *arguments: rolled()(*arguments)[::-1],
    "expected 2 values, got 1 value": lambda *arguments: rolled()(*arguments)[0],
    "gradient has the wrong sign": rolled(sign=-1),
    "computed once, at the start": rolled(stale=True),
    "The first step of the speed is a whole one": rolled(first=1.0),
    "The first half step of the speed is missing": rolled(first=0.0),
    "The last step of the speed is a whole one": rolled(last=1.0),
    "The half step of the speed at the end is missing": rolled(last=0.0),
    "All steps of the speed are half steps": rolled(between=0.5),
    "one step too few, of place and speed": lambda *a: in_halves(*a[:-1], a[-1] - 1),
    "speed from before the half step": old_speed,
    "one step too few": rolled(steps=lambda n: n - 1),
    "one step too many": rolled(steps=lambda n: n + 1),
}


def in_place(gradient, z, speed, step_size, num_steps):
    speed += step_size / 2 * gradient(z)
    for _ in range(num_steps - 1):
        z += step_size * speed
        speed += step_size * gradient(z)
    z += step_size * speed
    return z, speed + step_size / 2 * gradient(z)


RIGHT_ROLLS = [
    in_halves,
    in_place,
    lambda *arguments: list(in_halves(*arguments)),
    lambda gradient, z, speed, *steps: in_halves(gradient, z.T.contiguous().T, speed.double(), *steps),
]
UNLISTED_ROLLS = [
    lambda gradient, z, speed, size, number: in_halves(gradient, z, speed, size * number, 1),
    lambda gradient, z, speed, size, number: (z + size * number * speed, speed),
]


def test_a_roll_that_changes_its_start_is_told():
    assert "But the function changes" in checks.leapfrog(in_place).text
    assert "But" not in checks.leapfrog(in_halves).text


test_leapfrog, test_mistakes_of_leapfrog = check_tests(checks.leapfrog, RIGHT_ROLLS, WRONG_ROLLS, UNLISTED_ROLLS)


# --- harmonic mean

WRONG_MEANS = {
    "Both minus signs are missing": log_mean,
    "a minus is missing inside": lambda l: -log_mean(l),
    "minus in front": lambda l: log_mean(-l),
    "mean of the logarithms": lambda l: l.mean(0),
    "log L is missing": lambda l: -torch.logsumexp(-l, 0),
    "log L has the wrong sign": lambda l: -torch.logsumexp(-l, 0) - math.log(len(l)),
    "smallest p(x|z) counts, for all L draws": lambda l: l.amin(0) + math.log(len(l)),
    "The same number is taken out for all images": lambda l: -shifted(-l, lambda w: w.max()),
    "not the largest number": lambda l: -shifted(-l, lambda w: w.min(0).values),
    "dimension 1": lambda l: -torch.logsumexp(-l, 1) + math.log(l.shape[1]),
    "an exponential comes before the mean": lambda l: -torch.log(torch.mean(1 / torch.exp(l), 0)),
}
RIGHT_MEANS = [
    lambda l: math.log(len(l)) - (-l).logsumexp(0),
    lambda l: -log_mean(-l.double()),
    lambda l: l.amin(0) - (l.amin(0) - l).exp().mean(0).log(),
    lambda l: torch.stack([-log_mean(-column) for column in l.unbind(1)]),
]
UNLISTED_MEANS = [lambda l: -log_mean(-l) + 1 / len(l), lambda l: -log_mean(-2 * l)]
test_harmonic_mean, test_mistakes_of_harmonic_mean = check_tests(
    checks.harmonic_mean, RIGHT_MEANS, WRONG_MEANS, UNLISTED_MEANS
)
