"""Diffusion on CIFAR-10: a U-Net with EDM's noise levels and preconditioning, with or without classes.

Command: genjax train experiments/diffusion_cifar10.py, on a GPU, after tfds build cifar10, for classes with
--conditional; then genjax evaluate RUN --metrics frechet_distance --features inception:FILE --num-samples 50000
Not yet run on an accelerator. The goals are the FIDs of 1.97 without classes and 1.79 with them that Karras et al. 2022
(arXiv:2206.00364, table 2) report with 35 evaluations, after 200 million images and with augmentation, which this
recipe leaves out. The recipe for CPUs is ``experiments/diffusion_digits.py``.
"""

import jax
import jax.numpy as jnp
import optax

from genjax import Experiment, data, diffusion, nets
from genjax.arguments import PositiveFloat

LEVELS = 256


def to_images(x: jax.Array) -> jax.Array:
    """Quantize samples on [-1, 1] to images of 256 levels on [0, 1], by their bin."""
    return data.quantize(x, LEVELS, low=-1.0)


def experiment(
    conditional: bool = False,
    width: int = 128,
    dropout: float = 0.13,
    learning_rate: PositiveFloat = 1e-3,
    warmup_steps: int = 20_000,
    ema_lengths: tuple[float, ...] = (0.05, 0.1),
    num_sampling_steps: int = 18,
    bfloat16: bool = True,
    steps: int = 400_000,
    batch_size: int = 512,
) -> Experiment:
    """Describe the run.

    Args:
      conditional: whether the model has the ten classes.
      width: number of channels of the U-Net at 32 x 32 pixels, doubled below.
      dropout: dropout rate of channels before the last convolution of each block.
      learning_rate: learning rate of Adam after warm-up.
      warmup_steps: number of steps in which the learning rate rises from zero.
      ema_lengths: lengths of the power-function averages of the parameters; choose one with ``--ema``.
      num_sampling_steps: number of steps of Heun's method; the last takes one network evaluation, the others two.
      bfloat16: whether the network computes in bfloat16.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    model = diffusion.Diffusion(
        shape=(32, 32, 3),
        net=nets.UNet(
            width,
            multipliers=(1, 2, 2),
            num_blocks=4,
            attention_at=(16,),
            dropout=dropout,
            num_groups=min(32, width),
            dtype=jnp.bfloat16 if bfloat16 else None,
        ),
        process=diffusion.processes.EDM(),
        parametrization=diffusion.parametrizations.Preconditioned(data_scale=0.5),
        times=diffusion.times.LogNormal(),
        sampler=diffusion.samplers.Heun(),
        grid=diffusion.grids.Karras(),
        num_steps=num_sampling_steps,
        num_classes=10 if conditional else None,
    )
    return Experiment(
        model=model,
        data=data.tfds("cifar10"),
        preprocess=data.dequantize(LEVELS, low=-1.0),
        optimizer=optax.adam(optax.linear_schedule(0.0, learning_rate, warmup_steps)),
        ema_lengths=ema_lengths,
        steps=steps,
        batch_size=batch_size,
        display=to_images,
    )
