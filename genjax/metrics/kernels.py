"""Unbiased maximum mean discrepancy (MMD) between two samples, with a standard error; its cubic kernel gives the KID.

For a kernel k, N reference points x and M generated points y, all independent,

    MMD² = 1/(N (N−1)) Σ_{i≠j} k(xᵢ, xⱼ) + 1/(M (M−1)) Σ_{i≠j} k(yᵢ, yⱼ) − 2/(N M) Σ_{i,j} k(xᵢ, yⱼ)          (1)

is unbiased, and therefore negative about half of the time for samples from equal distributions (Gretton, Borgwardt,
Rasch, Schölkopf & Smola, "A kernel two-sample test", JMLR 13, 2012). The standard error is the jackknife estimate,

    se² = (N−1)/N Σᵢ (θ₋ᵢ − θ̄₋)² + (M−1)/M Σⱼ (θ₋ⱼ − θ̄₋)²,                                                    (2)

where θ₋ᵢ is the estimate (1) without point i of that sample, computed from row sums of the three kernel matrices
(Arvesen, "Jackknifing U-statistics", 1969). If the distributions are equal, (1) is degenerate, and (2) is too large by
about √2: a conservative error.

* ``kernel_distance``: k(x, y) = (x·y / D + 1)³, on Inception features the kernel inception distance (KID) (Bińkowski,
  Sutherland, Arbel & Gretton 2018, arXiv:1801.01401). Their protocol, ``kernel_distance_subsets``, averages (1) over
  100 random subsets of 1,000 points; over all points, (1) has the same expectation and less variance, and needs no
  randomness.
* ``mmd_squared``: mean of the Gaussian kernels exp(−|x − y|² / (2 σ²)) over bandwidths σ, by default ½, 1 and 2 times
  the median distance between reference points.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.metrics.checks import checked_features
from genjax.metrics.distances import middle, squared_distances_with_error
from genjax.metrics.metric import Values
from genjax.metrics.progress import ProgressCallback, chunks
from genjax.ops.mmd import check_bandwidths, gaussian_kernel, mmd_from_sums

Kernel = Callable[[Array, Array, PyTree], Array]  # (rows (B, D), columns (N, D), settings) -> (B, N)
MEDIAN_OF = 1000  # number of points whose distances give the default bandwidths
MULTIPLES = (0.5, 1.0, 2.0)


@check_arguments
def kernel_distance(
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> Values:
    """Return the kernel distance: MMD² with a cubic kernel.

    N and M are at least 2; ``progress`` counts 2 N + M rows.

    Returns:
      ``kernel_distance`` and ``kernel_distance_standard_error`` (NaN if N or M is 2). It is unbiased for every N and M,
      and may be negative.

    Example:
      Kernel values are 1 within the reference, 8 within the generated samples, and 1 across:

      >>> values = kernel_distance(np.zeros((4, 1)), np.ones((4, 1)))
      >>> float(values["kernel_distance"]), float(values["kernel_distance_standard_error"])
      (7.0, 0.0)
    """
    reference, generated = checked_features(reference, generated, minimum=2)
    value, error = _mmd(_cubic, None, reference, generated, chunk_size, progress)
    return {"kernel_distance": jnp.float32(value), "kernel_distance_standard_error": jnp.float32(error)}


@check_arguments
def kernel_distance_subsets(
    key: Array,
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    num_subsets: PositiveInt = 100,
    subset_size: Annotated[int, Ge(2)] = 1000,
    progress: ProgressCallback | None = None,
) -> Values:
    """Return the kernel distance by the published protocol, for comparison with papers; see ``kernel_distance``.

    Subsets are drawn without replacement: ``num_subsets`` pairs, at least 1, of ``subset_size`` points each, at least 2
    and at most N and M. ``progress`` counts pairs.

    Returns:
      ``kernel_distance``, the mean over subsets, and ``kernel_distance_sd``, the standard deviation of the distance
      between subsets of ``subset_size`` points, which is not the error of the mean.
    """
    reference, generated = checked_features(reference, generated)
    fewest = min(len(reference), len(generated))
    if fewest < subset_size:
        raise ValueError(
            f"a side has {fewest} samples, but subset_size is {subset_size}; draw more, or smaller subsets"
        )
    values = []
    for index in range(num_subsets):
        keys = jax.random.split(jax.random.fold_in(key, index))
        subsets = (
            side[jax.random.choice(k, len(side), (subset_size,), replace=False)]
            for k, side in zip(keys, (reference, generated), strict=True)
        )
        values.append(_mmd(_cubic, None, *subsets, chunk_size=subset_size, progress=None)[0])
        if progress is not None:
            progress(1)
    return {"kernel_distance": jnp.float32(np.mean(values)), "kernel_distance_sd": jnp.float32(np.std(values))}


@check_arguments
def mmd_squared(
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    bandwidths: Sequence[float] | Array | np.ndarray | None = None,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> Values:
    """Return MMD² with a mixture of Gaussian kernels.

    ``bandwidths`` are the σ > 0 of K kernels in units of the features, None for ``median_bandwidths`` of the reference.
    N and M are at least 2; ``progress`` counts 2 N + M rows.

    Returns:
      ``mmd2``, at most 2, ``mmd2_standard_error`` (NaN if N or M is 2), and ``bandwidths``, shape (K,). MMD² is
      unbiased and may be negative. Compare values at equal bandwidths only.
    """
    reference, generated = checked_features(reference, generated, minimum=2)
    widths = median_bandwidths(reference) if bandwidths is None else jnp.asarray(bandwidths, jnp.float32)
    check_bandwidths(widths.tolist())
    value, error = _mmd(_gaussian, (middle(reference), widths), reference, generated, chunk_size, progress)
    return {"mmd2": jnp.float32(value), "mmd2_standard_error": jnp.float32(error), "bandwidths": widths}


@check_arguments
def median_bandwidths(reference: Array) -> Array:
    """Return ½, 1 and 2 times the median distance between unequal rows, among 1,000 evenly spaced ones.

    If all rows are equal, MMD² does not depend on the bandwidths, and ½, 1 and 2 are returned.
    """
    from scipy.spatial.distance import pdist

    places = np.linspace(0, len(reference) - 1, min(MEDIAN_OF, len(reference)), dtype=int)
    distances = pdist(np.asarray(reference[places], np.float64))  # from differences: exactly zero for duplicates
    unequal = distances[distances > 0]
    return jnp.asarray((np.median(unequal) if unequal.size else 1.0) * np.array(MULTIPLES), jnp.float32)


def _cubic(rows: Array, columns: Array, settings: PyTree) -> Array:
    del settings
    return (jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST) / rows.shape[1] + 1) ** 3


def _gaussian(rows: Array, columns: Array, settings: PyTree) -> Array:
    center, widths = settings
    squared, _ = squared_distances_with_error(rows, columns, center, "float32")
    return gaussian_kernel(squared, widths)


class _Sums(NamedTuple):
    """Sums of a kernel matrix (N, M), float64, over each row, shape (N,), and each column, shape (M,)."""

    rows: np.ndarray
    columns: np.ndarray


@functools.partial(jax.jit, static_argnames=("kernel", "chunk_size", "same"))
def _chunk(
    kernel: Kernel, settings: PyTree, x: Array, y: Array, start: int, *, chunk_size: int, same: bool
) -> tuple[Array, Array]:
    """Sum a chunk of rows of a kernel matrix along both axes, without the diagonal if both samples are the same."""
    places = start + jnp.arange(chunk_size)
    rows = jnp.take(x, places, axis=0, mode="clip")
    with jax.enable_x64(True):
        values = kernel(rows, y, settings).astype(jnp.float64)  # sums of many nearly equal numbers
        valid = (places < len(x))[:, None]
        if same:
            valid = valid & (places[:, None] != jnp.arange(len(y))[None])
        values = jnp.where(valid, values, 0)
        return values.sum(axis=1), values.sum(axis=0)


def _sums(
    kernel: Kernel, settings: PyTree, x: Array, y: Array, chunk_size: int, progress: ProgressCallback | None, same: bool
) -> _Sums:
    size = min(chunk_size, len(x))
    rows, columns = [], np.zeros(len(y))
    for part in chunks(len(x), size, progress):
        along, down = _chunk(kernel, settings, x, y, part.start, chunk_size=size, same=same)
        if not bool(jnp.isfinite(along).all()):
            raise ValueError(
                f"kernel values overflow float32 for features up to {max(abs(x).max(), abs(y).max()):.3g}; rescale them"
            )
        rows.append(np.asarray(along))
        columns += np.asarray(down)
    return _Sums(np.concatenate(rows)[: len(x)], columns)


def _mmd(
    kernel: Kernel, settings: PyTree, x: Array, y: Array, chunk_size: int, progress: ProgressCallback | None
) -> tuple[float, float]:
    """Return MMD² (1) and its standard error (2)."""
    within_x = _sums(kernel, settings, x, x, chunk_size, progress, same=True).rows
    within_y = _sums(kernel, settings, y, y, chunk_size, progress, same=True).rows
    across = _sums(kernel, settings, x, y, chunk_size, progress, same=False)
    n, m, cross = len(x), len(y), across.rows.sum()
    value = mmd_from_sums(within_x.sum(), within_y.sum(), cross, n, m)  # equation 1
    if min(n, m) < 3:
        return float(value), float("nan")  # a single point has no pairs
    # Leaving a point out removes both its row and its column from the sum within its sample.
    without_x = mmd_from_sums(within_x.sum() - 2 * within_x, within_y.sum(), cross - across.rows, n - 1, m)
    without_y = mmd_from_sums(within_x.sum(), within_y.sum() - 2 * within_y, cross - across.columns, n, m - 1)
    variance = (n - 1) * without_x.var() + (m - 1) * without_y.var()  # equation 2
    return float(value), float(np.sqrt(variance))
