import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from genjax.ops import gaussian_kl, gaussian_log_prob


def quadrature_kl(mean, scale, prior_mean, prior_scale):
    q, p = stats.norm(mean, scale), stats.norm(prior_mean, prior_scale)

    def integrand(z):
        return q.pdf(z) * (q.logpdf(z) - p.logpdf(z))

    return integrate.quad(integrand, mean - 12 * scale, mean + 12 * scale, epsabs=1e-12, limit=200)[0]


@pytest.mark.parametrize(
    ("mean", "scale", "prior_mean", "prior_scale"),
    [(0.0, 1.0, 0.0, 1.0), (1.5, 0.3, 0.0, 1.0), (-2.0, 2.5, 0.0, 1.0), (0.7, 0.4, -0.5, 1.7), (3.0, 5.0, 2.0, 0.6)],
)
def test_against_quadrature(mean, scale, prior_mean, prior_scale):
    kl = gaussian_kl(
        jnp.float32(mean), jnp.float32(2 * np.log(scale)), jnp.float32(prior_mean), jnp.float32(2 * np.log(prior_scale))
    )
    np.testing.assert_allclose(kl, quadrature_kl(mean, scale, prior_mean, prior_scale), rtol=2e-5, atol=1e-6)


def test_the_default_prior_is_the_standard_normal():
    np.testing.assert_allclose(
        gaussian_kl(jnp.array([[0.3, -1.2]]), jnp.array([[0.5, -2.0]])),
        [[quadrature_kl(0.3, np.exp(0.25), 0, 1), quadrature_kl(-1.2, np.exp(-1.0), 0, 1)]],
        rtol=1e-5,
    )


def test_digits_survive_close_to_the_prior():
    # KL = m² / 2 + v-terms of second order: 5e-9 for m = 1e-4, far below the rounding of e^0 - 1 - 0 done term by term.
    np.testing.assert_allclose(gaussian_kl(jnp.float32(1e-4), jnp.float32(0.0)), 5e-9, rtol=1e-5)
    assert gaussian_kl(jnp.float32(0.0), jnp.float32(1e-4)) >= 0


def test_log_density_against_scipy():
    x, mean, scale = 0.3, -1.2, 2.5
    expected = stats.norm.logpdf(x, mean, scale)
    np.testing.assert_allclose(gaussian_log_prob(jnp.float32(x), mean, 2 * np.log(scale)), expected, rtol=1e-6)
