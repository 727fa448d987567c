"""Generative adversarial networks: a generator, and a discriminator trained to tell its samples from data."""

from genjax.gan.augmentation import Augment, DifferentiableAugmentation
from genjax.gan.biggan import BigGANDiscriminator, BigGANGenerator
from genjax.gan.dcgan import DCGANDiscriminator, DCGANGenerator
from genjax.gan.equalized import EqualizedConv, EqualizedDense, MinibatchStd, pixel_norm
from genjax.gan.gan import GAN
from genjax.gan.heads import DiscriminatorHead
from genjax.gan.losses import (
    AdversarialLoss,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    RelativisticAverage,
    Wasserstein,
)
from genjax.gan.mlp import MLPDiscriminator, MLPGenerator
from genjax.gan.penalties import R1, AnnealedPenalty, ConsistencyPenalty, GradientPenalty, Penalty, gradient_norms
from genjax.gan.progressive import FadeIn, ProgressiveDiscriminator, ProgressiveGenerator, grow, growing, shrink
from genjax.gan.resnet import ResNetDiscriminator, ResNetGenerator

__all__ = [
    "GAN",
    "R1",
    "AdversarialLoss",
    "AnnealedPenalty",
    "Augment",
    "BigGANDiscriminator",
    "BigGANGenerator",
    "ConsistencyPenalty",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DifferentiableAugmentation",
    "DiscriminatorHead",
    "EqualizedConv",
    "EqualizedDense",
    "FadeIn",
    "GradientPenalty",
    "Hinge",
    "LeastSquares",
    "MLPDiscriminator",
    "MLPGenerator",
    "MinibatchStd",
    "Minimax",
    "NonSaturating",
    "Penalty",
    "ProgressiveDiscriminator",
    "ProgressiveGenerator",
    "Relativistic",
    "RelativisticAverage",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "Wasserstein",
    "gradient_norms",
    "grow",
    "growing",
    "pixel_norm",
    "shrink",
]
