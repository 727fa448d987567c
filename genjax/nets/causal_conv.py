"""Causal convolutions, which see only earlier pixels in raster order, on whole images and pixel by pixel.

A causal convolution of reach r is the sum of two convolutions, one over the rows above and one over the current row,

    y_ij = Σ K_ab x_{i+a, j+b}  (−r ≤ a < 0, −r ≤ b ≤ r)  +  Σ k_b x_{i, j+b}  (−r ≤ b ≤ 0, or b < 0),

which equals a convolution with a masked kernel, without the products that the mask makes zero (Aäron van den Oord, Nal
Kalchbrenner and Koray Kavukcuoglu 2016, arXiv:1601.06759). Pixel by pixel, the first sum is computed once per row, and
the second one from a cached window.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.nets.conv import Conv


@check_arguments
class CausalConv(nn.Module):
    """Causal convolution of images (B, H, W, C), with zeros beyond the border.

    Attributes:
      features: number of channels of the outputs.
      reach: number of rows above, and of columns to either side, that an output sees, r.
      include_center: whether an output sees the pixel at its own position (mask B), or not (mask A).
    """

    features: PositiveInt
    reach: PositiveInt
    include_center: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (B, H, W, C) to (B, H, W, features)."""
        r, settings = self.reach, {"use_bias": False, "dtype": self.dtype}
        above = Conv(self.features, (r, 2 * r + 1), padding=((r, 0), (r, r)), name="above", **settings)(x)
        columns = r + 1 if self.include_center else r
        left = Conv(self.features, (1, columns), padding=((0, 0), (r, 0)), name="left", **settings)(x)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        # The last row of ``above`` belongs to a row below the image, and without the center the last column of ``left``
        # to a column beyond it.
        return above[:, :-1] + left[:, :, : x.shape[2]] + bias.astype(left.dtype)[None, None, None]


class CausalConvCache(NamedTuple):
    """Cache of a causal convolution for a half-drawn image; methods take the parameters of a ``CausalConv``.

    Attributes:
      rows: inputs of the finished rows that the convolution still sees, (B, r, W, C).
      row: inputs of the current row, after r columns of zeros, (B, r + W, C).
      above: contribution of the finished rows to the outputs of the current row, (B, W, features).
    """

    rows: Array
    row: Array
    above: Array

    @classmethod
    def start(cls, params: PyTree, batch_size: int, width: int) -> CausalConvCache:
        """Return the cache before the first pixel."""
        reach, _, channels, features = params["above"]["kernel"].shape
        return cls(
            rows=jnp.zeros((batch_size, reach, width, channels), jnp.float32),
            row=jnp.zeros((batch_size, reach + width, channels), jnp.float32),
            above=jnp.zeros((batch_size, width, features), jnp.float32),
        )

    def next_row(self, params: PyTree) -> CausalConvCache:
        """Finish the current row and begin the next one."""
        r = self.rows.shape[1]
        rows = jnp.concatenate([self.rows[:, 1:], self.row[:, None, r:]], axis=1)
        return self._replace(rows=rows, above=row_conv(params["above"]["kernel"], rows))

    def put(self, x: Array, column: Array) -> CausalConvCache:
        """Store the input (B, C) at a column of the current row."""
        at = column + self.rows.shape[1]
        return self._replace(row=jax.lax.dynamic_update_slice_in_dim(self.row, x[:, None], at, axis=1))

    def outputs(self, params: PyTree, column: Array) -> Array:
        """Return the outputs (B, features) at a column, after its inputs have been stored."""
        _, columns, channels, features = params["left"]["kernel"].shape
        window = jax.lax.dynamic_slice_in_dim(self.row, column, columns, axis=1).reshape(-1, columns * channels)
        above = jax.lax.dynamic_index_in_dim(self.above, column, axis=1, keepdims=False)
        return above + window @ params["left"]["kernel"].reshape(-1, features) + params["bias"][None]


def row_conv(kernel: Array, rows: Array, stride: int = 1) -> Array:
    """Return one row of a convolution, (B, W / stride, features), from the r rows (B, r, W, C) that it sees.

    The kernel is (r, k, C, features) with k odd, and columns are padded by (k − 1) / 2 zeros on either side.
    """
    side, layout = kernel.shape[1] // 2, ("NHWC", "HWIO", "NHWC")
    padding = ((0, 0), (side, side))
    return jax.lax.conv_general_dilated(rows, kernel, (1, stride), padding, dimension_numbers=layout)[:, 0]


def shifted(x: Array, axis: int, lag: int = 1) -> Array:
    """Shift x to later positions along an axis, with zeros before the start."""
    padding = [(lag if i == axis else 0, 0) for i in range(x.ndim)]
    return jax.lax.slice_in_dim(jnp.pad(x, padding), 0, x.shape[axis], axis=axis)
