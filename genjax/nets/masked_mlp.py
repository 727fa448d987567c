"""The masked autoencoder for distribution estimation (MADE): a network whose output i sees inputs before i alone.

Inputs have degrees 1 … D in the order of the dimensions, hidden units degrees m that rise evenly within each layer, and
masks leave the connections

    input d → hidden m  where m ≥ d,      hidden m → hidden m′  where m′ ≥ m,      hidden m → output d  where d > m,

so that the output of degree d depends on inputs of degrees 1 … d − 1: on all of them where every hidden layer has D
units or more, and on some where degrees are missing. All outputs take one pass. Conversely, where x
itself is made from the outputs, dimension after dimension, the units of one degree are computed once, when all that
they see is known: D small steps which together cost about one pass, and not D passes.

Mathieu Germain, Karol Gregor, Iain Murray and Hugo Larochelle, 2015, arXiv:1502.03509.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from genjax.core import Array, PyTree


class MaskedMLPCache(NamedTuple):
    """What is known half-way: the number of steps done, x (B, D) so far, and the hidden units of each layer."""

    index: Array
    x: Array
    hidden: list[Array]


Step = Callable[[MaskedMLPCache, Array], tuple[Array, MaskedMLPCache]]


class MaskedMLP(nn.Module):
    """Masked dense layers: P outputs for each of D dimensions, given those before it.

    Attributes:
      features: widths of the hidden layers.
      num_outputs: P.
      activation: after each hidden layer.
      output_scale: factor on the initial weights of the last layer; with 0 its outputs begin at 0.
      residual: whether hidden layers, then of one width, add to the one below them, and inputs reach the outputs
        directly as well.
      dtype: what the layers compute in; None follows the input. Parameters are float32 in any case.

    >>> net = MaskedMLP((16,), num_outputs=2)
    >>> outputs, variables = net.init_with_output(jax.random.key(0), jnp.zeros((3, 5)))
    >>> outputs.shape
    (3, 2, 5)
    """

    features: Sequence[int]
    num_outputs: int = 1
    activation: Callable[[Array], Array] = nn.relu
    output_scale: float = 1.0
    residual: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        if not self.features or min(self.features) < 1 or self.num_outputs < 1:
            raise ValueError(
                f"MaskedMLP has features={tuple(self.features)} and num_outputs={self.num_outputs}, but needs a hidden "
                "layer and every size at least 1; give it for example features=(128, 128)"
            )
        if self.residual and len(set(self.features)) > 1:
            raise ValueError(f"features is {tuple(self.features)}, but residual layers are all of one width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, order: Array | None = None) -> Array:
        """Map (B, D) to (B, P, D).

        Args:
          x: vectors.
          condition: (B, ...), reaches every output.
          order: the dimensions from first to last, a permutation int32 (D,); None for 0 … D - 1.
        """
        if x.ndim != 2:
            raise ValueError(
                f"MaskedMLP got shape {x.shape}, but takes vectors (B, D); flatten them, in the order to be kept"
            )
        hidden = x
        masks = self._masks(x.shape[1], condition is not None, order)
        for i, mask in enumerate(masks[:-1]):
            units = _Masked(dtype=self.dtype, name=f"layer_{i}")(hidden, mask)
            if i == 0 and condition is not None:
                flat = condition.reshape(len(condition), -1).astype(units.dtype)
                units = units + nn.Dense(units.shape[-1], use_bias=False, dtype=self.dtype, name="condition")(flat)
            units = self.activation(units)
            hidden = hidden + units if self.residual and i > 0 else units
        outputs = _Masked(scale=self.output_scale, dtype=self.dtype, name="outputs")(hidden, masks[-1])
        if self.residual:
            direct = self._direct_mask(x.shape[1], order)
            outputs = outputs + _Masked(scale=self.output_scale, use_bias=False, dtype=self.dtype, name="direct")(
                x, direct
            )
        return outputs.reshape(len(x), self.num_outputs, x.shape[1])

    def decoder(
        self, params: PyTree, num_rows: int, dim: int, condition: Array | None = None, order: Array | None = None
    ) -> tuple[MaskedMLPCache, Step]:
        """Return what makes x dimension by dimension, each from the outputs that those before it give.

        Args:
          params: of this network.
          num_rows: B.
          dim: D.
          condition: as the network takes it.
          order: as the network takes it.

        Returns:
          The empty cache, and ``step(cache, values) -> (outputs, cache)``: from the values (B,) of the dimension last
          stepped to, which the first step ignores, to the outputs (B, P) of the next one in order.
        """
        masks = self._masks(dim, condition is not None, order)
        degrees = self._degrees(dim, condition is not None)
        ranked = jnp.arange(dim) if order is None else order
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
        if self.residual:
            direct = (params["direct"]["kernel"] * self._direct_mask(dim, order)).T
            direct = direct.reshape(self.num_outputs, dim, dim).swapaxes(0, 1)
        # Units of degree d, in a window of one size for all d; what else is in it is right, or made right later.
        windows = [int(np.bincount(degree, minlength=dim).max()) for degree in degrees]
        starts = [
            jnp.asarray(np.minimum(np.searchsorted(degree, np.arange(dim)), len(degree) - window))
            for degree, window in zip(degrees, windows, strict=True)
        ]

        def step(cache: MaskedMLPCache, values: Array) -> tuple[Array, MaskedMLPCache]:
            index, x, hidden = cache
            values = jnp.where(index > 0, values, 0.0)  # of the dimension before; there is none before the first
            x = jax.lax.dynamic_update_slice_in_dim(x, values[:, None], ranked[jnp.maximum(index - 1, 0)], axis=1)
            below, layers = x, []
            for i, window in enumerate(windows):
                begin = starts[i][index]
                rows = jax.lax.dynamic_slice_in_dim(kernels[i], begin, window)
                offset = jax.lax.dynamic_slice_in_dim(offsets[i], begin, window, axis=1)
                units = self.activation(below @ rows.T + offset)
                if self.residual and i > 0:
                    units = units + jax.lax.dynamic_slice_in_dim(below, begin, window, axis=1)
                below = jax.lax.dynamic_update_slice_in_dim(hidden[i], units, begin, axis=1)
                layers.append(below)
            outputs = below @ last[ranked[index]].T + last_bias[ranked[index]][None]
            if self.residual:
                outputs = outputs + x @ direct[ranked[index]].T
            return outputs, MaskedMLPCache(index + 1, x, layers)

        empty = [jnp.zeros((num_rows, width), last.dtype) for width in self.features]
        return MaskedMLPCache(jnp.int32(0), jnp.zeros((num_rows, dim), last.dtype), empty), step

    def _degrees(self, dim: int, conditional: bool) -> list[np.ndarray]:
        """Degree of every hidden unit, in rising order; degree 0 sees the condition alone, or nothing."""
        lowest = 0 if conditional or dim == 1 else 1
        return [lowest + np.arange(width) * (dim - lowest) // width for width in self.features]

    def _masks(self, dim: int, conditional: bool, order: Array | None) -> list[Any]:
        """Of each layer, float32 (inputs, outputs)."""
        hidden, first = self._degrees(dim, conditional), _input_degrees(dim, order)
        inputs = [first, *hidden[:-1]]
        masks = [below[:, None] <= above[None] for below, above in zip(inputs, hidden, strict=True)]
        outputs = jnp.tile(first, self.num_outputs) if order is not None else np.tile(first, self.num_outputs)
        return [mask.astype(np.float32) for mask in (*masks, hidden[-1][:, None] < outputs[None])]

    def _direct_mask(self, dim: int, order: Array | None) -> Any:
        """Of inputs on outputs, float32 (D, P · D)."""
        first = _input_degrees(dim, order)
        return (first[:, None] < (np if order is None else jnp).tile(first, self.num_outputs)[None]).astype(np.float32)


def _input_degrees(dim: int, order: Array | None) -> Any:
    """Of every dimension, 1 … D."""
    return np.arange(1, dim + 1) if order is None else 1 + jnp.argsort(order)


class _Masked(nn.Module):
    """A dense layer with a mask on its kernel."""

    scale: float = 1.0
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, mask: Any) -> Array:
        def initial(key: Array, shape: tuple[int, ...]) -> Array:
            """Weights of variance 1 over the number of inputs that a unit keeps."""
            kept = jnp.maximum(mask.sum(axis=0, keepdims=True), 1)
            return self.scale * jax.random.normal(key, shape, jnp.float32) / jnp.sqrt(jnp.float32(kept))

        kernel = self.param("kernel", initial, mask.shape)
        bias = self.param("bias", nn.initializers.zeros, mask.shape[1:], jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel * mask, bias, dtype=self.dtype)
        return x @ kernel if bias is None else x @ kernel + bias[None]
