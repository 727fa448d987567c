"""Kernels: exact stationary moments, detailed balance, the known bias of unadjusted Langevin, temperatures."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.diagnostics import effective_sample_size

from genjax import energy
from genjax.energy.kernels import langevin
from genjax.energy.kernels.chains import advance
from tests.energy import targets

KERNELS = {
    "mala": energy.MALA(0.3),
    "random_walk": energy.RandomWalk(0.8),
    "hmc": energy.HMC(0.3, 5),
    "nuts": energy.NUTS(0.3, 4),
    "tempering": energy.ParallelTempering(kernel=energy.MALA(0.2), num_temperatures=3, min_beta=0.3),
}
TARGETS = {"skewed": targets.skewed, "correlated": targets.correlated, "bimodal": targets.bimodal}


def bits(size: int) -> np.ndarray:
    return np.array(list(itertools.product([0.0, 1.0], repeat=size)), np.float32)


def bit_density(x):
    """A density of three bits with interactions, whose gradient is not exact for a flip."""
    return jnp.sin(3 * x[:, 0] + 2 * x[:, 1] * x[:, 2]) + 1.2 * x[:, 2] - 0.7 * jnp.square(x[:, 0] + x[:, 1])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_moments_are_those_of_the_density(name, target):
    kernel, log_density = KERNELS[name], TARGETS[target]
    if target == "correlated" and name != "tempering":
        kernel = type(kernel)(0.5 * kernel.step_size)
    start = jax.random.normal(jax.random.key(1), (60, 2))
    run = jax.jit(lambda key, x: energy.run_chains(kernel, log_density, key, x, 1_500))
    with jax.debug_key_reuse(name != "nuts"):  # blackjax passes keys through branches
        chains = run(jax.random.key(0), start)
    draws = np.asarray(chains.draws[200:, :, 1:], np.float64)
    values = targets.features(draws)
    expected, variance = targets.moments(log_density)
    for i in range(values.shape[-1]):
        size = float(effective_sample_size(jnp.asarray(values[..., i].T)))
        assert size > 400
        assert abs(values[..., i].mean() - expected[i]) < 5 * np.sqrt(variance[i] / size), i
    assert chains.r_hat < 1.1
    assert 0.2 < chains.acceptance < 1


def test_moments_of_bits_are_those_of_the_density():
    states = bits(3)
    p = np.asarray(jax.nn.softmax(bit_density(jnp.asarray(states))))
    start = jnp.zeros((50, 3))
    draws = jax.jit(lambda key: energy.run_chains(energy.GibbsWithGradients(), bit_density, key, start, 2_000))(
        jax.random.key(0)
    ).draws[100:, :, 1:]
    index = np.asarray(draws @ jnp.array([4.0, 2.0, 1.0])).astype(int)
    for state in range(8):
        hits = (index == state).astype(np.float32)
        size = float(effective_sample_size(jnp.asarray(hits.T)))
        assert abs(hits.mean() - p[state]) < 5 * np.sqrt(p[state] * (1 - p[state]) / size)


def exact_draws(num_samples: int):
    """Draws of the bimodal density along its first axis, exact up to the spacing of a fine grid."""
    line = np.linspace(-7, 7, 20_001, dtype=np.float32)
    log_p = np.asarray(targets.bimodal(jnp.stack([line, jnp.zeros_like(line)], axis=1)), np.float64)
    generator = np.random.default_rng(0)
    cell = generator.choice(line.size, num_samples, p=np.exp(log_p) / np.exp(log_p).sum())
    return (line[cell] + (generator.random(num_samples) - 0.5) * (line[1] - line[0])).astype(np.float32)[:, None]


@pytest.mark.parametrize("name", ["mala", "random_walk", "hmc", "nuts"])
def test_flows_between_cells_balance(name):
    """In equilibrium, as many chains move from one cell to another as back."""
    log_density = lambda x: targets.bimodal(jnp.concatenate([x, jnp.zeros_like(x)], axis=1))  # noqa: E731
    kernel = KERNELS[name]

    @jax.jit
    def flows(key, x):
        new = kernel.step(log_density, key, kernel.init(log_density, x))[0].x
        edges = jnp.array([-2.0, -1.2, -0.4, 0.4, 1.2])
        return jnp.zeros((6, 6)).at[jnp.digitize(x[:, 0], edges), jnp.digitize(new[:, 0], edges)].add(1.0)

    with jax.debug_key_reuse(name != "nuts"):  # blackjax passes keys through branches
        counts = np.asarray(flows(jax.random.key(0), exact_draws(50_000)))
    above, below = counts[np.triu_indices(6, 1)], counts.T[np.triu_indices(6, 1)]
    assert above.sum() > 5_000
    assert (np.abs(above - below) < 5 * np.sqrt(np.maximum(above + below, 1))).all()


def test_gradients_choose_the_bits_that_raise_the_density():
    """Six independent bits with odds e⁴ : 1 are set in about six steps; flips chosen at random would undo some."""
    log_density = lambda x: 4 * jnp.sum(x, axis=-1)  # noqa: E731
    start = jnp.zeros((500, 6))
    x = advance(energy.GibbsWithGradients(), log_density, jax.random.key(0), start, 7)[0].x
    assert float(jnp.mean(x)) > 0.9


def test_flows_between_states_of_bits_balance():
    states = jnp.asarray(bits(3))
    index = jax.random.categorical(jax.random.key(0), bit_density(states), shape=(200_000,))
    kernel = energy.GibbsWithGradients()
    new = kernel.step(bit_density, jax.random.key(1), kernel.init(bit_density, states[index]))[0].x
    counts = np.zeros((8, 8))
    np.add.at(counts, (np.asarray(index), np.asarray(new @ jnp.array([4.0, 2.0, 1.0])).astype(int)), 1)
    above, below = counts[np.triu_indices(8, 1)], counts.T[np.triu_indices(8, 1)]
    assert above.sum() > 10_000
    assert (np.abs(above - below) < 5 * np.sqrt(np.maximum(above + below, 1))).all()


@pytest.mark.parametrize(("step_size", "std"), [(0.2, 1.0), (0.8, 0.8)])
def test_unadjusted_langevin_has_its_known_variance(step_size, std):
    log_density = lambda x: -0.5 * jnp.sum(jnp.square(x / std), axis=-1)  # noqa: E731
    start = jnp.zeros((50_000, 1))
    kernel = energy.Langevin(step_size)
    x = jax.jit(lambda key: advance(kernel, log_density, key, start, 100)[0].x)(jax.random.key(0))
    expected = std**2 / (1 - step_size / (2 * std**2))  # equation 2
    assert abs(float(jnp.var(x)) - expected) < 5 * expected * np.sqrt(2 / 50_000)


def test_temperature_scales_the_noise():
    flat = lambda x: 0.0 * jnp.sum(x, axis=-1)  # noqa: E731
    kernel = energy.Langevin(0.1, temperature=4.0)
    x = kernel.step(flat, jax.random.key(0), kernel.init(flat, jnp.zeros((20_000, 1))))[0].x
    assert float(jnp.var(x)) == pytest.approx(2 * 0.1 * 4.0, rel=0.05)
    still = energy.Langevin(0.1, temperature=0.0)
    assert not still.step(flat, jax.random.key(0), still.init(flat, jnp.zeros((2, 1))))[0].x.any()


def test_annealing_is_linear_between_start_and_stop():
    kernel = energy.AnnealedLangevin(0.1, initial_temperature=5.0, start=0.2, stop=0.6)
    temperatures = [float(kernel.at(jnp.float32(f)).temperature) for f in (0.0, 0.2, 0.4, 0.6, 1.0)]
    assert temperatures == pytest.approx([5.0, 5.0, 3.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"stop is 0.1, but must be at least start=0.5"):
        energy.AnnealedLangevin(start=0.5, stop=0.1)


def test_a_run_follows_the_schedule():
    """Until its temperature leaves 0, a chain on a flat density stays where it is."""
    flat = lambda x: 0.0 * jnp.sum(x, axis=-1)  # noqa: E731
    start = jnp.ones((4, 2))
    cold, late = energy.AnnealedLangevin(0.1, 0.0, start=1.0, stop=1.0), energy.AnnealedLangevin(0.1, 0.0)
    np.testing.assert_array_equal(advance(cold, flat, jax.random.key(0), start, 10)[0].x, start)
    assert (advance(late, flat, jax.random.key(0), start, 10)[0].x != start).all()


def test_clipping_leaves_small_gradients_alone():
    gradient = jnp.array([[0.03, 0.04], [30.0, 40.0]])
    np.testing.assert_allclose(langevin.clip_norm(gradient, 0.5), [[0.03, 0.04], [0.3, 0.4]], rtol=1e-6)


def far_modes(x):
    """Two narrow modes at distance 8, with weights 1/4 and 3/4."""
    centers = jnp.array([[-4.0, 0.0], [4.0, 0.0]])
    squares = jnp.sum(jnp.square(x[:, None] - centers[None]), axis=-1)
    return jax.nn.logsumexp(jnp.log(jnp.array([0.25, 0.75]))[None] - squares / (2 * 0.5**2), axis=1)


def test_tempering_crosses_between_modes_that_langevin_cannot():
    start = jnp.full((200, 2), -4.0).at[:, 1].set(0.0)
    tempering = energy.ParallelTempering(kernel=energy.MALA(0.1), num_temperatures=8, min_beta=0.01)
    share = {}
    for kernel in (energy.MALA(0.1), tempering):
        x = jax.jit(lambda key, kernel=kernel: advance(kernel, far_modes, key, start, 2_000)[0].x)(jax.random.key(0))
        share[type(kernel)] = float(jnp.mean(x[:, 0] > 0))
    assert share[energy.MALA] == 0
    assert share[energy.ParallelTempering] == pytest.approx(0.75, abs=5 * np.sqrt(0.75 * 0.25 / 200))


def test_tempering_refuses_itself():
    with pytest.raises(ValueError, match="use an adjusted kernel"):
        energy.ParallelTempering(kernel=KERNELS["tempering"])


def test_tempering_refuses_biased_kernels():
    with pytest.raises(ValueError, match="use an adjusted kernel, such as MALA"):
        energy.ParallelTempering(kernel=energy.Langevin(0.1))


def test_tempering_keeps_the_type_of_its_chains():
    with jax.enable_x64(True):
        chains = jax.eval_shape(
            lambda x: energy.run_chains(KERNELS["tempering"], targets.bimodal, jax.random.key(0), x, 4),
            jax.ShapeDtypeStruct((3, 2), "float32"),
        )
    assert chains.x.dtype == "float32"


def test_proposals_of_unknown_density_are_rejected():
    log_density = lambda x: jnp.where(jnp.abs(x[:, 0]) < 0.5, 0.0, jnp.nan)  # noqa: E731
    kernel = energy.RandomWalk(0.5)
    x = advance(kernel, log_density, jax.random.key(0), jnp.zeros((100, 1)), 50)[0].x
    assert (jnp.abs(x) < 0.5).all()


def test_chains_that_drift_together_disagree_with_their_past():
    log_density = lambda x: jnp.sum(x, axis=-1)  # noqa: E731
    start = jax.random.normal(jax.random.key(0), (10, 2))
    assert energy.run_chains(energy.Langevin(1.0, 0.0), log_density, jax.random.key(1), start, 100).r_hat > 1.5


def test_diagnostics_tell_chains_that_do_not_mix():
    start = jnp.where(jnp.arange(40)[:, None] < 20, -4.0, 4.0) * jnp.array([[1.0, 0.0]])
    run = lambda target, x: energy.run_chains(energy.MALA(0.1), target, jax.random.key(0), x, 400)  # noqa: E731
    stuck, sound = run(far_modes, start), run(targets.bimodal, start / 4)
    assert stuck.r_hat > 3
    assert stuck.effective_sample_size < 60
    assert sound.r_hat < 1.2
    assert sound.effective_sample_size > 200
    with pytest.raises(ValueError, match="there are 1 chains of 400 steps, but diagnostics need 2 chains"):
        run(far_modes, start[:1])
