"""Lines of a file as examples: names, molecules, sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource
from genjax.data.splitting import Size, spaced
from genjax.data.tokenization import Choice, check_choice, encode, read, readable, tokenizer_of
from genjax.data.tokenizers import Tokenizer


@opens_dataset
def lines(
    path: str | Path,
    *,
    tokenizer: Choice = "characters",
    num_tokens: int | None = None,
    length: int | None = None,
    validation: Size = 0.1,
    test: Size = 0,
) -> Dataset:
    r"""Read a text file, plain or ``.gz``, with one example in each line.

    ``x`` has shape (length,): the tokens of the line and then, to the end, that of "\n", which ``end_of_line`` returns
    and a model is told as ``stop``. It is uint8, or int32 where there are more than 256 tokens. Lines end with "\n" or
    "\r\n"; empty ones are left out. One that is there twice may be in two splits.

    Args:
      path: the file, UTF-8 unless its bytes are the tokens.
      tokenizer: as in ``text``; characters are "\n" and those of the lines.
      num_tokens: as in ``text``.
      length: tokens in an example, the end among them; None for those of the longest line.
      validation: number or fraction of lines for validation, evenly spaced, so that sorted lines keep their shares.
      test: the same for test.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it is not UTF-8 or has no lines, a line is too long, or "\n" is none of the tokenizer's tokens.
    """
    check_choice(tokenizer, num_tokens)
    path = Path(path)
    content = readable(read(path), tokenizer, str(path))
    numbered = {number: line for number, line in enumerate(_split(content), 1) if line}
    if not numbered:
        raise ValueError(f"{path} has only empty lines; there is nothing to learn from")
    numbers, texts = list(numbered), list(numbered.values())
    parts = spaced(len(texts), validation, test)
    by_split = {split: [texts[i] for i in indices] for split, indices in parts.items()}
    chosen = tokenizer_of(tokenizer, num_tokens, by_split | {"ends": ["\n"]})
    tokens = [encode(chosen, line) for line in texts]
    longest = max(map(len, tokens))
    length = longest + 1 if length is None else length
    if longest >= length:
        first = next(i for i, line in enumerate(tokens) if len(line) >= length)
        raise ValueError(
            f"length is {length}, the end among them, but line {numbers[first]} of {path} has {len(tokens[first])} "
            f"tokens; give length={longest + 1}, or shorten the lines"
        )
    x = np.full((len(tokens), length), _end(chosen), tokens[0].dtype)
    for row, line in zip(x, tokens, strict=True):
        row[: len(line)] = line
    splits = {split: ArraySource({"x": x[indices]}) for split, indices in parts.items()}
    return Dataset(name=path.name.split(".")[0], splits=splits, levels=chosen.num_tokens, tokenizer=chosen)


def end_of_line(dataset: Dataset) -> int:
    """Return the token that ends the lines of a data set; ValueError where it has no texts."""
    if dataset.tokenizer is None:
        raise ValueError(f"{dataset.name!r} has no tokenizer, and so no lines; read it by data.lines")
    return _end(dataset.tokenizer)


def _end(tokenizer: Tokenizer) -> int:
    tokens = tokenizer.encode("\n")
    if len(tokens) != 1:
        raise ValueError(f'{tokenizer!r} has {len(tokens)} tokens for "\\n", but lines end with one; use another')
    return int(tokens[0])


def _split(content: bytes | str) -> list[bytes] | list[str]:
    if isinstance(content, bytes):
        return [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [line.removesuffix("\r") for line in content.split("\n")]
