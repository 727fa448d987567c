"""Decoding of tokens to texts."""

from __future__ import annotations

import numpy as np

from genjax.data.tokenizers import Tokenizer


def decode_texts(tokenizer: Tokenizer, x: np.ndarray, stop_token: int | None = None) -> list[str]:
    """Return the texts of tokens (N, T), each up to its first ``stop_token``.

    >>> from genjax.data.tokenizers import Characters
    >>> decode_texts(Characters("ab."), np.array([[0, 1, 2, 2], [1, 1, 0, 1]]), stop_token=2)
    ['ab', 'bbab']
    """
    ends = np.full(len(x), x.shape[1])
    if stop_token is not None:
        ends = np.where((x == stop_token).any(axis=1), np.argmax(x == stop_token, axis=1), ends)
    return [tokenizer.decode(row[:end]) for row, end in zip(x, ends, strict=True)]
