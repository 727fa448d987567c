"""Variational diffusion, against bounds that are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from genjax import diffusion, nets
from genjax.learners import gradient_learner
from tests.networks import Function

NUM_VALUES, MASSES = 3, np.array([0.6, 0.1, 0.3])
ENTROPY = float(-np.sum(MASSES * np.log(MASSES)))
LEVELS = ((2 * np.arange(NUM_VALUES) + 1) / NUM_VALUES - 1)[None, None]


def posterior_noise(params, z, level):
    """Return E[ε | z] for independent entries with the masses of this file."""
    gamma = ((level - 0.5) * 40)[:, None]
    alpha, sigma = jnp.sqrt(jax.nn.sigmoid(-gamma)), jnp.sqrt(jax.nn.sigmoid(gamma))
    logits = jnp.log(MASSES)[None, None] - 0.5 * ((z[..., None] - alpha[..., None] * LEVELS) / sigma[..., None]) ** 2
    return (z - alpha * jnp.sum(jax.nn.softmax(logits) * LEVELS, axis=-1)) / sigma


def exact_model(**settings):
    net = Function(posterior_noise)
    return diffusion.VariationalDiffusion(shape=(1,), net=net, num_values=NUM_VALUES, **settings)


def variables_of(model, *, bent=False):
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((2, *model.shape), jnp.int32)})
    if bent:  # steep in the middle
        shape = variables.params["shape"]
        weights = 2 - 40 * (shape["position"] - 0.5) ** 2
        variables.params["shape"] = shape | {"weight": weights}
    return variables


@pytest.mark.parametrize("bent", [False, True])
def test_gamma_is_monotone_between_its_ends(bent):
    model = exact_model()
    params = variables_of(model, bent=bent).params
    gamma = np.asarray(model.gamma(params, jnp.linspace(0, 1, 201)))
    assert (np.diff(gamma) > 0).all()
    assert_allclose(gamma[[0, -1]], [-2 * np.log(9), 5.0], rtol=1e-5)
    line = np.linspace(gamma[0], gamma[-1], 201)
    assert (np.abs(gamma - line).max() < 0.2) == (not bent)


@pytest.mark.parametrize("bent", [False, True])
def test_with_the_exact_denoiser_the_bound_is_the_log_mass(bent):
    """Its mean over the data is minus their entropy; the ends of the schedule cost less than the tolerance."""
    model = exact_model()
    variables = variables_of(model, bent=bent)
    variables.params["ends"] = {"low": jnp.float32(-9.0), "high": jnp.float32(9.0)}
    x = jnp.asarray(np.repeat(np.arange(3), (600, 100, 300)), jnp.int32)[:, None]
    bounds = np.asarray(jax.jit(model.log_prob_lower_bound, static_argnums=3)(variables, jax.random.key(1), x, 1000))
    assert_allclose(bounds.mean(), -ENTROPY, atol=5 * bounds.std() / np.sqrt(len(bounds)) + 1e-3)
    assert bounds.std() < 3 * np.abs(np.log(MASSES)).max()  # so that the tolerance says something
    for value in range(3):  # the exact model gives each value its own log-mass
        of_value = bounds[np.asarray(x)[:, 0] == value]
        error = 5 * of_value.std() / np.sqrt(len(of_value)) + 2e-3
        assert_allclose(of_value.mean(), np.log(MASSES[value]), atol=error)


def test_without_a_denoiser_the_diffusion_term_is_half_the_range_per_entry():
    net = nets.DenoisingMLP((4,), fourier_features=0)  # whose outputs start at 0
    model = diffusion.VariationalDiffusion(shape=(2,), net=net, num_values=4)
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((2, 2), jnp.int32)})
    x = jnp.tile(jnp.array([[0, 3]]), (500, 1))
    bounds = np.asarray(jax.jit(model.log_prob_lower_bound, static_argnums=3)(variables, jax.random.key(1), x, 200))
    low, high = -2 * np.log(12), 5.0
    alpha2, sigma2 = 1 / (1 + np.exp(high)), 1 / (1 + np.exp(-high))
    prior = 0.5 * 2 * (alpha2 * 0.75**2 + sigma2 - 1 - np.log(sigma2))
    expected = prior + 0.5 * (high - low) * 2
    assert_allclose(-bounds.mean(), expected, atol=5 * bounds.std() / np.sqrt(500) + 2e-3)

    def loss(ends):  # the ends are trained to lower the bound
        params = variables.params | {"ends": ends}
        return model.bound_loss(params, variables.state, jax.random.key(2), {"x": jnp.tile(x, (40, 1))}, jnp.int32(0))[
            0
        ]

    gradient = jax.grad(loss)(variables.params["ends"])
    slope = 0.5 * (-(0.75**2) * alpha2 * sigma2 + sigma2 * alpha2 - alpha2)  # of the prior term, per entry
    assert_allclose(gradient["high"], 0.5 + slope, atol=0.02)
    assert_allclose(gradient["low"], -0.5, atol=0.02)  # the reconstruction hardly depends on it there


def test_samples_of_the_exact_denoiser_have_the_masses():
    model = exact_model()
    samples = np.asarray(model.sample(variables_of(model), jax.random.key(2), 4000, num_steps=200))
    assert samples.dtype == np.int32
    counts = np.bincount(samples[:, 0], minlength=3)
    assert stats.chisquare(counts, 4000 * MASSES).pvalue > 1e-3


def test_training_the_shape_lowers_the_deviation_and_leaves_the_ends():
    """All entries are 1, of value 0, so that ε = z / σ; the denoiser's error is a known share of it at each γ."""

    def partly_exact(params, z, level):
        share = jax.nn.sigmoid((level - 0.5) * 40)[:, None]
        return (1 - share) * z / jnp.sqrt(share)  # σ² is the same sigmoid

    model = diffusion.VariationalDiffusion(shape=(64,), net=Function(partly_exact), num_values=NUM_VALUES)
    learner = gradient_learner(model, {"bound": optax.set_to_zero(), "variance": optax.adam(0.05)})
    x = jnp.ones((256, 64), jnp.int32)
    start = learner.init(jax.random.key(0), {"x": x})
    step = lambda state, key: learner.step(state, key, {"x": x})  # noqa: E731
    trained, metrics = jax.jit(lambda keys: jax.lax.scan(step, start, keys))(jax.random.split(jax.random.key(4), 150))
    deviations = np.asarray(metrics["variance/deviation"])
    assert np.median(deviations[-10:]) < 0.5 * deviations[0]
    assert trained.params["ends"] == start.params["ends"]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (jnp.zeros((2, 1)), "x has dtype float32, but this model takes integers 0 … 2"),
        (jnp.full((2, 1), 3), "num_values=3 allows 0 … 2"),
        (jnp.zeros((2, 4), jnp.int32), r"x has shape \(2, 4\), but this model has shape=\(1,\)"),
    ],
)
def test_data_that_do_not_fit(x, message):
    with pytest.raises(ValueError, match=message):
        exact_model().init(jax.random.key(0), {"x": x})
