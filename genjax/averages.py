"""Moving averages of parameters whose length is chosen after training.

The power-function average of the parameters θ(τ) over the steps τ ≤ t, and its update from one step to the next, are

    θ̄_γ(t) = ∫₀ᵗ p(τ; t, γ) θ(τ) dτ,        p(τ; t, γ) = (γ + 1) τ^γ / t^{γ+1},                                  (1)
    θ̄_γ(t) = β θ̄_γ(t − 1) + (1 − β) θ(t),        β = (1 − 1/t)^{γ+1}.                                            (2)

It always spans the same part of training, and forgets the initial parameters. The standard deviation of its profile p,
relative to t, is its length

    σ = (γ + 1)^{1/2} (γ + 2)⁻¹ (γ + 3)^{−1/2},                                                                  (3)

from nearly 0, the current parameters, to √(1/12) ≈ 0.289, the mean of all. Training keeps a few of these averages and
stores snapshots of them. Afterwards, the average of another length is approximated by the linear combination Σᵢ xᵢ θ̄ᵢ
of the snapshots whose profile is closest to its own,

    min_x ∫ (Σᵢ xᵢ pᵢ(τ) − p(τ))² dτ,        A x = b,        Aᵢⱼ = ∫ pᵢ pⱼ dτ,        bᵢ = ∫ pᵢ p dτ,               (4)
    ∫ p(τ; t, γ) p(τ; t′, γ′) dτ = (γ + 1) (γ′ + 1) m^{γ+γ′+1} / ((γ + γ′ + 1) t^{γ+1} t′^{γ′+1}),  m = min(t, t′), (5)

where x is divided by its sum, so that constant parameters stay as they are.

Tero Karras, Miika Aittala, Jaakko Lehtinen, Janne Hellsten, Timo Aila and Samuli Laine 2024, arXiv:2312.02696.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le

from genjax.arguments import Cure, check_arguments
from genjax.core import Array

MAX_LENGTH = 0.288  # just below √(1/12), where γ = 0
AverageLength = Annotated[float, Gt(0), Le(MAX_LENGTH), Cure("; 0.05 and 0.1 are usual")]


@check_arguments
def exponent(length: AverageLength) -> float:
    """Return γ for a length σ, the largest root of equation 3.

    >>> round(exponent(0.05), 2), round(exponent(0.1), 2)
    (16.97, 6.94)
    """
    inverse = length**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])  # (γ + 2)² (γ + 3) = (γ + 1) / σ²
    return float(np.max(roots.real))


@check_arguments
def average_decay(length: AverageLength, step: Array) -> Array:
    """Return β of equation 2 for the average after ``step`` steps, which are at least 1."""
    return (1 - 1 / step) ** (exponent(length) + 1)


@check_arguments
def combination(steps: Sequence[int], lengths: Sequence[AverageLength], step: int, length: AverageLength) -> np.ndarray:
    """Return the weights x of snapshots, which approximate the average of another length: equation 4.

    Args:
      steps: numbers of steps after which the snapshots were taken, at least 1 each.
      lengths: their lengths, as many.
      step: number of steps of the average that is asked for; snapshots should reach it.
      length: its length.

    >>> combination([50, 100, 100], [0.1, 0.05, 0.1], 100, 0.1).round(6).tolist()
    [-0.0, -0.0, 1.0]
    """
    if not len(steps) == len(lengths) > 0:
        raise ValueError(f"there are {len(steps)} steps and {len(lengths)} lengths; give one of each for each snapshot")
    times, exponents = np.array(steps, np.float64), np.array([exponent(value) for value in lengths])
    products = _product(times[:, None], exponents[:, None], times, exponents)
    target = _product(times, exponents, np.array(float(step)), np.array(exponent(length)))
    scale = 1 / np.sqrt(np.diag(products))  # profiles of unit norm, so that early ones do not spoil the condition
    x = scale * np.linalg.lstsq(scale[:, None] * products * scale, scale * target, rcond=1e-14)[0]
    return x / math.fsum(x)


def _product(t: np.ndarray, gamma: np.ndarray, t2: np.ndarray, gamma2: np.ndarray) -> np.ndarray:
    """Return equation 5."""
    m = np.minimum(t, t2)
    powers = (m / t) ** (gamma + 1) * (m / t2) ** (gamma2 + 1) / m
    return (gamma + 1) * (gamma2 + 1) / (gamma + gamma2 + 1) * powers
