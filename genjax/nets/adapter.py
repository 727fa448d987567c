"""The adapter between models and a network library: nothing else calls ``init`` or ``apply`` of a network.

A network is any object with

    init(key, *args) -> {"params": ..., other collections}        and        apply(variables, *args) -> outputs,

which is the signature of a Flax Linen module. A network receives only the options that it takes: ``train`` if its
forward function has this argument, a dropout key if there is one, ``mutable`` if it has state to update.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax

from genjax.core import Array, PyTree, Variables
from genjax.nets.computation import prepared, raised, rematerialized


@runtime_checkable
class Net(Protocol):
    """A Linen module, or any object with the same ``init`` and ``apply``."""

    @property
    def init(self) -> Callable[..., Any]:
        """Function ``(key, *args) -> variables``."""
        ...

    @property
    def apply(self) -> Callable[..., Any]:
        """Function ``(variables, *args) -> outputs``."""
        ...


def init_net(net: Net, key: Array, *args: Any) -> tuple[PyTree, PyTree]:
    """Initialize a network from example arguments of its forward function; only their shapes and dtypes matter.

    Returns:
      params: trained parameters, the collection ``"params"``.
      state: all other collections by name, such as ``{"batch_stats": ...}``, or an empty dict.
    """
    options = {"train": False} if "train" in _arguments(net) else {}
    collections = dict(net.init(key, *args, **options))
    return collections.pop("params", {}), collections


def apply_net(
    net: Net, params: PyTree, state: PyTree, *args: Any, key: Array | None = None, train: bool = False
) -> tuple[Any, PyTree]:
    """Apply a network to arguments of its forward function; return its outputs and its new state.

    If ``train``, dropout is on, with this key unless it is None, and batch statistics are computed from the batch and
    update the state, whose dtypes stay as they are; otherwise the state is unchanged. ``computing`` sets how the
    network is computed.
    """
    net, params, args = prepared(net, params, args)
    arguments = _arguments(net)
    options: dict[str, Any] = {"train": train} if "train" in arguments else {}
    if key is not None and (isinstance(net, nn.Module) or "rngs" in arguments):
        options["rngs"] = {"dropout": key}
    if train and state:
        options["mutable"] = list(state)
    results = rematerialized(net, partial(net.apply, **options))({"params": params, **state}, *args)
    if not (train and state):
        return raised(results), state
    outputs, updated = results
    # Statistics of 64-bit data are 64-bit numbers, but the state of training has one type from the first step on.
    return raised(outputs), jax.tree.map(_in_dtype_of, state, {**state, **updated})


def _in_dtype_of(old: Array, new: Array) -> Array:
    return new if new.dtype == old.dtype else new.astype(old.dtype)


def output_shape(net: Net, key: Array, *args: Array) -> tuple[int, ...]:
    """Return the shape of a network's output for such arguments, without computing it."""

    def run(key: Array, *args: Array) -> Any:
        params, state = init_net(net, key, *args)
        return apply_net(net, params, state, *args)[0]

    return jax.eval_shape(run, key, *args).shape


class NetSpec(NamedTuple):
    """One of a model's networks and the output shape that the model requires.

    Attributes:
      net: the network.
      arguments: example arguments of its forward function; only their shapes and dtypes matter.
      shape: required shape of its output.
      why: what requires this shape, as the subject of a sentence.
    """

    net: Net
    arguments: tuple[Array, ...]
    shape: tuple[int, ...]
    why: str


def check_part(name: str, part: NetSpec, key: Array) -> None:
    """Raise if a network's output does not have the required shape, without computing it."""
    returned = output_shape(part.net, key, *part.arguments)
    if returned != part.shape:
        raise ValueError(
            f"{name} returned shape {returned}, but {part.why} needs {part.shape}: "
            f"give its output the shape {part.shape[1:]}"
        )


def init_parts(key: Array, parts: Mapping[str, NetSpec]) -> Variables:
    """Initialize a model's networks, with one key each, in their order, after ``check_part`` of each."""
    for name, part in parts.items():
        check_part(name, part, key)
    keys = jax.random.split(key, len(parts))
    params, state = {}, {}
    for (name, part), part_key in zip(parts.items(), keys, strict=True):
        params[name], state[name] = init_net(part.net, part_key, *part.arguments)
    return Variables(params, state)


def apply_part(
    model: Any, name: str, variables: Variables, *args: Any, key: Array | None = None, train: bool = False
) -> tuple[Any, PyTree]:
    """Apply the network in the model's attribute ``name``; see ``apply_net``."""
    net: Net = getattr(model, name)
    return apply_net(net, variables.params[name], variables.state[name], *args, key=key, train=train)


def _arguments(net: Net) -> tuple[str, ...]:
    forward = type(net).__call__ if isinstance(net, nn.Module) else net.apply
    return tuple(inspect.signature(forward).parameters)
