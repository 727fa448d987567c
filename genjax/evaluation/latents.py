"""Scores of a finished run's latent variables: which are in use, and whether the codes of data fill the prior."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import capabilities, core
from genjax.capabilities import conditioning
from genjax.core import Array, stream_key
from genjax.evaluation.context import Evaluation
from genjax.metrics import (
    Result,
    codebook_usage,
    gaussian_usage,
    implicit_usage,
    mean_over_replicas,
    mmd_test,
    unavailable,
)
from genjax.metrics.metric import Values
from genjax.monitoring.monitor import (
    autoencoder_of,
    autoencoder_variables,
    has_latents,
    has_lower_layers,
    lower_layers,
    posterior_draws,
)

T = TypeVar("T")
MOST_CODES = 1_000  # a side, of the two-sample test


def latents(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Encode the split: active units of posteriors, divergence of Gaussian ones, usage and perplexity of a codebook."""
    (name,) = names
    model: Any = autoencoder_of(evaluation.run.model)
    if not has_latents(model):
        return [unavailable(name, f"{type(model).__name__} has neither a posterior nor a codebook")]
    told = [_usage(evaluation, model, replica) for replica in evaluation.replicas]
    return [mean_over_replicas(same) for same in zip(*told, strict=True)]


def _usage(evaluation: Evaluation, model: Any, replica: int) -> list[Result]:
    protocol = {"examples": len(evaluation.source), "split": evaluation.split}
    if isinstance(model, capabilities.HasPosterior):
        moments = _encoded(evaluation, replica, lambda variables, _, x, **label: model.posterior(variables, x, **label))
        values, dims = gaussian_usage(*moments), {"dimensions": moments[0].shape[1]}
        kl, nats = float(jnp.sum(values["kl_per_dimension"])), {"units": "nats per example, against N(0, I)"}
        layered = has_lower_layers(model)
        lower = _encoded(evaluation, replica, functools.partial(lower_layers, model)) if layered else {}
        if layered:
            nats |= {"layer": "the top one, given the means of those below"}
        return [
            _active_units("", values, dims | protocol),
            Result(name="kl", value=kl, protocol=nats | dims | protocol),
            *(_drawn_units(suffix, draws, protocol) for suffix, draws in lower.items()),
        ]
    if isinstance(model, capabilities.HasLatentVariables):
        draws = _encoded(evaluation, replica, functools.partial(posterior_draws, model.sample_posterior))
        return [_drawn_units("", draws, protocol)]
    codes = _encoded(evaluation, replica, lambda variables, _, x, **label: model.encode(variables, x, **label))
    values = codebook_usage(codes, model.num_codes)
    protocol = {"codes": model.num_codes, "vectors": codes.size} | protocol
    return [Result(name=name, value=float(value), protocol=protocol) for name, value in values.items()]


def _drawn_units(suffix: str, draws: Array, protocol: dict[str, Any]) -> Result:
    _, count, dims = draws.shape
    return _active_units(
        suffix, implicit_usage(draws), {"dimensions": dims, "draws of each posterior": count} | protocol
    )


def _active_units(suffix: str, values: Values, protocol: dict[str, Any]) -> Result:
    active = {"active": "variance of the posterior mean above 0.01"}
    return Result(name=f"active_units{suffix}", value=float(values["active_units"]), protocol=active | protocol)


def aggregated_posterior(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Test whether the codes of data, drawn from their posteriors, differ from draws of the prior."""
    (name,) = names
    model: Any = autoencoder_of(evaluation.run.model)
    if not isinstance(model, capabilities.HasLatentVariables):
        return [unavailable(name, f"{type(model).__name__} does not draw from both a prior and a posterior")]
    told = []
    for replica in evaluation.replicas:
        codes = _encoded(evaluation, replica, model.sample_posterior)
        choice_key, prior_key, test_key = jax.random.split(stream_key(evaluation.key, name), 3)
        # At random: the order of a data set often tells, as that of MNIST's test images does.
        codes = jax.random.choice(choice_key, codes, (min(MOST_CODES, len(codes)),), replace=False)
        variables = autoencoder_variables(evaluation.run.model, evaluation.run.replica(replica))
        prior = model.sample_prior(variables, prior_key, len(codes))
        values = mmd_test(test_key, prior.reshape(len(prior), -1), codes.reshape(len(codes), -1))
        protocol = {"codes": len(codes), "prior draws": len(prior), "split": evaluation.split}
        threshold = {"guarantee": "unbiased MMD²", "5 % threshold": float(values["threshold"])}
        permutations = {"guarantee": "permutation test: at most 0.05 where the two differ at the 5 % level"}
        told.append(
            [
                Result(name=name, value=float(values["mmd2"]), protocol=threshold | protocol),
                Result(name=f"{name}/p_value", value=float(values["p_value"]), protocol=permutations | protocol),
            ]
        )
    return [mean_over_replicas(same) for same in zip(*told, strict=True)]


def _encoded(evaluation: Evaluation, replica: int, encode: Callable[..., T]) -> T:
    """Return what ``encode(variables, key, x)`` gives for all examples of the split: arrays, examples first."""
    encode, autoencoder = jax.jit(encode), autoencoder_of(evaluation.run.model)
    variables, parts = autoencoder_variables(evaluation.run.model, evaluation.run.replica(replica)), []
    for number, batch in enumerate(
        evaluation.batches(evaluation.split, f"codes of seed {evaluation.run.seeds[replica]}")
    ):
        key = core.step_key(stream_key(evaluation.key, "codes"), number)
        parts.append(encode(variables, key, batch["x"], **conditioning(autoencoder, batch)))
    return jax.tree.map(lambda *same: jnp.asarray(np.concatenate(same)), *parts)
