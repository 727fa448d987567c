"""Latent variables of a trained model: how many are in use, and whether the codes of data follow the prior."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax import core
from genjax.capabilities import HasLatentVariables, conditioning, supports
from genjax.compilation import jit
from genjax.core import stream_key
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result, mmd_test
from genjax.metrics.result import results_of
from genjax.monitoring.checks import ACTIVE_UNITS, KL_PER_DIMENSION, VARIANCE_OF_MEANS
from genjax.monitoring.latent_usage import (
    NUM_DRAWS,
    autoencoder_of,
    autoencoder_variables,
    codes_of,
    has_latents,
    usage_of,
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
    codes = _encode(evaluation, index, functools.partial(codes_of, model))
    values = usage_of(model, codes)
    if "codebook_usage" in values:
        protocol = {"codes": model.num_codes, "vectors": codes[0].size} | protocol
        return results_of(values, dict.fromkeys(values, protocol))
    protocols: dict[str, dict[str, Any]] = {}
    definition = {"active": "variance of the posterior mean above 0.01"}
    if KL_PER_DIMENSION in values:
        details = {"dimensions": values[KL_PER_DIMENSION].size} | protocol
        units = {"units": "nats per example, against N(0, I)"}
        if len(codes) > 1:
            units |= {"layer": "the top one, given the means of those below"}
        values["kl"] = jnp.sum(values[KL_PER_DIMENSION])
        protocols = {ACTIVE_UNITS: definition | details, "kl": units | details}
    for name in [name for name in values if name.startswith(VARIANCE_OF_MEANS)]:
        details = {"dimensions": values[name].size, "draws of each posterior": NUM_DRAWS}
        protocols[name.replace(VARIANCE_OF_MEANS, ACTIVE_UNITS)] = definition | details | protocol
    return results_of(values, protocols)


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
    encode, model = jit(encode), autoencoder_of(evaluation.model)
    variables, parts = autoencoder_variables(evaluation.model, evaluation.replica(index)), []
    for number, batch in enumerate(evaluation.batches(evaluation.split, f"codes of seed {evaluation.seeds[index]}")):
        key = core.step_key(stream_key(evaluation.key, "codes"), number)
        parts.append(encode(variables, key, batch["x"], **conditioning(model, batch)))
    return jax.tree.map(lambda *arrays: jnp.asarray(np.concatenate(arrays)), *parts)
