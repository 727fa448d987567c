"""Mean flow on CIFAR-10: images by one network evaluation, without a teacher.

Command: genjax train experiments/mean_flow_cifar10.py, on a GPU, after tfds build cifar10, for classes with
--conditional; then genjax evaluate RUN --metrics frechet_distance --features inception:FILE --num-samples 50000
--num-steps 1
Not yet run on an accelerator. The goal is the FID of 2.92 without classes that Geng et al. 2025 (arXiv:2505.13447,
table 3) report for one evaluation, after 800,000 steps. Times, the fraction of pairs and the power of the weight are
theirs for CIFAR-10. The recipe for CPUs is ``experiments/mean_flow_digits.py``.
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
    max_guidance: float = 1.0,
    width: int = 128,
    dropout: float = 0.2,
    learning_rate: PositiveFloat = 6e-4,
    warmup_steps: int = 10_000,
    ema_decay: float = 0.99995,
    bfloat16: bool = False,
    steps: int = 800_000,
    batch_size: int = 1_024,
) -> Experiment:
    """Describe the run.

    Args:
      conditional: whether the model has the ten classes.
      max_guidance: largest guidance weight that is learned, with classes; 1 for none.
      width: number of channels of the U-Net at 32 x 32 pixels, doubled below.
      dropout: dropout rate of channels before the last convolution of each block.
      learning_rate: learning rate of Adam after warm-up.
      warmup_steps: number of steps in which the learning rate rises from zero.
      ema_decay: decay of the parameters' exponential moving average, which is evaluated.
      bfloat16: whether the network computes in bfloat16; its derivative along the path is then rounded too.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    model = diffusion.MeanFlow(
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
        data_scale=0.5,
        times=diffusion.times.LogitNormal(-2.0, 2.0),
        pair_fraction=0.75,
        weight_power=0.75,
        num_classes=10 if conditional else None,
        max_guidance=max_guidance,
    )
    return Experiment(
        model=model,
        data=data.tfds("cifar10"),
        preprocess=data.dequantize(LEVELS, low=-1.0),
        optimizer=optax.adam(optax.linear_schedule(0.0, learning_rate, warmup_steps)),
        ema_decay=ema_decay,
        steps=steps,
        batch_size=batch_size,
        display=to_images,
    )
