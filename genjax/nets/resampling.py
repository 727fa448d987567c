"""Resampling of images by a factor of 2 with a smooth filter, for networks whose outputs should not alias.

Along each axis, with zeros beyond the borders,

    upsample       y_2i = (3 x_i + x_{i−1}) / 4,        y_{2i+1} = (3 x_i + x_{i+1}) / 4,                         (1)
    blur           y_j = (x_{j−1} + 3 x_j + 3 x_{j+1} + x_{j+2}) / 8,        j = −1 … n − 1,                      (2)
    downsample     y_i = (x_{2i−1} + 3 x_{2i} + 3 x_{2i+1} + x_{2i+2}) / 8,                                       (3)

the filter [1, 3, 3, 1] of Tero Karras, Samuli Laine and Timo Aila 2019, arXiv:1812.04948, and of Richard Zhang 2019,
arXiv:1904.11486. Upsampling is bilinear interpolation, except at the borders, and downsampling is half its transpose.
Rows and columns are multiplied by matrices, which for small images takes half of the time of sums of shifted images.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from genjax.core import Array

FILTER = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def smooth_upsample(x: Array) -> Array:
    """Upsample images (B, H, W, C) to twice the height and width, equation 1.

    >>> smooth_upsample(jnp.full((1, 1, 2, 1), 16.0))[0, :, :, 0].tolist()
    [[9.0, 12.0, 12.0, 9.0], [9.0, 12.0, 12.0, 9.0]]
    """
    rows, columns = (2 * _downsampling(2 * side).T for side in x.shape[1:3])
    return _multiply(x, rows, columns)


def smooth_downsample(x: Array) -> Array:
    """Downsample images (B, H, W, C) of even height and width to half of them, equation 3.

    >>> smooth_downsample(jnp.full((1, 2, 4, 1), 64.0))[0, :, :, 0].tolist()
    [[42.0, 42.0]]
    """
    rows, columns = map(_downsampling, x.shape[1:3])
    return _multiply(x, rows, columns)


def blur(x: Array) -> Array:
    """Blur images (B, H, W, C) to (B, H + 1, W + 1, C), equation 2; every second value of it is equation 3.

    >>> blur(jnp.full((1, 1, 1, 1), 64.0))[0, :, :, 0].tolist()
    [[9.0, 9.0], [9.0, 9.0]]
    """
    rows, columns = map(_blurring, x.shape[1:3])
    return _multiply(x, rows, columns)


def _blurring(side: int) -> np.ndarray:
    """Return the matrix (side + 1, side) of equation 2."""
    return np.sum([weight * np.eye(side + 1, side, k=k) for k, weight in enumerate(FILTER, start=-2)], axis=0)


def _downsampling(side: int) -> np.ndarray:
    """Return the matrix (side / 2, side) of equation 3."""
    return _blurring(side)[1::2]


def _multiply(x: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    matrices = (jnp.asarray(matrix, x.dtype) for matrix in (rows, columns))
    return jnp.einsum("bhwc,ih,jw->bijc", x, *matrices)
