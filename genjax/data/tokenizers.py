"""Tokens of texts: integers 0 … V − 1 that stand for pieces of text, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np


@runtime_checkable
class Tokenizer(Protocol):
    """Between texts and tokens."""

    @property
    def num_tokens(self) -> int:
        """V."""
        ...

    @property
    def num_bytes(self) -> np.ndarray:
        """How many bytes of UTF-8 each token stands for, int32 (V,)."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text, int32 (N,)."""
        ...

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens (N,); ValueError where one is none of the V."""
        ...


def checked_tokens(tokens: Iterable[int] | np.ndarray, num_tokens: int) -> np.ndarray:
    """Return tokens as an array, of which all are in 0 … V − 1."""
    array = np.asarray(tokens if isinstance(tokens, np.ndarray) else list(tokens))
    outside = array[(array < 0) | (array >= num_tokens)]
    if outside.size:
        raise ValueError(f"tokens holds {outside[0]}, but the vocabulary is 0 … {num_tokens - 1}")
    return array


@final
@dataclass(frozen=True)
class Bytes:
    """The bytes of UTF-8, of which there are 256.

    Any text has them, but not any bytes are a text: what is none decodes to "�".

    >>> Bytes().encode("né").tolist(), Bytes().decode([110, 195, 169, 255])
    ([110, 195, 169], 'né�')
    """

    @property
    def num_tokens(self) -> int:
        """256."""
        return 256

    @property
    def num_bytes(self) -> np.ndarray:
        """One of each."""
        return np.ones(256, np.int32)

    def encode(self, text: str) -> np.ndarray:
        """Return the bytes of a text."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of bytes."""
        return checked_tokens(tokens, 256).astype(np.uint8).tobytes().decode("utf-8", errors="replace")


@final
@dataclass(frozen=True)
class Characters:
    """The characters of a vocabulary.

    Attributes:
      vocabulary: the character that each token stands for.

    Raises:
      ValueError: for a vocabulary that is empty, or has a character twice.

    >>> Characters("abn").encode("banana").tolist(), Characters("abn").decode([1, 0, 2])
    ([1, 0, 2, 0, 2, 0], 'ban')
    """

    vocabulary: str

    def __post_init__(self) -> None:
        if not self.vocabulary or len(set(self.vocabulary)) < len(self.vocabulary):
            raise ValueError(f"vocabulary is {self.vocabulary!r}, but must be characters, each of them once")

    @property
    def num_tokens(self) -> int:
        """V, the number of characters."""
        return len(self.vocabulary)

    @property
    def num_bytes(self) -> np.ndarray:
        """Between one and four of each character."""
        return np.array([len(character.encode("utf-8", "surrogatepass")) for character in self.vocabulary], np.int32)

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text; ValueError where it has other characters."""
        known, points = _points(self.vocabulary), _points(text)
        ranks = np.argsort(known)
        tokens = ranks[np.searchsorted(known, points, sorter=ranks).clip(max=len(known) - 1)]
        others = np.flatnonzero(known[tokens] != points)
        if others.size:
            raise ValueError(
                f"{text[others[0]]!r} is none of the {self.num_tokens} characters of the vocabulary, "
                f"{self.vocabulary!r}"
            )
        return tokens.astype(np.int32)

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens."""
        return "".join(self.vocabulary[token] for token in checked_tokens(tokens, self.num_tokens).tolist())


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
