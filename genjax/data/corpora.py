"""Texts cut into windows of equal length: from a file, or from the standard library of the interpreter."""

from __future__ import annotations

import os
import platform
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genjax.arguments import PositiveInt
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource
from genjax.data.splitting import Size, split_evenly, split_last_slices
from genjax.data.tokenization import (
    Text,
    TokenizerChoice,
    check_tokenizer,
    decode_text,
    encode,
    make_tokenizer,
    read_file,
)

_NO_SOURCES = {"site-packages", "dist-packages", "test", "tests", "idle_test"}  # installed packages, and tests


@opens_dataset
def text(
    path: str | Path,
    *,
    tokenizer: TokenizerChoice = "bytes",
    num_tokens: PositiveInt | None = None,
    length: PositiveInt = 256,
    stride: PositiveInt | None = None,
    validation: Size = 0.1,
    test: Size = 0,
) -> Dataset:
    """Read a text file, plain or ``.gz``, as windows of ``length`` tokens.

    ``x`` has shape (length,): uint8, or int32 if there are more than 256 tokens; ``levels`` is the vocabulary size. The
    text is first divided into splits, which are then cut into windows; the remainder after the last whole window of a
    split is dropped.

    Args:
      path: path of the file, which must not be empty, and UTF-8 unless ``tokenizer`` is "bytes".
      tokenizer: "bytes"; "characters", the sorted characters of the whole text; "bpe", learned from the training split
        alone; or any ``Tokenizer``.
      num_tokens: vocabulary size of "bpe"; None for all others.
      length: tokens per window, at most those of the shortest split.
      stride: tokens between the starts of successive training windows; None for ``length``, so that they do not
        overlap. Windows for validation and test never overlap.
      validation: number or fraction of characters (of bytes with "bytes") for validation, the last ones before those
        for test.
      test: number or fraction of characters (of bytes with "bytes") for test, the last ones of the text.
    """
    check_tokenizer(tokenizer, num_tokens)
    path = Path(path)
    content = decode_text(read_file(path), tokenizer, str(path))
    parts = {split: content[part] for split, part in split_last_slices(len(content), validation, test).items()}
    return window_dataset(path.name.split(".")[0], parts, tokenizer, num_tokens, length, stride)


@opens_dataset
def stdlib(
    *,
    tokenizer: TokenizerChoice = "bytes",
    num_tokens: PositiveInt | None = None,
    length: PositiveInt = 256,
    stride: PositiveInt | None = None,
    validation: Size = 0.1,
    test: Size = 0,
) -> Dataset:
    """Read the source files of the interpreter's standard library as windows of ``length`` tokens.

    About 12 MB of code and English that need no network. They depend on the version of Python, which is part of the
    name of the data set. Files are concatenated in the order of their paths; tests, installed packages and files that
    are not UTF-8 are left out. ``validation`` and ``test`` are numbers or fractions of files, which are evenly spaced;
    the other arguments are those of ``text``. FileNotFoundError if the interpreter has no source files.
    """
    check_tokenizer(tokenizer, num_tokens)
    root = Path(sysconfig.get_path("stdlib"))
    sources = [content for content in map(Path.read_bytes, _sources(root)) if _is_utf8(content)]
    if not sources:
        raise FileNotFoundError(f"no sources of the standard library in {root}; use an interpreter that is not zipped")
    parts = {
        split: decode_text(b"".join(sources[i] for i in files), tokenizer, str(root))
        for split, files in split_evenly(len(sources), validation, test).items()
    }
    return window_dataset(f"stdlib_{platform.python_version()}", parts, tokenizer, num_tokens, length, stride)


def window_dataset(
    name: str,
    parts: Mapping[str, Text],
    choice: TokenizerChoice,
    num_tokens: int | None,
    length: int,
    stride: int | None,
) -> Dataset:
    """Cut the parts of a text, one for each split, into windows of tokens."""
    tokenizer = make_tokenizer(choice, num_tokens, {split: [part] for split, part in parts.items()})
    splits = {}
    for split, part in parts.items():
        x = cut_windows(encode(tokenizer, part), length, f"{split} of {name}", stride if split == "train" else None)
        splits[split] = ArraySource({"x": x})
    return Dataset(name=name, splits=splits, levels=tokenizer.num_tokens, tokenizer=tokenizer)


def cut_windows(codes: np.ndarray, length: int, name: str, stride: int | None = None) -> np.ndarray:
    """Cut a sequence of shape (N,), N ≥ length, into windows of shape (N // length, length).

    With a stride, windows start at its multiples and may overlap; they share the memory of the sequence.

    >>> cut_windows(np.arange(7), 3, "numbers").tolist()
    [[0, 1, 2], [3, 4, 5]]
    >>> cut_windows(np.arange(7), 3, "numbers", stride=2).tolist()
    [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    """
    if length > len(codes):
        raise ValueError(f"length is {length}, but {name} has {len(codes)} tokens; use 1 … {len(codes)}, or more text")
    if stride is None:
        return codes[: len(codes) // length * length].reshape(-1, length)
    return np.lib.stride_tricks.sliding_window_view(codes, length)[::stride]


def _sources(root: Path) -> list[Path]:
    paths = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _NO_SOURCES]  # prunes the walk
        paths += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(paths)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
