"""The multilayer perceptron, concatenation of conditions, activations that Flax lacks, and a functional dense layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, PyTree


@check_arguments
class MLP(nn.Module):
    """Dense layers on the flattened input; the last one is linear unless ``output_activation`` is given.

    Attributes:
      features: widths of the layers.
      output_shape: shape of an output, which a further layer of this size produces. With None, the last entry of
        ``features`` is the width of the output layer.
      activation: activation between the layers.
      output_activation: activation after the last layer, such as a sigmoid for data in [0, 1], or None.
      output_scale: factor on the initial weights of the last layer; with 0, outputs start at 0.

    >>> import jax
    >>> decoder = MLP((32,), output_shape=(8, 8, 1))
    >>> outputs, variables = decoder.init_with_output(jax.random.key(0), jnp.zeros((4, 2)))
    >>> outputs.shape, len(variables["params"])
    ((4, 8, 8, 1), 2)
    """

    features: Sequence[PositiveInt]
    output_shape: Sequence[PositiveInt] | None = None
    activation: Callable[[Array], Array] = nn.gelu
    output_activation: Callable[[Array], Array] | None = None
    output_scale: float = 1.0
    dtype: Any = None

    def __post_init__(self) -> None:
        if not (self.features or self.output_shape):
            raise ValueError(
                f"MLP has features={tuple(self.features)} and output_shape={self.output_shape}, "
                "but needs at least one layer; give it for example features=(128, 32)"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Map (B, ...) to (B, *output_shape); ``condition`` (B, ...) is flattened and concatenated."""
        hidden = x.reshape(x.shape[0], -1)
        if condition is not None:
            hidden = concat_condition(hidden, condition.reshape(condition.shape[0], -1))
        shape = self.output_shape or self.features[-1:]
        widths = (*self.features, math.prod(shape)) if self.output_shape else tuple(self.features)
        for width in widths[:-1]:
            hidden = self.activation(nn.Dense(width, dtype=self.dtype)(hidden))
        initial = scaled_init(self.output_scale)
        outputs = nn.Dense(widths[-1], kernel_init=initial, dtype=self.dtype)(hidden).reshape(x.shape[0], *shape)
        return outputs if self.output_activation is None else self.output_activation(outputs)


def concat_condition(x: Array, condition: Array | None) -> Array:
    """Concatenate to the channels of x (B, ..., C) a condition (B, ..., K), or (B, K) for all positions; None for none.

    >>> concat_condition(jnp.zeros((1, 2, 2)), jnp.array([[3.0]])).tolist()
    [[[0.0, 0.0, 3.0], [0.0, 0.0, 3.0]]]
    """
    if condition is None:
        return x
    if condition.ndim == 2:
        condition = condition.reshape(x.shape[0], *[1] * (x.ndim - 2), condition.shape[-1])
        condition = jnp.broadcast_to(condition, (*x.shape[:-1], condition.shape[-1]))
    return jnp.concatenate([x, condition.astype(x.dtype)], axis=-1)


def scaled_init(scale: float) -> Callable[..., Array]:
    """Return Linen's default initializer of kernels, times a factor."""
    return lambda *args: scale * nn.initializers.lecun_normal()(*args)


def squared_relu(x: Array) -> Array:
    """Return the squared ReLU (David So et al. 2021, arXiv:2109.08668).

    >>> squared_relu(jnp.array([-2.0, 3.0])).tolist()
    [0.0, 9.0]
    """
    return jnp.square(nn.relu(x))


def gated_tanh(both: Array) -> Array:
    """Return tanh(a) σ(b), (..., C), from (a, b), (..., 2 C) (Aäron van den Oord et al. 2016, arXiv:1606.05328)."""
    a, b = jnp.split(both, 2, axis=-1)
    return jnp.tanh(a) * nn.sigmoid(b)


def linear(params: PyTree, x: Array) -> Array:
    """Apply the parameters of ``nn.Dense`` to x (..., C), in its dtype.

    It is a product of matrices, because with more axes XLA:CPU transposes an operand of the kernel's gradient, slowly.
    """
    product = x.reshape(-1, x.shape[-1]) @ params["kernel"].astype(x.dtype)
    if "bias" in params:
        product = product + params["bias"].astype(x.dtype)[None]
    return product.reshape(*x.shape[:-1], -1)
