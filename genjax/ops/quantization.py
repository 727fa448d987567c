"""Vector quantization: a codebook of vectors e_1 … e_K, its usage, and its updates.

A vector z is replaced by the nearest code,

    k(z) = argmin_k |z − e_k|² = argmin_k (|e_k|² − 2 z·e_k),                                                    (1)

one matrix product for all vectors and codes; gradients pass straight through the replacement. If n_k vectors of a batch
are assigned to code k, a codebook that follows moving averages, without gradients, keeps

    N_k ← γ N_k + (1 − γ) n_k,      m_k ← γ m_k + (1 − γ) Σ_{k(z) = k} z,      e_k = m_k / N̂_k,                  (2)
    N̂_k = (N_k + ε) / (Σ_j N_j + K ε) Σ_j N_j,                                                                   (3)

whose Laplace smoothing (3) matters for unused codes only: without it they end at 0 / 0. Two more rules keep codes in
use: the codebook is initialized by k-means of the first vectors, and unused codes restart at vectors of a batch.

Aäron van den Oord, Oriol Vinyals and Koray Kavukcuoglu, 2017, arXiv:1711.00937, (2) in appendix A.1. k-means: Stuart
Lloyd, 1982, seeded as by David Arthur and Sergei Vassilvitskii, "k-means++", 2007. Restarts: Prafulla Dhariwal et al.,
2020, arXiv:2005.00341.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.core import Array
from genjax.ops.distances import matmul

SMOOTHING = 1e-5  # ε of equation 3, in vectors


class MovingCodebook(NamedTuple):
    """A codebook whose codes follow moving averages of their vectors.

    Attributes:
      counts: N_k, moving average of the number of vectors per batch at each code, shape (K,).
      sums: m_k, moving average of the sum of these vectors, shape (K, D).
    """

    counts: Array
    sums: Array

    @property
    def codes(self) -> Array:
        """Codes e_k, shape (K, D)."""
        total = jnp.sum(self.counts)
        smooth = (self.counts + SMOOTHING) / (total + self.counts.shape[0] * SMOOTHING) * total  # equation 3
        return self.sums / smooth[:, None]


def nearest_code(codes: Array, vectors: Array) -> Array:
    """Return the index of the code (K, D) nearest to each vector (..., D), the first in a tie; int32 (...).

    >>> nearest_code(jnp.array([[0.0, 0.0], [1.0, 1.0]]), jnp.array([[0.9, 0.4], [0.1, 0.2]])).tolist()
    [1, 0]
    """
    center, axes = jnp.mean(codes, axis=0), range(vectors.ndim - 1)  # see ``ops.distances`` for the origin
    codes, vectors = codes - center[None], vectors - jnp.expand_dims(center, axes)
    norms = jnp.expand_dims(jnp.sum(codes**2, axis=-1), axes)
    # Equation 1 leaves out |z|², which does not decide, and would cost digits.
    return jnp.argmin(norms - 2.0 * matmul(vectors, codes.T), axis=-1).astype(jnp.int32)


def start_codebook(codes: Array, vectors_per_batch: int) -> MovingCodebook:
    """Return a moving codebook at ``codes`` (K, D), with an equal share of a batch's vectors counted for each."""
    share = vectors_per_batch / codes.shape[0]
    return MovingCodebook(counts=jnp.full(codes.shape[0], share, codes.dtype), sums=share * codes)


def update_codebook(codebook: MovingCodebook, vectors: Array, indices: Array, decay: float) -> MovingCodebook:
    """Update moving averages of decay γ in [0, 1) by vectors (N, D) and the indices of their codes, int32 (N,)."""
    new = _counts_and_sums(vectors, indices, codebook.counts.shape[0])
    return jax.tree.map(lambda old, batch: decay * old + (1.0 - decay) * batch, codebook, new)  # equation 2


def restart_dead_codes(codebook: MovingCodebook, key: Array, vectors: Array, threshold: float) -> MovingCodebook:
    """Move every code whose moving count is below ``threshold`` to one of the vectors (N, D).

    Vectors are drawn without replacement if there are at least as many as codes. Restarted codes get the count of an
    equal share of the vectors, N / K, which gives them time to attract vectors.
    """
    num_codes = codebook.counts.shape[0]
    rows = jax.random.choice(key, vectors.shape[0], (num_codes,), replace=vectors.shape[0] < num_codes)
    fresh = start_codebook(vectors[rows], vectors.shape[0])
    dead = codebook.counts < threshold
    return MovingCodebook(
        counts=jnp.where(dead, fresh.counts, codebook.counts),
        sums=jnp.where(dead[:, None], fresh.sums, codebook.sums),
    )


@check_arguments
def kmeans(key: Array, vectors: Array, num_codes: PositiveInt, num_steps: NonNegativeInt) -> Array:
    """Cluster vectors (N, D) into codes (K, D) by Lloyd's iterations from k-means++ seeds, which are vectors.

    Each code becomes the mean of its nearest vectors; a code without any is unchanged. With 0 steps, the seeds are
    returned. If fewer than K vectors are distinct, some codes are equal.
    """

    def step(_: Array, codes: Array) -> Array:
        counts, sums = _counts_and_sums(vectors, nearest_code(codes, vectors), num_codes)
        return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1.0)[:, None], codes)

    return jax.lax.fori_loop(0, num_steps, step, _seeds(key, vectors, num_codes))


def code_usage(indices: Array, num_codes: int) -> Array:
    """Return the fraction of the codes that occur among ``indices`` (int, any shape), in (0, 1].

    >>> code_usage(jnp.array([[0, 2], [2, 2]]), num_codes=4).item()
    0.5
    """
    return jnp.mean(_counts(indices, num_codes) > 0)


def code_perplexity(indices: Array, num_codes: int) -> Array:
    """Return the exponential of the entropy of code frequencies: the effective number of codes in use, in [1, K].

    >>> round(code_perplexity(jnp.array([0, 1, 1, 0]), num_codes=4).item(), 5)
    2.0
    """
    share = _counts(indices, num_codes) / indices.size
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))


def _counts(indices: Array, num_codes: int) -> Array:
    return jnp.bincount(indices.reshape(-1), length=num_codes).astype(jnp.float32)


def _counts_and_sums(vectors: Array, indices: Array, num_codes: int) -> MovingCodebook:
    """Return number and sum of the vectors (N, D) at each code; a product, because GPUs scatter in random order."""
    one_hot = jax.nn.one_hot(indices, num_codes, axis=0, dtype=vectors.dtype)
    return MovingCodebook(jnp.sum(one_hot, axis=1), matmul(one_hot, vectors))


def _seeds(key: Array, vectors: Array, num_codes: int) -> Array:
    """Draw codes from the vectors, with probabilities proportional to the squared distance from the nearest code."""

    def draw(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        codes, distance = carry
        logits = jnp.where(i == 0, 0.0, jnp.log(distance))
        code = vectors[jax.random.categorical(jax.random.fold_in(key, i), logits)]
        distance = jnp.minimum(distance, jnp.sum(jnp.square(vectors - code[None]), axis=-1))
        return codes.at[i].set(code), distance

    codes = jnp.zeros((num_codes, vectors.shape[-1]), vectors.dtype)
    distance = jnp.full(vectors.shape[0], jnp.inf, vectors.dtype)
    return jax.lax.fori_loop(0, num_codes, draw, (codes, distance))[0]
