"""Conditions of a model as flags: ``--label 3``, ``--caption "a red boot"``, ``--source photo.png``.

The flags follow from what the model declares (``genjax.capabilities.Condition``), and so does the reading of their
values; a new kind of condition is one entry of ``READERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax.capabilities import Condition, conditions
from genjax.data import Dataset, Tokenizer

Flag = tuple[Any, Any]  # type and default


def condition_flags(model: object, dataset: Dataset, defaults: Mapping[str, Any]) -> dict[str, Flag]:
    """Return the flags of a model's conditions by name; texts need a tokenizer to be typed in."""
    return {
        condition.name: (_flag_type(condition) | None, defaults.get(condition.name))
        for condition in conditions(model)
        if condition.kind != "tokens" or tokenizer_of(condition, dataset) is not None
    }


def _flag_type(condition: Condition) -> Any:
    return {"label": int, "tokens": str, "image": Path, "array": Path}[condition.kind]


def tokenizer_of(condition: Condition, dataset: Dataset) -> Tokenizer | None:
    """Return the tokenizer of a condition; what continues the data, as a prompt does, has the data's own."""
    own = None if condition.in_batch else dataset.tokenizer
    return dataset.condition_tokenizers.get(condition.name, own)


def read_conditions(flags: Mapping[str, Any], model: object, dataset: Dataset, num_samples: int) -> dict[str, Any]:
    """Return the conditions given on the command line as keyword arguments of ``sample``.

    Args:
      flags: values of the flags by name; None where a flag was not given.
      model: model that declares the conditions.
      dataset: data that it was trained on.
      num_samples: number of samples, N; each gets the same conditions.

    Raises:
      ValueError: for a value of another shape than the model declares.
    """
    values: dict[str, Any] = {}
    for condition in conditions(model):
        flag = flags.get(condition.name)
        if flag is None or condition.kind == "label":  # the model takes one label for all samples as it is
            continue
        value = READERS[condition.kind](flag, condition, dataset)
        values[condition.name] = np.broadcast_to(value, (num_samples, *value.shape))
    return values


def check_required(flags: Mapping[str, Any], model: object) -> None:
    """Raise ValueError where a condition that the model needs is missing; of labels the model says so itself."""
    for condition in conditions(model):
        needed = condition.in_batch and not condition.optional and condition.kind != "label"
        if needed and flags.get(condition.name) is None:
            flag = condition.name.replace("_", "-")
            raise ValueError(f"{type(model).__name__} is conditioned on {condition.name!r}; pass --{flag}")


def _read_tokens(text: str, condition: Condition, dataset: Dataset) -> np.ndarray:
    tokenizer = tokenizer_of(condition, dataset)
    assert tokenizer is not None
    tokens = tokenizer.encode(text)
    (length,) = condition.shape
    if length is None:
        return tokens
    if len(tokens) > length:
        raise ValueError(f"--{condition.name} has {len(tokens)} tokens, but at most {length} fit; shorten it")
    return np.pad(tokens, (0, length - len(tokens)), constant_values=condition.pad_token)


def _read_image(path: Path, condition: Condition, dataset: Dataset) -> np.ndarray:
    from genjax.data.images import decode_image
    from genjax.data.io import require_file

    del dataset
    height, width, channels = condition.shape
    size = None if height is None or width is None else (height, width)
    pixels = decode_image(require_file(path).read_bytes(), channels=channels or 3, size=size)
    return pixels.astype(np.float32) / 255


def _read_array(path: Path, condition: Condition, dataset: Dataset) -> np.ndarray:
    del dataset
    if path.suffix != ".npy":
        raise ValueError(f"--{condition.name} is {path}, but must be a .npy file; save the array with numpy.save")
    array = np.load(path, allow_pickle=False)
    fits = len(array.shape) == len(condition.shape) and all(
        size in (None, actual) for size, actual in zip(condition.shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"--{condition.name} has shape {array.shape}, but the model needs {condition.shape}, None being any length"
        )
    if array.dtype == bool:
        return array
    return array.astype(np.float32 if condition.num_values is None else np.int32)


READERS: Mapping[str, Callable[[Any, Condition, Dataset], np.ndarray]] = {
    "tokens": _read_tokens,
    "image": _read_image,
    "array": _read_array,
}
