"""Fréchet distance between Gaussians fitted to two samples, and streaming moments.

    d² = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½                                                        (1)

(Dowson & Landau, "The Fréchet distance between multivariate normal distributions", 1982). On Inception features it is
the FID of Heusel et al. 2017 (arXiv:1706.08500); on any other features it is not.

A covariance is stored as a triangular factor R with RᵀR = Σᵢ (xᵢ − μ)(xᵢ − μ)ᵀ, computed by QR, never by squaring. Then

    tr (Σ₁ Σ₂)^½ = ‖R₁ R₂ᵀ‖_* / √((n₁ − 1)(n₂ − 1))                                                        (2)

is a sum of singular values, real and non-negative for every rank, whereas a matrix square root of Σ₁Σ₂ may be complex.
Rounding changes a factor by E with ‖E‖ ≈ ε ‖R‖, and d by at most ‖E‖ / √(n − 1), because d is a metric on the factors:
d(Σ₁, Σ₂) = min over rotations U of ‖R₁ − U R₂‖ for equal means. Float32 is therefore accurate to its own precision. A
sum of squares would lose half of the digits, which is why other implementations need float64 there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array
from genjax.metrics.checks import check_same_features, checked_features, checked_samples
from genjax.metrics.metric import TwoSample, Values
from genjax.metrics.progress import chunks

CHUNK_SIZE = 10_000  # number of rows copied at once


class MomentsState(flax.struct.PyTreeNode):
    """Count, mean and covariance factor of a sample.

    Attributes:
      count: number of rows, float32 scalar.
      mean: mean, shape (D,).
      factor: R, at most D rows of shape (D,), with RᵀR = (count − 1) · covariance.
    """

    count: Array
    mean: Array
    factor: Array

    @property
    def covariance(self) -> Array:
        """Unbiased covariance, shape (D, D)."""
        return jnp.matmul(self.factor.T, self.factor, precision=jax.lax.Precision.HIGHEST) / (self.count - 1)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Moments:
    """Accumulator of mean and covariance of D features; larger batches cost less per row."""

    num_features: PositiveInt

    def init(self) -> MomentsState:
        """Return an empty state."""
        dim = self.num_features
        return MomentsState(count=jnp.zeros(()), mean=jnp.zeros(dim), factor=jnp.zeros((dim, dim)))

    def update(self, state: MomentsState, x: Array) -> MomentsState:
        """Add rows, shape (B, D)."""
        mean, centered = _centered(x.astype(jnp.float32))
        return _joined(state, jnp.float32(x.shape[0]), mean, centered)

    def merge(self, a: MomentsState, b: MomentsState) -> MomentsState:
        """Combine two states."""
        return _joined(a, b.count, b.mean, b.factor)


def _centered(x: Array) -> tuple[Array, Array]:
    mean = jnp.mean(x, axis=0)
    centered = x - mean[None]
    rest = jnp.mean(centered, axis=0)  # rounding error of the first mean, which matters for a large offset
    return mean + rest, centered - rest[None]


def _joined(state: MomentsState, count: Array, mean: Array, rows: Array) -> MomentsState:
    """Add ``count`` rows with this mean, whose deviations have the same Gram matrix as ``rows``."""
    total = state.count + count
    share = count / jnp.maximum(total, 1)
    delta = mean - state.mean
    # RᵀR = RₐᵀRₐ + RᵦᵀRᵦ + δδᵀ nₐnᵦ/n: the R factor of the stacked rows.
    between = jnp.sqrt(state.count * share) * delta
    factor = jnp.linalg.qr(jnp.concatenate([state.factor, rows, between[None]]), mode="r")
    return MomentsState(total, state.mean + share * delta, factor)


_update = jax.jit(Moments.update, static_argnums=0)


@check_arguments
def moments(x: Array | np.ndarray, *, chunk_size: PositiveInt = CHUNK_SIZE) -> MomentsState:
    """Return the moments of N ≥ 2 samples, shape (N, ...); ``chunk_size`` samples are copied at once."""
    return _moments(checked_samples("x", x, minimum=2), chunk_size)


def _moments(x: Array, chunk_size: int) -> MomentsState:
    accumulator = Moments(num_features=x.shape[1])
    state = accumulator.init().replace(factor=jnp.zeros((0, x.shape[1])))  # avoid factorizing rows of zeros
    for part in chunks(len(x), chunk_size):
        state = _update(accumulator, state, x[part])
    return state


@check_arguments
def moments_from_statistics(
    mean: Array | np.ndarray,
    covariance: Array | np.ndarray,
    count: Annotated[int, Ge(2), Cure("; one sample has no covariance")],
) -> MomentsState:
    """Return moments from stored statistics, such as ``mu`` and ``sigma`` in files of other tools.

    Args:
      mean: mean, shape (D,).
      covariance: symmetric covariance, shape (D, D); eigenvalues below zero by rounding are set to zero.
      count: number of samples behind the statistics, at least 2; it is reported, and does not change the distance.

    Raises:
      ValueError: if shapes do not match, values are not finite, or the count is too small.
    """
    mean, covariance = np.asarray(mean), np.asarray(covariance)
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
        raise ValueError(f"mean has shape {mean.shape} and covariance {covariance.shape}; they must be (D,) and (D, D)")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("mean or covariance holds values that are not finite; recompute them from finite features")
    with jax.enable_x64(True):
        eigenvalues, vectors = jnp.linalg.eigh(jnp.asarray(covariance, jnp.float64))
        root = jnp.sqrt((count - 1) * jnp.maximum(eigenvalues, 0))[:, None] * vectors.T
    return MomentsState(jnp.float32(count), jnp.asarray(mean, jnp.float32), jnp.asarray(np.asarray(root), jnp.float32))


@check_arguments
def frechet_distance_from_moments(reference: MomentsState, generated: MomentsState) -> Values:
    """Return the squared Fréchet distance (1) between two sets of moments; on Inception features, the FID.

    The moments of two or more rows each come from ``moments`` or a ``Moments`` accumulator. Use it outside ``jit``
    only, because it reads them.

    Returns:
      ``frechet_distance``, at least 0. With finite samples it is biased upwards, more so for more features: compare
      values at equal counts only.

    Example:
      The moments of N(0, 1) and N(½, 1.44): ¼ + 1 + 1.44 − 2 · 1.2.

      >>> a = moments_from_statistics(np.zeros(1), np.eye(1), 100)
      >>> b = moments_from_statistics(np.array([0.5]), np.array([[1.44]]), 100)
      >>> round(float(frechet_distance_from_moments(a, b)["frechet_distance"]), 6)
      0.29
    """
    check_same_features(reference.mean.shape[0], generated.mean.shape[0])
    for name, side in (("reference", reference), ("generated", generated)):
        if side.count < 2:
            raise ValueError(f"{name} has {int(side.count)} samples, but at least 2 are needed; draw more")
    return {"frechet_distance": jnp.float32(_squared_distance(reference, generated))}


def _squared_distance(a: MomentsState, b: MomentsState) -> float:
    """Compute d² in float64 on the host: its terms cancel for similar moments, and some accelerators lack float64."""
    from scipy.linalg import eigvalsh

    (mean_a, root_a), (mean_b, root_b) = (
        (np.asarray(s.mean, np.float64), np.asarray(s.factor, np.float64) / np.sqrt(float(s.count) - 1)) for s in (a, b)
    )
    cross = root_a @ root_b.T
    # The singular values of equation 2: roots of eigenvalues, which rounding may make slightly negative.
    singular = np.sqrt(np.maximum(eigvalsh(cross @ cross.T, check_finite=False), 0))
    squares = ((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum()
    return max(float(squares - 2 * singular.sum()), 0.0)  # equation 1


@check_arguments
def frechet_metric(num_features: PositiveInt) -> TwoSample:
    """Return the Fréchet distance as a streaming metric; ``update(state, reference, generated)`` takes one or both."""
    return TwoSample(accumulator=Moments(num_features=num_features), statistic=frechet_distance_from_moments)


@check_arguments
def frechet_distance(reference: Array | np.ndarray, generated: Array | np.ndarray) -> Values:
    """Return the squared Fréchet distance (1) of two feature arrays; see ``frechet_distance_from_moments``."""
    reference, generated = checked_features(reference, generated, minimum=2)
    return frechet_distance_from_moments(_moments(reference, CHUNK_SIZE), _moments(generated, CHUNK_SIZE))
