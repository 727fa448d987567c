"""Random keys from seeds."""

from __future__ import annotations

from typing import Annotated

import jax
from annotated_types import Ge, Lt

from genjax.arguments import Cure, check_arguments
from genjax.core import Array

Seed = Annotated[int, Ge(0), Lt(2**32), Cure("; JAX would draw as for its remainder")]


@check_arguments
def seed_key(seed: Seed) -> Array:
    """Return the typed key of a seed in [0, 2³²); ArgumentError for others, which JAX would take modulo 2³².

    >>> bool(seed_key(7) == jax.random.key(7))
    True
    """
    return jax.random.key(seed)
