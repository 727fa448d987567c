"""The deep Boltzmann machine: layers of binary units with connections between neighbouring layers.

    p(h⁰ … h^L) ∝ exp(Σₗ hˡᵀ Wₗ hˡ⁺¹ + Σₗ bₗ·hˡ),        h⁰ = v.                                                   (1)

Given the even layers e = (v, h², …), the odd layers o = (h¹, h³, …) are independent, and vice versa. The model is thus
a two-layer one (``genjax.boltzmann.bipartite``), with e for the visible units, o for the hidden units, and blocks of
zeros among its weights; samples, log Z and annealed importance sampling are those of that model. But the data determine
only v among e. For the rest, a factorial posterior with means μ gives the bound

    log p(v) ≥ log p*(e = (v, μ)) + H(μ) − log Z,                                                                 (2)

where p*(e) has o summed out: the best factorial posterior of o given μ contributes exactly that sum. Alternating

    o ← σ(Wᵀ e + c),        μ ← σ(W o + b), restricted to the entries of μ,                                       (3)

raises the bound to a maximum (mean field). Learning raises it in the parameters for fixed μ, with the gradient of a
two-layer model whose data are (v, μ) (``negative_phase``).

With greedy pretraining (``pretraining``, by ``genjax.latent.greedy_stages``), the model takes half the energy of each
restricted Boltzmann machine, because two of them explain each intermediate layer. The lowest and the highest layer are
explained by only one, which therefore learns with two copies of that layer.

Ruslan Salakhutdinov and Geoffrey Hinton 2009, "Deep Boltzmann machines"; training without pretraining by centring:
Grégoire Montavon and Klaus-Robert Müller 2012, "Deep Boltzmann machines and the centering trick".
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr

from genjax.arguments import ExampleShape, NonNegativeFloat, PositiveInt, check_arguments
from genjax.boltzmann import bipartite
from genjax.boltzmann.annealing import annealed_importance_sampling
from genjax.boltzmann.bipartite import MAX_ENUMERATED_UNITS, EnumeratesStates, RBMParams, at_unit_temperature
from genjax.boltzmann.diagnosis import chain_movement
from genjax.boltzmann.negative_phase import NegativePhase, Persistent, free_energy_gap
from genjax.boltzmann.rbm import INITIAL_SCALE, RBM, LayerSizes
from genjax.boltzmann.units import BINARY, BinomialUnits, sample_independent
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops.importance import LogPartition, NumParticles

PART = "machine"


class DBMState(NamedTuple):
    """State of a ``DeepBoltzmannMachine``.

    Only ``negative_phase`` changes in training; ``init`` fixes the others.

    Attributes:
      base_bias: base-rate biases of the even layers, (N,), from which sampling and annealing start.
      visible_offset: offsets of the visible units, (V,); zeros unless centred. Those of hidden units are ½.
      negative_phase: state of the negative phase, such as ``ChainState``.
    """

    base_bias: Array
    visible_offset: Array
    negative_phase: PyTree


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class DeepBoltzmannMachine(EnumeratesStates):
    """Deep Boltzmann machine of binary units (Salakhutdinov & Hinton 2009).

    Attributes:
      num_hidden: number of units in each of h¹ … h^L, at least two layers.
      num_mean_field: number of mean-field updates (equation 3) in training.

    Other attributes: see ``RBM``.

    >>> model = DeepBoltzmannMachine(shape=(4,), num_hidden=(3, 2))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4))})
    >>> model.log_prob(variables, jnp.zeros((2, 4))).shape
    (2,)
    """

    shape: ExampleShape
    num_hidden: LayerSizes
    num_mean_field: PositiveInt = 10
    negative_phase: NegativePhase = field(default_factory=Persistent)
    centred: bool = True
    weight_decay: NonNegativeFloat = 0.0
    discrete = True

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of units in each of h⁰ … h^L."""
        return (math.prod(self.shape), *self.num_hidden)

    @property
    def tractable(self) -> bool:
        """Whether the layers are small enough for ``log_prob`` to enumerate their states."""
        even, odd = sum(self.sizes[::2]), sum(self.sizes[1::2])
        return max(even - self.sizes[0], min(even, odd)) <= MAX_ENUMERATED_UNITS

    @functools.cached_property
    def pretraining(self) -> tuple[RBM, ...]:
        """Restricted Boltzmann machines that the layers are pretrained as, from below; see ``assemble``."""
        stack = []
        for i, (lower, upper) in enumerate(itertools.pairwise(self.sizes)):
            units = BinomialUnits(2) if i == 0 else BINARY
            hidden_units = BinomialUnits(2) if i == len(self.num_hidden) - 1 else BINARY
            options = {"units": units, "hidden_units": hidden_units, "negative_phase": self.negative_phase}
            shape = self.shape if i == 0 else (lower,)
            stack.append(RBM(shape=shape, num_hidden=upper, centred=self.centred, **options))
        return tuple(stack)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make small weights, hidden biases of 0, and visible biases that fit the means of ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape, or values other than 0 and 1.
        """
        weights_key, phase_key = jax.random.split(key)
        v = BINARY.encode(batch["x"], self.shape)
        keys = jax.random.split(weights_key, len(self.num_hidden))
        pairs = zip(keys, itertools.pairwise(self.sizes), strict=True)
        weights = [INITIAL_SCALE * jax.random.normal(key, pair, v.dtype) for key, pair in pairs]
        biases = [BINARY.fit_bias(v), *(jnp.zeros(size, v.dtype) for size in self.num_hidden)]
        state = DBMState(
            base_bias=jnp.concatenate([biases[0], jnp.zeros(sum(self.sizes[2::2]), v.dtype)]),
            visible_offset=jnp.mean(v, axis=0) if self.centred else jnp.zeros_like(biases[0]),
            negative_phase={},
        )
        variables = Variables({PART: {"weights": weights, "biases": biases}}, state)
        phase_state = self.negative_phase.init(self.rbm_params(variables), state.base_bias, phase_key)
        return variables._replace(state=state._replace(negative_phase=phase_state))

    def assemble(self, variables: Variables, stack: Sequence[Variables]) -> Variables:
        """Return variables with half the energy of each of the pretrained machines.

        ``variables`` are those of ``init``, and ``stack`` those of the machines of ``pretraining``, from below.
        """
        biases = [jnp.zeros(size) for size in self.sizes]
        weights = []
        for i, (model, trained) in enumerate(zip(self.pretraining, stack, strict=True)):
            params = model.rbm_params(trained)
            # Two copies of a layer double its units, so half the energy of both is that of one.
            kinds = (params.units, params.hidden_units)
            lower, upper = (2.0 if isinstance(kind, BinomialUnits) else 1.0 for kind in kinds)
            weights.append(0.5 * lower * upper * params.weights)
            biases[i] += 0.5 * lower * params.visible_bias
            biases[i + 1] += 0.5 * upper * params.hidden_bias
        biases = [bias + shift for bias, shift in zip(biases, self._shifts(variables, weights), strict=True)]
        return Variables({PART: {"weights": weights, "biases": biases}}, variables.state)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only objective, ``likelihood``."""
        return (Objective(name="likelihood", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the mean free energy of (v, μ) minus that of the samples, with o summed out, plus a penalty.

        Its expected gradient is minus that of the bound. Metrics are ``free_energy_gap``, the loss without the penalty,
        and ``reconstruction_error``, the mean squared error of v reconstructed from the means of the odd layers.
        """
        del step
        rbm_params = self.rbm_params(Variables(params, state))
        fixed = jax.lax.stop_gradient(rbm_params)
        means = mean_field(fixed, BINARY.encode(batch["x"], self.shape), self.num_mean_field)
        gap, _, state = free_energy_gap(self.negative_phase, rbm_params, key, means, state)
        squares = sum(jnp.sum(jnp.square(weights)) for weights in params[PART]["weights"])
        error = jnp.mean(jnp.square(bipartite.reconstruction(fixed, means) - means)[:, : self.sizes[0]])
        metrics = {"free_energy_gap": gap, "reconstruction_error": error}
        return gap + 0.5 * self.weight_decay * squares, (state, metrics)

    def rbm_params(self, variables: Variables) -> RBMParams:
        """Return the parameters of the two-layer model of the even layers (v, h², …) and the odd ones (h¹, h³, …)."""
        weights, biases = variables.params[PART]["weights"], variables.params[PART]["biases"]
        biases = [bias - shift for bias, shift in zip(biases, self._shifts(variables, weights), strict=True)]

        def block(even: int, odd: int) -> Array:
            if odd == even + 1:
                return weights[even]
            if odd == even - 1:
                return weights[odd].T
            return jnp.zeros((self.sizes[even], self.sizes[odd]), weights[0].dtype)

        count = len(self.sizes)
        blocks = [[block(even, odd) for odd in range(1, count, 2)] for even in range(0, count, 2)]
        return RBMParams(jnp.block(blocks), jnp.concatenate(biases[::2]), jnp.concatenate(biases[1::2]))

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(x) exactly, nats, (B,), by enumerating the states of hidden units.

        Raises:
          ValueError: if more than 25 hidden units are in the even layers, or more than 25 units in the even layers and
            in the odd layers.
        """
        params, v = self.rbm_params(variables), BINARY.encode(x, self.shape)
        num_enumerated = sum(self.sizes[2::2])
        bipartite.check_enumerable(num_enumerated, "use log_prob_lower_bound")
        log_values = functools.partial(bipartite.log_unnormalized_visible, at_unit_temperature(params))
        return bipartite.log_sum_over_hidden(num_enumerated, v, log_values) - bipartite.log_partition(params)

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        *,
        num_mean_field: PositiveInt = 50,
        num_particles: NumParticles = 100,
        num_temperatures: PositiveInt = 10_000,
    ) -> Array:
        """Return equation 2, nats, (B,).

        ``num_mean_field`` is the number of updates by equation 3. log Z is exact if ``tractable``. Otherwise it is the
        upper end of a 99 % interval by ``annealed_importance_sampling``, and the bound holds with that confidence.
        """
        params = self.rbm_params(variables)
        means = mean_field(params, BINARY.encode(x, self.shape), num_mean_field)
        if self.tractable:
            log_z = bipartite.log_partition(params)
        else:
            log_z = self.log_partition_estimate(variables, key, num_particles, num_temperatures=num_temperatures).high
        log_values = bipartite.log_unnormalized_visible(at_unit_temperature(params), means)
        hidden = means[:, self.sizes[0] :]
        entropy = jnp.sum(entr(hidden) + entr(1 - hidden), axis=-1)  # H(μ)
        return log_values + entropy - log_z

    def log_partition_estimate(
        self,
        variables: Variables,
        key: Array,
        num_samples: NumParticles,
        *,
        num_temperatures: PositiveInt = 10_000,
        backwards_from: Array | None = None,
    ) -> LogPartition:
        """Estimate log Z with an interval; see ``RBM.log_partition_estimate``.

        ``backwards_from`` are samples from ``sample_even``, (P, N), for the reverse direction.
        """
        return annealed_importance_sampling(
            self.rbm_params(variables),
            variables.state.base_bias,
            key,
            num_particles=num_samples,
            num_temperatures=num_temperatures,
            backwards_from=backwards_from,
        )

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Measure ``chain_movement``; see ``genjax.boltzmann.diagnosis``."""
        params = self.rbm_params(variables)
        means = mean_field(params, BINARY.encode(batch["x"], self.shape), self.num_mean_field)
        return {"chain_movement": chain_movement(params, self.negative_phase, key, means, variables.state)}

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        num_steps: PositiveInt = 1_000,
        mean: bool = False,
    ) -> Array:
        """Draw samples, (N, *shape), by Gibbs sampling, started from independent units that match the data's means.

        Args:
          variables: variables from ``init``, ``assemble`` or training.
          key: typed key.
          num_samples: number of samples, N, each the end of its own chain.
          num_steps: number of Gibbs steps, each of the odd and then the even layers.
          mean: whether to return the means of the visible units, which look smoother, in place of the last draw.
        """
        chain_key, last_key = jax.random.split(key)
        even = self.sample_even(variables, chain_key, num_samples, num_steps=num_steps)
        if mean:
            even = bipartite.gibbs_step_mean(at_unit_temperature(self.rbm_params(variables)), last_key, even)
        return BINARY.decode(even[:, : self.sizes[0]], self.shape)

    def sample_even(
        self, variables: Variables, key: Array, num_samples: PositiveInt, *, num_steps: PositiveInt = 1_000
    ) -> Array:
        """Draw all even layers, v first, (N, sum of their sizes); see ``sample``."""
        start_key, chain_key = jax.random.split(key)
        start = sample_independent(BINARY, variables.state.base_bias, start_key, num_samples)
        return bipartite.gibbs_chain(at_unit_temperature(self.rbm_params(variables)), chain_key, start, num_steps)

    def encode(self, variables: Variables, x: Array, *, num_mean_field: PositiveInt = 50) -> Array:
        """Return the mean-field means of h¹ … h^L, concatenated, (B, sum(num_hidden)), for data x, (B, *shape)."""
        params = self.rbm_params(variables)
        even = mean_field(params, BINARY.encode(x, self.shape), num_mean_field)
        odd = BINARY.mean(bipartite.hidden_inputs(at_unit_temperature(params), even))
        sides = enumerate((even, odd))
        layers = [jnp.split(units, np.cumsum(self.sizes[first::2])[:-1], axis=1) for first, units in sides]
        return jnp.concatenate([layers[i % 2][i // 2] for i in range(1, len(self.sizes))], axis=1)

    def _shifts(self, variables: Variables, weights: Sequence[Array]) -> list[Array]:
        """Return centred biases minus plain biases of each layer: its weights times the offsets of its neighbours."""
        dtype = weights[0].dtype
        shifts = [jnp.zeros(size, dtype) for size in self.sizes]
        if not self.centred:
            return shifts
        offsets = [variables.state.visible_offset, *(jnp.full(size, 0.5, dtype) for size in self.num_hidden)]
        for i, w in enumerate(weights):
            shifts[i] += w @ offsets[i + 1]
            shifts[i + 1] += offsets[i] @ w
        return shifts


def mean_field(params: RBMParams, v: Array, num_updates: int) -> Array:
    """Return the even layers, (B, N): v, (B, V), and the means μ of the others after updates by equation 3."""
    num_visible = v.shape[1]
    from_v = v @ params.weights[:num_visible] + params.hidden_bias[None]
    weights, bias = params.weights[num_visible:], params.visible_bias[num_visible:]

    def update(means: Array, _: None) -> tuple[Array, None]:
        odd = BINARY.mean(from_v + means @ weights)
        return BINARY.mean(odd @ weights.T + bias[None]), None

    start = jnp.broadcast_to(BINARY.mean(bias), (v.shape[0], bias.shape[0]))
    return jnp.concatenate([v, jax.lax.scan(update, start, length=num_updates)[0]], axis=1)
