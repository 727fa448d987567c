"""Likelihood of a split, by whatever capability the model has, and named by its guarantee."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import jax
import numpy as np

from genjax import core, data
from genjax.capabilities import conditioning
from genjax.core import Array, Batch, PyTree, Variables
from genjax.data.transforms import Preprocess
from genjax.sharding import Placement


@final
class Scorer:
    """Scores every example of a source with one log-likelihood method, in nats per example.

    Args:
      model: has the method.
      method: name of a log-likelihood method, see ``capabilities.likelihoods``.
      preprocess: the experiment's, applied to the examples first.
      num_seeds: more than 1 when variables and keys have a leading axis of replicas.
      batch_size: examples scored at once.
      arguments: further keyword arguments of the method, such as ``num_samples``.
    """

    def __init__(
        self,
        model: core.GenerativeModel,
        method: str,
        *,
        preprocess: Preprocess,
        placement: Placement,
        num_seeds: int = 1,
        batch_size: int = 500,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        score = _score_fn(model, method, preprocess, dict(arguments or {}))
        mapped = score if num_seeds == 1 else jax.vmap(score, in_axes=(0, 0, None))
        self._score = jax.jit(mapped, out_shardings=placement.replicated)
        self._placement = placement
        self._batch_size = -(-batch_size // placement.num_devices) * placement.num_devices

    def __call__(
        self, variables: Variables, keys: Array, source: data.Source, progress: Callable[[int], object] | None = None
    ) -> np.ndarray:
        """Return nats per example, shape (N,), or (K, N) for K replicas.

        Args:
          variables: the model's.
          keys: one key, or one for each replica.
          source: N examples.
          progress: called with the number of examples after each batch.
        """
        scores = []
        for number, (batch, valid) in enumerate(batches(source, self._batch_size)):
            key = core.step_key(keys, number) if keys.ndim == 0 else jax.vmap(core.step_key, (0, None))(keys, number)
            score = self._score(variables, self._placement.replicate(key), self._placement.shard(batch, 0))
            scores.append(np.asarray(score)[..., :valid])
            if progress is not None:
                progress(valid)
        return np.concatenate(scores, axis=-1)


def batches(source: data.Source, size: int) -> Iterator[tuple[Mapping[str, np.ndarray], int]]:
    """Yield a source in order, in batches of one size, so that one shape is compiled.

    Each comes with the number of examples that count: the last batch is filled up with repeats.
    """
    for start in range(0, len(source), size):
        rows = np.arange(start, start + size)
        yield source.take(np.minimum(rows, len(source) - 1)), min(size, len(source) - start)


def _score_fn(
    model: core.GenerativeModel, method: str, preprocess: Preprocess, arguments: dict[str, Any]
) -> Callable[[Variables, Array, Batch], Array]:
    bound = getattr(model, method)

    def score(variables: Variables, key: Array, batch: Batch) -> Array:
        preprocess_key, method_key = jax.random.split(key)
        batch = preprocess(preprocess_key, batch)
        keyed = (variables,) if method == "log_prob" else (variables, method_key)
        return bound(*keyed, batch["x"], **arguments, **conditioning(model, batch))

    return score


def replica(tree: PyTree, index: int) -> PyTree:
    """Return one replica of a tree with a leading axis of replicas."""
    return jax.tree.map(lambda a: a[index], tree)
