"""WAE-MMD with a squared error on scikit-learn's digits, 8 x 8 pixels in [0, 1].

Command: genjax train experiments/wae_digits.py --seeds 5 --seed 100, then
genjax evaluate RUN --metrics aggregated_posterior reconstruction memorization
Reached: squared error 0.0115 ± 0.0002 (360 test images, mean ± sd of seeds 100 to 104), no memorization. MMD² between
codes and prior is 0.0020 ± 0.0004, which a permutation test of 360 codes tells from zero (mean p = 0.02). 6 min 15 s
for the five seeds beside much other work on 2 CPU cores (AMD EPYC, jax 0.10.2).
"""

import optax

from genjax import Experiment, data, nets, ops, vae
from genjax.arguments import PositiveFloat


def experiment(
    latent_dim: int = 8,
    hidden: int = 128,
    penalty: float = 300.0,
    learning_rate: PositiveFloat = 1e-3,
    steps: int = 3_000,
    batch_size: int = 256,
) -> Experiment:
    """Describe the run. The first setting that was tried is the one reported.

    Args:
      latent_dim: dimension of the latent vector.
      hidden: width of the two hidden layers of encoder and decoder.
      penalty: weight of MMD² in nats.
      learning_rate: initial learning rate of Adam, which decays to zero along a cosine.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    return Experiment(
        model=vae.WassersteinAutoencoder(
            prior=ops.StandardNormal(latent_dim),
            encoder=nets.MLP((hidden, hidden, latent_dim)),
            decoder=nets.MLP((hidden, hidden), output_shape=(8, 8, 1)),
            likelihood=ops.Gaussian(log_scale=-2.0),
            bandwidths=tuple(scale * latent_dim**0.5 for scale in (0.25, 0.5, 1.0, 2.0)),
            penalty=penalty,
        ),
        data=data.digits(),
        preprocess=data.scale(levels=17),
        optimizer=optax.adam(optax.cosine_decay_schedule(learning_rate, steps)),
        ema_decay=0.999,
        steps=steps,
        batch_size=batch_size,
        preview_kwargs={"mean": True},
    )
