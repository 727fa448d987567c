"""Codes of unit scale for a prior that expects them, such as a diffusion model.

Codes c are divided by their standard deviation s, over all entries of the first batch of training,

    c = s u,        u ~ p(u),                                                                                    (1)

as in Robin Rombach et al. 2022, arXiv:2112.10752, appendix G.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, final

import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import Condition, conditions
from genjax.core import Array, Batch, GenerativeModel, Metrics, Objective, PyTree, Variables

SCALE, MODEL = "scale", "model"


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class UnitScale:
    """A model of codes that are divided by their standard deviation, measured on the first batch: equation 1.

    Attributes:
      model: model of codes of unit scale, with a single objective. Its conditions are those of this model.

    Raises:
      ValueError: if the model has several objectives.

    >>> import jax
    >>> from genjax import diffusion, nets
    >>> model = UnitScale(model=diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((4,)), num_steps=2))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.array([[3.0, -3.0], [-3.0, 3.0]])})
    >>> variables.state["scale"].item(), model.sample(variables, jax.random.key(1), 5).shape
    (3.0, (5, 2))
    """

    model: GenerativeModel

    def __post_init__(self) -> None:
        names = [objective.name for objective in self.model.objectives()]
        if len(names) != 1:
            raise ValueError(
                f"model has the objectives {names}, but UnitScale takes a model with one; scale the codes by hand"
            )

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
        """Return the objective of the model, for codes of unit scale."""
        (objective,) = self.model.objectives()
        return (dataclasses.replace(objective, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the model's loss of a batch of codes, divided by the scale."""
        (objective,) = self.model.objectives()
        batch = {**batch, "x": batch["x"] / state[SCALE]}
        value, (new_state, metrics) = objective.loss(params, state[MODEL], key, batch, step)
        return value, ({**state, MODEL: new_state}, metrics)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, **options: Any) -> Array:
        """Draw codes, (N, ...); ``options`` are further arguments of the model's ``sample``."""
        inner = Variables(variables.params, variables.state[MODEL])
        return variables.state[SCALE] * self.model.sample(inner, key, num_samples, **options)  # equation 1
