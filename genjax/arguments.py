"""Arguments checked against their annotations, when a model is built or a function is called.

``check_arguments`` decorates a dataclass, a Flax module or a function. Types say what an argument is, and the
constraints of ``annotated_types`` which values it may have:

>>> from dataclasses import dataclass
>>> @check_arguments
... @dataclass(frozen=True, kw_only=True)
... class Model:
...     latent_dim: PositiveInt
...     beta: NonNegativeFloat = 1.0
>>> Model(latent_dim=2.5)
Traceback (most recent call last):
genjax.arguments.ArgumentError: Model: latent_dim is 2.5, but must be a whole number
>>> Model(latent_dim=2, beta=float("nan"))
Traceback (most recent call last):
genjax.arguments.ArgumentError: Model: beta is nan, but must be a finite number

Scalars of NumPy and JAX become Python's numbers where a number is declared:

>>> Model(latent_dim=np.int64(2)).latent_dim
2

Compiled programs pay nothing: the checks run while a function is traced. Values of tracers, and sizes that an export
leaves open, are unknown and pass.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import math
import operator
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar, Union, final

import flax.linen as nn
import jax
import numpy as np
from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen
from jax.core import Tracer
from jax.export import is_symbolic_dim

from genjax.core import Variables

T = TypeVar("T", bound=Callable[..., Any])
MAX_ELEMENTS = 100  # of a container that are checked
MAX_CHARACTERS = 80  # of a value in a message


@final
@dataclass(frozen=True)
class Cure:
    """End of the message when an argument is wrong: what to do instead."""

    text: str


@final
@dataclass(frozen=True)
class Infinite:
    """Mark of a float that may be infinite."""


PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
DropoutRate = Annotated[float, Ge(0), Lt(1), Cure("; 0 turns it off")]
NumClasses = Annotated[int, Ge(1), Cure("; use None for an unconditional model")]
Shape = tuple[PositiveInt, ...]
Sizes = Annotated[Shape, MinLen(1)]
ExampleShape = Annotated[Sizes, Cure("; use (D,) for vectors")]
Widths = Annotated[collections.abc.Sequence[PositiveInt], MinLen(1)]


class ArgumentError(ValueError, TypeError):
    """An argument of the wrong type or out of its range; the message names it, its value and what it must be."""


def check_arguments(target: T) -> T:
    """Decorate a class or a function so that it checks its arguments; of a class also those of its public methods.

    A method that finds no entry for a part in the ``params`` of its ``variables`` raises ``ArgumentError``, too.
    """
    if not isinstance(target, type):
        return _checked(target, target.__name__, target)
    if "__init__" in vars(target):  # a mixin has none
        hints_of = target if "__dataclass_fields__" in vars(target) else target.__init__
        type.__setattr__(target, "__init__", _checked(target.__init__, target.__name__, hints_of))
    if not issubclass(target, nn.Module):  # Flax wraps the methods of modules itself
        for name, method in list(vars(target).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                type.__setattr__(target, name, _checked(method, f"{target.__name__}.{name}", method))
    return typing.cast(T, target)


def check_settings(owner: type, settings: Mapping[str, Any], prefix: str = "") -> None:
    """Raise ArgumentError for the first setting that the annotation of its name, in a class, rules out; defaults pass.

    ``prefix`` begins the message.
    """
    hints = _hints(owner)
    for name, value in settings.items():
        is_changed = value is not getattr(owner, name, inspect.Parameter.empty)
        needs = _needs(hints[name], value) if is_changed and name in hints else None
        if needs is not None:
            raise ArgumentError(f"{prefix}{name} is {_shown(value)}, but must be {needs}")


def _checked(function: Callable[..., Any], owner: str, hints_of: Any) -> Any:
    positional = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        hints = _hints(hints_of)
        before = [(name, _plain(hints.get(name), value)) for name, value in zip(positional, args, strict=False)]
        kwargs = {name: _plain(hints.get(name), value) for name, value in kwargs.items()}
        named = dict(before) | kwargs
        for name, value in named.items():
            if name in hints:
                _check(owner, name, hints[name], value)
        try:
            return function(*(value for _, value in before), *args[len(positional) :], **kwargs)
        except KeyError as error:
            _explain_missing_part(owner, named.get("variables"), error)
            raise

    return call


def _plain(hint: Any, value: Any) -> Any:
    """Return Python's number for a scalar of NumPy or JAX where a number is declared, also in a tuple of numbers."""
    if type(value) is tuple:
        return tuple(_plain(hint, entry) for entry in value)
    is_scalar = isinstance(value, np.generic | np.ndarray | jax.Array) and value.shape == ()
    if not is_scalar or isinstance(value, Tracer) or getattr(value.dtype, "kind", "") not in "biuf":
        return value
    return value.item() if _takes_numbers(hint) else value


@functools.cache
def _takes_numbers(hint: Any) -> bool:
    """Return whether an annotation allows a number, alone or in a tuple."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return any(type(option) in _NUMBERS for option in options)
    is_nested = origin in (Annotated, Union, types.UnionType, tuple, collections.abc.Sequence)
    return hint in _NUMBERS or (is_nested and any(map(_takes_numbers, options)))


def _explain_missing_part(owner: str, variables: Any, error: KeyError) -> None:
    """Raise if a KeyError is that of a part which the variables lack."""
    if isinstance(variables, Variables) and isinstance(variables.params, Mapping) and error.args:
        part, parts = error.args[0], sorted(variables.params)
        if isinstance(part, str) and part not in parts:
            raise ArgumentError(
                f"{owner}: variables have no part {part!r}, only {parts}; pass what this model's init, or its "
                "training, returned"
            ) from error


@functools.cache
def _hints(owner: Any) -> dict[str, Any]:
    """Return the annotations of a class or function, evaluated once."""
    hints = typing.get_type_hints(owner, include_extras=True)
    return {name: hint for name, hint in hints.items() if name != "return"}


def _check(owner: str, name: str, hint: Any, value: Any) -> None:
    if name == "key" and value is not None:
        needs = _typed_key(value)
    elif name == "step" and hint is jax.Array:
        needs = _whole(value, infinite=False)
    else:
        needs = _needs(hint, value)
    if needs is not None:
        raise ArgumentError(f"{owner}: {name} is {_shown(value)}, but must be {needs}")


def _needs(hint: Any, value: Any) -> str | None:
    """Return what a value must be, or None if it is that."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        base, *constraints = typing.get_args(hint)
        infinite = Infinite() in constraints
        needs = _NUMBERS[base](value, infinite) if base in _NUMBERS else _needs(base, value)
        needs = needs or _out_of_range(constraints, value)
        return needs and needs + "".join(c.text for c in constraints if isinstance(c, Cure))
    if origin in (Union, types.UnionType, typing.Literal):
        needs = _alternatives(hint, value)
        return None if None in needs else _one_of(needs)
    if hint in _NUMBERS:
        return _NUMBERS[hint](value, False)
    if origin is not None:
        return _generic(origin, typing.get_args(hint), value)
    if hint is None or hint is type(None):
        return None if value is None else "None"
    if hint is Any or hint is object or not isinstance(hint, type):
        return None
    return _instance(hint, value)


def _alternatives(hint: Any, value: Any) -> list[Any]:
    """Return what each choice, or each member of a union, needs; None for one that fits."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return [None if type(value) is type(choice) and value == choice else repr(choice) for choice in options]
    if typing.get_origin(hint) in (Union, types.UnionType):
        return [needs for option in options for needs in _alternatives(option, value)]
    return [_needs(hint, value)]


def _one_of(needs: list[Any]) -> str:
    """Join alternatives; the cure, which may follow a semicolon, comes last."""
    texts, cures = zip(*(text.partition(";")[::2] for text in dict.fromkeys(needs)), strict=True)
    cure = "".join(f";{each}" for each in cures if each)
    *others, last = (text for text in texts if text != "None" or "None" not in cure)
    return (f"{', '.join(others)} or {last}" if others else last) + cure


def _instance(kind: type, value: Any) -> str | None:
    if issubclass(kind, jax.Array | np.ndarray):
        is_array = hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type)
        return None if is_array and getattr(value.dtype, "kind", "f") not in "OSU" else "an array of numbers"
    if getattr(kind, "_is_protocol", False):
        if not getattr(kind, "_is_runtime_protocol", False):
            return None
        is_instance = isinstance(value, kind) and not isinstance(value, type)
        return None if is_instance else _a(kind) + (_call(kind, value) or f": any object with {_members(kind)}")
    return None if isinstance(value, kind) else _a(kind) + _call(kind, value)


def _generic(origin: Any, arguments: tuple[Any, ...], value: Any) -> str | None:
    if origin is collections.abc.Callable:
        return None if callable(value) and not isinstance(value, type) else "a function"
    if not isinstance(origin, type):
        return None
    if origin is type:
        return None if isinstance(value, type) else "a class"
    if origin is tuple:
        return _tuple(arguments, value)
    if not isinstance(value, origin) or (isinstance(value, str) and origin is collections.abc.Sequence):
        return _a(origin) + (_as_tuple(value) if origin is collections.abc.Sequence else "")
    if isinstance(value, Mapping) and len(arguments) == 2 and len(value) <= MAX_ELEMENTS:
        return _each("a mapping", arguments * len(value), [each for item in value.items() for each in item])
    if isinstance(value, collections.abc.Sequence) and len(arguments) == 1 and len(value) <= MAX_ELEMENTS:
        return _each("a sequence", arguments * len(value), value)
    return None


def _tuple(arguments: tuple[Any, ...], value: Any) -> str | None:
    if not isinstance(value, tuple):
        return "a tuple" + _as_tuple(value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return _each("a tuple", (arguments[0],) * len(value), value)
    if len(arguments) != len(value):
        return f"a tuple of {len(arguments)}"
    return _each("a tuple", arguments, value)


def _as_tuple(value: Any) -> str:
    """Return the cure for a list or a number in place of a tuple."""
    if isinstance(value, list):
        return f", such as {tuple(value)}"
    return f", such as ({value},)" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _each(container: str, hints: tuple[Any, ...], values: Any) -> str | None:
    for hint, value in zip(hints, values, strict=True):
        needs = _needs(hint, value)
        if needs is not None:
            return f"{container} whose every entry is {needs}, and {_shown(value)} is not"
    return None


def _whole(value: Any, infinite: bool) -> str | None:
    del infinite
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a whole number of 64 bits"
    if isinstance(value, int | np.integer):
        return None if not isinstance(value, bool) else "a whole number"
    is_whole = _is_scalar_array(value, np.integer) or is_symbolic_dim(value)
    return None if is_whole else "a whole number"


def _real(value: Any, infinite: bool) -> str | None:
    if _is_scalar_array(value, np.number) and isinstance(value, Tracer):
        return None
    if isinstance(value, bool) or not (
        isinstance(value, int | float | np.integer | np.floating) or _is_scalar_array(value, np.number)
    ):
        return "a number"
    if math.isnan(value) or (math.isinf(value) and not infinite):
        return "a number, but not NaN" if infinite else "a finite number"
    return None


def _boolean(value: Any, infinite: bool) -> str | None:
    del infinite
    return None if isinstance(value, bool | np.bool_) or _is_scalar_array(value, np.bool_) else "True or False"


_NUMBERS: dict[Any, Callable[[Any, bool], str | None]] = {int: _whole, float: _real, bool: _boolean}


def _is_scalar_array(value: Any, kind: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray) and value.shape == () and jax.numpy.issubdtype(value.dtype, kind)


def _typed_key(value: Any) -> str | None:
    dtype = getattr(value, "dtype", None)
    is_typed = dtype is not None and jax.numpy.issubdtype(dtype, jax.dtypes.prng_key)
    return None if is_typed else "a typed key, such as jax.random.key(0)"


class _Limit(NamedTuple):
    holds: Callable[[Any, Any], bool]
    text: str
    bracket: str


_LIMITS: dict[type, _Limit] = {
    Ge: _Limit(operator.ge, "at least", "["),
    Gt: _Limit(operator.gt, "above", "("),
    Le: _Limit(operator.le, "at most", "]"),
    Lt: _Limit(operator.lt, "below", ")"),
}


def _out_of_range(constraints: list[Any], value: Any) -> str | None:
    if isinstance(value, Tracer) or is_symbolic_dim(value):
        return None
    groups = [c if isinstance(c, GroupedMetadata) else [c] for c in constraints]
    each = [c for group in groups for c in group]
    shortest = max((c.min_length for c in each if isinstance(c, MinLen)), default=0)
    if shortest and len(value) < shortest:
        return f"of length {shortest} or more"
    limits = [(_LIMITS[type(c)], getattr(c, type(c).__name__.lower())) for c in each if type(c) in _LIMITS]
    if all(limit.holds(value, bound) for limit, bound in limits):
        return None
    if len(limits) == 2:
        (low, lowest), (high, highest) = limits
        return f"in {low.bracket}{_text(lowest)}, {_text(highest)}{high.bracket}"
    return " and ".join(f"{limit.text} {_text(bound)}" for limit, bound in limits)


def _text(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _call(kind: type, value: Any) -> str:
    """Return the cure for a class where its instance belongs."""
    is_class = isinstance(value, type) and (getattr(kind, "_is_protocol", False) or issubclass(value, kind))
    return f"; call the class: {value.__name__}(...)" if is_class else ""


def _members(protocol: type) -> str:
    """Return the names that a Protocol requires, in their order."""
    bases = [base for base in (*protocol.__mro__[1:], protocol) if getattr(base, "_is_protocol", False)]
    names = [name for base in bases for name in vars(base) if not name.startswith("_") or name == "__call__"]
    *others, last = dict.fromkeys(names)
    return f"{', '.join(others)} and {last}" if others else last


def _a(kind: type) -> str:
    name = kind.__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _shown(value: Any) -> str:
    """Return a value as a message shows it: short, and of an array only shape and type."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "shape") and hasattr(value, "dtype") and value.shape != ():
        return f"an array of shape {value.shape} and type {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
