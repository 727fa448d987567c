"""Imputation: how well a model draws the second half of an example given the first.

The known half comes first in raster order, which autoregressive models need: the upper rows of an image. With the
missing values x of an example and two independent draws X and X' of them, the energy score

    S = ½ (‖X − x‖ + ‖X' − x‖) − ½ ‖X − X'‖                                                                       (1)

is smallest on average for draws from the true conditional distribution, and only for these. Draws that are certain but
wrong score worse, and so do draws that are right on average but too diffuse. ‖·‖ is the root mean square over the
missing values, on the scale of the feature network: images in [0, 1], or the model's own numbers.

Tilmann Gneiting and Adrian Raftery 2007, "Strictly proper scoring rules, prediction, and estimation", equation 22.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import core
from genjax.capabilities import Imputes, conditions, supports
from genjax.compilation import jit
from genjax.core import Array, Variables, stream_key
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result, unavailable

# Settings of ``sample`` that mean the same in ``impute``.
SHARED = ("num_steps", "kernel", "step_size", "temperature", "top_k", "top_p", "min_p", "order", "randomness", "grid")


def no_imputation(evaluation: Evaluation) -> str | None:
    """Return the reason why imputation cannot be scored, or None if it can."""
    model = evaluation.model
    if not supports(model, Imputes):
        return f"{evaluation.model_name} has no impute"
    if any(not condition.optional for condition in conditions(model)):
        return "the model is conditioned, but the known values of an example are to be its only condition"
    if evaluation.dataset.tokenizer is not None:
        return "examples are texts, whose tokens have no distances"
    spec = jax.eval_shape(evaluation.preprocess, evaluation.key, evaluation.dataset.batch_spec(1))["x"]
    if math.prod(spec.shape) == 1:
        return "examples have a single value"
    displayed = jax.eval_shape(evaluation.network_input, spec).shape
    if displayed != spec.shape:
        return (
            f"display changes the shape of examples from {spec.shape[1:]} to {displayed[1:]}, so that the missing "
            "values cannot be located in it"
        )
    return None


def imputation(evaluation: Evaluation, index: int) -> list[Result]:
    """Return the mean of equation 1 over the split."""
    model: Any = evaluation.model
    settings = _settings(evaluation)

    @jit
    def score(variables: Variables, key: Array, x: Array) -> Array:
        mask = first_half(x.shape[1:])[None]
        known = jnp.where(mask, x, 0)
        draws = [model.impute(variables, each, known, mask, **settings) for each in jax.random.split(key)]
        truth, first, second = (evaluation.network_input(each) for each in (x, *draws))
        errors = [_distance(a, b, mask) for a, b in ((first, truth), (second, truth), (first, second))]
        return 0.5 * (errors[0] + errors[1] - errors[2])  # equation 1

    variables, name = evaluation.replica(index), f"imputation by seed {evaluation.seeds[index]}"
    scores = []
    for number, batch in enumerate(evaluation.batches(evaluation.split, name)):
        key = core.step_key(stream_key(evaluation.key, "imputation"), number)
        scores.append(np.asarray(score(variables, key, batch["x"]), np.float64))
    values = np.concatenate(scores)
    if not np.isfinite(values).all():
        return [
            unavailable("imputation_score", f"{(~np.isfinite(values)).sum()} of {len(values)} scores are not finite")
        ]
    protocol = {"known": "first half in raster order", "draws": 2, "examples": len(values), "split": evaluation.split}
    protocol |= _default_steps(model) | settings
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return [Result(name="imputation_score", value=float(values.mean()), standard_error=error, protocol=protocol)]


def _settings(evaluation: Evaluation) -> dict[str, Any]:
    """Return those settings of ``sample`` that mean the same in ``impute``; a condition would be more than is known."""
    model: Any = evaluation.model
    parameters = inspect.signature(model.impute).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    settings = {name: value for name, value in evaluation.sample_kwargs.items() if value is not None and name in SHARED}
    return {name: value for name, value in settings.items() if takes_all or name in parameters}


def _default_steps(model: Any) -> dict[str, int]:
    """Return the number of steps that ``impute`` takes unless told otherwise, if it takes steps."""
    steps = inspect.signature(model.impute).parameters.get("num_steps")
    if steps is None:
        return {}
    number = getattr(model, "num_steps", None) if steps.default is None else steps.default
    return {} if number is None else {"num_steps": number}


def first_half(shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask of an example that is True for the first half of its values in raster order, rounded up.

    >>> first_half((1, 3)).tolist()
    [[True, True, False]]
    """
    size = math.prod(shape)
    return (np.arange(size) < size - size // 2).reshape(shape)


def _distance(x: Array, y: Array, mask: np.ndarray) -> Array:
    """Return the root mean square of x − y over the values where the mask is False, (B,)."""
    squares = jnp.where(mask, 0.0, jnp.square(x - y).astype(jnp.float32)).reshape(x.shape[0], -1)
    return jnp.sqrt(jnp.sum(squares, axis=1) / np.sum(~mask))
