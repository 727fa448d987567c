"""Drifting on scikit-learn's digits, 8 x 8 pixels of 17 levels: a generator by class without teacher or adversary.

Command: genjax train experiments/drifting_digits.py, then
genjax evaluate RUN --metrics frechet_distance --features classifier:digits --num-samples 10000, and
genjax evaluate RUN --metrics class_accuracy --features classifier:digits --num-samples 2000
Reached: not yet run to the end.
"""

from typing import Literal

import jax
import optax

from genjax import Experiment, data, gan, moment_matching
from genjax.arguments import PositiveFloat
from genjax.runner import frechet_score

LEVELS, SHAPE = 17, (8, 8, 1)


def to_images(x: jax.Array) -> jax.Array:
    """Quantize samples on [-1, 1] to images of 17 levels on [0, 1], by their bin."""
    return data.quantize(x, LEVELS, low=-1.0)


def experiment(
    architecture: Literal["mlp", "r3gan"] = "mlp",
    width: int = 64,
    latent_dim: int = 32,
    learning_rate: PositiveFloat = 1e-3,
    ema_decay: float = 0.999,
    kernel: Literal["exponential", "gaussian"] = "exponential",
    widths: tuple[float, ...] = (0.5, 1.5, 5.0),
    steps: int = 4_000,
    batch_size: int = 500,
) -> Experiment:
    """Describe the run.

    Args:
      architecture: architecture of the generator, two layers of four times the width or residual blocks of convolutions
        (R3GAN).
      width: number of channels.
      latent_dim: dimension of the noise vector.
      learning_rate: initial learning rate of Adam, which decays to zero along a cosine.
      ema_decay: decay of the parameters' exponential moving average, which is evaluated.
      kernel: kernel of the drift.
      widths: widths of the kernel; two images of one class are about 4 apart.
      steps: number of training steps.
      batch_size: number of examples in a minibatch, a tenth of them of each class.
    """
    generator = {
        "mlp": gan.MLPGenerator((4 * width, 4 * width), SHAPE, output_activation=jax.nn.tanh),
        "r3gan": gan.R3GANGenerator((width, width), SHAPE, num_blocks=1),
    }[architecture]
    model = moment_matching.Drifting(
        latent_dim=latent_dim, generator=generator, widths=widths, kernel=kernel, num_classes=10
    )
    digits = data.digits()
    return Experiment(
        model=model,
        data=digits,
        preprocess=data.dequantize(LEVELS, low=-1.0),
        optimizer=optax.chain(
            optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
        ),
        ema_decay=ema_decay,
        steps=steps,
        batch_size=batch_size,
        evaluate_every=max(100, steps // 400 * 100),
        sample_score=frechet_score(
            "classifier:digits", digits.splits["validation"], num_samples=2_000, display=to_images
        ),
        display=to_images,
    )
