"""A tiny diffusion model of colour images of one colour, on [-1, 1], for editing."""

import numpy as np
import optax

from genjax import Experiment, data, diffusion, nets


def experiment(steps: int = 20, num_classes: int | None = 3, channels: int = 3) -> Experiment:
    """Describe the run.

    Args:
      steps: number of steps.
      num_classes: number of classes, or None for an unconditional model.
      channels: number of channels.
    """
    rng = np.random.default_rng(0)
    x = np.broadcast_to(rng.integers(0, 256, (48, 1, 1, channels)), (48, 4, 4, channels)).astype(np.uint8)
    labels = {} if num_classes is None else {"label": rng.integers(0, num_classes, 48).astype(np.int32)}
    model = diffusion.Diffusion(
        shape=(4, 4, channels),
        net=nets.DenoisingMLP((8,), embedding_features=8, fourier_features=4),
        num_classes=num_classes,
        num_steps=4,
    )
    return Experiment(
        model=model,
        data=data.arrays(x, validation=8, test=8, name="colours", **labels),
        preprocess=data.scale(low=-1.0),
        optimizer=optax.adam(1e-3),
        steps=steps,
        batch_size=8,
        log_every=10,
    )
