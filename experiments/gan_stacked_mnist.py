"""GAN on three MNIST digits stacked in the channels of an image, 1,000 modes: relativistic loss with R1 and R2.

Command: genjax train experiments/gan_stacked_mnist.py --seeds 3, on a GPU
Not yet run on an accelerator. The goal is at least 990 of the 1,000 modes with 26,000 samples. The same GAN on two
digits, ``experiments/gan_stacked_digits.py``, runs on CPUs.
"""

import jax
import jax.numpy as jnp
import optax

from genjax import Experiment, data, gan
from genjax.arguments import PositiveFloat
from genjax.runner import modes_score

SHAPE = (28, 28, 3)


def experiment(
    width: int = 64,
    latent_dim: int = 64,
    learning_rate: PositiveFloat = 2e-4,
    penalty: float = 1.0,
    bfloat16: bool = True,
    steps: int = 30_000,
    batch_size: int = 128,
) -> Experiment:
    """Describe the run.

    Args:
      width: number of channels at the highest resolution, doubled at each lower one.
      latent_dim: dimension of the noise vector.
      learning_rate: initial learning rate of Adam for both networks, which decays to a tenth along a cosine.
      penalty: weight of the R1 and R2 penalties.
      bfloat16: whether the networks compute in bfloat16.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    dtype = jnp.bfloat16 if bfloat16 else None
    model = gan.GAN(
        latent_dim=latent_dim,
        generator=gan.DCGANGenerator((2 * width, width), SHAPE, normalization=None, dtype=dtype),
        discriminator=gan.DCGANDiscriminator((width, 2 * width), normalization=None, dtype=dtype),
        adversarial_loss=gan.Relativistic(),
        penalties=(gan.R1(weight=penalty, fake_weight=penalty),),
    )
    return Experiment(
        model=model,
        data=data.stack(data.tfds("mnist"), jax.random.key(0), num_channels=3, num_train=60_000),
        preprocess=data.scale(low=-1.0),
        optimizer=optax.adam(optax.cosine_decay_schedule(learning_rate, steps, alpha=0.1), b1=0.0, b2=0.99),
        schedule=("discriminator", "generator"),
        ema_decay=0.999,
        steps=steps,
        batch_size=batch_size,
        sample_score=modes_score("classifier:mnist", num_channels=3, display=lambda x: (x + 1) / 2),
        display=lambda x: (x + 1) / 2,
    )
