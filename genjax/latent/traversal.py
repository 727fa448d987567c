"""Interpolations, traversals and attribute vectors for any model that encodes and decodes.

With an encoder E and a decoder D,

* ``interpolate``: D along a straight or spherical path from E(x) to E(y),
* ``traverse``: D(z) with z_i set to each of some values, for each of some dimensions i,
* ``attribute_vector``: v, the mean of E(x) with an attribute minus that without it; ``add_attribute``: D(E(x) + s v);
  ``attribute_vector_of`` and ``add_attribute_to``: the same from given codes
  (Anders Larsen, Søren Sønderby, Hugo Larochelle & Ole Winther 2016, arXiv:1512.09300).

All take a model that encodes and decodes, data x and y, (B, ...), and the conditions of the model as keyword arguments,
such as ``label``: one value for all examples, or an array (B, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from jax.core import Tracer

from genjax.arguments import check_arguments
from genjax.capabilities import Decodes, Encodes, conditions
from genjax.core import Array, Variables
from genjax.ops import linear_path

Path = Callable[[Array, Array, int], Array]


@runtime_checkable
class Autoencoder(Encodes, Decodes, Protocol):
    """A model that encodes and decodes."""


@check_arguments
def interpolate(
    model: Autoencoder,
    variables: Variables,
    x: Array,
    y: Array,
    num_steps: Annotated[int, Ge(2)],
    *,
    path: Path = linear_path,
    **condition: Array | int,
) -> Array:
    """Decode a path from the codes of x to those of y, to data (B, num_steps, ...).

    The path has ``num_steps`` points, at least 2, including both ends. It is ``ops.linear_path``, or
    ``ops.spherical_path`` for codes that are Gaussian noise.
    """
    start, end = (_codes(model, variables, side, condition) for side in (x, y))
    return _decode(model, variables, path(start, end, num_steps), condition)


@check_arguments
def traverse(
    model: Autoencoder,
    variables: Variables,
    latent: Array,
    values: Array,
    *,
    dims: Sequence[int] | None = None,
    **condition: Array | int,
) -> Array:
    """Decode a code, (D,), with one dimension at a time set to each of some values, (V,), to data (R, V, ...).

    ``dims`` are the R dimensions to vary, None for all; ValueError if one does not exist. Conditions are one value, or
    an array (R, ...).
    """
    rows = range(len(latent)) if dims is None else dims
    wrong = [dim for dim in rows if not 0 <= dim < len(latent)]
    if wrong:
        raise ValueError(f"dims has {wrong[0]}, but the code has {len(latent)} dimensions; use 0 to {len(latent) - 1}")
    codes = jnp.stack([jnp.tile(latent, (len(values), 1)).at[:, dim].set(values) for dim in rows])
    return _decode(model, variables, codes, condition)


@check_arguments
def attribute_vector(
    model: Autoencoder, variables: Variables, x: Array, has_attribute: Array, **condition: Array | int
) -> Array:
    """Return the mean code of the data with an attribute minus that without it; see ``attribute_vector_of``."""
    return attribute_vector_of(_codes(model, variables, x, condition), has_attribute)


@check_arguments
def attribute_vector_of(codes: Array, has_attribute: Array) -> Array:
    """Return the mean of the codes, (B, D, ...), with an attribute minus that of the codes without it, (D, ...).

    ``has_attribute`` is bool, (B,).

    Raises:
      ValueError: if all codes have the attribute or none has. Traced values are not checked, and give NaN.
    """
    if not isinstance(has_attribute, Tracer):
        count = int(np.sum(np.asarray(has_attribute)))
        if not 0 < count < len(codes):
            raise ValueError(
                f"{count} of {len(codes)} codes have the attribute, but the difference of means needs at least one "
                "with it and one without; provide both"
            )
    weight = has_attribute.astype(codes.dtype).reshape(-1, *[1] * (codes.ndim - 1))
    mean_with, mean_without = (jnp.sum(w * codes, axis=0) / jnp.sum(w) for w in (weight, 1 - weight))
    return mean_with - mean_without


@check_arguments
def add_attribute(
    model: Autoencoder, variables: Variables, x: Array, vector: Array, strengths: Array, **condition: Array | int
) -> Array:
    """Decode the codes of x (B, ...) plus multiples (S,) of an attribute vector, to (B, S, ...)."""
    return add_attribute_to(model, variables, _codes(model, variables, x, condition), vector, strengths, **condition)


@check_arguments
def add_attribute_to(
    model: Autoencoder, variables: Variables, codes: Array, vector: Array, strengths: Array, **condition: Array | int
) -> Array:
    """Decode codes (B, D, ...) plus multiples (S,) of one attribute vector, or of one for each code, to (B, S, ...)."""
    steps = strengths.reshape(1, -1, *[1] * (codes.ndim - 1)) * jnp.broadcast_to(vector, codes.shape)[:, None]
    return _decode(model, variables, codes[:, None] + steps, condition)


def _codes(model: Autoencoder, variables: Variables, x: Array, condition: Mapping[str, Array | int]) -> Array:
    codes = model.encode(variables, x, **condition)
    if not jnp.issubdtype(codes.dtype, jnp.floating):
        raise ValueError(
            f"codes of {type(model).__name__} are {codes.dtype} indices, which cannot be interpolated; "
            "use a model with continuous codes"
        )
    return codes


def _decode(model: Autoencoder, variables: Variables, codes: Array, condition: Mapping[str, Array | int]) -> Array:
    """Decode codes (R, S, ...), with conditions that are one value, or one for each row, (R, ...)."""
    ranks = {each.name: len(each.shape) for each in conditions(model)}
    rows = {
        name: value if jnp.ndim(value) <= ranks.get(name, 0) else jnp.repeat(jnp.asarray(value), codes.shape[1], axis=0)
        for name, value in condition.items()
    }
    x = model.decode(variables, codes.reshape(-1, *codes.shape[2:]), **rows)
    return x.reshape(*codes.shape[:2], *x.shape[1:])
