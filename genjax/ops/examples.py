"""Examples of data: what real ones look like, and sums over each."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array
from genjax.ops.bounds import at_least_float32


def sum_over_example(values: Array) -> Array:
    """Add up all but the batch axis, (B, ...) to (B,).

    >>> sum_over_example(jnp.ones((2, 3, 4))).tolist()
    [12.0, 12.0]
    """
    return jnp.sum(values.reshape(len(values), -1), axis=-1)


def checked_examples(x: Array, shape: Sequence[int]) -> Array:
    """Return data of a model of real numbers, in float32 at least.

    Raises:
      ValueError: for another shape than (B, *shape), integers, and, where values are known, for what is not finite.
    """
    if x.shape[1:] != tuple(shape):
        raise ValueError(f"x has shape {x.shape}, but this model has shape={tuple(shape)} after the batch axis")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"x has dtype {x.dtype}, but this model is of real numbers; end the preprocessing with data.dequantize or "
            "data.scale"
        )
    if not isinstance(x, Tracer):
        wrong = np.argwhere(~np.isfinite(np.asarray(x)))
        if len(wrong):
            where = tuple(wrong[0].tolist())
            raise ValueError(f"x is {x[where]} at {where}, but data must be finite; drop or fill such examples")
    return at_least_float32(x)
