"""Full variational Bayes: a Gaussian posterior over the decoder's weights as well (Appendix F of the paper).

The weights theta of p(x|z, theta) get a prior p(theta) and an approximate posterior q(theta), both
`torch.distributions` over one vector of all the weights, event shape [P]. `BayesianVAE` is a model like any
other: each call of `decode` draws its weights anew, so all code that uses `vae.prior`, `vae.encode` and
`vae.decode` becomes an average over q(theta), and `training.fit` trains it by Algorithm 2 with

    objective=partial(full_bound, num_images=len(images))
"""

import copy
import math

import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from vae_utils.data import require_images
from vae_utils.evaluation import Evaluation, elbo_of_set
from vae_utils.models import VAE
from vae_utils.objectives import elbo
from vae_utils.paper.importance import LogLikelihood, importance_log_weights
from vae_utils.runtime import fixed_seed, on_device
from vae_utils.support.arguments import refusal, require_number, require_whole


def weight_prior(decoder, std=1.0, bias_std=None):
    """p(theta) = N(0, diag std^2) over all weights of a decoder: the paper's p_alpha(theta), alpha the std.

    Args:
        decoder: any `nn.Module`.
        std: of every entry of a matrix (or of a larger array); the paper's example has 1.
        bias_std: of every entry of a vector, such as a bias; `std` if None.

    Returns:
        Distribution over vectors of weights in the order of `decoder.parameters()`: event shape [P].

    Raises:
        ValueError: if a standard deviation is not above 0.
    """
    bias_std = std if bias_std is None else bias_std
    for name, value in (("std", std), ("bias_std", bias_std)):
        require_number(name, value, above=0)
    scales = [torch.full_like(w, std if w.dim() > 1 else bias_std).flatten() for w in decoder.parameters()]
    scale = torch.cat(scales)
    return Independent(Normal(torch.zeros_like(scale), scale), 1)


class BayesianVAE(VAE):
    """A VAE whose decoder has no weights, only a distribution of weights: q(theta) = N(mean, diag sigma^2).

    The means are the parameters of `decoder`, where the given model has its weights; beside them stands one log sigma
    for each. Every call of `decode` draws one theta = mean + sigma * zeta, zeta ~ N(0, I), for all the codes it is
    given (Eq. 19). Parameters of the likelihood itself, such as a learned sigma of the pixels, stay single numbers.

    Args:
        vae: the model whose networks to use; they are trained with this one. Its weights are q's first means.
        prior: p(theta), event shape [P]: see `weight_prior`; N(0, I) if None.
        initial_std: sigma at the start, for all weights.

    Raises:
        ValueError: if `prior` is over another number of weights, or `initial_std` is not above 0.
    """

    def __init__(self, vae, prior=None, initial_std=0.01):
        super().__init__(vae.encoder, vae.decoder, vae.likelihood, vae.latent_size, image_shape=vae.image_shape)
        prior = weight_prior(self.decoder) if prior is None else prior
        mean = parameters_to_vector(self.decoder.parameters()).detach()
        if prior.event_shape != mean.shape:
            expected = f"to be over the decoder's {len(mean):,} weights"
            given = f"one of event shape {list(prior.event_shape)}"
            raise ValueError(refusal("the prior", expected, given, "make it with weight_prior(vae.decoder)"))
        require_number("initial_std", initial_std, above=0)
        self.log_sigma = nn.Parameter(torch.full_like(mean, math.log(initial_std)))
        self.register_buffer("_prior_std", prior.stddev, persistent=False)

    @property
    def weights_prior(self):
        """p(theta), event shape [P]."""
        return Independent(Normal(torch.zeros_like(self._prior_std), self._prior_std), 1)

    @property
    def weights(self):
        """q(theta), event shape [P], in the order of `decoder.parameters()` (Eq. 23)."""
        return Independent(Normal(parameters_to_vector(self.decoder.parameters()), self.log_sigma.exp()), 1)

    def weights_kl(self):
        """KL(q(theta) || p(theta)) in closed form: nats for the whole data set, a scalar."""
        return kl_divergence(self.weights, self.weights_prior)

    def decode(self, z):
        """p(x|z, theta) at one fresh draw theta ~ q(theta); otherwise as `VAE.decode`."""
        shapes = {f"decoder.{name}": parameter.shape for name, parameter in self.decoder.named_parameters()}
        pieces = self.weights.rsample().split([shape.numel() for shape in shapes.values()])
        drawn = {name: piece.view(shapes[name]) for name, piece in zip(shapes, pieces, strict=True)}
        return functional_call(self, drawn, (z,))

    def forward(self, z):
        """`VAE.decode` with the weights that `decoder` has now: what `functional_call` calls."""
        return super().decode(z)

    @torch.no_grad()
    def at(self, theta):
        """The ordinary VAE with decoder weights `theta`, shape [P]; it shares the encoder with this model."""
        decoder = copy.deepcopy(self.decoder)
        vector_to_parameters(theta.clone(), decoder.parameters())
        return VAE(self.encoder, decoder, self.likelihood, self.latent_size, image_shape=self.image_shape)

    def draw(self):
        """An ordinary VAE whose decoder is one draw of q(theta)."""
        return self.at(self.weights.sample())


def full_bound(vae, x, num_images):
    """The bound of Appendix F on log p(X), divided by the number of images: Eq. 24 / N, one draw of theta.

    (1/M) sum_m [ log p(x_m|z_m, theta) - KL(q(z|x_m) || p(z)) ]  -  KL(q(theta) || p(theta)) / N

    Times N, it is an unbiased estimate of the bound: the images' part then weighs N/M, the weights' 1. The
    paper draws theta for each image; here a minibatch shares one draw, which has the same mean, costs one
    M-th of it and is noisier.

    Args:
        vae: a `BayesianVAE`.
        x: a minibatch, shape [M, *image_shape], outcomes of the decoder's likelihood.
        num_images: N, of the whole training set, not of the minibatch.

    Returns:
        Terms: nats per image, shape [M]; `objective` has the weights' share, `elbo` (of rate and distortion) does not.

    Raises:
        ValueError: as `objectives.elbo`, or if `num_images` < 1.
    """
    require_whole("num_images", num_images)
    terms = elbo(vae, x)
    return terms._replace(objective=terms.elbo - vae.weights_kl() / num_images)


def map_bound(vae, x, num_images, prior):
    """The ELBO with the log-prior of the decoder's weights: what the paper calls an approximate MAP.

    (1/M) sum_m ELBO(x_m; theta)  +  log p(theta) / N

    With p(theta) = N(0, I) its gradient is that of the ELBO with a weight decay of 1/N.

    Args:
        vae: an ordinary model.
        x, num_images: as `full_bound`.
        prior: p(theta), event shape [P]: see `weight_prior`. It may stay where it was made, on the CPU.

    Returns:
        Terms: nats per image, shape [M]; `elbo` is without the prior.

    Raises:
        ValueError: as `full_bound`.
    """
    require_whole("num_images", num_images)
    terms = elbo(vae, x)
    theta = parameters_to_vector(vae.decoder.parameters())
    log_prior = prior.log_prob(theta.to(prior.mean.device)).to(theta.device)  # `fit` moves the model, not its prior
    return terms._replace(objective=terms.elbo + log_prior / num_images)


# Held-out images


@torch.no_grad()
def predictive_elbo(vae, images, num_weights=10, seed=0, device=None):
    """A lower bound on log E_{q(theta)}[p(x|theta)], the predictive density of held-out images.

    E_{q(theta)}[ELBO(x; theta)]: at most E_{q(theta)}[log p(x|theta)], and by Jensen's inequality that is at
    most the predictive log-density under q(theta). q(theta) takes the place of the posterior p(theta|X): this bounds
    what this model predicts, not what the exact posterior would.

    Args:
        vae: a `BayesianVAE`.
        images: grey images in [0, 1], shape [N, *image_shape]; binarised as in `evaluation.evaluate`.
        num_weights: draws of theta, each for all images; more make the estimate less noisy, not larger.
        seed: of the draws of pixels, of z and of theta.
        device: where to compute; `runtime.best_device()` if None.

    Returns:
        Evaluation: averages over the draws of theta.

    Raises:
        ValueError: if `images` are not grey images in [0, 1], or `num_weights` < 1.
    """
    require_whole("num_weights", num_weights)
    with on_device(vae, device), fixed_seed(seed):
        parts = [elbo_of_set(vae.draw(), images, seed=seed) for _ in range(num_weights)]
    rate = torch.stack([terms.rate for terms in parts]).mean(0)
    distortion = torch.stack([terms.distortion for terms in parts]).mean(0)
    protocol = f"{len(images):,} images, {vae.likelihood.protocol}, {num_weights} draws of the weights, 1 of z each"
    return Evaluation(-(rate + distortion), rate, distortion, protocol)


@torch.no_grad()
def predictive_log_likelihood(vae, images, num_weights=20, num_samples=50, every=1, seed=0, device=None):
    """A tighter lower bound on log E_{q(theta)}[p(x|theta)]: the average over theta stands inside the log.

    log 1/(SK) sum_s sum_k p(x, z_sk|theta_s) / q(z_sk|x),  theta_s ~ q(theta),  z_sk ~ q(z|x)

    In expectation it rises with S and with K. Pixels are the same draw as in `importance.log_likelihood`,
    which does the same for one theta.

    Args:
        vae, images, seed, device: as `predictive_elbo`.
        num_weights: S, draws of theta, each for all images.
        num_samples: K, draws of z for each image and theta.
        every: score the images 0, `every`, 2 * `every`, ... only.

    Returns:
        LogLikelihood: `effective_samples` from 1 to S K.

    Raises:
        ValueError: as `predictive_elbo`, or if `num_samples` or `every` < 1.
    """
    for name, value in (("num_weights", num_weights), ("every", every)):
        require_whole(name, value)
    require_images(images, vae.image_shape)
    x = vae.observe(images.cpu(), torch.Generator().manual_seed(seed))[::every]
    totals, totals_of_squares = [], []
    with on_device(vae, device) as device, fixed_seed(seed):
        for _ in range(num_weights):
            model = vae.draw()
            # [K, B] each
            parts = [importance_log_weights(model, batch.to(device), num_samples) for batch in x.split(100)]
            totals.append(torch.cat([part.logsumexp(0) for part in parts]).cpu())
            totals_of_squares.append(torch.cat([(2 * part).logsumexp(0) for part in parts]).cpu())
    total = torch.stack(totals).logsumexp(0)
    effective = (2 * total - torch.stack(totals_of_squares).logsumexp(0)).exp()
    protocol = (
        f"{len(x):,} images, {vae.likelihood.protocol}, {num_weights} draws of the weights with {num_samples} "
        "importance samples each"
    )
    return LogLikelihood(total - math.log(num_weights * num_samples), effective, protocol)
