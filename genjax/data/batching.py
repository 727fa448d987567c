"""A source read in order, in batches of one size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genjax.data.source import Source


def batches(source: Source, size: int) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Yield a source in order, in batches of one size, so that a single shape is compiled.

    Args:
      source: N examples.
      size: examples in a batch, B; the last batch is filled up with repeats of the last example.

    Yields:
      A batch, arrays of shape (B, ...), and the number of its examples that count, from 1 to B.

    >>> from genjax.data.source import ArraySource
    >>> [(batch["x"].tolist(), count) for batch, count in batches(ArraySource({"x": np.arange(3.0)}), 2)]
    [([0.0, 1.0], 2), ([2.0, 2.0], 1)]
    """
    for start in range(0, len(source), size):
        rows = np.minimum(np.arange(start, start + size), len(source) - 1)
        yield source.take(rows), min(size, len(source) - start)
