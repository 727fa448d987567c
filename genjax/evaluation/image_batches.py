"""Functions of one image and its key, applied to many images in batches of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from genjax.core import Array
from genjax.metrics.progress import ProgressCallback, chunks

BATCH_SIZE = 16  # images processed at once by default
ImageFunction = Callable[[Array, Array], Array]  # keys (B,) and images (B, ...) -> results (B, ...)


class ImageBatch(NamedTuple):
    """A batch of images, (B, ...), and their results, (B, ...)."""

    images: Array
    results: Array


def map_images(
    function: ImageFunction,
    keys: Array,
    load: Callable[[np.ndarray], Array],
    *,
    batch_size: int = BATCH_SIZE,
    progress: ProgressCallback | None = None,
) -> Iterator[ImageBatch]:
    """Yield images and the results of a compiled function, batch by batch; one batch shape is compiled.

    Args:
      function: function of keys (B,) and images (B, ...) that treats each image alone.
      keys: typed keys (N,), one for each image.
      load: function from numbers (B,) of images to images (B, ...).
      batch_size: number of images in a batch, which sets memory.
      progress: function that is called with the number of images in each finished batch.
    """
    size = min(batch_size, len(keys))
    for part in chunks(len(keys), size, progress):
        # The last batch repeats the last image, so that one shape is compiled.
        numbers = np.minimum(np.arange(part.start, part.start + size), len(keys) - 1)
        images, count = load(numbers), part.stop - part.start
        with jax.debug_key_reuse(False):  # whose checker takes repeated images for the reuse of a key
            results = function(keys[numbers], images)
        yield ImageBatch(images[:count], results[:count])


def image_keys(key: Array, count: int) -> Array:
    """Return a key for each of ``count`` images, (N,), folded from ``key`` and the image's number."""
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(np.arange(count, dtype=np.uint32))
