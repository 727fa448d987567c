"""Learners, compared with trajectories computed by hand."""

import dataclasses
from typing import Any, final

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.autoregressive import MADE
from genjax.averages import exponent
from genjax.core import Objective, Variables
from genjax.learners import gradient_learner
from genjax.optimizers import clip_params

KEY = jax.random.key(0)


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy:
    """A model with any objectives on scalar parameters ``a`` and ``b``."""

    a: float
    b: float
    objectives_: tuple[Objective, ...]
    dtype: Any = jnp.float32

    def init(self, key, batch):
        params = {"a": jnp.asarray(self.a, self.dtype), "b": jnp.asarray(self.b, self.dtype)}
        return Variables(params, {"turns": jnp.int32(0)})

    def objectives(self):
        return self.objectives_

    def sample(self, variables, key, num_samples):
        return jnp.zeros(num_samples)


def objective(name, wrt, function):
    """Return the loss ``function(a, b, x)``, whose state counts turns and whose metrics are the batch."""

    def loss(params, state, key, batch, step):
        value = function(params["a"], params["b"], batch["x"])
        return value, ({"turns": state["turns"] + 1}, {"x": batch["x"]})

    return Objective(name=name, wrt=wrt, loss=loss)


QUADRATIC = Toy(a=5.0, b=0.0, objectives_=(objective("only", ("a",), lambda a, b, x: 0.5 * (a - x) ** 2),))
BILINEAR = Toy(
    a=1.0,
    b=2.0,
    objectives_=(
        objective("min", ("a",), lambda a, b, x: x * a * b),
        objective("max", ("b",), lambda a, b, x: -x * a * b),
    ),
)
TWO_QUADRATICS = Toy(
    a=0.0,
    b=0.0,
    objectives_=(
        objective("one", ("a",), lambda a, b, x: 0.5 * (a - x) ** 2),
        objective("two", ("b",), lambda a, b, x: 0.5 * (b - x) ** 2),
    ),
)


def follow(learner, batches):
    """Return all states, beginning with the initial one, and all metrics."""
    state = learner.init(KEY, {"x": jnp.float32(0)})
    step, states, metrics = jax.jit(learner.step), [state], []
    for i, x in enumerate(batches):
        state, new = step(state, jax.random.fold_in(KEY, i), {"x": jnp.asarray(x, jnp.float32)})
        states.append(state)
        metrics.append(new)
    return states, metrics


def pair(state):
    return float(state.params["a"]), float(state.params["b"])


class TestOneObjective:
    def test_gradient_descent_on_a_quadratic_shrinks_the_error_geometrically(self):
        states, metrics = follow(gradient_learner(QUADRATIC, optax.sgd(0.25)), [1.0] * 6)
        np.testing.assert_allclose([s.params["a"] for s in states], [1 + 4 * 0.75**t for t in range(7)], rtol=1e-6)
        np.testing.assert_allclose([m["loss"] for m in metrics], [8 * 0.5625**t for t in range(6)], rtol=1e-6)
        assert [int(s.step) for s in states] == [int(s.state["turns"]) for s in states] == list(range(7))

    def test_metrics_have_the_names_that_the_objective_gave_them(self):
        _, (metrics,) = follow(gradient_learner(QUADRATIC, optax.sgd(0.25)), [1.0])
        assert set(metrics) == {"loss", "x"}

    def test_the_loss_knows_its_step_and_its_key(self):
        def loss(params, state, key, batch, step):
            return step * params["a"], (state, {"noise": jax.random.normal(key)})

        toy = Toy(a=0.0, b=0.0, objectives_=(Objective(name="loss", wrt=("a",), loss=loss),))
        states, metrics = follow(gradient_learner(toy, optax.sgd(1.0)), [0.0] * 4)
        assert [float(s.params["a"]) for s in states] == [0, 0, -1, -3, -6]
        assert [m["noise"] for m in metrics] == [jax.random.normal(jax.random.fold_in(KEY, i)) for i in range(4)]

    def test_a_schedule_of_one_turn_takes_a_plain_minibatch(self):
        plain = gradient_learner(QUADRATIC, optax.sgd(0.25))
        scheduled = gradient_learner(QUADRATIC, optax.sgd(0.25), schedule=("only",))
        assert scheduled.minibatches == plain.minibatches == 1
        chex.assert_trees_all_equal(follow(scheduled, [1.0, 2.0]), follow(plain, [1.0, 2.0]))

    def test_one_objective_in_three_turns_takes_three_steps_of_descent(self):
        learner = gradient_learner(QUADRATIC, optax.sgd(0.5), schedule=("only",) * 3)
        (_, state), (metrics,) = follow(learner, [[1.0, 3.0, 11.0]])
        assert float(state.params["a"]) == 7  # 5, 3, 3, 7
        assert int(state.step) == 1
        np.testing.assert_allclose(metrics["loss"], (8 + 0 + 32) / 3, rtol=1e-6)


class TestGame:
    def test_alternating_turns_of_a_bilinear_game_rotate(self):
        # min_a max_b ab with rate 1: a <- a - b, then b <- b + a. This cycle has six steps.
        learner = gradient_learner(BILINEAR, optax.sgd(1.0), schedule=("min", "max"))
        states, _ = follow(learner, [[1.0, 1.0]] * 6)
        assert [pair(s) for s in states] == [(1, 2), (-1, 1), (-2, -1), (-1, -2), (1, -1), (2, 1), (1, 2)]

    def test_the_order_of_turns_is_the_schedule(self):
        # b <- b + a twice gives 4, then a <- a - b gives -3. In the other order it would be (-1, 0).
        learner = gradient_learner(BILINEAR, optax.sgd(1.0), schedule=("max", "max", "min"))
        (_, state), _ = follow(learner, [[1.0, 1.0, 1.0]])
        assert pair(state) == (-3, 4)
        assert int(state.state["turns"]) == 3

    def test_without_a_schedule_each_sees_what_the_one_before_has_moved(self):
        learner = gradient_learner(BILINEAR, optax.sgd(1.0))
        assert learner.minibatches == 1
        (_, state), (metrics,) = follow(learner, [1.0])
        assert pair(state) == (-1, 1)
        assert (metrics["min/loss"], metrics["max/loss"]) == (2, 2)  # ab at (1, 2), then -ab at (-1, 2)

    def test_every_turn_takes_the_next_minibatch(self):
        # With rate 1/2 a parameter moves halfway to each minibatch: a through 4 and 10 to 21, b to 50.
        learner = gradient_learner(TWO_QUADRATICS, optax.sgd(0.5), schedule=("one", "one", "two", "one"))
        assert learner.minibatches == 4
        (_, state), (metrics,) = follow(learner, [[8.0, 16.0, 100.0, 32.0]])
        assert pair(state) == (21, 50)
        assert metrics["two/x"] == 100

    def test_metrics_are_prefixed_and_averaged_over_equal_neighbours(self):
        learner = gradient_learner(BILINEAR, optax.sgd(0.0), schedule=("max", "max", "max", "min"))
        _, (metrics,) = follow(learner, [[1.0, 2.0, 6.0, 5.0]])
        assert set(metrics) == {"min/loss", "min/x", "max/loss", "max/x"}
        assert (metrics["max/x"], metrics["min/x"]) == (3, 5)
        assert (metrics["max/loss"], metrics["min/loss"]) == (-6, 10)

    def test_all_turns_draw_different_noise(self):
        def loss(params, state, key, batch, step):
            return params["a"] * batch["x"] * jax.random.normal(key), (state, {})

        objectives = (Objective(name="one", wrt=("a",), loss=loss), Objective(name="two", wrt=("a",), loss=loss))
        schedule = ("one", "one", "two", "one")
        learner = gradient_learner(Toy(a=0.0, b=0.0, objectives_=objectives), optax.sgd(1.0), schedule=schedule)
        start = learner.init(KEY, {"x": jnp.float32(0)})
        # With one minibatch of ones among zeros, only the noise of that turn counts.
        step = jax.jit(lambda x: learner.step(start, KEY, {"x": x})[0].params["a"])
        noise = [float(step(x)) for x in jnp.eye(4)]
        assert len(set(noise)) == 4

    def test_equal_neighbours_compile_as_one(self):
        objectives = (
            objective("one", ("a",), lambda a, b, x: jax.lax.sin(a * x)),
            objective("two", ("b",), lambda a, b, x: jax.lax.sin(b * x)),
        )
        model = Toy(a=1.0, b=1.0, objectives_=objectives)

        def num_gradients(schedule):
            learner = gradient_learner(model, optax.adam(0.1), schedule=schedule)
            state = learner.init(KEY, {"x": jnp.float32(0)})
            return str(jax.make_jaxpr(learner.step)(state, KEY, {"x": jnp.zeros(len(schedule))})).count("= cos ")

        assert num_gradients(("one",) * 50 + ("two",)) == 2
        assert num_gradients(("one", "two") * 3) == 6


class TestOptimizers:
    def test_overlapping_objectives_keep_their_own_momentum(self):
        # first: gradient 4 on a, so velocity 4, 6, 7. second: gradient 1 on a and -3 on b, so velocity 1, 1.5, 1.75.
        objectives = (
            objective("first", ("a",), lambda a, b, x: 4 * a),
            objective("second", ("a", "b"), lambda a, b, x: a - 3 * b),
        )
        model = Toy(a=0.0, b=0.0, objectives_=objectives)
        states, _ = follow(gradient_learner(model, optax.sgd(1.0, momentum=0.5)), [0.0] * 3)
        assert [pair(s) for s in states] == [(0, 0), (-5, 3), (-12.5, 7.5), (-21.25, 12.75)]
        assert set(states[0].opt_state) == {"first", "second"}
        assert set(optax.tree.get(states[0].opt_state["first"], "trace")) == {"a"}
        assert set(optax.tree.get(states[0].opt_state["second"], "trace")) == {"a", "b"}

    def test_each_objective_has_the_optimizer_of_its_name(self):
        optimizers = {"min": optax.sgd(1.0), "max": optax.sgd(0.25)}
        (_, state), _ = follow(gradient_learner(BILINEAR, optimizers), [1.0])
        assert pair(state) == (-1, 1.75)

    def test_an_optimizer_counts_its_own_turns(self):
        learner = gradient_learner(BILINEAR, optax.adam(0.1), schedule=("max",) * 5 + ("min",))
        (_, state), _ = follow(learner, [[1.0] * 6])
        assert optax.tree.get(state.opt_state["max"], "count") == 5
        assert optax.tree.get(state.opt_state["min"], "count") == 1

    def test_an_optimizer_sees_the_parameters_that_it_decays(self):
        # The gradient is zero at a = x = 4, so only the decay of 1/2 remains.
        optimizer = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(1.0))
        (_, state), _ = follow(gradient_learner(dataclasses.replace(QUADRATIC, a=4.0), optimizer), [4.0])
        assert float(state.params["a"]) == 2


class TestClippedParameters:
    def test_a_step_ends_in_the_box_where_clipping_by_hand_ends(self):
        params = {"w": jnp.linspace(-0.02, 0.02, 9), "b": {"c": jnp.float32(0.004)}}
        grads = {"w": jnp.linspace(-2.0, 3.0, 9) ** 3, "b": {"c": jnp.float32(-0.5)}}
        optimizer = optax.chain(optax.sgd(0.001), clip_params(0.01))
        updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
        new_params = optax.apply_updates(params, updates)
        by_hand = jax.tree.map(lambda p, g: np.clip(p - 0.001 * g, -0.01, 0.01), params, grads)
        chex.assert_trees_all_close(new_params, by_hand, atol=1e-8)
        assert 0 < np.sum(np.abs(by_hand["w"]) == np.float32(0.01)) < 9  # some are clipped, and some are not

    def test_only_the_player_that_is_clipped_stays_in_its_box(self):
        optimizers = {"min": optax.sgd(1.0), "max": optax.chain(optax.sgd(1.0), clip_params(0.5))}
        states, _ = follow(gradient_learner(BILINEAR, optimizers), [1.0, 1.0, 1.0])
        # a <- a - b, then b <- b + a clipped to half: only the first b is not.
        assert [pair(s) for s in states] == [(1, 2), (-1, 0.5), (-1.5, -0.5), (-1, -0.5)]


class TestAverage:
    def test_its_decay_warms_up_to_the_one_given(self):
        # With rate 1 the parameter becomes x. The decay is 1/10 at step 0, and then 1/8, the argument (not 2/11).
        states, _ = follow(gradient_learner(QUADRATIC, optax.sgd(1.0), ema_decay=0.125), [10.0, 17.0])
        np.testing.assert_allclose([s.ema["a"] for s in states], [5, 0.5 + 9, 9.5 / 8 + 17 * 7 / 8], rtol=1e-6)
        assert float(states[-1].variables.params["a"]) == float(states[-1].ema["a"])

    def test_off_there_is_none(self):
        states, _ = follow(gradient_learner(QUADRATIC, optax.sgd(1.0)), [10.0])
        assert [s.ema for s in states] == [None, None]

    def test_of_decay_zero_it_is_the_parameters(self):
        states, _ = follow(gradient_learner(QUADRATIC, optax.sgd(0.3), ema_decay=0.0), [10.0, 17.0])
        chex.assert_trees_all_equal(states[-1].ema, states[-1].params)

    @pytest.mark.parametrize("compiled", [False, True])
    def test_it_shares_no_buffer_with_the_parameters(self, compiled):
        learner = gradient_learner(QUADRATIC, optax.sgd(1.0), ema_decay=0.5)
        state = (jax.jit(learner.init) if compiled else learner.init)(KEY, {"x": jnp.float32(0)})
        step = jax.jit(learner.step, donate_argnums=0)  # raises where one buffer is donated twice
        for i in range(2):
            state, _ = step(state, jax.random.fold_in(KEY, i), {"x": jnp.float32(3)})
        assert float(state.params["a"]) == 3

    def test_it_keeps_the_dtype_of_the_parameters(self):
        def loss(params, state, key, batch, step):
            return params["a"].astype(jnp.float32), (state, {})

        model = Toy(a=1.0, b=0.0, objectives_=(Objective(name="only", wrt=("a",), loss=loss),), dtype=jnp.bfloat16)
        learner = gradient_learner(model, optax.sgd(1.0), ema_decay=0.5)
        state, _ = jax.jit(learner.step)(learner.init(KEY, {}), KEY, {})
        assert (state.params["a"].dtype, state.ema["a"].dtype) == (jnp.bfloat16, jnp.bfloat16)


class TestPowerFunctionAverages:
    """With rate 1 the parameter becomes x, so averages are weighted sums of the batches."""

    def test_each_follows_its_length_and_the_shortest_is_evaluated(self):
        batches = [10.0, 17.0, -4.0]
        states, _ = follow(gradient_learner(QUADRATIC, optax.sgd(1.0), ema_lengths=(0.1, 0.05)), batches)
        for name, average in states[-1].averages.items():
            weights = np.diff((np.arange(4) / 3) ** (exponent(float(name)) + 1))
            np.testing.assert_allclose(average["a"], weights @ batches, rtol=1e-5)
        assert set(states[-1].averages) == {"0.05", "0.1"}
        assert float(states[-1].variables.params["a"]) == float(states[-1].averages["0.05"]["a"])

    def test_they_share_no_buffer_with_the_parameters(self):
        learner = gradient_learner(QUADRATIC, optax.sgd(1.0), ema_lengths=(0.05, 0.1))
        state = learner.init(KEY, {"x": jnp.float32(0)})
        state, _ = jax.jit(learner.step, donate_argnums=0)(state, KEY, {"x": jnp.float32(3)})
        assert [float(average["a"]) for average in state.averages.values()] == [3, 3]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"ema_lengths": (0.05,), "ema_decay": 0.9}, r"ema_decay is 0.9 and ema_lengths is \(0.05,\); use one"),
            ({"ema_lengths": (0.05, 0.05)}, r"ema_lengths is \(0.05, 0.05\), but lengths must differ"),
            ({"ema_lengths": (0.5,)}, r"ema_lengths is \(0.5,\), but must be"),
        ],
    )
    def test_errors(self, settings, message):
        with pytest.raises(ValueError, match=message):
            gradient_learner(QUADRATIC, optax.sgd(1.0), **settings)


class TestErrors:
    """Each error is raised before anything compiles, and names the value, the limit and the cure."""

    @pytest.mark.parametrize("names", [("min",), ("min", "max", "mox"), ("min", "mox"), ()])
    def test_optimizers_that_do_not_name_the_objectives(self, names):
        with pytest.raises(
            ValueError, match=r"optimizers are given for .* objectives are \['max', 'min'\]; provide one"
        ):
            gradient_learner(BILINEAR, {name: optax.sgd(1.0) for name in names})

    def test_a_schedule_that_names_no_objective_of_the_model(self):
        with pytest.raises(ValueError, match=r"schedule names 'mox', but .* are \['max', 'min'\]; name each"):
            gradient_learner(BILINEAR, optax.sgd(1.0), schedule=("min", "mox", "max"))

    def test_a_schedule_that_leaves_an_objective_out(self):
        with pytest.raises(ValueError, match=r"schedule never names 'max', but .* are \['max', 'min'\]; name each"):
            gradient_learner(BILINEAR, optax.sgd(1.0), schedule=("min", "min"))

    def test_an_empty_schedule(self):
        with pytest.raises(
            ValueError, match=r"schedule is empty, but must name objectives of \['max', 'min'\]; use None"
        ):
            gradient_learner(BILINEAR, optax.sgd(1.0), schedule=())

    @pytest.mark.parametrize(
        ("decay", "needs"),
        [*dict.fromkeys((1.0, -0.1, 2.0), r"in \[0, 1\)").items(), (float("nan"), "a finite number")],
    )
    def test_an_average_that_cannot_be(self, decay, needs):
        with pytest.raises(ValueError, match=rf"ema_decay is {decay}, but must be {needs}; use None for no average"):
            gradient_learner(BILINEAR, optax.sgd(1.0), ema_decay=decay)

    def test_an_objective_that_moves_a_part_the_model_lacks(self):
        model = dataclasses.replace(QUADRATIC, objectives_=(objective("only", ("a", "c"), lambda a, b, x: a),))
        learner = gradient_learner(model, optax.sgd(1.0))
        with pytest.raises(ValueError, match=r"'only' has 'c' in wrt, but .* params are \['a', 'b'\]; use one"):
            learner.init(KEY, {"x": jnp.float32(0)})

    def test_two_objectives_of_one_name(self):
        same = dataclasses.replace(QUADRATIC, objectives_=2 * QUADRATIC.objectives_)
        with pytest.raises(
            ValueError, match=r"objectives are named \['only', 'only'\], but names must differ; rename one"
        ):
            gradient_learner(same, optax.sgd(1.0))

    @pytest.mark.parametrize(
        ("limit", "needs"), [(0.0, "above 0"), (-0.01, "above 0"), (float("nan"), "a finite number")]
    )
    def test_a_box_without_room(self, limit, needs):
        with pytest.raises(ValueError, match=rf"limit is {limit}, but must be {needs}; the paper's is 0.01"):
            clip_params(limit)

    def test_nothing_to_clip(self):
        optimizer = clip_params(0.01)
        with pytest.raises(
            ValueError, match=r"params is None, but clip_params needs them; call update\(updates, state, params\)"
        ):
            optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))

    def test_a_batch_without_a_minibatch_for_every_turn(self):
        learner = gradient_learner(BILINEAR, optax.sgd(1.0), schedule=("min", "max", "max"))
        state = learner.init(KEY, {"x": jnp.float32(0)})
        for shape in ((), (2,), (4,)):
            with pytest.raises(ValueError, match=r"take 3 minibatches per step, .* stack 3 minibatches"):
                jax.eval_shape(learner.step, state, KEY, {"x": jnp.zeros(shape)})


def test_a_learner_starts_from_what_was_learned_and_leaves_it_alone():
    learned = Variables({"a": jnp.float32(3.0), "b": jnp.float32(0.0)}, {"turns": jnp.int32(7)})
    learner = gradient_learner(QUADRATIC, optax.sgd(0.5), ema_decay=0.9, init=lambda key, batch: learned)
    batch = {"x": jnp.float32(1.0)}
    state = learner.init(KEY, batch)
    assert float(state.params["a"]) == float(state.ema["a"]) == 3.0
    state, _ = jax.jit(learner.step, donate_argnums=0)(state, KEY, batch)
    assert float(state.params["a"]) == 2.0
    assert int(state.state["turns"]) == 8
    assert float(learned.params["a"]) == 3.0  # it was not donated


ROSENBROCK = Toy(
    a=-1.2,
    b=1.0,
    objectives_=(objective("only", ("a", "b"), lambda a, b, x: (1 - a) ** 2 + 100 * (b - a**2) ** 2),),
)


def trained(learner, num_steps):
    state = learner.init(KEY, {"x": jnp.float32(0)})
    step = jax.jit(learner.step, donate_argnums=0)
    for number in range(num_steps):
        state, _ = step(state, jax.random.fold_in(KEY, number), {"x": jnp.float32(0)})
    return state


def test_line_searches_see_the_loss():
    """L-BFGS is at the minimum of Rosenbrock's function, (1, 1), within 60 steps; gradient descent needs thousands."""
    state = trained(gradient_learner(ROSENBROCK, optax.lbfgs()), 60)
    np.testing.assert_allclose([state.params["a"], state.params["b"]], [1.0, 1.0], atol=1e-3)


def test_a_rate_is_reduced_on_a_plateau():
    model = Toy(a=5.0, b=0.0, objectives_=(objective("only", ("a",), lambda a, b, x: 0.0 * a + 1.0),))
    optimizer = optax.chain(optax.sgd(1.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=2))
    scale = optax.tree.get(trained(gradient_learner(model, optimizer), 8).opt_state, "scale")
    assert scale < 1.0


def test_schedule_free_optimizers_are_evaluated_at_their_average():
    """With b1 = 0.9 the average x solves y = 0.1 z + 0.9 x for the trained y and the stored z."""
    optimizer = optax.contrib.schedule_free_sgd(0.1, b1=0.9)
    state = trained(gradient_learner(QUADRATIC, optimizer), 5)
    z = optax.tree.get(state.opt_state, "z")["a"]
    np.testing.assert_allclose(state.variables.params["a"], (state.params["a"] - 0.1 * z) / 0.9, rtol=1e-5)
    assert state.variables.params["a"] != state.params["a"]
    assert state.variables.params["b"] == state.params["b"]
    learner = gradient_learner(QUADRATIC, optimizer, ema_decay=0.9)
    with pytest.raises(ValueError, match=r"ema_decay is 0\.9, but a schedule-free optimizer averages by itself"):
        learner.init(KEY, {"x": jnp.float32(0)})
    learner = gradient_learner(QUADRATIC, optimizer, ema_lengths=(0.1,))
    with pytest.raises(ValueError, match=r"ema_lengths is \(0\.1,\), but a schedule-free optimizer"):
        learner.init(KEY, {"x": jnp.float32(0)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": lambda *_: jnp.float32(0)}, "loss of objective 'only' returned a .*, but must return a scalar"),
        ({"loss": lambda *_: (jnp.zeros(2), ({}, {}))}, r"returned a loss of shape \(2,\), but must return a scalar"),
        ({"loss": lambda *_: (jnp.float32(0), {})}, "returned a tuple, but must return a scalar, the new state and"),
    ],
)
def test_the_first_trace_says_what_a_loss_returns(change, message):
    model = dataclasses.replace(QUADRATIC, objectives_=(dataclasses.replace(QUADRATIC.objectives_[0], **change),))
    learner = gradient_learner(model, optax.sgd(1.0))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(learner.step, learner.init(KEY, {"x": jnp.float32(0)}), KEY, {"x": jnp.float32(0)})


def test_the_first_trace_says_what_init_returns():
    class Dict:
        __hash__ = object.__hash__

        def init(self, key, batch):
            return {"params": {}}

        def objectives(self):
            return QUADRATIC.objectives_

        def sample(self, variables, key, num_samples):
            return None

    learner = gradient_learner(Dict(), optax.sgd(1.0))
    with pytest.raises(ValueError, match=r"init of Dict returned a dict, but must return genjax\.Variables"):
        jax.eval_shape(learner.init, KEY, {"x": jnp.float32(0)})


def test_a_model_that_is_not_frozen_is_refused():
    methods = {name: lambda *_: None for name in ("init", "objectives", "sample")}
    thawed = dataclasses.make_dataclass("Thawed", ["width"], namespace=methods)(3)
    with pytest.raises(ValueError, match=r"Thawed cannot be hashed .* decorate its class with @dataclass\(frozen=True"):
        gradient_learner(thawed, optax.sgd(1.0))


class TestAccumulation:
    def test_an_update_takes_the_mean_gradient_of_all_minibatches(self):
        learner = gradient_learner(QUADRATIC, optax.sgd(0.5), accumulate=4)
        assert learner.minibatches == 4
        train = learner.init(KEY, {"x": jnp.float32(0.0)})
        train, metrics = learner.step(train, jax.random.key(1), {"x": jnp.array([1.0, 2.0, 3.0, 6.0])})
        np.testing.assert_allclose(train.params["a"], 5.0 - 0.5 * (5.0 - 3.0))
        np.testing.assert_allclose(metrics["x"], 3.0)
        np.testing.assert_allclose(metrics["loss"], 0.5 * np.mean([16.0, 9.0, 4.0, 1.0]))
        assert train.state["turns"] == 4

    def test_each_turn_of_a_schedule_has_minibatches_of_its_own(self):
        """The first turn moves a by b times the mean of 1 and 3, the second b by the new a times that of 5 and 9."""
        learner = gradient_learner(BILINEAR, optax.sgd(1.0), schedule=("min", "max"), accumulate=2)
        assert learner.minibatches == 4
        train = learner.init(KEY, {"x": jnp.float32(0.0)})
        train, _ = learner.step(train, jax.random.key(1), {"x": jnp.array([1.0, 3.0, 5.0, 9.0])})
        np.testing.assert_allclose(train.params["a"], 1.0 - 2.0 * 2.0)
        np.testing.assert_allclose(train.params["b"], 2.0 + 7.0 * -3.0)

    def test_it_equals_a_batch_as_large_as_all_minibatches(self):
        model = MADE(shape=(6,), num_values=3, features=(8,))
        x = jax.random.randint(jax.random.key(2), (4, 5, 6), 0, 3)
        whole = gradient_learner(model, optax.sgd(1.0))
        parts = gradient_learner(model, optax.sgd(1.0), accumulate=4)
        train = whole.init(jax.random.key(0), {"x": x[0]})
        expected, expected_metrics = jax.jit(whole.step)(train, jax.random.key(1), {"x": x.reshape(20, 6)})
        actual, metrics = jax.jit(parts.step)(train, jax.random.key(3), {"x": x})
        chex.assert_trees_all_close(actual.params, expected.params, atol=1e-6, rtol=0)
        chex.assert_trees_all_close(metrics, expected_metrics, rtol=1e-6)

    def test_an_average_moves_once_for_each_update(self):
        learner = gradient_learner(QUADRATIC, optax.sgd(0.5), accumulate=2, ema_decay=0.0)
        train = learner.init(KEY, {"x": jnp.float32(0.0)})
        train, _ = learner.step(train, jax.random.key(1), {"x": jnp.array([1.0, 5.0])})
        assert train.step == 1
        np.testing.assert_allclose(train.ema["a"], train.params["a"])
