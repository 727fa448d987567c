"""Mean flow: a network for the mean velocity between any two times, which samples in one step and has no teacher.

On the linear path z_t = (1 − t) x + t ε, samples follow dz/dt = v(z_t, t), where v is the mean of ε − x given z_t. The
mean velocity between two times r ≤ t of such a path,

    u(z_t, r, t) = 1/(t − r) ∫_r^t v(z_τ, τ) dτ,        u(z_t, t, t) = v(z_t, t),                                 (1)
    z_r = z_t − (t − r) u(z_t, r, t),                                                                            (2)

leads from noise at t = 1 to data at r = 0 in one step. By the derivative of (t − r) u along the path,

    v = u + (t − r) du/dt,        du/dt = ∂_z u v + ∂_t u,                                                       (3)

which only the mean velocity fulfils. Training regresses this right-hand side on ε − x, as flow matching does with v,

    min E w ‖V − (ε − x)‖²,        V = û(z_t, r, t) + (t − r) sg(∂_z û v̂ + ∂_t û),        v̂ = û(z_t, t, t),        (4)

where the derivative, a Jacobian–vector product with the network's own velocity, is held constant (sg). For most
examples r = t, and V is the network's output.

With classes and a guidance weight ω, the velocity is that of classifier-free guidance, v(∅) + ω (v(y) − v(∅)), which
the network learns for all ω in a range at once, as a function of ω. It is the fixed point of the target

    ε − x + (1 − 1/ω) sg(v̂(y, ω) − v̂(∅)).                                                                        (5)

With e² the mean squared error of an example's elements, its weight is w = sg(e² + c)^−p, which keeps outliers of the
derivative from dominating. For p > 0 the minimizer of equation 4 is not exactly the mean velocity: the difference
vanishes in many dimensions, where all e² of a time are alike. For p = 0 it is exact.

Zhengyang Geng, Mingyang Deng, Xingjian Bai, Zico Kolter and Kaiming He 2025, arXiv:2505.13447; equations 4 and 5:
Zhengyang Geng, Yiyang Lu, Zongze Wu, Eli Shechtman, Zico Kolter and Kaiming He 2025, arXiv:2512.02012.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, final

import jax
import jax.numpy as jnp
from annotated_types import Ge, Interval

from genjax.arguments import (
    Cure,
    ExampleShape,
    NonNegativeFloat,
    NumClasses,
    PositiveFloat,
    PositiveInt,
    check_arguments,
)
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.diffusion.parametrizations import Flow, Prediction, broadcast_times
from genjax.diffusion.processes import LinearPath
from genjax.diffusion.times import LogitNormal, TimeDistribution, stratified
from genjax.nets import Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    at_least_float32,
    check_examples,
    drop_labels,
    label_of,
    null_label_inputs,
    one_hot_label,
)

PART = "velocity"
PATH, VELOCITY = LinearPath(start=0.0), Flow()
NUM_HARMONICS = 8
# Networks embed waves of up to 1,000 times their noise level. Their slopes are part of du/dt, and so are kept moderate.
LEVEL_SCALE = 0.05
WEIGHT_OFFSET = 1e-3  # c


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class MeanFlow:
    """Mean flow of real numbers.

    Attributes:
      shape: shape of one example, without the batch axis.
      net: network of the mean velocity. Its inputs are z_t (B, *shape), noise levels (B,) proportional to t, and a
        condition (B, K): features of t − r, with guidance also of ω, and with classes a one-hot label whose last entry
        is no label. Its output is (B, *shape). It needs forward-mode derivatives, which fused attention lacks.
      data_scale: standard deviation of the data; the model is of x divided by it.
      times: distribution from which both times of a pair are drawn.
      pair_fraction: fraction of the examples with r < t, rounded up; the others have r = t.
      weight_power: p, at least 0; 1 in the papers.
      num_classes: number of classes, or None for an unconditional model. With classes, batches have ``"label"``, int32
        (B,).
      condition_dropout: fraction of the training examples that get the null label, in [0, 1].
      max_guidance: largest guidance weight; training draws ω log-uniformly from 1 to this. 1 trains without guidance,
        which takes fewer network evaluations.

    >>> from genjax import nets
    >>> model = MeanFlow(shape=(2,), net=nets.DenoisingMLP((16, 16)))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 2)
    """

    shape: ExampleShape
    net: Net
    data_scale: PositiveFloat = 1.0
    times: TimeDistribution = field(default_factory=lambda: LogitNormal(mean=-0.4))
    pair_fraction: Annotated[float, Interval(gt=0, le=1), Cure("; 0.25 is usual")] = 0.25
    weight_power: NonNegativeFloat = 1.0
    num_classes: NumClasses | None = None
    condition_dropout: Annotated[float, Interval(ge=0, le=1), Cure("; 0.1 is usual")] = 0.1
    max_guidance: Annotated[float, Ge(1), Cure("; 1 is no guidance, 8 is usual")] = 1.0

    def __post_init__(self) -> None:
        if self.max_guidance > 1 and (self.num_classes is None or self.condition_dropout == 0):
            raise ValueError(
                f"max_guidance is {self.max_guidance}, but num_classes is {self.num_classes} and condition_dropout "
                f"{self.condition_dropout}; guidance needs classes and dropped labels, so set both or max_guidance=1"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes."""
        return label_condition(self.num_classes, optional=True)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape, are integers or contain NaN, or the network does not fit them.
        """
        x = check_examples(batch["x"], self.shape)
        times = jnp.zeros(x.shape[0], x.dtype)
        arguments = (x, times, self._condition(times, label_of(batch, self.num_classes), times))
        check_part("net", NetSpec(self.net, arguments, x.shape, "matching x"), key)
        params, state = init_net(self.net, key, *arguments)
        return Variables({PART: params}, {PART: state})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only loss."""
        return (Objective(name="velocity", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 4, averaged over the batch, with one pair of times for each example.

        The metrics ``velocity_error`` and ``pair_error`` are the mean squared errors of an element in units of
        ``data_scale``, of examples with r = t and with r < t.
        """
        del step
        x = check_examples(batch["x"], self.shape) / self.data_scale
        time_key, noise_key, label_key, guidance_key, dropout_key = jax.random.split(key, 5)
        num_pairs = math.ceil(self.pair_fraction * x.shape[0])
        r, t = self._pairs(time_key, x.shape[0], num_pairs)
        noise = jax.random.normal(noise_key, x.shape, x.dtype)
        times = broadcast_times(t, x)
        z = PATH.alpha(times) * x + PATH.sigma(times) * noise
        target = VELOCITY.target(PATH, t, Prediction(x, noise))  # ε − x
        label = drop_labels(label_key, label_of(batch, self.num_classes), self.num_classes, self.condition_dropout)
        guidance = self._guidances(guidance_key, x.shape[0], label)
        fixed = functools.partial(self._velocity, Variables(jax.lax.stop_gradient(params), state))

        # The velocity is needed for the target of all examples with guidance, and else for the tangents of pairs alone.
        rows = jax.tree.map(lambda a: a[:num_pairs], (z, r, t, label, guidance))
        if self.max_guidance > 1:
            velocity, _ = fixed(z, t, t, label, guidance)
            without, _ = fixed(z, t, t, None, jnp.ones_like(guidance))
            strength = broadcast_times(1 - 1 / guidance, x)
            target = target + strength * (velocity - without)  # equation 5
        else:
            velocity, _ = fixed(rows[0], rows[2], *rows[2:])
        derivative = self._derivative(fixed, velocity[:num_pairs], *rows)
        output, new_state = self._velocity(
            Variables(params, state), z, r, t, label, guidance, key=dropout_key, train=True
        )
        output = output.at[:num_pairs].add(broadcast_times(t - r, x)[:num_pairs] * derivative)  # equation 4

        errors = jnp.mean(jnp.square(output - target).reshape(x.shape[0], -1), axis=1)
        weights = jax.lax.stop_gradient(errors + WEIGHT_OFFSET) ** -self.weight_power
        metrics = {"velocity_error": _mean(errors[num_pairs:]), "pair_error": _mean(errors[:num_pairs])}
        return jnp.mean(weights * errors), (state | {PART: new_state}, metrics)

    def mean_velocity(
        self,
        variables: Variables,
        x: Array,
        r: Array | float,
        t: Array | float,
        *,
        label: Array | int | None = None,
        guidance: float = 1.0,
    ) -> Array:
        """Return u(x_t, r, t), (B, *shape), from times t to times r ≤ t, () or (B,); r = t is the velocity.

        ``label=None`` stands for no label, which models with classes accept too; ``guidance`` is in
        [1, ``max_guidance``].
        """
        self._check_guidance(guidance, label, x.shape[0])
        r, t, weight = (jnp.broadcast_to(jnp.asarray(a, x.dtype), (x.shape[0],)) for a in (r, t, guidance))
        velocity, _ = self._velocity(variables, x / self.data_scale, r, t, label, weight)
        return self.data_scale * velocity

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        num_steps: PositiveInt = 1,
        guidance: float = 1.0,
    ) -> Array:
        """Draw from the model, (N, *shape).

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,); None for any class. Only for models with classes.
          num_steps: number of equal steps, each with one network evaluation.
          guidance: guidance weight ω in [1, ``max_guidance``]; 1 is no guidance.

        Raises:
          ValueError: if the model has not learned this guidance, or the label is not one of its classes.
        """
        noise = self.sample_prior(variables, key, num_samples)
        return self.decode(variables, noise, label=label, num_steps=num_steps, guidance=guidance)

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw unit-variance noise (N, *shape)."""
        del variables
        return jax.random.normal(key, (num_samples, *self.shape))

    def decode(
        self,
        variables: Variables,
        latent: Array,
        *,
        label: Array | int | None = None,
        num_steps: PositiveInt = 1,
        guidance: float = 1.0,
    ) -> Array:
        """Return the data of unit-variance noise (B, *shape), equation 2; see ``sample``."""
        self._check_guidance(guidance, label, latent.shape[0])
        z = check_examples(latent, self.shape)
        weight = jnp.full(z.shape[0], guidance, z.dtype)

        def step(z: Array, times: tuple[Array, Array]) -> tuple[Array, None]:
            t, r = (jnp.broadcast_to(time, (z.shape[0],)) for time in times)
            velocity, _ = self._velocity(variables, z, r, t, label, weight)
            return z - broadcast_times(t - r, z) * velocity, None  # equation 2

        times = jnp.linspace(PATH.end, PATH.start, num_steps + 1, dtype=z.dtype)
        return self.data_scale * jax.lax.scan(step, z, (times[:-1], times[1:]))[0]

    def _velocity(
        self,
        variables: Variables,
        z: Array,
        r: Array,
        t: Array,
        label: Array | int | None,
        guidance: Array,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """Return the network's output û(z_t, r, t), at least float32, and its new state."""
        arguments = (z, LEVEL_SCALE * t, self._condition(t - r, label, guidance))
        params, state = variables.params[PART], variables.state[PART]
        output, new_state = apply_net(self.net, params, state, *arguments, key=key, train=train)
        return at_least_float32(output), new_state

    @staticmethod
    def _derivative(
        network: Callable[..., tuple[Array, PyTree]],
        velocity: Array,
        z: Array,
        r: Array,
        t: Array,
        label: Array | None,
        guidance: Array,
    ) -> Array:
        """Return du/dt of equation 3."""
        tangents = (velocity, jnp.zeros_like(r), jnp.ones_like(t))
        return jax.jvp(lambda z, r, t: network(z, r, t, label, guidance)[0], (z, r, t), tangents)[1]

    def _pairs(self, key: Array, num: int, num_pairs: int) -> tuple[Array, Array]:
        """Draw times r ≤ t, (num,) each, which are equal from row ``num_pairs`` on."""

        def draw(key: Array) -> Array:
            order_key, key = jax.random.split(key)
            return self.times.quantile(PATH, jax.random.permutation(order_key, stratified(key, num)))

        first, second = map(draw, jax.random.split(key))
        t = jnp.maximum(first, second)
        return jnp.where(jnp.arange(num) < num_pairs, jnp.minimum(first, second), t), t

    def _guidances(self, key: Array, num: int, label: Array | None) -> Array:
        """Draw guidance weights, (num,), which are 1 for examples without a label."""
        if label is None or self.max_guidance == 1:
            return jnp.ones(num)
        weights = self.max_guidance ** jax.random.uniform(key, (num,))
        return jnp.where(label == self.num_classes, 1.0, weights)

    def _condition(self, interval: Array, label: Array | int | None, guidance: Array) -> Array:
        """Return the network's condition, (B, K)."""
        parts = [harmonics(interval)]
        if self.max_guidance > 1:
            parts.append(harmonics(1 - 1 / guidance))
        parts += null_label_inputs(label, self.num_classes, interval.shape[0])
        return jnp.concatenate(parts, axis=1)

    def _check_guidance(self, guidance: float, label: Array | int | None, num_rows: int) -> None:
        if label is not None:
            one_hot_label(label, self.num_classes, num_rows)
        if not 1 <= guidance <= self.max_guidance:
            raise ValueError(
                f"guidance is {guidance}, but this model was trained for weights in [1, {self.max_guidance}]; use one "
                "of these, or train with a larger max_guidance"
            )
        if guidance != 1 and label is None:
            raise ValueError(f"guidance is {guidance}, but label is None; pass a label, or leave guidance at 1")


def harmonics(values: Array) -> Array:
    """Map numbers (B,) in [0, 1] to cos πkx and sin πkx for k = 1 … 8, (B, 16).

    >>> harmonics(jnp.zeros(2)).shape
    (2, 16)
    """
    angle = math.pi * values[:, None] * jnp.arange(1, NUM_HARMONICS + 1)[None]
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=1)


def _mean(errors: Array) -> Array:
    """Return the mean, 0 if there are no errors."""
    return jnp.sum(errors) / max(1, errors.shape[0])
