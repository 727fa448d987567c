"""Contrastive divergence: maximum likelihood with the samples of short chains in place of the model's.

The gradient of the log-likelihood is a difference of means over data and model,

    ∇ log p(x) = −∇E(x) + E_{x′ ~ p} ∇E(x′),                                                                      (1)

so that the loss E(x) − E(x′), with x′ fixed, has minus this gradient. The chains that draw x′ start

* from data: contrastive divergence, biased towards energies without structure far from the data;
* from noise: short-run chains, which learn to draw samples in their few steps, whatever the density is;
* from a buffer of earlier ends, of which a share restarts at every step: persistent contrastive divergence, exact if
  the model changes more slowly than the chains mix.

Sampling from q, the ends of the chains, ignores that q depends on the parameters, too. Improved contrastive divergence
adds the missing term, with gradients through the last Langevin step,

    E_{x′ ~ q_θ}[E(x′)] − H(q_θ),                                                                                  (2)

where the energy is fixed and the entropy is estimated from each sample's distance to its nearest neighbor among the
chains' starting points, log ‖x′ − x″‖.

Geoffrey Hinton 2002; Tijmen Tieleman 2008; noise: Erik Nijkamp et al. 2019, arXiv:1904.09770; buffer: Yilun Du and Igor
Mordatch 2019, arXiv:1903.08689; equation 2: Yilun Du, Shuang Li, Joshua Tenenbaum and Igor Mordatch 2021,
arXiv:2012.01316.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp

from genjax.arguments import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.energy.bases import Base
from genjax.energy.density import EnergyDensity, check_kernel
from genjax.energy.kernels import Kernel
from genjax.energy.kernels.chains import advance
from genjax.energy.rules.base import Rule, RuleOutput
from genjax.ops.distances import squared_distances


class Buffer(NamedTuple):
    """Ends of earlier chains: ``chains``, (buffer_size, *shape)."""

    chains: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ContrastiveDivergence(Rule):
    """Equation 1.

    Attributes:
      start: where chains start: ``"buffer"``, ``"noise"`` (samples of the base), or ``"data"``.
      num_steps: number of steps of the kernel per update.
      kernel: kernel of the chains; None for the model's.
      buffer_size: number of chains in the buffer, at least the size of a minibatch; a minibatch continues random ones.
      restart: share of the chains from the buffer that start afresh.
      restart_from: where they start afresh: ``"noise"`` or ``"data"``.
      kl_weight: weight of equation 2; 0 turns it off.
      weight: factor on the loss.
    """

    start: Literal["buffer", "noise", "data"] = "buffer"
    num_steps: PositiveInt = 20
    kernel: Kernel | None = None
    buffer_size: PositiveInt = 10_000
    restart: Fraction = 0.05
    restart_from: Literal["noise", "data"] = "noise"
    kl_weight: NonNegativeFloat = 0.0
    weight: PositiveFloat = 1.0

    def check(self, base: Base, kernel: Kernel) -> None:
        """See ``Rule``."""
        kernel = self.kernel or kernel
        check_kernel(kernel, base)
        if self.kl_weight and not kernel.differentiable:
            raise ValueError(
                f"kl_weight is {self.kl_weight}, but {kernel} has no gradient through its steps; use kl_weight=0"
                f"{'' if base.discrete else ', or energy.Langevin(), for example'}"
            )

    def init(self, density: EnergyDensity, key: Array) -> PyTree:
        """Fill the buffer with samples of the base."""
        return Buffer(density.sample_base(key, self.buffer_size)) if self.start == "buffer" else {}

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """See ``Rule``.

        Metrics are ``energy_gap``, the loss; ``data_energy``; ``acceptance``, of the chains; and with ``kl_weight``
        ``sampler_energy``.
        """
        del label, step
        start_key, chain_key, entropy_key = jax.random.split(key, 3)
        frozen, kernel = density.frozen(), self.kernel or density.kernel
        start, rows = self._starts(frozen, start_key, x, state)
        chains, acceptance, _ = advance(kernel, frozen.log_density, chain_key, start, self.num_steps)
        samples = density.base.fold(chains.x)
        data_energy = jnp.mean(density.energy(x))
        gap = data_energy - jnp.mean(density.energy(samples))  # equation 1
        metrics = {"energy_gap": gap, "data_energy": data_energy, "acceptance": acceptance}
        loss = gap
        if self.kl_weight:
            metrics["sampler_energy"] = self._sampler_loss(density, kernel, entropy_key, samples, start)
            loss = loss + self.kl_weight * metrics["sampler_energy"]
        if rows is not None:
            state = Buffer(state.chains.at[rows].set(samples.astype(state.chains.dtype)))
        return RuleOutput(loss, state, metrics, samples)

    def _starts(self, density: EnergyDensity, key: Array, x: Array, state: PyTree) -> tuple[Array, Array | None]:
        """Return where chains start, (B, *shape), and their rows in the buffer, (B,), or None without a buffer."""
        num_chains = x.shape[0]
        if self.start != "buffer":
            return (x if self.start == "data" else density.sample_base(key, num_chains)), None
        if num_chains > self.buffer_size:
            raise ValueError(
                f"buffer_size is {self.buffer_size}, but a minibatch of {num_chains} examples continues as many "
                f"chains; set buffer_size to {num_chains} or more"
            )
        row_key, fresh_key, restart_key = jax.random.split(key, 3)
        rows = jax.random.choice(row_key, self.buffer_size, (num_chains,), replace=False)
        fresh = x if self.restart_from == "data" else density.sample_base(fresh_key, num_chains)
        restarts = jax.random.bernoulli(restart_key, self.restart, (num_chains, *[1] * (x.ndim - 1)))
        return jnp.where(restarts, fresh, state.chains[rows]).astype(x.dtype), rows

    def _sampler_loss(
        self, density: EnergyDensity, kernel: Kernel, key: Array, samples: Array, reference: Array
    ) -> Array:
        """Return equation 2, with gradients through one more step from the samples."""
        frozen, samples = density.frozen(), jax.lax.stop_gradient(samples)
        state, _ = kernel.step(density.log_density, key, kernel.init(density.log_density, samples))
        x = density.base.fold(state.x)
        flat, others = (a.reshape(a.shape[0], -1) for a in (x, jax.lax.stop_gradient(reference)))
        nearest = jnp.min(squared_distances(flat, others), axis=1)
        entropy = jnp.mean(0.5 * jnp.log(nearest + 1e-8))
        return jnp.mean(frozen.energy(x)) - entropy
