"""Negative phases: the samples that estimate the model's side of the likelihood gradient.

The gradient of the log-likelihood is a difference of means, over the data and over the model,

    ∇ log p(v) = −∇F(v) + E_{v' ~ p} ∇F(v'),        F(v) = −log p(v) − log Z,                                     (1)

and a negative phase draws the v':

* ``ContrastiveDivergence``: a few Gibbs steps from the data (Geoffrey Hinton 2002, "Training products of experts by
  minimizing contrastive divergence"). It is biased: modes far from the data are never visited.
* ``Persistent``: a few Gibbs steps from where the last update left the chains, while the model changes slowly (Tijmen
  Tieleman 2008, "Training restricted Boltzmann machines using approximations to the likelihood gradient").
* ``FastWeights``: persistent chains under W + W′, where W′ learns and decays quickly and so drives the chains away
  from where they are (Tijmen Tieleman and Geoffrey Hinton 2009, "Using fast weights to improve persistent contrastive
  divergence").
* ``ParallelTempering``: chains at several temperatures on the path of ``bipartite``, from independent units to the
  model, where neighbouring temperatures swap states by Metropolis' rule (Guillaume Desjardins, Aaron Courville, Yoshua
  Bengio, Pascal Vincent and Olivier Delalleau 2010, "Tempered Markov chain Monte Carlo for training of restricted
  Boltzmann machines").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.boltzmann.bipartite import (
    RBMParams,
    TemperedRBM,
    at_unit_temperature,
    gibbs_chain,
    gibbs_step,
    hidden_inputs,
    log_unnormalized_visible,
)
from genjax.boltzmann.units import sample_independent
from genjax.core import Array, PyTree
from genjax.ops import swap_neighbors


class ChainState(NamedTuple):
    """State of persistent chains: ``chains`` are states of the units, (M, N), or (T, M, N) at T temperatures."""

    chains: Array


class FastWeightsState(NamedTuple):
    """State of ``FastWeights``.

    Attributes:
      chains: states of the units, (M, N).
      fast: fast weights and biases, by the names of ``RBMParams``.
    """

    chains: Array
    fast: dict[str, Array]


@runtime_checkable
class NegativePhase(Protocol):
    """A rule that draws samples from a model while it learns."""

    def init(self, params: RBMParams, base_bias: Array, key: Array) -> PyTree:
        """Return the initial state, which is empty for methods without chains; chains start as independent units."""
        ...

    def draw(self, params: RBMParams, base_bias: Array, key: Array, v: Array, state: PyTree) -> tuple[Array, PyTree]:
        """Return samples, (M, N), given data v, (B, N), and the new state."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class ContrastiveDivergence(NegativePhase):
    """Contrastive divergence, CD-k, with ``num_steps`` Gibbs steps, k."""

    num_steps: PositiveInt = 1

    def init(self, params: RBMParams, base_bias: Array, key: Array) -> PyTree:
        del params, base_bias, key
        return {}

    def draw(self, params: RBMParams, base_bias: Array, key: Array, v: Array, state: PyTree) -> tuple[Array, PyTree]:
        del base_bias
        return gibbs_chain(at_unit_temperature(params), key, v, self.num_steps), state


@final
@check_arguments
@dataclass(frozen=True)
class Persistent(NegativePhase):
    """Persistent contrastive divergence, PCD-k.

    Attributes:
      num_chains: number of chains, M; usually the size of a minibatch.
      num_steps: number of Gibbs steps between two updates, k.
    """

    num_chains: PositiveInt = 100
    num_steps: PositiveInt = 1

    def init(self, params: RBMParams, base_bias: Array, key: Array) -> ChainState:
        return ChainState(sample_independent(params.units, base_bias, key, self.num_chains))

    def draw(
        self, params: RBMParams, base_bias: Array, key: Array, v: Array, state: PyTree
    ) -> tuple[Array, ChainState]:
        del base_bias, v
        chains = gibbs_chain(at_unit_temperature(params), key, require_chains(state, self.num_chains), self.num_steps)
        return chains, ChainState(chains)


@final
@check_arguments
@dataclass(frozen=True)
class FastWeights(NegativePhase):
    """Fast persistent contrastive divergence, FPCD.

    Attributes:
      num_chains: number of chains, M.
      learning_rate: learning rate of the fast weights, W′.
      decay: factor on W′ at every update, in [0, 1).
    """

    num_chains: PositiveInt = 100
    learning_rate: Annotated[float, Gt(0), Cure("; 0.01 is usual")] = 0.01
    decay: Annotated[float, Ge(0), Lt(1), Cure("; 0.95 is usual")] = 0.95

    def init(self, params: RBMParams, base_bias: Array, key: Array) -> FastWeightsState:
        fast = jax.tree.map(jnp.zeros_like, params)
        return FastWeightsState(sample_independent(params.units, base_bias, key, self.num_chains), fast.arrays)

    def draw(
        self, params: RBMParams, base_bias: Array, key: Array, v: Array, state: PyTree
    ) -> tuple[Array, FastWeightsState]:
        del base_bias
        start, fast = require_chains(state, self.num_chains), replace(params, **state.fast)
        chains = gibbs_step(at_unit_temperature(jax.tree.map(jnp.add, params, fast)), key, start)
        # Both sides of equation 1 use the weights that learn, W alone.
        fast = jax.tree.map(
            lambda w, data, model: self.decay * w + self.learning_rate * (data - model),
            fast,
            sufficient_statistics(params, v),
            sufficient_statistics(params, chains),
        )
        return chains, FastWeightsState(chains, fast.arrays)


@final
@check_arguments
@dataclass(frozen=True)
class ParallelTempering(NegativePhase):
    """Parallel tempering: persistent chains at several temperatures.

    Attributes:
      num_chains: number of chains at each temperature, M.
      num_temperatures: number of inverse temperatures, T, evenly spaced from β = 0 to β = 1.
      num_steps: number of Gibbs steps between two updates, each followed by swaps.
    """

    num_chains: PositiveInt = 100
    num_temperatures: Annotated[int, Ge(2), Cure("; use Persistent for one")] = 10
    num_steps: PositiveInt = 1

    def init(self, params: RBMParams, base_bias: Array, key: Array) -> ChainState:
        start = sample_independent(params.units, base_bias, key, self.num_temperatures * self.num_chains)
        return ChainState(start.reshape(self.num_temperatures, self.num_chains, -1))

    def draw(
        self, params: RBMParams, base_bias: Array, key: Array, v: Array, state: PyTree
    ) -> tuple[Array, ChainState]:
        del v
        start = require_chains(state, self.num_temperatures, self.num_chains)

        def step(chains: Array, x: tuple[Array, Array]) -> tuple[Array, None]:
            return self._step(params, base_bias, *x, chains), None

        parity_key, key = jax.random.split(key)
        keys = jax.random.split(key, self.num_steps)
        parity = jax.random.bernoulli(parity_key).astype(jnp.int32)  # odd or even pairs swap first; then they alternate
        chains, _ = jax.lax.scan(step, start, (keys, parity + jnp.arange(self.num_steps)))
        return chains[-1], ChainState(chains)

    def _step(self, params: RBMParams, base_bias: Array, key: Array, number: Array, chains: Array) -> Array:
        """Take a Gibbs step at every temperature, then propose a swap to every other pair of neighbours."""
        gibbs_key, swap_key = jax.random.split(key)
        betas = jnp.linspace(0.0, 1.0, self.num_temperatures, dtype=chains.dtype)
        at = lambda beta: TemperedRBM(params, base_bias, jnp.zeros_like(params.hidden_bias), beta)  # noqa: E731
        keys = jax.random.split(gibbs_key, self.num_temperatures)
        chains = jax.vmap(lambda beta, key, v: gibbs_step(at(beta), key, v))(betas, keys, chains)
        # Rows are temperatures; log p of each chain at its own temperature, the next one and the previous one.
        log_prob = jax.vmap(lambda beta, v: log_unnormalized_visible(at(beta), v))
        own, above = log_prob(betas, chains), log_prob(jnp.roll(betas, -1), chains)
        below = log_prob(jnp.roll(betas, 1), chains)
        log_ratio = above[:-1] + below[1:] - own[:-1] - own[1:]  # of a swap of rows i and i + 1
        uniform = jax.random.uniform(swap_key, log_ratio.shape)
        pair = jnp.arange(self.num_temperatures - 1)
        swaps = (jnp.log(uniform) < log_ratio) & ((pair + number) % 2 == 0)[:, None]
        return swap_neighbors(swaps, chains)


def free_energy_gap(
    phase: NegativePhase, params: RBMParams, key: Array, v: Array, state: PyTree
) -> tuple[Array, Array, PyTree]:
    """Return a scalar loss whose gradient is minus equation 1, the samples, and the new state of the model.

    The loss is the mean free energy of data v, (B, N), minus that of the samples; its value is no measure of the fit.
    The state has the fields ``base_bias`` and ``negative_phase``, as that of an ``RBM``.
    """
    samples, phase_state = phase.draw(jax.lax.stop_gradient(params), state.base_bias, key, v, state.negative_phase)
    samples = jax.lax.stop_gradient(samples)
    log_prob = lambda v: jnp.mean(log_unnormalized_visible(at_unit_temperature(params), v))  # noqa: E731
    return log_prob(samples) - log_prob(v), samples, state._replace(negative_phase=phase_state)


def sufficient_statistics(params: RBMParams, v: Array) -> RBMParams:
    """Return the mean of −∇F over v, (B, N): the means of v hᵀ, v and h, where h are means given v."""
    h = params.hidden_units.mean(hidden_inputs(at_unit_temperature(params), v))
    return replace(
        params, weights=v.T @ h / v.shape[0], visible_bias=jnp.mean(v, axis=0), hidden_bias=jnp.mean(h, axis=0)
    )


def require_chains(state: PyTree, *counts: int) -> Array:
    """Return the chains of a state, (*counts, N); ValueError for other numbers, which Gibbs steps would accept."""
    if not isinstance(state, ChainState | FastWeightsState):
        raise ValueError("the state has no chains; keep the negative_phase that the run began with, or train anew")
    shape = state.chains.shape[:-1]
    if shape != counts:
        actual, expected = (" x ".join(map(str, sizes)) for sizes in (shape, counts))
        raise ValueError(
            f"the state has {actual} chains, but the model expects {expected} (temperatures x chains, if tempered); "
            "keep the num_chains and num_temperatures that the run began with, or train anew"
        )
    return state.chains
