"""The linear VAE with a Gaussian likelihood, whose likelihood and posterior are known in closed form.

The marginal of x = W z + b + σ ε is N(b, W Wᵀ + σ² I), the posterior N(M⁻¹ Wᵀ (x - b), σ² M⁻¹), M = Wᵀ W + σ² I, and
the best such model of a data set is probabilistic PCA (Michael Tipping & Christopher Bishop, 1999).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from genjax import nets, ops, vae
from genjax.core import Variables

SCALE = 0.5
LOADINGS = np.array([[1.0, 0.8], [-0.5, 1.0], [1.0, -0.3]])  # orthogonal columns: the exact posterior is diagonal
OFFSET = np.array([0.2, -1.0, 0.5])
MODEL = vae.VAE(
    latent_dim=2,
    encoder=nets.MLP((4,)),
    decoder=nets.MLP((3,)),
    likelihood=ops.Gaussian(log_scale=float(np.log(SCALE))),
)


def variables_of(posterior_mean_weight, posterior_mean_bias, posterior_log_var):
    def dense(kernel, bias):
        return {"Dense_0": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}

    encoder = dense(
        np.concatenate([posterior_mean_weight, np.zeros((3, 2))], axis=1),
        np.concatenate([posterior_mean_bias, posterior_log_var]),
    )
    return Variables(
        params={"encoder": encoder, "decoder": dense(LOADINGS.T, OFFSET)}, state={"encoder": {}, "decoder": {}}
    )


@pytest.fixture(scope="module")
def exact():
    precision = LOADINGS.T @ LOADINGS + SCALE**2 * np.eye(2)
    assert precision[0, 1] == pytest.approx(0)
    weight = LOADINGS @ np.linalg.inv(precision)
    return variables_of(weight, -OFFSET @ weight, np.log(SCALE**2 / np.diag(precision)))


@pytest.fixture(scope="module")
def wrong(exact):
    bias = exact.params["encoder"]["Dense_0"]["bias"]
    weight = exact.params["encoder"]["Dense_0"]["kernel"][:, :2]
    return variables_of(weight, bias[:2] + 0.4, bias[2:] + 0.9)


@pytest.fixture(scope="module")
def x():
    return MODEL.likelihood.sample(jax.random.key(1), jax.random.normal(jax.random.key(0), (64, 3)))


@pytest.fixture(scope="module")
def log_prob(x):
    return stats.multivariate_normal.logpdf(x, OFFSET, LOADINGS @ LOADINGS.T + SCALE**2 * np.eye(3))


@pytest.fixture(scope="module")
def estimate():
    return jax.jit(MODEL.log_prob_estimate, static_argnames=("num_samples", "chunk_size"))


@pytest.fixture(scope="module")
def bound():
    return jax.jit(MODEL.log_prob_lower_bound, static_argnames=("num_samples", "chunk_size"))


def test_with_the_exact_posterior_every_sample_gives_log_p(exact, x, log_prob, bound, estimate):
    np.testing.assert_allclose(bound(exact, jax.random.key(2), x), log_prob, atol=1e-4)
    np.testing.assert_allclose(estimate(exact, jax.random.key(3), x, num_samples=5), log_prob, atol=1e-4)


def test_the_bound_is_loose_by_the_divergence_from_the_posterior(exact, wrong, x, log_prob, bound):
    posterior, guess = MODEL.posterior(exact, x), MODEL.posterior(wrong, x)
    slack = ops.gaussian_kl(*guess, *posterior).sum(-1)
    elbo = bound(wrong, jax.random.key(4), x, num_samples=20_000, chunk_size=2_000)
    assert slack.min() > 0.5
    np.testing.assert_allclose(elbo, log_prob - slack, atol=0.1)
    np.testing.assert_allclose(elbo.mean(), (log_prob - slack).mean(), atol=0.01)


def test_the_training_loss_estimates_the_same_bound(exact, wrong, x, log_prob):
    slack = ops.gaussian_kl(*MODEL.posterior(wrong, x), *MODEL.posterior(exact, x)).sum(-1)
    repeated = {"x": jnp.tile(x, (500, 1))}
    loss, (_, metrics) = jax.jit(MODEL.loss)(*wrong, jax.random.key(5), repeated, 0)
    np.testing.assert_allclose(-loss, (log_prob - slack).mean(), atol=0.05)
    np.testing.assert_allclose(metrics["elbo"], -loss, rtol=1e-6)


def test_importance_weights_are_unbiased_and_close_the_gap(wrong, x, log_prob, bound, estimate):
    few = estimate(wrong, jax.random.key(6), x, num_samples=2)
    many = estimate(wrong, jax.random.key(7), x, num_samples=1_000, chunk_size=100)
    elbo = bound(wrong, jax.random.key(8), x, num_samples=1_000, chunk_size=100)
    assert elbo.mean() + 0.1 < few.mean() < many.mean() < log_prob.mean() + 0.01
    np.testing.assert_allclose(many, log_prob, atol=0.3)
    # E[w] = p(x) exactly, whatever the encoder.
    np.testing.assert_allclose(np.exp(many - log_prob).mean(), 1.0, atol=0.01)


@pytest.mark.parametrize("chunk_size", [1, 4, 16])
def test_chunks_change_nothing(wrong, x, bound, estimate, chunk_size):
    """Ten samples in chunks of four mask two."""
    for method in (estimate, bound):
        whole = method(wrong, jax.random.key(9), x, num_samples=10, chunk_size=10)
        parts = method(wrong, jax.random.key(9), x, num_samples=10, chunk_size=chunk_size)
        np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_with_one_sample_bound_and_estimate_are_equal(wrong, x, bound, estimate):
    one = bound(wrong, jax.random.key(10), x, num_samples=1)
    np.testing.assert_allclose(estimate(wrong, jax.random.key(10), x, num_samples=1), one, rtol=1e-6)


def test_memory_and_program_do_not_grow_with_the_number_of_samples(wrong, x, estimate):
    few, many = (estimate.lower(wrong, jax.random.key(0), x, num_samples=n) for n in (100, 5_000))
    assert abs(len(many.as_text()) - len(few.as_text())) < 100
    few, many = (lowered.compile().memory_analysis().temp_size_in_bytes for lowered in (few, many))
    assert many <= 1.1 * few + 5_000 * 4


class LinearWithNoise(nn.Module):
    """x = W z + b with one learned noise scale, in the layout of a Gaussian likelihood."""

    features: int

    @nn.compact
    def __call__(self, latent):
        mean = nn.Dense(self.features)(latent)
        log_scale = self.param("log_scale", nn.initializers.constant(-1.0), ())
        return jnp.concatenate([mean, jnp.full_like(mean, log_scale)], axis=-1)


def test_trained_linear_vae_reaches_probabilistic_pca():
    """The exact log-likelihood after training is within 0.05 nats per example of the closed-form optimum."""
    x = load_digits().data / 16.0
    latent_dim, steps = 8, 3_000
    model = vae.VAE(
        latent_dim=latent_dim,
        encoder=nets.MLP((2 * latent_dim,)),
        decoder=LinearWithNoise(features=64),
        likelihood=ops.Gaussian(),
    )
    batch = {"x": jnp.asarray(x, jnp.float32)}
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-2, steps), b2=0.99)

    @jax.jit
    def train(variables):
        def step(carry, key):
            params, opt_state = carry
            grads = jax.grad(lambda p: model.loss(p, variables.state, key, batch, 0)[0])(params)
            updates, opt_state = optimizer.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), None

        carry = (variables.params, optimizer.init(variables.params))
        return jax.lax.scan(step, carry, jax.random.split(jax.random.key(0), steps))[0][0]

    decoder = jax.device_get(train(model.init(jax.random.key(1), batch))["decoder"])
    loadings, scale = np.float64(decoder["Dense_0"]["kernel"].T), np.exp(np.float64(decoder["log_scale"]))
    covariance = loadings @ loadings.T + scale**2 * np.eye(64)
    mean_log_prob = stats.multivariate_normal.logpdf(x, decoder["Dense_0"]["bias"], covariance).mean()

    eigenvalues = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    noise = eigenvalues[latent_dim:].mean()
    best = -0.5 * (
        np.log(eigenvalues[:latent_dim]).sum() + (64 - latent_dim) * np.log(noise) + 64 * np.log(2 * np.pi) + 64
    )
    assert best - 0.05 < mean_log_prob <= best + 1e-6
