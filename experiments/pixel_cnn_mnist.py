"""Gated PixelCNN on dynamically binarized MNIST.

Command: genjax train experiments/pixel_cnn_mnist.py, then genjax evaluate RUN
Reached: 92.21 nats of negative log-mass (standard error 0.20), exact, 10,000 test images, 59,000 training images,
seed 0; about 40 min beside three other runs on 2 CPU cores (AMD EPYC, jax 0.10.2). This is a small network that
sees six rows; on a CPU, experiments/made_mnist.py is better.
With --num-layers 12 --features 128 --reach 2 --dropout 0.1 --steps 100000 --batch-size 256 this is a recipe for
accelerators, not yet run on one.
"""

import optax

from genjax import Experiment, autoregressive, data
from genjax.arguments import PositiveFloat


def experiment(
    num_layers: int = 5,
    features: int = 32,
    reach: int = 1,
    dropout: float = 0.0,
    learning_rate: PositiveFloat = 3e-3,
    weight_decay: float = 1e-4,
    ema_decay: float = 0.995,
    steps: int = 2_000,
    batch_size: int = 64,
) -> Experiment:
    """Describe the run.

    Args:
      num_layers: number of layers of each stack.
      features: number of channels of each layer.
      reach: number of rows above, and of columns to either side, that a layer sees.
      dropout: dropout rate of channels.
      learning_rate: initial learning rate of AdamW, which decays to zero along a cosine.
      weight_decay: weight decay of AdamW.
      ema_decay: decay of the parameters' exponential moving average, which is evaluated.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    settings = {"num_layers": num_layers, "features": features, "reach": reach, "dropout": dropout}
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    return Experiment(
        model=autoregressive.gated_pixel_cnn(shape=(28, 28, 1), **settings),
        data=data.tfds("mnist", validation=1_000),
        preprocess=data.dynamic_binarization(),
        optimizer=optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(schedule, weight_decay=weight_decay)),
        ema_decay=ema_decay,
        steps=steps,
        batch_size=batch_size,
    )
