"""N-gram features of texts: hashed counts that compare samples of any model of tokens.

A fixed hash maps each of the T − n + 1 n-grams of a sequence of T tokens to one of B = 256 buckets; the share p_{nb}
falls into bucket b. The features are the square roots

    y_{nb} = √p_{nb},        n = 1, 2, 3,        ‖y − y'‖² = Σ_n Σ_b (√p_{nb} − √p'_{nb})²,                         (1)

so that squared distances are twice the sum of three squared Hellinger distances, and lie between 0 and 6. They capture
which tokens follow one another, at any position, but no pattern longer than three tokens: samples may match the data in
them and still make no sense. Single tokens of a vocabulary of at most 256 do not collide.

Christina Leslie, Eleazar Eskin and William Stafford Noble 2002, "The spectrum kernel: a string kernel for SVM protein
classification"; hashing: Kilian Weinberger, Anirban Dasgupta, Josh Attenberg, John Langford and Alex Smola 2009,
arXiv:0902.2206.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.metrics.features.network import FeatureNetwork, Outputs

NAME = "ngrams"
MAX_ORDER, NUM_BUCKETS = 3, 256
MULTIPLIER = np.uint32(0x9E3779B1)  # 2³² over the golden ratio, rounded to a prime


def ngrams() -> FeatureNetwork:
    """Return the network of equation 1, for tokens (B, T) of any type whose values are integers, with T ≥ 3."""
    return FeatureNetwork(name=NAME, hash=None, variables=None, apply=_features, requires_images=False, levels=None)


def _features(variables: None, x: Array) -> Outputs:
    del variables
    if x.ndim != 2 or x.shape[1] < MAX_ORDER:
        raise ValueError(
            f"tokens have shape {x.shape}, but {NAME} takes (B, T) with T ≥ {MAX_ORDER}; use longer sequences"
        )
    tokens = jnp.round(x).astype(jnp.uint32)  # floors draw real numbers
    parts = [jnp.sqrt(_shares(buckets(tokens, order))) for order in range(1, MAX_ORDER + 1)]
    return Outputs(jnp.concatenate(parts, axis=1), None)  # equation 1


def buckets(tokens: Array, order: int) -> Array:
    """Return the bucket of each n-gram, int32 (B, T − n + 1), of tokens, uint32 (B, T).

    >>> buckets(jnp.array([[7, 9, 7]], jnp.uint32), 1).tolist()
    [[7, 9, 7]]
    """
    length = tokens.shape[1] - order + 1
    if order == 1:
        return (tokens % NUM_BUCKETS).astype(jnp.int32)
    state = jnp.zeros((tokens.shape[0], length), jnp.uint32)
    for i in range(order):
        state = (state ^ (tokens[:, i : i + length] + np.uint32(1))) * MULTIPLIER
        state = state ^ (state >> np.uint32(15))
    return (state % NUM_BUCKETS).astype(jnp.int32)


def _shares(index: Array) -> Array:
    """Return the share of each bucket, (B, NUM_BUCKETS), among the buckets of a row, (B, N)."""
    counts = jax.vmap(lambda row: jnp.bincount(row, length=NUM_BUCKETS))(index)
    return counts.astype(jnp.float32) / index.shape[1]
