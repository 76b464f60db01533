"""Hamiltonian Monte Carlo: draws from a density that is known up to a constant, by rolling over its landscape.

Each chain is a ball of mass 1 on the hill -log p(z): it gets a random push, rolls for some leapfrog steps, and
its end point is accepted or refused, so that the density is kept exactly (Duane et al. 1987; Neal 2011,
section 3). Many independent chains move at once: `log_density` takes z of shape [..., J] and returns one
number, in nats, for each chain: shape [...].
"""

import torch

from vae_utils.support.arguments import require_whole


def value_and_gradient(log_density, z):
    """log p(z) and its gradient with respect to z, for each chain.

    Args:
        log_density: function from [..., J] to [...]; the chains may not look at each other.
        z: places, shape [..., J].

    Returns:
        (value, gradient): shapes [...] and [..., J], detached.
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = log_density(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def leapfrog(log_density, z, momentum, step_size, num_leapfrog):
    """Roll without friction: half a step of the momentum, whole steps of both in turns, half a step at the end.

    The map keeps volume, and run again from its end with the momentum reversed it comes back to its start;
    the energy -log p(z) + |momentum|^2 / 2 is kept up to an error of the order of step_size^2.

    Args:
        log_density: as `value_and_gradient`.
        z, momentum: where the chains are and how fast they move, shape [..., J].
        step_size: one number for all chains, or a tensor [...] with one for each.
        num_leapfrog: whole steps of z, at least 1; each costs one gradient, and the start one more.

    Returns:
        (z, momentum, change): at the end, and by how much the energy has risen, shape [...], nats.

    Raises:
        ValueError: if `num_leapfrog` < 1.
    """
    require_whole("num_leapfrog", num_leapfrog)
    step = torch.as_tensor(step_size, dtype=z.dtype, device=z.device).unsqueeze(-1)  # [1] or [..., 1]
    start, gradient = value_and_gradient(log_density, z)
    kinetic = momentum.square().sum(-1) / 2
    momentum = momentum + step / 2 * gradient
    for left in reversed(range(num_leapfrog)):
        z = z + step * momentum
        value, gradient = value_and_gradient(log_density, z)
        momentum = momentum + (step if left else step / 2) * gradient
    return z, momentum, start - value + momentum.square().sum(-1) / 2 - kinetic


@torch.no_grad()
def hmc_step(log_density, z, step_size, num_leapfrog):
    """One move of every chain: a fresh push from N(0, I), a roll, and the test of Metropolis at its end.

    Args:
        log_density, z, step_size, num_leapfrog: as `leapfrog`.

    Returns:
        (z, accepted): the new places [..., J], which are the old ones where the move was refused, and which
            moves were accepted: bool, [...].

    Raises:
        ValueError: as `leapfrog`.
    """
    end, _, change = leapfrog(log_density, z, torch.randn_like(z), step_size, num_leapfrog)
    accepted = torch.rand_like(change).log() < -change  # never where the roll ended in NaN
    return torch.where(accepted.unsqueeze(-1), end, z), accepted


def adapt_step_size(step_size, accepted, target=0.9, gain=0.1):
    """A step size a little longer after more acceptance than `target`, a little shorter after less.

    step_size * exp(gain * (share of accepted moves - target)): a factor near 1, whatever the number of chains.
    A chain whose step size goes on changing does not keep its density exactly; draw with a fixed one.

    Args:
        step_size: one number for all chains, or a tensor [...] with one for each.
        accepted: what `hmc_step` returned, [...].
        target: share of moves to accept, between 0 and 1; the paper's Appendix E asks for 0.9.
        gain: how fast to follow.

    Returns:
        The new step size, of the kind given.
    """
    if torch.is_tensor(step_size) and step_size.dim():
        return step_size * (gain * (accepted.to(step_size.dtype) - target)).exp()
    return step_size * torch.tensor(gain * (accepted.float().mean().item() - target)).exp().item()


def longer_or_shorter(step_size, accepted, target=0.9, factor=1.25):
    """The step size as the author's program tunes it: one for all chains, times or divided by `factor`.

    Args:
        step_size: one number for all chains.
        accepted: what `hmc_step` returned, [...].
        target: share of moves from which on the step gets longer.
        factor: by how much.

    Returns:
        The new step size, a number. It never rests: chains that go on with it keep their density only about.
    """
    return step_size * factor if accepted.float().mean().item() >= target else step_size / factor


@torch.no_grad()
def hmc_sample(log_density, z, num_samples, burn_in, num_leapfrog, step_size=0.1):
    """Draws from a density: the step size of each chain is fitted during the burn-in and fixed after it.

    Args:
        log_density: as `value_and_gradient`.
        z: where the chains start, shape [..., J]: the better the start, the shorter the burn-in may be.
        num_samples: S, moves to keep; neighbours in a chain are correlated.
        burn_in: moves to throw away, during which each chain's step size is fitted, as in `adapt_step_size`.
        num_leapfrog: leapfrog steps of a move.
        step_size: the first one, in units of z.

    Returns:
        (samples, accepted): shape [S, ..., J], and the share of accepted moves after the burn-in, [...].

    Raises:
        ValueError: if a count is below 1 (`burn_in`: below 0).
    """
    require_whole("num_samples", num_samples)
    require_whole("burn_in", burn_in, least=0)
    steps = z.new_full(z.shape[:-1], step_size)
    for move in range(burn_in):
        z, accepted = hmc_step(log_density, z, steps, num_leapfrog)
        # Large corrections at first, small ones at the end: acceptance is a coin flip for a single chain.
        steps = adapt_step_size(steps, accepted, gain=max(0.1, 2 * (1 - 2 * move / burn_in)))
    samples, shares = [], []
    for _ in range(num_samples):
        z, accepted = hmc_step(log_density, z, steps, num_leapfrog)
        samples.append(z)
        shares.append(accepted)
    return torch.stack(samples), torch.stack(shares).float().mean(0)
