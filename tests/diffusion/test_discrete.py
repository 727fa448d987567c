"""Discrete diffusion against enumerations of all values: bounds, the distributions of samples, texts that stop."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import diffusion, nets
from genjax.core import Variables
from tests.networks import Function, Recorder

K = 3
JOINT = np.random.default_rng(0).dirichlet(np.full(K * K, 0.7)).reshape(K, K)
PAIRS = list(itertools.product(range(K), repeat=2))
VARIABLES = Variables({"denoiser": {}}, {"denoiser": {}})
NUM_DRAWS = 20_000


def model_of(kind, function, size, num_values=K, **options):
    return kind(shape=(size,), num_values=num_values, net=Function(function), **options)


def masked(function, size, **options):
    return model_of(diffusion.MaskedDiffusion, function, size, **options)


def uniform(function, size, **options):
    return model_of(diffusion.UniformDiffusion, function, size, **options)


def exact_masked(params, x, level):
    """Conditionals of JOINT given what is not masked."""
    rows = np.log(np.concatenate([JOINT / JOINT.sum(1, keepdims=True), JOINT.sum(0)[None]]))
    columns = np.log(np.concatenate([JOINT.T / JOINT.T.sum(1, keepdims=True), JOINT.sum(1)[None]]))
    return jnp.stack([jnp.float32(columns)[x[:, 1]], jnp.float32(rows)[x[:, 0]]], axis=1)


def exact_uniform(params, x, level):
    """Conditionals of JOINT given a noisy value of the other position."""
    alpha = (1 - level**2)[:, None]

    def other(one, joint):
        seen = alpha * jax.nn.one_hot(one, K) + (1 - alpha) / K
        return jnp.log(seen @ jnp.float32(joint))

    return jnp.stack([other(x[:, 1], JOINT.T), other(x[:, 0], JOINT)], axis=1)


def table(size, num_inputs, seed=1):
    """Return random logits for every x_t of a size, as an array (num_inputs, …, size, K), and as a network."""
    logits = np.random.default_rng(seed).normal(size=(num_inputs,) * size + (size, K)).astype(np.float32)
    return logits, lambda params, x, level: jnp.asarray(logits)[tuple(x.T)]


def probabilities(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def bounds(model, x, num_samples=4):
    """Return the mean of many estimates of the bound for each example, and its standard error."""
    x = jnp.repeat(jnp.asarray(x), NUM_DRAWS, axis=0)
    estimates = jax.jit(lambda x: model.log_prob_lower_bound(VARIABLES, jax.random.key(3), x, num_samples))(x)
    estimates = np.float64(estimates).reshape(-1, NUM_DRAWS)
    return estimates.mean(1), estimates.std(1) / np.sqrt(NUM_DRAWS)


def frequencies(model, size, num_draws=NUM_DRAWS, **options):
    """Return how many of many samples have each value, by value in the order of ``product``."""
    draw = jax.jit(lambda: model.sample(VARIABLES, jax.random.key(5), num_draws, **options))
    return np.bincount(np.asarray(draw()) @ K ** np.arange(size)[::-1], minlength=K**size)


def assert_drawn_from(observed, probs):
    possible = probs > 1e-9
    assert observed[~possible].sum() == 0
    if possible.sum() > 1:
        assert stats.chisquare(observed[possible], probs[possible] * observed.sum()).pvalue > 1e-3


@pytest.mark.parametrize("make", [lambda: masked(exact_masked, 2), lambda: uniform(exact_uniform, 2)])
def test_the_bound_of_an_exact_network_is_the_log_mass(make):
    mean, error = bounds(make(), PAIRS)
    np.testing.assert_allclose(mean, np.log(JOINT).ravel(), atol=4 * error.max() + 1e-4)


@pytest.mark.parametrize("kind", [diffusion.MaskedDiffusion, diffusion.UniformDiffusion])
def test_the_bound_of_independent_values_is_their_log_mass(kind):
    log_mass = np.log(np.random.default_rng(2).dirichlet(np.ones(K), 4)).astype(np.float32)
    model = model_of(kind, lambda params, x, level: jnp.broadcast_to(log_mass, (len(x), 4, K)), 4)
    x = np.array([[0, 1, 2, 2], [1, 1, 0, 2]])
    mean, error = bounds(model, x)
    np.testing.assert_allclose(mean, log_mass[np.arange(4), x].sum(1), atol=4 * error.max() + 1e-4)


def test_the_bound_of_a_masked_diffusion_is_its_sum_over_sets():
    """It lies below the log-mass of its samples: the log of a mean over orders, against the mean of logs."""
    logits, net = table(3, K + 1)
    log_probs = np.log(probabilities(logits))
    x = np.array([[0, 2, 1], [1, 1, 2]])
    expected = np.zeros(2)
    for row, values in enumerate(x):
        for n in (1, 2, 3):
            sets = list(itertools.combinations(range(3), n))
            for hidden in sets:
                x_t = tuple(np.where(np.isin(range(3), hidden), K, values))
                expected[row] += sum(log_probs[x_t][i, values[i]] for i in hidden) / n / len(sets)
    mean, error = bounds(masked(net, 3), x)
    np.testing.assert_allclose(mean, expected, atol=4 * error.max())
    masses = masked_distribution(logits, (1, 1, 1))
    assert (expected < np.log(masses[x @ (9, 3, 1)])).all()


def test_the_bound_of_a_uniform_diffusion_is_its_integral():
    """It lies below the log-mass of its samples in many steps."""
    logits, net = table(2, K)
    x_hat = probabilities(np.float64(logits))
    times = (np.arange(4000) + 0.5) / 4000
    expected = np.zeros(len(PAIRS))
    for row, x in enumerate(PAIRS):
        for z in PAIRS:
            alpha = (1 - times**2)[:, None]
            q_z, total = 1.0, 0.0
            for i in range(2):
                q = alpha * np.eye(K)[x[i]] + (1 - alpha) / K
                r = alpha * x_hat[z][i] + (1 - alpha) / K
                a, b = q / q[:, z[i] : z[i] + 1], r / r[:, z[i] : z[i] + 1]
                total = total + (a * np.log(a / b) - a + b).sum(1)
                q_z = q_z * q[:, z[i]]
            expected[row] -= np.mean(2 * times * q_z * total / (K * alpha[:, 0]))
    mean, error = bounds(uniform(net, 2), PAIRS)
    np.testing.assert_allclose(mean, expected, atol=4 * error.max() + 1e-3)
    assert (expected < np.log(uniform_distribution(x_hat, 300)) + 1e-3).all()


def masked_distribution(logits, num_drawn, by_confidence=False):
    """Return the probabilities of samples that unmask as many values in each step, in random order or by confidence."""
    probs, size = probabilities(np.float64(logits)), logits.ndim - 2
    states = {(K,) * size: 1.0}
    for count in num_drawn:
        after = {}
        for x_t, mass in states.items():
            hidden = [i for i in range(size) if x_t[i] == K]
            for drawn in itertools.product(range(K), repeat=len(hidden)):
                chance = [probs[x_t][i, value] for i, value in zip(hidden, drawn, strict=True)]
                order = np.argsort(chance)[::-1][:count]
                sets = [order] if by_confidence else list(itertools.combinations(range(len(hidden)), count))
                for chosen in sets:
                    x_s = list(x_t)
                    for j in chosen:
                        x_s[hidden[j]] = drawn[j]
                    after[tuple(x_s)] = after.get(tuple(x_s), 0.0) + mass * np.prod(chance) / len(sets)
        states = after
    return np.array([states[x] for x in itertools.product(range(K), repeat=size)])


@pytest.mark.parametrize(
    ("options", "num_drawn"),
    [
        ({}, (1, 1, 1)),
        ({"num_steps": 1}, (3,)),
        ({"num_steps": 2}, (1, 2)),
        ({"num_steps": 3, "schedule": "cosine"}, (0, 1, 2)),
        ({"num_steps": 5}, (1, 0, 1, 0, 1)),
        ({"num_steps": 2, "order": "confidence", "randomness": 0.0}, (1, 2)),
    ],
)
def test_samples_of_a_masked_diffusion_have_their_distribution(options, num_drawn):
    logits, net = table(3, K + 1)
    expected = masked_distribution(logits, num_drawn, options.get("order") == "confidence")
    assert_drawn_from(frequencies(masked(net, 3), 3, **options), expected)


def uniform_distribution(x_hat, num_steps):
    """Return the probabilities of samples (9,), by products of transition matrices between all pairs."""
    masses = np.full(len(PAIRS), 1 / len(PAIRS))
    times = np.linspace(1, 0, num_steps + 1)
    for t, s in itertools.pairwise(times):
        alpha, ratio = 1 - s**2, (1 - t**2) / (1 - s**2)
        after = np.zeros_like(masses)
        for mass, z in zip(masses, PAIRS, strict=True):
            steps = [
                (alpha * x_hat[z][i] + (1 - alpha) / K) * (ratio * np.eye(K)[z[i]] + (1 - ratio) / K) for i in range(2)
            ]
            after += mass * np.outer(*(step / step.sum() for step in steps)).ravel()
        masses = after
    return masses


@pytest.mark.parametrize("num_steps", [1, 4])
def test_samples_of_a_uniform_diffusion_have_their_distribution(num_steps):
    logits, net = table(2, K)
    expected = uniform_distribution(probabilities(np.float64(logits)), num_steps)
    assert_drawn_from(frequencies(uniform(net, 2), 2, num_steps=num_steps), expected)


def test_exact_networks_draw_from_the_distribution():
    assert_drawn_from(frequencies(masked(exact_masked, 2), 2), JOINT.ravel())
    assert_drawn_from(frequencies(uniform(exact_uniform, 2), 2, num_draws=5_000, num_steps=100), JOINT.ravel())


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    for kind, num_inputs in ((diffusion.MaskedDiffusion, K + 1), (diffusion.UniformDiffusion, K)):
        logits, _ = table(2, num_inputs)
        model = model_of(kind, lambda params, x, level: params[tuple(x.T)], 2)

        def loss(logits, model=model):
            batch = {"x": jnp.asarray(PAIRS)}
            return model.loss({"denoiser": logits}, VARIABLES.state, jax.random.key(0), batch, jnp.int32(0))[0]

        direction = np.random.default_rng(3).normal(size=logits.shape).astype(np.float32)
        slope = np.sum(direction * np.asarray(jax.grad(loss)(jnp.asarray(logits))))
        finite = (float(loss(logits + 0.01 * direction)) - float(loss(logits - 0.01 * direction))) / 0.02
        assert slope == pytest.approx(finite, rel=2e-2, abs=1e-3), kind


def test_the_loss_is_minus_the_bound_per_value():
    _, net = table(2, K + 1)
    x = jnp.tile(jnp.asarray(PAIRS), (2_000, 1))
    loss, (_, metrics) = jax.jit(lambda x: masked(net, 2).loss(*VARIABLES, jax.random.key(0), {"x": x}, jnp.int32(0)))(
        x
    )
    assert float(loss) == pytest.approx(-bounds(masked(net, 2), PAIRS)[0].mean() / 2, rel=0.02)
    assert float(metrics["log_prob_lower_bound"]) == pytest.approx(-2 * float(loss), rel=1e-5)


def test_networks_receive_the_share_of_masks_or_the_time():
    levels = []

    def net(params, x, level):
        jax.debug.callback(lambda x, level: levels.append((np.asarray(x), np.asarray(level))), x, level)
        return jnp.zeros((*x.shape, K))

    masked(net, 4).log_prob_lower_bound(VARIABLES, jax.random.key(0), jnp.zeros((6, 4), jnp.int32), 8)
    masked(net, 4).sample(VARIABLES, jax.random.key(0), 3, prompt=jnp.array([1]))
    jax.effects_barrier()
    assert len(levels) == 8 + 4
    for x, level in levels:
        np.testing.assert_allclose((x == K).mean(1), level)
    counts = np.stack([4 * level for _, level in levels[:8]])
    np.testing.assert_array_equal(
        np.sort(counts, axis=0), np.repeat([[1], [1], [2], [2], [3], [3], [4], [4]], 6, axis=1)
    )
    levels.clear()
    uniform(net, 4).sample(VARIABLES, jax.random.key(0), 2, num_steps=4)
    jax.effects_barrier()
    np.testing.assert_allclose([level for _, level in levels], np.repeat([[1], [0.75], [0.5], [0.25]], 2, axis=1))


def test_a_prompt_is_kept_and_the_rest_follows_its_conditional():
    model = masked(exact_masked, 2)
    observed = frequencies(model, 2, prompt=jnp.array([-1, 2])).reshape(K, K)
    assert observed[:, :2].sum() == 0
    assert_drawn_from(observed[:, 2], JOINT[:, 2] / JOINT[:, 2].sum())
    first = model.sample(VARIABLES, jax.random.key(0), 3, prompt=jnp.array([[0], [1], [2]]))
    np.testing.assert_array_equal(first[:, 0], [0, 1, 2])
    _, net = table(4, K + 1)
    grid = diffusion.MaskedDiffusion(
        shape=(2, 2),
        num_values=K,
        net=Function(lambda p, x, level: net(p, x.reshape(-1, 4), level).reshape(-1, 2, 2, K)),
    )
    known = jnp.array([[2, -1], [-1, 0]])
    x = np.asarray(grid.sample(VARIABLES, jax.random.key(0), 5, prompt=known))
    assert (x[:, 0, 0] == 2).all()
    assert (x[:, 1, 1] == 0).all()
    assert (x >= 0).all()
    with pytest.raises(ValueError, match=r"prompt has shape \(2,\), but must have shape \(2, 2\) or \(5, 2, 2\)"):
        grid.sample(VARIABLES, jax.random.key(0), 5, prompt=known[0])


def test_unknown_values_follow_their_conditional():
    model, x = masked(exact_masked, 2), jnp.repeat(jnp.array([[9, 2], [1, 9]]), NUM_DRAWS, axis=0)
    drawn = np.asarray(jax.jit(model.impute)(VARIABLES, jax.random.key(0), x.astype(jnp.uint8), x < K))
    np.testing.assert_array_equal(np.where(x < K, drawn - x, 0), 0)
    for values, joint in ((drawn[:NUM_DRAWS, 0], JOINT[:, 2]), (drawn[NUM_DRAWS:, 1], JOINT[1])):
        assert_drawn_from(np.bincount(values, minlength=K), joint / joint.sum())


@pytest.mark.parametrize(("value", "shown"), [(-1, "-1"), (0.5, "0.5"), (K, str(K))])
def test_known_values_that_are_none_of_the_model_raise(value, shown):
    with pytest.raises(ValueError, match=rf"x is {shown} at \(0, 0\), but num_values={K} allows"):
        masked(exact_masked, 2).impute(VARIABLES, jax.random.key(0), jnp.array([[value, 9]]), jnp.array([True, False]))


def test_guidance_and_temperature_are_powers_of_probabilities():
    probs = np.random.default_rng(4).dirichlet(np.ones(K), 3).astype(np.float32)  # of two classes and of no label

    def net(params, x, level, label):
        return jnp.log(label @ probs)[:, None]

    for kind, steps in ((diffusion.MaskedDiffusion, 1), (diffusion.UniformDiffusion, 1)):
        model = model_of(kind, net, 1, num_classes=2)
        for options, powers in (
            ({}, (0, 0, 1)),
            ({"label": 1}, (0, 1, 0)),
            ({"label": 1, "guidance": 3.0}, (0, 3, -2)),
            ({"label": 0, "temperature": 0.5}, (2, 0, 0)),
        ):
            expected = np.prod(np.float64(probs) ** np.array(powers)[:, None], axis=0)
            assert_drawn_from(frequencies(model, 1, num_steps=steps, **options), expected / expected.sum())


def test_after_a_known_stop_token_all_is_known_and_before_another_token_none_stops():
    model = masked(lambda params, x, level: jnp.zeros((*x.shape, K)), 6, stop_token=0)
    x_t = jnp.array([[3, 1, 3, 0, 3, 3], [3, 3, 3, 3, 2, 3]])
    log_probs = np.exp(model._log_probs(VARIABLES, x_t, jnp.zeros(2), None)[0])
    np.testing.assert_allclose(log_probs[0, [0, 2, 4, 5], 0], [0, 1 / 3, 1, 1], atol=1e-6)
    np.testing.assert_allclose(log_probs[1, :, 0], [0, 0, 0, 0, 0, 1 / 3], atol=1e-6)


@pytest.mark.parametrize("kind", [diffusion.MaskedDiffusion, diffusion.UniformDiffusion])
def test_tokens_after_the_stop_token_do_not_matter_and_samples_have_none(kind):
    num_inputs = K + (kind is diffusion.MaskedDiffusion)
    _, net = table(4, num_inputs)
    model = model_of(kind, net, 4, stop_token=0)
    x = jnp.array([[1, 0, 2, 1], [1, 0, 0, 0]])
    one, two = (model.log_prob_lower_bound(VARIABLES, jax.random.key(0), x[i : i + 1], 16) for i in range(2))
    np.testing.assert_array_equal(one, two)
    drawn = np.asarray(model.sample(VARIABLES, jax.random.key(0), 500, num_steps=2))
    ended = np.cumsum(drawn == 0, axis=1) > 0
    assert ended.any()
    assert not drawn[ended].any()


def test_the_bound_of_texts_that_stop_is_exact_for_an_exact_network():
    """Texts of up to two tokens 1 or 2; their masses sum to 1."""
    texts = np.array([[0, 0], [1, 0], [2, 0], [1, 1], [1, 2], [2, 1], [2, 2]])
    masses = np.random.default_rng(6).dirichlet(np.ones(7))
    joint = np.zeros((K, K))
    joint[tuple(texts.T)] = masses

    def net(params, x, level):
        rows = np.concatenate([joint, joint.sum(0)[None]])
        columns = np.concatenate([joint.T, joint.sum(1)[None]])
        return jnp.log(1e-9 + jnp.stack([jnp.float32(columns)[x[:, 1]], jnp.float32(rows)[x[:, 0]]], axis=1))

    model = masked(net, 2, stop_token=0)
    mean, error = bounds(model, texts)
    np.testing.assert_allclose(mean, np.log(masses), atol=4 * error.max() + 1e-4)
    assert_drawn_from(frequencies(model, 2), joint.ravel())


def test_a_diverged_network_draws_minus_one():
    for kind in (diffusion.MaskedDiffusion, diffusion.UniformDiffusion):
        model = model_of(kind, lambda params, x, level: jnp.full((*x.shape, K), jnp.nan), 2)
        assert (model.sample(VARIABLES, jax.random.key(0), 3, num_steps=2) == -1).all()


class Normalized(nn.Module):
    """A network with averages of batch statistics."""

    @nn.compact
    def __call__(self, x, level, train=False):
        return nn.Dense(K)(nn.BatchNorm(use_running_average=not train)(jax.nn.one_hot(x, K + 1)))


@pytest.mark.parametrize("kind", [diffusion.MaskedDiffusion, diffusion.UniformDiffusion])
def test_networks_are_trained_in_losses_and_fixed_elsewhere(kind):
    keys, batch = iter(jax.random.split(jax.random.key(0), 6)), {"x": jnp.asarray(PAIRS)}
    model = kind(shape=(2,), num_values=K, net=Normalized())
    variables = model.init(next(keys), batch)
    _, (state, _) = model.loss(*variables, next(keys), batch, jnp.int32(0))
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (variables.state, state)), strict=True))
    net = Recorder(nets.TokenTransformer(num_values=K, num_layers=1, num_heads=1, features=2))
    model = kind(shape=(2,), num_values=K, net=net)
    variables = model.init(next(keys), batch)
    for run, expected in (
        (lambda: model.loss(*variables, next(keys), batch, jnp.int32(0)), (True, True)),
        (lambda: model.log_prob_lower_bound(variables, next(keys), batch["x"]), (False, False)),
        (lambda: model.sample(variables, next(keys), 2, num_steps=2), (False, False)),
    ):
        net.calls.clear()
        run()
        assert net.calls == {expected}


def test_data_that_do_not_fit_are_refused():
    model = masked(exact_masked, 2)
    for x, message in (
        (jnp.zeros((3, 2)), "x has dtype float32, but this model is of integers 0 … 2"),
        (jnp.zeros((3, 4), jnp.int32), r"x has shape \(3, 4\), but this model has shape=\(2,\)"),
        (jnp.full((3, 2), 3), r"x is 3 at \(0, 0\), but num_values=3 allows 0 … 2"),
    ):
        with pytest.raises(ValueError, match=message):
            model.log_prob_lower_bound(VARIABLES, jax.random.key(0), x)
    with pytest.raises(ValueError, match="stop_token is 3, but must be a token, 0 … 2"):
        masked(exact_masked, 2, stop_token=3)
    with pytest.raises(ValueError, match=r"stop_token is 1, but data of shape \(2, 2\) are not texts"):
        diffusion.MaskedDiffusion(shape=(2, 2), num_values=K, net=Function(exact_masked), stop_token=1)
    with pytest.raises(ValueError, match=r"net returned shape \(3, 2, 4\), but num_values=3 needs \(3, 2, 3\)"):
        masked(lambda params, x, level: jnp.zeros((*x.shape, 4)), 2).init(
            jax.random.key(0), {"x": jnp.zeros((3, 2), jnp.int32)}
        )
    with pytest.raises(ValueError, match=r"guidance is 2\.0, but no condition is given"):
        model.sample(VARIABLES, jax.random.key(0), 2, guidance=2.0)
    labelled = masked(exact_masked, 2, num_classes=2)
    for run in (labelled.sample, labelled.log_prob_lower_bound):
        with pytest.raises(ValueError, match="label is 2, but must be in 0"):
            run(VARIABLES, jax.random.key(0), 2 if run == labelled.sample else jnp.asarray(PAIRS), label=2)
