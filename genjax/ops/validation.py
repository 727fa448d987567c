"""Examples of data: what real ones look like, and sums over each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array
from genjax.ops.bounds import at_least_float32


def sum_except_batch(values: Array) -> Array:
    """Add up all but the batch axis, (B, ...) to (B,).

    >>> sum_except_batch(jnp.ones((2, 3, 4))).tolist()
    [12.0, 12.0]
    """
    return jnp.sum(values.reshape(len(values), -1), axis=-1)


def checked_examples(x: Array, shape: Sequence[int]) -> Array:
    """Return data of a model of real numbers, in float32 at least.

    Raises:
      ValueError: for another shape than (B, *shape), integers, and, where values are known, for what is not finite.
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
    """Refuse data of another shape than (B, *shape).

    Raises:
      ValueError: with both.
    """
    if x.shape[1:] != tuple(shape):
        raise ValueError(f"x has shape {x.shape}, but this model has shape={tuple(shape)} after the batch axis")


def check_finite(x: Array) -> None:
    """Refuse NaN and infinities, where values are known; see ``check_values``."""
    check_values(x, lambda x: ~np.isfinite(x), "data must be finite; drop or fill such examples")


def check_values(x: Array, wrong: Callable[[np.ndarray], np.ndarray], cure: str) -> None:
    """Refuse data of which some are wrong, where values are known: in compiled code nothing is checked.

    Args:
      x: the data.
      wrong: which of them, as booleans of their shape.
      cure: what they must be, and what else to do, as the end of the sentence.

    Raises:
      ValueError: with the first wrong one and its place.
    """
    if isinstance(x, Tracer):
        return
    known = np.asarray(x)
    places = np.argwhere(wrong(known))
    if len(places):
        where = tuple(places[0].tolist())
        raise ValueError(f"x is {known[where]} at {where}, but {cure}")
