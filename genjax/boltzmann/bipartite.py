"""Boltzmann machines on two layers without connections within a layer: the mathematics that all models here share.

Visible units v and hidden units h, with base measures m (``units``), have at an inverse temperature β the joint density

    p(v, h) ∝ m(v) m(h) exp((1 − β) (a·v + d·h) + β (vᵀ W h + b·v + c·h)),                                        (1)

which is the model itself at β = 1, and independent units with base-rate biases a and d at β = 0. Given one layer, the
units of the other are independent, with inputs

    for v: (1 − β) a + β (W h + b),        for h: (1 − β) d + β (Wᵀ v + c).                                       (2)

Either layer can be summed out,

    log p(v) = log m(v) + ((1 − β) a + β b)·v + A((1 − β) d + β (Wᵀ v + c)) − log Z,                              (3)
    log p(h) = log m(h) + ((1 − β) d + β c)·h + A((1 − β) a + β (W h + b)) − log Z,                               (4)

where A is the log-normalizer of the units given their inputs; for binary units it is Σ softplus. With offsets μ and λ,
the negative energy is (v − μ)ᵀ W (h − λ) + b̃·(v − μ) + c̃·(h − λ). This is the same model, with

    b = b̃ − W λ,        c = c̃ − Wᵀ μ,                                                                             (5)

but gradient descent differs: the gradient of W no longer correlates with those of b̃ and c̃.

Paul Smolensky 1986, "Information processing in dynamical systems: foundations of harmony theory"; path of
temperatures: Ruslan Salakhutdinov and Iain Murray 2008, "On the quantitative analysis of deep belief networks";
offsets: Grégoire Montavon and Klaus-Robert Müller 2012, "Deep Boltzmann machines and the centering trick".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.boltzmann.units import BinaryUnits, Units
from genjax.core import Array
from genjax.ops import sum_except_batch

MAX_ENUMERATED_UNITS = 25  # binary units whose states an exact likelihood enumerates
UNITS_PER_BLOCK = 12  # 2¹² states are in memory together


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RBMParams:
    """Parameters of a two-layer model as a pytree of three arrays, with the kinds of its units.

    Attributes:
      weights: W, (N, H).
      visible_bias: b, (N,).
      hidden_bias: c, (H,).
      units: kind of the visible units.
      hidden_units: kind of the hidden units.
    """

    weights: Array
    visible_bias: Array
    hidden_bias: Array
    units: Units = field(default=BinaryUnits(), metadata={"static": True})
    hidden_units: Units = field(default=BinaryUnits(), metadata={"static": True})

    @property
    def arrays(self) -> dict[str, Array]:
        """The three arrays by name."""
        return {"weights": self.weights, "visible_bias": self.visible_bias, "hidden_bias": self.hidden_bias}


class EnumeratesStates:
    """A model whose exact ``log_prob`` enumerates the states of some of its units, if these are few enough."""

    @property
    def tractable(self) -> bool:
        """Whether there are few enough units for ``log_prob`` to enumerate their states."""
        raise NotImplementedError

    @property
    def lacks(self) -> tuple[str, ...]:
        """Names of unavailable methods: ``log_prob``, unless ``tractable``."""
        return () if self.tractable else ("log_prob",)


class TemperedRBM(NamedTuple):
    """Equation 1: a two-layer model at an inverse temperature.

    Attributes:
      params: parameters at β = 1.
      base_bias: base-rate biases of the visible units, a, (N,).
      hidden_base_bias: base-rate biases of the hidden units, d, (H,).
      beta: inverse temperature, β, in [0, 1].
    """

    params: RBMParams
    base_bias: Array
    hidden_base_bias: Array
    beta: Array | float


def at_unit_temperature(params: RBMParams) -> TemperedRBM:
    """Return the model itself, at β = 1."""
    return TemperedRBM(params, jnp.zeros_like(params.visible_bias), jnp.zeros_like(params.hidden_bias), 1.0)


def uncentre(params: RBMParams, visible_offset: Array, hidden_offset: Array) -> RBMParams:
    """Return the parameters b and c of equation 5, given b̃ and c̃ with offsets μ, (N,), and λ, (H,)."""
    return replace(
        params,
        visible_bias=params.visible_bias - params.weights @ hidden_offset,
        hidden_bias=params.hidden_bias - visible_offset @ params.weights,
    )


def hidden_inputs(rbm: TemperedRBM, v: Array) -> Array:
    """Return the inputs of the hidden units (equation 2), (B, H), for v, (B, N)."""
    inputs = v @ rbm.params.weights + rbm.params.hidden_bias[None]
    return (1 - rbm.beta) * rbm.hidden_base_bias[None] + rbm.beta * inputs


def visible_inputs(rbm: TemperedRBM, h: Array) -> Array:
    """Return the inputs of the visible units (equation 2), (B, N), for h, (B, H)."""
    inputs = h @ rbm.params.weights.T + rbm.params.visible_bias[None]
    return (1 - rbm.beta) * rbm.base_bias[None] + rbm.beta * inputs


def log_unnormalized_visible(rbm: TemperedRBM, v: Array) -> Array:
    """Return log p(v) + log Z (equation 3), (B,): the negative free energy."""
    bias = (1 - rbm.beta) * rbm.base_bias + rbm.beta * rbm.params.visible_bias
    hidden = rbm.params.hidden_units.log_partition(hidden_inputs(rbm, v))
    return rbm.params.units.log_measure(v) + v @ bias + hidden


def log_unnormalized_hidden(rbm: TemperedRBM, h: Array) -> Array:
    """Return log p(h) + log Z (equation 4), (B,)."""
    bias = (1 - rbm.beta) * rbm.hidden_base_bias + rbm.beta * rbm.params.hidden_bias
    visible = rbm.params.units.log_partition(visible_inputs(rbm, h))
    return rbm.params.hidden_units.log_measure(h) + h @ bias + visible


def base_log_partition(rbm: TemperedRBM) -> Array:
    """Return log Z at β = 0."""
    visible = rbm.params.units.log_partition(rbm.base_bias[None])
    return (visible + rbm.params.hidden_units.log_partition(rbm.hidden_base_bias[None]))[0]


def gibbs_step(rbm: TemperedRBM, key: Array, v: Array, known: tuple[Array, Array] | None = None) -> Array:
    """Draw hidden units given v, (B, N), then visible units given these, in the dtype of v: a block Gibbs step.

    ``known`` are visible units that stay as they are: their states, and where they are known, (B, N) each.
    """
    hidden_key, visible_key = jax.random.split(key)
    h = rbm.params.hidden_units.sample(hidden_key, hidden_inputs(rbm, v))
    units, inputs = rbm.params.units, visible_inputs(rbm, h)
    drawn = units.sample(visible_key, inputs) if known is None else units.sample_given(visible_key, inputs, *known)
    return drawn.astype(v.dtype)


def gibbs_chain(rbm: TemperedRBM, key: Array, v: Array, num_steps: int) -> Array:
    """Take ``num_steps`` Gibbs steps from v, (B, N), and return the last states."""
    keys = jax.random.split(key, num_steps)
    return jax.lax.scan(lambda v, key: (gibbs_step(rbm, key, v), None), v, keys)[0]


def gibbs_step_mean(rbm: TemperedRBM, key: Array, v: Array) -> Array:
    """Take a Gibbs step from v, (B, N), but return the means of the visible units in place of a draw."""
    h = rbm.params.hidden_units.sample(key, hidden_inputs(rbm, v))
    return rbm.params.units.mean(visible_inputs(rbm, h))


def log_partition(params: RBMParams) -> Array:
    """Return log Z exactly, by enumerating the states of the smaller binary layer.

    Raises:
      ValueError: if that layer has more than 25 units, or if neither layer is binary.
    """
    rbm, (num_visible, num_hidden) = at_unit_temperature(params), params.weights.shape
    size = num_enumerated_units(params.units, num_visible, params.hidden_units, num_hidden)
    if size is None:
        raise ValueError(
            f"the units are {params.units} and {params.hidden_units}, but an exact likelihood enumerates the states of "
            "binary units; use log_prob_estimate"
        )
    check_enumerable(size, "use log_prob_estimate, or boltzmann.annealed_importance_sampling for an interval")
    visible_is_smaller = isinstance(params.units, BinaryUnits) and size == num_visible
    log_prob = log_unnormalized_visible if visible_is_smaller else log_unnormalized_hidden
    return log_sum_over_states(size, lambda states: log_prob(rbm, states))


def check_enumerable(num_units: int, cure: str, *, task: str = "an exact likelihood") -> None:
    """Raise if there are too many binary units to enumerate their states; ``cure`` ends the message."""
    if num_units > MAX_ENUMERATED_UNITS:
        raise ValueError(f"{task} enumerates 2^{num_units} states, but the limit is 2^{MAX_ENUMERATED_UNITS}; {cure}")


def log_sum_over_states(num_units: int, log_values: Callable[[Array], Array]) -> Array:
    """Return log Σ exp(log_values) over all states of binary units, block by block; the time doubles with each unit.

    ``log_values`` maps states, (M, num_units), to logarithms, (M, ...).
    """
    block_units = min(num_units, UNITS_PER_BLOCK)
    lower = all_states(block_units)

    def block(number: Array) -> Array:
        upper = _bits(jnp.full(lower.shape[0], number), num_units - block_units)
        return jax.nn.logsumexp(log_values(jnp.concatenate([lower, upper], axis=1)), axis=0)

    first = block(jnp.int32(0))
    numbers = jnp.arange(1, 2 ** (num_units - block_units))
    return jax.lax.scan(lambda total, number: (jnp.logaddexp(total, block(number)), None), first, numbers)[0]


def log_sum_over_hidden(num_hidden: int, v: Array, log_values: Callable[[Array], Array]) -> Array:
    """Return log Σ_h exp(log_values of (v, h)), (B,), over all states of binary hidden units, for v, (B, V)."""

    def with_hidden(h: Array) -> Array:  # (M, H) to (M, B)
        pairs = jnp.concatenate([jnp.tile(v, (h.shape[0], 1)), jnp.repeat(h, v.shape[0], axis=0)], axis=1)
        return log_values(pairs).reshape(h.shape[0], v.shape[0])

    return log_sum_over_states(num_hidden, with_hidden)


def num_enumerated_units(units: Units, num_visible: int, hidden_units: Units, num_hidden: int) -> int | None:
    """Return the number of units that an exact likelihood enumerates, or None if neither layer is binary."""
    sizes = ((units, num_visible), (hidden_units, num_hidden))
    return min((size for kind, size in sizes if isinstance(kind, BinaryUnits)), default=None)


def all_states(num_units: int) -> Array:
    """Return all states of binary units, (2^N, N).

    >>> all_states(2).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    return _bits(jnp.arange(2**num_units), num_units)


def sample_exactly(params: RBMParams, key: Array, num_samples: int) -> Array:
    """Draw independent samples of the visible units, (B, N), by enumerating the states of a small hidden layer."""
    hidden_key, visible_key = jax.random.split(key)
    rbm, states = at_unit_temperature(params), all_states(params.hidden_bias.shape[0])
    indices = jax.random.categorical(hidden_key, log_unnormalized_hidden(rbm, states), shape=(num_samples,))
    return params.units.sample(visible_key, visible_inputs(rbm, states[indices]))


def reconstruction(params: RBMParams, v: Array) -> Array:
    """Return the means of the visible units given the means of the hidden units given v, (B, N)."""
    rbm = at_unit_temperature(params)
    return params.units.mean(visible_inputs(rbm, params.hidden_units.mean(hidden_inputs(rbm, v))))


def reconstruction_error(params: RBMParams, v: Array) -> Array:
    """Return the mean squared difference between v, (B, N), and its reconstruction, (B,)."""
    return sum_except_batch(jnp.square(reconstruction(params, v) - v)) / v.shape[1]


def _bits(numbers: Array, num_bits: int) -> Array:
    """Return the binary digits of integers, (M,), least significant first, as float32, (M, num_bits)."""
    return ((numbers[:, None] >> jnp.arange(num_bits)[None]) & 1).astype(jnp.float32)
