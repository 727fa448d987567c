"""Imputation: the unknown part of an example, given the known one, by repeated steps of a sampler.

The known part of x, given by a mask m, is inserted after each step, with the noise of its level,

    x_s ← m (α_s x + σ_s ε) + (1 − m) x_s,        x_s ~ p(x_s | x_t).                                             (1)

The step has drawn the unknown part without seeing the noisy values that are inserted next to it. So each step is taken
several times, with noise in between that leads back to level t,

    x_t ~ q(x_t | x_s) = N(α_t/α_s x_s, σ²_{t|s}).                                                                (2)

A bias remains: the unknown part agrees with x_s, the known part with noise, so that at high noise it is too diffuse and
too close to its unconditional mean. The bias vanishes with the noise if the last levels have enough steps and
resamplings to forget it; each forgets a fraction of about σ²_{t|s} over the variance of the unknown part. Resamplings
also accumulate the errors of a step: more of them need more steps.

Andreas Lugmayr et al. 2022, arXiv:2201.09865, who return by several levels at once and start without the known part.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.diffusion.loop import sample_loop
from genjax.diffusion.processes import Level, NoiseProcess
from genjax.diffusion.samplers import Ancestral, Denoise, Sampler

ANCESTRAL: Sampler = Ancestral()  # the default, which suits repeated steps


def fill_unknown(
    sampler: Sampler,
    process: NoiseProcess,
    denoise: Denoise,
    levels: Level,
    key: Array,
    x: Array,
    mask: Array,
    num_resamplings: int,
) -> Array:
    """Draw the values of x (B, ...) where the mask is False, in as many steps as there are levels, less one."""

    def constrain(key: Array, level: Level, x_s: Array) -> Array:
        noise = jax.random.normal(key, x.shape, x.dtype)
        return jnp.where(mask, level.alpha * x + level.sigma * noise, x_s)  # equation 1

    noise_key, loop_key = jax.random.split(key)
    noise = levels.sigma[0] * jax.random.normal(noise_key, x.shape, x.dtype)
    x_t = jnp.where(mask, levels.alpha[0] * x, 0) + noise  # the unknown part starts as pure noise, as in sampling
    options = {"constrain": constrain, "repeats": num_resamplings}
    return sample_loop(sampler, process, denoise, levels, loop_key, x_t, **options)[0]
