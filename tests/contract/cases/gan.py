"""Generative adversarial networks."""

from __future__ import annotations

from genjax import gan
from tests.contract.batches import NUM_FEATURES, grey_batch, unit_batch
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
    return _gan(generator=gan.DCGANGenerator((6,), (4, 4, 1)), num_classes=3, **options)


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
        "progressive_gan_that_fades_in",
        lambda: gan.FadeIn(gan=_progressive_gan(), num_fade_steps=4),
        batch=grey_batch,
        moves={"generator": ("discriminator", "generator")},
    ),
)

OWN_METHODS = {
    "FadeIn": ("num_classes",),
    "GAN": ("standing_statistics",),
}
