"""Statistically different bins (NDB): regions of the data with too many or too few samples, as missing modes have.

The reference is divided into K bins by k-means. Of N reference and M generated samples, shares p_k and q_k lie nearest
to centre k. A bin is different if a two-sided test of equal shares rejects at the 5 % level,

    |p_k − q_k| > 1.96 √(r_k (1 − r_k) (1/N + 1/M)),        r_k = (N p_k + M q_k) / (N + M).                        (1)

Eitan Richardson and Yair Weiss 2018, arXiv:1805.12462, who report the number of different bins divided by K.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from genjax.arguments import check_arguments
from genjax.core import Array
from genjax.metrics.checks import checked_features
from genjax.metrics.metric import Values

LEVEL = 0.05
SAMPLES_PER_BIN = 20  # on average, so that the normal approximation of the test holds
MIN_SAMPLES = 2 * SAMPLES_PER_BIN
MAX_BINS = 100


@check_arguments
def different_bins(reference: Array | np.ndarray, generated: Array | np.ndarray) -> Values:
    """Return ``different_bins``, the share of bins that equation 1 calls different, and ``bins``, their number K.

    There are at most 100 bins, no more than there are distinct reference points, and at least 20 samples for each on
    average. For samples of the data's own distribution, about 0.05 of the bins differ.

    Raises:
      ValueError: if either has fewer than 40 samples.

    >>> x = np.random.default_rng(0).normal(size=(4_000, 1))
    >>> float(different_bins(x[:2_000], x[2_000:])["different_bins"]) < 0.1
    True
    >>> float(different_bins(x[:2_000], abs(x[2_000:]))["different_bins"]) > 0.5  # negative numbers are missing
    True
    """
    from sklearn.cluster import KMeans

    reference, generated = map(np.asarray, checked_features(reference, generated, minimum=MIN_SAMPLES))
    sizes = len(reference), len(generated)
    num_bins = min(MAX_BINS, min(sizes) // SAMPLES_PER_BIN, len(np.unique(reference, axis=0)))
    bins = KMeans(num_bins, random_state=0).fit(reference)
    counts = [np.bincount(bins.predict(x), minlength=num_bins) for x in (reference, generated)]
    share, other = (count / size for count, size in zip(counts, sizes, strict=True))
    pooled = sum(counts) / sum(sizes)
    error = np.sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
    quantile = float(norm.ppf(1 - LEVEL / 2))
    different = np.abs(share - other) > quantile * error  # equation 1
    return {"different_bins": jnp.float32(different.mean()), "bins": jnp.float32(num_bins)}
