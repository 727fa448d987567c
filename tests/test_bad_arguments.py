"""What an annotation forbids is refused by every public class and function, in words that name argument and value.

Each module of ``tests.bad_arguments`` has ``PACKAGES``, whose public classes must all have a case, and ``CASES``: calls
with right arguments, ``functools.partial(callable, **arguments)``. Wrong values follow from the annotations.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
import types
import typing
from functools import partial
from typing import Annotated, Any, Literal, Union

import annotated_types as at
import pytest
from flax import linen as nn

from genjax.arguments import ArgumentError, Infinite
from tests import bad_arguments


class Nonsense:
    """A class where an instance belongs."""


CANDIDATES = (None, "wrong", Nonsense, 2.5, math.nan, math.inf, 0, -1)
MODULES = [
    importlib.import_module(f"{bad_arguments.__name__}.{m.name}") for m in pkgutil.iter_modules(bad_arguments.__path__)
]
CASES = [case for module in MODULES for case in module.CASES]
HOLDS = {
    at.Ge: lambda c, value: value >= c.ge,
    at.Gt: lambda c, value: value > c.gt,
    at.Le: lambda c, value: value <= c.le,
    at.Lt: lambda c, value: value < c.lt,
}


def permits(hint: Any, value: Any, infinite: bool = False) -> bool:
    """Return whether an annotation permits one of the candidates; an implementation apart from ``genjax.arguments``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        groups = [c if isinstance(c, at.GroupedMetadata) else [c] for c in arguments[1:]]
        limits = [c for group in groups for c in group if type(c) in HOLDS]
        fits = permits(arguments[0], value, Infinite() in arguments[1:])
        return fits and all(HOLDS[type(c)](c, value) for c in limits)
    if origin in (Union, types.UnionType):
        return any(permits(option, value) for option in arguments)
    if origin is Literal:
        return value in arguments
    if hint is int:
        return type(value) is int
    if hint is float:
        return type(value) is int or (
            type(value) is float and (math.isfinite(value) or (infinite and value == math.inf))
        )
    if hint is bool:
        return False
    if origin is not None or getattr(hint, "_is_protocol", False):
        return False
    return hint is Any or isinstance(value, hint)


def wrong_values(hint: Any) -> list[Any]:
    """Return the candidates that an annotation forbids, and tuples with an entry that it forbids, or with none."""
    values = [value for value in CANDIDATES if not permits(hint, value)]
    for option in typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,):
        is_annotated = typing.get_origin(option) is Annotated
        container, *constraints = typing.get_args(option) if is_annotated else (option,)
        values += [()] * any(isinstance(c, at.MinLen) for c in constraints)
        if typing.get_origin(container) in (tuple, collections.abc.Sequence):
            entry, *_ = typing.get_args(container)
            values += [(value,) for value in CANDIDATES if not permits(entry, value)]
    return values


def name_of(case: partial[Any]) -> str:
    return case.func.__qualname__


def fields_of(case: partial[Any]) -> dict[str, Any]:
    """Return the annotations of a case's arguments, by name."""
    target = getattr(case.func, "__func__", case.func)
    parameters = inspect.signature(case.func).parameters.values()
    names = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    hints = typing.get_type_hints(target, include_extras=True)
    linen = {"parent", "name"} if isinstance(target, type) and issubclass(target, nn.Module) else set()
    return {name: hint for name, hint in hints.items() if name in names - linen}


def shown(value: Any) -> str:
    return "the class Nonsense" if value is Nonsense else repr(value)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_the_annotations_forbid_is_refused(case):
    for name, hint in fields_of(case).items():
        for value in wrong_values(hint):
            with pytest.raises(ArgumentError, match=rf"\b{name} is {re.escape(shown(value))}, but must be "):
                case(**{name: value})


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case.func, type)], ids=name_of)
def test_right_arguments_are_taken(case):
    case()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_public_class_has_a_case(module):
    cases = {case.func for case in module.CASES}
    public = {
        value
        for package in module.PACKAGES
        for name, value in vars(package).items()
        if not name.startswith("_") and isinstance(value, type)
        if value.__module__.startswith(package.__name__)
        if dataclasses.is_dataclass(value) and dataclasses.fields(value)
    }
    assert public - cases - set(getattr(module, "EXCEPT", ())) == set()
