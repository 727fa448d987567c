"""PixelRNN on scikit-learn's digits, 8 x 8 pixels of 17 levels.

Command: genjax train experiments/pixel_rnn_digits.py --seed 0, then genjax evaluate RUN (and seeds 1 and 2)
Reached: 1.727 ± 0.002 bits per dimension, 76.63 ± 0.10 nats, by the Diagonal BiLSTM; 1.750 ± 0.002, 77.63 ± 0.07 by the
Row LSTM (--kind row); all exact, 360 test images, mean and sd of seeds 0 to 2. A run took 10 to 14 min beside three
others on 2 CPU cores (AMD EPYC, jax 0.10.2), 4 to 5 min for the Row LSTM.
"""

from typing import Literal

import optax

from genjax import Experiment, autoregressive, data
from genjax.arguments import PositiveFloat


def experiment(
    kind: Literal["row", "diagonal"] = "diagonal",
    num_layers: int = 3,
    features: int = 32,
    reach: int = 2,
    dropout: float = 0.3,
    learning_rate: PositiveFloat = 3e-3,
    weight_decay: float = 0.5,
    ema_decay: float = 0.995,
    steps: int = 1_000,
    batch_size: int = 128,
) -> Experiment:
    """Describe the run. With 1,257 training images, all of the regularization is needed.

    Args:
      kind: "row" for the Row LSTM, or "diagonal" for the Diagonal BiLSTM.
      num_layers: number of LSTM layers.
      features: number of channels of each LSTM's state.
      reach: reach of the first convolution, in pixels.
      dropout: dropout rate of channels.
      learning_rate: initial learning rate of AdamW, which decays to zero along a cosine.
      weight_decay: weight decay of AdamW.
      ema_decay: decay of the parameters' exponential moving average, which is evaluated.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    return Experiment(
        model=autoregressive.pixel_rnn(
            shape=(8, 8, 1),
            num_values=17,
            kind=kind,
            num_layers=num_layers,
            features=features,
            head_features=2 * features,
            reach=reach,
            dropout=dropout,
        ),
        data=data.digits(),
        display=lambda x: x / 16,
        optimizer=optax.chain(optax.clip_by_global_norm(10.0), optax.adamw(schedule, weight_decay=weight_decay)),
        ema_decay=ema_decay,
        steps=steps,
        batch_size=batch_size,
    )
