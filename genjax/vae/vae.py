"""The variational autoencoder.

A latent vector z ~ N(0, I) and a decoder give data, p(x) = ∫ p(x | z) N(z; 0, I) dz. The encoder gives a Gaussian
q(z | x) = N(m(x), diag v(x)), and both are trained on the evidence lower bound

    log p(x) ≥ ELBO(x) = E_q[log p(x | z)] − KL(q(z | x) ‖ N(0, I)),        z = m + √v ε,  ε ~ N(0, I),

with one ε per example and the divergence in closed form. Weighting the divergence by ``beta`` gives the β-VAE, letting
beta grow from zero gives KL warm-up. Samples from q also estimate log p(x) itself, by importance weighting:

    log p(x) ≈ log 1/K Σ_k w_k,    w_k = p(x | z_k) N(z_k; 0, I) / q(z_k | x),    E[log 1/K Σ_k w_k] ≤ log p(x).

Diederik Kingma and Max Welling, 2014, arXiv:1312.6114; Danilo Rezende, Shakir Mohamed and Daan Wierstra, 2014,
arXiv:1401.4082. Importance weighting: Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, 2016, arXiv:1509.00519.
β-VAE: Irina Higgins et al., 2017. Warm-up: Casper Sønderby et al., 2016, arXiv:1602.02282.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, apply_net, init_net
from genjax.ops import Likelihood, at_least_float32, bounded, gaussian_kl

# Variances from 2e-9 to 5e8: beyond them no posterior means anything, and their products still fit float32.
LOG_VAR_BOUND = 20.0

Condition = tuple[Array, ...]  # nothing, or the one-hot label: further arguments of both networks


@final
@dataclass(frozen=True, kw_only=True)
class VAE:
    """Variational autoencoder with a diagonal Gaussian posterior and a standard normal prior.

    Attributes:
      latent_dim: D, the length of the latent vector.
      encoder: maps x (B, ...) to (B, 2 * D): the posterior's means, then its log-variances (bounded to [-20, 20]).
      decoder: maps a latent (B, D) to (B, ..., C * likelihood.num_outputs), where C is the last axis of x.
      likelihood: p(x | outputs of the decoder).
      beta: weight of the divergence in the training loss; 1 for the bound itself.
      kl_warmup_steps: over these first steps the weight grows linearly from 0 to ``beta``.
      num_classes: None, or the number of labels. Both networks then take a second argument, the one-hot label
        (B, num_classes), and batches have ``"label"``, int32 (B,).

    >>> from genjax import nets, ops
    >>> model = VAE(
    ...     latent_dim=2, encoder=nets.MLP((8, 4)), decoder=nets.MLP((8, 5)), likelihood=ops.Bernoulli()
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5))})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 5)
    """

    latent_dim: int
    encoder: Net
    decoder: Net
    likelihood: Likelihood
    beta: float = 1.0
    kl_warmup_steps: int = 0
    num_classes: int | None = None

    def __post_init__(self) -> None:
        _check_at_least("latent_dim", self.latent_dim, 1)
        _check_at_least("beta", self.beta, 0)
        _check_at_least("kl_warmup_steps", self.kl_warmup_steps, 0)
        if self.num_classes is not None:
            _check_at_least("num_classes", self.num_classes, 1, "; use None for an unconditional model")

    @property
    def discrete(self) -> bool:
        """Whether log p(x) is a log-mass of discrete values, as the likelihood has it."""
        return self.likelihood.discrete

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ..., C).

        Raises:
          ValueError: before anything compiles, where the networks' outputs do not fit the data or each other.
        """
        x = batch["x"]
        if x.ndim < 2:
            raise ValueError(f"x has shape {x.shape}, but needs a batch axis and data axes; reshape it to (B, C)")
        condition = self._condition(self._label_of(batch), len(x))
        latent = jnp.zeros((len(x), self.latent_dim))
        self._check_shapes(key, x, latent, condition)
        encoder_key, decoder_key = jax.random.split(key)
        encoder_params, encoder_state = init_net(self.encoder, encoder_key, x, *condition)
        decoder_params, decoder_state = init_net(self.decoder, decoder_key, latent, *condition)
        return Variables(
            params={"encoder": encoder_params, "decoder": decoder_params},
            state={"encoder": encoder_state, "decoder": decoder_state},
        )

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss, over both networks."""
        return (Objective(name="elbo", wrt=("encoder", "decoder"), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Negative bound with the divergence weighted by beta, in nats per example, averaged over the batch.

        Returns:
          The scalar, and the new state with metrics ``elbo`` (the bound itself, at beta = 1), ``reconstruction`` and
          ``kl``, where elbo = reconstruction - kl.
        """
        x = batch["x"]
        condition = self._condition(self._label_of(batch), len(x))
        noise_key, encoder_key, decoder_key = jax.random.split(key, 3)
        variables = Variables(params, state)
        mean, log_var, encoder_state = self._encode(variables, x, condition, encoder_key, train=True)
        latent = _draw(noise_key, mean, log_var)
        outputs, decoder_state = self._decode(variables, latent, condition, decoder_key, train=True)
        reconstruction = jnp.mean(self.likelihood.log_prob(outputs, x))  # Kingma & Welling (2014), eq. 10
        kl = jnp.mean(jnp.sum(gaussian_kl(mean, log_var), axis=-1))
        metrics = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        new_state = {"encoder": encoder_state, "decoder": decoder_state}
        return self._beta(step) * kl - reconstruction, (new_state, metrics)

    def _beta(self, step: Array) -> Array | float:
        return self.beta * jnp.minimum(1.0, step / self.kl_warmup_steps) if self.kl_warmup_steps else self.beta

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        mean: bool = False,
    ) -> Array:
        """Draw from the model.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          num_samples: N.
          label: class of all samples, or int32 (N,) for each; only for conditional models.
          mean: whether to return the likelihood's means, as figures usually show, and not draws from it.

        Returns:
          Samples of shape (N, ...).
        """
        _check_at_least("num_samples", num_samples, 1)
        condition = self._condition(label, num_samples)
        latent_key, data_key = jax.random.split(key)
        latent = jax.random.normal(latent_key, (num_samples, self.latent_dim))
        outputs, _ = self._decode(variables, latent, condition)
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> tuple[Array, Array]:
        """Means and log-variances of q(z | x), (B, D) each."""
        mean, log_var, _ = self._encode(variables, x, self._condition(label, len(x)))
        return mean, log_var

    def decode(self, variables: Variables, latent: Array, *, label: Array | int | None = None) -> Array:
        """Expected data given latents (B, D)."""
        outputs, _ = self._decode(variables, latent, self._condition(label, len(latent)))
        return self.likelihood.mean(outputs)

    def reconstruct(self, variables: Variables, key: Array, x: Array, *, label: Array | int | None = None) -> Array:
        """Expected data given one draw from q(z | x)."""
        mean, log_var = self.encode(variables, x, label=label)
        return self.decode(variables, _draw(key, mean, log_var), label=label)

    def interpolate(
        self, variables: Variables, x: Array, y: Array, num_steps: int, *, label: Array | int | None = None
    ) -> Array:
        """Decode the straight line between the posterior means of x and y (B, ...), to (B, num_steps, ...)."""
        _check_at_least("num_steps", num_steps, 2)
        start, _ = self.encode(variables, x, label=label)
        end, _ = self.encode(variables, y, label=label)
        weights = jnp.linspace(0.0, 1.0, num_steps, dtype=start.dtype)
        line = jax.vmap(lambda w: (1.0 - w) * start + w * end, out_axes=1)(weights)
        return jax.vmap(lambda latent: self.decode(variables, latent, label=label), 1, 1)(line)

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int = 1,
        *,
        label: Array | int | None = None,
        chunk_size: int = 16,
    ) -> Array:
        """Unbiased estimate of ELBO(x) at beta = 1, the mean of log w over ``num_samples`` draws; nats, (B,).

        Takes less memory with a smaller ``chunk_size``, the number of draws decoded at once, and gives the same.
        """

        def add(total: Array, log_weights: Array, valid: Array) -> Array:
            return total + jnp.sum(jnp.where(valid, log_weights, 0.0), axis=0)

        total = self._fold_log_weights(
            add, 0.0, variables, key, x, num_samples=num_samples, label=label, chunk_size=chunk_size
        )
        return total / num_samples

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        chunk_size: int = 16,
    ) -> Array:
        """Importance-weighted estimate of log p(x) from ``num_samples`` draws of q(z | x); nats, (B,).

        Its expectation is at most log p(x), and grows to it with ``num_samples``. Memory grows with
        ``chunk_size``, the number of draws decoded at once, and not with ``num_samples``; the result depends on neither
        it nor the way draws fall into chunks.
        """

        def add(total: Array, log_weights: Array, valid: Array) -> Array:
            log_weights = jnp.where(valid, log_weights, -jnp.inf)
            return jnp.logaddexp(total, jax.nn.logsumexp(log_weights, axis=0))

        total = self._fold_log_weights(
            add, -jnp.inf, variables, key, x, num_samples=num_samples, label=label, chunk_size=chunk_size
        )
        return total - np.log(num_samples)  # Burda et al. (2016), eq. 8

    def _fold_log_weights(
        self,
        add: Callable[[Array, Array, Array], Array],
        start: float,
        variables: Variables,
        key: Array,
        x: Array,
        *,
        num_samples: int,
        label: Array | int | None,
        chunk_size: int,
    ) -> Array:
        """Accumulate log w, chunk by chunk; the last chunk may hold draws that ``add`` is told to leave out."""
        _check_at_least("num_samples", num_samples, 1)
        _check_at_least("chunk_size", chunk_size, 1)
        condition = self._condition(label, len(x))
        mean, log_var, _ = self._encode(variables, x, condition)
        size = min(chunk_size, num_samples)

        def log_weight(noise: Array, outputs: Array) -> Array:
            # Of log N(z; 0, I) - log N(z; m, v) at z = m + √v ε only this is left.
            latent = mean + jnp.exp(0.5 * log_var) * noise
            log_ratio = 0.5 * jnp.sum(jnp.square(noise) - jnp.square(latent) + log_var, axis=-1)
            return self.likelihood.log_prob(outputs, x) + log_ratio

        def body(total: Array, first: Array) -> tuple[Array, None]:
            draws = first + jnp.arange(size)
            # One key per draw and not per chunk, so that the estimate does not depend on the chunk size.
            keys = jax.vmap(lambda draw: jax.random.fold_in(key, draw))(draws)
            noise = jax.vmap(lambda k: jax.random.normal(k, mean.shape, mean.dtype))(keys)
            latent = mean[None] + jnp.exp(0.5 * log_var)[None] * noise
            repeated = tuple(jnp.tile(c, (size, 1)) for c in condition)
            outputs, _ = self._decode(variables, latent.reshape(-1, self.latent_dim), repeated)
            outputs = outputs.reshape(size, len(x), *outputs.shape[1:])
            return add(total, jax.vmap(log_weight)(noise, outputs), (draws < num_samples)[:, None]), None

        chunks = jnp.arange(0, num_samples, size)
        return jax.lax.scan(body, jnp.full(len(x), start, mean.dtype), chunks)[0]

    def _encode(
        self, variables: Variables, x: Array, condition: Condition, key: Array | None = None, train: bool = False
    ) -> tuple[Array, Array, PyTree]:
        params, state = variables.params["encoder"], variables.state["encoder"]
        outputs, state = apply_net(self.encoder, params, state, x, *condition, key=key, train=train)
        mean, log_var = jnp.split(at_least_float32(outputs), 2, axis=-1)
        return mean, bounded(log_var, -LOG_VAR_BOUND, LOG_VAR_BOUND), state

    def _decode(
        self, variables: Variables, latent: Array, condition: Condition, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        params, state = variables.params["decoder"], variables.state["decoder"]
        return apply_net(self.decoder, params, state, latent, *condition, key=key, train=train)

    def _check_shapes(self, key: Array, x: Array, latent: Array, condition: Condition) -> None:
        """Compare what the networks would return with what the model needs, without computing anything."""
        encoded = _output_shape(self.encoder, key, x, *condition)
        if encoded != (len(x), 2 * self.latent_dim):
            raise ValueError(
                f"encoder returned shape {encoded}, but latent_dim={self.latent_dim} needs "
                f"{(len(x), 2 * self.latent_dim)}: give its last layer {2 * self.latent_dim} features"
            )
        decoded = _output_shape(self.decoder, key, latent, *condition)
        needed = (*x.shape[:-1], x.shape[-1] * self.likelihood.num_outputs)
        if decoded != needed:
            raise ValueError(
                f"decoder returned shape {decoded}, but {self.likelihood} for x of shape {x.shape} needs {needed}: "
                f"give its output the shape {needed[1:]}"
            )

    def _label_of(self, batch: Batch) -> Array | None:
        if self.num_classes is None:
            return None  # data sets carry labels whether a model wants them or not
        if "label" not in batch:
            raise ValueError(f"the batch has {sorted(batch)}, but num_classes={self.num_classes} needs 'label'; add it")
        return batch["label"]

    def _condition(self, label: Array | int | None, num_rows: int) -> Condition:
        """The networks' further arguments: none, or the one-hot label."""
        if self.num_classes is None:
            if label is not None:
                raise ValueError("label is given, but this VAE has num_classes=None; leave it out or set num_classes")
            return ()
        if label is None:
            raise ValueError(
                f"label is None, but this VAE has num_classes={self.num_classes}; give label=0, for example"
            )
        if not isinstance(label, Tracer):
            self._check_label(np.asarray(label), num_rows)
        return (jnp.broadcast_to(jax.nn.one_hot(label, self.num_classes), (num_rows, self.num_classes)),)

    def _check_label(self, label: np.ndarray, num_rows: int) -> None:
        if not np.issubdtype(label.dtype, np.integer) or label.shape not in ((), (num_rows,)):
            raise ValueError(
                f"label has dtype {label.dtype} and shape {label.shape}, but must be one integer or int32 ({num_rows},)"
            )
        wrong = label[(label < 0) | (label >= self.num_classes)]
        if wrong.size:
            raise ValueError(f"label is {wrong.flat[0]}, but must be in 0, ..., {(self.num_classes or 0) - 1}")


def _draw(key: Array, mean: Array, log_var: Array) -> Array:
    return mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape, mean.dtype)


def _output_shape(net: Net, key: Array, *args: Array) -> tuple[int, ...]:
    def run(key: Array, *args: Array) -> Any:
        params, state = init_net(net, key, *args)
        return apply_net(net, params, state, *args)[0]

    return jax.eval_shape(run, key, *args).shape


def _check_at_least(name: str, value: float, limit: int, cure: str = "") -> None:
    if not value >= limit:
        raise ValueError(f"{name} is {value}, but must be at least {limit}{cure}")
