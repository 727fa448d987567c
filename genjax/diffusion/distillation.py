"""Progressive distillation: a student that takes in one step what its teacher takes in two.

A step of the deterministic sampler DDIM from level t to level s is

    x_s = α_s x̂₀ + σ_s ε̂,                                                                                        (1)

with the denoiser's x̂₀ and ε̂ at x_t. The teacher takes two steps, from t to m and from m to s. One pair of data and
noise mixes to the same x_t, and leads to the same x_s in a single step:

    α_t x̃₀ + σ_t ε̃ = x_t,        α_s x̃₀ + σ_s ε̃ = x_s,                                                         (2)

    x̃₀ = (x_s − (σ_s/σ_t) x_t) / (α_s − (σ_s/σ_t) α_t),        ε̃ = (x_t − α_t x̃₀) / σ_t.                          (3)

The student learns to denoise x_t to it, at the times of a grid of N steps, where the teacher's grid has 2N:

    min E_{x₀, ε, t} w(t) ‖x̂₀(x_t, t) − x̃₀‖²,        w(t) = max(α_t²/σ_t², 1),                                   (4)

which is the loss of a diffusion model on other data (``Diffusion.loss``, with the weighting ``TruncatedSNR``). The
student starts from its teacher's parameters and is the next teacher, until one step is left. A network that predicts
the velocity determines x̂₀ at all levels, pure noise included.

Tim Salimans and Jonathan Ho 2022, arXiv:2202.00512.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import check_arguments
from genjax.core import Array, Batch, Variables
from genjax.diffusion.diffusion import Diffusion
from genjax.diffusion.grids import NumSteps
from genjax.diffusion.parametrizations import Prediction, broadcast_times
from genjax.diffusion.processes import Level
from genjax.diffusion.samplers import DDIM
from genjax.diffusion.times import stratified
from genjax.diffusion.weightings import TruncatedSNR
from genjax.ops import check_examples, check_leaf_shapes
from genjax.ops.couplings import draw_noise


@check_arguments
def distilled(teacher: Diffusion, num_steps: NumSteps) -> Diffusion:
    """Return the student of a teacher, which samples in ``num_steps`` steps of DDIM.

    It has the teacher's network, process, parametrization and grid, and the weighting of equation 4. It learns from
    ``distillation_targets`` with the same number of steps.

    Raises:
      ValueError: if a grid of this many steps is not every second level of one of twice as many.

    >>> from genjax import diffusion, nets
    >>> teacher = diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((8,)), grid=diffusion.grids.Nested())
    >>> model = distilled(teacher, 4)
    >>> model.num_steps
    4
    """
    _levels(teacher, num_steps)
    return dataclasses.replace(teacher, num_steps=num_steps, sampler=DDIM(), weighting=TruncatedSNR())


@check_arguments
def distillation_targets(
    teacher: Diffusion, variables: Variables, key: Array, batch: Batch, num_steps: NumSteps
) -> dict[str, Array]:
    """Return a batch for the loss of a student of ``num_steps`` steps: equation 3.

    It is for ``Stage(batch=…)``, which passes on the teacher's variables. Conditions are dropped here, as the teacher's
    ``condition_dropout`` says, because targets belong to a condition.

    Args:
      teacher: model of the teacher, which takes twice as many steps.
      variables: the teacher's variables.
      key: typed key.
      batch: batch of data, ``"x"`` (B, *shape), with ``"label"`` for a teacher with classes.
      num_steps: number of steps of the student, N.

    Returns:
      The batch with x̃₀ as ``"x"``, ε̃ as ``"noise"`` and t as ``"time"``.

    Raises:
      ValueError: if the data or the variables do not fit the teacher, or a grid of N steps is not every second level of
        one of 2N.

    >>> from genjax import diffusion, nets
    >>> teacher = diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((8,)), grid=diffusion.grids.Nested())
    >>> batch = {"x": jnp.zeros((3, 2))}
    >>> variables = teacher.init(jax.random.key(0), batch)
    >>> sorted(distillation_targets(teacher, variables, jax.random.key(1), batch, 4))
    ['noise', 'time', 'x']
    """
    x = check_examples(batch["x"], teacher.shape)
    needed = jax.eval_shape(teacher.init, key, batch)
    check_leaf_shapes("the teacher", variables, needed, "use the model that the teacher was trained as")
    step_key, noise_key, condition_key = jax.random.split(key, 3)
    levels = _levels(teacher, num_steps)
    first = 2 * jnp.floor(num_steps * stratified(step_key, x.shape[0])).astype(jnp.int32)
    t, m, s = (jax.tree.map(lambda a, i=i: broadcast_times(a[first + i], x), levels) for i in range(3))
    x_t = t.alpha * x + t.sigma * draw_noise(teacher.coupling, noise_key, x)
    condition = teacher.training_condition(condition_key, batch)
    embedding = teacher.embed(variables, condition)

    def step(x: Array, level: Level, next_level: Level) -> Array:
        data, noise = teacher.predict_embedded(variables, x, level.time.reshape(-1), embedding)
        return next_level.alpha * data + next_level.sigma * noise  # equation 1

    x_s = step(step(x_t, t, m), m, s)
    ratio = s.sigma / t.sigma
    data = (x_s - ratio * x_t) / (s.alpha - ratio * t.alpha)  # equation 3
    pair = Prediction(data, (x_t - t.alpha * data) / t.sigma)
    targets = {"x": pair.data, "noise": pair.noise, "time": t.time.reshape(-1)}
    return {**batch, **targets, **condition}


def _levels(teacher: Diffusion, num_steps: int) -> Level:
    """Return the levels of the teacher's grid of 2N steps; raise if every second of them is not a grid of N steps."""
    fine, coarse = teacher.levels(2 * num_steps), teacher.levels(num_steps)
    if not np.allclose(np.asarray(fine.time)[::2], coarse.time, rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"grid is {teacher.grid}, whose {num_steps} steps are not every second level of {2 * num_steps} steps; use "
            "grids.Nested(), or Nested of another grid"
        )
    return fine
