"""Additions to optax: gradient transformations, and rules that choose an optimizer by a parameter's path."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from annotated_types import Gt
from optax import contrib

from genjax.arguments import Cure, NonNegativeInt, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array, PyTree


@check_arguments
def muon_and_adam(
    muon_learning_rate: PositiveFloat,
    adam_learning_rate: PositiveFloat,
    *,
    warmup_steps: NonNegativeInt,
    steps: PositiveInt,
) -> optax.GradientTransformation:
    """Return Muon for the matrices of scanned layers, see ``layer_matrices``, and Adam (β₂ = 0.99) for the rest.

    Both learning rates warm up linearly to their peaks and decay to zero along a cosine.

    Args:
      muon_learning_rate: peak learning rate of Muon.
      adam_learning_rate: peak learning rate of Adam.
      warmup_steps: number of warm-up steps, capped at half of ``steps``.
      steps: number of training steps.
    """
    muon, adam = (
        optax.warmup_cosine_decay_schedule(0.0, peak, min(warmup_steps, steps // 2), steps)
        for peak in (muon_learning_rate, adam_learning_rate)
    )
    return contrib.muon(muon, adam_learning_rate=adam, adam_b2=0.99, muon_weight_dimension_numbers=layer_matrices)


def layer_matrices(params: PyTree) -> PyTree:
    """Return the matrix axes of each parameter for ``optax.contrib.muon``, or None for a parameter that Adam updates.

    The matrices are the stacked kernels of scanned layers, (layers, in, out).

    >>> params = {"layers": {"kernel": jnp.zeros((4, 2, 3)), "scale": jnp.zeros((4, 2))}, "kernel": jnp.zeros((2, 3))}
    >>> layer_matrices(params)
    {'kernel': None, 'layers': {'kernel': MuonDimensionNumbers(reduction_axis=1, output_axis=2), 'scale': None}}
    """

    def axes(path: jax.tree_util.KeyPath, param: Array) -> contrib.MuonDimensionNumbers | None:
        stacked = path[-1] == jax.tree_util.DictKey("kernel") and param.ndim == 3
        return contrib.MuonDimensionNumbers(1, 2) if stacked else None

    return jax.tree_util.tree_map_with_path(axes, params)


@check_arguments
def clip_params(limit: Annotated[float, Gt(0), Cure("; the paper's is 0.01")]) -> optax.GradientTransformation:
    """Return a transformation that keeps each parameter in [−limit, limit], up to rounding; use it last in a chain.

    Clipping makes the critic of a Wasserstein GAN Lipschitz continuous; the paper's limit is 0.01 (Martin Arjovsky,
    Soumith Chintala and Léon Bottou 2017, arXiv:1701.07875).

    An ``update`` without parameters raises ValueError.

    >>> optimizer = optax.chain(optax.sgd(1.0), clip_params(0.25))
    >>> params = jnp.array([0.125, 0.0])
    >>> updates, _ = optimizer.update(jnp.array([-1.0, 0.125]), optimizer.init(params), params)
    >>> optax.apply_updates(params, updates).tolist()
    [0.25, -0.125]
    """

    def clip(updates: PyTree, params: PyTree | None) -> PyTree:
        if params is None:
            raise ValueError("params is None, but clip_params needs them; call update(updates, state, params)")
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params)

    return optax.stateless(clip)
