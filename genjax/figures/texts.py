"""Samples of models of texts, as texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from genjax.data import Tokenizer
from genjax.data.io import replace_file


def texts(tokenizer: Tokenizer, x: np.ndarray, stop: int | None = None) -> list[str]:
    """Return the texts of tokens (N, T), each up to its first ``stop``.

    >>> from genjax.data import Characters
    >>> texts(Characters("ab."), np.array([[0, 1, 2, 2], [1, 1, 0, 1]]), stop=2)
    ['ab', 'bbab']
    """
    ends = np.full(len(x), x.shape[1])
    if stop is not None:
        ends = np.where((x == stop).any(axis=1), np.argmax(x == stop, axis=1), ends)
    return [tokenizer.decode(row[:end]) for row, end in zip(x, ends, strict=True)]


def write_texts(path: Path, tokenizer: Tokenizer, x: np.ndarray, stop: int | None = None) -> None:
    """Write the texts of tokens (N, T): one in a line, or with rules between them where they have lines themselves."""
    written = texts(tokenizer, x, stop)
    between = "\n\n---\n\n" if any("\n" in text for text in written) else "\n"
    replace_file(path, (between.join(written) + "\n").encode())


def writer(tokenizer: Tokenizer, stream: IO[str], stop: int | None = None) -> Callable[[Any, Any], None]:
    """Return a callback of ``generate`` that writes the first sequence as it is drawn."""
    tokens: list[int] = []
    shown = 0

    def write(number: Any, newest: Any) -> None:
        nonlocal shown
        del number
        if stop is not None and int(newest[0]) == stop:
            return
        tokens.append(int(newest[0]))
        text = tokenizer.decode(tokens).rstrip("�")  # the first bytes of a character
        stream.write(text[shown:])
        stream.flush()
        shown = len(text)

    return write
