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

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text, int32 (N,)."""
        ...

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens (N,)."""
        ...


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

    def encode(self, text: str) -> np.ndarray:
        """Return the bytes of a text."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of bytes."""
        return bytes(np.asarray(tokens, np.uint8)).decode("utf-8", errors="replace")


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

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text; ValueError where it has other characters."""
        number = {character: token for token, character in enumerate(self.vocabulary)}
        other = next((character for character in text if character not in number), None)
        if other is not None:
            raise ValueError(
                f"{other!r} is none of the {self.num_tokens} characters of the vocabulary, {self.vocabulary!r}"
            )
        return np.array([number[character] for character in text], np.int32)

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens."""
        return "".join(self.vocabulary[token] for token in np.asarray(tokens).tolist())
