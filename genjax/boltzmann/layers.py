"""Two layers that are joined by weights: the mathematics that all Boltzmann machines here share.

Visible units v and hidden units h, with measures m of their kinds (``units``), have, at an inverse temperature β, the
joint density

    p(v, h) ∝ m(v) m(h) exp((1 − β) (a·v + d·h) + β (vᵀ W h + b·v + c·h)),                                        (1)

which at β = 1 is the machine itself, and at β = 0 independent units of biases a and d, the base rates; d is 0 if
nothing else is said. Given one layer the units of the other are independent, with inputs

    of v: (1 − β) a + β (W h + b),        of h: (1 − β) d + β (Wᵀ v + c),                                         (2)

and either can be summed out:

    log p(v) = log m(v) + ((1 − β) a + β b)·v + A((1 − β) d + β (Wᵀ v + c)) − log Z,                              (3)
    log p(h) = log m(h) + ((1 − β) d + β c)·h + A((1 − β) a + β (W h + b)) − log Z,                               (4)

where A is the logarithm of the integrals of the units with these inputs: of binary ones Σ softplus. With offsets μ and
λ of the units, energies are (v − μ)ᵀ W (h − λ) + b̃·(v − μ) + c̃·(h − λ), which is the same machine with

    b = b̃ − W λ,        c = c̃ − Wᵀ μ,                                                                             (5)

but other gradients: those of b̃, c̃ and W do not go along with each other.

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

from genjax.boltzmann.units import Binary, Units
from genjax.core import Array
from genjax.ops import sum_except_batch

MOST_ENUMERATED = 25  # binary units, whose states are all added up
BLOCK = 12  # units whose states are in memory together


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Layers:
    """A machine: parameters of the joint density as a tree of three arrays, and the kinds of its units.

    Attributes:
      weights: W, (N, H).
      visible_bias: b, (N,).
      hidden_bias: c, (H,).
      units: the visible ones.
      hidden_units: the hidden ones.
    """

    weights: Array
    visible_bias: Array
    hidden_bias: Array
    units: Units = field(default=Binary(), metadata={"static": True})
    hidden_units: Units = field(default=Binary(), metadata={"static": True})

    @property
    def params(self) -> dict[str, Array]:
        """The three arrays by name."""
        return {"weights": self.weights, "visible_bias": self.visible_bias, "hidden_bias": self.hidden_bias}


class Path(NamedTuple):
    """Equation 1: a machine at one temperature.

    Attributes:
      layers: at β = 1.
      base: a, (N,).
      beta: β, in [0, 1].
      hidden_base: d, (H,); None is 0.
    """

    layers: Layers
    base: Array
    beta: Array | float = 1.0
    hidden_base: Array | None = None


def machine(layers: Layers) -> Path:
    """Return the machine itself, at β = 1."""
    return Path(layers, jnp.zeros_like(layers.visible_bias))


def uncentred(layers: Layers, visible_offset: Array, hidden_offset: Array) -> Layers:
    """Return b and c of equation 5 for b̃ and c̃, with offsets μ (N,) and λ (H,)."""
    return replace(
        layers,
        visible_bias=layers.visible_bias - layers.weights @ hidden_offset,
        hidden_bias=layers.hidden_bias - visible_offset @ layers.weights,
    )


def hidden_inputs(path: Path, v: Array) -> Array:
    """Return equation 2, (B, H), for v (B, N)."""
    inputs = path.beta * (v @ path.layers.weights + path.layers.hidden_bias[None])
    return inputs if path.hidden_base is None else inputs + (1 - path.beta) * path.hidden_base[None]


def visible_inputs(path: Path, h: Array) -> Array:
    """Return equation 2, (B, N), for h (B, H)."""
    inputs = h @ path.layers.weights.T + path.layers.visible_bias[None]
    return (1 - path.beta) * path.base[None] + path.beta * inputs


def log_of_visible(path: Path, v: Array) -> Array:
    """Return equation 3 but for log Z, (B,): the negative free energy."""
    bias = (1 - path.beta) * path.base + path.beta * path.layers.visible_bias
    return path.layers.units.log_measure(v) + v @ bias + path.layers.hidden_units.log_partition(hidden_inputs(path, v))


def log_of_hidden(path: Path, h: Array) -> Array:
    """Return equation 4 but for log Z, (B,)."""
    bias = path.beta * path.layers.hidden_bias
    bias = bias if path.hidden_base is None else bias + (1 - path.beta) * path.hidden_base
    return path.layers.hidden_units.log_measure(h) + h @ bias + path.layers.units.log_partition(visible_inputs(path, h))


def log_partition_of_base(path: Path) -> Array:
    """Return log Z at β = 0."""
    layers = path.layers
    hidden = jnp.zeros_like(layers.hidden_bias) if path.hidden_base is None else path.hidden_base
    return (layers.units.log_partition(path.base[None]) + layers.hidden_units.log_partition(hidden[None]))[0]


def sweep(path: Path, key: Array, v: Array) -> Array:
    """Draw hidden units given v (B, N), then visible ones given these: one sweep of Gibbs sampling."""
    hidden_key, visible_key = jax.random.split(key)
    h = path.layers.hidden_units.sample(hidden_key, hidden_inputs(path, v))
    return path.layers.units.sample(visible_key, visible_inputs(path, h))


def sweeps(path: Path, key: Array, v: Array, num_steps: int) -> Array:
    """Take several sweeps."""
    keys = jax.random.split(key, num_steps)
    return jax.lax.scan(lambda v, key: (sweep(path, key, v), None), v, keys)[0]


def log_partition(layers: Layers) -> Array:
    """Return log Z exactly, by adding up all states of the smaller of two binary layers, or of the one that is binary.

    Raises:
      ValueError: for more than 25 units, or where neither layer is binary.
    """
    path, (num_visible, num_hidden) = machine(layers), layers.weights.shape
    size = num_enumerated(layers.units, num_visible, layers.hidden_units, num_hidden)
    if size is None:
        raise ValueError(
            f"exact likelihoods add up all states of binary units, but these are {layers.units} and "
            f"{layers.hidden_units}; use log_prob_estimate"
        )
    by_visible = isinstance(layers.units, Binary) and size == num_visible
    if size > MOST_ENUMERATED:
        raise ValueError(
            f"exact likelihoods add up 2^{size} states, but 2^{MOST_ENUMERATED} are the limit; "
            "use log_prob_estimate, or boltzmann.annealed_importance for an interval"
        )
    log_prob = log_of_visible if by_visible else log_of_hidden
    return log_sum_over_states(size, lambda states: log_prob(path, states))


def log_sum_over_states(num_units: int, log_values: Callable[[Array], Array]) -> Array:
    """Return the logarithm of a sum over all states of binary units, block by block.

    Args:
      num_units: N, at most 25 or it takes long.
      log_values: from states (M, N) to the logarithms of what is added up, (M, ...).
    """
    within = min(num_units, BLOCK)
    lower = states(within)

    def block(number: Array) -> Array:
        upper = _bits(jnp.full(len(lower), number), num_units - within)
        return jax.nn.logsumexp(log_values(jnp.concatenate([lower, upper], axis=1)), axis=0)

    first = block(jnp.int32(0))
    numbers = jnp.arange(1, 2 ** (num_units - within))
    return jax.lax.scan(lambda total, number: (jnp.logaddexp(total, block(number)), None), first, numbers)[0]


def num_enumerated(units: Units, num_visible: int, hidden_units: Units, num_hidden: int) -> int | None:
    """Return of how many units all states are added up, those of the smaller binary layer; None without one."""
    sizes = ((units, num_visible), (hidden_units, num_hidden))
    return min((size for kind, size in sizes if isinstance(kind, Binary)), default=None)


def states(num_units: int) -> Array:
    """Return all states of binary units, (2^N, N).

    >>> states(2).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    return _bits(jnp.arange(2**num_units), num_units)


def sample_exactly(layers: Layers, key: Array, num_samples: int) -> Array:
    """Draw visible units (B, N), by drawing from all states of the hidden ones, of which there are few."""
    hidden_key, visible_key = jax.random.split(key)
    path, every = machine(layers), states(len(layers.hidden_bias))
    chosen = jax.random.categorical(hidden_key, log_of_hidden(path, every), shape=(num_samples,))
    return layers.units.sample(visible_key, visible_inputs(path, every[chosen]))


def sweep_to_means(path: Path, key: Array, v: Array) -> Array:
    """Return the means of visible units given hidden ones that are drawn given v (B, N)."""
    return path.layers.units.mean(visible_inputs(path, path.layers.hidden_units.sample(key, hidden_inputs(path, v))))


def reconstruction(layers: Layers, v: Array) -> Array:
    """Return the means of visible units given those of hidden ones, given v: (B, N)."""
    path = machine(layers)
    return layers.units.mean(visible_inputs(path, layers.hidden_units.mean(hidden_inputs(path, v))))


def reconstruction_error(layers: Layers, v: Array) -> Array:
    """Return the mean squared error of v by the means of hidden units and then of visible ones, (B,)."""
    return sum_except_batch(jnp.square(reconstruction(layers, v) - v)) / v.shape[1]


def _bits(numbers: Array, num_bits: int) -> Array:
    """Return the binary digits of integers (M,), the least first, as float32 (M, num_bits)."""
    return ((numbers[:, None] >> jnp.arange(num_bits)[None]) & 1).astype(jnp.float32)
