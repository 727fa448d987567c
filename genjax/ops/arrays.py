"""Sums over examples, gradients of examples, exchanges of replicas, and the arrays of a tree by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree


def sum_except_batch(values: Array) -> Array:
    """Sum over all axes but the first, (B, ...) to (B,).

    >>> sum_except_batch(jnp.ones((2, 3, 4))).tolist()
    [12.0, 12.0]
    """
    return jnp.sum(values.reshape(values.shape[0], -1), axis=-1)


def squared_gradient_norms(function: Callable[[Array], Array], x: Array) -> Array:
    """Return ‖∇f(x)‖² of each example, (B,), for x (B, ...) and a function to (B,) that does not mix examples.

    With v = ∇f(x) held constant, its derivative in parameters θ is 2 ∂⟨v, ∇f(x)⟩ / ∂θ. The inner product is a
    derivative of f along v, whose gradient takes about two thirds of the time of a gradient of the gradient. Only first
    derivatives of the norms are correct.

    >>> squared_gradient_norms(lambda x: x @ jnp.array([3.0, 4.0]), jnp.zeros((1, 2))).tolist()
    [25.0]
    """
    v = jax.lax.stop_gradient(jax.grad(lambda x: jnp.sum(function(x)))(x))
    return 2 * jax.jvp(function, (x,), (v,))[1] - sum_except_batch(jnp.square(v))


def swap_neighbors(swaps: Array, tree: PyTree) -> PyTree:
    """Exchange rows t and t + 1 of arrays (T, N, ...) where ``swaps``, bool (T − 1, N), holds; pairs must not overlap.

    >>> swap_neighbors(jnp.array([[True], [False]]), jnp.array([[1], [2], [3]])).tolist()
    [[2], [1], [3]]
    """
    none = jnp.zeros_like(swaps[:1])
    takes_next, takes_previous = jnp.concatenate([swaps, none]), jnp.concatenate([none, swaps])

    def exchange(a: Array) -> Array:
        following, previous = (m.reshape(*m.shape, *[1] * (a.ndim - 2)) for m in (takes_next, takes_previous))
        return jnp.where(following, jnp.roll(a, -1, axis=0), jnp.where(previous, jnp.roll(a, 1, axis=0), a))

    return jax.tree.map(exchange, tree)


def leaves_by_path(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of a tree by path, in the order of the tree.

    >>> leaves_by_path({"decoder": {"bias": 1}, "encoder": [2, 3]})
    {'decoder/bias': 1, 'encoder/0': 2, 'encoder/1': 3}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def check_leaf_shapes(name: str, tree: PyTree, like: PyTree, cure: str) -> None:
    """Raise if the leaves of a tree, by path, do not have the shapes of those of another one.

    >>> check_leaf_shapes("weights", {"w": jnp.zeros(2)}, {"w": jnp.zeros(3)}, "use others")
    Traceback (most recent call last):
    ValueError: weights has 'w' of shape (2,), but the model needs shape (3,); use others
    """
    actual, needed = ({path: jnp.shape(leaf) for path, leaf in leaves_by_path(side).items()} for side in (tree, like))
    different = [path for path in [*needed, *actual] if needed.get(path) != actual.get(path)]
    if different:
        path = different[0]
        raise ValueError(
            f"{name} has {path!r} of shape {actual.get(path)}, but the model needs shape {needed.get(path)}; {cure}"
        )


def at_least_float32(value: Array) -> Array:
    """Convert half precision to float32 and keep wider types: log-likelihoods are never summed in half precision."""
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))
