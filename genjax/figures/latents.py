"""Pictures of a model's latent space: reconstructions, interpolations, traversals and attribute vectors.

All are drawn from examples of a split, and displayed like the samples of the experiment.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax import data, latent, ops
from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.capabilities import Decodes, Encodes, Reconstructs, conditioning, num_classes, supports
from genjax.compilation import jit
from genjax.core import Array, Batch, Variables, stream_key
from genjax.data.transforms import Preprocess
from genjax.figures.images import sample_picture

MAX_ENCODED = 2_000  # examples to encode, for the plot of codes and for attribute vectors
MAX_DIMENSIONS = 10


@final
@check_arguments
@dataclass(frozen=True, kw_only=True, eq=False)
class LatentSpace:
    """A trained model that encodes and decodes, and the examples that its pictures are drawn from.

    Attributes:
      model: trained model.
      variables: variables of one replica.
      dataset: data that it was trained on.
      preprocess: ``(key, batch) -> batch``, from raw examples to what the model is trained on.
      to_display: maps data to what pictures show.
    """

    model: Any
    variables: Variables
    dataset: data.Dataset
    preprocess: Preprocess
    to_display: Callable[[Any], Any]

    def pictures(
        self, key: Array, *, split: str, rows: PositiveInt, steps: Annotated[int, Ge(2)], label: NonNegativeInt
    ) -> dict[str, np.ndarray]:
        """Draw the pictures of the latent space that the model supports, of ``rows`` examples of a split each.

        Paths have ``steps`` points, at least 2. ``label`` is the class of the examples, for models that take labels.

        Returns:
          Pixels by name: ``reconstructions``; for continuous codes also ``codes`` (their first two principal
          components, colored by label), ``interpolations_linear``, ``interpolations_spherical``, ``traversals`` (the
          dimensions with the largest variance, two standard deviations to either side) and, for data with labels,
          ``attributes`` (examples of other classes moved towards each class). A single example has no interpolations;
          if all examples have one class, a warning takes the place of ``attributes``.

        Raises:
          ValueError: if the split is unknown, the model has no codes, or no example has the class.
        """
        rows_key, batch_key, key = jax.random.split(stream_key(key, "latent"), 3)
        model, batch = self.model, self._examples(rows_key, batch_key, split)
        x, labels = batch["x"], np.asarray(batch["label"]) if "label" in batch else None
        pictures, condition = {}, {}
        if supports(model, Reconstructs):
            pictures["reconstructions"] = self._reconstructions(key, {name: a[:rows] for name, a in batch.items()})
        if num_classes(model) is not None:
            present = [] if labels is None else np.unique(labels).tolist()
            if label not in present:
                raise ValueError(
                    f"label is {label}, but none of {len(x)} examples drawn from split {split!r} has it; "
                    f"there are {present}: use one of these"
                )
            condition, x, labels = {"label": label}, x[labels == label], None
        codes = jit(functools.partial(model.encode, **condition))(self.variables, x)
        if jnp.issubdtype(codes.dtype, jnp.floating):
            pictures |= dict(self._paths(condition, x, codes, labels, rows, steps))
        return pictures

    def _examples(self, rows_key: Array, batch_key: Array, split: str) -> Batch:
        """Return examples of a split, drawn at random, because image folders are sorted by class."""
        splits = self.dataset.splits
        if split not in splits:
            raise ValueError(f"split is {split!r}, but {self.dataset.name!r} has {sorted(splits)}; use one of these")
        if not (supports(self.model, Encodes) and supports(self.model, Decodes)):
            raise ValueError(
                f"{type(self.model).__name__} does not both encode and decode, so it has no latent space to draw"
            )
        return jit(self.preprocess)(batch_key, data.random_examples(rows_key, splits[split], MAX_ENCODED))

    def _reconstructions(self, key: Array, batch: Batch) -> np.ndarray:
        """Draw examples above their reconstructions."""
        x = batch["x"]
        x_hat = jit(self.model.reconstruct)(self.variables, key, x, **conditioning(self.model, batch))
        return self._picture(jnp.concatenate([x, x_hat]), len(x))

    def _paths(
        self, condition: dict[str, Any], x: Array, codes: Array, labels: np.ndarray | None, rows: int, steps: int
    ) -> Iterator[tuple[str, np.ndarray]]:
        vectors = np.asarray(codes).reshape(len(codes), -1)
        points = principal_components(vectors)
        yield "codes", sample_picture(points, labels=None if labels is None else labels.tolist())
        pairs = min(rows, len(x) // 2)
        if pairs > 0:
            for name, path in (("linear", ops.linear_path), ("spherical", ops.spherical_path)):
                ends = x[:pairs], x[pairs : 2 * pairs]
                paths = latent.interpolate(self.model, self.variables, *ends, steps, path=path, **condition)
                yield f"interpolations_{name}", self._picture(paths.reshape(-1, *paths.shape[2:]), steps)
        if codes.ndim == 2:
            yield "traversals", self._traversals(condition, codes, steps)
        if labels is None:
            return
        classes = np.unique(labels)
        if len(classes) > 1:
            yield "attributes", self._attributes(codes, labels, classes, steps)
        else:
            warnings.warn(
                f"there is no picture of attributes, because all {len(x)} examples drawn have label {classes[0]}; use "
                "a split with several classes",
                stacklevel=4,
            )

    def _traversals(self, condition: dict[str, Any], codes: Array, steps: int) -> np.ndarray:
        """Draw traversals from the mean code, along the dimensions with the largest variance in descending order."""
        mean, deviation = jnp.mean(codes, axis=0), jnp.std(codes, axis=0)
        dims = np.argsort(-np.asarray(deviation))[:MAX_DIMENSIONS].tolist()
        offsets = jnp.linspace(-2, 2, steps)
        traverse = functools.partial(latent.traverse, self.model, self.variables, mean, **condition)
        traversals = [traverse(mean[dim] + deviation[dim] * offsets, dims=(dim,))[0] for dim in dims]
        return self._picture(jnp.concatenate(traversals), steps)

    def _attributes(self, codes: Array, labels: np.ndarray, classes: np.ndarray, steps: int) -> np.ndarray:
        """Draw one row per class: an example of the next class, moved by up to two attribute vectors."""
        vectors = jnp.stack([latent.attribute_vector_of(codes, jnp.asarray(labels == target)) for target in classes])
        others = np.array([np.argmax(labels == other) for other in np.roll(classes, -1)])
        strengths = jnp.linspace(0.0, 2.0, steps)
        edited = latent.add_attribute_to(self.model, self.variables, codes[others], vectors, strengths)
        return self._picture(edited.reshape(-1, *edited.shape[2:]), steps)

    def _picture(self, x: Array, columns: int) -> np.ndarray:
        return sample_picture(self.to_display(x), columns=columns)


@check_arguments
def principal_components(vectors: np.ndarray) -> np.ndarray:
    """Return the first two principal components of vectors (N, D), or the vectors themselves if D is at most 2."""
    if vectors.shape[1] <= 2:
        return vectors
    centred = vectors - vectors.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
