"""The contract of ``genjax.core``, checked for a model of one's own.

>>> from genjax import nets, ops, vae
>>> model = vae.VAE(latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((5,)), likelihood=ops.Bernoulli())
>>> check_model(model, {"x": jnp.eye(5)})
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax.capabilities import conditioning, likelihoods
from genjax.core import Array, Batch, GenerativeModel, Objective, PyTree, Variables
from genjax.learners import check_hashable, checked_loss, checked_variables, gradient_learner
from genjax.ops import leaves_by_path

TOLERANCE = 1e-4


class ContractError(ValueError):
    """A model breaks the contract; the message has one line for each fault."""


def check_model(model: Any, batch: Batch) -> None:
    """Run the contract on a model, compiling its ``init``, losses, ``sample`` and likelihoods.

    Args:
      model: model to check.
      batch: a minibatch as the model is trained on, arrays (B, ...), after preprocessing.

    Raises:
      ContractError: at the first part of the contract that the model breaks, with all faults of that part.
    """
    batch = jax.tree.map(jnp.asarray, dict(batch))
    for check in (_value, _init, _objectives, _losses, _training, _samples, _likelihoods):
        try:
            faults = list(check(model, batch))
        except ContractError:
            raise
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise ContractError(f"{check.__name__[1:]}: {kind}{error}") from error
        if faults:
            raise ContractError("\n".join(f"{check.__name__[1:]}: {fault}" for fault in faults))


def _value(model: Any, batch: Batch) -> Iterator[str]:
    del batch
    kind = type(model)
    missing = [name for name in ("init", "objectives", "sample") if not callable(getattr(model, name, None))]
    if missing:
        yield f"{kind.__name__} has no {missing[0]}; a model has init, objectives and sample"
    settings = getattr(kind, "__dataclass_params__", None)  # of the decorator
    if settings is None or not settings.frozen:
        yield f"{kind.__name__} is not frozen; decorate its class with @dataclass(frozen=True, kw_only=True)"
        return
    check_hashable(model)
    if dataclasses.replace(model) != model:
        yield "a copy differs from the model; compare fields by value, without arrays"


def _init(model: GenerativeModel, batch: Batch) -> Iterator[str]:
    one, again = (_variables(model, batch) for _ in range(2))
    checked_variables(model, one)
    if not _equal(one, again):
        yield "init returns other variables for the same key; take all randomness from the key"
    yield from (f"{name} has {fault}" for name, fault in _non_finite(one))


def _objectives(model: GenerativeModel, batch: Batch) -> Iterator[str]:
    params = _variables(model, batch).params
    objectives = model.objectives()
    for objective in objectives:
        if not isinstance(objective, Objective):
            yield f"objectives returned a {type(objective).__name__}, but must return Objective(name, wrt, loss)"
            return
        yield from (
            f"{objective.name!r} has {part!r} in wrt, but the params are {sorted(params)}"
            for part in objective.wrt
            if part not in params
        )
    untrained = set(params) - {part for objective in objectives for part in objective.wrt}
    yield from (f"no objective has {part!r} in wrt, so that it is never trained" for part in sorted(untrained))


def _losses(model: GenerativeModel, batch: Batch) -> Iterator[str]:
    variables = _variables(model, batch)
    for objective in model.objectives():

        def loss(parts: PyTree, objective: Objective = objective) -> tuple[Array, Any]:
            params = {**variables.params, **parts}
            key, step = jax.random.key(1), jnp.int32(0)
            return checked_loss(objective, objective.loss(params, variables.state, key, batch, step))

        parts = {part: variables.params[part] for part in objective.wrt}
        eager, compiled = loss(parts), jax.jit(loss)(parts)
        value, (state, metrics) = compiled
        name = f"the loss of {objective.name!r}"
        if not _equal(eager, compiled):
            yield f"{name} differs under jit; it must be a pure function"
        if not jnp.issubdtype(value.dtype, jnp.floating):
            yield f"{name} is {value.dtype}, but must be a floating-point number"
        if _spec(state) != _spec(variables.state):
            yield f"{name} returned a state of {_spec(state)}, but must keep its shapes, {_spec(variables.state)}"
        yield from (f"metric {m!r} of {name} has shape {a.shape}; average it" for m, a in metrics.items() if a.shape)
        yield from (f"{name}: {entry} has {fault}" for entry, fault in _non_finite(compiled))
        gradient = jax.jit(jax.grad(lambda parts, loss=loss: loss(parts)[0]))
        gradients = leaves_by_path(gradient(_perturbed(parts)))
        silent = [path for path, values in gradients.items() if not np.any(np.asarray(values))]
        yield from (f"{name} gives no gradient to {each}; leave it out of wrt, or use it" for each in silent)


def _training(model: GenerativeModel, batch: Batch) -> Iterator[str]:
    learner, traces = gradient_learner(model, optax.sgd(1e-3)), []

    def step(state: Any, key: Array) -> Any:
        traces.append(key)
        return learner.step(state, key, batch)[0]

    compiled = jax.jit(step, donate_argnums=0)
    state = learner.init(jax.random.key(0), batch)
    before = _spec(state)
    for number in range(2):
        state = compiled(state, jax.random.key(number))
    if len(traces) > 1 or _spec(state) != before:
        yield "a step changes shapes or dtypes of the variables; keep them as init made them"


def _samples(model: Any, batch: Batch) -> Iterator[str]:
    count = min(3, len(batch["x"]))
    condition = conditioning(model, {name: array[:count] for name, array in batch.items()})
    draw = jax.jit(lambda key: model.sample(_variables(model, batch), key, count, **condition))
    one, again, other = (draw(jax.random.key(seed)) for seed in (0, 0, 1))
    if one.shape != (count, *batch["x"].shape[1:]):
        yield f"{count} samples have shape {one.shape}, but data have {batch['x'].shape}"
    if not _equal(one, again):
        yield "sample returns other samples for the same key; take all randomness from the key"
    elif one.size and _equal(one, other):
        yield "sample returns the same samples for another key; use the key"
    yield from (f"samples have {fault}" for _, fault in _non_finite(one))


def _likelihoods(model: Any, batch: Batch) -> Iterator[str]:
    variables, condition = _variables(model, batch), conditioning(model, batch)
    for name in likelihoods(model):
        key = () if name == "log_prob" else (jax.random.key(2),)
        options = {"num_samples": 2} if name == "log_prob_estimate" else {}
        values = getattr(model, name)(variables, *key, batch["x"], **options, **condition)
        if values.shape != (len(batch["x"]),):
            yield f"{name} has shape {values.shape}, but must have ({len(batch['x'])},), nats per example"
        yield from (f"{name} has {fault}" for _, fault in _non_finite(values))


def _variables(model: GenerativeModel, batch: Batch) -> Variables:
    return model.init(jax.random.key(0), batch)


def _perturbed(params: PyTree) -> PyTree:
    """Return parameters with noise, since layers that start at zero hide the gradient of those before them."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    noisy = [p + 0.1 * jax.random.normal(key, p.shape, p.dtype) for p, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


def _equal(one: PyTree, other: PyTree) -> bool:
    """Return whether two trees agree up to rounding."""
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(
        np.allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), TOLERANCE, TOLERANCE, equal_nan=True)
        for a, b in leaves
    )


def _spec(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda a: f"{jnp.asarray(a).dtype}{list(jnp.shape(a))}", tree)


def _non_finite(tree: PyTree) -> Iterator[tuple[str, str]]:
    """Yield the path and a description of every leaf that has values which are not finite."""
    for path, leaf in leaves_by_path(tree).items():
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) and not np.isfinite(np.asarray(leaf)).all():
            yield path, "values that are not finite"
