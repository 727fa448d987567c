"""The restricted Boltzmann machine.

Visible units v of any kind (``units``) and hidden units h, binary by default, without connections within a layer:

    p(v, h) = m(v) exp(vᵀ W h + b·v + c·h) / Z,        F(v) = −log m(v) − b·v − Σⱼ log(1 + exp(Wᵀ v + c)ⱼ),         (1)
    log p(v) = −F(v) − log Z,        −∇ log p(v) = ∇F(v) − E_{v' ~ p} ∇F(v').                                     (2)

The last expectation needs samples in training (``negative_phase``). The loss is the mean free energy of the data minus
that of the samples: its gradient is that of (2), but its value is no measure of the fit. The likelihood needs log Z,
which is exact where one layer has at most 25 binary units, and otherwise estimated by annealed importance sampling
(``annealing``). The reconstruction error does not replace it: it may fall while the likelihood falls.

Centred models have the parameters b̃ and c̃ of equation 5 of ``bipartite``, where μ is the mean of the first minibatch
and λ the mean of the hidden units without input. They learn a data set and its negative equally well.

Paul Smolensky 1986, "Information processing in dynamical systems: foundations of harmony theory"; Geoffrey Hinton 2010,
"A practical guide to training restricted Boltzmann machines"; centring: Grégoire Montavon and Klaus-Robert Müller 2012,
"Deep Boltzmann machines and the centering trick".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, final

import jax
import jax.numpy as jnp
from annotated_types import Gt, Lt, MinLen

from genjax.arguments import Cure, ExampleShape, NonNegativeFloat, PositiveInt, check_arguments
from genjax.boltzmann import bipartite
from genjax.boltzmann.annealing import annealed_importance_sampling
from genjax.boltzmann.bipartite import EnumeratesStates, RBMParams, TemperedRBM, at_unit_temperature
from genjax.boltzmann.diagnosis import diagnose
from genjax.boltzmann.negative_phase import NegativePhase, Persistent, free_energy_gap
from genjax.boltzmann.units import BinaryUnits, Units, sample_independent
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import known_values
from genjax.ops.importance import LogPartition, NumParticles

PART = "rbm"
INITIAL_SCALE = 0.01  # standard deviation of the initial weights: Hinton (2010), section 8

LayerSizes = Annotated[tuple[PositiveInt, ...], MinLen(2), Cure("; use RBM for one layer")]  # of a deep model
Sparsity = Annotated[float, Gt(0), Lt(1), Cure("; 0.1 is usual, None turns it off")]


class RBMState(NamedTuple):
    """State of an ``RBM``, of a ``ClassRBM``, and of the top of a ``DeepBeliefNet``.

    Only ``negative_phase`` changes in training; ``init`` fixes the others.

    Attributes:
      base_bias: base-rate biases of the visible units, (N,), from which sampling and annealing start.
      hidden_base_bias: base-rate biases of the hidden units, (H,).
      visible_offset: μ, (N,); zeros unless centred.
      hidden_offset: λ, (H,); zeros unless centred.
      negative_phase: state of the negative phase, such as ``ChainState``.
    """

    base_bias: Array
    hidden_base_bias: Array
    visible_offset: Array
    hidden_offset: Array
    negative_phase: PyTree


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class RBM(EnumeratesStates):
    """Restricted Boltzmann machine (Smolensky 1986).

    Attributes:
      shape: shape of one example, without the batch axis.
      num_hidden: number of hidden units, H.
      units: kind of the visible units.
      hidden_units: kind of the hidden units.
      negative_phase: rule that draws the samples of equation 2.
      centred: whether the parameters have offsets.
      sparsity: target for the mean of each hidden unit over a minibatch, in (0, 1); None for no such penalty.
      sparsity_weight: weight of the squared distance to that target, summed over hidden units (Honglak Lee, Chaitanya
        Ekanadham and Andrew Ng 2007, "Sparse deep belief net model for visual area V2").
      weight_decay: weight of ½ Σ W².

    >>> model = RBM(shape=(4,), num_hidden=3)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4))})
    >>> model.log_prob(variables, jnp.zeros((2, 4))).shape
    (2,)
    """

    shape: ExampleShape
    num_hidden: PositiveInt
    units: Units = field(default_factory=BinaryUnits)
    hidden_units: Units = field(default_factory=BinaryUnits)
    negative_phase: NegativePhase = field(default_factory=Persistent)
    centred: bool = True
    sparsity: Sparsity | None = None
    sparsity_weight: NonNegativeFloat = 0.1
    weight_decay: NonNegativeFloat = 0.0

    @property
    def discrete(self) -> bool:
        """Whether log-likelihoods are log-masses rather than log-densities."""
        return self.units.discrete

    @property
    def tractable(self) -> bool:
        """Whether a layer is small enough for ``log_prob`` to enumerate its states."""
        size = bipartite.num_enumerated_units(self.units, self.num_visible, self.hidden_units, self.num_hidden)
        return size is not None and size <= bipartite.MAX_ENUMERATED_UNITS

    @property
    def num_visible(self) -> int:
        """Number of entries of the visible units, N; softmax units have K for each value."""
        return self.units.num_entries(math.prod(self.shape))

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make small weights, hidden biases of 0, and visible biases that fit the means of ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape, or values that the units cannot take.
        """
        weights_key, phase_key = jax.random.split(key)
        v = self.units.encode(batch["x"], self.shape)
        base_bias = self.units.fit_bias(v)
        params = initial_params(weights_key, base_bias, self.num_hidden)
        no_inputs = jnp.zeros((1, self.num_hidden), v.dtype)
        state = RBMState(
            base_bias=jnp.array(base_bias),  # a copy of the visible biases, because learners donate their buffers
            hidden_base_bias=no_inputs[0],
            visible_offset=jnp.mean(v, axis=0) if self.centred else jnp.zeros_like(base_bias),
            hidden_offset=self.hidden_units.mean(no_inputs)[0] if self.centred else no_inputs[0],
            negative_phase={},
        )
        rbm_params = self.rbm_params(Variables({PART: params}, state))
        phase_state = self.negative_phase.init(rbm_params, base_bias, phase_key)
        return Variables({PART: params}, state._replace(negative_phase=phase_state))

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only objective, ``likelihood``."""
        return (Objective(name="likelihood", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the mean free energy of data minus that of samples, plus penalties; equation 2 is its gradient.

        Metrics are ``free_energy_gap``, the loss without penalties, and ``reconstruction_error``, the mean squared
        error of reconstructions.
        """
        del step
        rbm_params = self.rbm_params(Variables(params, state))
        v = self.units.encode(batch["x"], self.shape)
        gap, _, state = free_energy_gap(self.negative_phase, rbm_params, key, v, state)
        loss = gap + 0.5 * self.weight_decay * jnp.sum(jnp.square(rbm_params.weights))
        if self.sparsity is not None:
            inputs = bipartite.hidden_inputs(at_unit_temperature(rbm_params), v)
            activity = jnp.mean(self.hidden_units.mean(inputs), axis=0)
            loss += self.sparsity_weight * jnp.sum(jnp.square(activity - self.sparsity))
        error = jnp.mean(bipartite.reconstruction_error(jax.lax.stop_gradient(rbm_params), v))
        metrics = {"free_energy_gap": gap, "reconstruction_error": error}
        return loss, (state, metrics)

    def rbm_params(self, variables: Variables) -> RBMParams:
        """Return W, b and c of equation 1."""
        params = RBMParams(**variables.params[PART], units=self.units, hidden_units=self.hidden_units)
        if not self.centred:
            return params
        return bipartite.uncentre(params, variables.state.visible_offset, variables.state.hidden_offset)

    def free_energy(self, variables: Variables, x: Array) -> Array:
        """Return F of equation 1, (B,), for data x, (B, *shape)."""
        v = self.units.encode(x, self.shape)
        return -bipartite.log_unnormalized_visible(at_unit_temperature(self.rbm_params(variables)), v)

    def log_density(self, variables: Variables, x: Array) -> Array:
        """Return log p(x) + log Z, nats, (B,), for data x, (B, *shape)."""
        return -self.free_energy(variables, x)

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(x) exactly, nats, (B,), by enumerating the states of the smaller binary layer.

        It fails as ``log_partition`` does, for example where that layer has more than 25 units.
        """
        return -self.free_energy(variables, x) - bipartite.log_partition(self.rbm_params(variables))

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: NumParticles,
        *,
        num_temperatures: PositiveInt = 10_000,
    ) -> Array:
        """Return log p(x), nats, (B,), with log Z by annealed importance sampling; slightly too high on average.

        ``num_samples`` and ``num_temperatures`` are those of ``log_partition_estimate``.
        """
        log_z = self.log_partition_estimate(variables, key, num_samples, num_temperatures=num_temperatures)
        return -self.free_energy(variables, x) - log_z.value

    def log_partition_estimate(
        self,
        variables: Variables,
        key: Array,
        num_samples: NumParticles,
        *,
        num_temperatures: PositiveInt = 10_000,
        backwards_from: Array | None = None,
    ) -> LogPartition:
        """Estimate log Z with an interval, by ``annealed_importance_sampling``, and fail as it does.

        ``num_samples`` is the number of particles, P, and ``num_temperatures`` that of temperatures between independent
        units and the model. ``backwards_from`` are samples of the model, (P, *shape), for the reverse direction.
        """
        state = variables.state
        return annealed_importance_sampling(
            self.rbm_params(variables),
            state.base_bias,
            key,
            num_particles=num_samples,
            num_temperatures=num_temperatures,
            backwards_from=None if backwards_from is None else self.units.encode(backwards_from, self.shape),
            hidden_base_bias=state.hidden_base_bias,
        )

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Measure chain movement and the likelihood on a batch of at least 2; see ``genjax.boltzmann.diagnosis``."""
        v, state = self.units.encode(batch["x"], self.shape), variables.state
        base = TemperedRBM(self.rbm_params(variables), state.base_bias, state.hidden_base_bias, 0.0)
        return diagnose(base, self.negative_phase, key, v, state)

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
          variables: variables from ``init`` or training.
          key: typed key.
          num_samples: number of samples, N, each the end of its own chain.
          num_steps: number of Gibbs steps; separate modes take many.
          mean: whether to return the means of the visible units, which look smoother, in place of the last draw.
        """
        start_key, chain_key, last_key = jax.random.split(key, 3)
        rbm = at_unit_temperature(self.rbm_params(variables))
        v = sample_independent(self.units, variables.state.base_bias, start_key, num_samples)
        v = bipartite.gibbs_chain(rbm, chain_key, v, num_steps)
        if mean:
            v = bipartite.gibbs_step_mean(rbm, last_key, v)
        return self.units.decode(v, self.shape)

    def impute(
        self, variables: Variables, key: Array, x: Array, mask: Array, *, num_steps: PositiveInt = 1_000
    ) -> Array:
        """Draw the unknown values of x, (B, *shape), given the known ones, by Gibbs sampling of the other units.

        The result has the dtype of samples.

        Args:
          variables: variables from ``init`` or training.
          key: typed key.
          x: examples, whose unknown values may be anything, NaN included.
          mask: bool, True where x is known, broadcastable to x.
          num_steps: number of Gibbs steps, which start from independent units that match the data's means.

        Raises:
          ValueError: if x or the mask has another shape, the mask is not bool, or the units cannot take the known
            values.
        """
        start_key, chain_key = jax.random.split(key)
        x, mask = known_values(x, mask, self.shape)
        known = self.units.encode(x, self.shape)
        is_known = jnp.repeat(mask.reshape(x.shape[0], -1), known.shape[1] // math.prod(self.shape), axis=1)
        rbm = at_unit_temperature(self.rbm_params(variables))

        def step(v: Array, key: Array) -> tuple[Array, None]:
            return bipartite.gibbs_step(rbm, key, v, (known, is_known)), None

        base_bias = jnp.broadcast_to(variables.state.base_bias, known.shape)
        start = self.units.sample_given(start_key, base_bias, known, is_known)
        v, _ = jax.lax.scan(step, start, jax.random.split(chain_key, num_steps))
        drawn = self.units.decode(v, self.shape)
        return jnp.where(mask, x.astype(drawn.dtype), drawn)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Return the means of the hidden units, (B, num_hidden), for data x, (B, *shape)."""
        return self.hidden_units.mean(self._hidden_inputs(variables, x))

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """Draw the hidden units, (B, num_hidden), given data x, (B, *shape)."""
        return self.hidden_units.sample(key, self._hidden_inputs(variables, x))

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Return the means of the visible units, (B, *shape), for hidden units, (B, num_hidden)."""
        inputs = bipartite.visible_inputs(at_unit_temperature(self.rbm_params(variables)), latent)
        return self.units.decode(self.units.mean(inputs), self.shape)

    def _hidden_inputs(self, variables: Variables, x: Array) -> Array:
        v = self.units.encode(x, self.shape)
        return bipartite.hidden_inputs(at_unit_temperature(self.rbm_params(variables)), v)


def initial_params(key: Array, visible_bias: Array, num_hidden: int) -> dict[str, Array]:
    """Return small weights, the given visible biases and hidden biases of 0, by the names of ``RBMParams``."""
    dtype = visible_bias.dtype
    weights = INITIAL_SCALE * jax.random.normal(key, (visible_bias.shape[0], num_hidden), dtype)
    return {"weights": weights, "visible_bias": visible_bias, "hidden_bias": jnp.zeros(num_hidden, dtype)}
