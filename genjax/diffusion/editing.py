"""Editing and inpainting of data with a model as it is trained.

To edit, data x become noise of a level between, and a sampler goes the rest of the way,

    x_t = α x + σ ε,                                                                                             (1)

so that what is coarser than the noise is kept and what is finer is drawn anew. Where x has a density of its own, other
than that of the data, both become more like each other the more noise there is.

To inpaint, what is known of x, by a mask m, is put in after each step, with the noise of its level,

    x_s ← m (α_s x + σ_s ε) + (1 − m) x_s,        x_s ~ p(x_s | x_t).                                             (2)

What the step has drawn for the rest could not see what is put in beside it. So each step is taken several times, and
between two of them noise leads back to where it began,

    x_t ~ q(x_t | x_s) = N(α_t/α_s x_s, σ²_{t|s}).                                                                (3)

What remains as bias: the rest comes to agree with x_s, which is not yet what is known but that with noise, so that at
the levels of much noise it is spread too widely, and too near its mean without anything known. This passes with the
noise, if there are steps and repeats enough at the last levels to forget it; each forgets a share of it that is about
σ²_{t|s} over the variance of the rest. Besides, repeats gather the errors of a step: more of them want more steps.

Equation 1: Chenlin Meng et al. 2022, arXiv:2108.01073. Equations 2 and 3: Andreas Lugmayr et al. 2022,
arXiv:2201.09865; theirs goes back by several levels at once, and begins without what is known.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array, Variables
from genjax.diffusion.ancestral import Ancestral
from genjax.diffusion.diffusion import Diffusion
from genjax.diffusion.grid import Grid
from genjax.diffusion.process import Level
from genjax.diffusion.sampling import Sampler, walk
from genjax.ops import check_at_least, check_examples


def edit(
    model: Diffusion,
    variables: Variables,
    key: Array,
    x: Array,
    *,
    strength: float,
    num_steps: int | None = None,
    sampler: Sampler | None = None,
    grid: Grid | None = None,
    **guidance: Any,
) -> Array:
    """Draw data like x.

    Args:
      model: the model.
      variables: of the model.
      key: typed key.
      x: (B, *shape).
      strength: share of the grid's steps that is taken, in (0, 1], one at least; 1 keeps only what the process keeps.
      num_steps: of the whole grid; None for the model's own.
      sampler: None for the model's own.
      grid: None for the model's own.
      **guidance: ``label``, ``guidance`` and the other settings of ``Diffusion.denoiser``.

    Returns:
      (B, *shape).

    Raises:
      ValueError: for a strength out of range.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength is {strength}, but must be in (0, 1]: 1 forgets x, next to 0 leaves it as it is")
    x, denoise = check_examples(x, model.shape), model.denoiser(variables, **guidance)
    steps = model.levels(num_steps, grid)
    num_all = len(steps.t) - 1
    first = num_all - max(1, round(strength * num_all))
    steps = jax.tree.map(lambda a: a[first:], steps)
    noise_key, walk_key = jax.random.split(key)
    noisy = steps.alpha[0] * x + steps.sigma[0] * jax.random.normal(noise_key, x.shape, x.dtype)  # equation 1
    return walk(sampler or model.sampler, model.process, denoise, steps, walk_key, noisy)[0]


def inpaint(
    model: Diffusion,
    variables: Variables,
    key: Array,
    x: Array,
    known: Array,
    *,
    resamplings: int = 10,
    num_steps: int | None = None,
    sampler: Sampler | None = None,
    grid: Grid | None = None,
    **guidance: Any,
) -> Array:
    """Draw what is not known of x.

    Args:
      model: the model.
      variables: of the model.
      key: typed key.
      x: (B, *shape); where it is not known, any number will do, and NaN too.
      known: which of x is known, bool, of a shape that broadcasts to that of x, such as (H, W, 1) for images.
      resamplings: how often each step is taken, but the last.
      num_steps: of the grid; None for the model's own.
      sampler: None for ``Ancestral()``; with resamplings it may not be one that remembers earlier steps.
      grid: None for the model's own.
      **guidance: ``label``, ``guidance`` and the other settings of ``Diffusion.denoiser``.

    Returns:
      (B, *shape), with what is known as it was.

    Raises:
      ValueError: for a mask of another shape or dtype, or a sampler that cannot repeat its steps.
    """
    check_at_least("resamplings", resamplings, 1)
    known = _checked_mask(known, x)
    x, denoise = check_examples(jnp.where(known, x, 0), model.shape), model.denoiser(variables, **guidance)
    steps = model.levels(num_steps, grid)

    def constrain(key: Array, here: Level, drawn: Array) -> Array:
        noise = jax.random.normal(key, x.shape, x.dtype)
        return jnp.where(known, here.alpha * x + here.sigma * noise, drawn)  # equation 2

    noise_key, walk_key = jax.random.split(key)
    # Of the rest nothing is known: it begins as samples do.
    begin = jnp.where(known, steps.alpha[0] * x, 0) + steps.sigma[0] * jax.random.normal(noise_key, x.shape, x.dtype)
    options = {"constrain": constrain, "repeats": resamplings}
    return walk(sampler or Ancestral(), model.process, denoise, steps, walk_key, begin, **options)[0]


def _checked_mask(known: Array, x: Array) -> Array:
    """Return the mask in the shape of x."""
    if known.dtype != bool:
        raise ValueError(f"known has dtype {known.dtype}, but must be bool: True where x is known; compare with 0")
    try:
        shape = np.broadcast_shapes(known.shape, x.shape)
    except ValueError:
        shape = None
    if shape != x.shape:
        raise ValueError(
            f"known has shape {known.shape}, but must broadcast to that of x, {x.shape}; (B, ...) for a mask of each"
        )
    return jnp.broadcast_to(known, x.shape)
