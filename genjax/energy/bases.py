"""Base densities p₀, which an energy reweights, and whose samples are the noise that chains start from.

The variables of a base stay fixed while the energy is trained. Besides samples and a normalized density, a base may
have a quadrature rule, with points xᵢ and weights wᵢ,

    ∫ f(x) p₀(x) dx ≈ Σᵢ wᵢ f(xᵢ),                                                                                (1)

so that Z = ∫ exp(−E(x)) p₀(x) dx is a sum: over a grid in one or two dimensions, or over all states of at most 20 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import ExampleShape, PositiveFloat, check_arguments
from genjax.capabilities import conditions
from genjax.core import Array, Batch, GenerativeModel, PyTree
from genjax.ops import at_least_float32, check_example_shape, check_examples, check_values, sum_except_batch
from genjax.ops.gaussians import gaussian_log_prob

MAX_GRID_DIMENSIONS = 2
MAX_ENUMERATED_BITS = 20
MAX_DEVIATIONS = 8.0  # half width of Gaussian grids, in standard deviations; the mass outside is below 1e-14


class Quadrature(NamedTuple):
    """Quadrature rule of equation 1: ``points``, (M, *shape), and ``log_weights``, (M,)."""

    points: Array
    log_weights: Array


@runtime_checkable
class Base(Protocol):
    """A normalized density of the data, which an energy reweights."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        ...

    @property
    def discrete(self) -> bool:
        """Whether data are binary."""
        ...

    @property
    def can_integrate(self) -> bool:
        """Whether ``quadrature`` is available: in at most 2 dimensions, or for at most 20 bits."""
        ...

    def init(self, key: Array, batch: Batch) -> PyTree:
        """Return the variables for data like ``batch["x"]``."""
        ...

    def check(self, x: Array) -> Array:
        """Return data (B, *shape) in float32 or wider; raise ValueError if they lie outside the support."""
        ...

    def fold(self, x: Array) -> Array:
        """Map positions of chains, which may leave the support, back into it."""
        ...

    def sample(self, variables: PyTree, key: Array, num_samples: int) -> Array:
        """Draw samples, (N, *shape)."""
        ...

    def log_prob(self, variables: PyTree, x: Array) -> Array:
        """Return log p₀(x), nats, (B,)."""
        ...

    def quadrature(self, variables: PyTree, num_nodes: int) -> Quadrature:
        """Return the rule of equation 1, with ``num_nodes`` nodes along each axis."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class Gaussian:
    """Gaussian base, N(mean, std² I).

    Attributes:
      shape: shape of one example.
      mean: mean of every entry.
      std: standard deviation of every entry, wide enough to cover the data.
    """

    shape: ExampleShape
    mean: float = 0.0
    std: PositiveFloat = 1.0
    discrete = False

    @property
    def can_integrate(self) -> bool:
        """See ``Base``."""
        return math.prod(self.shape) <= MAX_GRID_DIMENSIONS

    def init(self, key: Array, batch: Batch) -> PyTree:
        """See ``Base``."""
        del key, batch
        return {}

    def check(self, x: Array) -> Array:
        """See ``Base``."""
        return check_examples(x, self.shape)

    def fold(self, x: Array) -> Array:
        """See ``Base``; the support is the whole space."""
        return x

    def sample(self, variables: PyTree, key: Array, num_samples: int) -> Array:
        """See ``Base``."""
        del variables
        return self.mean + self.std * jax.random.normal(key, (num_samples, *self.shape))

    def log_prob(self, variables: PyTree, x: Array) -> Array:
        """See ``Base``."""
        del variables
        z = (x - self.mean) / self.std
        return sum_except_batch(gaussian_log_prob(z)) - math.prod(self.shape) * math.log(self.std)

    def quadrature(self, variables: PyTree, num_nodes: int) -> Quadrature:
        """See ``Base``."""
        del variables
        z, log_weights = _normal_grid(self.shape, num_nodes)
        return Quadrature(self.mean + self.std * z, log_weights)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Uniform density on a box, at whose faces chains are reflected.

    Attributes:
      shape: shape of one example.
      low: lower limit of every entry.
      high: upper limit of every entry, above ``low``.
    """

    shape: ExampleShape
    low: float
    high: float
    discrete = False

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise ValueError(f"high is {self.high}, but must be above low={self.low}; raise high")

    @property
    def can_integrate(self) -> bool:
        """See ``Base``."""
        return math.prod(self.shape) <= MAX_GRID_DIMENSIONS

    def init(self, key: Array, batch: Batch) -> PyTree:
        """See ``Base``."""
        del key, batch
        return {}

    def check(self, x: Array) -> Array:
        """See ``Base``."""
        x = check_examples(x, self.shape)
        cure = f"the base is uniform on [{self.low:g}, {self.high:g}]; scale the data, or widen low and high"
        check_values(x, lambda x: (x < self.low) | (x > self.high), cure)
        return x

    def fold(self, x: Array) -> Array:
        """See ``Base``; positions are reflected at the faces of the box, as often as necessary."""
        width = self.high - self.low
        phase = jnp.mod(x - self.low, 2 * width)
        return self.low + jnp.where(phase > width, 2 * width - phase, phase)

    def sample(self, variables: PyTree, key: Array, num_samples: int) -> Array:
        """See ``Base``."""
        del variables
        return jax.random.uniform(key, (num_samples, *self.shape), minval=self.low, maxval=self.high)

    def log_prob(self, variables: PyTree, x: Array) -> Array:
        """See ``Base``; −∞ outside the box."""
        del variables
        inside = jnp.all(((x >= self.low) & (x <= self.high)).reshape(x.shape[0], -1), axis=1)
        return jnp.where(inside, -math.prod(self.shape) * math.log(self.high - self.low), -jnp.inf).astype(x.dtype)

    def quadrature(self, variables: PyTree, num_nodes: int) -> Quadrature:
        """See ``Base``, by the midpoint rule."""
        del variables
        line = self.low + (self.high - self.low) * (np.arange(num_nodes) + 0.5) / num_nodes
        weights = np.full(num_nodes, -math.log(num_nodes))
        return _product(self.shape, line, weights)


@final
@check_arguments
@dataclass(frozen=True)
class Bernoulli:
    """Independent bits, whose probabilities are the frequencies in the batch of ``init``, clipped to [0.05, 0.95].

    Attributes:
      shape: shape of one example.
    """

    shape: ExampleShape
    discrete = True

    @property
    def can_integrate(self) -> bool:
        """See ``Base``."""
        return math.prod(self.shape) <= MAX_ENUMERATED_BITS

    def init(self, key: Array, batch: Batch) -> PyTree:
        """See ``Base``; the variables are the ``logits``, (*shape)."""
        del key
        frequency = jnp.clip(jnp.mean(self.check(batch["x"]), axis=0), 0.05, 0.95)
        return {"logits": jnp.log(frequency) - jnp.log1p(-frequency)}

    def check(self, x: Array) -> Array:
        """See ``Base``."""
        check_example_shape(x, self.shape)
        check_values(x, lambda x: (x != 0) & (x != 1), "this base is of bits, 0 or 1; binarize the data")
        return at_least_float32(x)

    def fold(self, x: Array) -> Array:
        """See ``Base``; flips never leave the support."""
        return x

    def sample(self, variables: PyTree, key: Array, num_samples: int) -> Array:
        """See ``Base``."""
        probabilities = jax.nn.sigmoid(variables["logits"])[None]
        return jax.random.bernoulli(key, probabilities, (num_samples, *self.shape)).astype(jnp.float32)

    def log_prob(self, variables: PyTree, x: Array) -> Array:
        """See ``Base``."""
        logits = variables["logits"][None]
        return sum_except_batch(x * logits - jax.nn.softplus(logits))

    def quadrature(self, variables: PyTree, num_nodes: int) -> Quadrature:
        """See ``Base``; the points are all states."""
        del num_nodes
        size = math.prod(self.shape)
        states = (jnp.arange(2**size)[:, None] >> jnp.arange(size)[None]) & 1
        points = states.astype(jnp.float32).reshape(-1, *self.shape)
        return Quadrature(points, self.log_prob(variables, points))


@runtime_checkable
class NormalizedModel(GenerativeModel, Protocol):
    """A generative model of real numbers with an exact density, such as a flow."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        ...

    def log_prob(self, variables: Any, x: Array) -> Array:
        """Return log p(x), nats, (B,)."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class Pretrained:
    """Trained model as the base, such as a flow; ``EnergyModel.with_base`` sets its trained variables.

    The quadrature maps a grid of standard normal noise through the ``decode`` of the model, which must be a flow.

    Attributes:
      model: unconditional model with an exact density.
    """

    model: NormalizedModel
    discrete = False

    def __post_init__(self) -> None:
        if conditions(self.model):
            raise ValueError(
                f"model is a {type(self.model).__name__} with conditions {[c.name for c in conditions(self.model)]}, "
                "but a base must be unconditional; train one without"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.model.shape

    @property
    def can_integrate(self) -> bool:
        """See ``Base``."""
        return math.prod(self.shape) <= MAX_GRID_DIMENSIONS and hasattr(self.model, "decode")

    def init(self, key: Array, batch: Batch) -> PyTree:
        """See ``Base``."""
        return self.model.init(key, batch)

    def check(self, x: Array) -> Array:
        """See ``Base``."""
        return check_examples(x, self.shape)

    def fold(self, x: Array) -> Array:
        """See ``Base``."""
        return x

    def sample(self, variables: PyTree, key: Array, num_samples: int) -> Array:
        """See ``Base``."""
        return self.model.sample(variables, key, num_samples)

    def log_prob(self, variables: PyTree, x: Array) -> Array:
        """See ``Base``."""
        return self.model.log_prob(variables, x)

    def quadrature(self, variables: PyTree, num_nodes: int) -> Quadrature:
        """See ``Base``."""
        noise, log_weights = _normal_grid(self.shape, num_nodes)
        decode: Callable[[PyTree, Array], Array] = cast(Any, self.model).decode
        return Quadrature(decode(variables, noise), log_weights)


def _normal_grid(shape: tuple[int, ...], num_nodes: int) -> Quadrature:
    """Return the trapezoidal rule for N(0, I), whose error falls faster than any power of the spacing."""
    line = np.linspace(-MAX_DEVIATIONS, MAX_DEVIATIONS, num_nodes)
    log_weights = -0.5 * np.square(line)
    log_weights -= np.log(np.exp(log_weights).sum())
    return _product(shape, line, log_weights)


def _product(shape: tuple[int, ...], line: np.ndarray, log_weights: np.ndarray) -> Quadrature:
    """Return the product rule with the same nodes and weights along each axis."""
    size = math.prod(shape)
    axes = np.meshgrid(*[line] * size, indexing="ij")
    weights = np.meshgrid(*[log_weights] * size, indexing="ij")
    points = np.stack(axes, axis=-1).reshape(-1, *shape)
    return Quadrature(jnp.asarray(points, jnp.float32), jnp.asarray(np.sum(weights, axis=0).reshape(-1), jnp.float32))
