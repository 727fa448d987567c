"""Translation of images by a model of two domains, shared by runs and the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import Translates, supports
from genjax.compilation import jit
from genjax.core import Array, Variables
from genjax.evaluation.image_batches import BATCH_SIZE, map_images
from genjax.metrics.progress import ProgressCallback


@check_arguments
def translate_images(
    model: object,
    variables: Variables,
    keys: Array,
    x: Array,
    *,
    direction: str | None = None,
    batch_size: PositiveInt = BATCH_SIZE,
    progress: ProgressCallback | None = None,
) -> Array:
    """Translate images (N, H, W, C) in [0, 1] to images of the other domain in [0, 1].

    Each image is translated alone, as a batch of one with its own key, so that neither the batch size nor the other
    images change the result.

    Args:
      model: trained model that ``Translates``.
      variables: its variables.
      keys: typed keys (N,), one for each image.
      x: images.
      direction: direction of the model; None for its first.
      batch_size: number of images translated at once, which sets memory.
      progress: function that is called with the number of images in each finished batch.

    Raises:
      ValueError: if the model does not translate, or not in this direction.
    """
    translate = functools.partial(translator(model, direction), variables)
    batches = map_images(translate, keys, lambda numbers: x[numbers], batch_size=batch_size, progress=progress)
    return jnp.concatenate([batch.results for batch in batches])


def translator(model: object, direction: str | None) -> Callable[[Variables, Array, Array], Array]:
    """Return a compiled function that translates images (B, H, W, C) one by one, with a key each, (B,)."""
    return _compiled(cast(Translates, model), check_direction(model, direction))


def check_direction(model: object, direction: str | None) -> str:
    """Return the direction, or the first of the model for None; ValueError if the model does not have it."""
    if not supports(model, Translates) or not isinstance(model, Translates):
        raise ValueError(
            f"{type(model).__name__} does not translate images; use a model of two domains, such as Pix2Pix or CycleGAN"
        )
    if direction is None:
        return model.directions[0]
    if direction not in model.directions:
        raise ValueError(
            f"direction is {direction!r}, but {type(model).__name__} translates {' and '.join(model.directions)}; "
            "use one of these"
        )
    return direction


@functools.lru_cache(maxsize=8)
def _compiled(model: Translates, direction: str) -> Callable[[Variables, Array, Array], Array]:
    """Return a function that translates images one by one, with a key each."""

    def translate(variables: Variables, key: Array, image: Array) -> Array:
        return model.translate(variables, key, image[None], direction=direction)[0]

    return jit(jax.vmap(translate, in_axes=(None, 0, 0)))
