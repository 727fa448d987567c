"""Parzen-window log-likelihood: the density of a Gaussian around every sample, for comparison with older papers only.

    log p̂(x) = log 1/M Σⱼ N(x; yⱼ, h² I),    y the M samples, h the bandwidth                                  (1)

Warning: it ranks models wrongly. In many dimensions it stays far from the model's own likelihood for any number of
samples that can be drawn, and k-means centres score above samples of the true distribution (Theis, van den Oord &
Bethge 2015, arXiv:1511.01844). Give MMD² and the kernel distance beside it.

It is an estimate and bounds nothing. Over draws of the samples E[log p̂(x)] ≤ log E[p̂(x)] by Jensen, but what is on the
right is the density of the model with noise of width h added, which may lie on either side of the model's own.

Proposed by Breuleux, Bengio & Vincent (2011) for Boltzmann machines; 10,000 samples and a bandwidth chosen on
validation data are the protocol of Goodfellow et al. 2014, arXiv:1406.2661.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.metrics.checks import check_chunk_size, checked_features
from genjax.metrics.distances import middle, squared_distances_with_error
from genjax.metrics.metric import Values
from genjax.metrics.progress import Done
from genjax.ops import check_positive
from genjax.ops.distances import rounding

_FLOAT32 = np.finfo(np.float32)


def parzen_log_likelihood(
    generated: Array | np.ndarray,
    test: Array | np.ndarray,
    *,
    bandwidth: float,
    chunk_size: int = 1024,
    progress: Done | None = None,
) -> Values:
    """Return the mean log-density (1) of test data, nats per example: an estimate that misleads, see the module.

    Args:
      generated: samples, shape (M, D).
      test: data, shape (N, D).
      bandwidth: h, in units of the data; see ``parzen_bandwidth``.
      chunk_size: rows of test data whose distances to all samples are in memory at once.
      progress: called with the number of rows just finished, N in all.

    Returns:
      ``parzen_log_likelihood`` and its standard error over the test data.

    Raises:
      ValueError: for empty samples, different numbers of dimensions, any that is not finite, or a bandwidth that is
        not positive.
    """
    scores = parzen_log_prob(generated, test, bandwidth=bandwidth, chunk_size=chunk_size, progress=progress)
    error = scores.std(ddof=1) / np.sqrt(scores.size) if scores.size > 1 else np.nan
    return {
        "parzen_log_likelihood": jnp.float32(scores.mean()),
        "parzen_log_likelihood_standard_error": jnp.float32(error),
    }


def parzen_bandwidth(
    generated: Array | np.ndarray,
    validation: Array | np.ndarray,
    bandwidths: Sequence[float],
    *,
    chunk_size: int = 1024,
    progress: Done | None = None,
) -> float:
    """Return the bandwidth under which validation data is likeliest.

    Args:
      generated: samples, shape (M, D).
      validation: data that the test data is not part of, shape (N, D).
      bandwidths: to choose from; if the first or last of a rising list is chosen, a wider one has a better, and
        ``parzen_bandwidth_search`` finds it.
      chunk_size: rows of validation data whose distances to all samples are in memory at once.
      progress: called with the number of rows just finished, N in all.

    Raises:
      ValueError: for no bandwidths, and as ``parzen_log_likelihood``.
    """
    if len(bandwidths) == 0:
        raise ValueError("bandwidths is empty; give some to choose from, such as numpy.logspace(-1, 0, 10)")
    means = _log_prob(generated, validation, bandwidths, chunk_size, progress).mean(axis=1)
    return float(bandwidths[int(np.argmax(means))])


def parzen_bandwidth_search(
    generated: Array | np.ndarray,
    validation: Array | np.ndarray,
    bandwidths: Sequence[float],
    *,
    most_extensions: int = 8,
    chunk_size: int = 1024,
) -> tuple[float, bool]:
    """Return the bandwidth under which validation data is likeliest, and whether both its neighbours were tried.

    While the first or last bandwidth is the best, as many as were given continue the list on that side, each in the
    ratio of the two at the edge. Samples that the validation data coincide with want zero: the search ends at an edge,
    and says so, before the rounding of distances counts.

    Args:
      generated: samples, shape (M, D).
      validation: data that the test data is not part of, shape (N, D).
      bandwidths: to begin with, two or more, rising. Where one between its ends is the best, it is returned.
      most_extensions: how often the list may grow.
      chunk_size: rows of validation data whose distances to all samples are in memory at once.

    Raises:
      ValueError: for bandwidths that do not rise or fewer than two, and as ``parzen_log_likelihood``.

    >>> parzen_bandwidth_search(np.array([[0.0]]), np.array([[-40.0], [40.0]]), (1.0, 2.0, 4.0))  # best: h = 40
    (32.0, True)
    """
    widths = np.asarray(bandwidths, np.float64)
    if widths.size < 2 or not (np.diff(widths) > 0).all():
        raise ValueError(f"bandwidths are {widths.tolist()}, but must be two or more that rise; sort and add some")

    def scored(widths: np.ndarray) -> dict[float, float]:
        means = _log_prob(generated, validation, widths.tolist(), chunk_size, None).mean(axis=1)
        return dict(zip(widths.tolist(), means.tolist(), strict=True))

    found, powers = scored(widths), np.arange(1, widths.size + 1)
    spread = np.asarray(validation, np.float64).var(axis=0)
    narrowest = math.sqrt(2 * rounding(spread.size, "float32") * spread.sum())  # twice |x|²: a sample is where x is
    for _ in range(most_extensions):
        best = max(found, key=found.__getitem__)
        rising = sorted(found)
        if rising[0] < best < rising[-1]:
            break
        edge, inner = rising[:2] if best == rising[0] else rising[:-3:-1]
        more = edge * (edge / inner) ** powers
        more = more[(more > max(narrowest, _FLOAT32.tiny)) & (more < _FLOAT32.max)]
        if more.size == 0:
            break
        found |= scored(more)
    best = max(found, key=found.__getitem__)
    return best, min(found) < best < max(found)


def parzen_log_prob(
    generated: Array | np.ndarray,
    x: Array | np.ndarray,
    *,
    bandwidth: float,
    chunk_size: int = 1024,
    progress: Done | None = None,
) -> np.ndarray:
    """Return the log-density (1) of each row of ``x``, nats, float64 of shape (N,); see ``parzen_log_likelihood``.

    >>> parzen_log_prob(np.zeros((3, 1)), np.ones((1, 1)), bandwidth=1.0).round(4).tolist()  # −½ log 2π − ½
    [-1.4189]
    """
    return _log_prob(generated, x, [bandwidth], chunk_size, progress)[0]


def _log_prob(
    generated: Array | np.ndarray,
    x: Array | np.ndarray,
    bandwidths: Sequence[float],
    chunk_size: int,
    progress: Done | None,
) -> np.ndarray:
    """Return the log-density of each row under each of K bandwidths, shape (K, N)."""
    widths = np.asarray(bandwidths, np.float32)
    for width in widths:
        check_positive("bandwidth", width)
    check_chunk_size(chunk_size)
    x, generated = checked_features(x, generated)
    center, chunks = middle(x), []
    for start in range(0, len(x), chunk_size):
        rows = x[start : start + chunk_size]
        chunks.append(np.asarray(_log_sums(generated, rows, center, widths), np.float64))
        if progress is not None:
            progress(len(rows))
    normalizers = math.log(len(generated)) + x.shape[1] * (0.5 * math.log(2 * math.pi) + np.log(widths, dtype=float))
    return np.concatenate(chunks, axis=1) - normalizers[:, None]  # equation 1


@jax.jit
def _log_sums(generated: Array, rows: Array, center: Array, widths: Array) -> Array:
    squared, _ = squared_distances_with_error(rows, generated, center, "float32")  # one matrix for all bandwidths

    def log_sum(width: Array) -> Array:
        return jax.scipy.special.logsumexp(-0.5 * (squared / width) / width, axis=1)

    return jax.lax.map(log_sum, widths)
