"""The restricted Boltzmann machine.

Visible units v of a kind of their own (``units``) and hidden units h, binary if nothing else is said, without
connections within a layer:

    p(v, h) = m(v) exp(vᵀ W h + b·v + c·h) / Z,        F(v) = −log m(v) − b·v − Σⱼ log(1 + exp(Wᵀ v + c)ⱼ),         (1)
    log p(v) = −F(v) − log Z,        −∇ log p(v) = ∇F(v) − E_{v' ~ p} ∇F(v').                                     (2)

The last expectation is what training needs samples for (``negative_phase``); the loss is the difference of mean free
energies of data and samples, whose gradient is that of (2) while its value tells little. What tells of the likelihood
is log Z: exact where one layer has at most 25 binary units, else by annealed importance sampling (``annealing``).
Reconstruction errors do not: they may well fall while the likelihood does.

Centred machines have the parameters b̃ and c̃ of equation 5 of ``layers``, with the means of the first minibatch for μ
and those of hidden units without input for λ, and learn a data set and its negative equally well.

Paul Smolensky 1986, "Information processing in dynamical systems: foundations of harmony theory"; Geoffrey Hinton 2010,
"A practical guide to training restricted Boltzmann machines"; centring: Grégoire Montavon and Klaus-Robert Müller 2012,
"Deep Boltzmann machines and the centering trick".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import jax
import jax.numpy as jnp

from genjax.boltzmann import layers as joint
from genjax.boltzmann.annealing import LogPartition, annealed_importance
from genjax.boltzmann.diagnosis import diagnosis
from genjax.boltzmann.layers import Layers, Path, machine
from genjax.boltzmann.negative_phase import NegativePhase, Persistent, likelihood_gap
from genjax.boltzmann.units import Binary, Units, independent
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import check_at_least, check_shape

PART = "rbm"
INITIAL_SCALE = 0.01  # of weights: Hinton (2010), section 8


@final
@dataclass(frozen=True, kw_only=True)
class RBM:
    """Restricted Boltzmann machine.

    Attributes:
      shape: of one example, without the batch axis.
      num_hidden: H.
      units: kind of the visible units.
      hidden_units: kind of the hidden units.
      negative_phase: where the samples come from that it unlearns.
      centred: whether the parameters have offsets.
      sparsity: what the mean of each hidden unit over a minibatch is drawn to, in (0, 1); None for no such loss.
      sparsity_weight: of the squared difference from it, summed over hidden units (Honglak Lee, Chaitanya Ekanadham and
        Andrew Ng 2007, "Sparse deep belief net model for visual area V2").
      weight_decay: of ½ Σ W².

    >>> model = RBM(shape=(4,), num_hidden=3)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4))})
    >>> model.log_prob(variables, jnp.zeros((2, 4))).shape
    (2,)
    """

    shape: tuple[int, ...]
    num_hidden: int
    units: Units = field(default_factory=Binary)
    hidden_units: Units = field(default_factory=Binary)
    negative_phase: NegativePhase = field(default_factory=Persistent)
    centred: bool = True
    sparsity: float | None = None
    sparsity_weight: float = 0.1
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_shape(self.shape)
        check_at_least("num_hidden", self.num_hidden, 1)
        check_at_least("sparsity_weight", self.sparsity_weight, 0)
        check_at_least("weight_decay", self.weight_decay, 0)
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise ValueError(f"sparsity is {self.sparsity}, but must be in (0, 1); 0.1 is usual, None is without")

    @property
    def discrete(self) -> bool:
        """Whether log-likelihoods are log-masses."""
        return self.units.discrete

    @property
    def tractable(self) -> bool:
        """Whether ``log_prob`` can add up all states of a layer."""
        size = joint.num_enumerated(self.units, self.num_visible, self.hidden_units, self.num_hidden)
        return size is not None and size <= joint.MOST_ENUMERATED

    @property
    def lacks(self) -> tuple[str, ...]:
        """``log_prob``, where enumerating all states takes too long."""
        return () if self.tractable else ("log_prob",)

    @property
    def num_visible(self) -> int:
        """Entries of the visible units, N: of softmax units K for each value."""
        return self.units.num_entries(math.prod(self.shape))

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables: small weights, hidden biases of 0, visible ones that fit the means of ``batch["x"]``.

        Raises:
          ValueError: for data of another shape, or that the units cannot be.
        """
        weights_key, memory_key = jax.random.split(key)
        v = self.units.encode(batch["x"], self.shape)
        base = self.units.bias(v)
        offset = jnp.mean(v, axis=0) if self.centred else jnp.zeros_like(base)
        params = initial_params(weights_key, base, self.num_hidden)
        # What hidden units are without inputs; and a copy of biases, as learners donate their buffers.
        no_inputs = jnp.zeros((1, self.num_hidden))
        state = {
            "base": jnp.array(base),
            "hidden_base": no_inputs[0],
            "offset": offset,
            "hidden_offset": self.hidden_units.mean(no_inputs)[0] if self.centred else no_inputs[0],
        }
        layers = self.layers(Variables({PART: params}, state))
        return Variables({PART: params}, {**state, "negative": self.negative_phase.init(layers, base, memory_key)})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="likelihood", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Difference of mean free energies of data and samples, whose gradient is equation 2, and penalties.

        Returns:
          The scalar, and the new state with the metrics ``free_energy_gap``, the difference alone, and
          ``reconstruction_error``, the mean squared error of data by the means of hidden units.
        """
        del step
        layers = self.layers(Variables(params, state))
        v = self.units.encode(batch["x"], self.shape)
        gap, _, memory = likelihood_gap(self.negative_phase, layers, state["base"], key, v, state["negative"])
        loss = gap + 0.5 * self.weight_decay * jnp.sum(jnp.square(layers.weights))
        if self.sparsity is not None:
            activity = jnp.mean(self.hidden_units.mean(joint.hidden_inputs(machine(layers), v)), axis=0)
            loss += self.sparsity_weight * jnp.sum(jnp.square(activity - self.sparsity))
        error = jnp.mean(joint.reconstruction_error(jax.lax.stop_gradient(layers), v))
        return loss, (state | {"negative": memory}, {"free_energy_gap": gap, "reconstruction_error": error})

    def layers(self, variables: Variables) -> Layers:
        """Return W, b and c of equation 1."""
        layers = Layers(**variables.params[PART], units=self.units, hidden_units=self.hidden_units)
        if not self.centred:
            return layers
        return joint.uncentred(layers, variables.state["offset"], variables.state["hidden_offset"])

    def free_energy(self, variables: Variables, x: Array) -> Array:
        """Return F of equation 1, (B,), for x (B, *shape)."""
        v = self.units.encode(x, self.shape)
        return -joint.log_of_visible(machine(self.layers(variables)), v)

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(x), nats, (B,): exactly, by adding up all states of the smaller binary layer.

        Raises:
          ValueError: where that has more than 25 units.
        """
        return -self.free_energy(variables, x) - joint.log_partition(self.layers(variables))

    def log_prob_estimate(
        self, variables: Variables, key: Array, x: Array, num_samples: int, *, num_temperatures: int = 10_000
    ) -> Array:
        """Return log p(x), nats, (B,), with log Z by annealed importance sampling: on average a little too high.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          x: (B, *shape).
          num_samples: particles.
          num_temperatures: between independent units and the machine.
        """
        found = self.log_partition_estimate(variables, key, num_samples, num_temperatures=num_temperatures)
        return -self.free_energy(variables, x) - found.value

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
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: particles, P.
          num_temperatures: between independent units and the machine.
          backwards_from: samples (P, *shape) that are carried from the machine to independent units, for the other end
            of a bracket; None for the usual direction.

        Raises:
          ValueError: for fewer than 2 particles, and where ``backwards_from`` has another number of samples.
        """
        options = {"num_particles": num_samples, "num_temperatures": num_temperatures}
        v = None if backwards_from is None else self.units.encode(backwards_from, self.shape)
        base, layers = variables.state["base"], self.layers(variables)
        return annealed_importance(
            layers, base, key, **options, backwards_from=v, hidden_base=variables.state["hidden_base"]
        )

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Tell from a batch of data, 2 examples or more, whether chains move, and of the likelihood.

        See ``genjax.boltzmann.diagnosis``.
        """
        v, state = self.units.encode(batch["x"], self.shape), variables.state
        start = Path(self.layers(variables), state["base"], 0.0, state["hidden_base"])
        return diagnosis(start, self.negative_phase, key, v, state["negative"])

    def sample(
        self, variables: Variables, key: Array, num_samples: int, *, num_steps: int = 1_000, mean: bool = False
    ) -> Array:
        """Draw from the model by Gibbs sampling, from independent units of the data's means.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of chains, of which each gives one sample, N.
          num_steps: sweeps; a machine with separate modes takes many.
          mean: whether to return means of the visible units at last, which look smoother.

        Returns:
          Samples (N, *shape).
        """
        check_at_least("num_samples", num_samples, 1)
        check_at_least("num_steps", num_steps, 1)
        start_key, walk_key, last_key = jax.random.split(key, 3)
        base, path = variables.state["base"], machine(self.layers(variables))
        v = independent(self.units, base, start_key, num_samples)
        v = joint.sweeps(path, walk_key, v, num_steps)
        if mean:
            v = joint.sweep_to_means(path, last_key, v)
        return self.units.decode(v, self.shape)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Return the means of the hidden units, (B, num_hidden), for x (B, *shape)."""
        v = self.units.encode(x, self.shape)
        return self.hidden_units.mean(joint.hidden_inputs(machine(self.layers(variables)), v))

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """Draw the hidden units given x (B, *shape): (B, num_hidden)."""
        v = self.units.encode(x, self.shape)
        return self.hidden_units.sample(key, joint.hidden_inputs(machine(self.layers(variables)), v))

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Return the means of the visible units, (B, *shape), for hidden units (B, num_hidden)."""
        inputs = joint.visible_inputs(machine(self.layers(variables)), latent)
        return self.units.decode(self.units.mean(inputs), self.shape)


def initial_params(key: Array, visible_bias: Array, num_hidden: int) -> dict[str, Array]:
    """Return small weights, and hidden biases of 0, by the names of ``Layers``."""
    weights = INITIAL_SCALE * jax.random.normal(key, (len(visible_bias), num_hidden))
    return {"weights": weights, "visible_bias": visible_bias, "hidden_bias": jnp.zeros(num_hidden)}
