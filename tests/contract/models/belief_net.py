"""A deep belief net of two restricted Boltzmann machines, trained one after the other.

The second machine's data are the hidden units of the finished first, p(h | v) = sigmoid(c + v W), drawn afresh for
every batch inside the compiled step.

Hinton, Osindero & Teh (2006).
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import optax

from genjax.boltzmann import RBM, Persistent
from genjax.core import Array, Batch
from genjax.learners import Frozen, Stage, gradient_learner


def stages(*sizes: int, steps: int = 4) -> tuple[Stage, ...]:
    """One stage for each pair of neighbouring layer sizes, ``layer1``, ``layer2``, ..."""
    machines = [RBM(shape=(v,), num_hidden=h, negative_phase=Persistent(4)) for v, h in itertools.pairwise(sizes)]
    return tuple(
        Stage(
            name=f"layer{i + 1}",
            learner=lambda frozen, machine=machine: gradient_learner(machine, optax.sgd(0.1)),
            batch=lambda frozen, below=tuple(machines[:i]): _upward(frozen, below),
            steps=steps,
        )
        for i, machine in enumerate(machines)
    )


def _upward(frozen: Frozen, below: tuple[RBM, ...]):
    def hidden(key: Array, batch: Batch) -> Batch:
        x = batch["x"]
        for i, machine in enumerate(below):
            probs = machine.encode(frozen[f"layer{i + 1}"], x)
            x = jax.random.bernoulli(jax.random.fold_in(key, i), probs).astype(jnp.float32)
        return {"x": x}

    return hidden
