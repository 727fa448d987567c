"""Likelihoods of diffusion models: a variational bound and an estimate along the probability flow.

A model that starts from p(x_T) = N(0, σ_T² I), takes steps p(x_s | x_t) with the variance of q(x_s | x_t, x₀), as
``Ancestral`` does, and ends with x₀ ~ N(x̂₀, (σ/α)² I) at the first level, has the variational bound

    −log p(x₀) ≤ ½ SNR_T ‖x₀‖² + Σ ½ (SNR_s − SNR_t) E‖x₀ − x̂₀(x_t)‖² + E[−log N(x₀; x̂₀, (σ/α)²)].                (1)

For infinitely many steps the sum becomes an integral over log-SNRs,

    ½ ∫ E‖ε − ε̂(x_t)‖² dλ,                                                                                       (2)

which depends on the process only through its ends. The integral is smallest if the denoiser is the mean given x_t. Both
are estimated without bias, at levels stratified over the draws of an example. At low noise ε̂ carries almost no
information on ε, and the errors are dominated by ‖ε‖². Its deviation from the mean D is subtracted as a control variate
with coefficient sigmoid(λ).

The probability-flow equation is a continuous normalizing flow with the same marginals, so that

    log p(x₀) = log N(x_T; 0, σ_T²) + ∫ tr ∂v/∂x dt + D log α,        v = α′ x̂₀ + σ′ ε̂,                            (3)

starting from x = α x₀: the density of data with the noise of the first level. If the denoiser is not exact, this is the
density of the deterministic samplers, which differs from that of (1).

Equations 1 and 2: Diederik Kingma, Tim Salimans, Ben Poole and Jonathan Ho 2021, arXiv:2107.00630; Jonathan Ho, Ajay
Jain and Pieter Abbeel 2020, arXiv:2006.11239. Equation 3: Yang Song et al. 2021, arXiv:2011.13456.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.diffusion.parametrizations import Prediction, broadcast_level
from genjax.diffusion.processes import Level, NoiseProcess, level_at
from genjax.diffusion.samplers import flow_velocity
from genjax.diffusion.times import UniformLogSNR, stratified_mean
from genjax.ops import Solver, divergence, gaussian_log_prob, sum_except_batch

Predict = Callable[[Array, Array], Prediction]  # x_t (B, ...) and t () or (B,) -> x₀ and ε
TIMES = UniformLogSNR()  # of equation 2; it stops at its smallest log-SNR if the process ends without signal


def variational_bound(
    process: NoiseProcess, predict: Predict, key: Array, x: Array, num_samples: int, levels: Level | None = None
) -> Array:
    """Return an unbiased estimate of the lower bound on log p(x), the negative of equation 1; nats, (B,).

    Each of ``num_samples`` draws has a level and noise of its own. ``levels`` are the noise levels of the sampler, the
    last one that of the data; None stands for infinitely many steps, equation 2.
    """
    if levels is None:
        first, last = (level_at(process, TIMES.quantile(process, jnp.asarray(u, x.dtype))) for u in (0.0, 1.0))
    else:
        levels = jax.tree.map(lambda a: a.astype(x.dtype), levels)
        first, last = (jax.tree.map(lambda a, i=i: a[i], levels) for i in (-2, 0))

    def errors_at(key: Array, t: Array) -> tuple[Array, Array]:
        """Return the squared errors of x₀ and ε, (B,), at times (B,), less their control variates."""
        noise = jax.random.normal(key, x.shape, x.dtype)
        level = broadcast_level(process, t, x)
        prediction = predict(level.alpha * x + level.sigma * noise, t)
        data_error, noise_error = (
            sum_except_batch(jnp.square(a - b)) for a, b in zip(prediction, (x, noise), strict=True)
        )
        log_snr = process.log_snr(t)
        deviation = sum_except_batch(jnp.square(noise)) - x[0].size
        return data_error - jax.nn.sigmoid(-log_snr) * deviation, noise_error - jax.nn.sigmoid(log_snr) * deviation

    def draw(key: Array, u: Array) -> Array:
        path_key, first_key = jax.random.split(key)
        if levels is None:
            _, error = errors_at(path_key, TIMES.quantile(process, u))
            loss = 0.5 * (first.log_snr - last.log_snr) * error  # equation 2
        else:
            loss = _steps_loss(levels, u, lambda t: errors_at(path_key, t))
        error, _ = errors_at(first_key, jnp.full(x.shape[0], first.time))
        variance = jnp.square(first.sigma / first.alpha)
        return loss + 0.5 * (error / variance + x[0].size * jnp.log(2 * math.pi * variance))

    prior = 0.5 * jnp.exp(last.log_snr) * sum_except_batch(jnp.square(x))
    return -(prior + stratified_mean(draw, key, x.shape[0], num_samples, x.dtype))  # equation 1


def flow_log_prob(process: NoiseProcess, predict: Predict, solver: Solver, x: Array, directions: Array | None) -> Array:
    """Return equation 3, nats, (B, S); NaN if the solver runs out of steps.

    The trace is estimated along directions (S, B, ...), or exact for None, with S = 1. See ``ops.divergence``.
    """
    start, end = (level_at(process, jnp.asarray(t, x.dtype)) for t in (process.start, process.end))

    def derivative(t: Array, state: PyTree, directions: PyTree) -> PyTree:
        field = divergence(lambda x: flow_velocity(process, t, predict(x, t)), state[0], directions)
        return field.value, field.trace

    log_det = jnp.zeros((x.shape[0], 1 if directions is None else directions.shape[0]), x.dtype)
    state = (start.alpha * x, log_det)
    (noise, log_det), reached, _ = solver.solve(derivative, start.time, end.time, state, directions)
    prior = gaussian_log_prob(noise, log_var=2 * jnp.log(end.sigma))
    log_prob = sum_except_batch(prior)[:, None] + log_det + x[0].size * jnp.log(start.alpha)  # equation 3
    return jnp.where(reached, log_prob, jnp.nan)


def _steps_loss(levels: Level, u: Array, errors: Callable[[Array], tuple[Array, Array]]) -> Array:
    """Return an estimate of the sum of equation 1 by one of its terms, selected by u (B,)."""
    num_terms = len(levels.time) - 2  # all steps but the last one, to data
    if num_terms == 0:
        return jnp.zeros_like(u)
    i = jnp.minimum((u * num_terms).astype(jnp.int32), num_terms - 1)
    t, s = (jax.tree.map(lambda a, i=i: a[i], levels) for i in (i, i + 1))
    data_error, noise_error = errors(t.time)
    # In units of the noise if there is little of it, in units of the data otherwise, so that nothing cancels.
    noise_loss = jnp.expm1(s.log_snr - jnp.maximum(t.log_snr, 0.0)) * noise_error
    data_loss = (jnp.exp(s.log_snr) - jnp.exp(t.log_snr)) * data_error
    return 0.5 * num_terms * jnp.where(t.log_snr > 0, noise_loss, data_loss)  # equation 1
