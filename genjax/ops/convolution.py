"""Convolutions whose derivatives of every order are fast inside compiled loops.

A convolution y = x ∗ w is bilinear in the image and the kernel, and its transposes are convolutions again:

    ∂L/∂x = ∂L/∂y ∗ w, flipped, its channels swapped,        ∂L/∂w = x ∗ ∂L/∂y, channels and examples swapped.     (1)

JAX expresses the swaps by the layouts of these convolutions. On CPUs, XLA has fast kernels for one layout (images NHWC,
kernels HWIO) and converts all others to it, except inside loops and conditionals: in scanned layers or training steps
it falls back to kernels that are 10 to 30 times slower. Here the swaps are transpositions of the arrays, so that every
convolution has the fast layout. Results agree up to rounding. A primitive of its own keeps that true for the
derivatives of (1), which gradient penalties need.

A transposed convolution has zeros between the pixels of x. Its ∂L/∂w is computed without them, by a convolution that
has one feature for each position modulo the distance of the pixels.

Negative padding, which (1) has where the padding of the image exceeds the window size minus one, is cut off the image:
XLA:CPU reads beyond the array there (observed in jax 0.10.2).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.lax import ConvDimensionNumbers

from genjax.core import Array

Sides = tuple[tuple[int, int], ...]


class _Window(NamedTuple):
    """Settings of a convolution by spatial axis, and further settings of JAX's function."""

    strides: tuple[int, ...]
    padding: Sides
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    options: tuple[tuple[str, Any], ...]


def conv_general_dilated(
    lhs: Array, rhs: Array, window_strides: Any, padding: Any, *, dimension_numbers: Any = None, **settings: Any
) -> Array:
    """Return the result of ``jax.lax.conv_general_dilated``, with faster derivatives.

    A drop-in replacement for the field ``conv_general_dilated`` of Linen's ``Conv``, with the arguments of JAX's
    function. ``lhs`` are images (B, *spatial, C), ``rhs`` kernels (*window, C, features). Grouped convolutions, and
    those whose channels are not last, are passed to JAX unchanged.
    """
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    in_groups = settings.get("feature_group_count", 1) != 1 or settings.get("batch_group_count", 1) != 1
    if in_groups or numbers != _numbers(lhs.ndim):
        options = {"dimension_numbers": dimension_numbers, **settings}
        return jax.lax.conv_general_dilated(lhs, rhs, window_strides, padding, **options)
    ones = (1,) * (lhs.ndim - 2)
    lhs_dilation, rhs_dilation = (tuple(settings.pop(f"{side}_dilation", None) or ones) for side in ("lhs", "rhs"))
    if isinstance(padding, str):
        reach = _extents(rhs.shape[:-2], rhs_dilation)
        padding = jax.lax.padtype_to_pads(lhs.shape[1:-1], reach, window_strides, padding)
    sides = tuple((int(low), int(high)) for low, high in padding)
    options = tuple((name, value) for name, value in settings.items() if not name.endswith("_group_count"))
    return _convolve(lhs, rhs, _Window(tuple(window_strides), sides, lhs_dilation, rhs_dilation, options))


def _convolve(x: Array, w: Array, window: _Window) -> Array:
    """Convolve after cutting off negative padding."""
    if min(map(min, window.padding)) < 0:
        edges = [(min(low, 0), min(high, 0)) for low, high in window.padding]
        interior = [step - 1 for step in window.lhs_dilation]
        config = [(0, 0, 0), *((*edge, zeros) for edge, zeros in zip(edges, interior, strict=True)), (0, 0, 0)]
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), config)
        padding = tuple((max(low, 0), max(high, 0)) for low, high in window.padding)
        window = window._replace(padding=padding, lhs_dilation=(1,) * len(padding))
    return _conv_p.bind(x, w, window=window)


def _convolve_directly(x: Array, w: Array, *, window: _Window) -> Array:
    """Convolve with JAX's function, in the fast layout."""
    return jax.lax.conv_general_dilated(
        x,
        w,
        window.strides,
        window.padding,
        lhs_dilation=window.lhs_dilation,
        rhs_dilation=window.rhs_dilation,
        dimension_numbers=_numbers(x.ndim),
        **dict(window.options),
    )


def _transpose_image(y_bar: Array, x: Any, w: Array, *, window: _Window) -> Array:
    """Return ∂L/∂x of equation 1."""
    extents = zip(
        _extents(x.aval.shape[1:-1], window.lhs_dilation),
        _extents(w.shape[:-2], window.rhs_dilation),
        _extents(y_bar.shape[1:-1], window.strides),
        window.padding,
        strict=True,
    )
    padding = [(size - 1 - low, length - out + low) for length, size, out, (low, _) in extents]
    flipped = jnp.flip(w, range(w.ndim - 2)).swapaxes(-1, -2)
    swapped = window._replace(strides=window.lhs_dilation, padding=tuple(padding), lhs_dilation=window.strides)
    return _convolve(y_bar, flipped, swapped).astype(x.aval.dtype)


def _transpose_kernel(y_bar: Array, x: Array, w: Any, *, window: _Window) -> Array:
    """Return ∂L/∂w of equation 1."""
    if set(window.lhs_dilation) != {1} == {*window.strides, *window.rhs_dilation}:
        without_zeros = functools.partial(_convolve_without_zeros, x, window=window)
        (w_bar,) = jax.linear_transpose(without_zeros, jax.ShapeDtypeStruct(w.aval.shape, y_bar.dtype))(y_bar)
        return w_bar.astype(w.aval.dtype)
    extents = zip(
        _extents(x.shape[1:-1], window.lhs_dilation),
        _extents(w.aval.shape[:-2], window.rhs_dilation),
        _extents(y_bar.shape[1:-1], window.strides),
        window.padding,
        strict=True,
    )
    padding = [(low, out - length + size - 1 - low) for length, size, out, (low, _) in extents]
    swapped = window._replace(strides=window.rhs_dilation, padding=tuple(padding), rhs_dilation=window.strides)
    w_bar = _convolve(x.swapaxes(0, -1), jnp.moveaxis(y_bar, 0, -2), swapped)
    return jnp.moveaxis(w_bar, 0, -2).astype(w.aval.dtype)


def _convolve_without_zeros(x: Array, w: Array, *, window: _Window) -> Array:
    """Convolve images that have ``step - 1`` zeros between their pixels, without these zeros.

    The outputs at positions r modulo ``step`` see every ``step``-th weight alone, so they are further features of one
    convolution of the images as they are.
    """
    k, sides, sizes = len(window.lhs_dilation), [], []
    for axis, ((low, high), step) in enumerate(zip(window.padding, window.lhs_dilation, strict=True)):
        length, size, before = x.shape[axis + 1], w.shape[axis], step - 1 - low % step
        count = -(-(before + size) // step)
        w = jnp.pad(w, [(before, count * step - before - size) if d == axis else (0, 0) for d in range(w.ndim)])
        w = w.reshape(*w.shape[:axis], count, step, *w.shape[axis + 1 :])
        w = jnp.moveaxis(jnp.flip(w, axis + 1), axis + 1, -2)  # (*counts, C, *steps, features) in the end
        sizes.append((length - 1) * step + low + high + 2 - size)
        sides.append((low // step, -(-sizes[-1] // step) + count - 1 - length - low // step, 0))
    # Padded beforehand: in ∂L/∂w, XLA exchanges an image that is smaller than its window for it, reversed, and has no
    # fast kernels for that.
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])
    features = w.shape[k + 1 :]
    ones = (1,) * k
    valid = _Window(ones, ((0, 0),) * k, ones, ones, window.options)
    y = _convolve(x, w.reshape(*w.shape[: k + 1], -1), valid)
    y = y.reshape(*y.shape[: k + 1], *features)
    order = [axis for d in range(k) for axis in (1 + d, 1 + k + d)]  # each position beside its remainder
    y = y.transpose(0, *order, 2 * k + 1)
    y = y.reshape(y.shape[0], *(y.shape[1 + 2 * d] * y.shape[2 + 2 * d] for d in range(k)), y.shape[-1])
    return y[(slice(None), *map(slice, sizes))]


def _batch(arguments: Sequence[Array], axes: Sequence[int | None], *, window: _Window) -> tuple[Array, int]:
    """Convolve with several images or kernels: further examples, further features, or groups of JAX's function."""
    (x, w), (x_axis, w_axis) = arguments, axes
    if w_axis is None:
        x = jnp.moveaxis(x, x_axis or 0, 0)
        y = _conv_p.bind(x.reshape(-1, *x.shape[2:]), w, window=window)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    if x_axis is None:
        w = jnp.moveaxis(w, w_axis, -2)
        y = _conv_p.bind(x, w.reshape(*w.shape[:-2], -1), window=window)
        return y.reshape(*y.shape[:-1], *w.shape[-2:]), y.ndim - 1
    directly = functools.partial(_convolve_directly, window=window)
    return jax.vmap(directly, (x_axis, w_axis))(x, w), 0


def _output_type(x: ShapedArray, w: ShapedArray, *, window: _Window) -> ShapedArray:
    y = jax.eval_shape(functools.partial(_convolve_directly, window=window), x, w)
    return ShapedArray(y.shape, y.dtype)


def _extents(sizes: Sequence[int], steps: Sequence[int]) -> list[int]:
    """Return the lengths of axes with ``step - 1`` zeros between their entries."""
    return [(size - 1) * step + 1 for size, step in zip(sizes, steps, strict=True)]


def _numbers(ndim: int) -> ConvDimensionNumbers:
    """Return the layout of images (B, *spatial, C) and kernels (*window, C, features)."""
    spatial = range(1, ndim - 1)
    return ConvDimensionNumbers(
        (0, ndim - 1, *spatial), (ndim - 1, ndim - 2, *range(ndim - 2)), (0, ndim - 1, *spatial)
    )


_conv_p = Primitive("convolution")
_conv_p.def_impl(jax.jit(_convolve_directly, static_argnames="window"))
_conv_p.def_abstract_eval(_output_type)
mlir.register_lowering(_conv_p, mlir.lower_fun(_convolve_directly, multiple_results=False))
ad.defbilinear(_conv_p, _transpose_image, _transpose_kernel)
batching.primitive_batchers[_conv_p] = _batch
