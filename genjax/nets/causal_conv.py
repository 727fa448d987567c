"""Convolutions of the pixels before, in raster order, and the same pixel by pixel.

A causal convolution of reach r is the sum of two convolutions, one of the rows above and one of the row itself,

    y_ij = Σ K_ab x_{i+a, j+b}  (−r ≤ a < 0, −r ≤ b ≤ r)  +  Σ k_b x_{i, j+b}  (−r ≤ b ≤ 0, or b < 0),

which is what masks on the kernel of one convolution amount to, without the products that a mask makes zero (Aäron van
den Oord, Nal Kalchbrenner and Koray Kavukcuoglu 2016, arXiv:1601.06759). Pixel by pixel the first sum is taken once for
a whole row, and the second one from a window that is kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.nets.conv import Conv


class CausalConv(nn.Module):
    """Convolution of images (B, H, W, C) that sees pixels before in raster order, and zeros beyond the border.

    Attributes:
      features: channels of the outputs.
      reach: r.
      include_center: whether an output sees the pixel in its own place.
      dtype: what it computes in; None follows the input.
    """

    features: int
    reach: int
    include_center: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (B, H, W, C) to (B, H, W, features)."""
        r, settings = self.reach, {"use_bias": False, "dtype": self.dtype}
        above = Conv(self.features, (r, 2 * r + 1), padding=((r, 0), (r, r)), name="above", **settings)(x)
        left = Conv(self.features, (1, r + self.include_center), padding=((0, 0), (r, 0)), name="left", **settings)(x)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        # The last row above is that of a row below the image; so is the last column where a pixel is not to see itself.
        return above[:, :-1] + left[:, :, : x.shape[2]] + bias.astype(left.dtype)[None, None, None]


class CausalConvCache(NamedTuple):
    """What a causal convolution keeps of a half-drawn image; all methods take the parameters of a ``CausalConv``.

    Attributes:
      rows: the finished rows it still sees, (B, r, W, C).
      row: the one being drawn, behind r columns of zeros, (B, r + W, C).
      above: what the finished ones add to the outputs of that row, (B, W, features).
    """

    rows: Array
    row: Array
    above: Array

    @classmethod
    def start(cls, params: PyTree, num_rows: int, width: int) -> CausalConvCache:
        """Return the cache before the first pixel."""
        reach, _, channels, features = params["above"]["kernel"].shape
        return cls(
            rows=jnp.zeros((num_rows, reach, width, channels), jnp.float32),
            row=jnp.zeros((num_rows, reach + width, channels), jnp.float32),
            above=jnp.zeros((num_rows, width, features), jnp.float32),
        )

    def next_row(self, params: PyTree) -> CausalConvCache:
        """Finish the row that was being drawn, and begin the one below."""
        r = self.rows.shape[1]
        rows = jnp.concatenate([self.rows[:, 1:], self.row[:, None, r:]], axis=1)
        above = jax.lax.conv_general_dilated(
            rows, params["above"]["kernel"], (1, 1), ((0, 0), (r, r)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return self._replace(rows=rows, above=above[:, 0])

    def put(self, x: Array, column: Array) -> CausalConvCache:
        """Enter the input (B, C) of a column of the present row."""
        at = column + self.rows.shape[1]
        return self._replace(row=jax.lax.dynamic_update_slice_in_dim(self.row, x[:, None], at, axis=1))

    def outputs(self, params: PyTree, column: Array) -> Array:
        """Return the outputs (B, features) of a column, whose inputs have been put."""
        _, columns, channels, features = params["left"]["kernel"].shape
        window = jax.lax.dynamic_slice_in_dim(self.row, column, columns, axis=1).reshape(-1, columns * channels)
        above = jax.lax.dynamic_index_in_dim(self.above, column, axis=1, keepdims=False)
        return above + window @ params["left"]["kernel"].reshape(-1, features) + params["bias"][None]
