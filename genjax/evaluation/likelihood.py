"""Likelihood of a split, by whatever capability the model has, and named by its guarantee."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import jax
import numpy as np

from genjax import capabilities, core, data
from genjax.core import Array, Batch, PyTree, Variables
from genjax.experiment import Transform
from genjax.sharding import Placement

GUARANTEES: Mapping[str, tuple[type, str]] = {
    "log_prob": (capabilities.LogProb, "exact"),
    "log_prob_lower_bound": (capabilities.LogProbLowerBound, "lower bound"),
    "log_prob_estimate": (capabilities.LogProbEstimate, "estimate"),
}


def likelihoods(model: core.GenerativeModel) -> list[str]:
    """Return the names of the log-likelihood methods that a model has, the strongest guarantee first.

    A model whose exact one takes too long in this size says so: its attribute ``tractable`` is False. One of parts that
    do not give what its class has names it in ``lacks``.
    """
    lacks = ("log_prob",) * (not getattr(model, "tractable", True)) + getattr(model, "lacks", ())
    return [name for name, (has, _) in GUARANTEES.items() if isinstance(model, has) and name not in lacks]


@final
class Scorer:
    """Scores every example of a source with one log-likelihood method, in nats per example.

    Args:
      model: has the method.
      method: a key of ``GUARANTEES``.
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
        preprocess: Transform,
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
    model: core.GenerativeModel, method: str, preprocess: Transform, arguments: dict[str, Any]
) -> Callable[[Variables, Array, Batch], Array]:
    bound = getattr(model, method)
    names = conditions(model)

    def score(variables: Variables, key: Array, batch: Batch) -> Array:
        preprocess_key, method_key = jax.random.split(key)
        batch = preprocess(preprocess_key, batch)
        keyed = (variables,) if method == "log_prob" else (variables, method_key)
        return bound(*keyed, batch["x"], **arguments, **{name: batch[name] for name in names})

    return score


def conditions(model: core.GenerativeModel) -> tuple[str, ...]:
    """Return the entries of a batch that a model's likelihoods and samples are conditioned on."""
    local = getattr(model, "local_dim", None) is not None
    return ("label",) * is_conditional(model) + ("local",) * local


def conditions_in(examples: Mapping[str, Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return those entries of examples as ``sample`` takes them: labels are int32."""
    return {name: np.asarray(examples[name], np.int32 if name == "label" else None) for name in names}


def is_conditional(model: core.GenerativeModel) -> bool:
    """Whether ``sample`` wants a label."""
    return isinstance(model, capabilities.Conditional) and model.num_classes is not None


def replica(tree: PyTree, index: int) -> PyTree:
    """Return one replica of a tree with a leading axis of replicas."""
    return jax.tree.map(lambda a: a[index], tree)
