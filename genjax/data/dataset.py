"""A data set: named splits of examples, and what is known of their values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import jax
import numpy as np

from genjax.data.sounds import Sound
from genjax.data.source import ArraySource, DeferredSource, RecordSource, Source
from genjax.data.tokenizers import Tokenizer

SPLITS = ("train", "validation", "test")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Named splits of examples. Every example is a dict whose entry ``x`` is what models learn.

    Attributes:
      name: what logs and reports call it.
      splits: sources by name: "train", and where there are any "validation" and "test".
      levels: number of values of an integer ``x``, which are 0 … levels - 1: grey levels (256, for digits 17), the
        size of a text's vocabulary. None for continuous data.
      num_classes: number of classes, where ``label`` is in 0 … num_classes - 1; None where there are no labels.
      tokenizer: of texts, whose tokens are the values of ``x``; None otherwise.
      sound: how examples of sound or music are heard; None otherwise.
      condition_tokenizers: tokenizers of further entries that are texts, such as captions, by name of the entry.

    Raises:
      ValueError: when "train" is missing, a split is empty, splits differ in entries, shapes or types, a number is not
        finite, or integers leave the range that ``levels`` or ``num_classes`` give. Arrays are checked whole; of
        records that are streamed only the first.
    """

    name: str
    splits: Mapping[str, Source]
    levels: int | None = None
    num_classes: int | None = None
    tokenizer: Tokenizer | None = None
    sound: Sound | None = None
    condition_tokenizers: Mapping[str, Tokenizer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names(self.name, tuple(self.splits))
        for split, source in self.splits.items():
            if len(source) == 0:
                raise ValueError(f"split {split!r} of {self.name!r} is empty; leave it out or give it examples")
            _check_same_spec(self.name, split, source, self.splits["train"])
            if not isinstance(source, DeferredSource):  # its values were checked when it was described
                self._check_values(split, source)

    def spec(self, split: str = "train") -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of one example, without the batch axis.

        Raises:
          ValueError: when there is no such split.
        """
        if split not in self.splits:
            raise ValueError(f"{self.name!r} has no split {split!r}; it has {sorted(self.splits)}")
        return self.splits[split].spec

    def _check_values(self, split: str, source: Source) -> None:
        limits = {"x": ("levels", self.levels), "label": ("num_classes", self.num_classes)}
        arrays = source.arrays if isinstance(source, ArraySource) else source.take(np.arange(1))
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                if name == "x" and self.levels is not None:
                    raise ValueError(
                        f"x of {self.name!r} is {array.dtype}, but levels={self.levels} is for integers; leave it out"
                    )
                _check_finite(name, split, array, isinstance(source, RecordSource))
            elif name in limits:
                _check_range(name, split, array, *limits[name])


def _check_names(name: str, splits: tuple[str, ...]) -> None:
    for split in splits:
        if split not in SPLITS:
            near = difflib.get_close_matches(split, SPLITS, 1, 0.3)
            raise ValueError(f"{name!r} has a split {split!r}; call it {' or '.join(map(repr, near or SPLITS))}")
    if "train" not in splits:
        raise ValueError(f"{name!r} has no split 'train', only {sorted(splits)}; give it one")


def _check_same_spec(name: str, split: str, source: Source, train: Source) -> None:
    def describe(source: Source) -> dict[str, str]:
        return {k: f"{np.dtype(s.dtype)}{list(s.shape)}" for k, s in sorted(source.spec.items())}

    mine, theirs = describe(source), describe(train)
    if mine != theirs:
        raise ValueError(
            f"split {split!r} of {name!r} has examples {mine}, but split 'train' has {theirs}; make them equal"
        )


def _check_finite(name: str, split: str, array: np.ndarray, only_first: bool) -> None:
    finite = np.isfinite(array)
    if finite.all():
        return
    first = np.argwhere(~finite)[0][0]
    where = "in the first record" if only_first else f"first at index {first}"
    count = int(finite.size - np.count_nonzero(finite))
    raise ValueError(
        f"{name} of split {split!r} holds {count} non-finite value{'s' if count > 1 else ''}, {where}; "
        "remove or replace NaN and inf before training"
    )


def _check_range(name: str, split: str, array: np.ndarray, setting: str, limit: int | None) -> None:
    if limit is None:
        return
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= limit:
        raise ValueError(
            f"{name} of split {split!r} holds {low} … {high}, but {setting}={limit} allows 0 … {limit - 1}; "
            f"shift the values or give {setting}={max(high + 1, 1)}"
        )
