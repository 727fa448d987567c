"""Generative adversarial networks: a generator, and a discriminator that tells its samples from data."""

from genjax.gan.losses import (
    AdversarialLoss,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    Wasserstein,
)
from genjax.gan.model import GAN
from genjax.gan.penalties import R1, GradientPenalty, Penalty, gradient_norms

__all__ = [
    "GAN",
    "R1",
    "AdversarialLoss",
    "GradientPenalty",
    "Hinge",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Penalty",
    "RelativisticAverage",
    "Wasserstein",
    "gradient_norms",
]
