"""Training: ``train`` turns an experiment into a run."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import jax
import numpy as np

from genjax.capabilities import num_classes
from genjax.compilation import enable_compilation_cache
from genjax.core import TrainState
from genjax.experiment import SINGLE_STAGE, Experiment, StopTraining
from genjax.monitoring.monitor import warn_of_batch_statistics
from genjax.ops import check_at_least
from genjax.runner.checkpoints import CheckpointError, Checkpoints
from genjax.runner.claim import claim
from genjax.runner.folder import (
    ExperimentSource,
    RunFolder,
    check_folder,
    steps_argument,
    stored_settings,
    write_arguments,
    write_folder,
)
from genjax.runner.log import MetricLog
from genjax.runner.loop import Hooks, Interrupted, StageLoop, StopSignal, record_stop_signals
from genjax.runner.previews import LATEST, Previews
from genjax.runner.progress import Progress
from genjax.runner.report import write_report
from genjax.runner.run import Run
from genjax.runner.settings import TrainSettings
from genjax.runner.shell import genjax_command
from genjax.runner.stages import StageWalk
from genjax.runner.validation import Monitor, Validation, monitor_stage
from genjax.runner.weights import save_weights, saved_step
from genjax.sharding import Placement, fitting_mesh


def train(
    experiment: Experiment,
    *,
    seed: int = 0,
    seeds: int = 1,
    workdir: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    mesh: Mapping[str, int] | None = None,
    name: str = "experiment",
    arguments: Mapping[str, Any] | None = None,
    source: ExperimentSource | None = None,
) -> Run:
    """Train an experiment to its end, and return the run.

    Args:
      experiment: experiment to train.
      seed: seed of everything random; replica i has seed + i.
      seeds: number of replicas, trained in one program by ``vmap``.
      workdir: run folder to write; None writes nothing.
      resume: whether to continue from the newest intact checkpoint in ``workdir``.
      overwrite: whether to replace the run in ``workdir``.
      progress: whether to show a progress bar on stderr.
      mesh: sizes of the mesh axes data, fsdp and model, such as ``{"data": 2, "fsdp": 4}``, whose product is the number
        of devices, see ``genjax.sharding``; None splits batches over all devices, and copies the parameters, or resumes
        a run with its own mesh, if the devices fit it.
      name: name of an experiment that is built in Python, for the run folder and the report.
      arguments: its hyper-parameters, such as ``{"learning_rate": 1e-3}``, for the same; a resumed run must have equal
        ones.
      source: both and the file, for an experiment that is read from a file.

    Raises:
      ValueError: before anything compiles, if the experiment, the devices or the folder cannot be used.
      NonFiniteError: if a loss or a parameter is not finite; the last finite checkpoint is kept.
      Interrupted: after SIGTERM or Ctrl-C, once the state has been saved.
      CheckpointError: if a checkpoint cannot be written, or none can be read.

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
    check_at_least("seeds", seeds, 1)
    if (resume or overwrite) and workdir is None:
        raise ValueError("resume and overwrite need a run folder; pass workdir=")
    enable_compilation_cache()
    source = source or ExperimentSource(name=name, arguments=arguments or {})
    folder = None if workdir is None else RunFolder(Path(workdir))
    began_with = stored_settings(folder.path).mesh if folder is not None and resume else None
    placement = Placement(fitting_mesh(began_with) if mesh is None else mesh)
    settings = TrainSettings(
        seed=seed,
        seeds=seeds,
        accumulate=experiment.accumulate,
        dtype=experiment.dtype,
        remat=experiment.remat,
        offload_optimizer=experiment.offload_optimizer,
        mesh=mesh or began_with,
    )
    with contextlib.ExitStack() as stack:
        if folder is not None and placement.is_writer:
            stack.enter_context(claim(folder.path))
            check_folder(folder.path, source, settings, resume=resume, overwrite=overwrite)
        walk = StageWalk(experiment, tuple(range(seed, seed + seeds)), placement)
        return _Training(walk, folder, source, settings, resume, progress and placement.is_writer).run()


@final
class _Training:
    """One call of ``train``: walks the stages, and connects the loop to log, checkpoints, validation and previews."""

    def __init__(
        self,
        walk: StageWalk,
        folder: RunFolder | None,
        source: ExperimentSource,
        settings: TrainSettings,
        resume: bool,
        show_progress: bool,
    ) -> None:
        self._walk, self._folder, self._source, self._settings = walk, folder, source, settings
        self._resume, self._show_progress = resume, show_progress
        steps = steps_argument(folder.path) if folder is not None and resume else None
        self._lengthened = steps is not None and source.arguments.get("steps", steps) != steps
        self._validation = Validation(walk.experiment, walk.seeds, walk.placement)
        self._previews = None if folder is None else Previews(walk.experiment, folder, walk.seeds, walk.placement)
        self._log: MetricLog | None = None

    def run(self) -> Run:
        """Train all stages and return the run."""
        try:
            with record_stop_signals() as stop_signal:
                return self._run(stop_signal)
        except Interrupted as interruption:
            raise Interrupted(f"{interruption}; {self._resume_hint()}", interruption.signal_number) from None
        finally:
            if self._log is not None:
                self._log.close()

    def _run(self, stop_signal: StopSignal) -> Run:
        started = time.perf_counter()
        for loop in self._walk:
            is_first = loop.steps_before == 0
            if is_first:
                # Data that does not fit the model raises here, before anything is written.
                loop.prepare(0, self._announce)
            monitor = monitor_stage(self._walk.experiment, loop, self._walk.seeds, self._validation)
            if is_first:
                self._write_folder()
            with self._checkpoints(loop) as checkpoints, self._snapshots(loop) as snapshots:
                state = self._train_stage(loop, checkpoints, snapshots, monitor, stop_signal)
            self._walk.finish(loop, state)
        assert self._log is not None
        run = Run(
            experiment=self._walk.experiment,
            variables=self._walk.variables(),
            seeds=self._walk.seeds,
            step=self._walk.steps_before,
            rows=tuple(self._log.rows),
            folder=self._folder.path if self._folder else None,
        )
        self._finish(run, time.perf_counter() - started)
        return run

    def _train_stage(
        self,
        loop: StageLoop,
        checkpoints: Checkpoints | None,
        snapshots: Checkpoints | None,
        monitor: Monitor | None,
        stop_signal: StopSignal,
    ) -> TrainState:
        restored = checkpoints.restore(loop.abstract()) if checkpoints is not None and self._resume else None
        start, state = restored or (0, None)
        if checkpoints is not None and state is not None:
            checkpoints.discard_after(start)
            self._check_length(loop, start)
        if snapshots is not None:
            snapshots.discard_after(start)
        if state is not None and start == loop.stage.steps and not loop.is_last:
            return state
        loop.prepare(start)
        if self._walk.experiment.variables is None:
            warn_of_batch_statistics(loop.abstract())
        if checkpoints is not None and state is not None:
            self._check_program(loop, checkpoints.programs(start))
        if self._resume and self._folder is not None and self._walk.placement.is_writer:
            write_arguments(self._folder.path, self._source, self._settings)
        state = loop.init() if state is None else state
        if self._log is None:
            folder = self._folder.path if self._folder is not None and self._walk.placement.is_writer else None
            self._log = MetricLog(folder, resume_step=loop.steps_before + start, seeds=self._walk.seeds)
        with contextlib.closing(self._bar(loop, start)) as bar:
            hooks = self._hooks(loop, self._log, bar, monitor, stop_signal)
            return loop.run(state, start, hooks, checkpoints, snapshots)

    def _check_length(self, loop: StageLoop, start: int) -> None:
        """Raise if a resumed run would have to forget steps, or to repeat stages."""
        if start > loop.stage.steps:
            raise ValueError(
                f"steps is {loop.stage.steps}, but the run to resume has {start} steps already; use at least {start}"
            )
        if self._lengthened and start < loop.stage.steps and not loop.is_last:
            raise ValueError(
                f"steps lengthens stage {loop.stage.name!r}, which later stages are built on; train anew, without "
                "--resume"
            )

    def _check_program(self, loop: StageLoop, began_with: Mapping[str, int]) -> None:
        """Compare the training programs with those that a resumed run began with; raise if the length changed them."""
        changed = any(began_with[name] != loop.programs[name] for name in began_with.keys() & loop.programs.keys())
        if changed and self._lengthened:
            raise ValueError(
                f"steps is {self._source.arguments['steps']}, but the training step of this run depends on steps, as "
                "many learning rate schedules do, so the run cannot be lengthened; train anew, without --resume"
            )
        if changed:
            warnings.warn(
                f"the training step of stage {loop.stage.name!r} is not the one that the run began with: its model, "
                "optimizer, schedule, batch size or preprocessing has changed; training continues with the new one",
                stacklevel=2,
            )
        loop.programs = {**began_with, **loop.programs}

    def _hooks(
        self, loop: StageLoop, log: MetricLog, bar: Progress, monitor: Monitor | None, stop_signal: StopSignal
    ) -> Hooks:
        walk, offset = self._walk, loop.steps_before

        def log_metrics(step: int, metrics: Mapping[str, Any]) -> None:
            log.write(offset + step, metrics)
            bar.update(step, metrics)

        def evaluate(step: int, state: TrainState) -> dict[str, np.ndarray]:
            variables = walk.variables_at(loop, state) if loop.is_last else state.variables
            if monitor is not None:
                monitor(log, step, state, variables)
            results = self._validation(variables, offset + step) if loop.is_last else {}
            if results:
                log.write(offset + step, results)
            return results

        def after(step: int, metrics: Mapping[str, Any], state: TrainState) -> bool:
            variables = walk.variables_at(loop, state) if loop.is_last else state.variables
            values = {name: value.item() if value.ndim == 0 else value for name, value in metrics.items()}
            try:
                for callback in walk.experiment.callbacks:
                    callback(offset + step, values, variables)
            except StopTraining:
                return True
            return False

        def preview(step: int, state: TrainState) -> None:
            if self._previews is not None and loop.is_last:
                self._previews(offset + step, walk.variables_at(loop, state))

        return Hooks(
            log_metrics=log_metrics,
            evaluate=evaluate,
            preview=preview,
            after=after if walk.experiment.callbacks else None,
            stop_signal=stop_signal,
        )

    def _bar(self, loop: StageLoop, start: int) -> Progress:
        name, stage = self._source.name, loop.stage
        description = name if stage.name == SINGLE_STAGE else f"{name} {stage.name}"
        return Progress(stage.steps, initial=start, description=description, disable=not self._show_progress)

    def _announce(self) -> None:
        if self._show_progress:
            num_devices, kind = self._walk.placement.num_devices, jax.devices()[0].device_kind
            devices = f"{num_devices} {kind} {'device' if num_devices == 1 else 'devices'}"
            where = f", writing to {self._folder.path}" if self._folder else ""
            print(f"{self._source.name}: compiling for {devices}{where}", file=sys.stderr)

    def _write_folder(self) -> None:
        if self._folder is None or self._previews is None:
            return
        if self._walk.placement.is_writer:
            write_folder(self._folder.path, self._source, self._settings, resume=self._resume)
            self._previews.save_examples()
        self._walk.placement.barrier("run folder")

    @contextlib.contextmanager
    def _checkpoints(self, loop: StageLoop) -> Iterator[Checkpoints | None]:
        if self._folder is None:
            yield None
            return
        best = self._validation.best_metric if loop.is_last else None
        checkpoints = Checkpoints(
            self._folder.checkpoints(loop.stage.name),
            keep=self._walk.experiment.keep_checkpoints,
            metric=None if best is None else best.name,
            higher_is_better=best is None or best.higher_is_better,
        )
        with _closing(checkpoints):
            yield checkpoints

    @contextlib.contextmanager
    def _snapshots(self, loop: StageLoop) -> Iterator[Checkpoints | None]:
        if self._folder is None or not loop.is_last or not loop.abstract().averages:
            yield None
            return
        with _closing(Checkpoints(self._folder.averages, keep=loop.stage.steps)) as snapshots:
            yield snapshots

    def _resume_hint(self) -> str:
        if self._folder is None:
            return "nothing was saved, because the run has no folder"
        file = self._source.file or "FILE"
        return f"resume with: {genjax_command('train', file, '--workdir', self._folder.path, '--resume')}"

    def _finish(self, run: Run, seconds: float) -> None:
        """Write results, report and weights; the weights come last and tell a resumed run that all was written."""
        if self._folder is None:
            return
        results = self._validation.results
        if not results:  # all steps had been trained when this process began
            if saved_step(self._folder.path) == run.step:
                return
            results = self._validation(run.variables, run.step)
        if not self._walk.placement.is_writer:
            return
        values = {name: np.asarray(value).tolist() for name, value in results.items()}
        environment = self._folder.read_json("environment.json")
        environment.pop("installed", None)  # hundreds of packages
        self._folder.write_json("results.json", values | {"seconds": seconds})
        write_report(
            self._folder.path,
            title=self._source.name,
            description=self._source.description,
            arguments=self._source.arguments,
            environment=environment,
            rows=list(run.rows),
            results=results,
            samples=next((name for name in LATEST if (self._folder / name).exists()), None),
            wall_clock_s=seconds,
            seeds=run.seeds,
            class_names=(run.experiment.data.class_names or ()) if num_classes(run.model) else (),
        )
        save_weights(self._folder.path, run.variables, run.step)


@contextlib.contextmanager
def _closing(checkpoints: Checkpoints) -> Iterator[Checkpoints]:
    """Close checkpoints at the end, but raise what stopped training even if the last write fails too."""
    try:
        yield checkpoints
    except BaseException:
        with contextlib.suppress(CheckpointError):
            checkpoints.close()
        raise
    checkpoints.close()
