"""Vector quantization: nearest codes, the moving codebook, its start and its restarts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import ops
from genjax.ops import quantization


def distances(codes, vectors):
    """Return |z - e_k|² for each pair, in double precision, (N, K)."""
    return np.array([[np.sum((np.float64(z) - np.float64(e)) ** 2) for e in codes] for z in vectors])


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


class TestNearestCode:
    @pytest.mark.parametrize("offset", [0.0, 300.0])
    def test_is_that_of_a_double_loop(self, offset):
        """This holds far from the origin too, where |e|² and 2 z·e are large and nearly equal."""
        codes, vectors = draw(0, 12, 3) + offset, draw(1, 50, 3) + offset
        expected = np.argmin(distances(codes, vectors), axis=-1)
        assert len(set(expected)) > 8
        np.testing.assert_array_equal(jax.jit(quantization.nearest_code)(codes, vectors), expected)

    def test_takes_any_grid(self):
        codes, vectors = draw(0, 5, 3), draw(1, 4, 2, 6, 3)
        indices = quantization.nearest_code(codes, vectors)
        assert indices.dtype == jnp.int32
        flat = quantization.nearest_code(codes, vectors.reshape(-1, 3))
        np.testing.assert_array_equal(indices, flat.reshape(4, 2, 6))
        assert quantization.nearest_code(codes, codes[3]) == 3

    def test_of_equals_is_the_first(self):
        codes = jnp.array([[5.0], [1.0], [1.0], [5.0]])
        assert quantization.nearest_code(codes, jnp.array([[0.0], [9.0]])).tolist() == [1, 0]


def test_straight_through_has_the_codes_value_and_passes_gradients_to_the_vectors_alone():
    vectors, codes, weight = 1e3 * draw(0, 4, 3), draw(1, 4, 3), draw(2, 4, 3)

    def loss(vectors, codes):
        return jnp.sum(weight * ops.straight_through(vectors, codes) ** 2)

    np.testing.assert_array_equal(ops.straight_through(vectors, codes), codes)  # not z + (e - z), rounded
    to_vectors, to_codes = jax.grad(loss, argnums=(0, 1))(vectors, codes)
    np.testing.assert_allclose(to_vectors, 2 * weight * codes, rtol=1e-6)
    assert not np.any(to_codes)


class TestMovingCodebook:
    def test_starts_at_the_codes(self):
        codes = draw(0, 5, 3)
        np.testing.assert_allclose(quantization.start_codebook(codes, 20).codes, codes, rtol=1e-5)
        assert quantization.start_codebook(codes, 20).counts.tolist() == [4.0] * 5

    def test_follows_its_recursion(self):
        """After T steps, the batch of age t has weight γ^t (1 - γ), and the start γ^T."""
        decay, num_steps, codes = 0.8, 6, draw(0, 3, 2)
        batches = [draw(10 + t, 9, 2) for t in range(num_steps)]
        indices = [jax.random.randint(jax.random.key(20 + t), (9,), 0, 3) for t in range(num_steps)]
        codebook = quantization.start_codebook(codes, 9)
        counts, sums = np.full(3, 3.0) * decay**num_steps, 3.0 * np.asarray(codes, np.float64) * decay**num_steps
        update = jax.jit(quantization.update_codebook, static_argnames="decay")
        for t in range(num_steps):
            codebook = update(codebook, batches[t], indices[t], decay=decay)
            for z, k in zip(np.asarray(batches[t], np.float64), np.asarray(indices[t]), strict=True):
                weight = (1 - decay) * decay ** (num_steps - 1 - t)
                counts[k] += weight
                sums[k] += weight * z
        np.testing.assert_allclose(codebook.counts, counts, rtol=1e-5)
        np.testing.assert_allclose(codebook.sums, sums, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(codebook.codes, sums / counts[:, None], rtol=1e-4, atol=1e-5)

    def test_ends_at_the_means_of_its_vectors_and_unused_codes_stay_finite(self):
        vectors, indices = draw(0, 8, 2), jnp.array([0, 0, 1, 1, 1, 1, 1, 0])
        codebook = quantization.start_codebook(draw(1, 3, 2), 8)

        def step(codebook, _):
            return quantization.update_codebook(codebook, vectors, indices, 0.9), None

        codebook = jax.jit(lambda c: jax.lax.scan(step, c, length=3_000)[0])(codebook)  # 0.9^3000 is below float32
        assert codebook.counts[2] == 0
        for k in (0, 1):
            np.testing.assert_allclose(codebook.codes[k], np.asarray(vectors)[indices == k].mean(0), rtol=1e-4)
        assert np.isfinite(codebook.codes).all()


class TestRestart:
    def test_dead_codes_move_to_vectors_apart_and_the_others_stay(self):
        codes, vectors = draw(0, 6, 3), draw(1, 24, 3)
        counts = jnp.array([3.0, 0.4, 0.6, 0.0, 2.0, 0.5])
        codebook = quantization.MovingCodebook(counts, counts[:, None] * codes)
        restarted = jax.jit(quantization.restart_dead_codes)(codebook, jax.random.key(2), vectors, 0.5)
        dead = [1, 3]
        for k in range(6):
            if k in dead:
                nearest = distances(restarted.codes[k : k + 1], vectors)[:, 0]
                assert nearest.min() < 1e-9
                assert restarted.counts[k] == 24 / 6
            else:
                np.testing.assert_array_equal(restarted.sums[k], codebook.sums[k])
                np.testing.assert_array_equal(restarted.counts[k], counts[k])
        assert not np.allclose(restarted.codes[1], restarted.codes[3])

    def test_revives_codes_that_nothing_was_near(self):
        """A codebook that starts far away uses one code; with restarts, all of them."""
        vectors = draw(0, 64, 2)
        away = quantization.start_codebook(100.0 + jnp.arange(8.0)[:, None] * jnp.ones((8, 2)), 64)

        def use(threshold):
            def step(codebook, key):
                indices = quantization.nearest_code(codebook.codes, vectors)
                codebook = quantization.update_codebook(codebook, vectors, indices, 0.9)
                codebook = quantization.restart_dead_codes(codebook, key, vectors, threshold)
                return codebook, quantization.code_usage(indices, 8)

            return jax.lax.scan(step, away, jax.random.split(jax.random.key(1), 60))[1][-1]

        assert jax.jit(use)(0.0) == 1 / 8
        assert jax.jit(use)(0.4) == 1.0

    def test_with_fewer_vectors_than_codes(self):
        codebook = quantization.MovingCodebook(jnp.zeros(5), jnp.zeros((5, 2)))
        vectors = jnp.array([[1.0, 2.0], [3.0, 4.0]])
        codes = quantization.restart_dead_codes(codebook, jax.random.key(0), vectors, 0.1).codes
        assert {tuple(np.round(code).tolist()) for code in codes} <= {(1.0, 2.0), (3.0, 4.0)}


class TestKMeans:
    @pytest.mark.parametrize("seed", range(3))
    def test_recovers_planted_centers(self, seed):
        centers = 200.0 * jnp.stack(jnp.meshgrid(jnp.arange(4.0), jnp.arange(3.0)), -1).reshape(-1, 2)
        vectors = jnp.repeat(centers, 15, axis=0) + draw(seed, 180, 2)
        means = np.asarray(vectors).reshape(12, 15, 2).mean(1)
        codes = kmeans(jax.random.key(100 + seed), vectors, num_codes=12, num_steps=5)
        nearest = distances(codes, means)
        assert sorted(nearest.argmin(1)) == list(range(12))
        np.testing.assert_allclose(nearest.min(1), 0.0, atol=1e-6)

    def test_its_codes_are_means_of_what_is_nearest_to_them(self):
        vectors = draw(0, 60, 2)
        codes = kmeans(jax.random.key(1), vectors, num_codes=5, num_steps=60)
        nearest = distances(codes, vectors).argmin(1)
        for k in range(5):
            np.testing.assert_allclose(codes[k], np.asarray(vectors)[nearest == k].mean(0), rtol=1e-4, atol=1e-5)

    def test_its_error_falls_with_every_step(self):
        vectors = draw(0, 200, 2)
        errors = [
            distances(kmeans(jax.random.key(1), vectors, num_codes=10, num_steps=n), vectors).min(1).sum()
            for n in (0, 1, 5)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 0.9 * errors[0]

    def test_seeds_are_vectors_drawn_by_squared_distance(self):
        """From one of two equal vectors, the second seed is at distance 1 or 3 with odds of 1 : 9."""
        vectors = jnp.array([[0.0], [0.0], [1.0], [-3.0]])
        seeds = jax.vmap(lambda key: quantization.kmeans(key, vectors, 2, 0))(
            jax.random.split(jax.random.key(0), 4_000)
        )
        first, second = np.asarray(seeds[..., 0]).T
        assert np.mean(first == 0.0) == pytest.approx(0.5, abs=0.03)  # the first is uniform
        assert np.mean(second[first == 0.0] == -3.0) == pytest.approx(0.9, abs=0.03)

    def test_with_fewer_vectors_than_codes_has_each_and_repeats(self):
        vectors = jnp.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
        codes = np.asarray(kmeans(jax.random.key(0), vectors, num_codes=6, num_steps=3))
        assert {tuple(code) for code in codes.tolist()} == {(1.0, 2.0), (3.0, 4.0)}

    def test_counts(self):
        with pytest.raises(ValueError, match="num_codes is 0, but must be at least 1"):
            quantization.kmeans(jax.random.key(0), jnp.zeros((3, 2)), 0, 1)
        with pytest.raises(ValueError, match="num_steps is -1, but must be at least 0"):
            quantization.kmeans(jax.random.key(0), jnp.zeros((3, 2)), 2, -1)


kmeans = jax.jit(quantization.kmeans, static_argnames=("num_codes", "num_steps"))


class TestUse:
    @pytest.mark.parametrize(
        ("indices", "usage", "expected"),
        [
            ([2, 2, 2, 2], 1 / 8, 1.0),
            ([[0, 1], [6, 7]], 1 / 2, 4.0),
            ([0, 0, 0, 5], 1 / 4, 4 / 3**0.75),  # exp(¾ log 4/3 + ¼ log 4)
            (list(range(8)) * 3, 1.0, 8.0),
        ],
    )
    def test_exact_values(self, indices, usage, expected):
        indices = jnp.array(indices)
        assert quantization.code_usage(indices, 8) == usage
        np.testing.assert_allclose(quantization.code_perplexity(indices, 8), expected, rtol=1e-6)
