"""A toy translator of grey images to coloured ones and back, for unpaired data; its channels show what arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import Experiment, data
from genjax.capabilities import Condition
from genjax.core import Objective, Variables


@final
@dataclass(frozen=True, kw_only=True)
class Translating:
    """y becomes (gain · (1 − y), y, noise), the same noise for all pixels; x becomes its second channel."""

    directions = ("y_to_x", "x_to_y")
    conditions = (Condition(name="y", kind="image", shape=(None, None, 1), paired=False),)

    def init(self, key, batch):
        """Make the gain, 0."""
        del key, batch
        return Variables({"model": {"gain": jnp.zeros(())}}, {})

    def objectives(self):
        """Match the mean of each domain."""
        return (Objective(name="mean", wrt=("model",), loss=self.loss),)

    def loss(self, params, state, key, batch, step):
        """Squared difference of the means of x and of the translated y, first channel."""
        del step
        x = self.translate(Variables(params, state), key, batch["y"], direction="y_to_x")
        return jnp.square(jnp.mean(x[..., 0]) - jnp.mean(batch["x"][..., 0])), (state, {})

    def translate(self, variables, key, x, *, direction):
        """Translate images of even height."""
        if x.shape[1] % 2:
            raise ValueError(f"the height is {x.shape[1]}, but must be even")
        if direction == "x_to_y":
            return x[..., 1:2]
        noise = jnp.broadcast_to(jax.random.uniform(key, (len(x), 1, 1, 1)), x.shape)
        return jnp.concatenate([variables.params["model"]["gain"] * (1 - x), x, noise], axis=-1)

    def sample(self, variables, key, num_samples, *, y):
        """Translate N images."""
        del num_samples
        return self.translate(variables, key, y, direction="y_to_x")


def experiment(steps: int = 60, paired: bool = False) -> Experiment:
    """Fit the gain, whose best value is 1.

    Args:
      steps: number of steps.
      paired: whether to train on pairs.
    """
    rng = np.random.default_rng(0)
    y = rng.integers(0, 256, (60 if paired else 90, 4, 6, 1)).astype(np.uint8)
    x = np.repeat(255 - rng.permutation(y)[:60], 3, axis=-1)
    make = data.paired if paired else data.unpaired
    return Experiment(
        model=Translating(),
        data=make(x, y, validation=6, test=6, name="toy"),
        preprocess=data.chain(data.scale(), data.scale(entry="y")),
        optimizer=optax.adam(0.2),
        steps=steps,
        batch_size=8,
        log_every=20,
    )
