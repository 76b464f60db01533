"""The paper's estimator of log p(x) as its authors' program runs it: chains that are kept while the model learns."""

from functools import partial

import torch

from vae_utils.paper.hmc import hmc_step, longer_or_shorter
from vae_utils.paper.importance import log_joint
from vae_utils.paper.marginal import reciprocal_log_likelihood
from vae_utils.runtime import fixed_seed
from vae_utils.support.arguments import require_whole


class KeptChains:
    """Appendix D along one training: a chain of p(z|x) for each image, which goes on from report to report.

    `marginal.posterior_sample_log_likelihood` begins each time at likely places, throws 50 moves away and tunes a
    step size for each chain. Here chains begin at draws of the prior, once; each report throws away only a few moves,
    and one step size for all of them gets longer by a quarter after each move of which 90% are accepted, and shorter
    after each other one. So a chain that is in a wrong mode stays there, and then the estimate is too low. It is not
    a bound in either direction.

    Args:
        vae: the model at the start; only its prior is used.
        x: outcomes of p(x|z), shape [N, 1, H, W].
        num_samples: S, draws of each report, at least 8; the paper has 50.
        num_leapfrog: leapfrog steps of a move; the paper has 4.
        burn_in: moves that each report throws away first.
        step_size: of the leapfrog, at the start.
        seed: of all draws.

    Attributes:
        z: where the chains are, [N, J].
        step_size: now, in units of z.
        reports: so far.

    Raises:
        ValueError: if `num_samples` < 8, or another count is below 1 (`burn_in`: below 0).
    """

    def __init__(self, vae, x, num_samples=50, num_leapfrog=4, burn_in=5, step_size=0.01, seed=0):
        require_whole("num_samples", num_samples, least=8, remedy="they are cut in halves, and one of these again")
        require_whole("burn_in", burn_in, least=0)
        self.x, self.num_samples, self.num_leapfrog, self.burn_in = x, num_samples, num_leapfrog, burn_in
        self.step_size, self.seed, self.reports = step_size, seed, 0
        with fixed_seed(seed):
            self.z = vae.prior.sample((len(x),))

    @torch.no_grad()
    def log_likelihood(self, vae):
        """Move the chains on under the model as it is now, and estimate log p(x).

        Args:
            vae: the model.

        Returns:
            Nats per image, shape [N].
        """
        self.reports += 1
        density, draws = partial(log_joint, vae, self.x), []
        with fixed_seed(self.seed + self.reports):
            for _ in range(self.burn_in + self.num_samples):
                self.z, accepted = hmc_step(density, self.z, self.step_size, self.num_leapfrog)
                self.step_size = longer_or_shorter(self.step_size, accepted)
                draws.append(self.z)
        return reciprocal_log_likelihood(vae, self.x, torch.stack(draws[self.burn_in :]))
