"""A race on your own data: entrants are trained by ``genjax train`` and scored on validation data.

The score is the MMD² between samples and the validation split, in the features that comparisons use by default. It is
unbiased, and unlike coverage it does not saturate for few examples.

``OUT/experiment.py`` is the experiment of all entrants, ``OUT/runs`` and ``OUT/logs`` hold their runs,
``OUT/race.json`` the rounds, and ``OUT/comparison`` the comparison of the finalists on the test split with its report.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import jax

from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import HasLogProb, Imputes, Reconstructs, has_latent_space, likelihoods, supports
from genjax.comparison.choosing import NEEDS, NeedName
from genjax.comparison.compare import compare
from genjax.comparison.runs import read_run
from genjax.comparison.settings import ComparisonSettings, default_features
from genjax.comparison.suites import LOGS, RUNS, Suite, SuiteExperiment, train_process, training_speed
from genjax.comparison.table import Table
from genjax.comparison.trials import Trial, Trials, compared, validation
from genjax.data import Dataset, load
from genjax.data.io import replace_file
from genjax.metrics import FeatureNetwork
from genjax.metrics.progress import Progress, no_progress
from genjax.metrics.rows import format_value
from genjax.racing import entrants
from genjax.racing.halving import NUM_FINALISTS, Rung, successive_halving

EXPERIMENT, RACE, COMPARISON = "experiment.py", "race.json", "comparison"
LIKELIHOOD_SAMPLES = 64  # draws per likelihood estimate, few so that a race takes minutes
UNANSWERED: Mapping[str, str] = {
    "stable-training": "a race trains each model with one setting",
    "controllable": "the models of a race have no classes",
}
REQUIRED: Mapping[str, Callable[[Any], bool]] = {
    "exact-likelihood": lambda model: supports(model, HasLogProb),
    "reconstruction": lambda model: supports(model, Reconstructs),
    "smooth-latent-space": has_latent_space,
    "imputation": lambda model: supports(model, Imputes),
    "anomalies": lambda model: bool(likelihoods(model)),
}


@final
class Processes:
    """Trains entrants in separate processes, and scores them by the negative MMD² of the validation split."""

    def __init__(
        self,
        dataset: str,
        out: Path,
        network: FeatureNetwork,
        *,
        suite: Suite,
        settings: ComparisonSettings,
        announce: Callable[[str], None],
    ) -> None:
        self._dataset, self._out, self._network = dataset, out, network
        self._suite, self._settings, self._announce = suite, settings, announce

    def experiment(self, name: str) -> SuiteExperiment:
        """Return the experiment of an entrant."""
        flags = ("--method", name, "--dataset", self._dataset)
        return SuiteExperiment(file=self._out / EXPERIMENT, flags=flags, label=name)

    def folder(self, name: str) -> Path:
        """Return the run folder of an entrant."""
        return self._out / RUNS / name

    def train(self, name: str, steps: int) -> float:
        """See ``halving.Trainer``."""
        folder, log = self.folder(name), self._out / LOGS / f"{name}.log"
        reason = train_process(self.experiment(name), ("--steps", str(steps)), self._suite, folder, log, self._announce)
        if reason is not None:
            raise RuntimeError(reason)
        return training_speed(folder)

    def score(self, name: str) -> tuple[float, ...]:
        """See ``halving.Trainer``."""
        run = read_run(self.folder(name))
        evaluation = validation(run, self._settings, self._network)
        try:
            values = [compared(evaluation, index, "mmd2", "mmd2") for index in range(len(run.seeds))]
        except ValueError as error:  # numbers too large to be compared
            raise RuntimeError(str(error)) from None
        finite = [value for value in values if value is not None]
        if len(finite) < len(values):
            raise RuntimeError(f"samples of {len(values) - len(finite)} of {len(values)} seeds are not finite")
        return tuple(-value for value in finite)


@check_arguments
def race(
    dataset: str,
    budget: float,
    out: Path,
    *,
    seeds: PositiveInt = 3,
    methods: Sequence[str] = (),
    needs: Sequence[NeedName] = (),
    num_finalists: PositiveInt = NUM_FINALISTS,
    command: str = "",
    progress: Progress = no_progress,
    announce: Callable[[str], None] = print,
) -> tuple[list[Rung], Table]:
    """Race on a data set, and return the rounds and the table of the finalists.

    Args:
      dataset: name of a data set, or path of a file or folder, see ``data.load``.
      budget: seconds for training, compilation and scoring. A feature network that has to be trained first, and the
        comparison of the finalists take extra time.
      out: folder that does not exist, or is empty.
      seeds: number of replicas of each entrant.
      methods: names of the entrants; by default all of ``entrants.Method`` that suit the data.
      needs: needs that all entrants must be able to meet, see ``comparison.choosing``.
      num_finalists: number of entrants that are compared in the end.
      command: command of the race, for numbers that no other command prints.
      progress: function that starts a progress bar, ``(name, total) -> callback``.
      announce: function that receives a line for each step.

    Raises:
      ValueError: if ``out`` is not empty, a method does not suit the data or the needs, or the data do not suit a race.
      RaceError: if all entrants fail.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out is {out}, which is not empty; choose another folder")
    source = entrants.split(load(dataset))
    _check_needs(source, needs)
    names = _names(source, methods, needs)
    settings = ComparisonSettings(features=default_features(source), likelihood_samples=LIKELIHOOD_SAMPLES)
    announce(f"features: {settings.features}")
    network = settings.network(source)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(entrants.__file__, out / EXPERIMENT)
    suite = Suite(experiments=(), seeds=seeds)
    processes = Processes(dataset, out, network, suite=suite, settings=settings, announce=announce)
    record: dict[str, Any] = {"dataset": dataset, "budget": budget, "seeds": seeds, "rungs": []}

    def keep(rung: Rung) -> None:
        record["rungs"].append(dataclasses.asdict(rung))
        replace_file(out / RACE, (json.dumps(record, indent=1) + "\n").encode())
        announce(describe(rung))

    rungs = successive_halving(names, processes, budget, num_finalists=num_finalists, announce=keep)
    finalists = rungs[-1].kept[:num_finalists]
    trials = [
        Trials(
            name=each.name,
            label=each.name,
            command=processes.experiment(each.name).command,
            trials=(Trial(flags=f"--steps {each.steps}", run=str(processes.folder(each.name))),),
            num_seeds=seeds,
        )
        for each in rungs[-1].entrants
        if each.name in finalists
    ]
    paths = [processes.folder(name) for name in finalists]
    table = compare(
        paths, out / COMPARISON, settings, trials=trials, command=command, progress=progress, announce=announce
    )
    return rungs, table


def _check_needs(source: Dataset, needs: Sequence[NeedName]) -> None:
    """Raise ValueError for a need that a race on this data and machine cannot tell about."""
    examples, device = {name: len(split) for name, split in source.splits.items()}, jax.devices()[0].device_kind
    protocol = {"examples": examples, "training_device": device, "device": device}
    for need in needs:
        reason = UNANSWERED.get(need) or NEEDS[need].obstacle(protocol)
        if reason is not None:
            raise ValueError(f"a race does not tell about {need!r}, because {reason}; leave it out")


def _names(source: Dataset, methods: Sequence[str], needs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the entrants that suit the data and can meet the needs."""
    possible = entrants.entrants(source)
    wrong = next((name for name in methods if name not in possible), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} cannot race on {source.name}; use {', '.join(possible)}")
    data_view = entrants.view(source)
    models = {name: entrants.model_of(name, data_view, width=8) for name in dict.fromkeys(methods or possible)}
    required = [REQUIRED[need] for need in needs if need in REQUIRED]
    names = tuple(name for name, model in models.items() if all(meets(model) for meets in required))
    if not names:
        raise ValueError(f"none of {', '.join(models)} meets {', '.join(needs)}; leave out a need")
    return names


def describe(rung: Rung) -> str:
    """Return a round in words.

    >>> from genjax.racing import Entrant
    >>> first, second = Entrant(name="vae", steps=300, scores=(-0.5, -0.7)), Entrant(name="gan", steps=0, failure="NaN")
    >>> describe(Rung(entrants=(first, second), kept=("vae",)))
    'MMD²: vae 0.60 ± 0.14 after 300 steps; gan failed: NaN. Kept: vae'
    """
    parts = [
        f"{each.name} failed: {each.failure}"
        if each.failure is not None
        else f"{each.name} {format_value([-score for score in each.scores], digits=2)} after {each.steps:,} steps"
        for each in rung.entrants
    ]
    return f"MMD²: {'; '.join(parts)}. Kept: {', '.join(rung.kept)}"
