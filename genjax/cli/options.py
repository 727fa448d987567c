"""Flags that do not depend on the experiment or the model, with defaults and help, by command."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from genjax.arguments import NonNegativeInt, PositiveInt
from genjax.averages import AverageLength
from genjax.comparison.choosing import NeedName
from genjax.comparison.settings import FloorName
from genjax.diffusion.editing import Strength
from genjax.diffusion.guidance import GuidanceWeight
from genjax.diffusion.posterior import MethodName
from genjax.evaluation.editing import EditTask, ImageEdit
from genjax.evaluation.image_batches import BATCH_SIZE as IMAGE_BATCH_SIZE
from genjax.evaluation.samples import BATCH_SIZE
from genjax.experiment import Experiment
from genjax.judging.trials import Task
from genjax.nets.computation import NetDtype
from genjax.runner.ahead import Platform
from genjax.runner.settings import TrainSettings
from genjax.sharding import parse_mesh

MAX_SEEDS = 1_000  # replicas in one program
MAX_DEVICES = 1_024  # of one CPU
MAX_TRIALS = 1_000  # questions of a task
MAX_TILES = 1_000  # in a row or column of a picture
MAX_SEED = 2**32 - 1  # of a key
Seed = Annotated[int, Interval(ge=0, le=MAX_SEED)]


@dataclasses.dataclass(kw_only=True)
class LayoutOptions:
    """How a training step is laid out over devices and minibatches, and computed.

    Attributes:
      mesh: sizes of the axes over which devices are laid out, such as data=2,fsdp=4: data and fsdp split batches, fsdp
        also parameters and optimizer, model the layers of networks that have a rule for it; by default that of the run,
        or all devices in data.
      accumulate: number of minibatches whose gradients are averaged for each update; by default that of the run, or of
        the experiment.
      dtype: dtype of the products of networks in training, float32 or bfloat16; by default that of the run, or of the
        experiment.
      remat: compute all but the products of networks again for the gradient, which saves memory.
      offload_optimizer: keep the state of the optimizer in the memory of the host between its updates.
    """

    mesh: str | None = None
    accumulate: PositiveInt | None = None
    dtype: NetDtype | None = None
    remat: bool = False
    offload_optimizer: bool = False

    def layout(self, experiment: Experiment) -> tuple[Experiment, dict[str, int] | None]:
        """Return an experiment whose steps are computed like this, and the sizes of the mesh; None without one.

        Raises:
          ValueError: if the text of the mesh is wrong, or the experiment cannot average gradients.
        """
        mesh = None if self.mesh is None else parse_mesh(self.mesh)
        settings = TrainSettings(
            accumulate=self.accumulate,
            dtype=self.dtype,
            remat=self.remat or None,
            offload_optimizer=self.offload_optimizer or None,
        )
        return settings.apply(experiment), mesh


@dataclasses.dataclass(kw_only=True)
class TrainOptions(LayoutOptions):
    """Training options.

    Attributes:
      workdir: run folder; runs/EXPERIMENT/TIME by default.
      seed: seed of everything random.
      seeds: number of replicas trained in one program by vmap, with seeds SEED, SEED + 1, ...
      devices: number of devices into which a CPU is divided, and over which batches are split; by default one, which
        uses all cores. With one for each core, a U-Net trains 1.1 times as fast on two cores.
      resume: continue from the newest intact checkpoint, by default with the flags that the run began with.
      overwrite: replace the run in the run folder.
      distributed: train with several processes; clusters that JAX knows, such as Slurm, need no more flags.
      coordinator: address of the first process, HOST:PORT, for processes that are started by hand.
      num_processes: number of these processes.
      process_id: number of this process, from 0.
    """

    workdir: Path | None = None
    seed: Seed = 0
    seeds: Annotated[int, Interval(ge=1, le=MAX_SEEDS)] = 1
    devices: Annotated[int | None, Interval(ge=1, le=MAX_DEVICES)] = None
    resume: bool = False
    overwrite: bool = False
    distributed: bool = False
    coordinator: str | None = None
    num_processes: PositiveInt | None = None
    process_id: NonNegativeInt | None = None

    def check(self) -> None:
        """Raise ValueError for flags that do not fit together."""
        if self.mesh is not None:
            parse_mesh(self.mesh)
        names = ("coordinator", "num_processes", "process_id")
        missing = [name for name in names if getattr(self, name) is None]
        if 0 < len(missing) < len(names):
            raise ValueError(
                f"--{missing[0].replace('_', '-')} is missing; pass --coordinator, --num-processes and --process-id"
            )
        if self.seed + self.seeds > MAX_SEED + 1:
            raise ValueError(
                f"seed is {self.seed}, but with seeds={self.seeds} must be at most {MAX_SEED + 1 - self.seeds}"
            )
        if (self.distributed or not missing) and self.workdir is None:
            raise ValueError("--workdir is missing; processes that train together need the same run folder")


@dataclasses.dataclass(kw_only=True)
class CompileOptions(LayoutOptions):
    """Compilation options; the chips need not exist.

    Attributes:
      topology: kind and layout of the chips, such as v5e:2x2, v5p:2x2x1 or v6e:4x4 of TPUs, or kind and number of the
        GPUs of a node, such as h100:8; v5e:2x2 or h100:8 by default.
      platform: tpu, which needs the extra tpu-aot, cuda, which needs cuda-aot, or cpu for the devices of this machine.
      json: print JSON instead of text.
    """

    topology: str | None = None
    platform: Platform = "tpu"
    json: bool = False


@dataclasses.dataclass(kw_only=True)
class SampleOptions:
    """Sampling options.

    Attributes:
      num_samples: number of samples.
      out: file or folder to write: .png for a picture of all samples, a folder for one .png each, .txt for texts,
        .csv for a table, .wav or .mid for one sound, a folder for several, .npz or .npy for numbers; by default, a
        picture, texts or sounds in the run folder.
      batch_size: number of samples drawn at once, which sets memory and leaves the samples as they are.
      seed: seed of the samples; by default a random one, which is printed.
      checkpoint: last, best (by the held-out metric), or a step.
      ema: length of the moving average of the parameters, such as 0.07, for experiments with ema_lengths.
      replica: index of the replica, for a run of several seeds.
    """

    num_samples: Annotated[PositiveInt, tyro.conf.arg(aliases=["-n"])] = 64
    out: Path | None = None
    batch_size: PositiveInt = BATCH_SIZE
    seed: Seed | None = None
    checkpoint: str = "last"
    ema: AverageLength | None = None
    replica: int = 0


@dataclasses.dataclass(kw_only=True)
class TranslateOptions:
    """Translation options; IMAGES are files and folders of images, of any sizes that the network takes.

    Attributes:
      out: folder for the translations, PNG files with the names of the images, subfolders kept; by default
        translations/DIRECTION in the run folder.
      direction: direction of the model, y_to_x or x_to_y; by default its first.
      batch_size: number of images of one size translated at once, which sets memory and leaves results as they are.
      seed: seed of the randomness of the model, if it has some.
      skip_bad: leave out images that cannot be read or have a size that the network does not take.
      overwrite: replace translations that exist.
      checkpoint: last, best (by the held-out metric), or a step.
      ema: length of the moving average of the parameters, such as 0.07, for experiments with ema_lengths.
      replica: index of the replica, for a run of several seeds.
    """

    out: Path | None = None
    direction: str | None = None
    batch_size: PositiveInt = IMAGE_BATCH_SIZE
    seed: Seed = 0
    skip_bad: bool = False
    overwrite: bool = False
    checkpoint: str = "last"
    ema: AverageLength | None = None
    replica: int = 0


@dataclasses.dataclass(kw_only=True)
class EditOptions:
    """Editing options; IMAGES are files and folders of images.

    Attributes:
      task: superres for larger images whose means over squares are the given pixels, inpaint for new pixels where a
        mask is black, colourize for colours of grey images, deblur for sharp images, variation for other images with
        the same coarse features.
      out: folder for the results, PNG files with the names of the images, subfolders kept; by default edits/TASK in the
        run folder. A picture with the first images beside their results is written next to it.
      mask: image of the model's size for inpaint, white where images are known and black where they are drawn anew.
      factor: factor of superres; by default it follows from the size of the images.
      blur: standard deviation of the blur in pixels, for deblur.
      strength: fraction of the noise that variation adds, above 0; 1 forgets the image.
      noise: standard deviation of the noise in the given images, whose values are in [0, 1].
      method: method of posterior guidance.
      num_steps: number of sampling steps; by default the model's own.
      label: class of the images, a number or a name, for models with classes.
      guidance: weight of guidance to the class; 1 is no guidance.
      batch_size: number of images of one size edited at once, which sets memory and leaves results as they are.
      seed: seed of the results.
      skip_bad: leave out images that cannot be read or have a size that the task does not take.
      overwrite: replace results that exist.
      checkpoint: last, best (by the held-out metric), or a step.
      ema: length of the moving average of the parameters, such as 0.07, for experiments with ema_lengths.
      replica: index of the replica, for a run of several seeds.
    """

    task: EditTask | None = None
    out: Path | None = None
    mask: Path | None = None
    factor: Annotated[int | None, Interval(ge=2)] = None
    blur: float = ImageEdit.blur
    strength: Strength = ImageEdit.strength
    noise: float = ImageEdit.noise
    method: MethodName = ImageEdit.method
    num_steps: PositiveInt | None = None
    label: NonNegativeInt | str | None = None
    guidance: GuidanceWeight = ImageEdit.guidance
    batch_size: PositiveInt = IMAGE_BATCH_SIZE
    seed: Seed = 0
    skip_bad: bool = False
    overwrite: bool = False
    checkpoint: str = "last"
    ema: AverageLength | None = None
    replica: int = 0


@dataclasses.dataclass(kw_only=True)
class EvaluateOptions:
    """Evaluation options.

    Attributes:
      metrics: names of metrics, or all; those that the model or the data do not support are n/a, with a reason.
      split: split of the data to evaluate on and to compare samples with.
      num_samples: number of samples to draw and compare; by default as many as the split has examples, at most 10,000.
      features: feature network for comparisons of samples: pixels, ngrams (of texts), classifier (of the run's own
        data), classifier:DATASET or inception:WEIGHTS.safetensors.
      num_neighbours: k of precision, recall, density and coverage.
      likelihood_samples: number of draws per example if the likelihood is estimated, and of particles if log Z is.
      batch_size: number of examples processed at once.
      seed: seed of samples, draws and random preprocessing.
      checkpoint: last, best (by the held-out metric), or a step.
      ema: length of the moving average of the parameters, such as 0.07, for experiments with ema_lengths.
      json: print JSON instead of a table.
      out: file for the results as JSON; by default evaluation.json in the run folder; evaluations.jsonl there has all.
      record: results file to add the results to, such as experiments/results.json, the project's own.
    """

    metrics: tuple[str, ...] = ("likelihood",)
    split: str = "test"
    num_samples: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    features: str = "pixels"
    num_neighbours: int = 5
    likelihood_samples: int = 1000
    batch_size: int = 500
    seed: Seed = 0
    checkpoint: str = "last"
    ema: AverageLength | None = None
    json: bool = False
    out: Path | None = None
    record: Path | None = None


@dataclasses.dataclass(kw_only=True)
class CompareOptions:
    """Comparison options; the runs must share data and display. 'genjax compare --suite NAME' trains them first.

    Attributes:
      suite: name of a suite in experiments/suites, or path of its .toml file, in place of runs.
      out: folder for the reports, and for the cells that are finished; the same command goes on from them.
      floors: names of the floors, simple models of the same data; by default all that suit it; --floors without names
        for none.
      split: split of the data to evaluate on and to compare samples with.
      num_samples: number of samples to draw and compare; by default as many as the split has examples, at most 10,000.
      features: feature network for comparisons of samples: pixels, ngrams (of texts), classifier (of the runs' own
        data), classifier:DATASET or inception:WEIGHTS.safetensors; by default ngrams for texts, the classifier for
        labelled images, else pixels.
      num_neighbours: k of precision, recall, density and coverage.
      likelihood_samples: number of draws per example if the likelihood is estimated, and of particles if log Z is.
      batch_size: number of examples processed at once.
      seed: seed of samples, draws, random preprocessing and floors.
      checkpoint: last, best (by the held-out metric), or a step.
      speed_samples: number of samples in the batch whose throughput is measured.
      speed_repeats: number of times that a speed is measured; the median counts.
      retry_failed: measure failed cells again.
    """

    suite: str | None = None
    out: Path = Path("comparison")
    floors: tuple[FloorName, ...] | None = None
    split: str = "test"
    num_samples: Annotated[PositiveInt | None, tyro.conf.arg(aliases=["-n"])] = None
    features: str | None = None
    num_neighbours: PositiveInt = 5
    likelihood_samples: PositiveInt = 1000
    batch_size: PositiveInt = 500
    seed: Seed = 0
    checkpoint: str = "last"
    speed_samples: PositiveInt = 1000
    speed_repeats: PositiveInt = 5
    retry_failed: bool = False


@dataclasses.dataclass(kw_only=True)
class ChooseOptions:
    """Options of advice from a measured table.

    Attributes:
      need: what the model should be good at; may be given several times. By default quality, diversity, speed and
        stability.
      data: suite whose table comes with the library, path of a comparison.json, or your own data as data.load takes
        them, for which the table of the most similar data is used.
      race: time for a race on --data, such as 10m; it trains models of several families, and advises by their results.
      methods: models in the race; by default all that suit the data and the needs.
      seeds: number of replicas of each model in the race.
      out: folder of the race, with its runs and a report.
      top: number of models that are printed.
      json: print JSON.
    """

    need: Annotated[tuple[NeedName, ...], tyro.conf.UseAppendAction] = ()
    data: str = "toy2d"
    race: str | None = None
    methods: tuple[str, ...] = ()
    seeds: PositiveInt = 3
    out: Path = Path("race")
    top: PositiveInt = 5
    json: bool = False


@dataclasses.dataclass(kw_only=True)
class JudgeOptions:
    """Options of the page; the runs must share their data. 'genjax judge --score ANSWERS' scores what raters answered.

    Attributes:
      out: file of the page; its key, which is not for raters, is written beside it.
      tasks: real asks which of a sample and an example of the data is real, timed asks the same after a short exposure,
        preference asks which of two runs' samples is better; by default all that fit the runs.
      num_trials: number of questions of each task.
      num_checks: number of attention checks, questions about an example of the data and noise.
      exposure: time for which the examples of timed questions are shown, in milliseconds.
      title: title of the page.
      split: split that real examples are taken from.
      seed: seed of samples and of the choice of examples.
      checkpoint: last, best (by the held-out metric), or a step.
      batch_size: number of samples drawn at once.
    """

    out: Path = Path("judge.html")
    tasks: tuple[Task, ...] | None = None
    num_trials: Annotated[int, Interval(ge=1, le=MAX_TRIALS)] = 30
    num_checks: Annotated[int, Interval(ge=0, le=MAX_TRIALS)] = 5
    exposure: Annotated[int, Interval(ge=1, le=60_000)] = 500
    title: str = "Compare two examples"
    split: str = "test"
    seed: Seed = 0
    checkpoint: str = "last"
    batch_size: PositiveInt = BATCH_SIZE


@dataclasses.dataclass(kw_only=True)
class ScoreOptions:
    """Options of the scores.

    Attributes:
      score: files that raters saved at the end of the page.
      key: key of the page; by default the only .key.json file in the folder of the answers or in this one.
      max_failed: share of attention checks that a rater may fail; the answers of others are left out.
      confidence: probability that an interval holds the true value.
      json: print JSON instead of text.
    """

    score: tuple[Path, ...]
    key: Path | None = None
    max_failed: Annotated[float, Interval(ge=0, le=1)] = 0.25
    confidence: Annotated[float, Interval(gt=0, lt=1)] = 0.95
    json: bool = False


@dataclasses.dataclass(kw_only=True)
class LatentOptions:
    """Picture options.

    Attributes:
      split: split of the data to take examples from.
      rows: number of examples in a picture.
      steps: number of points on a path from one code to another.
      label: class of the examples, a number or a name, for models that take labels.
      out: folder for the pictures; "latent" in the run folder by default.
      seed: seed of the choice of examples, preprocessing and reconstructions.
      checkpoint: last, best (by the held-out metric), or a step.
      ema: length of the moving average of the parameters, such as 0.07, for experiments with ema_lengths.
    """

    split: str = "test"
    rows: Annotated[int, Interval(ge=1, le=MAX_TILES)] = 8
    steps: Annotated[int, Interval(ge=2, le=MAX_TILES)] = 11
    label: NonNegativeInt | str = 0
    out: Path | None = None
    seed: Seed = 0
    checkpoint: str = "last"
    ema: AverageLength | None = None


@dataclasses.dataclass(kw_only=True)
class ExportOptions:
    """Export options.

    Attributes:
      what: methods to export, such as sample,log_prob,decode; by default all that the model has.
      out: folder to write; "export" in the run folder by default.
      platforms: platforms on which the programs run, such as cpu,cuda,tpu.
      batch_size: number of rows that the programs take; any number by default.
      prompt_length: number of tokens of the prompt that samples begin with, padded with -1; 0 for no prompt.
      likelihood_samples: number of draws per example if the likelihood is estimated.
      num_new: number of tokens that extend draws in one call, and that the server streams at once.
      checkpoint: last, best (by the held-out metric), or a step.
      ema: length of the moving average of the parameters, such as 0.07, for experiments with ema_lengths.
      replica: index of the replica, for a run of several seeds.
    """

    what: str | None = None
    out: Path | None = None
    platforms: str = "cpu,cuda,tpu"
    batch_size: PositiveInt | None = None
    prompt_length: NonNegativeInt = 0
    likelihood_samples: PositiveInt = 1000
    num_new: PositiveInt = 16
    checkpoint: str = "last"
    ema: AverageLength | None = None
    replica: NonNegativeInt = 0


@dataclasses.dataclass(kw_only=True)
class ServeOptions:
    """Server options.

    Attributes:
      host: address to listen on; the default is reached from this machine alone.
      port: port to listen on.
      sizes: numbers of rows that are compiled; requests that wait together are padded to one of them.
      max_rows: number of rows that a request may have.
      max_bytes: size that the body of a request may have, in bytes.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Interval(ge=1, le=65535)] = 8000
    sizes: tuple[PositiveInt, ...] = (1, 8, 32, 128)
    max_rows: PositiveInt = 1024
    max_bytes: PositiveInt = 16 * 2**20


@dataclasses.dataclass(kw_only=True)
class ListOptions:
    """Output options.

    Attributes:
      json: print JSON instead of a table.
      experiments: folder with experiment files.
    """

    json: bool = False
    experiments: Path = Path("experiments")
