"""What every comparison of samples refuses: too few, unequal dimensions, numbers that are not finite."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from genjax.core import Array


def checked_samples(name: str, x: Array | np.ndarray, minimum: int = 1) -> Array:
    """Return samples as float32 of shape (N, D).

    Args:
      name: what an error calls them.
      x: samples, first axis N; further axes are flattened.
      minimum: how few there may be.

    Raises:
      ValueError: for too few samples, or any that is not finite.
    """
    x = jnp.asarray(x)
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {x.shape}, but it must be (samples, features); use x[:, None] for numbers")
    if x.shape[0] < minimum:
        raise ValueError(f"{name} has {x.shape[0]} samples, but at least {minimum} are needed; draw more")
    x = x.reshape(x.shape[0], -1).astype(jnp.float32)
    if not bool(jnp.isfinite(x).all()):
        rows = np.flatnonzero(~np.isfinite(np.asarray(x)).all(axis=1))
        raise ValueError(f"{len(rows)} of {x.shape[0]} samples of {name} are not finite, first at index {rows[0]}")
    return x


def checked_features(
    reference: Array | np.ndarray, generated: Array | np.ndarray, minimum: int = 1
) -> tuple[Array, Array]:
    """Return both sides as float32 of shapes (N, D) and (M, D).

    Raises:
      ValueError: see ``checked_samples``, and for different numbers of features.
    """
    reference = checked_samples("reference", reference, minimum)
    generated = checked_samples("generated", generated, minimum)
    check_same_features(reference.shape[1], generated.shape[1])
    return reference, generated


def check_same_features(reference: int, generated: int) -> None:
    """Refuse different numbers of features."""
    if reference != generated:
        raise ValueError(
            f"generated has {generated} features, but reference has {reference}; take both from the same network"
        )


def check_chunk_size(chunk_size: int) -> None:
    """Refuse chunks without rows."""
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}, but must be at least 1; it is a number of rows")
