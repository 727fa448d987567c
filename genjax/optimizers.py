"""Optimizers that optax lacks: pieces for ``optax.chain``, and rules that choose one by a parameter's path."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from genjax.core import Array, PyTree


def muon_and_adam(
    muon_learning_rate: float, adam_learning_rate: float, *, warmup_steps: int, steps: int
) -> optax.GradientTransformation:
    """Return Muon for the matrices of layers, see ``matrices_of_layers``, and Adam (β₂ = 0.99) for all else.

    Args:
      muon_learning_rate: of Muon at its peak, after which it decays to zero along a cosine.
      adam_learning_rate: of Adam, likewise.
      warmup_steps: until the peaks, at most half of all.
      steps: of training.
    """
    muon, adam = (
        optax.warmup_cosine_decay_schedule(0.0, peak, min(warmup_steps, steps // 2), steps)
        for peak in (muon_learning_rate, adam_learning_rate)
    )
    return contrib.muon(muon, adam_learning_rate=adam, adam_b2=0.99, muon_weight_dimension_numbers=matrices_of_layers)


def matrices_of_layers(params: PyTree) -> PyTree:
    """Tell ``optax.contrib.muon`` which axes of which parameters are those of a matrix.

    They are those of kernels that layers share, (layers, in, out); all other parameters are Adam's.

    >>> params = {"layers": {"kernel": jnp.zeros((4, 2, 3)), "scale": jnp.zeros((4, 2))}, "kernel": jnp.zeros((2, 3))}
    >>> matrices_of_layers(params)
    {'kernel': None, 'layers': {'kernel': MuonDimensionNumbers(reduction_axis=1, output_axis=2), 'scale': None}}
    """

    def axes(path: jax.tree_util.KeyPath, param: Array) -> contrib.MuonDimensionNumbers | None:
        stacked = path[-1] == jax.tree_util.DictKey("kernel") and param.ndim == 3
        return contrib.MuonDimensionNumbers(1, 2) if stacked else None

    return jax.tree_util.tree_map_with_path(axes, params)


def clip_params(limit: float) -> optax.GradientTransformation:
    """Return the last of a chain, which keeps every parameter in [−limit, limit], to rounding.

    It is for the critic of a Wasserstein GAN, which clipping makes Lipschitz; the paper's limit is 0.01 (Martin
    Arjovsky, Soumith Chintala and Léon Bottou 2017, arXiv:1701.07875).

    Args:
      limit: above 0.

    Raises:
      ValueError: for a limit that is not above 0; from ``update``, when it is not given the parameters.

    >>> optimizer = optax.chain(optax.sgd(1.0), clip_params(0.25))
    >>> params = jnp.array([0.125, 0.0])
    >>> updates, _ = optimizer.update(jnp.array([-1.0, 0.125]), optimizer.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [0.25, -0.125]
    """
    if not limit > 0:
        raise ValueError(f"limit is {limit}, but must be above 0; the paper's is 0.01")

    def clip(updates: PyTree, params: PyTree | None) -> PyTree:
        if params is None:
            raise ValueError("clip_params has no params to clip; call update(updates, state, params)")
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params)

    return optax.stateless(clip)
