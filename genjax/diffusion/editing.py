"""Editing and inpainting with a trained model.

``edit`` adds noise to data x up to an intermediate level and lets a sampler remove it,

    x_t = α x + σ ε,                                                                                             (1)

so that features coarser than the noise are preserved and finer ones are drawn anew. The more noise, the closer the
result is to the data and the further from x.

``inpaint`` inserts the known part of x, given by a mask m, after each step, with the noise of its level,

    x_s ← m (α_s x + σ_s ε) + (1 − m) x_s,        x_s ~ p(x_s | x_t).                                             (2)

The step has drawn the unknown part without seeing the noisy values that are inserted next to it. So each step is taken
several times, with noise in between that leads back to level t,

    x_t ~ q(x_t | x_s) = N(α_t/α_s x_s, σ²_{t|s}).                                                                (3)

A bias remains: the unknown part agrees with x_s, the known part with noise, so that at high noise it is too diffuse and
too close to its unconditional mean. The bias vanishes with the noise if the last levels have enough steps and
resamplings to forget it; each forgets a fraction of about σ²_{t|s} over the variance of the unknown part. Resamplings
also accumulate the errors of a step: more of them need more steps.

Equation 1: Chenlin Meng et al. 2022, arXiv:2108.01073. Equations 2 and 3: Andreas Lugmayr et al. 2022,
arXiv:2201.09865, who return by several levels at once and start without the known part.
"""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Gt, Le

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array, Variables
from genjax.diffusion.diffusion import Diffusion
from genjax.diffusion.grids import Grid, GridName, NumSteps
from genjax.diffusion.loop import sample_loop
from genjax.diffusion.operators import Mask
from genjax.diffusion.processes import Level
from genjax.diffusion.samplers import SAMPLERS, Ancestral, Sampler, SamplerName
from genjax.ops import check_examples, resolve_choice

Strength = Annotated[float, Gt(0), Le(1), Cure("; 1 forgets x, values near 0 leave it unchanged")]


@check_arguments
def edit(
    model: Diffusion,
    variables: Variables,
    key: Array,
    x: Array,
    *,
    strength: Strength,
    num_steps: NumSteps | None = None,
    sampler: SamplerName | Sampler | None = None,
    grid: GridName | Grid | None = None,
    **guidance: Any,
) -> Array:
    """Draw variations of x, (B, *shape).

    Of the whole grid, only the last steps are taken: a fraction ``strength`` of them, in (0, 1], and at least one. 1
    forgets x as far as the process does. Other keyword arguments are those of ``Diffusion.sample``.

    Raises:
      ValueError: if the strength is out of range.
    """
    x, denoise = check_examples(x, model.shape), model.denoiser(variables, **guidance)
    levels = model.levels(num_steps, grid)
    total = len(levels.time) - 1
    first = total - max(1, round(strength * total))
    levels = jax.tree.map(lambda a: a[first:], levels)
    noise_key, loop_key = jax.random.split(key)
    x_t = levels.alpha[0] * x + levels.sigma[0] * jax.random.normal(noise_key, x.shape, x.dtype)  # equation 1
    sampler = resolve_choice("sampler", sampler, SAMPLERS, model.sampler)
    return sample_loop(sampler, model.process, denoise, levels, loop_key, x_t)[0]


@check_arguments
def inpaint(
    model: Diffusion,
    variables: Variables,
    key: Array,
    x: Array,
    mask: Array,
    *,
    num_resamplings: PositiveInt = 10,
    num_steps: NumSteps | None = None,
    sampler: SamplerName | Sampler | None = None,
    grid: GridName | Grid | None = None,
    **guidance: Any,
) -> Array:
    """Draw the unknown part of x (B, *shape) given the known part, which the result repeats.

    ``mask``, bool, is True where x is known, and broadcastable to the shape of x, such as (H, W, 1) for images. Unknown
    values of x may be anything, NaN included. Each step but the last is taken ``num_resamplings`` times. The sampler is
    by default ``Ancestral()``; multistep samplers need ``num_resamplings=1``. Other keyword arguments are those of
    ``Diffusion.sample``.

    Raises:
      ValueError: if the mask has another shape or dtype, or the sampler cannot repeat its steps.
    """
    mask = Mask(mask).broadcast(x.shape)
    x, denoise = check_examples(jnp.where(mask, x, 0), model.shape), model.denoiser(variables, **guidance)
    levels = model.levels(num_steps, grid)

    def constrain(key: Array, level: Level, x_s: Array) -> Array:
        noise = jax.random.normal(key, x.shape, x.dtype)
        return jnp.where(mask, level.alpha * x + level.sigma * noise, x_s)  # equation 2

    noise_key, loop_key = jax.random.split(key)
    noise = levels.sigma[0] * jax.random.normal(noise_key, x.shape, x.dtype)
    x_t = jnp.where(mask, levels.alpha[0] * x, 0) + noise  # the unknown part starts as pure noise, as in sampling
    sampler = resolve_choice("sampler", sampler, SAMPLERS, Ancestral())
    options = {"constrain": constrain, "repeats": num_resamplings}
    return sample_loop(sampler, model.process, denoise, levels, loop_key, x_t, **options)[0]
