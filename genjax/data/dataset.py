"""A data set: named splits of examples, with the meaning of their values."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import jax
import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.data.sounds import Sound
from genjax.data.source import ArraySource, CheckedSource, DeferredSource, Source, UnpairedSource
from genjax.data.tokenizers import Tokenizer
from genjax.data.values import Values

SPLITS = ("train", "validation", "test")


@check_arguments
@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Named splits of examples. Every example is a dict; its entry ``x`` is the data that models learn.

    Attributes:
      name: name in logs and reports.
      splits: sources by name: "train", and optionally "validation" and "test".
      levels: number of values of an integer ``x``, which are 0 … levels - 1: grey levels (256; 17 for digits), or the
        vocabulary size of a text. None for continuous data.
      num_classes: number of classes; ``label`` is in 0 … num_classes - 1. None for as many as ``class_names``.
      class_names: name of each class; None for classes without names, or no classes.
      values: values of ``x``; None takes them from ``levels``, or from the training split if its arrays are in memory.
      tokenizer: tokenizer of a text, whose tokens are the values of ``x``; None otherwise.
      condition_tokenizers: tokenizers of the other entries that are tokenized texts, such as captions, by entry.
      sound: how to play and draw examples of sound or music; None otherwise.
      paired: whether the entries of an example belong together in training; False follows from an ``UnpairedSource``.

    Raises:
      ValueError: if "train" is missing, a split is empty, splits differ in entries, shapes or types, a number is not
        finite, integers exceed ``levels``, ``num_classes`` or a vocabulary, or a tokenizer has no entry. Arrays are
        checked completely; streamed records at the first, and then whenever they are read.

    >>> from genjax.data import Bytes
    >>> captions = {"x": np.zeros((2, 4, 4, 1), np.uint8), "caption": np.array([[104, 105], [104, 111]], np.uint8)}
    >>> source = ArraySource(captions)
    >>> data = Dataset(name="captioned", splits={"train": source}, condition_tokenizers={"caption": Bytes()})
    >>> data.condition_tokenizers["caption"].decode(source.arrays["caption"][0])
    'hi'
    """

    name: str
    splits: Mapping[str, Source]
    levels: PositiveInt | None = None
    num_classes: PositiveInt | None = None
    class_names: tuple[str, ...] | None = None
    values: Values | None = None
    tokenizer: Tokenizer | None = None
    condition_tokenizers: Mapping[str, Tokenizer] = field(default_factory=dict)
    sound: Sound | None = None
    paired: bool = True

    def __post_init__(self) -> None:
        _check_names(self.name, tuple(self.splits))
        if self.class_names is not None and self.num_classes is None:
            object.__setattr__(self, "num_classes", len(self.class_names))
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"class_names of {self.name!r} has {len(self.class_names)} names, but num_classes={self.num_classes}; "
                "give one name per class"
            )
        for split, source in self.splits.items():
            if len(source) == 0:
                raise ValueError(f"split {split!r} of {self.name!r} is empty; leave it out or add examples")
            _check_same_spec(self.name, split, source, self.splits["train"])
        splits = {split: self._checked(split, source) for split, source in self.splits.items()}
        object.__setattr__(self, "splits", splits)
        train = self.splits["train"]
        if isinstance(train, UnpairedSource):
            object.__setattr__(self, "paired", False)
        elif not self.paired and not isinstance(train, DeferredSource):
            raise ValueError(
                f"paired is False, but the entries of split 'train' of {self.name!r} are shuffled together; "
                "make it an UnpairedSource"
            )
        if self.values is None:
            object.__setattr__(self, "values", _values(self.splits["train"], self.levels))
        for entry in self.condition_tokenizers:
            if entry not in (entries := sorted(self.spec().keys() - {"x"})):
                raise ValueError(
                    f"condition_tokenizers has {entry!r}, but the conditions of {self.name!r} are {entries}"
                )

    def spec(self, split: str = "train") -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shape and type of one example, without the batch axis; ValueError if there is no such split."""
        if split not in self.splits:
            raise ValueError(f"{self.name!r} has no split {split!r}; it has {sorted(self.splits)}")
        return self.splits[split].spec

    def batch_spec(self, *axes: int, split: str = "train") -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shape and type of a batch, whose leading ``axes`` come before those of an example."""
        return {name: jax.ShapeDtypeStruct((*axes, *s.shape), s.dtype) for name, s in self.spec(split).items()}

    def class_name(self, label: int) -> str:
        """Return the name of a class, which is its number if it has none."""
        names = self.class_names or ()
        return names[label] if label < len(names) else str(label)

    def _checked(self, split: str, source: Source) -> Source:
        """Return the source after a check of its values: of all arrays, or of the first record and of all to come."""
        if isinstance(source, DeferredSource):  # its values were checked when it was described
            return source
        if isinstance(source, ArraySource):
            self._check_values(split, source.arrays)
            return source
        if isinstance(source, UnpairedSource):
            return UnpairedSource(self._checked(split, source.x), self._checked(split, source.y))
        source = source.source if isinstance(source, CheckedSource) else source
        checked = CheckedSource(source, functools.partial(self._check_values, split))
        checked.take(np.arange(1))
        return checked

    def _check_values(self, split: str, arrays: Mapping[str, np.ndarray], indices: np.ndarray | None = None) -> None:
        limits = {"x": ("levels", self.levels), "label": ("num_classes", self.num_classes)}
        limits |= {name: ("num_tokens", of_text.num_tokens) for name, of_text in self.condition_tokenizers.items()}
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                if name == "x" and self.levels is not None:
                    raise ValueError(
                        f"x of {self.name!r} is {array.dtype}, but levels={self.levels} is for integers; leave it out"
                    )
                _check_finite(name, split, array, indices)
            elif name in limits:
                _check_range(name, split, array, *limits[name])


def count_classes(name: str, label: np.ndarray) -> int:
    """Return the number of classes of labels (N,); ValueError if they do not start at 0."""
    label = label.astype(np.int64)
    high = int(label.max(initial=-1))
    low = int(label.min(initial=high))
    if low > 0:
        raise ValueError(f"{name} holds {low} … {high}, but classes count from 0; subtract {low}, or renumber them")
    return high + 1


def _values(source: Source, levels: int | None) -> Values | None:
    if levels is not None:
        return Values(0, levels - 1, levels)
    source = source.x if isinstance(source, UnpairedSource) else source
    x = source.arrays.get("x") if isinstance(source, ArraySource) else None
    return None if x is None or not x.size else Values(float(x.min()), float(x.max()))


def _check_names(name: str, splits: tuple[str, ...]) -> None:
    for split in splits:
        if split not in SPLITS:
            near = difflib.get_close_matches(split, SPLITS, 1, 0.3)
            raise ValueError(f"{name!r} has a split {split!r}; call it {' or '.join(map(repr, near or SPLITS))}")
    if "train" not in splits:
        raise ValueError(f"{name!r} has no split 'train', only {sorted(splits)}; add it")


def _check_same_spec(name: str, split: str, source: Source, train: Source) -> None:
    def describe(source: Source) -> dict[str, str]:
        return {k: f"{np.dtype(s.dtype)}{list(s.shape)}" for k, s in sorted(source.spec.items())}

    spec, expected = describe(source), describe(train)
    if spec != expected:
        raise ValueError(
            f"split {split!r} of {name!r} has examples {spec}, but split 'train' has {expected}; make them equal"
        )


def _check_finite(name: str, split: str, array: np.ndarray, indices: np.ndarray | None) -> None:
    finite = np.isfinite(array)
    if finite.all():
        return
    first = np.argwhere(~finite)[0][0]
    first = first if indices is None else indices[first]
    count = int(finite.size - np.count_nonzero(finite))
    raise ValueError(
        f"{name} of split {split!r} holds {count} non-finite value{'s' if count > 1 else ''}, first at index {first}; "
        "remove or replace NaN and inf before training"
    )


def _check_range(name: str, split: str, array: np.ndarray, setting: str, limit: int | None) -> None:
    if limit is None or not array.size or (array.dtype == np.uint8 and limit >= 256):
        return
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= limit:
        raise ValueError(
            f"{name} of split {split!r} holds {low} … {high}, but {setting}={limit} allows 0 … {limit - 1}; "
            f"shift the values or use {setting}={max(high + 1, 1)}"
        )
