"""The energy model: normalization on grids, samples, errors of a user, diagnosis."""

from __future__ import annotations

import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import energy, flow, nets
from genjax.core import Variables
from genjax.energy import sampling
from genjax.energy.kernels.chains import advance
from genjax.energy.sampling import NUM_NODES

MODEL = energy.EnergyModel(
    net=nets.MLP((16, 1)),
    base=energy.Gaussian((2,), mean=0.5, std=2.0),
    kernel=energy.MALA(0.3),
    rules=(energy.ContrastiveDivergence(num_steps=2, buffer_size=32),),
)
X = jax.random.normal(jax.random.key(9), (8, 2))
CLASSES = dataclasses.replace(MODEL, net=nets.MLP((16, 3)), num_classes=3, rules=(energy.Classification(),))


@pytest.fixture(scope="module")
def variables() -> Variables:
    return MODEL.init(jax.random.key(0), {"x": X})


def integral(log_prob, low: float, high: float, size: int = 801) -> float:
    """∫ p by the trapezoidal rule on a grid of its own."""
    line = np.linspace(low, high, size, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return float(np.exp(np.asarray(log_prob(jnp.asarray(points)), np.float64)).sum() * (line[1] - line[0]) ** 2)


def test_densities_are_normalized(variables):
    assert integral(lambda x: MODEL.log_prob(variables, x), -13, 14) == pytest.approx(1, abs=1e-3)


def test_densities_in_a_box_are_normalized():
    model = dataclasses.replace(MODEL, base=energy.Uniform(shape=(2,), low=-1.0, high=3.0))
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 2))})
    line = -1 + 4 * (np.arange(500, dtype=np.float32) + 0.5) / 500
    points = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    total = np.exp(np.asarray(model.log_prob(variables, jnp.asarray(points)), np.float64)).mean() * 16
    assert total == pytest.approx(1, abs=1e-4)


def test_densities_over_a_flow_are_normalized():
    base = energy.Pretrained(flow.real_nvp(shape=(2,), num_layers=2, hidden=(8,)))
    model = dataclasses.replace(MODEL, base=base, rules=(energy.NoiseContrastive(),))
    variables = model.init(jax.random.key(3), {"x": X})
    assert abs(model.log_partitions(variables)[0]) > 0.05
    assert integral(lambda x: model.log_prob(variables, x), -12, 12) == pytest.approx(1, abs=1e-3)


def test_masses_of_bits_sum_to_one():
    model = dataclasses.replace(
        MODEL, base=energy.Bernoulli((3,)), kernel=energy.GibbsWithGradients(), rules=(energy.NoiseContrastive(),)
    )
    states = ((jnp.arange(8)[:, None] >> jnp.arange(3)[None]) & 1).astype(jnp.float32)
    variables = model.init(jax.random.key(0), {"x": states})
    assert float(jnp.sum(jnp.exp(model.log_prob(variables, states)))) == pytest.approx(1, abs=1e-5)
    assert model.discrete


def test_more_nodes_change_nothing(variables):
    few, many = (MODEL.log_partitions(variables, num_nodes=n) for n in (NUM_NODES // 2, 2 * NUM_NODES))
    np.testing.assert_allclose(few, many, atol=1e-4)


def test_classes_share_one_constant():
    variables = CLASSES.init(jax.random.key(0), {"x": X, "label": jnp.arange(8) % 3})
    log_z = CLASSES.log_partitions(variables)
    by_class = jnp.stack([CLASSES.log_prob(variables, X, label=k) for k in range(3)], axis=1)
    # log p(x, y) = log p(x | y) + log Z_y − log Z
    joint = by_class + (log_z - jax.nn.logsumexp(log_z))[None]
    np.testing.assert_allclose(jax.nn.logsumexp(joint, axis=1), CLASSES.log_prob(variables, X), rtol=1e-4)
    expected = jax.nn.log_softmax(joint, axis=1)
    np.testing.assert_allclose(CLASSES.class_log_prob(variables, X), expected, rtol=1e-3, atol=1e-4)
    estimate = CLASSES.log_prob_estimate(variables, jax.random.key(1), X, 500, label=1, num_temperatures=50)
    np.testing.assert_allclose(estimate, by_class[:, 1], atol=0.05)


def test_scores_are_gradients_of_the_density(variables):
    step = 1e-2
    for i in range(2):
        shift = step * jax.nn.one_hot(i, 2)[None]
        slope = (MODEL.log_density(variables, X + shift) - MODEL.log_density(variables, X - shift)) / (2 * step)
        np.testing.assert_allclose(MODEL.score(variables, X)[:, i], slope, atol=2e-2)


def test_samples_follow_the_density(variables):
    x = np.asarray(MODEL.sample(variables, jax.random.key(0), 4_000, num_steps=300))
    line = np.linspace(-13, 14, 400, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    p = np.exp(np.asarray(MODEL.log_prob(variables, jnp.asarray(points)), np.float64))
    p /= p.sum()
    mean = p @ points
    std = np.sqrt(p @ np.square(points - mean))
    assert (np.abs(x.mean(axis=0) - mean) < 5 * std / np.sqrt(4_000)).all()


def test_unknown_values_follow_the_conditional_density(variables):
    """Compare with sums over a line."""
    sharp = variables._replace(params=jax.tree.map(lambda p: 2 * p, variables.params))
    line = np.linspace(-13, 14, 4_000, dtype=np.float32)
    p = np.exp(np.asarray(MODEL.log_prob(sharp, jnp.stack([jnp.full_like(line, 2.0), line], axis=1)), np.float64))
    p /= p.sum()
    mean = p @ line
    std = np.sqrt(p @ (line - mean) ** 2)
    x = jnp.tile(jnp.array([[2.0, jnp.nan]]), (4_000, 1))
    drawn = np.asarray(MODEL.impute(sharp, jax.random.key(0), x, jnp.array([True, False]), num_steps=300))
    assert (drawn[:, 0] == 2).all()
    assert abs(drawn[:, 1].mean() - mean) < 4 * std / np.sqrt(4_000)
    assert drawn[:, 1].std() == pytest.approx(std, rel=0.06)


def test_unknown_bits_have_their_conditional_frequencies():
    model = dataclasses.replace(
        MODEL, base=energy.Bernoulli((3,)), kernel=energy.GibbsWithGradients(), rules=(energy.NoiseContrastive(),)
    )
    states = ((jnp.arange(8)[:, None] >> jnp.arange(3)[None]) & 1).astype(jnp.float32)
    variables = model.init(jax.random.key(0), {"x": states})
    variables = variables._replace(params=jax.tree.map(lambda p: 3 * p, variables.params))
    mass = np.exp(np.asarray(model.log_prob(variables, states), np.float64))[states[:, 1] == 1]
    x = jnp.tile(jnp.array([[0.0, 1.0, 0.0]]), (10_000, 1))
    drawn = np.asarray(model.impute(variables, jax.random.key(1), x, jnp.array([False, True, False]), num_steps=40))
    count = np.bincount((drawn[:, ::2] @ np.array([1, 2])).astype(int), minlength=4)
    np.testing.assert_allclose(count / 10_000, mass / mass.sum(), atol=4 * 0.5 / 10_000**0.5)


KERNEL = energy.GibbsWithGradients()


def test_flips_of_known_bits_are_never_proposed():
    """Under a flat density every other flip is accepted, so that each chain moves one unknown bit a step."""
    x = jax.random.bernoulli(jax.random.key(0), 0.5, (200, 30)).astype(jnp.float32)
    mask = jnp.broadcast_to(jnp.arange(30) > 1, x.shape)
    state, acceptance, _ = advance(KERNEL, lambda y: sampling.held(y, x, mask, KERNEL), jax.random.key(1), x, 1)
    assert acceptance == 1
    np.testing.assert_array_equal(jnp.sum(state.x != x, axis=1), 1)
    np.testing.assert_array_equal(jnp.where(mask, state.x, x), x)


def test_known_real_numbers_turn_trajectories():
    """On a density that is flat in them, the trajectories of NUTS would reach their full length."""
    x, mask, nuts = jnp.full((1_000, 2), 3.0), jnp.array([[True, False]]), energy.NUTS(0.1)

    def moved(log_density):
        with jax.debug_key_reuse(False):  # blackjax passes keys through branches
            state, _, _ = advance(nuts, log_density, jax.random.key(0), x, 1)
        return float(jnp.max(jnp.abs(state.x - x)[:, 0]))

    unknown = lambda y: -0.5 * jnp.square(y[:, 1])  # noqa: E731
    assert moved(unknown) > 20
    assert moved(lambda y: unknown(y) + sampling.held(y, x, mask, nuts)) < 6


@pytest.mark.parametrize("kernel", [energy.HMC(30.0), energy.MALA(800.0), energy.RandomWalk(50.0), energy.NUTS(20.0)])
def test_known_values_do_not_stop_chains_of_wide_data(kernel):
    model = dataclasses.replace(MODEL, base=energy.Gaussian((4,), std=50.0), rules=(energy.NoiseContrastive(),))
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 4))})
    variables = variables._replace(params=jax.tree.map(jnp.zeros_like, variables.params))
    x, mask = jnp.full((100, 4), 60.0), jnp.array([True, True, True, False])
    with jax.debug_key_reuse(False):  # blackjax passes keys through branches
        few, many = (
            np.asarray(model.impute(variables, jax.random.key(1), x, mask, num_steps=n, kernel=kernel))[:, 3]
            for n in (1, 60)
        )
    assert (few != many).all()
    assert many.std() == pytest.approx(50, rel=0.3)


def test_samples_of_a_class_follow_its_own_density():
    variables = CLASSES.init(jax.random.key(2), {"x": X, "label": jnp.arange(8) % 3})
    variables = variables._replace(params=jax.tree.map(lambda p: 3 * p, variables.params))
    x = CLASSES.sample(variables, jax.random.key(1), 2_000, label=2, num_steps=300)
    own, other = (float(jnp.mean(CLASSES.log_prob(variables, x, label=k))) for k in (2, 0))
    assert own > other + 0.2


def test_temperature_divides_energies(variables):
    cool = dataclasses.replace(MODEL, temperature=0.5)
    np.testing.assert_allclose(cool.energy(variables, X), 2 * MODEL.energy(variables, X), rtol=1e-5)


def test_chains_in_a_box_never_leave_it():
    model = dataclasses.replace(MODEL, base=energy.Uniform(shape=(2,), low=0.0, high=1.0), kernel=energy.Langevin(0.1))
    variables = model.init(jax.random.key(0), {"x": jnp.full((4, 2), 0.5)})
    x = model.sample(variables, jax.random.key(1), 100)
    assert ((x >= 0) & (x <= 1)).all()
    folded = model.base.fold(jnp.array([-0.25, 1.25, 2.25, -1.25, 0.5]))
    np.testing.assert_allclose(folded, [0.25, 0.75, 0.25, 0.75, 0.5], atol=1e-6)


def test_chains_start_from_the_buffer(variables):
    x = MODEL.sample(variables, jax.random.key(0), 5, start="buffer", num_steps=0)
    buffer = variables.state["rules"]["0"].chains
    assert all(any(jnp.array_equal(row, chain) for chain in buffer) for row in x)


def test_new_rules_keep_what_was_learned(variables):
    first = dataclasses.replace(MODEL, rules=(energy.FlowMatching(),))
    trained = first.init(jax.random.key(5), {"x": X})
    both = MODEL.with_new_rules(trained, jax.random.key(6))
    jax.tree.map(np.testing.assert_array_equal, both.params, trained.params)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.shape, b.shape), both.state, variables.state)


def test_a_kernel_can_be_named(variables):
    one, two = (
        MODEL.sample(variables, jax.random.key(0), 4, num_steps=3, kernel=kernel, step_size=size)
        for kernel, size in (("langevin", 0.02), (energy.Langevin(0.02), None))
    )
    np.testing.assert_array_equal(one, two)


class Wide(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(7)(x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dataclasses.replace(MODEL, net=Wide()).init(jax.random.key(0), {"x": X}),
         "net returned shape (8, 7), but one energy for each example needs (8, 1)"),
        (lambda: dataclasses.replace(MODEL, base=energy.Uniform(shape=(2,), low=0.0, high=1.0)).init(
            jax.random.key(0), {"x": X}), "the base is uniform on [0, 1]; scale the data, or widen low and high"),
        (lambda: dataclasses.replace(MODEL, kernel=energy.GibbsWithGradients()),
         "moves binary data, but the base is of real numbers"),
        (lambda: dataclasses.replace(MODEL, base=energy.Bernoulli((2,))),
         "moves real numbers, but the base is of binary data; use energy.GibbsWithGradients()"),
        (lambda: energy.Langevin(step_size=0.0), "step_size is 0.0, but must be above 0"),
        (lambda: dataclasses.replace(MODEL, rules=(energy.Classification(),)), "num_classes is None; set num_classes"),
        (lambda: dataclasses.replace(MODEL, rules=()), "rules is empty"),
        (lambda: energy.EnergyModel(net=nets.MLP((1,)), base=energy.Bernoulli((2,)),
            kernel=energy.GibbsWithGradients(), rules=(energy.SlicedScoreMatching(),)),
         "which differentiates the density, but the base is of binary data"),
        (lambda: energy.Uniform(shape=(2,), low=1.0, high=0.0), "high is 0.0, but must be above low=1.0"),
    ],
)  # fmt: skip
def test_wrong_models_say_why(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


def test_wrong_calls_say_why(variables):

    def sample(num_samples: int = 2, **options):
        return MODEL.sample(variables, jax.random.key(0), num_samples, **options)

    for call, message in (
        (
            lambda: sample(33, start="buffer"),
            "num_samples is 33, but the buffer has 32 chains",
        ),
        (lambda: sample(kernel="gibbs_with_gradients"), "use energy.MALA(), for example"),
        (lambda: sample(kernel="hamilton"), "kernel is 'hamilton', but must be"),
        (lambda: sample(label=1), "this model has num_classes=None"),
        (lambda: MODEL.energy(variables, jnp.zeros((3, 5))), "x has shape (3, 5), but this model has shape=(2,)"),
        (lambda: MODEL.energy(variables, jnp.zeros((3, 2), jnp.int32)), "x has dtype int32, but this model is of real"),
        (lambda: MODEL.chains(variables, jax.random.key(0), jnp.zeros((3, 5)), 4), "x has shape (3, 5), but this"),
        (lambda: MODEL.energy(variables, jnp.float32(0)), "x has shape (), but this model has shape=(2,)"),
        (lambda: MODEL.class_log_prob(variables, X), "only a model with classes classifies"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
    wide = energy.EnergyModel(net=nets.MLP((1,)), base=energy.Gaussian((3,)))
    assert wide.lacks == ("log_prob", "class_log_prob")
    with pytest.raises(ValueError, match="only 1 or 2 dimensions, or at most 20 bits, can be integrated"):
        wide.log_prob(wide.init(jax.random.key(0), {"x": jnp.zeros((2, 3))}), jnp.zeros((2, 3)))
    small = dataclasses.replace(MODEL, rules=(energy.ContrastiveDivergence(buffer_size=4),))
    with pytest.raises(ValueError, match="buffer_size is 4, but a minibatch of 8 examples continues as many chains"):
        small.loss(*small.init(jax.random.key(0), {"x": X}), jax.random.key(1), {"x": X}, jnp.int32(0))


class TestDiagnosis:
    """What a diagnosis tells of sound, frozen and diverged chains."""

    data = jax.random.normal(jax.random.key(0), (400, 2))

    def diagnose(self, model, scale: float = 1.0):
        variables = model.init(jax.random.key(1), {"x": self.data})
        variables = variables._replace(params=jax.tree.map(lambda p: scale * p, variables.params))
        return model.diagnose(variables, jax.random.key(2), {"x": self.data})

    def test_of_a_sound_model(self):
        sound = dataclasses.replace(MODEL, base=energy.Gaussian((2,)), net=nets.MLP((4, 1), output_scale=0.0))
        values = self.diagnose(sound)
        assert values["sample_spread"] == pytest.approx(1, abs=0.4)
        assert values["chain_movement"] == pytest.approx(1, abs=0.4)
        assert values["energy_gap_per_entry"] == 0
        assert values["buffer_coverage"] > 0.6

    def test_of_a_model_that_contrasts_nothing(self):
        """Score matching leaves the energies of poor samples free."""
        scores = dataclasses.replace(MODEL, rules=(energy.SlicedScoreMatching(),))
        assert set(self.diagnose(scores)) == {"sample_spread", "chain_movement"}

    def test_of_frozen_chains(self):
        assert self.diagnose(dataclasses.replace(MODEL, kernel=energy.MALA(1e-6)))["chain_movement"] < 0.01

    def test_of_diverged_chains(self):
        hot = dataclasses.replace(MODEL, kernel=energy.Langevin(0.5, temperature=100.0))
        assert self.diagnose(hot)["sample_spread"] > 10

    def test_of_few_or_equal_data(self):
        variables = MODEL.init(jax.random.key(1), {"x": self.data})
        for x in (self.data[:1], jnp.full((5, 2), 0.1)):
            values = jax.jit(MODEL.diagnose)(variables, jax.random.key(2), {"x": x})
            assert ("buffer_coverage" in values) == (len(x) > 1)
            assert all(jnp.abs(value) < 10 for value in values.values())

    def test_of_a_collapsed_buffer(self):
        variables = MODEL.init(jax.random.key(1), {"x": self.data})
        # A tiny cloud, of which several chains are nearest to data, but which is nearest to few data.
        point = jax.tree.map(lambda chains: 1e-3 * chains + 0.1, variables.state["rules"])
        variables = variables._replace(state=variables.state | {"rules": point})
        assert MODEL.diagnose(variables, jax.random.key(2), {"x": self.data})["buffer_coverage"] < 0.1
