"""Inexpensive signs that the chains do not mix, or that the parameters have diverged.

Let r(v) be the means of the visible units given the means of the hidden units given v: v without the noise of single
units. Chains v₁, v₂, … run for T more updates while the parameters stay fixed. Given data x, x′ and log p of the model,

* chain movement is the squared distance that chains move in one update, relative to that between two examples,

      1/T Σₜ E ‖r(vₜ₊₁) − r(vₜ)‖² / E ‖r(x) − r(x′)‖².                                                            (1)

  It is 1 for chains that forget at once and 0 for frozen chains, whose samples are not those of the model. Because it
  compares r, a unit that flips now and then does not count as movement;
* the gain over the independent units p₀ that training starts from is log p(x) − log p₀(x). If it is far below zero, the
  parameters have diverged;                                                                                        (2)
* the reconstruction error, E ‖r(x) − x‖² / N, is reported beside the likelihood because both may fall together.   (3)
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from genjax.boltzmann import bipartite
from genjax.boltzmann.annealing import annealed_importance_sampling
from genjax.boltzmann.bipartite import RBMParams, TemperedRBM, at_unit_temperature
from genjax.boltzmann.negative_phase import NegativePhase
from genjax.core import Array, Metrics, PyTree
from genjax.ops.importance import QUANTILE_99

NUM_UPDATES = 10
MAX_UNITS_IN_DIAGNOSIS = 20  # binary units that a diagnosis enumerates; more take longer than the estimate
NUM_PARTICLES, NUM_TEMPERATURES = 100, 1_000  # for 784 and 500 units: seconds on a CPU, and an error below a nat


def diagnose(base: TemperedRBM, phase: NegativePhase, key: Array, v: Array, state: PyTree) -> Metrics:
    """Return the scalars ``chain_movement`` (1) and ``reconstruction_error`` (3), and ``log_likelihood`` (2).

    ``base`` is the model at β = 0, where its units are independent, and ``v`` are data, (B, N), B at least 2.
    """
    chains_key, likelihood_key = jax.random.split(key)
    return {
        "chain_movement": chain_movement(base.params, phase, chains_key, v, state),
        **log_likelihood(base, likelihood_key, v),
        "reconstruction_error": jnp.mean(bipartite.reconstruction_error(base.params, v)),
    }


def chain_movement(params: RBMParams, phase: NegativePhase, key: Array, v: Array, state: PyTree) -> Array:
    """Return equation 1, (), for data v, (B, N), B at least 2; chains that a model's state does not hold start at v."""
    reconstruct = functools.partial(bipartite.reconstruction, params)

    def update(carry: tuple[Array, PyTree], key: Array) -> tuple[tuple[Array, PyTree], Array]:
        before, phase_state = carry
        # The samples stand in for the data: contrastive divergence goes on from them, and fast weights learn nothing.
        after, phase_state = phase.draw(params, state.base_bias, key, before, phase_state)
        squared_distances = jnp.sum(jnp.square(reconstruct(after) - reconstruct(before)), axis=-1)
        return (after, phase_state), jnp.mean(squared_distances)

    first_key, key = jax.random.split(key)
    start = phase.draw(params, state.base_bias, first_key, v, state.negative_phase)
    distances = jax.lax.scan(update, start, jax.random.split(key, NUM_UPDATES))[1]
    between_examples = 2 * jnp.sum(jnp.var(reconstruct(v), axis=0, ddof=1))  # mean over pairs
    # Without weights all reconstructions are equal, and chains forget at once.
    return jnp.where(between_examples > 0, jnp.mean(distances) / between_examples, 1.0)


def log_likelihood(base: TemperedRBM, key: Array, v: Array) -> Metrics:
    """Return log p of data v, (B, N), nats, (B,), with its ``gain`` over independent units (2), (B,).

    It is named ``log_prob`` if it is exact, by enumerating up to 20 units. Otherwise it is ``log_prob_estimate``, and
    ``log_partition_error``, (), is the standard error of its log Z.
    """
    params, rbm = base.params, at_unit_temperature(base.params)
    base_log_prob = bipartite.log_unnormalized_visible(base, v) - bipartite.base_log_partition(base)
    num_visible, num_hidden = params.weights.shape
    size = bipartite.num_enumerated_units(params.units, num_visible, params.hidden_units, num_hidden)
    if size is not None and size <= MAX_UNITS_IN_DIAGNOSIS:
        log_prob = bipartite.log_unnormalized_visible(rbm, v) - bipartite.log_partition(params)
        return {"log_prob": log_prob, "gain": log_prob - base_log_prob}
    log_z = annealed_importance_sampling(
        params,
        base.base_bias,
        key,
        num_particles=NUM_PARTICLES,
        num_temperatures=NUM_TEMPERATURES,
        hidden_base_bias=base.hidden_base_bias,
    )
    log_prob = bipartite.log_unnormalized_visible(rbm, v) - log_z.value
    error = (log_z.high - log_z.low) / (2 * QUANTILE_99)
    return {"log_prob_estimate": log_prob, "log_partition_error": error, "gain": log_prob - base_log_prob}
