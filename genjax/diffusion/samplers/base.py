"""Samplers: one step of a time grid, from x_t to x_s with less noise.

A sampler calls the denoiser as a function of x_t and t, so that guidance, thresholding and exact denoisers can take the
place of a network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.diffusion.parametrizations import Prediction
from genjax.diffusion.processes import Level, NoiseProcess

Denoise = Callable[[Array, Array], Prediction]  # x_t (N, ...) and t () -> x₀ and ε, (N, ...) each


class SelfConditioned(NamedTuple):
    """A denoiser that also takes its own estimate of the data in the step before, which a sampling loop passes on.

    Functions that wrap a denoiser, such as posterior guidance, call it without an estimate.

    Attributes:
      given: function from that estimate (N, ...) to the denoiser; None stands for no estimate.
    """

    given: Callable[[Array | None], Denoise]

    def __call__(self, x: Array, t: Array) -> Prediction:
        """Denoise without an estimate."""
        return self.given(None)(x, t)


class Step(NamedTuple):
    """Result of one step.

    Attributes:
      x: x_s, (N, ...).
      carry: what the sampler keeps for its next step.
      data: the denoiser's x̂₀ at x_t, (N, ...).
    """

    x: Array
    carry: PyTree
    data: Array


class History(NamedTuple):
    """Values at the levels before, the latest first, from which a multistep sampler extrapolates.

    Attributes:
      values: values, (K, N, ...).
      positions: abscissas, (K,).
      count: number of values so far, int32 (); the entries after them are zeros.
    """

    values: Array
    positions: Array
    count: Array

    @classmethod
    def empty(cls, x: Array, length: int) -> History:
        """Return a history with room for ``length`` values shaped like x, and no value yet."""
        return cls(jnp.zeros((length, *x.shape), x.dtype), jnp.zeros(length), jnp.int32(0))

    def push(self, value: Array, position: Array) -> History:
        """Return a history that is longer by one value."""
        positions = jnp.concatenate([position[None].astype(self.positions.dtype), self.positions])
        return History(jnp.concatenate([value[None], self.values]), positions, self.count + 1)

    def latest(self, length: int) -> History:
        """Return the latest ``length`` values."""
        return History(self.values[:length], self.positions[:length], jnp.minimum(self.count, length))

    def differences(self) -> tuple[Array, Array]:
        """Return the divided differences [01] and [012], or 0 where there are too few values.

        [01] = (v_0 − v_1) / (p_0 − p_1) and [012] = ([01] − [12]) / (p_0 − p_2), the coefficients of Newton's
        polynomial through the latest two or three values.
        """
        zeros = jnp.zeros_like(self.values[0])
        first = self._slope(0, 1) if len(self.values) > 1 else zeros
        if len(self.values) < 3:
            return first, zeros
        gap = jnp.where(self.count > 2, self.positions[0] - self.positions[2], 1.0)  # nothing is divided by 0
        return first, jnp.where(self.count > 2, (first - self._slope(1, 2)) / gap, zeros)

    def _slope(self, i: int, j: int) -> Array:
        gap = jnp.where(self.count > j, self.positions[i] - self.positions[j], 1.0)
        return jnp.where(self.count > j, (self.values[i] - self.values[j]) / gap, 0.0)


@runtime_checkable
class Sampler(Protocol):
    """A rule for one step. By default it calls the denoiser once, works where α_t = 0, and carries nothing.

    Attributes:
      evaluations: calls of the denoiser in a step. The last step needs only x̂₀ and skips those that follow it.
      needs_signal: whether a step divides by α_t, so that α must be positive.
    """

    evaluations: int = 1
    needs_signal: bool = False

    def init_carry(self, x: Array) -> PyTree:
        """Return the carry of the first step."""
        del x
        return ()

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """Take a step from level t to level s, both scalars with σ > 0.

        The last step to data keeps only ``Step.data``. Its s is a stand-in at the time of t; see ``unless_last``.
        """
        ...


def unless_last(t: Level, s: Level, evaluate: Callable[[], PyTree], default: PyTree) -> PyTree:
    """Return ``evaluate()``, or in the last step ``default``, without calling the denoiser again."""
    return jax.lax.cond(s.time == t.time, lambda: default, evaluate)
