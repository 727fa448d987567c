"""PixelCNN, gated PixelCNN and PixelCNN++ on scikit-learn's digits, 8 x 8 pixels of 17 levels.

Command: genjax train experiments/pixel_cnn_digits.py --seed 0, then genjax evaluate RUN (and seeds 1 and 2)
Reached: 1.767 ± 0.003 bits per dimension, 78.37 ± 0.13 nats, by the gated PixelCNN; 1.842 ± 0.001, 81.70 ± 0.03 by
PixelCNN (--model pixel_cnn); 1.730 ± 0.002, 76.74 ± 0.09 by PixelCNN++ (--model pixel_cnn_pp --dropout 0.5); all exact,
360 test images, mean and sd of seeds 0 to 2. A run took 2 to 4 min beside other work, 8 to 12 min for PixelCNN++, on
2 CPU cores (AMD EPYC, jax 0.10.2). Dropout and weight decay were chosen among five settings of the gated PixelCNN on
the validation split.
"""

from typing import Literal

import optax

from genjax import Experiment, autoregressive, data
from genjax.arguments import PositiveFloat


def experiment(
    model: Literal["pixel_cnn", "gated_pixel_cnn", "pixel_cnn_pp"] = "gated_pixel_cnn",
    features: int = 32,
    num_layers: int = 4,
    dropout: float = 0.3,
    learning_rate: PositiveFloat = 3e-3,
    weight_decay: float = 1.0,
    ema_decay: float = 0.995,
    steps: int = 1_000,
    batch_size: int = 128,
) -> Experiment:
    """Describe the run. With 1,257 training images, all of the regularization is needed.

    Args:
      model: model, one of the three.
      features: number of channels of each layer.
      num_layers: number of layers of PixelCNN and gated PixelCNN; PixelCNN++ has one block at each of two resolutions.
      dropout: dropout rate of channels.
      learning_rate: initial learning rate of AdamW, which decays to zero along a cosine.
      weight_decay: weight decay of AdamW.
      ema_decay: decay of the parameters' exponential moving average, which is evaluated.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    common = {"shape": (8, 8, 1), "num_values": 17, "features": features, "dropout": dropout}
    if model == "pixel_cnn":
        pixels = autoregressive.pixel_cnn(**common, num_layers=num_layers)
    elif model == "gated_pixel_cnn":
        pixels = autoregressive.gated_pixel_cnn(**common, num_layers=num_layers)
    else:
        pixels = autoregressive.pixel_cnn_pp(**common, num_resolutions=2, num_blocks=1, num_components=5)
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    return Experiment(
        model=pixels,
        data=data.digits(),
        display=lambda x: x / 16,
        optimizer=optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(schedule, weight_decay=weight_decay)),
        ema_decay=ema_decay,
        steps=steps,
        batch_size=batch_size,
    )
