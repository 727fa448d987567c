"""Small machines whose every state can be added up."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from genjax import boltzmann
from genjax.boltzmann import Layers
from genjax.core import Variables


def random_layers(num_visible: int, num_hidden: int, *, scale: float = 1.0, seed: int = 0, **kinds) -> Layers:
    """Weights and biases of some size."""
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = ((num_visible, num_hidden), (num_visible,), (num_hidden,))
    return Layers(*(scale * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)), **kinds)


def variables_of(layers: Layers, **state) -> Variables:
    """Variables of an RBM that is not centred."""
    return Variables({"rbm": layers.params}, _no_base(layers) | state)


def all_states(num_units: int) -> np.ndarray:
    """Every state of binary units, (2^N, N), float64."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=num_units)))


def joint_log_probs(layers: Layers) -> tuple[np.ndarray, float]:
    """Of binary units: vᵀ W h + b·v + c·h for every v and h, and log Z, by the definition in float64."""
    w, b, c = (np.asarray(array, np.float64) for array in layers.params.values())
    v, h = all_states(len(b)), all_states(len(c))
    energies = v @ w @ h.T + (v @ b)[:, None] + (h @ c)[None]
    return energies, float(np.logaddexp.reduce(energies, axis=None))


def shares(x: np.ndarray, num_units: int) -> np.ndarray:
    """How often each state is among samples (N, num_units), in the order of ``all_states``."""
    numbers = np.asarray(x).astype(int) @ 2 ** np.arange(num_units)[::-1]
    return np.bincount(numbers, minlength=2**num_units) / len(numbers)


def rbm(num_visible: int, num_hidden: int, **options) -> boltzmann.RBM:
    """Return a machine of vectors in the plain parameters."""
    return boltzmann.RBM(**({"shape": (num_visible,), "num_hidden": num_hidden, "centred": False} | options))


def _no_base(layers: Layers) -> dict[str, jax.Array]:
    return {"base": jnp.zeros(len(layers.visible_bias)), "hidden_base": jnp.zeros(len(layers.hidden_bias))}
