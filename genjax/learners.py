"""From objectives to a learner, and methods of several stages.

One learner step, for objectives L_1 … L_k with parts θ_1 … θ_k (which may overlap), is

    θ_i ← optimizer_i(θ_i, ∇_{θ_i} L_i(θ, state, key, batch, step)),    i running through the schedule,

each objective seeing what the ones before it have moved. Without a schedule every objective takes one turn on the
same minibatch; with one, every turn takes a fresh minibatch and equal neighbours run as one ``lax.scan``, so that
five critic updates cost the compile time of one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from genjax.core import Array, Batch, GenerativeModel, Learner, Metrics, Objective, PyTree, TrainState, Variables

Optimizers = optax.GradientTransformation | Mapping[str, optax.GradientTransformation]
Frozen = Mapping[str, Variables]


def gradient_learner(
    model: GenerativeModel,
    optimizers: Optimizers,
    *,
    schedule: tuple[str, ...] | None = None,
    ema_decay: float | None = None,
    init: Callable[[Array, Batch], Variables] | None = None,
) -> Learner:
    """Turn a model's objectives into a learner.

    Args:
      model: whose objectives are minimized.
      optimizers: one transformation for all objectives, or one for each objective by name.
      schedule: names of objectives in the order of their turns, ``("discriminator",) * 5 + ("generator",)``. None gives
        each objective one turn a step, all on the same minibatch.
      ema_decay: decay of the moving average of the parameters in [0, 1), or None for no average. The decay warms up as
        min(ema_decay, (1 + step) / (10 + step)).
      init: ``(key, batch) -> variables`` to start from, in place of ``model.init``: what an earlier stage has learned.

    Returns:
      A learner. Metrics are named as the objective names them, prefixed ``objective/`` where there are several.

    Raises:
      ValueError: when optimizers or schedule do not name the objectives; from ``init``, when an objective moves a part
        that the model lacks; from ``step``, when the batch does not hold one minibatch for every turn.
    """
    objectives = _by_name(model.objectives())
    optimizer_of = _optimizers_by_objective(optimizers, tuple(objectives))
    turns = _turns(schedule, tuple(objectives))
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay is {ema_decay}, but it must be in [0, 1); use None for no average")

    def init_state(key: Array, batch: Batch) -> TrainState:
        # Copies keep what an earlier stage has learned from being donated.
        params, state = model.init(key, batch) if init is None else jax.tree.map(jnp.copy, init(key, batch))
        opt_state = {name: optimizer_of[name].init(_parts(params, o)) for name, o in objectives.items()}
        # The copy keeps the two trees from sharing buffers, which donation rejects.
        ema = None if ema_decay is None else jax.tree.map(jnp.copy, params)
        return TrainState(step=jnp.int32(0), params=params, state=state, opt_state=opt_state, ema=ema)

    def turn(name: str, train: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        return _update(objectives[name], optimizer_of[name], train, key, batch)

    def repeated_turn(name: str, train: TrainState, key: Array, batches: Batch) -> tuple[TrainState, Metrics]:
        def body(carry: TrainState, xs: tuple[Array, Batch]) -> tuple[TrainState, Metrics]:
            return turn(name, carry, *xs)

        count = jax.tree.leaves(batches)[0].shape[0]
        train, metrics = jax.lax.scan(body, train, (jax.random.split(key, count), batches))
        return train, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    def step(train: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        if num_minibatches > 1:
            _check_minibatches(batch, num_minibatches)
        metrics: Metrics = {}
        start = 0
        for i, (name, count) in enumerate(turns):
            turn_key = key if len(turns) == 1 else jax.random.fold_in(key, i)
            mine = batch if num_minibatches == 1 else _minibatches(batch, start, count)
            train, new = (turn if count == 1 else repeated_turn)(name, train, turn_key, mine)
            metrics |= new if len(objectives) == 1 else {f"{name}/{k}": v for k, v in new.items()}
            start += count
        ema = None if ema_decay is None else _average(train.ema, train.params, ema_decay, train.step)
        return train.replace(step=train.step + 1, ema=ema), metrics

    num_minibatches = 1 if schedule is None else len(schedule)
    return Learner(init=init_state, step=step, minibatches=num_minibatches)


def _update(
    objective: Objective, optimizer: optax.GradientTransformation, train: TrainState, key: Array, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Take one gradient step of one objective on the parts that it may move."""

    def loss(parts: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
        return objective.loss(train.params | parts, train.state, key, batch, train.step)

    parts = _parts(train.params, objective)
    (value, (state, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(parts)
    updates, opt_state = optimizer.update(grads, train.opt_state[objective.name], parts)
    moved: PyTree = optax.apply_updates(parts, updates)
    new = train.replace(
        params={**train.params, **moved}, state=state, opt_state=train.opt_state | {objective.name: opt_state}
    )
    return new, {"loss": value} | metrics


def _parts(params: dict[str, PyTree], objective: Objective) -> dict[str, PyTree]:
    missing = [name for name in objective.wrt if name not in params]
    if missing:
        raise ValueError(
            f"objective {objective.name!r} moves {missing[0]!r}, but the model's params are {sorted(params)}; "
            "name one of these in wrt"
        )
    return {name: params[name] for name in objective.wrt}


def _check_minibatches(batch: Batch, expected: int) -> None:
    for name, array in batch.items():
        if array.shape[:1] != (expected,):
            raise ValueError(
                f"the schedule takes {expected} minibatches a step, but {name!r} has shape {array.shape}; "
                f"stack {expected} minibatches on a new leading axis"
            )


def _minibatches(batch: Batch, start: int, count: int) -> Batch:
    """Minibatches ``start … start + count`` of the leading axis, which goes when it is of length one."""
    return jax.tree.map(lambda a: a[start] if count == 1 else a[start : start + count], batch)


def _average(ema: PyTree, params: PyTree, decay: float, step: Array) -> PyTree:
    warm = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: (warm * e + (1.0 - warm) * p).astype(e.dtype), ema, params)


def _by_name(objectives: tuple[Objective, ...]) -> dict[str, Objective]:
    names = [objective.name for objective in objectives]
    if len(set(names)) < len(names):
        raise ValueError(f"the model's objectives are named {names}; give each a name of its own")
    return dict(zip(names, objectives, strict=True))


def _optimizers_by_objective(optimizers: Optimizers, names: tuple[str, ...]) -> dict[str, optax.GradientTransformation]:
    if not isinstance(optimizers, Mapping):
        return dict.fromkeys(names, optimizers)
    if set(optimizers) != set(names):
        raise ValueError(
            f"optimizers are given for {sorted(optimizers)}, but the model's objectives are {sorted(names)}; "
            "give one optimizer for each, or a single one for all"
        )
    return dict(optimizers)


def _turns(schedule: tuple[str, ...] | None, names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Run-length encode the schedule."""
    if schedule is None:
        return [(name, 1) for name in names]
    if not schedule:
        raise ValueError(f"schedule is empty; name objectives of {sorted(names)} in it, or use None")
    unknown = sorted(set(schedule) - set(names))
    unused = sorted(set(names) - set(schedule))
    if unknown or unused:
        what = f"names {unknown[0]!r}" if unknown else f"never names {unused[0]!r}"
        raise ValueError(f"schedule {what}, but the model's objectives are {sorted(names)}; name each at least once")
    return [(name, len(list(group))) for name, group in itertools.groupby(schedule)]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a method that trains in several: a belief net's layer, the prior after a VQ-VAE.

    Attributes:
      name: what logs, checkpoints and later stages call it.
      learner: from the finished variables of the earlier stages, by stage name, to this stage's learner.
      steps: number of learner steps.
      batch: from the finished variables to ``(key, batch) -> batch``, which turns a batch of data into what this stage
        trains on (the codes of a frozen encoder). It runs inside the compiled step. Without it that is the data.
      model: what trains, where that is not the experiment's model: its codes are watched for collapse. None for the
        experiment's model in the last stage, and nothing in the others.
    """

    name: str
    learner: Callable[[Frozen], Learner]
    steps: int
    batch: Callable[[Frozen], Callable[[Array, Batch], Batch]] = lambda _: lambda _, batch: batch
    model: GenerativeModel | None = None
