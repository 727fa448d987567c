"""Successive halving: train all entrants briefly, train the better half for longer, and so on.

Rounds take about equal shares of the time T: each of the n entrants of a round is trained for T / (R n), where R is the
number of rounds. The first round is different: it trains all entrants for the same few steps, to find out which ones
fail and how fast the others are. Longer training makes scores more reliable; the price is that an entrant that starts
slowly may be dropped too early.

Kevin Jamieson and Ameet Talwalkar 2015, arXiv:1502.07943.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from genjax.arguments import NonNegativeFloat, PositiveInt, check_arguments
from genjax.comparison.durations import steps_in

FIRST_STEPS = 300
NUM_FINALISTS = 3


@final
@dataclass(frozen=True, kw_only=True)
class Entrant:
    """An entrant after a round.

    Attributes:
      name: its name.
      steps: steps of training so far.
      scores: score of each seed, higher is better; empty if it failed.
      failure: why it failed; None if it did not.
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
      entrants: entrants of the round, best first, failed ones last.
      kept: names of the entrants that go on, best first; after the last round, the finalists.
    """

    entrants: tuple[Entrant, ...]
    kept: tuple[str, ...]


class RaceError(RuntimeError):
    """All entrants of a race failed."""


@runtime_checkable
class Trainer(Protocol):
    """Trains and scores entrants."""

    def train(self, name: str, steps: int) -> float:
        """Train an entrant up to a number of steps, and return its steps per second, compilation aside.

        Raises:
          RuntimeError: if training fails.
        """
        ...

    def score(self, name: str) -> tuple[float, ...]:
        """Return the score of each seed on validation data.

        Raises:
          RuntimeError: if a score is not finite.
        """
        ...


@check_arguments
def successive_halving(
    names: Sequence[str],
    trainer: Trainer,
    budget: NonNegativeFloat,
    *,
    num_finalists: PositiveInt = NUM_FINALISTS,
    clock: Callable[[], float] = time.monotonic,
    announce: Callable[[Rung], None] = lambda rung: None,
) -> list[Rung]:
    """Return the rounds of a race.

    Args:
      names: names of the entrants.
      trainer: how entrants are trained and scored.
      budget: time for all rounds, in seconds. The first round is finished however long it takes, and no round starts
        that has no time for training.
      num_finalists: number of entrants in the last round.
      clock: clock of the budget, in seconds.
      announce: function that receives each round.

    Raises:
      RaceError: if all entrants fail in the first round; the message gives the reason of the first.
    """
    end = clock() + budget
    rates: dict[str, float] = {}
    overheads: list[float] = []  # seconds of each turn not spent on training

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
    if not rungs[0].kept:
        failed = rungs[0].entrants[0]
        raise RaceError(f"all entrants failed; {failed.name}: {failed.failure}")
    while end - clock() > len(rungs[-1].kept) * statistics.fmean(overheads):
        going = [each for each in rungs[-1].entrants if each.name in rungs[-1].kept]
        round_end = clock() + (end - clock()) / _num_rounds(len(going), num_finalists)
        entrants = []
        for number, each in enumerate(going):
            seconds = (round_end - clock()) / (len(going) - number) - statistics.fmean(overheads)
            more = steps_in(seconds, rates[each.name])
            entrants.append(turn(each.name, each.steps, more))
        rung = _ranked(entrants, _num_kept(len(going), num_finalists))
        announce(rung)
        if not rung.kept:  # the scores of the round before are the last ones
            break
        rungs.append(rung)
        if len(going) <= num_finalists:
            break
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
