"""Models of sequences, of one size, on the sources of Python's standard library; see stdlib.toml.

Every model has 100,000 parameters ± 20 %, sees windows of 64 bytes, and is trained for the same time, which the suite
turns into steps on the machine at hand. The other families have no model of sequences of tokens.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

from recipes import Recipe

from genjax import Experiment, autoregressive, boltzmann, data, diffusion, nets
from genjax.arguments import PositiveFloat, PositiveInt

LENGTH, NUM_VALUES = 64, 256
STEPS = 2_000  # without a suite
Method = Literal["gpt", "wavenet", "masked_diffusion", "uniform_diffusion", "rbm"]


def denoising_net(**options: Any) -> nets.TokenTransformer:
    """Return the network of both diffusion models."""
    return nets.TokenTransformer(
        num_values=NUM_VALUES, num_layers=2, num_heads=4, features=56, positions="rotary", use_bias=False, **options
    )


sequences = functools.partial(Recipe, steps=STEPS, batch_size=32, learning_rate=3e-3, square_beta=0.99)
RECIPES: dict[str, Recipe] = {
    "gpt": sequences(
        model=lambda: autoregressive.GPT(
            num_values=NUM_VALUES,
            length=LENGTH,
            num_layers=2,
            num_heads=4,
            features=56,
            positions="rotary",
            use_bias=False,
        ),
    ),
    "wavenet": sequences(
        model=lambda: autoregressive.wavenet(
            shape=(LENGTH,),
            num_values=NUM_VALUES,
            num_layers=6,
            features=32,
            skip_features=112,
            embedding_dim=32,
        ),
    ),
    "masked_diffusion": sequences(
        model=lambda: diffusion.MaskedDiffusion(
            shape=(LENGTH,), num_values=NUM_VALUES, net=denoising_net(embed_level=False)
        ),
    ),
    "uniform_diffusion": sequences(
        model=lambda: diffusion.UniformDiffusion(shape=(LENGTH,), num_values=NUM_VALUES, net=denoising_net()),
    ),
    "rbm": sequences(
        model=lambda: boltzmann.RBM(
            shape=(LENGTH,),
            num_hidden=6,
            negative_phase=boltzmann.Persistent(128),
            units=boltzmann.SoftmaxUnits(NUM_VALUES),
        ),
    ),
}


def experiment(
    method: Method = "gpt", learning_rate_factor: PositiveFloat = 1.0, steps: PositiveInt | None = None
) -> Experiment:
    """Describe the run.

    Args:
      method: model and the way to train it.
      learning_rate_factor: factor on the learning rate of the recipe, which decays to zero along a cosine.
      steps: number of training steps; None for 2,000.
    """
    dataset = data.stdlib(length=LENGTH, validation=0.03, test=0.03)
    return RECIPES[method].experiment(dataset, learning_rate_factor, steps)
