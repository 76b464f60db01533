"""Feedback on the exercises of the course: one function for each that asks for code.

    from vae_utils import checks
    checks.kl(kl)             # shows a sentence: right, not attempted yet, or which mistake it is
    checks.kl(kl).right       # True or False

How they work is in `vae_utils.checks.core`.
"""

from vae_utils.checks.bound import kl, landing_bound, width_gradients
from vae_utils.checks.conv_vae import image_log_likelihood, implied_sigma, winner_at
from vae_utils.checks.frey_faces import floored_density, ppca_evidence, unit_change
from vae_utils.checks.full_bayes import slipped_width, slope_variance, weight_price
from vae_utils.checks.latent_manifold import cost_of_turning, log_aggregate, remembered
from vae_utils.checks.marginal_likelihood import harmonic_mean, importance_estimate, leapfrog
from vae_utils.checks.mlp_vae import elbo, elbo_at_mean

__all__ = ["cost_of_turning", "elbo", "elbo_at_mean", "floored_density", "harmonic_mean",
           "image_log_likelihood", "implied_sigma", "importance_estimate", "kl", "landing_bound", "leapfrog",
           "log_aggregate", "ppca_evidence", "remembered", "slipped_width", "slope_variance", "unit_change",
           "weight_price", "width_gradients", "winner_at"]
