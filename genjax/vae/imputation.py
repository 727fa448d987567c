"""Imputation: draws of the unknown values of an example given the known ones, by elliptical slice sampling.

Latents are functions of standard normal noise ε, and the dimensions of x are independent given these. So the unknown
values need not be part of the chain: it has the stationary distribution

    p(ε | x_k) ∝ N(ε; 0, I) p(x_k | ε),                                                                           (1)

and x_u is drawn from p(x | ε) at its end. A step draws a second ε' ~ N(0, I), which defines an ellipse, and moves to a
point of it above a random level of the likelihood,

    ε cos θ + ε' sin θ,        log p(x_k | ·) ≥ log p(x_k | ε) + log u,        u ~ U(0, 1),                       (2)

with θ uniform on a bracket that shrinks towards the current point, θ = 0, until it succeeds. There is nothing to tune.
Chains start near the known values, by steps that ask the encoder for ε given the known and the last unknown values.

Iain Murray, Ryan Adams and David MacKay 2010, arXiv:1001.0175, figure 2; start: Danilo Rezende, Shakir Mohamed and Daan
Wierstra 2014, arXiv:1401.4082, appendix F. Metropolis steps with proposals of the encoder (Pierre-Alexandre Mattei and
Jes Frellsen 2018, arXiv:1802.04826) keep the unknown values in the chain, and stand still where decoders are sharp.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops import Likelihood, check_example_shape, check_finite, check_values
from genjax.ops.likelihoods import HasSupport

NUM_GUESSES = 10  # steps from the prior to the start of a chain
MAX_SHRINKS = 50  # of a bracket, after which a chain stands still; only likelihoods that are not finite need as many

Noise = tuple[Array, ...]  # ε of each layer, (B, ...)


class _Chain(NamedTuple):
    """States of chains, and the log-likelihoods of the known values, (B,)."""

    noise: Noise
    log_likelihood: Array


class _Search(NamedTuple):
    """Search for angles: the number of tries, the last angles, their brackets, and which have found a place."""

    count: Array
    angle: Array
    low: Array
    high: Array
    found: Array
    place: _Chain


def fill_unknown(
    key: Array,
    x: Array,
    mask: Array,
    start: Noise,
    *,
    encode: Callable[[Array, Array], Noise],
    decode: Callable[[Noise], Array],
    likelihood: Likelihood,
    num_steps: int,
) -> Array:
    """Return x (B, ...) with values at the end of a chain where the mask, of the same shape, is False.

    Args:
      key: typed key.
      x: examples, whose unknown values may be anything.
      mask: where x is known.
      start: noise from the prior.
      encode: ``(key, x) -> ε`` from q(ε | x).
      decode: ``ε -> outputs`` of the decoder.
      likelihood: likelihood of x given these outputs.
      num_steps: number of steps of the chains.
    """
    guess_key, chain_key, data_key = jax.random.split(key, 3)
    known = jnp.where(mask, x, 0)
    check_finite(known)
    if isinstance(likelihood, HasSupport):
        low, high = likelihood.support
        cure = f"{likelihood} is of values in [{low:g}, {high:g}]; scale the data"
        check_values(jnp.where(mask, x, low), lambda x: (x < low) | (x > high), cure)

    def fill(key: Array, noise: Noise) -> Array:
        drawn = likelihood.sample(key, decode(noise))
        check_example_shape(x, drawn.shape[1:])
        return jnp.where(mask, known.astype(drawn.dtype), drawn)

    def guess(noise: Noise, key: Array) -> tuple[Noise, None]:
        latent_key, data_key = jax.random.split(key)
        guessed = encode(latent_key, fill(data_key, noise))
        return tuple(new.astype(old.dtype) for new, old in zip(guessed, noise, strict=True)), None

    def log_likelihood(noise: Noise) -> Array:
        return likelihood.log_prob(decode(noise), known, mask)

    noise, _ = jax.lax.scan(guess, start, jax.random.split(guess_key, NUM_GUESSES))
    step = functools.partial(_slice_step, log_likelihood)
    chain, _ = jax.lax.scan(step, _Chain(noise, log_likelihood(noise)), jax.random.split(chain_key, num_steps))
    return fill(data_key, chain.noise)


def _slice_step(log_likelihood: Callable[[Noise], Array], chain: _Chain, key: Array) -> tuple[_Chain, None]:
    """Move every chain along its ellipse, equation 2; chains that are done wait for the others."""
    noise_key, level_key, angle_key, shrink_key = jax.random.split(key, 4)
    level = chain.log_likelihood + jnp.log1p(-jax.random.uniform(level_key, chain.log_likelihood.shape))
    other = tuple(
        jax.random.normal(each_key, each.shape, each.dtype)
        for each_key, each in zip(jax.random.split(noise_key, len(chain.noise)), chain.noise, strict=True)
    )

    def at(angle: Array) -> _Chain:
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        pairs = zip(chain.noise, other, strict=True)
        noise = tuple(a * _column(cos, a) + b * _column(sin, b) for a, b in pairs)
        return _Chain(noise, log_likelihood(noise))

    def try_angle(search: _Search, angle: Array) -> _Search:
        place = at(angle)
        is_new = ~search.found & (place.log_likelihood >= level)  # equal if both are −∞: then the chain may go anywhere
        place = jax.tree.map(lambda new, old: jnp.where(_column(is_new, new), new, old), place, search.place)
        low, high = jnp.where(angle < 0, angle, search.low), jnp.where(angle < 0, search.high, angle)
        return _Search(search.count + 1, angle, low, high, search.found | is_new, place)

    def shrink(search: _Search) -> _Search:
        share = jax.random.uniform(jax.random.fold_in(shrink_key, search.count), search.angle.shape)
        return try_angle(search, search.low + share * (search.high - search.low))

    angle = 2 * math.pi * jax.random.uniform(angle_key, level.shape, level.dtype)
    search = _Search(jnp.int32(0), angle, angle - 2 * math.pi, angle, jnp.zeros(level.shape, bool), chain)
    going = lambda search: (search.count < MAX_SHRINKS) & ~jnp.all(search.found)  # noqa: E731
    return jax.lax.while_loop(going, shrink, try_angle(search, angle)).place, None


def _column(values: Array, like: Array) -> Array:
    """Return values (B,) with the number of axes of an array (B, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
