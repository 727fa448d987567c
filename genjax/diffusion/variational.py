"""Variational diffusion: a bound on the log-mass of integer data, with a learned noise schedule.

Integers x ∈ {0 … L − 1}^D become real numbers v = (2 x + 1) / L − 1, and these become noise over t ∈ [0, 1],

    z_t = α v + σ ε,        α² = sigmoid(−γ(t)),   σ² = sigmoid(γ(t)),        ε ~ N(0, I).                         (1)

γ = −log SNR is a line and K sigmoids of positive weights, scaled to run from γ₀ to γ₁:

    γ(t) = γ₀ + (γ₁ − γ₀) (γ̃(t) − γ̃(0)) / (γ̃(1) − γ̃(0)),    γ̃(t) = t + Σ_k e^{w_k} sigmoid(e^{s_k} (t − b_k)).   (2)

From infinitely many steps of the reverse process, and a last draw from

    p(x | z₀) ∝ Π_i N(z₀ᵢ; α v(xᵢ), σ²),                                                                           (3)

follows the bound

    −log p(x) ≤ KL(q(z₁ | x) ‖ N(0, I)) + E[−log p(x | z₀)] + E_{t, ε} ½ γ′(t) ‖ε − ε̂(z_t, γ(t))‖².                (4)

It depends on γ only through its ends, since the last term is an integral over γ. So γ₀ and γ₁ are trained to lower the
bound, and the shape of γ in between to lower the variance of its estimates, whose mean it does not change:

    min E_{t, ε} (½ γ′(t) ‖ε − ε̂(z_t, γ(t))‖²)².                                                                   (5)

The levels of x are fine structure of z_t, which networks see better through ``nets.PeriodicFeatures``.

Diederik Kingma, Tim Salimans, Ben Poole and Jonathan Ho 2021, arXiv:2107.00630: equation 4 is their (11) to (17),
equation 2 a monotone network as in appendix H, with K in place of 1,024 units, and equation 5 is from appendix I.2.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple, final

import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import ExampleShape, NumClasses, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.diffusion.grids import NumSteps
from genjax.diffusion.loop import sample_loop
from genjax.diffusion.parametrizations import Prediction
from genjax.diffusion.processes import LOG_SNR_BOUND, Level, network_level
from genjax.diffusion.samplers import Ancestral
from genjax.diffusion.times import stratified, stratified_mean
from genjax.nets import Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    at_least_float32,
    check_example_shape,
    check_values,
    condition_inputs,
    gaussian_kl,
    label_of,
    sum_except_batch,
)

DENOISER, ENDS, SHAPE = "denoiser", "ends", "shape"
HIGH_GAMMA = 5.0  # initial γ₁: less than 1 % of the variance is signal
NUM_SIGMOIDS, SLOPE = 32, 32.0  # K, and the initial e^s, with which neighbouring sigmoids overlap


class Bound(NamedTuple):
    """Terms of equation 4, nats, (B,) each."""

    prior: Array
    reconstruction: Array
    diffusion: Array

    @property
    def total(self) -> Array:
        """Estimate of the negative bound."""
        return self.prior + self.reconstruction + self.diffusion


@final
@dataclass(frozen=True)
class _GammaTime:
    """The variance-preserving process whose time is γ itself."""

    start: float = -LOG_SNR_BOUND
    end: float = LOG_SNR_BOUND

    def alpha(self, t: Array) -> Array:
        """See ``NoiseProcess``."""
        return jnp.sqrt(jax.nn.sigmoid(-t))

    def sigma(self, t: Array) -> Array:
        """See ``NoiseProcess``."""
        return jnp.sqrt(jax.nn.sigmoid(t))

    def log_snr(self, t: Array) -> Array:
        """See ``NoiseProcess``."""
        return -t

    def time(self, log_snr: Array) -> Array:
        """See ``NoiseProcess``."""
        return -log_snr


PROCESS = _GammaTime()


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class VariationalDiffusion:
    """Diffusion model of integers with a learned noise schedule: Kingma et al. (2021).

    Attributes:
      shape: shape of one example, without the batch axis.
      net: network of the denoiser, which predicts the noise. Its inputs are z_t (B, *shape), noise levels (B,) in
        [0, 1], and with classes a one-hot label (B, num_classes). Its output is (B, *shape).
      num_values: number of values of an entry, L.
      num_classes: number of classes, or None for an unconditional model. With classes, batches have ``"label"``, int32
        (B,).
      num_steps: default number of sampling steps.

    >>> from genjax import nets
    >>> net = nets.PeriodicFeatures(nets.DenoisingMLP((16, 16)), num_values=4)
    >>> model = VariationalDiffusion(shape=(2,), net=net, num_values=4)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 7, num_steps=4).shape
    (7, 2)
    """

    shape: ExampleShape
    net: Net
    num_values: Annotated[int, Ge(2)]
    num_classes: NumClasses | None = None
    num_steps: PositiveInt = 250
    discrete = True  # likelihoods are masses

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``.

        γ₀ starts where σ is a sixth of the distance between two levels.

        Raises:
          ValueError: if the data have another shape or other values, or the network does not fit them.
        """
        v = self._values(batch["x"])
        condition = condition_inputs(label_of(batch, self.num_classes), self.num_classes, v.shape[0])
        arguments = (v, jnp.zeros(v.shape[0]), *condition)
        check_part("net", NetSpec(self.net, arguments, v.shape, "matching x"), key)
        params, state = init_net(self.net, key, *arguments)
        constants = {"weight": -math.log(NUM_SIGMOIDS), "slope": math.log(SLOPE)}  # their sum is nearly a line too
        shape = {name: jnp.full(NUM_SIGMOIDS, value, jnp.float32) for name, value in constants.items()}
        shape["position"] = (jnp.arange(NUM_SIGMOIDS, dtype=jnp.float32) + 0.5) / NUM_SIGMOIDS
        ends = {"low": jnp.float32(-2 * math.log(3 * self.num_values)), "high": jnp.float32(HIGH_GAMMA)}
        return Variables({DENOISER: params, ENDS: ends, SHAPE: shape}, {DENOISER: state})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the bound, over the denoiser and the schedule's ends, and its variance, over the schedule's shape.

        The second costs as much as the first; ``Experiment(schedule=("bound",) * 4 + ("variance",))`` takes it rarely.
        """
        return (
            Objective(name="bound", wrt=(DENOISER, ENDS), loss=self.bound_loss),
            Objective(name="variance", wrt=(SHAPE,), loss=self.variance_loss),
        )

    def bound_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 4 per entry, nats, averaged over the batch, with one time for each example."""
        del step
        bound, new_state = self._bound(Variables(params, state), key, *self._data(batch), train=True)
        size = math.prod(self.shape)
        metrics = {name: jnp.mean(getattr(bound, name)) / size for name in Bound._fields}
        ends = {f"gamma_{name}": params[ENDS][name] for name in ("low", "high")}
        return jnp.mean(bound.total) / size, (new_state, metrics | ends)

    def variance_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 5 for nats per entry; the metric is the standard deviation of the estimates."""
        del step
        bound, new_state = self._bound(Variables(params, state), key, *self._data(batch), train=True)
        terms = bound.diffusion / math.prod(self.shape)
        return jnp.mean(jnp.square(terms)), (new_state, {"deviation": jnp.std(terms)})  # equation 5

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt = 8,
        *,
        label: Array | int | None = None,
    ) -> Array:
        """Return an unbiased estimate of the bound on log p(x), nats, (B,): equation 4.

        It is the mean over ``num_samples`` draws for each example, whose times are evenly spaced.
        """
        v = self._values(x)

        def draw(key: Array, times: Array) -> Array:
            return self._bound(variables, key, v, x, label, times=times)[0].total

        return -stratified_mean(draw, key, v.shape[0], num_samples)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        num_steps: NumSteps | None = None,
    ) -> Array:
        """Draw from the model, int32 (N, *shape), by ancestral sampling on the learned schedule.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,). Required for models with classes.
          num_steps: number of steps, evenly spaced in t; None for the model's own.
        """
        start_key, loop_key, last_key = jax.random.split(key, 3)
        num_steps = self.num_steps if num_steps is None else num_steps
        gamma = self.gamma(variables.params, jnp.linspace(1.0, 0.0, num_steps + 1))
        levels = _level_at(gamma)

        def denoise(z: Array, gamma: Array) -> Prediction:
            noise, _ = self._noise(variables, z, jnp.broadcast_to(gamma, z.shape[:1]), label)
            level = _level_at(gamma)
            return Prediction((z - level.sigma * noise) / level.alpha, noise)

        z = jax.random.normal(start_key, (num_samples, *self.shape))
        z, _ = sample_loop(Ancestral(), PROCESS, denoise, levels, loop_key, z)
        return jax.random.categorical(last_key, self._logits(z, gamma[-1])).astype(jnp.int32)  # equation 3

    def gamma(self, params: dict[str, PyTree], t: Array) -> Array:
        """Return γ(t), minus the log-SNR, in the shape of t: equation 2."""
        ends, edges = params[ENDS], self._raw_gamma(params[SHAPE], jnp.array([0.0, 1.0]))
        raw = self._raw_gamma(params[SHAPE], t)
        return ends["low"] + (ends["high"] - ends["low"]) * (raw - edges[0]) / (edges[1] - edges[0])

    def _raw_gamma(self, params: PyTree, t: Array) -> Array:
        """Return γ̃(t) of equation 2."""
        weight, slope, position = (params[name].reshape(-1, *[1] * t.ndim) for name in ("weight", "slope", "position"))
        return t + jnp.sum(jnp.exp(weight) * jax.nn.sigmoid(jnp.exp(slope) * (t[None] - position)), axis=0)

    def _bound(
        self,
        variables: Variables,
        key: Array,
        v: Array,
        x: Array,
        label: Array | int | None,
        *,
        times: Array | None = None,
        train: bool = False,
    ) -> tuple[Bound, PyTree]:
        """Return an estimate of equation 4 at one time for each example, by default stratified, and the new state."""
        time_key, noise_key, first_key, dropout_key = jax.random.split(key, 4)
        t = stratified(time_key, v.shape[0]) if times is None else times
        gamma, speed = jax.jvp(functools.partial(self.gamma, variables.params), (t,), (jnp.ones_like(t),))
        ends = self.gamma(variables.params, jnp.array([0.0, 1.0]))
        last, level = _level_at(ends[1]), _level_at(gamma.reshape(-1, *[1] * len(self.shape)))
        prior = sum_except_batch(gaussian_kl(last.alpha * v, jnp.full_like(v, 2 * jnp.log(last.sigma))))

        first = _level_at(ends[0])
        z_first = first.alpha * v + first.sigma * jax.random.normal(first_key, v.shape)
        log_masses = jax.nn.log_softmax(self._logits(z_first, ends[0]))
        reconstruction = -sum_except_batch(jnp.take_along_axis(log_masses, x[..., None], axis=-1)[..., 0])

        noise = jax.random.normal(noise_key, v.shape)
        z = level.alpha * v + level.sigma * noise  # equation 1
        predicted, state = self._noise(variables, z, gamma, label, dropout_key, train)
        diffusion = 0.5 * speed * sum_except_batch(jnp.square(noise - predicted))  # equation 4
        return Bound(prior, reconstruction, diffusion), state

    def _noise(
        self,
        variables: Variables,
        z: Array,
        gamma: Array,
        label: Array | int | None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """Return ε̂ (B, *shape) at γ (B,), and the new state."""
        arguments = (z, network_level(-gamma), *condition_inputs(label, self.num_classes, z.shape[0]))
        params, state = variables.params[DENOISER], variables.state[DENOISER]
        output, new_state = apply_net(self.net, params, state, *arguments, key=key, train=train)
        return at_least_float32(output), variables.state | {DENOISER: new_state}

    def _logits(self, z: Array, gamma: Array) -> Array:
        """Return the logits of equation 3 for all values, (B, *shape, L)."""
        values = _to_values(jnp.arange(self.num_values), self.num_values).reshape(*[1] * z.ndim, -1)
        level = _level_at(gamma)
        return -0.5 * jnp.square((z[..., None] - level.alpha * values) / level.sigma)

    def _data(self, batch: Batch) -> tuple[Array, Array, Array | None]:
        return self._values(batch["x"]), batch["x"].astype(jnp.int32), label_of(batch, self.num_classes)

    def _values(self, x: Array) -> Array:
        """Return v; raise ValueError for other shapes or values."""
        check_example_shape(x, self.shape)
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(f"x has dtype {x.dtype}, but this model takes integers 0 … {self.num_values - 1}")
        cure = f"num_values={self.num_values} allows 0 … {self.num_values - 1}"
        check_values(x, lambda x: (x < 0) | (x >= self.num_values), cure)
        return _to_values(x, self.num_values)


def _level_at(gamma: Array) -> Level:
    return Level(gamma, PROCESS.alpha(gamma), PROCESS.sigma(gamma), -gamma)


def _to_values(x: Array, num_values: int) -> Array:
    return (2 * x.astype(jnp.float32) + 1) / num_values - 1
