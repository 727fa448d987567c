"""Smoothness of a latent space: how much decoded paths deviate from straight motion at constant speed.

A path between two codes is decoded at times 0, 1/n, …, 1 to features f_0, …, f_n. Its energy, relative to that of
even motion along the straight line,

    E = E[n Σ_t ‖f_{t+1} − f_t‖²] / E[‖f_n − f_0‖²],                                                               (1)

is 1 for even and straight motion, n if all change comes in one step, and more if paths turn back. The numerator is the
perceptual path length of Tero Karras, Samuli Laine and Timo Aila 2018, arXiv:1812.04948; the denominator makes models
and features comparable. Along a path the direction of the code turns evenly and its norm changes evenly: between
opposite codes of unequal norms, the usual spherical path would leave the region of typical codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.capabilities import HasPrior, Quantizes, conditions, has_latent_space, supports
from genjax.compilation import jit
from genjax.core import Array, Variables, stream_key
from genjax.data import random_examples
from genjax.evaluation.comparison import no_features
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result, extract, unavailable
from genjax.metrics.progress import ProgressCallback, chunks
from genjax.monitoring.latent_usage import autoencoder_of
from genjax.ops import linear_path, spherical_path

NUM_PATHS = 200
NUM_STEPS = 16
MIN_CHANGE = 1e-3  # least mean squared distance of path ends, relative to that of two examples
MIN_EXAMPLES = 4  # for two paths, which have a standard error


def no_interpolation(evaluation: Evaluation) -> str | None:
    """Return the reason why a model has no paths between codes, or None if it has."""
    model: Any = evaluation.model
    if not has_latent_space(model):
        return f"{evaluation.model_name} has no latent space: no decode, or neither sample_prior nor encode"
    if conditions(model):
        return "codes of a conditional model are decoded under conditions, which a path would have to share"
    if supports(autoencoder_of(model), Quantizes):
        return f"codes of {evaluation.model_name} are indices, between which there is no path"
    if not supports(model, HasPrior) and len(evaluation.source) < MIN_EXAMPLES:
        return f"split {evaluation.split!r} has {len(evaluation.source)} examples, but paths need {MIN_EXAMPLES}"
    return no_features(evaluation)


def interpolation(evaluation: Evaluation, index: int) -> list[Result]:
    """Return equation 1 over paths between random codes of the prior, or else of held-out data."""
    codes = _codes(evaluation, index, stream_key(evaluation.key, "interpolation"))
    count = len(codes) // 2
    features = extract(evaluation.network, _decoded(evaluation, index, codes), count * (NUM_STEPS + 1)).features
    if not np.isfinite(features).all():
        return [unavailable("path_energy", "decoded paths are not finite")]
    points = np.asarray(features, np.float64).reshape(count, NUM_STEPS + 1, -1)
    energy = NUM_STEPS * np.sum(np.diff(points, axis=1) ** 2, axis=(1, 2))
    straight = np.sum((points[:, -1] - points[:, 0]) ** 2, axis=1)
    spread = 2 * np.var(np.asarray(evaluation.reference.features, np.float64), axis=0).sum()
    if straight.mean() < MIN_CHANGE * spread:
        reason = f"the squared distance of decoded path ends is below {MIN_CHANGE} of that of two examples"
        return [unavailable("path_energy", reason)]
    value = float(energy.mean() / straight.mean())  # equation 1
    residuals = (energy - value * straight) / straight.mean()
    error = float(residuals.std(ddof=1) / np.sqrt(count))
    source = "the prior" if supports(evaluation.model, HasPrior) else f"split {evaluation.split}"
    protocol = {"paths": count, "steps": NUM_STEPS, "ends from": source} | evaluation.network.protocol
    return [Result(name="path_energy", value=value, standard_error=error, protocol=protocol)]


def _codes(evaluation: Evaluation, index: int, key: Array) -> Array:
    """Return codes of both ends of all paths, (2 R, ...)."""
    model: Any = evaluation.model
    if supports(model, HasPrior):
        return model.sample_prior(evaluation.replica(index), key, 2 * NUM_PATHS)
    examples_key, preprocess_key = jax.random.split(key)
    rows = random_examples(examples_key, evaluation.source, 2 * NUM_PATHS)
    x = evaluation.preprocess(preprocess_key, jax.tree.map(jnp.asarray, rows))["x"]
    encode, count = jit(model.encode), len(x) // 2 * 2
    batches = _batches(count, evaluation.batch_size)
    return jnp.concatenate([encode(evaluation.replica(index), x[rows])[:valid] for rows, valid in batches])


def _batches(count: int, size: int, progress: ProgressCallback | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield indices of rows, always equally many for one compiled shape, and how many of them are new."""
    size = min(size, count)
    for part in chunks(count, size, progress):
        yield np.minimum(np.arange(part.start, part.start + size), count - 1), part.stop - part.start


def even_path(start: Array, end: Array, num_points: int) -> Array:
    """Return paths (B, num_points, ...) on which direction and norm of codes change evenly; in one dimension straight.

    >>> middle = even_path(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 3.0]]), 3)[0, 1]
    >>> jnp.square(middle).round(4).tolist()  # norm 2 at 45 degrees
    [2.0, 2.0]
    """
    if start[0].size == 1:
        return linear_path(start, end, num_points)
    start_norm, end_norm = (_norm(code) for code in (start, end))
    norms = linear_path(start_norm, end_norm, num_points)
    return norms * spherical_path(start / start_norm, end / end_norm, num_points)


def _norm(code: Array) -> Array:
    axes = tuple(range(1, code.ndim))
    return jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(code), axes, keepdims=True)), 1e-30)


def _decoded(evaluation: Evaluation, index: int, codes: Array) -> Iterator[Array]:
    """Yield decoded paths as the feature network takes them."""
    model: Any = evaluation.model

    @jit
    def decode(variables: Variables, start: Array, end: Array) -> Array:
        path = even_path(start, end, NUM_STEPS + 1)
        return evaluation.network_input(model.decode(variables, path.reshape(-1, *path.shape[2:])))

    start, end = jnp.split(codes, 2)
    size = max(1, evaluation.batch_size // (NUM_STEPS + 1))
    advance = evaluation.progress(f"paths of seed {evaluation.seeds[index]}", len(start))
    for rows, valid in _batches(len(start), size, advance):
        yield decode(evaluation.replica(index), start[rows], end[rows])[: valid * (NUM_STEPS + 1)]
