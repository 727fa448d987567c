"""Masks: which values of an example are known."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array
from genjax.ops.validation import check_example_shape


def check_mask(mask: Array) -> None:
    """Raise if a mask is not bool."""
    if mask.dtype != bool:
        raise ValueError(f"mask has dtype {mask.dtype}, but must be bool, True where x is known; use mask != 0")


def broadcast_mask(mask: Array, shape: tuple[int, ...]) -> Array:
    """Return a mask, bool, in the shape of x (B, ...).

    Raises:
      ValueError: if it is not bool, or does not broadcast to this shape.

    >>> broadcast_mask(jnp.array([True, False]), (2, 2)).tolist()
    [[True, False], [True, False]]
    """
    mask = jnp.asarray(mask)
    check_mask(mask)
    try:
        return jnp.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"mask has shape {mask.shape}, but must broadcast to that of x, {shape}; give each example a mask with "
            "shape (B, ...)"
        ) from None


def known_values(x: Array, mask: Array, shape: Sequence[int]) -> tuple[Array, Array]:
    """Return x (B, *shape) with 0 in place of its unknown values, and ``broadcast_mask`` of the mask.

    Raises:
      ValueError: if x has another shape, or as ``broadcast_mask`` does.

    >>> known_values(jnp.array([[1.0, jnp.nan]]), jnp.array([True, False]), (2,))[0].tolist()
    [[1.0, 0.0]]
    """
    x = jnp.asarray(x)
    check_example_shape(x, shape)
    mask = broadcast_mask(mask, x.shape)
    return jnp.where(mask, x, 0), mask


def broadcast_prefix(mask: Array, shape: tuple[int, ...]) -> Array:
    """Return ``broadcast_mask`` of a mask whose known values precede the others in raster order.

    Raises:
      ValueError: if it is no mask, or, outside compiled code, if a value is known after an unknown one.
    """
    known = broadcast_mask(mask, shape)
    if not isinstance(mask, Tracer):
        flat = np.broadcast_to(np.asarray(mask), shape).reshape(shape[0], -1)
        late = np.argwhere(flat[:, 1:] & ~flat[:, :-1])
        if len(late):
            raise ValueError(
                f"mask is True at value {late[0, 1] + 1} of example {late[0, 0]}, after a value that is not known, but "
                "an autoregressive model draws values given those before them; make the known values the first ones in "
                "raster order"
            )
    return known
