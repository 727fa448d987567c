"""Suites: experiments on the same data that are trained first, each in a process of its own, and then compared.

A suite is a TOML file, and the paths in it are relative to its folder::

    seeds = 5                        # replicas of each experiment, in one program
    seed = 100                       # of the first replica

    [[experiment]]
    file = "../vae_digits.py"
    flags = ["--steps", "2000"]      # of genjax train
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.comparison.measure import Pace, slug
from genjax.data.io import replace_file
from genjax.runner.weights import saved_step

FOLDER = Path("experiments") / "suites"
RUNS, LOGS = "runs", "logs"  # folders beside the cells of a comparison
_SIGNALLED = 128  # exit status of a process that a signal has stopped, plus the number of the signal


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class SuiteExperiment:
    """An experiment that a suite trains.

    Attributes:
      file: its Python file.
      flags: flags of ``genjax train``.
    """

    file: Path
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its run folder and of its log."""
        return slug(" ".join([self.file.stem, *(flag.removeprefix("--") for flag in self.flags)]))


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Suite:
    """Experiments on the same data.

    Attributes:
      experiments: experiments in the order of training.
      seeds: number of replicas of each.
      seed: seed of the first replica.
    """

    experiments: tuple[SuiteExperiment, ...]
    seeds: PositiveInt = 1
    seed: NonNegativeInt = 0


@final
@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the training of a suite left.

    Attributes:
      runs: folders of finished runs.
      failures: why training failed, by the name of the experiment.
    """

    runs: tuple[Path, ...]
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
      ValueError: if it is no TOML, has unknown entries, or names an experiment that is missing or there twice.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    entries = content.get("experiment")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path} has no [[experiment]]; name files of experiments")
    _check_names(path, content, {"seeds", "seed", "experiment"})
    experiments = [_experiment(path, entry) for entry in entries]
    names = [experiment.name for experiment in experiments]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path} has {repeated} twice; leave one out, or give it other flags")
    settings = {name: content[name] for name in ("seeds", "seed") if name in content}
    return Suite(experiments=tuple(experiments), **settings)


def _experiment(path: Path, entry: Mapping[str, Any]) -> SuiteExperiment:
    _check_names(path, entry, {"file", "flags"})
    file = path.parent / str(entry.get("file"))
    if not file.is_file():
        raise ValueError(f"{path} names the experiment {file}, which is not there; check its file")
    return SuiteExperiment(file=file, flags=tuple(map(str, entry.get("flags", ()))))


def _check_names(path: Path, entry: Mapping[str, Any], allowed: set[str]) -> None:
    unknown = sorted(set(entry) - allowed)
    if unknown:
        raise ValueError(f"{path} has {unknown[0]!r}, but entries are {', '.join(sorted(allowed))}; use these")


def train_suite(
    suite: Suite, out: Path, *, retry_failed: bool = False, announce: Callable[[str], None] = print
) -> Trained:
    """Train the experiments of a suite that are not finished, and go on with those that were stopped.

    Args:
      suite: experiments.
      out: folder, in which runs and their logs get folders.
      retry_failed: whether to train again what failed before.
      announce: function that receives a line for each experiment, and each line that it prints.

    Raises:
      KeyboardInterrupt: if a signal stops an experiment; the next call goes on from its checkpoint.
    """
    runs, failures = [], {}
    pending = [each for each in suite.experiments if not _is_done(out, each.name, retry_failed)]
    pace = Pace(["training"] * len(pending))
    for experiment in suite.experiments:
        folder, failure = out / RUNS / experiment.name, _failure_file(out, experiment.name)
        if experiment in pending:
            announce(f"trained {pace}: now {experiment.name}")
            started = time.monotonic()
            reason = _train(experiment, suite, folder, out / LOGS / f"{experiment.name}.log", announce)
            pace.finish("training", time.monotonic() - started)
            failure.unlink(missing_ok=True)
            if reason is not None:
                replace_file(failure, f"{reason}\n".encode())
        if failure.is_file():
            failures[experiment.name] = failure.read_text("utf-8").strip()
        else:
            runs.append(folder)
    return Trained(runs=tuple(runs), failures=failures)


def _failure_file(out: Path, name: str) -> Path:
    return out / LOGS / f"{name}.failed"


def _is_done(out: Path, name: str, retry_failed: bool) -> bool:
    failed = _failure_file(out, name).is_file() and not retry_failed
    return failed or saved_step(out / RUNS / name) is not None  # training writes the weights last


def _train(
    experiment: SuiteExperiment, suite: Suite, folder: Path, log: Path, announce: Callable[[str], None]
) -> str | None:
    """Train an experiment in a process of its own; return why that failed, None if it did not."""
    command = [sys.executable, "-m", "genjax", "train", str(experiment.file), "--workdir", str(folder)]
    command += ["--seeds", str(suite.seeds), "--seed", str(suite.seed), *experiment.flags]
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
    if process.returncode > _SIGNALLED or process.returncode < 0:
        raise KeyboardInterrupt
    return re.sub("^genjax: error: ", "", last)
