"""Greedy layer-wise training of a stack: each model learns the codes of the trained model below.

The first of models p₁, p₂, … learns the data; each further model learns hidden values of the one below it,
h₁ ~ p₁(h | x), h₂ ~ p₂(h | h₁), …, drawn anew for each batch. The layers of a deep belief net are such a stack, and
each new layer can raise a lower bound on the likelihood.

Geoffrey Hinton, Simon Osindero and Yee-Whye Teh 2006, "A fast learning algorithm for deep belief nets".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import jax

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, Batch, GenerativeModel, Learner, Variables
from genjax.learners import Frozen, Stage


@runtime_checkable
class SamplesPosterior(GenerativeModel, Protocol):
    """A generative model that draws hidden values given data."""

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """Draw hidden values given x."""
        ...


@check_arguments
def greedy_stages(
    models: Sequence[SamplesPosterior], learners: Sequence[Callable[[Frozen], Learner]], steps: Sequence[PositiveInt]
) -> tuple[Stage, ...]:
    """Return the stages ``layer_1``, ``layer_2``, … that train a stack of models, each on the codes of the one below.

    Models are in order, bottom first. For each, ``learners`` has a function from the variables of the earlier stages by
    name to a learner, and ``steps`` a number of learner steps.
    """
    if not len(models) == len(learners) == len(steps):
        raise ValueError(
            f"there are {len(models)} models, {len(learners)} learners and {len(steps)} steps; give one of each for "
            "every layer"
        )
    return tuple(
        Stage(name=layer_name(i), learner=learner, batch=_codes(models[:i]), steps=count, model=model)
        for i, (model, learner, count) in enumerate(zip(models, learners, steps, strict=True))
    )


def layer_variables(finished: Frozen) -> list[Variables]:
    """Return the variables of the finished stages of ``greedy_stages``, bottom first."""
    names = [layer_name(i) for i in range(len(finished))]
    return [finished[name] for name in names if name in finished]


def layer_name(number: int) -> str:
    """Return the name of a stage; number 0 is the bottom layer."""
    return f"layer_{number + 1}"


def _codes(below: Sequence[SamplesPosterior]) -> Callable[[Frozen], Callable[[Array, Batch], Batch]]:
    def draw(finished: Frozen, key: Array, batch: Batch) -> Batch:
        x = batch["x"]
        for i, model in enumerate(below):
            x = model.sample_posterior(finished[layer_name(i)], jax.random.fold_in(key, i), x)
        return {**batch, "x": x}

    return lambda finished: functools.partial(draw, finished)
