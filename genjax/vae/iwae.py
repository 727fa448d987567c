"""The importance-weighted autoencoder, with one or several stochastic layers.

Decoders generate latent vectors from the top layer z_L ~ N(0, I) down to z₁ and the data, and encoders infer them from
the bottom up:

    p(x, z) = p(x | z₁) Π_{l<L} N(z_l; m'_l(z_{l+1}), diag v'_l(z_{l+1})) N(z_L; 0, I),
    q(z | x) = Π_l N(z_l; m_l(z_{l−1}), diag v_l(z_{l−1})),        z₀ = x.

Both maximize the K-sample bound, which is the evidence lower bound at K = 1 and increases to log p(x) with K,

    log p(x) ≥ E[log 1/K Σ_k w_k],        w_k = p(x, z_k) / q(z_k | x),        z_k ~ q(z | x).

With w̃ = w / Σ_k w_k, its gradient for the decoders is Σ_k w̃_k ∇ log w_k. For the encoder parameters φ, the expectation
of this sum falls as 1 / K, faster than its standard deviation, 1 / √K (Tom Rainforth et al. 2018, arXiv:1802.04537).
The doubly reparameterized gradient

    ∇_φ ← Σ_k w̃_k² (∂ log w_k / ∂z_k) (∂z_k / ∂φ)

has the same expectation without this problem: φ enters only through the samples, not through the density q.

Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, 2016, arXiv:1509.00519. Doubly reparameterized: George Tucker,
Dieterich Lawson, Shixiang Gu and Chris Maddison, 2019, arXiv:1810.04152.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import MinLen

from genjax.arguments import PositiveInt, Shape, check_arguments
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables, stream_key
from genjax.nets import Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    Likelihood,
    broadcast_mask,
    check_data_axes,
    gaussian_log_prob,
    log_mean_weight,
    mean_log_weight,
)
from genjax.ops.importance import LogWeights
from genjax.vae.gaussian import (
    GaussianParams,
    decoder_spec,
    reparameterize,
    sample_gaussian,
    split_moments,
    standardize,
)
from genjax.vae.imputation import fill_unknown

Latents = tuple[Array, ...]  # z₁ … z_L, (S, B, D_l) each for S samples


class DropoutKeys(NamedTuple):
    """Keys for dropout in the networks, or None to turn it off."""

    encoders: Array | None = None
    decoders: Array | None = None


NO_DROPOUT = DropoutKeys()


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class IWAE:
    """Importance-weighted autoencoder with diagonal Gaussian layers and a standard normal prior.

    Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519.

    Attributes:
      latent_dims: lengths of the latent vectors from the data upwards, D₁ … D_L.
      encoders: networks from the data upwards: from x (B, ...) to (B, 2 * D₁), from z₁ (B, D₁) to (B, 2 * D₂), and so
        on. Outputs are means, then log-variances (clipped to [-20, 20]).
      decoders: networks in the same order: from z₁ (B, D₁) to (B, ..., C * likelihood.num_outputs), with C the last
        axis of x, from z₂ (B, D₂) to (B, 2 * D₁), and so on.
      likelihood: p(x | outputs of the first decoder).
      num_importance_samples: number of samples K in the training bound.
      gradient: gradient estimator of the encoders, ``"doubly_reparameterized"`` or ``"reparameterized"`` (the plain
        gradient of the bound).

    >>> from genjax import nets, ops
    >>> model = IWAE(
    ...     latent_dims=(3, 2), encoders=(nets.MLP((8, 6)), nets.MLP((8, 4))),
    ...     decoders=(nets.MLP((8, 5)), nets.MLP((8, 6))), likelihood=ops.Bernoulli(),
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 5))})
    >>> model.log_prob_estimate(variables, jax.random.key(1), jnp.zeros((4, 5)), num_samples=10).shape
    (4,)
    """

    latent_dims: Annotated[Shape, MinLen(1)]
    encoders: tuple[Net, ...]
    decoders: tuple[Net, ...]
    likelihood: Likelihood
    num_importance_samples: PositiveInt = 5
    gradient: Literal["reparameterized", "doubly_reparameterized"] = "doubly_reparameterized"

    def __post_init__(self) -> None:
        if not len(self.encoders) == len(self.decoders) == len(self.latent_dims):
            raise ValueError(
                f"there are {len(self.encoders)} encoders and {len(self.decoders)} decoders, but "
                f"{len(self.latent_dims)} latent_dims; give one of each for every layer"
            )

    @property
    def discrete(self) -> bool:
        """Whether the likelihood is a mass of discrete values."""
        return self.likelihood.discrete

    @property
    def num_layers(self) -> int:
        """Number of stochastic layers, L."""
        return len(self.latent_dims)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data (B, ..., C).

        Raises:
          ValueError: before compilation, if a network's output has the wrong shape; also if a network has state.
        """
        specs = self._specs(batch["x"])
        for name, layers in specs.items():
            for layer, spec in enumerate(layers):
                check_part(f"{name}[{layer}]", spec, key)
        params = {}
        for (name, layers), part_key in zip(specs.items(), jax.random.split(key), strict=True):
            keys = jax.random.split(part_key, len(layers))
            variables = [init_net(spec.net, k, *spec.arguments) for spec, k in zip(layers, keys, strict=True)]
            params[name] = tuple(_check_stateless(*net_variables) for net_variables in variables)
        return Variables(params=params, state={})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the single objective, over all networks."""
        return (Objective(name="bound", wrt=("encoders", "decoders"), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the negative K-sample bound in nats per example, the state, and metrics; all are means over the batch.

        Metrics are ``bound``, ``elbo`` (the mean of log w, the bound at K = 1) and ``effective_samples``, the effective
        sample size 1 / Σ_k w̃_k² in [1, K].
        """
        del step
        x, num_samples = batch["x"], self.num_importance_samples
        encoders, decoders = params["encoders"], params["decoders"]
        # All samples of an example share their dropout masks, so that the bound holds for the masked networks.
        dropout = DropoutKeys(stream_key(key, "encoders"), stream_key(key, "decoders"))
        noise = self._noise(jax.random.split(key, num_samples), x.shape[0])
        first = self._gaussian(self.encoders[0], encoders[0], x, _layer_key(dropout.encoders, 0))
        latents = self._sample_latents(encoders, first, noise, dropout)
        if self.gradient == "doubly_reparameterized":
            # The compiler merges this pass with the next one, which computes the same values.
            weights = _normalized_weights(self._log_weights(params, x, first, latents, dropout))
            latents = tuple(_scale_gradient(z, weights[..., None]) for z in latents)
            encoders, first = jax.lax.stop_gradient((encoders, first))
        log_weights = self._log_weights({"encoders": encoders, "decoders": decoders}, x, first, latents, dropout)
        weights = _normalized_weights(log_weights)
        surrogate = jnp.sum(weights * log_weights, axis=0)  # Burda et al. (2016), eq. 14; Tucker et al. (2019), eq. 8
        total = jax.nn.logsumexp(jax.lax.stop_gradient(log_weights), axis=0)
        bound = total - np.log(num_samples)  # Burda et al., eq. 8
        metrics = {
            "bound": jnp.mean(bound),
            "elbo": jnp.mean(log_weights),
            "effective_samples": jnp.mean(1.0 / jnp.sum(weights**2, axis=0)),
        }
        # The value of the bound with the gradient of the weighted sum.
        return -jnp.mean(bound + surrogate - jax.lax.stop_gradient(surrogate)), (state, metrics)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, *, mean: bool = False) -> Array:
        """Draw samples, (num_samples, ...); ``mean=True`` returns E[x | z₁] instead, as figures usually show."""
        key, data_key = jax.random.split(key)
        latent = self.sample_prior(variables, jax.random.fold_in(key, self.num_layers), num_samples)
        decoders = variables.params["decoders"]
        for layer in range(self.num_layers - 1, 0, -1):
            moments = self._gaussian(self.decoders[layer], decoders[layer], latent)
            latent = sample_gaussian(jax.random.fold_in(key, layer), *moments)
        outputs = _apply(self.decoders[0], decoders[0], latent)
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Return the means of the top layer given the means of the layers below, (B, D_L)."""
        return self.posterior(variables, x)[0]

    def posterior(self, variables: Variables, x: Array) -> tuple[Array, Array]:
        """Return the means and log-variances of the top layer given the means of the layers below, (B, D_L) each."""
        mean, log_var = x, x
        for net, params in zip(self.encoders, variables.params["encoders"], strict=True):
            mean, log_var = self._gaussian(net, params, mean)
        return mean, log_var

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Return the expected data given the top layer (B, D_L), with the layers below at their means."""
        decoders = variables.params["decoders"]
        for layer in range(self.num_layers - 1, 0, -1):
            latent, _ = self._gaussian(self.decoders[layer], decoders[layer], latent)
        return self.likelihood.mean(_apply(self.decoders[0], decoders[0], latent))

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array:
        """Return the expected data given one sample of q(z₁ | x)."""
        encoders, decoders = variables.params["encoders"], variables.params["decoders"]
        latent = sample_gaussian(key, *self._gaussian(self.encoders[0], encoders[0], x))
        return self.likelihood.mean(_apply(self.decoders[0], decoders[0], latent))

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw latents of the top layer, (num_samples, D_L)."""
        del variables
        return jax.random.normal(key, (num_samples, self.latent_dims[-1]))

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """Draw one latent of the top layer for each example, (B, D_L)."""
        return self.sample_layers(variables, key, x)[-1]

    def sample_layers(self, variables: Variables, key: Array, x: Array) -> Latents:
        """Draw one latent of every layer for each example, (B, D_l) each, from the data upwards."""
        encoders = variables.params["encoders"]
        first = self._gaussian(self.encoders[0], encoders[0], x)
        return tuple(latent[0] for latent in self._sample_latents(encoders, first, self._noise(key[None], x.shape[0])))

    def log_prob_lower_bound(
        self, variables: Variables, key: Array, x: Array, num_samples: PositiveInt = 1, *, chunk_size: PositiveInt = 16
    ) -> Array:
        """Return an unbiased estimate of the ELBO, the mean of log w over ``num_samples`` samples; nats, (B,)."""
        return mean_log_weight(self._log_weights_of_keys(variables, x), key, num_samples, chunk_size)

    def log_prob_estimate(
        self, variables: Variables, key: Array, x: Array, num_samples: PositiveInt, *, chunk_size: PositiveInt = 16
    ) -> Array:
        """Return an importance-weighted estimate of log p(x) from ``num_samples`` samples of q(z | x); nats, (B,).

        Its expectation is at most log p(x), and approaches it with ``num_samples``.
        """
        return log_mean_weight(self._log_weights_of_keys(variables, x), key, num_samples, chunk_size)

    def impute(self, variables: Variables, key: Array, x: Array, mask: Array, *, num_steps: PositiveInt = 100) -> Array:
        """Draw the unknown values of x (B, ...) given the known ones, in floating point.

        The draws are the ends of Markov chains of ``num_steps`` steps; see ``genjax.vae.imputation``. ``mask``, bool,
        broadcastable to x, is True where x is known; unknown values of x may be anything, NaN included.

        Raises:
          ValueError: if x or the mask has another shape, or the mask is not bool.
        """
        mask, (noise_key, chain_key) = broadcast_mask(mask, x.shape), jax.random.split(key)
        decoders = variables.params["decoders"]

        def encode(key: Array, x: Array) -> Latents:
            """Return the noise of the decoders that leads to latents of the encoders."""
            latents = self.sample_layers(variables, key, x)
            lower = (
                standardize(*self._gaussian(self.decoders[layer], decoders[layer], latents[layer]), latents[layer - 1])
                for layer in range(1, self.num_layers)
            )
            return *lower, latents[-1]

        def decode(noise: Latents) -> Array:
            latent = noise[-1]
            for layer in range(self.num_layers - 1, 0, -1):
                latent = reparameterize(
                    *self._gaussian(self.decoders[layer], decoders[layer], latent), noise[layer - 1]
                )
            return _apply(self.decoders[0], decoders[0], latent)

        noise = tuple(each[0] for each in self._noise(noise_key[None], x.shape[0]))
        options = {"encode": encode, "decode": decode, "likelihood": self.likelihood, "num_steps": num_steps}
        return fill_unknown(chain_key, x, mask, noise, **options)

    def _log_weights_of_keys(self, variables: Variables, x: Array) -> LogWeights:
        encoders = variables.params["encoders"]
        first = self._gaussian(self.encoders[0], encoders[0], x)
        return lambda keys: self._log_weights(
            variables.params, x, first, self._sample_latents(encoders, first, self._noise(keys, x.shape[0]))
        )

    def _noise(self, keys: Array, num_rows: int) -> Latents:
        """Draw standard normal noise, (S, num_rows, D_l) for each layer, from one key per sample, (S,)."""

        def draw(key: Array) -> Latents:
            layer_keys = jax.random.split(key, self.num_layers)
            return tuple(
                jax.random.normal(k, (num_rows, dim)) for k, dim in zip(layer_keys, self.latent_dims, strict=True)
            )

        return jax.vmap(draw)(keys)

    def _sample_latents(
        self, encoders: PyTree, first: GaussianParams, noise: Latents, dropout: DropoutKeys = NO_DROPOUT
    ) -> Latents:
        """Return latents (S, B, D_l) of q(z | x), given q(z₁ | x), the Gaussian of the first layer (B, D₁)."""
        mean, log_var = (a[None] for a in first)
        latents = [reparameterize(mean, log_var, noise[0])]
        for layer in range(1, self.num_layers):
            net, params, key = self.encoders[layer], encoders[layer], _layer_key(dropout.encoders, layer)
            latents.append(reparameterize(*self._gaussians(net, params, latents[-1], key), noise[layer]))
        return tuple(latents)

    def _log_weights(
        self,
        params: dict[str, PyTree],
        x: Array,
        first: GaussianParams,
        latents: Latents,
        dropout: DropoutKeys = NO_DROPOUT,
    ) -> Array:
        """Return log p(x, z) − log q(z | x) in nats, (S, B)."""
        encoders, decoders = params["encoders"], params["decoders"]
        posteriors, priors = [tuple(a[None] for a in first)], []
        for layer in range(1, self.num_layers):
            keys = [_layer_key(key, layer) for key in dropout]
            posteriors.append(self._gaussians(self.encoders[layer], encoders[layer], latents[layer - 1], keys[0]))
            priors.append(self._gaussians(self.decoders[layer], decoders[layer], latents[layer], keys[1]))
        priors.append((0.0, 0.0))

        def likelihood(latent: Array) -> Array:
            outputs = _apply(self.decoders[0], decoders[0], latent, _layer_key(dropout.decoders, 0))
            return self.likelihood.log_prob(outputs, x)

        log_weight = jax.vmap(likelihood)(latents[0])
        for z, prior, posterior in zip(latents, priors, posteriors, strict=True):
            log_weight += jnp.sum(gaussian_log_prob(z, *prior) - gaussian_log_prob(z, *posterior), axis=-1)
        return log_weight

    def _gaussian(self, net: Net, params: PyTree, inputs: Array, key: Array | None = None) -> GaussianParams:
        """Return the means and log-variances that a network computes, (B, D) each."""
        return split_moments(_apply(net, params, inputs, key))

    def _gaussians(self, net: Net, params: PyTree, latents: Array, key: Array | None = None) -> GaussianParams:
        """Return the same for latents (S, B, D), (S, B, D′) each."""
        return jax.vmap(lambda latent: self._gaussian(net, params, latent, key))(latents)

    def _specs(self, x: Array) -> dict[str, list[NetSpec]]:
        check_data_axes(x.shape)
        latents = tuple(jnp.zeros((x.shape[0], dim)) for dim in self.latent_dims)

        def specs(nets: tuple[Net, ...], inputs: tuple[Array, ...], dims: tuple[int, ...]) -> list[NetSpec]:
            layers = zip(nets, inputs, dims, strict=True)
            return [
                NetSpec(net, (z,), (x.shape[0], 2 * dim), f"latent_dims={self.latent_dims}") for net, z, dim in layers
            ]

        first = decoder_spec(self.decoders[0], latents[:1], self.likelihood, x)
        return {
            "encoders": specs(self.encoders, (x, *latents[:-1]), self.latent_dims),
            "decoders": [first, *specs(self.decoders[1:], latents[1:], self.latent_dims[:-1])],
        }


def _layer_key(key: Array | None, layer: int) -> Array | None:
    """Return the dropout key of a layer, or None without dropout."""
    return None if key is None else jax.random.fold_in(key, layer)


def _apply(net: Net, params: PyTree, inputs: Array, key: Array | None = None) -> Array:
    """Return the outputs of a network without state, with dropout if there is a key."""
    return apply_net(net, params, {}, inputs, key=key, train=key is not None)[0]


def _normalized_weights(log_weights: Array) -> Array:
    """Return w̃ = w / Σ_k w_k, constant for gradients."""
    return jax.nn.softmax(jax.lax.stop_gradient(log_weights), axis=0)


@jax.custom_vjp
def _scale_gradient(x: Array, scale: Array) -> Array:
    """Return x, with its gradient multiplied by ``scale``, a constant."""
    del scale
    return x


_scale_gradient.defvjp(lambda x, scale: (x, scale), lambda scale, g: (scale * g, jnp.zeros_like(scale)))


def _check_stateless(params: PyTree, state: PyTree) -> PyTree:
    """Return the parameters of a network; raise ValueError if it has state."""
    if jax.tree.leaves(state):
        raise ValueError(
            f"a network of this IWAE has the state {sorted(state)}, but must have none, because it runs once per "
            "sample; use flax.linen.LayerNorm instead of BatchNorm, for example"
        )
    return params
