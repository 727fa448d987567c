"""Usage of latent variables, measured by monitoring and by the evaluation of latents.

Gaussian posteriors give active units and the divergence of each dimension; posteriors that can only be sampled, and
layers below the top, give active units; code indices give the usage of the codebook (``genjax.metrics.latents``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from genjax.capabilities import (
    Encodes,
    HasLatentVariables,
    HasPosterior,
    HasStochasticLayers,
    Quantizes,
    conditioning,
    supports,
)
from genjax.core import Array, Batch, Variables
from genjax.latent import LatentModel
from genjax.metrics.latents import codebook_usage, gaussian_usage, implicit_usage

T = TypeVar("T")
# From each posterior that can only be sampled; with 300 examples the error is a quarter of the threshold.
NUM_DRAWS = 32


def autoencoder_of(model: Any) -> Any:
    """Return the model that has the latent variables: the autoencoder of a ``LatentModel``, or the model itself."""
    return model.autoencoder if isinstance(model, LatentModel) else model


def autoencoder_variables(model: Any, variables: Variables) -> Variables:
    """Return the variables of ``autoencoder_of(model)``."""
    return model.part(variables, "autoencoder") if isinstance(model, LatentModel) else variables


def has_latents(model: object) -> bool:
    """Return whether a model has latent variables whose usage can be measured."""
    quantizes = supports(model, Quantizes) and supports(model, Encodes)
    return quantizes or supports(model, HasPosterior) or supports(model, HasLatentVariables)


def latent_usage(model: Any, variables: Variables, key: Array, batch: Batch) -> dict[str, Array]:
    """Measure the usage of latent variables on a batch, for a model that ``has_latents``."""
    return usage_of(model, codes_of(model, variables, key, batch["x"], **conditioning(model, batch)))


def codes_of(model: Any, variables: Variables, key: Array, x: Array, **condition: Array) -> tuple[Any, ...]:
    """Return what ``usage_of`` measures: the codes of the top layer, then draws (B, NUM_DRAWS, D_l) of those below it.

    Codes are means and log-variances of the posterior, its draws if it can only be sampled, or code indices.
    """
    if supports(model, HasPosterior):
        has_lower_layers = supports(model, HasStochasticLayers) and model.num_layers > 1
        lower = _draw(model.sample_layers, variables, key, x)[:-1] if has_lower_layers else ()
        moments = model.posterior(variables, x, **condition)
        return jax.tree.map(lambda array: array.reshape(len(array), -1), moments), *lower
    if supports(model, HasLatentVariables):
        return (_draw(model.sample_posterior, variables, key, x, **condition),)
    return (model.encode(variables, x, **condition),)


def usage_of(model: Any, codes: tuple[Any, ...]) -> dict[str, Array]:
    """Return the metrics of codes from ``codes_of``; the names of those of lower layers end in _1, _2 and so on."""
    top, *lower = codes
    if supports(model, HasPosterior):
        values = dict(gaussian_usage(*top))
    elif supports(model, HasLatentVariables):
        values = dict(implicit_usage(top))
    else:
        values = dict(codebook_usage(top, model.num_codes))
    for layer, draws in enumerate(lower, start=1):
        values |= {f"{name}_{layer}": value for name, value in implicit_usage(draws).items()}
    return values


def _draw(draw: Callable[..., T], variables: Variables, key: Array, x: Array, **condition: Array) -> T:
    """Call a model's ``draw``, which returns arrays (B, D), NUM_DRAWS times; return arrays (B, NUM_DRAWS, D)."""

    def draw_once(number: Array) -> T:
        return draw(variables, jax.random.fold_in(key, number), x, **condition)

    return jax.tree.map(lambda draws: jnp.swapaxes(draws, 0, 1), jax.lax.map(draw_once, jnp.arange(NUM_DRAWS)))
