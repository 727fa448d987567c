"""FFJORD: a continuous flow whose log-density is estimated without bias.

Data flow along a velocity field v, a network without restrictions, to Gaussian noise, z = x(1), and

    log p(x) = log N(z; 0, I) + ∫_0^1 tr ∂v/∂x dt ≈ log N(z; 0, I) + ∫_0^1 εᵀ (∂v/∂x) ε dt,                        (1)

with one direction ε, E[ε εᵀ] = I, for the whole way of an example: the estimate is unbiased, its cost is independent of
the dimension, and the equation is one that a solver of high order can solve. The loss may ask for straight and smooth
ways, which take fewer steps:

    −log p(x) + λ_K ∫_0^1 ‖v‖² dt + λ_J ∫_0^1 ‖∂v/∂x‖²_F dt.                                                      (2)

Will Grathwohl, Ricky Chen, Jesse Bettencourt, Ilya Sutskever and David Duvenaud, 2019, arXiv:1810.01367. Equation 2:
Chris Finlay, Jörn-Henrik Jacobsen, Levon Nurbekyan and Adam Oberman, 2020, arXiv:2002.02798.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, final

import jax
import jax.numpy as jnp

from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.flow.continuous import Journey, VelocityField
from genjax.flow.coupling import check_template
from genjax.flow.flow import Normal
from genjax.ops import (
    Solver,
    check_at_least,
    check_choice,
    check_examples,
    check_num_classes,
    check_shape,
    label_of,
    mean_log_weight,
    one_hot_label,
    sum_except_batch,
)


@final
@dataclass(frozen=True, kw_only=True)
class FFJORD:
    """Continuous flow with a standard normal base.

    Attributes:
      shape: of one example, without the batch axis.
      net: the velocity, see ``VelocityField``; smooth activations such as tanh and softplus.
      trace: "hutchinson" estimates it, "exact" takes the network as many times as an example has elements.
      noise: law of ε. "rademacher", ±1, has the least variance, and none where ∂v/∂x is diagonal.
      solver: tolerances, steps and the adjoint.
      kinetic_weight: λ_K of equation 2, in nats per example.
      jacobian_weight: λ_J of equation 2.
      num_classes: None, or the number of labels. The one-hot label then joins the time as the network's condition, and
        batches have ``"label"``, int32 (B,).

    >>> from genjax import nets
    >>> model = FFJORD(shape=(2,), net=nets.MLP((16,), activation=jnp.tanh))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
    >>> x, log_prob = model.sample_and_log_prob_estimate(variables, jax.random.key(1), 7)
    >>> x.shape, log_prob.shape
    ((7, 2), (7,))
    """

    shape: tuple[int, ...]
    net: Any
    trace: Literal["hutchinson", "exact"] = "hutchinson"
    noise: Literal["rademacher", "gaussian"] = "rademacher"
    solver: Solver = field(default_factory=Solver)
    kinetic_weight: float = 0.0
    jacobian_weight: float = 0.0
    num_classes: int | None = None

    def __post_init__(self) -> None:
        check_shape(self.shape)
        check_choice("trace", self.trace, ("hutchinson", "exact"))
        check_choice("noise", self.noise, ("rademacher", "gaussian"))
        check_template(self.net)
        check_at_least("kinetic_weight", self.kinetic_weight, 0)
        check_at_least("jacobian_weight", self.jacobian_weight, 0)
        check_num_classes(self.num_classes)

    @property
    def discrete(self) -> bool:
        """False: log p(x) is a log-density."""
        return False

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the model is conditioned on: the label, where it has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``.

        Raises:
          ValueError: for data of another shape, integers or NaN, or a network that does not fit them.
        """
        x = check_examples(batch["x"], self.shape)
        context = self._context(label_of(batch, self.num_classes), len(x))
        return Variables({"velocity": self._velocity.init(key, x, context)}, {})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="likelihood", wrt=("velocity",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Equation 2, in nats per example, averaged over the batch; one direction for each example.

        Returns:
          The scalar, and the state as it was with metrics ``log_prob``, ``base`` and ``log_det``, where
          log_prob = base + log_det, the integrals ``kinetic`` and ``jacobian`` of equation 2 without their weights, and
          ``num_steps`` that the solver took. Where it ran out of steps, they are NaN and gradients zero.
        """
        del step
        x = check_examples(batch["x"], self.shape)
        context = self._context(label_of(batch, self.num_classes), len(x))
        journey = self._travel(Variables(params, state), x, context, trace=self._trace(key[None], x))
        metrics = {
            "base": jnp.mean(_base_log_prob(journey.x)),
            "log_det": jnp.mean(journey.log_det),
            "kinetic": jnp.mean(journey.kinetic),
            "jacobian": jnp.mean(journey.jacobian),
            "num_steps": journey.num_steps.astype(jnp.float32),
        }
        metrics["log_prob"] = metrics["base"] + metrics["log_det"]
        penalty = self.kinetic_weight * metrics["kinetic"] + self.jacobian_weight * metrics["jacobian"]
        return penalty - metrics["log_prob"], (state, metrics)  # equation 2

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        chunk_size: int = 16,
    ) -> Array:
        """Estimate of log p(x) to the solver's tolerance, nats, (B,): equation 1 averaged over directions.

        Unbiased but for that tolerance. The exact trace has no directions: it ignores ``key`` and both counts.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          x: (B, *shape).
          num_samples: directions for each example; the variance falls as one over it.
          label: class of all examples, or int32 (B,) for each; only for conditional models.
          chunk_size: directions at once; memory grows with it.
        """
        x, context = check_examples(x, self.shape), self._context(label, len(x))

        def log_probs(keys: Array) -> Array:
            journey = self._travel(variables, x, context, trace=self._trace(keys, x))
            return _base_log_prob(journey.x)[None] + journey.log_det.T

        return (
            log_probs(key[None])[0]
            if self.trace == "exact"
            else mean_log_weight(log_probs, key, num_samples, chunk_size)
        )

    def sample(self, variables: Variables, key: Array, num_samples: int, *, label: Array | int | None = None) -> Array:
        """Draw samples (N, *shape); ``label`` is a class for all of them, or int32 (N,) for each."""
        check_at_least("num_samples", num_samples, 1)
        return self.decode(variables, Normal().sample(key, (num_samples, *self.shape)), label=label)

    def sample_and_log_prob_estimate(
        self, variables: Variables, key: Array, num_samples: int, *, label: Array | int | None = None
    ) -> tuple[Array, Array]:
        """Draw samples (N, *shape) and estimate their log p(x), (N,), on the same way, by one direction for each."""
        check_at_least("num_samples", num_samples, 1)
        noise_key, trace_key = jax.random.split(key)
        noise = Normal().sample(noise_key, (num_samples, *self.shape))
        context, trace = self._context(label, num_samples), self._trace(trace_key[None], noise)
        journey = self._travel(variables, noise, context, backwards=True, trace=trace)
        return journey.x, _base_log_prob(noise) - journey.log_det[:, 0]

    def encode(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Noise that data flow to, (B, *shape)."""
        return self._travel(variables, check_examples(x, self.shape), self._context(label, len(x))).x

    def decode(self, variables: Variables, latent: Array, *, label: Array | int | None = None) -> Array:
        """Data of noise (B, *shape)."""
        noise = check_examples(latent, self.shape)
        return self._travel(variables, noise, self._context(label, len(noise)), backwards=True).x

    @property
    def _velocity(self) -> VelocityField:
        return VelocityField(net=self.net, solver=self.solver)

    def _travel(self, variables: Variables, x: Array, context: Array | None, **options: Any) -> Journey:
        return self._velocity.travel(variables.params["velocity"], x, context, **options)

    def _trace(self, keys: Array, x: Array) -> Literal["exact"] | Array:
        """What ``travel`` takes: directions ε (S, B, *shape), one for each key and example, or none."""
        if self.trace == "exact":
            return "exact"
        draw = jax.random.rademacher if self.noise == "rademacher" else jax.random.normal
        return jax.vmap(lambda key: draw(key, x.shape, x.dtype))(keys)

    def _context(self, label: Array | int | None, num_rows: int) -> Array | None:
        return one_hot_label(label, self.num_classes, num_rows)


def _base_log_prob(z: Array) -> Array:
    return sum_except_batch(Normal().log_prob(z))
