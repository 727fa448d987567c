"""Indicators of failed training of an energy model: frozen or diverging chains, drifting energies, a poor buffer.

For independent data x and x′, and samples x̃ of chains that run from noise for the model's number of steps:

* the chain movement is E ‖x̂ − x‖² / E ‖x − x′‖², where a chain that starts at x ends at x̂: 1 or more if chains forget
  their start, and 0 if they are frozen;                                                                         (1)
* the sample spread is the total variance of x̃ over that of x: far above 1 if chains diverge, and 0 if all of them end
  at one point;                                                                                                  (2)
* the energy gap per entry is (E E(x) − E E(x̃)) / D for examples of D entries, and near 0 in a good fit;           (3)
* the buffer coverage is the number of x that are the nearest neighbor of some chain in the buffer, over the number that
  are the nearest neighbor of some x′: 1 if the buffer is distributed as data, and near 0 if it has collapsed.    (4)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array, Metrics
from genjax.energy.density import EnergyDensity
from genjax.energy.kernels.chains import advance
from genjax.ops.distances import num_nearest

MAX_CHAINS = 100


def diagnose(density: EnergyDensity, key: Array, x: Array, num_steps: int, buffer: Array | None) -> Metrics:
    """Return the scalars ``chain_movement``, ``sample_spread``, ``energy_gap_per_entry`` and ``buffer_coverage``.

    There are at least 4 examples, x (B, *shape), whose halves are x and x′ of equation 4. Without a buffer,
    ``buffer_coverage`` is left out.
    """
    noise_key, chain_key, data_key, buffer_key = jax.random.split(key, 4)
    data = x[:MAX_CHAINS]
    noise = density.sample_base(noise_key, data.shape[0])
    ends, from_data = (
        density.base.fold(advance(density.kernel, density.log_density, key, start, num_steps)[0].x)
        for key, start in ((chain_key, noise), (data_key, data))
    )
    variance = jnp.sum(jnp.var(x, axis=0))
    distance = jnp.sum(jnp.mean(jnp.square(from_data - data), axis=0))
    varies = variance > 0
    values = {
        "chain_movement": jnp.where(varies, distance / (2 * jnp.where(varies, variance, 1.0)), 1.0),  # equation 1
        "sample_spread": jnp.where(varies, jnp.sum(jnp.var(ends, axis=0)) / jnp.where(varies, variance, 1.0), 1.0),
        "energy_gap_per_entry": jnp.mean(density.energy(data) - density.energy(ends)) / x[0].size,  # equation 3
    }
    if buffer is None:
        return values
    half = x.shape[0] // 2
    size = min(half, buffer.shape[0])
    chains = buffer[jax.random.choice(buffer_key, buffer.shape[0], (size,), replace=False)]
    coverage = num_nearest(x[:half], chains) / num_nearest(x[:half], x[half : half + size])  # equation 4
    return values | {"buffer_coverage": coverage}
