"""A finished run: what was trained, ready to sample and to be scored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array, GenerativeModel, Variables, stream_key
from genjax.runner.evaluation import GUARANTEES, Scorer, likelihoods, replica
from genjax.runner.experiment import Experiment
from genjax.runner.placement import Placement


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What training hands back.

    Attributes:
      experiment: what was trained.
      variables: the model's, averaged where the experiment averages; a leading axis of replicas for several seeds.
      seeds: seed of each replica.
      step: learner steps taken, over all stages.
      rows: the metrics as logged.
      folder: the run folder, or None.
    """

    experiment: Experiment
    variables: Variables
    seeds: tuple[int, ...]
    step: int
    rows: tuple[dict[str, Any], ...]
    folder: Path | None

    @property
    def model(self) -> GenerativeModel:
        """The trained model."""
        return self.experiment.model

    def replica(self, index: int = 0) -> Variables:
        """Return the variables of one replica."""
        if not 0 <= index < len(self.seeds):
            raise ValueError(f"replica is {index}, but the run has {len(self.seeds)}; use 0 to {len(self.seeds) - 1}")
        return self.variables if len(self.seeds) == 1 else replica(self.variables, index)

    def sample(self, key: Array, num_samples: int, *, replica: int = 0, **arguments: Any) -> Array:
        """Draw samples.

        Args:
          key: typed key.
          num_samples: how many.
          replica: of which replica.
          **arguments: keyword arguments of the model's own ``sample``.
        """
        arrays = {name: value for name, value in arguments.items() if isinstance(value, jax.Array | np.ndarray)}
        settings = tuple(sorted((name, value) for name, value in arguments.items() if name not in arrays))
        return _compiled_sample(self.model, num_samples, settings)(self.replica(replica), key, arrays)

    def evaluate(
        self,
        key: Array,
        *,
        split: str = "test",
        num_samples: int = 1000,
        batch_size: int = 500,
        progress: Callable[[str], Callable[[int], object]] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Score a split with every log-likelihood that the model has.

        Args:
          key: for what is random in bounds and estimates, and in the preprocessing (binarization).
          split: of the experiment's data.
          num_samples: draws for each example of an estimate.
          batch_size: examples scored at once.
          progress: given the name of a number, returns what is called with examples done.

        Returns:
          For each name: ``mean`` in nats per example, ``standard_error`` over the examples (of the mean over replicas),
          ``sd`` over the replicas where there are several, ``guarantee`` ("exact", "lower bound", "estimate"),
          ``examples``, ``split`` and, for estimates, ``num_samples``.

        Raises:
          ValueError: for a split that the data has not.
        """
        splits = self.experiment.data.splits
        if split not in splits:
            raise ValueError(
                f"split is {split!r}, but {self.experiment.data.name!r} has {sorted(splits)}; use one of these"
            )
        placement = Placement()
        variables = placement.replicate(jax.tree.map(np.asarray, self.variables))
        results = {}
        for method in likelihoods(self.model):
            settings: Mapping[str, Any] = {"num_samples": num_samples} if method == "log_prob_estimate" else {}
            scorer = Scorer(
                self.model,
                method,
                preprocess=self.experiment.preprocess,
                placement=placement,
                num_seeds=len(self.seeds),
                batch_size=batch_size,
                arguments=settings,
            )
            # The key is the same for every replica and every method: all see the same binarization.
            stream = stream_key(key, "evaluate")
            keys = stream if len(self.seeds) == 1 else jnp.broadcast_to(stream, (len(self.seeds),))
            scores = scorer(variables, keys, splits[split], progress(method) if progress else None)
            results[method] = _summary(scores) | {"guarantee": GUARANTEES[method][1], "split": split} | dict(settings)
        return results


@functools.lru_cache(maxsize=32)
def _compiled_sample(
    model: GenerativeModel, num_samples: int, settings: tuple[tuple[str, Any], ...]
) -> Callable[[Variables, Array, Mapping[str, Any]], Array]:
    """Return ``sample`` compiled once for each number of samples and each setting."""
    return jax.jit(lambda variables, key, arrays: model.sample(variables, key, num_samples, **dict(settings), **arrays))


def _summary(scores: np.ndarray) -> dict[str, Any]:
    """Summarize scores of shape (N,) or (K, N)."""
    scores = scores.astype(np.float64)
    means = scores.mean(axis=-1)
    per_example = scores if scores.ndim == 1 else scores.mean(axis=0)
    error = per_example.std(ddof=1) / np.sqrt(per_example.size) if per_example.size > 1 else float("nan")
    summary = {"mean": float(means.mean()), "standard_error": float(error), "examples": int(scores.shape[-1])}
    if scores.ndim > 1:
        summary |= {"sd": float(means.std(ddof=1)), "replicas": means.tolist()}
    return summary
