"""Batches of one size, in the order of a source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genjax.data.source import Source


def batches(source: Source, size: int) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Yield a source in order, in batches of one size, so that a single shape is compiled.

    Args:
      source: source of N examples.
      size: number of examples in a batch, B; repeats of the last example pad the last batch.

    Yields:
      A batch, arrays of shape (B, ...), and its number of examples without padding, 1 to B.

    >>> from genjax.data.source import ArraySource
    >>> [(batch["x"].tolist(), count) for batch, count in batches(ArraySource({"x": np.arange(3.0)}), 2)]
    [([0.0, 1.0], 2), ([2.0, 2.0], 1)]
    """
    for start in range(0, len(source), size):
        rows = np.minimum(np.arange(start, start + size), len(source) - 1)
        yield source.take(rows), min(size, len(source) - start)
