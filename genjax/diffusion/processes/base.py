"""Noise processes: how data become noise.

At time t, data x₀ have become

    x_t = α(t) x₀ + σ(t) ε,        ε ~ N(0, I),                                                                  (1)

and the log signal-to-noise ratio (log-SNR)

    λ(t) = log α(t)² / σ(t)²                                                                                     (2)

falls as t grows. The stochastic differential equation

    dx = f(t) x dt + g(t) dw,        f = α′ / α,        g² = −λ′ σ²,                                              (3)

has the same marginals, and its transitions from s to t > s are Gaussian:

    q(x_t | x_s) = N(α_t/α_s x_s, σ²_{t|s}),        σ²_{t|s} = σ_t² (1 − e^{λ_t − λ_s}).                           (4)

Diederik Kingma, Tim Salimans, Ben Poole and Jonathan Ho 2021, arXiv:2107.00630; equation 3: Yang Song, Jascha
Sohl-Dickstein, Diederik Kingma, Abhishek Kumar, Stefano Ermon and Ben Poole 2021, arXiv:2011.13456.

Time runs from ``start``, where there is almost no noise, to ``end``, where there is almost nothing else. Both are
attributes of every process.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array

LOG_SNR_BOUND = 20.0  # networks receive log-SNRs clipped to ±20, which exhausts the digits of float32
Times = Any  # arrays, or numbers: what processes that are given by formulas also take


@runtime_checkable
class NoiseProcess(Protocol):
    """A path from data to noise. Times may have any shape; results have the same shape."""

    @property
    def start(self) -> float:
        """Smallest time of training and sampling; samplers go from there to the data in one step."""
        ...

    @property
    def end(self) -> float:
        """Largest time, where samplers begin with N(0, σ² I)."""
        ...

    def alpha(self, t: Array) -> Array:
        """Return α(t), the scale of the data."""
        ...

    def sigma(self, t: Array) -> Array:
        """Return σ(t), the standard deviation of the noise."""
        ...

    def log_snr(self, t: Array) -> Array:
        """Return λ(t), equation 2."""
        ...

    def time(self, log_snr: Array) -> Array:
        """Return the time t at which λ(t) equals ``log_snr``."""
        ...


class Level(NamedTuple):
    """Noise level: a time with its α, σ and λ, all of one shape."""

    time: Array
    alpha: Array
    sigma: Array
    log_snr: Array


def level_at(process: NoiseProcess, t: Array) -> Level:
    """Return the noise level at times t."""
    return Level(t, process.alpha(t), process.sigma(t), process.log_snr(t))


def network_level(log_snr: Array) -> Array:
    """Return the noise level that networks receive, from 0 for data to 1 for noise, linear in the log-SNR."""
    return 0.5 - 0.5 * jnp.clip(log_snr, -LOG_SNR_BOUND, LOG_SNR_BOUND) / LOG_SNR_BOUND


class ProcessRates(NamedTuple):
    """Rates of change of a process, in the shape of the times: α′, σ′ and g² of equation 3."""

    alpha: Array
    sigma: Array
    diffusion: Array


def rates(process: NoiseProcess, t: Array) -> ProcessRates:
    """Return the rates of change of a process at times t."""

    def derivative(function: str) -> Array:
        return jax.jvp(getattr(process, function), (t,), (jnp.ones_like(t),))[1]

    diffusion = -derivative("log_snr") * jnp.square(process.sigma(t))  # equation 3
    return ProcessRates(derivative("alpha"), derivative("sigma"), diffusion)


def conditional_variance(t: Level, s: Level) -> Array:
    """Return σ²_{t|s} of equation 4, where t is the later level."""
    return -jnp.square(t.sigma) * jnp.expm1(t.log_snr - s.log_snr)


def check_process(process: NoiseProcess) -> None:
    """Raise ValueError if start is not before end, or the log-SNR of a process does not fall in between."""
    if not process.start < process.end:
        raise ValueError(f"start is {process.start} and end is {process.end}, but start must be less than end")
    # Evaluated eagerly, so that a process can be checked inside a function that is being compiled.
    with jax.ensure_compile_time_eval():
        t = jnp.linspace(process.start, process.end, 257)
        times, log_snr = np.asarray(t), np.asarray(process.log_snr(t))
    rises = np.flatnonzero(~(np.diff(log_snr) < 0))
    if rises.size:
        raise ValueError(
            f"{type(process).__name__} is not monotone: the log-SNR does not fall after t = {times[rises[0]]:.4g}; the "
            "noise of a process must grow with time"
        )
