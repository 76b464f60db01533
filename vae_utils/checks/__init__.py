"""Feedback on the exercises of the course: one function for each that asks for code.

    from vae_utils import checks
    checks.kl(kl)             # shows a sentence: right, not attempted yet, or which mistake it is
    checks.kl(kl).right       # True or False

How they work is in `vae_utils.checks.core`.
"""

from vae_utils.checks.algorithm import algorithm_1
from vae_utils.checks.lesson_01 import kl, landing_bound, width_gradients
from vae_utils.checks.lesson_02 import elbo, elbo_at_mean
from vae_utils.checks.lesson_03 import image_log_likelihood, implied_sigma, winner_at
from vae_utils.checks.lesson_04 import cost_of_turning, log_aggregate, remembered
from vae_utils.checks.lesson_05 import harmonic_mean, importance_estimate, leapfrog
from vae_utils.checks.lesson_06 import floored_density, ppca_evidence, unit_change
from vae_utils.checks.lesson_07 import slipped_width, slope_variance, weight_price

__all__ = [
    "algorithm_1",
    "cost_of_turning",
    "elbo",
    "elbo_at_mean",
    "floored_density",
    "harmonic_mean",
    "image_log_likelihood",
    "implied_sigma",
    "importance_estimate",
    "kl",
    "landing_bound",
    "leapfrog",
    "log_aggregate",
    "ppca_evidence",
    "remembered",
    "slipped_width",
    "slope_variance",
    "unit_change",
    "weight_price",
    "width_gradients",
    "winner_at",
]
