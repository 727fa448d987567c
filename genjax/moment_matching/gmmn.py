"""The generative moment matching network.

A generator maps uniform noise to data, G(h) with h ~ U[−1, 1]^H. Training minimizes the maximum mean discrepancy
between its samples y₁ … y_M and data x₁ … x_N, which in expectation is zero only for equal distributions:

    L = √MMD²(x, y),    MMD² = 1/N² Σ k(xᵢ, xⱼ) + 1/M² Σ k(yᵢ, yⱼ) − 2/(N M) Σ k(xᵢ, yⱼ),

where k is the mean of Gaussian kernels with several bandwidths. There is no adversary: the loss is a distance between
samples. The square root keeps the gradient from vanishing with the discrepancy. Minibatches must be large, at least
several hundred examples, because the loss compares only the distributions within them. In the code space of an
autoencoder (``genjax.latent``) there are fewer dimensions to match.

Yujia Li, Kevin Swersky and Richard Zemel, 2015, arXiv:1502.02761; Gintare Dziugaite, Daniel Roy and Zoubin Ghahramani,
2015, arXiv:1505.03906.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, check_part, init_net
from genjax.ops import at_least_float32, check_at_least
from genjax.ops.mmd import check_bandwidths, mean_kernel, mmd_loss

# For data in [0, 1]^784: √2, √5, √10, √20, √40, √80. The paper's σ are variances, k = exp(−|x − y|² / (2 σ)).
MNIST_BANDWIDTHS = (1.414, 2.236, 3.162, 4.472, 6.325, 8.944)
MIN_MMD2 = 1e-8  # below the rounding error of MMD², where the gradient of the square root is noise


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GMMN:
    """A generator trained on the discrepancy between a minibatch and as many samples: Li et al. (2015).

    Attributes:
      latent_dim: dimension of the noise, H.
      generator: network from noise (B, latent_dim) to data (B, ...). For data in [0, 1], end it with a sigmoid.
      bandwidths: standard deviations σ of the kernels, in units of the data. They should span the typical distance
        between two examples; ``MNIST_BANDWIDTHS`` for MNIST. If all are far too narrow or far too wide, the loss hardly
        depends on the samples.
      square_root: whether the loss is √MMD² rather than MMD².
      chunk_size: number of rows of a kernel matrix in memory at once.

    >>> from genjax import moment_matching, nets
    >>> model = moment_matching.GMMN(latent_dim=2, generator=nets.MLP((8, 3)), bandwidths=(0.5, 1.0, 2.0))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 3))})
    >>> model.sample(variables, jax.random.key(1), 5).shape
    (5, 3)
    """

    latent_dim: PositiveInt
    generator: Net
    bandwidths: tuple[float, ...]
    square_root: bool = True
    chunk_size: PositiveInt = 1024

    def __post_init__(self) -> None:
        check_bandwidths(self.bandwidths)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ...).

        Raises:
          ValueError: before anything compiles, if the output of the generator does not have the shape of the data.
        """
        x = batch["x"]
        noise = jnp.zeros((x.shape[0], self.latent_dim))
        check_part("generator", NetSpec(self.generator, (noise,), x.shape, "matching x"), key)
        params, state = init_net(self.generator, key, noise)
        return Variables(params={"generator": params}, state={"generator": state})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the discrepancy as the only objective, over the generator."""
        return (Objective(name="discrepancy", wrt=("generator",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return √MMD², or MMD², between the batch and as many samples.

        For equal distributions the expectation of the metric ``mmd2_biased`` is 2 (k(x, x) − E k(x, x')) / B.
        """
        del step
        x = batch["x"]
        noise_key, dropout_key = jax.random.split(key)
        variables = Variables(params, state)
        noise = self.sample_prior(variables, noise_key, x.shape[0])
        y, new_state = apply_part(self, "generator", variables, noise, key=dropout_key, train=True)
        x, y = (samples.reshape(samples.shape[0], -1) for samples in (x, y))
        mmd2 = mmd_loss(x, y, self.bandwidths, chunk_size=self.chunk_size)  # Li et al. (2015), eq. 3
        # The root keeps the gradient from vanishing near zero: Li et al. (2015), practical considerations.
        loss = jnp.sqrt(jnp.maximum(mmd2, MIN_MMD2)) if self.square_root else mmd2
        return loss, ({"generator": new_state}, {"mmd2_biased": mmd2})

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw from the model, (num_samples, ...)."""
        return self.decode(variables, self.sample_prior(variables, key, num_samples))

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Return ``mean_kernel`` and ``distance``, which tell whether the bandwidths suit the data.

        ``mean_kernel`` in [0, 1] is near 0 if all bandwidths are too narrow and near 1 if all are too wide, see
        ``genjax.ops.mmd``. ``distance`` is the root mean square distance of two examples, in units of the data.
        """
        del variables, key
        check_at_least("number of examples", batch["x"].shape[0], 2, ", to compare them; hold out more for validation")
        x = at_least_float32(batch["x"].reshape(batch["x"].shape[0], -1))
        return {
            "mean_kernel": mean_kernel(x, self.bandwidths, chunk_size=self.chunk_size),
            "distance": jnp.sqrt(2 * jnp.sum(jnp.var(x, axis=0))),
        }

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Generate data from noise (B, latent_dim)."""
        return apply_part(self, "generator", variables, latent)[0]

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw noise, uniform in [-1, 1], (num_samples, latent_dim)."""
        del variables
        return jax.random.uniform(key, (num_samples, self.latent_dim), minval=-1.0, maxval=1.0)
