"""A perceptron conditioned on the noise level, for points and other short vectors.

Layers of equal width are residual. Their gains and biases are linear in the embedding e of noise level and condition
(``LevelEmbedding``):

    h ← φ(x),        u = (1 + G e) ⊙ (W h + b) + B e,        h ← ρ(u),  or  h + ρ(u) where the widths are equal,   (1)

with Fourier features φ (``FourierFeatures``), because the score varies fast if the modes of a density are narrow
compared to their distances: near a mode of standard deviation s, it changes by 1/s over a distance of s. Gains and
biases follow Ethan Perez et al. 2018, arXiv:1709.07871.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import Cure, NonNegativeInt, PositiveFloat, PositiveInt, Widths, check_arguments
from genjax.core import Array
from genjax.nets.attention import Context
from genjax.nets.fourier import FourierFeatures
from genjax.nets.levels import LevelEmbedding
from genjax.nets.mlp import scaled_init


@check_arguments
class DenoisingMLP(nn.Module):
    """Layers of equation 1, and a linear layer.

    Attributes:
      features: widths of the layers, at least one.
      embedding_features: length of e.
      fourier_features: number of frequencies; with 0, φ(x) = x.
      fourier_scale: standard deviation of the frequencies, about the inverse of the smallest distance to resolve, in
        units of the data's standard deviation.
      activation: ρ.
      output_scale: factor on the initial weights of the last layer; with 0, outputs start at 0.

    >>> import jax
    >>> net = DenoisingMLP((16, 16))
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((5, 2)), jnp.zeros(5), jnp.eye(5, 3))[0].shape
    (5, 2)
    """

    features: Annotated[Widths, Cure("; (256,) * 3 is usual")]
    embedding_features: PositiveInt = 128
    fourier_features: NonNegativeInt = 64
    fourier_scale: PositiveFloat = 4.0
    activation: Callable[[Array], Array] = nn.silu
    output_scale: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x: Array,
        level: Array,
        condition: Array | None = None,
        context: Context | None = None,
        train: bool = False,
    ) -> Array:
        """Map x (B, ...), noise levels (B,), a condition (B, K) and a context to the shape of x."""
        del train
        embedding = LevelEmbedding(self.embedding_features, activation=self.activation, dtype=self.dtype)
        embedded = self.activation(embedding(level, condition, context))
        hidden = x.reshape(x.shape[0], -1)
        if self.fourier_features:
            settings: dict[str, Any] = {"dtype": self.dtype, "name": "frequencies"}
            hidden = FourierFeatures(self.fourier_features, self.fourier_scale, **settings)(hidden)
        for width in self.features:
            gain, bias = jnp.split(nn.Dense(2 * width, dtype=self.dtype)(embedded), 2, axis=-1)
            outputs = self.activation((1 + gain) * nn.Dense(width, dtype=self.dtype)(hidden) + bias)  # equation 1
            hidden = hidden + outputs if hidden.shape[-1] == width else outputs
        initial = scaled_init(self.output_scale)
        return nn.Dense(math.prod(x.shape[1:]), kernel_init=initial, dtype=self.dtype)(hidden).reshape(x.shape)
