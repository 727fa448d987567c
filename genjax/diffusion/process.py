"""Noise processes: how data become noise.

At time t, data x₀ have become

    x_t = α(t) x₀ + σ(t) ε,        ε ~ N(0, I),                                                                  (1)

and the ratio of signal to noise, in logarithm,

    λ(t) = log α(t)² / σ(t)²,                                                                                    (2)

falls as t grows. The same x_t come of a stochastic differential equation,

    dx = f(t) x dt + g(t) dw,        f = α′ / α,        g² = −λ′ σ²,                                              (3)

and what of x_s becomes x_t, s < t, is Gaussian too:

    q(x_t | x_s) = N(α_t/α_s x_s, σ²_{t|s}),        σ²_{t|s} = σ_t² (1 − e^{λ_t − λ_s}).                           (4)

Diederik Kingma, Tim Salimans, Ben Poole and Jonathan Ho 2021, arXiv:2107.00630; equation 3: Yang Song, Jascha
Sohl-Dickstein, Diederik Kingma, Abhishek Kumar, Stefano Ermon and Ben Poole 2021, arXiv:2011.13456.

Times run from ``start``, where next to no noise is, to ``end``, where little else is; both are fields of each process.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array


@runtime_checkable
class NoiseProcess(Protocol):
    """A way from data to noise. Times may have any shape, and so have results."""

    @property
    def start(self) -> float:
        """The least time, in training and for samplers, which take the way from there to data in one step."""
        ...

    @property
    def end(self) -> float:
        """The greatest time: samplers begin there, with N(0, σ²)."""
        ...

    def alpha(self, t: Array) -> Array:
        """α(t), the share of the data."""
        ...

    def sigma(self, t: Array) -> Array:
        """σ(t), the standard deviation of the noise."""
        ...

    def log_snr(self, t: Array) -> Array:
        """λ(t), equation 2."""
        ...

    def time(self, log_snr: Array) -> Array:
        """The time at which λ(t) has this value."""
        ...


class Level(NamedTuple):
    """Where a process is at a time: a scalar of each, or arrays of one shape."""

    t: Array
    alpha: Array
    sigma: Array
    log_snr: Array


def level(process: NoiseProcess, t: Array) -> Level:
    """Return where a process is at times t."""
    return Level(t, process.alpha(t), process.sigma(t), process.log_snr(t))


class Rates(NamedTuple):
    """How a process changes, arrays of the times' shape: α′, σ′ and g² of equation 3."""

    alpha: Array
    sigma: Array
    diffusion: Array


def rates(process: NoiseProcess, t: Array) -> Rates:
    """Return the derivatives of a process at times t."""

    def derivative(function: str) -> Array:
        return jax.jvp(getattr(process, function), (t,), (jnp.ones_like(t),))[1]

    diffusion = -derivative("log_snr") * jnp.square(process.sigma(t))  # equation 3
    return Rates(derivative("alpha"), derivative("sigma"), diffusion)


def conditional_variance(later: Level, earlier: Level) -> Array:
    """Return σ²_{t|s} of equation 4, at t, the later one."""
    return -jnp.square(later.sigma) * jnp.expm1(later.log_snr - earlier.log_snr)


def check_process(process: NoiseProcess) -> None:
    """Refuse a process whose signal does not fade all the way.

    Raises:
      ValueError: where times are not in order, or λ does not fall between them.
    """
    if not process.start < process.end:
        raise ValueError(f"start is {process.start} and end is {process.end}, but start must be the smaller one")
    # In eager numbers of the host, so that a process may be checked while something else is being compiled.
    with jax.ensure_compile_time_eval():
        t = jnp.linspace(process.start, process.end, 257)
        log_snr = np.asarray(process.log_snr(t))
    rises = np.flatnonzero(~(np.diff(log_snr) < 0))
    if rises.size:
        where = float(np.asarray(t)[rises[0]])
        raise ValueError(
            f"{type(process).__name__} is not monotone: the log-SNR does not fall after t = {where:.4g}; the noise of "
            "a process must grow with time"
        )
