"""The base of diffusion models of integers.

Data x are D integers in 0 … K − 1, each of which noise replaces by a draw from a distribution π, independently,

    q(x_t^i | x^i) = α_t [x_t^i = x^i] + (1 − α_t) π(x_t^i),                                                     (1)

with α falling from 1 to 0. A network maps x_t to a distribution x̂^i of each integer of the data. In ``masked``, π is a
value of its own, the mask; in ``uniform``, π = 1/K.

Jacob Austin, Daniel Johnson, Jonathan Ho, Daniel Tarlow and Rianne van den Berg 2021, arXiv:2107.03006.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Interval

from genjax.arguments import Cure, ExampleShape, NumClasses, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.diffusion.guidance import check_guidance, classifier_free_guidance
from genjax.diffusion.times import stratified, stratified_mean
from genjax.nets import Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    at_least_float32,
    check_example_shape,
    check_stop_token,
    checked_integers,
    drop_labels,
    fill_after_stop,
    label_of,
    null_label_inputs,
    one_hot_label,
    tempered_logits,
)

PART = "denoiser"
MIN_LOG_PROB = -1e6  # of impossible values in guidance
NumValues = Annotated[int, Ge(2)]
Temperature = Annotated[float, Gt(0), Cure("; 0.01 is close to the most probable values")]
LogProbs = Callable[[Array, Array], Array]  # x_t (N, D) and levels (N,) -> log x̂, (N, D, K)


@check_arguments
@dataclass(frozen=True, kw_only=True)
class DiscreteDiffusion(ABC):
    """What ``MaskedDiffusion`` and ``UniformDiffusion`` have in common; the former describes the attributes."""

    shape: ExampleShape
    num_values: NumValues
    net: Net
    stop_token: int | None = None
    num_classes: NumClasses | None = None
    condition_dropout: Annotated[float, Interval(ge=0, le=1), Cure("; 0.1 is usual")] = 0.1
    discrete = True

    def __post_init__(self) -> None:
        check_stop_token(self.stop_token, self.num_values)
        if self.stop_token is not None and len(self.shape) != 1:
            raise ValueError(f"stop_token is {self.stop_token}, but data of shape {self.shape} are not texts; use None")

    @property
    def _size(self) -> int:
        """Number of integers of an example, D."""
        return math.prod(self.shape)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes."""
        return label_condition(self.num_classes, optional=True)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape or are not integers 0 … K − 1, or the network does not fit them.
        """
        x = self._flat(batch["x"])
        arguments = self._arguments(x, jnp.zeros(x.shape[0]), label_of(batch, self.num_classes))
        shape = (x.shape[0], *self.shape, self.num_values)
        check_part("net", NetSpec(self.net, arguments, shape, f"num_values={self.num_values}"), key)
        params, state = init_net(self.net, key, *arguments)
        return Variables({PART: params}, {PART: state})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only loss."""
        return (Objective(name="bound", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return an estimate of the negative bound in nats per integer, averaged over the batch.

        Each example has one level of noise; they are stratified. The metric is the bound, ``log_prob_lower_bound``,
        nats per example.
        """
        del step
        x = self._flat(batch["x"])
        level_key, label_key, noise_key, dropout_key = jax.random.split(key, 4)
        u = stratified(level_key, x.shape[0])
        label = drop_labels(label_key, label_of(batch, self.num_classes), self.num_classes, self.condition_dropout)
        output: Any = functools.partial(self._log_probs, Variables(params, state), label=label)
        nats, new_state = self._negative_bound(functools.partial(output, key=dropout_key, train=True), noise_key, x, u)
        loss = jnp.mean(nats)
        return loss / x.shape[1], (state | {PART: new_state}, {"log_prob_lower_bound": -loss})

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt = 8,
        *,
        label: Array | int | None = None,
    ) -> Array:
        """Return an unbiased estimate of the bound on log p(x), nats, (B,), from ``num_samples`` draws of noise.

        Their levels are stratified. ``label=None`` stands for no label, which models with classes accept too.
        """
        self._check_label(label)
        x = self._flat(x)
        log_probs = functools.partial(self._log_probs, variables, label=label)

        def draw(key: Array, u: Array) -> Array:
            return self._negative_bound(log_probs, key, x, u)[0]

        return -stratified_mean(draw, key, x.shape[0], num_samples)

    @abstractmethod
    def _negative_bound(
        self, log_probs: Callable[[Array, Array], tuple[Array, PyTree]], key: Array, x: Array, u: Array
    ) -> tuple[Array, PyTree]:
        """Return unbiased estimates of minus the bound, nats, (B,), at levels set by u (B,), and the network's state.

        ``log_probs`` maps x_t (B, D) and levels (B,) to log x̂ and the network's state.
        """

    def _log_probs(
        self,
        variables: Variables,
        x: Array,
        level: Array,
        label: Array | int | None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """Return log x̂ (B, D, K) of x_t (B, D) at levels (B,), at least float32, and the network's new state."""
        arguments = self._arguments(x, level, label)
        params, state = variables.params[PART], variables.state[PART]
        output, new_state = apply_net(self.net, params, state, *arguments, key=key, train=train)
        logits = at_least_float32(output).reshape(*x.shape, self.num_values)
        return jax.nn.log_softmax(self._possible(x, logits), axis=-1), new_state

    def _possible(self, x: Array, logits: Array) -> Array:
        """Return the logits (B, D, K), −∞ for what x_t (B, D) rules out."""
        del x
        return logits

    def _sampling_log_probs(
        self, variables: Variables, label: Array | int | None, guidance: float, temperature: float
    ) -> LogProbs:
        """Return log x̂ for sampling as a function of x_t and levels, with guidance and temperature."""
        self._check_label(label)
        check_guidance(guidance, None, {} if label is None else {"label": label}, None, self.condition_dropout)

        def labelled(x: Array, level: Array, label: Array | int | None) -> Array:
            return self._log_probs(variables, x, jnp.resize(level, x.shape[:1]), label)[0]

        def finite(x: Array, level: Array, label: Array | int | None) -> Array:
            return jnp.maximum(labelled(x, level, label), MIN_LOG_PROB)  # the difference of two −∞ is NaN

        denoise: Any = functools.partial(labelled, label=label)
        if guidance != 1.0 and label is not None:
            own, null = (jnp.atleast_1d(jnp.asarray(each)) for each in (label, self.num_classes))
            denoise = classifier_free_guidance(cast(Any, finite), own, null, guidance)
        return lambda x, level: jax.nn.log_softmax(tempered_logits(denoise(x, level), temperature), axis=-1)

    def _check_label(self, label: Array | int | None) -> None:
        """Raise ValueError if the label is not one of the classes; the null label is not one of them."""
        if label is not None:
            one_hot_label(label, self.num_classes, np.size(label))

    def _arguments(self, x: Array, level: Array, label: Array | int | None) -> tuple[Array, ...]:
        """Return the network's arguments for x_t (B, D) at levels (B,)."""
        inputs = null_label_inputs(label, self.num_classes, x.shape[0])
        return (x.reshape(-1, *self.shape), level, *inputs)

    def _flat(self, x: Array) -> Array:
        """Return data as int32 (B, D); ValueError if they are not those of the model."""
        check_example_shape(x, self.shape)
        return fill_after_stop(checked_integers(x, self.num_values).reshape(x.shape[0], -1), self.stop_token)
