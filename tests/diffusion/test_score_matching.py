"""Sliced score matching on Gaussian data, against the integrals that it estimates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from tests.diffusion import exact

PROCESS = diffusion.processes.VariancePreserving()
NUM = 200_000
FACTOR = np.linalg.cholesky(exact.COVARIANCE)


def truth(key):
    data_key, noise_key = jax.random.split(key)
    data = exact.MEAN[None] + jax.random.normal(data_key, (NUM, 2)) @ FACTOR.T
    return diffusion.Prediction(data.astype(jnp.float32), jax.random.normal(noise_key, (NUM, 2)))


@functools.partial(jax.jit, static_argnames=("matching", "parametrization"))
def errors(matching, key, t, scale, shift, parametrization=diffusion.parametrizations.Noise()):  # noqa: B008
    """Return the mean errors at one time of ε̂ = scale · exact + shift, in a parametrization."""

    def network(x):
        predicted = exact.gaussian(PROCESS)(x, t)
        noise = scale * predicted.noise + shift[None]
        data = (x - PROCESS.sigma(t) * noise) / PROCESS.alpha(t)
        return parametrization.target(PROCESS, t, diffusion.Prediction(data, noise)), jnp.float32(7.0)

    truth_key, own_key = jax.random.split(key)
    results, state = matching.errors(PROCESS, parametrization, network, own_key, jnp.full(NUM, t), truth(truth_key))
    return jax.tree.map(jnp.mean, results), state


def inverse(t):
    """Return the inverse covariance of x_t."""
    _, covariance = exact.marginal(float(PROCESS.alpha(t)), float(PROCESS.sigma(t)))
    return np.linalg.inv(covariance)


@pytest.mark.parametrize("num_directions", [1, 3])
def test_the_objective_at_the_exact_score(num_directions):
    """By integration by parts, E[vᵀ (∂s/∂x) v + ½ ‖s‖²] = −½ E‖s‖² = −½ tr Σ⁻¹."""
    t = jnp.float32(0.3)
    results, _ = errors(diffusion.score_matching.Sliced(num_directions), jax.random.key(0), t, 1.0, jnp.zeros(2))
    objective = (float(results.noise) - 2) / (2 * float(PROCESS.sigma(t)) ** 2)
    np.testing.assert_allclose(objective, -0.5 * np.trace(inverse(t)), rtol=0.01)


def test_the_gradient_vanishes_at_the_exact_score_alone():
    t = jnp.float32(0.3)

    @jax.jit
    @jax.grad
    def gradient(settings, key):
        return errors(diffusion.score_matching.Sliced(), key, t, *settings)[0].noise

    at_exact, perturbed = (
        gradient((jnp.float32(scale), jnp.full(2, shift)), jax.random.key(1))
        for scale, shift in ((1.0, 0.0), (1.5, 0.2))
    )
    np.testing.assert_allclose(at_exact[0], 0.0, atol=0.02)
    np.testing.assert_allclose(at_exact[1], 0.0, atol=0.02)
    # Gradient of E‖(scale − 1) ε̂ + shift‖², where E‖ε̂‖² = σ² tr Σ⁻¹.
    square = float(PROCESS.sigma(t)) ** 2 * np.trace(inverse(t))
    np.testing.assert_allclose(perturbed[0], 2 * 0.5 * square, rtol=0.03)
    np.testing.assert_allclose(perturbed[1], 2 * 0.2, atol=0.03)


@pytest.mark.parametrize(
    "parametrization",
    [
        diffusion.parametrizations.Noise(),
        diffusion.parametrizations.Velocity(),
        diffusion.parametrizations.Score(),
        diffusion.parametrizations.Preconditioned(0.7),
    ],
)
def test_all_errors_have_the_expectation_of_denoising(parametrization):
    t, shift = jnp.float32(0.4), jnp.array([0.3, -0.6])
    for scale in (1.0, 0.5):
        sliced, denoising = (
            errors(matching, jax.random.key(2), t, scale, shift, parametrization)
            for matching in (diffusion.score_matching.Sliced(), diffusion.score_matching.Denoising())
        )
        assert sliced[0].size == denoising[0].size == 2
        for own, right in zip(sliced[0][:3], denoising[0][:3], strict=True):
            np.testing.assert_allclose(own, right, rtol=0.03)
        assert sliced[1] == denoising[1] == 7.0  # the network's state


def test_more_directions_have_less_variance():
    """With entries ±1 only off-diagonal terms vary: the variance is 2 Σ_{i≠j} J_ij² over the number of directions."""
    t, noise = jnp.float32(0.3), jnp.zeros((4_000, 2))
    same = diffusion.Prediction(jnp.ones((4_000, 2)), noise)
    jacobian = float(PROCESS.sigma(t)) * inverse(t)
    for num in (1, 4):
        results, _ = jax.jit(
            lambda key, num=num: diffusion.score_matching.Sliced(num).errors(
                PROCESS,
                diffusion.parametrizations.Noise(),
                lambda x: (exact.gaussian(PROCESS)(x, t).noise, ()),
                key,
                jnp.full(4_000, t),
                same,
            )
        )(jax.random.key(3))
        expected = (2 * float(PROCESS.sigma(t))) ** 2 * (2 * jacobian[0, 1]) ** 2 / num
        np.testing.assert_allclose(np.asarray(results.noise).var(), expected, rtol=0.1)


class Line:
    """A network with output w x."""

    def init(self, key, x, level):
        return {"params": {"w": jnp.full((), 0.3)}}

    def apply(self, variables, x, level):
        return variables["params"]["w"] * x


def test_models_learn_by_it():
    """Losses and gradients have the same expectation over times too, for both weightings."""
    for weighting in (diffusion.weightings.Simple(), diffusion.weightings.MinSNR(2.0)):
        values = []
        for matching in (diffusion.score_matching.Denoising(), diffusion.score_matching.Sliced()):
            model = diffusion.Diffusion(
                shape=(2,), net=Line(), process=PROCESS, weighting=weighting, score_matching=matching
            )
            variables = model.init(jax.random.key(4), {"x": jnp.zeros((2, 2))})
            loss = jax.jit(jax.value_and_grad(model.loss, has_aux=True))
            (value, _), gradient = loss(*variables, jax.random.key(5), {"x": truth(jax.random.key(6)).data}, 0)
            values.append((value, gradient["denoiser"]["w"]))
        np.testing.assert_allclose(values[1], values[0], rtol=0.03, atol=0.01)


def test_no_directions():
    with pytest.raises(ValueError, match="num_directions is 0, but must be at least 1"):
        diffusion.score_matching.Sliced(0)
