"""Generated calls of every checked class and function: a wrong argument is refused by its name, never taken.

Wrong values follow from the annotation of an argument. It is passed alone, because the checks come before the call.
"""

from __future__ import annotations

import collections.abc
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import jax
import numpy as np
import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import genjax
from genjax.arguments import ArgumentError, Infinite

TEXTS = np.array(["a", "b"])
NAN, INFINITY = float("nan"), float("inf")


NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def modules() -> Iterator[types.ModuleType]:
    for info in pkgutil.walk_packages(genjax.__path__, "genjax."):
        if not info.name.endswith(("__main__", "genjax.arguments")):
            yield importlib.import_module(info.name)


def is_checked(value: Any) -> bool:
    function = value.__init__ if inspect.isclass(value) else value
    return inspect.isfunction(function) and function.__code__.co_filename == genjax.arguments.__file__


def targets() -> list[tuple[str, Any, str, Any]]:
    """Return qualified name, object, argument and annotation of each argument that can be wrong."""
    found = []
    for module in modules():
        for name, value in vars(module).items():
            is_own = getattr(value, "__module__", None) == module.__name__
            if name.startswith("_") or not is_own or not callable(value) or not is_checked(value):
                continue
            if inspect.isabstract(value):  # its subclasses are called
                continue
            hints_of = value
            if inspect.isclass(value) and "__dataclass_fields__" not in vars(value):
                hints_of = value.__init__
            hints = typing.get_type_hints(hints_of, include_extras=True)
            parameters = inspect.signature(value).parameters
            found += [
                (f"{module.__name__}.{name}", value, argument, hint)
                for argument, hint in hints.items()
                if argument in parameters and parameters[argument].kind in NAMED and wrong_values(hint)
            ]
    return found


def wrong_values(hint: Any) -> list[Any]:
    """Return values that an argument with this annotation must not have; an empty list if it may have any."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return wrong_values(arguments[0]) + wrong_numbers(arguments[0], arguments[1:])
    if origin in (typing.Union, types.UnionType):
        first, *others = [wrong_values(option) for option in arguments if option is not type(None)]
        both = [value for value in first if all(any(is_same(value, other) for other in more) for more in others)]
        return [value for value in both if value is not None or type(None) not in arguments]
    if origin is typing.Literal:
        return ["no such choice", 2.5, None, [1]]
    if hint is int:
        return [2.5, "2", None, True, NAN, INFINITY, [1], int, TEXTS]
    if hint is float:
        return ["2.5", None, True, NAN, [1], float, TEXTS]
    if hint is bool:
        return [2, "yes", None, [1], TEXTS]
    if hint is str:
        return [2.5, None, [1], TEXTS, str]
    if origin is collections.abc.Callable:
        return [2.5, "2", None, [1], TEXTS, int]
    if origin is tuple:
        return [2.5, "2", None, [1], TEXTS]
    if inspect.isclass(hint) and issubclass(hint, jax.Array | np.ndarray):
        return [2.5, "2", None, [1], TEXTS, int, object]
    if inspect.isclass(origin or hint) and (origin or hint) not in (object, Any):
        return wrong_instances(origin or hint)
    return []


def is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and not isinstance(a, np.ndarray) and a == b)


def wrong_numbers(kind: type, constraints: tuple[Any, ...]) -> list[Any]:
    """Return numbers outside of the constraints' ranges."""
    limits = [each for c in constraints for each in (c if isinstance(c, Interval) else (c,))]
    wrong: list[Any] = []
    for limit in limits:
        if isinstance(limit, Ge):
            wrong.append(limit.ge - 1)
        elif isinstance(limit, Gt):
            wrong += [limit.gt, limit.gt - 1]
        elif isinstance(limit, Le):
            wrong.append(limit.le + 1)
        elif isinstance(limit, Lt):
            wrong += [limit.lt, limit.lt + 1]
    if kind is float and Infinite() not in constraints:
        wrong.append(INFINITY)
    return wrong


def wrong_instances(kind: type) -> list[Any]:
    values = [2.5, "2", None, [1], int, object, TEXTS]
    if getattr(kind, "_is_protocol", False):
        needs = {name for name in dir(kind) if not name.startswith("_")}
        return [value for value in values if needs and not all(hasattr(value, name) for name in needs)]
    if issubclass(kind, collections.abc.Sequence):
        return [2.5, "2", None, int]
    return [value for value in values if not isinstance(value, kind)]


TARGETS = targets()


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, Any, str, Any]:
    name, target, argument, hint = draw(st.sampled_from(TARGETS))
    return name, target, argument, draw(st.sampled_from(wrong_values(hint)))


def check(call: tuple[str, Any, str, Any]) -> None:
    name, target, argument, value = call
    with pytest.raises(ArgumentError) as refusal:
        target(**{argument: value})
    message = str(refusal.value)
    assert f": {argument} is " in message, f"{name}({argument}={value!r}) says {message!r}"
    assert "must be" in message


QUIET = {"deadline": None, "derandomize": True, "database": None, "phases": (Phase.generate,)}


@settings(max_examples=300, suppress_health_check=list(HealthCheck), **QUIET)
@given(calls())
def test_a_wrong_argument_is_refused_by_its_name(call):
    check(call)


@pytest.mark.slow
@settings(max_examples=3_000, suppress_health_check=list(HealthCheck), **QUIET)
@given(calls())
def test_thousands_of_wrong_arguments_are_refused_by_their_names(call):
    check(call)


def test_the_rooms_of_numbers_are_checked():
    rooms = {name.split(".")[1] for name, *_ in TARGETS}
    assert {"metrics", "evaluation", "figures", "monitoring"} <= rooms
    assert len(TARGETS) > 100
