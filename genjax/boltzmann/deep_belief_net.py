"""The deep belief net: a restricted Boltzmann machine, below which every layer is drawn from the one above.

    p(v, h¹ … h^L) = p(v | h¹) p(h¹ | h²) ⋯ p(h^{L−2} | h^{L−1}) · p(h^{L−1}, h^L),                               (1)

the last factor a machine of its own, the others independent units given their inputs W h + b. Upwards, units are drawn
by a recognition model of the same kind, q(hˡ | hˡ⁻¹) with inputs Rᵀ hˡ⁻¹ + r. With h^L summed out exactly,

    w = p(v | h¹) ⋯ p(h^{L−2} | h^{L−1}) p(h^{L−1}) / q(h¹ | v) ⋯ q(h^{L−1} | h^{L−2}),
    log p(v) ≥ E_q log w,                                                                                         (2)
    log p(v) = log E_q w.                                                                                         (3)

Layers are learned greedily from below, each as a machine of its own on what the one below draws, with R = W; the stages
of that are ``genjax.latent.greedy_stages(model.layers, …)``. A machine that begins as the one below it upside down
(``start``) leaves p(v) as it is and the bound tight, so that whatever it learns raises a bound on log p(v). Then W and
R part, and all are tuned together, up and down (the contrastive wake–sleep algorithm): the way down learns the states
of data drawn upwards,

    max E_{data, q} log p(v | h¹) + ⋯ + log p(h^{L−2} | h^{L−1}),

the top learns as machines do from h^{L−1} (``negative_phase``), and the way up learns where the samples of the top have
come from, drawn downwards: max E_p log q(h¹ | v) + ⋯ + log q(h^{L−1} | h^{L−2}).

Geoffrey Hinton, Simon Osindero and Yee-Whye Teh 2006, "A fast learning algorithm for deep belief nets"; equation 2 with
annealed importance sampling: Ruslan Salakhutdinov and Iain Murray 2008, "On the quantitative analysis of deep belief
networks".
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from genjax.boltzmann import layers as joint
from genjax.boltzmann.diagnosis import moved
from genjax.boltzmann.layers import Layers, machine
from genjax.boltzmann.negative_phase import NegativePhase, Persistent, likelihood_gap
from genjax.boltzmann.rbm import PART, RBM
from genjax.boltzmann.units import BINARY, Binary, Units, log_prob_of
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import check_at_least, log_mean_weight, mean_log_weight

UP, DOWN, TOP = "recognition", "generative", "top"
BURN_IN = 1_000  # draws of the negative phase


class Connection(NamedTuple):
    """Weights (N, H) of a lower and an upper layer, and the bias of the one that is drawn."""

    weights: Array
    bias: Array


@final
@dataclass(frozen=True, kw_only=True)
class DeepBeliefNet:
    """Deep belief net of binary hidden units.

    Attributes:
      shape: of one example, without the batch axis.
      num_hidden: units of h¹ … h^L, of two layers at least.
      units: kind of the visible units.
      negative_phase: where the samples come from that each layer's machine, and later the top, unlearns.
      centred: see ``RBM``.

    >>> model = DeepBeliefNet(shape=(4,), num_hidden=(3, 2))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4))})
    >>> model.sample(variables, jax.random.key(1), 6, num_steps=10).shape
    (6, 4)
    """

    shape: tuple[int, ...]
    num_hidden: tuple[int, ...]
    units: Units = field(default_factory=Binary)
    negative_phase: NegativePhase = field(default_factory=Persistent)
    centred: bool = True

    def __post_init__(self) -> None:
        check_at_least("len(num_hidden)", len(self.num_hidden), 2, "; use RBM for one layer")
        _ = self.layers  # checks the rest

    @functools.cached_property
    def layers(self) -> tuple[RBM, ...]:
        """The machines that layers are learned as, from below; the last is the top."""
        options = {"negative_phase": self.negative_phase, "centred": self.centred}
        lowest = RBM(shape=self.shape, num_hidden=self.num_hidden[0], units=self.units, **options)
        others = [RBM(shape=(n,), num_hidden=h, **options) for n, h in itertools.pairwise(self.num_hidden)]
        return (lowest, *others)

    @property
    def discrete(self) -> bool:
        """Whether log-likelihoods are log-masses."""
        return self.units.discrete

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables: those of machines on top of each other that have learned nothing."""
        x, machines = batch["x"], []
        for model, model_key in zip(self.layers, jax.random.split(key, len(self.layers)), strict=True):
            init_key, draw_key = jax.random.split(model_key)
            machines.append(model.init(init_key, {"x": x}))
            x = model.sample_posterior(machines[-1], draw_key, x)
        return self.assemble(machines)

    def start(self, variables: Variables, key: Array, batch: Batch, *, number: int) -> Variables:
        """Return what a layer begins with: the machine below upside down where sizes allow, or a new one.

        Args:
          variables: finished ones of the layer below it.
          key: typed key.
          batch: of what that draws.
          number: of the layer, at least 1.
        """
        lower, model = self.layers[number - 1], self.layers[number]
        init_key, key = jax.random.split(key)
        new = model.init(init_key, batch)
        if (lower.num_visible, lower.units) != (model.num_hidden, BINARY):
            return new
        layers = lower.layers(variables)
        turned = Layers(layers.weights.T, layers.hidden_bias, layers.visible_bias)
        below = BINARY.mean(joint.hidden_inputs(machine(turned), batch["x"]))  # these are no even chances
        state = {**new.state, "hidden_base": BINARY.bias(below)}
        if self.centred:  # equation 5 of ``layers``, the other way about
            state["hidden_offset"] = jnp.mean(below, axis=0)
            turned = joint.uncentred(turned, -state["offset"], -state["hidden_offset"])
        new = Variables({PART: turned.params}, state)
        # The chains have begun as those of a machine without weights.
        base, layers = new.state["base"], model.layers(new)

        def draw(memory: PyTree, key: Array) -> tuple[PyTree, None]:
            return self.negative_phase.draw(layers, base, key, batch["x"], memory)[1], None

        memory = jax.lax.scan(draw, new.state["negative"], jax.random.split(key, BURN_IN))[0]
        return new._replace(state={**new.state, "negative": memory})

    def assemble(self, machines: Sequence[Variables]) -> Variables:
        """Return the variables of the net from those of its layers, each learned alone, from below."""
        joints = [model.layers(variables) for model, variables in zip(self.layers, machines, strict=True)][:-1]
        copy = functools.partial(jax.tree.map, jnp.copy)  # learners donate their buffers
        params = {
            UP: [Connection(layer.weights, layer.hidden_bias) for layer in joints],
            DOWN: copy([Connection(layer.weights, layer.visible_bias) for layer in joints]),
            TOP: machines[-1].params[PART],
        }
        return Variables(params, machines[-1].state)

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss, of learning up and down."""
        return (Objective(name="wake_sleep", wrt=(UP, DOWN, TOP), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Sum of what the way down, the top and the way up learn, each from the others' samples.

        Returns:
          The scalar, and the new state with the metrics ``generative`` and ``recognition``, mean log-likelihoods of the
          ways down and up, nats, and ``free_energy_gap`` of the top.
        """
        del step
        up_key, top_key, down_key = jax.random.split(key, 3)
        wake = self._upwards(params, up_key, self.units.encode(batch["x"], self.shape))
        top = self.layers[-1].layers(Variables({PART: params[TOP]}, state))
        gap, samples, memory = likelihood_gap(
            self.negative_phase, top, state["base"], top_key, wake[-1], state["negative"]
        )
        sleep = self._downwards(params, down_key, samples)
        generative = jnp.mean(self._log_prob_downwards(params, wake))
        recognition = jnp.mean(self._log_prob_upwards(params, sleep))
        metrics = {"generative": generative, "recognition": recognition, "free_energy_gap": gap}
        return gap - generative - recognition, (state | {"negative": memory}, metrics)

    def log_prob_lower_bound(
        self, variables: Variables, key: Array, x: Array, *, num_particles: int = 100, num_temperatures: int = 10_000
    ) -> Array:
        """Draw equation 2, nats, (B,): a bound on log p(x) on average.

        The normalizer of the top is exact where ``layers[-1].tractable``; else it is the upper end of its interval by
        annealed importance sampling, so that the bound holds with that confidence.

        Args:
          variables: what ``init``, ``assemble`` or training returned.
          key: typed key.
          x: (B, *shape).
          num_particles: of annealed importance sampling.
          num_temperatures: likewise.
        """
        normalizer_key, key = jax.random.split(key)
        log_z = self._log_partition(variables, normalizer_key, num_particles, num_temperatures, upper=True)
        return mean_log_weight(self._log_weights(variables, x), key, 1) - log_z

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int,
        *,
        num_particles: int = 100,
        num_temperatures: int = 10_000,
    ) -> Array:
        """Return log p(x), nats, (B,), by equation 3: from below the more samples there are, but for the normalizer.

        Args:
          variables: what ``init``, ``assemble`` or training returned.
          key: typed key.
          x: (B, *shape).
          num_samples: of h¹ … h^{L−1}, drawn upwards.
          num_particles: see ``log_prob_lower_bound``.
          num_temperatures: see ``log_prob_lower_bound``.
        """
        normalizer_key, key = jax.random.split(key)
        log_z = self._log_partition(variables, normalizer_key, num_particles, num_temperatures, upper=False)
        return log_mean_weight(self._log_weights(variables, x), key, num_samples) - log_z

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Tell whether the chains of the top move, as ``moved``; see ``genjax.boltzmann.diagnosis``."""
        up_key, key = jax.random.split(key)
        state, layers = variables.state, self.layers[-1].layers(self.top(variables))
        wake = self._upwards(variables.params, up_key, self.units.encode(batch["x"], self.shape))
        return {"moved": moved(layers, self.negative_phase, state["base"], key, wake[-1], state["negative"])}

    def sample(
        self, variables: Variables, key: Array, num_samples: int, *, num_steps: int = 1_000, mean: bool = False
    ) -> Array:
        """Draw from the model: the top by Gibbs sampling from independent units, and the others downwards.

        Args:
          variables: what ``init``, ``assemble`` or training returned.
          key: typed key.
          num_samples: number of chains, of which each gives one sample, N.
          num_steps: sweeps of the top.
          mean: whether to return means of the visible units at last, which look smoother.

        Returns:
          Samples (N, *shape).
        """
        top_key, down_key = jax.random.split(key)
        h = self.layers[-1].sample(self.top(variables), top_key, num_samples, num_steps=num_steps)
        v = self._downwards(variables.params, down_key, h, mean=mean)[0]
        return self.units.decode(v, self.shape)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Return means of the highest hidden units, (B, num_hidden[-1]), by means all the way up, for x (B, *shape)."""
        h = self.units.encode(x, self.shape)
        for connection in variables.params[UP]:
            h = BINARY.mean(_upward_inputs(connection, h))
        layers = self.layers[-1].layers(self.top(variables))
        return layers.hidden_units.mean(joint.hidden_inputs(machine(layers), h))

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Return means of the visible units, (B, *shape), by means all the way down, for (B, num_hidden[-1])."""
        h = self.layers[-1].decode(self.top(variables), latent)
        for units, connection in reversed(self._ways_down(variables.params)):
            h = units.mean(_downward_inputs(connection, h))
        return self.units.decode(h, self.shape)

    def top(self, variables: Variables) -> Variables:
        """Return the variables of the machine at the top, ``layers[-1]``."""
        return Variables({PART: variables.params[TOP]}, variables.state)

    def _log_partition(
        self, variables: Variables, key: Array, num_particles: int, num_temperatures: int, *, upper: bool
    ) -> Array:
        model, top = self.layers[-1], self.top(variables)
        if model.tractable:
            return joint.log_partition(model.layers(top))
        found = model.log_partition_estimate(top, key, num_particles, num_temperatures=num_temperatures)
        return found.high if upper else found.value

    def _log_weights(self, variables: Variables, x: Array) -> Callable[[Array], Array]:
        """Return the function from keys (S,) to log w but for the normalizer, (S, B)."""
        params, v = variables.params, self.units.encode(x, self.shape)
        top = machine(self.layers[-1].layers(self.top(variables)))

        def log_weight(key: Array) -> Array:
            states = self._upwards(params, key, v)
            ratio = self._log_prob_downwards(params, states) - self._log_prob_upwards(params, states)
            return joint.log_of_visible(top, states[-1]) + ratio

        return jax.vmap(log_weight)

    def _ways_down(self, params: dict[str, PyTree]) -> list[tuple[Units, Connection]]:
        """Kinds of the units of v, h¹ … h^{L−2}, with what draws them."""
        return [(self.units if i == 0 else BINARY, Connection(*each)) for i, each in enumerate(params[DOWN])]

    def _upwards(self, params: dict[str, PyTree], key: Array, v: Array) -> list[Array]:
        """Return v and h¹ … h^{L−1}, drawn by the recognition model."""
        states = [v]
        for connection, layer_key in zip(params[UP], jax.random.split(key, len(params[UP])), strict=True):
            states.append(BINARY.sample(layer_key, _upward_inputs(Connection(*connection), states[-1])))
        return states

    def _downwards(self, params: dict[str, PyTree], key: Array, h: Array, *, mean: bool = False) -> list[Array]:
        """Return v and h¹ … h^{L−1}, drawn by equation 1 from the last of them; of v the means, if asked."""
        states, ways = [h], self._ways_down(params)
        for number, layer_key in zip(reversed(range(len(ways))), jax.random.split(key, len(ways)), strict=True):
            units, connection = ways[number]
            inputs = _downward_inputs(connection, states[0])
            states.insert(0, units.mean(inputs) if mean and number == 0 else units.sample(layer_key, inputs))
        return states

    def _log_prob_downwards(self, params: dict[str, PyTree], states: list[Array]) -> Array:
        """Return log p(v | h¹) + ⋯ + log p(h^{L−2} | h^{L−1}), (B,)."""
        pairs = zip(self._ways_down(params), itertools.pairwise(states), strict=True)
        total = jnp.zeros(len(states[0]), states[0].dtype)
        for (units, connection), (lower, upper) in pairs:
            total += log_prob_of(units, _downward_inputs(connection, upper), lower)
        return total

    def _log_prob_upwards(self, params: dict[str, PyTree], states: list[Array]) -> Array:
        """Return log q(h¹ | v) + ⋯ + log q(h^{L−1} | h^{L−2}), (B,)."""
        total = jnp.zeros(len(states[0]), states[0].dtype)
        for connection, (lower, upper) in zip(params[UP], itertools.pairwise(states), strict=True):
            total += log_prob_of(BINARY, _upward_inputs(Connection(*connection), lower), upper)
        return total


def _upward_inputs(connection: Connection, lower: Array) -> Array:
    return lower @ connection.weights + connection.bias[None]


def _downward_inputs(connection: Connection, upper: Array) -> Array:
    return upper @ connection.weights.T + connection.bias[None]
