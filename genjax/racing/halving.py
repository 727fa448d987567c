"""Successive halving: all entrants are trained for a while, the better half goes on for longer, and so forth.

Every round takes about the same time, so that each of n entrants of a round is trained for T / (R n) of the time T, R
the number of rounds. The first round trains all for a few steps, which shows who fails, and how fast the others are.
A score counts more the longer an entrant has been trained; that a slow starter is left out too early is the price.

Kevin Jamieson and Ameet Talwalkar 2015, arXiv:1502.07943.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from genjax.arguments import NonNegativeFloat, check_arguments

FIRST_STEPS = 300
ROUNDED_TO = 100  # steps
NUM_FINALISTS = 3


@final
@dataclass(frozen=True, kw_only=True)
class Entrant:
    """An entrant after a round.

    Attributes:
      name: its name.
      steps: steps of training so far.
      scores: score of each seed, higher is better; empty if it failed.
      failure: why it failed.
    """

    name: str
    steps: int
    scores: tuple[float, ...] = ()
    failure: str | None = None

    @property
    def mean(self) -> float:
        """Mean score over seeds."""
        return statistics.fmean(self.scores)


@final
@dataclass(frozen=True, kw_only=True)
class Rung:
    """A round.

    Attributes:
      entrants: who took part, the best first, and those that failed last.
      kept: names of those that go on; of the last round, of all finalists.
    """

    entrants: tuple[Entrant, ...]
    kept: tuple[str, ...]


class Trainer(Protocol):
    """Trains and scores entrants."""

    def train(self, name: str, steps: int) -> float:
        """Train an entrant up to a number of steps, and return its steps per second, compilation aside.

        Raises:
          RuntimeError: if training fails.
        """
        ...

    def score(self, name: str) -> tuple[float, ...]:
        """Return the score of each seed on validation data."""
        ...


@check_arguments
def successive_halving(
    names: Sequence[str],
    trainer: Trainer,
    budget: NonNegativeFloat,
    *,
    num_finalists: int = NUM_FINALISTS,
    clock: Callable[[], float] = time.monotonic,
    announce: Callable[[Rung], None] = lambda rung: None,
) -> list[Rung]:
    """Return the rounds of a race.

    Args:
      names: names of the entrants.
      trainer: how entrants are trained and scored.
      budget: time for all rounds, in seconds; the first round is finished whatever it takes.
      num_finalists: number of entrants that the last round has.
      clock: clock of the budget, in seconds.
      announce: function that receives each round.

    Raises:
      RuntimeError: if all entrants fail; the message has the reason of the first.
    """
    end = clock() + budget
    rates: dict[str, float] = {}
    overheads: list[float] = []  # time of a turn that is no training

    def turn(name: str, steps: int, more: int) -> Entrant:
        started = clock()
        try:
            rates[name] = trainer.train(name, steps + more)
            scores = trainer.score(name)
        except RuntimeError as error:
            return Entrant(name=name, steps=steps, failure=str(error))
        overheads.append(max(0.0, clock() - started - more / rates[name]))
        return Entrant(name=name, steps=steps + more, scores=scores)

    entrants = [turn(name, 0, FIRST_STEPS) for name in names]
    rungs = [_ranked(entrants, _num_kept(len(names), num_finalists))]
    announce(rungs[0])
    while rungs[-1].kept and clock() < end:
        going = [each for each in rungs[-1].entrants if each.name in rungs[-1].kept]
        round_end = clock() + (end - clock()) / _num_rounds(len(going), num_finalists)
        entrants = []
        for number, each in enumerate(going):
            seconds = (round_end - clock()) / (len(going) - number) - statistics.fmean(overheads)
            more = max(ROUNDED_TO, int(seconds * rates[each.name]) // ROUNDED_TO * ROUNDED_TO)
            entrants.append(turn(each.name, each.steps, more))
        rungs.append(_ranked(entrants, _num_kept(len(going), num_finalists)))
        announce(rungs[-1])
        if len(going) <= num_finalists:
            break
    if not rungs[-1].kept:
        failed = rungs[-1].entrants[0]
        raise RuntimeError(f"all entrants failed; {failed.name}: {failed.failure}")
    return rungs


def _ranked(entrants: Sequence[Entrant], num_kept: int) -> Rung:
    finished = sorted((each for each in entrants if each.scores), key=lambda each: -each.mean)
    failed = [each for each in entrants if not each.scores]
    return Rung(entrants=(*finished, *failed), kept=tuple(each.name for each in finished[:num_kept]))


def _num_kept(count: int, num_finalists: int) -> int:
    """Return how many entrants of a round go on: half, but no fewer than there are finalists."""
    return max(min(count, num_finalists), -(-count // 2))


def _num_rounds(count: int, num_finalists: int) -> int:
    """Return the number of rounds left, that of ``count`` entrants included."""
    return 1 if count <= num_finalists else 1 + _num_rounds(_num_kept(count, num_finalists), num_finalists)
