"""Generative adversarial networks: a generator, and a discriminator that tells its samples from data."""

from genjax.gan.augmentation import Augment, DifferentiableAugmentation
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
from genjax.gan.penalties import R1, Consistency, GradientPenalty, Penalty, gradient_norms

__all__ = [
    "GAN",
    "R1",
    "AdversarialLoss",
    "Augment",
    "Consistency",
    "DifferentiableAugmentation",
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
