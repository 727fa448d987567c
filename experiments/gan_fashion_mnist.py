"""Conditional GANs on Fashion-MNIST: DCGAN, SN-GAN and BigGAN.

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
    return {
        "generator": gan.BigGANGenerator((2 * width, width), SHAPE, embedding_dim=64, attention_at=14, dtype=dtype),
        "discriminator": gan.BigGANDiscriminator((width, 2 * width, 2 * width), attention_at=14, dtype=dtype),
    }


def experiment(
    architecture: Literal["dcgan", "sngan", "biggan"] = "sngan",
    width: int = 128,
    latent_dim: int = 128,
    learning_rate: PositiveFloat = 2e-4,
    discriminator_turns: int = 2,
    bfloat16: bool = True,
    steps: int = 30_000,
    batch_size: int = 128,
) -> Experiment:
    """Describe the run.

    Args:
      architecture: architecture of both networks, with the loss of its paper: batch normalization and the
        non-saturating loss (DCGAN), residual blocks, a spectrally normalized discriminator and the hinge loss (SN-GAN),
        or the same with noise in every block and attention (BigGAN).
      width: number of channels of the blocks at the highest resolution.
      latent_dim: dimension of the noise vector.
      learning_rate: learning rate of Adam.
      discriminator_turns: number of discriminator steps per generator step; 1 for DCGAN.
      bfloat16: whether the networks compute in bfloat16.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    classic = architecture == "dcgan"
    model = gan.GAN(
        latent_dim=latent_dim,
        **players(architecture, width, jnp.bfloat16 if bfloat16 else None),
        adversarial_loss=gan.NonSaturating() if classic else gan.Hinge(),
        num_classes=10,
    )
    images = data.tfds("fashion_mnist", validation=5_000)
    return Experiment(
        model=model,
        data=images,
        preprocess=data.scale(low=-1.0),
        optimizer=optax.adam(learning_rate, b1=0.5 if classic else 0.0, b2=0.999 if classic else 0.9),
        schedule=("discriminator",) * (1 if classic else discriminator_turns) + ("generator",),
        ema_decay=0.999,
        # Averaged parameters need their own batch statistics.
        variables=lambda finished: model.standing_statistics(finished["model"], jax.random.key(0)),
        steps=steps,
        batch_size=batch_size,
        sample_score=frechet_score(
            "classifier:fashion_mnist", images.splits["validation"], num_samples=5_000, display=lambda x: (x + 1) / 2
        ),
        display=lambda x: (x + 1) / 2,
    )
