"""Periodic features of the levels of quantized data, for networks that denoise them.

    φ(z) = (z, sin(π L z / 2), cos(π L z / 2), sin(π L z), cos(π L z)),                                          (1)

for data with L levels on [−1, 1], which are 2 / L apart: the features have a period of two levels and of one. They
amplify small changes of z, so that a network can tell at low noise which level it came from. For L = 256 they are the
features of Diederik Kingma, Tim Salimans, Ben Poole and Jonathan Ho 2021, arXiv:2107.00630, appendix C.
"""

from __future__ import annotations

import math
from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import check_arguments
from genjax.core import Array


@check_arguments
class PeriodicFeatures(nn.Module):
    """A denoising network whose inputs are equation 1, along the last axis.

    Attributes:
      net: network of x (B, ..., C), noise levels (B,) and a condition, to the shape of x; of its output, the first C
        channels remain.
      num_values: number of levels, L.

    >>> import jax
    >>> from genjax.nets import DenoisingMLP
    >>> net = PeriodicFeatures(DenoisingMLP((8,)), num_values=17)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((5, 2)), jnp.zeros(5))[0].shape
    (5, 2)
    """

    net: nn.Module
    num_values: Annotated[int, Ge(2)]

    @nn.compact
    def __call__(self, x: Array, level: Array, *condition: Array, train: bool = False) -> Array:
        """Map x (B, ..., C), noise levels (B,) and a condition (B, K) to the shape of x."""
        angles = [math.pi * self.num_values * x * scale for scale in (0.5, 1.0)]
        waves = [wave for angle in angles for wave in (jnp.sin(angle), jnp.cos(angle))]
        features = jnp.concatenate([x, *waves], axis=-1)  # equation 1
        return self.net(features, level, *condition, train=train)[..., : x.shape[-1]]
