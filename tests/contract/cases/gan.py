"""Generative adversarial networks."""

from __future__ import annotations

from genjax import gan
from tests.contract.batches import NUM_FEATURES, grey_batch, pair_batch, unit_batch
from tests.contract.case import Case


def _gan(**options) -> gan.GAN:
    fields = {
        "latent_dim": 3,
        "generator": gan.MLPGenerator((8,), output_shape=(NUM_FEATURES,), normalization="batch"),
        "discriminator": gan.MLPDiscriminator((8,), normalization="spectral"),
    }
    return gan.GAN(**(fields | options))


def _progressive_gan() -> gan.GAN:
    networks = {
        "generator": gan.ProgressiveGenerator((3, 2), (4, 4, 1)),
        "discriminator": gan.ProgressiveDiscriminator((2, 3), group_size=2),
    }
    return _gan(num_classes=3, **networks)


def _image_gan(**options) -> gan.GAN:
    return _gan(**({"generator": gan.DCGANGenerator((6,), (4, 4, 1)), "num_classes": 3} | options))


def _style_gan(**options) -> gan.StyleGAN2:
    return gan.StyleGAN2(
        latent_dim=3,
        mapping=gan.MappingNetwork(4, num_layers=1),
        synthesis=gan.SynthesisNetwork((4,), output_shape=(4, 4, 1)),
        discriminator=gan.StyleDiscriminator((4,), group_size=2),
        **options,
    )


def _translator(channels: int) -> gan.TranslationResNet:
    """With dropout, so that translations depend on the key."""
    return gan.TranslationResNet((4,), output_channels=channels, num_blocks=1, margin=1, dropout=0.5)


CASES = (
    Case(
        "gan",
        _gan,
        batch=unit_batch,
        moves={"discriminator": ("discriminator",), "generator": ("generator",)},
        schedule=("discriminator", "discriminator", "generator"),
    ),
    Case(
        "gan_with_penalties",
        lambda: _gan(
            discriminator=gan.MLPDiscriminator((8,), fourier_features=2),
            adversarial_loss=gan.LeastSquares(),
            penalties=(
                gan.AnnealedPenalty(penalty=gan.R1(weight=0.1, fake_weight=0.1), final_scale=0.1, num_steps=10),
                gan.GradientPenalty(weight=0.1, every=2),
            ),
            pack=2,
        ),
        batch=unit_batch,
        moves={"generator": ("generator",)},
    ),
    Case(
        "gan_with_auxiliary_classifier",
        lambda: _image_gan(
            discriminator=gan.DCGANDiscriminator((4, 4), num_outputs=4),
            augment=gan.DifferentiableAugmentation(),
            auxiliary_weight=1.0,
        ),
        batch=grey_batch,
        moves={"discriminator": ("discriminator",), "generator": ("generator",)},
    ),
    Case(
        "style_gan2",
        lambda: _style_gan(
            penalties=(gan.R1(weight=0.1),),
            path_length=gan.PathLength(every=1),
            augment=gan.AdaptiveAugmentation(transformations=("contrast",), initial_probability=0.5),
            num_classes=3,
        ),
        batch=grey_batch,
        moves={"discriminator": ("augment",), "generator": ("style_mean", "path_length")},
    ),
    Case(
        "pix2pix",
        lambda: gan.Pix2Pix(
            generator=_translator(1),
            discriminator=gan.PatchDiscriminator((4,), normalization="spectral"),
            penalties=(gan.R1(weight=0.1, every=2),),
            source_channels=2,
        ),
        batch=pair_batch,
        moves={"discriminator": ("discriminator",)},
    ),
    Case(
        "cycle_gan",
        lambda: gan.CycleGAN(
            generator_x=_translator(1),
            generator_y=_translator(2),
            discriminator_x=gan.PatchDiscriminator((4,)),
            discriminator_y=gan.PatchDiscriminator((4,)),
            identity_weight=0.0,
            pool_size=10,
            source_channels=2,
        ),
        batch=pair_batch,
        moves={"discriminators": ("pool_x", "pool_y")},
    ),
    Case(
        "r3gan",
        lambda: _image_gan(
            generator=gan.R3GANGenerator((4, 2), (4, 4, 1), num_blocks=1, group_size=4),
            discriminator=gan.R3GANDiscriminator((2, 4), num_blocks=1, group_size=4),
            adversarial_loss=gan.Relativistic(),
            penalties=(gan.R1(weight=0.1, fake_weight=0.1),),
        ),
        batch=grey_batch,
        moves={"discriminator": ("discriminator",), "generator": ("generator",)},
    ),
    Case(
        "progressive_gan_that_fades_in",
        lambda: gan.FadeIn(gan=_progressive_gan(), num_fade_steps=4),
        batch=grey_batch,
        moves={"generator": ("discriminator", "generator")},
    ),
)

OWN_METHODS = {
    "FadeIn": ("num_classes",),
    "GAN": ("standing_statistics",),
    "StyleGAN2": ("styles",),
}
