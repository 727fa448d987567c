"""A finished run, which can be sampled and evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import jax
import numpy as np

from genjax.core import Array, GenerativeModel, Variables
from genjax.evaluation.context import Evaluation
from genjax.evaluation.editing import EditTask, ImageEdit, edit_images
from genjax.evaluation.image_batches import BATCH_SIZE as IMAGE_BATCH_SIZE
from genjax.evaluation.image_batches import image_keys
from genjax.evaluation.registry import Function, Row, available, evaluate
from genjax.evaluation.samples import BATCH_SIZE, draw_samples
from genjax.evaluation.translation import translate_images
from genjax.experiment import Experiment
from genjax.figures.latents import LatentSpace
from genjax.metrics import FeatureNetwork, Result, pixels
from genjax.metrics.progress import Progress, no_progress
from genjax.metrics.rows import format_value
from genjax.runner.weights import read_weights, write_weights
from genjax.sharding import replica


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run:
    """A trained experiment: what ``train`` returns.

    Attributes:
      experiment: trained experiment.
      variables: variables of the model, or their moving average if the experiment has one; with several seeds, every
        array has a leading axis of replicas.
      seeds: seed of each replica.
      step: number of learner steps, over all stages.
      rows: rows of logged metrics.
      folder: run folder, or None.
    """

    experiment: Experiment
    variables: Variables
    seeds: tuple[int, ...]
    step: int
    rows: tuple[dict[str, Any], ...]
    folder: Path | None

    @property
    def model(self) -> GenerativeModel:
        """Trained model."""
        return self.experiment.model

    def __repr__(self) -> str:
        """Return a few lines: what was trained, on what, for how long, and the newest metrics."""
        sizes = [leaf.size for leaf in jax.tree.leaves(self.variables.params)]
        metrics = {name: value for row in self.rows for name, value in row.items() if isinstance(value, int | float)}
        texts = [f"{name} {format_value(value)}" for name, value in metrics.items() if name != "step"]
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"seeds {self.seeds[0]} to {self.seeds[-1]}"
        count = sum(sizes) // len(self.seeds)
        return (
            f"Run of {type(self.model).__name__} on {self.experiment.data.name!r}, {count:,} parameters, {seeds}, "
            f"step {self.step:,}\n  {', '.join(texts[:6]) or 'no metrics'}\n  folder {self.folder}"
        )

    def replica(self, index: int = 0) -> Variables:
        """Return the variables of one replica."""
        if not 0 <= index < len(self.seeds):
            raise ValueError(
                f"replica is {index}, but the run has {len(self.seeds)} replicas; use 0 to {len(self.seeds) - 1}"
            )
        return self.variables if len(self.seeds) == 1 else replica(self.variables, index)

    def sample(
        self, key: Array, num_samples: int, *, replica: int = 0, batch_size: int = BATCH_SIZE, **sample_kwargs: Any
    ) -> Array:
        """Draw samples (N, ...) of one replica, with keyword arguments of the model's own ``sample``.

        ``batch_size`` samples are drawn at once; see ``genjax.evaluation.samples.draw_samples``.
        """
        variables = self.replica(replica)
        return draw_samples(self.model, variables, key, num_samples, batch_size=batch_size, **sample_kwargs)

    def save_weights(self, path: Path | str) -> None:
        """Write the variables to a safetensors file, by paths such as "params/decoder/Dense_0/kernel"."""
        write_weights(Path(path), self.variables, self.step)

    def load_weights(self, path: Path | str) -> Run:
        """Return the run with the variables of a file that ``save_weights`` of the same experiment wrote.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if the file is damaged or its arrays do not fit the model.
        """
        variables, step = read_weights(Path(path), self.variables)
        return dataclasses.replace(self, variables=variables, step=step)

    def translate(
        self,
        key: Array,
        x: Array,
        *,
        direction: str | None = None,
        replica: int = 0,
        batch_size: int = IMAGE_BATCH_SIZE,
    ) -> Array:
        """Translate images (N, H, W, C) in [0, 1] to the other domain of one replica's model.

        ``direction`` is one of the model's ``directions``, None for the first; see
        ``genjax.evaluation.translation.translate_images``.
        """
        settings: dict[str, Any] = {"direction": direction, "batch_size": batch_size}
        return translate_images(self.model, self.replica(replica), image_keys(key, len(x)), x, **settings)

    def edit(
        self,
        key: Array,
        x: Array,
        task: EditTask,
        *,
        mask: Array | None = None,
        replica: int = 0,
        batch_size: int = IMAGE_BATCH_SIZE,
        **settings: Any,
    ) -> np.ndarray:
        """Edit images (N, h, w, C) in [0, 1] by a diffusion model of images, and return images (N, H, W, C) in [0, 1].

        Args:
          key: typed key.
          x: images of the model's size, which "superres" divides by a whole number; grey images for "colourize".
          task: "superres", "inpaint", "colourize", "deblur" or "variation".
          mask: for "inpaint", bool (H, W), True where x is known.
          replica: replica, for a run of several seeds.
          batch_size: number of images edited at once.
          settings: further fields of ``genjax.evaluation.editing.ImageEdit``, such as ``num_steps`` and ``label``.

        Raises:
          ValueError: if the model is no diffusion model of images, or the images do not fit the task.
        """
        edit, keys = (
            ImageEdit(task=task, image_range=self.experiment.image_range(), **settings),
            image_keys(key, len(x)),
        )
        edited = edit_images(self.model, self.replica(replica), keys, x, edit, mask=mask, batch_size=batch_size)
        return np.asarray(self.experiment.to_display(edited))

    def latent_pictures(
        self, key: Array, *, split: str = "test", rows: int = 8, steps: int = 11, label: int = 0
    ) -> dict[str, np.ndarray]:
        """Draw pictures of the first replica's latent space; see ``genjax.figures.latents.LatentSpace.pictures``."""
        space = LatentSpace(
            model=self.model,
            variables=self.replica(),
            dataset=self.experiment.data,
            preprocess=self.experiment.preprocess,
            to_display=self.experiment.to_display,
        )
        return space.pictures(key, split=split, rows=rows, steps=steps, label=label)

    def evaluate(
        self,
        key: Array,
        *,
        metrics: Sequence[str | Row | Function] = ("likelihood",),
        split: str = "test",
        num_samples: int | None = None,
        network: FeatureNetwork | None = None,
        num_neighbours: int = 5,
        likelihood_samples: int = 1000,
        batch_size: int = 500,
        progress: Progress = no_progress,
        **sample_kwargs: Any,
    ) -> dict[str, Result]:
        """Score a split of the data, and samples against it.

        ``metrics`` are names in ``genjax.evaluation.registry``, ``"all"``, or metrics of your own (see ``evaluate``
        there). The feature network None compares raw values. Other arguments are those of
        ``genjax.evaluation.context.Evaluation``.

        Returns:
          Results by name, with standard errors and protocols. A metric that the model or the data does not support has
          the value None and a reason. With several replicas, a value is their mean.

        Raises:
          ValueError: if a metric is unknown, or the data set lacks the split.
        """
        evaluation = self.evaluation(
            key=key,
            split=split,
            network=pixels() if network is None else network,
            num_samples=num_samples,
            num_neighbours=num_neighbours,
            likelihood_samples=likelihood_samples,
            batch_size=batch_size,
            sample_kwargs=sample_kwargs,
            progress=progress,
        )
        return evaluate(evaluation, metrics)

    def available_metrics(self, *, split: str = "test", network: FeatureNetwork | None = None) -> tuple[str, ...]:
        """Return the names of the metrics that ``evaluate`` can compute on a split, by a feature network."""
        network = pixels() if network is None else network
        return available(self.evaluation(key=jax.random.key(0), split=split, network=network))

    def evaluation(self, **settings: Any) -> Evaluation:
        """Return the context of this run's evaluations, with further fields of ``Evaluation`` such as ``key``."""
        return Evaluation(
            model=self.model,
            variables=self.variables,
            dataset=self.experiment.data,
            seeds=self.seeds,
            preprocess=self.experiment.preprocess,
            display=self.experiment.display,
            **settings,
        )
