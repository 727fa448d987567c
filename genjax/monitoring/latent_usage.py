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
from genjax.metrics.metric import Values

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


def latent_usage(model: Any, variables: Variables, key: Array, batch: Batch) -> Values:
    """Measure the usage of latent variables on a batch, for a model that ``has_latents``."""
    x, condition = batch["x"], conditioning(model, batch)
    if supports(model, HasPosterior):
        values = dict(gaussian_usage(*model.posterior(variables, x, **condition)))
        for suffix, draws in draw_lower_layers(model, variables, key, x).items():
            values |= {name + suffix: value for name, value in implicit_usage(draws).items()}
        return values
    if supports(model, HasLatentVariables):
        return implicit_usage(draw_posterior(model.sample_posterior, variables, key, x, **condition))
    return codebook_usage(model.encode(variables, x, **condition), model.num_codes)


def has_lower_layers(model: object) -> bool:
    """Return whether a model has stochastic layers below its top one."""
    return isinstance(model, HasStochasticLayers) and model.num_layers > 1


def draw_lower_layers(model: Any, variables: Variables, key: Array, x: Array) -> dict[str, Array]:
    """Draw from the layers below the top one, (B, NUM_DRAWS, D_l) each, by suffix of their metric names."""
    if not has_lower_layers(model):
        return {}
    *lower, _ = draw_posterior(model.sample_layers, variables, key, x)
    return {f"_{layer}": draws for layer, draws in enumerate(lower, start=1)}


def draw_posterior(draw: Callable[..., T], variables: Variables, key: Array, x: Array, **condition: Array) -> T:
    """Call a model's ``draw``, which returns arrays (B, D), NUM_DRAWS times; return arrays (B, NUM_DRAWS, D)."""

    def draw_once(number: Array) -> T:
        return draw(variables, jax.random.fold_in(key, number), x, **condition)

    return jax.tree.map(lambda draws: jnp.swapaxes(draws, 0, 1), jax.lax.map(draw_once, jnp.arange(NUM_DRAWS)))
