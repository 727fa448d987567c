"""The Boltzmann machine of connections between all units.

Binary units s = (v, h), the visible ones first, with symmetric couplings J of which the diagonal is 0:

    p(s) = exp(½ sᵀ J s + b·s) / Z,        p(v) = Σ_h p(v, h),                                                    (1)
    p(sᵢ = 1 | all others) = σ(Σⱼ Jᵢⱼ sⱼ + bᵢ),                                                                   (2)
    ∇ log p(v) = E[s sᵀ | v] − E[s sᵀ]        for each coupling, and s alone for biases.                            (3)

Units depend on each other within either side, so that samples are drawn unit by unit: everything takes as many steps as
there are units, and both means of (3) want samples. Machines of up to 25 units can do without, as their states can be
added up: ``exact`` training follows (3) itself.

David Ackley, Geoffrey Hinton and Terrence Sejnowski 1985, "A learning algorithm for Boltzmann machines".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.boltzmann.layers import MOST_ENUMERATED, log_sum_over_states
from genjax.boltzmann.negative_phase import chains_in
from genjax.boltzmann.units import Binary, independent
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import check_at_least, check_shape

PART = "machine"
UNITS = Binary()
INITIAL_SCALE = 0.01


class Couplings(NamedTuple):
    """J, (N, N), and b, (N,)."""

    weights: Array
    bias: Array


@final
@dataclass(frozen=True, kw_only=True)
class BoltzmannMachine:
    """Boltzmann machine of binary units that are all connected.

    Attributes:
      shape: of one example, without the batch axis.
      num_hidden: units beside the visible ones; there may be none.
      exact: whether training adds up all states, of at most 25 units, in place of drawing samples.
      num_chains: persistent chains of the samples.
      num_steps: sweeps over all units between two updates; and over the hidden ones, from chance, given data.

    >>> model = BoltzmannMachine(shape=(4,), num_hidden=2, exact=True)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4))})
    >>> model.log_prob(variables, jnp.zeros((2, 4))).shape
    (2,)
    """

    shape: tuple[int, ...]
    num_hidden: int = 0
    exact: bool = False
    num_chains: int = 100
    num_steps: int = 5
    discrete = True

    def __post_init__(self) -> None:
        check_shape(self.shape)
        check_at_least("num_hidden", self.num_hidden, 0)
        check_at_least("num_chains", self.num_chains, 1)
        check_at_least("num_steps", self.num_steps, 1)
        if self.exact:
            self._check_tractable("exact training")

    @property
    def num_visible(self) -> int:
        """Units of an example."""
        return math.prod(self.shape)

    @property
    def tractable(self) -> bool:
        """Whether ``log_prob`` can add up all states."""
        return self.num_visible + self.num_hidden <= MOST_ENUMERATED

    @property
    def lacks(self) -> tuple[str, ...]:
        """``log_prob``, where enumerating all states takes too long."""
        return () if self.tractable else ("log_prob",)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables: small couplings, and biases that fit the means of ``batch["x"]``.

        Raises:
          ValueError: for data of another shape, or that are not 0 and 1.
        """
        couplings_key, chains_key = jax.random.split(key)
        v = UNITS.encode(batch["x"], self.shape)
        bias = jnp.concatenate([UNITS.bias(v), jnp.zeros(self.num_hidden)])
        pairs = len(bias) * (len(bias) - 1) // 2
        params = {"couplings": INITIAL_SCALE * jax.random.normal(couplings_key, (pairs,)), "bias": bias}
        chains = independent(UNITS, bias, chains_key, self.num_chains)
        return Variables({PART: params}, {} if self.exact else {"chains": chains})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="likelihood", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """−log p(x), or a difference of energies of samples whose gradient is equation 3 on average.

        Returns:
          The scalar, and the new state, without metrics.
        """
        del step
        variables = Variables(params, state)
        if self.exact:
            return -jnp.mean(self.log_prob(variables, batch["x"])), (state, {})
        given_key, free_key = jax.random.split(key)
        couplings = self.couplings(variables)
        fixed = jax.lax.stop_gradient(couplings)
        v = UNITS.encode(batch["x"], self.shape)
        start = jnp.concatenate([v, jnp.full((len(v), self.num_hidden), 0.5)], axis=1)
        given = sweeps(fixed, given_key, start, self.num_steps, first=self.num_visible)
        free = sweeps(fixed, free_key, chains_in(state, self.num_chains), self.num_steps)
        gap = jnp.mean(log_unnormalized(couplings, free)) - jnp.mean(log_unnormalized(couplings, given))  # equation 3
        return gap, ({"chains": free}, {})

    def couplings(self, variables: Variables) -> Couplings:
        """Return J and b of equation 1."""
        pairs, bias = variables.params[PART]["couplings"], variables.params[PART]["bias"]
        above = jnp.zeros((len(bias), len(bias)), pairs.dtype).at[np.triu_indices(len(bias), 1)].set(pairs)
        return Couplings(above + above.T, bias)

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(x), nats, (B,): exactly, by adding up all states.

        Raises:
          ValueError: for more than 25 units.
        """
        self._check_tractable("an exact likelihood")
        couplings, v = self.couplings(variables), UNITS.encode(x, self.shape)

        def with_hidden(h: Array) -> Array:  # (M, H) to (M, B)
            shape = (len(h), len(v))
            both = [jnp.broadcast_to(v[None], (*shape, v.shape[1])), jnp.broadcast_to(h[:, None], (*shape, h.shape[1]))]
            return log_unnormalized(couplings, jnp.concatenate(both, axis=-1))

        log_z = log_sum_over_states(len(couplings.bias), lambda s: log_unnormalized(couplings, s))
        return log_sum_over_states(self.num_hidden, with_hidden) - log_z  # equation 1

    def sample(self, variables: Variables, key: Array, num_samples: int, *, num_steps: int = 1_000) -> Array:
        """Draw from the model by Gibbs sampling, from independent units.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of chains, of which each gives one sample, N.
          num_steps: sweeps over all units.

        Returns:
          Samples (N, *shape).
        """
        check_at_least("num_samples", num_samples, 1)
        check_at_least("num_steps", num_steps, 1)
        start_key, walk_key = jax.random.split(key)
        couplings = self.couplings(variables)
        start = independent(UNITS, couplings.bias, start_key, num_samples)
        s = sweeps(couplings, walk_key, start, num_steps)
        return UNITS.decode(s[:, : self.num_visible], self.shape)

    def _check_tractable(self, what: str) -> None:
        if not self.tractable:
            raise ValueError(
                f"{what} adds up 2^{self.num_visible + self.num_hidden} states, but 2^{MOST_ENUMERATED} are the limit; "
                "use fewer units, or boltzmann.RBM, whose likelihood can be estimated"
            )


def log_unnormalized(couplings: Couplings, s: Array) -> Array:
    """Return ½ sᵀ J s + b·s, (...), for s (..., N)."""
    return jnp.sum(s * (0.5 * (s @ couplings.weights)), axis=-1) + s @ couplings.bias


def sweeps(couplings: Couplings, key: Array, s: Array, num_steps: int, first: int = 0) -> Array:
    """Draw units (B, N) in turns by equation 2, those from ``first`` on, several times over."""
    turns = jnp.arange(first, s.shape[1])

    def draw(s: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        i, uniform = now
        inputs = s @ couplings.weights[:, i] + couplings.bias[i]
        return s.at[:, i].set((uniform < jax.nn.sigmoid(inputs)).astype(s.dtype)), None  # equation 2

    def sweep(s: Array, key: Array) -> tuple[Array, None]:
        return jax.lax.scan(draw, s, (turns, jax.random.uniform(key, (len(turns), len(s)), s.dtype)))[0], None

    return jax.lax.scan(sweep, s, jax.random.split(key, num_steps))[0]
