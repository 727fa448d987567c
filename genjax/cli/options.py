"""The flags of each command that do not depend on the experiment or the model, with their defaults and help."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(kw_only=True)
class TrainOptions:
    """How to run.

    Attributes:
      workdir: run folder; runs/EXPERIMENT/TIME when not given.
      seed: of everything random.
      seeds: replicas trained in one program by vmap, with seeds SEED, SEED + 1, ...
      resume: go on from the newest whole checkpoint, with the flags of the run as it was.
      overwrite: replace the run that is in the run folder.
      distributed: call jax.distributed.initialize() first, for several processes.
    """

    workdir: Path | None = None
    seed: int = 0
    seeds: int = 1
    resume: bool = False
    overwrite: bool = False
    distributed: bool = False


@dataclasses.dataclass(kw_only=True)
class SampleOptions:
    """How to draw.

    Attributes:
      num_samples: how many samples.
      out: .png for a picture, .txt for texts, .wav or .mid for one sound, a folder for several, .npz or .npy for the
        numbers; a picture, or texts, or sounds, in the run folder when not given.
      prompt: what texts begin with.
      seed: of the draws; a fresh one when not given, and printed.
      checkpoint: last, best (by the held-out metric), or a step.
      replica: of which replica, for a run of several seeds.
    """

    num_samples: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64
    out: Path | None = None
    prompt: str | None = None
    seed: int | None = None
    checkpoint: str = "last"
    replica: int = 0


@dataclasses.dataclass(kw_only=True)
class EvaluateOptions:
    """How to score.

    Attributes:
      metrics: names of metrics, or all; a model or data set that cannot have one gets n/a with the reason.
      split: of the experiment's data, to score on and to compare samples with.
      num_samples: samples to draw and compare; as many as the split has examples when not given, at most 10,000.
      features: what samples are compared on: pixels, classifier:DATASET or inception:WEIGHTS.safetensors.
      num_neighbours: k of precision, recall, density and coverage.
      likelihood_samples: draws for each example of a likelihood that is an estimate; particles, where log Z is one.
      batch_size: examples at once.
      seed: of samples, draws and random preprocessing.
      checkpoint: last, best (by the held-out metric), or a step.
      json: print JSON instead of a table.
    """

    metrics: tuple[str, ...] = ("likelihood",)
    split: str = "test"
    num_samples: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    features: str = "pixels"
    num_neighbours: int = 5
    likelihood_samples: int = 1000
    batch_size: int = 500
    seed: int = 0
    checkpoint: str = "last"
    json: bool = False


@dataclasses.dataclass(kw_only=True)
class LatentOptions:
    """What to draw.

    Attributes:
      split: of the experiment's data, whose examples are encoded.
      rows: examples in a picture.
      steps: on a path from one code to another.
      label: the class to walk in, for models that take labels.
      out: folder of the pictures; "latent" in the run folder when not given.
      seed: of random preprocessing and reconstructions.
      checkpoint: last, best (by the held-out metric), or a step.
    """

    split: str = "test"
    rows: int = 8
    steps: int = 11
    label: int = 0
    out: Path | None = None
    seed: int = 0
    checkpoint: str = "last"


@dataclasses.dataclass(kw_only=True)
class ListOptions:
    """What to print.

    Attributes:
      json: print JSON instead of a table.
      experiments: folder of experiment files.
    """

    json: bool = False
    experiments: Path = Path("experiments")
