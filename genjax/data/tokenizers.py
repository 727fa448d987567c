"""Tokenizers: between texts and integers 0 … V − 1 that stand for pieces of text."""

from __future__ import annotations

import re
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
@final
@dataclass(frozen=True)
class Words:
    """One token for each word and punctuation mark of a vocabulary, in lower case; token 0 pads texts.

    Attributes:
      vocabulary: words and marks separated by spaces, in the order of their tokens from 1, each only once.

    >>> words = Words("3 7 above digits two ,")
    >>> words.encode("Two digits, 3 above 7").tolist(), words.decode([5, 4, 6, 1, 3, 2, 0, 0])
    ([5, 4, 6, 1, 3, 2], 'two digits, 3 above 7')
    """

    vocabulary: str

    def __post_init__(self) -> None:
        words = self.vocabulary.split()
        if not words or len(set(words)) < len(words) or [self.vocabulary.lower()] != [" ".join(words)]:
            raise ValueError(
                f"vocabulary is {self.vocabulary!r}, but must be words in lower case, separated by spaces, at least "
                "one, each only once"
            )
        parts = [word for word in words if split_words(word) != [word]]
        if parts:
            raise ValueError(f"vocabulary has {parts[0]!r}, which is {split_words(parts[0])}; list these separately")

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """Return the tokenizer whose vocabulary holds the words of some texts, sorted."""
        return cls(" ".join(sorted({word for text in texts for word in split_words(text)})))

    @property
    def num_tokens(self) -> int:
        """Vocabulary size V: the number of words, and one for the padding."""
        return 1 + len(self.vocabulary.split())

    @property
    def num_bytes(self) -> np.ndarray:
        """Those of the word; 0 for the padding."""
        return np.array([0, *(len(word.encode("utf-8")) for word in self.vocabulary.split())], np.int32)

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text; ValueError that names the words that are not in the vocabulary."""
        words = self.vocabulary.split()
        numbers = {word: number for number, word in enumerate(words, start=1)}
        unknown = [word for word in dict.fromkeys(split_words(text)) if word not in numbers]
        if unknown:
            raise ValueError(
                f"{', '.join(map(repr, unknown))} {'is' if len(unknown) == 1 else 'are'} not among the {len(words)} "
                f"words of the vocabulary: {self.vocabulary}"
            )
        return np.array([numbers[word] for word in split_words(text)], np.int32)

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens, without the padding."""
        words = ["", *self.vocabulary.split()]
        text = " ".join(words[token] for token in check_tokens(tokens, self.num_tokens).tolist() if token)
        return re.sub(r" ([,.;:!?])", r"\1", text)


def split_words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in lower case.

    >>> split_words("Two digits, 3 above 7")
    ['two', 'digits', ',', '3', 'above', '7']
    """
    return re.findall(r"\w+|[^\w\s]", text.lower())


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
