"""Greedy training of a stack: each model on the codes of the one below, which is finished.

Of models p₁, p₂, … the first learns the data, and each other one learns hidden values drawn from the one below it,
given values drawn from below again: h₁ ~ p₁(h | x), h₂ ~ p₂(h | h₁), and so on, afresh for every batch. A belief net's
layers are such a stack, and each that is added to it can raise a bound on the likelihood.

Geoffrey Hinton, Simon Osindero and Yee-Whye Teh 2006, "A fast learning algorithm for deep belief nets".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import jax

from genjax.core import Array, Batch, GenerativeModel, Learner, Variables
from genjax.learners import Frozen, Stage


class DrawsCodes(GenerativeModel, Protocol):
    """A model whose hidden values given data can be drawn."""

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """Return hidden values of x."""
        ...


def greedy_stages(
    models: Sequence[DrawsCodes], learners: Sequence[Callable[[Frozen], Learner]], steps: Sequence[int]
) -> tuple[Stage, ...]:
    """Return the stages ``layer_1``, ``layer_2``, … that train a stack of models from below.

    Args:
      models: from the lowest, each a model of what the one below it has for codes.
      learners: of these models, each from the finished variables of the stages before, by name.
      steps: of these learners.
    """
    return tuple(
        Stage(name=layer_name(i), learner=learner, batch=_codes(models[:i]), steps=count, model=model)
        for i, (model, learner, count) in enumerate(zip(models, learners, steps, strict=True))
    )


def finished_layers(finished: Frozen) -> list[Variables]:
    """Return the variables of the stages of ``greedy_stages``, from the lowest."""
    names = [layer_name(i) for i in range(len(finished))]
    return [finished[name] for name in names if name in finished]


def layer_name(number: int) -> str:
    """Return the name of a stage, of the lowest for 0."""
    return f"layer_{number + 1}"


def _codes(below: Sequence[DrawsCodes]) -> Callable[[Frozen], Callable[[Array, Batch], Batch]]:
    def draw(finished: Frozen, key: Array, batch: Batch) -> Batch:
        x = batch["x"]
        for i, model in enumerate(below):
            x = model.sample_posterior(finished[layer_name(i)], jax.random.fold_in(key, i), x)
        return {**batch, "x": x}

    return lambda finished: lambda key, batch: draw(finished, key, batch)
