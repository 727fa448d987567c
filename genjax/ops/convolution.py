"""Convolutions with gradients that are also fast inside compiled loops.

A convolution is linear in the image and in the kernel, and its gradients are convolutions again:

    ∂L/∂x = ∂L/∂y ∗ w, flipped, its channels swapped,        ∂L/∂w = x ∗ ∂L/∂y, channels and examples swapped.     (1)

JAX expresses the swaps by the layouts of these convolutions. On CPUs, XLA has fast kernels for one layout (images NHWC,
kernels HWIO) and converts all others to it, except inside loops: in scanned layers or training steps it falls back to
kernels that are 10 to 30 times slower. Here the swaps are transpositions of the arrays, so that every convolution has
the fast layout from the start. Results agree up to rounding.

A transposed convolution has zeros between the pixels of x. Its ∂L/∂w is computed without them, by a convolution that
has one feature for each position modulo the distance of the pixels.

If the padding exceeds the window size minus one, the padding of ∂L/∂x in equation 1 is negative, which XLA:CPU gets
wrong: it reads beyond the array (observed in jax 0.10.2). The excess is therefore padded beforehand.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
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
    lhs_dilation, rhs_dilation = (set(settings.get(f"{side}_dilation") or (1,)) for side in ("lhs", "rhs"))
    is_transposed = lhs_dilation != {1} and rhs_dilation | set(window_strides) == {1}

    @jax.custom_jvp
    def convolution(x: Array, w: Array) -> Array:
        return convolve(x, w, dimension_numbers=numbers)

    @convolution.defjvp
    def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
        (x, w), (x_dot, w_dot) = primals, tangents
        # JAX transposes these two layouts into NHWC and HWIO: equation 1.
        of_x = convolve(x_dot, w.swapaxes(-1, -2), dimension_numbers=_numbers((0, n), (n - 1, n), (0, n), n))
        w_by_channel, by_channel = jnp.moveaxis(w_dot, n - 1, 0), _numbers((n, 0), (n, 0), (n - 1, n), n)
        if is_transposed:
            valid = settings | {"padding": "VALID", "lhs_dilation": None, "dimension_numbers": by_channel}
            of_w = _transposed(x, w_by_channel, padding, settings["lhs_dilation"], valid)
        else:
            of_w = convolve(x.swapaxes(0, n), w_by_channel, dimension_numbers=by_channel)
        return convolution(x, w), of_x + jnp.moveaxis(of_w, n - 1, 0)

    return convolution(lhs, rhs)


def _transposed(x: Array, w: Array, padding: Any, steps: Sequence[int], settings: dict[str, Any]) -> Array:
    """Convolve images (B, *spatial, C) that have ``step - 1`` zeros between their pixels, swapped as in equation 1.

    Kernels are (C, *window, features), outputs (*spatial, B, features). The outputs at positions r modulo ``step`` see
    every ``step``-th weight alone, so they are further features of one convolution of the images without the zeros.
    """
    k, sides, sizes = len(steps), [], []
    for axis, ((low, high), step) in enumerate(zip(padding, steps, strict=True), 1):
        length, size, before = x.shape[axis], w.shape[axis], step - 1 - low % step
        count = -(-(before + size) // step)
        w = jnp.pad(w, [(before, count * step - before - size) if d == axis else (0, 0) for d in range(w.ndim)])
        w = w.reshape(*w.shape[:axis], count, step, *w.shape[axis + 1 :])
        w = jnp.moveaxis(jnp.flip(w, axis + 1), axis + 1, -2)  # (C, *counts, *steps, features) in the end
        sizes.append((length - 1) * step + low + high + 2 - size)
        sides.append((low // step, -(-sizes[-1] // step) + count - 1 - length - low // step, 0))
    # Padded before the swap: XLA exchanges an image that is smaller than its window, here ∂L/∂y, for it, reversed, and
    # has no fast kernels for that.
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *sides, (0, 0, 0)]).swapaxes(0, k + 1)
    features = w.shape[k + 1 :]
    w = w.reshape(*w.shape[: k + 1], -1)
    y = jax.lax.conv_general_dilated(x, w, **settings)
    order = [axis for d in range(k) for axis in (d, k + 1 + d)]  # each position beside its remainder
    y = y.reshape(*y.shape[: k + 1], *features).transpose(*order, k, 2 * k + 1)
    y = y.reshape(*(y.shape[2 * d] * y.shape[2 * d + 1] for d in range(k)), *y.shape[2 * k :])
    return y[tuple(slice(size) for size in sizes)]


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
