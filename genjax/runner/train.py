"""``train``: an experiment in, a run out."""

from __future__ import annotations

import contextlib
import functools
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import jax
import numpy as np

from genjax.capabilities import conditioning, conditions, likelihoods, stop_token
from genjax.core import Batch, TrainState, step_key
from genjax.evaluation.likelihood import Scorer, replica
from genjax.evaluation.samples import SampleScore
from genjax.experiment import SINGLE_STAGE, Experiment
from genjax.figures.audio import save_sounds
from genjax.figures.images import sample_picture, save_picture
from genjax.figures.texts import write_texts
from genjax.learners import Stage
from genjax.monitoring.monitor import TrainingMonitor, watchable
from genjax.runner.checkpoints import CheckpointError, Checkpoints
from genjax.runner.compilation import enable_compilation_cache
from genjax.runner.folder import RunFolder, Source, check_folder, environment, write_folder
from genjax.runner.log import MetricLog
from genjax.runner.loop import Hooks, Interrupted, StageLoop, StopSignals, root_keys
from genjax.runner.progress import Progress
from genjax.runner.report import write_report
from genjax.runner.run import Run
from genjax.sharding import Placement

NUM_PICTURED, NUM_HEARD = 64, 16
SAMPLES = ("samples.png", "samples.txt")


def train(
    experiment: Experiment,
    *,
    seed: int = 0,
    seeds: int = 1,
    workdir: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    source: Source | None = None,
) -> Run:
    """Train an experiment to its end.

    Args:
      experiment: what to train.
      seed: of everything random; replica i of several has seed + i.
      seeds: number of replicas trained in one program by ``vmap``.
      workdir: the run folder to write; None writes nothing.
      resume: go on from the newest whole checkpoint in ``workdir``.
      overwrite: replace the run that is in ``workdir``.
      progress: show a progress bar on stderr.
      source: where the experiment came from, for the run folder.

    Returns:
      The finished run.

    Raises:
      ValueError: before anything compiles, when the experiment, the devices or the folder cannot be used.
      NonFiniteError: when a loss or a parameter is not finite; the last finite checkpoint is kept.
      Interrupted: after SIGTERM or Ctrl-C, when the state has been saved.
      CheckpointError: when a checkpoint cannot be written or none can be read.

    Example:
      >>> import optax
      >>> from genjax import data, nets, ops, runner, vae
      >>> model = vae.VAE(
      ...     latent_dim=2, encoder=nets.MLP(features=(4,)), likelihood=ops.Bernoulli(),
      ...     decoder=nets.MLP(features=(64,), output_shape=(8, 8, 1)),
      ... )
      >>> experiment = runner.Experiment(
      ...     model=model, data=data.digits(), preprocess=data.dynamic_binarization(levels=17),
      ...     optimizer=optax.adam(1e-3), steps=20, log_every=10,
      ... )
      >>> run = runner.train(experiment, progress=False)
      >>> run.sample(jax.random.key(1), 3).shape
      (3, 8, 8, 1)
    """
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}, but at least one run is needed; use 1 or more")
    if (resume or overwrite) and workdir is None:
        raise ValueError("resume and overwrite speak of a run folder, but there is none; name it with workdir")
    enable_compilation_cache()
    source = source or Source()
    placement = Placement()
    folder = None if workdir is None else RunFolder(Path(workdir))
    if folder is not None and placement.is_writer:
        check_folder(folder.path, source, seed=seed, seeds=seeds, resume=resume, overwrite=overwrite)
    numbers = tuple(range(seed, seed + seeds))
    return _Training(experiment, numbers, placement, folder, source, resume, progress).run()


@final
class _Training:
    """One call of ``train``: walks the stages, and wires the loop to log, checkpoints and pictures."""

    def __init__(
        self,
        experiment: Experiment,
        seeds: tuple[int, ...],
        placement: Placement,
        folder: RunFolder | None,
        source: Source,
        resume: bool,
        progress: bool,
    ) -> None:
        self._experiment, self._seeds, self._placement = experiment, seeds, placement
        self._folder, self._source, self._resume = folder, source, resume
        self._progress_wanted = progress and placement.is_writer
        self._plan = experiment.plan()
        self._finished: dict[str, Any] = {}
        self._results: dict[str, np.ndarray] = {}
        model = experiment.model
        self._method = next((m for m in likelihoods(model) if m != "log_prob_estimate"), None)
        self._metric = f"validation/{self._method}" if self._method and "validation" in experiment.data.splits else None
        self._score = experiment.sample_score
        pictured = functools.partial(model.sample, **experiment.preview_kwargs)
        self._sample = jax.jit(pictured, static_argnums=2, out_shardings=placement.replicated)
        self._scorer: Scorer | None = None
        self._log: MetricLog | None = None

    def run(self) -> Run:
        """Train all stages and return the run."""
        try:
            with StopSignals() as stopping:
                return self._run(stopping)
        except Interrupted as interrupted:
            raise Interrupted(f"{interrupted}; {self._how_to_resume()}", interrupted.signal_number) from None
        finally:
            if self._log is not None:
                self._log.close()

    def _run(self, stopping: StopSignals) -> Run:
        started = time.perf_counter()
        offset = 0
        for number, stage in enumerate(self._plan):
            loop = StageLoop(self._experiment, stage, self._finished, self._seeds, self._placement)
            if number == 0:
                # What the model cannot take is refused here, before anything is written.
                loop.prepare(0, self._announce)
                self._write_folder()
            with self._checkpoints(stage) as checkpoints:
                state = self._train_stage(stage, loop, checkpoints, offset, stopping)
            self._finished[stage.name] = state.variables
            offset += stage.steps
        assert self._log is not None
        run = Run(
            experiment=self._experiment,
            variables=self._experiment.model_variables(self._finished, len(self._seeds)),
            seeds=self._seeds,
            step=offset,
            rows=tuple(self._log.rows),
            folder=self._folder.path if self._folder else None,
        )
        self._finish(run, time.perf_counter() - started)
        return run

    def _train_stage(
        self,
        stage: Stage,
        loop: StageLoop,
        checkpoints: Checkpoints | None,
        offset: int,
        stopping: StopSignals,
    ) -> TrainState:
        restored = checkpoints.restore(loop.abstract()) if checkpoints is not None and self._resume else None
        start = restored[0] if restored else 0
        if checkpoints is not None and restored:
            checkpoints.discard_after(start)
        last_stage = stage is self._plan[-1]
        if restored and start == stage.steps and not last_stage:
            return restored[1]
        loop.prepare(start)
        state = restored[1] if restored else loop.init()
        log = self._log = self._log or MetricLog(self._writable_folder, resume_step=offset + start, seeds=self._seeds)
        bar = Progress(
            stage.steps,
            initial=start,
            description=self._source.name if stage.name == SINGLE_STAGE else f"{self._source.name} {stage.name}",
            disable=not self._progress_wanted,
        )
        with contextlib.closing(bar):

            def rows(step: int, metrics: Mapping[str, Any]) -> None:
                log.write(offset + step, metrics)
                bar.update(step, metrics)

            alarm = self._alarm(stage)

            def evaluate(step: int, state: TrainState) -> dict[str, np.ndarray]:
                if alarm is not None:
                    self._watch(alarm, log, offset, step, state.variables if stage.model else self._variables(state))
                return self._evaluate(log, offset + step, state) if last_stage else {}

            hooks = Hooks(
                rows=rows,
                evaluate=evaluate,
                pictures=lambda step, state: self._picture(offset + step, state) if last_stage else None,
                stopping=stopping,
            )
            return loop.run(state, start, hooks, checkpoints)

    def _announce(self) -> None:
        if self._progress_wanted:
            device = jax.devices()[0].device_kind
            where = f", writing to {self._folder.path}" if self._folder else ""
            count = f"{self._placement.num_devices} {device} device{'s' * (self._placement.num_devices > 1)}"
            print(f"{self._source.name}: compiling for {count}{where}", file=sys.stderr)

    def _write_folder(self) -> None:
        if self._folder is None:
            return
        if self._placement.is_writer:
            write_folder(
                self._folder.path, self._source, seed=self._seeds[0], seeds=len(self._seeds), resume=self._resume
            )
            self._save_data()
        self._placement.barrier("run folder")

    def _save_data(self) -> None:
        """Keep some training examples that sound beside the samples; what cannot be written is told before training."""
        data = self._experiment.data
        if self._folder is not None and data.sound is not None:
            examples = data.splits["train"].take(np.arange(min(NUM_HEARD, len(data.splits["train"]))))
            save_sounds(self._folder / "samples" / "data", data.sound, np.asarray(examples["x"]))

    @property
    def _writable_folder(self) -> Path | None:
        return self._folder.path if self._folder and self._placement.is_writer else None

    @contextlib.contextmanager
    def _checkpoints(self, stage: Stage) -> Iterator[Checkpoints | None]:
        if self._folder is None:
            yield None
            return
        metric = self._metric if self._score is None else self._score.label
        checkpoints = Checkpoints(
            self._folder.checkpoints(stage.name),
            keep=self._experiment.keep_checkpoints,
            metric=metric if stage is self._plan[-1] else None,
            lower_is_better=self._score is not None and self._score.lower_is_better,
        )
        try:
            yield checkpoints
        except BaseException:
            # What stopped training is the news; that the last write failed too is not.
            with contextlib.suppress(CheckpointError):
                checkpoints.close()
            raise
        checkpoints.close()

    def _variables(self, state: TrainState) -> Any:
        finished = {**self._finished, self._plan[-1].name: state.variables}
        return self._experiment.model_variables(finished, len(self._seeds))

    def _evaluate(self, log: MetricLog, step: int, state: TrainState) -> dict[str, np.ndarray]:
        """Score the validation split and samples, each time with the same draws, so that steps compare."""
        results: dict[str, np.ndarray] = {}
        if self._metric is not None and self._method is not None:
            results[self._metric] = self._validate(state)
        if self._score is not None:
            results |= self._score_samples(self._score, state)
        if results:
            log.write(step, results)
        self._results |= results
        return results

    def _validate(self, state: TrainState) -> np.ndarray:
        """Return the mean log-likelihood of the validation split, or its bound, () or (K,)."""
        assert self._method is not None
        if self._scorer is None:
            self._scorer = Scorer(
                self._experiment.model,
                self._method,
                preprocess=self._experiment.preprocess,
                placement=self._placement,
                num_seeds=len(self._seeds),
            )
        keys = root_keys(self._seeds, "validation")
        scores = self._scorer(self._variables(state), keys, self._experiment.data.splits["validation"])
        return scores.mean(axis=-1)

    def _score_samples(self, score: SampleScore, state: TrainState) -> dict[str, np.ndarray]:
        """Return what samples score, each () or (K,), by name."""
        model, variables = self._experiment.model, self._variables(state)
        keys = root_keys(self._seeds, "sample score")
        if len(self._seeds) == 1:
            return score.of(model, variables, keys)
        told = [score.of(model, replica(variables, i), key) for i, key in enumerate(keys)]
        return jax.tree.map(lambda *values: np.stack(values), *told)

    def _alarm(self, stage: Stage) -> TrainingMonitor | None:
        """Return what watches the model that a stage trains, where there is anything to be watched."""
        model = stage.model or (self._experiment.model if stage is self._plan[-1] else None)
        if not watchable(model):
            return None
        splits, preprocess = self._experiment.data.splits, self._experiment.preprocess

        def to_batch(finished: Any, key: jax.Array, batch: Batch) -> Batch:
            preprocess_key, stage_key = jax.random.split(key)
            return stage.batch(finished)(stage_key, preprocess(preprocess_key, batch))

        split = "validation" if "validation" in splits else "train"
        return TrainingMonitor(model, to_batch, splits[split], prefix=f"{split}/", num_seeds=len(self._seeds))

    def _watch(self, alarm: TrainingMonitor, log: MetricLog, offset: int, step: int, variables: Any) -> None:
        keys = root_keys(self._seeds, "collapse")
        numbers, vectors = alarm(step, variables, self._finished, keys)
        # The evaluation tells its own likelihood, of all examples.
        numbers = {name: value for name, value in numbers.items() if name != self._metric}
        if numbers:
            log.write(offset + step, numbers)
        if vectors:
            log.write_vectors(offset + step, vectors)

    def _picture(self, step: int, state: TrainState) -> None:
        """Draw samples of the first replica and keep them as a picture, or a text, and sounds to be heard."""
        if self._folder is None:
            return
        variables = self._variables(state)
        key = step_key(root_keys(self._seeds[:1], "pictures"), step)
        x, labels = draw(self._sample, self._experiment, variables, key, NUM_PICTURED, len(self._seeds))
        if not self._placement.is_writer:
            return
        tokenizer, sound = self._experiment.data.tokenizer, self._experiment.data.sound
        if tokenizer is not None:
            for path in (self._folder / "samples" / f"step_{step:08d}.txt", self._folder / "samples.txt"):
                write_texts(path, tokenizer, x, stop_token(self._experiment.model))
            return
        # A conditional model's classes come in turn: as many columns make each column one class.
        columns = None if labels is None or len(x) < 2 * (max(labels) + 1) else max(labels) + 1
        picture = sample_picture(self._experiment.to_display(x), columns=columns, labels=labels)
        for path in (self._folder / "samples" / f"step_{step:08d}.png", self._folder / "samples.png"):
            save_picture(path, picture)
        if sound is not None:
            save_sounds(self._folder / "samples" / f"step_{step:08d}", sound, x[:NUM_HEARD])

    def _how_to_resume(self) -> str:
        if self._folder is None:
            return "nothing was saved, since no run folder was asked for"
        file = self._source.file or "FILE"
        command = ["genjax", "train", str(file), "--workdir", str(self._folder.path), "--resume"]
        return f"resume with: {shlex.join(command)}"

    def _finish(self, run: Run, seconds: float) -> None:
        if self._folder is None or not self._placement.is_writer:
            return
        if not self._results and (self._folder / "results.json").exists():
            return  # resumed when there was nothing left to do
        self._folder.write_json(
            "results.json",
            {name: np.asarray(value).tolist() for name, value in self._results.items()} | {"seconds": seconds},
        )
        write_report(
            self._folder.path,
            title=self._source.name,
            description=self._source.description,
            arguments=self._source.arguments,
            environment=environment(),
            rows=list(run.rows),
            results=self._results,
            samples=next((name for name in SAMPLES if (self._folder / name).exists()), None),
            wall_clock_s=seconds,
            seeds=self._seeds,
        )


def draw(
    sample: Any, experiment: Experiment, variables: Any, key: jax.Array, count: int, num_seeds: int
) -> tuple[np.ndarray, Sequence[int] | None]:
    """Draw samples of the first replica for a picture: of all classes in turn where the model has them.

    Local conditions are those of the first training examples, and labels theirs.
    """
    if num_seeds > 1:
        variables = replica(variables, 0)
    condition = preview_conditions(experiment, count)
    x = sample(variables, key, count, **{name: jax.numpy.asarray(values) for name, values in condition.items()})
    return np.asarray(x), condition["label"].tolist() if "label" in condition else None


def preview_conditions(experiment: Experiment, count: int) -> dict[str, np.ndarray]:
    """Return the conditions of samples for pictures.

    A model that takes a label alone gets all classes in turn; any other conditions are those of the first training
    examples.
    """
    model = experiment.model
    wanted = [condition for condition in conditions(model) if condition.in_batch]
    if not wanted:
        return {}
    (only, *others) = wanted
    if not others and only.num_values is not None and only.kind == "label":
        return {"label": np.arange(count, dtype=np.int32) % only.num_values}
    source = experiment.data.splits["train"]
    return conditioning(model, source.take(np.arange(count) % len(source)))
