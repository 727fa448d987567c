"""Generative adversarial networks: generators, and discriminators trained to tell their samples from data."""

from genjax.gan.adaptive_augmentation import AdaptiveAugmentation, AugmentationState
from genjax.gan.augmentation import Augment, DifferentiableAugmentation
from genjax.gan.biggan import BigGANDiscriminator, BigGANGenerator
from genjax.gan.cycle_gan import CycleGAN
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
from genjax.gan.patch_discriminator import PatchDiscriminator
from genjax.gan.penalties import R1, AnnealedPenalty, ConsistencyPenalty, GradientPenalty, Penalty, gradient_norms
from genjax.gan.pix2pix import Pix2Pix
from genjax.gan.progressive import FadeIn, ProgressiveDiscriminator, ProgressiveGenerator, grow, growing, shrink
from genjax.gan.r3gan import R3GANDiscriminator, R3GANGenerator, r3gan
from genjax.gan.resnet import ResNetDiscriminator, ResNetGenerator
from genjax.gan.style_gan2 import PathLength, StyleGAN2
from genjax.gan.style_networks import MappingNetwork, StyleDiscriminator, SynthesisNetwork, modulated_conv
from genjax.gan.translation_resnet import TranslationResNet
from genjax.gan.unet_generator import UNetGenerator

__all__ = [
    "GAN",
    "R1",
    "AdaptiveAugmentation",
    "AdversarialLoss",
    "AnnealedPenalty",
    "Augment",
    "AugmentationState",
    "BigGANDiscriminator",
    "BigGANGenerator",
    "ConsistencyPenalty",
    "CycleGAN",
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
    "MappingNetwork",
    "MinibatchStd",
    "Minimax",
    "NonSaturating",
    "PatchDiscriminator",
    "PathLength",
    "Penalty",
    "Pix2Pix",
    "ProgressiveDiscriminator",
    "ProgressiveGenerator",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "Relativistic",
    "RelativisticAverage",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "StyleDiscriminator",
    "StyleGAN2",
    "SynthesisNetwork",
    "TranslationResNet",
    "UNetGenerator",
    "Wasserstein",
    "gradient_norms",
    "grow",
    "growing",
    "modulated_conv",
    "pixel_norm",
    "r3gan",
    "shrink",
]
