"""The deep Boltzmann machine: layers of binary units, of which neighbours are joined by weights.

    p(h⁰ … h^L) ∝ exp(Σₗ hˡᵀ Wₗ hˡ⁺¹ + Σₗ bₗ·hˡ),        h⁰ = v.                                                   (1)

Given the even layers e = (v, h², …) the odd ones o = (h¹, h³, …) are independent, and the other way about, so that it
is the machine of two layers of ``genjax.boltzmann.layers``, e for the visible units and o for the hidden ones, with
blocks of zeros among its weights: samples, normalizers and annealed importance sampling are those of that machine. What
differs is that of e the data tell v alone. For the rest, μ, independent units are assumed, by which

    log p(v) ≥ log p*(e = (v, μ)) + H(μ) − log Z,                                                                 (2)

where p*(e) has o summed out: with o at its best given the means μ, its part of the bound is that sum itself. Turns of

    o ← σ(Wᵀ e + c),        μ ← σ(W o + b) in its part,                                                           (3)

raise the bound to a maximum (mean field). Learning raises it in the parameters, for given μ: the gradient is that of a
machine of two layers whose data are (v, μ) (``negative_phase``).

Started from greedily learned layers (``pretraining``, with ``genjax.latent.greedy_stages``), half of the energy of each
machine is taken, so that layers which two machines explain are not explained twice. That the lowest and the highest
machine, whose outer layers only one explains, come out whole, they learn with two copies of these layers.

Ruslan Salakhutdinov and Geoffrey Hinton 2009, "Deep Boltzmann machines"; centred, they learn without that start:
Grégoire Montavon and Klaus-Robert Müller 2012, "Deep Boltzmann machines and the centering trick".
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import jax
import jax.numpy as jnp
from jax.scipy.special import entr

from genjax.boltzmann import layers as joint
from genjax.boltzmann.annealing import LogPartition, annealed_importance
from genjax.boltzmann.diagnosis import moved
from genjax.boltzmann.layers import MOST_ENUMERATED, Layers, machine
from genjax.boltzmann.negative_phase import NegativePhase, Persistent, likelihood_gap
from genjax.boltzmann.rbm import INITIAL_SCALE, RBM
from genjax.boltzmann.units import BINARY, Binomial, independent
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import check_at_least, check_shape

PART = "machine"


@final
@dataclass(frozen=True, kw_only=True)
class DeepBoltzmannMachine:
    """Deep Boltzmann machine.

    Attributes:
      shape: of one example, without the batch axis.
      num_hidden: units of h¹ … h^L, of two layers at least.
      num_mean_field: turns of equation 3 in training.
      negative_phase: where the samples come from that it unlearns.
      centred: whether the parameters have offsets; see ``RBM``.
      weight_decay: of ½ Σ W².

    >>> model = DeepBoltzmannMachine(shape=(4,), num_hidden=(3, 2))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4))})
    >>> model.log_prob(variables, jnp.zeros((2, 4))).shape
    (2,)
    """

    shape: tuple[int, ...]
    num_hidden: tuple[int, ...]
    num_mean_field: int = 10
    negative_phase: NegativePhase = field(default_factory=Persistent)
    centred: bool = True
    weight_decay: float = 0.0
    discrete = True

    def __post_init__(self) -> None:
        check_shape(self.shape)
        check_at_least("len(num_hidden)", len(self.num_hidden), 2, "; use RBM for one layer")
        for size in self.num_hidden:
            check_at_least("num_hidden", size, 1)
        check_at_least("num_mean_field", self.num_mean_field, 1)
        check_at_least("weight_decay", self.weight_decay, 0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of h⁰ … h^L."""
        return (math.prod(self.shape), *self.num_hidden)

    @property
    def tractable(self) -> bool:
        """Whether ``log_prob`` can add up all states."""
        even, odd = sum(self.sizes[::2]), sum(self.sizes[1::2])
        return max(even - self.sizes[0], min(even, odd)) <= MOST_ENUMERATED

    @property
    def lacks(self) -> tuple[str, ...]:
        """``log_prob``, where enumerating all states takes too long."""
        return () if self.tractable else ("log_prob",)

    @functools.cached_property
    def pretraining(self) -> tuple[RBM, ...]:
        """The machines that layers are learned as, from below; see ``assemble``."""
        machines = []
        for i, (lower, upper) in enumerate(itertools.pairwise(self.sizes)):
            units = Binomial(2) if i == 0 else BINARY
            hidden_units = Binomial(2) if i == len(self.num_hidden) - 1 else BINARY
            options = {"units": units, "hidden_units": hidden_units, "negative_phase": self.negative_phase}
            shape = self.shape if i == 0 else (lower,)
            machines.append(RBM(shape=shape, num_hidden=upper, centred=self.centred, **options))
        return tuple(machines)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables: small weights, hidden biases of 0, visible ones that fit the means of ``batch["x"]``.

        Raises:
          ValueError: for data of another shape, or that are not 0 and 1.
        """
        weights_key, memory_key = jax.random.split(key)
        v = BINARY.encode(batch["x"], self.shape)
        keys = jax.random.split(weights_key, len(self.num_hidden))
        weights = [
            INITIAL_SCALE * jax.random.normal(key, pair)
            for key, pair in zip(keys, itertools.pairwise(self.sizes), strict=True)
        ]
        biases = [BINARY.bias(v), *(jnp.zeros(size) for size in self.num_hidden)]
        # The normalizer's other end: units of the data's means, and of even chances.
        base = jnp.concatenate([biases[0], jnp.zeros(sum(self.sizes[2::2]))])
        offset = jnp.mean(v, axis=0) if self.centred else jnp.zeros_like(biases[0])
        variables = Variables({PART: {"weights": weights, "biases": biases}}, {"base": base, "offset": offset})
        memory = self.negative_phase.init(self.layers(variables), base, memory_key)
        return variables._replace(state={**variables.state, "negative": memory})

    def assemble(self, variables: Variables, machines: Sequence[Variables]) -> Variables:
        """Return variables with half of the energy of each of the machines of ``pretraining``.

        Args:
          variables: what ``init`` returned.
          machines: variables of these machines, from below.
        """
        biases = [jnp.zeros(size) for size in self.sizes]
        weights = []
        for i, (model, learned) in enumerate(zip(self.pretraining, machines, strict=True)):
            layers = model.layers(learned)
            # Of layers in two copies, twice the unit: half of twice is once.
            lower, upper = (2.0 if isinstance(kind, Binomial) else 1.0 for kind in (layers.units, layers.hidden_units))
            weights.append(0.5 * lower * upper * layers.weights)
            biases[i] += 0.5 * lower * layers.visible_bias
            biases[i + 1] += 0.5 * upper * layers.hidden_bias
        biases = [bias + shift for bias, shift in zip(biases, self._shifts(variables, weights), strict=True)]
        return Variables({PART: {"weights": weights, "biases": biases}}, variables.state)

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="likelihood", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Difference of mean energies of (v, μ) and samples, with the odd layers summed out, and a penalty.

        Returns:
          The scalar, whose gradient is that of the bound on average, and the new state with the metrics
          ``free_energy_gap``, the difference alone, and ``reconstruction_error``, the mean squared error of data by the
          means of the odd layers.
        """
        del step
        layers = self.layers(Variables(params, state))
        fixed = jax.lax.stop_gradient(layers)
        means = mean_field(fixed, BINARY.encode(batch["x"], self.shape), self.num_mean_field)
        gap, _, memory = likelihood_gap(self.negative_phase, layers, state["base"], key, means, state["negative"])
        squares = sum(jnp.sum(jnp.square(weights)) for weights in params[PART]["weights"])
        error = jnp.mean(jnp.square(joint.reconstruction(fixed, means) - means)[:, : self.sizes[0]])
        metrics = {"free_energy_gap": gap, "reconstruction_error": error}
        return gap + 0.5 * self.weight_decay * squares, (state | {"negative": memory}, metrics)

    def layers(self, variables: Variables) -> Layers:
        """Return the machine of two layers, of the even layers (v, h², …) and the odd ones (h¹, h³, …)."""
        weights, biases = variables.params[PART]["weights"], variables.params[PART]["biases"]
        biases = [bias - shift for bias, shift in zip(biases, self._shifts(variables, weights), strict=True)]

        def block(even: int, odd: int) -> Array:
            if odd == even + 1:
                return weights[even]
            if odd == even - 1:
                return weights[odd].T
            return jnp.zeros((self.sizes[even], self.sizes[odd]))

        count = len(self.sizes)
        blocks = [[block(even, odd) for odd in range(1, count, 2)] for even in range(0, count, 2)]
        return Layers(jnp.block(blocks), jnp.concatenate(biases[::2]), jnp.concatenate(biases[1::2]))

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(x), nats, (B,): exactly, by adding up all states of hidden units.

        Raises:
          ValueError: where these are more than 25 in the even layers, or in both the even layers and the odd ones.
        """
        layers, v = self.layers(variables), BINARY.encode(x, self.shape)
        num_states = sum(self.sizes[2::2])
        if num_states > MOST_ENUMERATED:
            raise ValueError(
                f"exact likelihoods add up 2^{num_states} states, but 2^{MOST_ENUMERATED} are the limit; "
                "use log_prob_lower_bound"
            )

        def with_hidden(h: Array) -> Array:  # (M, H) to (M, B)
            pairs = jnp.concatenate([jnp.tile(v, (len(h), 1)), jnp.repeat(h, len(v), axis=0)], axis=1)
            return joint.log_of_visible(machine(layers), pairs).reshape(len(h), len(v))

        return joint.log_sum_over_states(num_states, with_hidden) - joint.log_partition(layers)

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        *,
        num_mean_field: int = 50,
        num_particles: int = 100,
        num_temperatures: int = 10_000,
    ) -> Array:
        """Return equation 2, nats, (B,).

        The normalizer is exact where ``tractable``; else it is the upper end of its interval by annealed importance
        sampling, so that the bound holds with that confidence.

        Args:
          variables: what ``init``, ``assemble`` or training returned.
          key: typed key.
          x: (B, *shape).
          num_mean_field: turns of equation 3.
          num_particles: of annealed importance sampling.
          num_temperatures: likewise.
        """
        layers = self.layers(variables)
        means = mean_field(layers, BINARY.encode(x, self.shape), num_mean_field)
        if self.tractable:
            log_z = joint.log_partition(layers)
        else:
            found = self.log_partition_estimate(variables, key, num_particles, num_temperatures=num_temperatures)
            log_z = found.high
        return joint.log_of_visible(machine(layers), means) + self._entropy(means) - log_z

    def log_partition_estimate(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        num_temperatures: int = 10_000,
        backwards_from: Array | None = None,
    ) -> LogPartition:
        """Return log Z with its interval; see ``genjax.boltzmann.annealing``.

        Args:
          variables: what ``init``, ``assemble`` or training returned.
          key: typed key.
          num_samples: particles.
          num_temperatures: between independent units and the machine.
          backwards_from: samples of ``sample_even`` that are carried from the machine to independent units, for the
            other end of a bracket; None for the usual direction.
        """
        layers, base = self.layers(variables), variables.state["base"]
        return annealed_importance(
            layers,
            base,
            key,
            num_particles=num_samples,
            num_temperatures=num_temperatures,
            backwards_from=backwards_from,
        )

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Tell whether chains move, as ``moved``; see ``genjax.boltzmann.diagnosis``."""
        layers, state = self.layers(variables), variables.state
        means = mean_field(layers, BINARY.encode(batch["x"], self.shape), self.num_mean_field)
        return {"moved": moved(layers, self.negative_phase, state["base"], key, means, state["negative"])}

    def sample(
        self, variables: Variables, key: Array, num_samples: int, *, num_steps: int = 1_000, mean: bool = False
    ) -> Array:
        """Draw from the model by Gibbs sampling, from independent units of the data's means.

        Args:
          variables: what ``init``, ``assemble`` or training returned.
          key: typed key.
          num_samples: number of chains, of which each gives one sample, N.
          num_steps: sweeps of even and odd layers.
          mean: whether to return means of the visible units at last, which look smoother.

        Returns:
          Samples (N, *shape).
        """
        walk_key, last_key = jax.random.split(key)
        even = self.sample_even(variables, walk_key, num_samples, num_steps=num_steps)
        if mean:
            even = joint.sweep_to_means(machine(self.layers(variables)), last_key, even)
        return BINARY.decode(even[:, : self.sizes[0]], self.shape)

    def sample_even(self, variables: Variables, key: Array, num_samples: int, *, num_steps: int = 1_000) -> Array:
        """Draw all even layers, as ``sample`` does: (N, sum of their sizes), v first."""
        check_at_least("num_samples", num_samples, 1)
        check_at_least("num_steps", num_steps, 1)
        start_key, walk_key = jax.random.split(key)
        start = independent(BINARY, variables.state["base"], start_key, num_samples)
        return joint.sweeps(machine(self.layers(variables)), walk_key, start, num_steps)

    def encode(self, variables: Variables, x: Array, *, num_mean_field: int = 50) -> Array:
        """Return the means of all hidden units of equation 3, from below: (B, sum(num_hidden)), for x (B, *shape)."""
        layers = self.layers(variables)
        even = mean_field(layers, BINARY.encode(x, self.shape), num_mean_field)
        odd = BINARY.mean(joint.hidden_inputs(machine(layers), even))
        each = [self._split(even, 0), self._split(odd, 1)]
        return jnp.concatenate([each[i % 2][i // 2] for i in range(1, len(self.sizes))], axis=1)

    def _split(self, units: Array, first: int) -> list[Array]:
        """Return the layers of all even (first = 0) or all odd units (first = 1)."""
        ends = list(itertools.accumulate(self.sizes[first::2]))
        return jnp.split(units, ends[:-1], axis=1)

    def _shifts(self, variables: Variables, weights: Sequence[Array]) -> list[Array]:
        """Return what centred biases of each layer have more than plain ones: weights times its neighbours' offsets."""
        if not self.centred:
            return [jnp.zeros(size) for size in self.sizes]
        offsets = [variables.state["offset"], *(jnp.full(size, 0.5) for size in self.num_hidden)]
        shifts = [jnp.zeros(size) for size in self.sizes]
        for i, joined in enumerate(weights):
            shifts[i] += joined @ offsets[i + 1]
            shifts[i + 1] += offsets[i] @ joined
        return shifts

    def _entropy(self, means: Array) -> Array:
        """Return H(μ) of equation 2, nats, (B,), for all even layers."""
        hidden = means[:, self.sizes[0] :]
        return jnp.sum(entr(hidden) + entr(1 - hidden), axis=-1)


def mean_field(layers: Layers, v: Array, num_steps: int) -> Array:
    """Return the even layers (B, N): v (B, V), and the means μ of the others after so many turns of equation 3."""
    num_visible = v.shape[1]
    from_v = v @ layers.weights[:num_visible] + layers.hidden_bias[None]
    weights, bias = layers.weights[num_visible:], layers.visible_bias[num_visible:]

    def turn(means: Array, _: None) -> tuple[Array, None]:
        odd = BINARY.mean(from_v + means @ weights)
        return BINARY.mean(odd @ weights.T + bias[None]), None

    start = jnp.broadcast_to(BINARY.mean(bias), (len(v), len(bias)))
    return jnp.concatenate([v, jax.lax.scan(turn, start, length=num_steps)[0]], axis=1)
