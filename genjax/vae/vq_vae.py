"""The vector-quantized variational autoencoder.

The latent of an example is a grid of P integers, each the index of one of K codes e_1 … e_K in ℝ^D. At each position
the encoder E returns a vector, which is replaced by the nearest code; the decoder defines p(x | e_k):

    k(x)_i = argmin_k |E(x)_i − e_k|²,                                                                           (1)
    L = −log p(x | e_k(x)) + Σ_i |sg E(x)_i − e_k(x)_i|² + β Σ_i |E(x)_i − sg e_k(x)_i|²                         (2)

with sg the stop-gradient. The decoder's gradient is copied to the encoder (straight-through), the last term commits the
encoder to its codes, and the middle term moves the codes towards the encoder's vectors. Moving averages can replace the
middle term; see ``genjax.ops.quantization``, also for initialization of the codebook and restarts of unused codes.

Under the uniform prior over grids, which the paper assumes while the autoencoder is trained,

    p(x) = Σ_k K^−P p(x | e_k)  ≥  K^−P p(x | e_k(x)),                                                           (3)

one of the K^P terms: a deterministic lower bound for any codes. A second stage learns a prior over the codes.

Aäron van den Oord, Oriol Vinyals and Koray Kavukcuoglu, 2017, arXiv:1711.00937.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from annotated_types import Interval

from genjax.arguments import Cure, NonNegativeFloat, NonNegativeInt, PositiveInt, Shape, check_arguments
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    Likelihood,
    at_least_float32,
    check_data_axes,
    straight_through,
    sum_except_batch,
)
from genjax.ops.quantization import (
    MovingCodebook,
    code_perplexity,
    code_usage,
    kmeans,
    nearest_code,
    restart_dead_codes,
    start_codebook,
    update_codebook,
)
from genjax.vae.gaussian import decoder_spec

Share = Annotated[float, Interval(ge=0, lt=1)]


class VQVAEState(NamedTuple):
    """State of a ``VQVAE``.

    Attributes:
      encoder: state of the encoder, its Flax collections other than parameters.
      decoder: state of the decoder.
      codebook: codes as moving averages, or None if they are parameters (``codebook="loss"``).
    """

    encoder: PyTree
    decoder: PyTree
    codebook: MovingCodebook | None


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class VQVAE:
    """Autoencoder whose latent is a grid of code indices.

    Van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937.

    Attributes:
      encoder: network from x (B, ...) to vectors (B, *grid, code_dim).
      decoder: network from codes (B, *grid, code_dim) to (B, ..., C * likelihood.num_outputs), with C the last axis of
        x.
      likelihood: p(x | outputs of the decoder).
      num_codes: number of codes, K.
      code_dim: length of a code, D.
      grid: shape of an example's grid of codes, such as (7, 7); () for a single code.
      commitment: weight β of the commitment loss, the encoder's squared distance from its codes.
      codebook: how the codes are learned: ``"ema"`` by moving averages in the state, ``"loss"`` by gradients of the
        middle term of (2), as the part "codebook" of the parameters.
      decay: decay of the moving averages, in [0, 1).
      restart_below: threshold in [0, 1), relative to the mean count: a code with a smaller moving count restarts at one
        of the batch's vectors; 0 for no restarts. The default None is 0.05 with ``codebook="ema"`` and 0 with
        ``"loss"``, because a loss cannot set parameters.
      kmeans_steps: number of k-means iterations on the first batch's vectors that initialize the codes.

    >>> from genjax import nets, ops
    >>> model = VQVAE(
    ...     encoder=nets.MLP((8,), output_shape=(2, 3)), decoder=nets.MLP((8, 5)), likelihood=ops.Bernoulli(),
    ...     num_codes=4, code_dim=3, grid=(2,),
    ... )
    >>> x = jax.random.bernoulli(jax.random.key(0), 0.5, (6, 5)).astype(jnp.float32)
    >>> variables = model.init(jax.random.key(1), {"x": x})
    >>> model.encode(variables, x).shape, model.decode(variables, jnp.array([[0, 3]])).shape
    ((6, 2), (1, 5))
    """

    encoder: Net
    decoder: Net
    likelihood: Likelihood
    num_codes: PositiveInt
    code_dim: PositiveInt
    grid: Shape
    commitment: NonNegativeFloat = 0.25
    codebook: Literal["ema", "loss"] = "ema"
    decay: Annotated[Share, Cure("; use 0.99, for example")] = 0.99
    restart_below: Annotated[Share, Cure("; use 0.05, for example")] | None = None
    kmeans_steps: NonNegativeInt = 10

    def __post_init__(self) -> None:
        if self.restart_below and self.codebook == "loss":
            raise ValueError(
                f"restart_below is {self.restart_below}, but codes learned by gradients cannot restart; "
                "set codebook='ema', or restart_below=0"
            )

    @property
    def discrete(self) -> bool:
        """Whether the likelihood is a mass of discrete values."""
        return self.likelihood.discrete

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data (B, ..., C), and the codes by k-means on the vectors of ``batch["x"]``.

        A network whose output has the wrong shape raises ValueError before compilation.
        """
        x = batch["x"]
        check_data_axes(x.shape)
        zeros, why = (
            jnp.zeros((x.shape[0], *self.grid, self.code_dim)),
            f"grid={self.grid} with code_dim={self.code_dim}",
        )
        check_part("encoder", NetSpec(self.encoder, (x,), zeros.shape, why), key)
        check_part("decoder", decoder_spec(self.decoder, (zeros,), self.likelihood, x), key)
        encoder_key, decoder_key, vectors_key, codes_key = jax.random.split(key, 4)
        encoder, encoder_state = init_net(self.encoder, encoder_key, x)
        decoder, decoder_state = init_net(self.decoder, decoder_key, zeros)
        params, state = {"encoder": encoder, "decoder": decoder}, VQVAEState(encoder_state, decoder_state, None)
        # train=True, as in the first training step, because there are no moving batch statistics yet.
        vectors, _ = self._vectors(Variables(params, state), x, vectors_key, train=True)
        vectors = vectors.reshape(-1, self.code_dim)
        codes = kmeans(codes_key, vectors, self.num_codes, self.kmeans_steps)
        if self.codebook == "loss":
            return Variables(params | {"codebook": {"codes": codes}}, state)
        return Variables(params, state._replace(codebook=start_codebook(codes, vectors.shape[0])))

    def objectives(self) -> tuple[Objective, ...]:
        """Return the single objective, over both networks, and over the codebook if it has parameters."""
        wrt = ("encoder", "decoder") if self.codebook == "ema" else ("encoder", "decoder", "codebook")
        return (Objective(name="autoencoder", wrt=wrt, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the loss (2) per example, averaged over the batch, the new state, and metrics.

        Metrics are ``reconstruction`` (log p(x | codes) in nats), ``commitment`` (the squared distance from the codes,
        without its weight), and ``codebook_usage`` and ``code_perplexity`` of the batch's codes,
        see ``genjax.ops.quantization``.
        """
        del step
        x = batch["x"]
        encoder_key, decoder_key, restart_key = jax.random.split(key, 3)
        variables = Variables(params, state)
        vectors, encoder_state = self._vectors(variables, x, encoder_key, train=True)
        all_codes = self.codes(variables)
        indices = nearest_code(all_codes, vectors)  # van den Oord et al. (2017), eq. 1
        codes = all_codes[indices]
        outputs, decoder_state = self._decode(variables, straight_through(vectors, codes), decoder_key, train=True)
        reconstruction = jnp.mean(self.likelihood.log_prob(outputs, x))
        commitment = _mean_distance(vectors, jax.lax.stop_gradient(codes))
        loss = self.commitment * commitment - reconstruction  # van den Oord et al. (2017), eq. 3
        codebook = state.codebook
        if self.codebook == "loss":
            loss += _mean_distance(jax.lax.stop_gradient(vectors), codes)
        else:
            codebook = self._update_codebook(codebook, restart_key, jax.lax.stop_gradient(vectors), indices)
        metrics = {
            "reconstruction": reconstruction,
            "commitment": commitment,
            "codebook_usage": code_usage(indices, self.num_codes),
            "code_perplexity": code_perplexity(indices, self.num_codes),
        }
        return loss, (VQVAEState(encoder_state, decoder_state, codebook), metrics)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, *, mean: bool = False) -> Array:
        """Draw samples from uniform codes, (num_samples, ...); ``mean=True`` returns E[x | codes], for figures."""
        latent_key, data_key = jax.random.split(key)
        latent = jax.random.randint(latent_key, (num_samples, *self.grid), 0, self.num_codes)
        outputs, _ = self._decode(variables, self.codes(variables)[latent])
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def codes(self, variables: Variables) -> Array:
        """Return the codebook e_1 … e_K, (K, D)."""
        return variables.params["codebook"]["codes"] if self.codebook == "loss" else variables.state.codebook.codes

    def quantize(self, variables: Variables, vectors: Array) -> Array:
        """Return the code nearest to each vector, (..., D) both."""
        codes = self.codes(variables)
        return codes[nearest_code(codes, vectors)]

    def encode(self, variables: Variables, x: Array) -> Array:
        """Return the code indices of x (B, ...), int32 (B, *grid)."""
        return nearest_code(self.codes(variables), self._vectors(variables, x)[0])

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Return the expected data given code indices, int32 (B, *grid)."""
        return self.likelihood.mean(self._decode(variables, self.codes(variables)[latent])[0])

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array:
        """Return the expected data given the codes of x."""
        del key  # the codes are deterministic
        return self.decode(variables, self.encode(variables, x))

    def log_prob_lower_bound(self, variables: Variables, key: Array, x: Array) -> Array:
        """Return log p(x | codes of x) − P log K, a lower bound of log p(x) under the uniform prior; nats, (B,)."""
        del key  # the codes are deterministic
        log_prior = -math.prod(self.grid) * math.log(self.num_codes)
        return self.log_likelihood(variables, self.encode(variables, x), x) + log_prior  # equation 3

    def log_likelihood(self, variables: Variables, latent: Array, x: Array) -> Array:
        """Return the exact log p(x | codes) given code indices, int32 (B, *grid); nats, (B,)."""
        outputs, _ = self._decode(variables, self.codes(variables)[latent])
        return self.likelihood.log_prob(outputs, x)

    @property
    def _restart_below(self) -> float:
        if self.restart_below is None:
            return 0.05 if self.codebook == "ema" else 0.0
        return self.restart_below

    def _update_codebook(self, codebook: MovingCodebook, key: Array, vectors: Array, indices: Array) -> MovingCodebook:
        """Return the codebook after a step of its moving averages, and restarts."""
        vectors = vectors.reshape(-1, self.code_dim)
        codebook = update_codebook(codebook, vectors, indices.reshape(-1), self.decay)
        if not self._restart_below:
            return codebook
        return restart_dead_codes(codebook, key, vectors, self._restart_below * vectors.shape[0] / self.num_codes)

    def _vectors(
        self, variables: Variables, x: Array, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        """Return the encoder's vectors (B, *grid, D), and its new state."""
        params, state = variables.params["encoder"], variables.state.encoder
        vectors, state = apply_net(self.encoder, params, state, x, key=key, train=train)
        return at_least_float32(vectors), state

    def _decode(
        self, variables: Variables, codes: Array, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        """Return the decoder's outputs, and its new state."""
        params, state = variables.params["decoder"], variables.state.decoder
        return apply_net(self.decoder, params, state, codes, key=key, train=train)


def _mean_distance(vectors: Array, codes: Array) -> Array:
    """Return Σ_i |z_i − e_i|² per example, averaged over the batch."""
    return jnp.mean(sum_except_batch(jnp.square(vectors - codes)))
