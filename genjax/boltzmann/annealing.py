"""Annealed importance sampling: log Z of a model too large to enumerate, with a confidence interval.

Particles start as independent units, whose log Z₀ is known, and move to the model through inverse temperatures
0 = β₀ < … < β_K = 1 by Gibbs steps that leave the density at each invariant. Their weights satisfy

    log w = Σₖ log p*_{βₖ₊₁}(vₖ) − log p*_{βₖ}(vₖ),        E w = Z / Z₀,                                          (1)

so log Z₀ + log mean w estimates log Z. The mean of w is unbiased; its logarithm is slightly too low on average, and far
too low if the particles miss modes. Particles that start as samples of the model and move to independent units have
weights of mean Z₀ / Z and err in the other direction. If both directions agree, neither has missed much. The reverse
direction is only as good as its samples, and large models cannot be sampled exactly.

Radford Neal 2001, arXiv:physics/9803008; Ruslan Salakhutdinov and Iain Murray 2008, "On the quantitative analysis of
deep belief networks"; both directions: Roger Grosse, Zoubin Ghahramani and Ryan Adams 2015, arXiv:1511.02543.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.boltzmann.bipartite import RBMParams, TemperedRBM, base_log_partition, gibbs_step
from genjax.boltzmann.units import sample_independent
from genjax.core import Array
from genjax.ops.importance import LogPartition, NumParticles, log_partition_of


@check_arguments
def annealed_importance_sampling(
    params: RBMParams,
    base_bias: Array,
    key: Array,
    *,
    num_particles: NumParticles = 100,
    num_temperatures: PositiveInt = 10_000,
    backwards_from: Array | None = None,
    hidden_base_bias: Array | None = None,
) -> LogPartition:
    """Estimate log Z.

    Args:
      params: parameters of the model.
      base_bias: biases of the independent visible units, (N,); best where these units match the data's means.
      key: typed key.
      num_particles: number of particles, P, at least 2.
      num_temperatures: number of steps, K, evenly spaced in β; the error falls as it grows.
      backwards_from: samples of the model, (P, N), for the reverse direction; None for the forward direction.
      hidden_base_bias: biases of the independent hidden units, (H,); needed where the model's hidden units are far from
        even odds, because particles degenerate otherwise. None is 0.

    Raises:
      ValueError: if there are fewer than 2 particles or 1 temperature, or if the number of samples is not P.
    """
    backwards = backwards_from is not None
    if backwards and backwards_from.shape[0] != num_particles:
        raise ValueError(
            f"backwards_from has {backwards_from.shape[0]} samples, but num_particles is {num_particles}; "
            f"draw as many samples, or set num_particles={backwards_from.shape[0]}"
        )
    start_key, chain_key = jax.random.split(key)
    v = backwards_from if backwards else sample_independent(params.units, base_bias, start_key, num_particles)
    dtype = jnp.result_type(v, params.weights)
    betas = jnp.linspace(0.0, 1.0, num_temperatures + 1, dtype=dtype)
    betas = betas[::-1] if backwards else betas
    hidden_base_bias = jnp.zeros_like(params.hidden_bias) if hidden_base_bias is None else hidden_base_bias
    base = TemperedRBM(params, base_bias, hidden_base_bias, 0.0)

    def step(carry: tuple[Array, Array], x: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (v, log_weight), (beta, next_beta, key) = carry, x
        log_weight += _log_ratio(base, beta, next_beta, v)  # equation 1
        return (gibbs_step(base._replace(beta=next_beta), key, v), log_weight), None

    keys = jax.random.split(chain_key, num_temperatures)
    (v, log_weight), _ = jax.lax.scan(step, (v, jnp.zeros(v.shape[0], dtype)), (betas[:-1], betas[1:], keys))
    return log_partition_of(log_weight, v, base_log_partition=base_log_partition(base), backwards=backwards)


def _log_ratio(base: TemperedRBM, beta: Array, next_beta: Array, v: Array) -> Array:
    """Return log p*(v) at the next temperature minus that at this one, with a single product v W."""
    params = base.params
    inputs = v @ params.weights + params.hidden_bias[None]
    at = lambda beta: params.hidden_units.log_partition(  # noqa: E731
        beta * inputs + (1 - beta) * base.hidden_base_bias[None]
    )
    return (next_beta - beta) * (v @ (params.visible_bias - base.base_bias)) + at(next_beta) - at(beta)
