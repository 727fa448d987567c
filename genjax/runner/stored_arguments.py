"""Hyper-parameters as JSON, which come back from the types of the experiment function's arguments as they were."""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Union

import numpy as np

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_json(value: Any) -> Any:
    """Return a hyper-parameter as strict JSON; ValueError for a type that JSON cannot express.

    >>> to_json({"widths": (8, 16), "rate": float("inf"), "file": Path("a.txt")})
    {'widths': [8, 16], 'rate': 'Infinity', 'file': 'a.txt'}
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return next(name for name, number in _NOT_FINITE.items() if repr(number) == repr(value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: to_json(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise ValueError(
        f"a hyper-parameter is {value!r}, which a run folder cannot store; use numbers, texts, tuples, paths, Enums or "
        "dataclasses"
    )


def arguments_from_json(function: Callable[..., Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of an experiment function from JSON; ValueError if one is not of the type it has."""
    hints, arguments = typing.get_type_hints(function), {}
    for name, value in stored.items():
        try:
            arguments[name] = _from_json(hints.get(name, Any), value)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise ValueError(
                f"argument {name} of the run is {value!r}, but must be {hints[name]}; restore the experiment file"
            ) from None
    return arguments


def check_storable(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise ValueError if a hyper-parameter would not come back from the run folder as it is."""
    hints = typing.get_type_hints(function)
    for name, value in arguments.items():
        try:
            back = _from_json(hints.get(name, Any), to_json(value))
            same = back == value or repr(back) == repr(value)  # NaN differs from itself
        except (TypeError, ValueError, KeyError, AttributeError):
            same = False
        if not same:
            raise ValueError(
                f"argument {name} is {value!r}, which a run folder cannot store as {hints.get(name)}; use numbers, "
                "texts, tuples, paths, Enums or dataclasses, with their types"
            )


def _from_json(hint: Any, value: Any) -> Any:
    """Return a value of the hinted type; TypeError, ValueError or KeyError if it is of another type."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _from_json(parts[0], value)
    if origin in (Union, types.UnionType):
        return _first_that_fits(parts, value)
    if (origin or hint) in (tuple, list) and isinstance(value, list):
        return _sequence(origin or hint, parts, value)
    if origin in (dict, Mapping) and len(parts) == 2:
        return {key: _from_json(parts[1], item) for key, item in value.items()}
    if hint is float and isinstance(value, str):
        return _NOT_FINITE[value]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint[value]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{name: _from_json(hints[name], item) for name, item in value.items()})
    if isinstance(hint, type) and issubclass(hint, Path):
        return hint(value)
    if hint in (int, str, bool, float, type(None)) and not isinstance(value, (int, float) if hint is float else hint):
        raise TypeError(f"{value!r} is no {hint.__name__}")
    return value


def _first_that_fits(hints: tuple[Any, ...], value: Any) -> Any:
    for hint in hints:
        try:
            return _from_json(hint, value)
        except (TypeError, ValueError, KeyError, AttributeError):
            continue
    raise TypeError(f"{value!r} is none of {hints}")


def _sequence(kind: type, parts: tuple[Any, ...], value: list[Any]) -> Any:
    if kind is list or (len(parts) == 2 and parts[1] is Ellipsis):
        parts = (parts[0] if parts else Any,) * len(value)
    return kind(_from_json(part, item) for part, item in zip(parts or (Any,) * len(value), value, strict=True))
