"""Convolutions with gradients that are also fast inside compiled loops.

A convolution is linear in the image and in the kernel, and its gradients are convolutions again:

    ∂L/∂x = ∂L/∂y ∗ w, flipped, its channels swapped,        ∂L/∂w = x ∗ ∂L/∂y, channels and examples swapped.     (1)

JAX expresses the swaps by the layouts of these convolutions. On CPUs, XLA has fast kernels for one layout (images NHWC,
kernels HWIO) and converts all others to it, except inside loops: in scanned layers or training steps it falls back to
kernels that are 10 to 30 times slower. Here the swaps are transpositions of the arrays, so that every convolution has
the fast layout from the start. Results agree up to rounding.

If the padding exceeds the window size minus one, the padding of ∂L/∂x in equation 1 is negative, which XLA:CPU gets
wrong: it reads beyond the array (observed in jax 0.10.2). The excess is therefore padded beforehand.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import ConvDimensionNumbers

from genjax.core import Array


def conv_general_dilated(
    lhs: Array, rhs: Array, window_strides: Any, padding: Any, *, dimension_numbers: Any = None, **settings: Any
) -> Array:
    """Return the result of ``jax.lax.conv_general_dilated``, with faster gradients.

    A drop-in replacement for the field ``conv_general_dilated`` of Linen's ``Conv``, with the arguments of JAX's
    function. ``lhs`` are images (B, *spatial, C), ``rhs`` kernels (*window, C, features). Grouped convolutions, and
    those whose channels are not last, are passed to JAX unchanged.
    """
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    in_groups = settings.get("feature_group_count", 1) != 1 or settings.get("batch_group_count", 1) != 1
    n = lhs.ndim - 1  # last axis
    if in_groups or numbers != _numbers(lhs=(0, n), rhs=(n, n - 1), out=(0, n), n=n):
        options = {"dimension_numbers": dimension_numbers, **settings}
        return jax.lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)
    if not isinstance(padding, str) and set(settings.get("lhs_dilation") or (1,)) == {1}:
        lhs, padding = _without_excess(lhs, rhs, padding, settings.get("rhs_dilation") or (1,) * (n - 1))
    settings |= {"window_strides": window_strides, "padding": padding}
    convolve = functools.partial(jax.lax.conv_general_dilated, **settings)

    @jax.custom_jvp
    def convolution(x: Array, w: Array) -> Array:
        return convolve(x, w, dimension_numbers=numbers)

    @convolution.defjvp
    def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
        (x, w), (x_dot, w_dot) = primals, tangents
        # JAX transposes these two layouts into NHWC and HWIO: equation 1.
        of_x = convolve(x_dot, w.swapaxes(-1, -2), dimension_numbers=_numbers((0, n), (n - 1, n), (0, n), n))
        x_by_channel, w_by_channel = x.swapaxes(0, n), jnp.moveaxis(w_dot, n - 1, 0)
        of_w = convolve(x_by_channel, w_by_channel, dimension_numbers=_numbers((n, 0), (n, 0), (n - 1, n), n))
        return convolution(x, w), of_x + jnp.moveaxis(of_w, n - 1, 0)

    return convolution(lhs, rhs)


def _without_excess(lhs: Array, rhs: Array, padding: Any, dilation: Any) -> tuple[Array, Any]:
    """Pad images by the excess over window size minus one; return them and the remaining padding."""
    limits = [(size - 1) * step for size, step in zip(rhs.shape, dilation, strict=False)]
    excess = [tuple(max(0, side - limit) for side in sides) for sides, limit in zip(padding, limits, strict=True)]
    rest = [tuple(min(side, limit) for side in sides) for sides, limit in zip(padding, limits, strict=True)]
    if any(map(any, excess)):
        lhs = jnp.pad(lhs, ((0, 0), *excess, (0, 0)))
    return lhs, rest


def _numbers(lhs: tuple[int, int], rhs: tuple[int, int], out: tuple[int, int], n: int) -> ConvDimensionNumbers:
    """Return the layout with the given axes of (batch, features), (features out, features in) and (batch, features)."""
    specs = ((*pair, *(d for d in range(n + 1) if d not in pair)) for pair in (lhs, rhs, out))
    return ConvDimensionNumbers(*specs)
