"""Resampling of images by a factor of 2 with a smooth filter, for networks whose outputs should not alias.

Along each axis, with zeros beyond the borders,

    upsample       y_2i = (3 x_i + x_{i−1}) / 4,        y_{2i+1} = (3 x_i + x_{i+1}) / 4,                         (1)
    blur           y_j = (x_{j−1} + 3 x_j + 3 x_{j+1} + x_{j+2}) / 8,        j = −1 … n − 1,                      (2)
    downsample     y_i = (x_{2i−1} + 3 x_{2i} + 3 x_{2i+1} + x_{2i+2}) / 8,                                       (3)

the filter [1, 3, 3, 1] of Tero Karras, Samuli Laine and Timo Aila 2019, arXiv:1812.04948, and of Richard Zhang 2019,
arXiv:1904.11486. Upsampling is bilinear interpolation, except at the borders.
"""

from __future__ import annotations

import jax.numpy as jnp

from genjax.core import Array


def smooth_upsample(x: Array) -> Array:
    """Upsample images (B, H, W, C) to twice the height and width, equation 1.

    >>> smooth_upsample(jnp.full((1, 1, 2, 1), 16.0))[0, :, :, 0].tolist()
    [[9.0, 12.0, 12.0, 9.0], [9.0, 12.0, 12.0, 9.0]]
    """
    for axis in (1, 2):
        n = x.shape[axis]
        padded = _pad(x, axis, 1, 1)
        before, after = _slice(padded, axis, 0, n), _slice(padded, axis, 2, n)
        pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
    return x


def smooth_downsample(x: Array) -> Array:
    """Downsample images (B, H, W, C) of even height and width to half of them, equation 3.

    >>> smooth_downsample(jnp.full((1, 2, 4, 1), 64.0))[0, :, :, 0].tolist()
    [[42.0, 42.0]]
    """
    for axis in (1, 2):
        n = x.shape[axis] // 2
        padded = _pad(x, axis, 1, 1)
        x = _filter([_slice(padded, axis, start, n, step=2) for start in range(4)])
    return x


def blur(x: Array) -> Array:
    """Blur images (B, H, W, C) to (B, H + 1, W + 1, C), equation 2; every second value of it is equation 3.

    >>> blur(jnp.full((1, 1, 1, 1), 64.0))[0, :, :, 0].tolist()
    [[9.0, 9.0], [9.0, 9.0]]
    """
    for axis in (1, 2):
        padded = _pad(x, axis, 2, 2)
        x = _filter([_slice(padded, axis, start, x.shape[axis] + 1) for start in range(4)])
    return x


def _filter(taps: list[Array]) -> Array:
    return 0.125 * (taps[0] + taps[3]) + 0.375 * (taps[1] + taps[2])


def _pad(x: Array, axis: int, before: int, after: int) -> Array:
    return jnp.pad(x, [(before, after) if i == axis else (0, 0) for i in range(x.ndim)])


def _slice(x: Array, axis: int, start: int, count: int, step: int = 1) -> Array:
    index = [slice(None)] * x.ndim
    index[axis] = slice(start, start + step * (count - 1) + 1, step)
    return x[tuple(index)]
