"""The settings of a comparison, which all of its numbers share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.data import Dataset
from genjax.metrics import FeatureNetwork, feature_network
from genjax.metrics.features import NGRAMS
from genjax.runner.shell import genjax_command

FloorName = Literal[
    "factorized", "gaussian", "gaussian_mixture", "kernel_density", "nearest_neighbour", "markov_chain", "bootstrap"
]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How every entry is measured; those of ``genjax evaluate`` mean the same here.

    Attributes:
      split: split of the data to evaluate on and to compare samples with.
      features: feature network for comparisons of samples, see ``metrics.feature_network``; None for the default of the
        data.
      num_samples: number of samples to draw and compare; None for as many as the split has examples, at most 10,000.
      num_neighbours: k of precision, recall, density and coverage.
      likelihood_samples: number of draws per example if the likelihood is estimated.
      batch_size: number of examples processed at once.
      seed: seed of samples, draws, random preprocessing and fits.
      checkpoint: "last", "best" (by the held-out metric), or a step.
      speed_samples: number of samples in the batch that throughput is measured with.
      speed_repeats: number of times that each speed is measured; the median counts.

    Raises:
      ValueError: if ``checkpoint`` is none of these.

    >>> ComparisonSettings(features="pixels", num_samples=100).command(Path("runs/vae"), "mse").split()[-16:-10]
    ['--split', 'test', '--features', 'pixels', '--num-samples', '100']
    """

    split: str = "test"
    features: str | None = None
    num_samples: PositiveInt | None = None
    num_neighbours: PositiveInt = 5
    likelihood_samples: PositiveInt = 1000
    batch_size: PositiveInt = 500
    seed: NonNegativeInt = 0
    checkpoint: str = "last"
    speed_samples: PositiveInt = 1000
    speed_repeats: PositiveInt = 5

    def __post_init__(self) -> None:
        if self.checkpoint not in ("last", "best") and not self.checkpoint.isdecimal():
            raise ValueError(
                f"checkpoint is {self.checkpoint!r}, but must be 'last', 'best' or the step of a checkpoint"
            )

    def command(self, path: Path, metric: str) -> str:
        """Return the command that prints a metric of a run under these settings."""
        values = {"metrics": metric} | {name: getattr(self, name) for name in _EVALUATE}
        flags = [(f"--{name.replace('_', '-')}", value) for name, value in values.items() if value is not None]
        return genjax_command("evaluate", path, *(word for flag in flags for word in flag))

    def network(self, dataset: Dataset) -> FeatureNetwork:
        """Return the feature network of comparisons on a data set; ValueError if texts need another."""
        features = self.features or default_features(dataset)
        if dataset.tokenizer is not None and features != NGRAMS:
            raise ValueError(f"features is {features!r}, but {dataset.name} holds texts; use {NGRAMS}")
        return feature_network(features, dataset)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings for JSON."""
        return asdict(self)


_EVALUATE = (
    *("split", "features", "num_samples", "num_neighbours", "likelihood_samples", "batch_size", "seed", "checkpoint"),
)


def default_features(dataset: Dataset) -> str:
    """Return "ngrams" for texts, "classifier" for labelled images of whole numbers, and "pixels" for other data.

    >>> from genjax.data import digits
    >>> default_features(digits())
    'classifier'
    """
    if dataset.tokenizer is not None:
        return NGRAMS
    spec = dataset.spec()
    is_labelled = "label" in spec and dataset.num_classes is not None and dataset.num_classes > 1
    is_image = len(spec["x"].shape) == 3 and dataset.levels is not None
    return "classifier" if is_labelled and is_image else "pixels"
