"""Learners from objectives, and stages of training.

For objectives L_1 … L_k over parts θ_1 … θ_k of the parameters, which may overlap, one learner step is

    θ_i ← optimizer_i(θ_i, ∇_{θ_i} L_i(θ, state, key, batch, step)),    i running through the schedule,

where each objective sees the updates of those before it. Without a schedule, each objective takes one turn on the same
minibatch. With a schedule, each turn takes a new minibatch, and consecutive turns of one objective run in one
``lax.scan``, so that five critic updates take the compile time of one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from annotated_types import Interval
from optax import contrib

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.averages import AverageLength, average_decay
from genjax.core import Array, Batch, GenerativeModel, Learner, Metrics, Objective, PyTree, TrainState, Variables

Optimizers = optax.GradientTransformation | Mapping[str, optax.GradientTransformation]
Frozen = Mapping[str, Variables]
Decay = Annotated[float, Interval(ge=0, lt=1), Cure("; use None for no average")]


@check_arguments
def gradient_learner(
    model: GenerativeModel,
    optimizers: Optimizers,
    *,
    schedule: tuple[str, ...] | None = None,
    ema_decay: Decay | None = None,
    ema_lengths: tuple[AverageLength, ...] = (),
    accumulate: PositiveInt = 1,
    init: Callable[[Array, Batch], Variables] | None = None,
) -> Learner:
    """Turn a model's objectives into a learner, with the prefix ``objective/`` of metrics if there are several.

    Args:
      model: model whose objectives are minimized.
      optimizers: one gradient transformation for all objectives, or one for each objective by name.
      schedule: names of objectives in the order of their turns, such as ``("discriminator",) * 5 + ("generator",)``.
        None gives each objective one turn per step, all on the same minibatch.
      ema_decay: decay of the moving average of the parameters, in [0, 1), or None for no average. The decay warms up as
        min(ema_decay, (1 + step) / (10 + step)).
      ema_lengths: lengths of power-function averages to keep instead, such as (0.05, 0.1), see ``genjax.averages``; the
        shortest is evaluated, and other lengths can be chosen after training.
      accumulate: number of minibatches whose gradients are averaged for each update, so that a large batch needs the
        memory of a small one. Without batch statistics, the update is that of a batch as large as all of them.
      init: ``(key, batch) -> variables`` in place of ``model.init``, for example the variables of an earlier stage.

    Raises:
      ValueError: if optimizers or schedule do not name the objectives, or averages of both kinds are asked for; from
        ``init``, if an objective is over a part that the model lacks; from ``step``, if the batch does not contain one
        minibatch for each turn.
    """
    check_hashable(model)
    check_averages(ema_decay, ema_lengths)
    objectives = _by_name(model.objectives())
    optimizer_of = _optimizers_by_objective(optimizers, tuple(objectives))
    turns = _turns(schedule, tuple(objectives))

    def init_state(key: Array, batch: Batch) -> TrainState:
        # Donation of the training state must not delete the variables of an earlier stage.
        params, state = checked_variables(
            model, model.init(key, batch) if init is None else jax.tree.map(jnp.copy, init(key, batch))
        )
        # Donation rejects two trees that share buffers.
        opt_state = {
            name: jax.tree.map(jnp.copy, optimizer_of[name].init(_parts(params, o))) for name, o in objectives.items()
        }
        ema = jax.tree.map(jnp.copy, averaged(None, params, opt_state, jnp.int32(0)))
        averages = {f"{length:g}": jax.tree.map(jnp.copy, params) for length in ema_lengths}
        step = jnp.int32(0)
        return TrainState(step=step, params=params, state=state, opt_state=opt_state, ema=ema, averages=averages)

    def averaged(ema: PyTree, params: dict[str, PyTree], opt_state: PyTree, step: Array) -> PyTree:
        """Return the parameters that evaluation uses, or None if these are the trained ones."""
        evaluated = _schedule_free_params(params, opt_state, objectives)
        if evaluated is not None and (ema_decay is not None or ema_lengths):
            setting = f"ema_lengths is {ema_lengths}" if ema_lengths else f"ema_decay is {ema_decay}"
            raise ValueError(f"{setting}, but a schedule-free optimizer averages by itself; leave it out")
        if ema_decay is None:
            return evaluated
        # The decay warms up, so that the initial parameters are soon forgotten.
        return params if ema is None else _average(ema, params, jnp.minimum(ema_decay, (1.0 + step) / (10.0 + step)))

    def turn(name: str, train: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        return _update(objectives[name], optimizer_of[name], train, key, batch, accumulate)

    def repeated_turn(name: str, train: TrainState, key: Array, batches: Batch) -> tuple[TrainState, Metrics]:
        def body(carry: TrainState, xs: tuple[Array, Batch]) -> tuple[TrainState, Metrics]:
            return turn(name, carry, *xs)

        count = jax.tree.leaves(batches)[0].shape[0]
        train, metrics = jax.lax.scan(body, train, (jax.random.split(key, count), batches))
        return train, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    def step(train: TrainState, key: Array, batch: Batch) -> tuple[TrainState, Metrics]:
        if num_minibatches > 1:
            _check_minibatches(batch, num_minibatches)
        if accumulate > 1 and num_turns > 1:
            batch = jax.tree.map(lambda a: a.reshape(num_turns, accumulate, *a.shape[1:]), batch)
        metrics: Metrics = {}
        start = 0
        for i, (name, count) in enumerate(turns):
            turn_key = key if len(turns) == 1 else jax.random.fold_in(key, i)
            minibatches = batch if num_turns == 1 else _minibatches(batch, start, count)
            train, values = (turn if count == 1 else repeated_turn)(name, train, turn_key, minibatches)
            metrics |= values if len(objectives) == 1 else {f"{name}/{k}": v for k, v in values.items()}
            start += count
        ema = averaged(train.ema, train.params, train.opt_state, train.step)
        averages = {
            name: _average(train.averages[name], train.params, average_decay(float(name), train.step + 1))
            for name in train.averages
        }
        return train.replace(step=train.step + 1, ema=ema, averages=averages), metrics

    num_turns = 1 if schedule is None else len(schedule)
    num_minibatches = num_turns * accumulate
    return Learner(init=init_state, step=step, minibatches=num_minibatches)


def check_averages(ema_decay: float | None, ema_lengths: tuple[float, ...]) -> None:
    """Raise if averages of both kinds are asked for, or two of one length."""
    if ema_lengths and ema_decay is not None:
        raise ValueError(f"ema_decay is {ema_decay} and ema_lengths is {ema_lengths}; use one of them")
    if len({f"{length:g}" for length in ema_lengths}) < len(ema_lengths):
        raise ValueError(f"ema_lengths is {ema_lengths}, but lengths must differ; (0.05, 0.1) is usual")


def _update(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    train: TrainState,
    key: Array,
    batch: Batch,
    accumulate: int,
) -> tuple[TrainState, Metrics]:
    """Take one gradient step of one objective on its parts, on a batch or on ``accumulate`` stacked ones."""

    def loss(parts: PyTree, state: PyTree, key: Array, batch: Batch) -> tuple[Array, tuple[PyTree, Metrics]]:
        return checked_loss(objective, objective.loss(train.params | parts, state, key, batch, train.step))

    def gradient(state: PyTree, key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
        (value, (state, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(parts, state, key, batch)
        return state, (value, metrics, grads)

    def value_at(parts: PyTree) -> Array:
        def value(state: PyTree, key: Array, batch: Batch) -> tuple[PyTree, Array]:
            value, (state, _) = loss(parts, state, key, batch)
            return state, value

        return _over_minibatches(value, accumulate)(train.state, key, batch)[1]

    parts = _parts(train.params, objective)
    state, (value, metrics, grads) = _over_minibatches(gradient, accumulate)(train.state, key, batch)
    # Line searches and reductions on a plateau need the loss; optax drops what an optimizer does not take.
    extra = {"value": value, "grad": grads, "value_fn": value_at}
    optimizer = optax.with_extra_args_support(optimizer)
    updates, opt_state = optimizer.update(grads, train.opt_state[objective.name], parts, **extra)
    new_parts: PyTree = optax.apply_updates(parts, updates)
    train = train.replace(
        params={**train.params, **new_parts}, state=state, opt_state=train.opt_state | {objective.name: opt_state}
    )
    return train, {"loss": value} | metrics


def _over_minibatches(
    function: Callable[..., tuple[PyTree, PyTree]], count: int
) -> Callable[..., tuple[PyTree, PyTree]]:
    """Map ``(state, key, batch) -> (state, results)`` to a function of ``count`` stacked batches, with mean results."""
    if count == 1:
        return function

    def averaged(state: PyTree, key: Array, batches: Batch) -> tuple[PyTree, PyTree]:
        def body(carry: tuple[PyTree, PyTree], xs: tuple[Array, Batch]) -> tuple[tuple[PyTree, PyTree], None]:
            state, results = function(carry[0], *xs)
            return (state, jax.tree.map(lambda total, result: total + result / count, carry[1], results)), None

        xs = (jax.random.split(key, count), batches)
        first = jax.eval_shape(lambda xs: jax.tree.map(lambda a: a[0], xs), xs)
        shapes = jax.eval_shape(function, state, *first)[1]
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.result_type(s.dtype, jnp.float32)), shapes)
        return jax.lax.scan(body, (state, zeros), xs)[0]

    return averaged


def _schedule_free_params(
    params: dict[str, PyTree], opt_state: PyTree, objectives: Mapping[str, Objective]
) -> PyTree | None:
    """Return parameters with the averages that schedule-free optimizers keep, or None without such an optimizer."""

    def is_schedule_free(state: PyTree) -> bool:
        return isinstance(state, contrib.ScheduleFreeState)

    averages = {}
    for name, objective in objectives.items():
        for state in filter(is_schedule_free, jax.tree.leaves(opt_state[name], is_leaf=is_schedule_free)):
            averages |= contrib.schedule_free_eval_params(state, _parts(params, objective))
    return {**params, **averages} if averages else None


def check_hashable(model: object) -> None:
    """Raise if a model is not a value that compiled code can be told apart by."""
    try:
        hash(model)
    except TypeError as error:
        raise ValueError(
            f"{type(model).__name__} cannot be hashed ({error}); decorate its class with @dataclass(frozen=True, "
            "kw_only=True), and use tuples for lists"
        ) from error


def checked_variables(model: object, variables: Any) -> Variables:
    """Return what ``init`` of a model returned; raise ValueError for anything but Variables."""
    if not isinstance(variables, Variables) or not isinstance(variables.params, Mapping):
        raise ValueError(
            f"init of {type(model).__name__} returned a {type(variables).__name__}, but must return "
            'genjax.Variables(params, state) with params by part; return Variables({"net": params}, {})'
        )
    return variables


def checked_loss(objective: Objective, returned: Any) -> tuple[Array, tuple[PyTree, Metrics]]:
    """Return what the loss of an objective returned; raise ValueError for anything but a scalar, state and metrics."""
    match returned:
        case (value, (state, Mapping() as metrics)) if jnp.shape(value) == ():
            return value, (state, dict(metrics))
        case (value, (_, Mapping())):
            what = f"a loss of shape {jnp.shape(value)}"
        case _:
            what = f"a {type(returned).__name__}"
    raise ValueError(
        f"the loss of objective {objective.name!r} returned {what}, but must return a scalar, the new state and "
        "metrics; return loss, (state, {})"
    )


def _parts(params: dict[str, PyTree], objective: Objective) -> dict[str, PyTree]:
    missing = [name for name in objective.wrt if name not in params]
    if missing:
        raise ValueError(
            f"objective {objective.name!r} has {missing[0]!r} in wrt, but the model's params are {sorted(params)}; "
            "use one of these"
        )
    return {name: params[name] for name in objective.wrt}


def _check_minibatches(batch: Batch, expected: int) -> None:
    for name, array in batch.items():
        if array.shape[:1] != (expected,):
            raise ValueError(
                f"schedule and accumulate take {expected} minibatches per step, but {name!r} has shape {array.shape}; "
                f"stack {expected} minibatches along a new leading axis"
            )


def _minibatches(batch: Batch, start: int, count: int) -> Batch:
    """Return ``count`` minibatches of the leading axis from ``start`` on, or one without that axis."""
    return jax.tree.map(lambda a: a[start] if count == 1 else a[start : start + count], batch)


def _average(average: PyTree, params: PyTree, decay: Array) -> PyTree:
    return jax.tree.map(lambda a, p: (decay * a + (1.0 - decay) * p).astype(a.dtype), average, params)


def _by_name(objectives: tuple[Objective, ...]) -> dict[str, Objective]:
    names = [objective.name for objective in objectives]
    if len(set(names)) < len(names):
        raise ValueError(f"the model's objectives are named {names}, but names must differ; rename one")
    return dict(zip(names, objectives, strict=True))


def _optimizers_by_objective(optimizers: Optimizers, names: tuple[str, ...]) -> dict[str, optax.GradientTransformation]:
    if not isinstance(optimizers, Mapping):
        return dict.fromkeys(names, optimizers)
    if set(optimizers) != set(names):
        raise ValueError(
            f"optimizers are given for {sorted(optimizers)}, but the model's objectives are {sorted(names)}; "
            "provide one optimizer for each, or a single one for all"
        )
    return dict(optimizers)


def _turns(schedule: tuple[str, ...] | None, names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Run-length encode the schedule."""
    if schedule is None:
        return [(name, 1) for name in names]
    if not schedule:
        raise ValueError(f"schedule is empty, but must name objectives of {sorted(names)}; use None for one turn each")
    unknown = sorted(set(schedule) - set(names))
    unused = sorted(set(names) - set(schedule))
    if unknown or unused:
        what = f"names {unknown[0]!r}" if unknown else f"never names {unused[0]!r}"
        raise ValueError(f"schedule {what}, but the model's objectives are {sorted(names)}; name each at least once")
    return [(name, len(list(group))) for name, group in itertools.groupby(schedule)]


@check_arguments
@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of multi-stage training, such as a layer of a deep belief net, or the prior of a VQ-VAE.

    Attributes:
      name: name of the stage in logs, checkpoints and later stages.
      learner: function from the final variables of the earlier stages, by stage name, to the learner of this stage.
      steps: number of learner steps.
      batch: function from those variables to ``(key, batch) -> batch``, which maps a batch of data to what this stage
        trains on, such as the codes of a frozen encoder. It runs inside the compiled step. The default is the data.
      cache: function like that of ``batch``, which runs once over the training split, before the stage begins; its
        results stay on the device, and ``batch`` maps them, in place of the data. Random preprocessing is drawn once
        for each example. None computes everything in the step.
      model: model to train, if it is not that of the experiment; its codes are monitored for collapse. With None, the
        last stage monitors the experiment's model, and the others monitor nothing.
    """

    name: str
    learner: Callable[[Frozen], Learner]
    steps: PositiveInt
    batch: Callable[[Frozen], Callable[[Array, Batch], Batch]] = lambda _: lambda _, batch: batch
    cache: Callable[[Frozen], Callable[[Array, Batch], Batch]] | None = None
    model: GenerativeModel | None = None

    def examples(self, finished: Frozen) -> Callable[[Array, Batch], Batch]:
        """Return the function ``(key, batch) -> batch`` from data to what this stage trains on, nothing cached."""
        to_batch = self.batch(finished)
        if self.cache is None:
            return to_batch
        to_cache = self.cache(finished)

        def both(key: Array, batch: Batch) -> Batch:
            cache_key, batch_key = jax.random.split(key)
            return to_batch(batch_key, to_cache(cache_key, batch))

        return both
