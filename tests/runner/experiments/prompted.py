"""A small diffusion model of images with captions."""

import numpy as np
import optax

from genjax import Experiment, data, diffusion, nets


def experiment(steps: int = 2, num_tokens: int = 8) -> Experiment:
    """Train for a few steps.

    Args:
      steps: number of steps.
      num_tokens: vocabulary size of the text encoder.
    """
    source = data.ArraySource({"x": np.zeros((16, 4, 4, 1), np.uint8), "label": np.arange(16) % 2})
    clothes = data.Dataset(name="clothes", splits={"train": source}, class_names=("Trouser", "Ankle boot"))
    model = diffusion.Diffusion(
        shape=(4, 4, 1),
        net=nets.DenoisingMLP((8,), embedding_features=8, fourier_features=0, output_scale=1.0),
        text_encoder=nets.TextEncoder(num_tokens=num_tokens, length=6, features=8, num_layers=1, num_heads=2),
        num_steps=2,
    )
    return Experiment(
        model=model,
        data=data.captioned(clothes, ("a photo of {a_name}",)),
        preprocess=data.scale(),
        optimizer=optax.adam(1e-3),
        steps=steps,
        batch_size=8,
        log_every=1,
        display=lambda x: x.clip(0, 1),
    )
