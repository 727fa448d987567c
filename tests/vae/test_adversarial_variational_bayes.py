"""Adversarial variational Bayes with a known optimal discriminator, and with a non-Gaussian posterior.

With a Gaussian encoder and T = log q − log r in closed form, the estimate is the evidence lower bound. If |z| is
observed with noise in two dimensions, the posterior is a ring whose radius depends on the observation. The KL
divergence of samples from it is estimated from its density and the samples' nearest neighbours.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, optimize, spatial, special, stats

from genjax import gradient_learner, nets, ops, vae
from genjax.core import stream_key
from tests.networks import Function

LOADINGS = np.array([[1.0, 0.8], [-0.5, 1.0], [1.0, -0.3]])
OFFSET = np.array([0.2, -1.0, 0.5])
SCALE = 0.5


WEIGHT = np.float32(0.4 * LOADINGS)
NO_STATE = {part: {} for part in ("encoder", "decoder", "discriminator")}
ENCODER = {"weight": jnp.asarray(WEIGHT), "log_scale": jnp.float32([-0.4, -0.9])}


def posterior_of(params, x):
    return (x - jnp.float32(OFFSET)[None]) @ params["weight"], params["log_scale"][None] + 0.1 * x[:, :1]


def encode(params, x, noise):
    mean, log_scale = posterior_of(params, x)
    return mean + jnp.exp(log_scale) * noise


def optimal_against_the_prior(params, latent, x):
    """T* = log q(z | x) − log p(z)."""
    mean, log_scale = posterior_of(ENCODER, x)
    log_ratio = ops.gaussian_log_prob(latent, mean, 2 * log_scale) - ops.gaussian_log_prob(latent)
    return jnp.sum(log_ratio, axis=-1, keepdims=True) + 0.0 * params["unused"]


def zero_logits(params, latent, x):
    """T* under adaptive contrast: q is the Gaussian with its own moments."""
    return jnp.zeros((len(x), 1)) + 0.0 * params["unused"]


def model_of(adaptive_contrast):
    discriminator = zero_logits if adaptive_contrast else optimal_against_the_prior
    return vae.AdversarialVariationalBayes(
        latent_dim=2,
        noise_dim=2,
        encoder=Function(encode, ENCODER),
        decoder=Function(
            lambda params, z: z @ params["kernel"].T + params["bias"][None],
            {"kernel": jnp.float32(LOADINGS), "bias": jnp.float32(OFFSET)},
        ),
        discriminator=Function(discriminator, {"unused": jnp.zeros(())}),
        likelihood=ops.Gaussian(log_scale=float(np.log(SCALE))),
        adaptive_contrast=adaptive_contrast,
        num_contrast_samples=400,
    )


@pytest.fixture(scope="module")
def x():
    return jnp.float32(np.random.default_rng(0).multivariate_normal(OFFSET, 2 * np.eye(3), size=8))


def exact_elbo(params, x):
    """ELBO of a Gaussian posterior and a linear decoder, in closed form."""
    mean, log_scale = posterior_of(params, x)
    residual = x - mean @ jnp.float32(LOADINGS.T) - jnp.float32(OFFSET)[None]
    spread = jnp.exp(2 * log_scale) @ jnp.float32(np.sum(LOADINGS**2, axis=0))
    log_likelihood = -0.5 * (jnp.sum(residual**2, -1) + spread) / SCALE**2 - 1.5 * np.log(2 * np.pi * SCALE**2)
    return jnp.mean(log_likelihood - jnp.sum(ops.gaussian_kl(mean, 2 * log_scale), axis=-1))


@pytest.mark.parametrize("adaptive_contrast", [False, True])
def test_with_the_optimal_discriminator_it_is_the_evidence_lower_bound(x, adaptive_contrast):
    model = model_of(adaptive_contrast)
    variables = model.init(jax.random.key(0), {"x": x})
    batch = {"x": jnp.tile(x, (500, 1))}

    @jax.jit
    def value_and_gradient(encoder, key):
        def loss(encoder):
            return model.elbo_loss(variables.params | {"encoder": encoder}, variables.state, key, batch, 0)[0]

        return jax.value_and_grad(loss)(encoder)

    loss, gradient = value_and_gradient(ENCODER, jax.random.key(1))
    expected, exact = jax.value_and_grad(lambda params: -exact_elbo(params, x))(ENCODER)
    np.testing.assert_allclose(loss, expected, atol=0.06)
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.12 + 0.01 * np.abs(theirs).max())


def test_the_discriminator_learns_the_log_ratio(x):
    """With logits a T*, the loss is minimal at a = 1."""
    scaled = Function(lambda params, z, x: params["a"] * optimal_against_the_prior({"unused": 0.0}, z, x))
    model = dataclasses.replace(model_of(adaptive_contrast=False), discriminator=scaled)
    encoder, batch = {"encoder": ENCODER}, {"x": jnp.tile(x, (2_000, 1))}

    def loss(a):
        return model.discriminator_loss(encoder | {"discriminator": {"a": a}}, NO_STATE, jax.random.key(1), batch, 0)[0]

    slope = jax.jit(jax.vmap(jax.grad(loss)))(jnp.float32([0.5, 1.0, 2.0]))
    assert slope[0] < -0.05 and slope[2] > 0.01
    np.testing.assert_allclose(slope[1], 0.0, atol=0.005)


def test_latents_are_standardized_by_constant_moments_of_separate_samples(x):
    """For a Gaussian q and n samples, (z - m) / √v is √(1 + 1/n) times Student's t with n - 1 degrees of freedom."""
    n, squares = 12, Function(lambda params, u, x: params["a"] * jnp.sum(u**2, axis=-1, keepdims=True))
    model = dataclasses.replace(model_of(adaptive_contrast=True), discriminator=squares, num_contrast_samples=n)
    decoder = {"kernel": jnp.float32(LOADINGS), "bias": jnp.float32(OFFSET)}
    batch = {"x": jnp.tile(x, (2_000, 1))}

    def loss_of(objective):
        def loss(a, log_scale):
            encoder = ENCODER | {"log_scale": log_scale}
            params = {"encoder": encoder, "decoder": decoder, "discriminator": {"a": a}}
            return objective(params, NO_STATE, jax.random.key(1), batch, 0)[0]

        return loss

    at = jnp.float32(0.0), ENCODER["log_scale"]
    square = (1 + 1 / n) * (n - 1) / (n - 3)
    slope = jax.jit(jax.grad(loss_of(model.elbo_loss)))
    np.testing.assert_allclose(slope(*at), 2 * square, atol=0.1)  # gradient of E[T] in two dimensions
    np.testing.assert_allclose(jax.jit(jax.grad(loss_of(model.discriminator_loss)))(*at), 1 - square, atol=0.05)
    mixed = jax.jit(jax.jacfwd(jax.grad(loss_of(model.elbo_loss)), argnums=1))(*at)
    np.testing.assert_allclose(mixed, 2 * (n - 1) / (n - 3), atol=0.15)  # zero if m and v had gradients


def test_a_zero_logit_gives_the_loss_of_chance(x):
    model = model_of(adaptive_contrast=True)
    variables = model.init(jax.random.key(0), {"x": x})
    loss, (_, metrics) = jax.jit(model.discriminator_loss)(*variables, jax.random.key(1), {"x": x}, 0)
    np.testing.assert_allclose(loss, 2 * np.log(2), rtol=1e-6)
    assert metrics["accuracy"] == 0  # a logit of zero is neither positive nor negative


def test_importance_weights_of_the_fitted_gaussian_give_log_p(x):
    model = model_of(adaptive_contrast=True)
    variables = model.init(jax.random.key(0), {"x": x})
    estimate = jax.jit(model.log_prob_estimate, static_argnames=("num_samples", "num_moment_samples", "chunk_size"))
    exact = stats.multivariate_normal.logpdf(x, OFFSET, LOADINGS @ LOADINGS.T + SCALE**2 * np.eye(3))
    many = estimate(variables, jax.random.key(1), x, num_samples=20_000, chunk_size=2_000)
    np.testing.assert_allclose(many, exact, atol=0.3)
    np.testing.assert_allclose(np.exp(many - exact).mean(), 1.0, atol=0.03)
    few = estimate(variables, jax.random.key(2), jnp.tile(x, (200, 1)), num_samples=2).mean()
    assert few + 0.05 < exact.mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_dim": 0}, "latent_dim is 0, but must be at least 1"),
        ({"noise_dim": 0}, "noise_dim is 0, but must be at least 1"),
        ({"num_contrast_samples": 1}, "num_contrast_samples is 1, but must be at least 2"),
    ],
)
def test_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(model_of(adaptive_contrast=True), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": nets.MLP((3,))}, r"encoder returned shape \(4, 3\), but latent_dim=2 needs \(4, 2\)"),
        ({"decoder": nets.MLP((6,))}, r"decoder returned shape \(4, 6\).* needs \(4, 5\)"),
        ({"discriminator": nets.MLP((2,))}, r"discriminator returned shape \(4, 2\).* needs \(4, 1\)"),
    ],
)
def test_networks_that_do_not_fit(changes, message):
    networks = {"encoder": nets.MLP((2,)), "decoder": nets.MLP((5,)), "discriminator": nets.MLP((1,))} | changes
    model = vae.AdversarialVariationalBayes(latent_dim=2, noise_dim=3, likelihood=ops.Bernoulli(), **networks)
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), {"x": jnp.zeros((4, 5))})


NOISE, OBSERVED = 0.3, (1.0, 1.5, 2.0)
NUM_DRAWS = 200_000


def ring_log_prob(z, x):
    """Log p(z | x) for x = |z| plus noise, normalized by quadrature."""

    def log_joint(radius):
        return -0.5 * radius**2 - 0.5 * ((x - radius) / NOISE) ** 2

    mass = integrate.quad(lambda r: 2 * np.pi * r * np.exp(log_joint(r)), 0, x + 12 * NOISE, points=[x])[0]
    return log_joint(np.linalg.norm(z, axis=-1)) - np.log(mass)


def divergence(draws, x, neighbour=4):
    """KL(q ‖ p(· | x)) in nats from samples of q.

    The entropy is the nearest-neighbour estimate of Kozachenko and Leonenko, because a kernel estimate of fixed width
    would overestimate the entropy of a thinner q.
    """
    size, dim = draws.shape
    distance = spatial.cKDTree(draws).query(draws, neighbour + 1)[0][:, -1]  # the nearest is the sample itself
    log_ball = 0.5 * dim * np.log(np.pi) - special.gammaln(0.5 * dim + 1)
    entropy = special.digamma(size) - special.digamma(neighbour) + log_ball + dim * np.log(distance).mean()
    return -entropy - ring_log_prob(draws, x).mean()


def best_gaussian(x):
    """Minimum of KL(q ‖ p(· | x)) over all Gaussians q, with the mean and covariance factor of the minimizer."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    nodes = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    weights = np.outer(weights, weights).ravel() / weights.sum() ** 2

    def gaussian(parameters):
        return parameters[:2], np.array([[np.exp(parameters[2]), 0.0], [parameters[4], np.exp(parameters[3])]])

    def kl(parameters):
        mean, factor = gaussian(parameters)
        entropy = 1 + np.log(2 * np.pi) + parameters[2] + parameters[3]
        return -entropy - weights @ ring_log_prob(mean + nodes @ factor.T, x)

    starts = ([0.0, 0.0, 0.0, 0.0, 0.0], [x, 0.0, -1.2, 0.0, 0.0], [0.7 * x, 0.7 * x, -1.0, -1.0, 0.0])
    best = min((optimize.minimize(kl, start, method="Nelder-Mead") for start in starts), key=lambda result: result.fun)
    return best.fun, *gaussian(best.x)


@pytest.mark.parametrize("x", OBSERVED)
def test_the_divergence_estimate_agrees_with_quadrature_for_the_best_gaussian(x):
    expected, mean, factor = best_gaussian(x)
    draws = mean + np.random.default_rng(0).normal(size=(NUM_DRAWS, 2)) @ factor.T
    np.testing.assert_allclose(divergence(draws, x), expected, atol=0.02)


@pytest.mark.parametrize(("scale", "about"), [(0.09, 0.698), (0.03, 1.751)])
def test_the_divergence_estimate_is_right_for_a_thin_ring(scale, about):
    """A ring of radius 1.4, much thinner than the posterior, whose divergence is a one-dimensional integral."""
    rng = np.random.default_rng(0)
    radius, angle = rng.normal(1.4, scale, NUM_DRAWS), rng.uniform(0, 2 * np.pi, NUM_DRAWS)
    draws = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)

    def integrand(r):
        log_q = stats.norm.logpdf(r, 1.4, scale) - np.log(2 * np.pi * r)
        return stats.norm.pdf(r, 1.4, scale) * (log_q - ring_log_prob(np.array([r, 0.0]), 1.5))

    exact = integrate.quad(integrand, 1.4 - 8 * scale, 1.4 + 8 * scale)[0]
    np.testing.assert_allclose(exact, about, atol=0.001)
    np.testing.assert_allclose(divergence(draws, 1.5), exact, atol=0.02)


@pytest.mark.slow
def test_ring_posteriors_have_less_than_half_the_kl_of_the_best_gaussian():
    radius = Function(
        lambda params, z: jnp.linalg.norm(z, axis=-1, keepdims=True) + 0.0 * params["unused"], {"unused": jnp.zeros(())}
    )
    model = vae.AdversarialVariationalBayes(
        latent_dim=2,
        noise_dim=4,
        encoder=nets.MLP((128, 128, 2), activation=jax.nn.relu),
        decoder=radius,
        discriminator=nets.MLP((128, 128, 1), activation=jax.nn.relu),
        likelihood=ops.Gaussian(log_scale=float(np.log(NOISE))),
        num_contrast_samples=32,
    )
    steps, batch = 6_000, {"x": jnp.repeat(jnp.float32(OBSERVED), 86)[:, None]}
    optimizers = {
        "discriminator": optax.adam(optax.cosine_decay_schedule(1e-3, 4 * steps), b1=0.5),
        "elbo": optax.adam(optax.cosine_decay_schedule(3e-4, steps), b1=0.5),
    }
    learner = gradient_learner(model, optimizers, schedule=("discriminator",) * 4 + ("elbo",), ema_decay=0.999)
    batches = {"x": jnp.broadcast_to(batch["x"], (5, *batch["x"].shape))}

    @jax.jit
    def train(key):
        state = learner.init(stream_key(key, "init"), batch)
        keys = jax.random.split(stream_key(key, "train"), steps)
        return jax.lax.scan(lambda state, key: learner.step(state, key, batches), state, keys)[0]

    variables = train(jax.random.key(0)).variables
    for x in OBSERVED:
        draws = model.sample_posterior(variables, jax.random.key(1), jnp.full((NUM_DRAWS, 1), x))
        implicit, gaussian = divergence(np.float64(draws), x), best_gaussian(x)[0]
        print(f"x = {x}: KL of the implicit posterior {implicit:.3f}, of the best Gaussian {gaussian:.3f} nats")
        assert gaussian > 0.5
        assert implicit < 0.5 * gaussian
