"""Maximum mean discrepancy (MMD) between two samples.

For a kernel k and samples x of N and y of M points,

    MMD² = 1/N² Σ_{i,j} k(xᵢ, xⱼ) + 1/M² Σ_{i,j} k(yᵢ, yⱼ) − 2/(N M) Σ_{i,j} k(xᵢ, yⱼ)                       (1)

is the squared distance between the mean embeddings of both. It is never negative, so that it has a square root, but on
average it is above zero for equal distributions too. Without the pairs of a point with itself,

    MMD² = 1/(N (N−1)) Σ_{i≠j} k(xᵢ, xⱼ) + 1/(M (M−1)) Σ_{i≠j} k(yᵢ, yⱼ) − 2/(N M) Σ_{i,j} k(xᵢ, yⱼ)         (2)

is unbiased, and therefore negative about half of the time for equal distributions. Unless another kernel is named, k
is the mean of Gaussian kernels over K bandwidths σ,

    k(x, y) = 1/K Σ_σ exp(−|x − y|² / (2 σ²)),    so that k(x, x) = 1 and MMD² ≤ 2,                          (3)

and all bandwidths share one matrix of distances. ``mmd_loss`` is differentiable and needs memory that grows linearly
with both samples. With w(x, y) = 1/K Σ_σ exp(−|x − y|² / (2 σ²)) / σ² the gradient of a row sum,

    ∂/∂yᵢ Σⱼ k(yᵢ, xⱼ) = Σⱼ w(yᵢ, xⱼ) xⱼ − yᵢ Σⱼ w(yᵢ, xⱼ),                                                 (4)

is one more matrix product over numbers that the value needs anyway. One sweep over chunks of rows therefore gives value
and gradient: every exponential is computed once, the backward pass is a multiplication, and no matrix of all pairs is
kept.

Arthur Gretton, Karsten Borgwardt, Malte Rasch, Bernhard Schölkopf and Alexander Smola, "A kernel two-sample test",
JMLR 13, 2012; as a loss: Yujia Li, Kevin Swersky and Richard Zemel, 2015, arXiv:1502.02761.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.ops.arrays import at_least_float32
from genjax.ops.distances import matmul, squared_distances
from genjax.ops.validation import check_at_least

MIN_BANDWIDTH = 1e-18  # its square and the reciprocal of that are float32
MAX_BANDWIDTH = 1e18

Sums = TypeVar("Sums", float, np.ndarray, Array)
Gradients = tuple[Array | None, Array | None]  # with respect to x and y; None where not needed


class _Settings(NamedTuple):
    bandwidths: tuple[float, ...]
    unbiased: bool
    chunk_size: int


@check_arguments
def mmd_loss(
    x: Array, y: Array, bandwidths: Sequence[float], *, unbiased: bool = False, chunk_size: PositiveInt = 1024
) -> Array:
    """Return MMD² between two samples by equation (1), or by (2) if ``unbiased``.

    Differentiable in reverse mode with respect to both samples; a gradient that is not needed, such as that of the
    data, costs nothing. Only values of equal bandwidths are comparable.

    Args:
      x: sample of N points, shape (N, D); at least one, or two if ``unbiased``.
      y: sample of M points, shape (M, D), as many at least.
      bandwidths: bandwidths σ of the kernels, in units of the data; see ``check_bandwidths``.
      unbiased: whether to leave out the pairs of a point with itself.
      chunk_size: number of rows of a kernel matrix in memory at once.

    Returns:
      A scalar in float32 or wider; (1) lies in [0, 2]. Squared distances have errors of about 1e-7 times the squared
      norms, after centering: differences of that size relative to σ² are lost in float32.

    >>> float(mmd_loss(jnp.zeros((5, 2)), jnp.full((3, 2), 100.0), (1.0, 2.0)))  # far apart: k is 1 within, 0 across
    2.0
    """
    check_bandwidths(bandwidths)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"samples have shapes {x.shape} and {y.shape}, but must be (N, D) and (M, D); flatten them")
    for name, sample in (("x", x), ("y", y)):
        check_at_least(f"the number of points in {name}", len(sample), 2 if unbiased else 1)
    dtype = jnp.promote_types(jnp.promote_types(x.dtype, y.dtype), jnp.float32)
    x, y = x.astype(dtype), y.astype(dtype)  # the gradients of _mmd_squared have one type
    return _mmd_squared(x, y, _Settings(tuple(map(float, bandwidths)), unbiased, chunk_size))


@check_arguments
def mean_kernel(x: Array, bandwidths: Sequence[float], *, chunk_size: PositiveInt = 1024) -> Array:
    """Return the mean of k over the pairs of different points in a sample (N, D), in [0, 1].

    Near 0 the kernels are too narrow for the sample, because no point sees another; near 1 they are too wide, because
    all points look alike. In both cases MMD² says next to nothing.

    >>> round(float(mean_kernel(jnp.array([[0.0], [1.0], [100.0]]), (1.0,))), 4)  # exp(-½) of one pair in three
    0.2022
    """
    check_bandwidths(bandwidths)
    check_at_least("the number of points in x", x.shape[0], 2)
    x = _centered(at_least_float32(x))
    settings = _Settings(tuple(map(float, bandwidths)), True, chunk_size)
    total, _ = _sweep(x, x, settings, same=True, gradient=False)
    return total / (x.shape[0] * (x.shape[0] - 1.0))


def gaussian_kernel(squared: Array, bandwidths: Sequence[float] | Array) -> Array:
    """Return k of equation (3) for squared distances of any shape."""
    kernels = _kernels(squared, bandwidths)
    return functools.reduce(jnp.add, kernels) / len(kernels)


def mmd_from_sums(within_x: Sums, within_y: Sums, across: Sums, n: int, m: int, *, unbiased: bool = True) -> Sums:
    """Return MMD² by equation (2), or by (1), from sums of kernel values.

    The sums are over the pairs within x (N points), within y (M points) and across both; those within a sample leave
    out the pairs i = j if ``unbiased``.
    """
    within = within_x / float(n * (n - unbiased)) + within_y / float(m * (m - unbiased))
    return within - across * 2.0 / float(n * m)


def check_bandwidths(bandwidths: Sequence[float]) -> None:
    """Raise if there are no bandwidths, or one whose square is not positive and finite in float32."""
    if not (len(bandwidths) and all(MIN_BANDWIDTH < width < MAX_BANDWIDTH for width in bandwidths)):
        raise ValueError(
            f"bandwidths are {tuple(bandwidths)}, but must be at least one, and between {MIN_BANDWIDTH:g} and "
            f"{MAX_BANDWIDTH:g}"
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _mmd_squared(x: Array, y: Array, settings: _Settings) -> Array:
    return _value_and_gradients(x, y, settings, (False, False))[0]


def _forward(x: Any, y: Any, settings: _Settings) -> tuple[Array, Gradients]:
    return _value_and_gradients(x.value, y.value, settings, (x.perturbed, y.perturbed))


def _backward(settings: _Settings, gradients: Gradients, cotangent: Array) -> Gradients:
    del settings
    to_x, to_y = (None if gradient is None else cotangent * gradient for gradient in gradients)
    return to_x, to_y


_mmd_squared.defvjp(_forward, _backward, symbolic_zeros=True)  # so that _forward knows what is differentiated


def _value_and_gradients(x: Array, y: Array, settings: _Settings, needed: tuple[bool, bool]) -> tuple[Array, Gradients]:
    n, m = x.shape[0], y.shape[0]
    # Distances do not depend on the origin, but their rounding does.
    y_centered = _centered(y)
    x, y = _centered(x), y - jnp.mean(x, axis=0)[None]
    xx, xx_to_x = _sweep(x, x, settings, same=True, gradient=needed[0])
    yy, yy_to_y = _sweep(y_centered, y_centered, settings, same=True, gradient=needed[1])
    yx, yx_to_y = _sweep(y, x, settings, same=False, gradient=needed[1])
    if not settings.unbiased:
        xx, yy = xx + float(n), yy + float(m)  # k(x, x) = 1 exactly
    value = mmd_from_sums(xx, yy, yx, n, m, unbiased=settings.unbiased)
    of_x, of_y = (1.0 / (size * (size - settings.unbiased)) for size in (n, m))
    of_both = 2.0 / (n * m)
    to_x = to_y = None
    if needed[0]:
        _, xy_to_x = _sweep(x, y, settings, same=False, gradient=True)
        to_x = 2.0 * of_x * xx_to_x - of_both * xy_to_x  # a point is in one row and in one column of xx
    if needed[1]:
        to_y = 2.0 * of_y * yy_to_y - of_both * yx_to_y
    return value, (to_x, to_y)


def _centered(x: Array) -> Array:
    return x - jnp.mean(x, axis=0)[None]


def _kernels(squared: Array, bandwidths: Sequence[float] | Array) -> list[Array]:
    return [jnp.exp(squared * (-0.5 / width**2)) for width in bandwidths]


def _sweep(a: Array, b: Array, settings: _Settings, *, same: bool, gradient: bool) -> tuple[Array, Any]:
    """Sum k(aᵢ, bⱼ) over all pairs, a chunk of rows at a time; without i = j if both are the ``same`` sample.

    Returns:
      The sum, and if ``gradient`` its gradient with respect to the points as rows alone, shape of ``a``.
    """
    num_chunks = -(-a.shape[0] // settings.chunk_size)
    size = -(-a.shape[0] // num_chunks)  # as equal as possible
    chunks = jnp.pad(a, ((0, num_chunks * size - a.shape[0]), (0, 0))).reshape(num_chunks, size, -1)
    columns = jnp.arange(b.shape[0])[None]
    num_kernels = len(settings.bandwidths)

    def add(numbered: tuple[Array, Array]) -> tuple[Array, Array | None]:
        index, rows = numbered
        numbers = (index * size + jnp.arange(size))[:, None]
        counts = numbers < a.shape[0]
        if same:
            counts = counts & (numbers != columns)
        distances = jnp.where(counts, squared_distances(rows, b), jnp.inf)  # the kernel is 0 at infinity
        kernels = _kernels(distances, settings.bandwidths)
        total = jnp.sum(functools.reduce(jnp.add, kernels)) / num_kernels
        if not gradient:
            return total, None
        pulls = [kernel * (width**-2 / num_kernels) for kernel, width in zip(kernels, settings.bandwidths, strict=True)]
        pull = functools.reduce(jnp.add, pulls)
        return total, matmul(pull, b) - jnp.sum(pull, axis=1)[:, None] * rows  # equation 4

    totals, gradients = jax.lax.map(add, (jnp.arange(num_chunks), chunks))
    return jnp.sum(totals), gradients.reshape(-1, a.shape[1])[: a.shape[0]] if gradient else None
