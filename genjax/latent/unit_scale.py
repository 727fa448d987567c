"""Codes of unit scale for a prior that expects them, such as a diffusion model.

Codes c are divided by their standard deviation s, over all entries of the first batch of training,

    c = s u,        u ~ p(u),                                                                                    (1)

as in Robin Rombach et al. 2022, arXiv:2112.10752, appendix G.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, final

import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import Condition, conditions
from genjax.core import Array, Batch, GenerativeModel, LossFn, Metrics, Objective, PyTree, Variables

SCALE, MODEL = "scale", "model"


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class UnitScale:
    """A model of codes that are divided by their standard deviation, measured on the first batch: equation 1.

    Attributes:
      model: model of codes of unit scale. Its conditions are those of this model.

    >>> import jax
    >>> from genjax import diffusion, nets
    >>> prior = UnitScale(model=diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((4,)), num_steps=2))
    >>> variables = prior.init(jax.random.key(0), {"x": jnp.array([[3.0, -3.0], [-3.0, 3.0]])})
    >>> variables.state["scale"].item(), prior.sample(variables, jax.random.key(1), 5).shape
    (3.0, (5, 2))
    """

    model: GenerativeModel

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of the model."""
        return conditions(self.model)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Measure the scale of ``batch["x"]``, and initialize the model for codes of unit scale."""
        scale = jnp.std(batch["x"].astype(jnp.float32))
        scale = jnp.where(scale > 0, scale, 1.0)
        params, state = self.model.init(key, {**batch, "x": batch["x"] / scale})
        return Variables(params, {SCALE: scale, MODEL: state})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of the model, for codes of unit scale."""
        return tuple(
            Objective(name=each.name, wrt=each.wrt, loss=functools.partial(self._loss, each.loss))
            for each in self.model.objectives()
        )

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, **options: Any) -> Array:
        """Draw codes, (N, ...); ``options`` are further arguments of the model's ``sample``."""
        inner = Variables(variables.params, variables.state[MODEL])
        return variables.state[SCALE] * self.model.sample(inner, key, num_samples, **options)  # equation 1

    @staticmethod
    def _loss(
        loss: LossFn, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        batch = {**batch, "x": batch["x"] / state[SCALE]}
        value, (new_state, metrics) = loss(params, state[MODEL], key, batch, step)
        return value, ({**state, MODEL: new_state}, metrics)
