"""Layers of progressive and style-based GANs: equalized learning rate, pixel norm, minibatch standard deviation.

A layer with equalized learning rate stores weights w of unit variance and computes with

    W = m g / √n · w,        b = m β,        w ~ N(0, 1/m²) at the start,                                         (1)

for n inputs per output, a gain g and a learning-rate multiplier m. The scale of W is that of He's initialization with
g = √2, but all w have the same scale, so that optimizers such as Adam, whose steps do not depend on the scale of the
gradient, move all layers at the same relative speed, times m.

Pixel normalization and the feature that lets a discriminator see the variety of a batch are

    y = x / √(mean over channels of x² + ε),                                                                      (2)
    s = mean over pixels and channels of √(Var x + ε),                                                            (3)

where the variance is over a group of consecutive examples, and s becomes one more channel of all of them.

Tero Karras, Timo Aila, Samuli Laine and Jaakko Lehtinen 2018, arXiv:1710.10196, sections 3, 4.1 and 4.2; multiplier and
groups as in Tero Karras, Samuli Laine and Timo Aila 2019, arXiv:1812.04948.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import ops
from genjax.arguments import PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array

EPSILON = 1e-8


@runtime_checkable
class ComparesExamples(Protocol):
    """A network whose outputs depend on the other examples in groups of ``group_size`` consecutive ones."""

    @property
    def group_size(self) -> int:
        """Number of examples in a group, at least 1."""
        ...


@check_arguments
class EqualizedDense(nn.Module):
    """Dense layer with equalized learning rate, equation 1.

    Attributes:
      features: number of outputs.
      use_bias: whether there is a bias.
      gain: g.
      multiplier: m, the learning-rate multiplier.
      initial_bias: initial b.
      dtype: see ``nets``.

    >>> layer = EqualizedDense(2, initial_bias=1.0)
    >>> layer.init_with_output(jax.random.key(0), jnp.zeros((1, 3)))[0].tolist()
    [[1.0, 1.0]]
    """

    features: PositiveInt
    use_bias: bool = True
    gain: PositiveFloat = 1.0
    multiplier: PositiveFloat = 1.0
    initial_bias: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (..., C) to (..., features)."""
        dtype = self.dtype or x.dtype
        kernel = equalized_kernel(self, (x.shape[-1], self.features), self.gain, self.multiplier)
        outputs = x.astype(dtype) @ kernel.astype(dtype)
        if not self.use_bias:
            return outputs
        return outputs + bias(self, outputs, self.multiplier, self.initial_bias)


@check_arguments
class EqualizedConv(nn.Module):
    """Convolution with equalized learning rate, equation 1, at stride 1 with zero padding.

    Attributes:
      features: number of output channels.
      kernel_size: height and width of the kernel, odd.
      use_bias: whether there is a bias for each channel.
      gain: g.
      dtype: see ``nets``.

    >>> EqualizedConv(8).init_with_output(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))[0].shape
    (1, 4, 4, 8)
    """

    features: PositiveInt
    kernel_size: PositiveInt = 3
    use_bias: bool = True
    gain: PositiveFloat = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (B, H, W, C) to (B, H, W, features)."""
        dtype = self.dtype or x.dtype
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        outputs = convolve(x.astype(dtype), equalized_kernel(self, shape, self.gain).astype(dtype))
        if not self.use_bias:
            return outputs
        return outputs + bias(self, outputs)


@check_arguments
class MinibatchStd(nn.Module):
    """Append the standard deviation of a group of examples as a channel, equation 3.

    Attributes:
      group_size: number of consecutive examples in a group. Where it does not divide the batch, their greatest common
        divisor takes its place.

    >>> MinibatchStd(2).apply({}, jnp.array([0.0, 2.0, 5.0, 5.0]).reshape(4, 1, 1, 1))[..., 1].ravel().round(3).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """

    group_size: PositiveInt = 4

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (B, H, W, C) to (B, H, W, C + 1)."""
        batch, height, width, _ = x.shape
        size = math.gcd(batch, self.group_size)
        groups = ops.at_least_float32(x).reshape(batch // size, size, *x.shape[1:])
        deviation = jnp.mean(jnp.sqrt(jnp.var(groups, axis=1) + EPSILON), axis=(1, 2, 3))  # equation 3
        channel = jnp.repeat(deviation, size)[:, None, None, None]
        return jnp.concatenate([x, jnp.broadcast_to(channel, (batch, height, width, 1)).astype(x.dtype)], axis=-1)


def equalized_kernel(module: nn.Module, shape: tuple[int, ...], gain: float = 1.0, multiplier: float = 1.0) -> Array:
    """Return W of equation 1, (*window, inputs, outputs), from the parameter "kernel" of a module."""
    kernel = module.param("kernel", nn.initializers.normal(1 / multiplier), shape)
    return kernel * (multiplier * gain / math.sqrt(math.prod(shape[:-1])))


def bias(module: nn.Module, outputs: Array, multiplier: float = 1.0, initial: float = 0.0) -> Array:
    """Return b of equation 1 for outputs (..., F), from the parameter "bias" of a module, as it is added to them."""
    stored = module.param("bias", nn.initializers.constant(initial / multiplier), outputs.shape[-1:])
    return (multiplier * stored).astype(outputs.dtype).reshape(*[1] * (outputs.ndim - 1), -1)


def convolve(x: Array, kernel: Array) -> Array:
    """Convolve images (B, H, W, C) with a kernel (K, K, C, F), padded with zeros to the same height and width."""
    return ops.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pixel_norm(x: Array) -> Array:
    """Normalize (..., C) to unit mean square over the channels, equation 2.

    >>> [round(entry, 4) for entry in pixel_norm(jnp.array([3.0, 4.0])).tolist()]  # divided by √12.5
    [0.8485, 1.1314]
    """
    mean_square = jnp.mean(jnp.square(ops.at_least_float32(x)), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(mean_square + EPSILON).astype(x.dtype)


def scaled_leaky_relu(x: Array) -> Array:
    """Return √2 times the leaky ReLU of slope 0.2, which about keeps the mean square of normal inputs."""
    return math.sqrt(2) * nn.leaky_relu(x, 0.2)
