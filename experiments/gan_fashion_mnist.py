"""Conditional GANs on Fashion-MNIST: DCGAN, SN-GAN, BigGAN and R3GAN.

Command: genjax train experiments/gan_fashion_mnist.py --architecture biggan --seeds 3, on a GPU, then
genjax evaluate RUN --metrics frechet_distance --features classifier:fashion_mnist --num-samples 10000
Not yet run on an accelerator. To be measured for each architecture, with the standard deviation over 3 seeds: the
Fréchet distance of 10,000 samples on features of the project's classifier, and the FID, given the Inception weights
(``--features inception:FILE``). The same models at 8 x 8 pixels, ``experiments/gan_digits.py``, run on CPUs.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from genjax import Experiment, data, gan
from genjax.arguments import PositiveFloat
from genjax.runner import frechet_score

SHAPE = (28, 28, 1)


def players(architecture: str, width: int, dtype: Any) -> dict[str, Any]:
    """Return the two networks as fields of the model."""
    if architecture == "dcgan":
        return {
            "generator": gan.DCGANGenerator((2 * width, width), SHAPE, dtype=dtype),
            "discriminator": gan.DCGANDiscriminator((width, 2 * width), dtype=dtype),
        }
    if architecture == "sngan":
        return {
            "generator": gan.ResNetGenerator((width, width), SHAPE, dtype=dtype),
            "discriminator": gan.ResNetDiscriminator((width, width, width, width), dtype=dtype),
        }
    if architecture == "r3gan":
        channels, group_size = (2 * width, 2 * width, width), min(16, width)
        return {
            "generator": gan.R3GANGenerator(channels, SHAPE, group_size=group_size, dtype=dtype),
            "discriminator": gan.R3GANDiscriminator(channels[::-1], group_size=group_size, dtype=dtype),
        }
    return {
        "generator": gan.BigGANGenerator((2 * width, width), SHAPE, embedding_dim=64, attention_at=14, dtype=dtype),
        "discriminator": gan.BigGANDiscriminator((width, 2 * width, 2 * width), attention_at=14, dtype=dtype),
    }


def to_images(x: jax.Array) -> jax.Array:
    """Map samples on [-1, 1], which R3GAN may leave, to images on [0, 1]."""
    return jnp.clip((x + 1) / 2, 0, 1)


def experiment(
    architecture: Literal["dcgan", "sngan", "biggan", "r3gan"] = "sngan",
    width: int = 128,
    latent_dim: int = 128,
    learning_rate: PositiveFloat = 2e-4,
    discriminator_turns: int = 2,
    penalty: PositiveFloat = 1.0,
    bfloat16: bool = True,
    steps: int = 30_000,
    batch_size: int = 128,
) -> Experiment:
    """Describe the run.

    Args:
      architecture: architecture of both networks, with the loss of its paper: batch normalization and the
        non-saturating loss (DCGAN), residual blocks, a spectrally normalized discriminator and the hinge loss (SN-GAN),
        the same with noise in every block and attention (BigGAN), or residual blocks without normalization and the
        relativistic loss (R3GAN).
      width: number of channels of the blocks at the highest resolution.
      latent_dim: dimension of the noise vector.
      learning_rate: learning rate of Adam.
      discriminator_turns: number of discriminator steps per generator step; 1 for DCGAN and R3GAN.
      penalty: initial weight of the R1 and R2 penalties of R3GAN, which decays to a tenth.
      bfloat16: whether the networks compute in bfloat16.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    classic, modern = architecture == "dcgan", architecture == "r3gan"
    slopes = gan.R1(weight=penalty, fake_weight=penalty)
    model = gan.GAN(
        latent_dim=latent_dim,
        **players(architecture, width, jnp.bfloat16 if bfloat16 else None),
        adversarial_loss=gan.NonSaturating() if classic else gan.Relativistic() if modern else gan.Hinge(),
        penalties=(gan.AnnealedPenalty(penalty=slopes, final_scale=0.1, num_steps=steps),) if modern else (),
        num_classes=10,
    )
    b1, b2 = (0.5, 0.999) if classic else (0.0, 0.99) if modern else (0.0, 0.9)
    rate = optax.cosine_decay_schedule(learning_rate, steps, alpha=0.25) if modern else learning_rate
    images = data.tfds("fashion_mnist", validation=5_000)
    return Experiment(
        model=model,
        data=images,
        preprocess=data.scale(low=-1.0),
        optimizer=optax.adam(rate, b1=b1, b2=b2),
        schedule=("discriminator",) * (1 if classic or modern else discriminator_turns) + ("generator",),
        ema_decay=0.999,
        # Averaged parameters need their own batch statistics.
        variables=lambda finished: model.standing_statistics(finished["model"], jax.random.key(0)),
        steps=steps,
        batch_size=batch_size,
        sample_score=frechet_score(
            "classifier:fashion_mnist", images.splits["validation"], num_samples=5_000, display=to_images
        ),
        display=to_images,
    )
