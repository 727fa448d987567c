"""Byte-pair encoding: the pieces of texts that occur often as tokens.

The first tokens are the 256 bytes of UTF-8, so that any text has tokens and is had back from them. Training gives the
pair of neighbouring tokens that occurs most often a token of its own, and replaces it by that, until there are enough
(Rico Sennrich, Barry Haddow and Alexandra Birch, 2016, arXiv:1508.07909). Pairs lie within words, by GPT-2's rule of
what a word is: of letters, of digits, or of other signs, each with the space before it (Alec Radford et al., 2019).

The work is done by the library ``tokenizers`` of Hugging Face, and files are its ``tokenizer.json``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from genjax.data.io import existing
from genjax.data.tokenizers import checked_tokens

NUM_BYTES = 256
PIECE = 2**16  # characters that the library gets at once: its memory is hundreds of times that
_CUT = re.compile(r"(?<=\S)\n")  # a word of GPT-2's begins here, whatever comes before and after


@final
@dataclass(frozen=True, repr=False)
class BPE:
    """Tokens of a byte-level byte-pair encoding.

    Equal definitions are equal tokenizers. Bytes that are no text decode to "�", as those of ``Bytes`` do.

    Attributes:
      definition: what ``tokenizer.json`` holds.

    Raises:
      ImportError: without the library.
      ValueError: for a definition that cannot be read, or in which some bytes have no token.

    >>> bpe = BPE.train("banana", num_tokens=257)  # the bytes and "an"
    >>> len(bpe.encode("banana")), bpe.decode(bpe.encode("naïve 🍌")), bpe.num_bytes[256]
    (4, 'naïve 🍌', np.int32(2))
    """

    definition: str

    def __post_init__(self) -> None:
        missing = set(_library().pre_tokenizers.ByteLevel.alphabet()) - set(self._tokenizer.get_vocab())
        if missing:
            raise ValueError(
                f"{len(missing)} of the {NUM_BYTES} bytes have no token, so that not every text has tokens; give the "
                "tokenizer.json of a byte-level BPE, such as GPT-2's"
            )

    def __repr__(self) -> str:
        return f"BPE(num_tokens={self.num_tokens})"

    @staticmethod
    def train(texts: str | Iterable[str], *, num_tokens: int) -> BPE:
        """Learn the tokens of texts.

        The same texts give the same tokenizer, in any process.

        Args:
          texts: one or several; no token reaches over the end of one.
          num_tokens: V, 256 of them the bytes.

        Raises:
          ValueError: for fewer than 256 tokens, or more than the texts have: a pair must occur twice.
        """
        if num_tokens < NUM_BYTES:
            raise ValueError(f"num_tokens is {num_tokens}, but the bytes alone are {NUM_BYTES}; give at least that")
        library = _library()
        byte_level = library.pre_tokenizers.ByteLevel
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=num_tokens,
            min_frequency=2,
            initial_alphabet=sorted(byte_level.alphabet()),
            show_progress=False,
        )
        texts = [texts] if isinstance(texts, str) else texts
        tokenizer.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
        found = tokenizer.get_vocab_size()
        if found < num_tokens:
            raise ValueError(f"num_tokens is {num_tokens}, but the text has pieces for {found}; give at most that")
        return BPE(tokenizer.to_str())

    @staticmethod
    def load(path: str | Path) -> BPE:
        """Read a ``tokenizer.json``, of ``save`` or of GPT-2 and its like; FileNotFoundError where there is none."""
        path = existing(Path(path))
        try:
            return BPE(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"cannot use {path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write ``tokenizer.json``."""
        Path(path).write_text(self.definition, encoding="utf-8")

    @property
    def num_tokens(self) -> int:
        """V, added tokens such as GPT-2's end of text included."""
        return self._tokenizer.get_vocab_size()

    @property
    def num_bytes(self) -> np.ndarray:
        """How many bytes of UTF-8 each token stands for."""
        added = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        number = np.zeros(self.num_tokens, np.int32)
        for piece, token in self._tokenizer.get_vocab().items():
            number[token] = len(
                piece.encode("utf-8") if piece in added else piece
            )  # others have a letter for each byte
        return number

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text; those of a long one are found in parallel."""
        pieces = self._tokenizer.encode_batch_fast(list(_pieces(text)), add_special_tokens=False)
        return np.concatenate([np.array(piece.ids, np.int32) for piece in pieces])

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens."""
        array = checked_tokens(tokens, self.num_tokens)
        return self._tokenizer.decode(array.tolist(), skip_special_tokens=False)

    @cached_property
    def _tokenizer(self) -> Any:
        library = _library()
        try:
            tokenizer = library.Tokenizer.from_str(self.definition)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"the definition is none of a tokenizer ({error})") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text at ends of lines, where words end too."""
    start = 0
    while (cut := _CUT.search(text, start + PIECE)) is not None:
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ImportError('byte-pair encoding needs tokenizers; pip install "genjax-models[bpe]"') from None
    return tokenizers
