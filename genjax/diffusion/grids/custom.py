"""A grid of given times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.diffusion.processes import NoiseProcess
from genjax.ops import check_at_least


@final
@dataclass(frozen=True)
class Custom:
    """Given times, one for each step of the sampler.

    Attributes:
      values: times, decreasing.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        check_at_least("the number of values", len(self.values), 1)
        steps = np.diff(self.values)
        if not np.all(steps < 0):
            i = int(np.flatnonzero(~(steps < 0))[0])
            raise ValueError(
                f"values go from {self.values[i]} to {self.values[i + 1]}, but times must decrease, from noise to "
                "data; reverse them and drop duplicates"
            )

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``.

        Raises:
          ValueError: if ``num_times`` is not the number of values.
        """
        if num_times != len(self.values):
            raise ValueError(f"the grid has {len(self.values)} times, but needs {num_times}; change num_steps")
        return jnp.asarray(self.values, float)
