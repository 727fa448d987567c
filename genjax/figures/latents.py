"""Pictures of a finished run's latent space: reconstructions, walks between examples, along dimensions and attributes.

All are drawn from the first replica and from held-out examples, and shown as the experiment shows its samples.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import capabilities, data, latent, ops
from genjax.capabilities import num_classes
from genjax.core import Array, stream_key
from genjax.figures.images import sample_picture
from genjax.runner.run import Run

NUM_ENCODED = 2_000  # examples whose codes are drawn as points, and whose means make attributes
MOST_DIMENSIONS = 10


def latent_pictures(run: Run, key: Array, *, split: str, rows: int, steps: int, label: int) -> dict[str, np.ndarray]:
    """Draw what the model can show of its latent space.

    Args:
      run: of a model that encodes and decodes.
      key: of the choice of examples, of the preprocessing and of reconstructions.
      split: of the experiment's data.
      rows: examples in a picture.
      steps: on a path.
      label: the class to walk in, for models that take labels.

    Returns:
      Pixels by name: ``reconstructions``; of models with continuous codes also ``codes`` (their first two principal
      components, coloured by label), ``interpolations_linear``, ``interpolations_spherical``, ``traversals`` (the
      dimensions of most variance, two standard deviations to either side) and, for data with labels, ``attributes``
      (examples of all other classes moved towards each class). There are no interpolations of a single example, and no
      attributes, but a warning, where all examples are of one class.

    Raises:
      ValueError: for a split that there is not, a model without codes, or a class that no example has.
    """
    model, splits = run.model, run.experiment.data.splits
    if split not in splits:
        raise ValueError(f"split is {split!r}, but {run.experiment.data.name!r} has {sorted(splits)}; use one of these")
    if not (isinstance(model, capabilities.Encodes) and isinstance(model, capabilities.Decodes)):
        raise ValueError(f"{type(model).__name__} does not both encode and decode, so it has no latent space to show")
    rows_key, batch_key, key = jax.random.split(stream_key(key, "latent"), 3)
    # At random, because the examples of a folder come sorted by class, and the first of them are then all of one.
    chosen = data.order(rows_key, np.arange(min(NUM_ENCODED, len(splits[split]))), len(splits[split]))
    batch = jax.jit(run.experiment.preprocess)(batch_key, splits[split].take(chosen))
    x, labels = batch["x"], np.asarray(batch["label"]) if "label" in batch else None
    pictures = {}
    if isinstance(model, capabilities.Reconstructs):
        pictures["reconstructions"] = _reconstructions(run, key, x[:rows], labels)
    condition: dict[str, Any] = {}
    if num_classes(model) is not None:
        present = [] if labels is None else np.unique(labels).tolist()
        if label not in present:
            raise ValueError(
                f"label is {label}, but none of {len(x)} examples drawn from split {split!r} has it; "
                f"there are {present}: use one of these"
            )
        condition, x, labels = {"label": label}, x[labels == label], None
    codes = jax.jit(functools.partial(model.encode, **condition))(run.replica(), x)
    if jnp.issubdtype(codes.dtype, jnp.floating):
        for name, picture in _walks(model, run, condition, x, codes, labels, rows, steps):
            pictures[name] = picture
    return pictures


def _reconstructions(run: Run, key: Array, x: Array, labels: np.ndarray | None) -> np.ndarray:
    """Examples above their reconstructions."""
    model: Any = run.model
    option = {"label": jnp.asarray(labels[: len(x)])} if num_classes(model) is not None and labels is not None else {}
    again = jax.jit(model.reconstruct)(run.replica(), key, x, **option)
    return _picture(run, jnp.concatenate([x, again]), len(x))


def _walks(
    model: Any,
    run: Run,
    condition: dict[str, Any],
    x: Array,
    codes: Array,
    labels: np.ndarray | None,
    rows: int,
    steps: int,
) -> Iterator[tuple[str, np.ndarray]]:
    variables = run.replica()
    vectors = np.asarray(codes).reshape(len(codes), -1)
    yield "codes", sample_picture(_principal(vectors), labels=None if labels is None else labels.tolist())
    pairs = min(rows, len(x) // 2)
    if pairs > 0:
        for name, path in (("linear", ops.linear_path), ("spherical", ops.spherical_path)):
            x_1, x_2 = x[:pairs], x[pairs : 2 * pairs]
            walk = latent.interpolate(model, variables, x_1, x_2, steps, path=path, **condition)
            yield f"interpolations_{name}", _picture(run, walk.reshape(-1, *walk.shape[2:]), steps)
    if codes.ndim == 2:
        yield "traversals", _traversals(model, run, condition, codes, steps)
    if labels is None:
        return
    classes = np.unique(labels)
    if len(classes) > 1:
        yield "attributes", _attributes(model, run, codes, labels, classes, steps)
    else:
        told = f"all of {len(x)} examples drawn have label {classes[0]}, so that there is no other class to move"
        warnings.warn(f"there is no picture of attributes: {told}", stacklevel=3)


def _principal(vectors: np.ndarray) -> np.ndarray:
    """The first two principal components, or all of fewer dimensions."""
    if vectors.shape[1] <= 2:
        return vectors
    centred = vectors - vectors.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T


def _traversals(model: Any, run: Run, condition: dict[str, Any], codes: Array, steps: int) -> np.ndarray:
    """From the mean code: the dimensions of most variance, the largest first."""
    mean, deviation = jnp.mean(codes, axis=0), jnp.std(codes, axis=0)
    dims = np.argsort(-np.asarray(deviation))[:MOST_DIMENSIONS].tolist()
    along = [
        latent.traverse(
            model,
            run.replica(),
            mean,
            mean[dim] + deviation[dim] * jnp.linspace(-2, 2, steps),
            dims=(dim,),
            **condition,
        )
        for dim in dims
    ]
    return _picture(run, jnp.concatenate([row[0] for row in along]), steps)


def _attributes(model: Any, run: Run, codes: Array, labels: np.ndarray, classes: np.ndarray, steps: int) -> np.ndarray:
    """A row for each class: an example of the next one, moved by up to two attribute vectors."""
    vectors = jnp.stack([latent.attribute_vector_of(codes, jnp.asarray(labels == wanted)) for wanted in classes])
    others = np.array([np.argmax(labels == other) for other in np.roll(classes, -1)])
    moved = latent.add_attribute_to(model, run.replica(), codes[others], vectors, jnp.linspace(0.0, 2.0, steps))
    return _picture(run, moved.reshape(-1, *moved.shape[2:]), steps)


def _picture(run: Run, x: Array, columns: int) -> np.ndarray:
    return sample_picture(run.experiment.shown(x), columns=columns)
