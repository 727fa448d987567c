"""BigGAN on CIFAR-10: class-conditional residual blocks with attention, hinge loss, and truncated noise.

Command: genjax train experiments/biggan_cifar10.py, on a GPU, after tfds build cifar10; then
genjax evaluate RUN --metrics frechet_distance --features inception:FILE --num-samples 50000
Not yet run on an accelerator. The goal is the FID of 14.73 that Brock et al. 2019 (arXiv:1809.11096, appendix C) report
for CIFAR-10; StudioGAN's implementation reaches 4.16. The recipe for CPUs is ``experiments/gan_digits.py --architecture
biggan``, and that for Fashion-MNIST is ``experiments/gan_fashion_mnist.py``.
"""

import jax
import jax.numpy as jnp
import optax

from genjax import Experiment, data, gan
from genjax.arguments import PositiveFloat


def experiment(
    width: int = 96,
    latent_dim: int = 80,
    learning_rate: PositiveFloat = 2e-4,
    discriminator_turns: int = 5,
    bfloat16: bool = True,
    steps: int = 100_000,
    batch_size: int = 64,
) -> Experiment:
    """Describe the run.

    Args:
      width: a quarter of the channels of the generator's blocks, and half of those of the discriminator's.
      latent_dim: length of the noise vector, split over the first layer and the three blocks.
      learning_rate: learning rate of Adam for both networks.
      discriminator_turns: number of discriminator steps per generator step.
      bfloat16: whether the networks compute in bfloat16.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    dtype = jnp.bfloat16 if bfloat16 else None
    model = gan.GAN(
        latent_dim=latent_dim,
        generator=gan.BigGANGenerator((4 * width, 4 * width, 4 * width), (32, 32, 3), attention_at=16, dtype=dtype),
        discriminator=gan.BigGANDiscriminator((2 * width,) * 4, attention_at=16, dtype=dtype),
        adversarial_loss=gan.Hinge(),
        num_classes=10,
    )

    def to_images(x: jax.Array) -> jax.Array:
        return (x + 1) / 2

    return Experiment(
        model=model,
        data=data.tfds("cifar10"),
        preprocess=data.scale(low=-1.0),
        optimizer=optax.adam(learning_rate, b1=0.0, b2=0.999),
        schedule=("discriminator",) * discriminator_turns + ("generator",),
        ema_decay=0.9999,
        # Averaged parameters need their own batch statistics.
        variables=lambda finished: model.standing_statistics(finished["model"], jax.random.key(0)),
        steps=steps,
        batch_size=batch_size,
        display=to_images,
    )
