"""Random Fourier features, which let networks resolve fine structure in their inputs.

    φ(x) = (x, sin W x, cos W x),        rows of W initially from N(0, s² I).                                     (1)

Dense layers are slow to learn functions that vary rapidly. With φ(x) as inputs, they learn structure down to distances
of about 1/s almost as fast as coarse structure. Matthew Tancik et al. 2020, arXiv:2006.10739, where W is not learned.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from genjax.arguments import PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array


@check_arguments
class FourierFeatures(nn.Module):
    """Equation 1, with W learned.

    Attributes:
      num_features: number of rows of W.
      scale: standard deviation of the initial frequencies, s.
      dtype: dtype of the features, see ``nets``; sines and cosines are always computed in float32 too.
    """

    num_features: PositiveInt
    scale: PositiveFloat = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (B, D) to (B, D + 2 num_features)."""
        initial = nn.initializers.normal(self.scale)
        kernel = self.param("kernel", initial, (x.shape[-1], self.num_features), jnp.float32)
        x, kernel = promote_dtype(x, kernel)  # an angle of many turns has no accurate sine in half precision
        angle = x @ kernel
        features = jnp.concatenate([x, jnp.sin(angle), jnp.cos(angle)], axis=-1)  # equation 1
        return features if self.dtype is None else features.astype(self.dtype)
