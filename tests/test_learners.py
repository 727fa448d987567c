"""Learners against trajectories that can be worked out by hand."""

import dataclasses
from typing import final

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.core import Objective, Variables
from genjax.learners import Stage, gradient_learner

KEY = jax.random.key(0)


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy:
    """Objectives on scalar parameters, written as plain functions of ``(params, x)``."""

    start: tuple[tuple[str, float], ...]
    losses: tuple[tuple[str, tuple[str, ...], object], ...]

    def init(self, key, batch):
        return Variables({name: jnp.float32(value) for name, value in self.start}, {"turns": jnp.int32(0)})

    def objectives(self):
        def loss(function):
            def counted(params, state, key, batch, step):
                value = function(params, batch["x"])
                return value, ({"turns": state["turns"] + 1}, {"seen": batch["x"], "noise": jax.random.normal(key)})

            return counted

        return tuple(Objective(name=name, wrt=wrt, loss=loss(function)) for name, wrt, function in self.losses)

    def sample(self, variables, key, num_samples):
        return jnp.zeros(num_samples)


QUADRATIC = Toy(start=(("a", 5.0),), losses=(("only", ("a",), lambda p, x: 0.5 * (p["a"] - x) ** 2),))
BILINEAR = Toy(
    start=(("a", 1.0), ("b", 2.0)),
    losses=(("min", ("a",), lambda p, x: x * p["a"] * p["b"]), ("max", ("b",), lambda p, x: -x * p["a"] * p["b"])),
)
OVERLAPPING = Toy(
    start=(("a", 0.0), ("b", 0.0)),
    losses=(("first", ("a",), lambda p, x: x * p["a"]), ("second", ("a", "b"), lambda p, x: p["a"] - 3 * p["b"])),
)


def train(learner, batches):
    """All states and metrics, starting with the initial state."""
    state = learner.init(KEY, {"x": jnp.float32(0)})
    step, states, metrics = jax.jit(learner.step), [state], []
    for i, x in enumerate(batches):
        state, new = step(state, jax.random.fold_in(KEY, i), {"x": jnp.asarray(x, jnp.float32)})
        states.append(state)
        metrics.append(new)
    return states, metrics


class TestOneObjective:
    def test_gradient_descent_on_a_quadratic_shrinks_the_error_geometrically(self):
        states, metrics = train(gradient_learner(QUADRATIC, optax.sgd(0.25)), [1.0] * 6)
        np.testing.assert_allclose([s.params["a"] for s in states], [1 + 4 * 0.75**t for t in range(7)], rtol=1e-6)
        np.testing.assert_allclose([m["loss"] for m in metrics], [8 * 0.75 ** (2 * t) for t in range(6)], rtol=1e-6)
        assert [int(s.step) for s in states] == list(range(7))

    def test_metrics_have_the_names_that_the_objective_gave_them(self):
        _, (metrics,) = train(gradient_learner(QUADRATIC, optax.sgd(0.25)), [1.0])
        assert set(metrics) == {"loss", "seen", "noise"}

    def test_its_key_is_the_key_of_the_step(self):
        _, (metrics,) = train(gradient_learner(QUADRATIC, optax.sgd(0.25)), [1.0])
        assert metrics["noise"] == jax.random.normal(jax.random.fold_in(KEY, 0))

    def test_the_loss_knows_the_step(self):
        def loss(params, state, key, batch, step):
            return step * params["a"], (state, {})

        toy = StepOnly(loss=loss)
        states, _ = train(gradient_learner(toy, optax.sgd(1.0)), [0.0] * 4)
        assert [float(s.params["a"]) for s in states] == [0, 0, -1, -3, -6]


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOnly:
    """One objective, given as a loss of the contract."""

    loss: object
    wrt: tuple[str, ...] = ("a",)

    def init(self, key, batch):
        return Variables({"a": jnp.float32(0)}, {})

    def objectives(self):
        return (Objective(name="loss", wrt=self.wrt, loss=self.loss),)

    def sample(self, variables, key, num_samples):
        return jnp.zeros(num_samples)


class TestSchedule:
    def test_alternating_turns_of_a_bilinear_game_rotate(self):
        # With rate 1 and alternating turns, a <- a - b then b <- b + a: this walk comes back after six steps.
        learner = gradient_learner(BILINEAR, optax.sgd(1.0), schedule=("min", "max"))
        states, _ = train(learner, [[1.0, 1.0]] * 6)
        walk = [(1, 2), (-1, 1), (-2, -1), (-1, -2), (1, -1), (2, 1), (1, 2)]
        assert [(float(s.params["a"]), float(s.params["b"])) for s in states] == walk

    def test_the_order_of_turns_is_the_schedule(self):
        # b <- b + a = 3, then again = 4, then a <- a - b = -3.
        learner = gradient_learner(BILINEAR, optax.sgd(1.0), schedule=("max", "max", "min"))
        (_, state), _ = train(learner, [[1.0, 1.0, 1.0]])
        assert (float(state.params["a"]), float(state.params["b"])) == (-3, 4)
        assert int(state.state["turns"]) == 3

    def test_without_a_schedule_each_sees_what_the_one_before_has_moved(self):
        learner = gradient_learner(BILINEAR, optax.sgd(1.0))
        assert learner.minibatches == 1
        (_, state), metrics = train(learner, [1.0])
        assert (float(state.params["a"]), float(state.params["b"])) == (-1, 1)
        assert metrics[0]["min/loss"] == 2.0
        assert metrics[0]["max/loss"] == 2.0  # -a b at a = -1, b = 2

    def test_every_turn_takes_the_next_minibatch(self):
        # With rate 1 a quadratic jumps onto its minibatch, times half the rate: the path tells the order.
        toy = dataclasses.replace(
            QUADRATIC, start=(("a", 0.0), ("b", 0.0)),
            losses=(("one", ("a",), lambda p, x: 0.5 * (p["a"] - x) ** 2), ("two", ("b",), lambda p, x: -x * p["b"])),
        )
        learner = gradient_learner(toy, optax.sgd(0.5), schedule=("one", "one", "two", "one"))
        assert learner.minibatches == 4
        (_, state), (metrics,) = train(learner, [[8.0, 16.0, 100.0, 32.0]])
        # 0 -> 4 -> 10, then a lone turn -> 21; the game's other player sees the third alone.
        assert float(state.params["a"]) == 21
        assert float(state.params["b"]) == 50
        assert metrics["two/seen"] == 100
        assert metrics["one/seen"] == 32  # of the last of its turns

    def test_metrics_of_equal_neighbours_are_averaged(self):
        learner = gradient_learner(BILINEAR, optax.sgd(0.0), schedule=("max", "max", "max", "min"))
        _, (metrics,) = train(learner, [[1.0, 2.0, 6.0, 5.0]])
        assert metrics["max/seen"] == 3
        assert metrics["min/seen"] == 5
        assert set(metrics) == {f"{name}/{m}" for name in ("min", "max") for m in ("loss", "seen", "noise")}

    def test_turns_draw_different_noise(self):
        # Parameters add up the noise of their turns; a reused key would make the two differences equal.
        def loss(params, state, key, batch, step):
            return params["a"] * jax.random.normal(key), (state, {})

        learner = gradient_learner(TwoNames(loss=loss), optax.sgd(1.0), schedule=("x", "x", "y"))
        start = learner.init(KEY, {"x": jnp.float32(0)})
        noises = []
        for keep in range(3):
            # Only the minibatch named by keep is non-zero, and it multiplies the noise of its turn.
            batch = {"x": jnp.zeros(3).at[keep].set(1.0)}
            noises.append(float(jax.jit(learner.step)(start, KEY, batch)[0].params["a"]))
        assert len({round(n, 6) for n in noises}) == 3

    def test_equal_neighbours_compile_as_one(self):
        def num_equations(schedule):
            learner = gradient_learner(BILINEAR, optax.adam(0.1), schedule=schedule)
            state = learner.init(KEY, {"x": jnp.float32(0)})
            return count_sines(jax.make_jaxpr(learner.step)(state, KEY, {"x": jnp.zeros(len(schedule))}))

        assert num_equations(("max",) * 2 + ("min",)) == num_equations(("max",) * 50 + ("min",))
        assert num_equations(("max",) * 2 + ("min",)) < num_equations(("max", "min") * 2)
