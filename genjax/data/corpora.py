"""Texts cut into windows of equal length."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.source import ArraySource
from genjax.data.splitting import Size, last
from genjax.data.tokenizers import Bytes, Characters


def text(
    path: str | Path,
    *,
    length: int = 256,
    stride: int | None = None,
    symbols: str = "bytes",
    validation: Size = 0.1,
    test: Size = 0,
) -> Dataset:
    """Read a UTF-8 text file, plain or ``.gz``, as windows of ``length`` symbols.

    ``x`` has shape (length,): uint8, or int32 where there are more than 256 characters. ``levels`` is the size of the
    vocabulary: 256 for bytes; for characters those of the whole text, sorted, see ``Dataset.tokenizer``. What
    remains after the last whole window is left out.

    Args:
      path: the file.
      length: symbols in one window.
      stride: symbols from the start of one training window to that of the next; None for ``length``, so that they do
        not overlap. Those for validation and test never do.
      symbols: "bytes" or "characters".
      validation: number or fraction of windows for validation, the last ones before those for test.
      test: number or fraction of windows for test, the last ones of the text.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it is shorter than one window or is not UTF-8.
    """
    if symbols not in ("bytes", "characters"):
        raise ValueError(f"symbols is {symbols!r}; give 'bytes' or 'characters'")
    path = Path(path)
    content = _content(path)
    tokenizer = Bytes()
    if symbols == "bytes":
        codes = np.frombuffer(content, np.uint8)
    else:
        codes, tokenizer = _characters(path, content)
    x = windows(codes, length, str(path))
    splits = {name: ArraySource({"x": x[indices]}) for name, indices in last(len(x), validation, test).items()}
    if stride is not None:
        training = codes[: len(splits["train"]) * length]
        splits["train"] = ArraySource({"x": windows(training, length, str(path), stride)})
    name = path.name.split(".")[0]
    return Dataset(name=name, splits=splits, levels=tokenizer.num_tokens, tokenizer=tokenizer)


def windows(codes: np.ndarray, length: int, name: str, stride: int | None = None) -> np.ndarray:
    """Cut a sequence of shape (N,) into windows of shape (N // length, length).

    Where a stride is given, windows begin at its multiples and may overlap; they share the memory of the sequence.

    Raises:
      ValueError: when the sequence is shorter than one window, or the stride is below 1.

    >>> windows(np.arange(7), 3, "numbers").tolist()
    [[0, 1, 2], [3, 4, 5]]
    >>> windows(np.arange(7), 3, "numbers", stride=2).tolist()
    [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    """
    if not 1 <= length <= len(codes):
        raise ValueError(f"length is {length}, but {name} has {len(codes)} symbols; give 1 … {len(codes)}")
    if stride is None:
        return codes[: len(codes) // length * length].reshape(-1, length)
    if stride < 1:
        raise ValueError(f"stride is {stride}, but windows begin at least 1 symbol after another")
    return np.lib.stride_tricks.sliding_window_view(codes, length)[::stride]


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; check the path")
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot decompress {path} ({error}); repair it or rename it") from None


def _characters(path: Path, content: bytes) -> tuple[np.ndarray, Characters]:
    try:
        points = np.frombuffer(content.decode("utf-8").encode("utf-32-le"), np.uint32)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 at byte {error.start}; convert it, or read it by symbols='bytes'"
        ) from None
    vocabulary, codes = np.unique(points, return_inverse=True)
    narrow = np.uint8 if len(vocabulary) <= 256 else np.int32
    return codes.astype(narrow), Characters("".join(map(chr, vocabulary)))
