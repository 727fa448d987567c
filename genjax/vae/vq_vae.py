"""The vector-quantized variational autoencoder.

The latent of an example is a grid of P integers, each the index of one of K codes e_1 … e_K in ℝ^D. At each position
the encoder E gives a vector that is replaced by the nearest code, and the decoder gives p(x | e_k):

    k(x)_i = argmin_k |E(x)_i − e_k|²,                                                                           (1)
    L = −log p(x | e_k(x)) + Σ_i |sg E(x)_i − e_k(x)_i|² + β Σ_i |E(x)_i − sg e_k(x)_i|²                         (2)

with sg a constant to gradients. Decoder gradients pass to the encoder as if nothing had been replaced, the last term
commits the encoder to its codes, and the middle one moves these to the encoder's vectors; it may give way to moving
averages, see ``genjax.ops.quantization``, which also has the start of the codebook and the restart of its unused codes.

Under the uniform prior over grids, the prior of the paper while the autoencoder trains,

    p(x) = Σ_k K^−P p(x | e_k)  ≥  K^−P p(x | e_k(x)),                                                           (3)

one of its K^P terms: a bound for any codes, and without noise. A second stage learns a prior of the codes.

Aäron van den Oord, Oriol Vinyals and Koray Kavukcuoglu, 2017, arXiv:1711.00937.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp

from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, check_part, init_net
from genjax.ops import Likelihood, at_least_float32, check_at_least, check_choice, check_data_axes, straight_through
from genjax.ops.quantization import (
    code_perplexity,
    code_usage,
    kmeans,
    nearest_code,
    restart_dead_codes,
    start_codebook,
    update_codebook,
)
from genjax.vae.gaussian import decoder_part


@final
@dataclass(frozen=True, kw_only=True)
class VQVAE:
    """Autoencoder whose latent is a grid of indices of codes.

    Attributes:
      encoder: maps x (B, ...) to vectors (B, *grid, code_dim).
      decoder: maps codes (B, *grid, code_dim) to (B, ..., C * likelihood.num_outputs), where C is the last axis of x.
      likelihood: p(x | outputs of the decoder).
      num_codes: K.
      code_dim: D, the length of a code.
      grid: shape of an example's grid of codes, (7, 7) for example; () for a single code.
      commitment: β, weight of the encoder's distance from its codes.
      codebook: what moves the codes: ``"ema"``, moving averages in the state, or ``"loss"``, gradients of the middle
        term of the loss, which make them the part "codebook" of the parameters.
      decay: of the moving averages, in [0, 1).
      restart_below: a code with fewer vectors than this share of the average code, in the moving count, restarts at one
        of the batch's vectors; in [0, 1), 0 for never. None for 0.05 where codes are moving averages; what gradients
        move does not restart, as a loss does not set parameters.
      kmeans_steps: iterations of k-means on the first batch's vectors, where the codes start.

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
    num_codes: int
    code_dim: int
    grid: tuple[int, ...]
    commitment: float = 0.25
    codebook: Literal["ema", "loss"] = "ema"
    decay: float = 0.99
    restart_below: float | None = None
    kmeans_steps: int = 10

    def __post_init__(self) -> None:
        check_at_least("num_codes", self.num_codes, 1)
        check_at_least("code_dim", self.code_dim, 1)
        for size in self.grid:
            check_at_least("a size of grid", size, 1)
        check_at_least("commitment", self.commitment, 0)
        check_at_least("kmeans_steps", self.kmeans_steps, 0)
        check_choice("codebook", self.codebook, ("ema", "loss"))
        for name, value in {"decay": self.decay, "restart_below": self._restart_below}.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}, but must be in [0, 1)")
        if self.restart_below and self.codebook == "loss":
            raise ValueError(
                f"restart_below is {self.restart_below}, but codes that gradients move do not restart; "
                "give codebook='ema', or restart_below=0"
            )

    @property
    def discrete(self) -> bool:
        """Whether log p(x) is a log-mass of discrete values, as the likelihood has it."""
        return self.likelihood.discrete

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ..., C); the codes start at its vectors.

        Raises:
          ValueError: before anything compiles, where the networks' outputs do not fit the data or the codes.
        """
        x = batch["x"]
        check_data_axes(x.shape)
        zeros, why = jnp.zeros((len(x), *self.grid, self.code_dim)), f"grid={self.grid} with code_dim={self.code_dim}"
        check_part("encoder", NetSpec(self.encoder, (x,), zeros.shape, why), key)
        check_part("decoder", decoder_part(self.decoder, (zeros,), self.likelihood, x), key)
        encoder_key, decoder_key, vectors_key, codes_key = jax.random.split(key, 4)
        encoder, encoder_state = init_net(self.encoder, encoder_key, x)
        decoder, decoder_state = init_net(self.decoder, decoder_key, zeros)
        params, state = {"encoder": encoder, "decoder": decoder}, {"encoder": encoder_state, "decoder": decoder_state}
        # As the first training step will see them: batch statistics have not been gathered yet.
        vectors, _ = self._vectors(Variables(params, state), x, vectors_key, train=True)
        vectors = vectors.reshape(-1, self.code_dim)
        codes = kmeans(codes_key, vectors, self.num_codes, self.kmeans_steps)
        if self.codebook == "loss":
            return Variables(params | {"codebook": {"codes": codes}}, state)
        return Variables(params, state | {"codebook": start_codebook(codes, len(vectors))})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss, over both networks, and over the codebook where gradients move it."""
        wrt = ("encoder", "decoder") if self.codebook == "ema" else ("encoder", "decoder", "codebook")
        return (Objective(name="autoencoder", wrt=wrt, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """The loss (2) per example, averaged over the batch.

        Returns:
          The scalar, and the new state with metrics ``reconstruction`` (log p(x | codes) in nats), ``commitment`` (the
          squared distance from the codes, without its weight), and of the batch's codes ``codebook_usage`` and
          ``perplexity``, see ``genjax.ops.quantization``.
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
        new_state = {"encoder": encoder_state, "decoder": decoder_state}
        if self.codebook == "loss":
            loss += _mean_distance(jax.lax.stop_gradient(vectors), codes)
        else:
            new_state["codebook"] = self._moved(state["codebook"], restart_key, jax.lax.stop_gradient(vectors), indices)
        metrics = {
            "reconstruction": reconstruction,
            "commitment": commitment,
            "codebook_usage": code_usage(indices, self.num_codes),
            "perplexity": code_perplexity(indices, self.num_codes),
        }
        return loss, (new_state, metrics)

    def sample(self, variables: Variables, key: Array, num_samples: int, *, mean: bool = False) -> Array:
        """Decode grids of codes that are drawn uniformly.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          num_samples: N.
          mean: whether to return the likelihood's means, as figures usually show, and not draws from it.

        Returns:
          Samples of shape (N, ...).
        """
        check_at_least("num_samples", num_samples, 1)
        latent_key, data_key = jax.random.split(key)
        latent = jax.random.randint(latent_key, (num_samples, *self.grid), 0, self.num_codes)
        outputs, _ = self._decode(variables, self.codes(variables)[latent])
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def codes(self, variables: Variables) -> Array:
        """The codebook e_1 … e_K, (K, D)."""
        return variables.params["codebook"]["codes"] if self.codebook == "loss" else variables.state["codebook"].codes

    def quantize(self, variables: Variables, vectors: Array) -> Array:
        """Codes nearest to vectors, (..., D) both."""
        codes = self.codes(variables)
        return codes[nearest_code(codes, vectors)]

    def encode(self, variables: Variables, x: Array) -> Array:
        """Indices of the codes of x (B, ...), int32 (B, *grid)."""
        return nearest_code(self.codes(variables), self._vectors(variables, x)[0])

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Expected data given indices of codes, int32 (B, *grid)."""
        outputs, _ = self._decode(variables, self.codes(variables)[latent])
        return self.likelihood.mean(outputs)

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array:
        """Expected data given the codes of x."""
        del key  # the codes are certain
        return self.decode(variables, self.encode(variables, x))

    def log_prob_lower_bound(self, variables: Variables, key: Array, x: Array) -> Array:
        """Bound log p(x | codes of x) - P log K of log p(x) under the uniform prior; nats, (B,)."""
        del key  # the codes are certain
        log_prior = -math.prod(self.grid) * math.log(self.num_codes)
        return self.log_likelihood(variables, self.encode(variables, x), x) + log_prior  # equation 3

    def log_likelihood(self, variables: Variables, latent: Array, x: Array) -> Array:
        """Exact log p(x | codes) given their indices, int32 (B, *grid); nats, (B,)."""
        outputs, _ = self._decode(variables, self.codes(variables)[latent])
        return self.likelihood.log_prob(outputs, x)

    @property
    def _restart_below(self) -> float:
        if self.restart_below is None:
            return 0.05 if self.codebook == "ema" else 0.0
        return self.restart_below

    def _moved(self, codebook: PyTree, key: Array, vectors: Array, indices: Array) -> PyTree:
        vectors = vectors.reshape(-1, self.code_dim)
        codebook = update_codebook(codebook, vectors, indices.reshape(-1), self.decay)
        if not self._restart_below:
            return codebook
        return restart_dead_codes(codebook, key, vectors, self._restart_below * len(vectors) / self.num_codes)

    def _vectors(
        self, variables: Variables, x: Array, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        vectors, state = apply_part(self, "encoder", variables, x, key=key, train=train)
        return at_least_float32(vectors), state

    def _decode(
        self, variables: Variables, codes: Array, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        return apply_part(self, "decoder", variables, codes, key=key, train=train)


def _mean_distance(vectors: Array, codes: Array) -> Array:
    """Σ_i |z_i − e_i|² of an example, averaged over the batch."""
    return jnp.mean(jnp.sum(jnp.square(vectors - codes), axis=tuple(range(1, vectors.ndim))))
