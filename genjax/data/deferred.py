"""Data sets that are described first, and opened when an example is first read.

Sampling from a finished run needs shapes and tokenizers, but no examples. ``record_datasets`` records descriptions of
the data sets that are opened in its block, as JSON. In a block of ``defer_datasets``, the same calls in the same order
return data sets built from these descriptions, which open when an example is first read.

>>> from genjax.data import digits
>>> with record_datasets() as descriptions:
...     digits().name
'digits'
>>> with defer_datasets(descriptions):
...     dataset = digits()
>>> len(dataset.splits["train"]), dataset.spec()["x"].shape, dataset.num_classes
(1257, (8, 8, 1), 10)
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ParamSpec

import jax
import numpy as np

from genjax.arguments import check_arguments
from genjax.data.bpe import BPE
from genjax.data.dataset import Dataset
from genjax.data.sounds import Voices, Waveform
from genjax.data.source import DeferredSource, Source, Spec
from genjax.data.tokenizers import Bytes, Characters, Words
from genjax.data.values import Values

P = ParamSpec("P")
MAX_CHARACTERS = 80  # of a value in a message
Description = Mapping[str, Any]  # JSON
SERIALIZABLE = {cls.__name__: cls for cls in (BPE, Bytes, Characters, Words, Voices, Waveform)}  # fields can be JSON

Session = Callable[[str, Callable[[], Dataset]], Dataset]  # handles the call of a function that opens a data set
_session: ContextVar[Session | None] = ContextVar("session", default=None)


def opens_dataset(function: Callable[P, Dataset]) -> Callable[P, Dataset]:
    """Decorate a function that returns a data set: its arguments are checked, and its calls recorded and deferred."""
    function = check_arguments(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Dataset:
        session = _session.get()
        if session is None:
            return function(*args, **kwargs)

        def open_dataset() -> Dataset:
            with _use(None):  # data sets that it opens in turn are part of this one
                return function(*args, **kwargs)

        return session(function.__name__, open_dataset)

    return call


@contextlib.contextmanager
def record_datasets() -> Iterator[list[Description]]:
    """Yield a list that receives the description of every data set opened within the block."""
    descriptions: list[Description] = []

    def record(function: str, open_dataset: Callable[[], Dataset]) -> Dataset:
        dataset = open_dataset()
        descriptions.append({"function": function, "dataset": describe(dataset)})
        return dataset

    with _use(record):
        yield descriptions


@contextlib.contextmanager
def defer_datasets(descriptions: Sequence[Description]) -> Iterator[None]:
    """Within the block, return data sets from their descriptions.

    A call without a matching description opens its data: the code has changed, or a tokenizer cannot be described.
    """
    remaining = iter(descriptions)

    def defer(function: str, open_dataset: Callable[[], Dataset]) -> Dataset:
        entry = next(remaining, {})
        if entry.get("function") != function or entry["dataset"] is None:
            return open_dataset()

        @functools.cache
        def open_unchanged() -> Dataset:
            dataset = open_dataset()
            check_unchanged(entry["dataset"], describe(dataset) or entry["dataset"])
            return dataset

        return _deferred(entry["dataset"], open_unchanged)

    with _use(defer):
        yield


@contextlib.contextmanager
def _use(session: Session | None) -> Iterator[None]:
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


def describe(dataset: Dataset) -> dict[str, Any] | None:
    """Return a data set without its examples, as JSON, or None if a tokenizer or sound is of an unknown kind."""
    parts = [dataset.tokenizer, dataset.sound, *dataset.condition_tokenizers.values()]
    if any(part is not None and type(part).__name__ not in SERIALIZABLE for part in parts):
        return None
    return {
        "name": dataset.name,
        "levels": dataset.levels,
        "num_classes": dataset.num_classes,
        "class_names": dataset.class_names,
        "values": None if dataset.values is None else dataclasses.asdict(dataset.values),
        "lengths": {split: len(source) for split, source in dataset.splits.items()},
        "fingerprint": {split: _fingerprint(source) for split, source in dataset.splits.items()},
        "spec": {entry: [list(s.shape), np.dtype(s.dtype).name] for entry, s in dataset.spec().items()},
        "tokenizer": _encode(dataset.tokenizer),
        "sound": _encode(dataset.sound),
        "condition_tokenizers": {name: _encode(t) for name, t in dataset.condition_tokenizers.items()},
        "paired": dataset.paired,
    }


def check_unchanged(recorded: Description, current: Description) -> None:
    """Compare two descriptions of a data set, when a model was trained and now.

    Warn if examples differ; raise ValueError if they differ in what values mean: shapes, levels, classes, a tokenizer.
    """
    recorded, current = json.loads(json.dumps([recorded, current]))
    for part in ("spec", "levels", "num_classes", "tokenizer", "sound", "condition_tokenizers"):
        if recorded[part] != current[part]:
            raise ValueError(
                f"the data set {recorded['name']!r} has changed since training: its {part} was "
                f"{_short(recorded[part])}, but is {_short(current[part])}; restore the data of the training"
            )
    for split, fingerprint in recorded.get("fingerprint", {}).items():
        if current["fingerprint"].get(split) != fingerprint:
            warnings.warn(
                f"the examples of split {split!r} of {recorded['name']!r} have changed since training", stacklevel=2
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def _fingerprint(source: Source) -> list[int]:
    """Return the number of examples, and the CRC-32 of evenly spaced ones, up to 1 MiB, but at least 64."""
    num_bytes = sum(int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in source.spec.values())
    count = min(len(source), max(64, 2**20 // max(num_bytes, 1)))
    examples = source.take(np.linspace(0, len(source) - 1, count).astype(int))
    return [
        len(source),
        functools.reduce(lambda crc, name: zlib.crc32(examples[name].tobytes(), crc), sorted(examples), 0),
    ]


def _deferred(description: Mapping[str, Any], open_dataset: Callable[[], Dataset]) -> Dataset:
    spec: Spec = {
        entry: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
        for entry, (shape, dtype) in description["spec"].items()
    }
    splits: dict[str, Source] = {
        split: DeferredSource(length, spec, lambda split=split: open_dataset().splits[split])
        for split, length in description["lengths"].items()
    }
    return Dataset(
        name=description["name"],
        splits=splits,
        levels=description["levels"],
        num_classes=description["num_classes"],
        class_names=tuple(class_names) if (class_names := description.get("class_names")) else None,
        values=Values(**values) if (values := description.get("values")) else None,
        tokenizer=_decode(description["tokenizer"]),
        sound=_decode(description["sound"]),
        condition_tokenizers={name: _decode(t) for name, t in description["condition_tokenizers"].items()},
        paired=description.get("paired", True),
    )


def _encode(settings: Any) -> dict[str, Any] | None:
    return None if settings is None else {"kind": type(settings).__name__, "fields": dataclasses.asdict(settings)}


def _decode(settings: Mapping[str, Any] | None) -> Any:
    return None if settings is None else SERIALIZABLE[settings["kind"]](**settings["fields"])
