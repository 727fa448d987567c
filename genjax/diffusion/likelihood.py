"""Likelihoods of diffusion models: a bound, of many steps or of infinitely many, and an estimate by a flow.

A model that begins with p(x_T) = N(0, σ_T²) and takes steps p(x_s | x_t) of the variance of q(x_s | x_t, x₀), as
``Ancestral`` does, and at last says x₀ ~ N(x̂₀, (σ/α)²) at the first level, has the variational bound

    −log p(x₀) ≤ ½ SNR_T ‖x₀‖² + Σ ½ (SNR_s − SNR_t) E‖x₀ − x̂₀(x_t)‖² + E[−log N(x₀; x̂₀, (σ/α)²)],                (1)

in which the sum, over steps, becomes an integral over log-SNRs where there are infinitely many,

    ½ ∫ E‖ε − ε̂(x_t)‖² dλ,                                                                                       (2)

which does not depend on the process but by its ends. It is tight where the denoiser is the mean given x_t. Both are
estimated without bias, at levels that are spread evenly over an example's draws. Where there is little noise, ε̂ knows
next to nothing of ε, and errors of both are ε's own length: what that differs from its mean D is taken off, by the
share sigmoid λ.

The probability-flow equation is a continuous flow, of the same densities, so that

    log p(x₀) = log N(x_T; 0, σ_T²) + ∫ tr ∂v/∂x dt + D log α,        v = α′ x̂₀ + σ′ ε̂,                            (3)

from x = α x₀ at the start on: the density of data that have the noise of the first level. Where the denoiser is not
exact, this is the density of the deterministic samplers, and another one than that of (1).

Equations 1 and 2: Diederik Kingma, Tim Salimans, Ben Poole and Jonathan Ho 2021, arXiv:2107.00630; Jonathan Ho, Ajay
Jain and Pieter Abbeel 2020, arXiv:2006.11239. Equation 3: Yang Song et al. 2021, arXiv:2011.13456.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.diffusion.ode import slope
from genjax.diffusion.parametrization import Prediction, level_for
from genjax.diffusion.process import Level, NoiseProcess, level
from genjax.diffusion.weighting import UniformLogSNR
from genjax.ops import Solver, check_at_least, divergence, gaussian_log_prob, sum_except_batch

Predict = Callable[[Array, Array], Prediction]  # x_t (B, ...) and t () or (B,) -> x₀ and ε
TIMES = UniformLogSNR()  # of the bound: where nothing is left of the data, it ends short of that


def bound(
    process: NoiseProcess, predict: Predict, key: Array, x: Array, num_samples: int, steps: Level | None = None
) -> Array:
    """Return an unbiased estimate of the bound on log p(x): the negative of equation 1.

    Args:
      process: the noise process.
      predict: the denoiser.
      key: typed key.
      x: data, (B, ...).
      num_samples: draws of a level and of noise for each example; the variance falls with their number.
      steps: levels of the sampler's steps, the last one that of data; None for infinitely many, equation 2.

    Returns:
      Nats, (B,).
    """
    check_at_least("num_samples", num_samples, 1)
    offset_key, noise_key = jax.random.split(key)
    offset = jax.random.uniform(offset_key, (len(x),))
    if steps is None:
        first, last = (level(process, TIMES.quantile(process, jnp.asarray(u, x.dtype))) for u in (0.0, 1.0))
    else:
        first, last = (jax.tree.map(lambda a, i=i: a[i], steps) for i in (-2, 0))

    def noisy(key: Array, t: Array) -> tuple[Array, Array]:
        """Return the squared errors of x₀ and ε, (B,), at times (B,), without what they have of chance alone."""
        noise = jax.random.normal(key, x.shape, x.dtype)
        here = level_for(process, t, x)
        prediction = predict(here.alpha * x + here.sigma * noise, t)
        data_error, noise_error = (
            sum_except_batch(jnp.square(a - b)) for a, b in zip(prediction, (x, noise), strict=True)
        )
        log_snr = process.log_snr(t)
        chance = sum_except_batch(jnp.square(noise)) - x[0].size
        return data_error - jax.nn.sigmoid(-log_snr) * chance, noise_error - jax.nn.sigmoid(log_snr) * chance

    def draw(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        number, key = inputs
        path_key, first_key = jax.random.split(key)
        u = jnp.mod(offset + number / num_samples, 1.0)
        if steps is None:
            _, error = noisy(path_key, TIMES.quantile(process, u))
            loss = 0.5 * (first.log_snr - last.log_snr) * error  # equation 2
        else:
            loss = _steps_loss(steps, u, lambda t: noisy(path_key, t))
        error, _ = noisy(first_key, jnp.full(len(x), first.t))
        variance = jnp.square(first.sigma / first.alpha)
        loss = loss + 0.5 * (error / variance + x[0].size * jnp.log(2 * math.pi * variance))
        return total + loss, None

    keys = jax.random.split(noise_key, num_samples)
    total, _ = jax.lax.scan(draw, jnp.zeros(len(x), x.dtype), (jnp.arange(num_samples), keys))
    prior = 0.5 * jnp.exp(last.log_snr) * sum_except_batch(jnp.square(x))
    return -(prior + total / num_samples)  # equation 1


def flow_log_prob(process: NoiseProcess, predict: Predict, solver: Solver, x: Array, directions: Array | None) -> Array:
    """Return equation 3.

    Args:
      process: the noise process.
      predict: the denoiser.
      solver: of the equation.
      x: data, (B, ...).
      directions: for the trace, (S, B, ...); None for the exact one. See ``ops.divergence``.

    Returns:
      Nats, (B, S), with S = 1 for the exact trace; NaN where the solver has not enough steps.
    """
    start, end = (level(process, jnp.asarray(t, x.dtype)) for t in (process.start, process.end))

    def change(t: Array, state: PyTree, directions: PyTree) -> PyTree:
        (x, _), _ = state
        along = divergence(lambda x: slope(process, t, predict(x, t)), x, directions)
        return (along.value, along.trace), nothing

    nothing = (jnp.zeros((), x.dtype),)
    log_det = jnp.zeros((len(x), 1 if directions is None else len(directions)), x.dtype)
    state = ((start.alpha * x, log_det), nothing)
    ((noise, log_det), _), reached, _ = solver.solve(change, start.t, end.t, state, directions)
    prior = gaussian_log_prob(noise, log_var=2 * jnp.log(end.sigma))
    log_prob = sum_except_batch(prior)[:, None] + log_det + x[0].size * jnp.log(start.alpha)  # equation 3
    return jnp.where(reached, log_prob, jnp.nan)


def _steps_loss(steps: Level, u: Array, errors: Callable[[Array], tuple[Array, Array]]) -> Array:
    """The sum of equation 1, by the one of its terms that u chooses for each example."""
    num_terms = len(steps.t) - 2  # all steps but the one to data
    if num_terms == 0:
        return jnp.zeros_like(u)
    i = jnp.minimum((u * num_terms).astype(jnp.int32), num_terms - 1)
    here, there = (jax.tree.map(lambda a, i=i: a[i], steps) for i in (i, i + 1))
    data_error, noise_error = errors(here.t)
    # In units of the noise where there is little of it, in units of the data where there is much.
    by_noise = jnp.expm1(there.log_snr - jnp.maximum(here.log_snr, 0.0)) * noise_error
    by_data = (jnp.exp(there.log_snr) - jnp.exp(here.log_snr)) * data_error
    return 0.5 * num_terms * jnp.where(here.log_snr > 0, by_noise, by_data)  # equation 1
