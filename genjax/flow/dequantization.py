"""Flows of integers: uniform and variational dequantization.

Data k in {0, …, L − 1}^D are spread over the cubes of a grid on [0, 1)^D, each with the mass that a flow p has there,

    v = (k + u) / L,  u in [0, 1)^D,        P(k) = ∫ p((k + u) / L) L^−D du.                                     (1)

With any density q(u | k) on the unit cube, Jensen's inequality bounds it, and importance weights estimate it:

    log P(k) ≥ E_q[log w],        P(k) = E_q[w],        w = p((k + u) / L) L^−D / q(u | k).                       (2)

The uniform q(u | k) = 1 asks the flow for a density that is flat in every cube. A learned one may be as peaked as the
flow is, and the bound is tight where q is p within the cube. It is a flow of its own: a bijection g_k from logits of u
to logistic noise, steered by the image,

    ε ~ ℓ,        y = g_k⁻¹(ε),        u = σ(y),        log q(u | k) = log ℓ(ε) − log ℓ(y) − log |det ∂y/∂ε|,    (3)

as the density ℓ = σ′ of the standard logistic distribution is also the slope of u = σ(y). All of it is in terms of
logits, so that no u near 0 or 1 loses digits; where g_k is the identity, q is uniform.

Variational: Jonathan Ho, Xi Chen, Aravind Srinivas, Yan Duan and Pieter Abbeel, "Flow++", 2019, arXiv:1902.00275.
Uniform: Lucas Theis, Aäron van den Oord and Matthias Bethge, 2016, arXiv:1511.01844. Importance weights: Emiel
Hoogeboom, Taco Cohen and Jakub Tomczak, 2020, arXiv:2001.11235.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.capabilities import Condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.flow.bijection import Bijection, Chain
from genjax.flow.flow import Flow, Logistic
from genjax.ops import label_of, log_mean_weight, mean_log_weight, sum_except_batch
from genjax.ops.importance import LogWeights

FLOW, DEQUANTIZER = "flow", "dequantizer"
MOST_LEVELS = 2**16  # beyond it float32 has too few digits left for u
_NOISE = Logistic()


@final
@dataclass(frozen=True, kw_only=True)
class VariationalDequantization:
    """A flow as a model of integers, dequantized inside the model: its likelihoods are of masses, not of densities.

    Batches have integers as ``x`` and need no preprocessing. The flow sees data in [0, 1], so that it may begin with
    ``Logit``; what mass it has beyond is no integer's: masses sum to 1 less that, and samples there become the nearest
    integer.

    Attributes:
      flow: p, a density of v, see (1). Labels are its own.
      dequantizer: g_k, see (3), whose context is the image k, scaled to [-1, 1] and of the shape of ``x``; one with a
        quick inverse, such as couplings. None for uniform dequantization.
      levels: L; 256 for 8-bit images.
      dtype: of ``x``, and so of samples.

    >>> from genjax import flow
    >>> model = VariationalDequantization(
    ...     flow=Flow(shape=(2,), bijection=Chain((flow.Logit(), flow.ActNorm()))), levels=8
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.array([[0, 3], [7, 5]], jnp.uint8)})
    >>> x = model.sample(variables, jax.random.key(1), 5)
    >>> x.shape, x.dtype.name
    ((5, 2), 'uint8')
    """

    flow: Flow
    dequantizer: Bijection | None = None
    levels: int = 256
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= MOST_LEVELS:
            raise ValueError(f"levels is {self.levels}, but must be in 2 … {MOST_LEVELS}; 256 for 8-bit images")
        if not np.issubdtype(np.dtype(self.dtype), np.integer):
            raise ValueError(f"dtype is {self.dtype!r}, but must be of integers; 'uint8' for images")
        if self.levels - 1 > np.iinfo(self.dtype).max:
            raise ValueError(
                f"levels is {self.levels}, but dtype={self.dtype!r} ends at {np.iinfo(self.dtype).max}; "
                "give it dtype='int32'"
            )

    @property
    def discrete(self) -> bool:
        """True: log P(k) is a log-mass."""
        return True

    @property
    def num_classes(self) -> int | None:
        """Number of labels that the flow takes, or None."""
        return self.flow.num_classes

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the model is conditioned on: the label, where it has classes."""
        return self.flow.conditions

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``; some layers begin with its statistics, u being uniform.

        Raises:
          ValueError: for data of another shape or dtype, or beyond the levels where its values are known.
        """
        x = self._checked(batch["x"])
        if x.dtype != self.dtype:
            raise ValueError(f"x has dtype {x.dtype}, but this model has dtype={self.dtype!r}; make them the same")
        noise_key, flow_key, dequantizer_key = jax.random.split(key, 3)
        logit = _NOISE.sample(noise_key, x.shape)
        parts = {FLOW: self.flow.init(flow_key, {**batch, "x": self._spread(x, logit)})}
        if self.dequantizer is not None:
            parts[DEQUANTIZER] = self.dequantizer.init(dequantizer_key, logit, self._image(x))
        return Variables({name: v.params for name, v in parts.items()}, {name: v.state for name, v in parts.items()})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss, over the flow and the dequantizer where there is one."""
        parts = (FLOW,) if self.dequantizer is None else (FLOW, DEQUANTIZER)
        return (Objective(name="bound", wrt=parts, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Negative bound (2) from one draw of u, in nats per example, averaged over the batch.

        Returns:
          The scalar, and the state as it was with metrics ``bound``, ``log_density`` of v, and ``entropy`` of q, where
          bound = log_density + entropy - D log L.
        """
        del step
        label = label_of(batch, self.num_classes)
        log_density, log_q = (
            jnp.mean(term) for term in self._log_terms(Variables(params, state), key, batch["x"], label)
        )
        bound = log_density - log_q - self._log_cubes
        return -bound, (state, {"bound": bound, "log_density": log_density, "entropy": -log_q})

    def dequantize(self, variables: Variables, key: Array, x: Array) -> tuple[Array, Array]:
        """Draw u from q(u | x) for every example.

        Returns:
          v = (x + u) / L, float32 (B, *shape), and log q(u | x), nats, (B,).
        """
        image, dequantizer = self._image(self._checked(x)), self.dequantizer or Chain(())
        own = Variables({}, {}) if self.dequantizer is None else _part(variables, DEQUANTIZER)
        one = (jax.ShapeDtypeStruct((1, *image.shape[1:]), image.dtype),) * 2
        noise_shape = jax.eval_shape(dequantizer.forward, own, *one)[0].shape[1:]
        noise = _NOISE.sample(key, (len(x), *noise_shape))
        logit, log_det = dequantizer.inverse(own, noise, image)
        log_ratio = sum_except_batch(_NOISE.log_prob(noise)) - sum_except_batch(_NOISE.log_prob(logit))
        return self._spread(x, logit), log_ratio - log_det  # equation 3

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int = 1,
        *,
        label: Array | int | None = None,
        chunk_size: int = 16,
    ) -> Array:
        """Unbiased estimate of the bound (2), the mean of log w over ``num_samples`` draws of u; nats, (B,).

        Takes less memory with a smaller ``chunk_size``, the number of draws at once, and gives the same.
        """
        return mean_log_weight(self._log_weights(variables, x, label), key, num_samples, chunk_size)

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
        """Importance-weighted estimate of log P(x) from ``num_samples`` draws of u; nats, (B,).

        Its expectation is at most log P(x), and grows to it with ``num_samples``. Memory grows with ``chunk_size``,
        the number of draws at once, and the result does not depend on it.
        """
        return log_mean_weight(self._log_weights(variables, x, label), key, num_samples, chunk_size)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        temperature: float = 1.0,
    ) -> Array:
        """Draw from the model: k = ⌊L v⌋ of a draw v of the flow, which is clipped to the levels.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          num_samples: N.
          label: class of all samples, or int32 (N,) for each; only for conditional models.
          temperature: see ``Flow.sample``.

        Returns:
          Integers of shape (N, *shape).
        """
        own = _part(variables, FLOW)
        v = self.flow.sample(own, key, num_samples, label=label, temperature=temperature)
        return jnp.clip(jnp.floor(self.levels * v), 0, self.levels - 1).astype(self.dtype)

    @property
    def _log_cubes(self) -> float:
        """D log L, the logarithm of how many cubes there are."""
        return math.prod(self.flow.shape) * math.log(self.levels)

    def _log_weights(self, variables: Variables, x: Array, label: Array | int | None) -> LogWeights:
        def log_weight(key: Array) -> Array:
            log_density, log_q = self._log_terms(variables, key, x, label)
            return log_density - log_q - self._log_cubes  # equation 2

        return jax.vmap(log_weight)

    def _log_terms(self, variables: Variables, key: Array, x: Array, label: Array | int | None) -> tuple[Array, Array]:
        """Return log p(v) and log q(u | x), (B,) each, of one draw of u."""
        v, log_q = self.dequantize(variables, key, x)
        return self.flow.log_prob(_part(variables, FLOW), v, label=label), log_q

    def _spread(self, x: Array, logit: Array) -> Array:
        """Return v for u = σ(logit)."""
        return (x.astype(jnp.float32) + jax.nn.sigmoid(logit)) / self.levels

    def _image(self, x: Array) -> Array:
        """Return integers as the dequantizer sees them, in [-1, 1]."""
        return 2 * x.astype(jnp.float32) / (self.levels - 1) - 1

    def _checked(self, x: Array) -> Array:
        """Return x; refuse another shape, other than integers, and values beyond the levels where they are known."""
        if x.shape[1:] != self.flow.shape:
            raise ValueError(f"x has shape {x.shape}, but the flow has shape={self.flow.shape} after the batch axis")
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(
                f"x has dtype {x.dtype}, but this model is of integers and dequantizes them itself; "
                "leave the preprocessing out"
            )
        if not isinstance(x, Tracer):
            values = np.asarray(x)  # and not jnp, which defers what is known within jit
            low, high = int(values.min()), int(values.max())
            if not 0 <= low <= high < self.levels:
                raise ValueError(
                    f"x has values from {low} to {high}, but levels={self.levels} are 0 … {self.levels - 1}; "
                    f"count them from 0, and give it levels={max(high + 1, self.levels)}"
                )
        return x


def _part(variables: Variables, name: str) -> Variables:
    return Variables(variables.params[name], variables.state[name])
