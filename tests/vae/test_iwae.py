"""The importance-weighted bound of models with known log p(x), and its two gradients, equal in expectation.

Two linear layers: x = W₁ z₁ + b + σ ε, z₁ = W₂ z₂ + τ ε', so that x ~ N(b, W₁ (W₂ W₂ᵀ + τ² I) W₁ᵀ + σ² I).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import nets, ops, vae
from genjax.core import Variables

W1 = np.array([[1.0, 0.8], [-0.5, 1.0], [1.0, -0.3]])
W2 = np.array([[0.9], [-1.1]])
OFFSET = np.array([0.2, -1.0, 0.5])
SIGMA, TAU = 0.5, 0.7
LIKELIHOOD = ops.Gaussian(log_scale=float(np.log(SIGMA)))
ONE = vae.IWAE(latent_dims=(2,), encoders=(nets.MLP((4,)),), decoders=(nets.MLP((3,)),), likelihood=LIKELIHOOD)
TWO = vae.IWAE(
    latent_dims=(2, 1),
    encoders=(nets.MLP((4,)), nets.MLP((2,))),
    decoders=(nets.MLP((3,)), nets.MLP((4,))),
    likelihood=LIKELIHOOD,
)


def dense(kernel, bias):
    return {"Dense_0": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}


def gaussian_layer(kernel, log_var):
    """Means W z with constant log-variances."""
    kernel = np.asarray(kernel)
    return dense(np.concatenate([kernel, 0 * kernel], axis=1), np.repeat([0.0, log_var], kernel.shape[1]))


@pytest.fixture(scope="module")
def models():
    """Models of one and two layers with inaccurate encoders, and the covariance of x under each."""
    first = gaussian_layer(0.4 * W1, np.log(0.5))
    below = dense(W1.T, OFFSET)
    one = Variables({"encoders": (first,), "decoders": (below,)}, {})
    second = gaussian_layer(0.3 * W2, np.log(0.8))
    above = gaussian_layer(W2.T, 2 * np.log(TAU))
    two = Variables({"encoders": (first, second), "decoders": (below, above)}, {})
    inner = W2 @ W2.T + TAU**2 * np.eye(2)
    return {
        "one": (ONE, one, W1 @ W1.T + SIGMA**2 * np.eye(3)),
        "two": (TWO, two, W1 @ inner @ W1.T + SIGMA**2 * np.eye(3)),
    }


@pytest.fixture(scope="module")
def x():
    return jnp.float32(np.random.default_rng(0).multivariate_normal(OFFSET, 2 * np.eye(3), size=32))


def log_prob(x, covariance):
    return stats.multivariate_normal.logpdf(x, OFFSET, covariance)


@pytest.mark.parametrize("layers", ["one", "two"])
def test_the_training_bound_increases_with_k_and_stays_below_log_p(models, x, layers):
    model, variables, covariance = models[layers]
    exact = log_prob(x, covariance).mean()
    repeated = {"x": jnp.tile(x, (200, 1))}
    bounds = []
    for k in (1, 5, 50):
        loss = jax.jit(dataclasses.replace(model, num_importance_samples=k).loss)
        value, (_, metrics) = loss(*variables, jax.random.key(k), repeated, 0)
        bounds.append(float(metrics["bound"]))
        np.testing.assert_allclose(-value, metrics["bound"], rtol=1e-6)
        assert 1 <= metrics["effective_samples"] <= k + 1e-4
    assert bounds[0] + 0.3 < bounds[1]
    assert bounds[1] + 0.05 < bounds[2] < exact + 0.01


@pytest.mark.parametrize("layers", ["one", "two"])
def test_importance_weights_are_unbiased(models, x, layers):
    model, variables, covariance = models[layers]
    estimate = jax.jit(model.log_prob_estimate, static_argnames=("num_samples", "chunk_size"))
    exact = log_prob(x, covariance)
    many = estimate(variables, jax.random.key(7), x, num_samples=20_000, chunk_size=2_000)
    np.testing.assert_allclose(np.exp(many - exact).mean(), 1.0, atol=0.03)  # E[w] = p(x)
    bound = model.log_prob_lower_bound(variables, jax.random.key(8), x, num_samples=2_000, chunk_size=500)
    assert bound.mean() + 0.3 < many.mean()


@pytest.mark.parametrize("layers", ["one", "two"])
def test_with_one_sample_the_loss_is_the_evidence_lower_bound(models, x, layers):
    model, variables, _ = models[layers]
    model = dataclasses.replace(model, num_importance_samples=1)
    repeated = {"x": jnp.tile(x, (2_000, 1))}
    value, (_, metrics) = jax.jit(model.loss)(*variables, jax.random.key(3), repeated, 0)
    elbo = model.log_prob_lower_bound(variables, jax.random.key(4), x, num_samples=2_000, chunk_size=500).mean()
    np.testing.assert_allclose(-value, elbo, atol=0.05)
    np.testing.assert_allclose(metrics["elbo"], metrics["bound"], rtol=1e-5)


@pytest.mark.parametrize("layers", ["one", "two"])
def test_both_gradients_have_equal_expectations_and_the_second_less_variance(models, x, layers):
    model, variables, _ = models[layers]
    num_draws = 20_000
    batch = {"x": jnp.tile(x[:1], (50, 1))}

    def gradients(key):
        def gradient(kind):
            loss = dataclasses.replace(model, gradient=kind, num_importance_samples=8).loss
            return jax.grad(lambda p: loss(p, {}, key, batch, 0)[0])(variables.params)

        return tuple(gradient(kind) for kind in ("reparameterized", "doubly_reparameterized"))

    with jax.debug_key_reuse(False):  # both gradients use the same samples
        plain, double = jax.jit(jax.vmap(gradients))(jax.random.split(jax.random.key(5), num_draws // 50))
    for (path, one), two in zip(jax.tree_util.tree_leaves_with_path(plain), jax.tree.leaves(double), strict=True):
        a, b = np.float64(one).reshape(len(one), -1), np.float64(two).reshape(len(two), -1)
        error = np.sqrt((a.var(0) + b.var(0)) / len(a))
        assert np.all(np.abs(a.mean(0) - b.mean(0)) < 5 * error + 1e-6), path
        if "decoders" in str(path[0]):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    noise = [sum(np.float64(g).var(0).sum() for g in jax.tree.leaves(tree["encoders"])) for tree in (plain, double)]
    assert noise[1] < 0.7 * noise[0]


def test_with_exact_posterior_the_doubly_reparameterized_gradient_vanishes():
    """All samples have log w = log p(x), so the encoder's gradient is zero for every sample."""
    precision = W1.T @ W1 + SIGMA**2 * np.eye(2)
    assert precision[0, 1] == pytest.approx(0)
    weight = W1 @ np.linalg.inv(precision)
    log_var = np.log(SIGMA**2 / np.diag(precision))
    encoder = dense(np.concatenate([weight, 0 * weight], axis=1), np.concatenate([-OFFSET @ weight, log_var]))
    params = {"encoders": (encoder,), "decoders": (dense(W1.T, OFFSET),)}
    batch = {"x": jax.random.normal(jax.random.key(0), (16, 3))}
    for kind, vanishes in (("doubly_reparameterized", True), ("reparameterized", False)):
        model = dataclasses.replace(ONE, gradient=kind)
        gradient = jax.grad(lambda p: model.loss(p, {}, jax.random.key(1), batch, 0)[0])(params)  # noqa: B023
        largest = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient["encoders"]))
        assert (largest < 1e-4) == vanishes


def test_samples_of_two_layers_match_the_density(models):
    model, variables, covariance = models["two"]
    samples = np.float64(jax.jit(model.sample, static_argnums=2)(variables, jax.random.key(6), 100_000))
    np.testing.assert_allclose(samples.mean(0), OFFSET, atol=0.02)
    np.testing.assert_allclose(np.cov(samples.T), covariance, atol=0.05)
    means = jax.jit(lambda v, k: model.sample(v, k, 100_000, mean=True))(variables, jax.random.key(6))
    np.testing.assert_allclose(np.cov(np.float64(means).T), covariance - SIGMA**2 * np.eye(3), atol=0.05)


def test_codes_are_those_of_the_top_layer(models, x):
    model, variables, _ = models["two"]
    np.testing.assert_allclose(model.encode(variables, x), x @ (0.4 * W1) @ (0.3 * W2), rtol=1e-4, atol=1e-5)
    draws = jax.vmap(lambda key: model.sample_posterior(variables, key, x))(jax.random.split(jax.random.key(9), 4_000))
    np.testing.assert_allclose(draws.mean(0), model.encode(variables, x), atol=0.1)
    np.testing.assert_allclose(draws.var(0), 0.8 + 0.5 * 0.3**2 * np.sum(W2**2), rtol=0.2)
    latent = jnp.ones((1, 1))
    np.testing.assert_allclose(model.decode(variables, latent)[0], W1 @ W2[:, 0] + OFFSET, rtol=1e-5)


class Dropped(nn.Module):
    """Two logits that do not depend on the latent: 1, or with dropout 0 or 2."""

    @nn.compact
    def __call__(self, latent, train: bool = False):
        ones = jnp.ones((len(latent), 2)) + 0 * latent[:, :1]
        return nn.Dropout(0.5, deterministic=not train)(ones)


@pytest.mark.parametrize("gradient", ["reparameterized", "doubly_reparameterized"])
def test_dropout_is_on_only_in_training_and_shared_by_all_samples(gradient):
    model = vae.IWAE(
        latent_dims=(2,),
        encoders=(nets.MLP((4,)),),
        decoders=(Dropped(),),
        likelihood=ops.Bernoulli(),
        num_importance_samples=8,
        gradient=gradient,
    )
    batch = {"x": jnp.ones((1, 2))}
    variables = model.init(jax.random.key(0), batch)
    # If q is the prior, a weight is the likelihood, which varies only with dropout.
    variables = variables._replace(params=jax.tree.map(jnp.zeros_like, variables.params))
    keys = jax.random.split(jax.random.key(1), 64)
    _, (_, metrics) = jax.jit(jax.vmap(lambda key: model.loss(*variables, key, batch, 0)))(keys)
    dropped, scaled = -np.log(2), -np.log1p(np.exp(-2.0))
    possible = np.array([2 * dropped, dropped + scaled, 2 * scaled])
    nearest = np.abs(np.asarray(metrics["bound"])[:, None] - possible).argmin(1)
    np.testing.assert_allclose(metrics["bound"], possible[nearest], rtol=1e-5)
    assert set(nearest) == {0, 1, 2}
    np.testing.assert_allclose(metrics["effective_samples"], 8.0, rtol=1e-5)
    np.testing.assert_allclose(
        model.log_prob_estimate(variables, jax.random.key(2), batch["x"], 4), -2 * np.log1p(np.exp(-1.0)), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_importance_samples": 0}, "num_importance_samples is 0, but must be at least 1"),
        ({"latent_dims": ()}, r"latent_dims is \(\), but must be of length 1 or more"),
        ({"latent_dims": (2, 3)}, "there are 1 encoders and 1 decoders, but 2 latent_dims; give one of each"),
        ({"gradient": "score"}, "gradient is 'score', but must be 'reparameterized' or"),
    ],
)
def test_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ONE, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoders": (nets.MLP((4,)), nets.MLP((3,)))}, r"encoders\[1\] returned shape \(5, 3\).* needs \(5, 2\)"),
        ({"decoders": (nets.MLP((3,)), nets.MLP((2,)))}, r"decoders\[1\] returned shape \(5, 2\).* needs \(5, 4\)"),
        ({"likelihood": ops.Gaussian()}, r"decoders\[0\] returned shape \(5, 3\).* needs \(5, 6\)"),
    ],
)
def test_networks_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TWO, **changes).init(jax.random.key(0), {"x": jnp.zeros((5, 3))})


@pytest.mark.parametrize("name", ["one", "two"])
def test_unknown_values_follow_their_conditional_gaussian(models, name):
    model, variables, covariance = models[name]
    known, unknown = [0, 2], [1]
    values, num = np.array([1.5, -0.5]), 20_000
    gain = covariance[np.ix_(unknown, known)] @ np.linalg.inv(covariance[np.ix_(known, known)])
    mean = OFFSET[1] + float((gain @ (values - OFFSET[known]))[0])
    variance = covariance[1, 1] - float((gain @ covariance[np.ix_(known, unknown)])[0, 0])
    x = jnp.tile(jnp.array([[1.5, jnp.nan, -0.5]]), (num, 1))
    impute = jax.jit(model.impute, static_argnames="num_steps")
    drawn = np.asarray(impute(variables, jax.random.key(0), x, jnp.array([True, False, True]), num_steps=400))
    np.testing.assert_array_equal(drawn[:, known], np.float32(np.tile(values, (num, 1))))
    assert abs(drawn[:, 1].mean() - mean) < 4 * np.sqrt(variance / num)
    assert drawn[:, 1].var() == pytest.approx(variance, rel=0.05)
    assert abs(mean - OFFSET[1]) > 0.3  # what is known matters
