"""Linear operators of inverse problems: what was measured of an example. Every operator is an ``Operator``.

A measurement of x₀ is

    y = A x₀ + σ_y n,        n ~ N(0, I).                                                                        (1)

Posterior guidance (``genjax.diffusion.posterior``) needs A and the solution u of

    (a A Aᵀ + b I) u = v,        a > 0, b ≥ 0,                                                                    (2)

which has a closed form for each operator here:

    operator        A                                         A Aᵀ
    AveragePool     means over f × f pixels                   I / f²
    Mask            the known entries, 0 elsewhere            I on the known entries
    Grayscale       luma, Σ_c w_c x_c                         ‖w‖² I
    GaussianBlur    K_H ⊗ K_W, with K = Q diag(k) Qᵀ          (Q_H ⊗ Q_W) diag(k_i² k_j²) (Q_H ⊗ Q_W)ᵀ
    Matrix          any M × D matrix                          Q diag(k) Qᵀ

With b = 0, u is the least-squares solution of least norm: directions with eigenvalues below 1e-6 of the largest are
left out. All but ``Matrix`` map a constant image to the same constant, so that they commute with a shift of the values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.ops import at_least_float32, broadcast_mask, check_mask, check_values

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow converts colours to grey
RADIUS = 4.0  # of the blur, in standard deviations
MIN_EIGENVALUE = 1e-6  # relative to the largest


@runtime_checkable
class Operator(Protocol):
    """A linear map A of examples (B, *shape) to measurements (B, ...)."""

    def __call__(self, x: Array) -> Array:
        """Return A x."""
        ...

    def solve(self, v: Array, a: Array | float, b: Array | float) -> Array:
        """Return u of equation 2 for v (B, ...), a measurement or a difference of two."""
        ...

    def check(self, shape: Sequence[int]) -> None:
        """Raise ValueError if A does not apply to examples of this shape."""
        ...

    def fill(self, y: Array) -> Array:
        """Return a measurement with 0 for entries that were not measured, which may be anything."""
        return y


@final
@check_arguments
@dataclass(frozen=True)
class AveragePool(Operator):
    """Means over squares of pixels: y (B, H/f, W/f, C) of images x (B, H, W, C). Its inverse is super-resolution.

    Attributes:
      factor: width of a square, f, which divides H and W.

    >>> AveragePool(2)(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """

    factor: Annotated[int, Ge(1), Cure("; 4 is usual")]

    def __call__(self, x: Array) -> Array:
        """See ``Operator``."""
        self.check(x.shape[1:])
        batch, height, width, channels = x.shape
        squares = x.reshape(batch, height // self.factor, self.factor, width // self.factor, self.factor, channels)
        return jnp.mean(squares, axis=(2, 4))

    def solve(self, v: Array, a: Array | float, b: Array | float) -> Array:
        """See ``Operator``."""
        return v / (a / self.factor**2 + b)

    def check(self, shape: Sequence[int]) -> None:
        """See ``Operator``."""
        height, width, _ = _image_shape(self, shape)
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"images have {height} x {width} pixels, but factor={self.factor} must divide both; use "
                f"{math.gcd(height, width)} or one of its divisors"
            )


@final
@check_arguments
@dataclass(frozen=True, eq=False)
class Mask(Operator):
    """The known entries of x, with 0 for the others. Its inverse is inpainting.

    Attributes:
      known: bool, True where x is known, and broadcastable to (B, *shape), such as (H, W, 1) for images.

    >>> Mask(jnp.array([True, False]))(jnp.array([[1.0, 2.0]])).tolist()
    [[1.0, 0.0]]
    """

    known: Array

    def __post_init__(self) -> None:
        check_mask(self.known)

    def __call__(self, x: Array) -> Array:
        """See ``Operator``."""
        return jnp.where(self.broadcast(x.shape), x, 0)

    def broadcast(self, shape: tuple[int, ...]) -> Array:
        """Return the mask in the shape of x (B, *shape)."""
        return broadcast_mask(self.known, shape)

    def solve(self, v: Array, a: Array | float, b: Array | float) -> Array:
        """See ``Operator``."""
        return v / (a + b)

    def check(self, shape: Sequence[int]) -> None:
        """See ``Operator``; a mask for each example is checked with the measurement."""
        if self.known.ndim <= len(shape):
            self.broadcast((1, *shape))

    def fill(self, y: Array) -> Array:
        """See ``Operator``."""
        return self(y)


@final
@check_arguments
@dataclass(frozen=True)
class Grayscale(Operator):
    """Luma of RGB images: y (B, H, W, 1) of x (B, H, W, 3). Its inverse is colourization.

    >>> Grayscale()(jnp.ones((1, 2, 2, 3))).shape
    (1, 2, 2, 1)
    """

    def __call__(self, x: Array) -> Array:
        """See ``Operator``."""
        self.check(x.shape[1:])
        return (x @ jnp.asarray(LUMA, x.dtype))[..., None]

    def solve(self, v: Array, a: Array | float, b: Array | float) -> Array:
        """See ``Operator``."""
        return v / (a * sum(weight**2 for weight in LUMA) + b)

    def check(self, shape: Sequence[int]) -> None:
        """See ``Operator``."""
        channels = _image_shape(self, shape)[-1]
        if channels != 3:
            raise ValueError(f"images have channels={channels}, but Grayscale needs 3, red, green and blue")


@final
@check_arguments
@dataclass(frozen=True)
class GaussianBlur(Operator):
    """Convolution of images (B, H, W, C) with a Gaussian, mirrored at the edges. Its inverse is deblurring.

    Attributes:
      scale: standard deviation in pixels, above 0.

    >>> GaussianBlur(1.0)(jnp.ones((1, 4, 4, 1))).round(4).min().item()
    1.0
    """

    scale: Annotated[float, Gt(0), Cure("; 1 to 3 pixels are usual")]

    def __call__(self, x: Array) -> Array:
        """See ``Operator``."""
        height, width, _ = _image_shape(self, x.shape[1:])
        rows, columns = (jnp.asarray(blur_matrix(size, self.scale), x.dtype) for size in (height, width))
        return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x)

    def solve(self, v: Array, a: Array | float, b: Array | float) -> Array:
        """See ``Operator``."""
        height, width, _ = _image_shape(self, v.shape[1:])
        (rows, row_axes), (columns, column_axes) = (_blur_eigen(size, self.scale) for size in (height, width))
        row_axes, column_axes = jnp.asarray(row_axes, v.dtype), jnp.asarray(column_axes, v.dtype)
        spectrum = _regularized_inverse(np.outer(np.square(rows), np.square(columns)), a, b)
        coefficients = jnp.einsum("hi,wj,bhwc->bijc", row_axes, column_axes, v)
        return jnp.einsum("hi,wj,bijc->bhwc", row_axes, column_axes, spectrum[None, ..., None] * coefficients)

    def check(self, shape: Sequence[int]) -> None:
        """See ``Operator``."""
        _image_shape(self, shape)


@final
@check_arguments
@dataclass(frozen=True, eq=False)
class Matrix(Operator):
    """Any linear map: y (B, M) of x (B, ...) with D entries each.

    Attributes:
      matrix: A, (M, D), finite; not traced by JAX.

    >>> Matrix(np.array([[1.0, 1.0]]))(jnp.array([[2.0, 3.0]])).tolist()
    [[5.0]]
    """

    matrix: Array | np.ndarray

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2:
            raise ValueError(f"matrix has shape {self.matrix.shape}, but must have two axes, (M, D)")
        check_values(jnp.asarray(self.matrix), lambda a: ~np.isfinite(a), "must be finite", name="matrix")

    def __call__(self, x: Array) -> Array:
        """See ``Operator``."""
        self.check(x.shape[1:])
        return x.reshape(x.shape[0], -1) @ jnp.asarray(self.matrix, x.dtype).T

    def solve(self, v: Array, a: Array | float, b: Array | float) -> Array:
        """See ``Operator``."""
        eigenvalues, axes = self._eigen
        axes = jnp.asarray(axes, v.dtype)
        return (_regularized_inverse(eigenvalues, a, b)[None] * (v @ axes)) @ axes.T

    def check(self, shape: Sequence[int]) -> None:
        """See ``Operator``."""
        if math.prod(shape) != self.matrix.shape[1]:
            raise ValueError(
                f"matrix has shape {self.matrix.shape}, but examples of shape {tuple(shape)} have {math.prod(shape)} "
                "entries; use a matrix with one column for each"
            )

    @functools.cached_property
    def _eigen(self) -> tuple[np.ndarray, np.ndarray]:
        matrix = np.asarray(self.matrix, np.float64)
        return np.linalg.eigh(matrix @ matrix.T)


def transpose(operator: Operator, y: Array, shape: Sequence[int]) -> Array:
    """Return Aᵀ y, (B, *shape), of measurements y (B, ...).

    >>> transpose(AveragePool(2), jnp.ones((1, 1, 1, 1)), (2, 2, 1)).sum().item()
    1.0
    """
    x = jax.ShapeDtypeStruct((y.shape[0], *shape), y.dtype)
    return jax.linear_transpose(operator, x)(y)[0]


def check_measurement(operator: Operator, y: Array, shape: Sequence[int]) -> Array:
    """Return a measurement of examples of a shape, at least float32, with 0 for what was not measured.

    Raises:
      ValueError: if the operator does not apply to such examples, or y has another shape than its results, holds
        integers or, outside of compiled functions, NaN or infinities.
    """
    operator.check(shape)
    x = jax.ShapeDtypeStruct((y.shape[0] if y.ndim else 1, *shape), jnp.float32)
    expected = jax.eval_shape(operator, x).shape
    if y.shape != expected:
        raise ValueError(
            f"y has shape {y.shape}, but {type(operator).__name__} maps examples of shape {tuple(shape)} to "
            f"(B, {', '.join(map(str, expected[1:]))}); measure with the same operator"
        )
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise ValueError(f"y has dtype {y.dtype}, but must be real numbers on the scale of the model's data")
    y = operator.fill(y)
    check_values(y, lambda y: ~np.isfinite(y), "measurements must be finite; use Mask for missing ones", name="y")
    return at_least_float32(y)


@functools.lru_cache(maxsize=32)
def blur_matrix(size: int, scale: float) -> np.ndarray:
    """Return K (size, size), symmetric, whose rows sum to 1: a Gaussian of a scale, mirrored at both ends."""
    radius = max(1, math.ceil(RADIUS * scale))
    weights = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / scale))
    weights /= weights.sum()
    mirrored = np.pad(np.arange(size), radius, mode="symmetric")
    matrix = np.zeros((size, size))
    for offset, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(size), mirrored[offset : offset + size]), weight)
    return matrix


@functools.lru_cache(maxsize=32)
def _blur_eigen(size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    return np.linalg.eigh(blur_matrix(size, scale))


def _regularized_inverse(eigenvalues: np.ndarray, a: Array | float, b: Array | float) -> Array:
    """Return 1 / (a k + b) for eigenvalues k of A Aᵀ, or 0 where that is nearly singular."""
    shifted = a * eigenvalues + b
    is_regular = shifted > MIN_EIGENVALUE * a * eigenvalues.max()
    return jnp.where(is_regular, 1 / jnp.where(is_regular, shifted, 1.0), 0.0)


def _image_shape(operator: Any, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the shape of images; raise ValueError for other examples."""
    if len(shape) != 3:
        raise ValueError(
            f"examples have shape {tuple(shape)}, but {type(operator).__name__} needs images (H, W, C); use Matrix"
        )
    height, width, channels = shape
    return height, width, channels
