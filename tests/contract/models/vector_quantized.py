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
from genjax.nets import apply_net, init_net
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
            "encoder": init_net(self.encoder, keys[0], batch["x"])[0],
            "decoder": init_net(self.decoder, keys[1], codes)[0],
        }
        return Variables(params=params, state={"codebook": {"sums": codes, "counts": jnp.ones(self.num_codes)}})

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="autoencoder", wrt=("encoder", "decoder"), loss=self.loss),)

    def loss(self, params, state, key, batch, step):
        z = apply_net(self.encoder, params["encoder"], {}, batch["x"])[0]
        index = self._nearest(state, z)
        code = _vectors(state)[index]
        straight_through = z + jax.lax.stop_gradient(code - z)
        error = batch["x"] - apply_net(self.decoder, params["decoder"], {}, straight_through)[0]
        loss = jnp.mean(jnp.sum(error**2, -1)) + self.beta * jnp.mean(jnp.sum((z - code) ** 2, -1))
        return loss, (self._moved(state, jax.lax.stop_gradient(z), index), {})

    def sample(self, variables: Variables, key: Array, num_samples: int) -> Array:
        return self.decode(variables, jax.random.randint(key, (num_samples,), 0, self.num_codes))

    def encode(self, variables: Variables, x: Array) -> Array:
        return self._nearest(variables.state, apply_net(self.encoder, variables.params["encoder"], {}, x)[0])

    def decode(self, variables: Variables, latent: Array) -> Array:
        return apply_net(self.decoder, variables.params["decoder"], {}, _vectors(variables.state)[latent])[0]

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
