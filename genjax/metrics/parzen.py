"""Parzen-window log-likelihood: density of a Gaussian around every sample, for comparison with older papers only.

    log p̂(x) = log 1/M Σⱼ N(x; yⱼ, h² I),    y the M samples, h the bandwidth                                  (1)

Warning: it ranks models wrongly. In high dimensions it is far from the model's likelihood for any practical number of
samples, and k-means centres score above samples of the true distribution (Theis, van den Oord & Bethge 2015,
arXiv:1511.01844). Report MMD² and the kernel distance beside it.

It is an estimate, not a bound. Over random samples E[log p̂(x)] ≤ log E[p̂(x)] by Jensen's inequality, but the right-hand
side is the density of the model with noise of width h, which may be above or below the model's own.

Proposed by Breuleux, Bengio & Vincent (2011) for Boltzmann machines. The protocol of Goodfellow et al. 2014,
arXiv:1406.2661, uses 10,000 samples and a bandwidth chosen on validation data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import NonNegativeInt, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.metrics.checks import checked_features
from genjax.metrics.distances import middle, squared_distances_with_error
from genjax.metrics.metric import Values
from genjax.metrics.progress import ProgressCallback, chunks
from genjax.ops import check_positive
from genjax.ops.distances import rounding

_FLOAT32 = np.finfo(np.float32)


@check_arguments
def parzen_log_likelihood(
    generated: Array | np.ndarray,
    test: Array | np.ndarray,
    *,
    bandwidth: PositiveFloat,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> Values:
    """Return ``parzen_log_likelihood``, the mean log-density (1) of test data in nats per example, and its error.

    The standard error is over the N test examples, whose rows ``progress`` counts. The bandwidth h > 0 is in units of
    the data; see ``parzen_bandwidth``, and the warning in the module docstring.
    """
    scores = parzen_log_prob(generated, test, bandwidth=bandwidth, chunk_size=chunk_size, progress=progress)
    error = scores.std(ddof=1) / np.sqrt(scores.size) if scores.size > 1 else np.nan
    return {
        "parzen_log_likelihood": jnp.float32(scores.mean()),
        "parzen_log_likelihood_standard_error": jnp.float32(error),
    }


@check_arguments
def parzen_bandwidth(
    generated: Array | np.ndarray,
    validation: Array | np.ndarray,
    bandwidths: Sequence[float] | Array | np.ndarray,
    *,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> float:
    """Return the one of ``bandwidths`` that maximizes the likelihood of validation data, disjoint from the test data.

    If the smallest or largest is chosen, the optimum lies outside; use ``parzen_bandwidth_search``. No bandwidths raise
    ValueError.
    """
    if len(bandwidths) == 0:
        raise ValueError("bandwidths is empty; give candidates such as numpy.logspace(-1, 0, 10)")
    means = _log_prob(generated, validation, bandwidths, chunk_size, progress).mean(axis=1)
    return float(bandwidths[int(np.argmax(means))])


@check_arguments
def parzen_bandwidth_search(
    generated: Array | np.ndarray,
    validation: Array | np.ndarray,
    bandwidths: Sequence[float] | Array | np.ndarray,
    *,
    max_extensions: NonNegativeInt = 8,
    chunk_size: PositiveInt = 1024,
) -> tuple[float, bool]:
    """Return the bandwidth that maximizes the likelihood of validation data, and whether it is an interior optimum.

    While the smallest or largest bandwidth is the best, the grid is extended on that side, by as many bandwidths as it
    had at first, in the ratio of its two outermost. If samples coincide with validation data the optimum is zero; the
    search then stops at the edge, before rounding errors of distances matter, and returns False.

    ``bandwidths`` is the initial grid, two or more in increasing order; anything else raises ValueError. It is extended
    at most ``max_extensions`` times. Validation data are disjoint from the test data.

    >>> parzen_bandwidth_search(np.array([[0.0]]), np.array([[-40.0], [40.0]]), (1.0, 2.0, 4.0))  # best: h = 40
    (32.0, True)
    """
    widths = np.asarray(bandwidths, np.float64)
    if widths.size < 2 or not (np.diff(widths) > 0).all():
        raise ValueError(f"bandwidths are {widths.tolist()}, but must be two or more in increasing order; sort them")

    def mean_log_probs(widths: np.ndarray) -> dict[float, float]:
        means = _log_prob(generated, validation, widths.tolist(), chunk_size, None).mean(axis=1)
        return dict(zip(widths.tolist(), means.tolist(), strict=True))

    scores, powers = mean_log_probs(widths), np.arange(1, widths.size + 1)
    spread = np.asarray(validation, np.float64).var(axis=0)
    min_width = math.sqrt(2 * rounding(spread.size, "float32") * spread.sum())  # twice |x|², for a sample at x
    for _ in range(max_extensions):
        best = max(scores, key=scores.__getitem__)
        grid = sorted(scores)
        if grid[0] < best < grid[-1]:
            break
        edge, inner = grid[:2] if best == grid[0] else grid[:-3:-1]
        more = edge * (edge / inner) ** powers
        more = more[(more > max(min_width, _FLOAT32.tiny)) & (more < _FLOAT32.max)]
        if more.size == 0:
            break
        scores |= mean_log_probs(more)
    best = max(scores, key=scores.__getitem__)
    return best, min(scores) < best < max(scores)


@check_arguments
def parzen_log_prob(
    generated: Array | np.ndarray,
    x: Array | np.ndarray,
    *,
    bandwidth: PositiveFloat,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """Return the log-density (1) of each row of ``x`` in nats, float64 of shape (N,); see ``parzen_log_likelihood``.

    >>> parzen_log_prob(np.zeros((3, 1)), np.ones((1, 1)), bandwidth=1.0).round(4).tolist()  # −½ log 2π − ½
    [-1.4189]
    """
    return _log_prob(generated, x, [bandwidth], chunk_size, progress)[0]


def _log_prob(
    generated: Array | np.ndarray,
    x: Array | np.ndarray,
    bandwidths: Sequence[float] | Array | np.ndarray,
    chunk_size: int,
    progress: ProgressCallback | None,
) -> np.ndarray:
    """Return the log-density of each row for each of K bandwidths, shape (K, N)."""
    widths = np.asarray(bandwidths, np.float32)
    for width in widths:
        check_positive("bandwidth", width)
    x, generated = checked_features(x, generated)
    center, log_sums = middle(x), []
    for part in chunks(len(x), chunk_size, progress):
        log_sums.append(np.asarray(_log_sums(generated, x[part], center, widths), np.float64))
    normalizers = math.log(len(generated)) + x.shape[1] * (0.5 * math.log(2 * math.pi) + np.log(widths, dtype=float))
    return np.concatenate(log_sums, axis=1) - normalizers[:, None]  # equation 1


@jax.jit
def _log_sums(generated: Array, rows: Array, center: Array, widths: Array) -> Array:
    squared, _ = squared_distances_with_error(rows, generated, center, "float32")  # one matrix for all bandwidths

    def log_sum(width: Array) -> Array:
        return jax.scipy.special.logsumexp(-0.5 * (squared / width) / width, axis=1)

    return jax.lax.map(log_sum, widths)
