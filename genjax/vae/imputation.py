"""Imputation: draws of the unknown values of an example given the known ones, by Metropolis-within-Gibbs sampling.

A step of the Markov chain proposes latents z' from q(z | x), where x includes the current unknown values x_u, accepts
them with probability

    min(1, w(z') / w(z)),        w(z) = p(x, z) / q(z | x),                                                      (1)

and draws x_u from p(x | z), whose dimensions are independent. Its stationary distribution is p(z, x_u | x_k), whatever
the encoder; but chains mix slowly where q is far from the posterior.

Pierre-Alexandre Mattei and Jes Frellsen 2018, arXiv:1802.04826.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops import check_example_shape

Latents = TypeVar("Latents")


def fill_unknown(
    key: Array,
    x: Array,
    mask: Array,
    latents: Latents,
    *,
    propose: Callable[[Array, Array], Latents],
    log_weight: Callable[[Array, Latents], Array],
    draw: Callable[[Array, Latents], Array],
    num_steps: int,
) -> Array:
    """Return x (B, ...) with values at the end of a chain where the mask, of the same shape, is False.

    Args:
      key: typed key.
      x: examples, whose unknown values may be anything.
      mask: where x is known.
      latents: initial latents of the chains, an array or a tree of arrays (B, ...).
      propose: ``(key, x) -> latents`` from q(z | x).
      log_weight: ``(x, latents) -> log w``, (B,).
      draw: ``(key, latents) -> x`` from p(x | z).
      num_steps: length of the chains.
    """

    def fill(key: Array, latents: Latents) -> Array:
        drawn = draw(key, latents)
        check_example_shape(x, drawn.shape[1:])
        return jnp.where(mask, x.astype(drawn.dtype), drawn)

    def step(state: tuple[Latents, Array], key: Array) -> tuple[tuple[Latents, Array], None]:
        latents, x = state
        proposal_key, accept_key, data_key = jax.random.split(key, 3)
        proposal = propose(proposal_key, x)
        log_new, log_old = log_weight(x, proposal), log_weight(x, latents)
        log_uniform = jnp.log(jax.random.uniform(accept_key, log_old.shape))
        accepted = (log_uniform < log_new - log_old) | (log_old == -jnp.inf)  # equation 1; x may rule out the start
        latents = jax.tree.map(
            lambda new, old: jnp.where(accepted.reshape(-1, *[1] * (new.ndim - 1)), new, old), proposal, latents
        )
        return (latents, fill(data_key, latents)), None

    start_key, chain_key = jax.random.split(key)
    state = latents, fill(start_key, latents)
    return jax.lax.scan(step, state, jax.random.split(chain_key, num_steps))[0][1]
