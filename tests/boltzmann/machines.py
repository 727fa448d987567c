"""Small machines whose states can all be enumerated."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from genjax import boltzmann
from genjax.boltzmann import RBMParams, RBMState
from genjax.core import Variables


def random_params(num_visible: int, num_hidden: int, *, scale: float = 1.0, seed: int = 0, **kinds) -> RBMParams:
    """Return normal weights and biases with standard deviation ``scale``."""
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = ((num_visible, num_hidden), (num_visible,), (num_hidden,))
    return RBMParams(*(scale * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)), **kinds)


def variables_of(params: RBMParams, **fields) -> Variables:
    """Return the variables of an RBM, with zeros for the fields of its state that are not given."""
    visible, hidden = jnp.zeros(len(params.visible_bias)), jnp.zeros(len(params.hidden_bias))
    return Variables({"rbm": params.arrays}, RBMState(visible, hidden, visible, hidden, {})._replace(**fields))


def all_states(num_units: int) -> np.ndarray:
    """Return every state of binary units, (2^N, N), float64."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=num_units)))


def joint_log_probs(params: RBMParams) -> tuple[np.ndarray, float]:
    """Return vᵀ W h + b·v + c·h for all states of binary units, and log Z, by definition in float64."""
    w, b, c = (np.asarray(array, np.float64) for array in params.arrays.values())
    v, h = all_states(len(b)), all_states(len(c))
    energies = v @ w @ h.T + (v @ b)[:, None] + (h @ c)[None]
    return energies, float(np.logaddexp.reduce(energies, axis=None))


def frequencies(x: np.ndarray, num_units: int) -> np.ndarray:
    """Return the relative frequency of each state among samples, (N, num_units), in the order of ``all_states``."""
    numbers = np.asarray(x).astype(int) @ 2 ** np.arange(num_units)[::-1]
    return np.bincount(numbers, minlength=2**num_units) / len(numbers)


def rbm(num_visible: int, num_hidden: int, **options) -> boltzmann.RBM:
    """Return an RBM of vectors that is not centred."""
    return boltzmann.RBM(**({"shape": (num_visible,), "num_hidden": num_hidden, "centred": False} | options))
