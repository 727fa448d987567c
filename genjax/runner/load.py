"""Loading of experiment files and of run folders."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax.averages import combination
from genjax.core import PyTree, TrainState, Variables
from genjax.data.deferred import defer_datasets
from genjax.experiment import Experiment
from genjax.runner.checkpoints import CheckpointError, Checkpoints
from genjax.runner.folder import RunFolder, stored_settings
from genjax.runner.log import read_rows
from genjax.runner.loop import StageLoop
from genjax.runner.modules import import_file
from genjax.runner.run import Run
from genjax.runner.stages import StageWalk
from genjax.runner.stored_arguments import arguments_from_json
from genjax.runner.weights import load_weights
from genjax.sharding import Placement

ExperimentFn = Callable[..., Experiment]


def load_experiment_fn(file: Path) -> ExperimentFn:
    """Import an experiment file, which may import modules beside it, and return its function ``experiment``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it defines no ``experiment``, or an argument of it lacks a type or a default.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no experiment file {file}; give the path of a Python file")
    if file.suffix != ".py":
        raise ValueError(f"{file} is not a Python file; give the path of one that defines experiment()")
    try:
        module = import_file(file)
    except SyntaxError as error:
        raise ValueError(f"{error.filename}, line {error.lineno}: {error.msg}; correct the file") from error
    function = getattr(module, "experiment", None)
    if not inspect.isfunction(function):
        raise ValueError(f"{file} defines no function experiment(...) -> Experiment; add one")
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise ValueError(f"a type of experiment() in {file} cannot be read, because {error}; import it") from error
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(
                f"argument {name!r} of experiment() in {file} is a {parameter.kind.description} one, but the command "
                f"line passes keywords; write {name}: int = 16"
            )
        if parameter.default is parameter.empty or name not in hints:
            raise ValueError(
                f"argument {name!r} of experiment() in {file} needs a type and a default, "
                f"as in {name}: int = 16; the command line reads both"
            )
    if not function.__doc__ and module.__doc__:
        function.__doc__ = module.__doc__
    return typing.cast(ExperimentFn, function)


def load_experiment(path: Path | str, *, defer_data: bool = False) -> Experiment:
    """Return the experiment of a run folder, from its copy of the experiment file, with the settings of its training.

    Args:
      path: run folder.
      defer_data: whether to open data sets only when an example is read; drawing samples reads none.

    Raises:
      FileNotFoundError: if the folder holds no run.
      ValueError: if the folder has no experiment file.
    """
    folder = RunFolder(Path(path))
    stored = folder.read_json("arguments.json")
    if stored["file"] is None:
        raise ValueError(
            f"{path} keeps no experiment file, because its experiment was built in Python; load it with "
            "genjax.runner.load_run(folder, experiment=...)"
        )
    function = load_experiment_fn(folder / stored["file"])
    descriptions = folder.read_json("datasets.json") if defer_data and (folder / "datasets.json").is_file() else []
    with defer_datasets(descriptions):
        experiment = function(**arguments_from_json(function, stored["arguments"]))
    return stored_settings(folder.path).apply(experiment)


def load_run(
    path: Path | str,
    *,
    checkpoint: str | int = "last",
    ema: float | None = None,
    experiment: Experiment | None = None,
) -> Run:
    """Load the run of a folder.

    Args:
      path: run folder.
      checkpoint: "last", "best" (by the held-out metric), or a step.
      ema: length of the moving average of the parameters, see ``genjax.averages``, for experiments with
        ``ema_lengths``; None for what was evaluated in training.
      experiment: experiment of the run, for folders without an experiment file.

    Returns:
      The run, with the variables of the checkpoint.

    Raises:
      FileNotFoundError: if the folder holds no run, or no checkpoint yet.
      ValueError: if ``experiment`` is missing and the folder has no experiment file, or ``checkpoint`` is no step.
      CheckpointError: if the checkpoint is missing or damaged, or there is no best one.
    """
    folder = RunFolder(Path(path))
    stored = folder.read_json("arguments.json")
    seeds = tuple(range(stored["seed"], stored["seed"] + stored["seeds"]))
    experiment = experiment or load_experiment(path, defer_data=True)
    step, variables = 0, None
    if checkpoint == "last" and ema is None:
        step, variables = _load_weights(folder, experiment, len(seeds))
    if variables is None:
        step, variables = _load_checkpoint(folder, experiment, seeds, checkpoint, ema)
    return Run(
        experiment=experiment,
        variables=variables,
        seeds=seeds,
        step=step,
        rows=tuple(read_rows(folder.path)),
        folder=folder.path,
    )


def last_step(folder: RunFolder, experiment: Experiment) -> int:
    """Return the number of steps up to the newest checkpoints of a run, over all stages."""
    return sum(max(folder.checkpoint_steps(stage.name), default=0) for stage in experiment.plan())


def _load_weights(folder: RunFolder, experiment: Experiment, num_seeds: int) -> tuple[int, Variables | None]:
    """Return the final weights, unless training went on after they were written."""
    step = last_step(folder, experiment)
    return step, load_weights(folder.path, experiment, num_seeds, step)


def _load_checkpoint(
    folder: RunFolder, experiment: Experiment, seeds: tuple[int, ...], checkpoint: str | int, ema: float | None
) -> tuple[int, Variables]:
    walk, step = StageWalk(experiment, seeds, Placement()), 0
    for loop in walk:
        stage_step, state = _restore(folder, loop, experiment.keep_checkpoints, checkpoint)
        step += stage_step
        if loop.is_last and ema is not None:
            state = state.replace(averages={f"{ema:g}": _average(folder, loop.abstract(), stage_step, ema)})
        walk.finish(loop, state)
    return step, walk.variables()


def _restore(folder: RunFolder, loop: StageLoop, keep: int, checkpoint: str | int) -> tuple[int, TrainState]:
    """Return the step and state of a stage; earlier stages are always at their last checkpoint."""
    name = loop.stage.name
    checkpoints = Checkpoints(folder.checkpoints(name), keep=keep, read_only=True)
    restored = checkpoints.restore(loop.abstract(), _step_of(checkpoints, checkpoint if loop.is_last else "last"))
    checkpoints.close()
    if restored is None:
        raise FileNotFoundError(
            f"{folder.path} has no checkpoint of stage {name!r} yet; continue training with --resume"
        )
    return restored


def _average(folder: RunFolder, abstract: TrainState, step: int, length: float) -> PyTree:
    """Return the power-function average of a length after a number of steps, from the snapshots of a run."""
    if not abstract.averages:
        raise ValueError(
            f"ema is {length}, but {folder.path} has no snapshots of averages; train with ema_lengths=(0.05, 0.1) in "
            "the experiment, or leave ema out"
        )
    snapshots = Checkpoints(folder.averages, read_only=True)
    steps, names = [taken for taken in snapshots.steps() if taken <= step], list(abstract.averages)
    if not steps:
        raise CheckpointError(f"{folder.path} has no snapshot of averages up to step {step}; use a later checkpoint")
    repeated = [taken for taken in steps for _ in names]
    weights = combination(repeated, [float(name) for name in names] * len(steps), step, length)
    total = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), abstract.averages[names[0]])
    for taken, of_step in zip(steps, weights.reshape(len(steps), -1), strict=True):
        restored = snapshots.restore(abstract.averages, taken)
        assert restored is not None  # ``restore`` raises for a step without a checkpoint
        for name, weight in zip(names, of_step, strict=True):
            total = jax.tree.map(lambda t, leaf, w=weight: t + w * np.asarray(leaf), total, restored[1][name])
    snapshots.close()
    return jax.tree.map(lambda t, like: jnp.asarray(t, like.dtype), total, abstract.params)


def _step_of(checkpoints: Checkpoints, checkpoint: str | int) -> int | None:
    if checkpoint == "last":
        return None
    if checkpoint == "best":
        best = checkpoints.best_step()
        if best is None:
            raise CheckpointError("no checkpoint has a held-out metric, so none can be the best; use --checkpoint last")
        return best
    try:
        return int(checkpoint)
    except ValueError:
        raise ValueError(
            f"checkpoint is {checkpoint!r}, but must be 'last', 'best' or the step of a checkpoint"
        ) from None
