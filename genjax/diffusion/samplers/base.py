"""Samplers: one step of a time grid, from x_t to x_s with less noise.

A sampler calls the denoiser as a function of x_t and t, so that guidance, thresholding and exact denoisers can take the
place of a network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax

from genjax.core import Array, PyTree
from genjax.diffusion.parametrizations import Prediction
from genjax.diffusion.processes import Level, NoiseProcess

Denoise = Callable[[Array, Array], Prediction]  # x_t (N, ...) and t () -> x₀ and ε, (N, ...) each


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
