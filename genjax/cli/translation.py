"""Which image files a model of two domains translates."""

from __future__ import annotations

from typing import Literal, cast

import jax
import jax.numpy as jnp

from genjax.capabilities import Translates
from genjax.cli.image_files import Size
from genjax.core import Array, Variables
from genjax.experiment import Experiment


def num_channels(experiment: Experiment, direction: str) -> Literal[1, 3, 4]:
    """Return the number of channels of the images that a model translates in one direction."""
    entry, spec = direction.partition("_")[0], experiment.batch_spec()
    if entry not in spec:
        raise ValueError(f"direction {direction!r} takes images {entry!r}, but the data has {sorted(spec)}; add them")
    channels = spec[entry].shape[-1]
    if channels not in (1, 3, 4):
        raise ValueError(
            f"direction {direction!r} takes images of {channels} channels, but image files have 1, 3 or 4; "
            "call translate of the run in Python"
        )
    return cast(Literal[1, 3, 4], channels)


def refusal(model: Translates, variables: Variables, direction: str, channels: int, size: Size) -> str | None:
    """Return why a model cannot translate images of a size, or None if it can; nothing is computed."""

    def translate(variables: Variables, key: Array, x: Array) -> Array:
        return model.translate(variables, key, x, direction=direction)

    image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    try:
        out = jax.eval_shape(translate, variables, jax.random.key(0), image)
    except (ValueError, TypeError) as error:  # what JAX and Flax raise for shapes that do not fit
        return " ".join(str(error).split())
    return None if out.shape[-1] in (1, 3) else f"its results have {out.shape[-1]} channels, but pictures have 1 or 3"
