"""Likelihoods p(x | outputs) for networks that end in a linear layer.

A network has ``num_outputs`` output channels per channel of the data, in blocks along the last axis. The dimensions of
x are independent:

    Bernoulli             x ∈ {0, 1}         p(x) = σ(l)^x σ(−l)^(1−x)
    Gaussian              x ∈ ℝ              p(x) = N(x; m, e^{2s})
    discretized logistic  x = k / (K − 1)    p(k) = σ((k + ½ − m') / s') − σ((k − ½ − m') / s')

where the lowest and highest level of the discretized logistic take all the mass beyond them (Kingma et al. 2016,
arXiv:1606.04934; Salimans et al. 2017, arXiv:1701.05517). All are computed in float32 or wider, whatever the precision
of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Ge, Interval

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.ops.arrays import at_least_float32, sum_except_batch
from genjax.ops.gaussians import gaussian_log_prob
from genjax.ops.straight_through import clip_straight_through

# exp(±2 · 20) and its products with data are far from the limits of float32.
LOG_SCALE_BOUND = 20.0
LogScale = Annotated[float, Interval(ge=-20, le=20), Cure("; rescale the data, or use None to learn it")]
Levels = Annotated[int, Ge(2), Cure("; use 256 for 8-bit images")]


@runtime_checkable
class Likelihood(Protocol):
    """A distribution over data of shape (B, ..., C), from outputs of shape (B, ..., C * num_outputs)."""

    @property
    def num_outputs(self) -> int:
        """Number of output channels per channel of the data."""
        ...

    @property
    def discrete(self) -> bool:
        """Whether ``log_prob`` is a log-mass of discrete values rather than a log-density."""
        ...

    def log_prob(self, outputs: Array, x: Array, mask: Array | None = None) -> Array:
        """Return the log-likelihood in nats, summed over all axes but the first, shape (B,).

        A mask, bool in the shape of x, is True where values count; None counts all.
        """
        ...

    def mean(self, outputs: Array) -> Array:
        """Return the expectation of x, shape (B, ..., C)."""
        ...

    def sample(self, key: Array, outputs: Array) -> Array:
        """Draw x, shape (B, ..., C)."""
        ...


@runtime_checkable
class HasSupport(Protocol):
    """A likelihood of data in an interval."""

    @property
    def support(self) -> tuple[float, float]:
        """Lowest and highest value of x."""
        ...


@runtime_checkable
class HasLevels(Protocol):
    """A likelihood of data with a number of evenly spaced values."""

    @property
    def levels(self) -> int:
        """Number of values of x."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class Bernoulli:
    """Binary data from logits.

    For x strictly between 0 and 1, ``log_prob`` is the negative cross-entropy, which is not a normalized likelihood;
    binarize such data first.

    >>> Bernoulli().log_prob(jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]])).tolist()  # 2 log ½
    [-1.3862943649291992]
    """

    num_outputs = 1  # the logit
    discrete = True
    support = (0.0, 1.0)

    def log_prob(self, outputs: Array, x: Array, mask: Array | None = None) -> Array:
        """See ``Likelihood``."""
        logits = at_least_float32(outputs)
        return _sum(x * logits - jax.nn.softplus(logits), mask)

    def mean(self, outputs: Array) -> Array:
        """Return the probability of 1."""
        return jax.nn.sigmoid(at_least_float32(outputs))

    def sample(self, key: Array, outputs: Array) -> Array:
        """Draw zeros and ones, in floating point."""
        mean = self.mean(outputs)
        return jax.random.bernoulli(key, mean).astype(mean.dtype)


@final
@check_arguments
@dataclass(frozen=True)
class Gaussian:
    """Real data from a mean and a log standard deviation.

    Attributes:
      log_scale: log standard deviation of all dimensions. None for one per dimension from the network, in a second
        block of channels, clipped to [-20, 20].

    >>> Gaussian(log_scale=0.0).log_prob(jnp.zeros((1, 1)), jnp.ones((1, 1))).tolist()  # −½ log 2π − ½
    [-1.4189385175704956]
    """

    log_scale: LogScale | None = None
    discrete = False

    @property
    def num_outputs(self) -> int:
        """The mean and, unless it is fixed, the log-scale: 2 or 1."""
        return 2 if self.log_scale is None else 1

    def _parameters(self, outputs: Array) -> tuple[Array, Array]:
        if self.log_scale is None:
            return _location_and_log_scale(outputs)
        mean = at_least_float32(outputs)
        return mean, jnp.full_like(mean, self.log_scale)

    def log_prob(self, outputs: Array, x: Array, mask: Array | None = None) -> Array:
        """See ``Likelihood``."""
        mean, log_scale = self._parameters(outputs)
        return _sum(gaussian_log_prob(x, mean, 2.0 * log_scale), mask)

    def mean(self, outputs: Array) -> Array:
        """Return the mean."""
        return self._parameters(outputs)[0]

    def sample(self, key: Array, outputs: Array) -> Array:
        """See ``Likelihood``."""
        mean, log_scale = self._parameters(outputs)
        return mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape, mean.dtype)


@final
@check_arguments
@dataclass(frozen=True)
class DiscretizedLogistic:
    """Data on equally spaced levels 0, 1/(levels-1), …, 1, from a location and a log-scale in these units.

    The log-scale is clipped to [-20, 20]. Values between two levels are rounded to the nearest.

    Attributes:
      levels: number of levels K, 256 for 8-bit images.
    """

    levels: Levels = 256
    num_outputs = 2  # location and log-scale
    discrete = True
    support = (0.0, 1.0)

    def _parameters(self, outputs: Array) -> tuple[Array, Array]:
        """Return location and inverse scale in units of one level, in which the edges k ± ½ are exact."""
        location, log_scale = _location_and_log_scale(outputs)
        return location * (self.levels - 1), jnp.exp(-log_scale) / (self.levels - 1)

    def log_prob(self, outputs: Array, x: Array, mask: Array | None = None) -> Array:
        """See ``Likelihood``."""
        location, inverse_scale = self._parameters(outputs)
        k = jnp.clip(jnp.round(x * (self.levels - 1)), 0, self.levels - 1)
        return _sum(discretized_logistic(k, location, inverse_scale, self.levels), mask)

    def mean(self, outputs: Array) -> Array:
        """Return the expectation of the discrete variable, in [0, 1]."""
        location, inverse_scale = self._parameters(outputs)

        def add(level: Array, total: Array) -> Array:
            return total + jax.nn.sigmoid((location + 0.5 - level) * inverse_scale)  # P(k ≥ level)

        total = jax.lax.fori_loop(1, self.levels, add, jnp.zeros_like(location))
        return total / (self.levels - 1)

    def sample(self, key: Array, outputs: Array) -> Array:
        """Draw values on the grid of levels."""
        location, inverse_scale = self._parameters(outputs)
        noise = jax.random.logistic(key, location.shape, location.dtype)
        return jnp.clip(jnp.round(location + noise / inverse_scale), 0, self.levels - 1) / (self.levels - 1)


def _sum(log_probs: Array, mask: Array | None) -> Array:
    """Return the sum over all axes but the first of the values that count."""
    return sum_except_batch(log_probs if mask is None else jnp.where(mask, log_probs, 0.0))


def discretized_logistic(k: Array, location: Array, inverse_scale: Array, levels: int) -> Array:
    """Return the log-mass of k in 0 … levels − 1; location and inverse scale, in units of one level, broadcast."""
    above = (k + 0.5 - location) * inverse_scale
    below = (k - 0.5 - location) * inverse_scale
    # σ(b) − σ(a) = σ(b) σ(−a) (1 − e^{a−b}): three factors without cancellation.
    first, last = k == 0, k == levels - 1
    log_above = jnp.where(last, 0.0, jax.nn.log_sigmoid(above))
    log_below = jnp.where(first, 0.0, jax.nn.log_sigmoid(-below))
    log_width = jnp.where(first | last, 0.0, jnp.log(-jnp.expm1(-inverse_scale)))
    return log_above + log_below + log_width


def _location_and_log_scale(outputs: Array) -> tuple[Array, Array]:
    location, log_scale = jnp.split(at_least_float32(outputs), 2, axis=-1)
    return location, clip_straight_through(log_scale, -LOG_SCALE_BOUND, LOG_SCALE_BOUND)
