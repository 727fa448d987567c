"""The generative moment matching network.

A generator maps uniform noise to data, x = G(h), h ~ U[−1, 1]^H, and is trained to bring its samples y₁ … y_M close to
data x₁ … x_N in maximum mean discrepancy, which is zero for equal distributions only,

    L = √MMD²(x, y),    MMD² = 1/N² Σ k(xᵢ, xⱼ) + 1/M² Σ k(yᵢ, yⱼ) − 2/(N M) Σ k(xᵢ, yⱼ),

with k the mean of Gaussian kernels of several bandwidths. There is no game: the loss is a distance between samples. The
root keeps the gradient from fading with the discrepancy. Minibatches must be large, some hundreds at least, since the
loss sees no more of a distribution than they hold. In the space of an autoencoder's codes (``genjax.latent``) the
same network has fewer dimensions to match.

Yujia Li, Kevin Swersky and Richard Zemel, 2015, arXiv:1502.02761; Gintare Dziugaite, Daniel Roy and Zoubin Ghahramani,
2015, arXiv:1505.03906.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, check_part, init_net
from genjax.ops import at_least_float32, check_at_least
from genjax.ops.mmd import check_bandwidths, mean_kernel, mmd_loss

# For data in [0, 1]^784. σ = √2, √5, √10, √20, √40, √80: the paper's σ are variances, k = exp(−|x − y|² / (2 σ)).
MNIST_BANDWIDTHS = (1.414, 2.236, 3.162, 4.472, 6.325, 8.944)
SMALLEST = 1e-8  # of MMD², whose rounding errors are larger: below it the root's gradient means nothing


@final
@dataclass(frozen=True, kw_only=True)
class GMMN:
    """Generator trained on the discrepancy between a minibatch and as many samples.

    Attributes:
      latent_dim: H, the length of the noise vector.
      generator: maps noise (B, latent_dim) to data (B, ...). Data in [0, 1] wants a sigmoid at its end.
      bandwidths: σ of the kernels, in units of the data: some from below to above the usual distance of two examples,
        ``MNIST_BANDWIDTHS`` for MNIST. With far narrower or far wider ones the loss is at its least for any samples.
      square_root: whether the loss is √MMD², or MMD² itself.
      chunk_size: rows of a kernel matrix in memory at once.

    >>> from genjax import nets
    >>> model = GMMN(latent_dim=2, generator=nets.MLP((8, 3)), bandwidths=(0.5, 1.0, 2.0))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 3))})
    >>> model.sample(variables, jax.random.key(1), 5).shape
    (5, 3)
    """

    latent_dim: int
    generator: Net
    bandwidths: tuple[float, ...]
    square_root: bool = True
    chunk_size: int = 1024

    def __post_init__(self) -> None:
        check_at_least("latent_dim", self.latent_dim, 1)
        check_at_least("chunk_size", self.chunk_size, 1)
        check_bandwidths(self.bandwidths)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ...).

        Raises:
          ValueError: before anything compiles, where the generator's output is not of the data's shape.
        """
        x = batch["x"]
        noise = jnp.zeros((len(x), self.latent_dim))
        check_part("generator", NetSpec(self.generator, (noise,), x.shape, "matching x"), key)
        params, state = init_net(self.generator, key, noise)
        return Variables(params={"generator": params}, state={"generator": state})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss, over the generator."""
        return (Objective(name="discrepancy", wrt=("generator",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """√MMD² between the batch and as many samples (or MMD²).

        Returns:
          The scalar, and the new state with the metric ``mmd2_biased``: for equal distributions it still is
          2 (k(x, x) − E k(x, x')) / B on average.
        """
        del step
        x = batch["x"]
        noise_key, dropout_key = jax.random.split(key)
        variables = Variables(params, state)
        noise = self.sample_prior(variables, noise_key, len(x))
        y, moved = apply_part(self, "generator", variables, noise, key=dropout_key, train=True)
        x, y = (side.reshape(len(side), -1) for side in (x, y))
        mmd2 = mmd_loss(x, y, self.bandwidths, chunk_size=self.chunk_size)  # Li et al. (2015), eq. 3
        # Near zero the root keeps the gradient from fading: Li et al. (2015), practical considerations.
        loss = jnp.sqrt(jnp.maximum(mmd2, SMALLEST)) if self.square_root else mmd2
        return loss, ({"generator": moved}, {"mmd2_biased": mmd2})

    def sample(self, variables: Variables, key: Array, num_samples: int) -> Array:
        """Draw from the model.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.

        Returns:
          Samples (N, ...).
        """
        check_at_least("num_samples", num_samples, 1)
        return self.decode(variables, self.sample_prior(variables, key, num_samples))

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Whether the kernels see the data: ``mean_kernel``, in [0, 1], see ``genjax.ops.mmd``, and ``distance``.

        The latter is that of two examples, the root of its mean square, in units of the data.
        """
        del variables, key
        x = at_least_float32(batch["x"].reshape(len(batch["x"]), -1))
        return {
            "mean_kernel": mean_kernel(x, self.bandwidths, chunk_size=self.chunk_size),
            "distance": jnp.sqrt(2 * jnp.sum(jnp.var(x, axis=0))),
        }

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Data generated from noise (B, latent_dim)."""
        return apply_part(self, "generator", variables, latent)[0]

    def sample_prior(self, variables: Variables, key: Array, num_samples: int) -> Array:
        """Noise, uniform in [-1, 1], (num_samples, latent_dim)."""
        del variables
        return jax.random.uniform(key, (num_samples, self.latent_dim), minval=-1.0, maxval=1.0)
