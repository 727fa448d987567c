"""Maximum mean discrepancy between two samples, to train on: differentiable, in memory that grows linearly with both.

For the kernel k(x, y) = Σ_σ exp(−|x − y|² / (2 σ²)), a sum and not a mean over bandwidths σ, and samples x of N and y
of M points,

    MMD² = 1/N² Σ_{i,j} k(xᵢ, xⱼ) + 1/M² Σ_{i,j} k(yᵢ, yⱼ) − 2/(N M) Σ_{i,j} k(xᵢ, yⱼ)                       (1)

is the squared distance between the mean embeddings of both: never negative, so that it has a root, but above zero also
for equal distributions. Without the pairs of a point with itself,

    MMD² = 1/(N (N−1)) Σ_{i≠j} k(xᵢ, xⱼ) + 1/(M (M−1)) Σ_{i≠j} k(yᵢ, yⱼ) − 2/(N M) Σ_{i,j} k(xᵢ, yⱼ)         (2)

is unbiased, and so negative about half of the time where the distributions are equal. All bandwidths share one matrix
of distances. With w(x, y) = Σ_σ exp(−|x − y|² / (2 σ²)) / σ² the gradient of a row of such sums,

    ∂/∂yᵢ Σⱼ k(yᵢ, xⱼ) = Σⱼ w(yᵢ, xⱼ) xⱼ − yᵢ Σⱼ w(yᵢ, xⱼ),                                                 (3)

is one more matrix product, over numbers that the value needs anyway. So one sweep over chunks of rows gives both: every
exponential is computed once, the backward pass is a multiplication, and no matrix of all pairs is kept for it.

Arthur Gretton, Karsten Borgwardt, Malte Rasch, Bernhard Schölkopf and Alexander Smola, "A kernel two-sample test",
JMLR 13, 2012; as a loss: Yujia Li, Kevin Swersky and Richard Zemel, 2015, arXiv:1502.02761.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops.bounds import at_least_float32
from genjax.ops.checks import check_at_least

SMALLEST = 1e-18  # bandwidth; its square and the reciprocal of that are float32

Gradients = tuple[Array | None, Array | None]  # with respect to x and y, those that are needed


class _Settings(NamedTuple):
    bandwidths: tuple[float, ...]
    unbiased: bool
    chunk_size: int


def mmd_squared(
    x: Array, y: Array, bandwidths: Sequence[float], *, unbiased: bool = False, chunk_size: int = 1024
) -> Array:
    """MMD² between two samples by equation (1), or by (2) where ``unbiased``.

    Differentiable in reverse mode with respect to both samples; a gradient that nobody asks for, as with respect to
    data, costs nothing. Compare numbers of equal bandwidths only.

    Args:
      x: sample of N points, shape (N, D).
      y: sample of M points, shape (M, D).
      bandwidths: σ of each kernel, in units of the data.
      unbiased: whether to leave out the pairs of a point with itself.
      chunk_size: rows of a kernel matrix in memory at once.

    Returns:
      A scalar, computed in float32 at least; (1) lies between 0 and 2 len(bandwidths). Squared distances err by some
      1e-7 times the squared norms, after centring: what is that large against σ² is lost in float32.

    Raises:
      ValueError: for samples that are not (N, D) and (M, D), too few points, or bandwidths that are no kernels.

    >>> float(mmd_squared(jnp.zeros((5, 2)), jnp.full((3, 2), 100.0), (1.0, 2.0)))  # far apart: k is 2 within, 0 across
    4.0
    """
    check_bandwidths(bandwidths)
    check_at_least("chunk_size", chunk_size, 1)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"samples have shapes {x.shape} and {y.shape}, but need (N, D) and (M, D); flatten them")
    for name, sample in (("x", x), ("y", y)):
        check_at_least(f"the number of points in {name}", len(sample), 2 if unbiased else 1)
    x, y = at_least_float32(x), at_least_float32(y)
    return _mmd_squared(x, y, _Settings(tuple(map(float, bandwidths)), unbiased, chunk_size))


def check_bandwidths(bandwidths: Sequence[float]) -> None:
    """Refuse bandwidths that make no kernel.

    Raises:
      ValueError: for none, or one whose square is not positive and finite in float32.
    """
    if not (bandwidths and all(SMALLEST < width < 1 / SMALLEST for width in bandwidths)):
        raise ValueError(
            f"bandwidths are {tuple(bandwidths)}, but must be at least one, and between {SMALLEST:g} and "
            f"{1 / SMALLEST:g}"
        )


def mean_kernel(x: Array, bandwidths: Sequence[float], *, chunk_size: int = 1024) -> Array:
    """Mean of k / len(bandwidths) over the pairs of different points in a sample (N, D), in [0, 1].

    Near 0 the kernels are too narrow for the sample, as no point sees another; near 1 too wide, as all look alike. In
    either case MMD² says next to nothing.

    >>> round(float(mean_kernel(jnp.array([[0.0], [1.0], [100.0]]), (1.0,))), 4)  # exp(-½) of one pair in three
    0.2022
    """
    check_bandwidths(bandwidths)
    check_at_least("the number of points in x", len(x), 2)
    x = _centred(at_least_float32(x))
    settings = _Settings(tuple(map(float, bandwidths)), True, chunk_size)
    total, _ = _sweep(x, x, settings, same=True, gradient=False)
    return total / (len(bandwidths) * len(x) * (len(x) - 1.0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _mmd_squared(x: Array, y: Array, settings: _Settings) -> Array:
    return _value_and_gradients(x, y, settings, (False, False))[0]


def _forward(x: Any, y: Any, settings: _Settings) -> tuple[Array, Gradients]:
    return _value_and_gradients(x.value, y.value, settings, (x.perturbed, y.perturbed))


def _backward(settings: _Settings, gradients: Gradients, cotangent: Array) -> Gradients:
    del settings
    to_x, to_y = (None if gradient is None else cotangent * gradient for gradient in gradients)
    return to_x, to_y


_mmd_squared.defvjp(_forward, _backward, symbolic_zeros=True)  # which tells what is differentiated


def _value_and_gradients(x: Array, y: Array, settings: _Settings, needed: tuple[bool, bool]) -> tuple[Array, Gradients]:
    n, m = len(x), len(y)
    # No distance depends on the origin, but the digits lost in them do.
    y_centred = _centred(y)
    x, y = _centred(x), y - jnp.mean(x, axis=0)[None]
    xx, xx_to_x = _sweep(x, x, settings, same=True, gradient=needed[0])
    yy, yy_to_y = _sweep(y_centred, y_centred, settings, same=True, gradient=needed[1])
    yx, yx_to_y = _sweep(y, x, settings, same=False, gradient=needed[1])
    of_x, of_y = (1.0 / (size * (size - 1.0 if settings.unbiased else size)) for size in (n, m))
    across = 2.0 / (n * m)
    value = of_x * xx + of_y * yy - across * yx  # equations 1 and 2
    if not settings.unbiased:
        value = value + len(settings.bandwidths) * (1.0 / n + 1.0 / m)  # the pairs i = j, whose kernel is exact
    to_x = to_y = None
    if needed[0]:
        _, xy_to_x = _sweep(x, y, settings, same=False, gradient=True)
        to_x = 2.0 * of_x * xx_to_x - across * xy_to_x  # within a sample a point is in a row and in a column
    if needed[1]:
        to_y = 2.0 * of_y * yy_to_y - across * yx_to_y
    return value, (to_x, to_y)


def _centred(x: Array) -> Array:
    return x - jnp.mean(x, axis=0)[None]


def _sweep(a: Array, b: Array, settings: _Settings, *, same: bool, gradient: bool) -> tuple[Array, Any]:
    """Sum k(aᵢ, bⱼ) over all pairs, but not i = j where both are the ``same`` sample, a chunk of rows at a time.

    Returns:
      The sum, and where asked for its gradient with respect to the points as rows alone, of the shape of ``a``.
    """
    num_chunks = -(-len(a) // settings.chunk_size)
    size = -(-len(a) // num_chunks)  # as equal as can be
    chunks = jnp.pad(a, ((0, num_chunks * size - len(a)), (0, 0))).reshape(num_chunks, size, -1)
    b_norms = jnp.sum(b**2, axis=1)[None]
    columns = jnp.arange(len(b))[None]

    def add(numbered: tuple[Array, Array]) -> tuple[Array, Array | None]:
        index, rows = numbered
        numbers = (index * size + jnp.arange(size))[:, None]
        counts = numbers < len(a)
        if same:
            counts = counts & (numbers != columns)
        distances = jnp.sum(rows**2, axis=1)[:, None] + b_norms - 2.0 * _matmul(rows, b.T)
        distances = jnp.where(counts, jnp.maximum(distances, 0.0), jnp.inf)  # of which the kernel is 0
        kernels = [jnp.exp(distances * (-0.5 / width**2)) for width in settings.bandwidths]
        total = jnp.sum(sum(kernels[1:], kernels[0]))
        if not gradient:
            return total, None
        pulls = [kernel * width**-2 for kernel, width in zip(kernels, settings.bandwidths, strict=True)]
        pull = sum(pulls[1:], pulls[0])
        return total, _matmul(pull, b) - jnp.sum(pull, axis=1)[:, None] * rows  # equation 3

    totals, gradients = jax.lax.map(add, (jnp.arange(num_chunks), chunks))
    return jnp.sum(totals), gradients.reshape(-1, a.shape[1])[: len(a)] if gradient else None


def _matmul(a: Array, b: Array) -> Array:
    """Multiply with all digits: accelerators would keep 8 or 11 bits, and distances cancel."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
