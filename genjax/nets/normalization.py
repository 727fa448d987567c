"""Spectral normalization of weights, and normalization of features.

Spectral normalization divides a matrix W by an estimate of its largest singular value; a kernel (..., C, F) is a matrix
with one column for each of F outputs. Each pass takes a step of power iteration from the stored u:

    W / σ,        v = W u / ‖W u‖,     u ← Wᵀ v / ‖Wᵀ v‖,     σ = vᵀ W u,                                        (1)

with gradients through σ at fixed u and v. Once u has converged, a dense layer is 1-Lipschitz (Takeru Miyato, Toshiki
Kataoka, Masanori Koyama and Yuichi Yoshida 2018, arXiv:1802.05957).

Conditional batch normalization has separate gains and biases for each class. With mean μ and variance s² of a channel,

    y = (1 + G c) (x − μ) / √(s² + ε) + B c                                                                      (2)

for a one-hot label c, or any other vector (Vincent Dumoulin, Jonathon Shlens and Manjunath Kudlur 2017,
arXiv:1610.07629; Harm de Vries et al. 2017, arXiv:1707.00683).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import Fraction, NonNegativeFloat, check_arguments
from genjax.core import Array, PyTree
from genjax.nets.group_norm import GroupNorm


@check_arguments
class SpectralNorm(nn.Module):
    """Spectral normalization of a layer's kernel, equation 1; the bias is unchanged.

    It differs from ``flax.linen.SpectralNorm``, whose ``init`` returns normalized weights and which also stores σ.
    Nothing reads that σ, so compiled steps would drop it from their arguments and not donate it.

    Do not normalize a layer whose weights start at zero: u would stay zero.

    Attributes:
      layer: dense layer or convolution.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Apply the layer after a step of power iteration; ``train`` stores its u, in "batch_stats"."""
        initializing = self.is_initializing()

        def start(size: int) -> Array:
            return _unit(jax.random.normal(self.make_rng("params"), (size,)))

        def normalized(variables: PyTree) -> PyTree:
            kernel = variables["params"]["kernel"]
            matrix = kernel.reshape(-1, kernel.shape[-1])
            stored = self.variable("batch_stats", "u", start, matrix.shape[1])
            if initializing:
                return variables  # Flax takes these as the initial ones
            v = jax.lax.stop_gradient(_unit(matrix @ stored.value))
            u = jax.lax.stop_gradient(_unit(v @ matrix))
            sigma = v @ matrix @ u
            if train:
                stored.value = u
            return {"params": {**variables["params"], "kernel": kernel / jnp.where(sigma > 0, sigma, 1.0)}}

        return nn.map_variables(lambda layer: layer(x), "params", normalized, init=initializing)(self.layer)


def _unit(x: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x)) + 1e-12)


def apply_layer(layer: nn.Module, x: Array, *, spectral: bool, train: bool) -> Array:
    """Apply a dense layer or convolution inside a compact method, with or without ``SpectralNorm``."""
    return SpectralNorm(layer, name=f"spectral_{layer.name}")(x, train) if spectral else layer(x)


def apply_norm(x: Array, kind: str | None, condition: Array | None = None, *, train: bool, dtype: Any = None) -> Array:
    """Normalize features (B, ..., C) inside a compact method.

    ``kind`` is "batch" for ``ConditionalBatchNorm``, which uses the condition (B, K) and ``train``; "layer" for
    statistics over all axes of an example, or "instance" for those of each of its channels (Dmitry Ulyanov, Andrea
    Vedaldi and Victor Lempitsky 2016, arXiv:1607.08022), both with a gain and a bias for each channel; None returns x
    unchanged.
    """
    if kind == "batch":
        return ConditionalBatchNorm(dtype=dtype)(x, condition, train)
    if kind == "layer":
        return nn.LayerNorm(reduction_axes=range(1, x.ndim), dtype=dtype)(x)
    if kind == "instance":
        return GroupNorm(x.shape[-1], dtype=dtype)(x)
    return x


@check_arguments
class ConditionalBatchNorm(nn.Module):
    """Conditional batch normalization, equation 2; without a condition, a gain and a bias for each channel.

    Attributes:
      momentum: momentum of the moving averages that replace the statistics of the batch if ``train`` is False.
      epsilon: ε.
      spectral: whether G and B are spectrally normalized; their initial weights must not be zero then.
      kernel_init: initializer of G and B; with zeros, all conditions start equal.
      dtype: see ``nets``; statistics are always float32 too.
    """

    momentum: Fraction = 0.9
    epsilon: NonNegativeFloat = 1e-5
    spectral: bool = False
    kernel_init: Callable[..., Array] = nn.initializers.zeros
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map (B, ..., C) to the same shape; ``condition`` is (B, K)."""
        settings: dict[str, Any] = {"use_scale": condition is None, "use_bias": condition is None}
        settings |= {"momentum": self.momentum, "epsilon": self.epsilon, "dtype": self.dtype}
        normalized = nn.BatchNorm(use_running_average=not train, **settings)(x)
        if condition is None:
            return normalized

        def linear_in_condition(name: str) -> Array:
            weights = nn.Dense(x.shape[-1], use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype, name=name)
            outputs = apply_layer(weights, condition.astype(x.dtype), spectral=self.spectral, train=train)
            return outputs.reshape(x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])

        return normalized * (1 + linear_in_condition("gain")) + linear_in_condition("bias")


def has_batch_statistics(state: PyTree) -> bool:
    """Return whether a network's state has moving averages of batch statistics.

    >>> has_batch_statistics({"batch_stats": {"BatchNorm_0": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}})
    True
    >>> has_batch_statistics({"batch_stats": {"SpectralNorm_0": {"Dense_0/kernel/sigma": jnp.ones(())}}})
    False
    """
    return any(is_batch_average(path) for path, _ in jax.tree_util.tree_leaves_with_path(state))


def is_batch_average(path: jax.tree_util.KeyPath) -> bool:
    """Return whether a leaf at this path is a moving average of a mean or variance, by its name in Linen.

    Spectral norms are in the same collection.
    """
    return jax.tree_util.keystr(path[-1:], simple=True) in ("mean", "var")
