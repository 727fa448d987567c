"""The trials of a page: in each, a rater chooses one of two examples.

A page has random names of examples, and the key, a separate file, says which entries they belong to. All raters see the
same trials, in random order and on random sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

import numpy as np

Task = Literal["real", "timed", "preference"]
TASKS: tuple[Task, ...] = get_args(Task)
DATA, CHECK = "data", "attention check"  # entries beside those that are judged


@final
@dataclass(frozen=True, kw_only=True)
class Trial:
    """A question about two examples.

    Attributes:
      task: "real" asks which example is real, "timed" asks the same after a short exposure, and "preference" asks which
        example is better.
      options: names of the two examples in alphabetical order, which is random.
    """

    task: Task
    options: tuple[str, str]


@final
@dataclass(frozen=True, kw_only=True)
class Trials:
    """Trials with the entries of their examples.

    Attributes:
      trials: questions.
      contents: entry and index of each example, by its name.
    """

    trials: tuple[Trial, ...]
    contents: Mapping[str, tuple[str, int]]

    @property
    def needed(self) -> dict[str, int]:
        """Number of examples of each entry."""
        counts: dict[str, int] = {}
        for entry, index in self.contents.values():
            counts[entry] = max(counts.get(entry, 0), index + 1)
        return counts


def make_trials(
    entries: Sequence[str], tasks: Sequence[Task], num_trials: int, num_checks: int, random: np.random.Generator
) -> Trials:
    """Return trials of each task, and attention checks, in which an example of the data stands beside noise.

    Args:
      entries: names of the models.
      tasks: tasks, each of which has ``num_trials`` trials, all entries or pairs of entries in turn.
      num_trials: number of trials of each task.
      num_checks: number of attention checks.
      random: generator of the names.
    """
    contents: dict[str, tuple[str, int]] = {}
    counts: dict[str, int] = {}

    def name(entry: str) -> str:
        new = random.bytes(5).hex()
        while new in contents:
            new = random.bytes(5).hex()
        contents[new] = (entry, counts.get(entry, 0))
        counts[entry] = counts.get(entry, 0) + 1
        return new

    def trial(task: Task, pair: Iterable[str]) -> Trial:
        first, second = sorted(map(name, pair))
        return Trial(task=task, options=(first, second))

    trials = []
    for task in tasks:
        pairs = list(itertools.combinations(entries, 2)) if task == "preference" else [(e, DATA) for e in entries]
        trials += [trial(task, pairs[i % len(pairs)]) for i in range(num_trials)]
    question: Task = "preference" if set(tasks) == {"preference"} else "real"
    trials += [trial(question, (DATA, CHECK)) for _ in range(num_checks)]
    return Trials(trials=tuple(trials), contents=contents)


def scrambled(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return examples (N, ...) with their entries in random order: noise with the values of the data."""
    flat = x.reshape(len(x), -1)
    return random.permuted(flat, axis=1).reshape(x.shape)


def to_key(trials: Trials, page: str, entries: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key of a page as JSON, with the entry of each example."""
    return {
        "page": page,
        "entries": list(entries),
        "trials": [{"task": trial.task, "options": list(trial.options)} for trial in trials.trials],
        "contents": {name: entry for name, (entry, _) in trials.contents.items()},
        **settings,
    }
