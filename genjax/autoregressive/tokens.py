"""What models of sequences share: tokens that exist, prompts, and what counts after the end."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array


def checked_tokens(x: Array, num_values: int, length: int) -> Array:
    """Return x as int32; refuse what is no (B, T) of integers, longer sequences, and tokens that are not there."""
    x = jnp.asarray(x)
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f"x has dtype {x.dtype} and shape {x.shape}, but must be integers (B, T)")
    if x.shape[1] > length:
        raise ValueError(f"x has {x.shape[1]} tokens, but length={length} is the most; cut it into windows")
    _check_in_vocabulary("x", x, 0, num_values)
    return x.astype(jnp.int32)


def prompt_tokens(prompt: Array | None, num_rows: int, length: int, num_values: int) -> dict[str, Any]:
    """Return prompts, filled up with −1, as ``generate`` takes known tokens."""
    if prompt is None:
        return {"known": None, "keep": None}
    prompt = jnp.atleast_2d(jnp.asarray(prompt))
    if not jnp.issubdtype(prompt.dtype, jnp.integer) or prompt.shape[0] not in (1, num_rows):
        raise ValueError(
            f"prompt has dtype {prompt.dtype} and shape {prompt.shape}, but must be integers (P,) or ({num_rows}, P)"
        )
    if prompt.shape[1] > length:
        raise ValueError(f"prompt has {prompt.shape[1]} tokens, but length={length} is the most; shorten it")
    _check_in_vocabulary("prompt", prompt, -1, num_values)
    missing = ((0, 0), (0, length - prompt.shape[1]))
    known = jnp.broadcast_to(jnp.pad(prompt, missing, constant_values=-1), (num_rows, length))
    return {"known": jnp.maximum(known, 0), "keep": known >= 0}


def scored(x: Array, stop: int | None) -> Array:
    """Return 1 for tokens up to the first ``stop``, itself included, and 0 after it; x (B, T), float32.

    >>> scored(jnp.array([[3, 0, 0, 2]]), stop=0).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    if stop is None:
        return jnp.ones(x.shape, jnp.float32)
    ends = (x == stop).astype(jnp.int32)
    return (jnp.cumsum(ends, axis=1) - ends == 0).astype(jnp.float32)


def _check_in_vocabulary(name: str, x: Array, least: int, num_values: int) -> None:
    if isinstance(x, Tracer):
        return
    values = np.asarray(x)
    wrong = values[(values < least) | (values >= num_values)]
    if wrong.size:
        raise ValueError(f"{name} holds token {wrong.flat[0]}, but num_values={num_values} has 0 … {num_values - 1}")
