"""Suites: experiments on the same data that are trained first, each in a process of its own, and then compared.

A suite is a TOML file, and the paths in it are relative to its folder::

    seeds = 5                        # replicas of each experiment, in one program
    seed = 100                       # of the first replica
    trials = [["--learning-rate", "1e-3"], ["--learning-rate", "3e-3"]]  # flags to try for each
    time = "10m"                     # of training, compilation aside, for each trial

    [[experiment]]
    file = "../vae_digits.py"
    name = "VAE"                     # in the table
    flags = ["--steps", "2000"]      # of genjax train

An experiment may have ``trials`` of its own. ``trials`` chooses between them on validation data. With ``time``, a
short run measures the speed of each trial on this machine, and then each is trained for about as many steps as fill the
time. Without ``time``, experiments or their flags set the number of steps. A file may also extend another suite, and
change its settings::

    extends = "digits.toml"
    seed = 200
    trials = [[]]                    # for all its experiments; "chosen" for those that its table chose
    flags = ["--data", "usps"]       # placed before the flags of each experiment
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, final

from annotated_types import MinLen

from genjax.arguments import NonNegativeInt, PositiveFloat, PositiveInt, check_arguments
from genjax.comparison.choosing import read_table
from genjax.comparison.durations import seconds_of, steps_in
from genjax.comparison.measure import Pace, slug
from genjax.data.io import replace_file
from genjax.runner.folder import RunFolder
from genjax.runner.log import read_rows
from genjax.runner.weights import saved_step

FOLDER = Path("experiments") / "suites"
RUNS, LOGS, SPEEDS = "runs", "logs", "speeds"  # folders beside the cells of a comparison
CHOSEN = "chosen"  # stands for the trials that a table chose
SPEED_STEPS = 300  # length of the run that measures the speed of training
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_SIGNALLED = 128  # exit status of a process that a signal has stopped, plus the number of the signal


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class SuiteExperiment:
    """An experiment that a suite trains.

    Attributes:
      file: its Python file.
      flags: flags of ``genjax train``.
      label: name in the table; None for the name of the file and the hyper-parameters that differ between entries.
      trials: settings to choose from on validation data, each a tuple of further flags.
    """

    file: Path
    flags: tuple[str, ...] = ()
    label: str | None = None
    trials: Annotated[tuple[tuple[str, ...], ...], MinLen(1)] = ((),)

    @property
    def name(self) -> str:
        """Name without the flags of a trial."""
        return self.run_name(())

    @property
    def command(self) -> str:
        """Command that trains it, without the flags of a trial."""
        return shlex.join(["genjax", "train", self.file.as_posix(), *self.flags])

    def run_name(self, trial: tuple[str, ...]) -> str:
        """Return the name of a trial's run folder and of its log."""
        own = [self.file.stem, *self.flags] if self.label is None else [self.label]
        return slug(" ".join(word.removeprefix("--") for word in (*own, *trial)))


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Suite:
    """Experiments on the same data.

    Attributes:
      experiments: experiments in the order of training.
      seeds: number of replicas of each.
      seed: seed of the first replica.
      seconds: time for the steps of each run, compilation aside; None for the steps that experiments have.
    """

    experiments: tuple[SuiteExperiment, ...]
    seeds: PositiveInt = 1
    seed: NonNegativeInt = 0
    seconds: PositiveFloat | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the training of an experiment left.

    Attributes:
      name: name of the experiment.
      label: name in the table, if the suite gives one.
      command: command that trains it, without the flags of a trial.
      runs: folders of finished runs, by the flags of their trials.
      failures: why training failed, by the flags of the trial.
    """

    name: str
    label: str | None
    command: str
    runs: Mapping[str, Path]
    failures: Mapping[str, str]


def find_suite(name: str) -> Path:
    """Return the file of a suite, given by its path or by its name.

    Raises:
      FileNotFoundError: if there is no such file; the message lists the suites by name.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise FileNotFoundError(f"there is no suite {path}; use {known or 'the path of a .toml file'}")
    return path


def read_suite(path: Path) -> Suite:
    """Read the file of a suite.

    Raises:
      ValueError: if it is no TOML, has unknown entries, extends what cannot be extended, or names an experiment that is
        missing or listed twice.
    """
    return _suite(path, _read(path))


def _suite(path: Path, content: Mapping[str, Any]) -> Suite:
    """Return the suite of a file with this content."""
    base = _extended(path, content)
    entries = content.get("experiment", [])
    if not isinstance(entries, list) or not (entries or base.experiments):
        raise ValueError(f"{path} has no [[experiment]]; name files of experiments")
    trials = content.get("trials", [[]])
    own = [_experiment(path, entry, [[]] if trials == CHOSEN else trials) for entry in entries]
    experiments = (*base.experiments, *own)
    names = [each.run_name(trial) for each in experiments for trial in each.trials]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path} has {repeated} twice; leave one out, or give it another name")
    settings = {name: content[name] for name in ("seeds", "seed") if name in content}
    if "time" in content:
        settings["seconds"] = seconds_of(f"time in {path}", str(content["time"]))
    suite = dataclasses.replace(base, experiments=experiments, **settings)
    _check_steps(path, suite)
    return suite


def _check_steps(path: Path, suite: Suite) -> None:
    """Raise if a suite has a time, and flags that set a number of steps."""
    flags = {flag for each in suite.experiments for trial in each.trials for flag in (*each.flags, *trial)}
    if suite.seconds is not None and any(flag.partition("=")[0] == "--steps" for flag in flags):
        raise ValueError(f"{path} has time, which sets the number of steps, but also the flag --steps; leave one out")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    _check_names(path, content, {"extends", "seeds", "seed", "trials", "time", "flags", "experiment"})
    if "flags" in content and "extends" not in content:
        raise ValueError(f"{path} has flags, but extends no suite whose experiments would take them; add extends")
    is_chosen = "extends" in content and content.get("trials") == CHOSEN
    _check_lists(path, content | {"trials": []} if is_chosen else content)
    return content


def _check_lists(path: Path, entry: Mapping[str, Any]) -> None:
    wrong = next((name for name in ("flags", "trials") if not isinstance(entry.get(name, []), list)), None)
    if wrong is not None:
        raise ValueError(f"{path} has {wrong} = {entry[wrong]!r}, but must have a list")
    if not all(isinstance(trial, list) for trial in entry.get("trials", [])):
        example = '[["--learning-rate", "1e-3"]]'
        raise ValueError(f"{path} has trials = {entry['trials']!r}, but must have a list of lists, such as {example}")


def _extended(path: Path, content: Mapping[str, Any]) -> Suite:
    """Return the suite that a file extends, with the file's flags and trials; an empty one if it extends none."""
    if "extends" not in content:
        return Suite(experiments=())
    file = path.parent / str(content["extends"])
    base_content = _read(file) if file.is_file() else None
    if base_content is None or "extends" in base_content:
        problem = "does not exist" if base_content is None else "extends another suite itself"
        raise ValueError(f"{path} extends {file}, which {problem}; name a suite with experiments of its own")
    base = _suite(file, base_content)
    flags = tuple(map(str, content.get("flags", ())))
    names, trials = [each.name for each in base.experiments], content.get("trials")
    if trials is None:
        changes = {}
    else:
        changes = _chosen(file.stem, base) if trials == CHOSEN else dict.fromkeys(names, _flags_of_trials(trials))
    experiments = (
        dataclasses.replace(each, flags=(*flags, *each.flags), trials=changes.get(each.name, each.trials))
        for each in base.experiments
    )
    return dataclasses.replace(base, experiments=tuple(experiments))


def _chosen(name: str, suite: Suite) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the trial of each experiment that the table of a suite has chosen."""
    try:
        table = read_table(name)
    except FileNotFoundError as error:
        raise ValueError(f"trials = {CHOSEN!r} needs the table of {name}, but {error}, or list trials") from None
    flags = {slug(entry.name): shlex.split(entry.command)[3:] for entry in table.entries}  # genjax train FILE …
    trials = {}
    for each in suite.experiments:
        own = flags.get(each.name, [])
        own = own[:-2] if suite.seconds is not None and own[-2:-1] == ["--steps"] else own  # of the table's machine
        chosen = [trial for trial in each.trials if [*each.flags, *trial] == own]
        if not chosen:
            raise ValueError(
                f"the table {name} has chosen no trial of {each.name}; list its trials, or write trials = [[]]"
            )
        trials[each.name] = (chosen[0],)
    return trials


def _flags_of_trials(trials: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(map(str, trial)) for trial in trials)


def _experiment(path: Path, entry: Mapping[str, Any], trials: list[list[str]]) -> SuiteExperiment:
    _check_names(path, entry, {"file", "name", "flags", "trials"})
    _check_lists(path, entry)
    file = path.parent / str(entry.get("file"))
    if not file.is_file():
        raise ValueError(f"{path} names the experiment {file}, which is not there; check its file")
    return SuiteExperiment(
        file=file,
        flags=tuple(map(str, entry.get("flags", ()))),
        label=entry.get("name"),
        trials=_flags_of_trials(entry.get("trials", trials)),
    )


def _check_names(path: Path, entry: Mapping[str, Any], allowed: set[str]) -> None:
    unknown = sorted(set(entry) - allowed)
    if unknown:
        raise ValueError(f"{path} has {unknown[0]!r}, but entries are {', '.join(sorted(allowed))}; use these")


def train_suite(
    suite: Suite, out: Path, *, retry_failed: bool = False, announce: Callable[[str], None] = print
) -> list[Trained]:
    """Train the trials of a suite that are not finished, and go on with those that were stopped.

    Args:
      suite: experiments.
      out: folder, in which runs and their logs get folders.
      retry_failed: whether to train again what failed before.
      announce: function that receives a line for each run, and each line that it prints.

    Returns:
      What training left, for each experiment.

    Raises:
      KeyboardInterrupt: if Ctrl-C or a scheduler's signal stops a run; the next call goes on from its checkpoint.
      ValueError: if ``out`` holds runs that were trained for a different time.
    """
    for experiment in suite.experiments:
        for name in map(experiment.run_name, experiment.trials):
            if suite.seconds is None and (out / SPEEDS / name).is_dir():
                raise ValueError(f"{out} holds runs of a suite with time, but this one has none; choose another --out")
            if saved_step(out / SPEEDS / name) is not None:
                _steps_in_time(name, suite, out)
    pace = Pace(
        [
            "training"
            for experiment in suite.experiments
            for trial in experiment.trials
            if not _is_done(out, experiment.run_name(trial), retry_failed)
        ]
    )
    return [_train_all(experiment, suite, out, retry_failed, pace, announce) for experiment in suite.experiments]


def _train_all(
    experiment: SuiteExperiment,
    suite: Suite,
    out: Path,
    retry_failed: bool,
    pace: Pace,
    announce: Callable[[str], None],
) -> Trained:
    """Train the trials of an experiment that are not finished."""
    runs, failures = {}, {}
    for trial in experiment.trials:
        name = experiment.run_name(trial)
        failure = _failure_file(out, name)
        if not _is_done(out, name, retry_failed):
            announce(f"trained {pace}: now {name}")
            started = time.monotonic()
            reason = _train(experiment, trial, suite, out, announce)
            pace.finish("training", time.monotonic() - started)
            failure.unlink(missing_ok=True)
            if reason is not None:
                replace_file(failure, f"{reason}\n".encode())
        if failure.is_file():
            failures[" ".join(trial)] = failure.read_text("utf-8").strip()
        else:
            runs[" ".join((*trial, *_steps_in_time(name, suite, out)))] = out / RUNS / name
    return Trained(
        name=experiment.name, label=experiment.label, command=experiment.command, runs=runs, failures=failures
    )


def _train(
    experiment: SuiteExperiment, trial: tuple[str, ...], suite: Suite, out: Path, announce: Callable[[str], None]
) -> str | None:
    """Train a trial, after a short run that measures its speed if its time is limited; return why that failed."""
    name, flags = experiment.run_name(trial), trial
    if suite.seconds is not None:
        speed, short = out / SPEEDS / name, (*trial, "--steps", str(SPEED_STEPS))
        if saved_step(speed) is None:
            reason = train_process(experiment, short, suite, speed, out / LOGS / f"{name}_speed.log", announce)
            if reason is not None:
                return reason
        flags = (*trial, *_steps_in_time(name, suite, out))
    return train_process(experiment, flags, suite, out / RUNS / name, out / LOGS / f"{name}.log", announce)


def training_speed(folder: Path) -> float:
    """Return the steps per second of the fastest interval of a run; others may include compilation or evaluation.

    Raises:
      ValueError: if the run has logged none.
    """
    rates = [row["steps_per_second"] for row in read_rows(folder) if "steps_per_second" in row]
    if not rates:
        raise ValueError(f"{folder} has no speed of training; choose another --out, or leave out time")
    return max(rates)


def _steps_in_time(name: str, suite: Suite, out: Path) -> tuple[str, ...]:
    """Return the flags that set the number of steps of a trial, if a suite has a time; see ``steps_in``.

    Raises:
      ValueError: if its run was begun with another number.
    """
    if suite.seconds is None:
        return ()
    steps, folder = steps_in(suite.seconds, training_speed(out / SPEEDS / name)), RunFolder(out / RUNS / name)
    if (folder / "arguments.json").is_file():
        begun = folder.read_json("arguments.json")["arguments"]["steps"]
        if begun != steps:
            raise ValueError(
                f"{folder.path} is a run of {begun:,} steps, but {suite.seconds:g} s of training are {steps:,} steps; "
                "choose another --out, or restore the time that the run was started with"
            )
    return "--steps", str(steps)


def _failure_file(out: Path, name: str) -> Path:
    return out / LOGS / f"{name}.failed"


def _is_done(out: Path, name: str, retry_failed: bool) -> bool:
    failed = _failure_file(out, name).is_file() and not retry_failed
    return failed or saved_step(out / RUNS / name) is not None  # training writes the weights last


def train_process(
    experiment: SuiteExperiment,
    trial: tuple[str, ...],
    suite: Suite,
    folder: Path,
    log: Path,
    announce: Callable[[str], None],
) -> str | None:
    """Train a trial in a process of its own; return why that failed, None if it did not."""
    command = [sys.executable, "-m", "genjax", "train", str(experiment.file), "--workdir", str(folder)]
    command += ["--seeds", str(suite.seeds), "--seed", str(suite.seed), *experiment.flags, *trial]
    command += ["--resume"] if (folder / "arguments.json").is_file() else []
    log.parent.mkdir(parents=True, exist_ok=True)
    last = "it printed nothing"
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, text=True, errors="replace") as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            file.write(line)
            file.flush()
            last = line.strip() or last
            announce(line.rstrip())
    if process.returncode == 0:
        return None
    number = -process.returncode if process.returncode < 0 else process.returncode - _SIGNALLED
    if number in _STOPPING:
        raise KeyboardInterrupt
    if number > 0:
        hint = ", often for lack of memory" if number == signal.SIGKILL else ""
        return f"{signal.Signals(number).name} ended it{hint}"
    return re.sub("^genjax: error: ", "", last)
