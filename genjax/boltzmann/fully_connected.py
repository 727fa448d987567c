"""The Boltzmann machine with connections between all units.

Binary units s = (v, h), visible units first, with a symmetric coupling matrix J whose diagonal is 0:

    p(s) = exp(½ sᵀ J s + b·s) / Z,        p(v) = Σ_h p(v, h),                                                    (1)
    p(sᵢ = 1 | all others) = σ(Σⱼ Jᵢⱼ sⱼ + bᵢ),                                                                   (2)
    ∇ log p(v) = E[s sᵀ | v] − E[s sᵀ]        for the couplings, and with s in place of s sᵀ for the biases.       (3)

Units of the same layer depend on each other, so Gibbs sampling visits one unit at a time: a sweep takes as many steps
as there are units, and both means of (3) need samples. Models of up to 25 units can enumerate their states instead:
``exact`` training computes the gradient (3) itself.

David Ackley, Geoffrey Hinton and Terrence Sejnowski 1985, "A learning algorithm for Boltzmann machines".
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import ExampleShape, NonNegativeInt, PositiveInt, check_arguments
from genjax.boltzmann import bipartite
from genjax.boltzmann.bipartite import EnumeratesStates
from genjax.boltzmann.negative_phase import ChainState, require_chains
from genjax.boltzmann.units import BINARY, sample_independent
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables

PART = "machine"
INITIAL_SCALE = 0.01  # standard deviation of the initial couplings


class Couplings(NamedTuple):
    """Parameters of equation 1: ``weights`` J, (N, N), and ``bias`` b, (N,)."""

    weights: Array
    bias: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class BoltzmannMachine(EnumeratesStates):
    """Fully connected Boltzmann machine of binary units (Ackley et al. 1985).

    Its state is a ``ChainState``, or empty if ``exact``.

    Attributes:
      shape: shape of one example, without the batch axis.
      num_hidden: number of hidden units, possibly 0.
      exact: whether training enumerates the states, of at most 25 units, in place of sampling.
      num_chains: number of persistent chains.
      num_steps: number of sweeps of the chains between two updates, and of the hidden units given data.

    >>> model = BoltzmannMachine(shape=(4,), num_hidden=2, exact=True)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4))})
    >>> model.log_prob(variables, jnp.zeros((2, 4))).shape
    (2,)
    """

    shape: ExampleShape
    num_hidden: NonNegativeInt = 0
    exact: bool = False
    num_chains: PositiveInt = 100
    num_steps: PositiveInt = 5
    discrete = True

    def __post_init__(self) -> None:
        if self.exact:
            self._check_tractable("exact training")

    @property
    def num_visible(self) -> int:
        """Number of visible units."""
        return math.prod(self.shape)

    @property
    def tractable(self) -> bool:
        """Whether there are few enough units for ``log_prob`` to enumerate their states."""
        return self.num_visible + self.num_hidden <= bipartite.MAX_ENUMERATED_UNITS

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make small couplings, hidden biases of 0, and visible biases that fit the means of ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape, or values other than 0 and 1.
        """
        couplings_key, chains_key = jax.random.split(key)
        v = BINARY.encode(batch["x"], self.shape)
        bias = jnp.concatenate([BINARY.fit_bias(v), jnp.zeros(self.num_hidden, v.dtype)])
        num_pairs = bias.shape[0] * (bias.shape[0] - 1) // 2
        params = {"couplings": INITIAL_SCALE * jax.random.normal(couplings_key, (num_pairs,), v.dtype), "bias": bias}
        chains = sample_independent(BINARY, bias, chains_key, self.num_chains)
        return Variables({PART: params}, {} if self.exact else ChainState(chains))

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only objective, ``likelihood``."""
        return (Objective(name="likelihood", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return −log p(x) if ``exact``; otherwise, a difference of mean energies of samples.

        The expected gradient is minus equation 3. There are no metrics.
        """
        del step
        variables = Variables(params, state)
        if self.exact:
            return -jnp.mean(self.log_prob(variables, batch["x"])), (state, {})
        clamped_key, free_key = jax.random.split(key)
        couplings = self.couplings(variables)
        fixed = jax.lax.stop_gradient(couplings)
        v = BINARY.encode(batch["x"], self.shape)
        start = jnp.concatenate([v, jnp.full((v.shape[0], self.num_hidden), 0.5, v.dtype)], axis=1)
        clamped = gibbs_sweeps(fixed, clamped_key, start, self.num_steps, first=self.num_visible)
        free = gibbs_sweeps(fixed, free_key, require_chains(state, self.num_chains), self.num_steps)
        gap = jnp.mean(log_unnormalized(couplings, free)) - jnp.mean(log_unnormalized(couplings, clamped))  # equation 3
        return gap, (ChainState(free), {})

    def couplings(self, variables: Variables) -> Couplings:
        """Return J and b of equation 1."""
        pairs, bias = variables.params[PART]["couplings"], variables.params[PART]["bias"]
        upper = jnp.zeros((bias.shape[0], bias.shape[0]), pairs.dtype).at[np.triu_indices(bias.shape[0], 1)].set(pairs)
        return Couplings(upper + upper.T, bias)

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(x) exactly, nats, (B,), by enumerating all states.

        Raises:
          ValueError: if there are more than 25 units.
        """
        self._check_tractable("an exact likelihood")
        couplings, v = self.couplings(variables), BINARY.encode(x, self.shape)
        log_values = functools.partial(log_unnormalized, couplings)
        log_z = bipartite.log_sum_over_states(couplings.bias.shape[0], log_values)
        return bipartite.log_sum_over_hidden(self.num_hidden, v, log_values) - log_z  # equation 1

    def sample(
        self, variables: Variables, key: Array, num_samples: PositiveInt, *, num_steps: PositiveInt = 1_000
    ) -> Array:
        """Draw samples, (N, *shape), by Gibbs sampling, started from independent units.

        Args:
          variables: variables from ``init`` or training.
          key: typed key.
          num_samples: number of samples, N, each the end of its own chain.
          num_steps: number of sweeps over all units.
        """
        start_key, chain_key = jax.random.split(key)
        couplings = self.couplings(variables)
        start = sample_independent(BINARY, couplings.bias, start_key, num_samples)
        s = gibbs_sweeps(couplings, chain_key, start, num_steps)
        return BINARY.decode(s[:, : self.num_visible], self.shape)

    def _check_tractable(self, task: str) -> None:
        cure = "use fewer units, or boltzmann.RBM, whose likelihood can be estimated"
        bipartite.check_enumerable(self.num_visible + self.num_hidden, cure, task=task)


def log_unnormalized(couplings: Couplings, s: Array) -> Array:
    """Return log p(s) + log Z = ½ sᵀ J s + b·s, (...), for s, (..., N)."""
    return jnp.sum(s * (0.5 * (s @ couplings.weights)), axis=-1) + s @ couplings.bias


def gibbs_sweeps(couplings: Couplings, key: Array, s: Array, num_steps: int, first: int = 0) -> Array:
    """Take ``num_steps`` Gibbs sweeps over the units from ``first`` on, starting from s, (B, N); the others stay."""
    indices = jnp.arange(first, s.shape[1])

    def draw(s: Array, x: tuple[Array, Array]) -> tuple[Array, None]:
        i, uniform = x
        inputs = s @ couplings.weights[i] + couplings.bias[i]  # J is symmetric, and its rows are contiguous in memory
        drawn = (uniform < jax.nn.sigmoid(inputs)).astype(s.dtype)  # equation 2
        return jax.lax.dynamic_update_slice_in_dim(s, drawn[:, None], i, axis=1), None

    def sweep(s: Array, key: Array) -> tuple[Array, None]:
        return jax.lax.scan(draw, s, (indices, jax.random.uniform(key, (indices.shape[0], s.shape[0]), s.dtype)))[
            0
        ], None

    return jax.lax.scan(sweep, s, jax.random.split(key, num_steps))[0]
