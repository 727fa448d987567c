"""An autoencoder with discrete codes whose codebook moves by averages and not by gradients.

    k(x) = argmin_k |E(x) - e_k|^2,   L = |x - D(e_k(x))|^2 + beta |E(x) - sg e_k(x)|^2

The codebook follows N_k <- g N_k + (1 - g) n_k and m_k <- g m_k + (1 - g) sum_{k(x) = k} E(x), with e_k = m_k / N_k.

van den Oord et al. (2017), arXiv:1711.00937, appendix A.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.core import Array, Batch, Objective, Variables
from tests.contract.models.adversarial_autoencoder import Perceptron


@final
@dataclass(frozen=True, kw_only=True)
class VectorQuantized:
    """One code per example."""

    encoder: Perceptron
    decoder: Perceptron
    num_codes: int = 4
    beta: float = 0.25
    decay: float = 0.9

    def init(self, key: Array, batch: Batch) -> Variables:
        keys = jax.random.split(key, 3)
        codes = jax.random.normal(keys[2], (self.num_codes, self.encoder.num_outputs))
        params = {
            "encoder": self.encoder.init(keys[0], batch["x"])["params"],
            "decoder": self.decoder.init(keys[1], codes)["params"],
        }
        return Variables(params=params, state={"codebook": {"sums": codes, "counts": jnp.ones(self.num_codes)}})

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="autoencoder", wrt=("encoder", "decoder"), loss=self.loss),)

    def loss(self, params, state, key, batch, step):
        z = self.encoder.apply({"params": params["encoder"]}, batch["x"])
        index = self._nearest(state, z)
        code = _vectors(state)[index]
        straight_through = z + jax.lax.stop_gradient(code - z)
        error = batch["x"] - self.decoder.apply({"params": params["decoder"]}, straight_through)
        loss = jnp.mean(jnp.sum(error**2, -1)) + self.beta * jnp.mean(jnp.sum((z - code) ** 2, -1))
        return loss, (self._moved(state, jax.lax.stop_gradient(z), index), {})

    def sample(self, variables: Variables, key: Array, num_samples: int) -> Array:
        return self.decode(variables, jax.random.randint(key, (num_samples,), 0, self.num_codes))

    def encode(self, variables: Variables, x: Array) -> Array:
        return self._nearest(variables.state, self.encoder.apply({"params": variables.params["encoder"]}, x))

    def decode(self, variables: Variables, latent: Array) -> Array:
        return self.decoder.apply({"params": variables.params["decoder"]}, _vectors(variables.state)[latent])

    def _nearest(self, state, z):
        distances = jnp.sum((z[:, None] - _vectors(state)[None]) ** 2, axis=-1)
        return jnp.argmin(distances, axis=-1)

    def _moved(self, state, z, index):
        one_hot = jax.nn.one_hot(index, self.num_codes)
        new = {"sums": one_hot.T @ z, "counts": jnp.sum(one_hot, axis=0)}
        average = jax.tree.map(lambda a, b: self.decay * a + (1 - self.decay) * b, state["codebook"], new)
        return {"codebook": average}


def _vectors(state):
    return state["codebook"]["sums"] / state["codebook"]["counts"][:, None]
