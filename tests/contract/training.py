"""A short training run of one case, whose every step is kept for the tests."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import core
from genjax.capabilities import conditions, likelihoods
from genjax.core import Array, Batch, GenerativeModel, Metrics, Objective, TrainState, Variables, step_key, stream_key
from genjax.learners import gradient_learner
from tests.contract.batches import NUM_EXAMPLES
from tests.contract.case import Case

NUM_STEPS = 5
EMA_DECAY = 0.2  # small enough to take over from the warm-up within the run


@dataclasses.dataclass(frozen=True)
class OneObjective:
    """A model with only one of its objectives."""

    model: GenerativeModel
    name: str

    def init(self, key: Array, batch: Batch):
        return self.model.init(key, batch)

    def objectives(self) -> tuple[Objective, ...]:
        return tuple(o for o in self.model.objectives() if o.name == self.name)

    def sample(self, variables, key, num_samples):
        return self.model.sample(variables, key, num_samples)


class Run:
    """Five donated steps of a case, with a copy of everything before and after each."""

    def __init__(self, case: Case, seed: int = 0):
        self.case = case
        self.model: Any = case.model()
        self.learner: core.Learner = gradient_learner(
            self.model, case.optimizers, schedule=case.schedule, ema_decay=EMA_DECAY
        )
        self.root, self.other_root = jax.random.key(seed), jax.random.key(seed + 1)
        self.stream = stream_key(self.root, "train")
        self.minibatch = case.batch(stream_key(self.root, "minibatch"))
        self.batches = [self._batch(i) for i in range(NUM_STEPS)]
        self.num_traces = 0
        self.step: Callable[..., tuple[TrainState, Metrics]] = jax.jit(self._counted_step, donate_argnums=0)

        train = self.init(stream_key(self.root, "init"), self.minibatch)
        self.states, self.metrics = [saved(train)], []
        self.donated = []
        for i in range(NUM_STEPS):
            old = train
            train, metrics = self.step(old, self.key(i), self.batches[i])
            self.donated.append(all(leaf.is_deleted() for leaf in jax.tree.leaves(old)))
            self.states.append(saved(train))
            self.metrics.append(saved(metrics))
        self.num_traces_of_five = self.num_traces

    @cached_property
    def init(self):
        return jax.jit(self.learner.init)

    def scan(self, root: Array, train: TrainState, batches: Batch) -> tuple[TrainState, Metrics]:
        """Return the states after each step and the metrics of one ``lax.scan`` over batches.

        Its keys are those that the run derives from the root key with the data ``root``. The checker of reused keys
        would take the key itself for reused, though the scan only folds step numbers into it.
        """

        def body(train: TrainState, batch: Batch) -> tuple[TrainState, tuple[TrainState, Metrics]]:
            stream = stream_key(jax.random.wrap_key_data(root), "train")
            train, metrics = self.step(train, step_key(stream, train.step), batch)
            return train, (train, metrics)

        return jax.lax.scan(body, train, batches)[1]

    @cached_property
    def replicas(self) -> list[tuple[TrainState, Metrics]]:
        """Results of ``scan`` for two seeds, initialized and trained in one ``vmap``."""

        def replica(root: Array) -> tuple[TrainState, Metrics]:
            init = self.init(stream_key(jax.random.wrap_key_data(root), "init"), self.minibatch)
            return self.scan(root, init, stacked(self.batches))

        roots = jax.random.key_data(jnp.stack([self.root, self.other_root]))
        # The checker takes a vmap of a scan over keys for a reuse, which it is not.
        with jax.debug_key_reuse(False):
            both = saved(jax.jit(jax.vmap(replica))(roots))
        return [jax.tree.map(lambda a: a[i], both) for i in range(2)]  # noqa: B023

    @cached_property
    def learned(self) -> Variables:
        """Variables for evaluation at the end of the run."""
        return restored(self.states[-1]).variables

    def lone(self, root: Array, num_steps: int) -> TrainState:
        """Run on the same data with another root key."""
        train = self.init(stream_key(root, "init"), self.minibatch)
        for i in range(num_steps):
            train, _ = self.step(train, step_key(stream_key(root, "train"), i), self.batches[i])
        return saved(train)

    def key(self, step: int) -> Array:
        return step_key(self.stream, step)

    def follow(self, train: TrainState, start: int, stop: int) -> TrainState:
        """Take steps ``start … stop`` with the keys and data of the run."""
        for i in range(start, stop):
            train, _ = self.step(train, self.key(i), self.batches[i])
        return train

    @staticmethod
    def sample(model: GenerativeModel, variables: Variables, key: Array, num_samples: int) -> Array:
        """Sample, with labels if the model is conditional."""
        return model.sample(variables, key, num_samples, **label_option(model, num_samples))

    @cached_property
    def draw(self) -> Callable[[GenerativeModel, Variables, Array, int], Array]:
        """``sample``, compiled with the model as a static argument, and its traces counted."""

        def counted(*args: Any) -> Array:
            self.num_draw_traces += 1
            return self.sample(*args)

        self.num_draw_traces = 0
        return jax.jit(counted, static_argnums=(0, 3))

    @cached_property
    def log_probs(self) -> Callable[[Variables, Array, Array], dict[str, Array]]:
        """All log-likelihoods of the model, by method, as one program of (variables, key, x)."""
        model, label = self.model, label_option(self.model, NUM_EXAMPLES)
        claims = {
            "log_prob": lambda variables, key, x: model.log_prob(variables, x, **label),
            "log_prob_lower_bound": lambda variables, key, x: model.log_prob_lower_bound(variables, key, x, **label),
            "log_prob_estimate": lambda variables, key, x: model.log_prob_estimate(variables, key, x, 4, **label),
        }
        # Each method may consume the whole key, so each gets a key of its own.
        return jax.jit(
            lambda variables, key, x: {
                name: claims[name](variables, step_key(key, i), x) for i, name in enumerate(likelihoods(model))
            }
        )

    @cached_property
    def probes(self) -> dict[str, Callable[[Any, Batch], tuple[TrainState, TrainState, Metrics]]]:
        """One gradient step of each objective alone, by name; the optimizer stores the gradient."""
        return {o.name: self._probe(o) for o in self.model.objectives()}

    def _probe(self, objective: Objective):
        optimizer = optax.sgd(0.1, momentum=0.0)
        step = jax.jit(gradient_learner(OneObjective(self.model, objective.name), optimizer).step)

        def probe(params, batch: Batch) -> tuple[TrainState, TrainState, Metrics]:
            parts = {name: params[name] for name in objective.wrt}
            opt_state = {objective.name: optimizer.init(parts)}
            before = self.states[2].replace(params=params, opt_state=opt_state, ema=None)
            after, metrics = step(restored(before), self.key(2), batch)
            return saved(before), saved(after), saved(metrics)

        return probe

    def _counted_step(self, train: TrainState, key: Array, batch: Batch):
        self.num_traces += 1
        return self.learner.step(train, key, batch)

    def _batch(self, step: int) -> Batch:
        key = step_key(stream_key(self.root, "data"), step)
        if self.learner.minibatches == 1:
            return self.case.batch(key)
        minibatches = [self.case.batch(step_key(key, i)) for i in range(self.learner.minibatches)]
        return stacked(minibatches)


def stacked(batches: Sequence[Batch]) -> Batch:
    """Give batches a leading axis."""
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)


def saved(tree):
    """Copy to numpy; a view would share memory with a buffer that is donated later."""
    return jax.tree.map(partial(np.array, copy=True), tree)


def restored(tree):
    """Copy to the device, into buffers that nothing else holds."""
    return jax.tree.map(partial(jnp.array, copy=True), tree)


def label_option(model: Any, num_examples: int) -> dict[str, Array]:
    """``{"label": ..., "local": ..., "prompt": ...}`` of the conditions that the model has."""
    options = {}
    for condition in conditions(model):
        if condition.kind == "label":
            options[condition.name] = jnp.arange(num_examples, dtype=jnp.int32) % condition.num_values
        elif condition.in_batch:
            free = 4 if condition.kind == "image" else 2  # length of free axes in the batches
            shape = (num_examples, *(size or free for size in condition.shape))
            ramp = jnp.linspace(-1, 1, math.prod(shape))
            if condition.num_values is not None:
                ramp = jnp.arange(math.prod(shape), dtype=jnp.int32) % condition.num_values
            options[condition.name] = ramp.reshape(shape)
    return options
