"""Where the samples come from that a machine unlearns.

The gradient of the log-likelihood is a difference, of means over data and over the machine,

    ∇ log p(v) = −∇F(v) + E_{v' ~ p} ∇F(v'),        F(v) = −log of p(v), but for log Z,                           (1)

and what follows draws the v':

* ``ContrastiveDivergence``: a few sweeps of Gibbs sampling from the data themselves (Geoffrey Hinton 2002, "Training
  products of experts by minimizing contrastive divergence"). Biased: modes far from the data are never seen.
* ``Persistent``: a few sweeps from where the last update left off, while the machine moves slowly (Tijmen Tieleman
  2008, "Training restricted Boltzmann machines using approximations to the likelihood gradient").
* ``FastWeights``: the same under W + W′, where W′ learns quickly and decays quickly, so that chains leave where they
  are (Tijmen Tieleman and Geoffrey Hinton 2009, "Using fast weights to improve persistent contrastive divergence").
* ``ParallelTempering``: chains at several temperatures of the path of ``layers``, from independent units to the
  machine, of which neighbours trade places by Metropolis' rule (Guillaume Desjardins, Aaron Courville, Yoshua Bengio,
  Pascal Vincent and Olivier Delalleau 2010, "Tempered Markov chain Monte Carlo for training of restricted Boltzmann
  machines").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, final

import jax
import jax.numpy as jnp

from genjax.boltzmann.layers import Layers, Path, hidden_inputs, log_of_visible, machine, sweep, sweeps
from genjax.boltzmann.units import independent
from genjax.core import Array, PyTree
from genjax.ops import check_at_least, check_positive


class NegativePhase(Protocol):
    """A rule that draws from a machine while it learns."""

    def init(self, layers: Layers, base: Array, key: Array) -> PyTree:
        """Return what it remembers from one update to the next; an empty tree for nothing."""
        ...

    def draw(self, layers: Layers, base: Array, key: Array, v: Array, memory: PyTree) -> tuple[Array, PyTree]:
        """Return samples (M, N) for data v (B, N), and the new memory."""
        ...


@final
@dataclass(frozen=True)
class ContrastiveDivergence:
    """CD-k.

    Attributes:
      num_steps: k.
    """

    num_steps: int = 1

    def __post_init__(self) -> None:
        check_at_least("num_steps", self.num_steps, 1)

    def init(self, layers: Layers, base: Array, key: Array) -> PyTree:
        """See ``NegativePhase``."""
        del layers, base, key
        return {}

    def draw(self, layers: Layers, base: Array, key: Array, v: Array, memory: PyTree) -> tuple[Array, PyTree]:
        """See ``NegativePhase``."""
        del base
        return sweeps(machine(layers), key, v, self.num_steps), memory


@final
@dataclass(frozen=True)
class Persistent:
    """PCD-k.

    Attributes:
      num_chains: M; as many as a minibatch has examples is usual.
      num_steps: k, between two updates.
    """

    num_chains: int = 100
    num_steps: int = 1

    def __post_init__(self) -> None:
        check_at_least("num_chains", self.num_chains, 1)
        check_at_least("num_steps", self.num_steps, 1)

    def init(self, layers: Layers, base: Array, key: Array) -> PyTree:
        """See ``NegativePhase``."""
        return {"chains": independent(layers.units, base, key, self.num_chains)}

    def draw(self, layers: Layers, base: Array, key: Array, v: Array, memory: PyTree) -> tuple[Array, PyTree]:
        """See ``NegativePhase``."""
        del base, v
        chains = sweeps(machine(layers), key, chains_in(memory, self.num_chains), self.num_steps)
        return chains, {"chains": chains}


@final
@dataclass(frozen=True)
class FastWeights:
    """FPCD.

    Attributes:
      num_chains: see ``Persistent``.
      learning_rate: of W′.
      decay: of W′, from update to update.
    """

    num_chains: int = 100
    learning_rate: float = 0.01
    decay: float = 0.95

    def __post_init__(self) -> None:
        check_at_least("num_chains", self.num_chains, 1)
        check_positive("learning_rate", self.learning_rate, "; 0.01 is usual")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}, but must be in [0, 1); 0.95 is usual")

    def init(self, layers: Layers, base: Array, key: Array) -> PyTree:
        """See ``NegativePhase``."""
        fast = jax.tree.map(jnp.zeros_like, layers)
        return {"chains": independent(layers.units, base, key, self.num_chains), "fast": fast.params}

    def draw(self, layers: Layers, base: Array, key: Array, v: Array, memory: PyTree) -> tuple[Array, PyTree]:
        """See ``NegativePhase``."""
        del base
        start, fast = chains_in(memory, self.num_chains), replace(layers, **memory["fast"])
        both = jax.tree.map(jnp.add, layers, fast)
        chains = sweep(machine(both), key, start)
        # Equation 1 of the machine that learns: both sides by its own weights.
        moved = jax.tree.map(
            lambda w, of_data, of_model: self.decay * w + self.learning_rate * (of_data - of_model),
            fast,
            statistics(layers, v),
            statistics(layers, chains),
        )
        return chains, {"chains": chains, "fast": moved.params}


@final
@dataclass(frozen=True)
class ParallelTempering:
    """Chains at several temperatures.

    Attributes:
      num_chains: M, at each temperature.
      num_temperatures: evenly from β = 0 to β = 1.
      num_steps: sweeps between two updates; after each there is a trade.
    """

    num_chains: int = 100
    num_temperatures: int = 10
    num_steps: int = 1

    def __post_init__(self) -> None:
        check_at_least("num_chains", self.num_chains, 1)
        check_at_least("num_temperatures", self.num_temperatures, 2, "; use Persistent for one")
        check_at_least("num_steps", self.num_steps, 1)

    def init(self, layers: Layers, base: Array, key: Array) -> PyTree:
        """See ``NegativePhase``."""
        start = independent(layers.units, base, key, self.num_temperatures * self.num_chains)
        return {"chains": start.reshape(self.num_temperatures, self.num_chains, -1)}

    def draw(self, layers: Layers, base: Array, key: Array, v: Array, memory: PyTree) -> tuple[Array, PyTree]:
        """See ``NegativePhase``."""
        del v
        start = chains_in(memory, self.num_temperatures, self.num_chains)

        def step(chains: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
            key, number = now
            return self._step(layers, base, key, number, chains), None

        first_key, key = jax.random.split(key)
        keys = jax.random.split(key, self.num_steps)
        first = jax.random.bernoulli(first_key).astype(jnp.int32)  # whether odd or even pairs, which then take turns
        chains, _ = jax.lax.scan(step, start, (keys, first + jnp.arange(self.num_steps)))
        return chains[-1], {"chains": chains}

    def _step(self, layers: Layers, base: Array, key: Array, number: Array, chains: Array) -> Array:
        """One sweep at every temperature, then a trade between every other pair of neighbours."""
        sweep_key, trade_key = jax.random.split(key)
        betas = jnp.linspace(0.0, 1.0, self.num_temperatures)
        at = lambda beta: Path(layers, base, beta)  # noqa: E731
        keys = jax.random.split(sweep_key, self.num_temperatures)
        chains = jax.vmap(lambda beta, key, v: sweep(at(beta), key, v))(betas, keys, chains)
        # Rows are temperatures; log p of each chain at its own, the one above and the one below.
        log_prob = jax.vmap(lambda beta, v: log_of_visible(at(beta), v))
        own, above = log_prob(betas, chains), log_prob(jnp.roll(betas, -1), chains)
        below = log_prob(jnp.roll(betas, 1), chains)
        gain = above[:-1] + below[1:] - own[:-1] - own[1:]  # of a trade between rows i and i + 1
        uniform = jax.random.uniform(trade_key, gain.shape)
        pair = jnp.arange(self.num_temperatures - 1)
        trades = (jnp.log(uniform) < gain) & ((pair + number) % 2 == 0)[:, None]
        up = jnp.concatenate([trades, jnp.zeros_like(trades[:1])])[..., None]  # row i takes from i + 1
        down = jnp.concatenate([jnp.zeros_like(trades[:1]), trades])[..., None]
        return jnp.where(up, jnp.roll(chains, -1, axis=0), jnp.where(down, jnp.roll(chains, 1, axis=0), chains))


def likelihood_gap(
    phase: NegativePhase, layers: Layers, base: Array, key: Array, v: Array, memory: PyTree
) -> tuple[Array, Array, PyTree]:
    """Return a scalar with the gradient of equation 1 but for its sign, as a loss has it, samples, and the new memory.

    The scalar is the mean free energy of data v (B, N) less that of samples; its value tells little.
    """
    samples, memory = phase.draw(jax.lax.stop_gradient(layers), base, key, v, memory)
    samples = jax.lax.stop_gradient(samples)
    log_prob = lambda v: jnp.mean(log_of_visible(machine(layers), v))  # noqa: E731
    return log_prob(samples) - log_prob(v), samples, memory


def statistics(layers: Layers, v: Array) -> Layers:
    """Return the mean of −∇F over v (B, N): of v hᵀ, v and h, with the means of h."""
    h = layers.hidden_units.mean(hidden_inputs(machine(layers), v))
    return replace(layers, weights=v.T @ h / len(v), visible_bias=jnp.mean(v, axis=0), hidden_bias=jnp.mean(h, axis=0))


def chains_in(memory: PyTree, *counts: int) -> Array:
    """Return the chains that were remembered, (*counts, N).

    Raises:
      ValueError: where there are others than the model asks for: sweeps would go on with however many there are.
    """
    if "chains" not in memory:
        raise ValueError("no chains were remembered; keep the negative_phase that the run began with, or train anew")
    found = memory["chains"].shape[:-1]
    if found != counts:
        told = [" x ".join(map(str, shape)) for shape in (found, counts)]
        raise ValueError(
            f"{told[0]} chains were remembered, but the model asks for {told[1]} (temperatures x chains, where "
            "tempered); give it the num_chains and num_temperatures that the run began with, or train anew"
        )
    return memory["chains"]
