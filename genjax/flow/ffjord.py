"""FFJORD: a continuous flow with an unbiased estimate of its log-density.

Data flow along a velocity field v, an unrestricted network, to Gaussian noise z = x(1), and

    log p(x) = log N(z; 0, I) + ∫_0^1 tr ∂v/∂x dt ≈ log N(z; 0, I) + ∫_0^1 εᵀ (∂v/∂x) ε dt,                        (1)

with one direction ε, E[ε εᵀ] = I, for the whole trajectory of an example. The estimate is unbiased, its cost does not
depend on the dimension, and with ε fixed the equation is smooth enough for a solver of high order. The loss may favour
straight and smooth trajectories, which take fewer steps:

    −log p(x) + λ_K ∫_0^1 ‖v‖² dt + λ_J ∫_0^1 ‖∂v/∂x‖²_F dt.                                                      (2)

Will Grathwohl, Ricky Chen, Jesse Bettencourt, Ilya Sutskever and David Duvenaud, 2019, arXiv:1810.01367. Equation 2:
Chris Finlay, Jörn-Henrik Jacobsen, Levon Nurbekyan and Adam Oberman, 2020, arXiv:2002.02798.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, final

import jax
import jax.numpy as jnp

from genjax.arguments import ExampleShape, NonNegativeFloat, NumClasses, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.flow.continuous import Continuous, Solution
from genjax.flow.coupling import check_template
from genjax.flow.flow import Normal
from genjax.ops import (
    Solver,
    check_examples,
    label_of,
    mean_log_weight,
    one_hot_label,
    sum_except_batch,
)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class FFJORD:
    """A continuous flow with a standard normal base: Grathwohl et al. (2019).

    Attributes:
      shape: shape of one example, without the batch axis.
      net: network of ``Continuous``, with smooth activations such as tanh or softplus.
      trace: "hutchinson" for the estimate in training, "exact" for as many passes of the network as an example has
        elements.
      noise: distribution of ε. "rademacher", ±1, has the smallest variance, which is 0 if ∂v/∂x is diagonal.
      solver: solver of the differential equation, with tolerances, maximum number of steps and adjoint.
      kinetic_weight: weight λ_K of equation 2, in nats per example.
      jacobian_weight: weight λ_J of equation 2, in nats per example.
      num_classes: number of classes, or None for an unconditional model. The network takes the one-hot label beside the
        time, and batches contain ``"label"``, int32 (B,).

    >>> from genjax import flow, nets
    >>> model = flow.FFJORD(shape=(2,), net=nets.MLP((16,), activation=jnp.tanh))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
    >>> x, log_prob = model.sample_and_log_prob_estimate(variables, jax.random.key(1), 7)
    >>> x.shape, log_prob.shape
    ((7, 2), (7,))
    """

    shape: ExampleShape
    net: Any
    trace: Literal["hutchinson", "exact"] = "hutchinson"
    noise: Literal["rademacher", "gaussian"] = "rademacher"
    solver: Solver = field(default_factory=Solver)
    kinetic_weight: NonNegativeFloat = 0.0
    jacobian_weight: NonNegativeFloat = 0.0
    num_classes: NumClasses | None = None
    discrete = False  # log p(x) is a log-density

    def __post_init__(self) -> None:
        check_template(self.net)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape, are integers or not finite, or the network does not fit them.
        """
        x = check_examples(batch["x"], self.shape)
        condition = self._condition(label_of(batch, self.num_classes), x.shape[0])
        return Variables({"velocity": self._flow.init(key, x, condition).params}, {})

    def objectives(self) -> tuple[Objective, ...]:
        """Return equation 2 as the only objective."""
        return (Objective(name="likelihood", wrt=("velocity",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 2, in nats per example, averaged over the batch, with one direction for each example.

        Metrics are ``log_prob``, ``base`` and ``log_det``, where log_prob = base + log_det, the unweighted integrals
        ``kinetic`` and ``jacobian`` of equation 2, and ``num_steps`` of the solver. If the solver runs out of steps,
        they are NaN and gradients are 0.
        """
        del step
        x = check_examples(batch["x"], self.shape)
        condition = self._condition(label_of(batch, self.num_classes), x.shape[0])
        solution = self._integrate(Variables(params, state), x, condition, trace=self._trace(key[None], x))
        metrics = {
            "base": jnp.mean(_base_log_prob(solution.x)),
            "log_det": jnp.mean(solution.log_det),
            "kinetic": jnp.mean(solution.kinetic),
            "jacobian": jnp.mean(solution.jacobian),
            "num_steps": solution.num_steps.astype(jnp.float32),
        }
        metrics["log_prob"] = metrics["base"] + metrics["log_det"]
        penalty = self.kinetic_weight * metrics["kinetic"] + self.jacobian_weight * metrics["jacobian"]
        return penalty - metrics["log_prob"], (state, metrics)  # equation 2

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        chunk_size: PositiveInt = 16,
    ) -> Array:
        """Return an estimate of log p(x), in nats, (B,): equation 1 averaged over directions.

        It is unbiased up to the tolerance of the solver, with a variance inversely proportional to ``num_samples``, the
        number of directions per example. The trace is exact with ``trace="exact"``, or if an example has at most
        ``num_samples`` elements; then ``key``, ``num_samples`` and ``chunk_size`` have no effect.
        """
        x, condition = check_examples(x, self.shape), self._condition(label, x.shape[0])

        def log_probs(trace: Literal["exact"] | Array) -> Array:
            solution = self._integrate(variables, x, condition, trace=trace)
            return _base_log_prob(solution.x)[None] + solution.log_det.T

        if self.trace == "exact" or x[0].size <= num_samples:
            return log_probs("exact")[0]
        return mean_log_weight(lambda keys: log_probs(self._trace(keys, x)), key, num_samples, chunk_size)

    def sample(
        self, variables: Variables, key: Array, num_samples: PositiveInt, *, label: Array | int | None = None
    ) -> Array:
        """Draw samples (N, *shape)."""
        return self.decode(variables, Normal().sample(key, (num_samples, *self.shape)), label=label)

    def sample_and_log_prob_estimate(
        self, variables: Variables, key: Array, num_samples: PositiveInt, *, label: Array | int | None = None
    ) -> tuple[Array, Array]:
        """Draw samples (N, *shape) and estimate their log p(x), (N,), in the same pass, with one direction each."""
        noise_key, trace_key = jax.random.split(key)
        noise = Normal().sample(noise_key, (num_samples, *self.shape))
        condition, trace = self._condition(label, num_samples), self._trace(trace_key[None], noise)
        solution = self._integrate(variables, noise, condition, backwards=True, trace=trace)
        return solution.x, _base_log_prob(noise) - solution.log_det[:, 0]

    def encode(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Return the noise to which data flow, (B, *shape)."""
        return self._integrate(variables, check_examples(x, self.shape), self._condition(label, x.shape[0])).x

    def decode(self, variables: Variables, latent: Array, *, label: Array | int | None = None) -> Array:
        """Return the data that flow to the noise (B, *shape)."""
        noise = check_examples(latent, self.shape)
        return self._integrate(variables, noise, self._condition(label, noise.shape[0]), backwards=True).x

    @property
    def _flow(self) -> Continuous:
        return Continuous(net=self.net, solver=self.solver)

    def _integrate(self, variables: Variables, x: Array, condition: Array | None, **options: Any) -> Solution:
        return self._flow.integrate(variables.params["velocity"], x, condition, **options)

    def _trace(self, keys: Array, x: Array) -> Literal["exact"] | Array:
        """Return directions ε (S, B, *shape), one for each key and example, or "exact"."""
        if self.trace == "exact":
            return "exact"
        draw = jax.random.rademacher if self.noise == "rademacher" else jax.random.normal
        return jax.vmap(lambda key: draw(key, x.shape, x.dtype))(keys)

    def _condition(self, label: Array | int | None, num_rows: int) -> Array | None:
        return one_hot_label(label, self.num_classes, num_rows)


def _base_log_prob(z: Array) -> Array:
    return sum_except_batch(Normal().log_prob(z))
