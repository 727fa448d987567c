"""The seam between the families and a network library: nothing else calls ``init`` or ``apply`` of a network.

A network is any object with

    init(key, *args) -> {"params": ..., other collections}        and        apply(variables, *args) -> outputs,

which is the signature of a Flax Linen module. Options reach a network only where it can take them: ``train`` where its
forward function has such an argument, a dropout key where one is given, ``mutable`` where it has state to update.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax

from genjax.core import Array, PyTree, Variables


@runtime_checkable
class Net(Protocol):
    """A network: a Linen module, or anything that initializes and applies like one."""

    @property
    def init(self) -> Callable[..., Any]:
        """``(key, *args) -> variables``."""
        ...

    @property
    def apply(self) -> Callable[..., Any]:
        """``(variables, *args) -> outputs``."""
        ...


def init_net(net: Net, key: Array, *args: Any) -> tuple[PyTree, PyTree]:
    """Make a network's variables from example arguments.

    Args:
      net: the network.
      key: a typed key.
      *args: what its forward function takes; shapes and dtypes matter, values do not.

    Returns:
      params: what gradients move, the collection ``"params"``.
      state: the other collections by name, ``{"batch_stats": ...}``, or an empty dict.
    """
    options = {"train": False} if "train" in _arguments(net) else {}
    collections = dict(net.init(key, *args, **options))
    return collections.pop("params", {}), collections


def apply_net(
    net: Net, params: PyTree, state: PyTree, *args: Any, key: Array | None = None, train: bool = False
) -> tuple[Any, PyTree]:
    """Run a network.

    Args:
      net: the network.
      params: its parameters.
      state: its other collections.
      *args: what its forward function takes.
      key: feeds its dropout; None where there is none.
      train: whether dropout is on and batch statistics are the batch's own and update the state.

    Returns:
      outputs: what the network returns.
      new_state: the state after this pass; the one given unless ``train``.
    """
    variables = {"params": params, **state}
    arguments = _arguments(net)
    options: dict[str, Any] = {"train": train} if "train" in arguments else {}
    if key is not None and (isinstance(net, nn.Module) or "rngs" in arguments):
        options["rngs"] = {"dropout": key}
    if not (train and state):
        return net.apply(variables, *args, **options), state
    outputs, updated = net.apply(variables, *args, mutable=list(state), **options)
    return outputs, {**state, **updated}


def output_shape(net: Net, key: Array, *args: Array) -> tuple[int, ...]:
    """Return the shape of what a network would return for such arguments, computing nothing."""

    def run(key: Array, *args: Array) -> Any:
        params, state = init_net(net, key, *args)
        return apply_net(net, params, state, *args)[0]

    return jax.eval_shape(run, key, *args).shape


class NetSpec(NamedTuple):
    """One of a model's networks, and what it has to return.

    Attributes:
      net: the network.
      arguments: what its forward function takes; shapes and dtypes matter, values do not.
      shape: which its output must have.
      why: what asks for that shape, as the subject of a sentence.
    """

    net: Net
    arguments: tuple[Array, ...]
    shape: tuple[int, ...]
    why: str


def check_part(name: str, part: NetSpec, key: Array) -> None:
    """Refuse a network whose output does not fit, computing nothing.

    Raises:
      ValueError: with both shapes, and what asks for the one.
    """
    returned = output_shape(part.net, key, *part.arguments)
    if returned != part.shape:
        raise ValueError(
            f"{name} returned shape {returned}, but {part.why} needs {part.shape}: "
            f"give its output the shape {part.shape[1:]}"
        )


def init_parts(key: Array, parts: Mapping[str, NetSpec]) -> Variables:
    """Make the variables of a model's networks, each with a key of its own, in their order.

    Raises:
      ValueError: where the output of one does not fit, before anything compiles.
    """
    for name, part in parts.items():
        check_part(name, part, key)
    keys = jax.random.split(key, len(parts))
    made = {name: init_net(part.net, k, *part.arguments) for (name, part), k in zip(parts.items(), keys, strict=True)}
    return Variables(
        params={name: params for name, (params, _) in made.items()},
        state={name: state for name, (_, state) in made.items()},
    )


def apply_part(
    model: Any, name: str, variables: Variables, *args: Any, key: Array | None = None, train: bool = False
) -> tuple[Any, PyTree]:
    """Run the network that is the model's attribute ``name``; see ``apply_net``."""
    net: Net = getattr(model, name)
    return apply_net(net, variables.params[name], variables.state[name], *args, key=key, train=train)


def _arguments(net: Net) -> tuple[str, ...]:
    forward = type(net).__call__ if isinstance(net, nn.Module) else net.apply
    return tuple(inspect.signature(forward).parameters)
