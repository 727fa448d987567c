"""Conditional StyleGAN2 with adaptive augmentation on CIFAR-10 or Fashion-MNIST, with the settings of the paper.

Command: genjax train experiments/style_gan2_cifar10.py, on a GPU, after tfds build cifar10; then
genjax evaluate RUN --metrics frechet_distance --features inception:FILE --num-samples 50000
and the same with --dataset fashion_mnist
Not yet run on an accelerator. The goal is the FID of 2.42 that Karras et al. 2020 (arXiv:2006.06676) report for
CIFAR-10 with labels. Channels, mapping, batch size, optimizer, γ and the average of the parameters are those of their
settings for CIFAR-10, which turn style mixing and the path length penalty off. Two settings differ: images are
interpolated bilinearly when they are augmented, and the discriminator is residual. The recipe for CPUs is
``experiments/style_gan2_digits.py``.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from genjax import Experiment, data, gan
from genjax.arguments import NonNegativeFloat, PositiveFloat


def experiment(
    dataset: Literal["cifar10", "fashion_mnist"] = "cifar10",
    width: int = 512,
    latent_dim: int = 512,
    learning_rate: PositiveFloat = 2.5e-3,
    penalty: NonNegativeFloat = 0.01,
    bfloat16: bool = True,
    steps: int = 400_000,
    batch_size: int = 64,
) -> Experiment:
    """Describe the run.

    Args:
      dataset: data set of tensorflow_datasets; its images have 32 or 28 pixels a side.
      width: number of channels at all resolutions.
      latent_dim: length of noise and styles.
      learning_rate: learning rate of Adam for both networks.
      penalty: weight γ of the lazy R1 penalty, computed every 16 steps.
      bfloat16: whether convolutions compute in bfloat16.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    shape, levels = ((32, 32, 3), 4) if dataset == "cifar10" else ((28, 28, 1), 3)
    dtype = jnp.bfloat16 if bfloat16 else None
    model = gan.StyleGAN2(
        latent_dim=latent_dim,
        mapping=gan.MappingNetwork(latent_dim, num_layers=2),
        synthesis=gan.SynthesisNetwork((width,) * levels, output_shape=shape, dtype=dtype),
        discriminator=gan.StyleDiscriminator((width,) * levels, group_size=32, dtype=dtype),
        penalties=(gan.R1(weight=penalty, every=16),),
        path_length=None,
        mixing_probability=0.0,
        augment=gan.AdaptiveAugmentation(),
        num_classes=10,
    )

    def to_images(x: jax.Array) -> jax.Array:
        return jnp.clip((x + 1) / 2, 0, 1)

    return Experiment(
        model=model,
        data=data.tfds(dataset),
        preprocess=data.scale(low=-1.0),
        optimizer=optax.adam(learning_rate, b1=0.0, b2=0.99),
        ema_decay=0.9999,  # a half-life of 500,000 images
        steps=steps,
        batch_size=batch_size,
        display=to_images,
    )
