"""Texts cut into windows of equal length: of a file, and of the interpreter's own standard library."""

from __future__ import annotations

import os
import platform
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource
from genjax.data.splitting import Size, last_slices, spaced
from genjax.data.tokenization import Choice, Text, check_choice, encode, read, readable, tokenizer_of

_NO_SOURCES = {"site-packages", "dist-packages", "test", "tests", "idle_test"}  # others' sources, and tests


@opens_dataset
def text(
    path: str | Path,
    *,
    tokenizer: Choice = "bytes",
    num_tokens: int | None = None,
    length: int = 256,
    stride: int | None = None,
    validation: Size = 0.1,
    test: Size = 0,
) -> Dataset:
    """Read a text file, plain or ``.gz``, as windows of ``length`` tokens.

    ``x`` has shape (length,): uint8, or int32 where there are more than 256 tokens, and ``levels`` is the size of the
    vocabulary. The text is divided first and its parts are cut into windows then; what remains of a part after its last
    whole window is left out.

    Args:
      path: the file, UTF-8 unless its bytes are the tokens.
      tokenizer: "bytes"; "characters", those of the whole text, sorted; "bpe", learned from the training part alone; or
        any ``Tokenizer``.
      num_tokens: of "bpe", and only of it.
      length: tokens in one window.
      stride: tokens from the start of one training window to that of the next; None for ``length``, so that they do
        not overlap. Those for validation and test never do.
      validation: number or fraction of characters (of bytes, where these are the tokens) for validation, the last ones
        before those for test.
      test: the same for test, the last ones of the text.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it is empty or not UTF-8, or a part is shorter than one window.
    """
    check_choice(tokenizer, num_tokens)
    path = Path(path)
    content = readable(read(path), tokenizer, str(path))
    parts = {split: content[part] for split, part in last_slices(len(content), validation, test).items()}
    return windowed(path.name.split(".")[0], parts, tokenizer, num_tokens, length, stride)


@opens_dataset
def stdlib(
    *,
    tokenizer: Choice = "bytes",
    num_tokens: int | None = None,
    length: int = 256,
    stride: int | None = None,
    validation: Size = 0.1,
    test: Size = 0,
) -> Dataset:
    """Read the sources of Python's standard library, those of the running interpreter, as windows of ``length`` tokens.

    About 12 MB of code and English that need no network. They differ between versions of Python, which the name of the
    data set tells. Files are in the order of their paths, one after the other; tests, installed packages and files that
    are not UTF-8 are left out.

    Args:
      tokenizer: as in ``text``.
      num_tokens: as in ``text``.
      length: as in ``text``.
      stride: as in ``text``.
      validation: number or fraction of files for validation, evenly spaced.
      test: the same for test.

    Raises:
      FileNotFoundError: when the interpreter comes without sources.
      ValueError: when a part is shorter than one window.
    """
    check_choice(tokenizer, num_tokens)
    root = Path(sysconfig.get_path("stdlib"))
    sources = [content for content in map(Path.read_bytes, _sources(root)) if _is_utf8(content)]
    if not sources:
        raise FileNotFoundError(f"no sources of the standard library in {root}; use an interpreter that is not zipped")
    parts = {
        split: readable(b"".join(sources[i] for i in files), tokenizer, str(root))
        for split, files in spaced(len(sources), validation, test).items()
    }
    return windowed(f"stdlib_{platform.python_version()}", parts, tokenizer, num_tokens, length, stride)


@opens_dataset
def windowed(
    name: str,
    parts: Mapping[str, Text],
    choice: Choice,
    num_tokens: int | None,
    length: int,
    stride: int | None,
) -> Dataset:
    """Return the data set of the parts of a text, one for each split, cut into windows of tokens."""
    tokenizer = tokenizer_of(choice, num_tokens, {split: [part] for split, part in parts.items()})
    splits = {}
    for split, part in parts.items():
        x = windows(encode(tokenizer, part), length, f"{split} of {name}", stride if split == "train" else None)
        splits[split] = ArraySource({"x": x})
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
        raise ValueError(f"length is {length}, but {name} has {len(codes)} tokens; give 1 … {len(codes)}, or more text")
    if stride is None:
        return codes[: len(codes) // length * length].reshape(-1, length)
    if stride < 1:
        raise ValueError(f"stride is {stride}, but windows begin at least 1 token after another")
    return np.lib.stride_tricks.sliding_window_view(codes, length)[::stride]


def _sources(root: Path) -> list[Path]:
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _NO_SOURCES]  # not even entered
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(found)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
