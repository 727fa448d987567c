"""Command-line flags from signatures, and one-line errors for flags that cannot be parsed.

``tyro`` builds a parser from dataclasses; this module builds the dataclasses from the arguments of an experiment
function, or from the keyword-only arguments of a model's ``sample``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import itertools
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import docstring_parser
import tyro

from genjax import core
from genjax.arguments import check_settings
from genjax.capabilities import conditions
from genjax.cli.conditions import condition_flags
from genjax.data import Dataset
from genjax.latent import LatentModel, UnitScale


def flags_of_function(function: Callable[..., Any], reserved: type, stored: Mapping[str, Any] | None = None) -> type:
    """Return a dataclass whose fields are the arguments of an experiment function, which all have types and defaults.

    The arguments must not have the names of ``reserved`` flags; ``stored`` defaults replace the function's own.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    stored = stored or {}
    parameters = inspect.signature(function).parameters
    conflicts = {f.name for f in dataclasses.fields(reserved)} & set(parameters)
    if conflicts:
        raise ValueError(f"experiment() has an argument {min(conflicts)!r}, which is a flag of genjax train; rename it")
    flags = {name: (hints[name], stored.get(name, parameter.default)) for name, parameter in parameters.items()}
    return _as_dataclass("hyper_parameters", flags, function.__doc__)


def flags_of_sample(model: Any, dataset: Dataset, defaults: Mapping[str, Any], *, with_conditions: bool = True) -> type:
    """Return a dataclass whose fields are the arguments of a model's ``sample`` that a command line can set.

    These are its keyword-only arguments with types that text can express, and the conditions that the model declares,
    except without ``with_conditions``. A ``genjax.latent.LatentModel`` passes all of them on to its prior, and
    ``UnitScale`` to its model.
    """
    sampled = model.prior if isinstance(model, LatentModel) else model
    sample = sampled.model.sample if isinstance(sampled, UnitScale) else sampled.sample
    names = {condition.name for condition in conditions(model)}
    flags = {name: flag for name, flag in _flags(sample, defaults).items() if name not in names}
    doc = _with_glossary(sample.__doc__ or "", flags)
    of_conditions = condition_flags(model, dataset, defaults) if with_conditions else {}
    return _as_dataclass("model", flags | of_conditions, doc)


def _with_glossary(doc: str, names: Iterable[str]) -> str:
    """Return a docstring that describes its arguments, where it is silent in the words of the glossary of ``core``."""
    own = docstring_parser.parse(doc)
    entries = re.findall(r"\* ``(\w+)``: (.*?)(?=\n\* |\n\n)", core.__doc__ or "", flags=re.DOTALL)
    texts = dict(entries) | {param.arg_name: param.description or "" for param in own.params}
    described = [f"  {name}: {' '.join(texts[name].split())}" for name in names if name in texts]
    return "\n".join([own.short_description or "", "", "Args:", *described])


def _flags(method: Callable[..., Any], defaults: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return type and default of each keyword-only argument that text can express."""
    hints = typing.get_type_hints(method)
    return {
        name: (hint, defaults.get(name, parameter.default))
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and (hint := _plain(hints.get(name, int))) is not None
    }


def _plain(hint: Any) -> Any:
    """Return the part of a type hint that text can express, or None."""
    plain = (int, float, str, bool, type(None))
    if hint in plain or typing.get_origin(hint) in (Literal, tuple):
        return hint
    members = [member for member in typing.get_args(hint) if _plain(member) is not None]
    values = [member for member in members if member is not type(None)]
    return typing.Union[tuple(members)] if values else None  # noqa: UP007 - built from a list


def _as_dataclass(name: str, flags: Mapping[str, tuple[Any, Any]], doc: str | None) -> type:
    """Return a dataclass of flags, which are (type, default) by name."""
    fields = [(key, hint, _field(default)) for key, (hint, default) in flags.items()]
    group = dataclasses.make_dataclass(name, fields, kw_only=True, frozen=True)
    group.__doc__ = doc or name
    return group


def _field(default: Any) -> Any:
    """Return a dataclass field; defaults that cannot be hashed, such as lists, need a factory."""
    hashable = type(default).__hash__ is not None
    return dataclasses.field(default=default) if hashable else dataclasses.field(default_factory=lambda: default)


def parse(program: str, flags: Sequence[str], *groups: type, description: str = "") -> tuple[Any, ...]:
    """Parse flags into one instance of each group; raise ValueError with one line if that fails."""
    by_name = {group.__name__.removesuffix("Options").lower(): group for group in groups}  # titles in the help
    fields = [(name, group, dataclasses.field(default_factory=group)) for name, group in by_name.items()]
    combined = dataclasses.make_dataclass("options", fields)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed = tyro.cli(
                combined,
                prog=program,
                description=description,
                args=list(flags),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise ValueError(f"{_one_line(errors.getvalue())}; see {program} --help") from None
    values = tuple(getattr(parsed, name) for name in by_name)
    for value in values:
        check_settings(type(value), vars(value))
    return values


def paths_and_flags(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Split arguments into the paths that they begin with and the flags that follow."""
    paths = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    return list(map(Path, paths)), list(arguments[len(paths) :])


def _one_line(box: str) -> str:
    """Return the message inside a framed error text, and the flags that it suggests."""
    lines = [line.strip("│╭╮╰╯─ \n") for line in box.splitlines()[1:]]
    message = " ".join(lines[: lines.index("")] if "" in lines else lines)
    after = " ".join(lines[lines.index("") :] if "" in lines else [])
    suggested = re.findall(r"--[\w-]+", after.partition("Perhaps you meant")[2].partition("For full helptext")[0])
    return message + (f"; did you mean {' or '.join(dict.fromkeys(suggested))}?" if suggested else "")
