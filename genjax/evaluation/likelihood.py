"""Log-likelihoods of a split, each with its guarantee, in every unit that the data define."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax import core, data
from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import (
    GUARANTEES,
    HasLogDensity,
    HasLogPartitionEstimate,
    HasLogProb,
    conditioning,
    conditions,
    likelihoods,
    supports,
)
from genjax.compilation import jit
from genjax.core import Array, Batch, GenerativeModel, Variables, stream_key
from genjax.data.transforms import Preprocess
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result, unavailable
from genjax.ops.importance import LogPartition
from genjax.sharding import Placement

NUM_NORMALIZED = 4  # examples whose exact log-likelihood gives log Z


@final
@check_arguments
class Scorer:
    """Scores every example of a source by one log-likelihood method, in nats per example.

    The method is one of ``capabilities.likelihoods``, or ``"log_density"``; ``arguments`` are further keyword arguments
    of it, such as ``num_samples``. Examples are preprocessed first. With several seeds, variables and keys have a
    leading axis of replicas.
    """

    def __init__(
        self,
        model: GenerativeModel,
        method: str,
        *,
        preprocess: Preprocess,
        placement: Placement,
        num_seeds: PositiveInt = 1,
        batch_size: PositiveInt = 500,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        def score(method: str, variables: Variables, key: Array, batch: Batch) -> Array:
            preprocess_key, method_key = jax.random.split(key)
            batch = preprocess(preprocess_key, batch)
            keyed = (variables,) if method in ("log_prob", "log_density") else (variables, method_key)
            return getattr(model, method)(*keyed, batch["x"], **(arguments or {}), **conditioning(model, batch))

        def constant(variables: Variables, key: Array, batch: Batch) -> Array:
            x, exact = preprocess(key, batch)["x"], cast(Any, model)
            return exact.log_density(variables, x) - exact.log_prob(variables, x)

        def compiled(function: Callable[[Variables, Array, Batch], Array]) -> Callable[..., Array]:
            mapped = function if num_seeds == 1 else jax.vmap(function, in_axes=(0, 0, None))
            return jit(mapped, out_shardings=placement.replicated)

        shares_constant = method == "log_prob" and _shares_constant(model)  # log Z, which takes longer than a batch
        self._score = compiled(functools.partial(score, "log_density" if shares_constant else method))
        self._constant = compiled(constant) if shares_constant else None
        self._placement = placement
        self._batch_size = -(-batch_size // placement.num_devices) * placement.num_devices

    def __call__(
        self, variables: Variables, keys: Array, source: data.Source, progress: Callable[[int], object] | None = None
    ) -> np.ndarray:
        """Return nats per example, shape (N,), or (K, N) for K replicas with as many keys.

        ``progress`` is called after each batch with its number of examples.
        """
        scores, log_z = [], np.zeros(1)
        for number, (batch, valid) in enumerate(data.batches(source, self._batch_size)):
            key = core.step_key(keys, number) if keys.ndim == 0 else jax.vmap(core.step_key, (0, None))(keys, number)
            key = self._placement.replicate(key)
            if number == 0 and self._constant is not None:
                few = self._placement.replicate({name: array[:NUM_NORMALIZED] for name, array in batch.items()})
                log_z = np.nanmean(self._constant(variables, key, few), axis=-1, keepdims=True)
            score = self._score(variables, key, self._placement.shard(batch, 0))
            scores.append(np.asarray(score)[..., :valid] - log_z)
            if progress is not None:
                progress(valid)
        return np.concatenate(scores, axis=-1)


def likelihood(evaluation: Evaluation, index: int) -> list[Result]:
    """Score the split by every log-likelihood that the model has."""
    return [result for method in likelihoods(evaluation.model) for result in score_by(method)(evaluation, index)]


def score_by(method: str) -> Callable[[Evaluation, int], list[Result]]:
    """Return the evaluation that scores the split by one log-likelihood method."""

    def score(evaluation: Evaluation, index: int) -> list[Result]:
        scores = log_likelihoods(evaluation, method)[index]
        num_nan = np.isnan(scores).sum()
        if num_nan:
            reason = f"{num_nan} of {len(scores)} log-likelihoods of seed {evaluation.seeds[index]} are NaN"
            return [unavailable(method, reason)]
        protocol = {"examples": len(scores), "split": evaluation.split} | _num_draws(evaluation, method)
        names = [c.name for c in conditions(evaluation.model) if c.in_batch and c.name in evaluation.source.spec]
        if names:  # log p(x | label), which is no log p(x)
            protocol["given"] = " and ".join(names)
        if method == "log_prob_estimate" and index in evaluation.log_partitions:
            log_z = evaluation.log_partitions[index]
            protocol["log Z"] = f"{log_z.value:.3f}, 99 % interval {log_z.low:.3f} to {log_z.high:.3f}"
            protocol["effective particles"] = round(float(log_z.effective_sample_size))
        return [
            _result(method if unit == "nats" else f"{method}/{unit}", value, unit, protocol)
            for unit, value in evaluation.units.convert(scores, GUARANTEES[method][1]).items()
        ]

    return score


def _result(name: str, value: Mapping[str, Any], unit: str, protocol: Mapping[str, Any]) -> Result:
    if value["value"] is None:
        return Result(name=name, value=None, reason=value["reason"])
    units = "nats per example" if unit == "nats" else unit.replace("_", " ")
    return Result(
        name=name,
        value=value["value"],
        standard_error=value["standard_error"],
        protocol={"guarantee": value["guarantee"], "units": units, **protocol},
    )


def log_likelihoods(evaluation: Evaluation, method: str) -> np.ndarray:
    """Return nats per example, shape (K, N) for K replicas; computed once, for all metrics.

    A model with a ``log_density`` estimates log Z once for all examples.
    """
    if method in evaluation.log_likelihoods:
        return evaluation.log_likelihoods[method]
    if method == "log_prob_estimate" and _shares_constant(evaluation.model, HasLogPartitionEstimate):
        constants = [_log_partition(evaluation, index).value for index in range(len(evaluation.seeds))]
        nats = log_likelihoods(evaluation, "log_density") - np.asarray(constants)[:, None]
        evaluation.log_likelihoods[method] = nats
        return nats
    nats = score_source(evaluation, method, evaluation.source)
    evaluation.log_likelihoods[method] = nats
    return nats


def score_source(evaluation: Evaluation, method: str, source: data.Source) -> np.ndarray:
    """Return nats per example of any source, shape (K, N) for K replicas."""
    num_seeds = len(evaluation.seeds)
    scorer = Scorer(
        evaluation.model,
        method,
        preprocess=evaluation.preprocess,
        placement=evaluation.placement,
        num_seeds=num_seeds,
        batch_size=evaluation.batch_size,
        arguments=_num_draws(evaluation, method),
    )
    # All replicas and methods share the key, and so the same binarization.
    stream = stream_key(evaluation.key, "evaluate")
    keys = stream if num_seeds == 1 else jnp.broadcast_to(stream, (num_seeds,))
    variables = evaluation.placement.replicate(jax.tree.map(np.asarray, evaluation.variables))
    advance = evaluation.progress(method, len(source))
    return scorer(variables, keys, source, advance).reshape(num_seeds, -1)


def _shares_constant(model: object, normalized: type = HasLogProb) -> bool:
    """Return whether one constant, which the capability gives, normalizes the densities of all examples."""
    return supports(model, HasLogDensity) and supports(model, normalized) and not conditions(model)


def _log_partition(evaluation: Evaluation, index: int) -> LogPartition:
    """Return the estimate of log Z of one replica; computed once."""
    if index not in evaluation.log_partitions:
        model: Any = evaluation.model
        estimate = functools.partial(model.log_partition_estimate, num_samples=evaluation.likelihood_samples)
        key = stream_key(evaluation.key, "log Z")
        advance = evaluation.progress("log Z", 1)
        evaluation.log_partitions[index] = jax.tree.map(np.asarray, jit(estimate)(evaluation.replica(index), key))
        advance(1)
    return evaluation.log_partitions[index]


def _num_draws(evaluation: Evaluation, method: str) -> dict[str, int]:
    """Return the number of draws or particles that a likelihood method takes, as its keyword argument."""
    parameters = inspect.signature(getattr(evaluation.model, method)).parameters
    names = ("num_samples", "num_particles") if method == "log_prob_estimate" else ("num_particles",)
    return {name: evaluation.likelihood_samples for name in names if name in parameters}


def no_likelihood(evaluation: Evaluation, *methods: str) -> str | None:
    """Return the reason why a model has none of these log-likelihood methods, or None if it has one."""
    methods = methods or tuple(GUARANTEES)
    if set(methods) & set(likelihoods(evaluation.model)):
        return None
    return f"{evaluation.model_name} has no {' or '.join(methods)}"
