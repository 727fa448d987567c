"""A tiny VAE on fixed random images: seconds to compile, milliseconds to train."""

import numpy as np
import optax

from genjax import data, nets, ops, vae
from genjax.runner import Experiment


def experiment(
    latent_dim: int = 2,
    learning_rate: float = 1e-3,
    steps: int = 40,
    log_every: int = 10,
    batch_size: int = 8,
    widths: tuple[int, ...] = (8,),
    dataset: str = "random",
    ema_lengths: tuple[float, ...] = (),
) -> Experiment:
    """Describe the run.

    Args:
      latent_dim: size of the latent vector.
      learning_rate: learning rate of Adam.
      steps: learner steps.
      log_every: steps a dispatch.
      batch_size: examples a step.
      widths: hidden layers of both networks.
      dataset: "random", or any name that data.load knows.
      ema_lengths: lengths of power-function averages.
    """
    if dataset == "random":
        x = np.random.default_rng(0).integers(0, 256, (96, 4, 4, 1), dtype=np.uint8)
        source = data.arrays(x, validation=16, test=16, name="random")
    else:
        source = data.load(dataset)
    return Experiment(
        model=vae.VAE(
            latent_dim=latent_dim,
            encoder=nets.MLP(features=(*widths, 2 * latent_dim)),
            decoder=nets.MLP(features=(*widths, 16), output_shape=(4, 4, 1)),
            likelihood=ops.Bernoulli(),
        ),
        data=source,
        preprocess=data.dynamic_binarization(levels=256),
        optimizer=optax.adam(learning_rate),
        steps=steps,
        batch_size=batch_size,
        log_every=log_every,
        evaluate_every=2 * log_every,
        sample_every=2 * log_every,
        checkpoint_every=log_every,
        ema_lengths=ema_lengths,
        snapshot_every=log_every if ema_lengths else None,
    )
