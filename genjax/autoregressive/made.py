"""MADE: a masked autoencoder as an autoregressive model of binary and other discrete vectors.

In an order σ of the D dimensions,

    p_σ(x) = Π_i p(x_σ(i) | x_σ(1), …, x_σ(i−1)),                                                                 (1)

where one pass of a masked network gives all conditionals, see ``nets.MaskedMLP``. With K orders, whose masks share the
same weights, each minibatch trains one order, drawn at random, and the model is the mixture

    p(x) = 1/K Σ_k p_σ_k(x),                                                                                     (2)

which is normalized too, and whose log-likelihood is at least the average of its members'. Mathieu Germain, Karol
Gregor, Iain Murray and Hugo Larochelle, 2015, arXiv:1502.03509, sections 4.2 and 4.3; training with random orders is
due to Benigno Uria, Iain Murray and Hugo Larochelle, 2014, arXiv:1310.1757.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax import nets
from genjax.arguments import Cure, ExampleShape, NumClasses, PositiveInt, Sizes, check_arguments
from genjax.autoregressive.causal import impute, known_conditions, known_tokens
from genjax.autoregressive.decoding import Callback, MinP, Sampling, Temperature, TopK, TopP, generate
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import (
    at_least_float32,
    checked_values,
    label_of,
    log_mass,
    one_hot_label,
)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class MADE:
    """Masked autoencoder for distribution estimation (Mathieu Germain et al. 2015, arXiv:1502.03509).

    Data are integers 0 … num_values − 1, or floats with these values, in arrays of any shape.

    Attributes:
      shape: shape of an example, without the batch axis.
      features: widths of the hidden layers.
      num_values: number of values of a dimension, L.
      orders: "natural" for row by row; a number K ≥ 1 of orders that ``init`` draws at random; or one order, the flat
        indices of the dimensions from first to last.
      activation: activation after each hidden layer.
      residual: whether hidden layers, all of one width, have residual connections, and outputs also have direct
        connections from the inputs.
      num_classes: number of classes, or None for an unconditional model; every conditional depends on the label.
      dtype: dtype of the computation.

    >>> model = MADE(shape=(5,), features=(16,))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 5)
    """

    shape: ExampleShape
    features: Sizes
    num_values: Annotated[int, Ge(2)] = 2
    orders: Literal["natural"] | Annotated[int, Ge(1), Cure("; 'natural' for row by row")] | Sequence[int] = "natural"
    activation: Callable[[Array], Array] = nn.gelu
    residual: bool = True
    num_classes: NumClasses | None = None
    dtype: Any = None
    discrete = True

    def __post_init__(self) -> None:
        if not isinstance(self.orders, int | str):
            if sorted(self.orders) != list(range(self._dim)):
                raise ValueError(
                    f"orders is {self.orders!r}, but must be 'natural', a number of random orders, or a permutation of "
                    f"0 … {self._dim - 1}"
                )
            object.__setattr__(self, "orders", tuple(self.orders))

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label if the model has classes, and known values of a sample."""
        return (*label_condition(self.num_classes), *known_conditions(self.shape, self.num_values))

    @property
    def lacks(self) -> tuple[str, ...]:
        """``impute``, unless values are drawn row by row."""
        return () if self.orders == "natural" else ("impute",)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``; ValueError if its values or shape do not fit."""
        key, orders_key = jax.random.split(key)
        x = self._flat(batch["x"])
        condition = one_hot_label(label_of(batch, self.num_classes), self.num_classes, x.shape[0])
        order = None if self._fixed else jnp.arange(self._dim)
        params, _ = nets.init_net(self._net, key, self._inputs(x), condition, order)
        if not isinstance(self.orders, int):
            return Variables({"net": params}, {})
        keys = jax.random.split(orders_key, self.orders)
        return Variables({"net": params}, {"orders": jax.vmap(lambda k: jax.random.permutation(k, self._dim))(keys)})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the negative log-likelihood as the only objective."""
        return (Objective(name="likelihood", wrt=("net",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the batch's mean negative log-mass in nats under a random order, and the metric ``log_prob``."""
        del step
        x = self._flat(batch["x"])
        condition = one_hot_label(label_of(batch, self.num_classes), self.num_classes, x.shape[0])
        order = self._fixed_order if self._fixed else jax.random.choice(key, state["orders"])
        log_prob = jnp.mean(self._log_prob(params["net"], x, condition, order))
        return -log_prob, (state, {"log_prob": log_prob})

    def log_prob(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Return the exact log p(x) in nats, (B,), by equation 1, or by equation 2 for several orders."""
        x = self._flat(x)
        condition = one_hot_label(label, self.num_classes, x.shape[0])
        if self._fixed:
            return self._log_prob(variables.params["net"], x, condition, self._fixed_order)
        orders = variables.state["orders"]
        log_probs = jax.lax.map(lambda order: self._log_prob(variables.params["net"], x, condition, order), orders)
        return jax.nn.logsumexp(log_probs, axis=0) - math.log(orders.shape[0])  # equation 2

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        temperature: Temperature = 1.0,
        top_k: TopK | None = None,
        top_p: TopP = 1.0,
        min_p: MinP = 0.0,
        known: Array | None = None,
        keep: Array | None = None,
        callback: Callback | None = None,
    ) -> Array:
        """Draw samples, int32 (N, *shape), dimension by dimension, at the cost of about one pass per order.

        Args:
          variables: variables from ``init`` or training.
          key: a typed key.
          num_samples: number of samples, N.
          label: class of all samples, or of each, int32 (N,); only for conditional models.
          temperature: temperature of the logits; see ``Sampling``.
          top_k: number of most probable values that may be drawn; see ``Sampling``.
          top_p: mass of the most probable values that may be drawn; see ``Sampling``.
          min_p: minimum relative probability of a value that may be drawn; see ``Sampling``.
          known: known values, (N, *shape) or (1, *shape), used where ``keep`` is true; see ``generate``.
          keep: where values are known, bool, with the shape of one example or of all samples.
          callback: see ``generate``; only with a single order.
        """
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        condition = one_hot_label(label, self.num_classes, num_samples)
        known_values = known_tokens(known, keep, self.shape, self.num_values)

        def draw(order: Array | None, key: Array) -> Array:
            cache, step = self._net.decoder(variables.params["net"], num_samples, self._dim, condition, order)

            def logits(cache: Any, token: Array) -> tuple[Array, Any]:
                outputs, cache = step(cache, self._inputs(token))
                return _with_zero(outputs), cache

            arranged: dict[str, Any] = {
                name: x if x is None or order is None else x[:, order] for name, x in known_values.items()
            }
            tokens = generate(
                logits,
                cache,
                key,
                batch_size=num_samples,
                length=self._dim,
                sampling=sampling,
                callback=callback,
                **arranged,
            )
            return tokens if order is None else tokens[:, jnp.argsort(order)]

        if self._fixed:
            return draw(self._fixed_order, key).reshape(num_samples, *self.shape)
        key, member_key = jax.random.split(key)
        orders = variables.state["orders"]
        samples = jax.lax.map(lambda args: draw(*args), (orders, jax.random.split(key, orders.shape[0])))
        member = jax.random.randint(member_key, (num_samples,), 0, orders.shape[0])
        return samples[member, jnp.arange(num_samples)].reshape(num_samples, *self.shape)

    def impute(self, variables: Variables, key: Array, x: Array, mask: Array, **options: Any) -> Array:
        """Draw the unknown values of x (B, *shape) given the known ones, which precede them in raster order.

        ``mask``, bool and broadcastable to x, is True where x is known. Other arguments are those of ``sample``.

        Raises:
          ValueError: if values are not drawn row by row, the mask has another shape or dtype, or, outside compiled
            code, a value is known after an unknown one.
        """
        if self.lacks:
            raise ValueError(f"orders is {self.orders!r}, but only 'natural' imputes; train a MADE in that order")
        return impute(self.sample, variables, key, x, mask, **options)

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
        settings = {"residual": self.residual, "dtype": self.dtype}
        return nets.MaskedMLP(self.features, self.num_values - 1, self.activation, **settings)

    def _inputs(self, x: Array) -> Array:
        """Return values in [0, 1]."""
        return x.astype(jnp.float32) / (self.num_values - 1)

    def _log_prob(self, params: PyTree, x: Array, condition: Array | None, order: Array | None) -> Array:
        outputs, _ = nets.apply_net(self._net, params, {}, self._inputs(x), condition, order)
        return log_mass(_with_zero(outputs), x, axis=1)  # equation 1

    def _flat(self, x: Array) -> Array:
        return checked_values(x, self.shape, self.num_values).reshape(x.shape[0], -1)


def _with_zero(outputs: Array) -> Array:
    """Return L logits from L − 1 outputs; the logit of the value 0 is 0."""
    outputs = at_least_float32(outputs)
    return jnp.concatenate([jnp.zeros_like(outputs[:, :1]), outputs], axis=1)
