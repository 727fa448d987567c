"""Flows for integers: uniform and variational dequantization.

Data k in {0, …, L − 1}^D index the cells of a grid on [0, 1)^D, and the mass of k is that of a flow p in its cell:

    v = (k + u) / L,  u in [0, 1)^D,        P(k) = ∫ p((k + u) / L) L^−D du.                                     (1)

For any density q(u | k) on the unit cube, Jensen's inequality bounds log P(k), and importance weights estimate P(k):

    log P(k) ≥ E_q[log w],        P(k) = E_q[w],        w = p((k + u) / L) L^−D / q(u | k).                       (2)

The uniform q(u | k) = 1 favours a density that is flat within each cell. A learned q may be as peaked as the flow; the
bound is tight if q equals p, normalized within the cell. It is a flow itself: a bijection g_k from logits of u to
logistic noise, conditioned on the image,

    ε ~ ℓ,        y = g_k⁻¹(ε),        u = σ(y),        log q(u | k) = log ℓ(ε) − log ℓ(y) − log |det ∂y/∂ε|,    (3)

because the density ℓ = σ′ of the standard logistic distribution is also the derivative of u = σ(y). All computations
use logits, so that u near 0 or 1 loses no digits. If g_k is the identity, q is uniform.

Variational: Jonathan Ho, Xi Chen, Aravind Srinivas, Yan Duan and Pieter Abbeel, "Flow++", 2019, arXiv:1902.00275.
Uniform: Lucas Theis, Aäron van den Oord and Matthias Bethge, 2016, arXiv:1511.01844. Importance weights: Emiel
Hoogeboom, Taco Cohen and Jakub Tomczak, 2020, arXiv:2001.11235.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval
from jax.core import Tracer

from genjax.arguments import Cure, NonNegativeFloat, PositiveInt, check_arguments
from genjax.capabilities import Condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.flow.bijection import Bijection, Chain, child_variables, collect_variables
from genjax.flow.flow import Flow, Logistic
from genjax.ops import check_example_shape, label_of, log_mean_weight, mean_log_weight, sum_except_batch
from genjax.ops.importance import LogWeights

FLOW, DEQUANTIZER = "flow", "dequantizer"
MAX_NUM_VALUES = 2**16  # above it float32 has too few digits left for u
NumValues = Annotated[int, Interval(ge=2, le=MAX_NUM_VALUES), Cure("; use 256 for 8-bit images")]
IntegerName = Literal["uint8", "uint16", "uint32", "int8", "int16", "int32"]
_NOISE = Logistic()


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class VariationalDequantization:
    """A flow for integers, dequantized inside the model, so that its likelihoods are masses: Ho et al. (2019).

    Batches contain integers ``x`` and need no preprocessing. The flow models data in [0, 1], and may therefore start
    with ``Logit``. Mass that it has outside [0, 1] belongs to no integer: the masses sum to 1 minus that, and samples
    there are clipped to the nearest integer.

    Attributes:
      flow: density p of v, equation 1. Labels, if any, condition this flow.
      dequantizer: bijection g_k of equation 3, whose condition is the image k, scaled to [-1, 1], with the shape of
        ``x``. It needs a fast inverse, such as that of couplings. None for uniform dequantization.
      num_values: number of values of an element, L; 256 for 8-bit images.
      dtype: dtype of ``x`` and of samples.

    >>> from genjax import flow
    >>> model = flow.VariationalDequantization(
    ...     flow=flow.Flow(shape=(2,), bijection=flow.Chain((flow.Logit(), flow.ActNorm()))), num_values=8
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.array([[0, 3], [7, 5]], jnp.uint8)})
    >>> x = model.sample(variables, jax.random.key(1), 5)
    >>> x.shape, x.dtype.name
    ((5, 2), 'uint8')
    """

    flow: Flow
    dequantizer: Bijection | None = None
    num_values: NumValues = 256
    dtype: IntegerName = "uint8"
    discrete = True  # log P(k) is a log-mass

    def __post_init__(self) -> None:
        if self.num_values - 1 > np.iinfo(self.dtype).max:
            raise ValueError(
                f"num_values is {self.num_values}, but the maximum of dtype={self.dtype!r} is "
                f"{np.iinfo(self.dtype).max}; use dtype='int32'"
            )

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the flow, or None."""
        return self.flow.num_classes

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the flow has classes."""
        return self.flow.conditions

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``; layers that use its statistics see uniform u.

        Raises:
          ValueError: if the data have another shape or dtype, or, outside compiled code, values that are out of range.
        """
        x = self._check(batch["x"])
        if x.dtype != self.dtype:
            raise ValueError(f"x has dtype {x.dtype}, but this model has dtype={self.dtype!r}; make them equal")
        noise_key, flow_key, dequantizer_key = jax.random.split(key, 3)
        logit = _NOISE.sample(noise_key, x.shape)
        parts = {FLOW: self.flow.init(flow_key, {**batch, "x": self._unit_data(x, logit)})}
        if self.dequantizer is not None:
            parts[DEQUANTIZER] = self.dequantizer.init(dequantizer_key, logit, self._image(x))
        return collect_variables(parts)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the negative bound as the only objective, over the flow and the dequantizer if there is one."""
        parts = (FLOW,) if self.dequantizer is None else (FLOW, DEQUANTIZER)
        return (Objective(name="bound", wrt=parts, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the negative bound (2) from one draw of u, in nats per example, averaged over the batch.

        Metrics are ``bound``, ``log_density`` of v and ``entropy`` of q, where bound = log_density + entropy - D log L.
        """
        del step
        label = label_of(batch, self.num_classes)
        log_density, log_q = (
            jnp.mean(term) for term in self._log_terms(Variables(params, state), key, batch["x"], label)
        )
        bound = log_density - log_q - self._log_num_cells
        return -bound, (state, {"bound": bound, "log_density": log_density, "entropy": -log_q})

    def dequantize(self, variables: Variables, key: Array, x: Array) -> tuple[Array, Array]:
        """Draw u from q(u | x); return v = (x + u) / L, float32 (B, *shape), and log q(u | x) in nats, (B,)."""
        image, dequantizer = self._image(self._check(x)), self.dequantizer or Chain(())
        part = Variables({}, {}) if self.dequantizer is None else child_variables(variables, DEQUANTIZER)
        example = jax.ShapeDtypeStruct((1, *image.shape[1:]), image.dtype)
        noise_shape = jax.eval_shape(dequantizer.forward, part, example, example)[0].shape[1:]
        noise = _NOISE.sample(key, (x.shape[0], *noise_shape))
        logit, log_det = dequantizer.inverse(part, noise, image)
        log_ratio = sum_except_batch(_NOISE.log_prob(noise)) - sum_except_batch(_NOISE.log_prob(logit))
        return self._unit_data(x, logit), log_ratio - log_det  # equation 3

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt = 1,
        *,
        label: Array | int | None = None,
        chunk_size: PositiveInt = 16,
    ) -> Array:
        """Return an unbiased estimate of the bound (2), the mean of log w over draws of u, in nats, (B,)."""
        return mean_log_weight(self._log_weights(variables, x, label), key, num_samples, chunk_size)

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
        """Return an importance-weighted estimate of log P(x), in nats, (B,).

        Its expectation is at most log P(x) and approaches it as ``num_samples`` grows.
        """
        return log_mean_weight(self._log_weights(variables, x, label), key, num_samples, chunk_size)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        temperature: NonNegativeFloat = 1.0,
    ) -> Array:
        """Draw integers (N, *shape): k = ⌊L v⌋, clipped to 0 … L − 1, with v from the flow.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,); required by conditional models.
          temperature: scale of the noise, see ``Flow.sample``.
        """
        v = self.flow.sample(child_variables(variables, FLOW), key, num_samples, label=label, temperature=temperature)
        return jnp.clip(jnp.floor(self.num_values * v), 0, self.num_values - 1).astype(self.dtype)

    @property
    def _log_num_cells(self) -> float:
        """D log L, the logarithm of the number of cells."""
        return math.prod(self.flow.shape) * math.log(self.num_values)

    def _log_weights(self, variables: Variables, x: Array, label: Array | int | None) -> LogWeights:
        def log_weight(key: Array) -> Array:
            log_density, log_q = self._log_terms(variables, key, x, label)
            return log_density - log_q - self._log_num_cells  # equation 2

        return jax.vmap(log_weight)

    def _log_terms(self, variables: Variables, key: Array, x: Array, label: Array | int | None) -> tuple[Array, Array]:
        """Return log p(v) and log q(u | x), (B,) each, for one draw of u."""
        v, log_q = self.dequantize(variables, key, x)
        return self.flow.log_prob(child_variables(variables, FLOW), v, label=label), log_q

    def _unit_data(self, x: Array, logit: Array) -> Array:
        """Return v for u = σ(logit)."""
        return (x.astype(jnp.float32) + jax.nn.sigmoid(logit)) / self.num_values

    def _image(self, x: Array) -> Array:
        """Return the condition of the dequantizer, integers scaled to [-1, 1]."""
        return 2 * x.astype(jnp.float32) / (self.num_values - 1) - 1

    def _check(self, x: Array) -> Array:
        """Return x, or raise ValueError if its shape, dtype or values do not fit."""
        check_example_shape(x, self.flow.shape)
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(
                f"x has dtype {x.dtype}, but this model takes integers and dequantizes them itself; "
                "omit the preprocessing"
            )
        if not isinstance(x, Tracer):
            values = np.asarray(x)  # inside jit, jnp would trace even known values
            low, high = int(values.min()), int(values.max())
            if not 0 <= low <= high < self.num_values:
                raise ValueError(
                    f"x has values from {low} to {high}, but with num_values={self.num_values} they must be in "
                    f"0 … {self.num_values - 1}; count from 0 and set num_values={max(high + 1, self.num_values)}"
                )
        return x
