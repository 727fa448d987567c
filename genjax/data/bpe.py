"""Byte-pair encoding (BPE): tokens are pieces of text that occur often.

The first 256 tokens are the bytes of UTF-8, so that every text can be encoded and decoded without loss. Training
repeatedly merges the most frequent pair of adjacent tokens into a new token, until there are ``num_tokens`` (Rico
Sennrich, Barry Haddow and Alexandra Birch, 2016, arXiv:1508.07909). Pairs lie within words as GPT-2 defines them: runs
of letters, of digits or of other signs, each with the space before it (Alec Radford et al., 2019).

Encoding and training use Hugging Face's library ``tokenizers``; files have its format, ``tokenizer.json``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
from annotated_types import Ge

from genjax.arguments import Cure, check_arguments
from genjax.data.io import require_file
from genjax.data.tokenizers import check_tokens

NUM_BYTES = 256
NumTokens = Annotated[int, Ge(NUM_BYTES), Cure(": one for each byte")]
PIECE = 2**16  # characters passed to the library at once, which takes hundreds of times their memory
_CUT = re.compile(r"(?<=\S)\n")  # a GPT-2 word always begins here


@check_arguments
@final
@dataclass(frozen=True, repr=False)
class BPE:
    """Byte-level byte-pair encoding.

    Tokenizers with equal definitions are equal. As with ``Bytes``, invalid UTF-8 decodes to "�". ImportError if the
    library ``tokenizers`` is missing.

    Attributes:
      definition: content of ``tokenizer.json``, in which every byte must have a token.

    >>> bpe = BPE.train("banana", num_tokens=257)  # the bytes and "an"
    >>> len(bpe.encode("banana")), bpe.decode(bpe.encode("naïve 🍌")), bpe.num_bytes[256]
    (4, 'naïve 🍌', np.int32(2))
    """

    definition: str

    def __post_init__(self) -> None:
        missing = set(_library().pre_tokenizers.ByteLevel.alphabet()) - set(self._tokenizer.get_vocab())
        if missing:
            raise ValueError(
                f"{len(missing)} of the {NUM_BYTES} bytes have no token, so some texts cannot be encoded; use the "
                "tokenizer.json of a byte-level BPE, such as GPT-2's"
            )

    def __repr__(self) -> str:
        return f"BPE(num_tokens={self.num_tokens})"

    @staticmethod
    @check_arguments
    def train(texts: str | Iterable[str], *, num_tokens: NumTokens) -> BPE:
        """Learn the tokens from texts. The result depends on the texts alone.

        Args:
          texts: one text or several; no token spans the end of a text.
          num_tokens: vocabulary size V, including the 256 bytes; limited by the texts, as a pair must occur twice.
        """
        library = _library()
        byte_level = library.pre_tokenizers.ByteLevel
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=num_tokens, min_frequency=2, initial_alphabet=sorted(byte_level.alphabet()), show_progress=False
        )
        texts = [texts] if isinstance(texts, str) else texts
        tokenizer.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
        vocab_size = tokenizer.get_vocab_size()
        if vocab_size < num_tokens:
            raise ValueError(
                f"num_tokens is {num_tokens}, but must be at most {vocab_size}: no other pair occurs twice"
            )
        return BPE(tokenizer.to_str())

    @staticmethod
    @check_arguments
    def load(path: str | Path) -> BPE:
        """Read a ``tokenizer.json``, from ``save`` or of a model such as GPT-2; FileNotFoundError if missing."""
        path = require_file(Path(path))
        try:
            return BPE(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"cannot use {path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write ``tokenizer.json``."""
        Path(path).write_text(self.definition, encoding="utf-8")

    @property
    def num_tokens(self) -> int:
        """Vocabulary size V, including added tokens such as GPT-2's end of text."""
        return self._tokenizer.get_vocab_size()

    @property
    def num_bytes(self) -> np.ndarray:
        """Number of UTF-8 bytes of each token, int32 (V,)."""
        added = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        number = np.zeros(self.num_tokens, np.int32)
        for piece, token in self._tokenizer.get_vocab().items():
            # The library spells all but added tokens with one letter for each byte.
            number[token] = len(piece.encode("utf-8") if piece in added else piece)
        return number

    def encode(self, text: str) -> np.ndarray:
        """Return the tokens of a text; long texts are encoded in parallel."""
        pieces = self._tokenizer.encode_batch_fast(list(_pieces(text)), add_special_tokens=False)
        return np.concatenate([np.array(piece.ids, np.int32) for piece in pieces])

    def decode(self, tokens: Iterable[int] | np.ndarray) -> str:
        """Return the text of tokens."""
        array = check_tokens(tokens, self.num_tokens)
        return self._tokenizer.decode(array.tolist(), skip_special_tokens=False)

    @cached_property
    def _tokenizer(self) -> Any:
        library = _library()
        try:
            tokenizer = library.Tokenizer.from_str(self.definition)
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"the definition is not that of a tokenizer ({error})") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text at ends of lines, where words also end."""
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
