"""Generative adversarial networks, their parts and penalties."""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import gan, nets
from genjax.core import Variables

PACKAGES = (gan,)
NET = nets.MLP((4,))
GAN = gan.GAN(latent_dim=2, generator=NET, discriminator=NET)
SAMPLE = {"variables": Variables({}, {}), "key": jax.random.key(0)}
IMAGES = jax.numpy.zeros((2, 8, 8, 3))
PARTS = ("generator_x", "generator_y", "discriminator_x", "discriminator_y")
IMAGE = {"features": (4, 4), "output_shape": (8, 8, 1)}
STYLES = gan.StyleGAN2(
    latent_dim=2, mapping=NET, synthesis=gan.SynthesisNetwork((4,), output_shape=(4, 4, 1)), discriminator=NET
)
PROGRESSIVE_GAN = gan.GAN(
    latent_dim=2, generator=gan.ProgressiveGenerator(**IMAGE), discriminator=gan.ProgressiveDiscriminator((4, 4))
)
CASES = (
    partial(gan.GAN, latent_dim=2, generator=NET, discriminator=NET),
    partial(gan.DifferentiableAugmentation),
    partial(gan.AdaptiveAugmentation),
    partial(gan.R1),
    partial(gan.GradientPenalty),
    partial(gan.ConsistencyPenalty, augment=gan.DifferentiableAugmentation()),
    partial(gan.AnnealedPenalty, penalty=gan.R1(), final_scale=0.1, num_steps=10),
    partial(gan.DiscriminatorHead),
    partial(gan.MLPGenerator, features=(4,), output_shape=(2,)),
    partial(gan.DCGANGenerator, **IMAGE),
    partial(gan.ResNetGenerator, **IMAGE),
    partial(gan.BigGANGenerator, **IMAGE),
    partial(gan.R3GANGenerator, features=(8, 8), output_shape=(8, 8, 1)),
    partial(gan.R3GANDiscriminator, features=(8, 8)),
    partial(gan.r3gan, features=(8, 8), output_shape=(8, 8, 1)),
    partial(gan.MLPDiscriminator, features=(4,)),
    partial(gan.DCGANDiscriminator, features=(4,)),
    partial(gan.ResNetDiscriminator, features=(4, 4)),
    partial(gan.BigGANDiscriminator, features=(4, 4)),
    partial(gan.ProgressiveGenerator, **IMAGE),
    partial(gan.ProgressiveDiscriminator, features=(4, 4)),
    partial(gan.FadeIn, gan=PROGRESSIVE_GAN, num_fade_steps=10),
    partial(gan.growing, gan=PROGRESSIVE_GAN, num_fade_steps=10),
    partial(gan.grow, smaller=Variables({}, {}), larger=Variables({}, {})),
    partial(gan.shrink, batch={"x": jnp.zeros((2, 4, 4, 1))}, num_halvings=1),
    partial(gan.EqualizedDense, features=2),
    partial(gan.EqualizedConv, features=2),
    partial(gan.MinibatchStd),
    partial(gan.PathLength),
    partial(gan.MappingNetwork),
    partial(gan.SynthesisNetwork, features=(4, 4), output_shape=(8, 8, 1)),
    partial(gan.StyleDiscriminator, features=(4, 4)),
    partial(gan.StyleGAN2, latent_dim=2, mapping=NET, synthesis=STYLES.synthesis, discriminator=NET),
    partial(STYLES.sample, num_samples=2, **SAMPLE),
    partial(gan.UNetGenerator, features=(4, 4)),
    partial(gan.TranslationResNet),
    partial(gan.PatchDiscriminator, features=(4, 4)),
    partial(gan.Pix2Pix, generator=NET, discriminator=NET),
    partial(gan.CycleGAN, **dict.fromkeys(PARTS, NET)),
    partial(GAN.sample, num_samples=2, **SAMPLE),
    partial(GAN.standing_statistics, **SAMPLE),
    partial(gan.Pix2Pix(generator=NET, discriminator=NET).sample, num_samples=2, y=IMAGES, **SAMPLE),
    partial(gan.Pix2Pix(generator=NET, discriminator=NET).translate, x=IMAGES, **SAMPLE),
)
