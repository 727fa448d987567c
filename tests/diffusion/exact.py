"""Exact answers for diffusion: denoisers of Gaussian data and of finite sets, marginals, flows and affine samplers.

Data N(μ, S), with S = Q diag(s²) Qᵀ, are N(α μ, α² S + σ² I) at a level, and the exact denoiser is affine:

    E[x₀ | x_t] = μ + α S (α² S + σ² I)⁻¹ (x_t − α μ),        E[ε | x_t] = σ (α² S + σ² I)⁻¹ (x_t − α μ).

The probability-flow equation is then linear and preserves x in units of the standard deviations along Q. All samplers
are affine in x and in their noise, and so have exact means and covariances too.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from genjax import diffusion

MEAN = np.array([1.0, -0.5])
COVARIANCE = np.array([[0.64, 0.24], [0.24, 0.25]])
VARIANCES, AXES = np.linalg.eigh(COVARIANCE)  # s², Q


def gaussian(process, mean=MEAN, covariance=COVARIANCE):
    """Return the denoiser of N(μ, S)."""
    eigen = np.linalg.eigh(covariance)

    def denoise(x, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        variances, axes, center = (jnp.asarray(part, x.dtype) for part in (eigen[0][None], eigen[1], mean[None]))
        inverse = 1 / (alpha**2 * variances + sigma**2)
        centred = ((x - alpha * center) @ axes) * inverse
        data = center + alpha * (centred * variances) @ axes.T
        return diffusion.Prediction(data, sigma * centred @ axes.T)

    return denoise


def finite(process, points):
    """Return the denoiser of data distributed uniformly over points (K, D): the posterior mean."""

    def denoise(x, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        distance = jnp.sum(jnp.square(x[:, None] - alpha * points[None]), axis=-1)
        data = jax.nn.softmax(-0.5 * distance / sigma**2) @ points
        return diffusion.Prediction(data, (x - alpha * data) / sigma)

    return denoise


def marginal(alpha, sigma):
    """Return the mean and covariance of x_t."""
    return alpha * MEAN, alpha**2 * COVARIANCE + sigma**2 * np.eye(2)


def flow(levels):
    """Return A and b of x ↦ A x + b, the solution of the probability-flow equation from the first level to the last."""
    alpha, sigma = (np.asarray(part, np.float64) for part in (levels.alpha, levels.sigma))
    deviations = [np.sqrt(alpha[i] ** 2 * VARIANCES + sigma[i] ** 2) for i in (0, -1)]
    matrix = AXES @ np.diag(deviations[1] / deviations[0]) @ AXES.T
    return matrix, alpha[-1] * MEAN - matrix @ (alpha[0] * MEAN)


class Affine:
    """The map of a sampler's steps for Gaussian data: A, b and C_n of x ↦ A x + b + Σ_n C_n z_n, exactly.

    One row of the batch gives b, two give A, and two for each step give C_n, where only the noise of that step is 1.
    Each step is one program, which grids of all lengths up to a maximum share; a maximum of 0 means no C_n.
    """

    def __init__(self, sampler, process, max_steps):
        self.sampler, self.max_steps = sampler, max_steps
        denoise = gaussian(process)

        @jax.jit
        def step(t, s, z, x, carry):
            def normal(key, shape, dtype):
                assert shape == z.shape and dtype == z.dtype
                return z

            with mock.patch("jax.random.normal", normal):
                return sampler.step(process, denoise, t, s, jax.random.key(0), x, carry)[:2]

        self.step = step

    def __call__(self, levels):
        levels = jax.tree.map(np.asarray, levels)
        x = np.zeros((3 + 2 * self.max_steps, 2), levels.time.dtype)
        x[1:3] = np.eye(2)
        carry = jax.device_get(self.sampler.init_carry(x))
        for n in range(len(levels.time) - 1):
            z = np.zeros_like(x)
            z[3 + 2 * n : 5 + 2 * n] = np.eye(2) if self.max_steps else 0.0
            t, s = (jax.tree.map(lambda part, i=i: part[i], levels) for i in (n, n + 1))
            x, carry = self.step(t, s, z, x, carry)
            assert x.dtype == z.dtype
        x = np.asarray(x, np.float64)
        return (x[1:3] - x[0]).T, x[0], (x[3:] - x[0]).reshape(-1, 2, 2).swapaxes(1, 2)

    def moments(self, levels):
        """Return the mean and covariance at the last level, starting from the exact ones at the first."""
        matrix, offset, noises = self(levels)
        mean, covariance = marginal(np.float64(levels.alpha[0]), np.float64(levels.sigma[0]))
        return matrix @ mean + offset, matrix @ covariance @ matrix.T + np.einsum("nij,nkj->ik", noises, noises)


def order(errors):
    """Return the order of convergence from errors at successively doubled numbers of steps."""
    return -np.polyfit(np.arange(len(errors)), np.log2(errors), 1)[0]
