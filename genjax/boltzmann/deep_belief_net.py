"""The deep belief net: a restricted Boltzmann machine at the top, and directed layers below it.

    p(v, h¹ … h^L) = p(v | h¹) p(h¹ | h²) ⋯ p(h^{L−2} | h^{L−1}) · p(h^{L−1}, h^L),                               (1)

where the last factor is a restricted Boltzmann machine, and the others are independent units with inputs W h + b. The
recognition model q(hˡ | hˡ⁻¹) has independent units too, with inputs Rᵀ hˡ⁻¹ + r. With h^L summed out exactly,

    w = p(v | h¹) ⋯ p(h^{L−2} | h^{L−1}) p(h^{L−1}) / q(h¹ | v) ⋯ q(h^{L−1} | h^{L−2}),
    log p(v) ≥ E_q log w,                                                                                         (2)
    log p(v) = log E_q w.                                                                                         (3)

Layers are trained greedily from below, each as a restricted Boltzmann machine on samples of the layer below it, with
R = W; ``genjax.latent.greedy_stages(model.layers, …)`` makes the stages. A machine that starts as the transpose of the
one below it (``init_layer``) leaves p(v) unchanged and the bound tight, so that training it raises a bound on log p(v).
Then W and R are untied, and all layers are fine-tuned together by the contrastive wake–sleep algorithm. The generative
layers learn states that the recognition model draws from the data,

    max E_{data, q} log p(v | h¹) + ⋯ + log p(h^{L−2} | h^{L−1}),

the top learns h^{L−1} as any restricted Boltzmann machine does (``negative_phase``), and the recognition layers learn
states that are drawn downwards from samples of the top: max E_p log q(h¹ | v) + ⋯ + log q(h^{L−1} | h^{L−2}).

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

from genjax.arguments import ExampleShape, PositiveInt, check_arguments
from genjax.boltzmann import bipartite
from genjax.boltzmann.bipartite import RBMParams, at_unit_temperature
from genjax.boltzmann.diagnosis import chain_movement
from genjax.boltzmann.negative_phase import NegativePhase, Persistent, free_energy_gap
from genjax.boltzmann.rbm import PART, RBM, LayerSizes
from genjax.boltzmann.units import BINARY, BinaryUnits, Units, conditional_log_prob
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import log_mean_weight, mean_log_weight
from genjax.ops.importance import NumParticles

UP, DOWN, TOP = "recognition", "generative", "top"
BURN_IN = 1_000  # draws of the negative phase


class Connection(NamedTuple):
    """Weights between a lower and an upper layer, and the biases of the layer that is drawn.

    Attributes:
      weights: W or R, (N, H), for N units in the lower layer and H in the upper one.
      bias: biases of the lower layer (generative), (N,), or of the upper one (recognition), (H,).
    """

    weights: Array
    bias: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class DeepBeliefNet:
    """Deep belief net of binary hidden units (Hinton et al. 2006); its state is the ``RBMState`` of the top.

    Attributes:
      num_hidden: number of units in each of h¹ … h^L, at least two layers.
      negative_phase: rule that draws the samples of each layer's machine, and of the top in fine-tuning.

    Other attributes: see ``RBM``.

    >>> model = DeepBeliefNet(shape=(4,), num_hidden=(3, 2))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((5, 4))})
    >>> model.sample(variables, jax.random.key(1), 6, num_steps=10).shape
    (6, 4)
    """

    shape: ExampleShape
    num_hidden: LayerSizes
    units: Units = field(default_factory=BinaryUnits)
    negative_phase: NegativePhase = field(default_factory=Persistent)
    centred: bool = True

    @functools.cached_property
    def layers(self) -> tuple[RBM, ...]:
        """Restricted Boltzmann machines that the layers are trained as, from below; the last one is the top."""
        options = {"negative_phase": self.negative_phase, "centred": self.centred}
        lowest = RBM(shape=self.shape, num_hidden=self.num_hidden[0], units=self.units, **options)
        others = [RBM(shape=(n,), num_hidden=h, **options) for n, h in itertools.pairwise(self.num_hidden)]
        return (lowest, *others)

    @property
    def discrete(self) -> bool:
        """Whether log-likelihoods are log-masses rather than log-densities."""
        return self.units.discrete

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables of a stack of untrained machines."""
        x, stack = batch["x"], []
        for model, model_key in zip(self.layers, jax.random.split(key, len(self.layers)), strict=True):
            init_key, draw_key = jax.random.split(model_key)
            stack.append(model.init(init_key, {"x": x}))
            x = model.sample_posterior(stack[-1], draw_key, x)
        return self.assemble(stack)

    def init_layer(self, variables: Variables, key: Array, batch: Batch, *, number: PositiveInt) -> Variables:
        """Return the initial variables of ``layers[number]``: those of the layer below, transposed, if sizes allow.

        ``number`` is at least 1; ``variables`` are the trained ones of the layer below, and ``batch`` its samples.
        """
        lower, model = self.layers[number - 1], self.layers[number]
        init_key, key = jax.random.split(key)
        new = model.init(init_key, batch)
        if (lower.num_visible, lower.units) != (model.num_hidden, BINARY):
            return new
        tied = lower.rbm_params(variables)
        tied = RBMParams(tied.weights.T, tied.hidden_bias, tied.visible_bias)
        means = BINARY.mean(bipartite.hidden_inputs(at_unit_temperature(tied), batch["x"]))
        state = new.state._replace(hidden_base_bias=BINARY.fit_bias(means))  # these units are far from even odds
        if self.centred:  # equation 5 of ``bipartite``, inverted
            state = state._replace(hidden_offset=jnp.mean(means, axis=0))
            tied = bipartite.uncentre(tied, -state.visible_offset, -state.hidden_offset)
        new = Variables({PART: tied.arrays}, state)
        rbm_params = model.rbm_params(new)

        def burn_in(phase_state: PyTree, key: Array) -> tuple[PyTree, None]:
            return self.negative_phase.draw(rbm_params, state.base_bias, key, batch["x"], phase_state)[1], None

        # ``init`` started the chains as those of small random weights.
        phase_state = jax.lax.scan(burn_in, state.negative_phase, jax.random.split(key, BURN_IN))[0]
        return new._replace(state=state._replace(negative_phase=phase_state))

    def assemble(self, stack: Sequence[Variables]) -> Variables:
        """Return the variables of the net, given those of its separately trained ``layers``, from below."""
        directed = [model.rbm_params(variables) for model, variables in zip(self.layers, stack, strict=True)][:-1]
        copy = functools.partial(jax.tree.map, jnp.copy)  # because learners donate their buffers
        params = {
            UP: [Connection(layer.weights, layer.hidden_bias) for layer in directed],
            DOWN: copy([Connection(layer.weights, layer.visible_bias) for layer in directed]),
            TOP: stack[-1].params[PART],
        }
        return Variables(params, stack[-1].state)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only objective, ``wake_sleep``."""
        return (Objective(name="wake_sleep", wrt=(UP, DOWN, TOP), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the contrastive wake–sleep loss: the sum of those of the generative layers, the top and recognition.

        Metrics are ``generative_log_prob`` and ``recognition_log_prob``, mean log-likelihoods of the directed layers,
        nats, and ``free_energy_gap`` of the top.
        """
        del step
        up_key, top_key, down_key = jax.random.split(key, 3)
        wake = self._draw_up(params, up_key, self.units.encode(batch["x"], self.shape))
        top = self.layers[-1].rbm_params(Variables({PART: params[TOP]}, state))
        gap, samples, state = free_energy_gap(self.negative_phase, top, top_key, wake[-1], state)
        sleep = self._draw_down(params, down_key, samples)
        generative = jnp.mean(self._generative_log_prob(params, wake))
        recognition = jnp.mean(self._recognition_log_prob(params, sleep))
        metrics = {"generative_log_prob": generative, "recognition_log_prob": recognition, "free_energy_gap": gap}
        return gap - generative - recognition, (state, metrics)

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        *,
        num_particles: NumParticles = 100,
        num_temperatures: PositiveInt = 10_000,
    ) -> Array:
        """Return a draw of equation 2, nats, (B,), whose expectation is at most log p(x).

        log Z of the top is exact if ``layers[-1].tractable``. Otherwise it is the upper end of a 99 % interval by
        ``annealed_importance_sampling``, and the bound holds with that confidence.
        """
        log_z_key, key = jax.random.split(key)
        log_z = self._log_partition(variables, log_z_key, num_particles, num_temperatures, upper=True)
        return mean_log_weight(self._log_weights(variables, x), key, 1) - log_z

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt,
        *,
        num_particles: NumParticles = 100,
        num_temperatures: PositiveInt = 10_000,
    ) -> Array:
        """Return equation 3, nats, (B,); up to the error of log Z, it approaches log p(x) from below.

        The recognition model draws ``num_samples`` importance samples of h¹ … h^{L−1}. Particles and temperatures are
        those of ``annealed_importance_sampling``, for log Z of an intractable top.
        """
        log_z_key, key = jax.random.split(key)
        log_z = self._log_partition(variables, log_z_key, num_particles, num_temperatures, upper=False)
        return log_mean_weight(self._log_weights(variables, x), key, num_samples) - log_z

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Measure ``chain_movement`` at the top; see ``genjax.boltzmann.diagnosis``."""
        up_key, key = jax.random.split(key)
        params = self.layers[-1].rbm_params(self.top(variables))
        wake = self._draw_up(variables.params, up_key, self.units.encode(batch["x"], self.shape))
        return {"chain_movement": chain_movement(params, self.negative_phase, key, wake[-1], variables.state)}

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        num_steps: PositiveInt = 1_000,
        mean: bool = False,
    ) -> Array:
        """Draw samples, (N, *shape): the top by Gibbs sampling from independent units, then each layer below it.

        Args:
          variables: variables from ``init``, ``assemble`` or training.
          key: typed key.
          num_samples: number of samples, N, each from its own chain.
          num_steps: number of Gibbs steps at the top.
          mean: whether to return the means of the visible units, which look smoother, in place of a draw.
        """
        top_key, down_key = jax.random.split(key)
        h = self.layers[-1].sample(self.top(variables), top_key, num_samples, num_steps=num_steps)
        v = self._draw_down(variables.params, down_key, h, mean=mean)[0]
        return self.units.decode(v, self.shape)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Return means of h^L, (B, num_hidden[-1]), for data x, (B, *shape), by passing means up."""
        h = self.units.encode(x, self.shape)
        for connection in variables.params[UP]:
            h = BINARY.mean(_inputs_up(connection, h))
        params = self.layers[-1].rbm_params(self.top(variables))
        return params.hidden_units.mean(bipartite.hidden_inputs(at_unit_temperature(params), h))

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Return means of the visible units, (B, *shape), for h^L, (B, num_hidden[-1]), by passing means down."""
        h = self.layers[-1].decode(self.top(variables), latent)
        for units, connection in reversed(self._generative_layers(variables.params)):
            h = units.mean(_inputs_down(connection, h))
        return self.units.decode(h, self.shape)

    def top(self, variables: Variables) -> Variables:
        """Return the variables of the machine at the top, ``layers[-1]``."""
        return Variables({PART: variables.params[TOP]}, variables.state)

    def _log_partition(
        self, variables: Variables, key: Array, num_particles: int, num_temperatures: int, *, upper: bool
    ) -> Array:
        model, top = self.layers[-1], self.top(variables)
        if model.tractable:
            return bipartite.log_partition(model.rbm_params(top))
        log_z = model.log_partition_estimate(top, key, num_particles, num_temperatures=num_temperatures)
        return log_z.high if upper else log_z.value

    def _log_weights(self, variables: Variables, x: Array) -> Callable[[Array], Array]:
        """Return a function from keys, (S,), to log w + log Z, (S, B)."""
        params, v = variables.params, self.units.encode(x, self.shape)
        top = at_unit_temperature(self.layers[-1].rbm_params(self.top(variables)))

        def log_weight(key: Array) -> Array:
            states = self._draw_up(params, key, v)
            ratio = self._generative_log_prob(params, states) - self._recognition_log_prob(params, states)
            return bipartite.log_unnormalized_visible(top, states[-1]) + ratio

        return jax.vmap(log_weight)

    def _generative_layers(self, params: dict[str, PyTree]) -> list[tuple[Units, Connection]]:
        """Return the kind of the units of v, h¹ … h^{L−2} with the connection that draws them."""
        return [(self.units if i == 0 else BINARY, Connection(*each)) for i, each in enumerate(params[DOWN])]

    def _draw_up(self, params: dict[str, PyTree], key: Array, v: Array) -> list[Array]:
        """Return v and h¹ … h^{L−1}, drawn by the recognition model."""
        states = [v]
        for connection, layer_key in zip(params[UP], jax.random.split(key, len(params[UP])), strict=True):
            states.append(BINARY.sample(layer_key, _inputs_up(Connection(*connection), states[-1])))
        return states

    def _draw_down(self, params: dict[str, PyTree], key: Array, h: Array, *, mean: bool = False) -> list[Array]:
        """Return v and h¹ … h^{L−1}, drawn by equation 1 given h^{L−1}; v are means if ``mean``."""
        states, layers = [h], self._generative_layers(params)
        for number, layer_key in zip(reversed(range(len(layers))), jax.random.split(key, len(layers)), strict=True):
            units, connection = layers[number]
            inputs = _inputs_down(connection, states[0])
            states.insert(0, units.mean(inputs) if mean and number == 0 else units.sample(layer_key, inputs))
        return states

    def _generative_log_prob(self, params: dict[str, PyTree], states: list[Array]) -> Array:
        """Return log p(v | h¹) + ⋯ + log p(h^{L−2} | h^{L−1}), (B,)."""
        pairs = zip(self._generative_layers(params), itertools.pairwise(states), strict=True)
        terms = [conditional_log_prob(units, _inputs_down(down, h), v) for (units, down), (v, h) in pairs]
        return sum(terms, start=jnp.zeros(states[0].shape[0], states[0].dtype))

    def _recognition_log_prob(self, params: dict[str, PyTree], states: list[Array]) -> Array:
        """Return log q(h¹ | v) + ⋯ + log q(h^{L−1} | h^{L−2}), (B,)."""
        pairs = zip(params[UP], itertools.pairwise(states), strict=True)
        terms = [conditional_log_prob(BINARY, _inputs_up(Connection(*up), v), h) for up, (v, h) in pairs]
        return sum(terms, start=jnp.zeros(states[0].shape[0], states[0].dtype))


def _inputs_up(connection: Connection, lower: Array) -> Array:
    return lower @ connection.weights + connection.bias[None]


def _inputs_down(connection: Connection, upper: Array) -> Array:
    return upper @ connection.weights.T + connection.bias[None]
