"""DiffWave: gated layers of dilated convolutions, from a waveform and a noise level to a waveform.

A waveform of length T is folded into T/P positions of P samples each, the patches p. With an embedding e of noise level
and condition (``LevelEmbedding``), h₁ = ρ(W p) and layer l of dilation d is

    u = h_l + B ρ'(e),        (a, b)_t = W₋ u_{t−d} + W₀ u_t + W₊ u_{t+d} + c,        g = tanh(a) σ(b),           (1)
    h_{l+1} = (h_l + R g + r) / √2,                                                                              (2)

with zeros beyond the ends, ρ = max(0, ·) and ρ' the logistic x σ(x). A perceptron with ρ maps the sum over N layers,
Σ_l (S g_l + s) / √N, to patches of outputs. Dilations are 1, 2, 4, …, 2^{n−1} in each of m stacks, N = n m, so that

    outputs at position t depend on positions t − r … t + r,        r = m (2^n − 1).                              (3)

Zhifeng Kong, Wei Ping, Jiaji Huang, Kexin Zhao and Bryan Catanzaro, 2021, arXiv:2009.09761: with P = 1, without their
spectrogram, and with a label that is added to the embedding of the noise level. The time of a step falls as 1/P.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import DropoutRate, PositiveInt, check_arguments
from genjax.core import Array
from genjax.nets.attention import Context
from genjax.nets.levels import LevelEmbedding
from genjax.nets.mlp import gated_tanh, scaled_init


@check_arguments
class DiffWave(nn.Module):
    """Network of equations 1 to 3 from waveforms (B, T) or (B, T, C) to waveforms of the same shape.

    Attributes:
      features: number of channels of h, g and the sum over layers.
      num_layers: number of layers of each stack, n, with dilations 1, 2, 4, …, 2^(n − 1).
      num_stacks: number of stacks, m.
      patch_size: number of samples in a position, P, a divisor of T.
      dropout: share of the channels of g that training drops, in [0, 1).
      output_scale: factor on the initial weights of the last layer; with 0, as in the paper, outputs start at 0.
      dtype: see ``nets``; the embedding of the noise level is always float32 too.

    >>> import jax
    >>> net = DiffWave(features=8, num_layers=3, patch_size=4)
    >>> net.dilations, net.receptive_field
    ((1, 2, 4), 60)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 32)), jnp.zeros(2), jnp.eye(2, 10))[0].shape
    (2, 32)
    """

    features: PositiveInt
    num_layers: PositiveInt = 10
    num_stacks: PositiveInt = 1
    patch_size: PositiveInt = 1
    dropout: DropoutRate = 0.0
    output_scale: float = 0.0
    dtype: Any = None

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilations of all layers in positions, from first to last."""
        return tuple(2**i for _ in range(self.num_stacks) for i in range(self.num_layers))

    @property
    def receptive_field(self) -> int:
        """Number of samples that an output depends on, (2 r + 1) P, far from the ends."""
        return (2 * sum(self.dilations) + 1) * self.patch_size

    @nn.compact
    def __call__(
        self,
        x: Array,
        level: Array,
        condition: Array | None = None,
        context: Context | None = None,
        train: bool = False,
    ) -> Array:
        """Map x (B, T) or (B, T, C), noise levels (B,), a condition (B, K) and a context to the shape of x."""
        self._check(x.shape)
        batch, length = x.shape[0], x.shape[1] // self.patch_size
        embedding = LevelEmbedding(4 * self.features)
        embedded = nn.silu(embedding(level, condition, context))
        # Products of matrices with all positions of a batch as rows, which are faster on CPUs than convolutions.
        rows = x.reshape(batch * length, -1)
        h, total = nn.relu(nn.Dense(self.features, dtype=self.dtype, name="first")(rows)), 0.0
        for i, dilation in enumerate(self.dilations):
            layer = _Layer(dilation, self.features, self.dropout, self.dtype, name=f"layer_{i}")
            h, skip = layer(h.reshape(batch, length, -1), embedded, train)
            total = total + skip
        hidden = nn.relu(total / math.sqrt(len(self.dilations)))
        hidden = nn.relu(nn.Dense(self.features, dtype=self.dtype, name="head")(hidden))
        initial = scaled_init(self.output_scale)
        return nn.Dense(rows.shape[1], kernel_init=initial, dtype=self.dtype, name="outputs")(hidden).reshape(x.shape)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in (2, 3):
            raise ValueError(
                f"DiffWave got shape {shape}, but takes waveforms (B, T) or (B, T, C); use a UNet for images"
            )
        if shape[1] % self.patch_size:
            raise ValueError(
                f"DiffWave got waveforms of length {shape[1]}, which is not a multiple of "
                f"patch_size={self.patch_size}; pad them, or give a divisor of the length"
            )


class _Layer(nn.Module):
    """Equations 1 and 2: one layer, which returns h and its term of the sum over layers, (B T / P, features) each."""

    dilation: int
    features: int
    dropout: float
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, embedded: Array, train: bool) -> tuple[Array, Array]:
        bias = nn.Dense(self.features, name="level")(embedded)[:, None].astype(h.dtype)
        rows = neighbours(h + bias, self.dilation).reshape(-1, 3 * self.features)
        gated = gated_tanh(nn.Dense(2 * self.features, dtype=self.dtype, name="taps")(rows))  # equation 1
        gated = nn.Dropout(self.dropout, deterministic=not train)(gated)
        residual, skip = jnp.split(nn.Dense(2 * self.features, dtype=self.dtype, name="outputs")(gated), 2, axis=-1)
        return (h.reshape(residual.shape) + residual) / math.sqrt(2), skip  # equation 2


def neighbours(x: Array, dilation: int) -> Array:
    """Return (x_{t−d}, x_t, x_{t+d}), (B, T, 3 C), of sequences (B, T, C), with zeros beyond the ends.

    >>> neighbours(jnp.arange(1.0, 5.0).reshape(1, 4, 1), 3)[0].tolist()
    [[0.0, 1.0, 4.0], [0.0, 2.0, 0.0], [0.0, 3.0, 0.0], [1.0, 4.0, 0.0]]
    """
    length = x.shape[1]
    reach = min(dilation, length)
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
    taps = [jax.lax.slice_in_dim(padded, start, start + length, axis=1) for start in (0, reach, 2 * reach)]
    return jnp.concatenate(taps, axis=-1)
