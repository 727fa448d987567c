"""Normalization of weights by their largest singular value, and of features by statistics.

Spectral normalization divides a matrix W by an estimate of its largest singular value; of a kernel (..., C, F) the
matrix has a column for each of F outputs. A step of power iteration from the u that is kept gives it at each pass:

    W / σ,        v = W u / ‖W u‖,     u ← Wᵀ v / ‖Wᵀ v‖,     σ = vᵀ W u,                                        (1)

with gradients through σ at fixed u and v. Once u has converged a dense layer is 1-Lipschitz (Takeru Miyato, Toshiki
Kataoka, Masanori Koyama and Yuichi Yoshida 2018, arXiv:1802.05957).

Conditional batch normalization gives each class gains and biases of its own. With mean μ and variance s² of a channel,

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

from genjax.core import Array, PyTree


class SpectralNorm(nn.Module):
    """Equation 1 for the kernel of a layer, whose bias stays as it is.

    Flax has a module of this name, whose ``init`` returns weights that are divided by σ, and which keeps σ as well.
    Nothing reads that, so compiled steps drop it from their arguments and do not donate it.

    Weights of zero make u zero for good: a layer that is to begin at zero is none to be normalized.

    Attributes:
      layer: ``nn.Dense`` or a convolution.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Apply the layer, after a step of power iteration whose u is kept, in "batch_stats", where ``train`` is on."""
        initializing = self.is_initializing()

        def start(size: int) -> Array:
            return _unit(jax.random.normal(self.make_rng("params"), (size,)))

        def normalized(variables: PyTree) -> PyTree:
            kernel = variables["params"]["kernel"]
            matrix = kernel.reshape(-1, kernel.shape[-1])
            kept = self.variable("batch_stats", "u", start, matrix.shape[1])
            if initializing:
                return variables  # which Flax then takes for the initial ones
            v = jax.lax.stop_gradient(_unit(matrix @ kept.value))
            u = jax.lax.stop_gradient(_unit(v @ matrix))
            sigma = v @ matrix @ u
            if train:
                kept.value = u
            return {"params": {**variables["params"], "kernel": kernel / jnp.where(sigma > 0, sigma, 1.0)}}

        return nn.map_variables(lambda layer: layer(x), "params", normalized, init=initializing)(self.layer)


def _unit(x: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x)) + 1e-12)


def apply_layer(layer: nn.Module, x: Array, *, spectral: bool, train: bool) -> Array:
    """Apply a layer inside a compact method, with weights as in equation 1 or as they are.

    Args:
      layer: ``nn.Dense`` or a convolution.
      x: its input.
      spectral: whether its weights are normalized.
      train: see ``SpectralNorm``.
    """
    return SpectralNorm(layer, name=f"spectral_{layer.name}")(x, train) if spectral else layer(x)


def apply_norm(x: Array, kind: str | None, condition: Array | None = None, *, train: bool, dtype: Any = None) -> Array:
    """Normalize features (B, ..., C) inside a compact method.

    Args:
      x: the features.
      kind: "batch" for ``ConditionalBatchNorm``; "layer" for statistics of one example over all but the batch axis,
        with a gain and a bias for each channel; otherwise x is returned.
      condition: (B, K), of "batch".
      train: whether statistics of "batch" are the batch's own.
      dtype: of what is returned; None follows the input.
    """
    if kind == "batch":
        return ConditionalBatchNorm(dtype=dtype)(x, condition, train)
    if kind == "layer":
        return nn.LayerNorm(reduction_axes=range(1, x.ndim), dtype=dtype)(x)
    return x


class ConditionalBatchNorm(nn.Module):
    """Equation 2, and where there is no condition a gain and a bias for each channel.

    Attributes:
      momentum: of the moving averages that take the place of a batch's own statistics where ``train`` is False.
      epsilon: ε.
      spectral: whether G and B are normalized as in equation 1; their initial weights then must not be zero.
      kernel_init: initial weights of G and B; with zeros all conditions begin alike.
      dtype: what it computes in; None follows the input. Parameters and statistics are float32 in any case.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
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

        def of_condition(name: str) -> Array:
            weights = nn.Dense(x.shape[-1], use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype, name=name)
            outputs = apply_layer(weights, condition.astype(x.dtype), spectral=self.spectral, train=train)
            return outputs.reshape(len(x), *[1] * (x.ndim - 2), x.shape[-1])

        return normalized * (1 + of_condition("gain")) + of_condition("bias")
