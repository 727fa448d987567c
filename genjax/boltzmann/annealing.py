"""Annealed importance sampling: the normalizer of a machine too large to add up, with an interval.

Particles begin as independent units, whose log Z₀ is known, and are carried to the machine over temperatures
0 = β₀ < … < β_K = 1 by sweeps that keep the density of each. Of the weights

    log w = Σₖ log p*_{βₖ₊₁}(vₖ) − log p*_{βₖ}(vₖ),        E w = Z / Z₀,                                          (1)

so that log Z₀ + log mean w estimates log Z: w without bias, the logarithm a little too low, and far too low where the
particles did not find all modes. Particles that begin as samples of the machine and are carried back have weights of
mean Z₀ / Z, and err to the other side. If both agree, neither has missed much; how good the second is depends on its
start, as exact samples are not to be had from large machines.

Radford Neal 2001, arXiv:physics/9803008; Ruslan Salakhutdinov and Iain Murray 2008, "On the quantitative analysis of
deep belief networks"; both directions: Roger Grosse, Zoubin Ghahramani and Ryan Adams 2015, arXiv:1511.02543.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.boltzmann.layers import Layers, Path, log_partition_of_base, sweep
from genjax.boltzmann.units import independent
from genjax.core import Array
from genjax.ops import check_at_least

QUANTILE_99 = 2.5758  # of the normal distribution, two-sided


class LogPartition(NamedTuple):
    """An estimate of log Z.

    Attributes:
      value: nats.
      low: of its 99 % interval, by the delta method: right where many particles have alike weights.
      high: likewise.
      num_effective: effective number of particles, (Σ w)² / Σ w²; an interval of a few is not to be trusted.
      v: particles where they ended, (P, N).
    """

    value: Array
    low: Array
    high: Array
    num_effective: Array
    v: Array


def annealed_importance(
    layers: Layers,
    base: Array,
    key: Array,
    *,
    num_particles: int = 100,
    num_temperatures: int = 10_000,
    backwards_from: Array | None = None,
    hidden_base: Array | None = None,
) -> LogPartition:
    """Estimate log Z.

    Args:
      layers: the machine.
      base: biases of the independent units, (N,): the closer they are to the data's means, the better.
      key: typed key.
      num_particles: P, at least 2.
      num_temperatures: K, evenly spaced; the error falls with their number.
      backwards_from: samples of the machine (P, N), to be carried the other way.
      hidden_base: biases of the independent hidden units, (H,): where those of the machine are far from even chances,
        particles go astray without. None is 0.

    Raises:
      ValueError: for fewer than 2 particles, or than 1 temperature; and for another number of samples than particles.
    """
    check_at_least("num_particles", num_particles, 2, "; there is no interval of one")
    check_at_least("num_temperatures", num_temperatures, 1)
    if backwards_from is not None and len(backwards_from) != num_particles:
        raise ValueError(
            f"backwards_from has {len(backwards_from)} samples, but {num_particles} particles are asked for; "
            f"draw as many, or ask for {len(backwards_from)}"
        )
    start_key, walk_key = jax.random.split(key)
    backwards = backwards_from is not None
    v = backwards_from if backwards else independent(layers.units, base, start_key, num_particles)
    betas = jnp.linspace(0.0, 1.0, num_temperatures + 1)
    betas = betas[::-1] if backwards else betas
    independents = Path(layers, base, 0.0, hidden_base)

    def step(carry: tuple[Array, Array], now: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (v, log_weight), (here, there, key) = carry, now
        before, after = independents._replace(beta=here), independents._replace(beta=there)
        log_weight += _log_ratio(before, after, v)  # equation 1
        return (sweep(after, key, v), log_weight), None

    keys = jax.random.split(walk_key, num_temperatures)
    (v, log_weight), _ = jax.lax.scan(step, (v, jnp.zeros(len(v), v.dtype)), (betas[:-1], betas[1:], keys))
    relative = jnp.exp(log_weight - jnp.max(log_weight))
    mean = jnp.mean(relative)
    error = jnp.std(relative, ddof=1) / (mean * jnp.sqrt(len(v)))
    log_ratio = jnp.max(log_weight) + jnp.log(mean)
    value = log_partition_of_base(independents) + (-log_ratio if backwards else log_ratio)
    effective = jnp.square(jnp.sum(relative)) / jnp.sum(jnp.square(relative))
    return LogPartition(value, value - QUANTILE_99 * error, value + QUANTILE_99 * error, effective, v)


def _log_ratio(before: Path, after: Path, v: Array) -> Array:
    """Return log p*(v) after less that before, with one product of v and the weights."""
    layers, base = after.layers, after.base
    inputs = v @ layers.weights + layers.hidden_bias[None]
    rest = jnp.zeros_like(layers.hidden_bias) if after.hidden_base is None else after.hidden_base
    at = lambda beta: layers.hidden_units.log_partition(beta * inputs + (1 - beta) * rest[None])  # noqa: E731
    return (after.beta - before.beta) * (v @ (layers.visible_bias - base)) + at(after.beta) - at(before.beta)
