"""Cheap signs that a machine learns from chains that tell it nothing, or is no longer a model of the data.

Let r(v) be the means of visible units given the means of hidden ones, given v: v without the noise of single units.
Chains v₁, v₂, … go on for T more updates while the machine stays as it is. Of data x, x′ and log p of a machine,

* the chains have moved, in one update, by the share of what two examples differ by,

      1/T Σₜ E ‖r(vₜ₊₁) − r(vₜ)‖² / E ‖r(x) − r(x′)‖²,                                                            (1)

  which is 1 for chains that forget at once, and 0 for frozen ones: what the machine then unlearns is not its own. Where
  a unit now and then turns over and back, r does not;
* the gain over the independent units p₀ that it began as is log p(x) − log p₀(x). Far below zero it says that the
  parameters have exploded;                                                                                         (2)
* the reconstruction error E ‖r(x) − x‖² / N stands beside the likelihood, of which it tells nothing: both may fall. (3)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.boltzmann import layers as joint
from genjax.boltzmann.annealing import QUANTILE_99, annealed_importance
from genjax.boltzmann.layers import Layers, Path, machine
from genjax.boltzmann.negative_phase import NegativePhase
from genjax.core import Array, Metrics, PyTree

NUM_UPDATES = 10
MOST_ENUMERATED = 20  # binary units; more take longer than the estimate
NUM_PARTICLES, NUM_TEMPERATURES = 100, 1_000  # some seconds for 784 and 500 units on a CPU, and an error below a nat


def diagnosis(start: Path, phase: NegativePhase, key: Array, v: Array, memory: PyTree) -> Metrics:
    """Return ``moved`` (1), ``log_prob`` or its estimate and ``gain`` (2), and ``reconstruction_error`` (3).

    See ``log_likelihood`` for what belongs to the second; the others are scalars.

    Args:
      start: the machine's independent units, at β = 0.
      phase: what drives its chains.
      key: typed key.
      v: data, (B, N), B at least 2.
      memory: of ``phase``.
    """
    chains_key, likelihood_key = jax.random.split(key)
    return {
        "moved": moved(start.layers, phase, start.base, chains_key, v, memory),
        **log_likelihood(start, likelihood_key, v),
        "reconstruction_error": jnp.mean(joint.reconstruction_error(start.layers, v)),
    }


def moved(layers: Layers, phase: NegativePhase, base: Array, key: Array, v: Array, memory: PyTree) -> Array:
    """Return equation 1, (), for data v (B, N), B at least 2; chains that remember nothing begin at v."""

    def update(carry: tuple[Array, PyTree], key: Array) -> tuple[tuple[Array, PyTree], Array]:
        before, memory = carry
        # What begins at data goes on from its own samples; fast weights decay, as those are all there is to learn.
        after, memory = phase.draw(layers, base, key, before, memory)
        return (after, memory), _squared_distance(
            joint.reconstruction(layers, after), joint.reconstruction(layers, before)
        )

    first_key, key = jax.random.split(key)
    start = phase.draw(layers, base, first_key, v, memory)
    distances = jax.lax.scan(update, start, jax.random.split(key, NUM_UPDATES))[1]
    between = 2 * jnp.sum(jnp.var(joint.reconstruction(layers, v), axis=0, ddof=1))  # of all pairs
    return jnp.where(between > 0, jnp.mean(distances) / between, 1.0)  # without weights there is nothing to remember


def log_likelihood(start: Path, key: Array, v: Array) -> Metrics:
    """Return log p of each of the data v (B, N), nats, (B,), and by how much it is above equation 2's, as ``gain``.

    It is ``log_prob``, exact, where up to 20 units are added up; else ``log_prob_estimate``, with the standard error of
    its log Z, (), as ``log_partition_error``.
    """
    layers, path = start.layers, machine(start.layers)
    log_base = joint.log_of_visible(start, v) - joint.log_partition_of_base(start)
    num_visible, num_hidden = layers.weights.shape
    size = joint.num_enumerated(layers.units, num_visible, layers.hidden_units, num_hidden)
    if size is not None and size <= MOST_ENUMERATED:
        log_prob = joint.log_of_visible(path, v) - joint.log_partition(layers)
        return {"log_prob": log_prob, "gain": log_prob - log_base}
    found = annealed_importance(
        layers,
        start.base,
        key,
        num_particles=NUM_PARTICLES,
        num_temperatures=NUM_TEMPERATURES,
        hidden_base=start.hidden_base,
    )
    log_prob = joint.log_of_visible(path, v) - found.value
    error = (found.high - found.low) / (2 * QUANTILE_99)
    return {"log_prob_estimate": log_prob, "log_partition_error": error, "gain": log_prob - log_base}


def _squared_distance(a: Array, b: Array) -> Array:
    """Return the mean over rows, ()."""
    return jnp.mean(jnp.sum(jnp.square(a - b), axis=-1))
