"""Kernel two-sample test: do two samples have the same distribution?

Under the null hypothesis the N + M points are exchangeable, so that every split into N and M points is equally likely.
With MMD²ᵢ of P random permutations, the p-value is

    p = (1 + #{i : MMD²ᵢ ≥ MMD²}) / (1 + P),        P(p ≤ α) ≤ α,                                              (1)

which is valid for every N, M and P (Belinda Phipson and Gordon Smyth, "Permutation p-values should never be zero",
2010). With G the kernel matrix of all points, zero on its diagonal, and a ∈ {0, 1}^(N+M) the indicator of the first
sample,

    MMD² = aᵀGa / (N (N−1)) + bᵀGb / (M (M−1)) − 2 aᵀGb / (N M),    b = 1 − a,                                 (2)

is the unbiased estimate of ``genjax.metrics.kernels``. Subtracting rᵢ + rⱼ from the off-diagonal entries of G does not
change it, for any r; with r the row means, the terms of (2) are small, and float32 is accurate.

Arthur Gretton, Karsten Borgwardt, Malte Rasch, Bernhard Schölkopf and Alexander Smola, "A kernel two-sample test", JMLR
13, 2012.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.metrics.checks import checked_features
from genjax.metrics.distances import middle, squared_distances_with_error
from genjax.metrics.kernels import MEDIAN_OF, median_bandwidths
from genjax.metrics.metric import Values
from genjax.ops.mmd import check_bandwidths, gaussian_kernel, mmd_from_sums

LEVEL = 0.05
MAX_POINTS = 8_000  # a kernel matrix of 256 MB
_TIE = 1e-6  # times the largest entry of the matrix: closer values of MMD² differ by rounding alone


@check_arguments
def mmd_test(
    key: Array,
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    num_permutations: Annotated[int, Ge(19), Cure(", for the 5 % level; use 999")] = 999,
    bandwidths: Sequence[float] | Array | np.ndarray | None = None,
) -> Values:
    """Test with MMD², for a mixture of Gaussian kernels, whether two samples have the same distribution.

    N and M are at least 2, N + M at most 8,000, and ``num_permutations``, P, at least 19. ``bandwidths`` are the σ > 0
    of K kernels in units of the features, None for ``median_bandwidths`` of both samples together.

    Returns:
      ``mmd2``, equal to that of ``mmd_squared`` with these bandwidths; ``p_value`` (1); ``threshold``, above which MMD²
      is significant at the 5 % level; and ``bandwidths``, shape (K,).

    Example:
      >>> x = jnp.linspace(0.0, 1.0, 50)[:, None]
      >>> values = mmd_test(jax.random.key(0), x, x + 0.5)
      >>> round(float(values["p_value"]), 4)
      0.001
    """
    reference, generated = checked_features(reference, generated, minimum=2)
    count, size = len(reference), len(reference) + len(generated)
    if size > MAX_POINTS:
        raise ValueError(
            f"the samples have {size} points in total, but the kernel matrix of the test has at most {MAX_POINTS} "
            f"rows; give {MAX_POINTS // 2} of each"
        )
    median_key, deal_key = jax.random.split(key)
    points = jnp.concatenate([reference, generated])
    if bandwidths is None:
        # Chosen from the pooled samples without their labels, because the points must remain exchangeable.
        widths = median_bandwidths(jax.random.choice(median_key, points, (min(size, MEDIAN_OF),), replace=False))
    else:
        widths = jnp.asarray(bandwidths, jnp.float32)
    check_bandwidths(widths.tolist())
    observed, permuted, tie = jax.device_get(
        _permuted(deal_key, points, middle(points), widths, count, num_permutations)
    )
    as_large = np.sum(permuted >= observed - tie)
    allowed = int(LEVEL * (num_permutations + 1) + 1e-9) - 1  # most permutations ≥ MMD² with p ≤ 5 %
    return {
        "mmd2": jnp.float32(observed),
        "p_value": jnp.float32((1 + as_large) / (1 + num_permutations)),  # equation 1
        "threshold": jnp.float32(np.sort(permuted)[::-1][allowed] + tie),
        "bandwidths": widths,
    }


@jax.jit(static_argnames=("count", "num_permutations"))
def _permuted(
    key: Array, points: Array, center: Array, widths: Array, count: int, num_permutations: int
) -> tuple[Array, Array, Array]:
    """Return MMD² of the first ``count`` points and the others, MMD² of permutations, and the tolerance for ties."""
    size = len(points)
    others = ~jnp.eye(size, dtype=bool)
    squared, _ = squared_distances_with_error(points, points, center, "float32")
    kernel = gaussian_kernel(squared, widths) * others
    means = kernel.sum(axis=1) / (size - 1)
    kernel = (kernel - means[:, None] - means[None, :] + means.mean()) * others
    marks = jnp.arange(size) < count
    keys = jax.random.split(key, num_permutations)
    dealings = jax.vmap(lambda k: jax.random.permutation(k, marks))(keys)
    values = _mmd_squared(kernel, jnp.concatenate([marks[None], dealings]).astype(kernel.dtype), count)
    return values[0], values[1:], _TIE * jnp.abs(kernel).max()


def _mmd_squared(kernel: Array, marks: Array, count: int) -> Array:
    """Return equation 2 for each row of indicators, shape (P, N + M)."""
    first, second = marks, 1 - marks
    products = jnp.matmul(first, kernel, precision=jax.lax.Precision.HIGHEST)  # aᵀG
    other = len(kernel) - count
    within_first, across = jnp.sum(products * first, axis=1), jnp.sum(products * second, axis=1)
    within_second = jnp.sum((kernel.sum(axis=0)[None] - products) * second, axis=1)  # bᵀG = 1ᵀG − aᵀG
    return mmd_from_sums(within_first, within_second, across, count, other)
