"""The factorized categorical distribution over a grid of integers.

Each position i of a grid x of integers in 0 … K − 1 is independent of the others, with its own logits l_i,

    p(x) = Π_i p_i(x_i),        p_i(k) = exp l_ik / Σ_j exp l_ij.

The maximum-likelihood p_i(k) is the frequency of k at i. As a prior over the codes of a quantizing autoencoder it
models how often each code occurs at each position, but no dependence between positions. It is the simplest second stage
of a VQ-VAE (Aäron van den Oord, Oriol Vinyals and Koray Kavukcuoglu, 2017, arXiv:1711.00937), and a baseline for
autoregressive priors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import categorical


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class FactorizedCategorical:
    """Independent categorical variables at the positions of a grid, a baseline prior for the codes of a ``VQVAE``.

    Attributes:
      num_values: number of values of an integer, K.

    >>> model = FactorizedCategorical(num_values=4)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2, 2), jnp.int32)})
    >>> model.log_prob(variables, jnp.ones((1, 2, 2), jnp.int32)).tolist()  # 4 log ¼
    [-5.545177459716797]
    """

    num_values: PositiveInt

    @property
    def discrete(self) -> bool:
        """True: the likelihood is a mass."""
        return True

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the uniform distribution over grids of integers (B, ...); other data raise ValueError."""
        del key
        x = batch["x"]
        if x.ndim < 1 or not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(
                f"x has dtype {x.dtype} and shape {x.shape}, but must be integers (B, ...); pass codes, such as "
                "those of VQVAE.encode"
            )
        return Variables(params={"logits": jnp.zeros((*x.shape[1:], self.num_values))}, state={})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the single objective, the negative log-likelihood."""
        return (Objective(name="likelihood", wrt=("logits",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the negative log-likelihood in nats per example, averaged over the batch."""
        del key, step
        return -jnp.mean(self.log_prob(Variables(params, state), batch["x"])), (state, {})

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return the log-mass of grids x (B, ...) of integers in 0 … K − 1; nats, (B,)."""
        log_mass = jax.nn.log_softmax(variables.params["logits"])
        return jax.vmap(lambda grid: jnp.sum(jnp.take_along_axis(log_mass, grid[..., None], axis=-1)))(x)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw grids, int32 (num_samples, ...)."""
        logits = variables.params["logits"]
        return categorical(key, jnp.broadcast_to(logits, (num_samples, *logits.shape)))
