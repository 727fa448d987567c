"""Vector quantization: a codebook of vectors e_1 … e_K, its use, and the rules that move it.

A vector z is replaced by the code nearest to it,

    k(z) = argmin_k |z − e_k|² = argmin_k (|e_k|² − 2 z·e_k),                                                    (1)

one matrix product for all vectors and codes, and gradients pass through the replacement as through the identity. With
n_k of a batch's vectors at code k, a codebook that moves by averages and not by gradients keeps

    N_k ← γ N_k + (1 − γ) n_k,      m_k ← γ m_k + (1 − γ) Σ_{k(z) = k} z,      e_k = m_k / N̂_k,                  (2)
    N̂_k = (N_k + ε) / (Σ_j N_j + K ε) Σ_j N_j,                                                                   (3)

whose Laplace smoothing (3) matters for unused codes alone: without it they end at 0 / 0. Two more rules keep codes in
use: the codebook starts at k-means of the first vectors, and a code that lost its vectors restarts at one of them.

Aäron van den Oord, Oriol Vinyals and Koray Kavukcuoglu, 2017, arXiv:1711.00937, (2) in appendix A.1. k-means: Stuart
Lloyd, 1982, seeded as by David Arthur and Sergei Vassilvitskii, "k-means++", 2007. Restarts: Prafulla Dhariwal et al.,
2020, arXiv:2005.00341.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops.distances import matmul, nearest
from genjax.ops.validation import check_at_least

SMOOTHING = 1e-5  # ε of equation 3, in vectors


class MovingCodebook(NamedTuple):
    """A codebook that follows the average of its vectors.

    Attributes:
      counts: N_k, the moving number of a batch's vectors at each code, (K,).
      sums: m_k, the moving sum of these vectors, (K, D).
    """

    counts: Array
    sums: Array

    @property
    def codes(self) -> Array:
        """e_k, (K, D)."""
        total = jnp.sum(self.counts)
        smooth = (self.counts + SMOOTHING) / (total + len(self.counts) * SMOOTHING) * total  # equation 3
        return self.sums / smooth[:, None]


def nearest_code(codes: Array, vectors: Array) -> Array:
    """Return the index of the code nearest to each vector, the first of equals.

    Args:
      codes: (K, D).
      vectors: (..., D).

    Returns:
      int32 (...).

    >>> nearest_code(jnp.array([[0.0, 0.0], [1.0, 1.0]]), jnp.array([[0.9, 0.4], [0.1, 0.2]])).tolist()
    [1, 0]
    """
    return nearest(vectors, codes)  # equation 1


def start_codebook(codes: Array, vectors_per_batch: int) -> MovingCodebook:
    """Return a moving codebook at ``codes`` (K, D), to each of which an equal share of a batch's vectors is counted."""
    share = vectors_per_batch / len(codes)
    return MovingCodebook(counts=jnp.full(len(codes), share, codes.dtype), sums=share * codes)


def update_codebook(codebook: MovingCodebook, vectors: Array, indices: Array, decay: float) -> MovingCodebook:
    """Take one step of the moving averages.

    Args:
      codebook: before the step.
      vectors: (N, D).
      indices: of the code of each, int32 (N,).
      decay: γ, in [0, 1).
    """
    new = _counts_and_sums(vectors, indices, len(codebook.counts))
    return jax.tree.map(lambda old, batch: decay * old + (1.0 - decay) * batch, codebook, new)  # equation 2


def restart_dead_codes(codebook: MovingCodebook, key: Array, vectors: Array, threshold: float) -> MovingCodebook:
    """Move every code with a moving count below ``threshold`` to one of the vectors (N, D).

    These are drawn without repetition where there are as many as codes. The restarted have the count of an equal share
    of the vectors, N / K, which gives them time to find their own.
    """
    num_codes = len(codebook.counts)
    rows = jax.random.choice(key, len(vectors), (num_codes,), replace=len(vectors) < num_codes)
    fresh = start_codebook(vectors[rows], len(vectors))
    dead = codebook.counts < threshold
    return MovingCodebook(
        counts=jnp.where(dead, fresh.counts, codebook.counts),
        sums=jnp.where(dead[:, None], fresh.sums, codebook.sums),
    )


def kmeans(key: Array, vectors: Array, num_codes: int, num_steps: int) -> Array:
    """Cluster vectors by Lloyd's iterations from k-means++ seeds.

    Args:
      key: typed key.
      vectors: (N, D). Where fewer of them differ than there are codes, the remaining codes are repeats.
      num_codes: K.
      num_steps: iterations; with 0 the seeds are returned, which are vectors.

    Returns:
      Codes (K, D): each the mean of the vectors nearest to it, or where it was if there are none.
    """
    check_at_least("num_codes", num_codes, 1)
    check_at_least("num_steps", num_steps, 0)

    def step(_: Array, codes: Array) -> Array:
        counts, sums = _counts_and_sums(vectors, nearest_code(codes, vectors), num_codes)
        return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1.0)[:, None], codes)

    return jax.lax.fori_loop(0, num_steps, step, _seeds(key, vectors, num_codes))


def codebook_usage(indices: Array, num_codes: int) -> Array:
    """Return the share of the codes that occur among ``indices`` (int, any shape), in (0, 1].

    >>> codebook_usage(jnp.array([[0, 2], [2, 2]]), num_codes=4).item()
    0.5
    """
    return jnp.mean(_counts(indices, num_codes) > 0)


def perplexity(indices: Array, num_codes: int) -> Array:
    """Return the exponential of the entropy of the codes' frequencies among ``indices``: how many are in equal use.

    Args:
      indices: int, any shape.
      num_codes: K.

    Returns:
      A number in [1, K].

    >>> round(perplexity(jnp.array([0, 1, 1, 0]), num_codes=4).item(), 5)
    2.0
    """
    share = _counts(indices, num_codes) / indices.size
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))


def _counts(indices: Array, num_codes: int) -> Array:
    return jnp.bincount(indices.reshape(-1), length=num_codes).astype(jnp.float32)


def _counts_and_sums(vectors: Array, indices: Array, num_codes: int) -> MovingCodebook:
    """Number and sum of the vectors (N, D) at each code; a product, since scattered sums have no order on a GPU."""
    one_hot = jax.nn.one_hot(indices, num_codes, axis=0, dtype=vectors.dtype)
    return MovingCodebook(jnp.sum(one_hot, axis=1), matmul(one_hot, vectors))


def _seeds(key: Array, vectors: Array, num_codes: int) -> Array:
    """Draw codes from the vectors, each with probability in proportion to its squared distance from those before."""

    def draw(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        codes, distance = carry
        logits = jnp.where(i == 0, 0.0, jnp.log(distance))
        code = vectors[jax.random.categorical(jax.random.fold_in(key, i), logits)]
        distance = jnp.minimum(distance, jnp.sum(jnp.square(vectors - code[None]), axis=-1))
        return codes.at[i].set(code), distance

    codes = jnp.zeros((num_codes, vectors.shape[-1]), vectors.dtype)
    distance = jnp.full(len(vectors), jnp.inf, vectors.dtype)
    return jax.lax.fori_loop(0, num_codes, draw, (codes, distance))[0]
