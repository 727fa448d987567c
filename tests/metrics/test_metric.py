"""Accumulators: merged, scanned, donated and sharded updates give the same state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from genjax.metrics.metric import Accumulator, Mean, Metric, Samples, TwoSample, TwoSampleState

MEAN = Mean()
SAMPLES = Samples(shape=(3,), capacity=12)


def of_means(reference, generated):
    return {"difference": generated.mean - reference.mean}


PAIR = TwoSample(accumulator=MEAN, statistic=of_means)


@pytest.fixture(scope="module")
def numbers():
    return jnp.asarray(np.random.default_rng(0).normal(3, 2, (12, 3)), jnp.float32)


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))


def seen(accumulator, *batches):
    state = accumulator.init()
    for x in batches:
        state = accumulator.update(state, x)
    return state


def sharded(mesh, x):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))


def scanned(accumulator, x):
    """Return the state of a compiled scan over batches of 4 rows."""
    batches = x.reshape(3, 4, 3)
    return jax.jit(
        lambda state, batches: jax.lax.scan(lambda s, b: (accumulator.update(s, b), None), state, batches)[0]
    )(accumulator.init(), batches)


def by_device(mesh, accumulator, x):
    """Update with half of the rows on each device, and merge the two states."""

    def half(x):
        return jax.tree.map(lambda leaf: leaf[None], accumulator.update(accumulator.init(), x))

    spec = PartitionSpec("data")
    states = jax.jit(jax.shard_map(half, mesh=mesh, in_specs=spec, out_specs=spec))(sharded(mesh, x))
    return accumulator.merge(*(jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(2)))


def donated(accumulator, x):
    """Return the state of updates with donated memory."""
    update, state = jax.jit(accumulator.update, donate_argnums=0), accumulator.init()
    for start in range(0, 12, 4):
        old, state = state, update(state, x[start : start + 4])
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old))
    return state


WAYS = {
    "streamed": lambda mesh, accumulator, x: seen(accumulator, x[:1], x[1:6], x[6:]),
    "merged": lambda mesh, accumulator, x: accumulator.merge(seen(accumulator, x[:5]), seen(accumulator, x[5:])),
    "merged with nothing": lambda mesh, accumulator, x: accumulator.merge(
        accumulator.init(), accumulator.merge(seen(accumulator, x), accumulator.init())
    ),
    "merged in a tree": lambda mesh, accumulator, x: accumulator.merge(
        accumulator.merge(seen(accumulator, x[:2]), seen(accumulator, x[2:3])),
        accumulator.merge(seen(accumulator, x[3:9]), seen(accumulator, x[9:])),
    ),
    "scanned": lambda mesh, accumulator, x: scanned(accumulator, x),
    "donated": lambda mesh, accumulator, x: donated(accumulator, x),
    "sharded": lambda mesh, accumulator, x: jax.jit(accumulator.update)(accumulator.init(), sharded(mesh, x)),
    "by device": by_device,
}


def test_they_are_what_they_say():
    for accumulator in (MEAN, SAMPLES):
        assert isinstance(accumulator, Accumulator)
    for metric in (MEAN, PAIR):
        assert isinstance(metric, Metric)
    assert Mean() == MEAN
    assert hash(Samples(shape=(3,), capacity=12)) == hash(SAMPLES)


class TestMean:
    @pytest.mark.parametrize("way", WAYS)
    def test_mean_and_standard_error(self, numbers, mesh, way):
        assert jax.device_count() >= 2
        values = MEAN.compute(WAYS[way](mesh, MEAN, numbers))
        exact = np.asarray(numbers, np.float64)
        np.testing.assert_allclose(values["mean"], exact.mean(), rtol=1e-6)
        # The square root of 36 samples.
        np.testing.assert_allclose(values["standard_error"], exact.std(ddof=1) / 6, rtol=1e-6)
        assert values["count"] == 36

    def test_a_large_offset_costs_no_spread(self):
        """A sum of squares would lose all digits of the variance."""
        x = 1e4 + np.random.default_rng(0).normal(size=20_000)
        state = MEAN.init()
        for part in np.split(x, 20):
            state = MEAN.update(state, jnp.asarray(part, jnp.float32))
        values = MEAN.compute(state)
        np.testing.assert_allclose(values["mean"], x.mean(), rtol=1e-6)
        np.testing.assert_allclose(values["standard_error"], x.std(ddof=1) / 20_000**0.5, rtol=2e-3)

    def test_nothing_has_no_mean_and_one_number_no_spread(self):
        empty = MEAN.init()
        for state in (empty, MEAN.merge(empty, empty), MEAN.update(empty, jnp.zeros((0, 3)))):
            assert not any(jnp.isnan(leaf) for leaf in jax.tree.leaves(state))
            values = MEAN.compute(state)
            assert jnp.isnan(values["mean"])
            assert jnp.isnan(values["standard_error"])
            assert values["count"] == 0
        one = MEAN.compute(seen(MEAN, jnp.array([7.0])))
        assert (one["mean"], one["count"]) == (7, 1)
        assert jnp.isnan(one["standard_error"])

    def test_integers_and_half_precision_are_summed_in_float32(self):
        values = MEAN.compute(seen(MEAN, jnp.full(1000, 200, jnp.uint8), jnp.full(1000, 100, jnp.bfloat16)))
        np.testing.assert_allclose(values["mean"], 150, rtol=1e-6)
        np.testing.assert_allclose(values["standard_error"], 50 / 1999**0.5, rtol=1e-6)

    @pytest.mark.parametrize("position", range(4))
    @pytest.mark.parametrize("infinite", [np.inf, -np.inf])
    def test_an_infinite_number_makes_the_mean_infinite_wherever_it_comes(self, position, infinite):
        x = jnp.arange(4.0).at[position].set(infinite)
        for batches in (x[None], x.reshape(2, 2), x[:, None]):
            assert MEAN.compute(seen(MEAN, *batches))["mean"] == infinite
            again = MEAN.merge(seen(MEAN, *batches), seen(MEAN, *batches))
            assert MEAN.compute(again)["mean"] == infinite
            assert jnp.isnan(MEAN.compute(again)["standard_error"])

    def test_what_is_not_a_number_is_not_lost(self):
        assert jnp.isnan(MEAN.compute(seen(MEAN, jnp.array([1.0, jnp.nan]), jnp.array([1.0])))["mean"])
        assert jnp.isnan(MEAN.compute(seen(MEAN, jnp.array([jnp.inf]), jnp.array([-jnp.inf])))["mean"])


class TestSamples:
    @pytest.mark.parametrize("way", WAYS)
    def test_keeps_the_rows_in_order(self, numbers, mesh, way):
        np.testing.assert_array_equal(WAYS[way](mesh, SAMPLES, numbers).rows, numbers)

    def test_an_unfilled_buffer_has_the_rows_seen_alone(self, numbers):
        assert SAMPLES.init().rows.shape == (0, 3)
        a, b = seen(SAMPLES, numbers[:2]), seen(SAMPLES, numbers[2:7])
        np.testing.assert_array_equal(SAMPLES.merge(a, b).rows, numbers[:7])
        np.testing.assert_array_equal(SAMPLES.merge(b, a).rows, jnp.concatenate([numbers[2:7], numbers[:2]]))
        np.testing.assert_array_equal(seen(SAMPLES, numbers[:0], numbers[:2]).rows, numbers[:2])

    def test_rows_may_be_images(self):
        x = jnp.arange(2 * 4 * 4.0).reshape(2, 4, 4, 1)
        np.testing.assert_array_equal(seen(Samples(shape=(4, 4, 1), capacity=5), x).rows, x)

    def test_overflow_is_told_and_harms_no_row(self, numbers):
        full = seen(SAMPLES, numbers)
        overflows = {
            "updated": seen(SAMPLES, numbers, numbers[:2]),
            "in one batch": seen(SAMPLES, jnp.concatenate([numbers, numbers[:2]])),
            "over the edge": seen(SAMPLES, numbers[:11], jnp.concatenate([numbers[11:], numbers[:2]])),
            "merged": SAMPLES.merge(full, seen(SAMPLES, numbers[:2])),
            "merged over the edge": SAMPLES.merge(
                seen(SAMPLES, numbers[:11]), seen(SAMPLES, numbers[11:], numbers[:2])
            ),
            "merged and merged": SAMPLES.merge(SAMPLES.init(), SAMPLES.merge(full, seen(SAMPLES, numbers[:2]))),
        }
        for name, state in overflows.items():
            np.testing.assert_array_equal(state.buffer, numbers, err_msg=name)
            with pytest.raises(ValueError, match="14 samples exceed a buffer of capacity=12; use capacity=14"):
                _ = state.rows

    @pytest.mark.parametrize(
        ("shape", "capacity", "message"),
        [
            ((3,), 0, "capacity is 0, but must be at least 1"),
            ((0,), 5, r"shape is \(0,\), but must be a tuple whose every entry is at least 1"),
        ],
    )
    def test_a_buffer_has_room(self, shape, capacity, message):
        with pytest.raises(ValueError, match=message):
            Samples(shape=shape, capacity=capacity)

    def test_rows_have_the_shape_of_the_buffer(self):
        with pytest.raises(ValueError, match=r"rows have shape \(4,\), but the buffer holds shape \(3,\)"):
            SAMPLES.update(SAMPLES.init(), jnp.zeros((2, 4)))


class TestTwoSample:
    def test_sides_come_together_or_alone(self, numbers):
        together = PAIR.update(PAIR.init(), numbers[:4], numbers[4:])
        alone = PAIR.update(PAIR.update(PAIR.init(), reference=numbers[:4]), generated=numbers[4:])
        swapped = PAIR.update(PAIR.update(PAIR.init(), generated=numbers[4:]), reference=numbers[:4])
        expected = numbers[4:].mean() - numbers[:4].mean()
        for state in (together, alone, swapped):
            np.testing.assert_allclose(PAIR.compute(state)["difference"], expected, rtol=1e-5)

    def test_merged_states_have_seen_both_sides_of_both(self, numbers):
        merged = PAIR.merge(
            PAIR.update(PAIR.init(), reference=numbers[:2]), PAIR.update(PAIR.init(), numbers[2:4], numbers[4:])
        )
        expected = numbers[4:].mean() - numbers[:4].mean()
        np.testing.assert_allclose(PAIR.compute(merged)["difference"], expected, rtol=1e-5)

    def test_compiled_donated_and_sharded(self, numbers, mesh):
        update, state = jax.jit(PAIR.update, donate_argnums=0), PAIR.init()
        for start in (0, 6):
            old = state
            state = update(old, sharded(mesh, numbers[start : start + 6]), sharded(mesh, -numbers[start : start + 6]))
            assert all(leaf.is_deleted() for leaf in jax.tree.leaves(old))
        assert isinstance(state, TwoSampleState)
        np.testing.assert_allclose(PAIR.compute(state)["difference"], -2 * numbers.mean(), rtol=1e-5)
