"""Conditions of a denoiser: a class label, a text, or both.

A condition that is left out has a null value, which the denoiser learns too: the label K for K classes, and a text
without words. In training, a fraction of the examples gets null values in place of its own, so that samples can be
guided (``guidance``): Jonathan Ho and Tim Salimans 2022, arXiv:2207.12598.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.capabilities import Condition
from genjax.core import Array, Batch, PyTree
from genjax.nets import EncodesText

PROMPT, NEGATIVE_PROMPT = "prompt", "negative_prompt"


def text_conditions(encoder: EncodesText | None) -> tuple[Condition, ...]:
    """Return the prompt and the negative prompt that a text encoder reads, or nothing without one."""
    if encoder is None:
        return ()
    settings = {"shape": (encoder.length,), "num_values": encoder.num_tokens, "pad_token": encoder.pad_token}
    prompt = Condition(name=PROMPT, kind="tokens", optional=True, **settings)
    negative = Condition(
        name=NEGATIVE_PROMPT, kind="tokens", optional=True, in_batch=False, tokenizer=PROMPT, **settings
    )
    return (prompt, negative)


def complete(conditions: Sequence[Condition], values: Mapping[str, Array | int | None]) -> dict[str, Array]:
    """Return all conditions by name, int32 (N, *shape), or (1, *shape) for all examples; those left out are null.

    Raises:
      ValueError: if a name is not that of a condition, or a value has another shape or type, or is out of range.
    """
    names = [condition.name for condition in conditions]
    for name, value in values.items():
        if value is not None and name not in names:
            raise ValueError(f"{name} is given, but the conditions of this model are {names}; leave it out")
    return {c.name: _rows(c, values.get(c.name)) for c in conditions}


def from_batch(conditions: Sequence[Condition], batch: Batch) -> dict[str, Array]:
    """Return the conditions of a batch, where null values are allowed; ValueError if one is missing."""
    for condition in conditions:
        if condition.name not in batch:
            raise ValueError(
                f"the batch has {sorted(batch)}, but this model is conditioned on {condition.name!r}; add it to the "
                "data"
            )
    return {condition.name: _rows(condition, batch[condition.name], null=True) for condition in conditions}


def drop(key: Array, conditions: Sequence[Condition], values: Mapping[str, Array], rate: float) -> dict[str, Array]:
    """Return complete conditions (N, ...) of which a fraction of the examples, at random, has null values."""
    if not values:
        return {}
    num_rows = max(value.shape[0] for value in values.values())
    is_dropped = jax.random.bernoulli(key, rate, (num_rows,))
    return {
        c.name: jnp.where(is_dropped.reshape(-1, *[1] * len(c.shape)), null_value(c), values[c.name])
        for c in conditions
    }


def null_value(condition: Condition) -> Array:
    """Return the value of a condition that is left out, int32, its shape.

    >>> null_value(Condition(name="label", kind="label", num_values=3)).tolist()
    3
    """
    assert condition.null is not None
    return jnp.full(condition.shape, condition.null, jnp.int32)


def repeat_rows(tree: PyTree, num_rows: int) -> PyTree:
    """Return a pytree of arrays (N, ...) from one with a row for each of N examples, or one for all."""

    def repeat(array: Array) -> Array:
        if array.shape[0] not in (1, num_rows):
            raise ValueError(
                f"a condition has {array.shape[0]} rows, but x has {num_rows}; give one for all examples, or one for "
                "each"
            )
        return jnp.broadcast_to(array, (num_rows, *array.shape[1:]))

    return jax.tree.map(repeat, tree)


def _rows(condition: Condition, value: Array | int | None, *, null: bool = False) -> Array:
    if value is None:
        return null_value(condition)[None]
    name, shape, dtype = condition.name, jnp.shape(value), jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.integer) or shape not in (condition.shape, (*shape[:1], *condition.shape)):
        one = f"int32 {condition.shape}" if condition.shape else "one integer"
        many = f"(N, {', '.join(map(str, condition.shape))})" if condition.shape else "(N,)"
        raise ValueError(f"{name} has dtype {dtype} and shape {shape}, but must be {one} or int32 {many}")
    if not isinstance(value, Tracer) and condition.num_values is not None:
        values = np.asarray(value)
        wrong = values[(values < 0) | (values >= condition.num_values + (null and condition.kind == "label"))]
        if wrong.size:
            raise ValueError(f"{name} is {wrong.flat[0]}, but must be in 0, ..., {condition.num_values - 1}")
    return jnp.asarray(value, jnp.int32).reshape(-1, *condition.shape)
