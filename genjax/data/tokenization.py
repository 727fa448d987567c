"""Reading and tokenizing text files.

With byte tokens texts stay bytes, so that they need not be UTF-8 and nothing is lost; otherwise they are decoded.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genjax.data.bpe import BPE
from genjax.data.io import require_file
from genjax.data.tokenizers import Bytes, Characters, Tokenizer

TokenizerChoice = Literal["bytes", "characters", "bpe"] | Tokenizer
Text = bytes | str
BLOCK = 2**16  # characters encoded at once, which takes some 20 bytes for each


def check_tokenizer(choice: TokenizerChoice, num_tokens: int | None) -> None:
    """Raise ValueError if ``num_tokens`` is missing or not used."""
    if choice == "bpe" and num_tokens is None:
        raise ValueError("tokenizer is 'bpe', but num_tokens is missing; set it to at least 256")
    if choice != "bpe" and num_tokens is not None:
        raise ValueError(f"num_tokens is {num_tokens}, but only tokenizer='bpe' uses it; leave it out")


def read_file(path: Path) -> bytes:
    """Return the content of a file, plain or ``.gz``, without a byte order mark."""
    content = require_file(path).read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"cannot decompress {path} ({error}); repair it or rename it") from None
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content:
        raise ValueError(f"{path} is empty; there is nothing to learn from")
    return content


def decode_text(content: bytes, choice: TokenizerChoice, name: str) -> Text:
    """Decode UTF-8, except for byte tokens, whose text stays bytes; ValueError if it is not UTF-8."""
    if choice == "bytes" or isinstance(choice, Bytes):
        return content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 at byte {error.start}; convert it, or use tokenizer='bytes'") from None


def make_tokenizer(choice: TokenizerChoice, num_tokens: int | None, texts: Mapping[str, Sequence[Any]]) -> Tokenizer:
    """Return the tokenizer for texts by split: "bpe" learns from "train" alone, "characters" from all splits."""
    if isinstance(choice, Tokenizer):
        return choice
    if choice == "bytes":
        return Bytes()
    if choice == "characters":
        return Characters("".join(sorted(set().union(*chain.from_iterable(texts.values())))))
    assert num_tokens is not None
    return BPE.train(texts["train"], num_tokens=num_tokens)


def encode(tokenizer: Tokenizer, text: Text) -> np.ndarray:
    """Return the tokens of a text (N,): uint8, or int32 if the vocabulary has more than 256."""
    dtype = np.uint8 if tokenizer.num_tokens <= 256 else np.int32
    if isinstance(text, bytes):
        return np.frombuffer(text, np.uint8).astype(dtype, copy=False)
    if not isinstance(tokenizer, Characters):
        return tokenizer.encode(text).astype(dtype, copy=False)
    tokens = np.empty(len(text), dtype)
    for start in range(0, len(text), BLOCK):
        tokens[start : start + BLOCK] = tokenizer.encode(text[start : start + BLOCK])
    return tokens
