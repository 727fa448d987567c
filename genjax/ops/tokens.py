"""Checks of token sequences and prompts, and the mask of tokens up to the end of a sequence."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.ops.validation import check_example_shape, check_values


def checked_tokens(x: Array, num_values: int, length: int) -> Array:
    """Return tokens x (B, T) as int32; ValueError if they are not integers, too many, or not in the vocabulary."""
    x = jnp.asarray(x)
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f"x has dtype {x.dtype} and shape {x.shape}, but must be integers (B, T)")
    if x.shape[1] > length:
        raise ValueError(f"x has {x.shape[1]} tokens, but the model has length={length}; cut it into windows")
    return checked_integers(x, num_values)


def checked_integers(x: Array, num_values: int) -> Array:
    """Return x as int32; ValueError if it is not integers, or, outside compiled code, not in 0 … num_values − 1."""
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(
            f"x has dtype {x.dtype}, but this model is of integers 0 … {num_values - 1}; leave scaling and "
            "dequantization out of the preprocessing"
        )
    check_values(x, lambda x: (x < 0) | (x >= num_values), f"num_values={num_values} allows 0 … {num_values - 1}")
    return x.astype(jnp.int32)


def checked_values(x: Array, shape: tuple[int, ...], num_values: int) -> Array:
    """Return x (B, *shape), of any dtype.

    Raises:
      ValueError: for another shape, or, outside compiled code, for values other than 0 … num_values − 1.
    """
    x = jnp.asarray(x)
    check_example_shape(x, shape)
    cure = f"num_values={num_values} allows 0 … {num_values - 1}; remove scaling and dequantization, or set num_values"
    check_values(x, lambda x: (x < 0) | (x >= num_values) | (x != np.round(x)), cure)
    return x


def check_stop_token(stop_token: int | None, num_values: int) -> None:
    """Raise ValueError if the stop token is not in the vocabulary."""
    if stop_token is not None and not 0 <= stop_token < num_values:
        raise ValueError(f"stop_token is {stop_token}, but must be a token, 0 … {num_values - 1}; None for no end")


def prompt_tokens(prompt: Array | None, batch_size: int, length: int, num_values: int) -> dict[str, Any]:
    """Return prompts, padded with −1, as the arguments ``known`` and ``keep`` of ``generate``."""
    if prompt is None:
        return {"known": None, "keep": None}
    prompt = jnp.atleast_2d(jnp.asarray(prompt))
    if not jnp.issubdtype(prompt.dtype, jnp.integer) or prompt.shape[0] not in (1, batch_size):
        raise ValueError(
            f"prompt has dtype {prompt.dtype} and shape {prompt.shape}, but must be integers (P,) or ({batch_size}, P)"
        )
    if prompt.shape[1] > length:
        raise ValueError(f"prompt has {prompt.shape[1]} tokens, but sequences have length={length}; shorten it")
    cure = f"num_values={num_values} allows 0 … {num_values - 1}, and -1 for padding"
    check_values(prompt, lambda x: (x < -1) | (x >= num_values), cure, name="prompt")
    return {"known": jnp.maximum(prompt, 0), "keep": prompt >= 0}


def token_mask(x: Array, stop_token: int | None) -> Array:
    """Return 1 for tokens up to and including the first ``stop_token`` and 0 after it, float32 like x (B, T).

    >>> token_mask(jnp.array([[3, 0, 0, 2]]), stop_token=0).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    if stop_token is None:
        return jnp.ones(x.shape, jnp.float32)
    ends = (x == stop_token).astype(jnp.int32)
    return (jnp.cumsum(ends, axis=1) - ends == 0).astype(jnp.float32)


def fill_after_stop(x: Array, stop_token: int | None) -> Array:
    """Return tokens (B, T) with all that follow the first ``stop_token`` replaced by it.

    >>> fill_after_stop(jnp.array([[3, 0, 1, 2]]), stop_token=0).tolist()
    [[3, 0, 0, 0]]
    """
    return x if stop_token is None else jnp.where(token_mask(x, stop_token) > 0, x, stop_token)
