"""The masked network of MADE (masked autoencoder for distribution estimation): output i sees only the inputs before i.

Inputs have degrees 1 … D in the order of the dimensions, hidden units have degrees m that increase evenly within each
layer, and masks keep the connections

    input d → hidden m  where m ≥ d,      hidden m → hidden m′  where m′ ≥ m,      hidden m → output d  where d > m,

so that the output of degree d depends on inputs of degrees 1 … d − 1: on all of them if every hidden layer has at least
D units, otherwise some degrees are missing. One pass computes all outputs. During sampling, x is computed from the
outputs one dimension at a time, and the units of each degree are computed once, as soon as their inputs are known: D
small steps cost about one pass together, instead of D passes.

Mathieu Germain, Karol Gregor, Iain Murray and Hugo Larochelle, 2015, arXiv:1502.03509.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from genjax.arguments import Cure, PositiveInt, Widths, check_arguments
from genjax.core import Array, PyTree


class MaskedMLPCache(NamedTuple):
    """State of a half-computed x: number of steps taken, x (B, D) so far, and the hidden units of each layer."""

    index: Array
    x: Array
    hidden: list[Array]


Step = Callable[[MaskedMLPCache, Array], tuple[Array, MaskedMLPCache]]


@check_arguments
class MaskedMLP(nn.Module):
    """Masked dense layers, with P outputs for each of D dimensions given the dimensions before it.

    Attributes:
      features: widths of the hidden layers.
      num_outputs: number of outputs of a dimension, P.
      activation: activation after each hidden layer.
      output_scale: factor on the initial weights of the last layer; with 0, outputs start at 0.
      residual: whether hidden layers, all of one width, have residual connections, and outputs also have direct
        connections from the inputs.

    >>> net = MaskedMLP((16,), num_outputs=2)
    >>> outputs, variables = net.init_with_output(jax.random.key(0), jnp.zeros((3, 5)))
    >>> outputs.shape
    (3, 2, 5)
    """

    features: Annotated[Widths, Cure("; give for example features=(128, 128)")]
    num_outputs: PositiveInt = 1
    activation: Callable[[Array], Array] = nn.relu
    output_scale: float = 1.0
    residual: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        if self.residual and len(set(self.features)) > 1:
            raise ValueError(f"features is {tuple(self.features)}, but residual layers must all have the same width")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, order: Array | None = None) -> Array:
        """Map (B, D) to (B, P, D), given a condition of all outputs (B, ...), or None.

        ``order`` holds the dimensions from first to last, a permutation int32 (D,); None for 0 … D - 1.
        """
        if x.ndim != 2:
            raise ValueError(
                f"MaskedMLP got shape {x.shape}, but takes vectors (B, D); flatten them, in the order of the dimensions"
            )
        hidden = x
        masks, direct_mask = self._masks(x.shape[1], condition is not None, order)
        for i, mask in enumerate(masks[:-1]):
            units = _Masked(dtype=self.dtype, name=f"layer_{i}")(hidden, mask)
            if i == 0 and condition is not None:
                flat = condition.reshape(condition.shape[0], -1).astype(units.dtype)
                units = units + nn.Dense(units.shape[-1], use_bias=False, dtype=self.dtype, name="condition")(flat)
            units = self.activation(units)
            hidden = hidden + units if self.residual and i > 0 else units
        outputs = _Masked(scale=self.output_scale, dtype=self.dtype, name="outputs")(hidden, masks[-1])
        if self.residual:
            direct = _Masked(scale=self.output_scale, use_bias=False, dtype=self.dtype, name="direct")
            outputs = outputs + direct(x, direct_mask)
        return outputs.reshape(x.shape[0], self.num_outputs, x.shape[1])

    def decoder(
        self,
        params: PyTree,
        batch_size: int,
        dim: int,
        condition: Array | None = None,
        order: Array | None = None,
        *,
        dtype: Any = jnp.float32,
    ) -> tuple[MaskedMLPCache, Step]:
        """Return a step that computes outputs dimension by dimension, each given the values, of ``dtype``, before it.

        Returns:
          An empty cache and ``step(cache, values) -> (outputs, cache)``, which maps the values (B,) of the previous
          dimension, ignored by the first step, to the outputs (B, P) of the next one in order.
        """
        masks, direct_mask = self._masks(dim, condition is not None, order)
        degrees = self._degrees(dim, condition is not None)
        dimensions = jnp.arange(dim) if order is None else order
        layers = [params[f"layer_{i}"] for i in range(len(degrees))]
        # Rows of the transposed kernels are the weights of one unit, contiguous in memory.
        kernels = [(layer["kernel"] * mask).T for layer, mask in zip(layers, masks[:-1], strict=True)]
        offsets = [layer["bias"][None] for layer in layers]
        if condition is not None:
            flat = condition.reshape(batch_size, -1).astype(offsets[0].dtype)
            offsets[0] = offsets[0] + flat @ params["condition"]["kernel"]
        width = self.features[-1]
        last = (params["outputs"]["kernel"] * masks[-1]).T.reshape(self.num_outputs, dim, width).swapaxes(0, 1)
        last_bias = params["outputs"]["bias"].reshape(self.num_outputs, dim).T
        if self.residual:
            direct = (params["direct"]["kernel"] * direct_mask).T
            direct = direct.reshape(self.num_outputs, dim, dim).swapaxes(0, 1)
        # The units of degree d lie in a window whose size is the same for all d. Its other units are final already, or
        # are computed again later.
        windows = [int(np.bincount(degree, minlength=dim).max()) for degree in degrees]
        starts = [
            jnp.asarray(np.minimum(np.searchsorted(degree, np.arange(dim)), len(degree) - window))
            for degree, window in zip(degrees, windows, strict=True)
        ]

        def step(cache: MaskedMLPCache, values: Array) -> tuple[Array, MaskedMLPCache]:
            index, x, hidden = cache
            values = jnp.where(index > 0, values, 0.0).astype(x.dtype)  # no dimension precedes the first
            x = jax.lax.dynamic_update_slice_in_dim(x, values[:, None], dimensions[jnp.maximum(index - 1, 0)], axis=1)
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
            outputs = below @ last[dimensions[index]].T + last_bias[dimensions[index]][None]
            if self.residual:
                outputs = outputs + x @ direct[dimensions[index]].T
            return outputs, MaskedMLPCache(index + 1, x, layers)

        dtype = jnp.result_type(dtype, last)
        empty = [jnp.zeros((batch_size, width), dtype) for width in self.features]
        return MaskedMLPCache(jnp.int32(0), jnp.zeros((batch_size, dim), dtype), empty), step

    def _degrees(self, dim: int, conditional: bool) -> list[np.ndarray]:
        """Return the degrees of hidden units, increasing; units of degree 0 see only the condition, or nothing."""
        lowest = 0 if conditional or dim == 1 else 1
        return [lowest + np.arange(width) * (dim - lowest) // width for width in self.features]

    def _masks(self, dim: int, conditional: bool, order: Array | None) -> tuple[list[Any], Any]:
        """Return the masks of all layers, and of the direct connections if there are any, float32 (inputs, outputs)."""
        if order is None:
            inputs = np.arange(1, dim + 1)
            outputs = np.tile(inputs, self.num_outputs)
        else:
            inputs = 1 + jnp.argsort(order)
            outputs = jnp.tile(inputs, self.num_outputs)
        hidden = self._degrees(dim, conditional)
        masks = [below[:, None] <= above[None] for below, above in zip([inputs, *hidden[:-1]], hidden, strict=True)]
        masks.append(hidden[-1][:, None] < outputs[None])
        direct = (inputs[:, None] < outputs[None]).astype(np.float32) if self.residual else None
        return [mask.astype(np.float32) for mask in masks], direct


class _Masked(nn.Module):
    """A dense layer with a mask on its kernel."""

    scale: float = 1.0
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, mask: Any) -> Array:
        def initial(key: Array, shape: tuple[int, ...]) -> Array:
            """Draw weights whose variance is the inverse of a unit's number of unmasked inputs."""
            fan_in = jnp.maximum(mask.sum(axis=0, keepdims=True), 1)
            return self.scale * jax.random.normal(key, shape, jnp.float32) / jnp.sqrt(jnp.float32(fan_in))

        kernel = self.param("kernel", initial, mask.shape)
        bias = self.param("bias", nn.initializers.zeros, mask.shape[1:], jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel * mask, bias, dtype=self.dtype)
        return x @ kernel if bias is None else x @ kernel + bias[None]
