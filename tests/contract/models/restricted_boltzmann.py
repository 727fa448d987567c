"""A restricted Boltzmann machine trained by persistent contrastive divergence, on plain arrays.

    p(v) = exp(-F(v)) / Z,   F(v) = -b.v - sum_j softplus(c_j + (v W)_j)
    grad -log p(v) = grad F(v) - E_{v' ~ p} grad F(v')

The expectation is over chains that live in ``state`` and take one Gibbs sweep an update. They move by no gradient.

Hinton (2002); Tieleman (2008).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array, Batch, Objective, Variables


@final
@dataclass(frozen=True, kw_only=True)
class RestrictedBoltzmann:
    """Binary units; few enough visible ones for log Z by enumeration."""

    num_visible: int
    num_hidden: int
    num_chains: int = 4
    num_sweeps: int = 3

    def init(self, key: Array, batch: Batch) -> Variables:
        key_w, key_v = jax.random.split(key)
        params = {
            "weights": 0.1 * jax.random.normal(key_w, (self.num_visible, self.num_hidden)),
            "visible": jnp.zeros(self.num_visible),
            "hidden": jnp.zeros(self.num_hidden),
        }
        return Variables(
            params={"rbm": params},
            state={"chains": jax.random.bernoulli(key_v, 0.5, (self.num_chains, self.num_visible)).astype(jnp.float32)},
        )

    def objectives(self) -> tuple[Objective, ...]:
        return (Objective(name="likelihood", wrt=("rbm",), loss=self.loss),)

    def loss(self, params, state, key, batch, step):
        variables = Variables(params, state)
        chains = jax.lax.stop_gradient(self._sweep(params["rbm"], key, state["chains"]))
        data, model = jnp.mean(self.free_energy(variables, batch["x"])), jnp.mean(self.free_energy(variables, chains))
        return data - model, ({"chains": chains}, {"free_energy": data})

    def sample(self, variables: Variables, key: Array, num_samples: int) -> Array:
        rbm = variables.params["rbm"]
        key, start = jax.random.split(key)
        v = jax.random.bernoulli(start, 0.5, (num_samples, self.num_visible)).astype(jnp.float32)
        v, _ = jax.lax.scan(lambda v, k: (self._sweep(rbm, k, v), None), v, jax.random.split(key, self.num_sweeps))
        return v

    def free_energy(self, variables: Variables, x: Array) -> Array:
        rbm = variables.params["rbm"]
        return -x @ rbm["visible"] - jnp.sum(jax.nn.softplus(self._inputs(rbm, x)), axis=-1)

    def log_prob(self, variables: Variables, x: Array) -> Array:
        every = jnp.asarray(np.array(list(itertools.product((0.0, 1.0), repeat=self.num_visible)), np.float32))
        return -self.free_energy(variables, x) - jax.nn.logsumexp(-self.free_energy(variables, every))

    def encode(self, variables: Variables, x: Array) -> Array:
        return jax.nn.sigmoid(self._inputs(variables.params["rbm"], x))

    def _sweep(self, rbm, key, v):
        key_h, key_v = jax.random.split(key)
        h = jax.random.bernoulli(key_h, jax.nn.sigmoid(self._inputs(rbm, v))).astype(v.dtype)
        probs = jax.nn.sigmoid(h @ rbm["weights"].T + rbm["visible"][None])
        return jax.random.bernoulli(key_v, probs).astype(v.dtype)

    def _inputs(self, rbm, v):
        return v @ rbm["weights"] + rbm["hidden"][None]
