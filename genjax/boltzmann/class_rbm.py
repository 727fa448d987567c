"""The restricted Boltzmann machine of data and labels.

The label is a softmax unit y of K values beside the visible units x, and the hidden units see both:

    p(x, y, h) ∝ m(x) exp(xᵀ W h + yᵀ U h + b·x + d·y + c·h),                                                     (1)
    p(y | x) = softmax over y of d_y + Σⱼ softplus(cⱼ + U_yⱼ + (Wᵀ x)ⱼ),        exactly.                          (2)

Given the label, x has a restricted Boltzmann machine of its own, with hidden biases c + U_y and log-normalizer log Z_y:

    log p(x | y) = −F_y(x) − log Z_y.                                                                            (3)

The loss is a weighted sum of a generative and a discriminative term,

    −γ log p(x, y) − δ log p(y | x).                                                                             (4)

Hugo Larochelle and Yoshua Bengio 2008, "Classification using discriminative restricted Boltzmann machines"; hybrid
loss (4): Hugo Larochelle, Michael Mandel, Razvan Pascanu and Yoshua Bengio 2012, "Learning algorithms for the
classification restricted Boltzmann machine".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Annotated, final

import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import ExampleShape, NonNegativeFloat, PositiveInt, check_arguments
from genjax.boltzmann import bipartite
from genjax.boltzmann.annealing import annealed_importance_sampling
from genjax.boltzmann.bipartite import EnumeratesStates, RBMParams, at_unit_temperature
from genjax.boltzmann.diagnosis import chain_movement
from genjax.boltzmann.negative_phase import NegativePhase, Persistent
from genjax.boltzmann.rbm import PART, RBM
from genjax.boltzmann.units import BinaryUnits, MixedUnits, SoftmaxUnits, Units, sample_independent
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import label_of, one_hot_label
from genjax.ops.importance import NumParticles


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ClassRBM(EnumeratesStates):
    """Classification restricted Boltzmann machine (Larochelle & Bengio 2008); its state is an ``RBMState``.

    Attributes:
      num_classes: number of classes, K; batches have ``"label"``, int32 (B,), from 0 to K − 1.
      negative_phase: rule that draws the samples of x and y for the generative gradient.
      generative_weight: weight of log p(x, y) in equation 4, γ.
      discriminative_weight: weight of log p(y | x) in equation 4, δ.

    Other attributes: see ``RBM``.

    >>> model = ClassRBM(shape=(4,), num_classes=2, num_hidden=3)
    >>> batch = {"x": jnp.zeros((5, 4)), "label": jnp.zeros(5, jnp.int32)}
    >>> variables = model.init(jax.random.key(0), batch)
    >>> model.sample(variables, jax.random.key(1), 2, label=1, num_steps=10).shape
    (2, 4)
    """

    shape: ExampleShape
    num_classes: Annotated[int, Ge(2)]
    num_hidden: PositiveInt
    units: Units = field(default_factory=BinaryUnits)
    negative_phase: NegativePhase = field(default_factory=Persistent)
    centred: bool = True
    generative_weight: NonNegativeFloat = 1.0
    discriminative_weight: NonNegativeFloat = 0.0
    weight_decay: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        if not self.generative_weight + self.discriminative_weight:
            raise ValueError(
                "generative_weight and discriminative_weight are 0, but one must be positive; set one of them to 1"
            )

    @functools.cached_property
    def joint(self) -> RBM:
        """The machine whose visible units are x and the label."""
        size = RBM(shape=self.shape, num_hidden=self.num_hidden, units=self.units).num_visible
        return RBM(
            shape=(size + self.num_classes,),
            num_hidden=self.num_hidden,
            units=MixedUnits((self.units, SoftmaxUnits(self.num_classes)), (size, self.num_classes)),
            negative_phase=self.negative_phase,
            centred=self.centred,
            weight_decay=self.weight_decay,
        )

    @property
    def discrete(self) -> bool:
        """Whether log-likelihoods are log-masses rather than log-densities."""
        return self.units.discrete

    @property
    def tractable(self) -> bool:
        """Whether a layer is small enough for ``log_prob`` to enumerate its states."""
        return replace(self.joint, shape=self.shape, units=self.units).tractable

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions of the model: the label."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables of ``joint``; fails as ``RBM.init`` does, and without labels."""
        return self.joint.init(key, {"x": self._with_labels(batch)})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only objective, ``likelihood``."""
        return (Objective(name="likelihood", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 4, where ``RBM.loss`` stands for the generative term.

        Metrics are those of ``RBM.loss``, ``class_log_prob``, nats, and ``class_accuracy``.
        """
        loss, (state, metrics) = self.joint.loss(params, state, key, {"x": self._with_labels(batch)}, step)
        log_probs, label = self.class_log_prob(Variables(params, state), batch["x"]), batch["label"]
        log_prob = jnp.mean(jnp.take_along_axis(log_probs, label[:, None], axis=1))
        accuracy = jnp.mean(jnp.argmax(log_probs, axis=1) == label)
        metrics = metrics | {"class_log_prob": log_prob, "class_accuracy": accuracy}
        return self.generative_weight * loss - self.discriminative_weight * log_prob, (state, metrics)

    def class_log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(y | x) of all classes exactly, nats, (B, K), for data x, (B, *shape)."""
        params, size = self.joint.rbm_params(variables), self.joint.num_visible - self.num_classes
        inputs = self.units.encode(x, self.shape) @ params.weights[:size] + params.hidden_bias[None]
        class_inputs = inputs[:, None] + params.weights[None, size:]  # (B, K, H)
        hidden = params.hidden_units.log_partition(class_inputs.reshape(-1, self.num_hidden)).reshape(x.shape[0], -1)
        return jax.nn.log_softmax(params.visible_bias[None, size:] + hidden, axis=-1)  # equation 2

    def classify(self, variables: Variables, x: Array) -> Array:
        """Return the most likely label, int32 (B,), of data x, (B, *shape)."""
        return jnp.argmax(self.class_log_prob(variables, x), axis=-1).astype(jnp.int32)

    def rbm_params(self, variables: Variables, one_hot: Array) -> RBMParams:
        """Return the parameters of the machine of x given a one-hot label, (K,)."""
        params, size = self.joint.rbm_params(variables), self.joint.num_visible - self.num_classes
        return RBMParams(
            weights=params.weights[:size],
            visible_bias=params.visible_bias[:size],
            hidden_bias=params.hidden_bias + one_hot @ params.weights[size:],
            units=self.units,
        )

    def log_prob(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Return log p(x | y) exactly, nats, (B,), by enumerating the smaller binary layer once for each class.

        It fails as ``RBM.log_prob`` does, and where a label is missing or out of range.
        """
        classes = jnp.eye(self.num_classes, dtype=jnp.float32)
        log_z = jax.lax.map(lambda one_hot: bipartite.log_partition(self.rbm_params(variables, one_hot)), classes)
        return self._conditional_log_prob(variables, x, label, log_z)

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: NumParticles,
        *,
        label: Array | int | None = None,
        num_temperatures: PositiveInt = 10_000,
    ) -> Array:
        """Return log p(x | y), nats, (B,), with log Z_y of each class by ``annealed_importance_sampling``.

        There are ``num_samples`` particles for each class.
        """
        base_bias = variables.state.base_bias[: -self.num_classes]

        def log_partition(class_and_key: tuple[Array, Array]) -> Array:
            one_hot, key = class_and_key
            params = self.rbm_params(variables, one_hot)
            return annealed_importance_sampling(
                params, base_bias, key, num_particles=num_samples, num_temperatures=num_temperatures
            ).value

        keys = jax.random.split(key, self.num_classes)
        log_z = jax.lax.map(log_partition, (jnp.eye(self.num_classes, dtype=jnp.float32), keys))
        return self._conditional_log_prob(variables, x, label, log_z)

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Measure ``chain_movement``; see ``genjax.boltzmann.diagnosis``."""
        params, v = self.joint.rbm_params(variables), self._with_labels(batch)
        return {"chain_movement": chain_movement(params, self.negative_phase, key, v, variables.state)}

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        num_steps: PositiveInt = 1_000,
        mean: bool = False,
    ) -> Array:
        """Draw samples of p(x | y), (N, *shape), by Gibbs sampling with the label clamped; see ``RBM.sample``.

        Args:
          variables: variables from ``init`` or training.
          key: typed key.
          num_samples: number of samples, N, each the end of its own chain.
          label: class of each sample, int32 (N,), or one class for all.
          num_steps: number of Gibbs steps.
          mean: whether to return the means of the visible units, which look smoother, in place of the last draw.
        """
        one_hot = self._one_hot(label, num_samples)
        rbm, base_bias = at_unit_temperature(self.joint.rbm_params(variables)), variables.state.base_bias
        start_key, chain_key, last_key = jax.random.split(key, 3)
        start = sample_independent(rbm.params.units, base_bias, start_key, num_samples)

        def step(v: Array, key: Array) -> tuple[Array, None]:
            return self._clamp(bipartite.gibbs_step(rbm, key, v), one_hot), None

        v = jax.lax.scan(step, self._clamp(start, one_hot), jax.random.split(chain_key, num_steps))[0]
        if mean:
            v = bipartite.gibbs_step_mean(rbm, last_key, v)
        return self.units.decode(v[:, : -self.num_classes], self.shape)

    def _one_hot(self, label: Array | int | None, num_rows: int) -> Array:
        one_hot = one_hot_label(label, self.num_classes, num_rows)
        assert one_hot is not None  # because num_classes is not None
        return one_hot

    def _with_labels(self, batch: Batch) -> Array:
        """Return the visible units of ``joint``, (B, N + K)."""
        return self._join(batch["x"], self._one_hot(label_of(batch, self.num_classes), batch["x"].shape[0]))

    def _join(self, x: Array, one_hot: Array) -> Array:
        return jnp.concatenate([self.units.encode(x, self.shape), one_hot], axis=1)

    def _clamp(self, v: Array, one_hot: Array) -> Array:
        return v.at[:, -self.num_classes :].set(one_hot)

    def _conditional_log_prob(self, variables: Variables, x: Array, label: Array | int | None, log_z: Array) -> Array:
        """Return equation 3, given log Z_y of all classes, (K,)."""
        one_hot, params = self._one_hot(label, x.shape[0]), self.joint.rbm_params(variables)
        log_joint = bipartite.log_unnormalized_visible(at_unit_temperature(params), self._join(x, one_hot))
        return log_joint - one_hot @ (params.visible_bias[-self.num_classes :] + log_z)
