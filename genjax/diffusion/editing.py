"""Editing with a trained model: other examples with the same coarse features.

``edit`` adds noise to data x up to an intermediate level and lets a sampler remove it,

    x_t = α x + σ ε,                                                                                             (1)

so that features coarser than the noise are preserved and finer ones are drawn anew. The more noise, the closer the
result is to the data and the further from x.

Chenlin Meng et al. 2022, arXiv:2108.01073.
"""

from __future__ import annotations

from typing import Annotated, Any

import jax
from annotated_types import Gt, Le

from genjax.arguments import Cure, check_arguments
from genjax.core import Array, Variables
from genjax.diffusion.diffusion import Diffusion
from genjax.diffusion.grids import Grid, GridName, NumSteps
from genjax.diffusion.loop import sample_loop
from genjax.diffusion.samplers import SAMPLERS, Sampler, SamplerName
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
