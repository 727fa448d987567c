"""Deterministic splits of examples into train, validation and test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import numpy as np
from annotated_types import Ge, Lt

from genjax.arguments import NonNegativeInt
from genjax.data.source import Source, select

Size = NonNegativeInt | Annotated[float, Ge(0), Lt(1)]  # a number of examples, or a fraction of them
# Names of folders, and of entries of files, in lower case.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def find_split_names(names: Iterable[str], where: str) -> dict[str, str]:
    """Return, by split, the name among ``names`` that means it in any spelling; none if there are no splits.

    Raises:
      ValueError: if two names mean one split, or there are splits but not "train".
    """
    found: dict[str, str] = {}
    for name in names:
        split = SPLIT_NAMES.get(name.strip().lower())
        if split in found:
            raise ValueError(f"{where} {found[split]!r} and {name!r} both mean the {split} split; merge or rename one")
        if split is not None:
            found[split] = name
    if found and "train" not in found:
        raise ValueError(f"{where} have {sorted(found.values())}, but not 'train'; rename what is to be trained on")
    return found


def split_stratified(label: np.ndarray) -> dict[str, np.ndarray]:
    """Return the indices of a fixed 70 / 10 / 20 % split, in increasing order, with equal class frequencies.

    With examples sorted by label (stably), rank r goes to test if r mod 5 = 0, to validation if r mod 10 = 1, and
    otherwise to train.
    """
    ranked = np.argsort(label, kind="stable")
    rank = np.arange(len(label))
    test, validation = rank % 5 == 0, rank % 10 == 1
    parts = {"train": ~test & ~validation, "validation": validation, "test": test}
    return {name: np.sort(ranked[part]) for name, part in parts.items()}


def split_last(size: int, validation: Size, test: Size) -> dict[str, np.ndarray]:
    """Return the indices of a split in the order of examples: train, then validation, then test."""
    return {name: np.arange(part.start, part.stop) for name, part in split_last_slices(size, validation, test).items()}


def split_last_slices(size: int, validation: Size, test: Size) -> dict[str, slice]:
    """Return the split of ``split_last`` as slices, for sequences too long to index one by one."""
    num_validation, num_test = _counts(size, validation, test)
    ends = (0, size - num_validation - num_test, size - num_test, size)
    parts = {name: slice(*ends[i : i + 2]) for i, name in enumerate(("train", "validation", "test"))}
    return {name: part for name, part in parts.items() if part.start < part.stop}


def split_evenly(size: int, validation: Size, test: Size) -> dict[str, np.ndarray]:
    """Return the indices of a split whose parts are evenly spaced, so that sorted classes keep their frequencies."""
    num_validation, num_test = _counts(size, validation, test)
    everything = np.arange(size)
    in_test = np.isin(everything, _evenly(everything, num_test))
    in_validation = np.isin(everything, _evenly(everything[~in_test], num_validation))
    parts = {"train": ~in_test & ~in_validation, "validation": in_validation, "test": in_test}
    return {name: everything[part] for name, part in parts.items() if name == "train" or part.any()}


def split_source(source: Source, parts: Mapping[str, np.ndarray]) -> dict[str, Source]:
    """Split a source into the examples at the indices of each split."""
    return {name: select(source, indices) for name, indices in parts.items()}


def _evenly(indices: np.ndarray, count: int) -> np.ndarray:
    return indices[((np.arange(count) + 0.5) * len(indices) / max(count, 1)).astype(int)]


def _counts(size: int, validation: Size, test: Size) -> tuple[int, int]:
    counts = [int(n) if isinstance(n, int | np.integer) else round(size * n) for n in (validation, test)]
    if sum(counts) >= size:
        raise ValueError(f"validation and test take {counts[0]} + {counts[1]} of {size} examples; leave some for train")
    return counts[0], counts[1]
