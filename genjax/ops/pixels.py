"""Distributions of a pixel of C channels, given the outputs of an autoregressive network for that pixel.

Values are integers k = 0 … L − 1, and the channels of a pixel are ordered:

    categorical        C = 1           p(k) = softmax(l)_k
    logistic mixture   u = 2k/(L−1)−1  p(k_1, …, k_C) = Σ_m π_m Π_c p(k_c | m_c + Σ_{d<c} a_dc u_d, s_c)

where p(· | m, s) is the discretized logistic distribution of ``likelihoods``, whose lowest and highest values take all
the mass beyond them. Each of the M components has its own locations m, log-scales s and coefficients a, in units of u
(Tim Salimans, Andrej Karpathy, Xi Chen and Diederik Kingma 2017, arXiv:1701.05517, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.ops.arrays import at_least_float32, sum_except_batch
from genjax.ops.likelihoods import discretized_logistic
from genjax.ops.straight_through import clip_straight_through

LOG_SCALE_BOUND = 7.0  # as in the paper: e^−7 is a quarter of the distance between two of 256 values
NumValues = Annotated[int, Ge(2)]


@runtime_checkable
class PixelDistribution(Protocol):
    """A distribution over pixels (B, ..., C), from P outputs of a network per pixel, (B, ..., P)."""

    @property
    def num_values(self) -> int:
        """Number of values, L."""
        ...

    def num_outputs(self, channels: int) -> int:
        """Return P for pixels of so many channels; ValueError if that number is not supported."""
        ...

    def log_prob(self, outputs: Array, x: Array) -> Array:
        """Return the log-mass of x (B, ..., C) in nats, summed over all axes but the first, shape (B,)."""
        ...

    def logits(self, outputs: Array, x: Array, channel: int) -> Array:
        """Return logits (B, L) of a channel of pixels x (B, C), given its earlier channels; others are ignored."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class Categorical:
    """Categorical distribution of a pixel with one channel.

    Attributes:
      num_values: number of values, L.

    >>> Categorical(4).log_prob(jnp.zeros((1, 4)), jnp.array([[3]])).tolist()  # log ¼
    [-1.3862943649291992]
    """

    num_values: NumValues

    def num_outputs(self, channels: int) -> int:
        """Return L, for as many logits."""
        if channels != 1:
            raise ValueError(f"a pixel has {channels} channels, but Categorical takes one; use LogisticMixture")
        return self.num_values

    def log_prob(self, outputs: Array, x: Array) -> Array:
        """See ``PixelDistribution``."""
        return log_mass(at_least_float32(outputs), x[..., 0], axis=outputs.ndim - 1)

    def logits(self, outputs: Array, x: Array, channel: int) -> Array:
        """Return the outputs, which are logits."""
        del x, channel
        return at_least_float32(outputs)


@final
@check_arguments
@dataclass(frozen=True)
class LogisticMixture:
    """Mixture of discretized logistic distributions with dependent channels.

    Attributes:
      num_values: number of values L, 256 for 8-bit images.
      num_components: number of mixture components, M.

    >>> mixture = LogisticMixture(num_values=4, num_components=2)
    >>> outputs = jnp.linspace(-1, 1, mixture.num_outputs(1))[None]
    >>> masses = jnp.exp(jax.vmap(lambda k: mixture.log_prob(outputs, k[None, None]))(jnp.arange(4)))
    >>> round(masses.sum().item(), 5)
    1.0
    """

    num_values: NumValues = 256
    num_components: PositiveInt = 10

    def num_outputs(self, channels: int) -> int:
        """Return M times one weight, C locations, C log-scales and C(C - 1)/2 coefficients."""
        return self.num_components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def log_prob(self, outputs: Array, x: Array) -> Array:
        """See ``PixelDistribution``."""
        return sum_except_batch(jax.nn.logsumexp(self._joint(outputs, x, x.shape[-1]), axis=-1))

    def logits(self, outputs: Array, x: Array, channel: int) -> Array:
        """Return log-masses (B, L) of the values of a channel; −∞ if the mass underflows."""
        location, inverse_scale = (a[:, None] for a in self._logistic(outputs, x, channel))
        values = jnp.arange(self.num_values, dtype=location.dtype)[None, :, None]
        between = (values[:, 1:] - 0.5 - location) * inverse_scale
        # The three factors of ``discretized_logistic``, faster here than their logarithms.
        up_to = jnp.pad(jax.nn.sigmoid(between), ((0, 0), (0, 1), (0, 0)), constant_values=1.0)
        from_there = jnp.pad(jax.nn.sigmoid(-between), ((0, 0), (1, 0), (0, 0)), constant_values=1.0)
        outermost = (values == 0) | (values == self.num_values - 1)
        masses = up_to * from_there * jnp.where(outermost, 1.0, -jnp.expm1(-inverse_scale))
        posterior = jax.nn.softmax(self._joint(outputs, x, channel))  # of the components, given earlier channels
        return jnp.log(jnp.einsum("blm,bm->bl", masses, posterior))

    def _joint(self, outputs: Array, x: Array, num_channels: int) -> Array:
        """Return the joint log-mass of the first channels and each component, (B, ..., M)."""
        joint = jax.nn.log_softmax(self._split(outputs, x.shape[-1])[0])
        for channel in range(num_channels):
            location, inverse_scale = self._logistic(outputs, x, channel)
            value = x[..., channel, None].astype(location.dtype)
            joint = joint + discretized_logistic(value, location, inverse_scale, self.num_values)
        return joint

    def _logistic(self, outputs: Array, x: Array, channel: int) -> tuple[Array, Array]:
        """Return location and inverse scale of a channel, (B, ..., M) each, in units of one value."""
        _, locations, log_scales, coefficients = self._split(outputs, x.shape[-1])
        half = (self.num_values - 1) / 2
        location = locations[..., channel, :]
        first = channel * (channel - 1) // 2
        for before in range(channel):
            u = x[..., before, None].astype(location.dtype) / half - 1
            location = location + coefficients[..., first + before, :] * u
        return (location + 1) * half, jnp.exp(-log_scales[..., channel, :]) / half

    def _split(self, outputs: Array, channels: int) -> tuple[Array, Array, Array, Array]:
        """Return weights (B, ..., M), locations, log-scales (B, ..., C, M), coefficients (B, ..., C(C − 1)/2, M)."""
        blocks = at_least_float32(outputs).reshape(*outputs.shape[:-1], -1, self.num_components)
        weights, locations, log_scales, coefficients = jnp.split(blocks, [1, 1 + channels, 1 + 2 * channels], axis=-2)
        log_scales = clip_straight_through(log_scales, -LOG_SCALE_BOUND, LOG_SCALE_BOUND)
        return weights[..., 0, :], locations, log_scales, jnp.tanh(coefficients)


def log_mass(logits: Array, x: Array, axis: int) -> Array:
    """Return the log-mass of integers x in nats, summed over all axes but the first, shape (B,).

    Args:
      logits: logits, shape (B, ...) with L values along the additional axis ``axis``.
      x: integers 0 … L − 1, shape (B, ...).
      axis: axis of the L values.
    """
    is_value = jnp.expand_dims(x, axis) == jax.lax.broadcasted_iota(x.dtype, logits.shape, axis)
    return sum_except_batch(jnp.where(is_value, jax.nn.log_softmax(logits, axis=axis), 0.0))
