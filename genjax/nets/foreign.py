"""Networks of Flax NNX and of equinox, with the ``init`` and ``apply`` of a Linen module.

A network is described by the function that builds it from random numbers. ``apply`` calls this function again for the
structure of the module, and replaces its arrays; under ``jit`` the unused initialization costs nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import jax

from genjax.core import Array, PyTree
from genjax.nets.adapter import Net

if TYPE_CHECKING:
    from flax import nnx


def from_nnx(build: Callable[[nnx.Rngs], nnx.Module]) -> Net:
    """Return a network from a function that builds a Flax NNX module, such as ``lambda rngs: MLP(8, 2, rngs=rngs)``.

    Its variables of type ``nnx.Param`` are trained, and those of other types but random streams are state. In training
    ``module.train()`` is called and the stream ``dropout`` is new at each step, otherwise ``module.eval()``. Networks
    are equal if their functions are the same object, so define the function once.

    >>> from flax import nnx
    >>> from genjax.nets import init_net
    >>> net = from_nnx(lambda rngs: nnx.Linear(3, 2, rngs=rngs))
    >>> params, state = init_net(net, jax.random.key(0), jax.numpy.zeros((4, 3)))
    >>> params["kernel"].shape, state
    ((3, 2), {})
    """
    return _NNX(build)


def from_equinox(build: Callable[[Array], Any]) -> Net:
    """Return a network from a function that builds an equinox module from a key; it needs the extra ``equinox``.

    The module takes single examples, as in equinox, and is mapped over the batch. Its floating-point arrays are
    trained. If its ``__call__`` has the argument ``key``, it receives one for each example in training; otherwise it
    runs in inference mode. Stateful layers are not supported. Networks are equal if their functions are the same
    object.
    """
    return _Equinox(build)


@final
@dataclass(frozen=True)
class _NNX:
    build: Callable[[nnx.Rngs], nnx.Module]

    def init(self, key: Array, *args: Any, train: bool = False) -> dict[str, PyTree]:
        from flax import nnx

        del args, train
        _, params, _, state = nnx.split(self.build(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
        collections = {"params": nnx.to_pure_dict(params), "state": nnx.to_pure_dict(state)}
        return {name: value for name, value in collections.items() if value or name == "params"}

    def apply(
        self,
        variables: dict[str, PyTree],
        *args: Any,
        train: bool = False,
        rngs: dict[str, Array] | None = None,
        mutable: list[str] | None = None,
    ) -> Any:
        from flax import nnx

        streams = {"params": jax.random.key(0), "dropout": jax.random.key(0)} | (rngs or {})
        module = self.build(nnx.Rngs(**streams))
        _, params, _, state = nnx.split(module, nnx.Param, nnx.RngState, ...)
        nnx.replace_by_pure_dict(params, variables["params"])
        nnx.replace_by_pure_dict(state, variables.get("state", {}))
        nnx.update(module, params, state)
        (module.train if train else module.eval)()
        outputs = module(*args)  # type: ignore[operator]
        if not mutable:
            return outputs
        _, _, _, state = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return outputs, {"state": nnx.to_pure_dict(state)}


@final
@dataclass(frozen=True)
class _Equinox:
    build: Callable[[Array], Any]

    def init(self, key: Array, *args: Any, train: bool = False) -> dict[str, PyTree]:
        del args, train
        return {"params": self._arrays(self.build(key))[0]}

    def apply(
        self, variables: dict[str, PyTree], *args: Any, train: bool = False, rngs: dict[str, Array] | None = None
    ) -> Any:
        import equinox as eqx

        arrays, tree, rest = self._arrays(self.build(jax.random.key(0)))[0:3]
        arrays = jax.tree.unflatten(tree, [variables["params"][name] for name in arrays])
        module = eqx.nn.inference_mode(eqx.combine(arrays, rest), value=not train)
        if not (train and rngs and "key" in _arguments_of(module)):
            return jax.vmap(module)(*args)
        keys = jax.random.split(rngs["dropout"], args[0].shape[0])
        return jax.vmap(lambda key, *args: module(*args, key=key))(keys, *args)

    def _arrays(self, module: Any) -> tuple[dict[str, Array], Any, Any]:
        """Return the trained arrays of a module by path, their tree, and the rest of the module."""
        import equinox as eqx

        arrays, rest = eqx.partition(module, eqx.is_inexact_array)
        leaves, tree = jax.tree_util.tree_flatten_with_path(arrays)
        return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}, tree, rest


def _arguments_of(module: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(module).parameters)
