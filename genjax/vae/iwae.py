"""The importance-weighted autoencoder, with one stochastic layer or several.

Layers of latent vectors z₁ … z_L, z_L ~ N(0, I), give data from the top down, and encoders go from the bottom up:

    p(x, z) = p(x | z₁) Π_{l<L} N(z_l; m'_l(z_{l+1}), diag v'_l(z_{l+1})) N(z_L; 0, I),
    q(z | x) = Π_l N(z_l; m_l(z_{l−1}), diag v_l(z_{l−1})),        z₀ = x.

Both are trained on the K-sample bound, which is the evidence lower bound at K = 1 and rises to log p(x) with K,

    log p(x) ≥ E[log 1/K Σ_k w_k],        w_k = p(x, z_k) / q(z_k | x),        z_k ~ q(z | x).

With w̃ = w / Σ_k w_k, its gradient for the decoders is Σ_k w̃_k ∇ log w_k. For the encoders, φ, the same sum has a signal
that fades as 1 / K, faster than its noise, as 1 / √K (Tom Rainforth et al. 2018, arXiv:1802.04537). The doubly
reparameterized gradient

    ∇_φ ← Σ_k w̃_k² (∂ log w_k / ∂z_k) (∂z_k / ∂φ)

has the same expectation without that fault: φ counts only through the draws, not through the density q.

Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, 2016, arXiv:1509.00519. Doubly reparameterized: George Tucker,
Dieterich Lawson, Shixiang Gu and Chris Maddison, 2019, arXiv:1810.04152.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables, stream_key
from genjax.nets import Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    Likelihood,
    check_at_least,
    check_choice,
    check_data_axes,
    gaussian_log_prob,
    log_mean_weight,
    mean_log_weight,
)
from genjax.ops.importance import LogWeights
from genjax.vae.gaussian import decoder_part, moments, reparameterized

Latents = tuple[Array, ...]  # z₁ … z_L, (S, B, D_l) each for S draws
Gaussian = tuple[Array, Array]  # means and log-variances


class Dropout(NamedTuple):
    """Keys of the networks' dropout, or None where there is to be none."""

    encoders: Array | None = None
    decoders: Array | None = None

    def encoder(self, layer: int) -> Array | None:
        """Key of an encoder."""
        return None if self.encoders is None else jax.random.fold_in(self.encoders, layer)

    def decoder(self, layer: int) -> Array | None:
        """Key of a decoder."""
        return None if self.decoders is None else jax.random.fold_in(self.decoders, layer)


OFF = Dropout()


@final
@dataclass(frozen=True, kw_only=True)
class IWAE:
    """Importance-weighted autoencoder with diagonal Gaussian layers and a standard normal prior.

    Attributes:
      latent_dims: D₁ … D_L, lengths of the latent vectors from the data upwards; one number for one layer.
      encoders: the first maps x (B, ...) to (B, 2 * D₁), the next z₁ (B, D₁) to (B, 2 * D₂), and so on: means, then
        log-variances (bounded to [-20, 20]).
      decoders: the first maps z₁ (B, D₁) to (B, ..., C * likelihood.num_outputs), where C is the last axis of x, the
        next z₂ (B, D₂) to (B, 2 * D₁), and so on.
      likelihood: p(x | outputs of the first decoder).
      num_importance_samples: K of the training bound.
      gradient: of the encoders. ``"doubly_reparameterized"``, or ``"reparameterized"``, the bound's plain gradient.

    >>> from genjax import nets, ops
    >>> model = IWAE(
    ...     latent_dims=(3, 2), encoders=(nets.MLP((8, 6)), nets.MLP((8, 4))),
    ...     decoders=(nets.MLP((8, 5)), nets.MLP((8, 6))), likelihood=ops.Bernoulli(),
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 5))})
    >>> model.log_prob_estimate(variables, jax.random.key(1), jnp.zeros((4, 5)), num_samples=10).shape
    (4,)
    """

    latent_dims: tuple[int, ...]
    encoders: tuple[Net, ...]
    decoders: tuple[Net, ...]
    likelihood: Likelihood
    num_importance_samples: int = 5
    gradient: Literal["reparameterized", "doubly_reparameterized"] = "doubly_reparameterized"

    def __post_init__(self) -> None:
        check_at_least("num_importance_samples", self.num_importance_samples, 1)
        check_at_least("the number of latent_dims", len(self.latent_dims), 1)
        for dim in self.latent_dims:
            check_at_least("latent_dims", dim, 1)
        if not len(self.encoders) == len(self.decoders) == len(self.latent_dims):
            raise ValueError(
                f"there are {len(self.encoders)} encoders and {len(self.decoders)} decoders for "
                f"{len(self.latent_dims)} latent_dims; give one of each for every layer"
            )
        check_choice("gradient", self.gradient, ("reparameterized", "doubly_reparameterized"))

    @property
    def discrete(self) -> bool:
        """Whether log p(x) is a log-mass of discrete values, as the likelihood has it."""
        return self.likelihood.discrete

    @property
    def num_layers(self) -> int:
        """L, of stochastic layers."""
        return len(self.latent_dims)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ..., C).

        Raises:
          ValueError: before anything compiles, where the networks' outputs do not fit the data or each other, or where
            one of them keeps state.
        """
        x = batch["x"]
        check_data_axes(x.shape)
        latents = tuple(jnp.zeros((len(x), dim)) for dim in self.latent_dims)
        parts = {"encoders": self._encoder_parts(x, latents), "decoders": self._decoder_parts(x, latents)}
        for name, layers in parts.items():
            for layer, part in enumerate(layers):
                check_part(f"{name}[{layer}]", part, key)
        params = {}
        for (name, layers), part_key in zip(parts.items(), jax.random.split(key), strict=True):
            keys = jax.random.split(part_key, len(layers))
            made = [init_net(part.net, k, *part.arguments) for part, k in zip(layers, keys, strict=True)]
            params[name] = tuple(_stateless(*one) for one in made)
        return Variables(params=params, state={})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss, over all networks."""
        return (Objective(name="bound", wrt=("encoders", "decoders"), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Negative K-sample bound in nats per example, averaged over the batch.

        Returns:
          The scalar, and the state with metrics ``bound``, ``elbo`` (the mean of log w: the bound of one sample) and
          ``effective_samples``, 1 / Σ_k w̃_k², in [1, K].
        """
        del step
        x, draws = batch["x"], self.num_importance_samples
        encoders, decoders = params["encoders"], params["decoders"]
        # All draws of an example pass through the same thinned networks, those that the bound is then of.
        dropout = Dropout(stream_key(key, "encoders"), stream_key(key, "decoders"))
        noise = self._noise(jax.random.split(key, draws), len(x))
        first = self._gaussian(self.encoders[0], encoders[0], x, dropout.encoder(0))
        latents = self._draw(encoders, first, noise, dropout)
        if self.gradient == "doubly_reparameterized":
            # A compiler merges this pass with the next one, which computes the same values.
            share = _share(self._log_weights(params, x, first, latents, dropout))
            latents = tuple(_scale_gradient(z, share[..., None]) for z in latents)
            encoders, first = jax.lax.stop_gradient((encoders, first))
        log_weights = self._log_weights({"encoders": encoders, "decoders": decoders}, x, first, latents, dropout)
        share = _share(log_weights)
        surrogate = jnp.sum(share * log_weights, axis=0)  # Burda et al. (2016), eq. 14; Tucker et al. (2019), eq. 8
        bound = jax.nn.logsumexp(jax.lax.stop_gradient(log_weights), axis=0) - np.log(draws)  # Burda et al., eq. 8
        metrics = {
            "bound": jnp.mean(bound),
            "elbo": jnp.mean(log_weights),
            "effective_samples": jnp.mean(1.0 / jnp.sum(share**2, axis=0)),
        }
        # The value is the bound's, the gradient that of the weighted sum.
        return -jnp.mean(bound + surrogate - jax.lax.stop_gradient(surrogate)), (state, metrics)

    def sample(self, variables: Variables, key: Array, num_samples: int, *, mean: bool = False) -> Array:
        """Draw from the model.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          mean: return the expected data given the lowest latent, as pictures usually show it, instead of a draw.

        Returns:
          Samples (N, ..., C).
        """
        check_at_least("num_samples", num_samples, 1)
        key, data_key = jax.random.split(key)
        latent = self.sample_prior(variables, jax.random.fold_in(key, self.num_layers), num_samples)
        decoders = variables.params["decoders"]
        for layer in range(self.num_layers - 1, 0, -1):
            stats = self._gaussian(self.decoders[layer], decoders[layer], latent)
            latent = reparameterized(*stats, jax.random.normal(jax.random.fold_in(key, layer), stats[0].shape))
        outputs = _apply(self.decoders[0], decoders[0], latent)
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Means of the top layer given those of the layers below, (B, D_L)."""
        return self.posterior(variables, x)[0]

    def posterior(self, variables: Variables, x: Array) -> tuple[Array, Array]:
        """Means and log-variances of the top layer given the means of the layers below, (B, D_L) each."""
        mean, log_var = x, x
        for net, params in zip(self.encoders, variables.params["encoders"], strict=True):
            mean, log_var = self._gaussian(net, params, mean)
        return mean, log_var

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Expected data given the top layer (B, D_L), with the layers below at their means."""
        decoders = variables.params["decoders"]
        for layer in range(self.num_layers - 1, 0, -1):
            latent, _ = self._gaussian(self.decoders[layer], decoders[layer], latent)
        return self.likelihood.mean(_apply(self.decoders[0], decoders[0], latent))

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array:
        """Expected data given one draw of the lowest latents from q(z₁ | x)."""
        encoders, decoders = variables.params["encoders"], variables.params["decoders"]
        mean, log_var = self._gaussian(self.encoders[0], encoders[0], x)
        latent = reparameterized(mean, log_var, jax.random.normal(key, mean.shape))
        return self.likelihood.mean(_apply(self.decoders[0], decoders[0], latent))

    def sample_prior(self, variables: Variables, key: Array, num_samples: int) -> Array:
        """Draws of the top layer, (num_samples, D_L)."""
        del variables
        return jax.random.normal(key, (num_samples, self.latent_dims[-1]))

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """One draw of the top layer for each example, (B, D_L)."""
        return self.sample_layers(variables, key, x)[-1]

    def sample_layers(self, variables: Variables, key: Array, x: Array) -> Latents:
        """One draw of all layers for each example, (B, D_l) each, from the data upwards."""
        encoders = variables.params["encoders"]
        first = self._gaussian(self.encoders[0], encoders[0], x)
        return tuple(latent[0] for latent in self._draw(encoders, first, self._noise(key[None], len(x))))

    def log_prob_lower_bound(
        self, variables: Variables, key: Array, x: Array, num_samples: int = 1, *, chunk_size: int = 16
    ) -> Array:
        """Unbiased estimate of the evidence lower bound, the mean of log w over ``num_samples`` draws; nats, (B,)."""
        return mean_log_weight(self._fresh_log_weights(variables, x), key, num_samples, chunk_size)

    def log_prob_estimate(
        self, variables: Variables, key: Array, x: Array, num_samples: int, *, chunk_size: int = 16
    ) -> Array:
        """Importance-weighted estimate of log p(x) from ``num_samples`` draws of q(z | x); nats, (B,).

        Its expectation is at most log p(x), and grows to it with ``num_samples``. Memory grows with ``chunk_size``, the
        number of draws decoded at once; the result does not depend on it.
        """
        return log_mean_weight(self._fresh_log_weights(variables, x), key, num_samples, chunk_size)

    def _fresh_log_weights(self, variables: Variables, x: Array) -> LogWeights:
        encoders = variables.params["encoders"]
        first = self._gaussian(self.encoders[0], encoders[0], x)
        return lambda keys: self._log_weights(
            variables.params, x, first, self._draw(encoders, first, self._noise(keys, len(x)))
        )

    def _noise(self, keys: Array, num_rows: int) -> Latents:
        """Standard normal draws, (S, num_rows, D_l) for each layer, from one key for each of S draws."""

        def draw(key: Array) -> Latents:
            layer_keys = jax.random.split(key, self.num_layers)
            return tuple(
                jax.random.normal(k, (num_rows, dim)) for k, dim in zip(layer_keys, self.latent_dims, strict=True)
            )

        return jax.vmap(draw)(keys)

    def _draw(self, encoders: PyTree, first: Gaussian, noise: Latents, dropout: Dropout = OFF) -> Latents:
        """Latents (S, B, D) from q(z | x), given the Gaussian of the first layer (B, D₁)."""
        mean, log_var = (a[None] for a in first)
        latents = [reparameterized(mean, log_var, noise[0])]
        for layer in range(1, self.num_layers):
            net, params, key = self.encoders[layer], encoders[layer], dropout.encoder(layer)
            latents.append(reparameterized(*self._gaussians(net, params, latents[-1], key), noise[layer]))
        return tuple(latents)

    def _log_weights(
        self, params: dict[str, PyTree], x: Array, first: Gaussian, latents: Latents, dropout: Dropout = OFF
    ) -> Array:
        """Log-weights log p(x, z) − log q(z | x) in nats, (S, B)."""
        encoders, decoders = params["encoders"], params["decoders"]
        posteriors, priors = [tuple(a[None] for a in first)], []
        for layer in range(1, self.num_layers):
            keys, nets = (dropout.encoder(layer), dropout.decoder(layer)), (self.encoders[layer], self.decoders[layer])
            posteriors.append(self._gaussians(nets[0], encoders[layer], latents[layer - 1], keys[0]))
            priors.append(self._gaussians(nets[1], decoders[layer], latents[layer], keys[1]))
        priors.append((0.0, 0.0))

        def likelihood(latent: Array) -> Array:
            outputs = _apply(self.decoders[0], decoders[0], latent, dropout.decoder(0))
            return self.likelihood.log_prob(outputs, x)

        log_weight = jax.vmap(likelihood)(latents[0])
        for z, prior, posterior in zip(latents, priors, posteriors, strict=True):
            log_weight += jnp.sum(gaussian_log_prob(z, *prior) - gaussian_log_prob(z, *posterior), axis=-1)
        return log_weight

    def _gaussian(self, net: Net, params: PyTree, inputs: Array, key: Array | None = None) -> Gaussian:
        """Means and log-variances that a network gives, (B, D) each."""
        return moments(_apply(net, params, inputs, key))

    def _gaussians(self, net: Net, params: PyTree, latents: Array, key: Array | None = None) -> Gaussian:
        """The same for each of S draws of latents (S, B, D)."""
        return jax.vmap(lambda latent: self._gaussian(net, params, latent, key))(latents)

    def _encoder_parts(self, x: Array, latents: Latents) -> list[NetSpec]:
        why = f"latent_dims={self.latent_dims}"
        return [
            NetSpec(net, (below,), (len(x), 2 * dim), why)
            for net, below, dim in zip(self.encoders, (x, *latents[:-1]), self.latent_dims, strict=True)
        ]

    def _decoder_parts(self, x: Array, latents: Latents) -> list[NetSpec]:
        why = f"latent_dims={self.latent_dims}"
        upper = zip(self.decoders[1:], latents[1:], self.latent_dims[:-1], strict=True)
        return [
            decoder_part(self.decoders[0], latents[:1], self.likelihood, x),
            *(NetSpec(net, (latent,), (len(x), 2 * dim), why) for net, latent, dim in upper),
        ]


def _apply(net: Net, params: PyTree, inputs: Array, key: Array | None = None) -> Array:
    """Outputs of a network without state, with dropout where there is a key."""
    return apply_net(net, params, {}, inputs, key=key, train=key is not None)[0]


def _share(log_weights: Array) -> Array:
    """w̃: each draw's share of the weights, a constant."""
    return jax.nn.softmax(jax.lax.stop_gradient(log_weights), axis=0)


@jax.custom_vjp
def _scale_gradient(x: Array, scale: Array) -> Array:
    """Return x, whose gradient is multiplied by a constant."""
    del scale
    return x


_scale_gradient.defvjp(lambda x, scale: (x, scale), lambda scale, g: (scale * g, jnp.zeros_like(scale)))


def _stateless(params: PyTree, state: PyTree) -> PyTree:
    if jax.tree.leaves(state):
        raise ValueError(
            f"a network of this IWAE keeps {sorted(state)}, which would have to follow every draw; "
            "normalize without statistics, by flax.linen.LayerNorm for example"
        )
    return params
