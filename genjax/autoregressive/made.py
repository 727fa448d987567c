"""MADE: a masked network as an autoregressive model of binary and other discrete vectors.

In an order σ of the D dimensions,

    p_σ(x) = Π_i p(x_σ(i) | x_σ(1), …, x_σ(i−1)),                                                                 (1)

all of whose conditionals take one pass of a network with masks, ``nets.MaskedMLP``. With K orders, and masks to match
on the same weights, each minibatch trains under one of them, drawn at random, and the model is their mixture

    p(x) = 1/K Σ_k p_σ_k(x),                                                                                     (2)

which is normalized as well, and at least as likely on average as its members are. Mathieu Germain, Karol Gregor, Iain
Murray and Hugo Larochelle, 2015, arXiv:1502.03509, sections 4.2 and 4.3; training under random orders is of Benigno
Uria, Iain Murray and Hugo Larochelle, 2014, arXiv:1310.1757.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import nets
from genjax.autoregressive.causal import checked_values, known_tokens
from genjax.autoregressive.decoding import Callback, Sampling, generate
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import (
    at_least_float32,
    check_at_least,
    check_num_classes,
    check_shape,
    label_of,
    log_mass,
    one_hot_label,
)


@final
@dataclass(frozen=True, kw_only=True)
class MADE:
    """Masked autoencoder for distribution estimation.

    Data is integers 0 … num_values − 1, or the same as floats, in an array of any shape.

    Attributes:
      shape: of one example, without the batch axis.
      features: widths of the hidden layers.
      num_values: L, number of values of a dimension.
      orders: "natural", row by row; K ≥ 1 orders drawn at random by ``init``; or one order of your own, the flat
        indices of the dimensions from first to last.
      activation: after each hidden layer.
      residual: whether hidden layers, of one width, add to the one below them, and inputs reach the outputs directly as
        well.
      num_classes: None, or the number of labels; the one-hot label then reaches every conditional.
      dtype: what the network computes in.

    >>> model = MADE(shape=(5,), features=(16,))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 5)
    """

    shape: tuple[int, ...]
    features: tuple[int, ...]
    num_values: int = 2
    orders: Literal["natural"] | int | Sequence[int] = "natural"
    activation: Any = nn.gelu
    residual: bool = True
    num_classes: int | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        check_shape(self.shape)
        check_at_least("num_values", self.num_values, 2)
        if isinstance(self.orders, int):
            check_at_least("orders", self.orders, 1, "; 'natural' for row by row")
        elif self.orders != "natural":
            if isinstance(self.orders, str) or sorted(self.orders) != list(range(self._dim)):
                raise ValueError(
                    f"orders is {self.orders!r}, but must be 'natural', a number of random orders, or a permutation of "
                    f"0 … {self._dim - 1}"
                )
            object.__setattr__(self, "orders", tuple(self.orders))
        check_num_classes(self.num_classes)

    @property
    def discrete(self) -> bool:
        """True: log p(x) is a log-mass."""
        return True

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the model is conditioned on: the label, where it has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``.

        Raises:
          ValueError: for data of another shape, or values that are not 0 … num_values − 1.
        """
        key, orders_key = jax.random.split(key)
        x = self._flat(batch["x"])
        context = one_hot_label(label_of(batch, self.num_classes), self.num_classes, len(x))
        order = None if self._fixed else jnp.arange(self._dim)
        params = self._net.init(key, self._inputs(x), context, order)["params"]
        if self._fixed:
            return Variables({"net": params}, {})
        keys = jax.random.split(orders_key, self.orders if isinstance(self.orders, int) else 1)
        return Variables({"net": params}, {"orders": jax.vmap(lambda k: jax.random.permutation(k, self._dim))(keys)})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="likelihood", wrt=("net",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Negative log-mass in nats per example, averaged over the batch; of several orders under one, at random.

        Returns:
          The scalar, and the state as it was with the metric ``log_prob``.
        """
        del step
        x = self._flat(batch["x"])
        context = one_hot_label(label_of(batch, self.num_classes), self.num_classes, len(x))
        order = self._fixed_order if self._fixed else jax.random.choice(key, state["orders"])
        log_prob = jnp.mean(self._log_prob(params["net"], x, context, order))
        return -log_prob, (state, {"log_prob": log_prob})

    def log_prob(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Exact log p(x), nats, (B,): equation 1, or 2 for several orders."""
        x = self._flat(x)
        context = one_hot_label(label, self.num_classes, len(x))
        if self._fixed:
            return self._log_prob(variables.params["net"], x, context, self._fixed_order)
        orders = variables.state["orders"]
        each = jax.lax.map(lambda order: self._log_prob(variables.params["net"], x, context, order), orders)
        return jax.nn.logsumexp(each, axis=0) - math.log(len(orders))  # equation 2

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        known: Array | None = None,
        keep: Array | None = None,
        callback: Callback | None = None,
    ) -> Array:
        """Draw from the model, dimension after dimension, at the cost of about one pass for each order.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          num_samples: N.
          label: class of all samples, or int32 (N,) for each; only for conditional models.
          temperature: see ``Sampling``, as are ``top_k``, ``top_p`` and ``min_p``.
          top_k: how many of the most probable values may be drawn.
          top_p: mass of the most probable values that may be drawn.
          min_p: least probability of a value that may be drawn, as a share of the greatest.
          known: values (N, *shape) or (1, *shape) to be kept where ``keep`` is true; see ``generate``.
          keep: bool, of the shape of one example or of all.
          callback: see ``generate``; with one order only.

        Returns:
          int32 (N, *shape).
        """
        check_at_least("num_samples", num_samples, 1)
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        context = one_hot_label(label, self.num_classes, num_samples)
        kept = known_tokens(known, keep, self.shape, self.num_values)

        def draw(order: Array | None, key: Array) -> Array:
            in_order = (lambda a: a) if order is None else (lambda a: None if a is None else a[:, order])
            cache, step = self._net.decoder(variables.params["net"], num_samples, self._dim, context, order)

            def logits(cache: Any, token: Array) -> tuple[Array, Any]:
                outputs, cache = step(cache, self._inputs(token))
                return _with_zero(outputs), cache

            kept_in_order = {name: in_order(value) for name, value in kept.items()}
            tokens = generate(
                logits,
                cache,
                key,
                num_rows=num_samples,
                length=self._dim,
                sampling=sampling,
                callback=callback,
                **kept_in_order,
            )
            return tokens if order is None else tokens[:, jnp.argsort(order)]

        if self._fixed:
            return draw(self._fixed_order, key).reshape(num_samples, *self.shape)
        key, which_key = jax.random.split(key)
        orders = variables.state["orders"]
        each = jax.lax.map(lambda one: draw(*one), (orders, jax.random.split(key, len(orders))))
        which = jax.random.randint(which_key, (num_samples,), 0, len(orders))
        return each[which, jnp.arange(num_samples)].reshape(num_samples, *self.shape)

    @property
    def _dim(self) -> int:
        return math.prod(self.shape)

    @property
    def _fixed(self) -> bool:
        return not isinstance(self.orders, int)

    @property
    def _fixed_order(self) -> Array | None:
        return None if self.orders == "natural" else jnp.asarray(self.orders)

    @property
    def _net(self) -> nets.MaskedMLP:
        return nets.MaskedMLP(
            self.features, self.num_values - 1, self.activation, residual=self.residual, dtype=self.dtype
        )

    def _inputs(self, x: Array) -> Array:
        """Values in [0, 1]."""
        return x.astype(jnp.float32) / (self.num_values - 1)

    def _log_prob(self, params: PyTree, x: Array, context: Array | None, order: Array | None) -> Array:
        outputs = self._net.apply({"params": params}, self._inputs(x), context, order)
        return log_mass(_with_zero(jnp.asarray(outputs)), x, axis=1)  # equation 1

    def _flat(self, x: Array) -> Array:
        return checked_values(x, self.shape, self.num_values).reshape(len(x), -1)


def _with_zero(outputs: Array) -> Array:
    """Return L logits from L − 1: that of the value 0 is 0."""
    outputs = at_least_float32(outputs)
    return jnp.concatenate([jnp.zeros_like(outputs[:, :1]), outputs], axis=1)
