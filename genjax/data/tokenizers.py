"""Tokenizers: between texts and integers 0 … V − 1 that stand for pieces of text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np

from genjax.arguments import check_arguments


@runtime_checkable
class Tokenizer(Protocol):
    """Converts texts to tokens and back."""

    @property
    def num_tokens(self) -> int:
        """Vocabulary size, V."""
        ...

    @property
    def num_bytes(self) -> np.ndarray:
        """Number of UTF-8 bytes of each token, int32 (V,)."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text, int32 (N,)."""
        ...

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens (N,); ValueError if one is outside 0 … V − 1."""
        ...


def check_tokens(tokens: Iterable[int] | np.ndarray, num_tokens: int) -> np.ndarray:
    """Return tokens as an array; ValueError if one is outside 0 … V − 1."""
    array = np.asarray(tokens if isinstance(tokens, np.ndarray) else list(tokens))
    outside = array[(array < 0) | (array >= num_tokens)]
    if outside.size:
        raise ValueError(f"tokens holds {outside[0]}, but the vocabulary is 0 … {num_tokens - 1}")
    return array


@check_arguments
@final
@dataclass(frozen=True)
class Bytes:
    """The 256 bytes of UTF-8.

    Any string can be encoded; bytes that are not valid UTF-8 decode to "�" (U+FFFD).

    >>> Bytes().encode("né").tolist(), Bytes().decode([110, 195, 169, 255])
    ([110, 195, 169], 'né�')
    """

    num_tokens = 256

    @property
    def num_bytes(self) -> np.ndarray:
        """One for each token."""
        return np.ones(256, np.int32)

    def encode(self, text: str) -> np.ndarray:
        """Return the UTF-8 bytes of a text."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Decode bytes."""
        return check_tokens(tokens, 256).astype(np.uint8).tobytes().decode("utf-8", errors="replace")


@check_arguments
@final
@dataclass(frozen=True)
class Characters:
    """One token for each character of a vocabulary.

    Attributes:
      vocabulary: characters in the order of their tokens, at least one, each only once.

    >>> Characters("abn").encode("banana").tolist(), Characters("abn").decode([1, 0, 2])
    ([1, 0, 2, 0, 2, 0], 'ban')
    """

    vocabulary: str

    def __post_init__(self) -> None:
        if not self.vocabulary or len(set(self.vocabulary)) < len(self.vocabulary):
            raise ValueError(f"vocabulary is {self.vocabulary!r}, but must be at least one character, each only once")

    @property
    def num_tokens(self) -> int:
        """Vocabulary size V, the number of characters."""
        return len(self.vocabulary)

    @property
    def num_bytes(self) -> np.ndarray:
        """One to four for each character."""
        return np.array([len(character.encode("utf-8", "surrogatepass")) for character in self.vocabulary], np.int32)

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text; ValueError if a character is not in the vocabulary."""
        alphabet, points = _points(self.vocabulary), _points(text)
        ranks = np.argsort(alphabet)
        tokens = ranks[np.searchsorted(alphabet, points, sorter=ranks).clip(max=len(alphabet) - 1)]
        unknown = np.flatnonzero(alphabet[tokens] != points)
        if unknown.size:
            raise ValueError(
                f"{text[unknown[0]]!r} is not among the {self.num_tokens} characters of the vocabulary, "
                f"{self.vocabulary!r}"
            )
        return tokens.astype(np.int32)

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens."""
        return "".join(self.vocabulary[token] for token in check_tokens(tokens, self.num_tokens).tolist())


@check_arguments
def decode_texts(tokenizer: Tokenizer, x: np.ndarray, stop_token: int | None = None) -> list[str]:
    """Return the texts of tokens (N, T), each up to its first ``stop_token``.

    >>> decode_texts(Characters("ab."), np.array([[0, 1, 2, 2], [1, 1, 0, 1]]), stop_token=2)
    ['ab', 'bbab']
    """
    ends = np.full(len(x), x.shape[1])
    if stop_token is not None:
        ends = np.where((x == stop_token).any(axis=1), np.argmax(x == stop_token, axis=1), ends)
    return [tokenizer.decode(row[:end]) for row, end in zip(x, ends, strict=True)]


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
