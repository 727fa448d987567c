"""Weightings: training losses from the errors of a denoiser.

For x_t with data x₀ and noise ε, a denoiser estimates x̂₀ and ε̂ from its network's output q̂, an estimate of q. As x_t is
known, all three errors are the same error in different units:

    ε̂ − ε = −(α/σ) (x̂₀ − x₀).                                                                                   (1)
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from genjax.core import Array
from genjax.diffusion.processes import NoiseProcess


class Errors(NamedTuple):
    """Squared errors of x₀, ε and q, summed over each example.

    Attributes:
      data: ‖x̂₀ − x₀‖², (B,).
      noise: ‖ε̂ − ε‖², (B,).
      output: ‖q̂ − q‖², (B,).
      size: number of elements of an example, D.
    """

    data: Array
    noise: Array
    output: Array
    size: int


class Weighting(Protocol):
    """A loss of each example."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """Return losses (B,) at times (B,)."""
        ...
