"""Conditions of a model as flags: ``--label 3``, ``--caption "a red boot"``, ``--source photo.png``.

The model declares its conditions (``genjax.capabilities.Condition``), which determine the flags and how to read their
values; a new kind of condition needs an entry in ``FLAG_TYPES`` and one in ``READERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax.capabilities import Condition, conditions
from genjax.data import Dataset, Tokenizer
from genjax.data.io import read_npy, require_file

Flag = tuple[Any, Any]  # type and default
FLAG_TYPES: Mapping[str, Any] = {
    "label": int | str,
    "tokens": str,
    "image": Path,
    "array": Path,
}  # by kind of condition
ALL = "all"  # value of --label for all classes in turn
MAX_SHOWN = 10  # classes in a message


def condition_flags(model: object, dataset: Dataset, defaults: Mapping[str, Any]) -> dict[str, Flag]:
    """Return the flags of a model's conditions by name; a condition of tokens has one only if there is a tokenizer."""
    return {
        condition.name: (FLAG_TYPES[condition.kind] | None, defaults.get(condition.name))
        for condition in conditions(model)
        if condition.kind != "tokens" or tokenizer_of(condition, dataset) is not None
    }


def tokenizer_of(condition: Condition, dataset: Dataset) -> Tokenizer | None:
    """Return the tokenizer of a condition; that of a text to be continued is the tokenizer of the data."""
    own = None if condition.in_batch else dataset.tokenizer
    return dataset.condition_tokenizers.get(condition.tokenizer or condition.name, own)


def read_conditions(flags: Mapping[str, Any], model: object, dataset: Dataset, num_samples: int) -> dict[str, Any]:
    """Return the conditions on the command line as keyword arguments of ``sample``, the same for each sample.

    A label is one integer, or the classes 0, 1, 2, … in turn for "all". An absent flag is None. A value without the
    shape that the model declares raises ValueError.
    """
    values: dict[str, Any] = {}
    for condition in conditions(model):
        flag = flags.get(condition.name)
        if flag is None:
            continue
        if condition.kind == "label":
            values[condition.name] = _read_label(flag, condition, dataset, num_samples)
            continue
        value = READERS[condition.kind](flag, condition, dataset)
        values[condition.name] = np.broadcast_to(value, (num_samples, *value.shape))
    return values


def _read_label(label: int | str, condition: Condition, dataset: Dataset, num_samples: int) -> int | np.ndarray:
    """Return the class of a number, of a name, or for "all" those of the samples, int32 (N,)."""
    if label == ALL and label not in (dataset.class_names or ()) and condition.num_values is not None:
        return np.arange(num_samples, dtype=np.int32) % condition.num_values
    return class_number(label, dataset, f" or {ALL!r}")


def class_number(label: int | str, dataset: Dataset, others: str = "") -> int:
    """Return the class of a number or of a name; ``others`` ends the list of choices in the message of a ValueError."""
    names = dataset.class_names or ()
    if label in names:
        return names.index(str(label))
    if isinstance(label, str):
        choices = f"one of {', '.join(names)}, " if names else ""
        raise ValueError(f"--label is {label!r}, but must be {choices}a class number{others}")
    return label


def describe_label(label: int | np.ndarray | None, dataset: Dataset) -> str:
    """Return the classes of samples for a message, such as " of class cat", or "" for samples without a label."""
    if label is None:
        return ""
    names = [dataset.class_name(each) for each in np.unique(label).tolist()]
    shown = ", ".join(names[:MAX_SHOWN]) + ", …" * (len(names) > MAX_SHOWN)
    return f" of class {shown}" if len(names) == 1 else f" of classes {shown} in turn"


def describe_texts(values: Mapping[str, Any], model: object, dataset: Dataset) -> str:
    """Return the text that samples were drawn from for a message, such as ' of "two red boots"', or ""."""
    texts = [
        tokenizer.decode(values[condition.name][0])
        for condition in conditions(model)
        if condition.kind == "tokens" and condition.in_batch and condition.name in values
        if (tokenizer := tokenizer_of(condition, dataset)) is not None
    ]
    return "".join(f' of "{text}"' for text in texts)


def with_required(flags: Mapping[str, Any], model: object) -> dict[str, Any]:
    """Return the flags; a required label that is missing becomes "all", other missing conditions raise ValueError."""
    flags = dict(flags)
    for condition in conditions(model):
        if condition.optional or not condition.in_batch or flags.get(condition.name) is not None:
            continue
        if condition.kind != "label":
            raise ValueError(f"{type(model).__name__} is conditioned on {condition.name!r}; pass {_flag(condition)}")
        flags[condition.name] = ALL
    return flags


def _flag(condition: Condition) -> str:
    return f"--{condition.name.replace('_', '-')}"


def _read_tokens(text: str, condition: Condition, dataset: Dataset) -> np.ndarray:
    tokenizer = tokenizer_of(condition, dataset)
    assert tokenizer is not None
    tokens = tokenizer.encode(text)
    (length,) = condition.shape
    if length is None:
        return tokens
    if len(tokens) > length:
        raise ValueError(f"{_flag(condition)} has {len(tokens)} tokens, but at most {length} fit; shorten the text")
    return np.pad(tokens, (0, length - len(tokens)), constant_values=condition.pad_token)


def _read_image(path: Path, condition: Condition, dataset: Dataset) -> np.ndarray:
    from genjax.data.images import decode_image

    del dataset
    height, width, channels = condition.shape
    size = None if height is None or width is None else (height, width)
    pixels = decode_image(require_file(path).read_bytes(), channels=channels or 3, size=size)
    return pixels.astype(np.float32) / 255


def _read_array(path: Path, condition: Condition, dataset: Dataset) -> np.ndarray:
    del dataset
    if path.suffix != ".npy":
        raise ValueError(f"{_flag(condition)} is {path}, but must be a .npy file; save the array with numpy.save")
    array = read_npy(path)
    if not condition.fits(array.shape):
        raise ValueError(
            f"{_flag(condition)} has shape {array.shape}, but must have shape {condition.shape}; None is any length"
        )
    if array.dtype == bool:
        return array
    return array.astype(np.float32 if condition.num_values is None else np.int32)


READERS: Mapping[str, Callable[[Any, Condition, Dataset], np.ndarray]] = {
    "tokens": _read_tokens,
    "image": _read_image,
    "array": _read_array,
}
