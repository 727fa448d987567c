"""The restricted Boltzmann machine of examples and their classes.

The label, a softmax unit y of K values, is joined to the visible units x, and both are seen by the hidden ones:

    p(x, y, h) ∝ m(x) exp(xᵀ W h + yᵀ U h + b·x + d·y + c·h),                                                     (1)
    p(y | x) = softmax over y of d_y + Σⱼ softplus(cⱼ + U_yⱼ + (Wᵀ x)ⱼ),        exactly,                           (2)

and given the label what is left is a machine of x with hidden biases c + U_y and a normalizer of its own:

    log p(x | y) = −F_y(x) − log Z_y.                                                                            (3)

Learning is a sum of the two ways to look at it, weighted:

    −(generative) log p(x, y) − (discriminative) log p(y | x).                                                    (4)

Hugo Larochelle and Yoshua Bengio 2008, "Classification using discriminative restricted Boltzmann machines"; with the
hybrid (4): Hugo Larochelle, Michael Mandel, Razvan Pascanu and Yoshua Bengio 2012, "Learning algorithms for the
classification restricted Boltzmann machine".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import final

import jax
import jax.numpy as jnp

from genjax.boltzmann import layers as joint
from genjax.boltzmann.annealing import annealed_importance
from genjax.boltzmann.diagnosis import moved
from genjax.boltzmann.layers import Layers, machine
from genjax.boltzmann.negative_phase import NegativePhase, Persistent
from genjax.boltzmann.rbm import PART, RBM
from genjax.boltzmann.units import Binary, Joined, Softmax, Units, independent
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import check_at_least, check_shape, label_of, one_hot_label


@final
@dataclass(frozen=True, kw_only=True)
class ClassRBM:
    """Restricted Boltzmann machine with labels.

    Attributes:
      shape: of one example, without the batch axis.
      num_classes: K; batches have ``"label"``, int32 (B,), from 0 to K − 1.
      num_hidden: H.
      units: kind of the visible units.
      negative_phase: where the samples of x and y come from that it unlearns.
      centred: see ``RBM``.
      generative: weight of the likelihood of both in equation 4.
      discriminative: weight of that of the label alone.
      weight_decay: see ``RBM``.

    >>> model = ClassRBM(shape=(4,), num_classes=2, num_hidden=3)
    >>> batch = {"x": jnp.zeros((5, 4)), "label": jnp.zeros(5, jnp.int32)}
    >>> variables = model.init(jax.random.key(0), batch)
    >>> model.sample(variables, jax.random.key(1), 2, label=1, num_steps=10).shape
    (2, 4)
    """

    shape: tuple[int, ...]
    num_classes: int
    num_hidden: int
    units: Units = field(default_factory=Binary)
    negative_phase: NegativePhase = field(default_factory=Persistent)
    centred: bool = True
    generative: float = 1.0
    discriminative: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_shape(self.shape)
        check_at_least("num_classes", self.num_classes, 2)
        check_at_least("generative", self.generative, 0)
        check_at_least("discriminative", self.discriminative, 0)
        if not self.generative + self.discriminative:
            raise ValueError("generative and discriminative are 0, so that nothing is learned; set one of them to 1")
        _ = self.joint  # checks the rest

    @functools.cached_property
    def joint(self) -> RBM:
        """The machine of visible units with the label among them."""
        size = RBM(shape=self.shape, num_hidden=self.num_hidden, units=self.units).num_visible
        return RBM(
            shape=(size + self.num_classes,),
            num_hidden=self.num_hidden,
            units=Joined((self.units, Softmax(self.num_classes)), (size, self.num_classes)),
            negative_phase=self.negative_phase,
            centred=self.centred,
            weight_decay=self.weight_decay,
        )

    @property
    def discrete(self) -> bool:
        """Whether log-likelihoods are log-masses."""
        return self.units.discrete

    @property
    def tractable(self) -> bool:
        """Whether ``log_prob`` can add up all states of a layer."""
        return replace(self.joint, shape=self.shape, units=self.units).tractable

    @property
    def lacks(self) -> tuple[str, ...]:
        """``log_prob``, where enumerating all states takes too long."""
        return () if self.tractable else ("log_prob",)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the model is conditioned on: the label, where it has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables; see ``RBM.init``.

        Raises:
          ValueError: for data of another shape, or that the units cannot be, or without labels.
        """
        return self.joint.init(key, {"x": self._joined(batch)})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="likelihood", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Equation 4, its first term as ``RBM.loss`` has it.

        Returns:
          The scalar, and the new state with the metrics of ``RBM.loss``, ``class_log_prob``, nats, and
          ``class_accuracy``.
        """
        loss, (state, metrics) = self.joint.loss(params, state, key, {"x": self._joined(batch)}, step)
        told = self.class_log_prob(Variables(params, state), batch["x"])
        label = batch["label"]
        log_prob = jnp.mean(jnp.take_along_axis(told, label[:, None], axis=1))
        accuracy = jnp.mean(jnp.argmax(told, axis=1) == label)
        more = {"class_log_prob": log_prob, "class_accuracy": accuracy}
        return self.generative * loss - self.discriminative * log_prob, (state, metrics | more)

    def class_log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(y | x) of every class, nats, (B, K): exactly, for x (B, *shape)."""
        layers, size = self.joint.layers(variables), self.joint.num_visible - self.num_classes
        inputs = self.units.encode(x, self.shape) @ layers.weights[:size] + layers.hidden_bias[None]
        every = inputs[:, None] + layers.weights[None, size:]  # (B, K, H)
        hidden = layers.hidden_units.log_partition(every.reshape(-1, self.num_hidden)).reshape(len(x), -1)
        return jax.nn.log_softmax(layers.visible_bias[None, size:] + hidden, axis=-1)  # equation 2

    def classify(self, variables: Variables, x: Array) -> Array:
        """Return the likeliest label, int32 (B,), of x (B, *shape)."""
        return jnp.argmax(self.class_log_prob(variables, x), axis=-1).astype(jnp.int32)

    def layers(self, variables: Variables, one_hot: Array) -> Layers:
        """Return the machine of x given a label, (K,)."""
        layers, size = self.joint.layers(variables), self.joint.num_visible - self.num_classes
        return Layers(
            weights=layers.weights[:size],
            visible_bias=layers.visible_bias[:size],
            hidden_bias=layers.hidden_bias + one_hot @ layers.weights[size:],
            units=self.units,
        )

    def log_prob(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Return log p(x | y), nats, (B,): exactly, by adding up all states of the smaller binary layer for each class.

        Args:
          variables: what ``init`` or training returned.
          x: (B, *shape).
          label: int32 (B,), or one for all.

        Raises:
          ValueError: where that layer has more than 25 units, or for a label that there is not.
        """
        log_z = jax.lax.map(lambda y: joint.log_partition(self.layers(variables, y)), jnp.eye(self.num_classes))
        return self._given_label(variables, x, label, log_z)

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        num_temperatures: int = 10_000,
    ) -> Array:
        """Return log p(x | y), nats, (B,), with log Z_y of each class by annealed importance sampling.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          x: (B, *shape).
          num_samples: particles for each class.
          label: int32 (B,), or one for all.
          num_temperatures: between independent units and the machine.
        """
        base = variables.state["base"][: -self.num_classes]

        def log_partition(now: tuple[Array, Array]) -> Array:
            layers = self.layers(variables, now[0])
            return annealed_importance(
                layers, base, now[1], num_particles=num_samples, num_temperatures=num_temperatures
            ).value

        log_z = jax.lax.map(
            log_partition,
            (jnp.eye(self.num_classes), jax.random.split(key, self.num_classes)),
        )
        return self._given_label(variables, x, label, log_z)

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Tell whether chains move, as ``moved``; see ``genjax.boltzmann.diagnosis``."""
        layers, state = self.joint.layers(variables), variables.state
        v = self._joined(batch)
        return {"moved": moved(layers, self.negative_phase, state["base"], key, v, state["negative"])}

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        num_steps: int = 1_000,
        mean: bool = False,
    ) -> Array:
        """Draw from p(x | y) by Gibbs sampling with the label held, from independent units of the data's means.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of chains, of which each gives one sample, N.
          label: int32 (N,), or one for all.
          num_steps: sweeps.
          mean: whether to return means of the visible units at last, which look smoother.

        Returns:
          Samples (N, *shape).
        """
        check_at_least("num_samples", num_samples, 1)
        check_at_least("num_steps", num_steps, 1)
        one_hot = self._one_hot(label, num_samples)
        layers, base = self.joint.layers(variables), variables.state["base"]
        start_key, walk_key, last_key = jax.random.split(key, 3)
        start = independent(layers.units, base, start_key, num_samples)

        def sweep(v: Array, key: Array) -> tuple[Array, None]:
            return self._with_label(joint.sweep(machine(layers), key, v), one_hot), None

        v = jax.lax.scan(sweep, self._with_label(start, one_hot), jax.random.split(walk_key, num_steps))[0]
        if mean:
            v = joint.sweep_to_means(machine(layers), last_key, v)
        return self.units.decode(v[:, : -self.num_classes], self.shape)

    def _one_hot(self, label: Array | int | None, num_rows: int) -> Array:
        one_hot = one_hot_label(label, self.num_classes, num_rows)
        assert one_hot is not None  # as there are classes
        return one_hot

    def _joined(self, batch: Batch) -> Array:
        one_hot = self._one_hot(label_of(batch, self.num_classes), len(batch["x"]))
        return jnp.concatenate([self.units.encode(batch["x"], self.shape), one_hot], axis=1)

    def _with_label(self, v: Array, one_hot: Array) -> Array:
        return v.at[:, -self.num_classes :].set(one_hot)

    def _given_label(self, variables: Variables, x: Array, label: Array | int | None, log_z: Array) -> Array:
        """Equation 3, with log Z_y of each class, (K,)."""
        one_hot = self._one_hot(label, len(x))
        v = jnp.concatenate([self.units.encode(x, self.shape), one_hot], axis=1)
        layers = self.joint.layers(variables)
        of_both = joint.log_of_visible(machine(layers), v)
        return of_both - one_hot @ (layers.visible_bias[-self.num_classes :] + log_z)
