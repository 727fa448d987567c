"""Categorical probabilities at a temperature T, p_i ∝ exp(l_i / T): T < 1 sharpens, T > 1 flattens them."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt
from jax.core import Tracer

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.ops.arrays import at_least_float32
from genjax.ops.validation import check_positive

LIMIT = "; for the limit 0 take the argmax"


@check_arguments
def tempered_softmax(logits: Array, temperature: Annotated[float, Gt(0), Cure(LIMIT)] | Array) -> Array:
    """Return probabilities (..., K) at a temperature T, a number or an array that broadcasts against the logits.

    Raises:
      ValueError: if T is not positive and finite, outside compiled code; as T → 0 all mass moves to the argmax.

    >>> [round(p, 3) for p in tempered_softmax(jnp.array([2.0, 1.0, 0.5]), 0.5).tolist()]
    [0.844, 0.114, 0.042]
    """
    if not isinstance(temperature, Tracer):
        check_positive("temperature", np.asarray(temperature).min().item(), LIMIT)
    return jax.nn.softmax(tempered_logits(logits, temperature), axis=-1)


def tempered_logits(logits: Array, temperature: float | Array) -> Array:
    """Return (l − max l) / T, whose maximum is 0, for T > 0; l / T alone may overflow."""
    logits = at_least_float32(logits)
    return (logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))) / temperature
