"""Lines of a text file as examples: names, molecules, sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource
from genjax.data.splitting import Size, split_evenly, split_source
from genjax.data.tokenization import TokenizerChoice, check_tokenizer, decode_text, encode, make_tokenizer, read_file
from genjax.data.tokenizers import Tokenizer


@opens_dataset
def lines(
    path: str | Path,
    *,
    tokenizer: TokenizerChoice = "characters",
    num_tokens: PositiveInt | None = None,
    length: PositiveInt | None = None,
    validation: Size = 0.1,
    test: Size = 0,
) -> Dataset:
    r"""Read a text file, plain or ``.gz``, with one example in each line.

    ``x`` has shape (length,): the tokens of the line, padded with the token of "\n", which ``end_of_line`` returns and
    a model takes as ``stop``. It is uint8, or int32 if there are more than 256 tokens. Lines end with "\n" or "\r\n";
    empty lines are left out. A line that occurs twice may be in two splits.

    Args:
      path: path of the file, which must be UTF-8 unless ``tokenizer`` is "bytes".
      tokenizer: as in ``text``; "characters" are those of the lines and "\n", which must be one token.
      num_tokens: as in ``text``.
      length: tokens per example, including the end; None to fit the longest line.
      validation: number or fraction of lines for validation, evenly spaced, so that sorted lines keep their shares.
      test: number or fraction of lines for test, evenly spaced.
    """
    check_tokenizer(tokenizer, num_tokens)
    path = Path(path)
    content = decode_text(read_file(path), tokenizer, str(path))
    numbered = {number: line for number, line in enumerate(_split(content), 1) if line}
    if not numbered:
        raise ValueError(f"{path} has only empty lines; there is nothing to learn from")
    numbers, texts = list(numbered), list(numbered.values())
    parts = split_evenly(len(texts), validation, test)
    by_split = {split: [texts[i] for i in indices] for split, indices in parts.items()}
    codec = make_tokenizer(tokenizer, num_tokens, by_split | {"ends": ["\n"]})
    tokens = [encode(codec, line) for line in texts]
    longest = max(map(len, tokens))
    length = longest + 1 if length is None else length
    if longest >= length:
        first = next(i for i, line in enumerate(tokens) if len(line) >= length)
        raise ValueError(
            f"length is {length}, including the end, but line {numbers[first]} of {path} has {len(tokens[first])} "
            f"tokens; use length={longest + 1}, or shorten the lines"
        )
    x = np.full((len(tokens), length), _end(codec), tokens[0].dtype)
    for row, line in zip(x, tokens, strict=True):
        row[: len(line)] = line
    splits = split_source(ArraySource({"x": x}), parts)
    return Dataset(name=path.name.split(".")[0], splits=splits, levels=codec.num_tokens, tokenizer=codec)


@check_arguments
def end_of_line(dataset: Dataset) -> int:
    """Return the token that ends the lines of a data set; ValueError if it has no tokenizer."""
    if dataset.tokenizer is None:
        raise ValueError(f"{dataset.name!r} has no tokenizer and therefore no lines; read it with data.lines")
    return _end(dataset.tokenizer)


def _end(tokenizer: Tokenizer) -> int:
    tokens = tokenizer.encode("\n")
    if len(tokens) != 1:
        raise ValueError(f'{tokenizer!r} has {len(tokens)} tokens for "\\n", but lines need exactly one; use another')
    return int(tokens[0])


def _split(content: bytes | str) -> list[bytes] | list[str]:
    if isinstance(content, bytes):
        return [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [line.removesuffix("\r") for line in content.split("\n")]
