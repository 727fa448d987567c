"""Measurement: every cell of a comparison is a file that is written when it is finished.

``OUT/cells/ENTRY/MEMBER/MEASUREMENT.json`` holds the results of one measurement of one run or floor, or the error that
ended it. A comparison that is killed goes on from the files, and ``assemble`` makes the table of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import jax
import numpy as np

from genjax.capabilities import stop_token
from genjax.comparison.columns import OWN, SAMPLES, find_result, measurements
from genjax.comparison.contestants import Contestant, Member, Subject
from genjax.comparison.settings import ComparisonSettings
from genjax.comparison.speed import speed
from genjax.comparison.table import Cell, Column, Table
from genjax.core import stream_key
from genjax.data.io import replace_file
from genjax.evaluation.registry import evaluate
from genjax.evaluation.samples import draw_samples, example_conditions
from genjax.figures.images import condition_picture, save_picture
from genjax.figures.texts import save_texts
from genjax.metrics import Result, unavailable
from genjax.metrics.progress import Progress, no_progress

NUM_PICTURED = 64  # samples in a picture
Announce = Callable[[str], None]


@final
@dataclass(frozen=True)
class Outcome:
    """What a cell file holds.

    Attributes:
      identity: identity of the member that was measured.
      seconds: time that the measurement took.
      results: results, empty after an error.
      error: why the measurement failed; None if it did not.
    """

    identity: Mapping[str, Any]
    seconds: float
    results: tuple[Result, ...]
    error: str | None = None


@final
@dataclass(frozen=True)
class CellFiles:
    """The files of cells in the folder of a comparison."""

    out: Path

    def path(self, contestant: Contestant, member: Member, measurement: str) -> Path:
        """Return the file of a measurement."""
        return self.out / "cells" / slug(contestant.entry.name) / member.name / f"{measurement}.json"

    def samples(self, entry: str) -> Path:
        """Return the file of an entry's samples without its suffix, which is .png, or .txt for texts."""
        return self.out / "samples" / slug(entry)

    def read(self, contestant: Contestant, member: Member, measurement: str) -> Outcome | None:
        """Return a finished measurement, or None if there is none of this member as it is now."""
        path = self.path(contestant, member, measurement)
        if not path.is_file():
            return None
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["identity"] != json.loads(json.dumps(member.identity)):
            return None  # the run was trained further, or anew
        results = tuple(_result(entry) for entry in stored["results"])
        return Outcome(stored["identity"], stored["seconds"], results, stored["error"])

    def write(self, contestant: Contestant, member: Member, measurement: str, outcome: Outcome) -> None:
        """Write a finished measurement atomically."""
        content = json.dumps(dataclasses.asdict(outcome), indent=1, default=str)
        replace_file(self.path(contestant, member, measurement), (content + "\n").encode())


def slug(name: str) -> str:
    """Return a name as that of a file.

    >>> slug("floor: gaussian")
    'floor_gaussian'
    """
    return re.sub(r"[^\w.=()-]+", "_", name)


def _result(entry: Mapping[str, Any]) -> Result:
    return Result(**{**entry, "replicas": tuple(entry["replicas"])})


def measure(
    contestants: Sequence[Contestant],
    columns: tuple[Column, ...],
    settings: ComparisonSettings,
    out: Path,
    *,
    retry_failed: bool = False,
    progress: Progress = no_progress,
    announce: Announce = print,
) -> None:
    """Measure every cell that has no file yet, and with ``retry_failed`` those that failed.

    ``announce`` receives a line for each measurement, with the time left. An error of a model is a failed cell; only
    what is no ``Exception``, such as Ctrl-C, ends the comparison.
    """
    files, names = CellFiles(out), measurements(columns)
    pending = {
        (contestant, member): [
            name for name in names if _is_pending(files.read(contestant, member, name), retry_failed)
        ]
        for contestant in contestants
        for member in contestant.members
    }
    pace = Pace([name for missing in pending.values() for name in missing])
    for (contestant, member), missing in pending.items():
        subject = _Lazy(member, progress)
        for name in missing:
            announce(f"{pace}: {contestant.entry.name}, {member.name}: {name.replace('_', ' ')}")
            outcome = _measure(subject, name, settings, files.samples(contestant.entry.name))
            files.write(contestant, member, name, outcome)
            pace.finish(name, outcome.seconds)
            if outcome.error is not None:
                announce(f"failed: {contestant.entry.name}: {name}: {outcome.error}")


def _is_pending(outcome: Outcome | None, retry_failed: bool) -> bool:
    return outcome is None or (retry_failed and outcome.error is not None)


class _Lazy:
    """The subject of a member, loaded at the first call; one that cannot be loaded is not tried again."""

    def __init__(self, member: Member, progress: Progress) -> None:
        self.member, self._progress = member, progress
        self._subject: Subject | Exception | None = None

    def __call__(self) -> Subject:
        if self._subject is None:
            try:
                self._subject = self.member.load(self._progress)
            except Exception as error:
                self._subject = error
        if isinstance(self._subject, Exception):
            raise self._subject
        return self._subject


def _measure(subject: _Lazy, name: str, settings: ComparisonSettings, samples: Path) -> Outcome:
    started, results, error = time.perf_counter(), [], None
    try:
        results = [_finite(result) for result in _results(subject(), name, settings, samples)]
    except Exception as raised:
        kind = "" if isinstance(raised, ValueError) else f"{type(raised).__name__}: "
        error = f"{kind}{' '.join(str(raised).split())}"
    return Outcome(subject.member.identity, time.perf_counter() - started, tuple(results), error)


def _results(subject: Subject, name: str, settings: ComparisonSettings, samples: Path) -> list[Result]:
    evaluation = subject.evaluation
    if name not in OWN:
        return list(evaluate(evaluation, [name]).values())
    if name == "training":
        return [subject.training]
    if name == "speed":
        return speed(evaluation, num_samples=settings.speed_samples, repeats=settings.speed_repeats)
    if name == SAMPLES:
        _draw(subject, samples)
        return []
    count = sum(leaf.size for leaf in jax.tree.leaves(evaluation.variables.params)) / len(evaluation.seeds)
    return [Result(name="parameters", value=float(count))]


def _draw(subject: Subject, path: Path) -> None:
    """Write samples of the first replica, of all classes in turn."""
    evaluation = subject.evaluation
    model, dataset, key = evaluation.model, evaluation.dataset, stream_key(evaluation.key, "picture")
    condition: dict[str, Any] = example_conditions(model, dataset, NUM_PICTURED, evaluation.preprocess)
    x = np.asarray(draw_samples(model, evaluation.replica(0), key, NUM_PICTURED, **condition))
    path.parent.mkdir(parents=True, exist_ok=True)
    if dataset.tokenizer is not None:
        tokens = np.rint(x).astype(np.int32)  # floors draw real numbers
        save_texts(path.with_name(f"{path.name}.txt"), dataset.tokenizer, tokens, stop_token(model))
    else:
        picture = condition_picture(subject.to_display(x), condition, dataset)
        save_picture(path.with_name(f"{path.name}.png"), picture)


def _finite(result: Result) -> Result:
    """Return the result, without a value that no file can hold."""
    error = result.standard_error
    result = dataclasses.replace(result, standard_error=error if error is None or math.isfinite(error) else None)
    if result.value is None or math.isfinite(result.value):
        return result
    return unavailable(result.name, f"its value is {result.value}, which is not finite", **result.protocol)


class Pace:
    """How many measurements are finished, and the time that the others will take, judged by those of their kind.

    >>> pace = Pace(["speed", "speed", "size"])
    >>> pace.finish("speed", 10.0)
    >>> str(pace)  # another speed, and a size that may take as long
    '1 of 3, about 20 s left'
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._total, self._left = len(names), list(names)
        self._seconds: dict[str, list[float]] = {}

    def finish(self, name: str, seconds: float) -> None:
        """Take account of a finished measurement."""
        self._left.remove(name)
        self._seconds.setdefault(name, []).append(seconds)

    def __str__(self) -> str:
        """Return the number of finished measurements and the time left."""
        finished = f"{self._total - len(self._left)} of {self._total}"
        if not self._seconds:
            return finished
        means = {name: statistics.fmean(seconds) for name, seconds in self._seconds.items()}
        left = sum(means.get(name, statistics.fmean(means.values())) for name in self._left)
        return f"{finished}, about {f'{left / 60:.0f} min' if left > 120 else f'{left:.0f} s'} left"


def assemble(contestants: Sequence[Contestant], columns: tuple[Column, ...], out: Path, command: str) -> Table:
    """Return the table of all cell files; ``command`` is that of the comparison, for numbers that no other prints."""
    files = CellFiles(out)
    cells = [_cell(files, contestant, column, command) for contestant in contestants for column in columns]
    return Table(columns=columns, entries=tuple(c.entry for c in contestants), cells=tuple(cells))


def _cell(files: CellFiles, contestant: Contestant, column: Column, command: str) -> Cell:
    """Return the mean over the replicas of all members."""
    place: dict[str, Any] = {"entry": contestant.entry.name, "column": column.name}
    outcomes = [files.read(contestant, member, column.source) for member in contestant.members]
    finished = [outcome for outcome in outcomes if outcome is not None]
    if len(finished) < len(outcomes):
        return Cell(**place, status="pending", reason="not measured yet")
    errors = [outcome.error for outcome in finished if outcome.error is not None]
    if errors:
        return Cell(**place, status="failed", reason=errors[0])
    results = [find_result(column, list(outcome.results)) for outcome in finished]
    missing = [result for result in results if result is None or result.value is None]
    if missing:
        return Cell(**place, status="none", reason=_reason(column, missing[0], contestant, finished[0]))
    measured = [result for result in results if result is not None and result.value is not None]
    replicas = tuple(value for result in measured for value in result.replicas or (float(result.value or 0.0),))
    errors_of_mean = [result.standard_error for result in measured if result.standard_error is not None]
    return Cell(
        **place,
        value=statistics.fmean(replicas),
        standard_error=statistics.fmean(errors_of_mean) if errors_of_mean else None,
        replicas=replicas if len(replicas) > 1 else (),
        protocol=measured[0].protocol,
        commands=_commands(column, contestant, command),
    )


def _reason(column: Column, result: Result | None, contestant: Contestant, outcome: Outcome) -> str:
    """Return why a measurement gave no value for a column."""
    reasons = [result, *outcome.results] if column.group != "likelihood" else list(outcome.results)
    reason = next((each.reason for each in reasons if each is not None and each.reason is not None), None)
    if reason is not None:
        return reason
    condition = " given labels" if column.given else ""
    return f"{contestant.entry.model} gives no likelihood in {column.unit} of the kind {column.guarantee}{condition}"


def _commands(column: Column, contestant: Contestant, command: str) -> tuple[str, ...]:
    if column.source in OWN:
        return (command,)
    return tuple(command if member.command is None else member.command(column.source) for member in contestant.members)
