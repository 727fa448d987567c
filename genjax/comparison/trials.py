"""Trials: settings of an experiment that a suite tries, and chooses between on validation data.

Samples of every trial are compared with the validation split by coverage, the share of examples with a sample in their
neighbourhood, which needs samples that are both good and diverse. The trial with the highest mean over seeds enters the
comparison, whose other numbers are of another split. All trials together tell how stable training is: a run counts as
failed if it diverged, or if its coverage is below half of the chosen trial's.

Coverage: Muhammad Ferjad Naeem, Seong Joon Oh, Youngjung Uh, Yunjey Choi and Jaejun Yoo 2020, arXiv:2002.09797.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from genjax.comparison.contestants import evaluation_settings
from genjax.comparison.measure import slug
from genjax.comparison.runs import StoredRun, read_run
from genjax.comparison.settings import ComparisonSettings
from genjax.comparison.suites import Trained
from genjax.comparison.table import Cell, Column, Table
from genjax.data import Dataset
from genjax.data.io import replace_file
from genjax.evaluation.comparison import compare_by
from genjax.evaluation.context import Evaluation
from genjax.metrics import FeatureNetwork
from genjax.runner.load import load_run

FOLDER = "trials"
SPLIT = "validation"
COLLAPSED = 0.5  # of the chosen trial's coverage
COLUMNS = (
    Column(
        name="failed_share",
        title="failed runs",
        group="stability",
        source=FOLDER,
        higher_is_better=False,
        summary="share of runs, over all trials and seeds, that diverged, or whose coverage of the validation split is "
        "below half of the chosen trial's; a seed that diverges stops the other seeds of its trial",
    ),
    Column(
        name="coverage_variation",
        title="variation",
        group="stability",
        source=FOLDER,
        higher_is_better=False,
        summary="standard deviation of that coverage over all trials and seeds, divided by its mean; a run that "
        "diverged has the coverage 0",
    ),
)


@final
@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting that was tried.

    Attributes:
      flags: its flags of ``genjax train``.
      run: its run folder; None if training failed.
      coverage: coverage of the validation split for each seed; empty if it was not measured.
      failure: why training failed.
    """

    flags: str
    run: str | None = None
    coverage: tuple[float, ...] = ()
    failure: str | None = None

    @property
    def mean(self) -> float:
        """Mean coverage over seeds; 0 if training failed."""
        return statistics.fmean(self.coverage) if self.coverage else 0.0


@final
@dataclass(frozen=True, kw_only=True)
class Trials:
    """All trials of an experiment.

    Attributes:
      name: name of the experiment.
      label: name in the table, if the suite gives one.
      command: command that trains it, without the flags of a trial.
      trials: its trials, at least one of which was trained.
      num_seeds: number of seeds of each.
    """

    name: str
    label: str | None = None
    command: str = ""
    trials: tuple[Trial, ...]
    num_seeds: int

    @property
    def chosen(self) -> Trial:
        """The trial with the highest mean coverage."""
        return max((trial for trial in self.trials if trial.run is not None), key=lambda trial: trial.mean)

    @property
    def coverages(self) -> tuple[float, ...]:
        """Coverage of all trials and seeds, 0 where training failed."""
        return tuple(value for trial in self.trials for value in trial.coverage or (0.0,) * self.num_seeds)

    @property
    def failed_share(self) -> float:
        """Share of runs that diverged or collapsed."""
        limit = COLLAPSED * self.chosen.mean
        return statistics.fmean(value < limit or value == 0 for value in self.coverages)

    @property
    def variation(self) -> float:
        """Standard deviation of the coverage of all runs, divided by its mean; 0 if all are 0."""
        mean = statistics.fmean(self.coverages)
        return statistics.stdev(self.coverages) / mean if mean else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the trials for JSON."""
        return dataclasses.asdict(self) | {"chosen": self.chosen.flags}


def run_trials(
    trained: Sequence[Trained],
    settings: ComparisonSettings,
    out: Path,
    *,
    num_seeds: int,
    announce: Callable[[str], None] = print,
) -> list[Trials]:
    """Return the trials of each experiment that has a finished run, with their coverage of the validation split.

    An experiment with a single trial needs no choice, and is not measured.

    Raises:
      ValueError: if trials on the data cannot be compared.
    """

    @functools.cache
    def network() -> FeatureNetwork:
        """Return the feature network of the data that all runs share, which may take long to train."""
        path = next(path for experiment in trained for path in experiment.runs.values())
        return settings.network(read_run(path).experiment.data)

    results = []
    for experiment in trained:
        if not experiment.runs:
            continue
        trials = [Trial(flags=flags, failure=reason) for flags, reason in experiment.failures.items()]
        for flags, path in experiment.runs.items():
            single = len(experiment.runs) + len(experiment.failures) == 1
            coverage = () if single else _coverage(path, settings, network, out, announce)
            trials.append(Trial(flags=flags, run=str(path), coverage=coverage))
        results.append(
            Trials(
                name=experiment.name,
                label=experiment.label,
                command=experiment.command,
                trials=tuple(trials),
                num_seeds=num_seeds,
            )
        )
    return results


def _coverage(
    path: Path,
    settings: ComparisonSettings,
    network: Callable[[], FeatureNetwork],
    out: Path,
    announce: Callable[[str], None],
) -> tuple[float, ...]:
    """Return the coverage of the validation split for each seed of a run, from its file if it was measured before."""
    run, file = read_run(path), out / FOLDER / f"{slug(path.name)}.json"
    if file.is_file():
        stored = json.loads(file.read_text("utf-8"))
        if stored["identity"] == json.loads(json.dumps(run.identity)):
            return tuple(stored["coverage"])
    announce(f"trial {path.name}: coverage of the validation split")
    coverage = _measure(run, settings, network())
    replace_file(file, (json.dumps({"identity": run.identity, "coverage": coverage}, indent=1) + "\n").encode())
    return coverage


def _measure(run: StoredRun, settings: ComparisonSettings, network: FeatureNetwork) -> tuple[float, ...]:
    """Return the coverage for each seed; 0 where samples are not finite."""
    evaluation = validation(run, settings, network)
    values = [compared(evaluation, index, "precision_recall", "coverage") for index in range(len(run.seeds))]
    return tuple(0.0 if value is None else value for value in values)


def validation(run: StoredRun, settings: ComparisonSettings, network: FeatureNetwork) -> Evaluation:
    """Return the evaluation of a run on the validation split; see ``check_validation`` for errors."""
    check_validation(run.experiment.data)
    settings = dataclasses.replace(settings, split=SPLIT, num_samples=None)
    loaded = load_run(run.path, checkpoint=settings.checkpoint, experiment=run.experiment)
    return loaded.evaluation(**evaluation_settings(settings, network))


def compared(evaluation: Evaluation, index: int, comparison: str, result: str) -> float | None:
    """Return a result of a comparison of one replica's samples, or None if these are not finite."""
    try:
        features = evaluation.generated(index).features
    except FloatingPointError:  # logits that are not finite
        return None
    if not np.isfinite(features).all():
        return None
    return next(each.value for each in compare_by(comparison)(evaluation, index) if each.name == result)


def check_validation(dataset: Dataset) -> None:
    """Raise ValueError if trials on this data set cannot be compared, for lack of a validation split."""
    cure = "give each experiment of the suite one setting"
    if SPLIT not in dataset.splits:
        splits = ", ".join(dataset.splits)
        raise ValueError(f"trials are chosen on a validation split, but {dataset.name} has {splits}; add it, or {cure}")


def with_stability(table: Table, trials: Sequence[Trials]) -> Table:
    """Return a table with the columns of stability, for entries that had several trials."""
    by_run = {each.chosen.run: each for each in trials if len(each.trials) > 1}
    if not by_run:
        return table
    cells = []
    for entry in table.entries:
        each = next((by_run[member] for member in entry.members if member in by_run), None)
        values: Mapping[str, float] = {}
        if each is not None:
            values = {"failed_share": each.failed_share, "coverage_variation": each.variation}
        for column in COLUMNS:
            cell = Cell(entry=entry.name, column=column.name, status="none", reason="it was trained with one setting")
            if each is not None:
                protocol = {"split": SPLIT, "trials": len(each.trials), "seeds": each.num_seeds}
                value = values[column.name]
                cell = dataclasses.replace(cell, value=value, status="measured", reason=None, protocol=protocol)
            cells.append(cell)
    return dataclasses.replace(table, columns=(*table.columns, *COLUMNS), cells=(*table.cells, *cells))
