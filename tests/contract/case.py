"""What the contract tests need to know about a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import jax
import optax

from genjax.core import Array, Batch
from genjax.learners import Optimizers, Stage

# With an epsilon this large, Adam does not blow rounding errors of tiny gradients up to whole steps, so that compiled,
# eager, mapped and sharded runs can be compared tightly. Its update is jitted on its own, because an eager step would
# compile it operation by operation.
_ADAM = optax.adam(1e-2, eps=1e-3)
SMOOTH_ADAM = optax.GradientTransformation(_ADAM.init, jax.jit(_ADAM.update))


@dataclass(frozen=True)
class Case:
    """One model that the contract tests check.

    Attributes:
      name: id of its tests.
      model: makes the model; called more than once, it makes equal models.
      batch: function from a key to one small minibatch, with an even number of examples under ``x``.
      moves: the entries of ``state`` that an update changes, by objective. It changes no others.
      optimizers: as ``gradient_learner`` takes them.
      schedule: as ``gradient_learner`` takes it.
      extremes: constant data at which losses and gradients stay finite.
      scale: factor on all parameters at which losses and gradients stay finite.
    """

    name: str
    model: Callable[[], Any]
    _: KW_ONLY
    batch: Callable[[Array], Batch]
    moves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optimizers: Optimizers = SMOOTH_ADAM
    schedule: tuple[str, ...] | None = None
    extremes: tuple[float, ...] = (0.0, 1.0)
    scale: float = 10.0


@dataclass(frozen=True)
class Pipeline:
    """A method of several stages that the contract tests check."""

    name: str
    stages: Callable[[], tuple[Stage, ...]]
    _: KW_ONLY
    batch: Callable[[Array], Batch]
