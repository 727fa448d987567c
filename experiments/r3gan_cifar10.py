"""Conditional R3GAN on CIFAR-10, with the settings of the paper.

Command: genjax train experiments/r3gan_cifar10.py --seeds 1, on a GPU, after tfds build cifar10, then
genjax evaluate RUN --metrics frechet_distance --features inception:FILE --num-samples 50000
Not yet run on an accelerator. The goal is the FID of 1.96 in the paper (Huang et al. 2024, arXiv:2501.05441), where
StyleGAN2-ADA has 2.42. Networks, batch size, optimizer, learning rates, γ and the 20 million images of their decay are
those of the paper's code. Three settings differ: γ decays geometrically and not along a cosine, the decay of the
averaged parameters is constant after its warm-up, and the augmentation is the library's differentiable one at full
strength, where the paper raises the probability of StyleGAN2-ADA's to 0.55. The same networks at 8 x 8 pixels,
``experiments/gan_digits.py --architecture r3gan``, run on CPUs.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax import Experiment, data, gan
from genjax.arguments import PositiveFloat

SHAPE = (32, 32, 3)


def experiment(
    width: int = 768,
    latent_dim: int = 64,
    learning_rate: PositiveFloat = 2e-4,
    penalty: PositiveFloat = 0.05,
    augment: bool = True,
    bfloat16: bool = True,
    steps: int = 39_063,
    batch_size: int = 512,
) -> Experiment:
    """Describe the run.

    Args:
      width: number of channels of all stages, a multiple of 8.
      latent_dim: dimension of the noise vector.
      learning_rate: initial learning rate of Adam for both networks, which decays to a quarter along a cosine.
      penalty: initial weight of the R1 and R2 penalties, which decays to a tenth.
      augment: whether the discriminator sees augmented images.
      bfloat16: whether the networks compute in bfloat16.
      steps: number of training steps, over which the rates decay.
      batch_size: number of examples in a minibatch.
    """
    width = max(8, width)
    model = gan.r3gan(
        (width,) * 4,
        SHAPE,
        latent_dim=latent_dim,
        penalty=penalty,
        num_classes=10,
        dtype=jnp.bfloat16 if bfloat16 else None,
    )
    annealed = tuple(gan.AnnealedPenalty(penalty=each, final_scale=0.1, num_steps=steps) for each in model.penalties)
    model = dataclasses.replace(
        model, penalties=annealed, augment=gan.DifferentiableAugmentation() if augment else None
    )

    def second_decay(step: jax.Array) -> Any:
        return 0.99 - 0.09 * optax.cosine_decay_schedule(1.0, steps)(step)  # β₂ from 0.9 to 0.99

    return Experiment(
        model=model,
        data=data.tfds("cifar10"),
        preprocess=data.scale(low=-1.0),
        optimizer=optax.inject_hyperparams(optax.adam)(
            learning_rate=optax.cosine_decay_schedule(learning_rate, steps, alpha=0.25), b1=0.0, b2=second_decay
        ),
        schedule=("discriminator", "generator"),
        ema_decay=0.99993,  # a half-life of 5 million images
        steps=steps,
        batch_size=batch_size,
        display=lambda x: jnp.clip((x + 1) / 2, 0, 1),
    )
