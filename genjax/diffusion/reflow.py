"""Reflow: pairs of noise and the data that a model's flow maps it to.

The flow of a model maps noise to data. A model retrained on such pairs, joined by straight lines,

    min E ‖q̂(x_t, t) − (α′ x₀ + σ′ ε)‖²,        x_t = α x₀ + σ ε,        x₀ = flow(ε),                              (1)

has the same distribution and paths that cross less: the transport cost does not grow for any convex cost, and at the
fixed point one sampling step suffices.

Xingchao Liu, Chengyue Gong and Qiang Liu 2023, arXiv:2209.03003.
"""

from __future__ import annotations

from typing import Any

import jax

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, Variables
from genjax.diffusion.diffusion import Diffusion


@check_arguments
def reflow_pairs(
    model: Diffusion,
    variables: Variables,
    key: Array,
    num_pairs: PositiveInt,
    *,
    num_steps: PositiveInt | None = None,
    **condition: Any,
) -> dict[str, Array]:
    """Draw N = ``num_pairs`` noises and decode them with ``Diffusion.decode``, given conditions by name.

    Returns:
      A batch for ``Diffusion.loss`` with ``"x"`` and ``"noise"``, (N, *shape) each, without the conditions.
    """
    noise = jax.random.normal(key, (num_pairs, *model.shape))
    return {"x": model.decode(variables, noise, num_steps=num_steps, **condition), "noise": noise}
