"""Walks among the codes of any model that encodes and decodes.

With E the encoder and D the decoder, and u_i the unit vector of a dimension,

* ``interpolate``: D along a straight or spherical path from E(x) to E(y),
* ``traverse``: D(z + t u_i) for dimensions i and values t, a row of pictures for each dimension,
* ``attribute_vector``: mean of E(x) with an attribute less that without it; ``add_attribute``: D(E(x) + s v);
  ``attribute_vector_of`` and ``add_attribute_to``: the same of codes that are at hand
  (Anders Larsen, Søren Sønderby, Hugo Larochelle & Ole Winther 2016, arXiv:1512.09300).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.capabilities import Decodes, Encodes
from genjax.core import Array, Variables
from genjax.ops import linear_path

Path = Callable[[Array, Array, int], Array]


@final
@dataclass(frozen=True)
class FixedLabel:
    """A conditional model that encodes and decodes, seen through one of its labels, so that one can walk in it.

    Attributes:
      model: whose ``encode`` and ``decode`` take ``label=``.
      label: the class.
    """

    model: Any
    label: int

    def encode(self, variables: Variables, x: Array) -> Array:
        """Codes of data of the class."""
        return self.model.encode(variables, x, label=self.label)

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Data of the class from codes."""
        return self.model.decode(variables, latent, label=self.label)


def interpolate(
    model: Any,
    variables: Variables,
    x: Array,
    y: Array,
    num_steps: int,
    *,
    path: Path = linear_path,
    **condition: Array | int,
) -> Array:
    """Decode a path from the codes of x to those of y.

    Args:
      model: encodes and decodes.
      variables: the model's.
      x: data, (B, ...).
      y: data, same shape.
      num_steps: points on the path, both ends included, at least 2.
      path: ``ops.linear_path``, or ``ops.spherical_path`` where codes are Gaussian noise.
      **condition: conditions of the model, such as ``label``: an integer for all rows, or an array (B, ...).

    Returns:
      Data, (B, num_steps, ...).
    """
    start, end = (_codes(model, variables, side, **condition) for side in (x, y))
    repeated = {
        name: jnp.repeat(value, num_steps, axis=0) if jnp.ndim(value) else value for name, value in condition.items()
    }
    return _decode(model, variables, path(start, end, num_steps), **repeated)


def traverse(
    model: Any, variables: Variables, latent: Array, values: Array, *, dims: Sequence[int] | None = None
) -> Array:
    """Decode a code with one dimension after the other set to each of some values.

    Args:
      model: decodes vectors.
      variables: the model's.
      latent: the code to start from, (D,).
      values: what a dimension is set to, (V,).
      dims: which dimensions, R of them; None for all.

    Returns:
      Data, (R, V, ...).

    Raises:
      ValueError: when a dimension does not exist.
    """
    rows = range(len(latent)) if dims is None else dims
    wrong = [dim for dim in rows if not 0 <= dim < len(latent)]
    if wrong:
        raise ValueError(f"dims has {wrong[0]}, but the code has {len(latent)} dimensions; use 0 to {len(latent) - 1}")
    codes = jnp.stack([jnp.tile(latent, (len(values), 1)).at[:, dim].set(values) for dim in rows])
    return _decode(model, variables, codes)


def attribute_vector(model: Any, variables: Variables, x: Array, has_attribute: Array) -> Array:
    """Return the mean code of the data with an attribute less that of the data without it.

    Args:
      model: encodes.
      variables: the model's.
      x: data, (B, ...).
      has_attribute: bool, (B,), at least one of either.

    Returns:
      A code, (D, ...).

    Raises:
      ValueError: as ``attribute_vector_of``.
    """
    return attribute_vector_of(_codes(model, variables, x), has_attribute)


def attribute_vector_of(codes: Array, has_attribute: Array) -> Array:
    """Return the mean of the codes with an attribute less that of the codes without it.

    Args:
      codes: (B, D, ...).
      has_attribute: bool, (B,), at least one of either.

    Returns:
      A code, (D, ...).

    Raises:
      ValueError: where all have the attribute or none; traced values cannot be checked, and give NaN.
    """
    if not isinstance(has_attribute, Tracer):
        count = int(np.sum(np.asarray(has_attribute)))
        if not 0 < count < len(codes):
            raise ValueError(
                f"{count} of {len(codes)} codes have the attribute, but the difference of means needs at least one "
                "with it and one without; give both"
            )
    weight = has_attribute.astype(codes.dtype).reshape(-1, *[1] * (codes.ndim - 1))
    with_it, without_it = (jnp.sum(w * codes, axis=0) / jnp.sum(w) for w in (weight, 1 - weight))
    return with_it - without_it


def add_attribute(model: Any, variables: Variables, x: Array, vector: Array, strengths: Array) -> Array:
    """Decode the codes of x (B, ...) moved by multiples (S,) of an attribute vector, to (B, S, ...)."""
    return add_attribute_to(model, variables, _codes(model, variables, x), vector, strengths)


def add_attribute_to(model: Any, variables: Variables, codes: Array, vector: Array, strengths: Array) -> Array:
    """Decode codes (B, D, ...) moved by multiples (S,) of an attribute vector, or of one for each, to (B, S, ...)."""
    steps = strengths.reshape(1, -1, *[1] * (codes.ndim - 1)) * jnp.broadcast_to(vector, codes.shape)[:, None]
    return _decode(model, variables, codes[:, None] + steps)


def _codes(model: Any, variables: Variables, x: Array, **condition: Array | int) -> Array:
    if not (isinstance(model, Encodes) and isinstance(model, Decodes)):
        raise ValueError(f"{type(model).__name__} does not both encode and decode, so it has no codes to walk among")
    codes = model.encode(variables, x, **condition)
    if not jnp.issubdtype(codes.dtype, jnp.floating):
        raise ValueError(
            f"codes of {type(model).__name__} are {codes.dtype} indices, between which there is no path; "
            "use a model of continuous codes"
        )
    return codes


def _decode(model: Any, variables: Variables, codes: Array, **condition: Array | int) -> Array:
    """Decode codes with two leading axes."""
    x = model.decode(variables, codes.reshape(-1, *codes.shape[2:]), **condition)
    return x.reshape(*codes.shape[:2], *x.shape[1:])
