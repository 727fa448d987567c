"""Run folders as contestants: grouped by what differs beside the seed, and checked to share data and display."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import numpy as np

from genjax.comparison.contestants import (
    Contestant,
    Member,
    Subject,
    evaluation_settings,
    largest_difference,
    shown_examples,
)
from genjax.comparison.settings import ComparisonSettings
from genjax.comparison.table import Entry
from genjax.core import Variables
from genjax.data.deferred import describe
from genjax.evaluation.context import Evaluation
from genjax.experiment import Experiment
from genjax.metrics import FeatureNetwork, Result, unavailable
from genjax.metrics.progress import Progress
from genjax.runner.folder import RunFolder
from genjax.runner.load import last_step, load_experiment, load_run

_SAME = ("name", "levels", "num_classes", "spec", "lengths", "fingerprint")  # of the data of all runs


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRun:
    """A run folder without its weights.

    Attributes:
      path: run folder.
      name: name of the experiment.
      arguments: hyper-parameters.
      seeds: seeds of the replicas.
      digest: hash of the experiment's file.
      experiment: model, data and training.
      identity: seeds, step and time of training.
    """

    path: Path
    name: str
    arguments: Mapping[str, Any]
    seeds: tuple[int, ...]
    digest: str
    experiment: Experiment
    identity: Mapping[str, Any]
    device: str

    @property
    def kind(self) -> str:
        """What runs of one entry have in common: experiment, hyper-parameters and code."""
        return json.dumps([self.name, self.arguments, self.digest], sort_keys=True)


def read_run(path: Path) -> StoredRun:
    """Read a run folder.

    Raises:
      FileNotFoundError: if the folder holds no run.
      ValueError: if it has no experiment file.
    """
    folder = RunFolder(path)
    stored, environment = folder.read_json("arguments.json"), folder.read_json("environment.json")
    experiment = load_experiment(path, defer_data=True)
    seeds = tuple(range(stored["seed"], stored["seed"] + stored["seeds"]))
    step = last_step(folder, experiment)
    if step == 0:
        raise FileNotFoundError(f"{path} has no checkpoint yet; continue its training with --resume")
    return StoredRun(
        path=path,
        name=stored["experiment"],
        arguments=stored["arguments"],
        seeds=seeds,
        digest=hashlib.sha256((path / stored["file"]).read_bytes()).hexdigest()[:8],
        experiment=experiment,
        identity={"seeds": list(seeds), "step": step, "started": environment["started"]},
        device=environment["device"],
    )


def contestants_of(
    runs: Sequence[StoredRun],
    settings: ComparisonSettings,
    network: FeatureNetwork,
    labels: Mapping[Path, str] = MappingProxyType({}),
) -> list[Contestant]:
    """Return one contestant for all runs of one kind, in the order of the runs; ``labels`` are names of some.

    Raises:
      ValueError: if two runs are of one kind and one seed.
    """
    kinds: dict[str, list[StoredRun]] = {}
    for run in runs:
        kinds.setdefault(run.kind, []).append(run)
    for group in kinds.values():
        _check_seeds(group)
    names = _names([group[0] for group in kinds.values()])
    names = [labels.get(group[0].path, name) for name, group in zip(names, kinds.values(), strict=True)]
    return [_contestant(name, group, settings, network) for name, group in zip(names, kinds.values(), strict=True)]


def _check_seeds(group: list[StoredRun]) -> None:
    owners: dict[int, Path] = {}
    for run in group:
        for seed in run.seeds:
            if seed in owners:
                raise ValueError(
                    f"{owners[seed]} and {run.path} are both runs of {run.name!r} with seed {seed}, which would count "
                    "it twice; leave one out"
                )
            owners[seed] = run.path


def _names(runs: list[StoredRun]) -> list[str]:
    """Return a name for each kind: that of the experiment, with the hyper-parameters in which its namesakes differ."""
    names = []
    for run in runs:
        namesakes = [other for other in runs if other.name == run.name]
        differing = {
            key: run.arguments.get(key)
            for key in sorted({key for other in namesakes for key in other.arguments})
            if len({json.dumps(other.arguments.get(key)) for other in namesakes}) > 1
        }
        names.append(" ".join([run.name, *(f"{key}={_plain(value)}" for key, value in differing.items())]))
    repeated = {name for name in names if names.count(name) > 1}  # whose files differ
    return [f"{name} ({run.digest})" if name in repeated else name for name, run in zip(names, runs, strict=True)]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _contestant(name: str, group: list[StoredRun], settings: ComparisonSettings, network: FeatureNetwork) -> Contestant:
    first = group[0]
    model = type(first.experiment.model)
    entry = Entry(
        name=name,
        kind="model",
        model=model.__name__,
        family=model.__module__.split(".")[1] if model.__module__.startswith("genjax.") else "",
        seeds=tuple(seed for run in group for seed in run.seeds),
        members=tuple(str(run.path) for run in group),
        arguments=first.arguments,
        summary=_summary(first.experiment.model),
    )
    members = [
        Member(
            name="seed_" + "_".join(map(str, dict.fromkeys((run.seeds[0], run.seeds[-1])))),
            identity=run.identity,
            load=functools.partial(_load, run, settings, network),
            command=functools.partial(settings.command, run.path),
        )
        for run in group
    ]
    return Contestant(entry=entry, members=tuple(members))


def _summary(model: Any) -> str:
    """Return the first paragraph of the docstring of a model's class, in one line."""
    return " ".join(inspect.cleandoc(type(model).__doc__ or "").split("\n\n")[0].split())


def _load(run: StoredRun, settings: ComparisonSettings, network: FeatureNetwork, progress: Progress) -> Subject:
    loaded = load_run(run.path, checkpoint=settings.checkpoint, experiment=run.experiment)
    return Subject(
        evaluation=loaded.evaluation(**evaluation_settings(settings, network, progress)),
        to_display=run.experiment.to_display,
        training=_training_time(run),
    )


def _training_time(run: StoredRun) -> Result:
    """Return the time of training by one seed, which is known if one process trained from the beginning to the end."""
    folder = RunFolder(run.path)
    if "--resume" in folder.read_json("environment.json")["command"].split():
        return unavailable("training_time", "the run was resumed, and its folder has the time of its last part alone")
    if not (folder / "results.json").is_file():
        return unavailable("training_time", "the run is not finished")
    seconds = folder.read_json("results.json")["seconds"]
    machine = {name: folder.read_json("environment.json")[name] for name in ("device", "num_devices", "cpu_cores")}
    protocol = {"seconds of all seeds": round(seconds, 3), "seeds": len(run.seeds), **machine}
    return Result(name="training_time", value=seconds / len(run.seeds), protocol=protocol)


def check_same(runs: Sequence[StoredRun], settings: ComparisonSettings, network: FeatureNetwork) -> Evaluation:
    """Return an evaluation of the first run without variables, after a check that all runs share data and display.

    Raises:
      ValueError: if two runs differ; the message names both, and what differs.
    """
    evaluations = [_without_variables(run.experiment, settings, network) for run in runs]
    first = runs[0]
    for run, evaluation in list(zip(runs, evaluations, strict=True))[1:]:
        _check_data(first, run)
        _check_display(first, run, evaluations[0], evaluation)
    return evaluations[0]


def _without_variables(experiment: Experiment, settings: ComparisonSettings, network: FeatureNetwork) -> Evaluation:
    return Evaluation(
        model=experiment.model,
        variables=Variables({}, {}),
        dataset=experiment.data,
        preprocess=experiment.preprocess,
        display=experiment.display,
        **evaluation_settings(settings, network),
    )


def _check_data(one: StoredRun, other: StoredRun) -> None:
    described = [describe(run.experiment.data) or {"name": run.experiment.data.name} for run in (one, other)]
    first, second = json.loads(json.dumps(described))
    for part in _SAME:
        if first.get(part) != second.get(part):
            raise ValueError(
                f"{one.path} and {other.path} cannot be compared, because the {part.replace('_', ' ')} of their data "
                f"is {first.get(part)} in one and {second.get(part)} in the other; compare runs of one data set"
            )


def _check_display(one: StoredRun, other: StoredRun, first: Evaluation, second: Evaluation) -> None:
    images = [shown_examples(evaluation) for evaluation in (first, second)]
    difference = largest_difference(first.dataset, *images)
    if difference:
        ranges = [f"[{np.min(x):.3g}, {np.max(x):.3g}]" for x in images]
        of_images = first.network.requires_images
        what = "their displays show" if of_images else "--features pixels compares"
        cure = "set display of their experiments alike" if of_images else "preprocess alike, or use other --features"
        raise ValueError(
            f"{one.path} and {other.path} cannot be compared, because {what} the same examples with values in "
            f"{ranges[0]} and {ranges[1]}, up to {difference:.3g} apart; {cure}"
        )
