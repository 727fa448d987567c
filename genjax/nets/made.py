"""The masked autoencoder for distribution estimation (MADE): a network whose output i sees inputs before i alone.

Inputs have degrees 1 … D, hidden units degrees m that rise evenly within each layer, and masks leave the connections

    input d → hidden m  where m ≥ d,      hidden m → hidden m′  where m′ ≥ m,      hidden m → output d  where d > m,

so that output d depends on x_1 … x_{d−1}. All outputs take one pass. Conversely, where x itself is made from the
outputs, dimension after dimension, the units of one degree are computed once, when all that they see is known: D small
steps which together cost about one pass, and not D passes.

Mathieu Germain, Karol Gregor, Iain Murray and Hugo Larochelle, 2015, arXiv:1502.03509.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from genjax.core import Array, PyTree

NextValue = Callable[[Array, Array], Array]  # (index of a dimension, its outputs (B, P)) -> its values (B,)


class MADE(nn.Module):
    """Masked dense layers: P outputs for each of D dimensions, given those before it.

    Attributes:
      features: widths of the hidden layers.
      num_outputs: P.
      activation: after each hidden layer.
      output_scale: factor on the initial weights of the last layer; with 0 its outputs begin at 0.
      dtype: what the layers compute in; None follows the input. Parameters are float32 in any case.

    >>> net = MADE((16,), num_outputs=2)
    >>> outputs, variables = net.init_with_output(jax.random.key(0), jnp.zeros((3, 5)))
    >>> outputs.shape
    (3, 2, 5)
    """

    features: Sequence[int]
    num_outputs: int = 1
    activation: Callable[[Array], Array] = nn.relu
    output_scale: float = 1.0
    dtype: Any = None

    def __post_init__(self) -> None:
        if not self.features or min(self.features) < 1 or self.num_outputs < 1:
            raise ValueError(
                f"MADE has features={tuple(self.features)} and num_outputs={self.num_outputs}, but needs a hidden "
                "layer and every size at least 1; give it for example features=(128, 128)"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Map (B, D) to (B, P, D); a ``condition`` (B, ...) reaches every output."""
        if x.ndim != 2:
            raise ValueError(
                f"MADE got shape {x.shape}, but takes vectors (B, D); flatten them, in the order to be kept"
            )
        hidden = x
        for i, mask in enumerate(self._masks(x.shape[1], condition is not None)[:-1]):
            hidden = _Masked(mask, dtype=self.dtype, name=f"layer_{i}")(hidden)
            if i == 0 and condition is not None:
                flat = condition.reshape(len(condition), -1).astype(hidden.dtype)
                hidden = hidden + nn.Dense(hidden.shape[-1], use_bias=False, dtype=self.dtype, name="condition")(flat)
            hidden = self.activation(hidden)
        mask = self._masks(x.shape[1], condition is not None)[-1]
        outputs = _Masked(mask, scale=self.output_scale, dtype=self.dtype, name="outputs")(hidden)
        return outputs.reshape(len(x), self.num_outputs, x.shape[1])

    def generate(
        self, params: PyTree, num_rows: int, dim: int, next_value: NextValue, condition: Array | None = None
    ) -> Array:
        """Make x dimension by dimension, each from the outputs that those before it give.

        Args:
          params: of this network.
          num_rows: B.
          dim: D.
          next_value: from the index of a dimension, int32 (), and its outputs (B, P), to its values (B,).
          condition: as the network takes it.

        Returns:
          x, float32 (B, D).
        """
        masks = self._masks(dim, condition is not None)
        degrees = self._degrees(dim, condition is not None)
        layers = [params[f"layer_{i}"] for i in range(len(degrees))]
        # Rows of the transposed kernels are the weights of one unit, next to each other in memory.
        kernels = [(layer["kernel"] * mask).T for layer, mask in zip(layers, masks[:-1], strict=True)]
        offsets = [layer["bias"][None] for layer in layers]
        if condition is not None:
            flat = condition.reshape(num_rows, -1).astype(offsets[0].dtype)
            offsets[0] = offsets[0] + flat @ params["condition"]["kernel"]
        width = self.features[-1]
        last = (params["outputs"]["kernel"] * masks[-1]).T.reshape(self.num_outputs, dim, width).swapaxes(0, 1)
        last_bias = params["outputs"]["bias"].reshape(self.num_outputs, dim).T
        # Units of degree d, in a window of one size for all d; what else is in it is right, or made right later.
        starts = [np.searchsorted(degree, np.arange(dim)) for degree in degrees]
        windows = [int(np.bincount(degree, minlength=dim).max()) for degree in degrees]
        starts = [np.minimum(s, len(m) - w) for s, m, w in zip(starts, degrees, windows, strict=True)]

        def dimension(carry: tuple[Array, list[Array]], now: tuple) -> tuple[tuple[Array, list[Array]], None]:
            x, hidden = carry
            index, begins, kernel, bias = now
            below = x
            for i, (begin, window) in enumerate(zip(begins, windows, strict=True)):
                rows = jax.lax.dynamic_slice_in_dim(kernels[i], begin, window)
                offset = jax.lax.dynamic_slice_in_dim(offsets[i], begin, window, axis=1)
                units = self.activation(below @ rows.T + offset)
                hidden[i] = jax.lax.dynamic_update_slice_in_dim(hidden[i], units, begin, axis=1)
                below = hidden[i]
            value = next_value(index, below @ kernel.T + bias[None])
            return (jax.lax.dynamic_update_slice_in_dim(x, value[:, None], index, axis=1), hidden), None

        empty = [jnp.zeros((num_rows, width)) for width in self.features]
        sequence = (jnp.arange(dim), [jnp.asarray(s) for s in starts], last, last_bias)
        (x, _), _ = jax.lax.scan(dimension, (jnp.zeros((num_rows, dim)), empty), sequence)
        return x

    def _degrees(self, dim: int, conditional: bool) -> list[np.ndarray]:
        """Degree of every hidden unit, in rising order; degree 0 sees the condition alone, or nothing."""
        lowest = 0 if conditional or dim == 1 else 1
        return [lowest + np.arange(width) * (dim - lowest) // width for width in self.features]

    def _masks(self, dim: int, conditional: bool) -> list[np.ndarray]:
        """Of each layer, float32 (inputs, outputs)."""
        hidden = self._degrees(dim, conditional)
        inputs = [np.arange(1, dim + 1), *hidden[:-1]]
        masks = [below[:, None] <= above for below, above in zip(inputs, hidden, strict=True)]
        outputs = np.tile(np.arange(1, dim + 1), self.num_outputs)
        return [mask.astype(np.float32) for mask in (*masks, hidden[-1][:, None] < outputs)]


class _Masked(nn.Module):
    """A dense layer with a constant mask on its kernel."""

    mask: np.ndarray
    scale: float = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self._initial, self.mask.shape)
        bias = self.param("bias", nn.initializers.zeros, self.mask.shape[1:])
        x, kernel, bias = promote_dtype(x, kernel * self.mask, bias, dtype=self.dtype)
        return x @ kernel + bias[None]

    def _initial(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Weights of variance 1 over the number of inputs that a unit keeps."""
        kept = np.maximum(self.mask.sum(axis=0, keepdims=True), 1)
        return self.scale * jax.random.normal(key, shape) / np.sqrt(kept)
