"""Input checks that every comparison of samples shares: counts, dimensions, finite values."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from genjax.core import Array


def checked_samples(name: str, x: Array | np.ndarray, minimum: int = 1) -> Array:
    """Return samples (N, ...) as float32 of shape (N, D); raise ValueError if they are too few or not finite."""
    x = jnp.asarray(x)
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {x.shape}, but it must be (samples, features); use x[:, None] for scalars")
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
    """Return both samples as float32 of shapes (N, D) and (M, D); raise ValueError as a comparison does."""
    samples = checked_samples("reference", reference, minimum), checked_samples("generated", generated, minimum)
    check_same_features(*(x.shape[1] for x in samples))
    return samples


def check_same_features(reference: int, generated: int) -> None:
    """Raise ValueError if the numbers of features differ."""
    if reference != generated:
        raise ValueError(
            f"generated has {generated} features, but reference has {reference}; take both from the same network"
        )
