"""Comparison of runs: from run folders to a folder with a table, its cells, and reports."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from genjax.capabilities import stop_token
from genjax.comparison.columns import columns
from genjax.comparison.floors import floor_contestants, suitable_floors
from genjax.comparison.measure import NUM_PICTURED, Announce, CellFiles, assemble, measure
from genjax.comparison.report import DATA, write_reports
from genjax.comparison.runs import check_same, contestants_of, read_run
from genjax.comparison.settings import ComparisonSettings, FloorName, default_features
from genjax.comparison.suites import LOGS, RUNS, SPEEDS
from genjax.comparison.table import Cell, Entry, Table
from genjax.comparison.trials import FOLDER as TRIALS
from genjax.comparison.trials import Trials, with_stability
from genjax.data import random_examples
from genjax.data.deferred import describe
from genjax.data.io import replace_file
from genjax.evaluation.context import MAX_SAMPLES
from genjax.experiment import Experiment
from genjax.figures.images import sample_picture, save_picture
from genjax.figures.texts import save_texts
from genjax.metrics import FeatureNetwork
from genjax.metrics.progress import Progress, no_progress
from genjax.runner.folder import environment

PROTOCOL = "protocol.json"


def compare(
    paths: Sequence[Path],
    out: Path,
    settings: ComparisonSettings,
    *,
    floors: Sequence[FloorName] | None = None,
    failures: Mapping[str, str] = MappingProxyType({}),
    trials: Sequence[Trials] = (),
    retry_failed: bool = False,
    command: str = "",
    progress: Progress = no_progress,
    announce: Announce = print,
) -> Table:
    """Measure finished runs and floors by one protocol, write the reports into a folder, and return the table.

    What the folder has already is not measured again, as long as the protocol is the same; runs may be added.

    Args:
      paths: run folders.
      out: folder of the comparison.
      settings: settings that all numbers share.
      floors: names of the floors; None for all that suit the data.
      failures: why there is no run of an experiment, by its name; it has a row all the same.
      trials: settings that were tried to choose the runs, which tell how stable training is.
      retry_failed: whether to measure failed cells again.
      command: command of the comparison, for numbers that no other command prints.
      progress: function that starts a progress bar, ``(name, total) -> callback``.
      announce: function that receives a line for each measurement.

    Raises:
      FileNotFoundError: if a path holds no run.
      ValueError: if runs do not share data and display, if a floor does not suit the data, or if ``out`` holds another
        comparison.
    """
    runs = [read_run(path) for path in paths]
    first = runs[0].experiment
    if settings.features is None:
        settings = dataclasses.replace(settings, features=default_features(first.data))
    network = settings.network(first.data)
    reference = check_same(runs, settings, network)
    protocol = _protocol(settings, network, first)
    _check_folder(out, protocol)
    labels = {Path(each.chosen.run): each.label for each in trials if each.chosen.run and each.label}
    contestants = contestants_of(runs, settings, network, labels)
    contestants += floor_contestants(suitable_floors(floors, first), first, reference, settings, network)
    replace_file(out / PROTOCOL, (json.dumps(protocol, indent=1) + "\n").encode())
    _draw_data(out, first, settings)
    measured = columns(first.data)
    measure(contestants, measured, settings, out, retry_failed=retry_failed, progress=progress, announce=announce)
    table = _with_commands(assemble(contestants, measured, out, command), trials)
    trained_on = {"training_device": ", ".join(sorted({run.device for run in runs}))}
    table = dataclasses.replace(_with_failures(with_stability(table, trials), failures), protocol=protocol | trained_on)
    write_reports(table, out, environment(), command, trials)
    return table


def _with_commands(table: Table, trials: Sequence[Trials]) -> Table:
    """Return a table whose entries have the commands that trained them in a suite."""
    commands = {each.chosen.run: " ".join(filter(None, (each.command, each.chosen.flags))) for each in trials}

    def with_command(entry: Entry) -> Entry:
        command = next((commands[member] for member in entry.members if member in commands), "")
        return dataclasses.replace(entry, command=command)

    return dataclasses.replace(table, entries=tuple(map(with_command, table.entries)))


def _with_failures(table: Table, failures: Mapping[str, str]) -> Table:
    """Return a table with a row of failed cells for each experiment that could not be trained."""
    entries = tuple(Entry(name=name, kind="model", model="", seeds=()) for name in failures)
    cells = tuple(
        Cell(entry=name, column=column.name, status="failed", reason=f"training failed: {reason}")
        for name, reason in failures.items()
        for column in table.columns
    )
    models = [entry for entry in table.entries if entry.kind == "model"]
    floors = [entry for entry in table.entries if entry.kind == "floor"]
    return dataclasses.replace(table, entries=(*models, *entries, *floors), cells=(*table.cells, *cells))


def check_out(out: Path) -> None:
    """Raise ValueError if a folder holds anything but a comparison, or the runs of a suite."""
    ours = (RUNS, LOGS, SPEEDS, TRIALS)
    others = [path.name for path in out.iterdir() if path.name not in ours] if out.is_dir() else []
    if not (out / PROTOCOL).is_file() and (others or (out.exists() and not out.is_dir())):
        raise ValueError(f"--out is {out}, which is not empty and holds no comparison; choose another folder")


def _protocol(settings: ComparisonSettings, network: FeatureNetwork, experiment: Experiment) -> dict[str, Any]:
    """Return what all numbers of a comparison have in common."""
    dataset, split = experiment.data, settings.split
    lengths = {name: len(source) for name, source in dataset.splits.items()}
    drawn = settings.num_samples or min(lengths.get(split, 0), MAX_SAMPLES)
    description: Mapping[str, Any] = describe(dataset) or {}
    protocol = {
        "data": dataset.name,
        "examples": lengths,
        "fingerprint": description.get("fingerprint"),
        "tokenizer": None if dataset.tokenizer is None else type(dataset.tokenizer).__name__,
        **settings.as_dict(),
        "num_samples": drawn,
        **network.protocol,
        "features_accuracy": network.accuracy,
        "device": jax.devices()[0].device_kind,
        "num_devices": len(jax.devices()),
    }
    return json.loads(json.dumps({name: value for name, value in protocol.items() if value is not None}))


def _check_folder(out: Path, protocol: Mapping[str, Any]) -> None:
    """Raise ValueError if a folder holds a comparison by another protocol, or anything else."""
    check_out(out)
    if not (out / PROTOCOL).is_file():
        return
    stored = json.loads((out / PROTOCOL).read_text(encoding="utf-8"))
    for name in dict.fromkeys([*stored, *protocol]):
        if stored.get(name) != protocol.get(name):
            raise ValueError(
                f"{out} holds a comparison with {name}={stored.get(name)!r}, not {protocol.get(name)!r}, and numbers "
                "of two protocols do not belong in one table; choose another --out"
            )


def _draw_data(out: Path, experiment: Experiment, settings: ComparisonSettings) -> None:
    """Draw examples of the split, beside which samples are shown."""
    tokenizer, key = experiment.data.tokenizer, jax.random.key(0)
    path = CellFiles(out).samples(DATA).with_suffix(".png" if tokenizer is None else ".txt")
    if path.is_file():
        return
    batch = random_examples(key, experiment.data.splits[settings.split], NUM_PICTURED)
    if tokenizer is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_texts(path, tokenizer, np.asarray(batch["x"]), stop_token(experiment.model))
        return
    x = experiment.preprocess(key, jax.tree.map(jax.numpy.asarray, batch))["x"]
    save_picture(path, sample_picture(experiment.to_display(np.asarray(x))))
