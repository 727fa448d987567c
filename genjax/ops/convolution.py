"""Convolutions whose gradients are quick inside compiled loops too.

A convolution is linear in the image and in the kernel, and its gradients are convolutions again:

    ∂L/∂x = ∂L/∂y ∗ w, flipped, its channels swapped,        ∂L/∂w = x ∗ ∂L/∂y, channels and examples swapped.     (1)

JAX leaves the swaps to the layouts that a convolution names. On CPUs, XLA has quick kernels for one layout (images NHWC
and kernels HWIO) and brings all others to it, but not within loops: there, in scanned layers or training steps, it
falls back to kernels that are 10 to 30 times slower. Here the swaps are transpositions of the arrays, so that every
convolution has the quick layout from the start. The numbers are the same, to rounding.

Padding of more than a window less one makes that of ∂L/∂x in equation 1 negative, which XLA:CPU gets wrong: it reads
beyond the array (seen in jax 0.10.2). What is in excess is therefore padded before.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax.lax import ConvDimensionNumbers

from genjax.core import Array


def conv_general_dilated(
    lhs: Array, rhs: Array, window_strides: Any, padding: Any, *, dimension_numbers: Any = None, **settings: Any
) -> Array:
    """Return what ``jax.lax.conv_general_dilated`` returns, with quicker gradients.

    A drop-in for the field ``conv_general_dilated`` of Linen's ``Conv``. Convolutions in groups or of other layouts
    than channels last go to JAX as they are.

    Args:
      lhs: images (B, *spatial, C).
      rhs: kernels (*window, C, features).
      window_strides: one for each spatial dimension.
      padding: "SAME", "VALID" or pairs (before, after).
      dimension_numbers: must say "channels last" for the quick way.
      **settings: the other arguments of JAX's function.
    """
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    in_groups = settings.get("feature_group_count", 1) != 1 or settings.get("batch_group_count", 1) != 1
    n = lhs.ndim - 1  # the last dimension; as (batch, feature, *spatial) and (out, in, *window)
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
        # Layouts that JAX, transposing these two, turns into NHWC and HWIO: equation 1.
        of_x = convolve(x_dot, w.swapaxes(-1, -2), dimension_numbers=_numbers((0, n), (n - 1, n), (0, n), n))
        x_by_channel, w_by_channel = x.swapaxes(0, n), _front(w_dot, n - 1)
        of_w = convolve(x_by_channel, w_by_channel, dimension_numbers=_numbers((n, 0), (n, 0), (n - 1, n), n))
        return convolution(x, w), of_x + _front(of_w, n - 1)

    return convolution(lhs, rhs)


def _without_excess(lhs: Array, rhs: Array, padding: Any, dilation: Any) -> tuple[Array, Any]:
    """Return images that are padded with what is in excess of the windows less one, and the rest of the padding."""
    most = [(size - 1) * step for size, step in zip(rhs.shape, dilation, strict=False)]
    excess = [tuple(max(0, side - limit) for side in sides) for sides, limit in zip(padding, most, strict=True)]
    rest = [tuple(min(side, limit) for side in sides) for sides, limit in zip(padding, most, strict=True)]
    if any(map(any, excess)):
        lhs = jax.numpy.pad(lhs, ((0, 0), *excess, (0, 0)))
    return lhs, rest


def _numbers(lhs: tuple[int, int], rhs: tuple[int, int], out: tuple[int, int], n: int) -> ConvDimensionNumbers:
    """Return the layout whose batch and features, or features out and in, are where the pairs say."""
    specs = ((*pair, *(d for d in range(n + 1) if d not in pair)) for pair in (lhs, rhs, out))
    return ConvDimensionNumbers(*specs)


def _front(array: Array, axis: int) -> Array:
    """Move an axis to the front."""
    return jax.numpy.moveaxis(array, axis, 0)
