"""Successive halving with a made-up clock: who goes on, how long each is trained, and what fails."""

import pytest

from genjax.racing.halving import FIRST_STEPS, Entrant, RaceError, Rung, successive_halving

OVERHEAD = 10.0  # seconds of a turn that is no training


class Stub:
    """Entrants with a quality, whose score approaches it as they are trained at a rate."""

    def __init__(self, qualities, rate=100.0, failing=()):
        self.qualities, self.rate, self.failing = qualities, rate, failing
        self.now, self.steps = 0.0, {}

    def clock(self):
        return self.now

    def train(self, name, steps):
        if name in self.failing and steps > self.failing[name]:
            raise RuntimeError("loss is NaN")
        self.now += OVERHEAD + (steps - self.steps.get(name, 0)) / self.rate
        self.steps[name] = steps
        return self.rate

    def score(self, name):
        return self.qualities[name], self.qualities[name] + 0.1


def run(stub, budget, **settings):
    return successive_halving(tuple(stub.qualities), stub, budget, clock=stub.clock, **settings)


EIGHT = {name: i / 10 for i, name in enumerate("abcdefgh")}


def test_the_better_half_goes_on_to_three_finalists():
    rungs = run(Stub(EIGHT), 1_000.0)
    assert [[each.name for each in rung.entrants] for rung in rungs] == [list("hgfedcba"), list("hgfe"), list("hgf")]
    assert [rung.kept for rung in rungs] == [tuple("hgfe"), tuple("hgf"), tuple("hgf")]
    assert rungs[0].entrants[0] == Entrant(name="h", steps=FIRST_STEPS, scores=(0.7, 0.7 + 0.1))
    assert rungs[0].entrants[0].mean == pytest.approx(0.75)


def test_rounds_share_the_time_and_end_with_it():
    stub = Stub(EIGHT)
    rungs = run(stub, 1_000.0)
    first = 8 * (OVERHEAD + FIRST_STEPS / stub.rate)
    second = (1_000 - first) / 2  # of two rounds left
    steps = {each.steps for each in rungs[1].entrants}
    assert steps == {FIRST_STEPS + int((second / 4 - OVERHEAD) * stub.rate) // 100 * 100}
    assert 1_000 - 3 < stub.now <= 1_000


def test_a_budget_that_the_first_round_takes_leaves_its_ranking():
    rungs = run(Stub(EIGHT), 0.0)
    assert [rung.kept for rung in rungs] == [tuple("hgfe")]


def test_few_entrants_have_one_round_more():
    rungs = run(Stub({"a": 0.1, "b": 0.2}), 500.0)
    assert [rung.kept for rung in rungs] == [("b", "a"), ("b", "a")]


def test_who_fails_is_left_out_with_the_reason():
    announced = []
    rungs = run(Stub(EIGHT, failing={"h": 0, "g": FIRST_STEPS}), 1_000.0, announce=announced.append)
    assert announced == rungs
    assert rungs[0].entrants[-1] == Entrant(name="h", steps=0, failure="loss is NaN")
    assert rungs[0].kept == tuple("gfed")
    assert rungs[1].entrants[-1] == Entrant(name="g", steps=FIRST_STEPS, failure="loss is NaN")
    assert rungs[1].kept == rungs[2].kept == tuple("fed")


def test_a_race_that_all_fail_says_why():
    with pytest.raises(RaceError, match="all entrants failed; a: loss is NaN"):
        run(Stub({"a": 0.1, "b": 0.2}, failing={"a": 0, "b": 0}), 100.0)


def test_a_round_that_all_fail_leaves_the_ranking_of_the_round_before():
    announced = []
    stub = Stub({"a": 0.1, "b": 0.2}, failing={"a": FIRST_STEPS, "b": FIRST_STEPS})
    rungs = run(stub, 100.0, announce=announced.append)
    assert [rung.kept for rung in rungs] == [("b", "a")]
    assert [rung.kept for rung in announced] == [("b", "a"), ()]


def test_a_round_without_time_for_training_does_not_start():
    stub = Stub({"a": 0.1, "b": 0.2})
    run(stub, 2 * (OVERHEAD + FIRST_STEPS / stub.rate) + 2 * OVERHEAD - 1)
    assert stub.now == 2 * (OVERHEAD + FIRST_STEPS / stub.rate)


def test_rounds_compare_by_value():
    entrant = Entrant(name="a", steps=1, scores=(0.5,))
    assert Rung(entrants=(entrant,), kept=("a",)) == Rung(entrants=(entrant,), kept=("a",))
