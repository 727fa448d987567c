"""Contrastive divergence: maximum likelihood with samples of short chains in place of samples of the model.

The gradient of the log-likelihood with respect to the parameters θ contrasts data x with samples x′ of the model,

    ∇_θ log p(x) = −∇_θ E(x) + E_{x′ ~ p} ∇_θ E(x′),                                                               (1)

and the loss E(x) − E(x′), with x′ held fixed, has minus this gradient on average. The chains that draw x′ start

* from data: contrastive divergence, which is biased, because short chains do not leave the neighborhood of the data;
* from noise: short-run chains, which learn to generate samples in their few steps, even if the density is wrong;
* from a buffer of earlier chains, where each update restarts a fraction: persistent contrastive divergence, which is
  accurate if the model changes more slowly than the chains mix.

The loss ignores that the distribution q_θ in which the chains end depends on the parameters. Improved contrastive
divergence adds the missing term,

    E_{x′ ~ q_θ}[E(x′)] − H(q_θ),                                                                                  (2)

with the parameters of E held fixed and gradients through one kernel step to x′. The entropy H is estimated, up to scale
and a constant, by the mean of log ‖x′ − x″‖, where x″ is the nearest initial state of a chain.

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
from genjax.energy.density import EnergyDensity
from genjax.energy.kernels import Kernel
from genjax.energy.kernels.chains import advance
from genjax.energy.rules.base import Rule, RuleOutput
from genjax.ops.distances import squared_distances


class Buffer(NamedTuple):
    """Last positions of earlier chains: ``chains``, (buffer_size, *shape)."""

    chains: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ContrastiveDivergence(Rule):
    """Contrastive divergence, equation 1, and with ``kl_weight`` equation 2.

    Attributes:
      start: initial states of the chains: ``"buffer"``, ``"noise"`` (samples of the base), or ``"data"``.
      num_steps: number of kernel steps per update.
      kernel: kernel of the chains; None for the model's.
      buffer_size: number of chains in the buffer, at least the batch size; each update continues a random subset.
      restart: probability that a chain from the buffer restarts, in [0, 1].
      restart_from: initial states of restarted chains: ``"noise"`` or ``"data"``.
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

    @property
    def discrete(self) -> bool | None:
        """See ``Rule``; equation 2 needs gradients through a step."""
        return False if self.kl_weight else None

    def init(self, density: EnergyDensity, key: Array) -> PyTree:
        """Fill the buffer with samples of the base."""
        return Buffer(density.sample_base(key, self.buffer_size)) if self.start == "buffer" else {}

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """See ``Rule``.

        The metrics are ``energy_gap``, the mean of E(x) − E(x′); ``data_energy``, the mean of E(x); ``acceptance``, the
        mean acceptance of the chains; and with ``kl_weight``, ``kl_loss``, equation 2.
        """
        del label, step
        start_key, chain_key, entropy_key = jax.random.split(key, 3)
        frozen, kernel = density.frozen(), self.kernel or density.kernel
        if self.kl_weight and not kernel.differentiable:
            raise ValueError(
                f"kl_weight is {self.kl_weight}, but {kernel} has no gradient through its steps; use kl_weight=0, or "
                "energy.Langevin(), for example"
            )
        start, rows = self._starts(frozen, start_key, x, state)
        chains, acceptance, _ = advance(kernel, frozen.log_density, chain_key, start, self.num_steps)
        samples = density.base.fold(chains.x)
        data_energy = jnp.mean(density.energy(x))
        gap = data_energy - jnp.mean(density.energy(samples))  # equation 1
        metrics = {"energy_gap": gap, "data_energy": data_energy, "acceptance": acceptance}
        loss = gap
        if self.kl_weight:
            metrics["kl_loss"] = self._kl_loss(density, kernel, entropy_key, samples, start)
            loss = loss + self.kl_weight * metrics["kl_loss"]
        if rows is not None:
            state = Buffer(state.chains.at[rows].set(samples.astype(state.chains.dtype)))
        return RuleOutput(loss, state, metrics, samples)

    def _starts(self, density: EnergyDensity, key: Array, x: Array, state: PyTree) -> tuple[Array, Array | None]:
        """Return the initial states of chains, (B, *shape), and their rows in the buffer, (B,), or None without one."""
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

    def _kl_loss(self, density: EnergyDensity, kernel: Kernel, key: Array, samples: Array, reference: Array) -> Array:
        """Return equation 2, with gradients through one more kernel step from the samples."""
        frozen, samples = density.frozen(), jax.lax.stop_gradient(samples)
        state, _ = kernel.step(density.log_density, key, kernel.init(density.log_density, samples))
        x = density.base.fold(state.x)
        flat, others = (a.reshape(a.shape[0], -1) for a in (x, jax.lax.stop_gradient(reference)))
        nearest = jnp.min(squared_distances(flat, others), axis=1)
        entropy = jnp.mean(0.5 * jnp.log(nearest + 1e-8))
        return jnp.mean(frozen.energy(x)) - entropy
