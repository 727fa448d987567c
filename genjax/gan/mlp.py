"""Generator and discriminator made of dense layers, for vectors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.core import Array
from genjax.gan.heads import (
    Conditioning,
    DiscriminatorHead,
    Normalization,
    leaky_relu,
)
from genjax.nets import FourierFeatures, apply_layer, apply_norm, concat_condition


@check_arguments
class MLPGenerator(nn.Module):
    """Dense layers from noise to data.

    Attributes:
      features: widths of the hidden layers, at least 1.
      output_shape: shape of one example.
      normalization: normalization of the hidden layers, "batch" or None.
      activation: activation after each hidden layer.
      output_activation: activation after the last layer, such as ``nn.tanh`` for data in [-1, 1], or None.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax, jax.numpy as jnp
    >>> net = MLPGenerator((8, 8), output_shape=(2,), normalization="batch")
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((5, 3)))[0].shape
    (5, 2)
    """

    features: Sequence[PositiveInt]
    output_shape: Sequence[PositiveInt]
    normalization: Literal["batch"] | None = None
    activation: Callable[[Array], Array] = nn.relu
    output_activation: Callable[[Array], Array] | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map noise (B, L) to data (B, *output_shape); ``condition`` (B, K) is concatenated to the noise."""
        dense = functools.partial(nn.Dense, dtype=self.dtype)
        hidden = concat_condition(z, condition)
        for features in self.features:
            hidden = dense(features, use_bias=self.normalization is None)(hidden)
            hidden = self.activation(apply_norm(hidden, self.normalization, train=train, dtype=self.dtype))
        outputs = dense(math.prod(self.output_shape))(hidden).reshape(z.shape[0], *self.output_shape)
        return outputs if self.output_activation is None else self.output_activation(outputs)


@check_arguments
class MLPDiscriminator(nn.Module):
    """Dense layers from data to outputs, 1-Lipschitz with spectral normalization and no Fourier features.

    Attributes:
      features: widths of the hidden layers, at least 1.
      num_outputs: number of outputs per example, at least 1.
      normalization: "spectral", "layer" (use it with a gradient penalty: it treats examples separately), "batch" or
        None.
      conditioning: "projection" or "concatenation"; see ``DiscriminatorHead``.
      fourier_features: number of frequencies, at least 0, whose sines and cosines are concatenated to the data, to
        resolve structure much finer than the range of the data; see ``FourierFeatures``.
      activation: activation after each hidden layer.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax, jax.numpy as jnp
    >>> net = MLPDiscriminator((8, 8), normalization="spectral")
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((5, 2)), jnp.eye(5, 3))[0].shape
    (5, 1)
    """

    features: Sequence[PositiveInt]
    num_outputs: PositiveInt = 1
    normalization: Normalization | None = None
    conditioning: Conditioning = "projection"
    fourier_features: NonNegativeInt = 0
    activation: Callable[[Array], Array] = leaky_relu
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map data (B, ...), flattened, to (B, num_outputs); ``condition`` is (B, K)."""
        spectral, concatenates = self.normalization == "spectral", self.conditioning == "concatenation"
        hidden = x.reshape(x.shape[0], -1)
        if self.fourier_features:
            hidden = FourierFeatures(self.fourier_features, dtype=self.dtype, name="frequencies")(hidden)
        hidden = concat_condition(hidden, condition if concatenates else None)
        for features in self.features:
            dense = nn.Dense(features, use_bias=self.normalization in ("spectral", None), dtype=self.dtype)
            hidden = apply_layer(dense, hidden, spectral=spectral, train=train)
            hidden = self.activation(apply_norm(hidden, self.normalization, train=train, dtype=self.dtype))
        head = DiscriminatorHead(self.num_outputs, spectral, dtype=self.dtype)
        return head(hidden, None if concatenates else condition, train)
