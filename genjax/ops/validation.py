"""Validation of settings and of data.

A ValueError names the value, the limit and, where there is one, the cure: what to do instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array
from genjax.ops.arrays import at_least_float32

Value = TypeVar("Value")


def check_at_least(name: str, value: float, limit: float, cure: str = "") -> None:
    """Raise if a setting is below its limit, or NaN; ``cure`` ends the message, punctuation included.

    >>> check_at_least("latent_dim", 0, 1)
    Traceback (most recent call last):
    ValueError: latent_dim is 0, but must be at least 1
    """
    if not value >= limit:
        raise ValueError(f"{name} is {value}, but must be at least {limit}{cure}")


def check_positive(name: str, value: float, cure: str = "") -> None:
    """Raise if a setting is not above 0, or not finite; see ``check_at_least``.

    >>> check_positive("limit", 0, "; the paper's is 0.01")
    Traceback (most recent call last):
    ValueError: limit is 0, but must be above 0; the paper's is 0.01
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}, but must be {'finite' if value > 0 else 'above 0'}{cure}")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise if a setting is not one of its choices.

    >>> check_choice("conditioning", "sum", ("projection", "concatenation"))
    Traceback (most recent call last):
    ValueError: conditioning is 'sum', but must be 'projection' or 'concatenation'
    >>> check_choice("direction", "x_to_y", ("y_to_x",))
    Traceback (most recent call last):
    ValueError: direction is 'x_to_y', but must be 'y_to_x'
    """
    if value not in choices:
        *others, last = map(repr, choices)
        alternatives = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"{name} is {value!r}, but must be {alternatives}")


def resolve_choice(name: str, value: Value | str | None, choices: Mapping[str, Value], default: Value) -> Value:
    """Return a setting passed as a value or as its name in ``choices``, or the default for None.

    >>> resolve_choice("kernel", "wide", {"narrow": 0.1, "wide": 10.0}, default=1.0)
    10.0
    """
    if value is None:
        return default
    if not isinstance(value, str):
        return value
    check_choice(name, value, tuple(choices))
    return choices[value]


def check_data_axes(shape: Sequence[int]) -> None:
    """Raise if the shape of a batch has no axis beside that of the batch, or the batch no example."""
    if len(shape) > 1 and shape[0] == 0:
        raise ValueError(f"x has shape {tuple(shape)}, but needs at least one example; pass some data")
    if len(shape) < 2:
        raise ValueError(f"x has shape {tuple(shape)}, but needs a batch axis and data axes; reshape it to (B, C)")


def check_examples(x: Array, shape: Sequence[int]) -> Array:
    """Return the data of a model of real numbers in float32 or wider.

    Raise if their shape is not (B, *shape), if they are integers, or, outside compiled code, if a value is not finite.
    """
    check_example_shape(x, shape)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"x has dtype {x.dtype}, but this model is of real numbers; end the preprocessing with data.dequantize or "
            "data.scale"
        )
    check_finite(x)
    return at_least_float32(x)


def check_example_shape(x: Array, shape: Sequence[int]) -> None:
    """Raise if the shape of the data is not (B, *shape)."""
    if x.shape[1:] != tuple(shape):
        raise ValueError(f"x has shape {x.shape}, but this model has shape={tuple(shape)} after the batch axis")


def check_finite(x: Array) -> None:
    """Raise if the data hold NaN or infinities; see ``check_values``."""
    check_values(x, lambda x: ~np.isfinite(x), "data must be finite; drop or fill such examples")


def check_values(x: Array, is_wrong: Callable[[np.ndarray], np.ndarray], cure: str, *, name: str = "x") -> None:
    """Raise with the first value for which ``is_wrong`` is True, its index and the cure.

    In compiled code, where values are unknown, nothing is checked.
    """
    if isinstance(x, Tracer):
        return
    values = np.asarray(x)
    places = np.argwhere(is_wrong(values))
    if len(places):
        where = tuple(places[0].tolist())
        raise ValueError(f"{name} is {values[where]} at {where}, but {cure}")
