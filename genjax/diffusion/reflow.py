"""Reflow: pairs of noise and the data that a model makes of it.

The flow of a model is a map from noise to data. Trained anew on its pairs, with ways that are straight lines between
both,

    min E ‖q̂(x_t, t) − (α′ x₀ + σ′ ε)‖²,        x_t = α x₀ + σ ε,        x₀ = flow(ε),                              (1)

a model has the same distribution, and ways that cross less: no pair's cost grows, for any convex cost, and at the fixed
point samples take one step.

Xingchao Liu, Chengyue Gong and Qiang Liu 2023, arXiv:2209.03003.
"""

from __future__ import annotations

import jax

from genjax.core import Array, Variables
from genjax.diffusion.diffusion import Diffusion
from genjax.ops import check_at_least


def pairs(
    model: Diffusion,
    variables: Variables,
    key: Array,
    num: int,
    *,
    label: Array | int | None = None,
    num_steps: int | None = None,
) -> dict[str, Array]:
    """Draw noise, and decode it.

    Args:
      model: the model.
      variables: of the model.
      key: typed key.
      num: of pairs, N.
      label: class of all samples, or int32 (N,); None for any class. The batch does not keep it.
      num_steps: of ``Diffusion.decode``; None for the model's own.

    Returns:
      A batch with ``"x"`` and ``"noise"``, (N, *shape) each, as ``Diffusion.loss`` takes it.
    """
    check_at_least("num", num, 1)
    noise = jax.random.normal(key, (num, *model.shape))
    return {"x": model.decode(variables, noise, label=label, num_steps=num_steps), "noise": noise}
