"""The normalizing flow: a bijection between data and noise.

With a bijection f from data to noise and a base density p_Z, the change of variables gives

    log p(x) = log p_Z(f(x)) + log |det ∂f/∂x|,                                                                  (1)

an exact, normalized log-density, which training maximizes. Samples are x = f⁻¹(z) with z ~ p_Z, and the same pass gives
their density: log p(x) = log p_Z(z) − log |det ∂f⁻¹/∂z|.

With labels y, f depends on y, and p(x | y) is a density for each class. By Bayes' rule it also classifies:
p(y | x) ∝ p(x | y) p(y).

Danilo Rezende and Shakir Mohamed, 2015, arXiv:1505.05770; Laurent Dinh, David Krueger and Yoshua Bengio, 2015,
arXiv:1410.8516.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.arguments import ExampleShape, NonNegativeFloat, NumClasses, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.flow.bijection import Bijection, child_variables, collect_variables
from genjax.ops import (
    at_least_float32,
    check_examples,
    gaussian_log_prob,
    label_of,
    one_hot_label,
    sum_except_batch,
)


@runtime_checkable
class Base(Protocol):
    """A base density, independent and identical for every element."""

    def sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Draw noise, float32."""
        ...

    def log_prob(self, z: Array) -> Array:
        """Return the log-density of each element, in nats."""
        ...


@final
@dataclass(frozen=True)
class Normal:
    """The standard normal distribution, N(0, 1)."""

    def sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See ``Base``."""
        return jax.random.normal(key, shape)

    def log_prob(self, z: Array) -> Array:
        """See ``Base``."""
        return gaussian_log_prob(z)


@final
@dataclass(frozen=True)
class Logistic:
    """The standard logistic distribution, p(z) = σ(z) σ(−z), with variance π²/3."""

    def sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See ``Base``."""
        return jax.random.logistic(key, shape)

    def log_prob(self, z: Array) -> Array:
        """See ``Base``."""
        return jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Flow:
    """A normalizing flow: Rezende & Mohamed (2015).

    Attributes:
      shape: shape of one example, without the batch axis.
      bijection: bijection f from data to noise.
      base: base density p_Z.
      num_classes: number of classes, or None for an unconditional model. The one-hot label (B, num_classes) is the
        condition of the bijection, and batches contain ``"label"``, int32 (B,).

    >>> from genjax import flow
    >>> model = flow.Flow(shape=(2,), bijection=flow.ActNorm())
    >>> variables = model.init(jax.random.key(0), {"x": jnp.array([[-1.0, 0.0], [1.0, 4.0]])})
    >>> x, log_prob = model.sample_and_log_prob(variables, jax.random.key(1), 7)
    >>> x.shape, log_prob.shape
    ((7, 2), (7,))
    """

    shape: ExampleShape
    bijection: Bijection
    base: Base = field(default_factory=Normal)
    num_classes: NumClasses | None = None
    discrete = False  # log p(x) is a log-density

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``; some layers are initialized from its statistics.

        Raises:
          ValueError: if the data have another shape, are integers, are not finite, or lie outside a bounded support.
        """
        x = check_examples(batch["x"], self.shape)
        variables = self.bijection.init(key, x, self._condition(label_of(batch, self.num_classes), x.shape[0]))
        return collect_variables({"bijection": variables})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the negative log-likelihood as the only objective."""
        return (Objective(name="likelihood", wrt=("bijection",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the negative log-density, in nats per example, averaged over the batch.

        Metrics are ``log_prob``, ``base`` and ``log_det``, where log_prob = base + log_det.
        """
        del key, step
        condition = self._condition(label_of(batch, self.num_classes), batch["x"].shape[0])
        z, log_det = self._forward(Variables(params, state), check_examples(batch["x"], self.shape), condition)
        base = jnp.mean(sum_except_batch(self.base.log_prob(z)))
        log_det = jnp.mean(log_det)
        return -(base + log_det), (state, {"log_prob": base + log_det, "base": base, "log_det": log_det})

    def log_prob(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Return the exact log p(x), in nats, (B,); −∞ outside a bounded support."""
        z, log_det = self._forward(variables, check_examples(x, self.shape), self._condition(label, x.shape[0]))
        return sum_except_batch(self.base.log_prob(z)) + log_det  # equation 1

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        temperature: NonNegativeFloat = 1.0,
    ) -> Array:
        """Draw samples (N, *shape).

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,); required by conditional models.
          temperature: scale of the noise. Below 1, samples are more typical and less diverse than those of p(x).
        """
        noise = self.base.sample(key, (num_samples, *self._noise_shape(variables)))
        return self.decode(variables, temperature * noise, label=label)

    def sample_and_log_prob(
        self, variables: Variables, key: Array, num_samples: PositiveInt, *, label: Array | int | None = None
    ) -> tuple[Array, Array]:
        """Draw samples (N, *shape) and return them with their exact log p(x), (N,), from the same pass."""
        noise = self.base.sample(key, (num_samples, *self._noise_shape(variables)))
        x, log_det = self._inverse(variables, noise, self._condition(label, num_samples))
        return x, sum_except_batch(self.base.log_prob(noise)) - log_det

    def encode(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Return the noise f(x), (B, ...), with as many elements as the data."""
        return self._forward(variables, check_examples(x, self.shape), self._condition(label, x.shape[0]))[0]

    def decode(self, variables: Variables, latent: Array, *, label: Array | int | None = None) -> Array:
        """Return the data f⁻¹(z) for noise with the shape that ``encode`` returns."""
        shape = self._noise_shape(variables)
        if latent.shape[1:] != shape:
            raise ValueError(
                f"latent has shape {latent.shape}, but the noise of this flow has shape {shape} after the batch axis"
            )
        return self._inverse(variables, at_least_float32(latent), self._condition(label, latent.shape[0]))[0]

    def _forward(self, variables: Variables, x: Array, condition: Array | None) -> tuple[Array, Array]:
        return self.bijection.forward(child_variables(variables, "bijection"), x, condition)

    def _inverse(self, variables: Variables, z: Array, condition: Array | None) -> tuple[Array, Array]:
        return self.bijection.inverse(child_variables(variables, "bijection"), z, condition)

    def _noise_shape(self, variables: Variables) -> tuple[int, ...]:
        """Shape of the noise of one example, which may differ from that of the data."""
        x = jax.ShapeDtypeStruct((1, *self.shape), jnp.float32)
        condition = None if self.num_classes is None else jax.ShapeDtypeStruct((1, self.num_classes), jnp.float32)
        return jax.eval_shape(self._forward, variables, x, condition)[0].shape[1:]

    def _condition(self, label: Array | int | None, num_rows: int) -> Array | None:
        return one_hot_label(label, self.num_classes, num_rows)
