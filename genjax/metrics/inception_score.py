"""Inception Score: confidence of a classifier in each sample, and diversity of the predicted classes.

    IS = exp E_x KL(p(y | x) ‖ p(y)),    p(y) = E_x p(y | x)                                                      (1)

lies between 1 (all predictions equal, as with a single class) and the number of classes (every prediction certain, all
classes equally frequent). It does not use the data. Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016,
arXiv:1606.03498; their protocol is the mean and standard deviation over ten splits of 50,000 shuffled samples.
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
from genjax.metrics.metric import Values


class InceptionScoreState(flax.struct.PyTreeNode):
    """Number of samples, and their means of p(y | x), shape (K,), and of Σ_y p(y | x) log p(y | x)."""

    count: Array
    probabilities: Array
    negative_entropy: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class InceptionScore:
    """Streaming Inception Score of logits for K classes, at least 2.

    >>> metric = InceptionScore(num_classes=3)
    >>> sure = 100.0 * jnp.eye(3)
    >>> float(metric.compute(metric.update(metric.init(), sure))["inception_score"])
    3.0
    """

    num_classes: Annotated[int, Ge(2), Cure("; a single class always scores 1")]

    def init(self) -> InceptionScoreState:
        """Return an empty state."""
        return InceptionScoreState(jnp.zeros(()), jnp.zeros(self.num_classes), jnp.zeros(()))

    def update(self, state: InceptionScoreState, logits: Array) -> InceptionScoreState:
        """Add logits, shape (B, K); any other shape raises ValueError."""
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ValueError(
                f"logits have shape {logits.shape}, but num_classes={self.num_classes} needs (samples, "
                f"{self.num_classes}); set num_classes to the size of their last axis"
            )
        if len(logits) == 0:
            return state
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
        p = jnp.exp(log_p)
        entropy = jnp.mean(jnp.sum(jnp.where(p > 0, p * log_p, 0), axis=-1))
        return self.merge(state, InceptionScoreState(jnp.float32(len(logits)), p.mean(axis=0), entropy))

    def merge(self, a: InceptionScoreState, b: InceptionScoreState) -> InceptionScoreState:
        """Combine two states."""
        count = a.count + b.count
        share = b.count / jnp.maximum(count, 1)
        return InceptionScoreState(
            count,
            a.probabilities + share * (b.probabilities - a.probabilities),
            a.negative_entropy + share * (b.negative_entropy - a.negative_entropy),
        )

    def compute(self, state: InceptionScoreState) -> Values:
        """Return ``inception_score`` (1); NaN without samples."""
        marginal = jnp.sum(jax.scipy.special.xlogy(state.probabilities, state.probabilities))
        score = jnp.clip(jnp.exp(state.negative_entropy - marginal), 1, self.num_classes)  # outside by rounding alone
        return {"inception_score": jnp.where(state.count > 0, score, jnp.nan)}


@check_arguments
def inception_score(key: Array, logits: Array | np.ndarray, *, num_splits: PositiveInt = 10) -> Values:
    """Return the Inception Score of logits (N, K) by the published protocol.

    Returns:
      ``inception_score``, the mean over ``num_splits`` splits of the shuffled samples, and ``inception_score_sd``,
      their standard deviation. The score grows with N; papers use 50,000 samples in 10 splits.

    Raises:
      ValueError: if logits are not finite, or there are fewer than two classes or fewer samples than splits.
    """
    logits = jnp.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits have shape {logits.shape}, but must be (samples, classes) with at least 2 classes")
    if num_splits > len(logits):
        raise ValueError(f"num_splits is {num_splits}, but must be 1 to {len(logits)}, the number of samples")
    if not bool(jnp.isfinite(logits).all()):
        raise ValueError("logits hold values that are not finite; check the samples for NaN")
    metric = InceptionScore(num_classes=logits.shape[1])
    shuffled = jax.random.permutation(key, logits)
    scores = [
        float(metric.compute(metric.update(metric.init(), part))["inception_score"])
        for part in jnp.array_split(shuffled, num_splits)
    ]
    return {"inception_score": jnp.float32(np.mean(scores)), "inception_score_sd": jnp.float32(np.std(scores))}
