"""Latent variables of a trained model: how many are in use, and whether the codes of data follow the prior."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import core
from genjax.capabilities import HasLatentVariables, HasPosterior, conditioning, supports
from genjax.core import Array, stream_key
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result, codebook_usage, gaussian_usage, implicit_usage, mmd_test
from genjax.metrics.metric import Values
from genjax.monitoring.latent_usage import (
    autoencoder_of,
    autoencoder_variables,
    draw_lower_layers,
    draw_posterior,
    has_latents,
    has_lower_layers,
)

T = TypeVar("T")
MAX_CODES = 1_000  # on either side of the two-sample test


def no_latents(evaluation: Evaluation) -> str | None:
    """Return the reason why a model has no latent variables to measure, or None if it has."""
    model = autoencoder_of(evaluation.model)
    return None if has_latents(model) else f"{type(model).__name__} has neither a posterior nor a codebook"


def latents(evaluation: Evaluation, index: int) -> list[Result]:
    """Measure active units of the posterior and its KL divergence, or usage and perplexity of the codebook."""
    model: Any = autoencoder_of(evaluation.model)
    protocol = {"examples": len(evaluation.source), "split": evaluation.split}
    if supports(model, HasPosterior):
        return _gaussian_usage(evaluation, model, index, protocol)
    if supports(model, HasLatentVariables):
        draws = _encode(evaluation, index, functools.partial(draw_posterior, model.sample_posterior))
        return [_implicit_usage("", draws, protocol)]
    codes = _encode(evaluation, index, lambda variables, _, x, **condition: model.encode(variables, x, **condition))
    protocol = {"codes": model.num_codes, "vectors": codes.size} | protocol
    values = codebook_usage(codes, model.num_codes)
    return [Result(name=name, value=float(value), protocol=protocol) for name, value in values.items()]


def _gaussian_usage(evaluation: Evaluation, model: Any, index: int, protocol: dict[str, Any]) -> list[Result]:
    mean, log_var = _encode(
        evaluation, index, lambda variables, _, x, **condition: model.posterior(variables, x, **condition)
    )
    values, dimensions = gaussian_usage(mean, log_var), {"dimensions": mean.shape[1]}
    units = {"units": "nats per example, against N(0, I)"}
    lower = {}
    if has_lower_layers(model):
        lower = _encode(evaluation, index, functools.partial(draw_lower_layers, model))
        units |= {"layer": "the top one, given the means of those below"}
    kl = float(jnp.sum(values["kl_per_dimension"]))
    return [
        _active_units("", values, dimensions | protocol),
        Result(name="kl", value=kl, protocol=units | dimensions | protocol),
        *(_implicit_usage(suffix, draws, protocol) for suffix, draws in lower.items()),
    ]


def _implicit_usage(suffix: str, draws: Array, protocol: dict[str, Any]) -> Result:
    _, num_draws, dimensions = draws.shape
    details = {"dimensions": dimensions, "draws of each posterior": num_draws}
    return _active_units(suffix, implicit_usage(draws), details | protocol)


def _active_units(suffix: str, values: Values, protocol: dict[str, Any]) -> Result:
    definition = {"active": "variance of the posterior mean above 0.01"}
    return Result(name=f"active_units{suffix}", value=float(values["active_units"]), protocol=definition | protocol)


def no_aggregated_posterior(evaluation: Evaluation) -> str | None:
    """Return the reason why prior and posterior cannot be compared, or None if they can."""
    model = autoencoder_of(evaluation.model)
    if supports(model, HasLatentVariables):
        return None
    return f"{type(model).__name__} does not draw from both a prior and a posterior"


def aggregated_posterior(evaluation: Evaluation, index: int) -> list[Result]:
    """Test whether the codes of data, drawn from their posteriors, differ from draws of the prior."""
    name, model = "aggregated_posterior", autoencoder_of(evaluation.model)
    codes = _encode(evaluation, index, model.sample_posterior)
    choice_key, prior_key, test_key = jax.random.split(stream_key(evaluation.key, name), 3)
    # At random, because the order of a data set often carries information, as that of MNIST's test images does.
    codes = jax.random.choice(choice_key, codes, (min(MAX_CODES, len(codes)),), replace=False)
    variables = autoencoder_variables(evaluation.model, evaluation.replica(index))
    prior = model.sample_prior(variables, prior_key, len(codes))
    values = mmd_test(test_key, prior.reshape(len(prior), -1), codes.reshape(len(codes), -1))
    protocol = {"codes": len(codes), "prior draws": len(prior), "split": evaluation.split}
    threshold = {"guarantee": "unbiased MMD²", "5 % threshold": float(values["threshold"])}
    test = {"guarantee": "permutation test: at most 0.05 where the two differ at the 5 % level"}
    return [
        Result(name=name, value=float(values["mmd2"]), protocol=threshold | protocol),
        Result(name=f"{name}/p_value", value=float(values["p_value"]), protocol=test | protocol),
    ]


def _encode(evaluation: Evaluation, index: int, encode: Callable[..., T]) -> T:
    """Return ``encode(variables, key, x)`` for the whole split, joined along the first axis."""
    encode, model = jax.jit(encode), autoencoder_of(evaluation.model)
    variables, parts = autoencoder_variables(evaluation.model, evaluation.replica(index)), []
    for number, batch in enumerate(evaluation.batches(evaluation.split, f"codes of seed {evaluation.seeds[index]}")):
        key = core.step_key(stream_key(evaluation.key, "codes"), number)
        parts.append(encode(variables, key, batch["x"], **conditioning(model, batch)))
    return jax.tree.map(lambda *arrays: jnp.asarray(np.concatenate(arrays)), *parts)
