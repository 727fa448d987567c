"""Shared mathematics on arrays: likelihoods, divergences. No networks."""

from genjax.ops.bounds import at_least_float32, bounded
from genjax.ops.divergences import gaussian_kl
from genjax.ops.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood
from genjax.ops.temperature import tempered_softmax

__all__ = [
    "Bernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "Likelihood",
    "at_least_float32",
    "bounded",
    "gaussian_kl",
    "tempered_softmax",
]
